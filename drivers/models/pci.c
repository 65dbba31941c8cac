/* PCI Local Bus Specification 3.0, section 3.2.2.3 (configuration mechanism #1) and chapter 6; PCI-to-PCI Bridge Architecture Specification
   1.2, chapter 3; Intel 82441FX (290549) and 82371SB (290550) data sheets.

   What answers at ports and addresses is worked out anew after each write to configuration space: the base addresses of all functions are
   taken off, the last one first, so that what was below is there again, and those that are decoded are put on. */
#include "bus.h"
#include "pci.h"
#include "pci_function.h"

#include <string.h>

enum { ADDRESS = 0xcf8, RESET = 0xcf9, DATA = 0xcfc, SLOTS = 32, ROUTES = 0x60 };
enum { COMMAND = 0x04, STATUS = 0x06, HEADER = 0x0e, BARS = 0x10, CAPABILITIES = 0x34, LINE = 0x3c, PIN = 0x3d };
enum { IO = 1, MEMORY = 2, MASTER = 4, NO_INTERRUPT = 4 /* of the second byte */, HAS_CAPABILITIES = 0x10, HAS_INTERRUPT = 8 };
enum { PRIMARY = 0x18, SECONDARY, SUBORDINATE, IO_WINDOW = 0x1c, MEMORY_WINDOW = 0x20, PREFETCHABLE_WINDOW = 0x24 };

typedef struct pci {
    bl_device device;
    uint32_t address;
    bl_pci_function *functions[BL_DEVICES];
    unsigned count;
    bl_pci_function *isa;
    bl_pci_function *behind; /* where the next one is plugged in */
    int lines[16];           /* what PCI adds to the ISA lines */
} pci;

static uint32_t in(bl_device *device, uint16_t port, unsigned width);

static pci *pci_of(const bl_bus *bus) {
    for (unsigned i = 0; i < bus->device_count; i++)
        if (bus->devices[i]->in == in) return (pci *)bus->devices[i];
    return NULL;
}

static uint32_t get(const bl_pci_function *f, unsigned offset, unsigned width) {
    uint32_t value = 0;
    memcpy(&value, f->config + offset, width);
    return value;
}

static void set(bl_pci_function *f, unsigned offset, unsigned width, uint32_t value) { memcpy(f->config + offset, &value, width); }

/* ---- what answers where ---- */

static int passes(const bl_pci_function *bridge, int is_io, uint64_t first, uint64_t last) {
    if (!(bridge->config[COMMAND] & (is_io ? IO : MEMORY))) return 0;
    if (is_io) return first >= (bridge->config[IO_WINDOW] & 0xf0u) << 8 && last <= ((bridge->config[IO_WINDOW + 1] & 0xf0u) << 8 | 0xfff);
    for (unsigned window = MEMORY_WINDOW; window <= PREFETCHABLE_WINDOW; window += 4)
        if (first >= (uint64_t)(get(bridge, window, 2) & 0xfff0) << 16 && last <= ((uint64_t)(get(bridge, window + 2, 2) & 0xfff0) << 16 | 0xfffff))
            return 1;
    return 0;
}

static int is_decoded(const bl_pci_function *f, const bl_bar *bar) {
    const int is_io = bar->kind == BL_BAR_PORTS;
    if (!(f->config[COMMAND] & (is_io ? IO : MEMORY)) || bar->base == 0 || (is_io && bar->base + bar->size > BL_PORTS)) return 0;
    for (const bl_pci_function *bridge = f->bridge; bridge != NULL; bridge = bridge->bridge)
        if (!passes(bridge, is_io, bar->base, bar->base + bar->size - 1)) return 0;
    return 1;
}

static void take_off(bl_device *device, bl_bar *bar) {
    bl_bus *bus = device->bus;
    if (!bar->is_on) return;
    bar->is_on = 0;
    if (bar->kind == BL_BAR_PORTS) {
        memcpy(bus->owners + bar->base, bar->below, bar->size);
        return;
    }
    for (unsigned i = 0; i < bus->region_count; i++) {
        if (bus->regions[i].device != device || bus->regions[i].first != bar->base) continue;
        memmove(bus->regions + i, bus->regions + i + 1, (--bus->region_count - i) * sizeof *bus->regions);
        return;
    }
}

static void put_on(bl_pci_function *f, bl_bar *bar) {
    bar->is_on = 1;
    if (bar->kind == BL_BAR_PORTS) {
        memcpy(bar->below, f->device.bus->owners + bar->base, bar->size);
        bl_cover(&f->device, (uint32_t)bar->base, (uint32_t)bar->base + bar->size - 1);
    } else bl_map(&f->device, bar->base, bar->size);
}

