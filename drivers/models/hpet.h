/* An HPET at 0xfed00000 with three timers. `able`: a bit for each that can count 64 bits and do periods: 1 on Intel's boards, 7 in QEMU. */
bl_device *bl_plug_hpet(bl_bus *bus, unsigned able);
