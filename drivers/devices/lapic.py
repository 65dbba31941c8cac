"""Local APIC: what a processor gets its interrupts from, a timer of its own, and interrupts from one processor to another.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, "Advanced Programmable Interrupt Controller (APIC)".

Covers: the xAPIC's registers in memory: version, enabling, the spurious vector, end of interrupt, priorities, what is requested and in
service, local vectors, the timer once and periodically with its divider, how fast it is, messages to processors, errors. Not: the x2APIC
and the TSC deadline, which are in model-specific registers; whether the APIC is there at all is in one, too (IA32_APIC_BASE).

Each processor sees its own one at this address, so the accesses must be those of the processor that is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from functools import partial
from typing import Final, NamedTuple

from drivers.devices.hpet import Hpet
from drivers.devices.pit import HERTZ, Mode, Pit
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

BASE: Final = 0xFEE00000

ID, VERSION, TPR, PPR, END, SPURIOUS, IN_SERVICE, REQUESTED, ERRORS = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xF0, 0x100, 0x200, 0x280
ICR, ICR_HIGH, INITIAL, CURRENT, DIVIDE = 0x300, 0x310, 0x380, 0x390, 0x3E0
IS_ENABLED, IS_SENDING, ACTIVE_LOW, LEVEL, IS_MASKED, IS_PERIODIC = 0x100, 0x1000, 0x2000, 0x8000, 0x10000, 0x20000
ASSERT: Final = 0x4000  # ICR
DIVIDERS: Final = {1: 0b1011, 2: 0b0000, 4: 0b0001, 8: 0b0010, 16: 0b0011, 32: 0b1000, 64: 0b1001, 128: 0b1010}
FIRST_VECTOR: Final = 16  # those below are illegal
SPEAKER_PORT, SPEAKER_GATE, SPEAKER_DATA = 0x61, 0x01, 0x02

TRIES: Final = 200  # of a measurement that others held up: beside three busy processes on two cores one in twelve was good
MOST_SLACK: Final = 0.1  # of its time, that passes while the two counters are read


class Delivery(IntEnum):
    """What an interrupt does to the processor, of I/O and local APICs."""

    FIXED = 0
    """It takes the vector."""
    LOWEST = 1
    """Of the processors that it is for, the one with the lowest priority takes the vector."""
    SMI = 2
    NMI = 4
    INIT = 5
    STARTUP = 6
    """The vector is the page where the processor begins; only from processor to processor."""
    EXTERNAL = 7
    """The vector is asked from an 8259."""


class To(IntEnum):
    """For whom a message is, as the interrupt command register has it; instead of one destination."""

    SELF = 1
    ALL = 2
    OTHERS = 3


class Local(IntEnum):
    """Sources of the processor's own, by their registers."""

    TIMER = 0x320
    THERMAL = 0x330
    PERFORMANCE = 0x340
    LINT0 = 0x350
    """On a PC the 8259."""
    LINT1 = 0x360
    """On a PC the NMI."""
    ERROR = 0x370


class Problem(IntFlag):
    """What it has noted, as the error status register has it."""

    NONE = 0
    SEND_CHECKSUM = 0x01
    RECEIVE_CHECKSUM = 0x02
    SEND_ACCEPT = 0x04
    RECEIVE_ACCEPT = 0x08
    REDIRECTABLE = 0x10
    SENT_ILLEGAL_VECTOR = 0x20
    RECEIVED_ILLEGAL_VECTOR = 0x40
    ILLEGAL_REGISTER = 0x80


class Version(NamedTuple):
    """What it is."""

    number: int
    local_vectors: int


