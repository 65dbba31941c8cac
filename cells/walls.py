"""Which walls this machine gives, found by trying each.

A kernel's version, or the return code of a call, says little: kernels are configured, and there are sandboxes that accept calls which they
do not enforce. So each probe puts up its wall in an OS process of its own and runs against it. Without a required wall there is no cell.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from cells import landlock, lockdown, namespaces
from cells.attempt import attempt
from cells.errors import CellUnavailable
from cells.syscalls import Calls, machine

PROMPT = 1.0  # seconds in which a signal arrives


class NotEnforcedError(AssertionError):
    """A wall was put up without an error, and what it must refuse went through."""


class Wall(NamedTuple):
    """`probe` puts it up and returns what there is to say about it; it raises OSError or NotEnforcedError if it is missing."""

    name: str
    is_required: bool
    probe: Callable[[], str]
    advice: str


class Found(NamedTuple):
    name: str
    is_required: bool
    is_present: bool
    detail: str  # about a wall that is present; or why it is missing, and what to do


class Walls(NamedTuple):
    """What is there on this machine."""

    found: tuple[Found, ...]

    @property
    def names(self) -> frozenset[str]:
        """Of those that are present."""
        return frozenset(wall.name for wall in self.found if wall.is_present)


def probe(table: Iterable[Wall] | None = None) -> list[Found]:
    """Try every wall of the table, each in a fork of this OS process; of all that there are, if none is given. Blocks for milliseconds.

    Raises: OSError if there can be no fork.
    """
    return [_found(wall) for wall in (WALLS if table is None else table)]


@cache
def require(strict: bool) -> Walls:
    """Try them the first time, and remember. With `strict` every wall is required.

    Raises: CellUnavailable, which names every wall that is missing, why, and what to do.
    """
    return demand(_remembered(), strict)


def demand(found: Iterable[Found], strict: bool) -> Walls:
    """See `require`."""
    walls = Walls(tuple(found))
    missing = [wall for wall in walls.found if not wall.is_present and (wall.is_required or strict)]
    if missing:
        named = "; ".join(f"{wall.name}: {wall.detail}" for wall in missing)
        raise CellUnavailable(f"no cell on this machine, for it lacks {'a wall' if len(missing) == 1 else 'walls'}: {named}")
    return walls


@cache
def _remembered() -> tuple[Found, ...]:
    return tuple(probe())


def _found(wall: Wall) -> Found:
    try:
        outcome = attempt(wall.probe)
    except TimeoutError as error:
        return Found(wall.name, wall.is_required, False, f"{error}; {wall.advice}")
    if outcome.said is not None:
        return Found(wall.name, wall.is_required, True, outcome.said)
    why = outcome.raised if outcome.raised is not None else f"its probe ended with status {outcome.status}"
    return Found(wall.name, wall.is_required, False, f"{why}; {wall.advice}")


def _refused(what: str, act: Callable[[], object]) -> None:
    with suppress(OSError):
        act()
        raise NotEnforcedError(f"{what} went through")


def _put_up(*names: str) -> None:
    """These walls of the lock, as a cell does."""
    lock = lockdown.prepare(executable=False)
    lock.filter.name_pid()
    Calls(call for call in lock.calls() if call.wall in names).make()


def _numbers() -> str:
    machine()
    return os.uname().machine


def _seccomp() -> str:
    _put_up("no new privileges", "seccomp")
    _refused("a pipe", os.pipe)
    _refused("a look at a file", lambda: os.stat("/"))
    return "an allow-list of system calls"


def _sealed() -> str:
    fd = os.memfd_create("probe", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, mmap.PAGESIZE)
    ours = mmap.mmap(fd, mmap.PAGESIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    _refused("a truncation", lambda: os.ftruncate(fd, 0))
    ours[0] = 1
    return "shared memory that cannot be truncated"


def _death_signal() -> str:
    gone, alive = os.pipe()
    ready, is_ready = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            _put_up("death signal")
            os.write(is_ready, b"!")
            time.sleep(2 * PROMPT)
            os._exit(1)
        os.close(is_ready)
        os.read(ready, 1)
        os._exit(0)
    os.close(alive)
    poll = select.poll()
    poll.register(gone, select.POLLHUP)
    if not poll.poll(PROMPT * 1000):
        raise NotEnforcedError("an OS process outlived its parent")
    return "a cell ends with its zygote"


def _limits() -> str:
    used = lockdown.address_space()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), used + (1 << 20)))
    _refused("memory past RLIMIT_AS", lambda: mmap.mmap(-1, 2 << 20))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    _refused("a descriptor past RLIMIT_NOFILE", os.pipe)
    return "memory, CPU time, descriptors"


def _user() -> str:
    _put_up("user")
    if 0 in os.getresuid():
        raise NotEnforcedError(f"it is still root: {os.getresuid()}")
    _refused("becoming root again", lambda: os.setuid(0))
    return f"uid {os.geteuid()}, without capabilities"


def _landlock() -> str:
    if not (abi := landlock.version()):
        raise OSError("the kernel has no Landlock")
    _put_up("no new privileges", "landlock")
    _refused("opening a directory", lambda: os.open("/", os.O_RDONLY))
    return f"version {abi}"


def _scopes() -> str:
    if (abi := landlock.version()) < landlock.SCOPED:
        raise OSError(f"Landlock of this kernel is version {abi}, and it is {landlock.SCOPED} that has scopes")
    parent = os.getppid()
    _put_up("no new privileges", "landlock")
    _refused("a signal to another OS process", lambda: os.kill(parent, 0))
    return "no signals, no abstract sockets"


def _namespaces() -> str:
    if not (entered := namespaces.enter()):
        raise OSError("the kernel refuses them")
    if os.getpid() != 1 or os.listdir("/"):
        raise NotEnforcedError(f"pid {os.getpid()} sees {os.listdir('/')} at the root")
    _refused("writing at the root", lambda: os.mkdir("/x"))
    return ", ".join(entered)


def _mdwe() -> str:
    if not lockdown.has_mdwe():
        raise OSError("the kernel has no MDWE")
    _put_up("mdwe")
    _refused("memory to write and execute", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC))
    return "no memory is both written and executed"


WALLS = (
    Wall("machine", True, _numbers, "run it on one of these"),
    Wall("seccomp", True, _seccomp, "use a kernel with CONFIG_SECCOMP_FILTER, outside of sandboxes that refuse it"),
    Wall("seals", True, _sealed, "use a kernel with sealed memfds (Linux 3.17), outside of sandboxes that refuse them"),
    Wall("death signal", True, _death_signal, "use a kernel that honours PR_SET_PDEATHSIG, not an emulation of one"),
    Wall("limits", True, _limits, "use a kernel that honours resource limits, not an emulation of one"),
    Wall("user", True, _user, "run as an ordinary user, or as a root that may change its user (CAP_SETUID, CAP_SETGID)"),
    Wall("landlock", False, _landlock, "use Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK, and landlock in its lsm= list"),
    Wall("landlock scopes", False, _scopes, "use Linux 6.12 or newer"),
    Wall(
        "namespaces", False, _namespaces, "run as root with CAP_SYS_ADMIN, or where user namespaces are allowed (user.max_user_namespaces)"
    ),
    Wall("mdwe", False, _mdwe, "use Linux 6.3 or newer"),
)
