/* Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, "Advanced Programmable Interrupt Controller", as an xAPIC of
   version 0x14. The processor is whoever calls bl_lapic_take; there is no other one, so what is sent to others gets nowhere. */
#include "bus.h"
#include "ioapic.h"
#include "lapic.h"

enum { NANOSECONDS = 10, SENDING = 1000, SIZE = 0x1000, LVTS = 6 };
#define BASE 0xfee00000ull
enum { ID = 2, VERSION, TPR = 8, APR, PPR, END, LDR = 13, DFR, SPURIOUS, ISR = 16, TMR = 24, IRR = 32, ERRORS = 40, ICR = 48, ICR_HIGH };
enum { LVT = 50, INITIAL = 56, CURRENT, DIVIDE = 62 };
enum { TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR }; /* of the local vectors */
enum { IS_ENABLED = 0x100, IS_SENDING = 0x1000, IS_MASKED = 0x10000, IS_PERIODIC = 0x20000 };
enum { SENT_ILLEGAL = 0x20, GOT_ILLEGAL = 0x40, NO_REGISTER = 0x80 };

typedef struct lapic {
    bl_device device;
    bl_device *ioapic;
    uint32_t tpr, id, ldr, dfr, spurious, lvt[LVTS], icr, icr_high, divide;
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t noted, shown;     /* errors: since the last write to their register, and as it shows them */
    uint32_t initial;          /* 0: the timer stands still */
    int64_t begun, expires, arrives; /* its count; and when what is sent gets there. BL_NEVER */
} lapic;

static int highest(const uint32_t *bits) {
    for (int word = 7; word >= 0; word--)
        if (bits[word]) return word * 32 + 31 - __builtin_clz(bits[word]);
    return -1;
}

static void set(uint32_t *bits, unsigned vector, int on) {
    bits[vector / 32] = on ? bits[vector / 32] | 1u << vector % 32 : bits[vector / 32] & ~(1u << vector % 32);
}

static void note(lapic *l, uint32_t error) {
    l->noted |= error;
    const uint32_t local = l->lvt[ERROR];
    if (l->spurious & IS_ENABLED && !(local & IS_MASKED) && (local & 0xff) >= 16) set(l->irr, local & 0xff, 1);
}

static void request(lapic *l, unsigned vector, int level) {
    if (vector < 16) {
        note(l, GOT_ILLEGAL);
        return;
    }
    set(l->irr, vector, 1);
    set(l->tmr, vector, level);
}

static uint32_t priority(const lapic *l) {
    const int served = highest(l->isr);
    const uint32_t class = served < 0 ? 0 : (uint32_t)served & 0xf0;
    return (l->tpr & 0xf0) >= class ? l->tpr : class;
}

static int is_for(const lapic *l, unsigned destination, int logical) {
    if (destination == 0xff) return 1;
    if (!logical) return destination == l->id >> 24;
    const unsigned mine = l->ldr >> 24;
    if (l->dfr >> 28 == 0xf) return (destination & mine) != 0;
    return destination >> 4 == mine >> 4 && destination & mine & 15; /* clusters */
}

int bl_lapic_accept(bl_device *device, unsigned vector, unsigned mode, unsigned destination, int logical, int level) {
    lapic *l = (lapic *)device;
    if (!is_for(l, destination & 0xff, logical)) return 0;
    if (mode > 1) return 1; /* not a vector but NMI, INIT and so on: there is no processor to get it */
    if (!(l->spurious & IS_ENABLED)) return 0;
    request(l, vector & 0xff, level);
    return 1;
}

int bl_lapic_take(bl_device *device) {
    lapic *l = (lapic *)device;
    pthread_mutex_lock(&device->bus->mutex);
    int vector = highest(l->irr);
    if (!(l->spurious & IS_ENABLED) || vector < 0 || ((uint32_t)vector & 0xf0) <= (priority(l) & 0xf0)) vector = -1;
    if (vector >= 0) {
        set(l->irr, (unsigned)vector, 0);
        set(l->isr, (unsigned)vector, 1);
    }
    pthread_mutex_unlock(&device->bus->mutex);
    return vector;
}

void bl_lapic_join(bl_device *device, bl_device *ioapic) { ((lapic *)device)->ioapic = ioapic; }

static void end(lapic *l) {
    const int vector = highest(l->isr);
    if (vector < 0) return;
    set(l->isr, (unsigned)vector, 0);
    if (l->ioapic != NULL && l->tmr[vector / 32] >> vector % 32 & 1) bl_ioapic_end(l->ioapic, (unsigned)vector);
}

/* ---- timer ---- */

static int64_t unit(const lapic *l) {
    const uint32_t code = (l->divide & 3) | (l->divide >> 1 & 4);
    return NANOSECONDS * (code == 7 ? 1 : 2ll << code);
}

static uint32_t current(const lapic *l) {
    if (l->initial == 0) return 0;
    const uint64_t gone = (uint64_t)((l->device.bus->now - l->begun) / unit(l));
    if (l->lvt[TIMER] & IS_PERIODIC) return l->initial - (uint32_t)(gone % l->initial);
    return gone < l->initial ? l->initial - (uint32_t)gone : 0;
}

