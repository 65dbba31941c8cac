/* Intel 82093AA data sheet (290566-001), 3.0 "Register description"; Intel I/O Controller Hub 9 data sheet (316972), APIC: version 0x20
   with the EOI register. The lines of the bus are up or down, and not high or low, so the polarity changes nothing. */
#include "bus.h"
#include "ioapic.h"
#include "lapic.h"

enum { INPUTS = 24, HAS_END = 0x20, SIZE = 0x1000 };
#define BASE 0xfec00000ull
enum { SELECT = 0x00, WINDOW = 0x10, END = 0x40 };
enum { IS_LOGICAL = 0x800, IS_PENDING = 0x1000, IS_SERVED = 0x4000, IS_LEVEL = 0x8000, IS_MASKED = 0x10000, WRITABLE = 0x1afff };

typedef struct ioapic {
    bl_device device;
    bl_device *lapic;
    unsigned version;
    uint8_t selected, id;
    uint32_t levels, low[INPUTS], high[INPUTS];
} ioapic;

/* Send what is to be sent. A level is, while its line is up and nobody serves it; an edge is if it is pending. */
static void service(ioapic *a) {
    for (unsigned i = 0; i < INPUTS; i++) {
        uint32_t *entry = &a->low[i];
        const int is_level = (*entry & IS_LEVEL) != 0;
        if (is_level) {
            if (*entry & IS_SERVED || !(a->levels >> i & 1)) *entry &= ~(uint32_t)IS_PENDING;
            else *entry |= IS_PENDING;
        }
        if (*entry & IS_MASKED || !(*entry & IS_PENDING)) continue;
        const unsigned mode = *entry >> 8 & 7;
        if (!bl_lapic_accept(a->lapic, *entry & 0xff, mode, a->high[i] >> 24, *entry & IS_LOGICAL, is_level)) continue;
        *entry &= ~(uint32_t)IS_PENDING;
        if (is_level && mode < 2) *entry |= IS_SERVED;
    }
}

static void line(bl_device *device, unsigned line, int level) {
    ioapic *a = (ioapic *)device;
    if (line == 2) return; /* the second 8259's, on the first */
    const unsigned input = line == 0 ? 2 : line;
    if (input >= INPUTS) return;
    a->levels = level ? a->levels | 1u << input : a->levels & ~(1u << input);
    if (level && !(a->low[input] & (IS_LEVEL | IS_MASKED))) a->low[input] |= IS_PENDING; /* an edge while it is masked is lost */
    service(a);
}

void bl_ioapic_end(bl_device *device, unsigned vector) {
    ioapic *a = (ioapic *)device;
    for (unsigned i = 0; i < INPUTS; i++)
        if (a->low[i] & IS_LEVEL && (a->low[i] & 0xff) == vector) a->low[i] &= ~(uint32_t)IS_SERVED;
    service(a);
}

void bl_ioapic_again(bl_device *device) { service((ioapic *)device); }

static uint32_t read(bl_device *device, uint64_t offset, unsigned width) {
    const ioapic *a = (ioapic *)device;
    if (offset == SELECT) return a->selected;
    if (offset != WINDOW || width != 4) return 0;
    switch (a->selected) {
        case 0: case 2: return (uint32_t)a->id << 24; /* the identifier, and that of the arbitration */
        case 1: return (INPUTS - 1) << 16 | a->version;
        default: break;
    }
    const unsigned i = (a->selected - 0x10u) / 2;
    if (a->selected < 0x10 || i >= INPUTS) return 0;
    return a->selected & 1 ? a->high[i] : a->low[i];
}

static void write(bl_device *device, uint64_t offset, unsigned width, uint32_t value) {
    ioapic *a = (ioapic *)device;
    if (offset == SELECT) a->selected = (uint8_t)value;
    else if (width != 4) return;
    else if (offset == END && a->version >= HAS_END) bl_ioapic_end(device, value & 0xff);
    else if (offset == WINDOW && a->selected == 0) a->id = value >> 24 & 15;
    else if (offset == WINDOW && a->selected >= 0x10 && a->selected < 0x10 + 2 * INPUTS) {
        const unsigned i = (a->selected - 0x10u) / 2;
        if (a->selected & 1) a->high[i] = value & 0xff000000;
        else {
            const int goes_on = !((value ^ a->low[i]) & IS_LEVEL); /* the trigger is what it was */
            a->low[i] = (value & WRITABLE) | (goes_on ? a->low[i] & (IS_PENDING | IS_SERVED) : 0);
        }
        service(a);
    }
}

bl_device *bl_plug_ioapic(bl_bus *bus, bl_device *lapic, unsigned version) {
    ioapic *a = lapic == NULL ? NULL : bl_plug(bus, "ioapic", sizeof *a);
    if (a == NULL) return NULL;
    for (unsigned i = 0; i < INPUTS; i++) a->low[i] = IS_MASKED;
    a->lapic = lapic;
    a->version = version & 0xff;
    bl_lapic_join(lapic, &a->device);
    a->device.read = read;
    a->device.write = write;
    a->device.line = line;
    bl_map(&a->device, BASE, SIZE);
    return &a->device;
}
