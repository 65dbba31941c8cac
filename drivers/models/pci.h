/* A PCI bus with configuration mechanism #1 at 0xcf8 and 0xcfc, the host bridge of a 440FX in slot 0 and the ISA bridge of a PIIX3, which
   routes the four interrupts to ISA lines, in slot 1. Functions that are plugged in come into the next free slots. */
bl_device *bl_plug_pci(bl_bus *bus);
/* A bridge to another bus. */
bl_device *bl_plug_pci_bridge(bl_bus *bus);
/* No device: the bridge in this slot of bus 0. What is plugged in from now on is behind it. */
bl_device *bl_plug_pci_behind(bl_bus *bus, unsigned slot);
/* A function without a use: 256 ports, which read as 0, 4 KiB of memory, and 1 MiB, prefetchable, which is those 4 KiB again and again. */
bl_device *bl_plug_pci_testdev(bl_bus *bus);
/* The host puts anything into configuration space of a function on bus 0. */
void bl_pci_poke(bl_device *pci, unsigned slot, unsigned offset, uint8_t value, uint8_t writable);
