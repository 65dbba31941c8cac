"""MC146818 real-time clock: the time of day while the machine is off, an alarm, and periodic interrupts.

Source: Motorola MC146818A data sheet (1984); IBM PC AT Technical Reference (6280070). The century is not of that chip: later ones have
it, on a PC in register 0x32, which ACPI's FADT names (ACPI 6.5, 5.2.9, CENTURY).

Covers: the time, binary or BCD, of 24 or 12 hours; setting it; the alarm; periodic, alarm and update-ended interrupts, on line 8; the
battery. Not: daylight saving, the square wave, alarms of a day or month, which some later chips have.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntFlag
from typing import Final

from beamlike import record
from drivers.devices.cmos import BASE, Cmos
from drivers.errors import DeviceError
from drivers.space import IoSpace

LINE: Final = 8
SECOND, MINUTE, HOUR, WEEKDAY, DAY, MONTH, YEAR, CENTURY = 0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32
TIME: Final = (SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, CENTURY)
ALARM: Final = 1
"""From each of second, minute and hour to its alarm's register."""
A, B, C = 0x0A, 0x0B, 0x0C
UPDATING, DIVIDER, RUNS, HOLD, RATE = 0x80, 0x70, 0x20, 0x60, 0x0F
SET, BINARY, HOURS_24 = 0x80, 0x04, 0x02
PM: Final = 0x80
ANY: Final = 0xC0
EARLIEST: Final = 1900
CRYSTAL: Final = 32768
READ_TIMEOUT: Final = 1.0
"""An update takes 2.2 ms of each second; seconds, for a slow way to the chip."""


@record
class Cause(IntFlag):
    """Why the chip interrupts."""

    PERIODIC = 0x40
    """Each period of `set_rate`."""
    ALARM = 0x20
    """The time is that of the alarm."""
    UPDATE = 0x10
    """A second is over, and the time is new."""


ALL: Final = Cause.PERIODIC | Cause.ALARM | Cause.UPDATE


@record
class Alarm:
    """When it comes; None: each one."""

    hour: int | None
    minute: int | None
    second: int | None


