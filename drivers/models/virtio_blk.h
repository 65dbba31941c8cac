/* A legacy virtio disk whose medium is this file: a copy of the descriptor is made. `serial`: up to 20 characters; `block`: bytes, 512 or a
   multiple, in which requests are. */
bl_device *bl_plug_virtio_blk(bl_bus *bus, int medium, int is_read_only, const char *serial, unsigned block);
