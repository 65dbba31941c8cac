"""Which nodes there are, as this node knows it: who is up, who was lost and why, and whom to tell.

Theory of operation. The owner announces each life, with a pidfd of its process, and its end, with the reason. The pidfd usually is faster:
when it says that a process has ended, what that had committed to our mailbox is taken, then everybody here who depends on it gets
`noconnection` (M4), and when the reason is known, within REASON_PATIENCE, those who monitor the node get `NodeDown`. The *conductor* is
the eldest life that is up; the role moves only by death, so there are never two. It asks the owner to start whatever node of the roster is
missing; who is retired is not in the roster any more.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import trio

from beamlike import Pid, record
from beamlike.seam import NodeId, Process, deliver, extra
from nodes.router import Router

# Seconds. Who reaps it broadcasts the reason when the kernel tells us of the end, if it has its turn: beside nine busy OS processes on two
# cores that was 0.19 s later. `noconnection` does not wait for it.
REASON_PATIENCE = 1.0
LOST = ("lost",)  # the reason where nobody knew it in time
RETRY = 1.0  # seconds before what ended twice before it was ready is started again


@record
class NodeUp:
    """To who monitors a node: it is there (again)."""

    name: str


@record
class NodeDown:
    """To who monitors a node: it is lost. `reason`: `("signal", "SIGKILL")`, `("status", 3)`, `("hung", …)`, `("lost",)`,
    `("retired", "3 faults in 3600 s")`: it does not come back …"""

    name: str
    reason: Any


class Retired(NamedTuple):
    """A node that is not started again: where it was, and why."""

    core: int
    reason: str


class Member:
    """One other node that is up."""

    def __init__(self, id: NodeId, pid: int, started: float, restarts: int, pidfd: int, page: mmap.mmap) -> None:
        self.id = id
        self.pid = pid
        self.started = started  # Unix time
        self.restarts = restarts  # how many lives of this name have ended before
        self.pidfd = pidfd
        self.page = page  # see nodes.heartbeat
        self.scope = trio.CancelScope()


class Membership:
    """See the module. `drain` takes all that a life has committed; `ask` sends a packet to the owner."""

    def __init__(
        self, me: NodeId, roster: tuple[str, ...], router: Router, drain: Callable[[NodeId], None], ask: Callable[..., None]
    ) -> None:
        self.me = me
        self.roster = roster
        self.router = router
        self.drain = drain
        self.ask = ask
        self.members: dict[str, Member] = {}
        self.retired: dict[str, Retired] = {}
        self.untold: dict[str, NodeId] = {}  # lives that are over, of which the watchers were not told, for the reason is not known yet
        self.ended: dict[str, int] = {}  # the incarnation of the last life that was up and is over, by name
        self.stillborn: dict[str, int] = {}  # how often in a row a node ended before it was up
        self.watchers: dict[str, set[Pid]] = {}
        self.watching: dict[Pid, set[str]] = {}  # the same by watcher
        self.is_settled = False  # all lives that were ready before this one have been announced

    def conductor(self) -> NodeId:
        """The eldest life that is up."""
        return min([self.me, *[member.id for member in self.members.values()]], key=lambda id: id.incarnation)

    def names(self) -> list[str]:
        """Of the nodes that are up, this one included, sorted."""
        return sorted([self.me.name, *self.members])

    def life_of(self, name: str) -> NodeId | None:
        """The life of this name that is up; None if none is."""
        member = self.members.get(name)
        return self.me if name == self.me.name else None if member is None else member.id

    def up(self, name: str, incarnation: int, pid: int, started: float, restarts: int, pidfd: int, page: mmap.mmap) -> None:
        """The owner announces a life."""
        before = self.members.get(name)
        if before is not None:
            self._lose(before)
        if name in self.untold:  # first things first
            self._tell_down(self.untold[name], LOST)
        self.stillborn.pop(name, None)
        member = self.members[name] = Member(self.router.up(name, incarnation), pid, started, restarts, pidfd, page)
        trio.lowlevel.spawn_system_task(self._watch, member)
        self._tell(name, NodeUp(name))

    def settle(self) -> None:
        """Whoever was ready before this node is known. Who monitors this very node gets `NodeUp`."""
        self.is_settled = True
        self.restart_missing()  # who saw them end may be gone
        self._tell(self.me.name, NodeUp(self.me.name))

    def down(self, name: str, incarnation: int, reason: Any) -> None:
        """The owner says why a life has ended."""
        member = self.members.get(name)
        if member is not None and member.id.incarnation == incarnation:
            self._lose(member)
        lost = self.untold.get(name)
        if lost is not None and lost.incarnation == incarnation:
            self._tell_down(lost, reason)
            self.restart_missing()  # the owner may have heard the first time before it had reaped it, and ignored it
        elif incarnation > self.ended.get(name, 0):
            self._died_before_it_was_up(name)
        else:  # the watchers were told without the reason, which took long
            self.restart_missing()

    def _died_before_it_was_up(self, name: str) -> None:
        self.stillborn[name] = self.stillborn.get(name, 0) + 1
        if self.stillborn[name] == 1:
            self.restart_missing()
        else:
            trio.lowlevel.spawn_system_task(self._restart_later)

    async def _restart_later(self) -> None:
        await trio.sleep(RETRY)
        self.restart_missing()

    async def _watch(self, member: Member) -> None:
        try:
            with member.scope:
                await trio.lowlevel.wait_readable(member.pidfd)
                self._lose(member)
        finally:
            os.close(member.pidfd)
            member.page.close()

    def _lose(self, member: Member) -> None:
        if self.members.get(member.id.name) is not member:
            return
        del self.members[member.id.name]
        self.ended[member.id.name] = member.id.incarnation
        member.scope.cancel()
        self.drain(member.id)
        self.router.lose(member.id)
        self.untold[member.id.name] = member.id
        self.restart_missing()
        trio.lowlevel.spawn_system_task(self._tell_reason, member.id)

    async def _tell_reason(self, id: NodeId) -> None:
        await trio.sleep(REASON_PATIENCE)
        await trio.lowlevel.checkpoint()  # if it was this node that had no turn, the reason is here, and is read now
        self._tell_down(id, LOST)

    def _tell_down(self, id: NodeId, reason: Any) -> None:
        """Once for each life."""
        if self.untold.get(id.name) == id:
            del self.untold[id.name]
            self._tell(id.name, NodeDown(id.name, reason))

    def retire(self, name: str, core: int, reason: str) -> None:
        """The owner will not start this node again."""
        self.retired[name] = Retired(core, reason)
        self.roster = tuple(other for other in self.roster if other != name)

    def missing(self) -> list[str]:
        """Who of the roster is not up."""
        return [name for name in self.roster if self.life_of(name) is None]

    def restart_missing(self) -> None:
        """If this node is the conductor: have what is missing started. The owner ignores what it starts already."""
        if self.conductor() == self.me:
            for name in self.missing():
                self.ask("start", name)

    # --- who is told ---

    def monitor(self, watcher: Pid, name: str) -> None:
        """Tell a process of this node of every end and return of a node; at once if it is not there, or when the reason is known."""
        if watcher.process is None:
            return
        extra(watcher.process)  # so that its end is told to `released`
        self.watchers.setdefault(name, set()).add(watcher)
        self.watching.setdefault(watcher, set()).add(name)
        if self.life_of(name) is None and name not in self.untold:  # else all watchers are about to be told
            deliver(watcher.process, NodeDown(name, ("retired", self.retired[name].reason) if name in self.retired else LOST))

    def demonitor(self, watcher: Pid, name: str) -> None:
        """No longer."""
        self.watchers.get(name, set()).discard(watcher)
        self.watching.get(watcher, set()).discard(name)

    def released(self, process: Process, reason: Any) -> None:
        """A process of this node has ended."""
        for name in self.watching.pop(process.pid, ()):
            self.watchers[name].discard(process.pid)

    def _tell(self, name: str, message: NodeUp | NodeDown) -> None:
        for each in list(self.watchers.get(name, ())):
            if each.process is not None:
                deliver(each.process, message)
