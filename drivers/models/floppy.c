/* Intel 82077AA data sheet (290166-007): registers in AT mode (2.1), phases (5), commands (6); 1.44 MB: 80 cylinders, 2 heads, 18 sectors.

   A disk turns 5 times a second, and so a sector takes 11.1 ms; where in its turn a disk is only READ ID tells. Without a motor or a disk
   there is no index, and what waits for a sector waits for ever. Data moves by DMA only: without it nobody fetches it, an overrun. */
#include "bus.h"
#include "floppy.h"
#include "dma_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DRIVES = 4, CYLINDERS = 80, LAST_STOP = 82, SECTORS = 18, SECTOR = 512, IRQ = 6, CHANNEL = 2 };
enum { SECTOR_TIME = 200000000 / SECTORS, NOT_FOUND_TIME = 400000000, MILLISECOND = 1000000 };
enum { NOT_RESET = 0x04, GATE = 0x08 };                                       /* DOR */
enum { RQM = 0x80, DIO = 0x40, BUSY = 0x10 };                                 /* MSR */
enum { ABNORMAL = 0x40, INVALID = 0x80, POLLED = 0xc0, SEEK_DONE = 0x20, EC = 0x10 }; /* ST0 */
enum { EN = 0x80, DE = 0x20, OR = 0x10, ND = 0x04, NW = 0x02, MA = 0x01, DD = 0x20, WC = 0x10 }; /* ST1; DD and WC: ST2 */
enum { MULTI = 0x80 };

typedef struct drive {
    int is_there, fd, is_protected, is_changed;
    unsigned at;      /* where the head is */
    unsigned counted; /* where the controller takes it to be */
    unsigned wanted;  /* of a seek */
    int64_t arrives;  /* BL_NEVER: it does not move */
} drive;

enum phase { COMMAND, EXECUTION, RESULT };

typedef struct floppy {
    bl_device device;
    drive drives[DRIVES];
    uint8_t dor, rate, specified[2], configured[3], locked;
    enum phase phase;
    uint8_t bytes[16];
    unsigned position, size;  /* of the bytes of a command or a result */
    int64_t ends;             /* what is executed; BL_NEVER: nothing, or it never does */
    int pending;              /* the interrupt */
    unsigned told;            /* drives with a status for SENSE INTERRUPT */
    uint8_t status[DRIVES];
    uint8_t st1, st2;         /* known before the execution ends */
} floppy;

static void follow(floppy *f) {
    bl_irq(&f->device, IRQ, f->pending && f->dor & GATE);
    f->device.due = f->ends;
    for (unsigned i = 0; i < DRIVES; i++)
        if (f->drives[i].arrives < f->device.due) f->device.due = f->drives[i].arrives;
}

static int turns(const floppy *f, unsigned unit) { return f->drives[unit].is_there && f->drives[unit].fd >= 0 && f->dor >> (4 + unit) & 1; }

static void answer(floppy *f, unsigned size) {
    f->phase = size ? RESULT : COMMAND;
    f->position = 0;
    f->size = size;
}

static void reset(floppy *f) {
    f->phase = COMMAND;
    f->position = f->size = f->told = 0;
    f->pending = 0;
    f->ends = BL_NEVER;
    for (unsigned i = 0; i < DRIVES; i++) {
        f->drives[i].counted = 0;
        f->drives[i].arrives = BL_NEVER;
    }
    if (!f->locked) memset(f->configured, 0, sizeof f->configured);
}

/* Polling finds that all drives have changed: four statuses, one interrupt. */
static void leave_reset(floppy *f) {
    f->told = 15;
    f->pending = 1;
    for (unsigned i = 0; i < DRIVES; i++) f->status[i] = (uint8_t)(POLLED | i);
}

/* ---- seeks ---- */

static void move(floppy *f, unsigned unit, unsigned wanted, unsigned steps) {
    drive *d = &f->drives[unit];
    d->wanted = wanted;
    d->arrives = f->device.bus->now + (int64_t)(steps ? steps : 1) * (16 - (f->specified[0] >> 4)) * MILLISECOND;
    answer(f, 0);
}

