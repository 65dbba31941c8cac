/* A keyboard controller at the ports 0x60 and 0x64, with a keyboard (interrupt 1); if `ports` is 2, with a mouse, too (interrupt 12). */
bl_device *bl_plug_i8042(bl_bus *bus, unsigned ports);
/* Press or release the key with this scan code of set 2, of up to four bytes: 0x1c, 0xe075, 0xe012e07c (Print), 0xe11477 (Pause). */
void bl_i8042_key(bl_device *i8042, uint32_t code, int down);
/* Move the mouse, dy upwards, and hold these buttons: 1 left, 2 right, 4 middle, 8 and 16 at the side. */
void bl_i8042_move(bl_device *i8042, int dx, int dy, int wheel, unsigned buttons);
/* What hangs on port 0 or 1: nothing (0), a device (1), a device that fails its self-test (2), one that asks for each byte again (3). */
void bl_i8042_attach(bl_device *i8042, unsigned port, int what);
/* Of the keyboard: bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock. */
unsigned bl_i8042_leds(bl_device *i8042);
