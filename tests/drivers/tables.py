"""Firmware's tables for tests: on the port bus they are put together here, as QEMU does it for a Q35 with two processors."""

from __future__ import annotations

from typing import Any, Final

from drivers.devices.firmware import LOW, PCI_ADDRESS, PCI_DATA, place_acpi, place_smbios, shadow
from drivers.devices.fw_cfg import FwCfg
from drivers.models.fw_cfg import FwCfgModel

BUFFER: Final = 0x200000
HIGH: Final = range(0x800000, 0xA00000)
Q35: Final = {
    "machine": "q35",
    "qemu": [
        *("-smp", "2", "-smbios", "type=1,manufacturer=beam,serial=123,uuid=01234567-89ab-cdef-0123-456789abcdef"),
        *("-smbios", "type=2,product=board", "-smbios", "type=11,value=oem"),
    ],
}
"""The machine that has these tables, for `play`."""


def table(signature: bytes, contents: bytes, revision: int = 1) -> bytes:
    """A table with a right checksum."""
    data = signature + (36 + len(contents)).to_bytes(4, "little") + bytes([revision, 0]) + b"BOCHS BXPC    "
    return with_sum(data + b"\1\0\0\0BXPC\1\0\0\0" + contents, 9)


def with_sum(data: bytes, at: int) -> bytes:
    """The bytes add up to 0, by that one."""
    return data[:at] + bytes([(data[at] - sum(data)) & 0xFF]) + data[at + 1 :]


def numbers(*each: tuple[int, int]) -> bytes:
    """Values and how many bytes each has."""
    return b"".join(value.to_bytes(size, "little") for value, size in each)


def register(space: int, bits: int, at: int) -> bytes:
    return numbers((space, 1), (bits, 1), (0, 1), (0, 1), (at, 8))


MADT_ENTRIES: Final = (
    bytes([0, 8, 0, 0, 1, 0, 0, 0]),
    bytes([0, 8, 1, 1, 1, 0, 0, 0]),
    numbers((1, 1), (12, 1), (0, 1), (0, 1), (0xFEC00000, 4), (0, 4)),
    numbers((2, 1), (10, 1), (0, 1), (0, 1), (2, 4), (0, 2)),
    *(numbers((2, 1), (10, 1), (0, 1), (each, 1), (each, 4), (0xD, 2)) for each in (5, 9, 10, 11)),
    bytes([4, 6, 0xFF, 0, 0, 1]),
)
MADT: Final = table(b"APIC", numbers((0xFEE00000, 4), (1, 4)) + b"".join(MADT_ENTRIES))
HPET: Final = table(b"HPET", numbers((0x8086A201, 4)) + register(0, 0, 0xFED00000) + bytes(4))
MCFG: Final = table(b"MCFG", bytes(8) + numbers((0xB0000000, 8), (0, 2), (0, 1), (0xFF, 1), (0, 4)))
DSDT: Final = table(b"DSDT", b"\x10\x05\\___", 1)


def fadt(dsdt: int = 0) -> bytes:
    """Of ACPI 3.0, as of a Q35."""
    data = bytearray(244)
    fields = [
        (36, 4, 0x40),
        (40, 4, dsdt),
        (46, 2, 9),
        (48, 4, 0xB2),
        (52, 1, 2),
        (53, 1, 3),
        (56, 4, 0x600),
        (64, 4, 0x604),
        (76, 4, 0x608),
    ]
    fields += [(80, 4, 0x620), (88, 1, 4), (89, 1, 2), (91, 1, 4), (92, 1, 16), (108, 1, 0x32), (109, 2, 2), (112, 4, 0x84A5)]
    fields += [(128, 1, 0xF), (140, 8, dsdt)]
    for at, size, value in fields:
        data[at : at + size] = value.to_bytes(size, "little")
    data[116:128] = register(1, 8, 0xCF9)
    data[148:160] = register(1, 32, 0x600)
    data[172:184] = register(1, 16, 0x604)
    data[208:220] = register(1, 32, 0x608)
    data[220:232] = register(1, 128, 0x620)
    return table(b"FACP", bytes(data[36:]), 3)


def allocate(name: str, align: int, zone: int) -> bytes:
    """Commands of the script "etc/table-loader"."""
    return (numbers((1, 4)) + name.encode().ljust(56, b"\0") + numbers((align, 4), (zone, 1))).ljust(128, b"\0")


def add_pointer(name: str, source: str, offset: int, size: int) -> bytes:
    names = name.encode().ljust(56, b"\0") + source.encode().ljust(56, b"\0")
    return (numbers((2, 4)) + names + numbers((offset, 4), (size, 1))).ljust(128, b"\0")


def add_checksum(name: str, offset: int, start: int, length: int) -> bytes:
    return (numbers((3, 4)) + name.encode().ljust(56, b"\0") + numbers((offset, 4), (start, 4), (length, 4))).ljust(128, b"\0")


ROOT_FILE, TABLES_FILE = "etc/acpi/rsdp", "etc/acpi/tables"