static void arrive(floppy *f, unsigned unit) {
    drive *d = &f->drives[unit];
    const int is_recalibration = d->wanted > 0xff;
    const int steps = is_recalibration ? -79 : (int)d->wanted - (int)d->counted;
    const int at = (int)d->at + steps;
    if (d->is_there) {
        if (d->fd >= 0 && (is_recalibration ? d->at != 0 : steps != 0)) d->is_changed = 0;
        d->at = at < 0 ? 0 : at > LAST_STOP ? LAST_STOP : (unsigned)at;
    }
    d->counted = is_recalibration ? 0 : d->wanted;
    d->arrives = BL_NEVER;
    const int is_lost = is_recalibration && (!d->is_there || d->at != 0);
    f->status[unit] = (uint8_t)(SEEK_DONE | unit | (is_lost ? ABNORMAL | EC : 0));
    f->told |= 1u << unit;
    f->pending = 1;
}

/* ---- sectors ---- */

/* The result: C, H and R are in the command's bytes 2 to 4. */
static void finish(floppy *f, uint8_t st1, uint8_t st2) {
    const uint8_t st0 = (uint8_t)((st1 | st2 ? ABNORMAL : 0) | (f->bytes[1] & 7));
    const uint8_t result[7] = {st0, st1, st2, f->bytes[2], f->bytes[3], f->bytes[4], 2};
    memcpy(f->bytes, result, sizeof result);
    answer(f, sizeof result);
    f->ends = BL_NEVER;
    f->pending = 1;
}

/* To the next sector; 0: there is none. */
static int go_on(floppy *f) {
    uint8_t *b = f->bytes;
    if (b[4]++ != b[6] && b[4] <= SECTORS) return 1;
    b[4] = 1;
    if (b[0] & MULTI) {
        b[3] ^= 1;
        b[1] ^= 4;
        if (b[3] & 1) return 1;
    }
    b[2]++;
    return 0;
}

static int has_room(const drive *d, off_t end) {
    struct stat found;
    return fstat(d->fd, &found) == 0 && (!S_ISREG(found.st_mode) || end <= found.st_size);
}

static void move_sector(floppy *f) {
    const drive *d = &f->drives[f->bytes[1] & 3];
    const unsigned head = f->bytes[1] >> 2 & 1;
    const off_t at = (off_t)((d->at * 2 + head) * SECTORS + f->bytes[4] - 1u) * SECTOR;
    const int is_write = (f->bytes[0] & 0x1f) == 0x05;
    uint8_t data[SECTOR] = {0};
    if (d->fd < 0) { /* it was taken out */
        f->ends = BL_NEVER;
        return;
    }
    if (!is_write && pread(d->fd, data, SECTOR, at) != SECTOR) {
        finish(f, DE, DD);
        return;
    }
    const int has_dma = f->dor & GATE && !(f->specified[1] & 1);
    const size_t moved = has_dma ? bl_dma_transfer(f->device.bus, CHANNEL, data, SECTOR, is_write ? BL_DMA_FROM_MEMORY : BL_DMA_TO_MEMORY) : 0;
    const int is_over = moved && bl_dma_is_over(f->device.bus, CHANNEL);
    if (moved < SECTOR && !is_over) {
        finish(f, OR, 0);
        return;
    }
    if (is_write && (!has_room(d, at + SECTOR) || pwrite(d->fd, data, SECTOR, at) != SECTOR)) {
        finish(f, DE, DD);
        return;
    }
    const int has_more = go_on(f);
    if (is_over) finish(f, 0, 0);
    else if (!has_more) finish(f, EN, 0);
    else f->ends = f->device.bus->now + SECTOR_TIME;
}

static void begin_transfer(floppy *f) {
    const uint8_t *b = f->bytes;
    const unsigned unit = b[1] & 3;
    const drive *d = &f->drives[unit];
    const int is_write = (b[0] & 0x1f) == 0x05, is_id = (b[0] & 0x1f) == 0x0a;
    f->phase = EXECUTION;
    f->st1 = f->st2 = 0;
    if (f->rate != 0 || d->at >= CYLINDERS || !(b[0] & 0x40)) f->st1 = MA; /* 500 kbit/s, MFM */
    else if (!is_id && (b[2] != d->at || b[3] != (b[1] >> 2 & 1) || b[4] < 1 || b[4] > SECTORS || b[5] != 2)) {
        f->st1 = ND;
        f->st2 = b[2] != d->at ? WC : 0;
    }
    if (!turns(f, unit)) f->ends = BL_NEVER;
    else if (is_write && d->is_protected) finish(f, NW, 0);
    else if (is_id && !f->st1) f->ends = (f->device.bus->now / SECTOR_TIME + 1) * SECTOR_TIME; /* when it comes by */
    else f->ends = f->device.bus->now + (f->st1 ? NOT_FOUND_TIME : SECTOR_TIME);
}

