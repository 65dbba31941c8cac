"""The core of this node: where it is pinned, and where it goes when that core goes away.

Theory of operation. A core that goes offline, or out of the cpuset of this system, takes no more pinned threads: the kernel lets those that
were there run anywhere else. Every PERIOD seconds the node looks whether it still is where it belongs. If not, it tries to go back; if that
is refused, its home is from now on the core with the fewest nodes of those that it may use. Each node writes its core into its page, so
two that lose the same core seldom choose the same other one, and the owner, which starts the next life of this name there, is told.
Nothing moves back when a core returns.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from collections.abc import Callable, Iterable
from typing import Final

import trio

from beamlike.seam import log
from nodes.membership import Membership

PERIOD = 1.0  # seconds
NOWHERE: Final = -1  # instead of a core: not pinned
_CORE: Final = struct.Struct("<q")
_AT: Final = 40  # offset in the page, see `heartbeat`

logger = logging.getLogger("beamlike.nodes")


def core_of(page: mmap.mmap) -> int:
    """The core to which the node of this page is pinned; NOWHERE if it is not."""
    return int(_CORE.unpack_from(page, _AT)[0])


def emptiest(cores: Iterable[int], taken: Iterable[int], bad: Iterable[int]) -> int:
    """Which of these cores has the fewest nodes, by the cores that are taken by the others; a bad one only if there is no other."""
    taken, bad = list(taken), set(bad)
    return min(cores, key=lambda core: (core in bad, taken.count(core), core))


class Home:
    """See the module. `moved` is called with the new core."""

    def __init__(self, core: int, page: mmap.mmap, membership: Membership, moved: Callable[[int], None]) -> None:
        self.core = core
        self.page = page
        self.membership = membership
        self.moved = moved
        self._tell(core if os.sched_getaffinity(0) == {core} else NOWHERE)

    async def keep(self) -> None:
        """Never returns."""
        while True:
            self.look()
            await trio.sleep(PERIOD)

    def look(self) -> None:
        """Go home, or to another core if that is refused."""
        allowed = os.sched_getaffinity(0)
        if allowed == {self.core}:
            return
        try:
            os.sched_setaffinity(0, {self.core})
        except OSError as error:
            self._move(allowed, error)
        else:
            self._tell(self.core)

    def _move(self, allowed: set[int], error: OSError) -> None:
        others = self.membership.members.values()
        bad = [retired.core for retired in self.membership.retired.values()]
        core = emptiest(allowed, [core_of(other.page) for other in others], bad)
        try:
            os.sched_setaffinity(0, {core})
        except OSError:  # that one went away in this moment: the next look finds another
            self._tell(NOWHERE)
            return
        name = self.membership.me.name
        log(logger, logging.WARNING, "%s runs on core %d now: core %d is refused (%s)", name, core, self.core, error.strerror)
        self.core = core
        self._tell(core)
        self.moved(core)

    def _tell(self, core: int) -> None:
        memoryview(self.page)[_AT : _AT + _CORE.size].cast("q")[0] = core  # by one store: `struct` would write zeros first
