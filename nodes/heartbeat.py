"""Heartbeats: a node that lives but does not move is found, and killed (D2).

Theory of operation. Every node has a page of shared memory that all others map. A task of its loop counts it up, so it stands still when
the node is stopped or its loop is held up, by a process that is long in C; the scheduler writes into it which process it steps. The
conductor looks at all pages, the next eldest at the conductor's. What counts is time in which the watcher itself had its turns, and in
which the other was not waiting for a core: so a pause of the machine, or a busy one, kills nobody. Before it is killed the node is sent a
signal upon which Python's faulthandler writes its stack into the page, in C, whatever the interpreter does.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from beamlike.seam import watch_steps
from nodes.membership import Member, Membership

LOOK = 0.05  # seconds between two looks of who watches
BEATS = 20  # in a hang timeout
SIGNAL: Final = signal.SIGRTMAX - 1  # upon which a node writes its stack
STACK_PATIENCE = 0.05  # seconds for that
SIZE: Final = 4096
_BEAT: Final = struct.Struct("<Q")
_STEPPED: Final = 8  # offset: serial of the process that is stepped, 0: none
_STACK: Final = 64  # offset: text, to the first NUL


class Heart:
    """The page of this node."""

    def __init__(self, memfd: int, hang_timeout: float) -> None:
        self.page = mmap.mmap(memfd, SIZE)
        self.period = hang_timeout / BEATS
        watch_steps(memoryview(self.page)[_STEPPED : _STEPPED + 8])
        os.lseek(memfd, _STACK, os.SEEK_SET)
        faulthandler.register(SIGNAL, file=memfd, all_threads=False)  # which keeps the descriptor

    async def beat(self) -> None:
        """A system task."""
        count = 0
        while True:
            count += 1
            _BEAT.pack_into(self.page, 0, count)
            await trio.sleep(self.period)


class Watched:
    """What is known of one node's beats."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.beat = -1
        self.cpu = -1
        self.still = 0.0  # seconds without a beat, as far as they count

    def look(self, seconds: float) -> None:
        """One more look, `seconds` after the last."""
        beat = _BEAT.unpack_from(self.member.page)[0]
        state, cpu = _state(self.member.pid)
        if beat != self.beat:
            self.still = 0.0
        elif state != "R" or cpu != self.cpu:
            self.still += seconds
        self.beat, self.cpu = beat, cpu


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
            await trio.sleep(LOOK)
            now = trio.current_time()
            seconds, before = min(now - before, 2 * LOOK), now
            charges = {member.id.incarnation: member for member in self._charges()}
            self.watched = {key: self.watched.get(key) or Watched(member) for key, member in charges.items()}
            for each in list(self.watched.values()):
                each.look(seconds)
                if each.still >= self.hang_timeout:
                    await self._end(each)

    def _charges(self) -> list[Member]:
        eldest = sorted(self.membership.members.values(), key=lambda member: member.id.incarnation)
        if self.membership.conductor() == self.membership.me:
            return eldest
        mine = self.membership.me.incarnation
        return eldest[:1] if all(member.id.incarnation > mine for member in eldest[1:]) else []

    async def _end(self, hung: Watched) -> None:
        member = hung.member
        stepped = _BEAT.unpack_from(member.page, _STEPPED)[0]
        stack = ""
        if _state(member.pid)[0] not in "Tt":
            member.page[_STACK] = 0
            with suppress(OSError):
                signal.pidfd_send_signal(member.pidfd, SIGNAL)
                await trio.sleep(STACK_PATIENCE)
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
