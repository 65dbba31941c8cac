/* An 82077AA at 0x3f0 with interrupt 6 and DMA channel 2, and its drives for 1.44 MB disks. */
bl_device *bl_plug_floppy(bl_bus *bus, unsigned drives);
/* Put a disk into a drive, 0 to 3: what `fd` refers to, which is duplicated. -1: take it out. 0, or -EINVAL: no such drive, or no such file. */
int bl_floppy_insert(bl_device *floppy, unsigned drive, int fd, int is_protected);
/* Does the motor turn? */
int bl_floppy_motor(bl_device *floppy, unsigned drive);
