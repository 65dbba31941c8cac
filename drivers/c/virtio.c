/* Virtual I/O Device 1.2 (OASIS), sections 2.7 (split virtqueues) and 4.1.4.10 (legacy interface over PCI). */
#include "virtio.h"

#include <string.h>

enum { OFFERED = 0, TAKEN = 4, PAGE = 8, SIZE = 12, SELECT = 14, NOTIFY = 16, STATUS = 18, ISR = 19, CONFIG = 20 };
enum { DRIVER_OK = 4, QUEUE_INTERRUPT = 1, CONFIG_INTERRUPT = 2 };
enum { NEXT = 1, WRITABLE = 2, NO_INTERRUPT = 1, PAGE_SIZE = 4096 };
enum { DESCRIPTORS = 16 * BL_QUEUE_SIZE, USED = (DESCRIPTORS + 6 + 2 * BL_QUEUE_SIZE + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE };

typedef struct descriptor {
    uint64_t address;
    uint32_t size;
    uint16_t flags, next;
} descriptor;

/* ---- queues ---- */

static uint8_t *in_queue(bl_virtio *v, unsigned queue, uint64_t offset, uint64_t size) {
    const uint32_t page = v->queues[queue].page;
    return page ? bl_pci_ram(&v->function, (uint64_t)page * PAGE_SIZE + offset, size) : NULL;
}

static uint16_t half(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, 2);
    return value;
}

static int broken(bl_virtio *v) {
    v->is_broken = 1;
    return 0;
}

int bl_virtio_next(bl_virtio *v, unsigned queue, bl_chain *chain) {
    bl_virtqueue *q = &v->queues[queue];
    const uint8_t *available = in_queue(v, queue, DESCRIPTORS, 4 + 2 * BL_QUEUE_SIZE);
    if (v->is_broken || !(v->status & DRIVER_OK) || available == NULL) return 0;
    const uint16_t waiting = (uint16_t)(half(available + 2) - q->seen);
    if (waiting == 0) return 0;
    if (waiting > BL_QUEUE_SIZE) return broken(v);
    chain->head = half(available + 4 + q->seen % BL_QUEUE_SIZE * 2);
    chain->count = chain->readable = 0;
    for (uint16_t at = chain->head;;) {
        descriptor d;
        const uint8_t *table = in_queue(v, queue, 0, DESCRIPTORS);
        if (table == NULL || at >= BL_QUEUE_SIZE || chain->count == BL_QUEUE_SIZE) return broken(v); /* more would be a loop */
        memcpy(&d, table + at * sizeof d, sizeof d);
        bl_piece *piece = &chain->pieces[chain->count++];
        *piece = (bl_piece){bl_pci_ram(&v->function, d.address, d.size), d.size};
        if (piece->at == NULL || (d.flags & ~(NEXT | WRITABLE))) return broken(v);
        if (!(d.flags & WRITABLE)) {
            if (chain->readable != chain->count - 1) return broken(v); /* what is read comes first */
            chain->readable++;
        }
        if (!(d.flags & NEXT)) break;
        at = d.next;
    }
    q->seen++;
    return 1;
}

static void interrupt(bl_virtio *v, uint8_t why) {
    v->isr |= why;
    bl_pci_irq(&v->function, v->isr != 0);
}

void bl_virtio_done(bl_virtio *v, unsigned queue, uint32_t head, uint32_t written) {
    uint8_t *used = in_queue(v, queue, USED, 4 + 8 * BL_QUEUE_SIZE);
    const uint8_t *available = in_queue(v, queue, DESCRIPTORS, 2);
    if (v->is_broken || used == NULL || available == NULL) return;
    const uint16_t index = half(used + 2), next = (uint16_t)(index + 1);
    const uint32_t element[2] = {head, written};
    memcpy(used + 4 + index % BL_QUEUE_SIZE * sizeof element, element, sizeof element);
    memcpy(used + 2, &next, 2);
    if (!(half(available) & NO_INTERRUPT)) interrupt(v, QUEUE_INTERRUPT);
}

