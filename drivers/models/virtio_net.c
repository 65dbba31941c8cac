/* Virtual I/O Device 1.2 (OASIS), section 5.1 (network device), legacy interface, without merged buffers and offloads. */
#include "bus.h"
#include "virtio.h"
#include "virtio_net.h"

#include <string.h>

enum { NET = 1, RECEIVE = 0, SEND = 1, HEADER = 10, LARGEST = 2048, KEPT = 64, DELAY = 20000, MAC_BYTES = 6 };
enum { MAC = 1 << 5, LINK_STATUS = 1 << 16, LINK_UP = 1 };

typedef struct frame {
    uint32_t size;
    uint8_t bytes[LARGEST];
} frame;

typedef struct net {
    bl_virtio virtio;
    int64_t lie_head, lie_length;
    unsigned first, count;
    frame sent[KEPT]; /* what the host has not taken yet */
} net;

/* Frames that nobody outside takes wait in the queue. */
static void run(bl_device *device) {
    net *n = (net *)device;
    bl_chain chain;
    while (n->count < KEPT && bl_virtio_next(&n->virtio, SEND, &chain)) {
        const size_t size = bl_chain_readable(&chain);
        if (size > HEADER && size - HEADER <= LARGEST && n->virtio.config[MAC_BYTES] & LINK_UP) {
            frame *f = &n->sent[(n->first + n->count++) % KEPT];
            f->size = (uint32_t)bl_chain_read(&chain, HEADER, f->bytes, size - HEADER);
        }
        bl_virtio_done(&n->virtio, SEND, chain.head, 0);
    }
}

static void notify(bl_virtio *v, unsigned queue) {
    bl_device *device = &v->function.device;
    if (queue == SEND && device->due == BL_NEVER) device->due = device->bus->now + DELAY;
}

static void reset(bl_virtio *v) { v->function.device.due = BL_NEVER; }

int bl_virtio_net_feed(bl_device *device, const unsigned char *bytes, size_t size) {
    net *n = (net *)device;
    static const uint8_t header[HEADER];
    bl_chain chain;
    if (!(n->virtio.config[MAC_BYTES] & LINK_UP) || !bl_virtio_next(&n->virtio, RECEIVE, &chain)) return 0;
    bl_chain_write(&chain, 0, header, HEADER);
    const size_t written = bl_chain_write(&chain, HEADER, bytes, size);
    const uint32_t head = n->lie_head >= 0 ? (uint32_t)n->lie_head : chain.head;
    bl_virtio_done(&n->virtio, RECEIVE, head, n->lie_length >= 0 ? (uint32_t)n->lie_length : (uint32_t)(HEADER + written));
    n->lie_head = n->lie_length = -1;
    return 1;
}

int bl_virtio_net_taken(bl_device *device, unsigned char *to) {
    net *n = (net *)device;
    if (n->count == 0) return -1;
    const frame *f = &n->sent[n->first];
    memcpy(to, f->bytes, f->size);
    n->first = (n->first + 1) % KEPT;
    if (n->count-- == KEPT) notify(&n->virtio, SEND); /* there is room again */
    return (int)f->size;
}

void bl_virtio_net_set_link(bl_device *device, int is_up) {
    net *n = (net *)device;
    n->virtio.config[MAC_BYTES] = is_up ? LINK_UP : 0;
    bl_virtio_changed(&n->virtio);
}

void bl_virtio_net_lie(bl_device *device, int64_t head, int64_t length) {
    net *n = (net *)device;
    n->lie_head = head;
    n->lie_length = length;
}

bl_device *bl_plug_virtio_net(bl_bus *bus, const unsigned char *mac) {
    net *n = bl_virtio_plug(bus, "virtio_net", sizeof *n, NET, 0x02000000, 32);
    if (n == NULL) return NULL;
    bl_virtio *v = &n->virtio;
    v->function.device.run = run;
    v->notify = notify;
    v->reset = reset;
    v->queue_count = 2;
    v->offered = MAC | LINK_STATUS;
    v->config_size = MAC_BYTES + 2;
    memcpy(v->config, mac, MAC_BYTES);
    v->config[MAC_BYTES] = LINK_UP;
    n->lie_head = n->lie_length = -1;
    return &v->function.device;
}
