/* The 16550 UART (National Semiconductor PC16550D, "Registers"). */
#include "../uk_drivers.h"

enum { DATA = 0, INTERRUPTS = 1, FIFO = 2, LINE = 3, MODEM = 4, STATUS = 5 };
enum { HAS_DATA = 0x01, HAS_ROOM = 0x20, PATIENCE = 100 * 1000 };

void uk_serial_open(uint16_t port) {
    uk_out8(port + INTERRUPTS, 0);
    uk_out8(port + LINE, 0x80); /* the divisor */
    uk_out8(port + DATA, 1);
    uk_out8(port + INTERRUPTS, 0);
    uk_out8(port + LINE, 0x03);  /* 8 bits */
    uk_out8(port + FIFO, 0x07);  /* on, empty; each byte interrupts */
    uk_out8(port + MODEM, 0x0b); /* DTR, RTS, and OUT2, which lets interrupts through */
}

void uk_serial_write(uint16_t port, uint8_t byte) {
    for (int tries = 0; tries < PATIENCE; tries++)
        if (uk_in8(port + STATUS) & HAS_ROOM) {
            uk_out8(port + DATA, byte);
            return;
        }
}

int uk_serial_read(uint16_t port) { return uk_in8(port + STATUS) & HAS_DATA ? uk_in8(port + DATA) : -1; }
