/* Intel 8042 as programmed by IBM: PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller" (1988); the same,
   "Keyboards (101- and 102-Key)"; "PS/2 Mouse Technical Reference"; Microsoft, "IntelliMouse" protocol (identities 3 and 4).

   A byte takes BYTE on a device's wire. It waits there while the output buffer is full, since the controller then holds the clock; a
   device's answers go before what it has to say by itself. A byte that is written while the input buffer is still full is lost. */
#include "bus.h"
#include "i8042.h"

enum { DATA = 0x60, COMMAND = 0x64 };
enum { OUTPUT_FULL = 1, INPUT_FULL = 2, SYSTEM = 4, IS_COMMAND = 8, UNLOCKED = 0x10, FROM_AUX = 0x20, NO_ANSWER = 0x40 };  /* status */
enum { INT_1 = 1, INT_2 = 2, DISABLE_1 = 0x10, DISABLE_2 = 0x20, TRANSLATE = 0x40 };                                      /* configuration */
enum { ACK = 0xfa, RESEND = 0xfe, PASSED = 0xaa, FAILED = 0xfc };
enum { ABSENT, PRESENT, FAILING, DEAF };
enum { ROOM = 16 };
#define MICROSECOND 1000ll
#define BYTE (1000 * MICROSECOND)
#define BUSY (10 * MICROSECOND)
#define ANSWER (50 * MICROSECOND)
#define SELF_TEST (500000 * MICROSECOND)
#define LIMIT (15000 * MICROSECOND) /* for a device to answer */

