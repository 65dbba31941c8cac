/* ACPI's PM1a registers at `base`, and the PM timer of 24 or 32 `bits` at `base` + 8. Sleep type 0 is off. */
bl_device *bl_plug_acpi_pm(bl_bus *bus, uint32_t base, unsigned bits);
