"""A console: lines are read from, and text is written to, a serial port, or a VGA and a keyboard.

Theory of operation. A console is of one process, which has opened the devices, and to which they send: it is never asked by messages, and
has no process of its own. What is typed while nobody reads waits, but for Ctrl-C, which is told at once to who waits in `receive` and
ends what `write` is about. A driver that crashes costs the keys that came meanwhile: the console waits for it, and shows its line again;
one that does not come back in ten seconds is held, and nobody waits for it.

Covers: UTF-8 and cursor keys by serial, CR, LF or both; code page 437, layouts us and de with the VGA; history. Not: completion; colours;
how wide the terminal at the other end of a serial port is: of a line that is longer than its rows only the text is right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

from beamlike import receive, sleep
from beamlike.seam import format_reason
from drivers.devices import scancodes
from drivers.devices.layouts import LAYOUTS, Typist
from drivers.devices.scancodes import KeyEvent, Modifiers
from drivers.devices.uart import Event, LineFault
from drivers.devices.vga import COLUMNS
from drivers.servers.device import DeviceBack, DeviceData, DeviceLost
from drivers.servers.grants import DeviceLostError, GrantAsked, GrantRevokedError, GrantTaken
from drivers.servers.opening import Handle, open_device
from drivers.services.editing import BELL, MOST, Action, AnsiKeys, Key, LineEditor, cells, keys_of

MOST_TYPED: Final = 10_000  # keys that wait: more are lost
PIECE: Final = 16  # bytes to a UART at a time
LOOK: Final = 0.0005  # seconds between two looks whether they have gone: in between its server takes what comes
MOST_LOOKS: Final = 40
WRITE_TIMEOUT: Final = 5.0  # seconds for them after that
SPOILT: Final = LineFault.PARITY | LineFault.FRAMING | LineFault.BREAK
BACK_TIMEOUT: Final = 10.0  # seconds for a driver that has crashed: its supervisor holds it long before
TAB: Final = 8
MOVES: Final = {
    scancodes.Key.UP: Action.UP,
    scancodes.Key.DOWN: Action.DOWN,
    scancodes.Key.LEFT: Action.LEFT,
    scancodes.Key.RIGHT: Action.RIGHT,
    scancodes.Key.HOME: Action.HOME,
    scancodes.Key.END: Action.END,
    scancodes.Key.DELETE: Action.DELETE,
    scancodes.Key.KP_8: Action.UP,
    scancodes.Key.KP_2: Action.DOWN,
    scancodes.Key.KP_4: Action.LEFT,
    scancodes.Key.KP_6: Action.RIGHT,
    scancodes.Key.KP_7: Action.HOME,
    scancodes.Key.KP_1: Action.END,
    scancodes.Key.KP_PERIOD: Action.DELETE,
}
"""Those of the keypad, as long as they are no digits."""

Step = tuple[str, *tuple[Any, ...]]
"""A command of the output's driver, and its arguments."""


