"""A Python prompt on a serial port, and on screen and keyboard, on both machines: who sits there types, and looks."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import pytest
from hands import Hands
from machines import Play, on
from test_servers import quiet

from beamlike import Down, Pid, exit, receive, run, sleep, spawn_monitor
from boot.talking import talk
from drivers import DeviceBusyError, DeviceError, PortBus, SerialConsole, VgaConsole
from drivers.devices.layouts import LAYOUTS
from drivers.devices.scancodes import Key
from drivers.devices.uart import Uart
from drivers.devices.vga import Vga
from drivers.models.i8042 import I8042Model
from drivers.models.uart import LONGEST, UartModel
from drivers.models.vga import VgaModel
from drivers.servers.device import Device
from drivers.servers.finding import find_devices, find_ps2, find_serial, find_vga
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import revoke_device
from drivers.services.editing import Action, keys_of
from drivers.services.host import STROKES, TICK, Wire, strokes_of

__all__ = ["quiet"]

PATIENCE = 15.0  # seconds
MACHINES: dict[str, Any] = {
    "serial": {"models": [UartModel], "qemu": ["-device", "isa-serial,chardev=com1"], "channels": ["com1"]},
    "vga": {"models": [VgaModel, I8042Model], "qemu": ["-device", "VGA"]},
}
UP, LEFT = Action.UP, Action.LEFT
SEQUENCES = {UP: "\x1b[A", LEFT: "\x1b[D"}

Kind = Literal["serial", "vga"]
both = pytest.mark.parametrize("kind", ["serial", "vga"])


class Seat:
    """Somebody at a console."""

    def __init__(self, io: Any, kind: Kind, layout: str, devices: list[Device], manager: Pid) -> None:
        self.io = io
        self.kind = kind
        self.devices = {each.name: each for each in devices}
        self.manager = manager
        self.hands: Any = Hands(io) if kind == "vga" else None
        self.strokes = strokes_of(LAYOUTS[layout])
        self.came = bytearray()

    async def type(self, *text: str | Action) -> None:
        for each in text:
            if self.kind == "serial":
                self.send((SEQUENCES[each] if isinstance(each, Action) else each).encode())
                continue
            for key in keys_of(each) if isinstance(each, str) else [each]:
                strokes = (STROKES[key],) if isinstance(key, Action) else [stroke for char in key for stroke in self.strokes[char]]
                for stroke in strokes:
                    self.hands.strike(*stroke)
                    await self.io.pause(0.02)  # nobody types faster

    def send(self, data: bytes) -> None:
        """To the serial port."""
        if self.io.name == "portbus":
            self.io.models[UartModel].feed(data)
        else:
            self.io.channels["com1"].sendall(data)

    def shown(self) -> str:
        del self.came[:-8000]
        if self.kind == "vga":
            rows = self.io.models[VgaModel].lines() if self.io.name == "portbus" else Vga(self.io).text()
            return "\n".join(row.rstrip() for row in rows).rstrip()
        if self.io.name == "portbus":
            self.came += self.io.models[UartModel].taken()
        else:
            with suppress(BlockingIOError):
                self.io.channels["com1"].setblocking(False)
                self.came += self.io.channels["com1"].recv(1 << 20)
            self.io.channels["com1"].setblocking(True)
        return "\n".join(as_seen(line) for line in self.came.decode(errors="replace").split("\r\n")).rstrip()

    async def see(self, *lines: str) -> None:
        """Wait until these are the last lines that are shown, but for blanks at their ends."""
        end = list(lines)
        await self.io.until(lambda: self.last(len(end)) == end, PATIENCE, lambda: f"{end} does not come: {self.shown()[-2000:]!r}")

    def last(self, count: int) -> list[str]:
        return [line.rstrip() for line in self.shown().split("\n")[-count:]]

    async def end(self) -> Down:
        """How the console has ended."""
        deadline = self.io.now() + PATIENCE
        while self.io.now() < deadline:
            with suppress(TimeoutError):
                return await receive(Down, timeout=0)  # type: ignore[no-any-return]
            await self.io.pause(0.001)
        pytest.fail("the console does not end")

    async def kill(self, name: str) -> None:
        """Kill a driver, and wait for the next one."""
        device = self.devices[name]
        before = device.server
        assert before is not None
        exit(before, "kill")
        await self.io.until(lambda: device.server != before and device.driver is not None, PATIENCE, "the next driver")


def as_seen(line: str) -> str:
    """What a terminal shows of a row."""
    cells: list[str] = []
    at = 0
    for each in line:
        if each == "\b":
            at -= 1
        else:
            cells[at : at + 1] = each
            at += 1
    return "".join(cells).rstrip()


def play_seat(play: Play, kind: Kind, check: Callable[[Seat], Awaitable[None]], layout: str = "us") -> None:
    """The check gets a seat at a prompt, which is shown."""

    async def begin(io: Any) -> None:
        devices = await find_devices(io, (find_serial,) if kind == "serial" else (find_vga, find_ps2))
        manager = await DeviceManager.start_link(devices, 1000)
        spawn_monitor(converse, manager, kind, layout)
        seat = Seat(io, kind, layout, devices, manager)
        await seat.see("n>>>")
        await check(seat)

    play(begin, **MACHINES[kind])


async def converse(manager: Pid, kind: Kind, layout: str) -> None:
    await talk(await (SerialConsole.open(manager) if kind == "serial" else VgaConsole.open(manager, layout)), "n")


@both
def test_what_is_typed_is_evaluated_and_names_remain(play: Play, kind: Kind) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("1+1\r")
        await seat.see("n>>> 1+1", "2", "n>>>")
        await seat.type("number = 20\r")
        await seat.type("for each in range(2):\r\tprint(number + each)\r\r")
        await seat.see("n>>> for each in range(2):", " ...     print(number + each)", " ...", "20", "21", "n>>>")
        await seat.type("async def twice(number):\r\tawait sleep(0)\r\treturn 2 * number\r\r")
        await seat.type("await twice(number)\r")
        await seat.see("40", "n>>>")

    play_seat(play, kind, check)


@both
def test_an_error_shows_its_traceback_and_the_prompt_is_there_again(play: Play, kind: Kind) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("1/0\r")
        await seat.see("ZeroDivisionError: division by zero", "n>>>")
        await seat.type("1 +\r")
        await seat.see("SyntaxError: invalid syntax", "n>>>")
        await seat.type("exit(self_pid(), 'kill')\r")
        await seat.see("the process of this shell has ended: killed; another goes on with its names", "n>>>")

    play_seat(play, kind, check)


@both
@pytest.mark.parametrize("code", ["print('g' + 'o'); await sleep(100)\r", "if print('g' + 'o') is None:\r\twhile True: pass\r\r"])
def test_ctrl_c_interrupts_what_is_evaluated(play: Play, kind: Kind, code: str) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("kept = 7\r", code)
        await seat.see("go")
        await seat.type("ignored\x03")
        await seat.see("KeyboardInterrupt", "n>>>")
        await seat.type("kept\r")
        await seat.see("n>>> kept", "7", "n>>>")

    play_seat(play, kind, check)


@on("qemu")  # the port bus's clock goes as fast as somebody waits, whatever is to be computed meanwhile
@both
def test_ctrl_c_ends_what_is_printed_without_end(play: Play, kind: Kind) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("for n in range(100_000): print('line', n)\r\r")
        await seat.io.until(lambda: "line 30" in seat.shown(), PATIENCE, "lines")
        await seat.type("\x03")
        await seat.io.until(lambda: seat.shown().endswith("KeyboardInterrupt\nn>>>"), PATIENCE, "the end of them")
        await seat.type("1+1\r")
        await seat.see("n>>> 1+1", "2", "n>>>")

    play_seat(play, kind, check)


@both
def test_the_line_is_edited_and_lines_before_come_again(play: Play, kind: Kind) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("1+3\b2\r")
        await seat.see("n>>> 1+2", "3", "n>>>")
        await seat.type("nonsense")
        await seat.see("n>>> nonsense")
        await seat.type("\x03")
        await seat.see("n>>> nonsense", "KeyboardInterrupt", "n>>>")
        await seat.type(UP, LEFT, LEFT, "0\r")
        await seat.see("n>>> 10+2", "12", "n>>>")
        await seat.type(UP, UP, "\x15", "5\r")
        await seat.see("n>>> 5", "5", "n>>>")
        await seat.type("if True:\r\x03")
        await seat.see("KeyboardInterrupt", "n>>>")

    play_seat(play, kind, check)


@both
@pytest.mark.parametrize("ending", ["\x04", "raise SystemExit\r"])
def test_a_console_that_is_left_gives_its_devices_back(play: Play, kind: Kind, ending: str) -> None:
    async def check(seat: Seat) -> None:
        await seat.type(ending)
        assert (await seat.end()).reason == "normal"
        await seat.io.until(lambda: not any(each.grants for each in seat.devices.values()), PATIENCE, "they are free")

    play_seat(play, kind, check)


@pytest.mark.parametrize(("kind", "killed"), [("serial", "com1"), ("vga", "vga"), ("vga", "keyboard")])
def test_a_driver_that_is_killed_does_not_end_the_console(play: Play, kind: Kind, killed: str) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("kept = 4")
        for _ in range(3):
            await seat.see("n>>> kept = 4")  # the line is there again
            await seat.kill(killed)
        await seat.see("n>>> kept = 4")
        await seat.type("2\rprint('g' + 'o'); await sleep(100)\r")
        await seat.see("go")
        await seat.kill(killed)
        await seat.type("\x03")
        await seat.see("KeyboardInterrupt", "n>>>")
        await seat.type("kept\r")
        await seat.see("n>>> kept", "42", "n>>>")

    play_seat(play, kind, check)


@both
def test_a_driver_that_is_killed_while_it_shows_costs_nothing_of_what_comes_after(play: Play, kind: Kind) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("for number in range(500): print('line', number)\r\r")
        for _ in range(5):
            await seat.io.until(lambda: "line" in seat.shown(), PATIENCE, "a line")
            await seat.kill("com1" if kind == "serial" else "vga")
        await seat.see("line 498", "line 499", "n>>>")

    play_seat(play, kind, check)


@both
def test_a_device_that_is_taken_ends_the_console_which_says_why(play: Play, kind: Kind) -> None:
    async def check(seat: Seat) -> None:
        name = "com1" if kind == "serial" else "keyboard"
        with pytest.raises(DeviceBusyError):
            await (SerialConsole.open(seat.manager) if kind == "serial" else VgaConsole.open(seat.manager))
        await revoke_device(seat.manager, name, 0.01)
        down = await seat.end()
        assert f"the console has lost {name}: it was not given back in time" in str(down.reason)

    play_seat(play, kind, check)


@both
def test_a_device_that_is_taken_while_it_is_down_ends_the_console_too(play: Play, kind: Kind) -> None:
    async def check(seat: Seat) -> None:
        name = "com1" if kind == "serial" else "vga"
        await seat.type("while True: print(1)\r\r")
        await seat.io.until(lambda: "\n1\n1\n" in seat.shown(), PATIENCE, "lines")
        device = seat.devices[name]
        before = device.server
        assert before is not None
        device.make = partial(sleep, 1000)
        exit(before, "kill")
        await seat.io.until(lambda: device.server not in (before, None), PATIENCE, "the next driver")
        await seat.io.pause(0.05)  # the console wants to show something
        await revoke_device(seat.manager, name, 0.01)
        assert f"the console has lost {name}" in str((await seat.end()).reason)

    play_seat(play, kind, check)


def test_a_layout_that_there_is_not_is_refused(play: Play) -> None:
    async def check(seat: Seat) -> None:
        with pytest.raises(ValueError, match="there is no layout 'fr': expected one of us, de"):
            await VgaConsole.open(seat.manager, "fr")

    play_seat(play, "vga", check)


def test_serial_text_is_utf_8_and_a_newline_is_cr_and_lf(play: Play) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("print('grün €', len('ü€'), chr(0xd800))\r")
        await seat.see("grün € 2 \\ud800", "n>>>")
        assert b"\xe2\x82\xac 2 \\ud800\r\nn>>> " in seat.came
        seat.send(b"'1'\n'2'\r\n'3'\r")
        await seat.see("'1'", "n>>> '2'", "'2'", "n>>> '3'", "'3'", "n>>>")

    play_seat(play, "serial", check)


def test_what_is_pasted_at_once_is_read_whole(play: Play) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("total = 0\r" + "total += 1  # and a remark\r" * 200 + "total\r")
        await seat.see("n>>> total", "200", "n>>>")

    play_seat(play, "serial", check)


@on("portbus")  # QEMU's wire has no errors
def test_bytes_with_errors_of_the_line_are_dropped(play: Play) -> None:
    async def check(seat: Seat) -> None:
        for data, errors in ((b"1", 0), (b"5", 4), (b"6", 8), (b"\0", 0x10), (b"7\r", 0)):
            seat.io.models[UartModel].feed(data, errors)
        await seat.see("n>>> 17", "17", "n>>>")

    play_seat(play, "serial", check)


def test_on_a_vga_text_goes_up_and_what_the_code_page_lacks_is_a_square(play: Play) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("for n in range(30): print(n, 'gr' + chr(252) + 'n', chr(0x20ac), '\\t|')\r\r")
        await seat.see(*(f"{n} grün ■".ljust(16) + "|" for n in range(10, 30)), "n>>>")
        await seat.type("'" + "y" * 100, *[LEFT] * 50, "\b" * 50, "\x03")
        await seat.see("KeyboardInterrupt", "n>>>")
        assert "n>>> '" + "y" * 50 in seat.shown()

    play_seat(play, "vga", check)


def test_keys_mean_what_the_layout_says(play: Play) -> None:
    async def check(seat: Seat) -> None:
        for keys in (
            (Key.Y,),
            (Key.LEFT_SHIFT, Key.D0),
            (Key.LEFT_SHIFT, Key.BACKSLASH),
            (Key.SEMICOLON,),
            (Key.EQUAL,),
            (Key.E,),
            (Key.RIGHT_ALT, Key.MINUS),
        ):
            seat.hands.strike(*keys)
            await seat.io.pause(0.02)
        await seat.see("n>>> z='öé\\")
        await seat.type("\x15'Ä@{}[]~|<>^^áô'\r")
        await seat.see("n>>> 'Ä@{}[]~|<>^^áô'", "'Ä@{}[]~|<>^^áô'", "n>>>")

    play_seat(play, "vga", check, "de")


def test_the_keypad_moves_as_long_as_num_lock_is_off(play: Play) -> None:
    async def check(seat: Seat) -> None:
        await seat.type("23")
        for key in (Key.KP_7, Key.NUM_LOCK, Key.KP_7, Key.NUM_LOCK, Key.KP_PERIOD):
            seat.hands.strike(key)
            await seat.io.pause(0.02)
        await seat.type("\r")
        await seat.see("n>>> 73", "73", "n>>>")

    play_seat(play, "vga", check)


def test_a_line_that_is_too_long_is_not_taken(play: Play) -> None:
    """What is left of it may mean something else."""

    async def check(seat: Seat) -> None:
        await seat.type("7" + " " * 900 + " + 1" + " " * 200 + "- 6\r1+1\r")
        await seat.see("This line has 1108 characters, expected 1000 at most: it was not taken.", "n>>> 1+1", "2", "n>>>")

    play_seat(play, "serial", check)


@both
def test_a_driver_that_does_not_come_back_is_not_waited_for(play: Play, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.services.console.BACK_TIMEOUT", 0.02)

    async def fail() -> None:
        raise DeviceError("it is broken")

    async def check(seat: Seat) -> None:
        name = "com1" if kind == "serial" else "keyboard"
        device = seat.devices[name]
        assert device.server is not None
        device.make = fail
        exit(device.server, "kill")
        assert f"the driver of {name} did not come back within 0.02 s: killed" in str((await seat.end()).reason)

    play_seat(play, kind, check)


def test_what_a_wire_does_not_hold_yet_waits_at_its_end() -> None:
    async def main() -> None:
        bus = PortBus()
        model = UartModel(bus)
        Uart(bus).configure(115200)
        end, inner = socket.socketpair()
        model.feed(bytes(LONGEST - 10))
        end.send(b"a" * 100 + b"b" * 10)
        spawn_monitor(Wire(bus, model, inner).run)
        for _ in range(3):
            await sleep(TICK)
        bus.advance(6)  # all that it held is through
        for _ in range(10):
            await sleep(TICK)
        with pytest.raises(BlockingIOError):
            inner.recv(1, socket.MSG_DONTWAIT)
        end.close()
        assert (await receive(Down, timeout=5)).reason == "normal"

    run(main)
