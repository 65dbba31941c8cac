"""High precision event timer: a counter that never stops, and comparators that interrupt.

Source: IA-PC HPET specification 1.0a (October 2004), 2.3 (registers) and 2.4 (how to use them).

Covers: capabilities, the main counter, comparators once and periodically, edge and level, routing, the legacy replacement, which makes the
first two timers the interrupts 0 and 8. Not: interrupts as messages (FSB), which few boards have.

Registers are accessed as 32 bits, so what is 64 bits wide takes two accesses.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

BASE: Final = 0xFED00000
"""Where boards have it; the ACPI table HPET says so."""

CAPABILITIES, PERIOD, CONFIG, STATUS, COUNTER, TIMER, EACH = 0x00, 0x04, 0x10, 0x20, 0xF0, 0x100, 0x20
ENABLE, LEGACY = 0x01, 0x02
LEVEL, INTERRUPTS, PERIODIC, CAN_PERIODIC, CAN_64, SET_VALUE, AS_32, ROUTE = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x100, 0x3E00
ROUTES, COMPARATOR = 0x04, 0x08  # within a timer
LONGEST_PERIOD: Final = 100_000_000  # femtoseconds (2.3.4)
FEMTO: Final = 10**15
MOST_TRIES: Final = 32  # of which each doubles the time
HALF: Final = 1 << 31  # what is further ahead than that, in 32 bits, is behind


class Capabilities(NamedTuple):
    """What it is."""

    revision: int
    timers: int
    is_wide: bool
    """The main counter has 64 bits, and not 32."""
    has_legacy: bool
    vendor: int
    period: int
    """Of the main counter, in femtoseconds."""


class Timer(NamedTuple):
    """What a timer can, and how it is set."""

    can_repeat: bool
    is_wide: bool
    """It compares 64 bits, and not 32."""
    routes: tuple[int, ...]
    """The inputs of the I/O APIC that it can interrupt at."""
    route: int
    is_level: bool
    is_periodic: bool
    is_enabled: bool


class Hpet:
    """The main counter and its timers, which have numbers from 0."""

    def __init__(self, io: IoSpace, base: int = BASE) -> None:
        self.io = io
        self.base = base
        self._known: Capabilities | None = None

    def capabilities(self) -> Capabilities:
        """What it is; asked once. Raises: DeviceAbsentError: what answers is no HPET, or nothing does."""
        if self._known is None:
            low, period = self._in(CAPABILITIES), self._in(PERIOD)
            if low & 0xFF in (0, 0xFF) or not 0 < period <= LONGEST_PERIOD:
                text = f"no HPET at {self.base:#x}: capabilities {low:#x}, a period of {period} fs; expected 1 to {LONGEST_PERIOD}"
                raise DeviceAbsentError(text)
            self._known = Capabilities(low & 0xFF, (low >> 8 & 31) + 1, bool(low & 0x2000), bool(low & 0x8000), low >> 16, period)
        return self._known

    @property
    def hertz(self) -> float:
        """Ticks of the main counter in a second."""
        return FEMTO / self.capabilities().period

    # --- the main counter ---

    def enable(self, *, legacy: bool = False) -> None:
        """Let the counter run, and interrupts come.

        Args:
            legacy: the timers 0 and 1 are the interrupts 0 and 8, instead of the 8254 and the clock; whatever their routes are.

        Raises: DeviceError: it cannot do that.
        """
        if legacy and not self.capabilities().has_legacy:
            raise DeviceError(f"HPET at {self.base:#x}: it has no legacy replacement")
        self._set_config(ENABLE | (LEGACY if legacy else 0))

    def disable(self) -> None:
        """Halt the counter; nothing interrupts."""
        self._set_config(0)

    @property
    def is_enabled(self) -> bool:
        """Does it run?"""
        return bool(self._in(CONFIG) & ENABLE)

    def _set_config(self, value: int) -> None:
        self.capabilities()
        self._out(CONFIG, self._in(CONFIG) & ~(ENABLE | LEGACY) | value)
        if self._in(CONFIG) & (ENABLE | LEGACY) != value:
            raise DeviceError(f"HPET at {self.base:#x}: it does not keep the configuration {value:#x}: {self._in(CONFIG):#x}")

    def counter(self) -> int:
        """The main counter, as it is at one moment; of 32 bits if it has no more.

        Raises: DeviceError: its high half changes with every look.
        """
        if not self.capabilities().is_wide:
            return self._in(COUNTER)
        high = self._in(COUNTER + 4)
        for _ in range(MOST_TRIES):
            low = self._in(COUNTER)
            again = self._in(COUNTER + 4)
            if again == high:
                return high << 32 | low
            high = again
        raise DeviceError(f"HPET at {self.base:#x}: the high half of the counter changes with every look, last {high:#x}")

    def set_counter(self, value: int) -> None:
        """Set it, while it is halted.

        Raises: RuntimeError: it runs; ValueError: the value does not fit.
        """
        bits = 64 if self.capabilities().is_wide else 32
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{value!r} does not fit the counter of {bits} bits")
        if self.is_enabled:
            raise RuntimeError("the HPET runs: disable() comes before set_counter()")
        self._out(COUNTER, value & 0xFFFFFFFF)
        if bits == 64:
            self._out(COUNTER + 4, value >> 32)

    # --- timers ---

    def timer(self, number: int) -> Timer:
        """One timer."""
        at = self._at(number)
        config, routes = self._in(at), self._in(at + ROUTES)
        return Timer(
            can_repeat=bool(config & CAN_PERIODIC),
            is_wide=bool(config & CAN_64) and not config & AS_32,
            routes=tuple(each for each in range(32) if routes >> each & 1),
            route=(config & ROUTE) >> 9,
            is_level=bool(config & LEVEL),
            is_periodic=bool(config & PERIODIC),
            is_enabled=bool(config & INTERRUPTS),
        )

    def route(self, number: int, to: int | None = None, *, level: bool = False) -> int:
        """Choose the input of the I/O APIC that a timer interrupts at, and stop it. The line, as interrupts come: that of input 2 is 0.

        With the legacy replacement the lines of the timers 0 and 1 are 0 and 8, whatever is chosen.

        Args:
            to: one of the timer's `routes`; None: the first of them.
            level: the line stays up until `acknowledge`.

        Raises: ValueError: no such timer, or not one of its routes; DeviceError: it has none, or does not keep it.
        """
        routes = self.timer(number).routes
        if to is None and not routes:
            raise DeviceError(f"HPET at {self.base:#x}: timer {number} can interrupt nowhere")
        chosen = routes[0] if to is None else to
        if chosen not in routes:
            raise ValueError(f"timer {number} of the HPET to {chosen!r}: expected one of {routes}")
        self._out(self._at(number), chosen << 9 | (LEVEL if level else 0))
        if self.timer(number).route != chosen:
            raise DeviceError(f"HPET at {self.base:#x}: timer {number} does not keep the route {chosen}: {self.timer(number).route}")
        if number < 2 and self._in(CONFIG) & LEGACY:
            return 8 * number
        return 0 if chosen == 2 else chosen

    def start(self, number: int, ticks: int) -> int:
        """Interrupt once, so many ticks from now. How many it is set to.

        These are more than `ticks` if that time has come before the timer was set, so that it was set again: only then there may be two
        interrupts. A timer of 32 bits interrupts each time that they have gone round, until `stop`.

        Args:
            ticks: 1 to 2^31 - 1; see `ticks`.

        Raises: ValueError; DeviceError: the counter is always further than the timer.
        """
        at = self._at(number)
        _check_ticks(ticks)
        config = self._in(at) & (LEVEL | ROUTE | CAN_64)
        for _ in range(MOST_TRIES):
            self._out(at, config)
            when = self.counter() + ticks
            self._out(at + COMPARATOR, when & 0xFFFFFFFF)
            if config & CAN_64:
                self._out(at + COMPARATOR + 4, when >> 32 & 0xFFFFFFFF)
            self._forget(number, config)
            self._out(at, config | INTERRUPTS)
            if self._is_ahead(when):
                return ticks
            ticks = min(2 * ticks, HALF - 1)
        raise self._never_ahead(number)

    def start_periodic(self, number: int, ticks: int) -> int:
        """Interrupt each time that so many ticks have gone. How many it is until the first time: more than `ticks` as of `start`.

        Its comparator is used as one of 32 bits (2.3.9.2.2).

        Raises: ValueError; DeviceError: this timer does not repeat, or the counter is always further than it.
        """
        at = self._at(number)
        _check_ticks(ticks)
        config = self._in(at) & (LEVEL | ROUTE | CAN_PERIODIC)
        if not config & CAN_PERIODIC:
            raise DeviceError(f"HPET at {self.base:#x}: timer {number} does not repeat")
        first = ticks
        for _ in range(MOST_TRIES):
            self._out(at, config | PERIODIC | SET_VALUE | AS_32)
            when = self.counter() + first
            self._out(at + COMPARATOR, when & 0xFFFFFFFF)
            self._out(at + COMPARATOR, ticks)
            self._forget(number, config)
            self._out(at, config | PERIODIC | AS_32 | INTERRUPTS)
            if self._is_ahead(when):
                return first
            first = min(2 * first, HALF - 1)
        raise self._never_ahead(number)

    def stop(self, number: int) -> None:
        """No interrupts of this timer any more."""
        at = self._at(number)
        self._out(at, self._in(at) & ~(INTERRUPTS | PERIODIC))

    def pending(self) -> tuple[int, ...]:
        """The timers whose level has risen, and was not acknowledged."""
        status = self._in(STATUS)
        return tuple(each for each in range(self.capabilities().timers) if status >> each & 1)

    def acknowledge(self, number: int) -> None:
        """Lower a timer's line, if it is level."""
        self._at(number)
        self._out(STATUS, 1 << number)

    def ticks(self, seconds: float) -> int:
        """So much time in ticks, rounded up."""
        return -int(-seconds * FEMTO // self.capabilities().period)

    def _forget(self, number: int, config: int) -> None:
        """A timer that does not interrupt has a status nevertheless, and would at once (2.3.8, Tn_INT_ENB_CNF)."""
        if config & LEVEL:
            self._out(STATUS, 1 << number)

    def _is_ahead(self, when: int) -> bool:
        bits = 64 if self.capabilities().is_wide else 32
        return 0 < (when - self.counter()) % (1 << bits) < 1 << bits - 1

    def _never_ahead(self, number: int) -> DeviceError:
        return DeviceError(f"HPET at {self.base:#x}: the counter is further than timer {number}, whatever that is set to")

    def _at(self, number: int) -> int:
        timers = self.capabilities().timers
        if type(number) is not int or not 0 <= number < timers:
            raise ValueError(f"{number!r} is no timer of the HPET: expected 0 to {timers - 1}")
        return TIMER + EACH * number

    def _in(self, register: int) -> int:
        return self.io.read32(self.base + register)

    def _out(self, register: int, value: int) -> None:
        self.io.write32(self.base + register, value)


def _check_ticks(ticks: int) -> None:
    if not 1 <= ticks < HALF:
        raise ValueError(f"{ticks!r} ticks: expected 1 to {HALF - 1}")
