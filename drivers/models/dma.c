/* Intel 8237A data sheet (231466-005), "Register Description"; IBM PC AT Technical Reference, DMA page registers and cascade.

   A transfer takes no time, whatever its mode: a device asks for it, and all that can be moved is. Channels 0 to 3 reach the bus through
   channel 4, which must be in cascade mode and not masked. Not: memory to memory, rotating priority. */
#include "bus.h"
#include "dma.h"
#include "dma_channel.h"

enum { VERIFY = 0, AUTO = 0x10, DOWN = 0x20, CASCADE = 3, DISABLED = 0x04 };

typedef struct channel {
    uint16_t base[2], now[2]; /* address, and count - 1 */
    uint8_t mode, page;
    int is_over;
} channel;

typedef struct controller {
    channel channels[4];
    uint8_t command, mask, reached, requests;
    int is_high; /* the flip-flop: the next byte is the high one */
} controller;

typedef struct dma {
    bl_device device;
    controller controllers[2];
} dma;

static channel *page_of(dma *d, uint16_t port) {
    static const int8_t numbers[8] = {-1, 2, 3, 1, -1, -1, -1, 0};
    const int number = numbers[port & 7];
    return number < 0 ? NULL : &d->controllers[port >> 3 & 1].channels[number];
}

static void clear(controller *c) {
    c->command = c->reached = c->requests = 0;
    c->is_high = 0;
    c->mask = 15;
}

static uint32_t in_register(controller *c, unsigned number) {
    if (number == 8) {
        const uint8_t found = (uint8_t)(c->reached | c->requests << 4);
        c->reached = 0;
        return found;
    }
    if (number > 8) return number == 13 ? 0 : 0xff; /* the temporary register; the others cannot be read */
    const uint16_t value = c->channels[number >> 1].now[number & 1];
    c->is_high = !c->is_high;
    return c->is_high ? value & 0xff : value >> 8;
}

static void out_register(controller *c, unsigned number, uint8_t value) {
    const uint8_t bit = (uint8_t)(1 << (value & 3));
    switch (number) {
        case 8: c->command = value; break;
        case 9: c->requests = (uint8_t)(value & 4 ? c->requests | bit : c->requests & ~bit); break;
        case 10: c->mask = (uint8_t)(value & 4 ? c->mask | bit : c->mask & ~bit); break;
        case 11: c->channels[value & 3].mode = value; break;
        case 12: c->is_high = 0; break;
        case 13: clear(c); break;
        case 14: c->mask = 0; break;
        case 15: c->mask = value & 15; break;
        default: {
            channel *ch = &c->channels[number >> 1];
            const unsigned which = number & 1, shift = c->is_high ? 8 : 0;
            ch->base[which] = (uint16_t)((ch->base[which] & 0xff00 >> shift) | value << shift);
            ch->now[which] = (uint16_t)((ch->now[which] & 0xff00 >> shift) | value << shift);
            c->is_high = !c->is_high;
        }
    }
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    dma *d = (dma *)device;
    if (port >= 0xc0) return port & 1 ? 0xffffffff : in_register(&d->controllers[1], (port - 0xc0u) / 2) | 0xffffff00;
    if (port < 0x10) return in_register(&d->controllers[0], port) | 0xffffff00;
    return page_of(d, port)->page | 0xffffff00;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    dma *d = (dma *)device;
    if (port < 0x10) out_register(&d->controllers[0], port, (uint8_t)value);
    else if (port < 0xc0) page_of(d, port)->page = (uint8_t)value;
    else if (!(port & 1)) out_register(&d->controllers[1], (port - 0xc0u) / 2, (uint8_t)value);
}

/* ---- of devices ---- */

static dma *found_on(bl_bus *bus) {
    for (unsigned i = 0; i < bus->device_count; i++)
        if (bus->devices[i]->out == out) return (dma *)bus->devices[i];
    return NULL;
}

static int is_open(const controller *c, unsigned number) { return !(c->command & DISABLED) && !(c->mask >> number & 1); }

/* After a unit: what the next one is. */
static void count_down(controller *c, unsigned number) {
    channel *ch = &c->channels[number];
    ch->now[0] = (uint16_t)(ch->mode & DOWN ? ch->now[0] - 1 : ch->now[0] + 1);
    ch->is_over = ch->now[1]-- == 0;
    if (!ch->is_over) return;
    c->reached |= (uint8_t)(1 << number);
    c->requests &= (uint8_t)~(1 << number);
    if (!(ch->mode & AUTO)) c->mask |= (uint8_t)(1 << number);
    else {
        ch->now[0] = ch->base[0];
        ch->now[1] = ch->base[1];
    }
}

size_t bl_dma_transfer(bl_bus *bus, unsigned which, uint8_t *buffer, size_t size, int direction) {
    dma *d = found_on(bus);
    if (d == NULL || which > 7 || which == 4) return 0;
    controller *c = &d->controllers[which >> 2];
    channel *ch = &c->channels[which & 3];
    const controller *upper = &d->controllers[1];
    const int mode = ch->mode >> 2 & 3;
    const unsigned shift = which >> 2;
    const size_t unit = 1u << shift;
    ch->is_over = 0;
    if (which < 4 && (!is_open(upper, 0) || upper->channels[0].mode >> 6 != CASCADE)) return 0;
    if (ch->mode >> 6 == CASCADE || (mode != VERIFY && mode != direction)) return 0;
    size_t moved = 0;
    while (!ch->is_over && moved + unit <= size && is_open(c, which & 3)) {
        const uint64_t page = shift ? ch->page & 0xfe : ch->page;
        uint8_t *ram = bl_ram(bus, page << 16 | (uint64_t)ch->now[0] << shift, unit);
        for (size_t i = 0; i < unit && mode != VERIFY; i++) {
            if (direction == BL_DMA_FROM_MEMORY) buffer[moved + i] = ram == NULL ? 0xff : ram[i];
            else if (ram != NULL) ram[i] = buffer[moved + i];
        }
        moved += unit;
        count_down(c, which & 3);
    }
    return moved;
}

int bl_dma_is_over(bl_bus *bus, unsigned which) {
    const dma *d = found_on(bus);
    return d != NULL && which < 8 && d->controllers[which >> 2].channels[which & 3].is_over;
}

bl_device *bl_plug_dma(bl_bus *bus) {
    dma *d = bl_plug(bus, "dma", sizeof *d);
    if (d == NULL) return NULL;
    d->device.in = in;
    d->device.out = out;
    clear(&d->controllers[0]);
    clear(&d->controllers[1]);
    bl_claim(&d->device, 0x00, 0x0f);
    bl_claim(&d->device, 0xc0, 0xdf);
    for (uint16_t port = 0x80; port < 0x90; port++)
        if (page_of(d, port) != NULL) bl_claim(&d->device, port, port);
    return &d->device;
}
