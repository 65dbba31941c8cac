/* The reset control register, port 0xcf9. It lies within the ports of PCI's configuration: plug it in after these. */
bl_device *bl_plug_reset(bl_bus *bus);
