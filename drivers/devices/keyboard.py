"""PS/2 keyboard.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)" (1988).

Covers: reset, identity, scan code sets 1 and 2 with the controller's translation on or off, LEDs, the rate of repetition, keys as events.
`scancodes` and `layouts` make events and text of the bytes. Not: set 3.
"""

from __future__ import annotations

from collections import deque
from enum import IntFlag
from typing import Final

from beamlike import record
from drivers.devices.i8042 import I8042, Port
from drivers.devices.scancodes import Decoder, KeyEvent
from drivers.errors import DeviceError

SET_LEDS, SCAN_SET, IDENTIFY, SET_TYPEMATIC, ENABLE, DISABLE = 0xED, 0xF0, 0xF2, 0xF3, 0xF4, 0xF5
RESET_TIMEOUT: Final = 2.0  # seconds; 500 ms are usual
PASSED: Final = b"\xaa"
DELAYS: Final = (0.25, 0.5, 0.75, 1.0)
RATES: Final = tuple(1 / ((8 + (code & 7)) * 2 ** (code >> 3) * 0.00417) for code in range(32))  # 30 to 2 a second
SETS: Final = {1: 1, 2: 2, 0x43: 1, 0x41: 2}  # the number, and as it is when it was translated


@record
class Led(IntFlag):
    """Of the keyboard."""

    SCROLL = 1
    NUM = 2
    CAPS = 4


class Keyboard:
    """A keyboard on a port of the controller, which has been started. It begins as after a reset: it sends, with scan codes of set 2."""

    def __init__(self, controller: I8042, port: Port = Port.KEYBOARD) -> None:
        self.controller = controller
        self.port = port
        self.decoder = Decoder(self._seen(2))
        self._events: deque[KeyEvent] = deque()

    def _seen(self, scan_set: int) -> int:
        """As which set its codes arrive."""
        return 1 if self.controller.translates else scan_set

    async def reset(self) -> None:
        """Let it test itself; it sends again then, with set 2. What was typed before is lost.

        Raises: DeviceError: its test fails; DeviceTimeoutError, DeviceAbsentError: as `I8042.command`.
        """
        await self.controller.self_test_of(self.port, PASSED, RESET_TIMEOUT)
        self._events.clear()
        self.decoder = Decoder(self._seen(2))

    async def identify(self) -> bytes:
        """The two bytes of its identity: `ab 83` is a usual one, and `ab 41` the same with translation. Raises: as `I8042.command`."""
        return await self.controller.command(self.port, IDENTIFY, answers=2)

    async def use_set(self, scan_set: int) -> None:
        """Let it send other codes.

        Raises:
            ValueError: neither 1 nor 2; or not 2 while the controller translates: it does that with set 2 only.
            DeviceError: it goes on with another one; as `I8042.command`.
        """
        if scan_set not in (1, 2):
            raise ValueError(f"scan code set {scan_set!r}: expected 1 or 2")
        if self.controller.translates and scan_set != 2:
            raise ValueError(
                "the controller translates, and so the keyboard must use set 2: start(translate=False), or change its configuration"
            )
        await self.controller.command(self.port, SCAN_SET, scan_set)
        if (found := await self.scan_set()) != scan_set:
            raise DeviceError(f"the keyboard uses scan code set {found}, though it was told {scan_set}")
        self.decoder.use(self._seen(scan_set))

    async def scan_set(self) -> int:
        """The set that it uses. Raises: DeviceError: one that is none; as `I8042.command`."""
        found = (await self.controller.command(self.port, SCAN_SET, 0, answers=1))[0]
        if found not in SETS:
            raise DeviceError(
                f"the keyboard says {found:#04x} for its scan code set: expected {', '.join(f'{each:#04x}' for each in SETS)}"
            )
        return SETS[found]

    async def set_leds(self, leds: Led) -> None:
        """Let these shine, and no others. Raises: ValueError: there is no such LED; as `I8042.command`."""
        if not 0 <= leds <= 7:
            raise ValueError(f"LEDs {leds!r}: expected some of {', '.join(led.name or '' for led in Led)}")
        await self.controller.command(self.port, SET_LEDS, int(leds))

    async def set_typematic(self, delay: float, rate: float) -> tuple[float, float]:
        """How a key that is held repeats: after `delay` seconds, `rate` times a second. What the keyboard can do that is nearest.

        Raises: ValueError: not more than 0; as `I8042.command`.
        """
        if not (delay > 0 and rate > 0):
            raise ValueError(f"a delay of {delay!r} s and {rate!r} a second: expected both more than 0")
        slow = min(range(4), key=lambda code: abs(DELAYS[code] - delay))
        fast = min(range(32), key=lambda code: abs(RATES[code] - rate))
        await self.controller.command(self.port, SET_TYPEMATIC, slow << 5 | fast)
        return DELAYS[slow], RATES[fast]

    async def enable(self) -> None:
        """Let it send keys. Raises: as `I8042.command`."""
        await self.controller.command(self.port, ENABLE)

    async def disable(self) -> None:
        """No keys any more. It goes back to set 2 and its usual rate, too, and no key is held then. Raises: as `I8042.command`."""
        await self.controller.command(self.port, DISABLE)
        self.decoder.use(self._seen(2))

    def poll(self) -> KeyEvent | None:
        """The next event; None: there is none now. After an interrupt there may be several, and a key may need several interrupts."""
        while not self._events:
            byte = self.controller.take(self.port)
            if byte is None:
                return None
            self._events += self.decoder.feed(byte)
        return self._events.popleft()

    async def read(self, timeout: float) -> KeyEvent:
        """Wait for the next event. Raises: DeviceTimeoutError: no key within so many seconds."""
        event = await self.controller.io.until(self.poll, timeout, "a key")
        assert event is not None  # until returns what is true
        return event