static void settle(pci *p) {
    for (unsigned i = p->count; i-- > 0;)
        for (unsigned b = BL_BARS; b-- > 0;) take_off(&p->functions[i]->device, &p->functions[i]->bars[b]);
    for (unsigned i = 0; i < p->count; i++)
        for (unsigned b = 0; b < BL_BARS; b++) {
            bl_pci_function *f = p->functions[i];
            bl_bar *bar = &f->bars[b];
            if (bar->kind == BL_BAR_NONE) continue;
            bar->base = get(f, BARS + 4 * b, 4) & (bar->kind == BL_BAR_PORTS ? ~3u : ~15u);
            if (bar->kind == BL_BAR_MEMORY_64) bar->base |= (uint64_t)get(f, BARS + 4 * b + 4, 4) << 32;
            if (is_decoded(f, bar)) put_on(f, bar);
        }
    bl_cover(&p->device, ADDRESS, ADDRESS); /* the host bridge comes first */
    bl_cover(&p->device, RESET + 1, DATA + 3);
}

/* ---- interrupts ---- */

static unsigned route_of(const bl_pci_function *f) {
    unsigned pin = f->config[PIN] - 1u;
    for (; f->bridge != NULL; f = f->bridge) pin += f->slot;
    return (pin + f->slot - 1) & 3;
}

static void settle_lines(pci *p) {
    int levels[16] = {0};
    for (unsigned i = 0; i < p->count; i++) {
        bl_pci_function *f = p->functions[i];
        f->config[STATUS] = (uint8_t)((f->config[STATUS] & ~HAS_INTERRUPT) | (f->level ? HAS_INTERRUPT : 0));
        if (!f->level || f->config[COMMAND + 1] & NO_INTERRUPT) continue;
        const uint8_t route = p->isa->config[ROUTES + route_of(f)];
        if (!(route & 0x80)) levels[route & 15] = 1;
    }
    for (unsigned line = 0; line < 16; line++) {
        if (levels[line] == p->lines[line]) continue;
        p->lines[line] = levels[line];
        bl_irq(&p->device, line, levels[line]);
    }
}

void bl_pci_irq(bl_pci_function *f, int level) {
    f->level = level != 0;
    settle_lines(pci_of(f->device.bus));
}

uint8_t *bl_pci_ram(bl_pci_function *f, uint64_t address, uint64_t size) {
    for (const bl_pci_function *each = f; each != NULL; each = each->bridge)
        if (!(each->config[COMMAND] & MASTER)) return NULL;
    return bl_ram(f->device.bus, address, size);
}

/* ---- configuration space ---- */

/* Does a cycle for this bus get to where the function is? */
static int is_reached(const bl_pci_function *f, unsigned bus) {
    if (f->bridge == NULL) return bus == 0;
    if (bus == 0 || f->bridge->config[SECONDARY] != bus) return 0;
    for (const bl_pci_function *bridge = f->bridge->bridge; bridge != NULL; bridge = bridge->bridge)
        if (bus <= bridge->config[SECONDARY] || bus > bridge->config[SUBORDINATE]) return 0;
    return 1;
}

static bl_pci_function *addressed(const pci *p) {
    if (!(p->address & 0x80000000)) return NULL;
    for (unsigned i = 0; i < p->count; i++) {
        bl_pci_function *f = p->functions[i];
        if (f->slot == (p->address >> 11 & 31) && f->number == (p->address >> 8 & 7) && is_reached(f, p->address >> 16 & 0xff)) return f;
    }
    return NULL;
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    const pci *p = (pci *)device;
    if (port < DATA) return port == ADDRESS && width == 4 ? p->address : UINT32_MAX;
    const bl_pci_function *f = addressed(p);
    return f != NULL ? get(f, (p->address & 0xfc) + (port & 3u), width) : UINT32_MAX;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    pci *p = (pci *)device;
    if (port < DATA) {
        if (port == ADDRESS && width == 4) p->address = value;
        return;
    }
    bl_pci_function *f = addressed(p);
    if (f == NULL) return;
    for (unsigned byte = 0; byte < width; byte++) {
        const unsigned at = (p->address & 0xfc) + (port & 3u) + byte;
        f->config[at] = (uint8_t)((f->config[at] & ~f->writable[at]) | (value >> 8 * byte & f->writable[at]));
    }
    settle(p);
    settle_lines(p);
    if (f->moved != NULL) f->moved(f);
}

/* ---- functions ---- */

static unsigned free_slot(const pci *p) {
    unsigned slot = 0;
    for (unsigned i = 0; i < p->count; i++)
        if (p->functions[i]->bridge == p->behind && p->functions[i]->slot >= slot) slot = p->functions[i]->slot + 1u;
    return slot;
}

void *bl_pci_plug(bl_bus *bus, const char *name, size_t size, uint32_t ids, uint32_t classes) {
    pci *p = pci_of(bus);
    if (p == NULL || free_slot(p) == SLOTS) return NULL;
    bl_pci_function *f = bl_plug(bus, name, size);
    if (f == NULL) return NULL;
    f->slot = (uint8_t)free_slot(p);
    f->bridge = p->behind;
    set(f, 0, 4, ids);
    set(f, 8, 4, classes);
    f->config[PIN] = 1;
    f->writable[COMMAND] = IO | MEMORY | MASTER;
    f->writable[COMMAND + 1] = 0x05; /* SERR, no interrupt */
    f->writable[LINE] = 0xff;
    p->functions[p->count++] = f;
    return f;
}

