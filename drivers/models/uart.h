/* A 16550A (kind 2), a 16450 (1) or an 8250 (0), at eight ports from `base`, whose interrupt is `irq`. */
bl_device *bl_plug_uart(bl_bus *bus, uint16_t base, unsigned irq, int kind);
/* What comes on the wire, one byte after the other, each with these errors: bits 2 to 4 of the line status. How many the wire takes. */
size_t bl_uart_feed(bl_device *uart, const uint8_t *data, size_t size, unsigned errors);
/* What it has sent and nobody has taken yet. How many bytes that are. */
size_t bl_uart_taken(bl_device *uart, uint8_t *to, size_t room);
/* The modem lines into it, bits 4 to 7 of the modem status. `obeys`: what is fed waits while RTS is off. */
void bl_uart_connect(bl_device *uart, unsigned lines, int obeys);
/* The modem lines out of it, bits 0 to 3 of the modem control, and 0x10: break. */
unsigned bl_uart_outputs(bl_device *uart);
