"""Soft error rate discrimination: which core is to be suspected of the faults that were found, if any.

Theory of operation. A fault is a mailbox of which the memory was changed behind our back; it may be the core of who wrote it or of who read
it, so it counts for both. One fault is nothing: a cosmic ray. LIMIT of them within PERIOD are a core that is failing. A bad core has faults
with all its partners, each of which has only its own with it: so it comes to the limit first, and with it what it did to them is explained
and forgotten. What counts is the core, of which the node has the name: a new life of that name is on the same one.

The source: the SERD engines, "N events in time T", of the fault management of Solaris (Sun Microsystems, Fault Management Daemon
Programmer's Reference Manual; the language Eversholt).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from beamlike import record

MOST = 64  # faults that are remembered


@record
class Fault:
    """Of memory that `writer` wrote and `reader` found changed. `time` is on the machine's monotonic clock, in seconds."""

    time: float
    writer: str
    reader: str


class Serd:
    """The faults of all nodes within the last `period` seconds, of which `limit` are too many for one node. Pure: it knows no clock."""

    def __init__(self, limit: int, period: float) -> None:
        self.limit = limit
        self.period = period
        self.faults: deque[Fault] = deque(maxlen=MOST)

    def add(self, fault: Fault) -> None:
        """One more."""
        self.faults.append(fault)

    def count(self, name: str, now: float) -> int:
        """The faults of this node in the window that ends now."""
        return sum(name in (fault.writer, fault.reader) for fault in self._window(now))

    def suspects(self, now: float) -> list[str]:
        """Who is at the limit, the worst first: who has most faults, or else who wrote last. Each further one is so without those that it
        had with the ones before."""
        found: list[str] = []
        left = self._window(now)
        while True:
            counts = Counter(name for fault in left for name in (fault.writer, fault.reader))
            wrote = {fault.writer: number for number, fault in enumerate(left)}
            worst = max(counts, key=lambda name: (counts[name], wrote.get(name, -1)), default="")
            if counts[worst] < self.limit:
                return found
            found.append(worst)
            left = _without(worst, left)

    def forget(self, name: str) -> None:
        """This node is retired, or on another core: its faults are explained, also to those with whom it had them."""
        self.faults = deque(_without(name, self.faults), maxlen=MOST)

    def _window(self, now: float) -> list[Fault]:
        return [fault for fault in self.faults if fault.time > now - self.period]


def _without(name: str, faults: Iterable[Fault]) -> list[Fault]:
    return [fault for fault in faults if name not in (fault.writer, fault.reader)]
