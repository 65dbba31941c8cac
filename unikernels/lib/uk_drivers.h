/* Devices of the PC, for programs that are built for the bare machine; nowhere else do these exist. What a program does not use is not in
   its image. The ports of the bell, 0x2f8 to 0x2ff, of the timer, 0x40 and 0x43, and of the interrupt controllers are the platform's. */
#ifndef UK_DRIVERS_H
#define UK_DRIVERS_H

#ifndef UK_BARE
#error "uk_drivers.h: these devices are there on the bare machine alone: --target bare"
#endif

#include <stdint.h>

/* ---- ports ---- */

static inline uint8_t uk_in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t uk_in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void uk_out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
static inline void uk_out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

/* ---- serial.c: the 16550 UART ---- */

enum { UK_COM1 = 0x3f8, UK_COM2 = 0x2f8 };

/* 115,200 baud, 8 bits, no parity, both FIFOs; no interrupts. */
void uk_serial_open(uint16_t port);

/* Waits while there is no room, but not for ever: then the byte is lost. */
void uk_serial_write(uint16_t port, uint8_t byte);

/* The next byte that came, or -1. */
int uk_serial_read(uint16_t port);

/* ---- console.c ---- */

/* To the screen, if there is one in VGA's text mode (80 by 25), and to COM1. */
void uk_console_write(const char *text, uint32_t length);

/* ---- pci.c: configuration mechanism 1 ---- */

/* The first function with these numbers, as bus << 8 | device << 3 | function, or -1. */
int uk_pci_find(uint16_t vendor, uint16_t device);

/* A word of a function's configuration; `at` is a multiple of 4. One that is not there is all ones. */
uint32_t uk_pci_read(int function, uint8_t at);
void uk_pci_write(int function, uint8_t at, uint32_t value);

/* ---- rtc.c: the MC146818 ---- */

typedef struct uk_date {
    uint16_t year;
    uint8_t month, day, hour, minute, second;
} uk_date;

/* What the clock of the machine shows; under QEMU that is UTC. Returns 0, or -1 if there is no clock. */
int uk_rtc_read(uk_date *date);

/* ---- random.c ---- */

/* Fill with what the processor's generator gives. Returns 0, or -1: it has none, or it is out of order. */
int uk_random(void *at, uint32_t length);

/* ---- speaker.c ---- */

/* A tone, until another one; 0: silence. */
void uk_speaker(uint32_t hertz);

#endif