static void end_execution(floppy *f) {
    uint8_t *b = f->bytes;
    if ((b[0] & 0x1f) == 0x0a) {
        b[2] = (uint8_t)f->drives[b[1] & 3].at;
        b[3] = b[1] >> 2 & 1;
        b[4] = (uint8_t)(f->device.bus->now / SECTOR_TIME % SECTORS + 1);
        finish(f, f->st1, f->st2);
    } else if (f->st1) finish(f, f->st1, f->st2);
    else move_sector(f);
}

static void run(bl_device *device) {
    floppy *f = (floppy *)device;
    const int64_t now = device->bus->now;
    for (unsigned i = 0; i < DRIVES; i++)
        if (f->drives[i].arrives <= now) arrive(f, i);
    if (f->ends <= now) end_execution(f);
    follow(f);
}

/* ---- commands ---- */

/* Bytes of a command with its parameters; 0: it is invalid. */
static unsigned length_of(uint8_t command) {
    switch (command) {
        case 0x03: case 0x0f: return 3;
        case 0x04: case 0x07: return 2;
        case 0x08: case 0x0e: case 0x10: case 0x14: case 0x94: return 1;
        case 0x13: return 4;
    }
    switch (command & 0x1f) {
        case 0x05: return command & 0x20 ? 0 : 9;
        case 0x06: return 9;
        case 0x0a: return command & 0xa0 ? 0 : 2;
        default: return 0;
    }
}

static void sense_interrupt(floppy *f) {
    f->pending = 0;
    for (unsigned i = 0; i < DRIVES; i++) {
        if (!(f->told >> i & 1)) continue;
        f->told &= ~(1u << i);
        f->bytes[0] = f->status[i];
        f->bytes[1] = (uint8_t)f->drives[i].counted;
        answer(f, 2);
        return;
    }
    f->bytes[0] = INVALID;
    answer(f, 1);
}

static void sense_drive(floppy *f) {
    const unsigned unit = f->bytes[1] & 3;
    const drive *d = &f->drives[unit];
    const int is_protected = d->is_there && d->fd >= 0 && d->is_protected, is_first = d->is_there && d->at == 0;
    f->bytes[0] = (uint8_t)(is_protected << 6 | 0x28 | is_first << 4 | (f->bytes[1] & 7));
    answer(f, 1);
}

static void dump(floppy *f) {
    const uint8_t found[10] = {
        (uint8_t)f->drives[0].counted, (uint8_t)f->drives[1].counted, (uint8_t)f->drives[2].counted, (uint8_t)f->drives[3].counted,
        f->specified[0], f->specified[1], SECTORS, (uint8_t)(f->locked << 7), f->configured[1], f->configured[2],
    };
    memcpy(f->bytes, found, sizeof found);
    answer(f, sizeof found);
}

static void execute(floppy *f) {
    uint8_t *b = f->bytes;
    switch (b[0]) {
        case 0x03: memcpy(f->specified, b + 1, 2); answer(f, 0); return;
        case 0x04: sense_drive(f); return;
        case 0x07: move(f, b[1] & 3, 0x100, f->drives[b[1] & 3].at); return;
        case 0x08: sense_interrupt(f); return;
        case 0x0e: dump(f); return;
        case 0x0f: {
            const unsigned counted = f->drives[b[1] & 3].counted;
            move(f, b[1] & 3, b[2], b[2] > counted ? b[2] - counted : counted - b[2]);
            return;
        }
        case 0x10: b[0] = 0x90; answer(f, 1); return;
        case 0x13: memcpy(f->configured, b + 1, 3); answer(f, 0); return;
        case 0x14: case 0x94: f->locked = b[0] >> 7; b[0] = (uint8_t)(f->locked << 4); answer(f, 1); return;
        default: begin_transfer(f);
    }
}

