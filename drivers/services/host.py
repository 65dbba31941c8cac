"""A machine with a console, and the host's end of that as a byte stream: the wire of the serial port, or what a person at the screen does.

For the screen: what is on it is drawn by control sequences, without colours, and what is typed becomes strokes on its keyboard.
"""

from __future__ import annotations

import socket
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from beamlike import sleep, spawn_link
from drivers.devices.layouts import FIXED, LAYOUTS, SPACING, Layout
from drivers.devices.scancodes import Key
from drivers.devices.vga import Vga
from drivers.models.i8042 import I8042Model
from drivers.models.uart import LONGEST, UartModel
from drivers.models.vga import VgaModel
from drivers.portbus import PortBus
from drivers.qemu import Qemu
from drivers.servers.device import Device
from drivers.servers.finding import find_devices
from drivers.services.editing import Action, AnsiKeys
from drivers.space import IoSpace

TICK: Final = 0.005  # seconds between two looks at what a model has for its host, or was typed
STROKE: Final = 0.02  # seconds for the bytes of a stroke, which a keyboard sends one after the other
LOOK: Final = 8  # ticks between two looks at the screen
PIECE: Final = 64  # bytes that a wire gets in a tick: more than it carries in one
CLEAR: Final = "\x1b[2J"
STROKES: Final = {
    Action.ENTER: (Key.ENTER,),
    Action.INTERRUPT: (Key.LEFT_CTRL, Key.C),
    Action.CLOSE: (Key.LEFT_CTRL, Key.D),
    Action.CLEAR: (Key.LEFT_CTRL, Key.U),
    Action.BACKSPACE: (Key.BACKSPACE,),
    Action.DELETE: (Key.DELETE,),
    Action.LEFT: (Key.LEFT,),
    Action.RIGHT: (Key.RIGHT,),
    Action.HOME: (Key.HOME,),
    Action.END: (Key.END,),
    Action.UP: (Key.UP,),
    Action.DOWN: (Key.DOWN,),
}

Stroke = tuple[Key, ...]
"""Keys that are pressed in this order, and released in the other one."""


@dataclass(frozen=True)
class ConsoleMachine:
    """A machine with a console. It ends with the process that has started it."""

    io: IoSpace
    devices: list[Device]
    end: socket.socket
    """The host's end, which is the caller's to close."""
    show: Callable[[], Awaitable[None]]
    """Bring to the end what it was not shown yet."""


async def start_console_machine(backend: Literal["qemu", "portbus"], kind: Literal["serial", "vga"], layout: str = "us") -> ConsoleMachine:
    """Switch one on, with little else in it.

    Args:
        layout: of the keyboard, with "vga".

    Raises: as `Qemu.start`; KeyError: there is no such layout.
    """
    if kind == "serial":
        return await (_serial_on_qemu() if backend == "qemu" else _serial_on_portbus())
    io: IoSpace
    if backend == "qemu":
        io = await Qemu.start("-device", "VGA")
        hand = _qemu_hand(io)
    else:
        io = PortBus()
        VgaModel(io)
        hand = _model_hand(I8042Model(io))
    devices = await find_devices(io)
    (screen,) = (each for each in devices if each.name == "vga")
    end, inner = socket.socketpair()
    monitor = Monitor(io, screen, inner, hand, LAYOUTS[layout])
    spawn_link(monitor.run)
    return ConsoleMachine(io, devices, end, monitor.show)


async def _serial_on_qemu() -> ConsoleMachine:
    io = await Qemu.start("-device", "isa-serial,chardev=com1", channels=["com1"])

    async def show() -> None:
        return  # QEMU does

    return ConsoleMachine(io, await find_devices(io), io.channels["com1"].dup(), show)


async def _serial_on_portbus() -> ConsoleMachine:
    bus = PortBus()
    end, inner = socket.socketpair()
    wire = Wire(bus, UartModel(bus), inner)
    devices = await find_devices(bus)
    spawn_link(wire.run)
    return ConsoleMachine(bus, devices, end, wire.show)


class Wire:
    """Between a model of a UART and a socket. It lets the machine's clock go as fast as the system's."""

    def __init__(self, bus: PortBus, model: UartModel, end: socket.socket) -> None:
        self._bus = bus
        self._model = model
        self._end = end
        self._waiting = b""

    async def run(self) -> None:
        """Until the other end of the socket is closed."""
        typed = b""  # that the wire does not hold yet
        with self._end:
            while typed or (data := _received(self._end, PIECE)) != b"":
                typed = typed or data or b""
                typed = typed[self._model.try_feed(typed) :]
                await self._bus.pause(TICK)
                await self.show()
                await sleep(TICK)

    async def show(self) -> None:
        """What the UART has sent. Of what nobody reads the first is kept."""
        self._waiting = (self._waiting + self._model.taken())[:LONGEST]
        self._waiting = self._waiting[_sent(self._end, self._waiting) :]


