/* National Semiconductor DP8390D/NS32490D NIC data sheet (July 1995), "Register Descriptions", "Packet Reception", "Remote DMA"; NE2000:
   a PROM at 0 with each byte twice, 16 KiB at 0x4000, the data port at 0x10, and reset at 0x18.

   A frame that arrives is in the ring at once. One that is sent is on the wire when its bits are through, at 10 Mbit/s. After an overflow
   nothing is received until the chip was stopped. In loopback nothing gets in or out; what is looped back is not there, and neither are
   the command "send packet" and the storing of damaged frames. */
#include "bus.h"
#include "ne2000.h"

#include <string.h>

enum { MEMORY = 0x4000, MEMORY_SIZE = 0x4000, PROM_SIZE = 32, FRAME = 2048, FRAMES = 64, PAGE = 256, LEAST = 60, TALLY_MOST = 192 };
enum { STP = 1, STA = 2, TXP = 4, READ = 8, WRITE = 0x10, ABORT = 0x20 };                                    /* CR */
enum { PRX = 1, PTX = 2, RXE = 4, TXE = 8, OVW = 0x10, CNT = 0x20, RDC = 0x40, RST = 0x80 };                  /* ISR */
enum { AB = 4, AM = 8, PRO = 0x10, MON = 0x20, AR = 2 };                                                      /* RCR */
enum { TSR_PTX = 1, TSR_COL = 4, TSR_ABT = 8, RSR_PRX = 1, RSR_CRC = 2, RSR_FAE = 4, RSR_MPA = 0x10, RSR_PHY = 0x20, WTS = 1, LOOP = 6 };
enum { R_PSTART = 1, R_PSTOP, R_BNRY, R_TPSR, R_TBCR0, R_TBCR1, R_ISR, R_RSAR0, R_RSAR1, R_RBCR0, R_RBCR1, R_RCR, R_TCR, R_DCR, R_IMR };

typedef struct ne2000 {
    bl_device device;
    unsigned base, irq;
    uint8_t cr, isr, tsr, rsr, ncr, tally[3];
    uint8_t page0[16]; /* what was written there: PSTART to IMR */
    uint8_t page1[16]; /* the address, CURR, the hash */
    uint16_t remote_at, remote_left;
    int overflowed;
    unsigned jammed;
    uint8_t prom[PROM_SIZE], memory[MEMORY_SIZE];
    unsigned first, count;
    struct { size_t size; uint8_t bytes[FRAME]; } sent[FRAMES];
} ne2000;

static void follow(ne2000 *n) { bl_irq(&n->device, n->irq, n->isr & n->page0[R_IMR] & 0x7f); }

static void tell(ne2000 *n, uint8_t bits) {
    n->isr |= bits;
    follow(n);
}

static void count_one(ne2000 *n, unsigned which) {
    if (n->tally[which] < TALLY_MOST) n->tally[which]++;
    if (n->tally[which] & 0x80) n->isr |= CNT;
}

static uint8_t load(const ne2000 *n, uint16_t at) {
    if (at < PROM_SIZE) return n->prom[at];
    return at >= MEMORY && at < MEMORY + MEMORY_SIZE ? n->memory[at - MEMORY] : 0xff;
}

static void store(ne2000 *n, uint16_t at, uint8_t value) {
    if (at >= MEMORY && at < MEMORY + MEMORY_SIZE) n->memory[at - MEMORY] = value;
}

/* ---- the host's side ---- */

/* The upper 6 bits of the check sequence of an address. */
static unsigned hash(const uint8_t *address) {
    uint32_t crc = UINT32_MAX;
    for (unsigned bit = 0; bit < 48; bit++) {
        const uint32_t carry = crc >> 31 ^ (address[bit / 8] >> bit % 8 & 1u);
        crc = crc << 1 ^ (carry ? 0x04c11db7u : 0);
    }
    return crc >> 26;
}

static int is_for_me(const ne2000 *n, const uint8_t *frame) {
    static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t rcr = n->page0[R_RCR];
    const unsigned bit = hash(frame);
    if (memcmp(frame, everybody, 6) == 0) return rcr & AB;
    if (frame[0] & 1) return rcr & AM && n->page1[8 + bit / 8] >> bit % 8 & 1;
    return rcr & PRO || memcmp(frame, &n->page1[1], 6) == 0;
}

