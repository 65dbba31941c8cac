"""Heartbeats: a node that lives but does not move is found, and killed (D2).

Theory of operation. Every node has a page of shared memory that all others map. A task of its loop writes the time there, which stands
still when the node is stopped or its loop is held up, by a process that is long in C; the scheduler writes into it which process it
steps. The conductor looks at all pages, every other node at those of its elders: if they all stand still, it does what the conductor
would. What counts is time in which the watcher itself had its turns, and in which the other was not waiting for a core: so a pause of the
machine, or a busy one, kills nobody. Before it is killed the node is sent a signal upon which Python's faulthandler writes its stack into
the page, in C, whatever the interpreter does.

The page, by offset: 0 the beats, 8 the process that is stepped, 16 the load (`load`), 40 the core (`homing`), 64 the stack.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from beamlike.seam import watch_steps
from nodes.membership import Member, Membership

LOOK = 0.05  # seconds between two looks of who watches, when somebody has not moved for half of the hang timeout;
LOOKS = 10  # else there are so many in a hang timeout
BEATS = 20  # in a hang timeout
SIGNAL: Final = signal.SIGRTMAX - 1  # upon which a node writes its stack
STACK_PATIENCE = 0.05  # seconds for that
SIZE: Final = 4096
_BEAT: Final = struct.Struct("<d")  # time of the machine's clock
_SERIAL: Final = struct.Struct("<Q")
_STEPPED: Final = 8  # offset: serial of the process that is stepped, 0: none
_STACK: Final = 64  # offset: text, to the first NUL


class Heart:
    """The page of this node."""

    def __init__(self, memfd: int, hang_timeout: float) -> None:
        self.page = mmap.mmap(memfd, SIZE)
        self.times = memoryview(self.page).cast("d")
        self.period = hang_timeout / BEATS
        watch_steps(memoryview(self.page)[_STEPPED : _STEPPED + 8])
        os.lseek(memfd, _STACK, os.SEEK_SET)
        faulthandler.register(SIGNAL, file=memfd, all_threads=False)  # which keeps the descriptor

    async def beat(self) -> None:
        """A system task."""
        while True:
            self.times[0] = time.monotonic()  # one store: `struct` would write zeros first
            await trio.sleep(self.period)


class Watched:
    """What is known of one node's beats."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.beat = -1.0
        self.cpu = -1
        self.still = 0.0  # seconds without a beat, as far as they count

    def look(self, seconds: float) -> None:
        """One more look, `seconds` after the last."""
        beat = _BEAT.unpack_from(self.member.page)[0]
        if beat != self.beat:
            self.still = min(time.monotonic() - beat, seconds)
            self.beat, self.cpu = beat, -1
            return
        state, cpu = _state(self.member.pid)
        if state != "R" or cpu != self.cpu:
            self.still += seconds
        self.cpu = cpu


class Watch:
    """The watch that this node keeps, by its place among the eldest. `kill` is asked to kill a life, for a reason."""

    def __init__(self, membership: Membership, hang_timeout: float, kill: Callable[[Member, tuple[object, ...]], None]) -> None:
        self.membership = membership
        self.hang_timeout = hang_timeout
        self.kill = kill
        self.watched: dict[int, Watched] = {}  # by incarnation

    async def keep(self) -> None:
        """A system task."""
        before = trio.current_time()
        while True:
            pause = self._pause()
            await trio.sleep(pause)
            now = trio.current_time()
            seconds, before = min(now - before, 2 * pause), now
            charges = {member.id.incarnation: member for member in self._charges()}
            self.watched = {key: self.watched.get(key) or Watched(member) for key, member in charges.items()}
            for each in self.watched.values():
                each.look(seconds)
            hung = [each for each in self.watched.values() if each.still >= self.hang_timeout]
            if self.membership.conductor() == self.membership.me or len(hung) == len(self.watched):
                for each in hung:
                    await self._end(each)

    def _pause(self) -> float:
        if any(each.still > self.hang_timeout / 2 for each in self.watched.values()):
            return LOOK
        return max(self.hang_timeout / LOOKS, LOOK)

    def _charges(self) -> list[Member]:
        """Whom this node watches: the conductor all, every other its elders."""
        everybody = list(self.membership.members.values())
        if self.membership.conductor() == self.membership.me:
            return everybody
        return [member for member in everybody if member.id.incarnation < self.membership.me.incarnation]

    def _is_up(self, member: Member) -> bool:
        """Else its page and its pidfd are closed."""
        return self.membership.members.get(member.id.name) is member

    async def _end(self, hung: Watched) -> None:
        member = hung.member
        if not self._is_up(member):  # it has ended while another one wrote its stack
            return
        stepped = _SERIAL.unpack_from(member.page, _STEPPED)[0]
        stack = ""
        if _state(member.pid)[0] not in "Tt":
            member.page[_STACK] = 0
            with suppress(OSError):
                signal.pidfd_send_signal(member.pidfd, SIGNAL)
                await trio.sleep(STACK_PATIENCE)
            if not self._is_up(member):
                return
            stack = bytes(member.page[_STACK:]).partition(b"\0")[0].decode("utf-8", "replace")
        hung.still = 0.0
        self.kill(member, ("hung", stepped, stack))


def _state(pid: int) -> tuple[str, int]:
    """What Linux says of an OS process: its state, and the ticks of CPU time it has used. Z if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "Z", 0
    return fields[0].decode(), int(fields[11]) + int(fields[12])
