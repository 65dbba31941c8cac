"""What the platforms of unikernels have in common: the memory, and an OS process that this node has started and reaps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from cells.seam import Ended, Maker, tell_safely
from unikernels import cores
from unikernels.images import Image
from unikernels.memory import Memory

MOST_NAMED: Final = 60  # characters of a name that an OS process gets; a memfd's has at most 249 bytes


def _reaped(pid: int) -> Ended:
    """How our child, which has ended or is about to, has."""
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:  # where SIGCHLD is ignored, which is inherited, the kernel does it
        return Ended(None, why="it was reaped by somebody else")
    return Ended(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)  # ru_maxrss begins with what the node has


class Platform(Maker):
    """The `Maker` of one unikernel, but for how it is started. Called off by `close` if nothing has come of it.

    Args:
        core: the only one that it runs on; None: any.
        room: bytes of memory, besides the program and the rings.
    """

    def __init__(self, name: str, image: Image, capacity: int, longest: int, *, core: int | None, room: int) -> None:
        self.name = name
        self.image = image
        self.capacity = capacity
        self.longest = longest
        self.core = core
        self.room = room
        self.memory: Memory | None = None

    def plain_name(self) -> str:
        """As the kernel takes it."""
        return "".join(each for each in self.name if each.isprintable())[:MOST_NAMED]

    def placed_on(self) -> set[int]:
        """The cores that it runs on."""
        return cores.free() if self.core is None else {self.core}

    def _make_memory(self) -> Memory:
        """It looks for records before it sleeps as long as it is alone on its core."""
        self.memory = Memory(self.capacity, self.longest)
        if self.core is not None:
            cores.take(self.core, self.memory)
        return self.memory

    def _watch(self, pid: int, forked: Callable[[int], None], ended: Callable[[Ended], None]) -> None:
        """Of our child: tell of its begin, and later of its end. Raises: OSError: no descriptor is left, and it is killed."""
        try:
            pidfd = os.pidfd_open(pid)
            theirs = os.dup(pidfd)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # it is not reaped yet, so that is still its number
            _reaped(pid)
            raise
        forked(theirs)
        trio.lowlevel.spawn_system_task(self._await_end, pid, pidfd, ended)

    async def _await_end(self, pid: int, pidfd: int, ended: Callable[[Ended], None]) -> None:
        """A system task."""
        try:
            await trio.lowlevel.wait_readable(pidfd)
        except trio.Cancelled:  # the node ends
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            raise
        finally:
            os.close(pidfd)
            tell_safely(ended, _reaped(pid))
            tell_safely(lambda _: self.close(), None)

    def close(self) -> None:
        """Let go of the memory, if there is any."""
        if self.memory is not None:
            if self.core is not None:
                cores.give_back(self.core, self.memory)
            self.memory.close()
            self.memory = None
