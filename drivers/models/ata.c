/* ATA/ATAPI-6 (T13/1410D revision 3b): registers (7), command protocols PIO (9.5, 9.6), software reset (9.2), commands (8).

   Each device has its registers, and both take what is written (7.1). An address register holds two bytes, the one before for the
   commands that are EXT. A read's blocks are fetched one DRQ block at a time; nothing takes time but a command's beginning and a reset. */
#include "bus.h"
#include "ata.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, MOST_MULTIPLE = 16, MOST_BAD = 64, RESET_TIME = 3000000 };
enum { FEATURES = 1, COUNT, LOW, MIDDLE, HIGH, DEVICE, COMMAND, REGISTERS }; /* ERROR and STATUS when read */
enum { BSY = 0x80, DRDY = 0x40, DSC = 0x10, DRQ = 0x08, ERR = 0x01 };
enum { UNC = 0x40, WP = 0x40, IDNF = 0x10, ABRT = 0x04 };
enum { HOB = 0x80, SRST = 0x04, NIEN = 0x02, LBA = 0x40, UNIT = 0x10 };

typedef struct drive {
    int is_there, fd;
    unsigned flags, multiple, stuck, bad_count;
    int64_t delay;
    uint64_t sectors, bad[MOST_BAD];
    uint8_t status, error;
    uint8_t now[REGISTERS], before[REGISTERS];
} drive;

typedef struct ata {
    bl_device device;
    uint16_t base, control_port;
    unsigned irq, selected;
    uint8_t control, command;
    int pending; /* INTRQ, but for nIEN */
    drive drives[2];
    /* The command that moves data, of the selected drive. */
    uint64_t lba;
    uint32_t left;  /* sectors that are not yet in the buffer, or of which it does not know */
    unsigned block; /* sectors of a DRQ block */
    int is_write;
    size_t position, size; /* of the buffer */
    uint8_t buffer[MOST_MULTIPLE * SECTOR];
} ata;

static drive *selected(ata *a) { return &a->drives[a->selected]; }

static void follow(ata *a) { bl_irq(&a->device, a->irq, a->pending && !(a->control & NIEN)); }

static void interrupt(ata *a) {
    a->pending = 1;
    follow(a);
}

static void finish(ata *a, uint8_t error) {
    drive *d = selected(a);
    d->error = error;
    d->status = DRDY | DSC | (error ? ERR : 0);
    a->position = a->size = 0;
    interrupt(a);
}

static int is_extended(uint8_t command) {
    return command == 0x24 || command == 0x29 || command == 0x34 || command == 0x39 || command == 0xea;
}

static void finish_at(ata *a, uint8_t error, uint64_t lba) {
    drive *d = selected(a);
    for (unsigned i = 0; i < 3; i++) {
        d->now[LOW + i] = (uint8_t)(lba >> 8 * i);
        d->before[LOW + i] = (uint8_t)(lba >> (24 + 8 * i));
    }
    if (!is_extended(a->command)) d->now[DEVICE] = (uint8_t)((d->now[DEVICE] & 0xf0) | (lba >> 24 & 15));
    finish(a, error);
}

/* ---- data ---- */

static void offer(ata *a, size_t size) {
    selected(a)->status = DRDY | DSC | DRQ;
    a->position = 0;
    a->size = size;
}

/* How many sectors of a block are all right; the others follow. */
static uint32_t good(const drive *d, uint64_t lba, uint32_t count) {
    uint32_t found = count;
    for (unsigned i = 0; i < d->bad_count; i++)
        if (d->bad[i] >= lba && d->bad[i] - lba < found) found = (uint32_t)(d->bad[i] - lba);
    return found;
}

static uint32_t block_size(const ata *a) { return a->left < a->block ? a->left : a->block; }

