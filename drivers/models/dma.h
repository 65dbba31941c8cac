/* The two 8237 of an AT: channels 0 to 3 at port 0, 4 to 7 at 0xc0, page registers at 0x81 to 0x8f. */
bl_device *bl_plug_dma(bl_bus *bus);
/* As in c/dma_channel.h: the host, too, may be a device. Directions: 1 to memory, 2 from memory. */
size_t bl_dma_transfer(bl_bus *bus, unsigned channel, uint8_t *buffer, size_t size, int direction);
int bl_dma_is_over(bl_bus *bus, unsigned channel);
