/* Motorola MC146818A data sheet (1984): "Update cycle", "Interrupts", registers A to D; IBM PC AT Technical Reference, ports 0x70 and 0x71.

   The registers are counters: they are brought up to date, a second after the other, whenever somebody looks. A second ends with an update
   cycle: for 2228 us before, "update in progress" is 1, and for the last 1984 us of these the time cannot be read: all ones. Dividers for
   other crystals than a PC's let the clock stand still. The century, register 0x32, counts as in later chips. Not there: daylight saving. */
#include "bus.h"
#include "rtc.h"

enum { IRQ = 8, HERTZ = 32768 };
enum { SECOND, SECOND_ALARM, MINUTE, MINUTE_ALARM, HOUR, HOUR_ALARM, WEEKDAY, DAY, MONTH, YEAR, A, B, C, D, CENTURY = 0x32 };
enum { UIP = 0x80, DIVIDER = 0x70, RUNS = 0x20, RESET = 0x60, RATE = 0x0f }; /* A */
enum { SET = 0x80, PF = 0x40, AF = 0x20, UF = 0x10, BINARY = 0x04, HOURS_24 = 0x02 }; /* B; the flags are enabled there, and shown in C */
enum { IRQF = 0x80, FLAGS = PF | AF | UF, VALID = 0x80, PM = 0x80, ANY = 0xc0 };
#define AHEAD 2228000ll
#define UPDATE 1984000ll

typedef struct rtc {
    bl_device device;
    uint8_t registers[128];
    unsigned index;
    int nmi_masked;
    int64_t next;   /* end of the next update cycle, ns */
    int64_t begun;  /* since when the divider runs */
    uint64_t seen;  /* periods since then that PF has told of */
} rtc;

static unsigned decoded(const rtc *r, unsigned value) { return r->registers[B] & BINARY ? value : (value >> 4) * 10 + (value & 15); }
static uint8_t encoded(const rtc *r, unsigned value) { return (uint8_t)(r->registers[B] & BINARY ? value : (value / 10 % 10) << 4 | value % 10); }
static unsigned get(const rtc *r, unsigned which) { return decoded(r, r->registers[which]); }
static void put(rtc *r, unsigned which, unsigned value) { r->registers[which] = encoded(r, value); }

static unsigned hour(const rtc *r) {
    if (r->registers[B] & HOURS_24) return get(r, HOUR);
    return decoded(r, r->registers[HOUR] & ~PM & 0xff) % 12 + (r->registers[HOUR] & PM ? 12 : 0);
}

static void put_hour(rtc *r, unsigned value) {
    if (r->registers[B] & HOURS_24) put(r, HOUR, value);
    else r->registers[HOUR] = (uint8_t)(encoded(r, value % 12 ? value % 12 : 12) | (value >= 12 ? PM : 0));
}