class Console(ABC):
    """See the module. Made by `SerialConsole.open` or `VgaConsole.open`, and only for the process that calls that.

    Methods raise GrantRevokedError when a device was taken, DeviceLostError when its driver does not come back, and what drivers raise.
    """

    def __init__(self, output: Handle, source: Handle, editor: LineEditor) -> None:
        self._output = output
        self._source = source
        self._editor = editor
        self._typed: deque[Key] = deque()
        self._is_interrupted = False
        self._is_reset = False  # the output's driver has crashed, and nothing was shown again yet
        self._lost: dict[str, DeviceLost] = {}  # drivers that have crashed, and are not back

    async def read_line(self, prompt: str) -> str | Action:
        """A line, without its end; INTERRUPT after Ctrl-C, CLOSE after Ctrl-D. What was typed before counts."""
        self._is_reset = False
        await self.write(prompt)
        while True:
            if self._is_interrupted:
                self._is_interrupted = False
                self._editor.forget()
                await self.write("\n")
                return Action.INTERRUPT
            if self._is_reset:
                self._is_reset = False
                await self.write("\n" + prompt + self._editor.shown())
            elif not self._typed:
                self._take(await self._receive(self._is_own))
            elif (ended := await self._edit()) is not None:
                return ended

    async def _edit(self) -> str | Action | None:
        """Type what was typed, up to the end of the line."""
        shown = ""
        while self._typed:
            key = self._typed.popleft()
            if key is Action.ENTER:
                await self.write(shown + self._editor.type(Action.END) + "\n")
                if not self._editor.lost:
                    return self._editor.finish()
                await self._refuse()
                return None
            if key is Action.CLOSE and not self._editor.text:
                await self.write(shown + "\n")
                return key
            shown += self._editor.type(key)
        await self.write(shown)
        return None

    async def _refuse(self) -> None:
        """What is left of a line that was too long may mean something else."""
        await self.write(
            f"This line has {len(self._editor.text) + self._editor.lost} characters, expected {MOST} at most: it was not taken."
        )
        self._editor.forget()
        self._is_reset = True

    async def write(self, text: str) -> None:
        """Show it. Ctrl-C, or one that nobody was told of yet, ends that early."""
        for step in self._steps(text):
            await self._do(*step)
            await self._look()
            if self._is_interrupted:
                return

    async def receive(self, match: Callable[[Any], bool]) -> Any:
        """The next message for which `match` is true; or INTERRUPT, if Ctrl-C comes first."""
        while not self._is_interrupted:
            message = await self._receive(lambda each: self._is_own(each) or match(each))
            if not self._is_own(message):
                return message
            self._take(message)
        self._is_interrupted = False
        return Action.INTERRUPT

    @abstractmethod
    async def flush(self) -> None:
        """Wait until all is on the wire, or the screen."""

    async def close(self) -> None:
        """Give the devices back."""
        await self._source.close()
        await self._output.close()

    # --- devices ---

    async def _do(self, command: str, *args: Any) -> Any:
        """Have the output's driver do something; after a crash the new one."""
        while True:
            try:
                return await self._output.do(command, *args)
            except DeviceLostError as error:
                self._take(await _back(self._output.name, str(error)))

    async def _receive(self, match: Callable[[Any], bool]) -> Any:
        """A message; not for ever, while a driver is down."""
        lost = next(iter(self._lost.values()), None)
        try:
            return await receive(match, timeout=None if lost is None else BACK_TIMEOUT)
        except TimeoutError:
            assert lost is not None
            raise _held(lost.device, format_reason(lost.reason)) from None

    async def _look(self) -> None:
        """Take what has come."""
        while True:
            try:
                message = await receive(self._is_own, timeout=0)
            except TimeoutError:
                return
            self._take(message)

    def _is_own(self, message: Any) -> bool:
        return type(message) in (DeviceData, DeviceLost, DeviceBack, GrantAsked, GrantTaken) and message.device in (
            self._output.name,
            self._source.name,
        )

    def _take(self, message: Any) -> None:
        match message:
            case DeviceData(data=data):
                for key in self._keys(data):
                    if key is Action.INTERRUPT:
                        self._typed.clear()
                        self._is_interrupted = True
                    elif len(self._typed) < MOST_TYPED:
                        self._typed.append(key)
            case DeviceLost(device):
                self._lost[device] = message
            case DeviceBack(device):
                self._lost.pop(device, None)
                if device == self._source.name:
                    self._begin_keys()
                if device == self._output.name:
                    self._is_reset = True
            case GrantTaken(device, _, reason):
                raise GrantRevokedError(f"the console has lost {device}: {reason}")

    @abstractmethod
    def _begin_keys(self) -> None:
        """No key is half typed any more."""

    @abstractmethod
    def _keys(self, data: Any) -> list[Key]:
        """What was typed."""

    @abstractmethod
    def _steps(self, text: str) -> Iterator[Step]:
        """What the driver has to do to show it."""


