/* A debug port, which takes bytes, and keeps the last 65536 that the host has not taken. */
bl_device *bl_plug_debugcon(bl_bus *bus, uint32_t port);
/* The oldest of them, up to `room`: how many. */
uint32_t bl_debugcon_take(bl_device *debugcon, uint8_t *to, uint32_t room);
/* A write to one of `size` ports, 1 to 8, ends the machine with the value as its status, 7 bits of it. */
bl_device *bl_plug_debug_exit(bl_bus *bus, uint32_t port, uint32_t size);
