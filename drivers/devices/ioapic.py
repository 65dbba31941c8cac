"""I/O APIC: which interrupt line is which vector of which processor.

Source: Intel 82093AA data sheet (290566-001), 3.0; Intel I/O Controller Hub 9 data sheet (316972): the EOI register of version 0x20; ACPI
specification 6.5, 5.2.12.5: ISA lines are inputs of the same number, unless a table says otherwise, and on PCs line 0 is at input 2.

Covers: identifier, version, the redirection entries with all their bits, masks, the explicit end of an interrupt. Not: what the ACPI
tables say of other boards; interrupt remapping.

A register is chosen by one access and moved by the next, so one process uses it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from drivers.devices.lapic import FIRST_VECTOR, Delivery
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

BASE: Final = 0xFEC00000

SELECT, WINDOW, END = 0x00, 0x10, 0x40
ID, VERSION, ENTRY = 0x00, 0x01, 0x10
IS_LOGICAL, IS_PENDING, ACTIVE_LOW, IS_SERVED, LEVEL, IS_MASKED = 0x800, 0x1000, 0x2000, 0x4000, 0x8000, 0x10000
MOST_INPUTS: Final = 120  # whose registers have numbers of 8 bits
HAS_END: Final = 0x20  # the first version with an EOI register


class Version(NamedTuple):
    """What it is."""

    number: int
    inputs: int


class Entry(NamedTuple):
    """What becomes of an input."""

    vector: int
    delivery: int
    """A `Delivery`, or what no device should show."""
    destination: int
    """A processor's number; if `is_logical` a set of them."""
    is_logical: bool
    is_active_low: bool
    is_level: bool
    is_masked: bool
    is_pending: bool
    """It is to be sent, and no processor has accepted it yet."""
    is_served: bool
    """A level that a processor has accepted, and not ended."""


class IoApic:
    """One I/O APIC, with inputs from 0."""

    def __init__(self, io: IoSpace, base: int = BASE) -> None:
        self.io = io
        self.base = base
        self._known: Version | None = None

    def version(self) -> Version:
        """Which it is; asked once. Raises: DeviceAbsentError: what answers is no I/O APIC, or nothing does."""
        if self._known is None:
            found = self._in(VERSION)
            number, inputs = found & 0xFF, (found >> 16 & 0xFF) + 1
            if number in (0, 0xFF) or inputs > MOST_INPUTS or self.io.read32(self.base + SELECT) & 0xFF != VERSION:
                raise DeviceAbsentError(f"no I/O APIC at {self.base:#x}: its version is {found:#x}")
            self._known = Version(number, inputs)
        return self._known

    @property
    def number(self) -> int:
        """Its identifier, 0 to 15."""
        return self._in(ID) >> 24 & 15

    @number.setter
    def number(self, value: int) -> None:
        if not 0 <= value <= 15:
            raise ValueError(f"an identifier of {value!r}: expected 0 to 15")
        self._out(ID, value << 24)

    def entry(self, number: int) -> Entry:
        """What becomes of an input."""
        at = self._at(number)
        low, high = self._in(at), self._in(at + 1)
        delivery = low >> 8 & 7
        return Entry(
            vector=low & 0xFF,
            delivery=Delivery(delivery) if delivery != 3 else delivery,
            destination=high >> 24,
            is_logical=bool(low & IS_LOGICAL),
            is_active_low=bool(low & ACTIVE_LOW),
            is_level=bool(low & LEVEL),
            is_masked=bool(low & IS_MASKED),
            is_pending=bool(low & IS_PENDING),
            is_served=bool(low & IS_SERVED),
        )

    def route(
        self,
        number: int,
        vector: int,
        destination: int = 0,
        delivery: Delivery = Delivery.FIXED,
        *,
        logical: bool = False,
        active_low: bool = False,
        level: bool = False,
        masked: bool = False,
    ) -> None:
        """Say what becomes of an input. Nothing is sent while it is half said.

        Args:
            destination: a processor's number, or, if `logical`, the bits that their logical destination registers have.
            active_low, level: of the line: ISA's are neither, PCI's both.

        Raises: ValueError; DeviceAbsentError; DeviceError: it does not keep that.
        """
        least = FIRST_VECTOR if delivery in (Delivery.FIXED, Delivery.LOWEST) else 0
        if not least <= vector <= 0xFF:
            raise ValueError(f"a vector of {vector!r}: expected {least} to 255 of {delivery.name}")
        if delivery is Delivery.STARTUP:
            raise ValueError("no input can deliver STARTUP")
        if not 0 <= destination <= 0xFF:
            raise ValueError(f"a destination of {destination!r}: expected 0 to 255")
        at = self._at(number)
        low = vector | delivery << 8 | (IS_LOGICAL if logical else 0) | (ACTIVE_LOW if active_low else 0) | (LEVEL if level else 0)
        self._out(at, low | IS_MASKED)
        self._out(at + 1, destination << 24)
        kept = self._in(at) & ~(IS_PENDING | IS_SERVED), self._in(at + 1) >> 24
        if kept != (low | IS_MASKED, destination):
            raise DeviceError(f"I/O APIC at {self.base:#x}: input {number} keeps {kept} and not {(low | IS_MASKED, destination)}")
        if not masked:
            self._out(at, low)

    def mask(self, number: int) -> None:
        """Send no interrupts of an input. An edge that comes meanwhile is lost; a level waits."""
        at = self._at(number)
        self._out(at, self._in(at) | IS_MASKED)

    def unmask(self, number: int) -> None:
        """Send them again."""
        at = self._at(number)
        self._out(at, self._in(at) & ~IS_MASKED)

    def mask_all(self) -> None:
        """Send none."""
        for number in range(self.version().inputs):
            self.mask(number)

    def end(self, vector: int) -> None:
        """Levels with this vector have been handled, without the processor's saying so: its local APIC tells, otherwise.

        Raises: ValueError; DeviceError: it is too old for that.
        """
        if not FIRST_VECTOR <= vector <= 0xFF:
            raise ValueError(f"a vector of {vector!r}: expected 16 to 255")
        if self.version().number < HAS_END:
            raise DeviceError(f"I/O APIC at {self.base:#x}: version {self.version().number:#x} has no EOI register")
        self.io.write32(self.base + END, vector)

    def _at(self, number: int) -> int:
        inputs = self.version().inputs
        if type(number) is not int or not 0 <= number < inputs:
            raise ValueError(f"{number!r} is no input of the I/O APIC: expected 0 to {inputs - 1}")
        return ENTRY + 2 * number

    def _in(self, register: int) -> int:
        self.io.write32(self.base + SELECT, register)
        return self.io.read32(self.base + WINDOW)

    def _out(self, register: int, value: int) -> None:
        self.io.write32(self.base + SELECT, register)
        self.io.write32(self.base + WINDOW, value)


def input_of(line: int) -> int:
    """The input of a line of a PC. Raises: ValueError: it has none."""
    if line == 2 or not 0 <= line < 24:
        raise ValueError(f"line {line!r} is at no input: expected 0, 1 or 3 to 23")
    return 2 if line == 0 else line
