"""PS/2 mouse, with the wheel and the side buttons of Microsoft's.

Source: IBM Personal System/2 Mouse Technical Reference (S68X-2229); Microsoft, IntelliMouse and IntelliMouse Explorer: three sample rates
one after the other unlock the identities 3 and 4.

Covers: reset, identity, wheel and side buttons, sample rate, resolution, scaling, state, reports in stream mode with signs and overflows,
the beginning of a report found again after a byte was lost. Not: remote mode, wrap mode.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from beamlike import record
from drivers.devices.i8042 import I8042, Port
from drivers.errors import DeviceError

SCALE_1, SCALE_2, SET_RESOLUTION, STATE = 0xE6, 0xE7, 0xE8, 0xE9
IDENTIFY, SET_RATE, ENABLE, DISABLE = 0xF2, 0xF3, 0xF4, 0xF5
RESET_TIMEOUT: Final = 2.0  # seconds; 500 ms are usual
PASSED: Final = b"\xaa\x00"
RATES: Final = (10, 20, 40, 60, 80, 100, 200)
RESOLUTIONS: Final = (1, 2, 4, 8)


class Kind(IntEnum):
    """What mice call themselves."""

    PLAIN = 0
    WHEEL = 3
    EXPLORER = 4
    """With a wheel and two more buttons."""


SIZES: Final = {Kind.PLAIN: 3, Kind.WHEEL: 4, Kind.EXPLORER: 4}
KNOCKS: Final = {Kind.WHEEL: (200, 100, 80), Kind.EXPLORER: (200, 200, 80)}
ALWAYS: Final = 0x08  # in the first byte of a report
NEVER: Final = 0xC0  # in the last one of an Explorer


@record
class Buttons(IntFlag):
    """Those that are held."""

    LEFT = 1
    RIGHT = 2
    MIDDLE = 4
    SIDE = 8
    EXTRA = 16


@record
class MouseEvent:
    """A report: how far it went since the one before, to the right and upwards, and turned its wheel, towards the user."""

    dx: int
    dy: int
    wheel: int
    buttons: Buttons
    is_overflow: bool
    """It went further than it can say."""


@record
class MouseState:
    """What a mouse tells of itself."""

    buttons: Buttons
    is_enabled: bool
    is_doubled: bool
    is_remote: bool
    resolution: int
    """Counts a millimetre."""
    rate: int
    """Reports a second."""


class MouseDecoder:
    """From bytes to reports. Pure; `Mouse` does what must be done when `is_lost`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.is_lost = False
        """A byte came that can't be at its place: one before it was lost. Nothing is decoded until `begin`."""
        self._bytes = bytearray()

    def begin(self) -> None:
        """The next byte is the first one of a report."""
        self.is_lost = False
        self._bytes.clear()

    def feed(self, byte: int) -> MouseEvent | None:
        """The report that this byte completes."""
        if self.is_lost:
            return None
        self._bytes.append(byte)
        size = len(self._bytes)
        is_last = size == SIZES[self.kind]
        if (size == 1 and not byte & ALWAYS) or (is_last and self.kind is Kind.EXPLORER and byte & NEVER):
            self.is_lost = True
            return None
        if not is_last:
            return None
        first, x, y, *more = self._bytes
        self._bytes.clear()
        buttons, wheel = first & 7, 0
        if self.kind is Kind.WHEEL:
            wheel = more[0] - (more[0] >> 7 << 8)
        elif self.kind is Kind.EXPLORER:
            wheel = (more[0] & 15) - (more[0] & 8) * 2
            buttons |= more[0] >> 1 & 0x18
        return MouseEvent(x - (first << 4 & 0x100), y - (first << 3 & 0x100), wheel, Buttons(buttons), bool(first & 0xC0))


