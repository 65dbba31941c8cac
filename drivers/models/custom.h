/* A device whose ports are answered by Python: what bl_custom_in and bl_custom_out say, of the object `handle`. */
bl_device *bl_plug_custom(bl_bus *bus, uint64_t handle, unsigned first, unsigned last);
/* Run it (bl_custom_run) in so many nanoseconds; < 0: not at all. */
void bl_custom_after(bl_device *custom, int64_t nanoseconds);
void bl_custom_line(bl_device *custom, unsigned line, int level);
