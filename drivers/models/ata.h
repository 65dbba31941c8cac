/* A channel of ATA disks: 0 at 0x1f0 and 0x3f6 with interrupt 14, 1 at 0x170 and 0x376 with interrupt 15. */
enum {
    BL_ATA_READ_ONLY = 1, BL_ATA_PACKET = 2 /* a CD-ROM drive, by its signature only */, BL_ATA_NO_LBA48 = 4, BL_ATA_NO_MULTIPLE = 8,
};
/* Unit 0 or 1 of a channel, which is made when its first one comes; the medium is what `fd` refers to now, which is duplicated. Each command
   takes `delay` nanoseconds. NULL also if there is such a unit, or `fd` is no file. */
bl_device *bl_plug_ata(bl_bus *bus, unsigned channel, unsigned unit, int fd, unsigned flags, int64_t delay);
/* This sector cannot be read until it is written. 0 or -ENOSPC. */
int bl_ata_bad(bl_device *ata, unsigned unit, uint64_t lba);
/* The next commands never end: BSY stays, until a reset. */
void bl_ata_stick(bl_device *ata, unsigned unit, unsigned commands);
