#include "bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Python's lock is let go around each call into C, so threads could be here at the same time. */
static void enter(bl_bus *bus) { pthread_mutex_lock(&bus->mutex); }
static int64_t leave(bl_bus *bus, int64_t value) {
    const int64_t result = value | (bus->event_count || bus->stopped ? BL_NEWS : 0);
    pthread_mutex_unlock(&bus->mutex);
    return result;
}

bl_bus *bl_new(uint64_t memory_size) {
    bl_bus *bus = calloc(1, sizeof *bus);
    if (bus == NULL) return NULL;
    pthread_mutexattr_t again; /* a model in Python may make accesses */
    pthread_mutexattr_init(&again);
    pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&bus->mutex, &again);
    pthread_mutexattr_destroy(&again);
    bus->memory = calloc(1, memory_size);
    bus->memory_size = memory_size;
    if (bus->memory == NULL) {
        free(bus);
        return NULL;
    }
    return bus;
}

void bl_free(bl_bus *bus) {
    for (unsigned i = 0; i < bus->device_count; i++) {
        if (bus->devices[i]->unplug != NULL) bus->devices[i]->unplug(bus->devices[i]);
        free(bus->devices[i]);
    }
    free(bus->memory);
    free(bus);
}

/* ---- faults ---- */

int bl_fault_add(bl_bus *bus, bl_fault fault) {
    if (bus->fault_count == BL_FAULTS) return -ENOSPC;
    bus->faults[bus->fault_count++] = fault;
    return 0;
}

void bl_fault_clear(bl_bus *bus) { bus->fault_count = 0; }

/* Does it hold now? It counts this access. */
static int holds(bl_fault *fault) {
    if (fault->skip > 0) {
        fault->skip--;
        return 0;
    }
    if (fault->count <= 0) return 0;
    fault->count--;
    return 1;
}

static int concerns(const bl_fault *fault, uint16_t port, unsigned width) { return port <= fault->last && port + width > fault->first; }

static uint32_t in_faulty(bl_bus *bus, uint16_t port, unsigned width, uint32_t value) {
    for (unsigned i = 0; i < bus->fault_count; i++) {
        bl_fault *fault = &bus->faults[i];
        if (fault->kind != BL_ONES && fault->kind != BL_ZEROS && fault->kind != BL_MISSING) continue;
        if (!concerns(fault, port, width) || !holds(fault)) continue;
        uint32_t mask = 0;
        for (unsigned byte = 0; byte < width; byte++) {
            const uint32_t here = port + byte;
            if (here < fault->first || here > fault->last) continue;
            mask |= (fault->kind == BL_MISSING ? 0xffu : fault->mask & 0xff) << 8 * byte;
        }
        value = fault->kind == BL_ZEROS ? value & ~mask : value | mask;
    }
    return value;
}

static int is_lost(bl_bus *bus, uint16_t port, unsigned width) {
    int lost = 0;
    for (unsigned i = 0; i < bus->fault_count; i++) {
        bl_fault *fault = &bus->faults[i];
        if ((fault->kind == BL_LOSE || fault->kind == BL_MISSING) && concerns(fault, port, width) && holds(fault)) lost = 1;
    }
    return lost;
}

static int is_missing(const bl_bus *bus, uint16_t port, unsigned width) {
    for (unsigned i = 0; i < bus->fault_count; i++)
        if (bus->faults[i].kind == BL_MISSING && bus->faults[i].skip == 0 && bus->faults[i].count > 0 && concerns(&bus->faults[i], port, width))
            return 1;
    return 0;
}

/* ---- ports ---- */

static bl_device *at_port(const bl_bus *bus, uint16_t port) { return bus->owners[port] ? bus->devices[bus->owners[port] - 1] : NULL; }

static uint32_t ones(unsigned width) { return width == 4 ? UINT32_MAX : (1u << 8 * width) - 1; }

