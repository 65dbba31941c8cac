"""What firmware does with the tables that QEMU has made: it puts them into memory, and fills in the addresses.

Source: QEMU, hw/acpi/bios-linker-loader.c (the script "etc/table-loader"); DMTF DSP0134 3.7, 5.2 (the entry points of SMBIOS); Intel 440FX
data sheet (290549-001), 3.2.18 and Intel 3 Series Express Chipset data sheet (316966), 5.1.18 (PAM0).

Covers: RAM for the BIOS's segment on both chipsets; the script's commands allocate, add pointer, add checksum. Not: write pointer, which
tells the host an address (of a table that our machines do not have).
"""

from __future__ import annotations

from typing import Final

from drivers.devices.fw_cfg import FwCfg
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

LOW: Final = range(0xF0000, 0x100000)
"""The BIOS's segment, which is searched for entry points."""

SCRIPT: Final = "etc/table-loader"
ANCHOR, TABLES = "etc/smbios/smbios-anchor", "etc/smbios/smbios-tables"
COMMAND, NAME = 128, 56
END, ALLOCATE, ADD_POINTER, ADD_CHECKSUM, WRITE_POINTER = range(5)
ZONE_HIGH, ZONE_LOW = 1, 2

PCI_ADDRESS, PCI_DATA, ENABLE = 0xCF8, 0xCFC, 0x80000000
PAM0: Final = {0x12378086: 0x59, 0x29C08086: 0x90}  # by vendor and device of the host bridge: 440FX, Q35
READ_AND_WRITE: Final = 0x30


def shadow(io: IoSpace) -> None:
    """Let there be RAM, not ROM, in the BIOS's segment.

    Raises: DeviceAbsentError: the host bridge is neither a 440FX nor a Q35.
    """
    io.outl(PCI_ADDRESS, ENABLE)
    bridge = io.inl(PCI_DATA)
    if bridge not in PAM0:
        raise DeviceAbsentError(f"host bridge: {bridge:#010x}: expected one of {', '.join(hex(each) for each in PAM0)}")
    register = PAM0[bridge]
    io.outl(PCI_ADDRESS, ENABLE | register & ~3)
    data = PCI_DATA + register % 4
    io.outb(data, io.inb(data) & ~READ_AND_WRITE | READ_AND_WRITE)


async def place_acpi(fw: FwCfg, high: range, low: range = LOW) -> dict[str, int]:
    """Put the ACPI tables into memory, by the script. The addresses of the files that were placed.

    Args:
        high, low: RAM that nobody uses: for tables, and for what is searched for.

    Raises: KeyError: the device has no script, or not a file of it. DeviceError: the script makes no sense, or there is too little room.
    DeviceTimeoutError as `FwCfg.read`.
    """
    script = await fw.read(SCRIPT)
    room = {ZONE_HIGH: high, ZONE_LOW: low}
    files: dict[str, bytearray] = {}
    placed: dict[str, int] = {}

    def file(at: int) -> tuple[str, bytearray]:
        name = _name(script, at)
        if name not in files:
            raise DeviceError(f"{SCRIPT}: {name!r} at {at:#x} was not allocated")
        return name, files[name]

    for at in range(0, len(script) - COMMAND + 1, COMMAND):
        command = _number(script, at)
        if command == END:
            break
        if command == ALLOCATE:
            name = _name(script, at + 4)
            align, zone = _number(script, at + 60), script[at + 64]
            if zone not in room or name in files:
                raise DeviceError(f"{SCRIPT}: {name!r} at {at:#x}: allocated twice, or in the zone {zone}: expected 1 or 2")
            files[name] = bytearray(await fw.read(name))
            placed[name], room[zone] = _take(room[zone], len(files[name]), align)
        elif command == ADD_POINTER:
            (name, data), (source, _) = file(at + 4), file(at + 60)
            offset, size = _number(script, at + 116), script[at + 120]
            if size not in (1, 2, 4, 8) or offset + size > len(data):
                raise DeviceError(f"{SCRIPT}: a pointer of {size} bytes at {offset:#x} of {name!r}, which has {len(data)} bytes")
            value = int.from_bytes(data[offset : offset + size], "little") + placed[source]
            if value >= 1 << 8 * size:
                raise DeviceError(f"{SCRIPT}: {value:#x} does not fit the {size} bytes at {offset:#x} of {name!r}")
            data[offset : offset + size] = value.to_bytes(size, "little")
        elif command == ADD_CHECKSUM:
            name, data = file(at + 4)
            offset, start, length = (_number(script, at + 60 + 4 * each) for each in range(3))
            if offset >= len(data) or start + length > len(data):
                raise DeviceError(
                    f"{SCRIPT}: the sum of {length} bytes at {start:#x} to {offset:#x} of {name!r}, which has {len(data)} bytes"
                )
            data[offset] = (data[offset] - sum(data[start : start + length])) & 0xFF
        else:
            raise DeviceError(f"{SCRIPT}: the command {command:#x} at {at:#x} is not known")
    for name, data in files.items():
        fw.io.store(placed[name], bytes(data))
    return placed


async def place_smbios(fw: FwCfg, low: range) -> int:
    """Put the SMBIOS entry point and structures into memory. The address of the entry point.

    Raises: KeyError: the device has no such files. DeviceError: they make no sense, or there is too little room. DeviceTimeoutError as
    `FwCfg.read`.
    """
    anchor, tables = bytearray(await fw.read(ANCHOR)), await fw.read(TABLES)
    address, room = _take(low, len(anchor), 16)
    at, _ = _take(room, len(tables), 16)
    if len(anchor) == 31 and anchor.startswith(b"_SM_"):
        anchor[0x18:0x1C] = at.to_bytes(4, "little")
        sums = [(0x15, 0x10, 0x1F), (0x04, 0x00, 0x1F)]  # the second is over the first
    elif len(anchor) == 24 and anchor.startswith(b"_SM3_"):
        anchor[0x10:0x18] = at.to_bytes(8, "little")
        sums = [(0x05, 0x00, 0x18)]
    else:
        raise DeviceError(f"{ANCHOR} is no entry point: {anchor[:32].hex()}")
    for offset, start, end in sums:
        anchor[offset] = 0
        anchor[offset] = -sum(anchor[start:end]) & 0xFF
    fw.io.store(address, bytes(anchor))
    fw.io.store(at, tables)
    return address


def _take(room: range, size: int, align: int) -> tuple[int, range]:
    """The first place there that is aligned so, and what is left behind it."""
    if align == 0 or align & (align - 1):
        raise DeviceError(f"{SCRIPT}: an alignment to {align}: expected a power of two")
    at = (room.start + align - 1) & -align
    if at + size > room.stop:
        raise DeviceError(f"no room for {size} bytes in {room.start:#x} to {room.stop:#x}")
    return at, range(at + size, room.stop)


def _name(script: bytes, at: int) -> str:
    return script[at : at + NAME].split(b"\0")[0].decode("latin-1")


def _number(script: bytes, at: int) -> int:
    return int.from_bytes(script[at : at + 4], "little")
