/* A VGA at the ports 0x3b4 to 0x3da, and its memory at 0xa0000 to 0xbffff. As switched on: all registers are 0. */
bl_device *bl_plug_vga(bl_bus *bus);
/* The character and the attribute of each cell that is shown, row by row: how many columns and rows, of up to `most` cells. 0 of both: there
   is no text to be seen, since it is off, or shows graphics. */
void bl_vga_screen(bl_device *vga, uint8_t *cells, uint32_t most, uint32_t *columns, uint32_t *rows);
/* The cell in which the cursor is, from 0; -1: it is off. */
int32_t bl_vga_cursor(bl_device *vga);
/* One of the 16 colours as it looks: red << 16 | green << 8 | blue, of 6 bits each. */
uint32_t bl_vga_colour(bl_device *vga, uint32_t colour);
/* What of a glyph is shown, `which` of 256, scan line by scan line. */
uint32_t bl_vga_glyph(bl_device *vga, uint32_t which, uint32_t line);