/* A device that ends in the middle of an access is asked byte by byte. */
static uint32_t in(bl_bus *bus, uint16_t port, unsigned width) {
    bl_device *device = at_port(bus, port);
    if (width > 1 && device != at_port(bus, (uint16_t)(port + width - 1))) {
        uint32_t value = 0;
        for (unsigned byte = 0; byte < width; byte++) value |= in(bus, (uint16_t)(port + byte), 1) << 8 * byte;
        return value;
    }
    uint32_t value = ones(width);
    if (device != NULL && device->in != NULL && !(bus->fault_count && is_missing(bus, port, width))) value &= device->in(device, port, width);
    return bus->fault_count ? in_faulty(bus, port, width, value) : value;
}

static void out(bl_bus *bus, uint16_t port, unsigned width, uint32_t value) {
    bl_device *device = at_port(bus, port);
    if (width > 1 && device != at_port(bus, (uint16_t)(port + width - 1))) {
        for (unsigned byte = 0; byte < width; byte++) out(bus, (uint16_t)(port + byte), 1, value >> 8 * byte & 0xff);
        return;
    }
    if (bus->fault_count && is_lost(bus, port, width)) return;
    if (device != NULL && device->out != NULL) device->out(device, port, width, value & ones(width));
}

static int may_port(const bl_bus *bus, const bl_view *view, int64_t port, unsigned width) {
    const int refused = bl_may_port(view, port, width);
    return refused == 0 && bus->stopped ? -ENODEV : refused;
}

int64_t bl_in(bl_bus *bus, const bl_view *view, int64_t port, unsigned width) {
    const int refused = may_port(bus, view, port, width);
    if (refused) return refused;
    enter(bus);
    return leave(bus, in(bus, (uint16_t)port, width));
}

int64_t bl_out(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, int64_t value) {
    const int refused = may_port(bus, view, port, width);
    if (refused) return refused;
    if (value < 0 || value > ones(width)) return -EINVAL;
    enter(bus);
    out(bus, (uint16_t)port, width, (uint32_t)value);
    return leave(bus, 0);
}

int64_t bl_in_block(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, uint8_t *to, size_t units) {
    const int refused = may_port(bus, view, port, width);
    if (refused) return refused;
    enter(bus);
    bl_device *device = at_port(bus, (uint16_t)port);
    size_t moved = 0;
    if (device != NULL && device->in_block != NULL && bus->fault_count == 0)
        moved = device->in_block(device, (uint16_t)port, width, to, units);
    for (; moved < units; moved++) {
        const uint32_t value = in(bus, (uint16_t)port, width);
        for (unsigned byte = 0; byte < width; byte++) to[moved * width + byte] = (uint8_t)(value >> 8 * byte);
    }
    return leave(bus, 0);
}

int64_t bl_out_block(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, const uint8_t *from, size_t units) {
    const int refused = may_port(bus, view, port, width);
    if (refused) return refused;
    enter(bus);
    bl_device *device = at_port(bus, (uint16_t)port);
    size_t moved = 0;
    if (device != NULL && device->out_block != NULL && bus->fault_count == 0)
        moved = device->out_block(device, (uint16_t)port, width, from, units);
    for (; moved < units; moved++) {
        uint32_t value = 0;
        for (unsigned byte = 0; byte < width; byte++) value |= (uint32_t)from[moved * width + byte] << 8 * byte;
        out(bus, (uint16_t)port, width, value);
    }
    return leave(bus, 0);
}

/* ---- memory ---- */

uint8_t *bl_ram(bl_bus *bus, uint64_t address, uint64_t size) {
    return address <= bus->memory_size && size <= bus->memory_size - address ? bus->memory + address : NULL;
}

static const bl_region *region_at(const bl_bus *bus, uint64_t address) {
    for (unsigned i = bus->region_count; i-- > 0;)
        if (bus->regions[i].first <= address && address <= bus->regions[i].last) return &bus->regions[i];
    return NULL;
}

