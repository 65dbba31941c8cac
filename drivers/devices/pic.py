"""8259A interrupt controllers, the two of a PC: the slave is on line 2 of the master.

Source: Intel 8259A data sheet (231468-003); Intel 82371AB (PIIX4) data sheet (290562-001) for what may be level triggered (ELCR).

Covers: initialisation with vectors, masks, the end of an interrupt, specific and not, requests and service, polling, spurious interrupts,
level triggering. Not: automatic end, rotating priorities, special masks and nesting, the 8080's mode.
"""

from __future__ import annotations

from typing import Final

from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

MASTER, SLAVE, ELCR = 0x20, 0xA0, 0x4D0
CASCADE: Final = 2
INITIALISE, WITH_ICW4 = 0x10, 0x01
MODE_8086: Final = 0x01
END, END_OF = 0x20, 0x60
POLL, READ_REQUESTS, READ_SERVICE = 0x0C, 0x0A, 0x0B
POLLED: Final = 0x80
ALWAYS_EDGE: Final = frozenset({0, 1, 2, 8, 13})


class Pic:
    """The two. `initialise` them first; one process has them.

    Lines are 0 to 15 without 2. A line's priority is the higher the lower its number, with 8 to 15 in the place of 2. While an interrupt is
    in service, only those of higher priority come.
    """

    def __init__(self, io: IoSpace, master: int = MASTER, slave: int = SLAVE, elcr: int = ELCR) -> None:
        self.io = io
        self.ports = (master, slave)
        self.elcr = elcr

    def initialise(self, offset: int = 0x20, slave_offset: int = 0x28) -> None:
        """Begin anew, with all lines masked. Requests and what was in service are forgotten.

        No interrupt should reach the processor meanwhile: for a moment nothing is masked.

        Args:
            offset: the vector of line 0; of line 1 it is the next, and so on.
            slave_offset: the vector of line 8.

        Raises:
            ValueError: an offset is no multiple of 8, or no vector.
            DeviceAbsentError: nobody answers.
            DeviceError: the masks are not what they should be.
        """
        for each in (offset, slave_offset):
            if not 0 <= each <= 0xF8 or each % 8:
                raise ValueError(f"{each!r} as the first vector: expected a multiple of 8, 0 to 0xf8")
        words = ((offset, 1 << CASCADE), (slave_offset, CASCADE))
        for port, (first, cascade) in zip(self.ports, words, strict=True):
            self.io.outb(port, INITIALISE | WITH_ICW4)
            for word in (first, cascade, MODE_8086):
                self.io.outb(port + 1, word)
            cleared = self.io.inb(port + 1)
            self.io.outb(port + 1, 0xFF)
            masked = self.io.inb(port + 1)
            if cleared == masked == 0xFF:
                raise DeviceAbsentError(f"no 8259 at port {port:#x}: its mask is 0xff after the initialisation, expected 0")
            if (cleared, masked) != (0, 0xFF):
                raise DeviceError(f"8259 at port {port:#x}: its mask is {cleared:#04x}, then {masked:#04x}, expected 0x00, then 0xff")

    # --- masks ---

    def mask(self, line: int) -> None:
        """Let a line not interrupt. What it requests meanwhile comes when it is unmasked."""
        port, bit = self._find(line)
        self.io.outb(port + 1, self.io.inb(port + 1) | bit)

    def unmask(self, line: int) -> None:
        """Let a line interrupt."""
        port, bit = self._find(line)
        self.io.outb(port + 1, self.io.inb(port + 1) & ~bit)
        if line >= 8:
            self.io.outb(self.ports[0] + 1, self.io.inb(self.ports[0] + 1) & ~(1 << CASCADE))

    @property
    def masked(self) -> frozenset[int]:
        """The lines that are."""
        return _lines(self.io.inb(self.ports[0] + 1), self.io.inb(self.ports[1] + 1))

    # --- interrupts ---

    @property
    def requested(self) -> frozenset[int]:
        """The lines that ask for an interrupt, masked or not."""
        return self._read(READ_REQUESTS)

    @property
    def in_service(self) -> frozenset[int]:
        """The lines whose interrupts have begun, and not ended."""
        return self._read(READ_SERVICE)

    def poll(self) -> int | None:
        """Begin the interrupt that is due, as the processor would: the line, which is in service then, or None.

        Raises: DeviceAbsentError.
        """
        line = self._poll(self.ports[0])
        if line != CASCADE:
            return line
        line = self._poll(self.ports[1])
        if line is None:
            self.io.outb(self.ports[0], END_OF | CASCADE)  # a spurious one: the slave has nothing in service, but the master has
            return None
        return line + 8

    def end(self, line: int) -> None:
        """The interrupt of this line is over."""
        port, _ = self._find(line)
        self.io.outb(port, END_OF | line & 7)
        if line >= 8:
            self.io.outb(self.ports[0], END_OF | CASCADE)

    def end_highest(self, *, slave: bool = False) -> None:
        """The interrupt of the highest priority that is in service is over: of the master, or of the slave, and the master's for it.

        It fits only whoever serves interrupts one in the other; else see `end`.
        """
        if slave:
            self.io.outb(self.ports[1], END)
        self.io.outb(self.ports[0], END)

    def is_spurious(self, line: int) -> bool:
        """Was the interrupt of line 7 or 15, which the processor has begun, that of a line which fell too soon?

        Then do no more for it, not even `end`: the master's part of a spurious 15 has been ended here. Of other lines: False.
        """
        port, bit = self._find(line)
        if line & 7 != 7:
            return False
        self.io.outb(port, READ_SERVICE)
        if self.io.inb(port) & bit:
            return False
        if line >= 8:
            self.io.outb(self.ports[0], END_OF | CASCADE)
        return True

    # --- triggers ---

    @property
    def level_triggered(self) -> frozenset[int]:
        """The lines that interrupt as long as they are high, and not when they rise."""
        return _lines(self.io.inb(self.elcr), self.io.inb(self.elcr + 1))

    def set_level_triggered(self, line: int, level: bool) -> None:
        """Let a line be level triggered, as PCI's are, or edge triggered. Raises: ValueError: a line that must be edge triggered."""
        self._find(line)
        if level and line in ALWAYS_EDGE:
            raise ValueError(f"line {line} is always edge triggered")
        port, bit = self.elcr + (line >> 3), 1 << (line & 7)
        found = self.io.inb(port)
        self.io.outb(port, found | bit if level else found & ~bit)

    def _find(self, line: int) -> tuple[int, int]:
        """The port of a line's controller, and its bit there."""
        if not 0 <= line < 16 or line == CASCADE:
            raise ValueError(f"{line!r} is no line of the 8259s: expected 0 to 15, but 2, which is the slave's")
        return self.ports[line >> 3], 1 << (line & 7)

    def _read(self, what: int) -> frozenset[int]:
        for port in self.ports:
            self.io.outb(port, what)
        return _lines(*(self.io.inb(port) for port in self.ports))

    def _poll(self, port: int) -> int | None:
        self.io.outb(port, POLL)
        found = self.io.inb(port)
        if found == 0xFF:  # the data sheet leaves bits 3 to 6 open, but no controller is known that sets them
            raise DeviceAbsentError(f"no 8259 at port {port:#x}: polled, it shows 0xff")
        return found & 7 if found & POLLED else None


def _lines(master: int, slave: int) -> frozenset[int]:
    bits = master & ~(1 << CASCADE) | slave << 8
    return frozenset(line for line in range(16) if bits >> line & 1)
