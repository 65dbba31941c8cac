/* What models of virtio devices share: the legacy interface's registers, and queues in RAM, of which nothing is believed. */
#ifndef BEAMLIKE_VIRTIO_H
#define BEAMLIKE_VIRTIO_H

#include "pci_function.h"

enum { BL_VIRTQUEUES = 3, BL_QUEUE_SIZE = 128, BL_VIRTIO_CONFIG = 64 };

typedef struct bl_virtqueue {
    uint32_t page;     /* its address / 4096; 0: there is none yet */
    uint16_t seen;     /* of the available ring's index */
} bl_virtqueue;

/* A model that is such a device has this as its first member. */
typedef struct bl_virtio bl_virtio;
struct bl_virtio {
    bl_pci_function function;
    uint32_t offered, features; /* by the device; taken by the driver */
    uint8_t status, isr;
    uint16_t selected;
    int is_broken;              /* a queue made no sense: it does nothing until it is reset */
    unsigned queue_count;
    bl_virtqueue queues[BL_VIRTQUEUES];
    uint8_t config[BL_VIRTIO_CONFIG];
    unsigned config_size;
    void (*notify)(bl_virtio *, unsigned queue);
    void (*reset)(bl_virtio *); /* may be NULL */
};

typedef struct bl_piece {
    uint8_t *at;
    uint32_t size;
} bl_piece;

/* The buffers of a request: those that the device reads come first, then those that it writes. All lie in RAM. */
typedef struct bl_chain {
    uint16_t head;
    unsigned count, readable; /* pieces */
    bl_piece pieces[BL_QUEUE_SIZE];
} bl_chain;

void *bl_virtio_plug(bl_bus *bus, const char *name, size_t size, uint16_t kind, uint32_t classes, uint32_t ports);
/* Take the next request. 0: there is none, or the queue is broken. */
int bl_virtio_next(bl_virtio *v, unsigned queue, bl_chain *chain);
/* It is done, and so many bytes were written. */
void bl_virtio_done(bl_virtio *v, unsigned queue, uint32_t head, uint32_t written);
/* The configuration has changed. */
void bl_virtio_changed(bl_virtio *v);
/* Bytes of what is readable, or writable, as if it were one piece: how many there was room for. */
size_t bl_chain_read(const bl_chain *chain, size_t skip, uint8_t *to, size_t size);
size_t bl_chain_write(const bl_chain *chain, size_t skip, const uint8_t *from, size_t size);
size_t bl_chain_readable(const bl_chain *chain);
size_t bl_chain_writable(const bl_chain *chain);

#endif