static uint8_t page_after(const ne2000 *n, uint8_t page) {
    const uint8_t next = (uint8_t)(page + 1);
    return next == n->page0[R_PSTOP] ? n->page0[R_PSTART] : next;
}

int bl_ne2000_feed(bl_device *device, const uint8_t *frame, size_t size, int damage) {
    ne2000 *n = (ne2000 *)device;
    if (size < 14 || size > FRAME || n->cr & STP || n->overflowed || n->page0[R_TCR] & LOOP || !is_for_me(n, frame)) return 0;
    if (size < LEAST && !(n->page0[R_RCR] & AR)) return 0; /* a runt */
    n->rsr = (uint8_t)(frame[0] & 1 ? RSR_PHY : 0);
    if (damage) {
        n->rsr |= damage == 1 ? RSR_CRC : RSR_FAE | RSR_CRC;
        count_one(n, damage == 1 ? 1 : 0);
        tell(n, RXE);
        return 0;
    }
    if (n->page0[R_RCR] & MON) {
        n->rsr |= RSR_MPA;
        count_one(n, 2);
        follow(n);
        return 0;
    }
    const size_t total = size + 4; /* with the check sequence */
    uint8_t next = n->page1[7];
    for (size_t left = total + 4; left > 0; left -= left < PAGE ? left : PAGE) {
        if (next == n->page0[R_BNRY]) {
            n->overflowed = 1;
            n->rsr |= RSR_MPA;
            count_one(n, 2);
            tell(n, OVW);
            return 0;
        }
        next = page_after(n, next);
    }
    n->rsr |= RSR_PRX;
    const uint8_t header[4] = {n->rsr, next, (uint8_t)total, (uint8_t)(total >> 8)};
    uint8_t page = n->page1[7];
    for (size_t i = 0; i < total + 4; i++) {
        if (i && i % PAGE == 0) page = page_after(n, page);
        store(n, (uint16_t)(page << 8 | i % PAGE), i < 4 ? header[i] : i < size + 4 ? frame[i - 4] : 0);
    }
    n->page1[7] = next;
    tell(n, PRX);
    return 1;
}

size_t bl_ne2000_taken(bl_device *device, uint8_t *to, size_t size) {
    ne2000 *n = (ne2000 *)device;
    if (n->count == 0) return 0;
    const size_t length = n->sent[n->first].size;
    memcpy(to, n->sent[n->first].bytes, length < size ? length : size);
    n->first = (n->first + 1) % FRAMES;
    n->count--;
    return length;
}

void bl_ne2000_jam(bl_device *device, unsigned frames) { ((ne2000 *)device)->jammed = frames; }

/* ---- transmission ---- */

static uint16_t sent_size(const ne2000 *n) { return (uint16_t)(n->page0[R_TBCR0] | n->page0[R_TBCR1] << 8); }

static void transmit(ne2000 *n) {
    n->cr |= TXP;
    n->tsr = n->ncr = 0;
    n->device.due = n->device.bus->now + (sent_size(n) + 8 + 4) * 800ll + 9600; /* preamble, check sequence, gap between frames */
}

/* The last bit is through. */
static void run(bl_device *device) {
    ne2000 *n = (ne2000 *)device;
    n->cr &= (uint8_t)~TXP;
    if (n->jammed) {
        n->jammed--;
        n->tsr = TSR_ABT | TSR_COL; /* NCR is 0 again after 16 */
        tell(n, TXE);
        return;
    }
    const size_t size = sent_size(n) < FRAME ? sent_size(n) : FRAME;
    if (n->count < FRAMES && size && !(n->page0[R_TCR] & LOOP)) {
        const unsigned last = (n->first + n->count++) % FRAMES;
        n->sent[last].size = size;
        for (size_t i = 0; i < size; i++) n->sent[last].bytes[i] = load(n, (uint16_t)((n->page0[R_TPSR] << 8) + (int)i));
    }
    n->tsr = TSR_PTX;
    tell(n, PTX);
}

/* ---- the program's side ---- */

static void reset(ne2000 *n) {
    n->cr = STP | ABORT;
    n->isr = RST;
    n->page0[R_IMR] = n->page0[R_TCR] = 0;
    n->overflowed = 0;
    n->device.due = BL_NEVER;
    follow(n);
}

