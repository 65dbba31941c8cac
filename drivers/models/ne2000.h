/* An NE2000 board: a DP8390 with 16 KiB, at `base` to base + 0x1f. NULL also if these are no ports, or it is no line. */
bl_device *bl_plug_ne2000(bl_bus *bus, unsigned base, unsigned irq, const uint8_t *mac);
/* A frame arrives on the wire, without its check sequence. `damage`: 0 none, 1 a wrong check sequence, 2 it does not end with a byte.
   1 if it is in the ring now, else 0. */
int bl_ne2000_feed(bl_device *ne2000, const uint8_t *frame, size_t size, int damage);
/* The oldest frame that was sent and not taken yet: its length, at most `size` of it; 0: there is none. */
size_t bl_ne2000_taken(bl_device *ne2000, uint8_t *to, size_t size);
/* The next `frames` that it sends collide 16 times, and are given up. */
void bl_ne2000_jam(bl_device *ne2000, unsigned frames);
