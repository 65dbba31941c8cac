"""What servers tell their owners of may be sent, also to other nodes."""

from __future__ import annotations

from datetime import datetime
from itertools import chain
from typing import Any, get_args, get_type_hints

import pytest

from beamlike import pack, unpack
from drivers.devices import ne2000, virtio_net
from drivers.devices.ata import AtaDisk
from drivers.devices.floppy import Floppy
from drivers.devices.keyboard import Keyboard, Led
from drivers.devices.mouse import Buttons, Mouse, MouseEvent, MouseState
from drivers.devices.pit import Mode, Pit, Speaker, Status
from drivers.devices.rtc import Alarm, Cause, Rtc
from drivers.devices.scancodes import Key, KeyEvent, Modifiers
from drivers.devices.uart import Event, LineFault, Modem, Parity, Received, Uart
from drivers.devices.vga import Rgb, Vga
from drivers.devices.virtio_blk import VirtioBlk
from drivers.servers import kinds
from drivers.servers.device import DeviceData, Kind

EVENTS = [
    Event(Received(b"ab", ((0, LineFault.PARITY | LineFault.OVERRUN),)), 16, Modem.CTS | Modem.RING),
    KeyEvent(Key.PAUSE, True, False, Modifiers.SHIFT | Modifiers.NUM),
    MouseEvent(-3, 4, 1, Buttons.LEFT | Buttons.EXTRA, False),
    Cause(0x50),
]
VALUES = [
    *(Alarm(14, None, 5), Rgb(1, 2, 63), Led.NUM | Led.CAPS, Mode.SQUARE_WAVE, Status(True, False, Mode.RATE, False), Parity.EVEN),
    *(MouseState(Buttons.LEFT, True, False, False, 4, 100), ne2000.Statistics(1, 2), virtio_net.Statistics(3), Cause.ALARM, Modem.CTS),
    datetime(2026, 11, 30, 12),
]
DRIVERS: dict[str, list[type]] = {
    "timer": [Pit],
    "speaker": [Speaker],
    "clock": [Rtc],
    "serial": [Uart],
    "keyboard": [Keyboard],
    "mouse": [Mouse],
    "vga": [Vga],
    "disk": [AtaDisk, Floppy, VirtioBlk],
    "network": [ne2000.Ne2000, virtio_net.VirtioNet],
}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_out_as_it_went_in(event: Any) -> None:
    assert unpack(pack(DeviceData("it", event))) == DeviceData("it", event)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_owners_give_and_get_by_commands_comes_out_as_it_went_in(value: Any) -> None:
    found = unpack(pack(value))
    assert (type(found), found) == (type(value), value)


def leaves(hint: Any) -> set[Any]:
    """The classes that a type is made of."""
    return set(chain.from_iterable(leaves(each) for each in get_args(hint))) or {hint}


@pytest.mark.parametrize("kind", [each for each in vars(kinds).values() if isinstance(each, Kind)], ids=lambda kind: kind.name)
def test_whatever_a_command_takes_and_gives_is_tried_above(kind: Kind) -> None:
    methods = [getattr(driver, each) for driver in DRIVERS[kind.name] for each in kind.commands if each != "size"]
    named = set(chain.from_iterable(leaves(hint) for method in methods for hint in get_type_hints(method).values()))
    assert {each for each in named if each.__module__ not in ("builtins", "types")} <= {type(each) for each in VALUES}
