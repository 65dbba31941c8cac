"""QEMU's devices, which nobody here wrote, over its qtest protocol: the reference for the port bus's models.

Theory of operation. The emulated processor sleeps for ever: the firmware is `cli; hlt`, so the machine's clock runs, its devices live, and
nobody but us touches them. Accesses are lines of text on a socket (QEMU, `softmmu/qtest.c`), each answered by one; in between come
`IRQ raise N` and `IRQ lower N` of the inputs of the I/O APIC, which are intercepted. A second socket is QEMU's monitor (QMP): for what is
not the machine's own affair, such as pressing a key.

Two things are not as on a board. The local APIC answers only to a processor, and so not to qtest. And an access takes from 20 to 170 µs.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from typing import IO, Any, Final, NoReturn, Self

import trio
import trio.lowlevel

from beamlike import sleep
from beamlike.seam import Process, check_access, current_process, extra, on_release
from drivers.errors import MachineStoppedError
from drivers.interrupts import LINES
from drivers.space import IoSpace, Stopped

QEMU: Final = "qemu-system-x86_64"
ROM_SIZE, RESET_VECTOR = 65536, 0xFFF0
SLEEP, TO_BEGINNING = b"\xfa\xf4\xeb\xfd", b"\xe9\x0d\x00"  # cli; hlt; jmp to hlt, and jmp to the ROM's first byte
FASTEST_LOOK: Final = 0.002  # seconds between two looks whether it has begun
START_TIMEOUT, ANSWER_TIMEOUT = 20.0, 10.0
AT_ONCE: Final = 1000  # commands before the answers are read: both sockets have room for them
LARGEST: Final = 1 << 16  # bytes of a block that goes in one line: the socket takes it, also while QEMU waits until interrupts are read
WIDTHS: Final = {1: "b", 2: "w", 4: "l"}
REASONS: Final = {"guest-reset": Stopped.RESET, "guest-shutdown": Stopped.POWER_OFF}
ANSWERS: Final = (b"OK", b"FAIL", b"ERR")
READ: Final = 65536  # bytes from the socket at a time


class Qemu(IoSpace):
    """A machine of QEMU's. It ends with the process that has started it, or by `close`; made by `start`.

    `channels` are the host's ends of what devices have outside, sockets by their names: see `start`.
    """

    name = "qemu"
    firmware = b""
    """What runs at reset, instead of the sleep."""
    machine_options = ""

    @classmethod
    async def start(
        cls, *options: str, machine: str = "pc", memory: int = 16, channels: Sequence[str] = (), descriptors: Sequence[int] = ()
    ) -> Self:
        """Switch a machine on.

        Args:
            options: of QEMU: `"-device", "isa-serial,chardev=com1"`. Without any the machine has what `machine` has.
            memory: MiB of RAM.
            channels: for each name a socket, which is the `chardev` of that name.
            descriptors: files that QEMU has open, too, and which options may name: `"-netdev", f"tap,id=n,fd={tap}"`.

        Raises:
            FileNotFoundError: QEMU is not installed.
            MachineStoppedError: QEMU does not start; with what it says.
            CapabilityError: `("device", "qemu")` is excluded.
        """
        check_access("device", "qemu")
        if shutil.which(QEMU) is None:
            raise FileNotFoundError(f"{QEMU} is not on the path: apt-get install qemu-system-x86 seabios")
        made = cls(options, machine, memory, channels, descriptors)
        try:
            await made._begin()
        except BaseException:
            made.close()
            raise
        return made

    def __init__(self, options: Sequence[str], machine: str, memory: int, channels: Sequence[str], descriptors: Sequence[int]) -> None:
        super().__init__()
        self._owner = current_process()  # RuntimeError outside of one
        if type(memory) is not int or memory < 1:
            raise ValueError(f"memory is {memory!r}, expected MiB")
        if not all(type(each) is str for each in options) or type(channels) is str:
            raise ValueError(f"the options are {options!r:.80} with the channels {channels!r:.80}: expected strings, and a list of names")
        self.channels: dict[str, socket.socket] = {}
        self._buffer = b""
        self._monitor_buffer = b""
        self._asked = 0  # of the monitor
        self._stopped: tuple[Stopped, int] | None = None
        self._raised = [0] * LINES
        self._lock = threading.RLock()  # of the sockets: threads of processes make accesses, too
        self._undo = ExitStack()
        with ExitStack() as undo, ExitStack() as theirs:
            undo.callback(self._undo.close)
            self._said: IO[bytes] = self._undo.enter_context(tempfile.TemporaryFile())
            passed: list[int] = [*descriptors]

            def channel(name: str) -> tuple[socket.socket, list[str]]:
                ours, their_end = socket.socketpair()
                self._undo.callback(ours.close)
                theirs.callback(their_end.close)
                passed.append(their_end.fileno())
                return ours, ["-chardev", f"socket,id={name},fd={their_end.fileno()}"]

            self._socket, qtest = channel("qtest")
            self._monitor, monitor = channel("qmp")
            more = []
            for title in channels:
                self.channels[title], option = channel(title)
                more += option
            command = [
                *("setpriv", "--pdeathsig=KILL", QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
                *("-machine", machine + self.machine_options, "-accel", "tcg", "-m", f"{memory}M", "-bios", _rom(self.firmware)),
                *qtest,
                *("-qtest", "chardev:qtest", "-qtest-log", "/dev/null"),
                *monitor,
                *("-mon", "chardev=qmp,mode=control"),
                *self._more_options(memory),
                *more,
                *options,
            ]
            self._socket.settimeout(ANSWER_TIMEOUT)
            self._monitor.settimeout(ANSWER_TIMEOUT)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[*passed, *self._more_descriptors()],
                start_new_session=True,
            )
            undo.pop_all()
        extra(self._owner)  # so that its end is told to `on_release`
        _machines.setdefault(self._owner, []).append(self)

    def _more_options(self, memory: int) -> list[str]:
        return []

    def _more_descriptors(self) -> list[int]:
        return []

    async def _begin(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        self._socket.sendall(b"irq_intercept_in ioapic\n")
        while not self._has_answered():
            if time.monotonic() > deadline:
                self._give_up()
            await sleep(FASTEST_LOOK)
        try:
            self._answers(1)
            self._monitor_line()  # a greeting
            self.qmp("qmp_capabilities")
        except (OSError, MachineStoppedError):
            if self._said.closed:
                raise
            self._give_up()
        trio.lowlevel.spawn_system_task(self._listen)

    def _has_answered(self) -> bool:
        try:
            if self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return True
        except BlockingIOError:
            return False
        except OSError:
            pass  # it has ended with something unread
        self._give_up()

    async def _listen(self) -> None:
        """A system task: interrupts come while nobody asks anything."""
        try:
            while self._socket.fileno() >= 0:  # it may be closed before this begins
                await trio.lowlevel.wait_readable(self._socket)
                if self._lock.acquire(blocking=False):  # else a thread takes what has come
                    try:
                        self._take_lines()
                    finally:
                        self._lock.release()
                else:
                    await trio.lowlevel.checkpoint()
        except (OSError, ValueError, trio.ClosedResourceError, MachineStoppedError):
            return  # it was closed, or has ended: whoever asks next is told

    # --- lines ---

    def _take_lines(self) -> list[bytes]:
        """What has come, but for interrupts, whose listeners are told. It does not wait."""
        try:
            part = self._socket.recv(READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            part = b""
        if not part:
            self._end()
            raise self.gone()
        return self._lines(part)

    def _lines(self, part: bytes) -> list[bytes]:
        *lines, self._buffer = (self._buffer + part).split(b"\n")
        answers = []
        for line in lines:
            if line.startswith(ANSWERS):
                answers.append(line)
            else:
                self._irq(line)
        return answers

    def _irq(self, line: bytes) -> None:
        if not line.startswith(b"IRQ ") or not line.rsplit(b" ", 1)[1].isdigit():
            self.close()
            raise MachineStoppedError(f"QEMU says {line[:80]!r}: expected an answer or an interrupt; it was ended")
        pin = int(line.rsplit(b" ", 1)[1])
        isa = 0 if pin == 2 else pin  # the timer's line is on this input (QEMU, hw/i386/x86.c; MADT: interrupt source override)
        if line.startswith(b"IRQ raise ") and isa < LINES:
            with self.lines.telling:
                self._raised[isa] += 1
                self.lines.rise(isa, self._raised[isa], self.now())

    def _answers(self, count: int) -> list[bytes]:
        """The next answers."""
        found: list[bytes] = []
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while len(found) < count:
            try:
                if time.monotonic() > deadline:  # nothing but interrupts comes
                    raise TimeoutError
                part = self._socket.recv(READ)
            except TimeoutError:
                self.close()
                raise MachineStoppedError(f"QEMU did not answer within {ANSWER_TIMEOUT:g} s, and was ended") from None
            except OSError:
                part = b""
            if not part:
                self._end()
                raise self.gone()
            if answers := self._lines(part):
                found += answers
                deadline = time.monotonic() + ANSWER_TIMEOUT
        return found

    def _ask(self, *lines: str) -> list[bytes]:
        """The values that these commands are answered with, which are sent at once."""
        if self._stopped is not None:
            raise self.gone()
        answers: list[bytes] = []
        with self._lock:
            for first in range(0, len(lines), AT_ONCE):
                portion = lines[first : first + AT_ONCE]
                try:
                    self._socket.sendall("".join(line + "\n" for line in portion).encode())
                    answers += self._answers(len(portion))
                except OSError:
                    self._end()
                    raise self.gone() from None
                except BaseException:
                    self._break_off()
                    raise
        for line, answer in zip(lines, answers, strict=True):
            if not answer.startswith(b"OK"):
                raise RuntimeError(f"QEMU refuses {line[:80]!r}: {answer.decode()}")
        return [answer[3:] for answer in answers]

    def _break_off(self) -> None:
        """An access is left in the middle: its answer, which is still to come, would be taken for that of the next one."""
        if self._stopped is None:
            self.close()

    def _tell(self, *lines: str) -> None:
        """Commands without an answer that matters. One that stops the machine may not be answered at all."""
        try:
            self._ask(*lines)
        except MachineStoppedError:
            if not self._has_stopped_itself():
                raise

    def _has_stopped_itself(self) -> bool:
        """Not by `close`, nor because QEMU has failed: perhaps by what was just written."""
        return self._stopped is not None and self._stopped[0] not in (Stopped.CLOSED, Stopped.FAILED)

    # --- the space ---

    def _in(self, port: int, width: int) -> int:
        return int(self._ask(f"in{WIDTHS[width]} {port:#x}")[0], 16)

    def _out(self, port: int, width: int, value: int) -> None:
        self._may_go_on()
        self._tell(f"out{WIDTHS[width]} {port:#x} {value:#x}")

    def _in_block(self, port: int, width: int, count: int) -> bytes:
        answers = self._ask(*[f"in{WIDTHS[width]} {port:#x}"] * count) if count else []
        return b"".join(int(each, 16).to_bytes(width, "little") for each in answers)

    def _out_block(self, port: int, width: int, data: bytes) -> None:
        values = (int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width))
        self._may_go_on()
        if lines := [f"out{WIDTHS[width]} {port:#x} {value:#x}" for value in values]:
            self._tell(*lines)

    def _read(self, address: int, width: int) -> int:
        return int(self._ask(f"read{WIDTHS[width]} {address:#x}")[0], 16)

    def _write(self, address: int, width: int, value: int) -> None:
        self._may_go_on()
        self._tell(f"write{WIDTHS[width]} {address:#x} {value:#x}")

    def _load(self, address: int, size: int) -> bytes:
        pieces = [(at, min(LARGEST, address + size - at)) for at in range(address, address + size, LARGEST)]
        return b"".join(base64.b64decode(self._ask(f"b64read {at:#x} {length:#x}")[0]) for at, length in pieces)

    def _store(self, address: int, data: bytes) -> None:
        self._may_go_on()
        for at in range(0, len(data), LARGEST):
            piece = data[at : at + LARGEST]
            self._tell(f"b64write {address + at:#x} {len(piece):#x} {base64.b64encode(piece).decode()}")

    def _may_go_on(self) -> None:
        if self._stopped is not None:
            raise self.gone()

    def now(self) -> float:
        """Seconds, of the system's clock: the machine's goes as fast."""
        return time.monotonic()

    # --- the host's side ---

    def qmp(self, command: str, **arguments: Any) -> Any:
        """What QEMU's monitor returns (QEMU Machine Protocol). Raises: RuntimeError: it refuses; MachineStoppedError."""
        self._may_go_on()
        try:
            with self._lock:
                self._asked += 1
                asked = {"execute": command, "arguments": arguments, "id": self._asked}
                self._monitor.sendall(json.dumps(asked).encode() + b"\n")
                while True:
                    answer = self._monitor_line()
                    if self._stopped is not None:  # it ends, and may answer no more, nor be through before it has
                        self._process.kill()
                        self.lines.stop()
                        raise self.gone()
                    if answer.get("id") != self._asked:
                        continue  # an event, or the answer to what was left in the middle
                    if "return" in answer:
                        return answer["return"]
                    if "error" in answer:
                        raise RuntimeError(f"QEMU refuses {command}: {answer['error']['desc']}")
        except OSError as error:
            self._end()
            raise MachineStoppedError(f"QEMU's monitor does not answer: {error}: {self._stopped!r}") from None

    def _monitor_line(self) -> dict[str, Any]:
        """The next that it says. Raises: OSError: it says no more; MachineStoppedError."""
        sockets = select.poll()
        for each in (self._monitor, self._socket):
            sockets.register(each, select.POLLIN)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while b"\n" not in self._monitor_buffer:
            left = deadline - time.monotonic()
            ready = {descriptor for descriptor, _ in sockets.poll(1000 * left)} if left > 0 else set()
            if not ready:
                raise TimeoutError(f"nothing within {ANSWER_TIMEOUT:g} s")
            if self._monitor.fileno() in ready:
                break
            self._take_lines()  # QEMU waits, and its devices, until there is room for more interrupts
        return self._next_monitor_line()

    def _next_monitor_line(self) -> dict[str, Any]:
        while b"\n" not in self._monitor_buffer:
            part = self._monitor.recv(65536)
            if not part:
                raise OSError("it has ended")
            self._monitor_buffer += part
        line, self._monitor_buffer = self._monitor_buffer.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        if said.get("event") == "SHUTDOWN" and self._stopped is None and (reason := REASONS.get(said["data"]["reason"])):
            self._stopped = (reason, 0)
        return said

    @property
    def stopped(self) -> tuple[Stopped, int] | None:
        """See `IoSpace`."""
        if self._stopped is None and self._process.poll() is not None:
            self._end()
        return self._stopped

    def _end(self) -> None:
        """QEMU has ended, or is about to: why?"""
        if self._stopped is not None:
            self.lines.stop()
            return
        try:
            status = self._process.wait(ANSWER_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        try:
            while self._stopped is None:
                self._next_monitor_line()
        except OSError:
            if status & 1 and status > 1:
                self._stopped = (Stopped.DEBUG_EXIT, status >> 1)
        if self._stopped is None:
            self._stopped = (Stopped.FAILED, status)
        self.lines.stop()

    def _give_up(self) -> NoReturn:
        self._process.kill()
        self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        raise MachineStoppedError(f"QEMU does not start: {said or f'no answer within {START_TIMEOUT:g} s'}")

    def close(self) -> None:
        """Switch it off, as by pulling the plug."""
        if self._stopped is None:
            self._stopped = (Stopped.CLOSED, 0)
        self._process.kill()
        self._process.wait()
        if self._socket.fileno() >= 0:
            with suppress(RuntimeError):  # no loop runs any more, and so nobody listens
                trio.lowlevel.notify_closing(self._socket)
        self._undo.close()
        self.lines.stop()
        machines = _machines.get(self._owner, [])
        if self in machines:
            machines.remove(self)


@cache
def _rom(firmware: bytes) -> str:
    """The path of a ROM with it: a file without a name, for as long as this OS process lives."""
    rom = bytearray(b"\xf4" * ROM_SIZE)
    rom[: len(firmware)] = firmware
    vector = TO_BEGINNING if firmware else SLEEP
    rom[RESET_VECTOR : RESET_VECTOR + len(vector)] = vector
    descriptor = os.memfd_create("beamlike-rom", os.MFD_CLOEXEC)
    os.write(descriptor, rom)
    return f"/proc/{os.getpid()}/fd/{descriptor}"


_machines: dict[Process, list[Qemu]] = {}


def _released(process: Process, reason: object) -> None:
    for each in list(_machines.get(process, ())):
        each.close()
    _machines.pop(process, None)


on_release.append(_released)
