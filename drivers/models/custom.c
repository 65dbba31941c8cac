/* A device in Python, for who writes a driver and has no model in C. Each access is a call into Python, which takes some microseconds. */
#include "bus.h"
#include "custom.h"
#include "python_calls.h"

typedef struct custom {
    bl_device device;
    uint64_t handle;
} custom;

static uint32_t in(bl_device *device, uint16_t port, unsigned width) { return bl_custom_in(((custom *)device)->handle, port, width); }

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    bl_custom_out(((custom *)device)->handle, port, width, value);
}

static void run(bl_device *device) { bl_custom_run(((custom *)device)->handle); }

void bl_custom_after(bl_device *device, int64_t nanoseconds) {
    if (nanoseconds == 0) nanoseconds = 1; /* else one that does so when it is run would be run for ever */
    device->due = nanoseconds < 0 || nanoseconds > BL_NEVER - 1 - device->bus->now ? BL_NEVER : device->bus->now + nanoseconds;
}

void bl_custom_line(bl_device *device, unsigned line, int level) { bl_irq(device, line, level); }

bl_device *bl_plug_custom(bl_bus *bus, uint64_t handle, unsigned first, unsigned last) {
    if (first > last || last >= BL_PORTS) return NULL;
    custom *c = bl_plug(bus, "custom", sizeof *c);
    if (c == NULL) return NULL;
    c->handle = handle;
    c->device.in = in;
    c->device.out = out;
    c->device.run = run;
    bl_claim(&c->device, first, last);
    return &c->device;
}
