"""ACPI's table of the interrupt controllers: the MADT, "APIC".

Source: ACPI Specification 6.5, 5.2.12.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple, TypeVar

from drivers.devices.acpi_table import checked, integer
from drivers.errors import DeviceError

T = TypeVar("T")


class LocalApic(NamedTuple):
    """Type 0: a processor."""

    processor: int
    apic_id: int
    is_enabled: bool
    can_come_online: bool


class IoApic(NamedTuple):
    """Type 1."""

    id: int
    address: int
    first_interrupt: int


class Polarity(IntEnum):
    """Of an interrupt's line."""

    AS_OF_BUS = 0
    HIGH = 1
    RESERVED = 2
    LOW = 3


class Trigger(IntEnum):
    """Of an interrupt."""

    AS_OF_BUS = 0
    EDGE = 1
    RESERVED = 2
    LEVEL = 3


class SourceOverride(NamedTuple):
    """Type 2: an ISA interrupt that is another one of the I/O APICs."""

    bus: int
    source: int
    interrupt: int
    polarity: Polarity
    trigger: Trigger


class NmiSource(NamedTuple):
    """Type 3: an interrupt of the I/O APICs that cannot be masked."""

    interrupt: int
    polarity: Polarity
    trigger: Trigger


class LocalApicNmi(NamedTuple):
    """Type 4: the input of a processor's local APIC for NMIs."""

    processor: int
    """255: of all."""
    polarity: Polarity
    trigger: Trigger
    input: int


class LocalApicAddress(NamedTuple):
    """Type 5: a 64-bit address instead of the table's."""

    address: int


class LocalX2Apic(NamedTuple):
    """Type 9: a processor whose number has 32 bits."""

    processor: int
    apic_id: int
    is_enabled: bool
    can_come_online: bool


class LocalX2ApicNmi(NamedTuple):
    """Type 10."""

    processor: int
    """0xffffffff: of all."""
    polarity: Polarity
    trigger: Trigger
    input: int


class OtherEntry(NamedTuple):
    """Any other type, as it is: I/O SAPICs, GICs, and so on."""

    type: int
    data: bytes
    """Without type and length."""


Entry = LocalApic | IoApic | SourceOverride | NmiSource | LocalApicNmi | LocalApicAddress | LocalX2Apic | LocalX2ApicNmi | OtherEntry


class Madt(NamedTuple):
    """Multiple APIC description table: "APIC"."""

    local_apic: int
    """The address of the local APICs, of the entry of type 5 if there is one."""
    has_8259s: bool
    entries: tuple[Entry, ...]

    def of(self, kind: type[T]) -> list[T]:
        """The entries of one kind, in their order."""
        return [each for each in self.entries if isinstance(each, kind)]


def parse_madt(data: bytes) -> Madt:
    """Raises: DeviceError: it is none, or an entry is shorter than its type demands, or goes beyond the end."""
    data = checked(data, "APIC", 44)
    entries = tuple(_entry(*each) for each in _entries(data))
    address = next((each.address for each in entries if isinstance(each, LocalApicAddress)), integer(data, 36, 4))
    return Madt(address, bool(data[40] & 1), entries)


def _entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 44
    while at < len(data):
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2 or at + length > len(data):
            raise DeviceError(f"ACPI: the MADT's entry at {at:#x} has the length {length}: expected 2 to {len(data) - at}")
        yield data[at], data[at + 2 : at + length]
        at += length


LENGTHS: Final = {0: 6, 1: 10, 2: 8, 3: 6, 4: 4, 5: 10, 9: 14, 10: 10}
"""Of the MADT's entries, without type and length."""


def _entry(kind: int, data: bytes) -> Entry:
    if len(data) < LENGTHS.get(kind, 0):
        raise DeviceError(f"ACPI: an entry of the MADT of type {kind} has {len(data) + 2} bytes: expected {LENGTHS[kind] + 2}")
    match kind:
        case 0:
            return LocalApic(data[0], data[1], *_state(integer(data, 2, 4)))
        case 1:
            return IoApic(data[0], integer(data, 2, 4), integer(data, 6, 4))
        case 2:
            return SourceOverride(data[0], data[1], integer(data, 2, 4), *_line(integer(data, 6, 2)))
        case 3:
            return NmiSource(integer(data, 2, 4), *_line(integer(data, 0, 2)))
        case 4:
            return LocalApicNmi(data[0], *_line(integer(data, 1, 2)), data[3])
        case 5:
            return LocalApicAddress(integer(data, 2, 8))
        case 9:
            return LocalX2Apic(integer(data, 10, 4), integer(data, 2, 4), *_state(integer(data, 6, 4)))
        case 10:
            return LocalX2ApicNmi(integer(data, 2, 4), *_line(integer(data, 0, 2)), data[6])
        case _:
            return OtherEntry(kind, data)


def _state(flags: int) -> tuple[bool, bool]:
    return bool(flags & 1), bool(flags & 2)


def _line(flags: int) -> tuple[Polarity, Trigger]:
    return Polarity(flags & 3), Trigger(flags >> 2 & 3)
