"""The node's timers: one heap, soonest first.

Two kinds of entry: a process (its deadline, see `Process.deadline`) and a `Timer` (`send_after`, `send_interval`). A cancelled
entry stays in the heap and is skipped when its time comes; when more than half of a heap is stale, it is rebuilt.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython

from beamlike.hot.process import DEAD, INFINITY, Process

STALE_MINIMUM = 1024  # below this a rebuild is not worth its while


@cython.final
@cython.cclass
class Timer:
    """One `send_after` or `send_interval`: what it sends, to whom, how often."""

    __slots__ = ("destination", "layers", "message", "owner", "period", "ref", "when")

    def __init__(self, ref: Any, destination: Any, message: Any, period: float, owner: Any) -> None:
        self.ref = ref
        self.destination = destination
        self.message = message
        self.period = period  # 0.0: once
        self.owner = owner  # the pid that started it: an interval ends with it
        self.when = INFINITY  # INFINITY: not armed
        self.layers: tuple[Any, ...] = ()  # under which it sends


@cython.final
@cython.cclass
class Timers:
    """The heap. `soonest` is when the next entry is due (seconds of the node's clock; INFINITY when there is none)."""

    __slots__ = ("heap", "sequence", "soonest", "stale")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Any]] = []
        self.soonest = INFINITY
        self.sequence = 0  # equal times fire in the order they were set
        self.stale = 0

    def push(self, when: float, entry: Any) -> None:
        """Add `entry` at `when`."""
        self.sequence += 1
        heappush(self.heap, (when, self.sequence, entry))
        if when < self.soonest:
            self.soonest = when

    def arm(self, process: Process, deadline: float) -> None:
        """Set the process's deadline. The heap entry it has is kept while it is early enough."""
        process.deadline = deadline
        if deadline < process.timer_at:
            if process.timer_at != INFINITY:
                self.forget()
            process.timer_at = deadline
            self.push(deadline, process)

    def forget(self) -> None:
        """An entry in the heap has become stale."""
        self.stale += 1
        if self.stale > STALE_MINIMUM and self.stale * 2 > len(self.heap):
            self.heap = [item for item in self.heap if _is_live(item[0], item[2])]
            heapify(self.heap)
            self.stale = 0
            self.soonest = self.heap[0][0] if self.heap else INFINITY

    def pop_due(self, now: float) -> Any:
        """The next entry that is due at `now` and live, taken out of the heap; None when there is none."""
        while self.heap and self.heap[0][0] <= now:
            item = heappop(self.heap)
            entry = item[2]
            if not _is_live(item[0], entry):
                self.stale -= 1
                continue
            if type(entry) is Process:
                entry.timer_at = INFINITY
                if entry.deadline > now:  # the wait it was for is over; what waits now waits longer
                    if entry.deadline != INFINITY:
                        self.arm(entry, entry.deadline)
                    continue
            self.soonest = self.heap[0][0] if self.heap else INFINITY
            return entry
        self.soonest = self.heap[0][0] if self.heap else INFINITY
        return None


def _is_live(when: float, entry: Any) -> bool:
    if type(entry) is Process:
        return bool(entry.timer_at == when and entry.state != DEAD)
    return bool(entry.when == when)