static void fetch(ata *a) {
    drive *d = selected(a);
    const uint32_t count = block_size(a);
    uint32_t all_right = good(d, a->lba, count);
    const ssize_t got = pread(d->fd, a->buffer, (size_t)count * SECTOR, (off_t)(a->lba * SECTOR));
    if (got < (ssize_t)(all_right * SECTOR)) all_right = got < 0 ? 0 : (uint32_t)got / SECTOR;
    if (all_right < count) {
        finish_at(a, UNC, a->lba + all_right);
        return;
    }
    a->lba += count;
    a->left -= count;
    offer(a, (size_t)count * SECTOR);
    interrupt(a);
}

/* A file would grow by a write behind its end. */
static int has_room(const drive *d, uint64_t end) {
    struct stat found;
    return fstat(d->fd, &found) == 0 && (!S_ISREG(found.st_mode) || end <= (uint64_t)found.st_size);
}

static void put(ata *a) {
    drive *d = selected(a);
    const uint32_t count = block_size(a);
    const size_t size = (size_t)count * SECTOR;
    if (!has_room(d, a->lba * SECTOR + size) || pwrite(d->fd, a->buffer, size, (off_t)(a->lba * SECTOR)) != (ssize_t)size) {
        finish_at(a, IDNF, a->lba);
        return;
    }
    for (unsigned i = 0; i < d->bad_count;) { /* there are spare ones */
        if (d->bad[i] >= a->lba && d->bad[i] - a->lba < count) d->bad[i] = d->bad[--d->bad_count];
        else i++;
    }
    a->lba += count;
    a->left -= count;
    if (a->left == 0) {
        finish(a, 0);
        return;
    }
    offer(a, (size_t)block_size(a) * SECTOR);
    interrupt(a);
}

/* A block has been moved. */
static void go_on(ata *a) {
    if (a->is_write) put(a);
    else if (a->left) fetch(a);
    else { /* the end of a read is no interrupt */
        selected(a)->status = DRDY | DSC;
        a->position = a->size = 0;
    }
}

static void transfer(ata *a, int is_write, int is_multiple) {
    drive *d = selected(a);
    uint32_t count = d->now[COUNT];
    uint64_t lba = (uint64_t)d->now[HIGH] << 16 | (uint64_t)d->now[MIDDLE] << 8 | d->now[LOW];
    if (is_extended(a->command)) {
        count |= (uint32_t)d->before[COUNT] << 8;
        if (count == 0) count = 65536;
        lba |= (uint64_t)d->before[LOW] << 24 | (uint64_t)d->before[MIDDLE] << 32 | (uint64_t)d->before[HIGH] << 40;
    } else {
        if (count == 0) count = 256;
        lba |= (uint64_t)(d->now[DEVICE] & 15) << 24;
    }
    const int unknown = (is_extended(a->command) && d->flags & BL_ATA_NO_LBA48) || (is_multiple && d->multiple == 0);
    if (unknown || !(d->now[DEVICE] & LBA)) { /* ATA-6 has no cylinders any more */
        finish(a, ABRT);
        return;
    }
    a->lba = lba;
    a->left = count;
    a->block = is_multiple ? d->multiple : 1;
    a->is_write = is_write;
    if (lba + count > d->sectors) finish_at(a, IDNF, lba > d->sectors ? lba : d->sectors);
    else if (!is_write) fetch(a);
    else if (d->flags & BL_ATA_READ_ONLY) finish_at(a, WP | ABRT, lba);
    else offer(a, (size_t)block_size(a) * SECTOR); /* the first block is no interrupt */
}

/* ---- commands ---- */

static void word(ata *a, unsigned index, unsigned value) {
    a->buffer[2 * index] = (uint8_t)value;
    a->buffer[2 * index + 1] = (uint8_t)(value >> 8);
}

/* Two characters a word, the first one in its high byte (8.15.8.12). */
static void text(ata *a, unsigned first, unsigned words, const char *said) {
    const size_t length = strlen(said);
    for (unsigned i = 0; i < 2 * words; i++) a->buffer[(2 * first + i) ^ 1] = i < length ? (uint8_t)said[i] : ' ';
}

