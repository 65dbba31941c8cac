"""Names of PCI's codes.

Source: PCI Code and ID Assignment Specification 1.11, sections 1 (classes) and 2 (capabilities); PCI Local Bus Specification 3.0, D and H.

Covers: all base classes and their subclasses, capability IDs. Not: programming interfaces, and vendors, whose list is no part of it.
"""

from __future__ import annotations

from typing import Final

CLASSES: Final[dict[int, tuple[str, dict[int, str]]]] = {
    0x00: ("before classes", {0x00: "not VGA", 0x01: "VGA compatible"}),
    0x01: (
        "mass storage",
        {
            0x00: "SCSI", 0x01: "IDE", 0x02: "floppy disk", 0x03: "IPI", 0x04: "RAID", 0x05: "ATA with DMA", 0x06: "SATA",
            0x07: "serial attached SCSI", 0x08: "non-volatile memory", 0x09: "universal flash storage",
        },
    ),
    0x02: (
        "network",
        {
            0x00: "Ethernet", 0x01: "token ring", 0x02: "FDDI", 0x03: "ATM", 0x04: "ISDN", 0x05: "WorldFip", 0x06: "PICMG 2.14",
            0x07: "InfiniBand", 0x08: "host fabric",
        },
    ),
    0x03: ("display", {0x00: "VGA compatible", 0x01: "XGA", 0x02: "3D"}),
    0x04: ("multimedia", {0x00: "video", 0x01: "audio", 0x02: "telephony", 0x03: "high definition audio"}),
    0x05: ("memory", {0x00: "RAM", 0x01: "flash"}),
    0x06: (
        "bridge",
        {
            0x00: "host", 0x01: "ISA", 0x02: "EISA", 0x03: "MCA", 0x04: "PCI to PCI", 0x05: "PCMCIA", 0x06: "NuBus", 0x07: "CardBus",
            0x08: "RACEway", 0x09: "semi-transparent PCI to PCI", 0x0A: "InfiniBand to PCI", 0x0B: "advanced switching",
        },
    ),
    0x07: ("communication", {0x00: "serial", 0x01: "parallel", 0x02: "multiport serial", 0x03: "modem", 0x04: "GPIB", 0x05: "smart card"}),
    0x08: (
        "base system",
        {
            0x00: "interrupt controller", 0x01: "DMA", 0x02: "timer", 0x03: "real-time clock", 0x04: "hot plug", 0x05: "SD host",
            0x06: "IOMMU", 0x07: "root complex event collector",
        },
    ),
    0x09: ("input", {0x00: "keyboard", 0x01: "pen", 0x02: "mouse", 0x03: "scanner", 0x04: "game port"}),
    0x0A: ("docking station", {0x00: "generic"}),
    0x0B: (
        "processor",
        {0x00: "386", 0x01: "486", 0x02: "Pentium", 0x10: "Alpha", 0x20: "PowerPC", 0x30: "MIPS", 0x40: "coprocessor"},
    ),
    0x0C: (
        "serial bus",
        {
            0x00: "FireWire", 0x01: "ACCESS.bus", 0x02: "SSA", 0x03: "USB", 0x04: "Fibre Channel", 0x05: "SMBus", 0x06: "InfiniBand",
            0x07: "IPMI", 0x08: "SERCOS", 0x09: "CAN", 0x0A: "MIPI I3C",
        },
    ),
    0x0D: (
        "wireless",
        {
            0x00: "IrDA", 0x01: "consumer infrared", 0x10: "radio", 0x11: "Bluetooth", 0x12: "broadband", 0x20: "802.11a", 0x21: "802.11b",
            0x40: "cellular", 0x41: "cellular with Ethernet",
        },
    ),
    0x0E: ("intelligent I/O", {0x00: "I2O"}),
    0x0F: ("satellite", {0x01: "television", 0x02: "audio", 0x03: "voice", 0x04: "data"}),
    0x10: ("encryption", {0x00: "network and computing", 0x10: "entertainment"}),
    0x11: ("signal processing", {0x00: "DPIO", 0x01: "performance counters", 0x10: "communication synchronizer", 0x20: "management"}),
    0x12: ("processing accelerator", {0x00: "generic"}),
    0x13: ("instrumentation", {}),
    0x40: ("coprocessor", {}),
    0xFF: ("in no class", {}),
}  # fmt: skip
"""Name of each base class, and those of its subclasses; 0x80 is "other" in all of them."""

CAPABILITIES: Final = {
    0x01: "power management", 0x02: "AGP", 0x03: "vital product data", 0x04: "slot identification", 0x05: "MSI",
    0x06: "CompactPCI hot swap", 0x07: "PCI-X", 0x08: "HyperTransport", 0x09: "vendor specific", 0x0A: "debug port",
    0x0B: "CompactPCI resource control", 0x0C: "hot plug", 0x0D: "subsystem of a bridge", 0x0E: "AGP 8x", 0x0F: "secure device",
    0x10: "PCI Express", 0x11: "MSI-X", 0x12: "SATA", 0x13: "advanced features", 0x14: "enhanced allocation",
    0x15: "flattening portal bridge",
}  # fmt: skip


def class_name(base: int, subclass: int) -> str:
    """Such as "mass storage: IDE"; with the codes where there is no name."""
    name, subclasses = CLASSES.get(base, (f"class {base:#04x}", {}))
    known = subclasses.get(subclass, "other" if subclass == 0x80 else f"subclass {subclass:#04x}")
    return f"{name}: {known}"


def capability_name(id: int) -> str:
    """Such as "MSI-X"; with the code where there is no name."""
    return CAPABILITIES.get(id, f"capability {id:#04x}")
