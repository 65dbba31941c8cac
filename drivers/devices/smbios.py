"""SMBIOS: what the firmware tells of the machine's parts. It finds the structures in memory, and parses them.

Source: DMTF DSP0134, System Management BIOS Reference Specification 3.7.0: 5.2 (entry points), 6.1 (structures), 7.1 to 7.5, 7.17, 7.18,
7.20, 7.33 and "End-of-Table" (their contents).

Covers: the 32-bit and the 64-bit entry point, which is taken if there are both; strings; types 0, 1, 2, 3, 4, 16, 17, 19, 32 and 127.
Others are there as they are. Not: UEFI's configuration table.

A structure that makes no sense stays as it is, and there is a warning. What comes behind one whose end cannot be found is left out, with a
warning, too. Nothing that memory contains leads to anything but that or a DeviceError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

BIOS: Final = range(0xF0000, 0x100000)
LARGEST: Final = 1 << 20  # bytes of all structures; no real machine has nearly as many
END_OF_TABLE: Final = 127
KIB, MIB = 1 << 10, 1 << 20
NO_UUID: Final = (bytes(16), b"\xff" * 16)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """Where the structures are."""

    address: int
    version: tuple[int, int]
    structures: int
    size: int
    """Of all structures; of a 64-bit entry point: at most."""
    count: int | None
    """None: a 64-bit entry point does not say."""


class Structure(NamedTuple):
    """A structure as it is."""

    type: int
    handle: int
    data: bytes
    """The formatted part, with type, length and handle."""
    strings: tuple[str, ...]


# In all of these None means that the structure does not say; so is it with a string that has the number 0.


@dataclass(frozen=True, slots=True)
class Bios:
    """Type 0."""

    handle: int
    vendor: str | None
    version: str | None
    release_date: str | None
    rom_size: int | None
    """In bytes."""
    characteristics: int | None
    release: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class System:
    """Type 1."""

    handle: int
    manufacturer: str | None
    product: str | None
    version: str | None
    serial: str | None
    uuid: UUID | None
    wake_up: int | None
    sku: str | None
    family: str | None


@dataclass(frozen=True, slots=True)
class Board:
    """Type 2."""

    handle: int
    manufacturer: str | None
    product: str | None
    version: str | None
    serial: str | None
    asset_tag: str | None
    features: int | None
    location: str | None
    chassis: int | None
    """Its handle."""
    kind: int | None


@dataclass(frozen=True, slots=True)
class Chassis:
    """Type 3."""

    handle: int
    manufacturer: str | None
    kind: int | None
    has_lock: bool | None
    version: str | None
    serial: str | None
    asset_tag: str | None
    sku: str | None


@dataclass(frozen=True, slots=True)
class Processor:
    """Type 4."""

    handle: int
    socket: str | None
    kind: int | None
    family: int | None
    manufacturer: str | None
    id: int | None
    """On x86 what CPUID's leaf 1 has in EAX, and in EDX above that."""
    version: str | None
    external_clock: int | None
    """In MHz; None if it is unknown, too."""
    most_speed: int | None
    speed: int | None
    is_populated: bool | None
    caches: tuple[int | None, int | None, int | None]
    """The handles of L1 to L3."""
    serial: str | None
    asset_tag: str | None
    part: str | None
    cores: int | None
    enabled_cores: int | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class MemoryArray:
    """Type 16: sockets for memory."""

    handle: int
    location: int | None
    use: int | None
    error_correction: int | None
    capacity: int | None
    """In bytes, at most."""
    devices: int | None


@dataclass(frozen=True, slots=True)
class MemoryDevice:
    """Type 17: a socket, and what is in it."""

    handle: int
    array: int | None
    total_width: int | None
    """In bits, with those for error correction."""
    data_width: int | None
    size: int | None
    """In bytes; 0: nothing is in it; None: unknown."""
    form_factor: int | None
    locator: str | None
    bank: str | None
    kind: int | None
    speed: int | None
    """In millions of transfers in a second."""
    manufacturer: str | None
    serial: str | None
    asset_tag: str | None
    part: str | None
    configured_speed: int | None