class SerialConsole(Console):
    """A terminal at the other end of a serial port."""

    def __init__(self, port: Handle) -> None:
        super().__init__(port, port, LineEditor(cells))
        self._begin_keys()

    @classmethod
    async def open(cls, manager: Any, port: str = "com1") -> Self:
        """Have a serial port for it, when its driver is up. Raises: as `open_device`."""
        return cls(await open_device(manager, port))

    async def flush(self) -> None:
        """See `Console`."""
        await self._do("drain", WRITE_TIMEOUT)

    def _begin_keys(self) -> None:
        self._ansi = AnsiKeys()

    def _keys(self, data: Event) -> list[Key]:
        spoilt = {at for at, fault in data.received.faults if fault & SPOILT}
        return self._ansi.feed(bytes(byte for at, byte in enumerate(data.received.data) if at not in spoilt))

    def _steps(self, text: str) -> Iterator[Step]:
        data = text.replace("\n", "\r\n").encode("utf-8", "backslashreplace")
        for at in range(0, len(data), PIECE):
            yield "send", data[at : at + PIECE]

    async def _do(self, command: str, *args: Any) -> Any:
        if command != "send":
            return await super()._do(command, *args)
        (piece,) = args
        for _ in range(MOST_LOOKS):
            piece = piece[await super()._do("try_write", piece) :]
            if not piece:
                return None
            await sleep(LOOK)
        return await super()._do("write", piece, WRITE_TIMEOUT)  # it is slow; or its clock waits for somebody who waits for it


class VgaConsole(Console):
    """Screen and keyboard. What code page 437 lacks is shown as ■."""

    def __init__(self, screen: Handle, keyboard: Handle, layout: str) -> None:
        super().__init__(screen, keyboard, LineEditor())
        self._layout = LAYOUTS[layout]
        self._begin_keys()

    @classmethod
    async def open(cls, manager: Any, layout: str = "us", *, screen: str = "vga", keyboard: str = "keyboard") -> Self:
        """Have both for it, when their drivers are up. Raises: as `open_device`; ValueError: there is no such layout."""
        if layout not in LAYOUTS:
            raise ValueError(f"there is no layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
        shown = await open_device(manager, screen)
        try:
            return cls(shown, await open_device(manager, keyboard), layout)
        except BaseException:
            await shown.close()
            raise

    async def flush(self) -> None:
        """See `Console`."""
        await self._do("cursor")

    def _begin_keys(self) -> None:
        self._typist = Typist(self._layout)

    def _keys(self, data: KeyEvent) -> list[Key]:
        if text := self._typist.text(data):
            return keys_of(text)
        is_move = data.is_pressed and data.key in MOVES and not data.modifiers & (Modifiers.NUM if data.key.name.startswith("KP_") else 0)
        return [MOVES[data.key]] if is_move else []

    def _steps(self, text: str) -> Iterator[Step]:
        for at, part in enumerate(text.replace("\r\n", "\n").replace(BELL, "").expandtabs(TAB).split("\b")):
            if at:
                yield ("move_back",)
            for begin in range(0, len(part), COLUMNS):
                yield "write", part[begin : begin + COLUMNS]

    async def _do(self, command: str, *args: Any) -> Any:
        if command != "move_back":
            return await super()._do(command, *args)
        row, column = await super()._do("cursor")
        await super()._do("move_cursor", *divmod(max(0, row * COLUMNS + column - 1), COLUMNS))


async def _back(name: str, why: str) -> Any:
    """Wait until a driver is back, or taken: the message that says so. Raises: DeviceLostError: neither."""
    news = (DeviceLost, DeviceBack, GrantTaken)
    try:
        while type(message := await receive(lambda each: type(each) in news and each.device == name, timeout=BACK_TIMEOUT)) is DeviceLost:
            pass  # what is known
    except TimeoutError:
        raise _held(name, why) from None
    return message


def _held(name: str, why: str) -> DeviceLostError:
    return DeviceLostError(f"the driver of {name} did not come back within {BACK_TIMEOUT:g} s: {why}")
