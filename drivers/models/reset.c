/* Intel 82371SB (PIIX3) data sheet (290550-002), "RC: reset control register". */
#include "bus.h"
#include "reset.h"

enum { PORT = 0xcf9, HARD = 0x02, RESET = 0x04 };

typedef struct reset {
    bl_device device;
    uint32_t control;
} reset;

static uint32_t in(bl_device *device, uint16_t port, unsigned width) { return ((reset *)device)->control; }

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    if (value & RESET) bl_stop_machine(device->bus, BL_RESET, 0); /* hard or soft: the program that runs is over */
    ((reset *)device)->control = value & HARD;
}

bl_device *bl_plug_reset(bl_bus *bus) {
    reset *r = bl_plug(bus, "reset", sizeof *r);
    if (r == NULL) return NULL;
    r->device.in = in;
    r->device.out = out;
    bl_claim(&r->device, PORT, PORT);
    return &r->device;
}