static uint32_t read(bl_bus *bus, uint64_t address, unsigned width) {
    const bl_region *region = region_at(bus, address);
    if (region != NULL && region->device->read != NULL) return region->device->read(region->device, address - region->first, width) & ones(width);
    uint32_t value = ones(width);
    const uint8_t *ram = bl_ram(bus, address, width);
    if (ram != NULL) memcpy(&value, ram, width);
    return value;
}

static void write(bl_bus *bus, uint64_t address, unsigned width, uint32_t value) {
    const bl_region *region = region_at(bus, address);
    uint8_t *ram = bl_ram(bus, address, width);
    if (region != NULL && region->device->write != NULL) region->device->write(region->device, address - region->first, width, value);
    else if (region == NULL && ram != NULL) memcpy(ram, &value, width);
}

static int may_memory(const bl_bus *bus, const bl_view *view, uint64_t address, uint64_t length) {
    const int refused = bl_may_memory(view, address, length);
    return refused == 0 && bus->stopped ? -ENODEV : refused;
}

static int may_register(const bl_bus *bus, const bl_view *view, uint64_t address, unsigned width) {
    if ((width != 1 && width != 2 && width != 4) || address % width) return -ERANGE;
    return may_memory(bus, view, address, width);
}

int64_t bl_read(bl_bus *bus, const bl_view *view, uint64_t address, unsigned width) {
    const int refused = may_register(bus, view, address, width);
    if (refused) return refused;
    enter(bus);
    return leave(bus, read(bus, address, width));
}

int64_t bl_write(bl_bus *bus, const bl_view *view, uint64_t address, unsigned width, int64_t value) {
    const int refused = may_register(bus, view, address, width);
    if (refused) return refused;
    if (value < 0 || value > ones(width)) return -EINVAL;
    enter(bus);
    write(bus, address, width, (uint32_t)value);
    return leave(bus, 0);
}

int64_t bl_load(bl_bus *bus, const bl_view *view, uint64_t address, uint8_t *to, size_t size) {
    const int refused = size == 0 ? 0 : may_memory(bus, view, address, size);
    if (refused) return refused;
    enter(bus);
    const uint8_t *ram = bl_ram(bus, address, size);
    if (ram != NULL && bus->region_count == 0) memcpy(to, ram, size);
    else
        for (size_t i = 0; i < size; i++) to[i] = (uint8_t)read(bus, address + i, 1);
    return leave(bus, 0);
}

int64_t bl_store(bl_bus *bus, const bl_view *view, uint64_t address, const uint8_t *from, size_t size) {
    const int refused = size == 0 ? 0 : may_memory(bus, view, address, size);
    if (refused) return refused;
    enter(bus);
    for (size_t i = 0; i < size; i++) write(bus, address + i, 1, from[i]);
    return leave(bus, 0);
}

/* ---- time and interrupts ---- */

int64_t bl_advance(bl_bus *bus, int64_t until) {
    enter(bus);
    while (bus->event_count == 0 && bus->now < until) {
        bl_device *next = NULL;
        for (unsigned i = 0; i < bus->device_count; i++)
            if (bus->devices[i]->due <= until && (next == NULL || bus->devices[i]->due < next->due)) next = bus->devices[i];
        if (next == NULL) {
            bus->now = until;
            break;
        }
        if (next->due > bus->now) bus->now = next->due;
        next->due = BL_NEVER;
        next->run(next);
    }
    const int64_t now = bus->now;
    leave(bus, 0);
    return now;
}

static int is_deaf(bl_bus *bus, unsigned line) {
    int deaf = 0;
    for (unsigned i = 0; i < bus->fault_count; i++) {
        bl_fault *fault = &bus->faults[i];
        if (fault->kind == BL_DEAF && line >= fault->first && line <= fault->last && holds(fault)) deaf = 1;
    }
    return deaf;
}

