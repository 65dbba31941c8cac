/* The port bus: a PC's I/O space, memory and interrupt lines in C, with models of devices on them, and a virtual clock.

   Time: `now` is nanoseconds since the machine was switched on, and nothing but bl_advance moves it; an access takes no time. So what a
   program sees depends on nothing but what it does. A model says in `due` when it is to be run next; it computes what a register shows
   from `now` when it is read, and needs `due` only for what happens by itself: an interrupt, a byte that has been sent.

   Interrupts: bl_irq moves a line; each time that it goes up is an event, which bl_event_next takes, oldest first. The lines are those of the ISA bus, 0 to 15,
   and 16 to 23 of PCI. Models of interrupt controllers get each change, too (`line`).

   Ports without a device read as all ones, and writes to them are lost, as on a real bus; so is it with memory. */
#ifndef BEAMLIKE_BUS_H
#define BEAMLIKE_BUS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "view.h"

enum { BL_DEVICES = 64, BL_FAULTS = 32, BL_EVENTS = 4096, BL_LINES = 24, BL_REGIONS = 64 };
#define BL_NEVER INT64_MAX
#define BL_NEWS ((int64_t)1 << 32) /* in the result of an access: there are events */
#define BL_SECOND 1000000000ll

typedef struct bl_bus bl_bus;
typedef struct bl_device bl_device;

/* A model. It is the first member of the model's own struct, which `bl_plug` allocates and zeroes. Everything may be NULL but `name`. */
struct bl_device {
    const char *name;
    bl_bus *bus;
    int64_t due;       /* when `run` is to be called next; BL_NEVER. bl_plug sets it to BL_NEVER */
    uint32_t (*in)(bl_device *, uint16_t port, unsigned width);
    void (*out)(bl_device *, uint16_t port, unsigned width, uint32_t value);
    /* Units of `width` moved at once, as rep ins and outs do, by a device that can do better than one after the other; how many it took. */
    size_t (*in_block)(bl_device *, uint16_t port, unsigned width, uint8_t *to, size_t units);
    size_t (*out_block)(bl_device *, uint16_t port, unsigned width, const uint8_t *from, size_t units);
    /* Memory-mapped registers, within a region of bl_map; `offset` from its beginning; widths 1, 2, 4. */
    uint32_t (*read)(bl_device *, uint64_t offset, unsigned width);
    void (*write)(bl_device *, uint64_t offset, unsigned width, uint32_t value);
    void (*run)(bl_device *);                        /* `due` has come: now == due. It sets `due` anew */
    void (*line)(bl_device *, unsigned line, int level); /* an interrupt controller: a line has changed */
    void (*unplug)(bl_device *);                     /* free what it has allocated, but not itself */
};

enum bl_fault_kind {
    BL_ONES = 1,   /* bits of `mask` read as 1 */
    BL_ZEROS,      /* bits of `mask` read as 0 */
    BL_LOSE,       /* writes are lost */
    BL_MISSING,    /* nobody answers: all ones, and writes are lost */
    BL_DEAF,       /* interrupts are lost: `first` to `last` are lines */
};

typedef struct bl_fault {
    int kind; /* an enum bl_fault_kind */
    uint32_t first, last; /* ports, last inclusive */
    uint32_t mask;        /* of each byte */
    int64_t skip, count;  /* it lets `skip` accesses pass, and holds for the next `count` of them */
} bl_fault;

typedef struct bl_event {
    uint32_t line;
    int64_t at;      /* virtual nanoseconds */
    uint64_t number; /* of the interrupts of this line, from 1 */
} bl_event;

typedef struct bl_region {
    uint64_t first, last;
    bl_device *device;
} bl_region;

