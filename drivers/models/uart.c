/* National Semiconductor PC16550D data sheet (TL/C/8652), "Registers" and "FIFO Mode Operation"; the 16450 is one without FIFOs, the 8250
   one without the scratch register, too. IBM PC AT Technical Reference: OUT2 lets the interrupt through to the bus.

   A byte takes its bits at the baud rate, in both directions. Whoever is at the other end sends with the same format and rate. */
#include "bus.h"
#include "uart.h"

#include <string.h>

enum { CLOCK = 1843200, FIFO = 16, WIRE = 65536 };
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH };
enum { DLAB = 0x80, BREAK = 0x40, LOOP = 0x10, OUT2 = 0x08, RTS = 0x02, OVERRUN = 0x02, ERRORS = 0x1c };
enum { LINE_STATUS = 6, RECEIVED = 4, TIMED_OUT = 12, MAY_SEND = 2, MODEM = 0, NOTHING = 1 };

typedef struct uart {
    bl_device device;
    uint16_t base, divisor;
    unsigned irq;
    int kind;
    uint8_t ier, fcr, lcr, mcr, scratch;
    uint8_t errors;           /* of the line status: overrun, and those of the byte that is read next */
    uint8_t outside, inputs;  /* modem lines, as they come in, and as the modem status shows them: the same but in a loop */
    uint8_t changes;          /* of them */
    int has_emptied;          /* the transmitter, and the interrupt of it has not been seen */
    int has_had_two;          /* bytes, since it was empty; if not, its interrupt waits until the byte is through ("FIFO Interrupt Mode") */
    int timed_out, obeys;
    uint16_t received[FIFO];  /* bytes, with their errors in the high byte */
    uint8_t sending[FIFO], shifted;
    unsigned received_count, sending_count;
    int64_t sent_at, arrives_at, idle_at; /* BL_NEVER: nothing is on the way */
    uint16_t wire[WIRE];
    uint8_t sent[WIRE];
    unsigned wire_first, wire_count, sent_first, sent_count;
} uart;

static int has_fifo(const uart *u) { return u->fcr & 1; }

static int64_t character(const uart *u) {
    const unsigned length = u->lcr & 3, stop = !(u->lcr & 4) ? 2 : length ? 4 : 3; /* half bits */
    const unsigned halves = 2 * (6 + length + (u->lcr >> 3 & 1)) + stop;
    return (int64_t)halves * (u->divisor ? u->divisor : 65536) * 8 * BL_SECOND / CLOCK;
}

static unsigned trigger(const uart *u) {
    static const uint8_t levels[] = {1, 4, 8, 14};
    return has_fifo(u) ? levels[u->fcr >> 6] : 1;
}

/* The interrupt with the highest priority, as its register shows it. */
static unsigned cause(const uart *u) {
    if (u->ier & 4 && u->errors) return LINE_STATUS;
    if (u->ier & 1 && u->received_count >= trigger(u)) return RECEIVED;
    if (u->ier & 1 && u->timed_out) return TIMED_OUT;
    if (u->ier & 2 && u->has_emptied) return MAY_SEND;
    if (u->ier & 8 && u->changes) return MODEM;
    return NOTHING;
}

static void follow(uart *u) {
    int64_t due = u->sent_at < u->arrives_at ? u->sent_at : u->arrives_at;
    u->device.due = due < u->idle_at ? due : u->idle_at;
    bl_irq(&u->device, u->irq, cause(u) != NOTHING && (u->mcr & (OUT2 | LOOP)) == OUT2); /* in a loop its outputs are off */
}

static void touch(uart *u) { /* the receiver's FIFO: it times out four characters after this */
    u->timed_out = 0;
    u->idle_at = has_fifo(u) && u->received_count ? u->device.bus->now + 4 * character(u) : BL_NEVER;
}

static void receive(uart *u, uint16_t entry) {
    entry &= (uint16_t)(0xff00 | ((0x20 << (u->lcr & 3)) - 1)); /* no more bits than the format has */
    if (u->received_count == (has_fifo(u) ? FIFO : 1)) {
        u->errors |= OVERRUN;
        if (has_fifo(u)) return;
        u->received_count = 0; /* the byte before is lost */
    }
    u->received[u->received_count++] = entry;
    if (u->received_count == 1) u->errors |= entry >> 8;
    touch(u);
}