@dataclass(frozen=True, slots=True)
class MappedMemory:
    """Type 19: the addresses of an array's memory."""

    handle: int
    first: int
    last: int
    """Inclusive."""
    array: int | None
    width: int | None
    """Devices that share a row."""


@dataclass(frozen=True, slots=True)
class BootInformation:
    """Type 32."""

    handle: int
    status: int
    """0: no errors."""
    more: bytes


@dataclass(frozen=True, slots=True)
class EndOfTable:
    """Type 127."""

    handle: int


Content = Structure | Bios | System | Board | Chassis | Processor | MemoryArray | MemoryDevice | MappedMemory | BootInformation | EndOfTable


class Smbios(NamedTuple):
    """What the structures say."""

    contents: tuple[Content, ...]
    """In their order; a `Structure`: its type is not one of those above, or it makes no sense."""
    warnings: tuple[str, ...]

    def of(self, kind: type[T]) -> list[T]:
        """Those of one kind, in their order."""
        return [each for each in self.contents if isinstance(each, kind)]


# --- finding ---


def find(io: IoSpace) -> Smbios:
    """What a machine's SMBIOS says, found as on a PC with a BIOS.

    Raises: DeviceAbsentError: no entry point. DeviceError: the structures would be larger than 1 MiB, or nowhere.
    """
    entry = find_entry_point(io)
    if entry.size > LARGEST or entry.structures >= (1 << 64) - LARGEST:
        raise DeviceError(
            f"SMBIOS: the entry point at {entry.address:#x} has {entry.size} bytes at {entry.structures:#x}: expected at most {LARGEST}"
        )
    return parse(io.load(entry.structures, entry.size), entry.count)


def find_entry_point(io: IoSpace) -> EntryPoint:
    """The 64-bit one, or else the 32-bit one. Raises: DeviceAbsentError: there is none with right checksums."""
    memory = io.load(BIOS.start, len(BIOS))
    for anchor in (b"_SM3_", b"_SM_"):
        for at in range(0, len(memory), 16):
            if memory.startswith(anchor, at) and (found := parse_entry_point(memory[at : at + 32], BIOS.start + at)) is not None:
                return found
    raise DeviceAbsentError(f"SMBIOS: no entry point in {BIOS.start:#x} to {BIOS.stop - 1:#x}")


def parse_entry_point(data: bytes, address: int = 0) -> EntryPoint | None:
    """None: its checksums, or its length, are wrong."""
    if data.startswith(b"_SM3_"):
        if len(data) < 0x18 or not 0x18 <= data[6] <= len(data) or sum(data[: data[6]]) & 0xFF:
            return None
        return EntryPoint(address, (data[7], data[8]), _int(data, 0x10, 8), _int(data, 0x0C, 4), None)
    if len(data) < 0x1F or not data.startswith(b"_SM_") or not 0x1E <= data[5] <= 0x1F:  # 0x1e: a slip of version 2.1
        return None
    if sum(data[: data[5]]) & 0xFF or data[0x10:0x15] != b"_DMI_" or sum(data[0x10:0x1F]) & 0xFF:
        return None
    return EntryPoint(address, (data[6], data[7]), _int(data, 0x18, 4), _int(data, 0x16, 2), _int(data, 0x1C, 2))


# --- parsing ---


