/* IA-PC HPET specification 1.0a, 2.3 and 2.4. A timer interrupts when the main counter gets to be its comparator, in its own width; so one
   that is set to what has been waits for the counter to wrap. Its routes are those of the Q35 board: inputs 2, 8 and 16 to 23 of the I/O
   APIC.

   The legacy replacement cuts the 8254 off from line 0; the clock goes on driving line 8. */
#include "bus.h"
#include "hpet.h"
#include "pit.h"

#include <string.h>

enum { TIMERS = 3, NANOSECONDS = 10, SIZE = 0x400 };
#define BASE 0xfed00000ull
#define ROUTES 0x00ff0104u
enum { ENABLE = 1, LEGACY = 2, ROUTE = 0x3e00 };
enum { LEVEL = 0x02, INTERRUPTS = 0x04, PERIODIC = 0x08, CAN_PERIODIC = 0x10, CAN_64 = 0x20, SET_VALUE = 0x40, AS_32 = 0x100 };

typedef struct timer {
    uint32_t config;
    uint64_t comparator, period;
    int64_t at; /* of its next match; BL_NEVER */
} timer;

typedef struct hpet {
    bl_device device;
    uint32_t config, status, driven; /* lines that are up */
    uint64_t begun;                  /* the counter at `since`; while it is halted, the counter */
    int64_t since;
    timer timers[TIMERS];
} hpet;

static uint64_t count(const hpet *h) {
    return h->config & ENABLE ? h->begun + (uint64_t)(h->device.bus->now - h->since) / NANOSECONDS : h->begun;
}

static int is_narrow(const timer *t) { return !(t->config & CAN_64) || t->config & AS_32; }

static unsigned line_of(const hpet *h, const timer *t) {
    if (h->config & LEGACY && t == &h->timers[0]) return 0;
    if (h->config & LEGACY && t == &h->timers[1]) return 8;
    const unsigned input = (t->config & ROUTE) >> 9;
    return input == 2 ? 0 : input; /* there is the line 0 */
}

/* The time of the next match after now. */
static int64_t match(const hpet *h, const timer *t) {
    if (!(h->config & ENABLE)) return BL_NEVER;
    uint64_t left = t->comparator - count(h);
    if (is_narrow(t)) {
        left &= UINT32_MAX;
        if (left == 0) left = 1ull << 32;
    } else if (left == 0) return BL_NEVER; /* in 5,845 years */
    const int64_t tick = h->device.bus->now - (h->device.bus->now - h->since) % NANOSECONDS;
    return left > (uint64_t)(INT64_MAX - tick) / NANOSECONDS ? BL_NEVER : tick + (int64_t)left * NANOSECONDS;
}

static void follow(hpet *h) {
    uint32_t wanted = 0;
    h->device.due = BL_NEVER;
    for (unsigned i = 0; i < TIMERS; i++) {
        timer *t = &h->timers[i];
        t->at = match(h, t);
        if (t->at < h->device.due) h->device.due = t->at;
        if (h->config & ENABLE && h->status >> i & 1 && t->config & LEVEL && t->config & INTERRUPTS) wanted |= 1u << line_of(h, t);
    }
    const uint32_t changed = h->driven ^ wanted;
    h->driven = wanted;
    for (unsigned line = 0; line < BL_LINES; line++)
        if (changed >> line & 1) bl_irq(&h->device, line, wanted >> line & 1);
}

static void run(bl_device *device) {
    hpet *h = (hpet *)device;
    for (unsigned i = 0; i < TIMERS; i++) {
        timer *t = &h->timers[i];
        if (t->at > device->bus->now) continue;
        if (t->config & PERIODIC) t->comparator += t->period;
        if (t->config & LEVEL) h->status |= 1u << i;
        else if (t->config & INTERRUPTS) bl_pulse(device, line_of(h, t));
    }
    follow(h);
}