/* Let the next byte of either direction begin. */
static void begin(uart *u) {
    const int64_t end = u->device.bus->now + character(u);
    if (u->sent_at == BL_NEVER && u->sending_count) {
        u->shifted = (uint8_t)(u->sending[0] & ((0x20 << (u->lcr & 3)) - 1));
        memmove(u->sending, u->sending + 1, --u->sending_count);
        u->sent_at = end;
        if (u->sending_count == 0 && (u->has_had_two || !has_fifo(u))) u->has_emptied = 1;
    }
    if (u->arrives_at == BL_NEVER && u->wire_count && (!u->obeys || u->mcr & RTS)) u->arrives_at = end;
}

static void run(bl_device *device) {
    uart *u = (uart *)device;
    const int64_t now = device->bus->now;
    if (u->sent_at <= now) {
        u->sent_at = BL_NEVER;
        if (u->sending_count == 0) {
            u->has_emptied |= has_fifo(u) && !u->has_had_two;
            u->has_had_two = 0;
        }
        if (u->mcr & LOOP) receive(u, u->shifted);
        else if (u->sent_count < WIRE) u->sent[(u->sent_first + u->sent_count++) % WIRE] = u->shifted;
    }
    if (u->arrives_at <= now) {
        u->arrives_at = BL_NEVER;
        if (!(u->mcr & LOOP)) receive(u, u->wire[u->wire_first]);
        u->wire_first = (u->wire_first + 1) % WIRE;
        u->wire_count--;
    }
    if (u->idle_at <= now) {
        u->idle_at = BL_NEVER;
        u->timed_out = 1;
    }
    begin(u);
    follow(u);
}

static uint8_t take(uart *u) {
    const uint8_t value = (uint8_t)u->received[0];
    if (u->received_count == 0) return value;
    u->received_count--;
    if (u->received_count) { /* else the last one is what shows */
        memmove(u->received, u->received + 1, u->received_count * sizeof u->received[0]);
        u->errors |= u->received[0] >> 8;
    }
    touch(u);
    return value;
}

static uint8_t line_status(uart *u) {
    unsigned flawed = 0;
    for (unsigned i = 0; i < u->received_count; i++) flawed |= u->received[i] >> 8;
    const int is_empty = u->sending_count == 0;
    const unsigned status = (u->received_count != 0) | u->errors | is_empty << 5 | (is_empty && u->sent_at == BL_NEVER) << 6 |
                            (has_fifo(u) && flawed) << 7;
    u->errors = 0;
    u->received[0] &= 0xff;
    return (uint8_t)status;
}

static void clear(uart *u, int receiver, int transmitter) {
    if (receiver) {
        u->received_count = 0;
        u->errors &= OVERRUN;
        touch(u);
    }
    if (transmitter && u->sending_count) {
        u->sending_count = 0;
        u->has_emptied = 1;
    }
}

