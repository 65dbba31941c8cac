/* Virtual I/O Device 1.2 (OASIS), section 5.2 (block device), legacy interface. A request takes 50 us. */
#include "bus.h"
#include "virtio.h"
#include "virtio_blk.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 2, SECTOR = 512, HEADER = 16, SERIAL = 20, DELAY = 50000 };
enum { SEGMENTS = 1 << 2, READ_ONLY = 1 << 5, BLOCK_SIZE = 1 << 6, FLUSH = 1 << 9 };
enum { READ = 0, WRITE = 1, DO_FLUSH = 4, GET_ID = 8 };
enum { OK = 0, ERROR = 1, UNSUPPORTED = 2 };

typedef struct disk {
    bl_virtio virtio;
    int medium;
    int is_read_only;
    uint64_t sectors;
    unsigned block;
    uint8_t serial[SERIAL];
} disk;

/* `size` bytes between the medium, from `at`, and the chain, from `skip`. */
static int transfer(const disk *d, const bl_chain *chain, int is_write, uint64_t at, size_t skip, size_t size) {
    uint8_t block[4096];
    while (size) {
        const size_t here = size < sizeof block ? size : sizeof block;
        if (is_write) {
            bl_chain_read(chain, skip, block, here);
            if (pwrite(d->medium, block, here, (off_t)at) != (ssize_t)here) return ERROR;
        } else {
            if (pread(d->medium, block, here, (off_t)at) != (ssize_t)here) return ERROR; /* it may have shrunk */
            bl_chain_write(chain, skip, block, here);
        }
        at += here;
        skip += here;
        size -= here;
    }
    return OK;
}

/* What has become of it; and how much was written before the status. */
static int carry_out(const disk *d, const bl_chain *chain, size_t *written) {
    struct {
        uint32_t kind, reserved;
        uint64_t sector;
    } header;
    if (bl_chain_read(chain, 0, (uint8_t *)&header, HEADER) != HEADER) return ERROR;
    const size_t room = bl_chain_writable(chain) - 1, sent = bl_chain_readable(chain) - HEADER;
    const size_t size = header.kind == READ ? room : sent;
    switch (header.kind) {
        case READ:
        case WRITE:
            if (size % d->block || header.sector % (d->block / SECTOR) || header.sector > d->sectors || size / SECTOR > d->sectors - header.sector) return ERROR;
            if (header.kind == WRITE && d->is_read_only) return ERROR;
            if (header.kind == READ) *written = size;
            return transfer(d, chain, header.kind == WRITE, header.sector * SECTOR, header.kind == WRITE ? HEADER : 0, size);
        case DO_FLUSH: return fsync(d->medium) ? ERROR : OK;
        case GET_ID: *written = bl_chain_write(chain, 0, d->serial, room < SERIAL ? room : SERIAL); return OK;
        default: return UNSUPPORTED;
    }
}

static void run(bl_device *device) {
    disk *d = (disk *)device;
    bl_chain chain;
    while (bl_virtio_next(&d->virtio, 0, &chain)) {
        size_t written = 0;
        if (bl_chain_writable(&chain) == 0) { /* nowhere to put the status */
            d->virtio.is_broken = 1;
            return;
        }
        const uint8_t status = (uint8_t)carry_out(d, &chain, &written);
        bl_chain_write(&chain, bl_chain_writable(&chain) - 1, &status, 1);
        bl_virtio_done(&d->virtio, 0, chain.head, (uint32_t)written + 1);
    }
}

static void notify(bl_virtio *v, unsigned queue) {
    bl_device *device = &v->function.device;
    if (device->due == BL_NEVER) device->due = device->bus->now + DELAY;
}

static void reset(bl_virtio *v) { v->function.device.due = BL_NEVER; }

static void unplug(bl_device *device) { close(((disk *)device)->medium); }

bl_device *bl_plug_virtio_blk(bl_bus *bus, int medium, int is_read_only, const char *serial, unsigned block) {
    struct stat found;
    if (block == 0 || block % SECTOR || fstat(medium, &found)) return NULL;
    const int own = dup(medium);
    if (own < 0) return NULL;
    disk *d = bl_virtio_plug(bus, "virtio_blk", sizeof *d, BLOCK, 0x01000000, 128);
    if (d == NULL) {
        close(own);
        return NULL;
    }
    d->medium = own;
    d->is_read_only = is_read_only;
    d->block = block;
    d->sectors = (uint64_t)found.st_size / SECTOR;
    for (unsigned i = 0; i < SERIAL && serial[i]; i++) d->serial[i] = (uint8_t)serial[i];
    bl_virtio *v = &d->virtio;
    v->function.device.run = run;
    v->function.device.unplug = unplug;
    v->notify = notify;
    v->reset = reset;
    v->queue_count = 1;
    v->offered = SEGMENTS | BLOCK_SIZE | FLUSH | (is_read_only ? READ_ONLY : 0);
    v->config_size = 60;
    const uint32_t segments = BL_QUEUE_SIZE - 2;
    memcpy(v->config, &d->sectors, 8);
    memcpy(v->config + 12, &segments, 4);
    memcpy(v->config + 20, &block, 4);
    return &v->function.device;
}
