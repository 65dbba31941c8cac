"""What the firmware of a machine with Unicorn leaves in memory: the ACPI tables that stage 2 looks for (ACPI 6.5, 5.2.5 to 5.2.12)."""

from __future__ import annotations

import struct
from typing import Final

from boot.engines.memory import GuestMemory
from boot.guest.layout import SECTOR

TIMER_PORT: Final = 0x608  # as on QEMU's pc and q35
MBR: Final = 0x7C00
ROOT, TABLES = 0xF0000, 0xF0020
LAPIC: Final = 0xFEE00000
OEM: Final = b"BEAMLK"


def is_bootable(memory: GuestMemory) -> bool:
    """Whether the sector that was loaded has the signature that a BIOS wants to see."""
    return memory.read(MBR + SECTOR - 2, 2) == b"\x55\xaa"


def write_tables(memory: GuestMemory, cores: int) -> None:
    """RSDP, RSDT, FADT with the PM timer's port, MADT with all cores."""
    fadt = _table(b"FACP", bytes(40) + struct.pack("<I", TIMER_PORT) + bytes(36))
    entries = b"".join(struct.pack("<BBBBI", 0, 8, core, core, 1) for core in range(cores))
    madt = _table(b"APIC", struct.pack("<II", LAPIC, 0) + entries)
    rsdt_size = 36 + 2 * 4
    rsdt = _table(b"RSDT", struct.pack("<II", TABLES + rsdt_size, TABLES + rsdt_size + len(fadt)))
    root = b"RSD PTR " + b"\0" + OEM + b"\0" + struct.pack("<I", TABLES)
    root = root[:8] + bytes([-sum(root) & 0xFF]) + root[9:]
    for address, data in ((ROOT, root), (TABLES, rsdt + fadt + madt)):
        memory.map[address : address + len(data)] = data


def _table(signature: bytes, body: bytes) -> bytes:
    """With its header, and so that all bytes come to 0."""
    size = 36 + len(body)
    plain = struct.pack("<4sIBB6s8sI4sI", signature, size, 1, 0, OEM, OEM + b"  ", 1, OEM[:4], 1) + body
    return plain[:9] + bytes([-sum(plain) & 0xFF]) + plain[10:]