/* The controller's table: from scan codes of set 2 to set 1. */
static const uint8_t set_1[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

typedef struct fifo {
    uint8_t bytes[ROOM + 1]; /* the last one only for the code of an overrun */
    unsigned first, count;
} fifo;

typedef struct port {
    int what;
    int reports;         /* keys or moves */
    fifo answers, data;
    int64_t ready;       /* the next byte is through the wire */
    int64_t tested;      /* the self-test is over; BL_NEVER: none runs */
    uint8_t expects;     /* the command whose parameter is to come */
    uint8_t last;        /* byte that was sent */
} port;

typedef struct keyboard {
    unsigned set, leds, typematic;
    uint32_t held;       /* the key that repeats, or 0 */
    int64_t repeats;     /* when */
} keyboard;

typedef struct mouse {
    int resolution, rate, doubled, is_remote, wraps, identity, changed;
    int dx, dy, wheel;
    unsigned buttons;
    uint8_t rates[2];    /* the two that were set before */
    int64_t next;        /* report, at the soonest */
} mouse;

typedef struct i8042 {
    bl_device device;
    port ports[2];
    keyboard keyboard;
    mouse mouse;
    unsigned count;      /* of the ports */
    uint8_t status, config, outputs, output;
    uint8_t ram[32];
    uint8_t expects;
    int is_break;        /* 0xf0 has come, and is translated with the next byte */
    int has_answer;
    uint8_t answer, answer_status;
    int64_t answer_at, busy_until;
} i8042;

static int64_t now(const i8042 *c) { return c->device.bus->now; }
static int64_t sooner(int64_t a, int64_t b) { return a < b ? a : b; }

static void push(fifo *f, uint8_t byte) {
    if (f->count <= ROOM) f->bytes[(f->first + f->count++) % (ROOM + 1)] = byte;
}

static uint8_t pop(fifo *f) {
    const uint8_t byte = f->bytes[f->first];
    f->first = (f->first + 1) % (ROOM + 1);
    f->count--;
    return byte;
}

static void say(i8042 *c, port *p, fifo *f, uint8_t byte) {
    if (p->answers.count + p->data.count == 0) p->ready = now(c) + BYTE;
    push(f, byte);
}

static void reply(i8042 *c, port *p, int byte) { say(c, p, &p->answers, (uint8_t)byte); }

/* A byte of set 2 as one of set 1, or -1: the next one tells. */
static int translated(int *is_break, uint8_t byte) {
    if (byte == 0xf0) {
        *is_break = 1;
        return -1;
    }
    const int code = byte < 128 ? set_1[byte] : byte == 0x83 ? 0x41 : byte == 0x84 ? 0x54 : byte;
    const int result = *is_break ? code | 0x80 : code;
    if (byte < 0xe0) *is_break = 0;
    return result;
}

/* ---- the keyboard ---- */

static unsigned sequence(const i8042 *c, uint32_t code, int down, uint8_t *bytes) {
    uint8_t raw[12];
    unsigned count = 0, kept = 0;
    const int is_pause = code == 0xe11477, is_print = code == 0xe012e07c;
    if (is_pause) {
        static const uint8_t pause[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77}; /* all of it when it is pressed */
        for (unsigned i = 0; down && i < sizeof pause; i++) raw[count++] = pause[i];
    } else {
        if (is_print && !down) code = 0xe07ce012;
        for (int at = 24; at >= 0; at -= 8) {
            const uint8_t byte = (uint8_t)(code >> at);
            if (byte == 0) continue;
            if (!down && byte < 0xe0) raw[count++] = 0xf0;
            raw[count++] = byte;
        }
    }
    int is_break = 0;
    for (unsigned i = 0; i < count; i++) {
        const int byte = c->keyboard.set == 1 ? translated(&is_break, raw[i]) : raw[i];
        if (byte >= 0) bytes[kept++] = (uint8_t)byte;
    }
    return kept;
}

static void key(i8042 *c, uint32_t code, int down) {
    port *p = &c->ports[0];
    uint8_t bytes[12];
    if (p->what == ABSENT || !p->reports || p->tested != BL_NEVER) return;
    const unsigned count = sequence(c, code, down, bytes);
    if (p->data.count + count > ROOM) { /* never a part of it */
        const uint8_t overrun = c->keyboard.set == 1 ? 0xff : 0;
        if (p->data.bytes[(p->data.first + p->data.count - 1) % (ROOM + 1)] != overrun) push(&p->data, overrun);
        return;
    }
    for (unsigned i = 0; i < count; i++) say(c, p, &p->data, bytes[i]);
}

static int64_t period(const keyboard *k) { return (8 + (k->typematic & 7)) * (1ll << (k->typematic >> 3 & 3)) * 4170 * MICROSECOND; }

static void set_keyboard_defaults(i8042 *c) {
    c->keyboard = (keyboard){.set = 2, .typematic = 0x2b, .repeats = BL_NEVER};
    c->ports[0].data.count = 0;
    c->ports[0].reports = 1;
}

static void to_keyboard(i8042 *c, uint8_t byte) {
    port *p = &c->ports[0];
    keyboard *k = &c->keyboard;
    const uint8_t command = p->expects;
    p->expects = 0;
    if (command && byte < 0x80) {
        const int is_valid = command != 0xf0 || byte <= 2;
        reply(c, p, is_valid ? ACK : RESEND);
        if (command == 0xed) k->leds = byte & 7;
        if (command == 0xf3) k->typematic = byte;
        if (command == 0xf0 && byte == 0) reply(c, p, (int)k->set);
        else if (command == 0xf0 && is_valid) k->set = byte;
        return;
    }
    switch (byte) {
        case 0xed: case 0xf0: case 0xf3: p->expects = byte; break;
        case 0xee: reply(c, p, 0xee); return;
        case 0xf2:
            reply(c, p, ACK);
            reply(c, p, 0xab);
            reply(c, p, 0x83);
            return;
        case 0xf4: p->data.count = 0; p->reports = 1; break;
        case 0xf5: set_keyboard_defaults(c); p->reports = 0; break;
        case 0xf6: set_keyboard_defaults(c); break;
        case 0xfe: reply(c, p, p->last); return;
        case 0xff:
            set_keyboard_defaults(c);
            p->tested = now(c) + SELF_TEST;
            break;
        default: reply(c, p, RESEND); return;
    }
    reply(c, p, ACK);
}

/* ---- the mouse ---- */

/* A counter of nine bits, which stops at its ends. */
static int counted(int moved, int *overflows) {
    *overflows = moved < -256 || moved > 255;
    return moved < -256 ? -256 : moved > 255 ? 255 : moved;
}

static int doubled(int n) {
    static const int small[] = {0, 1, 1, 3, 6, 9};
    const int size = n < 0 ? -n : n, scaled = size < 6 ? small[size] : 2 * size;
    return n < 0 ? -scaled : scaled;
}

static void packet(i8042 *c, fifo *f) {
    mouse *m = &c->mouse;
    port *p = &c->ports[1];
    int over_x, over_y;
    const int scaling = m->doubled && !m->is_remote;
    const int dx = counted(scaling ? doubled(m->dx) : m->dx, &over_x), dy = counted(scaling ? doubled(m->dy) : m->dy, &over_y);
    const int wheel = m->wheel < -8 ? -8 : m->wheel > 7 ? 7 : m->wheel;
    const int signs = (dx < 0) << 4 | (dy < 0) << 5 | over_x << 6 | over_y << 7;
    say(c, p, f, (uint8_t)((m->buttons & 7) | 8u | (unsigned)signs));
    say(c, p, f, (uint8_t)dx);
    say(c, p, f, (uint8_t)dy);
    if (m->identity == 3) say(c, p, f, (uint8_t)wheel);
    if (m->identity == 4) say(c, p, f, (uint8_t)((wheel & 15) | (m->buttons & 0x18) << 1));
    m->dx = m->dy = m->wheel = m->changed = 0;
    m->next = now(c) + BL_SECOND / m->rate;
}

static void set_mouse_defaults(i8042 *c) {
    const int identity = c->mouse.identity;
    c->mouse = (mouse){.resolution = 2, .rate = 100, .identity = identity, .buttons = c->mouse.buttons};
    c->ports[1].data.count = 0;
    c->ports[1].reports = 0;
}

static int is_rate(uint8_t n) { return n == 10 || n == 20 || n == 40 || n == 60 || n == 80 || n == 100 || n == 200; }

static void set_rate(mouse *m, uint8_t rate) {
    if (m->rates[0] == 200 && m->rates[1] == 100 && rate == 80) m->identity = 3;
    if (m->rates[0] == 200 && m->rates[1] == 200 && rate == 80) m->identity = 4;
    m->rates[0] = m->rates[1];
    m->rates[1] = rate;
    m->rate = rate;
}

static void to_mouse(i8042 *c, uint8_t byte) {
    port *p = &c->ports[1];
    mouse *m = &c->mouse;
    const uint8_t command = p->expects;
    p->expects = 0;
    if (m->wraps && byte != 0xec && byte != 0xff) {
        reply(c, p, byte);
        return;
    }
    p->data.count = 0; /* any command ends a report */
    if (command && byte != 0xff) {
        const int is_valid = command == 0xf3 ? is_rate(byte) : byte <= 3;
        reply(c, p, is_valid ? ACK : RESEND);
        if (is_valid && command == 0xf3) set_rate(m, byte);
        if (is_valid && command == 0xe8) m->resolution = byte;
        return;
    }
    if (byte == 0xfe) {
        reply(c, p, p->last);
        return;
    }
    if (byte < 0xe6 || byte == 0xed || byte == 0xef || byte == 0xf1 || (byte > 0xf6 && byte < 0xff)) {
        reply(c, p, RESEND);
        return;
    }
    reply(c, p, ACK);
    switch (byte) {
        case 0xe6: case 0xe7: m->doubled = byte & 1; break;
        case 0xe8: case 0xf3: p->expects = byte; break;
        case 0xe9: {
            const unsigned swapped = (m->buttons & 1) << 2 | (m->buttons & 2) >> 1 | (m->buttons & 4) >> 1;
            reply(c, p, (int)(m->is_remote << 6 | p->reports << 5 | m->doubled << 4) | (int)swapped);
            reply(c, p, m->resolution);
            reply(c, p, m->rate);
            break;
        }
        case 0xea: m->is_remote = 0; break;
        case 0xeb: packet(c, &p->answers); break;
        case 0xec: m->wraps = 0; break;
        case 0xee: m->wraps = 1; break;
        case 0xf0: m->is_remote = 1; break;
        case 0xf2: reply(c, p, m->identity); break;
        case 0xf4: case 0xf5: p->reports = byte == 0xf4; m->dx = m->dy = m->wheel = m->changed = 0; break;
        case 0xff: m->identity = 0; p->tested = now(c) + SELF_TEST; /* fall through */
        case 0xf6: set_mouse_defaults(c); break;
    }
}

/* ---- the controller ---- */

static void fill(i8042 *c, uint8_t byte, unsigned status) {
    c->output = byte;
    c->status = (uint8_t)((c->status & ~(unsigned)(FROM_AUX | NO_ANSWER)) | OUTPUT_FULL | status);
}

static void answer(i8042 *c, uint8_t byte, uint8_t status, int64_t after) {
    c->has_answer = 1;
    c->answer = byte;
    c->answer_status = status;
    c->answer_at = now(c) + after;
}

/* A device's byte is through; it may be one that the translation swallows. */
static void take(i8042 *c, unsigned which) {
    port *p = &c->ports[which];
    p->last = pop(p->answers.count ? &p->answers : &p->data);
    p->ready = now(c) + BYTE;
    const int byte = which == 0 && c->config & TRANSLATE ? translated(&c->is_break, p->last) : p->last;
    if (byte >= 0) fill(c, (uint8_t)byte, which ? FROM_AUX : 0);
}

/* Do what can be done now, and say when there is more. */
static void settle(i8042 *c) {
    mouse *m = &c->mouse;
    port *aux = &c->ports[1];
    int64_t due = sooner(sooner(c->ports[0].tested, aux->tested), c->keyboard.repeats);
    if (m->changed && aux->reports && !m->is_remote && aux->data.count == 0) {
        if (now(c) >= m->next) packet(c, &aux->data);
        else due = sooner(due, m->next);
    }
    if (c->has_answer && !(c->status & OUTPUT_FULL)) {
        if (now(c) >= c->answer_at) {
            c->has_answer = 0;
            fill(c, c->answer, c->answer_status);
        } else due = sooner(due, c->answer_at);
    }
    for (unsigned i = 0; i < 2; i++) {
        port *p = &c->ports[i];
        if (p->answers.count + p->data.count == 0 || c->config & (i ? DISABLE_2 : DISABLE_1) || c->has_answer) continue;
        if (!(c->status & OUTPUT_FULL) && now(c) >= p->ready) take(c, i);
        if (!(c->status & OUTPUT_FULL) && p->answers.count + p->data.count) due = sooner(due, p->ready > now(c) ? p->ready : now(c) + 1);
    }
    c->device.due = due;
    const int is_full = c->status & OUTPUT_FULL, is_aux = c->status & FROM_AUX;
    bl_irq(&c->device, 1, is_full && !is_aux && c->config & INT_1);
    bl_irq(&c->device, 12, is_full && is_aux && c->config & INT_2);
}

static void run(bl_device *device) {
    i8042 *c = (i8042 *)device;
    for (unsigned i = 0; i < 2; i++) {
        port *p = &c->ports[i];
        if (now(c) < p->tested) continue;
        p->tested = BL_NEVER;
        reply(c, p, p->what == FAILING ? FAILED : PASSED);
        if (i) reply(c, p, 0);
    }
    if (now(c) >= c->keyboard.repeats) {
        key(c, c->keyboard.held, 1);
        c->keyboard.repeats = now(c) + period(&c->keyboard);
    }
    settle(c);
}

static void to_device(i8042 *c, unsigned which, uint8_t byte) {
    port *p = &c->ports[which];
    c->config &= (uint8_t)~(which ? DISABLE_2 : DISABLE_1); /* to send, it lets the clock go */
    if (p->what == ABSENT) answer(c, RESEND, NO_ANSWER | (which ? FROM_AUX : 0), LIMIT);
    else if (p->what == DEAF) reply(c, p, RESEND);
    else if (p->tested == BL_NEVER) {
        p->answers.count = 0;
        if (which) to_mouse(c, byte);
        else to_keyboard(c, byte);
    }
}

static void configure(i8042 *c, uint8_t config) {
    c->config = c->count == 2 ? config : config & (uint8_t)~(INT_2 | DISABLE_2);
    c->status = (uint8_t)((c->status & ~SYSTEM) | (config & SYSTEM));
}

static void drive_outputs(i8042 *c, uint8_t value) {
    c->outputs = value;
    if (!(value & 1)) bl_stop_machine(c->device.bus, BL_RESET, 0);
}

static void command(i8042 *c, uint8_t value) {
    c->expects = 0;
    if (value >= 0xf0) { /* pulses what is 0 */
        if (!(value & 1)) bl_stop_machine(c->device.bus, BL_RESET, 0);
        return;
    }
    if (value >= 0x20 && value <= 0x3f) {
        answer(c, value == 0x20 ? c->config : c->ram[value & 31], 0, ANSWER);
        return;
    }
    if (value >= 0x60 && value <= 0x7f) {
        c->expects = value;
        return;
    }
    const int has_aux = c->count == 2;
    switch (value) {
        case 0xa7: if (has_aux) c->config |= DISABLE_2; break;
        case 0xa8: if (has_aux) c->config &= (uint8_t)~DISABLE_2; break;
        case 0xa9: if (has_aux) answer(c, 0, 0, ANSWER); break;
        case 0xaa:
            configure(c, DISABLE_1 | DISABLE_2 | SYSTEM);
            answer(c, 0x55, 0, 10 * ANSWER);
            break;
        case 0xab: answer(c, 0, 0, ANSWER); break;
        case 0xad: c->config |= DISABLE_1; break;
        case 0xae: c->config &= (uint8_t)~DISABLE_1; break;
        case 0xc0: answer(c, 0x80, 0, ANSWER); break;
        case 0xd0: answer(c, c->outputs, 0, ANSWER); break;
        case 0xd1: case 0xd2: c->expects = value; break;
        case 0xd3: case 0xd4: if (has_aux) c->expects = value; break;
    }
}

static void data(i8042 *c, uint8_t value) {
    const uint8_t command = c->expects;
    c->expects = 0;
    switch (command) {
        case 0: to_device(c, 0, value); break;
        case 0x60: configure(c, value); break;
        case 0xd1: drive_outputs(c, value); break;
        case 0xd2: answer(c, value, 0, ANSWER); break;
        case 0xd3: answer(c, value, FROM_AUX, ANSWER); break;
        case 0xd4: to_device(c, 1, value); break;
        default: c->ram[command & 31] = value;
    }
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    i8042 *c = (i8042 *)device;
    if (port == COMMAND) return c->status | (now(c) < c->busy_until ? INPUT_FULL : 0);
    const uint8_t value = c->output;
    if (c->status & OUTPUT_FULL) {
        c->status &= (uint8_t)~OUTPUT_FULL;
        for (unsigned i = 0; i < 2; i++) c->ports[i].ready = now(c) + BYTE; /* the clocks go again */
        settle(c);
    }
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    i8042 *c = (i8042 *)device;
    if (now(c) < c->busy_until) return;
    c->busy_until = now(c) + BUSY;
    c->status = (uint8_t)(port == COMMAND ? c->status | IS_COMMAND : c->status & ~IS_COMMAND);
    if (port == COMMAND) command(c, (uint8_t)value);
    else data(c, (uint8_t)value);
    settle(c);
}

/* ---- the host's side ---- */

void bl_i8042_key(bl_device *device, uint32_t code, int down) {
    i8042 *c = (i8042 *)device;
    keyboard *k = &c->keyboard;
    key(c, code, down);
    if (down || code == k->held) { /* else another key goes on repeating */
        const int repeats = down && code != 0xe11477 && c->ports[0].reports;
        k->held = code;
        k->repeats = repeats ? now(c) + (1 + (k->typematic >> 5 & 3)) * 250000 * MICROSECOND : BL_NEVER;
    }
    settle(c);
}

static int moved(int so_far, int by) {
    const int64_t sum = (int64_t)so_far + by, limit = 1 << 16;
    return (int)(sum < -limit ? -limit : sum > limit ? limit : sum);
}

void bl_i8042_move(bl_device *device, int dx, int dy, int wheel, unsigned buttons) {
    i8042 *c = (i8042 *)device;
    mouse *m = &c->mouse;
    if (c->ports[1].what == ABSENT) return;
    m->buttons = buttons & 0x1f;
    if (!c->ports[1].reports) return;
    m->dx = moved(m->dx, dx);
    m->dy = moved(m->dy, dy);
    m->wheel = moved(m->wheel, wheel);
    m->changed = 1;
    settle(c);
}

void bl_i8042_attach(bl_device *device, unsigned port, int what) {
    i8042 *c = (i8042 *)device;
    if (port < c->count) c->ports[port].what = what;
}

unsigned bl_i8042_leds(bl_device *device) { return ((i8042 *)device)->keyboard.leds; }

bl_device *bl_plug_i8042(bl_bus *bus, unsigned ports) {
    if (ports < 1 || ports > 2) return NULL;
    i8042 *c = bl_plug(bus, "i8042", sizeof *c);
    if (c == NULL) return NULL;
    c->count = ports;
    c->status = UNLOCKED;
    c->outputs = 0xcf;
    c->config = INT_1;
    if (ports == 2) c->config |= INT_2;
    for (unsigned i = 0; i < 2; i++) c->ports[i] = (port){.what = i < ports ? PRESENT : ABSENT, .tested = BL_NEVER};
    set_keyboard_defaults(c);
    set_mouse_defaults(c);
    c->device.in = in;
    c->device.out = out;
    c->device.run = run;
    bl_claim(&c->device, DATA, DATA);
    bl_claim(&c->device, COMMAND, COMMAND);
    return &c->device;
}