static uint8_t remote_in(ne2000 *n) {
    if (n->cr & ABORT || !(n->cr & READ) || n->remote_left == 0) return 0xff;
    const uint8_t value = load(n, n->remote_at);
    if (++n->remote_at == n->page0[R_PSTOP] << 8) n->remote_at = (uint16_t)(n->page0[R_PSTART] << 8);
    if (--n->remote_left == 0) tell(n, RDC);
    return value;
}

static void remote_out(ne2000 *n, uint8_t value) {
    if (n->cr & ABORT || !(n->cr & WRITE) || n->remote_left == 0) return;
    store(n, n->remote_at, value);
    if (++n->remote_at == n->page0[R_PSTOP] << 8) n->remote_at = (uint16_t)(n->page0[R_PSTART] << 8);
    if (--n->remote_left == 0) tell(n, RDC);
}

static uint8_t in_register(ne2000 *n, unsigned at) {
    if (at == 0) return n->cr;
    switch (n->cr >> 6) {
        case 1: return n->page1[at];
        case 2: return at == R_PSTART || at == R_PSTOP || at == R_TPSR || at >= R_RCR ? n->page0[at] : 0xff;
        case 3: return 0xff;
    }
    switch (at) {
        case R_BNRY: return n->page0[R_BNRY];
        case 4: return n->tsr;
        case 5: return n->ncr;
        case R_ISR: return n->isr;
        case 8: return (uint8_t)n->remote_at;
        case 9: return (uint8_t)(n->remote_at >> 8);
        case 12: return n->rsr;
        case 13: case 14: case 15: {
            const uint8_t tally = n->tally[at - 13];
            n->tally[at - 13] = 0; /* reading clears it */
            return tally;
        }
    }
    return 0xff;
}

static void out_register(ne2000 *n, unsigned at, uint8_t value) {
    if (at == 0) {
        n->cr = (uint8_t)((value & ~TXP) | (n->cr & TXP));
        if (value & STP) {
            n->isr |= RST;
            n->overflowed = 0;
            return;
        }
        if (value & STA) n->isr &= (uint8_t)~RST;
        if (value & TXP && !(n->cr & TXP)) transmit(n);
    } else if (n->cr >> 6 == 1) n->page1[at] = value;
    else if (n->cr >> 6 == 0) {
        switch (at) {
            case R_ISR: n->isr &= (uint8_t)~(value & 0x7f); break;
            case R_RSAR0: n->remote_at = (uint16_t)((n->remote_at & 0xff00) | value); break;
            case R_RSAR1: n->remote_at = (uint16_t)((n->remote_at & 0xff) | value << 8); break;
            case R_RBCR0: n->remote_left = (uint16_t)((n->remote_left & 0xff00) | value); break;
            case R_RBCR1: n->remote_left = (uint16_t)((n->remote_left & 0xff) | value << 8); break;
            default: n->page0[at] = value;
        }
        follow(n);
    }
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    ne2000 *n = (ne2000 *)device;
    const unsigned at = port - n->base;
    uint32_t value = 0;
    if (at >= 0x18) {
        reset(n);
        return 0;
    }
    for (unsigned byte = 0; byte < width; byte++)
        value |= (uint32_t)(at >= 0x10 ? remote_in(n) : in_register(n, (at + byte) & 15)) << 8 * byte;
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    ne2000 *n = (ne2000 *)device;
    const unsigned at = port - n->base;
    if (at >= 0x18) return;
    for (unsigned byte = 0; byte < width; byte++)
        if (at >= 0x10) remote_out(n, (uint8_t)(value >> 8 * byte));
        else out_register(n, (at + byte) & 15, (uint8_t)(value >> 8 * byte));
}

bl_device *bl_plug_ne2000(bl_bus *bus, unsigned base, unsigned irq, const uint8_t *mac) {
    if (base > 0xffe0 || irq >= BL_LINES) return NULL;
    ne2000 *n = bl_plug(bus, "ne2000", sizeof *n);
    if (n == NULL) return NULL;
    n->base = base;
    n->irq = irq;
    for (unsigned i = 0; i < PROM_SIZE; i++) n->prom[i] = i / 2 < 6 ? mac[i / 2] : i / 2 < 14 ? 0 : 0x57;
    n->device.in = in;
    n->device.out = out;
    n->device.run = run;
    reset(n);
    bl_claim(&n->device, base, base + 0x1f);
    return &n->device;
}