class Lapic:
    """The local APIC of the processor that makes the accesses."""

    def __init__(self, io: IoSpace, base: int = BASE) -> None:
        self.io = io
        self.base = base

    def version(self) -> Version:
        """Which it is. Raises: DeviceAbsentError: what answers is no local APIC of today, or nothing does."""
        found = self._in(VERSION)
        if not 0x10 <= found & 0xFF < 0x20:
            raise DeviceAbsentError(f"no local APIC at {self.base:#x}: its version is {found:#x}, expected 0x10 to 0x1f")
        return Version(found & 0xFF, (found >> 16 & 0xFF) + 1)

    @property
    def number(self) -> int:
        """Of this processor: its APIC ID."""
        return self._in(ID) >> 24

    # --- interrupts ---

    def enable(self, spurious: int = 0xFF) -> None:
        """Accept interrupts.

        Args:
            spurious: the vector of an interrupt that is no more when the processor asks for it. It has no end.

        Raises: ValueError: no such vector; DeviceAbsentError; DeviceError: it does not keep that.
        """
        _check_vector(spurious)
        self.version()
        self._out(SPURIOUS, IS_ENABLED | spurious)
        if self._in(SPURIOUS) & 0x1FF != IS_ENABLED | spurious:
            raise DeviceError(f"local APIC at {self.base:#x}: it does not stay enabled: {self._in(SPURIOUS):#x}")

    def disable(self) -> None:
        """Accept no interrupts but NMI, INIT and the like. All local sources are masked, and stay so."""
        self._out(SPURIOUS, self._in(SPURIOUS) & 0xFF)

    @property
    def is_enabled(self) -> bool:
        """Does it accept interrupts?"""
        return bool(self._in(SPURIOUS) & IS_ENABLED)

    def end(self) -> None:
        """The interrupt in service with the highest priority has been handled."""
        self._out(END, 0)

    @property
    def priority(self) -> int:
        """Of the task, 0 to 255: only vectors of a higher sixteen interrupt the processor."""
        return self._in(TPR) & 0xFF

    @priority.setter
    def priority(self, value: int) -> None:
        if not 0 <= value <= 0xFF:
            raise ValueError(f"a priority of {value!r}: expected 0 to 255")
        self._out(TPR, value)

    @property
    def processor_priority(self) -> int:
        """The higher one of that of the task, and of what is in service."""
        return self._in(PPR) & 0xFF

    def requested(self) -> tuple[int, ...]:
        """The vectors that wait for the processor, lowest first."""
        return self._bits(REQUESTED)

    def in_service(self) -> tuple[int, ...]:
        """The vectors that the processor has taken and not ended, lowest first."""
        return self._bits(IN_SERVICE)

    def is_requested(self, vector: int) -> bool:
        """Does this vector wait for the processor?"""
        _check_vector(vector)
        return bool(self._in(REQUESTED + (vector >> 5) * 0x10) >> (vector & 31) & 1)

    def errors(self) -> Problem:
        """What was noted since the last time."""
        self._out(ERRORS, 0)  # it shows what came until this write
        return Problem(self._in(ERRORS) & 0xFF)

    # --- the processor's own sources ---

    def connect(
        self, source: Local, vector: int, delivery: Delivery = Delivery.FIXED, *, level: bool = False, active_low: bool = False
    ) -> None:
        """Let a source interrupt. The timer goes on in its mode.

        Args:
            level, active_low: of LINT0 and LINT1.

        Raises: ValueError; DeviceError: it stays masked, because the APIC is disabled.
        """
        _check_vector(vector, delivery)
        if (level or active_low) and source not in (Local.LINT0, Local.LINT1):
            raise ValueError(f"{source.name} has neither level nor polarity: expected LINT0 or LINT1")
        if delivery is not Delivery.FIXED and source in (Local.TIMER, Local.ERROR):
            raise ValueError(f"{source.name} delivers {delivery.name}: expected FIXED")
        mode = self._in(source) & IS_PERIODIC if source is Local.TIMER else 0
        self._out(source, vector | delivery << 8 | (ACTIVE_LOW if active_low else 0) | (LEVEL if level else 0) | mode)
        if self._in(source) & IS_MASKED:
            raise DeviceError(f"local APIC at {self.base:#x}: {source.name} stays masked; is it enabled?")

    def mask(self, source: Local) -> None:
        """A source interrupts no more."""
        self._out(source, self._in(source) | IS_MASKED)

    # --- timer ---

    def start(self, ticks: int, vector: int, divider: int = 1) -> None:
        """Interrupt once, so many divided ticks from now.

        Args:
            ticks: 1 to 2^32 - 1.
            divider: a power of 2, up to 128.

        Raises: ValueError; DeviceError: the APIC is disabled.
        """
        self._start(ticks, vector, divider, 0)

    def start_periodic(self, ticks: int, vector: int, divider: int = 1) -> None:
        """Interrupt each time that so many divided ticks have gone. As `start`."""
        self._start(ticks, vector, divider, IS_PERIODIC)

    def _start(self, ticks: int, vector: int, divider: int, mode: int) -> None:
        _check_vector(vector)
        if not 1 <= ticks < 1 << 32:
            raise ValueError(f"{ticks!r} ticks: expected 1 to {(1 << 32) - 1}")
        self._stop_and_divide(divider)
        self._out(Local.TIMER, mode | vector)
        if self._in(Local.TIMER) & IS_MASKED:
            raise DeviceError(f"local APIC at {self.base:#x}: its timer stays masked; is it enabled?")
        self._out(INITIAL, ticks)

    def stop(self) -> None:
        """The timer stands still."""
        self._out(INITIAL, 0)

    def left(self) -> int:
        """Divided ticks until the timer's next interrupt; 0: it stands still."""
        return self._in(CURRENT)

    async def calibrate(self, clock: Hpet | Pit, seconds: float = 0.02) -> float:
        """How many undivided ticks there are in a second, measured by another clock. The timer stands still after it, masked.

        Args:
            clock: an HPET that runs; of a PIT its counter 2 is used, and the speaker is silent.
            seconds: for so long; by the PIT at most 0.05.

        Raises: ValueError; DeviceError: either of them stands still, or this was held up each time; DeviceTimeoutError: the other clock
            stands still.
        """
        now: Callable[[], int]
        if isinstance(clock, Pit):
            if not 0 < seconds <= 0.05:
                raise ValueError(f"{seconds} s: expected up to 0.05 by a PIT, whose counter goes round in 0.0549 s")
            gate = self.io.inb(SPEAKER_PORT) & 0x0F & ~SPEAKER_DATA
            self.io.outb(SPEAKER_PORT, gate | SPEAKER_GATE)
            clock.start(2, Mode.RATE, 65536)
            hertz, now, modulus = float(HERTZ), lambda: -clock.read(2), 1 << 16
        else:
            if not 0 < seconds <= 1:
                raise ValueError(f"{seconds} s: expected up to 1 s")
            hertz, now, modulus = clock.hertz, clock.counter, 1 << 32
        for _ in range(TRIES):
            self._stop_and_divide(1)
            self._out(Local.TIMER, IS_MASKED)
            await self.io.pause(1e-6)  # a counter of the PIT begins with the next pulse of its clock
            self._out(INITIAL, 0xFFFFFFFF)
            begun = self.io.now()
            first, mine, slack = now(), self.left(), now()
            slack -= first
            await self.io.until(partial(_has_passed, now, first, modulus, seconds * hertz), 10 * seconds + 1, "the clock to measure by")
            last, gone, end = now(), mine - self.left(), now()
            slack += end - last
            took = self.io.now() - begun
            self.stop()
            passed = (last - first) % modulus
            if gone <= 0:
                raise DeviceError(f"local APIC at {self.base:#x}: its timer stands still: {gone} ticks in {passed / hertz:g} s")
            if took * hertz < modulus and slack % modulus <= passed * MOST_SLACK:
                return gone * hertz / passed
        raise DeviceError(
            f"local APIC at {self.base:#x}: each of {TRIES} measurements of its timer was held up, the last one for {took:g} s"
        )

    def _stop_and_divide(self, divider: int) -> None:
        if divider not in DIVIDERS:
            raise ValueError(f"a divider of {divider!r}: expected a power of 2 from 1 to 128")
        self._out(INITIAL, 0)
        self._out(DIVIDE, DIVIDERS[divider])

    # --- messages ---

    async def send(self, to: To | int, vector: int, delivery: Delivery = Delivery.FIXED, timeout: float = 0.1) -> None:
        """Interrupt processors, and wait until the message is on its way. It is not known whether anybody has got it.

        Args:
            to: a processor's number, or `To`.
            vector: of STARTUP the page below 1 MiB where the processor begins; of NMI, INIT and SMI it says nothing: 0.

        Raises: ValueError; DeviceTimeoutError: this message, or the one before, is not sent.
        """
        _check_vector(vector, delivery)
        if not isinstance(to, To) and not 0 <= to <= 0xFF:
            raise ValueError(f"a message to {to!r}: expected To, or a processor's number from 0 to 255")
        if isinstance(to, To) and to is not To.OTHERS and delivery is not Delivery.FIXED:
            raise ValueError(f"{delivery.name} to {to.name}: expected FIXED")
        await self._sent(timeout)
        if not isinstance(to, To):
            self._out(ICR_HIGH, to << 24)
        self._out(ICR, (to << 18 if isinstance(to, To) else 0) | ASSERT | delivery << 8 | vector)
        await self._sent(timeout)

    async def _sent(self, timeout: float) -> None:
        await self.io.until(lambda: not self._in(ICR) & IS_SENDING, timeout, f"local APIC at {self.base:#x}: a message sent")

    # --- registers ---

    def _bits(self, register: int) -> tuple[int, ...]:
        words = [self._in(register + 0x10 * each) for each in range(8)]
        return tuple(vector for vector in range(256) if words[vector >> 5] >> (vector & 31) & 1)

    def _in(self, register: int) -> int:
        return self.io.read32(self.base + register)

    def _out(self, register: int, value: int) -> None:
        self.io.write32(self.base + register, value)


def _check_vector(vector: int, delivery: Delivery = Delivery.FIXED) -> None:
    least = FIRST_VECTOR if delivery in (Delivery.FIXED, Delivery.LOWEST) else 0
    if not least <= vector <= 0xFF:
        raise ValueError(f"a vector of {vector!r}: expected {least} to 255 of {delivery.name}")


def _has_passed(now: Callable[[], int], first: int, modulus: int, ticks: float) -> bool:
    """Is a clock that wraps so many ticks further than at first?"""
    return (now() - first) % modulus >= ticks
