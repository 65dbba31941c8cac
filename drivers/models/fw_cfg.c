/* QEMU, docs/specs/fw_cfg.rst: the selector, the data port, the DMA interface. Only reading, as of QEMU 2.4: a write to the data is lost. */
#include "bus.h"
#include "fw_cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BASE = 0x510, DATA = 0x511, DMA = 0x514, SIGNATURE = 0, ID = 1, DIRECTORY = 0x19, FIRST_FILE = 0x20, FILES = 128, NAME = 56, ENTRY = 64 };
enum { HAS_DMA_AND_TRADITIONAL = 3, FAILED = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

typedef struct item {
    char name[NAME];
    uint8_t *data;
    uint32_t size;
} item;

typedef struct fw_cfg {
    bl_device device;
    uint16_t selected;
    uint32_t at; /* in what is selected */
    uint64_t dma;
    uint32_t count;
    item files[FILES];
    uint8_t directory[4 + FILES * ENTRY];
} fw_cfg;

static void put(uint8_t *to, uint32_t value) {
    for (unsigned byte = 0; byte < 4; byte++) to[byte] = (uint8_t)(value >> (24 - 8 * byte));
}

static uint32_t get(const uint8_t *from) { return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3]; }

/* What is selected; after its end, and where there is nothing, come zeros. */
static void read_data(fw_cfg *f, uint8_t *to, uint32_t size) {
    static const uint8_t id[4] = {HAS_DMA_AND_TRADITIONAL};
    const uint8_t *data = NULL;
    uint32_t length = 0;
    if (f->selected == SIGNATURE) data = (const uint8_t *)"QEMU", length = 4;
    else if (f->selected == ID) data = id, length = 4;
    else if (f->selected == DIRECTORY) data = f->directory, length = 4 + f->count * ENTRY;
    else if (f->selected >= FIRST_FILE && f->selected < FIRST_FILE + f->count)
        data = f->files[f->selected - FIRST_FILE].data, length = f->files[f->selected - FIRST_FILE].size;
    const uint32_t left = f->at < length ? length - f->at : 0, taken = size < left ? size : left;
    if (to != NULL) {
        memset(to, 0, size);
        if (taken) memcpy(to, data + f->at, taken);
    }
    f->at += taken;
}

static void run_dma(fw_cfg *f) {
    uint8_t *access = bl_ram(f->device.bus, f->dma, 16);
    f->dma = 0;
    if (access == NULL) return;
    const uint32_t control = get(access), size = get(access + 4);
    uint8_t *to = bl_ram(f->device.bus, (uint64_t)get(access + 8) << 32 | get(access + 12), size);
    if (control & SELECT) {
        f->selected = (uint16_t)(control >> 16);
        f->at = 0;
    }
    uint32_t result = 0;
    if (control & READ && to != NULL) read_data(f, to, size);
    else if (control & (READ | WRITE)) result = FAILED;
    else if (control & SKIP) read_data(f, NULL, size);
    put(access, result);
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    if (port >= DMA) {
        uint32_t value = 0;
        for (unsigned byte = 0; byte < width && port - DMA + byte < 8; byte++) value |= (uint32_t)"QEMU CFG"[port - DMA + byte] << 8 * byte;
        return value;
    }
    uint8_t value = 0;
    if (width == 1 && port <= DATA) read_data((fw_cfg *)device, &value, 1); /* also at 0x510, as in QEMU */
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    fw_cfg *f = (fw_cfg *)device;
    if (port == BASE && width == 2) {
        f->selected = (uint16_t)value;
        f->at = 0;
    } else if (port == DMA && width == 4) f->dma = (uint64_t)__builtin_bswap32(value) << 32 | (uint32_t)f->dma;
    else if (port == DMA + 4 && width == 4) {
        f->dma = (f->dma >> 32 << 32) | __builtin_bswap32(value);
        run_dma(f);
    }
}

static void unplug(bl_device *device) {
    fw_cfg *f = (fw_cfg *)device;
    for (uint32_t i = 0; i < f->count; i++) free(f->files[i].data);
}

int bl_fw_cfg_add(bl_device *device, const char *name, const uint8_t *data, uint32_t size) {
    fw_cfg *f = (fw_cfg *)device;
    if (strlen(name) >= NAME) return -ENAMETOOLONG;
    if (f->count == FILES) return -ENOSPC;
    for (uint32_t i = 0; i < f->count; i++)
        if (strcmp(f->files[i].name, name) == 0) return -EEXIST;
    item *added = &f->files[f->count];
    added->data = malloc(size ? size : 1);
    if (added->data == NULL) return -ENOMEM;
    memcpy(added->data, data, size);
    memcpy(added->name, name, strlen(name));
    added->size = size;
    uint8_t *entry = f->directory + 4 + f->count * ENTRY;
    put(entry, size);
    put(entry + 4, (FIRST_FILE + f->count) << 16);
    memcpy(entry + 8, added->name, NAME);
    put(f->directory, ++f->count);
    return 0;
}

bl_device *bl_plug_fw_cfg(bl_bus *bus) {
    fw_cfg *f = bl_plug(bus, "fw_cfg", sizeof *f);
    if (f == NULL) return NULL;
    f->device.in = in;
    f->device.out = out;
    f->device.unplug = unplug;
    bl_claim(&f->device, BASE, DMA + 7);
    return &f->device;
}
