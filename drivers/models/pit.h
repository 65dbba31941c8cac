/* An 8254 at ports 0x40 to 0x43, whose counter 0 is interrupt 0, and port 0x61 with the speaker on counter 2. */
bl_device *bl_plug_pit(bl_bus *bus);
/* What the speaker plays, in hertz; 0: nothing. */
double bl_pit_tone(bl_device *pit);
/* For an HPET: with its legacy replacement counter 0 is not the interrupt 0. */
void bl_pit_cut_off(bl_device *pit, int is_cut_off);