class Rtc:
    """The clock. It knows no time zone: its times are naive. One process has it, with its memory: see `Cmos`."""

    def __init__(self, io: IoSpace, base: int = BASE) -> None:
        self.io = io
        self.cmos = Cmos(io, base)
        self._untold = Cause(0)  # what has interrupted, before `enable` read it away

    async def read(self) -> datetime:
        """The time, read twice alike with no update in between.

        Raises:
            DeviceAbsentError: nobody answers.
            DeviceError: the registers hold no time, or the clock is stopped, as by a `set` that did not come to its end; nor may they be
                trusted after the battery has failed: see `is_battery_good`.
            DeviceTimeoutError: the update never ends.
        """
        self.cmos.probe()
        mode, *found = await self.io.until(self._snapshot, READ_TIMEOUT, "RTC: no end of the update (register A, bit 7)")
        if mode & SET or self.cmos.read(A) & DIVIDER != RUNS:
            raise DeviceError(f"RTC: it is stopped, register A is {self.cmos.read(A):#04x} and B {mode:#04x}: `set` lets it go")
        try:
            second, minute, day, month, year, century = (_decoded(mode, found[at]) for at in (0, 1, 3, 4, 5, 6))
            if century < EARLIEST // 100:
                raise ValueError(f"century {century}")
            return datetime(century * 100 + year, month, day, _decoded_hour(mode, found[2]), minute, second)
        except ValueError as error:
            shown = ", ".join(f"{each:#04x}: {value:#04x}" for each, value in zip(TIME, found, strict=True))
            raise DeviceError(f"RTC: its registers are no time ({error}): {shown}; register B: {mode:#04x}") from None

    def set(self, time: datetime, *, binary: bool | None = None, hours_24: bool | None = None) -> None:
        """Set the time. Fractions of a second are dropped: the next second begins half a second later, as the chip has it.

        Periodic interrupts begin anew; those that are on stay so.

        Args:
            binary: how the registers hold numbers from now on: binary, or BCD. None: as it is. Set the alarm again after a change.
            hours_24: whether they count the hours to 24, or 12. None: as it is. The same.

        Raises:
            ValueError: a time with a zone, or before 1900 or after 9999.
            DeviceAbsentError: nobody answers.
            DeviceError: the registers do not take what is written. The clock may stand still then.
        """
        if time.tzinfo is not None or time.year < EARLIEST:
            raise ValueError(f"{time!r}: expected a time without a zone, from {EARLIEST} on")
        self.cmos.probe()
        mode, control = self.cmos.read(B) & ~SET, self.cmos.read(A) & RATE
        mode = _with(mode, BINARY, binary)
        mode = _with(mode, HOURS_24, hours_24)
        century, year = divmod(time.year, 100)
        values = {
            SECOND: _encoded(mode, time.second),
            MINUTE: _encoded(mode, time.minute),
            HOUR: _encoded_hour(mode, time.hour),
            WEEKDAY: _encoded(mode, time.isoweekday() % 7 + 1),  # 1 is Sunday
            DAY: _encoded(mode, time.day),
            MONTH: _encoded(mode, time.month),
            YEAR: _encoded(mode, year),
            CENTURY: _encoded(mode, century),
        }
        self.cmos.write(B, mode & ~Cause.UPDATE | SET)  # the chip itself takes that interrupt away
        self.cmos.write(A, HOLD | control)
        for register, value in values.items():
            self.cmos.write(register, value)
        for register, value in {B: mode & ~Cause.UPDATE | SET, **values}.items():
            if (found := self.cmos.read(register)) != value:
                raise DeviceError(f"RTC: register {register:#04x} is {found:#04x} after {value:#04x} was written")
        self.cmos.write(B, mode)
        self.cmos.write(A, RUNS | control)
        self.cmos.was_without_power = False

    def set_alarm(self, hour: int | None, minute: int | None, second: int | None) -> None:
        """Let it come at this time of each day, or at each hour, minute or second of those that are None.

        It interrupts if `enable` says so. Raises: ValueError.
        """
        for name, value, most in (("hour", hour, 23), ("minute", minute, 59), ("second", second, 59)):
            if value is not None and not 0 <= value <= most:
                raise ValueError(f"an alarm at {name} {value!r}: expected 0 to {most}, or None")
        self.cmos.probe()
        mode = self.cmos.read(B)
        self.cmos.write(HOUR + ALARM, ANY if hour is None else _encoded_hour(mode, hour))
        self.cmos.write(MINUTE + ALARM, ANY if minute is None else _encoded(mode, minute))
        self.cmos.write(SECOND + ALARM, ANY if second is None else _encoded(mode, second))

    def alarm(self) -> Alarm:
        """What was set. Raises: DeviceAbsentError; DeviceError: the registers hold no time of day."""
        self.cmos.probe()
        mode = self.cmos.read(B)
        hour, minute, second = (self.cmos.read(each + ALARM) for each in (HOUR, MINUTE, SECOND))
        try:
            return Alarm(
                None if hour & ANY == ANY else _decoded_hour(mode, hour),
                None if minute & ANY == ANY else _decoded(mode, minute, 59),
                None if second & ANY == ANY else _decoded(mode, second, 59),
            )
        except ValueError as error:
            raise DeviceError(f"RTC: the registers of its alarm are no time ({error}); register B: {mode:#04x}") from None

    def set_rate(self, hertz: int) -> None:
        """How often `Cause.PERIODIC` comes: a power of two, 2 to 8192. Raises: ValueError; DeviceAbsentError."""
        if not 2 <= hertz <= 8192 or hertz & (hertz - 1):
            raise ValueError(f"{hertz!r} Hz: expected a power of two from 2 to 8192")
        self.cmos.probe()
        self.cmos.write(A, self.cmos.read(A) & DIVIDER | (CRYSTAL // hertz).bit_length())

    def enable(self, causes: Cause) -> None:
        """Let these interrupt. What came before is forgotten, of those that did not interrupt yet. Raises: DeviceAbsentError."""
        self.cmos.probe()
        mode = self.cmos.read(B)
        self._untold = self.happened() & Cause(mode & ALL)
        self.cmos.write(B, mode | causes)

    def disable(self, causes: Cause = ALL) -> None:
        """Let these interrupt no more. Raises: DeviceAbsentError."""
        self.cmos.probe()
        self.cmos.write(B, self.cmos.read(B) & ~causes)

    def happened(self) -> Cause:
        """What came since the last look, whether it interrupts or not. The line goes down, and only then can it rise again.

        Raises: DeviceAbsentError.
        """
        self.cmos.probe()
        untold, self._untold = self._untold, Cause(0)
        return Cause(self.cmos.read(C) & ALL) | untold

    @property
    def is_battery_good(self) -> bool:
        """False from when the chip has said that time and memory were without power, until `set`. Raises: DeviceAbsentError."""
        self.cmos.probe()
        return not self.cmos.was_without_power

    def _snapshot(self) -> list[int]:
        """Register B and the time's, which were the same twice; nothing if an update comes in between."""
        looks = []
        for _ in range(2):
            if self.cmos.read(A) & UPDATING:
                return []
            looks.append([self.cmos.read(B), *(self.cmos.read(each) for each in TIME)])
        return looks[0] if looks[0] == looks[1] else []


def _with(mode: int, bit: int, wanted: bool | None) -> int:
    return mode if wanted is None else mode | bit if wanted else mode & ~bit


def _encoded(mode: int, value: int) -> int:
    return value if mode & BINARY else value // 10 << 4 | value % 10


def _encoded_hour(mode: int, hour: int) -> int:
    if mode & HOURS_24:
        return _encoded(mode, hour)
    return _encoded(mode, hour % 12 or 12) | (PM if hour >= 12 else 0)


def _decoded(mode: int, value: int, most: int = 99) -> int:
    """Raises: ValueError: it is no number, or more than `most`."""
    if not mode & BINARY:
        if (value & 0x0F) > 9 or value >> 4 > 9:
            raise ValueError(f"{value:#04x} is not BCD")
        value = (value >> 4) * 10 + (value & 0x0F)
    if value > most:
        raise ValueError(f"{value}, and not 0 to {most}")
    return value


def _decoded_hour(mode: int, value: int) -> int:
    if mode & HOURS_24:
        return _decoded(mode, value, 23)
    hour = _decoded(mode, value & ~PM, 12)
    if hour == 0:
        raise ValueError("hour 0 of 12")
    return hour % 12 + (12 if value & PM else 0)
