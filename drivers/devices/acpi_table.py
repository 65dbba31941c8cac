"""A table of ACPI's as bytes: its header, its checksum, and what all of them are made of.

Source: ACPI Specification 6.5, 5.2.6 (headers), 5.2.3.2 (generic addresses).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from drivers.errors import DeviceError

HEADER: Final = 36
LARGEST: Final = 1 << 20  # bytes of a table: those of the largest servers are smaller


class Header(NamedTuple):
    """What each table begins with."""

    signature: str
    length: int
    revision: int
    oem_id: str
    oem_table_id: str
    oem_revision: int
    creator_id: str
    creator_revision: int


class Table(NamedTuple):
    """A table whose length and checksum are right."""

    header: Header
    address: int
    data: bytes
    """All of it, with the header."""


class Space(IntEnum):
    """Where a register is; there are other numbers, too."""

    MEMORY = 0
    PORTS = 1
    PCI = 2


class Address(NamedTuple):
    """Of a register (the specification's generic address structure)."""

    space: int
    """A `Space`, or another number."""
    bits: int
    offset: int
    """In bits."""
    access: int
    """1 to 4: by 8 to 64 bits; 0: not said."""
    at: int


def parse_table(data: bytes, address: int = 0) -> Table:
    """Raises: DeviceError: its length is not the header's, or out of all bounds, or the checksum is wrong."""
    if len(data) < HEADER:
        raise DeviceError(f"ACPI: a table of {len(data)} bytes: expected {HEADER} or more")
    length = integer(data, 4, 4)
    if length != len(data) or length > LARGEST:
        raise DeviceError(f"ACPI: {data[:4]!r} at {address:#x} has the length {length}: expected {HEADER} to {LARGEST}, as it has")
    if total := sum(data) & 0xFF:
        raise DeviceError(f"ACPI: the bytes of {data[:4]!r} at {address:#x} add up to {total:#x}: expected 0")
    header = Header(
        text_of(data[:4]),
        length,
        data[8],
        text_of(data[10:16]),
        text_of(data[16:24]),
        integer(data, 24, 4),
        text_of(data[28:32]),
        integer(data, 32, 4),
    )
    return Table(header, address, data)


def checked(data: bytes, signature: str, least: int) -> bytes:
    """A whole table of this kind. Raises: DeviceError: it is none, or shorter."""
    table = parse_table(data)
    if table.header.signature != signature or len(data) < least:
        raise DeviceError(f"ACPI: {table.header.signature!r} of {len(data)} bytes: expected {signature!r} of {least} or more")
    return data


def address_of(data: bytes, at: int) -> Address:
    """A generic address."""
    return Address(data[at], data[at + 1], data[at + 2], data[at + 3], integer(data, at + 4, 8))


def integer(data: bytes, at: int, size: int) -> int:
    """Little-endian."""
    return int.from_bytes(data[at : at + size], "little")


def text_of(data: bytes) -> str:
    """Without the blanks that fill it up."""
    return data.decode("latin-1").rstrip(" \0")
