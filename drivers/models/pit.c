/* Intel 8254 data sheet (231164-005), "Operational Description"; IBM PC AT Technical Reference, port 0x61.

   A counter is not counted: `loaded` is the tick at which its count was loaded, and what it shows is worked out from the time. Counter 2 is
   the only one whose gate a program can move: so the modes 1 and 5, which a rising gate triggers, do something only there. */
#include "bus.h"
#include "pit.h"

enum { HERTZ = 1193182, IRQ = 0, FIRST_TICK = 1 << 17 /* later than any count is long */ };

typedef struct counter {
    unsigned mode, access, bcd; /* of the control word; access 1: low byte, 2: high byte, 3: both */
    uint32_t count;             /* 1 to 65536 */
    uint32_t next;              /* count, when the period or half period that runs is over, or at the next trigger; 0: none */
    uint64_t next_at;           /* tick; UINT64_MAX: only at the trigger */
    uint32_t next_elapsed;      /* of it, then: a half of a wave, or 0 */
    uint64_t loaded;            /* tick; in the modes 1 and 5: when it was triggered */
    int running;                /* it has a count, and was triggered if it must be */
    int gate, paused;           /* but in the modes 1 and 5 it counts only while its gate is high */
    uint64_t held;              /* what had elapsed when it was paused */
    uint8_t first;              /* of two bytes that are written */
    int has_first, reads_high;
    uint16_t latch;
    unsigned latched;           /* bytes of the latch that are to be read */
    uint8_t status;
    int has_status;
} counter;

typedef struct pit {
    bl_device device;
    counter counters[3];
    int speaker;    /* bit 1 of port 0x61 */
    int is_cut_off; /* from its line */
} pit;

static uint64_t tick(const pit *p) { return bl_ticks(p->device.bus->now, HERTZ) + FIRST_TICK; }

/* How far it is behind its loading; the count arrives with the next pulse of the clock. */
static uint64_t elapsed(const pit *p, const counter *c) {
    if (c->paused) return c->held;
    return tick(p) > c->loaded ? tick(p) - c->loaded : 0;
}

static void take_next(counter *c, uint64_t loaded) {
    if (c->next) c->count = c->next;
    c->next = 0;
    c->loaded = loaded;
}

/* What has come since the last time: a new count, at the end of a period. */
static void settle(pit *p) {
    for (unsigned i = 0; i < 3; i++) {
        counter *c = &p->counters[i];
        if (c->next && !c->paused && tick(p) >= c->next_at) take_next(c, c->next_at - c->next_elapsed);
    }
}

static int output(const pit *p, const counter *c) {
    const uint64_t d = elapsed(p, c), n = c->count;
    switch (c->mode) {
        case 0: return c->running && d >= n;
        case 1: return !c->running || d >= n;
        case 2: return !c->running || c->paused || d % n != n - 1;
        case 3: return !c->running || c->paused || d % n < (n + 1) / 2;
        default: return !c->running || d != n; /* 4, 5 */
    }
}

static uint16_t shown(const pit *p, const counter *c) {
    const uint64_t d = elapsed(p, c), n = c->count;
    uint64_t left;
    if (!c->running) left = n;
    else if (c->mode == 2) left = n - d % n;
    else if (c->mode == 3) {
        const uint64_t half = d % n < (n + 1) / 2 ? d % n : d % n - (n + 1) / 2; /* by two, with each half */
        left = (n & ~1ull) - 2 * half;
    } else left = n + 65536ull * 10000 - d % (65536ull * 10000); /* it goes round, in either way of counting */
    if (!c->bcd) return (uint16_t)left;
    left %= 10000;
    return (uint16_t)(left / 1000 << 12 | left / 100 % 10 << 8 | left / 10 % 10 << 4 | left % 10);
}

/* The tick of the next change of the output, or 0. */
static uint64_t next_change(const pit *p, const counter *c) {
    if (!c->running || c->paused) return 0;
    const uint64_t d = elapsed(p, c), n = c->count, begun = d - d % n;
    uint64_t at;
    switch (c->mode) {
        case 0: case 1: at = d < n ? n : 0; break;
        case 2: at = d % n < n - 1 ? begun + n - 1 : begun + n; break;
        case 3: at = d % n < (n + 1) / 2 ? begun + (n + 1) / 2 : begun + n; break;
        default: at = d < n ? n : d == n ? n + 1 : 0;
    }
    return at ? c->loaded + at : 0;
}

/* The line of counter 0, and when it changes. */
static void follow(pit *p) {
    const uint64_t at = next_change(p, &p->counters[0]);
    p->device.due = at ? bl_when(at - FIRST_TICK, HERTZ) : BL_NEVER;
    if (!p->is_cut_off) bl_irq(&p->device, IRQ, output(p, &p->counters[0]));
}

static void run(bl_device *device) {
    settle((pit *)device);
    follow((pit *)device);
}

static void load(pit *p, counter *c, uint16_t written) {
    uint32_t count = written;
    if (c->bcd) count = (written >> 12) * 1000u + (written >> 8 & 15) * 100u + (written >> 4 & 15) * 10u + (written & 15);
    if (count == 0) count = c->bcd ? 10000 : 65536;
    if (c->running && c->mode != 0 && c->mode != 4) { /* what runs goes on; then the new count */
        const uint64_t n = c->count, d = elapsed(p, c), begun = c->loaded + d - d % n, half = (n + 1) / 2;
        const int is_first = c->mode == 3 && d % n < half;
        c->next = count;
        c->next_at = c->mode == 1 || c->mode == 5 ? UINT64_MAX : begun + (is_first ? half : n);
        c->next_elapsed = is_first ? (count + 1) / 2 : 0;
        return;
    }
    c->count = count;
    if (c->mode == 1 || c->mode == 5) return; /* it waits for its gate */
    c->running = 1;
    c->paused = !c->gate;
    c->held = 0;
    c->loaded = tick(p) + 1;
}

