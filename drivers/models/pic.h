/* The two 8259A of a PC, at ports 0x20, 0xa0 and 0x4d0, for the bus's interrupt lines 0 to 15. */
bl_device *bl_plug_pic(bl_bus *bus);
/* Does it ask the processor for an interrupt? */
int bl_pic_asks(bl_device *pic);
/* As the processor acknowledges an interrupt: the vector. */
unsigned bl_pic_acknowledge(bl_device *pic);
/* A line that nobody else has, for tests. */
void bl_pic_set_line(bl_device *pic, unsigned line, int level);
