"""The lock: what an OS process does to itself before its first untrusted line, in the one order that works.

Theory of operation. Each step is a wall, and takes away what no later step needs. The user comes before the death signal, which a change
of user clears; the parent is looked for after that, for it may have gone before; no new privileges come before Landlock and seccomp,
which ask for it; Landlock before the last descriptor is taken; and seccomp is last, as it refuses all the calls that the others are
made of. Nothing can be undone. A zygote makes the calls ready, with the filter, and a fork of it has only to make them.

An OS process locks itself when its trio loop runs: the lock refuses what trio needs to start.
"""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Iterable
from itertools import pairwise

from cells import landlock
from cells._walls import ffi, lib
from cells.errors import CellUnavailable
from cells.seccomp import Filter
from cells.syscalls import Call, Calls, call

NOBODY = 65534  # the user and group of a cell that root made

# From linux/prctl.h, linux/sched.h and linux/capability.h
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS, _SET_MDWE, _GET_MDWE = 1, 4, 38, 65, 66
_MDWE_REFUSE_EXEC_GAIN = 1
_CLONE_THREAD = 0x10000
_CAPABILITIES_VERSION_3 = 0x20080522
_LAST_FD = 0xFFFFFFFF


class Lock:
    """Made once in a zygote, after it has entered its namespaces; applied in each of its forks.

    It lets the zygote, too, have the signals that tell why a cell ended, whatever its parent ignored.

    Args:
        executable: allow memory that a compiler fills with code, which wasm needs.

    Raises: CellUnavailable on a machine whose system calls have no table.
    """

    def __init__(self, executable: bool) -> None:
        self.executable = executable
        self._parent = os.getpid()
        self._memory = ffi.new("uint64_t[2]")  # each a struct rlimit
        self._cpu = ffi.new("uint64_t[2]")
        self._none = ffi.new("uint64_t[2]")
        self._most_memory = _hard_limit(resource.RLIMIT_AS)
        self._most_cpu = _hard_limit(resource.RLIMIT_CPU)
        self.filter = Filter(executable)
        calls = self.calls()
        until = 1 + max(index for index, call in enumerate(calls) if call.wall in ("one thread", "user", "death signal"))
        self._first, self._rest = Calls(calls[:until]), Calls(calls[until:])
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGXCPU, signal.SIGSYS))

    def calls(self) -> list[Call]:
        """The walls in their order, each with the system call that puts it up, or two."""
        user = os.geteuid() or NOBODY
        capabilities = ffi.new("uint32_t[2]", [_CAPABILITIES_VERSION_3, 0])
        calls = [Call("one thread", "unshare", (_CLONE_THREAD,))]  # refused to who is not alone; most walls are a thread's own
        if os.geteuid() == 0:
            calls += [Call("user", "setgroups", (0, 0)), Call("user", "setresgid", (NOBODY, NOBODY, NOBODY))]
        calls += [
            Call("user", "setresuid", (user, user, user)),
            Call("user", "capset", (capabilities, ffi.new("uint32_t[6]"))),  # who is root in a user namespace only by its capabilities
            Call("death signal", "prctl", (_SET_PDEATHSIG, signal.SIGKILL)),
            self._limit(resource.RLIMIT_AS, self._memory),
            self._limit(resource.RLIMIT_CPU, self._cpu),
        ]
        for refused in ("NPROC", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE"):
            calls.append(self._limit(getattr(resource, f"RLIMIT_{refused}"), self._none))
        calls += [
            Call("not dumpable", "prctl", (_SET_DUMPABLE, 0)),
            Call("no new privileges", "prctl", (_SET_NO_NEW_PRIVS, 1)),
        ]
        if not self.executable and has_mdwe():
            calls.append(Call("mdwe", "prctl", (_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN)))
        if abi := landlock.version():
            calls += landlock.deny_all(abi)
        return [*calls, self._limit(resource.RLIMIT_NOFILE, self._none), self.filter.install()]

    def apply(self, memory: int, cpu: int, parent_alive_fd: int | None) -> None:
        """Lock this OS process, for ever. Untrusted code may run as soon as it returns; if it raises, nothing untrusted may.

        It ends the OS process if the parent is gone already. No descriptor can be opened afterwards; those that are open stay.

        Args:
            memory: bytes of address space it may get in addition to what it has.
            cpu: seconds of CPU time in its whole life: a SIGXCPU that it cannot handle, and a SIGKILL a second later if it blocks that.
            parent_alive_fd: is readable, or hung up, when the parent has gone: a pidfd of it, or the end of a pipe that it holds. None:
                the parent is who made this Lock, and its pid is compared.

        Raises: CellUnavailable, which names the wall that the kernel refused; ValueError for a limit below 1.
        """
        if memory < 1 or cpu < 1:
            raise ValueError(f"a cell gets at least 1 byte and 1 second, not memory={memory!r} and cpu={cpu!r}")
        self._memory[0] = self._memory[1] = min(address_space() + memory, self._most_memory)
        self._cpu[0], self._cpu[1] = min(cpu, self._most_cpu), min(cpu + 1, self._most_cpu)
        self.filter.name_pid()
        self._first.make()
        if self._is_orphan(parent_alive_fd):
            os._exit(1)
        self._rest.make()

    def _limit(self, limited: int, most: object) -> Call:
        return Call("limits", "prlimit64", (0, limited, most, 0))

    def _is_orphan(self, parent_alive_fd: int | None) -> bool:
        if parent_alive_fd is None:
            return os.getppid() != self._parent
        poll = select.poll()
        poll.register(parent_alive_fd, select.POLLIN)
        return bool(poll.poll(0))


def prepare(executable: bool) -> Lock:
    """A Lock, see there: what of it is the same for all cells is done now."""
    return Lock(executable)


def close_all_but(fds: Iterable[int]) -> None:
    """Close every other descriptor. For the fork of a zygote, before it starts trio. Raises: OSError."""
    for low, high in pairwise([-1, *sorted(set(fds)), _LAST_FD + 1]):
        if high - low > 1:
            call("close_range", low + 1, high - 1, 0)


def has_mdwe() -> bool:
    """Whether this kernel can refuse memory that was writable to become executable (Linux 6.3)."""
    try:
        call("prctl", _GET_MDWE, 0, 0, 0, 0)
    except OSError:
        return False
    return True


def address_space() -> int:
    """Bytes of it in use, as RLIMIT_AS counts them; without a /proc. Raises: CellUnavailable if no limit can be set."""
    if (used := lib.bl_address_space()) < 0:
        raise CellUnavailable(f"the kernel refused a wall of a cell, limits: RLIMIT_AS: {os.strerror(-used)}")
    return used


def _hard_limit(limited: int) -> int:
    most = resource.getrlimit(limited)[1]
    return (1 << 64) - 1 if most == resource.RLIM_INFINITY else most
