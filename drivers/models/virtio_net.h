/* A legacy virtio network interface with this MAC address, of 6 bytes. */
bl_device *bl_plug_virtio_net(bl_bus *bus, const unsigned char *mac);
/* A frame comes in from outside. 0: it was dropped, for there is no buffer for it, or no link. */
int bl_virtio_net_feed(bl_device *net, const unsigned char *frame, size_t size);
/* The next frame that went out, oldest first: its size, or -1: there is none. `to` has 2048 bytes. */
int bl_virtio_net_taken(bl_device *net, unsigned char *to);
void bl_virtio_net_set_link(bl_device *net, int is_up);
/* The next thing that comes is said to be so long, and to be in this buffer; what is -1 is as it should be. */
void bl_virtio_net_lie(bl_device *net, int64_t head, int64_t length);
