/* An MC146818 at ports 0x70 and 0x71, on interrupt 8, with 128 bytes. `seconds` since 1970 is what it shows at first: BCD, 24 hours. */
bl_device *bl_plug_rtc(bl_bus *bus, int64_t seconds);
void bl_rtc_set_battery(bl_device *rtc, int is_good);
/* Bit 7 of port 0x70: no NMI reaches the processor. */
int bl_rtc_is_nmi_masked(bl_device *rtc);