static void control(pit *p, uint8_t word) {
    const unsigned which = word >> 6;
    if (which == 3) { /* read-back */
        for (unsigned i = 0; i < 3; i++) {
            counter *c = &p->counters[i];
            if (!(word >> (i + 1) & 1)) continue;
            if (!(word & 0x20) && c->latched == 0) {
                c->latch = shown(p, c);
                c->latched = c->access == 3 ? 2 : 1;
            }
            if (!(word & 0x10) && !c->has_status) {
                c->status = (uint8_t)(output(p, c) << 7 | (!c->running || c->next) << 6 | c->access << 4 | c->mode << 1 | c->bcd);
                c->has_status = 1;
            }
        }
        return;
    }
    counter *c = &p->counters[which];
    if ((word & 0x30) == 0) { /* latch */
        if (c->latched == 0) {
            c->latch = shown(p, c);
            c->latched = c->access == 3 ? 2 : 1;
        }
        return;
    }
    c->access = word >> 4 & 3;
    c->mode = word >> 1 & 7;
    if (c->mode > 5) c->mode &= 3; /* 6 and 7 are 2 and 3 */
    c->bcd = word & 1;
    c->running = c->paused = c->has_first = c->reads_high = 0;
    c->next = 0;
    c->latched = 0;
    c->has_status = 0;
}

static uint8_t read(pit *p, uint16_t port) {
    if (port == 0x61) {
        const int refresh = (int)(p->device.bus->now / 15085 & 1); /* of memory, every 15 us */
        return (uint8_t)(p->counters[2].gate | p->speaker << 1 | refresh << 4 | output(p, &p->counters[2]) << 5);
    }
    if (port == 0x43) return 0xff;
    counter *c = &p->counters[port - 0x40];
    if (c->has_status) {
        c->has_status = 0;
        return c->status;
    }
    const uint16_t value = c->latched ? c->latch : shown(p, c);
    if (c->latched) c->latched--;
    if (c->access == 3) {
        c->reads_high = !c->reads_high;
        return (uint8_t)(c->reads_high ? value : value >> 8);
    }
    return (uint8_t)(c->access == 2 ? value >> 8 : value);
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    uint32_t value = 0;
    settle((pit *)device);
    for (unsigned byte = 0; byte < width; byte++) value |= (uint32_t)read((pit *)device, (uint16_t)(port + byte)) << 8 * byte;
    return value;
}

static void gate_speaker(pit *p, int gate) {
    counter *c = &p->counters[2];
    const int is_triggered = c->mode == 1 || c->mode == 5, rises = gate && !c->gate, falls = !gate && c->gate;
    c->gate = gate;
    if (rises && is_triggered && c->count) {
        c->running = 1;
        take_next(c, tick(p) + 1);
    } else if (rises && c->paused) {
        c->paused = 0;
        if (c->mode == 2 || c->mode == 3) take_next(c, tick(p) + 1); /* these begin anew, the others go on */
        else c->loaded = tick(p) - c->held;
    } else if (falls && !is_triggered && c->running) {
        c->held = elapsed(p, c);
        c->paused = 1;
    }
}

static void write(pit *p, uint16_t port, uint8_t value) {
    if (port == 0x61) {
        p->speaker = value >> 1 & 1;
        gate_speaker(p, value & 1);
    } else if (port == 0x43) control(p, value);
    else {
        counter *c = &p->counters[port - 0x40];
        if (c->access == 3 && !c->has_first) {
            c->first = value;
            c->has_first = 1;
            if (c->mode == 0) c->running = 0; /* the first byte stops it */
        } else {
            const uint8_t low = c->access == 3 ? c->first : c->access == 1 ? value : 0;
            const uint8_t high = c->access == 1 ? 0 : value;
            c->has_first = 0;
            load(p, c, (uint16_t)(high << 8 | low));
        }
    }
    follow(p);
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    settle((pit *)device);
    for (unsigned byte = 0; byte < width; byte++) write((pit *)device, (uint16_t)(port + byte), (uint8_t)(value >> 8 * byte));
}

double bl_pit_tone(bl_device *device) {
    const pit *p = (pit *)device;
    const counter *c = &p->counters[2];
    settle((pit *)device);
    return p->speaker && c->running && !c->paused && c->mode == 3 ? (double)HERTZ / c->count : 0;
}

void bl_pit_cut_off(bl_device *device, int is_cut_off) {
    pit *p = (pit *)device;
    if (p->is_cut_off == is_cut_off) return;
    p->is_cut_off = is_cut_off;
    if (is_cut_off) bl_irq(device, IRQ, 0);
    else if (p->counters[0].running) run(device);
}

bl_device *bl_plug_pit(bl_bus *bus) {
    pit *p = bl_plug(bus, "pit", sizeof *p);
    if (p == NULL) return NULL;
    for (unsigned i = 0; i < 3; i++) {
        p->counters[i].count = 65536;
        p->counters[i].access = 3;
        p->counters[i].mode = 3;
        p->counters[i].gate = i < 2;
    }
    p->device.in = in;
    p->device.out = out;
    p->device.run = run;
    bl_claim(&p->device, 0x40, 0x43);
    bl_claim(&p->device, 0x61, 0x61);
    return &p->device;
}