static uint64_t reg(const hpet *h, uint64_t at) {
    if (at == 0) return (uint64_t)NANOSECONDS * 1000000 << 32 | 0x8086a001u | (TIMERS - 1) << 8; /* Intel, legacy, 64 bits, revision 1 */
    if (at == 0x10) return h->config;
    if (at == 0x20) return h->status;
    if (at == 0xf0) return count(h);
    const uint64_t i = (at - 0x100) / 0x20;
    if (at < 0x100 || i >= TIMERS) return 0;
    const timer *t = &h->timers[i];
    if (at % 0x20 == 0) return (uint64_t)ROUTES << 32 | t->config;
    if (at % 0x20 == 8) return is_narrow(t) ? (uint32_t)t->comparator : t->comparator;
    return 0; /* interrupts as messages: it has none */
}

static uint32_t read(bl_device *device, uint64_t offset, unsigned width) {
    return (uint32_t)(reg((hpet *)device, offset & ~7ull) >> 8 * (offset & 7));
}

static uint64_t half(uint64_t whole, uint64_t offset, uint32_t value) {
    return offset & 4 ? (whole & UINT32_MAX) | (uint64_t)value << 32 : (whole & ~(uint64_t)UINT32_MAX) | value;
}

static void configure(hpet *h, uint32_t value) {
    if ((value ^ h->config) & ENABLE) {
        h->begun = count(h);
        h->since = h->device.bus->now;
    }
    h->config = value & (ENABLE | LEGACY);
    bl_bus *bus = h->device.bus;
    for (unsigned i = 0; i < bus->device_count; i++)
        if (strcmp(bus->devices[i]->name, "pit") == 0) bl_pit_cut_off(bus->devices[i], (value & LEGACY) != 0);
}

static void set_timer(hpet *h, timer *t, uint64_t offset, uint32_t value) {
    if (offset % 0x20 == 0) {
        uint32_t writable = LEVEL | INTERRUPTS | ROUTE;
        if (t->config & CAN_PERIODIC) writable |= PERIODIC | SET_VALUE;
        if (t->config & CAN_64) writable |= AS_32;
        uint32_t config = (t->config & ~writable) | (value & writable);
        if (!(ROUTES >> ((config & ROUTE) >> 9) & 1)) config = (config & ~(uint32_t)ROUTE) | (t->config & ROUTE); /* not kept */
        if (!(config & LEVEL)) h->status &= ~(1u << (t - h->timers));
        t->config = config;
    } else if ((offset & 0x18) == 8) {
        if (!(t->config & PERIODIC) || t->config & SET_VALUE) t->comparator = half(t->comparator, offset, value);
        if (t->config & PERIODIC) t->period = half(t->period, offset, value);
        t->config &= ~(uint32_t)SET_VALUE;
    }
    if (is_narrow(t)) {
        t->comparator &= UINT32_MAX;
        t->period &= UINT32_MAX;
    }
}

static void write(bl_device *device, uint64_t offset, unsigned width, uint32_t value) {
    hpet *h = (hpet *)device;
    if (width != 4) return; /* 32 or 64 bits at once (2.3.2) */
    const uint64_t i = (offset - 0x100) / 0x20;
    if (offset == 0x10) configure(h, value);
    else if (offset == 0x20) h->status &= ~value;
    else if ((offset & ~4ull) == 0xf0 && !(h->config & ENABLE)) h->begun = half(h->begun, offset, value);
    else if (offset >= 0x100 && i < TIMERS) set_timer(h, &h->timers[i], offset, value);
    follow(h);
}

bl_device *bl_plug_hpet(bl_bus *bus, unsigned able) {
    hpet *h = bl_plug(bus, "hpet", sizeof *h);
    if (h == NULL) return NULL;
    for (unsigned i = 0; i < TIMERS; i++) {
        h->timers[i].config = able >> i & 1 ? CAN_PERIODIC | CAN_64 : 0;
        h->timers[i].comparator = able >> i & 1 ? UINT64_MAX : UINT32_MAX;
        h->timers[i].at = BL_NEVER;
    }
    h->device.read = read;
    h->device.write = write;
    h->device.run = run;
    bl_map(&h->device, BASE, SIZE);
    return &h->device;
}