static void modem(uart *u) {
    const unsigned m = u->mcr;
    const unsigned inputs = m & LOOP ? (m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4 : u->outside;
    const unsigned changed = u->inputs ^ inputs;
    u->changes |= changed >> 4 & 0x0b;
    if (changed & 0x40 && !(inputs & 0x40)) u->changes |= 4; /* RI: its end */
    u->inputs = (uint8_t)inputs;
}

static uint8_t in_byte(uart *u, unsigned reg) {
    switch (reg) {
        case DATA: return u->lcr & DLAB ? u->divisor & 0xff : take(u);
        case IER: return u->lcr & DLAB ? u->divisor >> 8 : u->ier;
        case IIR: {
            const unsigned found = cause(u);
            if (found == MAY_SEND) u->has_emptied = 0;
            return (uint8_t)(found | (has_fifo(u) ? 0xc0 : 0));
        }
        case LCR: return u->lcr;
        case MCR: return u->mcr;
        case LSR: return line_status(u);
        case MSR: {
            const uint8_t value = u->inputs | u->changes;
            u->changes = 0;
            return value;
        }
        default: return u->kind > 0 ? u->scratch : 0xff;
    }
}

static void send(uart *u, uint8_t value) {
    u->has_emptied = 0;
    follow(u); /* the interrupt falls before it may rise again */
    if (!has_fifo(u)) u->sending_count = 0; /* one that has not begun is lost */
    if (u->sending_count < FIFO) u->sending[u->sending_count++] = value;
    if (u->sending_count > 1) u->has_had_two = 1;
}

static void out_byte(uart *u, unsigned reg, uint8_t value) {
    switch (reg) {
        case DATA:
            if (u->lcr & DLAB) u->divisor = (uint16_t)((u->divisor & 0xff00) | value);
            else send(u, value);
            break;
        case IER:
            if (u->lcr & DLAB) u->divisor = (uint16_t)((u->divisor & 0xff) | value << 8);
            else {
                if (value & ~u->ier & 2 && u->sending_count == 0) u->has_emptied = 1;
                u->ier = value & 0x0f;
            }
            break;
        case IIR: /* FCR */
            if (u->kind < 2) break;
            clear(u, (value ^ u->fcr) & 1 || value & 2, (value ^ u->fcr) & 1 || value & 4);
            u->fcr = value & 1 ? value & 0xc9 : 0;
            break;
        case LCR: u->lcr = value; break;
        case MCR:
            u->mcr = value & 0x1f;
            modem(u);
            break;
        case SCRATCH: u->scratch = value; break;
        default: break; /* LSR, MSR: not meant to be written */
    }
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    uart *u = (uart *)device;
    uint32_t value = 0;
    for (unsigned i = 0; i < width; i++) value |= (uint32_t)in_byte(u, (port - u->base + i) & 7) << 8 * i;
    follow(u);
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    uart *u = (uart *)device;
    for (unsigned i = 0; i < width; i++) {
        out_byte(u, (port - u->base + i) & 7, (uint8_t)(value >> 8 * i));
        begin(u);
    }
    follow(u);
}

/* ---- the host's side ---- */

size_t bl_uart_feed(bl_device *device, const uint8_t *data, size_t size, unsigned errors) {
    uart *u = (uart *)device;
    pthread_mutex_lock(&device->bus->mutex);
    size_t fed = 0;
    for (; fed < size && u->wire_count < WIRE; fed++)
        u->wire[(u->wire_first + u->wire_count++) % WIRE] = (uint16_t)((errors & ERRORS) << 8 | data[fed]);
    begin(u);
    follow(u);
    pthread_mutex_unlock(&device->bus->mutex);
    return fed;
}

size_t bl_uart_taken(bl_device *device, uint8_t *to, size_t room) {
    uart *u = (uart *)device;
    pthread_mutex_lock(&device->bus->mutex);
    size_t taken = 0;
    for (; taken < room && u->sent_count; taken++, u->sent_count--) {
        to[taken] = u->sent[u->sent_first];
        u->sent_first = (u->sent_first + 1) % WIRE;
    }
    pthread_mutex_unlock(&device->bus->mutex);
    return taken;
}

void bl_uart_connect(bl_device *device, unsigned lines, int obeys) {
    uart *u = (uart *)device;
    pthread_mutex_lock(&device->bus->mutex);
    u->outside = lines & 0xf0;
    u->obeys = obeys;
    modem(u);
    begin(u);
    follow(u);
    pthread_mutex_unlock(&device->bus->mutex);
}

unsigned bl_uart_outputs(bl_device *device) {
    const uart *u = (uart *)device;
    return (u->mcr & LOOP ? 0 : u->mcr & 0x0f) | (u->lcr & BREAK && !(u->mcr & LOOP) ? 0x10 : 0);
}

bl_device *bl_plug_uart(bl_bus *bus, uint16_t base, unsigned irq, int kind) {
    if (base > BL_PORTS - 8 || kind < 0 || kind > 2) return NULL;
    uart *u = bl_plug(bus, "uart", sizeof *u);
    if (u == NULL) return NULL;
    u->base = base;
    u->irq = irq;
    u->kind = kind;
    u->divisor = CLOCK / 16 / 9600;
    u->outside = u->inputs = 0xb0; /* CTS, DSR, carrier */
    u->sent_at = u->arrives_at = u->idle_at = BL_NEVER;
    u->device.in = in;
    u->device.out = out;
    u->device.run = run;
    bl_claim(&u->device, base, base + 7u);
    return &u->device;
}
