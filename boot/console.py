"""The command `console`: a machine whose serial port, or screen and keyboard, is a Python prompt."""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

import beamlike
from beamlike import application, register
from boot.attach import fail
from boot.logs import LEVELS, show_logs

MANAGER = "devices"
LEAVE = b"\x1d"  # Ctrl-], as of telnet
LAST = b"\r\x04"  # stands for the end of stdin
LARGEST = 4096
GRACE = 3.0  # seconds to end in order
PIPE_CLOSED = 141  # as a shell says of who gets SIGPIPE


@click.command()
@click.option("--portbus", is_flag=True, help="On models of the devices. [default]")
@click.option("--qemu", is_flag=True, help="On QEMU's devices.")
@click.option("--serial", is_flag=True, help="A serial port, and this terminal at its other end. [default]")
@click.option("--vga", is_flag=True, help="A VGA and a PS/2 keyboard: this terminal shows its text, and strikes its keys.")
@click.option("--layout", type=click.Choice(["us", "de"]), help="Of that keyboard. [default: us]")
@click.option("--socket", "path", type=click.Path(), metavar="PATH", help="Instead of this terminal: who connects to this Unix socket.")
@click.option("--log-level", type=click.Choice(LEVELS), default="critical", show_default=True, help="Show what is at least as bad.")
def console(portbus: bool, qemu: bool, serial: bool, vga: bool, layout: str | None, path: str | None, log_level: str) -> None:
    """A Python prompt on the console of a machine, by drivers that are processes: as `beamlike shell`, in the node that has the drivers.

    The device manager is there by the name "devices": `from drivers import list_devices`, `await list_devices("devices")`. Up and Down
    go through what was typed before.

    Ctrl-C interrupts what is being evaluated, and names remain; Ctrl-D leaves; Ctrl-] on a terminal ends it all at once.
    """
    for one, other, are_both in (("--portbus", "--qemu", portbus and qemu), ("--serial", "--vga", serial and vga)):
        if are_both:
            raise click.UsageError(f"{one} and {other} exclude each other: give one of them")
    if layout is not None and not vga:
        raise click.UsageError("--layout is that of the keyboard, which comes with --vga")
    show_logs(log_level, as_json=False)
    relay: Relay | None = None
    try:
        with _terminal() if path is None else _listening(path) as relay:
            beamlike.run(_serve, "qemu" if qemu else "portbus", "vga" if vga else "serial", layout or "us", relay)
    except (OSError, RuntimeError, beamlike.ExitError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        failure = None if relay is None else relay.error
        if failure is not None and not isinstance(failure, BrokenPipeError):
            fail(f"the console's output: {failure.strerror or failure}")
        sys.exit(application.INTERRUPTED if failure is None else PIPE_CLOSED)


async def _serve(backend: Literal["qemu", "portbus"], kind: Literal["serial", "vga"], layout: str, relay: Relay) -> None:
    """The first process, which has the console."""
    from boot.talking import talk
    from drivers import DeviceError, DeviceManager, SerialConsole, VgaConsole, start_console_machine

    machine = await start_console_machine(backend, kind, layout)
    manager = await DeviceManager.start_link(machine.devices)
    register(MANAGER, manager)
    opened = await (SerialConsole.open(manager) if kind == "serial" else VgaConsole.open(manager, layout))
    relay.begin(machine.end)
    try:
        await talk(opened, kind)
        await opened.flush()
    except DeviceError as error:
        raise RuntimeError(str(error)) from None
    await machine.show()


class Relay:
    """Between a machine's end and whoever uses it, in a thread of its own: their files may be of any kind.

    Args:
        meet: descriptors for reading and writing, again and again, of one user after the other; None if there is no other.
        may_leave: Ctrl-] ends the program.
        may_meet: who leaves may be followed by another.
    """

    def __init__(self, meet: Callable[[], tuple[int, int] | None], *, may_leave: bool, may_meet: bool) -> None:
        self._meet = meet
        self._may_meet = may_meet
        self._may_leave = may_leave
        self._end: socket.socket | None = None
        self.error: OSError | None = None
        """Of who can see nothing any more."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self, end: socket.socket) -> None:
        """The machine is there."""
        self._end = end
        self._thread.start()

    def finish(self) -> None:
        """Pass on what the machine has sent, and end."""
        if self._end is not None:
            self._end.shutdown(socket.SHUT_RD)
            self._thread.join(1.0)  # who does not read is not waited for

    def _run(self) -> None:
        try:
            while (user := self._meet()) is not None:
                if self._pass_on(*user):
                    return
        except OSError as error:
            self.error = error
            _leave()

    def _pass_on(self, source: int, sink: int) -> bool:
        """Until either end is closed: is it the machine's?"""
        assert self._end is not None
        sources: list[Any] = [self._end, source]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if self._end in ready:
                try:
                    data = self._end.recv(LARGEST)
                except ConnectionResetError:  # it has ended with something unread
                    data = b""
                if not data:
                    return True
                try:
                    while data:
                        data = data[os.write(sink, data) :]
                except (BrokenPipeError, ConnectionResetError):
                    if not self._may_meet:
                        raise
                    return False  # this one has gone
            if source in ready:
                try:
                    data = os.read(source, LARGEST)
                except ConnectionResetError:
                    data = b""
                if not data and self._may_meet:
                    return False
                if not data:
                    sources.remove(source)
                self._type(data or LAST)

    def _type(self, data: bytes) -> None:
        assert self._end is not None
        before, leave, _ = data.partition(LEAVE) if self._may_leave else (data, b"", b"")
        with suppress(BrokenPipeError, ConnectionResetError):  # the machine has ended, and what it sent last is to be read yet
            self._end.sendall(before)
        if leave:
            _leave()


def _leave() -> None:
    """End the program as Ctrl-C does; or at once, if it is in the midst of something that cannot be interrupted."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE)
    for restore in _restoring:
        restore()
    os._exit(application.INTERRUPTED)


_restoring: list[Callable[[], None]] = []  # what is to be done before the program ends like that


@contextmanager
def _terminal() -> Iterator[Relay]:
    """stdin and stdout, each key at once if that is a terminal. Who reads from `sys.stdin` meanwhile finds it at its end."""
    if sys.stdin is None or sys.stdout is None:
        raise OSError("standard input or output is closed, and this console has no other: open it, or give --socket PATH")
    stdin, is_terminal = sys.stdin.fileno(), sys.stdin.isatty()
    relay = Relay(lambda: (stdin, sys.stdout.fileno()), may_leave=is_terminal, may_meet=False)
    before = termios.tcgetattr(stdin) if is_terminal else None
    program, sys.stdin = sys.stdin, io.StringIO()
    try:
        if before is not None:
            tty.setraw(stdin)
            raw = termios.tcgetattr(stdin)
            raw[1] |= termios.OPOST  # for what is printed besides
            termios.tcsetattr(stdin, termios.TCSANOW, raw)
            _restoring.append(partial(termios.tcsetattr, stdin, termios.TCSANOW, before))
        yield relay
    finally:
        try:
            relay.finish()
        finally:  # Ctrl-C, perhaps by the relay
            sys.stdin = program
            if before is not None:
                _restoring.clear()
                termios.tcsetattr(stdin, termios.TCSADRAIN, before)


@contextmanager
def _listening(path: str) -> Iterator[Relay]:
    """Who connects to a socket, which only the user may; one after the other."""
    with socket.socket(socket.AF_UNIX) as server:
        mask = os.umask(0o177)
        try:
            server.bind(path)
        except OSError as error:
            raise OSError(f"{path}: {error.strerror or error}") from None
        finally:
            os.umask(mask)
        user: list[socket.socket] = []

        def meet() -> tuple[int, int]:
            while user:
                user.pop().close()
            user.append(server.accept()[0])
            return user[0].fileno(), user[0].fileno()

        relay = Relay(meet, may_leave=False, may_meet=True)
        try:
            server.listen(1)
            print(f"The console is at {path}, as for: socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{path}", flush=True)
            yield relay
        finally:
            relay.finish()
            Path(path).unlink(missing_ok=True)