static unsigned index_of(const bl_device *device) {
    unsigned i = 0;
    while (device->bus->devices[i] != device) i++;
    return i;
}

void bl_irq(bl_device *device, unsigned line, int level) {
    bl_bus *bus = device->bus;
    if (line >= BL_LINES) return;
    const int was = bus->holders[line] != 0;
    const uint64_t mine = 1ull << index_of(device);
    bus->holders[line] = level ? bus->holders[line] | mine : bus->holders[line] & ~mine;
    level = bus->holders[line] != 0;
    if (level == was) return;
    if (bus->fault_count && level && is_deaf(bus, line)) return;
    if (level) bus->raised[line]++;
    for (unsigned i = 0; i < bus->device_count; i++)
        if (bus->devices[i]->line != NULL) bus->devices[i]->line(bus->devices[i], line, level);
    if (!level) return;
    if (bus->event_count == BL_EVENTS) {
        bus->lost_events++;
        return;
    }
    bus->events[(bus->first_event + bus->event_count++) % BL_EVENTS] = (bl_event){line, bus->now, bus->raised[line]};
}

void bl_pulse(bl_device *device, unsigned line) {
    bl_irq(device, line, 1);
    bl_irq(device, line, 0);
}

int bl_event_next(bl_bus *bus, bl_event *event) {
    enter(bus);
    const int found = bus->event_count != 0;
    if (found) {
        *event = bus->events[bus->first_event];
        bus->first_event = (bus->first_event + 1) % BL_EVENTS;
        bus->event_count--;
    }
    leave(bus, 0);
    return found;
}

/* ---- for models ---- */

void *bl_plug(bl_bus *bus, const char *name, size_t size) {
    if (bus->device_count == BL_DEVICES) return NULL;
    bl_device *device = calloc(1, size);
    if (device == NULL) return NULL;
    device->name = name;
    device->bus = bus;
    device->due = BL_NEVER;
    bus->devices[bus->device_count++] = device;
    return device;
}

void bl_claim(bl_device *device, uint32_t first, uint32_t last) {
    bl_bus *bus = device->bus;
    const uint8_t owner = (uint8_t)(index_of(device) + 1);
    for (uint32_t port = first; port <= last && port < BL_PORTS; port++)
        if (bus->owners[port] == 0) bus->owners[port] = owner;
        else if (bus->owners[port] != owner) bus->clash = (int32_t)port;
}

void bl_cover(bl_device *device, uint32_t first, uint32_t last) {
    for (uint32_t port = first; port <= last && port < BL_PORTS; port++) device->bus->owners[port] = (uint8_t)(index_of(device) + 1);
}

void bl_release(bl_device *device) {
    const uint8_t owner = (uint8_t)(index_of(device) + 1);
    for (uint32_t port = 0; port < BL_PORTS; port++)
        if (device->bus->owners[port] == owner) device->bus->owners[port] = 0;
}

void bl_withdraw(bl_bus *bus, unsigned first) {
    for (unsigned i = first; i < bus->device_count; i++) {
        bl_release(bus->devices[i]);
        bl_unmap(bus->devices[i]);
        bus->devices[i]->due = BL_NEVER;
    }
}

void bl_map(bl_device *device, uint64_t first, uint64_t size) {
    bl_bus *bus = device->bus;
    if (bus->region_count < BL_REGIONS) bus->regions[bus->region_count++] = (bl_region){first, first + size - 1, device};
}

void bl_unmap(bl_device *device) {
    bl_bus *bus = device->bus;
    unsigned kept = 0;
    for (unsigned i = 0; i < bus->region_count; i++)
        if (bus->regions[i].device != device) bus->regions[kept++] = bus->regions[i];
    bus->region_count = kept;
}

void bl_stop_machine(bl_bus *bus, enum bl_stop why, int32_t status) {
    if (bus->stopped == BL_RUNNING) {
        bus->stopped = why;
        bus->stop_status = status;
    }
}
