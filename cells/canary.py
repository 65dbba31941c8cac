"""The canary: a cell that attacks, before there is one with a program in it. If any of its attacks succeeds there will be none.

The lock reported success, but a sandbox around us may accept calls that it does not enforce, and we may have made a mistake.
"""

from __future__ import annotations

import _thread
import mmap
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from cells.attempt import attempt
from cells.errors import CellUnavailable
from cells.seccomp import violation_of
from cells.syscalls import call

MEMORY = 16 << 20  # bytes
CPU = 10  # seconds; it needs milliseconds
PROMPT = 1.0  # seconds in which a signal arrives

_REFUSALS = (OSError, RuntimeError)  # RuntimeError: no thread can be started
_SET_DUMPABLE, _TRACEME = 4, 0  # from linux/prctl.h and linux/ptrace.h
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_NO_FD = (1 << 64) - 1
_MORE = struct.pack("=QQ", 64, 64)  # than no descriptors at all


class Locks(Protocol):
    """What is tried: a `Lock`."""

    def apply(self, memory: int, cpu: int, parent_alive_fd: int | None) -> None: ...


class Prey(NamedTuple):
    """What an attacker finds in its OS process."""

    memfd: int
    zygote: int


def check(lock: Locks) -> None:
    """Lock forks of this OS process, and see them attack in vain. For a zygote, when it has its Lock; takes milliseconds.

    Raises: CellUnavailable, which names every attack that succeeded, or the wall that the lock could not put up; OSError if there
    can be no fork.
    """
    prey = Prey(os.memfd_create("canary", os.MFD_CLOEXEC), os.getpid())
    try:
        os.ftruncate(prey.memfd, mmap.PAGESIZE)
        succeeded = [*_attacks(lock, prey), *_forbidden(lock), *_orphan(lock)]
    finally:
        os.close(prey.memfd)
    if succeeded:
        raise CellUnavailable(
            f"a locked cell can still {', '.join(succeeded)}: this kernel, or a sandbox around it, does not enforce a wall"
        )


def _attacks(lock: Locks, prey: Prey) -> list[str]:
    def body() -> str:
        lock.apply(MEMORY, CPU, None)
        return "\n".join(name for name, act in ATTACKS.items() if not _is_refused(act, prey))

    outcome = attempt(body)
    if outcome.said is None:
        raise CellUnavailable(outcome.raised or f"the canary ended with status {outcome.status} in the midst of its attacks")
    return outcome.said.splitlines()


def _is_refused(act: Callable[[Prey], object], prey: Prey) -> bool:
    try:
        act(prey)
    except _REFUSALS:
        return True
    return False


def _fork(_: Prey) -> None:
    if os.fork() == 0:
        os._exit(0)


def _be_root(_: Prey) -> None:
    if os.geteuid() != 0:
        raise PermissionError("it is not root")


# Each must raise; the names complete "a cell can".
ATTACKS: dict[str, Callable[[Prey], object]] = {
    "open a file": lambda _: os.open("/", os.O_RDONLY),
    "look at a file": lambda _: os.stat("/"),
    "make a socket": lambda _: socket.socket(socket.AF_UNIX),
    "fork": _fork,
    "start a thread": lambda _: _thread.start_new_thread(time.sleep, (0,)),
    "map a descriptor": lambda prey: call("mmap", 0, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_PRIVATE, prey.memfd, 0),
    "write to a file": lambda prey: os.write(prey.memfd, b"!"),
    "truncate a file": lambda prey: os.ftruncate(prey.memfd, 1),
    "copy a descriptor": lambda prey: os.dup(prey.memfd),
    "make a memfd": lambda _: os.memfd_create("attack"),
    "signal its zygote": lambda prey: os.kill(prey.zygote, 0),
    "raise a limit": lambda _: call("prlimit64", 0, resource.RLIMIT_NOFILE, _MORE, 0),
    "become dumpable": lambda _: call("prctl", _SET_DUMPABLE, 1, 0, 0, 0),
    "replace the handler of SIGSYS": lambda _: signal.signal(signal.SIGSYS, signal.SIG_IGN),
    "have more memory than its limit": lambda _: call("mmap", 0, 2 * MEMORY, mmap.PROT_READ, _ANONYMOUS, _NO_FD, 0),
    "be root": _be_root,
    "make memory that it can write and execute": lambda _: call(
        "mmap", 0, mmap.PAGESIZE, mmap.PROT_WRITE | mmap.PROT_EXEC, _ANONYMOUS, _NO_FD, 0
    ),
}

# Each must end the cell with the status that tells which call it was.
FORBIDDEN: dict[str, Callable[[], object]] = {
    "execve": lambda: os.execv("/", ["/"]),
    "ptrace": lambda: call("ptrace", _TRACEME, 0, 0, 0),
}


def _forbidden(lock: Locks) -> list[str]:
    def body(act: Callable[[], object]) -> str:
        lock.apply(MEMORY, CPU, None)
        act()
        return "it returned"

    return [f"call {name}" for name, act in FORBIDDEN.items() if violation_of(attempt(partial(body, act)).status) != name]


def _orphan(lock: Locks) -> list[str]:
    """The parent of a locked cell ends, and the cell must."""

    def body() -> str:
        is_locked, locked = os.pipe()
        lives, living = os.pipe()
        if pid := os.fork():
            os.close(locked)
            os.read(is_locked, 1)
            return str(pid)
        os.close(living)
        lock.apply(MEMORY, CPU, lives)
        os.write(locked, b"!")
        time.sleep(PROMPT)
        return "survived"

    outcome = attempt(body)
    if outcome.said is None:
        raise CellUnavailable(outcome.raised or f"the parent of the canary ended with status {outcome.status}")
    orphan, _, survived = outcome.said.partition("+")
    with suppress(ChildProcessError):  # it is ours if we are pid 1 of a namespace
        os.waitpid(int(orphan), 0)
    return ["outlive its zygote"] if survived else []