static unsigned month_length(const rtc *r) {
    const unsigned month = get(r, MONTH);
    if (month == 2) return get(r, YEAR) % 4 ? 28 : 29; /* it knows no better */
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* One more, from `least` up to `most`. Does the next one count, too? */
static int carries(rtc *r, unsigned which, unsigned least, unsigned most) {
    const unsigned value = get(r, which);
    put(r, which, value == most ? least : value + 1);
    return value == most;
}

static int alarms(const rtc *r, unsigned which) {
    return (r->registers[which + 1] & ANY) == ANY || r->registers[which + 1] == r->registers[which];
}

static void next_day(rtc *r) {
    carries(r, WEEKDAY, 1, 7);
    if (carries(r, DAY, 1, month_length(r)) && carries(r, MONTH, 1, 12) && carries(r, YEAR, 0, 99)) carries(r, CENTURY, 0, 99);
}

static void update(rtc *r) {
    if (carries(r, SECOND, 0, 59) && carries(r, MINUTE, 0, 59)) {
        const unsigned now = hour(r);
        put_hour(r, now == 23 ? 0 : now + 1);
        if (now == 23) next_day(r);
    }
    if (alarms(r, SECOND) && alarms(r, MINUTE) && alarms(r, HOUR)) r->registers[C] |= AF;
}

static int runs(const rtc *r) { return (r->registers[A] & DIVIDER) == RUNS; }

/* Ticks of the crystal in a period, as a power of two; -1: there is none. Two of the rates are there twice. */
static int period(const rtc *r) {
    const int rate = r->registers[A] & RATE;
    return !runs(r) ? -1 : rate > 2 ? rate - 1 : rate + 6 - (rate == 0) * 7;
}

static uint64_t periods(const rtc *r) { return period(r) < 0 ? 0 : bl_ticks(r->device.bus->now - r->begun, HERTZ) >> period(r); }

static void catch_up(rtc *r) {
    while (runs(r) && r->next <= r->device.bus->now) {
        r->next += BL_SECOND;
        r->registers[C] |= UF;
        if (!(r->registers[B] & SET)) update(r); /* "setting the SET bit allows" interrupts all the same */
    }
    if (periods(r) != r->seen) r->registers[C] |= PF;
    r->seen = periods(r);
}

/* The line, and when it may rise by itself. */
static void follow(rtc *r) {
    const unsigned wanted = r->registers[B] & FLAGS;
    r->registers[C] &= FLAGS;
    if (r->registers[C] & wanted) r->registers[C] |= IRQF;
    r->device.due = BL_NEVER;
    if (!(r->registers[C] & IRQF)) {
        if (runs(r) && wanted & (AF | UF)) r->device.due = r->next;
        if (period(r) >= 0 && wanted & PF) {
            const int64_t at = r->begun + bl_when((r->seen + 1) << period(r), HERTZ);
            if (at < r->device.due) r->device.due = at;
        }
    }
    bl_irq(&r->device, IRQ, r->registers[C] & IRQF);
}

static void run(bl_device *device) {
    catch_up((rtc *)device);
    follow((rtc *)device);
}

static uint8_t read(rtc *r) {
    const int counts = runs(r) && !(r->registers[B] & SET);
    const int64_t left = r->next - r->device.bus->now;
    uint8_t value = r->registers[r->index];
    switch (r->index) {
        case SECOND: case MINUTE: case HOUR: case WEEKDAY: case DAY: case MONTH: case YEAR: return counts && left <= UPDATE ? 0xff : value;
        case A: return (uint8_t)(value | (counts && left <= AHEAD ? UIP : 0));
        case C:
            r->registers[C] = 0;
            follow(r);
            return value;
        case D:
            r->registers[D] = VALID; /* only the battery's next failure clears it */
            return value;
        default: return value;
    }
}

static void write(rtc *r, uint8_t value) {
    switch (r->index) {
        case A:
            if (!runs(r) && (value & DIVIDER) == RUNS) { /* after a reset the first update comes half a second later */
                r->begun = r->device.bus->now;
                r->next = r->begun + ((r->registers[A] & RESET) == RESET ? BL_SECOND / 2 : BL_SECOND);
            }
            r->registers[A] = value & ~UIP & 0xff;
            r->seen = periods(r);
            break;
        case B: r->registers[B] = value & SET && !(r->registers[B] & SET) ? value & ~UF & 0xff : value; break;
        case C: case D: return;
        default: r->registers[r->index] = value;
    }
    follow(r);
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    rtc *r = (rtc *)device;
    uint32_t value = UINT32_MAX; /* port 0x70 can only be written */
    run(device);
    for (unsigned byte = 0; byte < width; byte++)
        if (port + byte == 0x71) value = (value & ~(0xffu << 8 * byte)) | (uint32_t)read(r) << 8 * byte;
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    rtc *r = (rtc *)device;
    run(device);
    for (unsigned byte = 0; byte < width; byte++, value >>= 8) {
        if (port + byte == 0x71) write(r, (uint8_t)value);
        else {
            r->index = value & 0x7f;
            r->nmi_masked = value >> 7 & 1;
        }
    }
}

void bl_rtc_set_battery(bl_device *device, int is_good) { ((rtc *)device)->registers[D] = is_good ? VALID : 0; }
int bl_rtc_is_nmi_masked(bl_device *device) { return ((rtc *)device)->nmi_masked; }

static void set_time(rtc *r, int64_t seconds) {
    const unsigned of_day = (unsigned)(seconds % 86400);
    put(r, SECOND, of_day % 60);
    put(r, MINUTE, of_day / 60 % 60);
    put_hour(r, of_day / 3600);
    put(r, WEEKDAY, 5); /* 1970 began on a Thursday; 1 is Sunday */
    put(r, DAY, 1);
    put(r, MONTH, 1);
    put(r, YEAR, 70);
    put(r, CENTURY, 19);
    for (int64_t days = seconds / 86400; days > 0; days--) next_day(r);
}

bl_device *bl_plug_rtc(bl_bus *bus, int64_t seconds) {
    if (seconds < 0 || seconds > 4102444800) return NULL; /* the year 2100 */
    rtc *r = bl_plug(bus, "rtc", sizeof *r);
    if (r == NULL) return NULL;
    r->registers[A] = RUNS | 6;
    r->registers[B] = HOURS_24;
    r->registers[D] = VALID;
    r->begun = bus->now;
    r->next = bus->now + BL_SECOND;
    set_time(r, seconds);
    r->device.in = in;
    r->device.out = out;
    r->device.run = run;
    bl_claim(&r->device, 0x70, 0x71);
    return &r->device;
}
