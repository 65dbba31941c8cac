"""What servers tell their owners of may be sent, also to other nodes."""

from __future__ import annotations

from typing import Any

import pytest

from beamlike import pack, unpack
from drivers.devices.keyboard import Led
from drivers.devices.mouse import Buttons, MouseEvent
from drivers.devices.rtc import Alarm, Cause
from drivers.devices.scancodes import Key, KeyEvent, Modifiers
from drivers.devices.uart import Event, LineFault, Modem, Received
from drivers.devices.vga import Rgb
from drivers.servers.device import DeviceData

EVENTS = [
    Event(Received(b"ab", ((0, LineFault.PARITY | LineFault.OVERRUN),)), 16, Modem.CTS | Modem.RING),
    KeyEvent(Key.PAUSE, True, False, Modifiers.SHIFT | Modifiers.NUM),
    MouseEvent(-3, 4, 1, Buttons.LEFT | Buttons.EXTRA, False),
    Cause(0x50),
]
VALUES = [Alarm(14, None, 5), Rgb(1, 2, 63), Led.NUM | Led.CAPS]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_out_as_it_went_in(event: Any) -> None:
    assert unpack(pack(DeviceData("it", event))) == DeviceData("it", event)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_owners_give_and_get_by_commands_comes_out_as_it_went_in(value: Any) -> None:
    found = unpack(pack(value))
    assert (type(found), found) == (type(value), value)
