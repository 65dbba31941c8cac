/* The local APIC of a processor at 0xfee00000, whose number is 0. Its timer counts 100 MHz, divided. */
bl_device *bl_plug_lapic(bl_bus *bus);
/* What a processor does that lets interrupts through: the vector of the next one, which is in service then, or -1. */
int bl_lapic_take(bl_device *lapic);
/* For an I/O APIC: a message of this delivery mode; 1 if it is accepted, 0 if it is to be sent again. */
int bl_lapic_accept(bl_device *lapic, unsigned vector, unsigned mode, unsigned destination, int logical, int level);
/* This I/O APIC is told of the ends of level interrupts, and to send again what was not accepted. */
void bl_lapic_join(bl_device *lapic, bl_device *ioapic);