struct bl_bus {
    pthread_mutex_t mutex;    /* of who is in one of the machine's functions */
    int64_t now;
    uint8_t *memory;          /* RAM, from address 0 */
    uint64_t memory_size;
    unsigned device_count, fault_count, region_count;
    bl_device *devices[BL_DEVICES];
    bl_fault faults[BL_FAULTS];
    bl_region regions[BL_REGIONS]; /* the last one that fits answers */
    uint8_t owners[BL_PORTS]; /* index of the device + 1 */
    uint64_t holders[BL_LINES]; /* the devices that hold a line up, a bit each: BL_DEVICES are 64 */
    uint64_t raised[BL_LINES];
    unsigned first_event, event_count;
    bl_event events[BL_EVENTS];
    uint64_t lost_events;     /* there was no room for */
    int32_t stopped;          /* an enum bl_stop */
    int32_t stop_status;
    int32_t clash;            /* a port that was claimed twice since this was set to -1 */
};

enum bl_stop { BL_RUNNING, BL_POWER_OFF, BL_RESET, BL_DEBUG_EXIT };

/* ---- of the machine ---- */

bl_bus *bl_new(uint64_t memory_size); /* NULL: no memory */
void bl_free(bl_bus *bus);

/* Accesses, each checked against the view first, over its whole width. The value (with BL_NEWS), or
   -EACCES, -ERANGE, -EINVAL for a value that is too wide, -ENODEV if the machine has stopped. */
int64_t bl_in(bl_bus *bus, const bl_view *view, int64_t port, unsigned width);
int64_t bl_out(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, int64_t value);
/* Blocks through one port: `units` of `width`, little-endian. 0 (with BL_NEWS), or an error before anything was moved. */
int64_t bl_in_block(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, uint8_t *to, size_t units);
int64_t bl_out_block(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, const uint8_t *from, size_t units);
/* Memory: a register of width 1, 2 or 4, aligned, or any bytes of RAM. */
int64_t bl_read(bl_bus *bus, const bl_view *view, uint64_t address, unsigned width);
int64_t bl_write(bl_bus *bus, const bl_view *view, uint64_t address, unsigned width, int64_t value);
int64_t bl_load(bl_bus *bus, const bl_view *view, uint64_t address, uint8_t *to, size_t size);
int64_t bl_store(bl_bus *bus, const bl_view *view, uint64_t address, const uint8_t *from, size_t size);

/* Let time pass until `until`, or the first event. The time that it is then. */
int64_t bl_advance(bl_bus *bus, int64_t until);
int bl_event_next(bl_bus *bus, bl_event *event); /* 1, or 0: there is none */
int bl_fault_add(bl_bus *bus, bl_fault fault);   /* 0 or -ENOSPC */
void bl_fault_clear(bl_bus *bus);
void bl_withdraw(bl_bus *bus, unsigned first); /* what was plugged in from this one on answers nowhere, and does nothing by itself */

/* ---- for models ---- */

/* A device of `size` bytes, zeroed, on the bus. NULL: no memory, or no room. */
void *bl_plug(bl_bus *bus, const char *name, size_t size);
/* It answers at these ports, first to last inclusive: but for those that are another's, which `clash` tells. */
void bl_claim(bl_device *device, uint32_t first, uint32_t last);
void bl_cover(bl_device *device, uint32_t first, uint32_t last); /* likewise, and who was there before does no more */
void bl_release(bl_device *device);                   /* all its ports */
void bl_map(bl_device *device, uint64_t first, uint64_t size);
void bl_unmap(bl_device *device);                     /* all its regions */
/* Hold a line up, or let it go; it is up as long as somebody holds it. */
void bl_irq(bl_device *device, unsigned line, int level);
void bl_pulse(bl_device *device, unsigned line);      /* up and down again */
void bl_stop_machine(bl_bus *bus, enum bl_stop why, int32_t status);
/* RAM as a device that is a bus master sees it: NULL if it does not all lie in RAM. */
uint8_t *bl_ram(bl_bus *bus, uint64_t address, uint64_t size);

/* Ticks of a counter with this frequency since the beginning; and the first nanosecond at which there have been so many. */
static inline uint64_t bl_ticks(int64_t now, uint64_t hertz) { return (uint64_t)((unsigned __int128)(uint64_t)now * hertz / BL_SECOND); }
static inline int64_t bl_when(uint64_t ticks, uint64_t hertz) {
    return (int64_t)(((unsigned __int128)ticks * BL_SECOND + hertz - 1) / hertz);
}

#endif
