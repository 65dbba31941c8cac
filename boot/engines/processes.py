"""A machine with Unicorn whose cores are OS processes: what runs in one of them cannot hurt anybody, and a core dies by SIGKILL."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from boot.engines.board import Board
from boot.engines.bus import CoreDiedError
from boot.engines.disk import NO_FAULTS, FaultPlan
from boot.engines.machine import BootMachine
from boot.engines.memory import GuestMemory
from boot.engines.outcome import Ending
from boot.engines.unicorns import unicorn_folder
from boot.errors import EngineError

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 20.0  # seconds for what takes 0.1 on an idle machine: an interpreter that imports Unicorn, a fork, a death
LONGEST: Final = 4096  # bytes of a message
_PROGRAM = "import sys; sys.path[:0] = {paths!r}; from boot.engines.core_process import main; main({descriptor})"


class ProcessMachine(BootMachine):
    """See `BootMachine`; `faults`: what is to go wrong."""

    name = "unicorn"

    def __init__(self, cores: int = 2, memory: int = 64, timeout: float = 30.0, faults: FaultPlan = NO_FAULTS) -> None:
        super().__init__(cores, memory, timeout)
        self.faults = faults

    def _run(self, medium: int, memory: GuestMemory, stopping: threading.Event) -> Ending:
        with ExitStack() as undo:
            # A core reads by itself, which saves 30 ms of 4 MB (0.12 s in the guest), unless the board is to let something go wrong.
            forge = Forge(memory, medium if self.faults == NO_FAULTS else None)
            undo.callback(forge.close)
            return ProcessBoard(medium, memory, self.cores, self.faults, forge).run(self.timeout, stopping)


class Forge:
    """The OS process that forks cores: see `core_process`. Raises: EngineError: it does not start."""

    def __init__(self, memory: GuestMemory, medium: int | None) -> None:
        paths = [str(ROOT), unicorn_folder()]
        with ExitStack() as undo:
            self._said = undo.enter_context(tempfile.TemporaryFile())
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._socket.close)
            self._socket.settimeout(PATIENCE)
            with theirs:
                # Without `site`: half the time, and nothing of what the user has put there.
                command = [sys.executable, "-I", "-S", "-c", _PROGRAM.format(paths=paths, descriptor=theirs.fileno())]
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=self._said,
                    stderr=self._said,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            undo.callback(self._end)
            self._answer(b"x", memory.descriptor, *([] if medium is None else [medium]))
            self._undo = undo.pop_all()

    def fork(self, core: int, start: int, tells_idle: bool, board: socket.socket) -> int:
        """A core that begins there, and has this end of its socket: a pidfd, to be closed by the caller."""
        pidfd = self._answer(f"{core} {start} {int(tells_idle)}".encode(), board.fileno())[0]
        os.set_inheritable(pidfd, False)  # as recv_fds gives it, it is
        return pidfd

    def _answer(self, request: bytes, *given: int) -> list[int]:
        try:
            socket.send_fds(self._socket, [request], given)
            answer, descriptors, _, _ = socket.recv_fds(self._socket, LONGEST, 1)
        except OSError as error:
            answer, descriptors, why = b"", [], str(error)
        else:
            why = "it has ended"
        if not answer:
            self._end()
            self._said.seek(0)
            raise EngineError(f"the process that forks cores does not answer: {self._said.read().decode(errors='replace').strip() or why}")
        return descriptors

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it, and all cores with it."""
        self._undo.close()


@dataclass(frozen=True)
class CoreProcess:
    """A core that was started: our end of its socket, and its pidfd."""

    socket: socket.socket
    pidfd: int


class ProcessBoard(Board):
    """See `Board`. All of it is in one thread, which waits for the messages of the cores."""

    def __init__(self, medium: int, memory: GuestMemory, cores: int, plan: FaultPlan, forge: Forge) -> None:
        super().__init__(medium, memory, cores, plan)
        self._forge = forge
        self._processes: dict[int, CoreProcess] = {}
        self._poll = select.poll()
        self._numbers: dict[int, int] = {}  # cores by their sockets

    def _start(self, core: int, start: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                pidfd = self._forge.fork(core, start, self.tells_idle(core), theirs)
            except BaseException:
                ours.close()
                raise
        self._processes[core] = CoreProcess(ours, pidfd)
        self._numbers[ours.fileno()] = core
        self._poll.register(ours, select.POLLIN)

    def _is_started(self, core: int) -> bool:
        return core in self._processes

    def _stop(self, core: int) -> None:
        if core in self._processes:
            self._end(core)
            process = self._processes.pop(core)
            self._forget(process)
            process.socket.close()
            os.close(process.pidfd)

    def _end(self, core: int) -> None:
        """SIGKILL it, and wait until it can do no more."""
        process = self._processes[core]
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
        end = select.poll()
        end.register(process.pidfd, select.POLLIN)
        if not end.poll(PATIENCE * 1000):
            raise EngineError(f"the OS process of core {core} does not end by SIGKILL within {PATIENCE:g} s")

    def _forget(self, process: CoreProcess) -> None:
        if self._numbers.pop(process.socket.fileno(), None) is not None:
            self._poll.unregister(process.socket)

    def _wait(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(seconds * 1000):
            core = self._numbers.get(descriptor)
            if core is not None:
                self._receive(core)

    def _receive(self, core: int) -> None:
        process = self._processes[core]
        try:
            message = process.socket.recv(LONGEST)
        except ConnectionResetError:
            message = b""  # it was killed with an answer unread
        if not message:
            self._forget(process)
            self.ended(core, "")
            return
        verb, _, rest = message.partition(b" ")
        try:
            answer = self._do(core, verb, rest)
        except CoreDiedError:
            self._end(core)
        else:
            if answer:
                with suppress(BrokenPipeError):  # it was killed meanwhile
                    process.socket.send(answer)

    def _do(self, core: int, verb: bytes, rest: bytes) -> bytes:
        if verb == b"say":
            self.serial += rest
            return b""
        if verb == b"ended":
            self.ended(core, rest.decode())
            return b""
        if verb == b"failed":
            raise EngineError(f"the OS process of core {core} has failed: {rest.decode(errors='replace')}", core=core)
        numbers = [int(word) for word in rest.split()]
        match verb, numbers:
            case b"read", [lba, count, address]:
                status, done = self.read(core, lba, count, address)
                return b"%d %d" % (status, done)
            case b"command", [target, command]:
                self.command(core, target, command)
                return b"done"
            case b"idle", []:
                self.idle(core)
                return b"done"
            case b"finish", [status]:
                self.finish(core, status)
            case b"fault", [vector, rip, cr2]:
                self.fault(core, vector, rip, cr2)
            case _:
                raise EngineError(f"core {core} says {verb!r} {rest!r}, which nobody understands")
        return b""