class Mouse:
    """A mouse on a port of the controller, which has been started. `start` comes first."""

    def __init__(self, controller: I8042, port: Port = Port.AUX) -> None:
        self.controller = controller
        self.port = port
        self.kind = Kind.PLAIN
        self.resyncs = 0
        """How often the beginning of a report had to be found again."""
        self._decoder = MouseDecoder(self.kind)
        self._is_enabled = False

    async def start(self, *, rate: int = 100) -> Kind:
        """Reset it, find out what it can do, and let it send reports. Its kind.

        Raises: as `reset`, `set_rate` and `unlock`.
        """
        _check_rate(rate)
        await self.reset()
        kind = await self.unlock()
        await self.set_rate(rate)
        await self.enable()
        return kind

    async def reset(self) -> None:
        """Let it test itself; it is silent then, and a plain one.

        Raises: DeviceError: its test fails; DeviceTimeoutError, DeviceAbsentError: as `I8042.command`.
        """
        await self.controller.self_test_of(self.port, PASSED, RESET_TIMEOUT)
        self._is_enabled = False
        self.kind = Kind.PLAIN
        self._decoder = MouseDecoder(self.kind)

    async def identify(self) -> Kind:
        """What it calls itself now. Raises: DeviceError: something unknown; as `I8042.command`."""
        found = (await self._command(IDENTIFY, answers=1))[0]
        if found not in list(Kind):
            raise DeviceError(f"the mouse calls itself {found:#04x}: expected {', '.join(f'{kind:#04x}' for kind in Kind)}")
        return Kind(found)

    async def unlock(self, most: Kind = Kind.EXPLORER) -> Kind:
        """Unlock its wheel, and its side buttons, if it has some. What it is now; its sample rate is 80.

        Args:
            most: try no more than this.

        Raises: as `identify`.
        """
        for kind, rates in KNOCKS.items():
            if kind > most:
                break
            for rate in rates:
                await self._command(SET_RATE, rate)
            found = await self.identify()
            if found is Kind.PLAIN:
                break
            self.kind = found
        self._decoder = MouseDecoder(self.kind)
        return self.kind

    async def set_rate(self, rate: int) -> None:
        """So many reports a second, at most. Raises: ValueError: not 10, 20, 40, 60, 80, 100 or 200; as `I8042.command`."""
        _check_rate(rate)
        await self._command(SET_RATE, rate)

    async def set_resolution(self, counts: int) -> None:
        """So many counts a millimetre. Raises: ValueError: not 1, 2, 4 or 8; as `I8042.command`."""
        if counts not in RESOLUTIONS:
            raise ValueError(f"{counts!r} counts a millimetre: expected one of {RESOLUTIONS}")
        await self._command(SET_RESOLUTION, RESOLUTIONS.index(counts))

    async def set_scaling(self, is_doubled: bool) -> None:
        """Count fast moves double, or as they are. Raises: as `I8042.command`."""
        await self._command(SCALE_2 if is_doubled else SCALE_1)

    async def state(self) -> MouseState:
        """How it is set. Raises: DeviceError: a resolution that is none; as `I8042.command`."""
        is_enabled = self._is_enabled
        flags, resolution, rate = await self._command(STATE, answers=3)
        if resolution >= len(RESOLUTIONS):
            raise DeviceError(f"the mouse says {resolution} for its resolution: expected 0 to 3")
        buttons = Buttons(flags >> 2 & 1 | flags << 1 & 2 | flags << 1 & 4)  # left, middle, right there
        return MouseState(buttons, is_enabled, bool(flags & 0x10), bool(flags & 0x40), RESOLUTIONS[resolution], rate)

    async def enable(self) -> None:
        """Let it send reports. Raises: as `I8042.command`."""
        await self._silence()
        await self._send()

    async def disable(self) -> None:
        """No reports any more; those that have come are dropped. Raises: as `I8042.command`."""
        await self._silence()

    def poll(self) -> MouseEvent | None:
        """The next report; None: there is none now, or the beginning was lost: `is_lost`."""
        while not self._decoder.is_lost and (byte := self.controller.take(self.port)) is not None:
            if event := self._decoder.feed(byte):
                return event
        return None

    @property
    def is_lost(self) -> bool:
        """Must `resync` be called? `read` does it by itself."""
        return self._decoder.is_lost

    async def resync(self) -> None:
        """Find the beginning of a report again: stop it, drop what has come, and let it send. Raises: as `I8042.command`."""
        self.resyncs += 1
        await self.enable()

    async def read(self, timeout: float) -> MouseEvent:
        """Wait for the next report. After a lost byte those that had come are lost, too, and the next one is right.

        Raises: DeviceTimeoutError: no report within so many seconds; as `I8042.command`.
        """
        io = self.controller.io
        deadline = io.now() + timeout
        while True:
            event = await io.until(lambda: self.poll() or self.is_lost, timeout, "a report of the mouse")
            if isinstance(event, MouseEvent):
                return event
            await self.resync()
            timeout = max(deadline - io.now(), 0)

    async def _command(self, *values: int, answers: int = 0) -> bytes:
        """While it is silent: the bytes of a report may look as an acknowledgement."""
        was_enabled = self._is_enabled
        if was_enabled:
            await self._silence()
        found = await self.controller.command(self.port, *values, answers=answers)
        if was_enabled:
            await self._send()
        return found

    async def _silence(self) -> None:
        await self.controller.command(self.port, DISABLE)
        self._is_enabled = False
        while self.controller.take(self.port) is not None:
            pass
        self._decoder.begin()

    async def _send(self) -> None:
        await self.controller.command(self.port, ENABLE)
        self._is_enabled = True


def _check_rate(rate: int) -> None:
    if rate not in RATES:
        raise ValueError(f"{rate!r} reports a second: expected one of {RATES}")