static void take(floppy *f, uint8_t value) {
    if (f->phase != COMMAND) return;
    if (f->position == 0) {
        f->size = length_of(value);
        if (f->size == 0) {
            f->bytes[0] = INVALID;
            answer(f, 1);
            return;
        }
    }
    f->bytes[f->position++] = value;
    if (f->position < f->size) return;
    f->position = 0;
    execute(f);
}

static uint8_t give(floppy *f) {
    if (f->phase != RESULT) return 0xff;
    if (f->position == 0 && f->size == 7) f->pending = 0;
    const uint8_t value = f->bytes[f->position++];
    if (f->position == f->size) answer(f, 0);
    return value;
}

/* ---- registers ---- */

static uint8_t main_status(const floppy *f) {
    if (!(f->dor & NOT_RESET)) return 0;
    uint8_t status = 0;
    for (unsigned i = 0; i < DRIVES; i++)
        if (f->drives[i].arrives != BL_NEVER) status |= (uint8_t)(1 << i);
    if (f->phase == RESULT) return status | RQM | DIO | BUSY;
    if (f->phase == EXECUTION) return status | BUSY;
    return status | RQM | (f->position ? BUSY : 0);
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    floppy *f = (floppy *)device;
    const drive *d = &f->drives[f->dor & 3];
    uint8_t value = 0xff;
    switch (port) {
        case 0x3f2: value = f->dor; break;
        case 0x3f4: value = main_status(f); break;
        case 0x3f5:
            value = give(f);
            follow(f);
            break;
        case 0x3f7: value = d->is_there && !d->is_changed ? 0x7f : 0xff; break; /* bit 7; the others are the disk's */
    }
    return value | 0xffffff00;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    floppy *f = (floppy *)device;
    switch (port) {
        case 0x3f2: {
            const int was_reset = !(f->dor & NOT_RESET);
            f->dor = (uint8_t)value;
            if (!(value & NOT_RESET)) reset(f);
            else if (was_reset) leave_reset(f);
            break;
        }
        case 0x3f4:
            f->rate = value & 3;
            if (!(value & 0x80)) break;
            reset(f); /* the bit takes itself back */
            leave_reset(f);
            break;
        case 0x3f5:
            if (f->dor & NOT_RESET) take(f, (uint8_t)value);
            break;
        case 0x3f7: f->rate = value & 3; break;
    }
    follow(f);
}

static void unplug(bl_device *device) {
    for (unsigned i = 0; i < DRIVES; i++)
        if (((floppy *)device)->drives[i].fd >= 0) close(((floppy *)device)->drives[i].fd);
}

/* ---- the host's side ---- */

bl_device *bl_plug_floppy(bl_bus *bus, unsigned drives) {
    floppy *f = drives > DRIVES ? NULL : bl_plug(bus, "floppy", sizeof *f);
    if (f == NULL) return NULL;
    for (unsigned i = 0; i < DRIVES; i++) f->drives[i] = (drive){.is_there = i < drives, .fd = -1, .is_changed = 1, .at = 5, .arrives = BL_NEVER};
    f->ends = BL_NEVER;
    f->rate = 2; /* as after a reset of its pin */
    f->device.in = in;
    f->device.out = out;
    f->device.run = run;
    f->device.unplug = unplug;
    bl_claim(&f->device, 0x3f2, 0x3f5);
    bl_claim(&f->device, 0x3f7, 0x3f7);
    return &f->device;
}

int bl_floppy_insert(bl_device *device, unsigned unit, int fd, int is_protected) {
    floppy *f = (floppy *)device;
    if (unit >= DRIVES || !f->drives[unit].is_there) return -EINVAL;
    drive *d = &f->drives[unit];
    const int own = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && own < 0) return -EINVAL;
    if (d->fd >= 0) close(d->fd);
    d->fd = own;
    d->is_protected = is_protected != 0;
    d->is_changed = 1;
    return 0;
}

int bl_floppy_motor(bl_device *device, unsigned unit) { return ((floppy *)device)->dor >> (4 + (unit & 3)) & 1; }
