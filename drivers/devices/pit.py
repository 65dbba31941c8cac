"""8254 programmable interval timer, and the PC speaker, which sounds as its counter 2 goes.

Source: Intel 8254 data sheet (231164-005); IBM PC AT Technical Reference, port 0x61.

Covers: the six modes, binary and decimal counts, read-back of count and status; the counters' uses on a PC (0: interrupt 0, 2: the speaker
and its gate). Not: counts of one byte.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from beamlike import record
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

HERTZ: Final = 1_193_182
"""Of its clock: a third of the colour carrier's 3.579545 MHz."""

BASE: Final = 0x40
CONTROL: Final = 3
BOTH_BYTES: Final = 0x30
READ_BACK, NO_COUNT, NO_STATUS = 0xC0, 0x20, 0x10
SPEAKER_PORT: Final = 0x61
GATE, DATA, OUTPUT = 0x01, 0x02, 0x20
BCD: Final = 0x01
MOST, MOST_BCD = 65536, 10000
NOBODY: Final = 0xFF  # as a status: decimal and not loaded, in a mode that is written otherwise


@record
class Mode(IntEnum):
    """What a counter does with its count, N."""

    TERMINAL_COUNT = 0
    """The output rises after N pulses, once."""
    ONE_SHOT = 1
    """It is low for N pulses after the gate has risen."""
    RATE = 2
    """It is low for one pulse of each N."""
    SQUARE_WAVE = 3
    """It is high for one half of N pulses, and low for the other."""
    SOFTWARE_STROBE = 4
    """It is low for one pulse after N, once."""
    HARDWARE_STROBE = 5
    """The same after the gate has risen."""


@record
class Status:
    """What a read-back tells of a counter."""

    output: bool
    is_loaded: bool
    mode: Mode
    is_bcd: bool


class Pit:
    """The three counters.

    Args:
        counters: so many of them are this driver's, from 0 on.
        least: pulses of a period of counter 0: one whose interrupts are messages has no use for more than can be told.
    """

    def __init__(self, io: IoSpace, base: int = BASE, counters: int = 3, least: int = 2) -> None:
        self.io = io
        self.base = base
        self.counters = counters
        self.least = least

    def start(self, counter: int, mode: Mode, count: int, *, bcd: bool = False) -> None:
        """Load a counter. In the modes 1 and 5 it begins when its gate rises: see `set_gate`.

        Args:
            count: pulses, 1 to 65,536; in the modes 2 and 3 from 2.
            bcd: it counts four decimal digits, so up to 10,000.

        Raises: ValueError.
        """
        self._check(counter)
        if type(count) is not int or mode not in tuple(Mode):
            raise ValueError(f"mode {mode!r} with the count {count!r}: expected {', '.join(each.name for each in Mode)}, and an int")
        is_periodic = mode in (Mode.RATE, Mode.SQUARE_WAVE)
        least, most = self._least(counter) if is_periodic else 1, MOST_BCD if bcd else MOST
        if not least <= count <= most:
            raise ValueError(f"a count of {count}: expected {least} to {most} in the mode {Mode(mode).name}")
        written = int(str(count % MOST_BCD), 16) if bcd else count
        self.io.outb(self.base + CONTROL, counter << 6 | BOTH_BYTES | mode << 1 | (BCD if bcd else 0))
        self.io.outsb(self.base + counter, (written & 0xFFFF).to_bytes(2, "little"))

    def start_periodic(self, hertz: float, counter: int = 0) -> float:
        """Let a counter's output rise so often; of counter 0 each time is interrupt 0. What the rate really is.

        Raises: ValueError: outside of 18.21 Hz to 596,591 Hz, or to less; see the class.
        """
        count = round(HERTZ / hertz) if hertz > 0 else MOST + 1
        if not self._least(counter) <= count <= MOST:
            raise ValueError(f"{hertz} Hz: the timer can do {HERTZ / MOST:.2f} to {HERTZ / self._least(counter):.0f} Hz")
        self.start(counter, Mode.RATE, count)
        return HERTZ / count

    def read(self, counter: int) -> int:
        """The count, as it is at one moment: latched. Raises: DeviceError: it is to be decimal, and has other digits."""
        self._check(counter)
        self.io.outb(self.base + CONTROL, READ_BACK | 2 << counter)
        status, low, high = self.io.insb(self.base + counter, 3)  # at once: who is killed in between would leave half of it for the next
        count = high << 8 | low
        if not status & BCD:
            return count
        digits = f"{count:x}"
        if not digits.isdecimal():
            raise DeviceError(f"8254 at {self.base:#x}: counter {counter} shows {count:#x}, expected decimal digits")
        return int(digits)

    def status(self, counter: int) -> Status:
        """How a counter is set, and its output. Raises: DeviceAbsentError: nothing answers."""
        self._check(counter)
        self.io.outb(self.base + CONTROL, READ_BACK | NO_COUNT | 2 << counter)
        found = self.io.inb(self.base + counter)
        if found == NOBODY:
            raise DeviceAbsentError(f"8254 at {self.base:#x}: the status of counter {counter} is {found:#x}: nothing answers")
        mode = found >> 1 & 7
        return Status(bool(found & 0x80), not found & 0x40, Mode(mode if mode < 6 else mode - 4), bool(found & BCD))  # 6 and 7 are 2 and 3

    def _least(self, counter: int) -> int:
        return self.least if counter == 0 else 2

    def _check(self, counter: int) -> None:
        """Raises: ValueError; and what an access to its port would, before its mode is changed by that of all three."""
        if type(counter) is not int or counter not in range(self.counters):
            raise ValueError(f"{counter!r} is no counter of this driver: expected 0 to {self.counters - 1}")
        self.io.may_port(self.base + counter, 1)

    def set_gate(self, *, high: bool) -> None:
        """The gate of counter 2, the only one that a program can move.

        It counts while that is high; in the modes 1 and 5 it begins anew each time that it rises, in 2 and 3, too.
        """
        self.io.outb(SPEAKER_PORT, self.io.inb(SPEAKER_PORT) & 0x0F & ~GATE | (GATE if high else 0))


class Speaker:
    """The PC speaker."""

    def __init__(self, io: IoSpace) -> None:
        self.io = io
        self.pit = Pit(io)

    def play(self, hertz: float) -> float:
        """Sound, until `stop`. The frequency that it really is. Raises: ValueError as `Pit.start_periodic`."""
        count = round(HERTZ / hertz) if hertz > 0 else MOST + 1
        if not 2 <= count <= MOST:
            raise ValueError(f"{hertz} Hz: the timer can do {HERTZ / MOST:.2f} to {HERTZ / 2:.0f} Hz")
        self.pit.start(2, Mode.SQUARE_WAVE, count)
        self.io.outb(SPEAKER_PORT, self.io.inb(SPEAKER_PORT) & 0x0F | GATE | DATA)
        return HERTZ / count

    def stop(self) -> None:
        """Be silent."""
        self.io.outb(SPEAKER_PORT, self.io.inb(SPEAKER_PORT) & 0x0F & ~(GATE | DATA))

    @property
    def is_on(self) -> bool:
        """Do both bits let it sound?"""
        return self.io.inb(SPEAKER_PORT) & (GATE | DATA) == GATE | DATA
