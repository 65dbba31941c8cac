/* An I/O APIC at 0xfec00000 with 24 inputs: the lines of the bus, but for line 0, which is at input 2. It sends to this local APIC.
   `version`: 0x20, or 0x11, which has no EOI register. */
bl_device *bl_plug_ioapic(bl_bus *bus, bl_device *lapic, unsigned version);
/* For a local APIC: a level interrupt with this vector has ended. */
void bl_ioapic_end(bl_device *ioapic, unsigned vector);
/* For a local APIC: send again what was not accepted. */
void bl_ioapic_again(bl_device *ioapic);