class Monitor:
    """Between a screen with its keyboard and a socket. See the module.

    Args:
        hand: presses a key, or releases it.
    """

    def __init__(self, io: IoSpace, screen: Device, end: socket.socket, hand: Callable[[Key, bool], None], layout: Layout) -> None:
        self._io = io
        self._screen = screen
        self._end = end
        self._hand = hand
        self._strokes = strokes_of(layout)
        self._keys = AnsiKeys()
        self._rows: list[str] = []
        self._cursor = (-1, -1)
        self._waiting = CLEAR.encode()

    async def run(self) -> None:
        """Until the other end of the socket is closed."""
        with self._end:
            ticks = 0
            while (data := _received(self._end, 1)) != b"":
                for stroke in self._struck(data or b""):
                    self._strike(stroke)
                    await self._io.pause(STROKE)
                if ticks % LOOK == 0:
                    await self.show()
                ticks += 1
                await self._io.pause(TICK)
                await sleep(TICK)

    def _struck(self, data: bytes) -> list[Stroke]:
        found: list[Stroke] = []
        for key in self._keys.feed(data):
            if isinstance(key, Action):
                found.append(STROKES[key])
            else:
                found += [stroke for each in key for stroke in self._strokes.get(each, ())]
        return found

    def _strike(self, stroke: Stroke) -> None:
        for key in stroke:
            self._hand(key, True)
        for key in reversed(stroke):
            self._hand(key, False)

    async def show(self) -> None:
        """What has changed on the screen. The rest waits until that was taken."""
        if not self._waiting or self._waiting == CLEAR.encode():
            async with self._screen.lock:  # nobody else is at its registers
                vga = Vga(self._io)
                rows, cursor = vga.text(), vga.cursor()
            drawn = [f"\x1b[{row};1H{text.rstrip()}\x1b[K" for row, text in enumerate(rows, 1) if self._rows[row - 1 : row] != [text]]
            if drawn or cursor != self._cursor:
                self._waiting += f"{''.join(drawn)}\x1b[{cursor[0] + 1};{cursor[1] + 1}H".encode()
            self._rows, self._cursor = rows, cursor
        self._waiting = self._waiting[_sent(self._end, self._waiting) :]


def strokes_of(layout: Layout) -> dict[str, tuple[Stroke, ...]]:
    """For each character what to strike for it."""
    found: dict[str, tuple[Stroke, ...]] = {}
    tables: tuple[tuple[Stroke, dict[Key, str]], ...] = (
        ((Key.RIGHT_ALT,), dict(layout.altgr)),
        ((Key.LEFT_SHIFT,), dict(layout.shifted)),
        ((), dict(layout.plain) | {Key.SPACE: FIXED[Key.SPACE]}),
    )
    for held, table in tables:
        found |= {character: ((*held, key),) for key, character in table.items()}
    for mark, sign in SPACING.items():
        if mark not in found:
            continue
        for base in [each for each in found if each.isalpha()]:
            composed = unicodedata.normalize("NFC", base + mark)
            if len(composed) == 1:
                found.setdefault(composed, found[mark] + found[base])
        found.setdefault(sign, found[mark] + found[" "])
    return found


def _model_hand(model: I8042Model) -> Callable[[Key, bool], None]:
    def hand(key: Key, is_pressed: bool) -> None:
        (model.press if is_pressed else model.release)(key)

    return hand


def _qemu_hand(machine: Qemu) -> Callable[[Key, bool], None]:
    def hand(key: Key, is_pressed: bool) -> None:
        number = key.set_1 & 0x7F | (0x80 if key.set_1 > 0xFF else 0)  # as QEMU counts keys
        machine.qmp("input-send-event", events=[{"type": "key", "data": {"down": is_pressed, "key": {"type": "number", "data": number}}}])

    return hand


def _received(end: socket.socket, most: int) -> bytes | None:
    """What has come; None: nothing; empty: it is closed."""
    try:
        return end.recv(most, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _sent(end: socket.socket, data: bytes) -> int:
    """How many bytes went; all, if nobody will take them any more."""
    try:
        return end.send(data, socket.MSG_DONTWAIT) if data else 0
    except BlockingIOError:
        return 0
    except OSError:
        return len(data)