static void identify(ata *a) {
    drive *d = selected(a);
    char serial[16];
    snprintf(serial, sizeof serial, "BL%u%u", a->irq - 14, a->selected);
    memset(a->buffer, 0, SECTOR);
    const int is_packet = (d->flags & BL_ATA_PACKET) != 0;
    word(a, 0, is_packet ? 0x8580 : 0x0040);
    text(a, 10, 10, serial);
    text(a, 23, 4, "1.0");
    text(a, 27, 20, is_packet ? "BEAMLIKE CD" : "BEAMLIKE DISK");
    word(a, 49, 0x0200); /* LBA */
    if (!is_packet) {
        const uint64_t few = d->sectors < 0x0fffffff ? d->sectors : 0x0fffffff;
        const int has_lba48 = !(d->flags & BL_ATA_NO_LBA48), is_removable = (d->flags & BL_ATA_READ_ONLY) != 0;
        word(a, 47, d->flags & BL_ATA_NO_MULTIPLE ? 0x8000 : 0x8000 | MOST_MULTIPLE);
        word(a, 59, d->multiple ? 0x100 | d->multiple : 0);
        word(a, 60, (unsigned)few & 0xffff);
        word(a, 61, (unsigned)(few >> 16));
        word(a, 80, 0x007e); /* ATA-1 to ATA-6 */
        for (unsigned set = 82; set <= 85; set += 3) { /* supported, and enabled */
            word(a, set, is_removable ? 0x0004 : 0);
            word(a, set + 1, 0x5000 | (has_lba48 ? 0x2400 : 0)); /* FLUSH CACHE, and EXT, with LBA48 */
            word(a, set + 2, 0x4000);
        }
        for (unsigned i = 0; has_lba48 && i < 4; i++) word(a, 100 + i, (unsigned)(d->sectors >> 16 * i) & 0xffff);
    }
    uint8_t sum = 0xa5; /* word 255: all bytes add to 0 */
    a->buffer[510] = 0xa5;
    for (unsigned i = 0; i < 510; i++) sum = (uint8_t)(sum + a->buffer[i]);
    a->buffer[511] = (uint8_t)-sum;
    a->left = 0;
    a->is_write = 0;
    offer(a, SECTOR);
    interrupt(a);
}

static void sign(drive *d) {
    const int is_packet = (d->flags & BL_ATA_PACKET) != 0;
    d->now[COUNT] = d->now[LOW] = 1;
    d->now[MIDDLE] = is_packet ? 0x14 : 0;
    d->now[HIGH] = is_packet ? 0xeb : 0;
    d->now[DEVICE] &= UNIT;
}

static void set_multiple(ata *a) {
    drive *d = selected(a);
    const unsigned count = d->now[COUNT];
    const int can = !(d->flags & BL_ATA_NO_MULTIPLE) && count <= MOST_MULTIPLE && (count & (count - 1)) == 0;
    if (can) d->multiple = count;
    finish(a, can ? 0 : ABRT);
}

static void execute_packet(ata *a) {
    drive *d = selected(a);
    if (a->command == 0xa1) identify(a);
    else {
        if (a->command == 0xec || a->command == 0x20) sign(d);
        finish(a, ABRT);
    }
}

static void execute(ata *a) {
    drive *d = selected(a);
    d->error = 0;
    if (d->flags & BL_ATA_PACKET) {
        execute_packet(a);
        return;
    }
    switch (a->command) {
        case 0x20: case 0x21: case 0x24: transfer(a, 0, 0); break;
        case 0xc4: case 0x29: transfer(a, 0, 1); break;
        case 0x30: case 0x31: case 0x34: transfer(a, 1, 0); break;
        case 0xc5: case 0x39: transfer(a, 1, 1); break;
        case 0xc6: set_multiple(a); break;
        case 0xda: finish(a, d->flags & BL_ATA_READ_ONLY ? WP : ABRT); break; /* GET MEDIA STATUS */
        case 0xe7: finish(a, fdatasync(d->fd) && errno == EIO ? ABRT : 0); break;
        case 0xea: finish(a, d->flags & BL_ATA_NO_LBA48 || (fdatasync(d->fd) && errno == EIO) ? ABRT : 0); break;
        case 0xec: identify(a); break;
        default: finish(a, ABRT);
    }
}

