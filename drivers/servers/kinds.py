"""The kinds of devices: what an owner may ask for, and what an interrupt brings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Protocol

from drivers.devices.floppy import Floppy
from drivers.devices.keyboard import Keyboard
from drivers.devices.mouse import Mouse
from drivers.devices.pit import Pit, Speaker
from drivers.devices.rtc import Cause, Rtc
from drivers.devices.uart import Event, Modem, Uart
from drivers.servers.device import Kind


async def _timer(pit: Pit) -> list[str]:
    return ["tick"]


async def _clock(rtc: Rtc) -> list[Cause]:
    happened = rtc.happened()
    return [happened] if happened else []


async def _serial(uart: Uart) -> list[Event]:
    event = uart.interrupt()
    return [event] if event.received.data or event.received.faults or event.changed is not Modem.NONE else []


async def _keyboard(keyboard: Keyboard) -> list[Any]:
    return list(iter(keyboard.poll, None))


async def _mouse(mouse: Mouse) -> list[Any]:
    found = list(iter(mouse.poll, None))
    if mouse.is_lost:
        await mouse.resync()
    return found


class NetworkDriver(Protocol):
    """What the drivers of network interfaces have in common."""

    async def frames(self) -> list[bytes]:
        """After an interrupt: all that have come."""

    async def send(self, frame: bytes) -> None:
        """Send one."""

    def statistics(self) -> Any:
        """How many."""


async def _network(card: NetworkDriver) -> list[bytes]:
    return await card.frames()


TIMER: Final = Kind("timer", frozenset({"start", "start_periodic", "read", "status"}), _timer)
SPEAKER: Final = Kind("speaker", frozenset({"play", "stop"}), idle=Speaker.stop)
CLOCK: Final = Kind("clock", frozenset({"read", "set", "set_alarm", "alarm", "set_rate", "enable", "disable"}), _clock)
SERIAL: Final = Kind("serial", frozenset({"configure", "write", "try_write", "room", "drain", "lines", "set_lines", "send_break"}), _serial)
KEYBOARD: Final = Kind("keyboard", frozenset({"set_leds", "set_typematic", "identify"}), _keyboard)
MOUSE: Final = Kind("mouse", frozenset({"set_rate", "set_resolution", "set_scaling", "state"}), _mouse)
VGA: Final = Kind(
    "vga",
    frozenset(
        {
            *("put", "write", "clear", "scroll", "text", "cell", "move_cursor", "cursor", "shape_cursor", "show_cursor"),
            *("set_palette", "palette", "set_dac", "dac", "set_blink", "is_blinking", "load_font", "glyph"),
        }
    ),
)
DISK: Final = Kind("disk", frozenset({"read", "write", "flush", "size"}), has_blocks=True)
FLOPPY: Final = replace(DISK, idle=Floppy.stop_motor)
NETWORK: Final = Kind("network", frozenset({"send", "statistics"}), _network, has_frames=True)
