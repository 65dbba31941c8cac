"""Cycles of calls that lead over nodes: found by probes along the wait edges (G7), as Chandy, Misra and Haas do (ACM TOCS 1983).

Theory of operation. A call that has waited for PATIENCE, of a process that somebody waits for in turn, sends a probe after itself: to
the server, from there to whom that waits for, and so on. Each node follows the edges that it knows, of calls that are answered by nobody
but the server itself, and checks the edge that the probe came by; where nobody waits the probe ends. A probe that comes back to the call it
began with has found a cycle, and that call fails with `("calling_itself", chain)`; the others then are answered as their servers
decide. An ordinary call, which is over sooner, costs an entry in a list.

What it promises. A cycle that lasts is found within twice PATIENCE of the call that closed it, and what its records take to go round;
one call of it fails. Where several calls of a cycle probe at the same time the probe of a greater pid gives way at a smaller one,
whose own is on its way; should that have been too early, each goes out again, after REPEAT times as long. A call may fail by a cycle
which at that very moment is broken up by the timeout of another call in it. As on one node, a call in `io()` is no part of a cycle,
nor is one that its server answers later (`NOREPLY`).
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from beamlike import Pid, Ref, pack
from beamlike.seam import BEGUN, Process, Timer, Wait, leaves, now, push_timer
from nodes.hot.peer import Peer
from nodes.kinds import Kind

if TYPE_CHECKING:
    from nodes.router import Router

PATIENCE = 0.02  # seconds: a thousand times what an answer takes, and nothing to who waits for a cycle
REPEAT = 4
LONGEST = 1.28  # seconds between two probes of one call
ON_ITS_WAY = PATIENCE / 2  # seconds for which a probe is taken to be: less than PATIENCE, so that it saw what closed a cycle


class Cycles:
    """The probes of this node."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.young: list[Wait] = []  # begun since the last look
        self.older: list[Wait] = []  # begun in the time before
        self.due: list[tuple[float, int, float, Wait]] = []  # heap of (when, number, seconds to the next, call): still waiting
        self.probed: dict[Ref, float] = {}  # when those last sent a probe
        self.numbers = count()
        self.is_armed = False

    def begun(self, wait: Wait) -> None:
        """A call begins that may be part of a cycle over several nodes."""
        self.young.append(wait)
        if not self.is_armed:
            self._arm()

    def _arm(self) -> None:
        self.is_armed = True
        push_timer(Timer(None, None, self._look, 0.0, None), now() + PATIENCE)

    def _look(self) -> bool:
        self.is_armed = False
        time = now()
        for wait in self.older:
            if wait.state == BEGUN:
                heapq.heappush(self.due, (time, next(self.numbers), PATIENCE * REPEAT, wait))
        self.older, self.young = self.young, []
        while self.due and self.due[0][0] <= time:
            _, number, interval, wait = heapq.heappop(self.due)
            if not _is_edge(wait):
                self.probed.pop(wait.ref, None)
                continue
            heapq.heappush(self.due, (time + interval, number, min(interval * REPEAT, LONGEST), wait))
            if wait.process.monitored_by:  # else nobody waits for it
                self.probed[wait.ref] = time
                self._probe(wait)
        if self.older or self.due:
            self._arm()
        return False

    # --- probes ---

    def _probe(self, wait: Wait) -> None:
        me = wait.process
        leaves(me.pid)
        if type(wait.server) is Pid and wait.server.process is not None:
            self._follow(me.pid, wait.ref, (me.pid,), wait.server.process)
        else:
            self._forward(me.pid, wait.ref, (me.pid,), wait)

    def came(self, peer: Peer, ref: int, origin: Pid, began_with: Ref, path: tuple[Pid, ...]) -> None:
        """A probe has come by the call that waits under `ref` of that node."""
        server = peer.watched.get(ref)
        if server is not None and ref not in peer.put_off:
            self._follow(origin, began_with, path, server)

    def _follow(self, origin: Pid, ref: Ref, path: tuple[Pid, ...], process: Process) -> None:
        """The last of `path` waits for this process of this node: for whom does that wait?"""
        while True:
            if process.pid == origin:
                self._found(process, ref, (*path, origin))
                return
            if process.pid in path:  # a cycle that the origin is no part of: others find it
                return
            path = (*path, process.pid)
            if process.calling is None:
                break
            process = process.calling
        for wait in list((process.calls or {}).values()):
            if self._leads_on(wait):
                if process.pid != origin and self._gives_way(origin, wait):
                    return
                self._forward(origin, ref, path, wait)

    def _leads_on(self, wait: Wait) -> bool:
        """Does it wait for a server of another node?"""
        if not _is_edge(wait) or wait.server is None:
            return False
        peer = self.router.peer_of(wait.server)
        return peer is not None and peer.watching.get(wait.ref.serial) is wait

    def _gives_way(self, origin: Pid, wait: Wait) -> bool:
        return _rank(wait.process.pid) < _rank(origin) and now() - self.probed.get(wait.ref, -ON_ITS_WAY) < ON_ITS_WAY

    def _forward(self, origin: Pid, ref: Ref, path: tuple[Pid, ...], wait: Wait) -> None:
        peer = self.router.peer_of(wait.server)
        if peer is not None:
            peer.put(Kind.PROBE, 0, 0, wait.ref.serial, pack((origin, ref, path)))

    def _found(self, process: Process, ref: Ref, chain: tuple[Pid, ...]) -> None:
        wait = (process.calls or {}).get(ref)
        if wait is None or not _is_edge(wait):
            return
        wait.fail(("calling_itself", chain))
        if type(wait.server) is not Pid or wait.server.process is None:
            self.router.call_over(wait)


def _is_edge(wait: Wait) -> bool:
    """Does its caller wait, and do nothing else?"""
    return wait.state == BEGUN and wait.event is None and wait.process.pid.process is not None


def _rank(pid: Pid) -> tuple[str, int, int]:
    return pid.node, pid.origin.incarnation, pid.serial