static void reset(ata *a) {
    for (unsigned i = 0; i < 2; i++) {
        drive *d = &a->drives[i];
        sign(d);
        d->error = 1; /* it has passed its diagnostic */
        d->multiple = 0;
        d->status = !d->is_there || d->flags & BL_ATA_PACKET ? 0 : DRDY | DSC;
    }
}

static void run(bl_device *device) {
    ata *a = (ata *)device;
    if (a->command) execute(a);
    else reset(a);
}

/* Of both, until SRST is taken back, and then for a while. */
static void begin_reset(ata *a) {
    for (unsigned i = 0; i < 2; i++) a->drives[i].status = a->drives[i].is_there ? BSY : 0;
    a->selected = a->command = 0;
    a->pending = 0;
    a->position = a->size = 0;
    a->device.due = BL_NEVER;
}

static void begin(ata *a, uint8_t command) {
    drive *d = selected(a);
    a->pending = 0;
    follow(a);
    if (!d->is_there || command == 0) return; /* 0: NOP of nothing */
    if (command == 0x90) { /* EXECUTE DEVICE DIAGNOSTIC */
        reset(a);
        a->selected = 0;
        interrupt(a);
        return;
    }
    a->command = command;
    d->status = BSY;
    if (d->stuck) d->stuck--;
    else if (d->delay) a->device.due = a->device.bus->now + d->delay;
    else execute(a);
}

/* ---- accesses ---- */

static uint8_t status(const ata *a) {
    if (a->drives[a->selected].is_there) return a->drives[a->selected].status;
    return a->selected == 1 ? 0 : 0xff; /* device 0 answers for the other, and not the other way round (9.16) */
}

static uint8_t in_register(ata *a, unsigned number) {
    const drive *d = selected(a);
    if (!d->is_there) {
        if (a->selected == 0) return 0xff;
        if (number != COMMAND) d = &a->drives[0];
    }
    const uint8_t *shown = a->control & HOB ? d->before : d->now;
    switch (number) {
        case FEATURES: return d->error;
        case DEVICE: return (uint8_t)((d->now[DEVICE] & ~UNIT) | (a->selected ? UNIT : 0));
        case COMMAND:
            a->pending = 0;
            follow(a);
            return status(a);
        default: return shown[number];
    }
}