def parse(data: bytes, count: int | None = None) -> Smbios:
    """Structures behind each other: `count` of them, or up to the end of the table.

    Args:
        count: None: not said. There may be fewer, which is a warning.
    """
    contents: list[Content] = []
    warnings: list[str] = []
    at = 0
    while at < len(data) and (count is None or len(contents) < count):
        length = data[at + 1] if at + 1 < len(data) else 0
        end = data.find(b"\0\0", at + length)
        if length < 4 or end < 0:
            warnings.append(f"SMBIOS: the structure at {at:#x} of {len(data):#x} has the length {length}, or no end: the rest was left out")
            break
        strings = data[at + length : end].decode("latin-1").split("\0") if end > at + length else []
        structure = Structure(data[at], _int(data, at + 2, 2), data[at : at + length], tuple(strings))
        try:
            contents.append(decode(structure))
        except DeviceError as error:
            warnings.append(str(error))
            contents.append(structure)
        at = end + 2
        if structure.type == END_OF_TABLE:
            break
    if count is not None and len(contents) < count:
        warnings.append(f"SMBIOS: {len(contents)} structures: expected {count}")
    return Smbios(tuple(contents), tuple(warnings))


def decode(structure: Structure) -> Content:
    """What it says; itself if its type is not known here. Raises: DeviceError: it is too short, or names a string that it does not have."""
    decoder = DECODERS.get(structure.type)
    return structure if decoder is None else decoder(_Fields(structure))


