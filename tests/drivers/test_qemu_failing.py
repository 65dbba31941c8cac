"""A QEMU that dies, hangs, or talks nonsense in the midst of an access: who makes it is told, and nobody gets another one's answer."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from machines import needs_qemu

from beamlike import run
from drivers import IoServer, MachineStoppedError, Qemu, Stopped
from drivers import io_server as io_server_module
from drivers import qemu as qemu_module

pytestmark = needs_qemu
BOTH = pytest.mark.parametrize("kind", [Qemu, IoServer])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (qemu_module, io_server_module):
        monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.5)


def hang(machine: Qemu) -> None:
    """Stop QEMU, and wait until all its threads are."""
    os.kill(machine._process.pid, signal.SIGSTOP)
    for task in Path(f"/proc/{machine._process.pid}/task").iterdir():
        while "State:\tT" not in (task / "status").read_text():
            time.sleep(0.001)


@BOTH
@pytest.mark.usefixtures("impatient")
def test_a_write_that_a_machine_which_hangs_does_not_take_is_an_error(kind: type[Qemu]) -> None:
    async def main() -> None:
        with closing(await kind.start()) as machine:
            hang(machine)
            with pytest.raises(MachineStoppedError):
                machine.outb(0x80, 1)
            assert machine._process.returncode == -signal.SIGKILL

    run(main)


def test_a_write_that_a_machine_which_was_killed_does_not_take_is_an_error() -> None:
    async def main() -> None:
        with closing(await Qemu.start()) as machine:
            os.kill(machine._process.pid, signal.SIGKILL)
            with pytest.raises(MachineStoppedError):
                machine.outb(0x80, 1)
            assert machine.stopped == (Stopped.FAILED, -signal.SIGKILL)

    run(main)


@BOTH
def test_an_access_that_is_left_in_the_middle_ends_the_machine(kind: type[Qemu]) -> None:
    """As by a handler of a signal that raises: else its answer would be that of the next access."""

    class LeftError(Exception):
        pass

    def leave(*_: Any) -> None:
        raise LeftError

    async def main() -> None:
        with closing(await kind.start()) as machine:
            hang(machine)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(LeftError):
                machine.inb(0x2A0)
            with pytest.raises(MachineStoppedError):
                machine.inb(0x80)

    before = signal.signal(signal.SIGALRM, leave)
    try:
        run(main)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Liar:
    """Says what it likes in the place of QEMU's devices."""

    def __init__(self, machine: Qemu) -> None:
        self.ours = socket.socketpair()
        for each in self.ours:
            machine._undo.callback(each.close)
        machine._socket = self.ours[0]
        machine._socket.settimeout(0.5)

    def say(self, text: bytes) -> None:
        self.ours[1].sendall(text)


@pytest.mark.parametrize(
    "nonsense", [b"what?\nOK 0x12\n", b"IRQ raise me\nOK 0x12\n", b"IRQ\nOK 0x12\n", b"\xff\nOK 0x12\n", b"\nOK 0x12\n"]
)
def test_nonsense_in_the_place_of_an_answer_ends_the_machine(nonsense: bytes) -> None:
    async def main() -> None:
        with closing(await Qemu.start()) as machine:
            Liar(machine).say(nonsense)
            with pytest.raises(MachineStoppedError, match="expected an answer or an interrupt"):
                machine.inb(0x40)
            with pytest.raises(MachineStoppedError):
                machine.inb(0x40)

    run(main)


@pytest.mark.usefixtures("impatient")
def test_interrupts_without_end_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with closing(await Qemu.start()) as machine:
            liar = Liar(machine)
            take: Callable[[bytes], list[bytes]] = machine._lines

            def more(part: bytes) -> list[bytes]:
                liar.say(b"IRQ lower 5\n")
                return take(part)

            monkeypatch.setattr(machine, "_lines", more)
            liar.say(b"IRQ raise 5\n")
            with pytest.raises(MachineStoppedError, match="did not answer within"):
                machine.inb(0x40)

    run(main)


def test_the_monitors_answer_to_what_was_left_in_the_middle_is_not_that_of_the_next_command() -> None:
    async def main() -> None:
        with closing(await Qemu.start()) as machine:
            machine._monitor.sendall(b'{"execute": "query-name"}\n')
            assert machine.qmp("query-status")["status"] in ("running", "prelaunch")

    run(main)


@BOTH
def test_a_machine_among_more_than_1024_open_files(kind: type[Qemu]) -> None:
    async def main() -> None:
        with closing(await kind.start()) as machine:
            assert machine.qmp("query-status")["running"]

    opened: list[int] = []
    try:
        try:
            opened.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(1100))
        except OSError:
            pytest.skip("so many files may not be open here")
        run(main)
    finally:
        for each in opened:
            os.close(each)


FAKE = """#!{python}
import re, socket, sys
qtest = next(int(option.split("fd=")[1]) for option in sys.argv if "id=qtest," in option)
socket.socket(fileno=qtest).sendall(b"OK\\n")
print("and no more")
"""


def test_one_that_ends_before_its_monitor_speaks_has_not_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / qemu_module.QEMU
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    async def main() -> None:
        with pytest.raises(MachineStoppedError, match="QEMU does not start: and no more"):
            await Qemu.start()

    run(main)