def acpi_files() -> dict[str, bytes]:
    """The files of the device: pointers are offsets in the other file, and their checksums are added by the script."""
    facs = b"FACS" + numbers((64, 4)) + bytes(56)
    data, script = facs + DSDT, allocate(ROOT_FILE, 16, 2) + allocate(TABLES_FILE, 64, 1)
    data = data.ljust(len(data) + -len(data) % 16, b"\0")
    found = []
    for each in (fadt(64), MADT, HPET, MCFG):
        at = len(data)
        found.append(at)
        if each[:4] == b"FACP":
            each = each[:36] + bytes(4) + each[40:]
            script += add_pointer(TABLES_FILE, TABLES_FILE, at + 36, 4) + add_pointer(TABLES_FILE, TABLES_FILE, at + 40, 4)
            script += add_pointer(TABLES_FILE, TABLES_FILE, at + 140, 8)
        data += each[:9] + b"\0" + each[10:]
        script += add_checksum(TABLES_FILE, at + 9, at, len(each))
    at = len(data)
    data += table(b"RSDT", numbers(*((each, 4) for each in found)))
    for number in range(len(found)):
        script += add_pointer(TABLES_FILE, TABLES_FILE, at + 36 + 4 * number, 4)
    data = data[: at + 9] + b"\0" + data[at + 10 :]
    script += add_checksum(TABLES_FILE, at + 9, at, len(data) - at)
    root = b"RSD PTR \0BOCHS \0" + numbers((at, 4))
    script += add_pointer(ROOT_FILE, TABLES_FILE, 16, 4) + add_checksum(ROOT_FILE, 8, 0, 20)
    return {ROOT_FILE: root, TABLES_FILE: data, "etc/table-loader": script + bytes(128)}


def structure(kind: int, handle: int, fields: bytes, *strings: str) -> bytes:
    """Of SMBIOS."""
    text = b"".join(each.encode("latin-1") + b"\0" for each in strings) or b"\0"
    return numbers((kind, 1), (4 + len(fields), 1), (handle, 2)) + fields + text + b"\0"


UUID_BYTES: Final = bytes.fromhex("67452301ab89efcd0123456789abcdef")
MACHINE: Final = "pc-q35-7.2"
STRUCTURES: Final = (
    structure(1, 0x100, bytes([1, 2, 3, 4]) + UUID_BYTES + bytes([6, 0, 0]), "beam", "Standard PC (Q35 + ICH9, 2009)", MACHINE, "123")
    + structure(2, 0x200, bytes([1, 2, 3, 0, 0, 1, 0]) + numbers((0x300, 2), (10, 1), (0, 1)), "QEMU", "board", MACHINE)
    + structure(3, 0x300, bytes([1, 1, 2, 0, 0, 3, 3, 3, 2]) + bytes(9), "QEMU", MACHINE)
    + structure(
        4,
        0x400,
        bytes([1, 3, 1, 2])
        + numbers((0x78BFBFD00060FB1, 8), (3, 1), (0, 1), (0, 2), (2000, 2), (2000, 2), (0x41, 1), (1, 1))
        + b"\xff" * 6
        + numbers((0, 3), (2, 1), (2, 1), (2, 1), (2, 2), (1, 2)),
        "CPU 0",
        "QEMU",
        MACHINE,
    )
    + structure(11, 0xE00, bytes([1]), "oem")
    + structure(16, 0x1000, numbers((1, 1), (3, 1), (6, 1), (16384, 4), (0xFFFE, 2), (1, 2), (0, 8)))
    + structure(
        17,
        0x1100,
        numbers((0x1000, 2), (0xFFFE, 2), (0xFFFF, 2), (0xFFFF, 2), (16, 2), (9, 1), (0, 1), (1, 1), (0, 1), (7, 1), (2, 2), (0, 2), (2, 1))
        + bytes(16),
        "DIMM 0",
        "QEMU",
    )
    + structure(19, 0x1300, numbers((0, 4), (16383, 4), (0x1000, 2), (1, 1), (0, 8), (0, 8)))
    + structure(32, 0x2000, bytes(7))
    + structure(127, 0x7F00, b"")
)
COUNT: Final = 10


def smbios_files(structures: bytes = STRUCTURES, count: int = COUNT) -> dict[str, bytes]:
    anchor = b"_SM_\0\x1f\2\x08" + numbers((0x51, 2)) + bytes(6) + b"_DMI_\0" + numbers((len(structures), 2), (0, 4), (count, 2), (0x28, 1))
    return {"etc/smbios/smbios-anchor": anchor, "etc/smbios/smbios-tables": structures}


def smbios_3_files(structures: bytes = STRUCTURES) -> dict[str, bytes]:
    anchor = b"_SM3_\0\x18\3\0\0\1\0" + numbers((len(structures), 4), (0, 8))
    return {"etc/smbios/smbios-anchor": anchor, "etc/smbios/smbios-tables": structures}


async def begin(io: Any, files: dict[str, bytes]) -> FwCfg:
    """What comes before the tables: on the port bus the files; on QEMU what firmware sets up, for some tables say it."""
    if io.name == "portbus":
        for name, data in files.items():
            io.models[FwCfgModel].add(name, data)
    else:
        for device, offset, value in (
            (0, 0x60, 0xB0000001),  # memory-mapped configuration: without it there is no MCFG
            (0x1F << 3, 0x40, 0x601),  # power management: ports
            (0x1F << 3, 0x44, 0x80),
        ):
            io.outl(PCI_ADDRESS, 0x80000000 | device << 8 | offset)
            io.outl(PCI_DATA, value)
        shadow(io)
    return FwCfg(io, buffer=BUFFER)


async def with_acpi(io: Any) -> dict[str, int]:
    """A machine as it is after its firmware has placed the ACPI tables. Their addresses."""
    return await place_acpi(await begin(io, acpi_files()), HIGH)


async def with_smbios(io: Any, files: dict[str, bytes] | None = None) -> int:
    """The same of SMBIOS. The address of the entry point."""
    return await place_smbios(await begin(io, smbios_files() if files is None else files), LOW)
