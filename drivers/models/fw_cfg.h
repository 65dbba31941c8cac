/* QEMU's firmware configuration device at ports 0x510 to 0x51b, with DMA. */
bl_device *bl_plug_fw_cfg(bl_bus *bus);
/* A copy of this becomes a file. 0, -EEXIST, -ENAMETOOLONG for 56 characters and more, -ENOSPC or -ENOMEM. */
int bl_fw_cfg_add(bl_device *fw_cfg, const char *name, const uint8_t *data, uint32_t size);