class _Fields:
    """The fields of a structure by their offsets. What is behind its end is None."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.handle = structure.handle

    def number(self, at: int, size: int = 1, *, unknown: int | None = None) -> int | None:
        data = self.structure.data
        found = _int(data, at, size) if at + size <= len(data) else None
        return None if found == unknown else found

    def needed(self, at: int, size: int = 1) -> int:
        found = self.number(at, size)
        if found is None:
            raise DeviceError(
                f"SMBIOS: the structure {self.handle:#x} of type {self.structure.type} has {len(self.structure.data)} bytes: "
                f"expected {at + size} or more"
            )
        return found

    def text(self, at: int) -> str | None:
        number = self.number(at)
        if not number:
            return None
        if number > len(self.structure.strings):
            has = len(self.structure.strings)
            raise DeviceError(f"SMBIOS: the structure {self.handle:#x} of type {self.structure.type} names its string {number} of {has}")
        return self.structure.strings[number - 1]

    def wide(self, at: int, wider: int) -> int | None:
        """A byte, or a word further behind if the byte is 0xff."""
        found = self.number(at, unknown=0)
        return self.number(wider, 2, unknown=0) or found if found == 0xFF else found


def _bios(each: _Fields) -> Bios:
    size = each.number(9)
    rom = None if size is None else (size + 1) * 64 * KIB
    extended = each.number(0x18, 2)
    if size == 0xFF and extended is not None:
        rom = (extended & 0x3FFF) * (MIB if extended >> 14 == 0 else 1 << 30)
    major, minor = each.number(0x14, unknown=0xFF), each.number(0x15, unknown=0xFF)
    return Bios(
        handle=each.handle,
        vendor=each.text(4),
        version=each.text(5),
        release_date=each.text(8),
        rom_size=rom,
        characteristics=each.number(0x0A, 8),
        release=None if major is None or minor is None else (major, minor),
    )


def _system(each: _Fields) -> System:
    uuid = each.structure.data[8:24]
    return System(
        handle=each.handle,
        manufacturer=each.text(4),
        product=each.text(5),
        version=each.text(6),
        serial=each.text(7),
        uuid=None if len(uuid) < 16 or uuid in NO_UUID else UUID(bytes_le=uuid),
        wake_up=each.number(0x18),
        sku=each.text(0x19),
        family=each.text(0x1A),
    )


def _board(each: _Fields) -> Board:
    return Board(
        handle=each.handle,
        manufacturer=each.text(4),
        product=each.text(5),
        version=each.text(6),
        serial=each.text(7),
        asset_tag=each.text(8),
        features=each.number(9),
        location=each.text(0x0A),
        chassis=each.number(0x0B, 2),
        kind=each.number(0x0D),
    )


def _chassis(each: _Fields) -> Chassis:
    kind = each.number(5)
    contained = (each.number(0x13) or 0) * (each.number(0x14) or 0)  # bytes before the last field
    return Chassis(
        handle=each.handle,
        manufacturer=each.text(4),
        kind=None if kind is None else kind & 0x7F,
        has_lock=None if kind is None else bool(kind & 0x80),
        version=each.text(6),
        serial=each.text(7),
        asset_tag=each.text(8),
        sku=each.text(0x15 + contained),
    )


def _processor(each: _Fields) -> Processor:
    family, status = each.number(6), each.number(0x18)
    return Processor(
        handle=each.handle,
        socket=each.text(4),
        kind=each.number(5),
        family=each.number(0x28, 2) if family == 0xFE else family,
        manufacturer=each.text(7),
        id=each.number(8, 8),
        version=each.text(0x10),
        external_clock=each.number(0x12, 2, unknown=0),
        most_speed=each.number(0x14, 2, unknown=0),
        speed=each.number(0x16, 2, unknown=0),
        is_populated=None if status is None else bool(status & 0x40),
        caches=(each.number(0x1A, 2, unknown=0xFFFF), each.number(0x1C, 2, unknown=0xFFFF), each.number(0x1E, 2, unknown=0xFFFF)),
        serial=each.text(0x20),
        asset_tag=each.text(0x21),
        part=each.text(0x22),
        cores=each.wide(0x23, 0x2A),
        enabled_cores=each.wide(0x24, 0x2C),
        threads=each.wide(0x25, 0x2E),
    )


def _memory_array(each: _Fields) -> MemoryArray:
    kibibytes = each.number(7, 4)
    return MemoryArray(
        handle=each.handle,
        location=each.number(4),
        use=each.number(5),
        error_correction=each.number(6),
        capacity=each.number(0x0F, 8) if kibibytes == 0x80000000 else None if kibibytes is None else kibibytes * KIB,
        devices=each.number(0x0D, 2),
    )


def _memory_device(each: _Fields) -> MemoryDevice:
    size = each.number(0x0C, 2, unknown=0xFFFF)
    if size == 0x7FFF:
        size = (each.needed(0x1C, 4) & 0x7FFFFFFF) * MIB
    elif size is not None:
        size = (size & 0x7FFF) * (KIB if size & 0x8000 else MIB)
    return MemoryDevice(
        handle=each.handle,
        array=each.number(4, 2),
        total_width=each.number(8, 2, unknown=0xFFFF),
        data_width=each.number(0x0A, 2, unknown=0xFFFF),
        size=size,
        form_factor=each.number(0x0E),
        locator=each.text(0x10),
        bank=each.text(0x11),
        kind=each.number(0x12),
        speed=each.number(0x15, 2, unknown=0),
        manufacturer=each.text(0x17),
        serial=each.text(0x18),
        asset_tag=each.text(0x19),
        part=each.text(0x1A),
        configured_speed=each.number(0x20, 2, unknown=0),
    )


def _mapped_memory(each: _Fields) -> MappedMemory:
    first, last = each.needed(4, 4), each.needed(8, 4)
    if first == 0xFFFFFFFF:
        first, last = each.needed(0x0F, 8), each.needed(0x17, 8)
    else:
        first, last = first * KIB, last * KIB + KIB - 1
    return MappedMemory(each.handle, first, last, each.number(0x0C, 2), each.number(0x0E))


def _boot_information(each: _Fields) -> BootInformation:
    return BootInformation(each.handle, each.needed(0x0A), each.structure.data[0x0B:])


DECODERS: Final[dict[int, Callable[[_Fields], Content]]] = {
    0: _bios,
    1: _system,
    2: _board,
    3: _chassis,
    4: _processor,
    16: _memory_array,
    17: _memory_device,
    19: _mapped_memory,
    32: _boot_information,
    END_OF_TABLE: lambda each: EndOfTable(each.handle),
}


def _int(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