void bl_pci_bar(bl_pci_function *f, unsigned index, enum bl_bar_kind kind, uint32_t size) {
    const uint32_t writable = ~(size - 1), none = UINT32_MAX;
    f->bars[index].kind = kind;
    f->bars[index].size = size;
    f->config[BARS + 4 * index] = kind == BL_BAR_PORTS ? 1 : kind == BL_BAR_MEMORY_64 ? 12 : 0;
    memcpy(f->writable + BARS + 4 * index, &writable, 4);
    if (kind == BL_BAR_MEMORY_64) memcpy(f->writable + BARS + 4 * index + 4, &none, 4);
}

void bl_pci_capability(bl_pci_function *f, unsigned at, uint8_t id) {
    f->config[at] = id;
    f->config[at + 1] = f->config[CAPABILITIES];
    f->config[CAPABILITIES] = (uint8_t)at;
    f->config[STATUS] |= HAS_CAPABILITIES;
}

typedef struct testdev {
    bl_pci_function function;
    uint8_t kept[4096];
} testdev;

static uint32_t no_in(bl_device *device, uint16_t port, unsigned width) { return 0; }

static uint32_t kept(bl_device *device, uint64_t offset, unsigned width) {
    uint32_t value = 0;
    memcpy(&value, ((testdev *)device)->kept + offset % 4096, width);
    return value;
}

static void keep(bl_device *device, uint64_t offset, unsigned width, uint32_t value) {
    memcpy(((testdev *)device)->kept + offset % 4096, &value, width);
}

bl_device *bl_plug_pci_testdev(bl_bus *bus) {
    bl_pci_function *f = bl_pci_plug(bus, "pci_testdev", sizeof(testdev), 0x00051b36, 0x00ff0000);
    if (f == NULL) return NULL;
    f->config[PIN] = 0;
    f->device.in = no_in;
    f->device.read = kept;
    f->device.write = keep;
    bl_pci_bar(f, 0, BL_BAR_MEMORY, 4096);
    bl_pci_bar(f, 1, BL_BAR_PORTS, 256);
    bl_pci_bar(f, 2, BL_BAR_MEMORY_64, 1 << 20);
    return &f->device;
}

bl_device *bl_plug_pci_bridge(bl_bus *bus) {
    bl_pci_function *f = bl_pci_plug(bus, "pci_bridge", sizeof *f, 0x00011b36, 0x06040000);
    if (f == NULL) return NULL;
    f->config[HEADER] = 1;
    memset(f->writable + PRIMARY, 0xff, 3);
    memset(f->writable + IO_WINDOW, 0xf0, 2);
    for (unsigned at = MEMORY_WINDOW; at < PREFETCHABLE_WINDOW + 4; at += 2) {
        f->writable[at] = 0xf0;
        f->writable[at + 1] = 0xff;
    }
    bl_pci_capability(f, 0x40, 0x0c); /* hot plug, as QEMU's has it */
    bl_pci_capability(f, 0x48, 0x04); /* slot numbers */
    bl_pci_capability(f, 0x4c, 0x05); /* MSI */
    return &f->device;
}

bl_device *bl_plug_pci_behind(bl_bus *bus, unsigned slot) {
    pci *p = pci_of(bus);
    for (unsigned i = 0; p != NULL && i < p->count; i++)
        if (p->functions[i]->bridge == NULL && p->functions[i]->slot == slot && p->functions[i]->config[HEADER] == 1)
            return &(p->behind = p->functions[i])->device;
    return NULL;
}

void bl_pci_poke(bl_device *device, unsigned slot, unsigned offset, uint8_t value, uint8_t writable) {
    pci *p = (pci *)device;
    for (unsigned i = 0; i < p->count; i++) {
        if (p->functions[i]->bridge != NULL || p->functions[i]->slot != slot || offset > 255) continue;
        p->functions[i]->config[offset] = value;
        p->functions[i]->writable[offset] = writable;
        settle(p);
    }
}

bl_device *bl_plug_pci(bl_bus *bus) {
    if (pci_of(bus) != NULL) return NULL;
    pci *p = bl_plug(bus, "pci", sizeof *p);
    if (p == NULL) return NULL;
    p->device.in = in;
    p->device.out = out;
    bl_pci_function *host = bl_pci_plug(bus, "440fx", sizeof *host, 0x12378086, 0x06000002);
    bl_pci_function *isa = bl_pci_plug(bus, "piix3", sizeof *isa, 0x70008086, 0x06010000);
    if (host == NULL || isa == NULL) return NULL;
    host->config[PIN] = isa->config[PIN] = 0;
    p->isa = isa;
    isa->config[HEADER] = 0x80; /* it has more functions than are here */
    memset(isa->config + ROUTES, 0x80, 4);
    memset(isa->writable + ROUTES, 0x8f, 4);
    settle(p);
    return &p->device;
}
