"""ACPI power management timer: a counter that runs at one frequency on every PC, and never stops.

Source: ACPI 6.5, 4.8.2.1 and 4.8.3.3. Its port and whether it has 24 or 32 bits are in the FADT (5.2.9, PM_TMR_BLK, TMR_VAL_EXT).

Covers: reading, time that has passed, also beyond the counter's wraps, waiting. Not: the interrupt at each half of the count (TMR_STS), the
memory-mapped timers of machines without ports.
"""

from __future__ import annotations

from typing import Final

from drivers.errors import DeviceAbsentError
from drivers.space import IoSpace

HERTZ: Final = 3_579_545
PORT: Final = 0x608
"""Where the firmware of QEMU's machine `pc` puts it."""


class PmTimer:
    """The timer.

    Args:
        bits: 24 or 32, as the FADT says. A counter of 24 bits wraps each 4.69 s, one of 32 each 20 minutes.
    """

    def __init__(self, io: IoSpace, port: int = PORT, bits: int = 24) -> None:
        if bits not in (24, 32):
            raise ValueError(f"a PM timer of {bits!r} bits: expected 24 or 32")
        self.io = io
        self.port = port
        self.mask = (1 << bits) - 1
        self._last: int | None = None
        self._ticks = 0

    @property
    def period(self) -> float:
        """Seconds from one wrap to the next."""
        return (self.mask + 1) / HERTZ

    def read(self) -> int:
        """The count. Raises: DeviceAbsentError: all ones, of which 24 bits have some too many, and which 32 bits are for 279 ns only."""
        found = self.io.inl(self.port)
        if found == 0xFFFFFFFF and (found > self.mask or self.io.inl(self.port) == found):
            raise DeviceAbsentError(f"no PM timer at port {self.port:#x}: it shows {found:#x}")
        return found & self.mask

    def elapsed(self, since: int) -> float:
        """Seconds since a count that was read less than a `period` ago. Raises as `read`."""
        return ((self.read() - since) & self.mask) / HERTZ

    def ticks(self) -> int:
        """Ticks since the first call. Wraps are counted if there is a call in each `period`. Raises as `read`."""
        now = self.read()
        if self._last is not None:
            self._ticks += (now - self._last) & self.mask
        self._last = now
        return self._ticks

    async def wait(self, seconds: float) -> None:
        """Wait by this timer, and not less than that.

        Raises: ValueError: a negative time; DeviceAbsentError; DeviceTimeoutError: it does not count, or at less than half its rate.
        """
        if seconds < 0:
            raise ValueError(f"waiting for {seconds!r} s: expected no negative time")
        end = self.ticks() + seconds * HERTZ
        await self.io.until(
            lambda: self.ticks() > end,
            2 * seconds + 1,
            lambda: f"PM timer at port {self.port:#x}, which shows {self._last:#x}: no {seconds:g} s",
        )
