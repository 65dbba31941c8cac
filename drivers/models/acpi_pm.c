/* ACPI 6.5, 4.8.2.1 (power management timer) and 4.8.3.2.1 (PM1 control registers), laid out as in the PIIX4 (Intel 290562-001, "Power
   management I/O space"): control at 4, timer at 8. Not there: events, and so the interrupt of the timer; sleeping, but for being off. */
#include "bus.h"
#include "acpi_pm.h"

enum { CONTROL = 4, TIMER = 8, SIZE = 12, HERTZ = 3579545 };
enum { SCI_ENABLE = 0x0001, BUS_MASTER_RELOAD = 0x0002, SLEEP_TYPE = 0x1c00, SLEEP = 0x2000, OFF = 0 };

typedef struct acpi_pm {
    bl_device device;
    uint32_t base, mask, control;
} acpi_pm;

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    const acpi_pm *p = (acpi_pm *)device;
    const uint32_t count = (uint32_t)bl_ticks(device->bus->now, HERTZ) & p->mask;
    uint32_t value = 0;
    for (unsigned byte = 0; byte < width; byte++) {
        const uint32_t offset = port + byte - p->base;
        const uint32_t here = offset >= TIMER ? count >> 8 * (offset - TIMER) : offset >= CONTROL ? p->control >> 8 * (offset - CONTROL) : 0;
        value |= (here & 0xff) << 8 * byte;
    }
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    acpi_pm *p = (acpi_pm *)device;
    for (unsigned byte = 0; byte < width; byte++, value >>= 8) {
        const uint32_t offset = port + byte - p->base - CONTROL;
        if (offset > 1) continue;
        p->control = (p->control & ~(0xffu << 8 * offset)) | (value & 0xff) << 8 * offset;
    }
    if (p->control & SLEEP && (p->control & SLEEP_TYPE) == OFF) bl_stop_machine(device->bus, BL_POWER_OFF, 0);
    p->control &= SCI_ENABLE | BUS_MASTER_RELOAD | SLEEP_TYPE; /* the others read as 0 */
}

bl_device *bl_plug_acpi_pm(bl_bus *bus, uint32_t base, unsigned bits) {
    if (base > BL_PORTS - SIZE || (bits != 24 && bits != 32)) return NULL;
    acpi_pm *p = bl_plug(bus, "acpi_pm", sizeof *p);
    if (p == NULL) return NULL;
    p->base = base;
    p->mask = bits == 24 ? 0xffffff : UINT32_MAX;
    p->device.in = in;
    p->device.out = out;
    bl_claim(&p->device, base, base + SIZE - 1);
    return &p->device;
}
