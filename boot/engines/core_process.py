"""The OS processes of cores: a fork of one that has imported Unicorn for each, which talks to the board over a socket of its own.

Theory of operation. The forge is a fresh interpreter with one thread. It gets a core's number, where it begins, and the core's end of its
socket, and answers with a pidfd, which it opens before it could reap the core: so the pid is surely the core's. When the board has gone
the forge ends, and with it, by PR_SET_PDEATHSIG, all cores; so nothing outlives the board, whoever is killed.

A core's messages are texts, one a packet. `read`, `command` and `idle` are answered; a core that is to die gets no answer, but SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from typing import NoReturn

from boot.engines.bus import real_ticks
from boot.engines.core import Core
from boot.engines.disk import Disk
from boot.engines.memory import GuestMemory

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15  # prctl(2)
LONGEST = 4096  # bytes of a message
LINE = 80  # bytes that are said at once


def main(descriptor: int) -> None:
    """The forge. Memory and medium come over this socket first, then the requests. Without a medium the board is asked for each read."""
    board = socket.socket(fileno=descriptor)
    _, descriptors, _, _ = socket.recv_fds(board, 1, 2)
    memory = GuestMemory.of(descriptors[0])
    disk = Disk(descriptors[1]) if len(descriptors) > 1 else None
    board.send(b"ready")
    own = os.getpid()
    while True:
        request, descriptors, _, _ = socket.recv_fds(board, LONGEST, 1)
        _reap()
        if not request:
            return
        number, start, tells_idle = map(int, request.split())
        pid = os.fork()
        if pid == 0:
            board.close()
            bus = RemoteBus(socket.socket(fileno=descriptors[0]), memory, disk)
            _be_core(number, start, memory, bus, bool(tells_idle), own)
        os.close(descriptors[0])
        pidfd = os.pidfd_open(pid)
        socket.send_fds(board, [b"forked"], [pidfd])
        os.close(pidfd)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass  # there is none


def _be_core(number: int, start: int, memory: GuestMemory, bus: RemoteBus, tells_idle: bool, forge: int) -> NoReturn:
    try:
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_NAME, f"core {number}".encode())
        if os.getppid() == forge:  # else it has died before
            bus.ended(Core(number, start, memory, bus, tells_idle).run())
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the boot
        bus.failed(error)
    finally:
        os._exit(0)


class RemoteBus:
    """The board, as a core in its own OS process has it: see `Bus`."""

    def __init__(self, board: socket.socket, memory: GuestMemory, disk: Disk | None) -> None:
        self._board = board
        self._memory = memory
        self._disk = disk
        self._line = bytearray()

    def _ask(self, message: str) -> bytes:
        self._board.send(message.encode())
        answer = self._board.recv(LONGEST)
        if not answer:
            os._exit(0)  # the board has gone
        return answer

    def read(self, core: int, lba: int, count: int, address: int) -> tuple[int, int]:
        if self._disk is not None:
            return self._disk.read(lba, count, self._memory, address)
        status, done = map(int, self._ask(f"read {lba} {count} {address}").split())
        return status, done

    def command(self, core: int, target: int, command: int) -> None:
        self.flush()
        self._ask(f"command {target} {command}")

    def idle(self, core: int) -> None:
        self._ask("idle")

    def say(self, core: int, letter: int) -> None:
        self._line.append(letter)
        if letter == ord("\n") or len(self._line) == LINE:
            self.flush()

    def flush(self) -> None:
        """Send what was said in part."""
        if self._line:
            self._board.send(b"say " + self._line)
            self._line.clear()

    def finish(self, core: int, status: int) -> None:
        self.flush()
        self._board.send(f"finish {status}".encode())

    def fault(self, core: int, vector: int, rip: int, cr2: int) -> None:
        self.flush()
        self._board.send(f"fault {vector} {rip} {cr2}".encode())

    def ended(self, why: str) -> None:
        """The core has stopped by itself; `why` if that is not how it should be."""
        self.flush()
        self._board.send(f"ended {why}".encode())

    def failed(self, error: Exception) -> None:
        """What is around the core has failed: that is no death of the core."""
        self._board.send(f"failed {type(error).__name__}: {error}".encode()[:LONGEST])

    def ticks(self) -> int:
        return real_ticks()