static size_t in_block(bl_device *device, uint16_t port, unsigned width, uint8_t *to, size_t units) {
    ata *a = (ata *)device;
    size_t moved = 0, size = units * width;
    if (port != a->base || width == 1) return 0;
    while (moved < size && selected(a)->status & DRQ && !a->is_write) {
        const size_t here = a->size - a->position, wanted = size - moved, some = here < wanted ? here : wanted;
        memcpy(to + moved, a->buffer + a->position, some);
        a->position += some;
        moved += some;
        if (a->position == a->size) go_on(a);
    }
    return moved / width; /* a double word that is only begun is given up */
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    ata *a = (ata *)device;
    if (port == a->control_port) return status(a) | 0xffffff00;
    uint8_t bytes[4] = {0xff, 0xff, 0xff, 0xff};
    if (port == a->base && width > 1) {
        in_block(device, port, width, bytes, 1);
    } else
        for (unsigned i = 0; i < width; i++)
            if (port + i > a->base && port + i - a->base < REGISTERS) bytes[i] = in_register(a, port + i - a->base);
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static size_t out_block(bl_device *device, uint16_t port, unsigned width, const uint8_t *from, size_t units) {
    ata *a = (ata *)device;
    size_t moved = 0, size = units * width;
    if (port != a->base || width == 1) return 0;
    while (moved < size && selected(a)->status & DRQ && a->is_write) {
        const size_t here = a->size - a->position, wanted = size - moved, some = here < wanted ? here : wanted;
        memcpy(a->buffer + a->position, from + moved, some);
        a->position += some;
        moved += some;
        if (a->position == a->size) go_on(a);
    }
    return units; /* what it does not want is lost */
}

static void out_register(ata *a, unsigned number, uint8_t value) {
    if (selected(a)->is_there && selected(a)->status & (BSY | DRQ)) return; /* what happens then is not said (7.8) */
    a->control &= (uint8_t)~HOB;
    if (number == COMMAND) {
        begin(a, value);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        a->drives[i].before[number] = a->drives[i].now[number];
        a->drives[i].now[number] = value;
    }
    if (number == DEVICE) a->selected = (value & UNIT) != 0;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    ata *a = (ata *)device;
    if (port == a->control_port) {
        const int was_reset = a->control & SRST;
        a->control = (uint8_t)value;
        if (value & SRST) begin_reset(a);
        else if (was_reset) a->device.due = device->bus->now + RESET_TIME;
        follow(a);
    } else if (port == a->base && width > 1) {
        const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
        out_block(device, port, width, bytes, 1);
    } else
        for (unsigned i = 0; i < width; i++)
            if (port + i > a->base && port + i - a->base < REGISTERS) out_register(a, port + i - a->base, (uint8_t)(value >> 8 * i));
}

static void unplug(bl_device *device) {
    for (unsigned i = 0; i < 2; i++)
        if (((ata *)device)->drives[i].is_there) close(((ata *)device)->drives[i].fd);
}

/* ---- the host's side ---- */

static ata *channel_of(bl_bus *bus, unsigned channel) {
    for (unsigned i = 0; i < bus->device_count; i++)
        if (bus->devices[i]->out == out && ((ata *)bus->devices[i])->irq == 14 + channel) return (ata *)bus->devices[i];
    ata *a = bl_plug(bus, "ata", sizeof *a);
    if (a == NULL) return NULL;
    a->base = channel ? 0x170 : 0x1f0;
    a->control_port = channel ? 0x376 : 0x3f6;
    a->irq = 14 + channel;
    a->device.in = in;
    a->device.out = out;
    a->device.in_block = in_block;
    a->device.out_block = out_block;
    a->device.run = run;
    a->device.unplug = unplug;
    bl_claim(&a->device, a->base, a->base + 7u);
    bl_claim(&a->device, a->control_port, a->control_port);
    return a;
}

bl_device *bl_plug_ata(bl_bus *bus, unsigned channel, unsigned unit, int fd, unsigned flags, int64_t delay) {
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    const off_t size = own < 0 ? -1 : lseek(own, 0, SEEK_END);
    ata *a = size < 0 || channel > 1 || unit > 1 ? NULL : channel_of(bus, channel);
    if (a == NULL || a->drives[unit].is_there) {
        if (own >= 0) close(own);
        return NULL;
    }
    drive *d = &a->drives[unit];
    d->is_there = 1;
    d->fd = own;
    d->flags = flags;
    d->delay = delay > 0 ? delay : 0;
    d->sectors = (uint64_t)size / SECTOR;
    reset(a);
    return &a->device;
}

int bl_ata_bad(bl_device *device, unsigned unit, uint64_t lba) {
    drive *d = &((ata *)device)->drives[unit & 1];
    if (d->bad_count == MOST_BAD) return -ENOSPC;
    d->bad[d->bad_count++] = lba;
    return 0;
}

void bl_ata_stick(bl_device *device, unsigned unit, unsigned commands) { ((ata *)device)->drives[unit & 1].stuck = commands; }
