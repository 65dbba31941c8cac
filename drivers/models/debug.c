/* Bochs user manual, "port e9 hack"; QEMU's devices isa-debugcon and isa-debug-exit. There are no others, and no data sheet. */
#include "bus.h"
#include "debug.h"

enum { ROOM = 65536, SHOWN = 0xe9, MOST_PORTS = 8 };

typedef struct debugcon {
    bl_device device;
    uint32_t first, count; /* of a ring; the oldest byte, and how many */
    uint8_t bytes[ROOM];
} debugcon;

static uint32_t in(bl_device *device, uint16_t port, unsigned width) { return SHOWN; }

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    debugcon *d = (debugcon *)device;
    d->bytes[(d->first + d->count) % ROOM] = (uint8_t)value;
    if (d->count < ROOM) d->count++;
    else d->first = (d->first + 1) % ROOM;
}

uint32_t bl_debugcon_take(bl_device *device, uint8_t *to, uint32_t room) {
    debugcon *d = (debugcon *)device;
    uint32_t taken = 0;
    for (; taken < room && d->count > 0; d->count--, d->first = (d->first + 1) % ROOM) to[taken++] = d->bytes[d->first];
    return taken;
}

bl_device *bl_plug_debugcon(bl_bus *bus, uint32_t port) {
    if (port >= BL_PORTS) return NULL;
    debugcon *d = bl_plug(bus, "debugcon", sizeof *d);
    if (d == NULL) return NULL;
    d->device.in = in;
    d->device.out = out;
    bl_claim(&d->device, port, port);
    return &d->device;
}

static uint32_t exit_in(bl_device *device, uint16_t port, unsigned width) { return 0; }

static void exit_out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    bl_stop_machine(device->bus, BL_DEBUG_EXIT, (int32_t)(value & 0x7f));
}

bl_device *bl_plug_debug_exit(bl_bus *bus, uint32_t port, uint32_t size) {
    if (size < 1 || size > MOST_PORTS || port > BL_PORTS - size) return NULL;
    bl_device *device = bl_plug(bus, "debug_exit", sizeof *device);
    if (device == NULL) return NULL;
    device->in = exit_in;
    device->out = exit_out;
    bl_claim(device, port, port + size - 1);
    return device;
}