/* The count goes on from what it is, after `divide` or the mode were changed. */
static void resume(lapic *l, uint32_t left) { l->begun = l->device.bus->now - (int64_t)(l->initial - left) * unit(l); }

static void follow(lapic *l) {
    const int64_t now = l->device.bus->now, period = (int64_t)l->initial * unit(l);
    l->expires = BL_NEVER;
    if (l->initial != 0) {
        if (l->lvt[TIMER] & IS_PERIODIC) l->expires = l->begun + ((now - l->begun) / period + 1) * period;
        else if (now < l->begun + period) l->expires = l->begun + period;
    }
    l->device.due = l->expires < l->arrives ? l->expires : l->arrives;
}

static void arrive(lapic *l) {
    const unsigned shorthand = l->icr >> 18 & 3, mode = l->icr >> 8 & 7;
    l->icr &= ~(uint32_t)IS_SENDING;
    if (shorthand == 3) return; /* to all others */
    if (shorthand || is_for(l, l->icr_high >> 24, l->icr & 0x800))
        bl_lapic_accept(&l->device, l->icr & 0xff, mode, 0xff, 0, 0);
}

static void run(bl_device *device) {
    lapic *l = (lapic *)device;
    if (l->expires <= device->bus->now && !(l->lvt[TIMER] & IS_MASKED)) request(l, l->lvt[TIMER] & 0xff, 0);
    if (l->arrives <= device->bus->now) {
        l->arrives = BL_NEVER;
        arrive(l);
    }
    follow(l);
}

/* ---- registers ---- */

static uint32_t read(bl_device *device, uint64_t offset, unsigned width) {
    lapic *l = (lapic *)device;
    const unsigned at = (unsigned)(offset >> 4);
    if (offset & 15) return 0; /* each one is the first of 16 bytes */
    if (at >= ISR && at < ERRORS) return (at < TMR ? l->isr : at < IRR ? l->tmr : l->irr)[at & 7];
    if (at >= LVT && at < LVT + LVTS) return l->lvt[at - LVT];
    switch (at) {
        case ID: return l->id;
        case VERSION: return (LVTS - 1) << 16 | 0x14;
        case TPR: return l->tpr;
        case APR: case PPR: return priority(l);
        case END: return 0;
        case LDR: return l->ldr;
        case DFR: return l->dfr;
        case SPURIOUS: return l->spurious;
        case ERRORS: return l->shown;
        case ICR: return l->icr;
        case ICR_HIGH: return l->icr_high;
        case INITIAL: return l->initial;
        case CURRENT: return current(l);
        case DIVIDE: return l->divide;
        default: note(l, NO_REGISTER); return 0;
    }
}

static void set_spurious(lapic *l, uint32_t value) {
    l->spurious = value & 0x3ff;
    if (value & IS_ENABLED) {
        if (l->ioapic != NULL) bl_ioapic_again(l->ioapic);
    } else
        for (unsigned i = 0; i < LVTS; i++) l->lvt[i] |= IS_MASKED;
}

static void set_local(lapic *l, unsigned which, uint32_t value) {
    static const uint32_t writable[] = {0x300ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};
    const uint32_t left = current(l);
    l->lvt[which] = (value & writable[which]) | (l->spurious & IS_ENABLED ? 0 : IS_MASKED);
    if (which == TIMER) resume(l, left);
}

static void send(lapic *l, uint32_t value) {
    l->icr = (value & 0xccfff) | IS_SENDING;
    l->arrives = l->device.bus->now + SENDING;
    if ((value & 0x700) == 0 && (value & 0xff) < 16) note(l, SENT_ILLEGAL);
}

static void write(bl_device *device, uint64_t offset, unsigned width, uint32_t value) {
    lapic *l = (lapic *)device;
    const unsigned at = (unsigned)(offset >> 4);
    if (offset & 15 || width != 4) return; /* undefined */
    switch (at) {
        case ID: l->id = value & 0xff000000; break;
        case TPR: l->tpr = value & 0xff; break;
        case END: end(l); break;
        case LDR: l->ldr = value & 0xff000000; break;
        case DFR: l->dfr = value | 0x0fffffff; break;
        case SPURIOUS: set_spurious(l, value); break;
        case ERRORS:
            l->shown = l->noted;
            l->noted = 0;
            break;
        case ICR: send(l, value); break;
        case ICR_HIGH: l->icr_high = value & 0xff000000; break;
        case INITIAL:
            l->initial = value;
            l->begun = device->bus->now;
            break;
        case DIVIDE: {
            const uint32_t left = current(l);
            l->divide = value & 0x0b;
            resume(l, left);
            break;
        }
        default:
            if (at >= LVT && at < LVT + LVTS) set_local(l, at - LVT, value);
            else note(l, NO_REGISTER);
    }
    follow(l);
}

bl_device *bl_plug_lapic(bl_bus *bus) {
    lapic *l = bl_plug(bus, "lapic", sizeof *l);
    if (l == NULL) return NULL;
    l->dfr = UINT32_MAX;
    l->spurious = 0xff;
    for (unsigned i = 0; i < LVTS; i++) l->lvt[i] = IS_MASKED;
    l->expires = l->arrives = BL_NEVER;
    l->device.read = read;
    l->device.write = write;
    l->device.run = run;
    bl_map(&l->device, BASE, SIZE);
    return &l->device;
}