void bl_virtio_changed(bl_virtio *v) {
    if (v->status & DRIVER_OK) interrupt(v, CONFIG_INTERRUPT);
}

/* ---- chains ---- */

static size_t sum(const bl_chain *chain, unsigned first, unsigned last) {
    size_t size = 0;
    for (unsigned i = first; i < last; i++) size += chain->pieces[i].size;
    return size;
}

size_t bl_chain_readable(const bl_chain *chain) { return sum(chain, 0, chain->readable); }
size_t bl_chain_writable(const bl_chain *chain) { return sum(chain, chain->readable, chain->count); }

static size_t move(const bl_chain *chain, unsigned first, unsigned last, size_t skip, uint8_t *to, const uint8_t *from, size_t size) {
    size_t moved = 0;
    for (unsigned i = first; i < last && moved < size; i++) {
        const bl_piece *piece = &chain->pieces[i];
        if (skip >= piece->size) {
            skip -= piece->size;
            continue;
        }
        const size_t here = piece->size - skip < size - moved ? piece->size - skip : size - moved;
        if (to != NULL) memcpy(to + moved, piece->at + skip, here);
        else memmove(piece->at + skip, from + moved, here);
        moved += here;
        skip = 0;
    }
    return moved;
}

size_t bl_chain_read(const bl_chain *chain, size_t skip, uint8_t *to, size_t size) {
    return move(chain, 0, chain->readable, skip, to, NULL, size);
}

size_t bl_chain_write(const bl_chain *chain, size_t skip, const uint8_t *from, size_t size) {
    return move(chain, chain->readable, chain->count, skip, NULL, from, size);
}

/* ---- registers ---- */

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    bl_virtio *v = (bl_virtio *)device;
    const unsigned at = port - (unsigned)v->function.bars[0].base;
    const int there = v->selected < v->queue_count;
    switch (at) {
        case OFFERED: return v->offered;
        case TAKEN: return v->features;
        case PAGE: return there ? v->queues[v->selected].page : 0;
        case SIZE: return there ? BL_QUEUE_SIZE : 0;
        case SELECT: return v->selected;
        case STATUS: return v->status;
        case ISR: {
            const uint8_t isr = v->isr;
            v->isr = 0;
            bl_pci_irq(&v->function, 0);
            return isr;
        }
        default: break;
    }
    uint32_t value = UINT32_MAX;
    if (at >= CONFIG && at - CONFIG + width <= v->config_size) memcpy(&value, v->config + at - CONFIG, width);
    return value;
}

static void reset(bl_virtio *v) {
    v->features = 0;
    v->status = v->isr = 0;
    v->selected = 0;
    v->is_broken = 0;
    memset(v->queues, 0, sizeof v->queues);
    if (v->reset != NULL) v->reset(v);
    bl_pci_irq(&v->function, 0);
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    bl_virtio *v = (bl_virtio *)device;
    switch (port - (unsigned)v->function.bars[0].base) {
        case TAKEN: v->features = value & v->offered; break;
        case PAGE:
            if (value == 0) reset(v);
            else if (v->selected < v->queue_count) v->queues[v->selected] = (bl_virtqueue){value, 0};
            break;
        case SELECT: v->selected = (uint16_t)value; break;
        case NOTIFY:
            if (value < v->queue_count) v->notify(v, value);
            break;
        case STATUS:
            v->status = (uint8_t)value;
            if (v->status == 0) reset(v);
            break;
        default: break;
    }
}

void *bl_virtio_plug(bl_bus *bus, const char *name, size_t size, uint16_t kind, uint32_t classes, uint32_t ports) {
    bl_virtio *v = bl_pci_plug(bus, name, size, (uint32_t)(0xfff + kind) << 16 | 0x1af4, classes);
    if (v == NULL) return NULL;
    const uint16_t subsystem[2] = {0x1af4, kind};
    memcpy(v->function.config + 0x2c, subsystem, sizeof subsystem);
    v->function.device.in = in;
    v->function.device.out = out;
    bl_pci_bar(&v->function, 0, BL_BAR_PORTS, ports);
    return v;
}
