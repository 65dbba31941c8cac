"""Retirement: a node whose core is suspected of too many faults is given up, and its work moves.

Theory of operation. Every node hears of every fault from the owner and keeps the same record (`serd`); the conductor judges, and when it
dies the next one judges anew. A node that is retired is killed and never started again, so all that makes up for a death does so for good.
The last node that is up is kept, faults and all, and so is that of main, unless main is to be started again after a loss: then it goes on
on another core.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from beamlike.seam import log
from nodes.homing import emptiest
from nodes.membership import Membership
from nodes.serd import Fault, Serd

logger = logging.getLogger("beamlike.nodes")


class Retirement:
    """See the module.

    Args:
        main: the name of the node of main.
        main_moves: whether that may be killed, to be started again.
        cores: all that nodes may be pinned to.
        core_of: where a node is.
        ask: sends a packet to the owner.
    """

    def __init__(
        self,
        membership: Membership,
        serd: Serd,
        main: str,
        main_moves: bool,
        cores: Sequence[int],
        core_of: Callable[[str], int],
        ask: Callable[..., None],
    ) -> None:
        self.membership = membership
        self.serd = serd
        self.main = main
        self.main_moves = main_moves
        self.cores = cores
        self.core_of = core_of
        self.ask = ask
        self.told: dict[str, float] = {}  # when it was last logged that a node is at the limit

    def fault(self, fault: Fault) -> None:
        """The owner says that one was found."""
        self.serd.add(fault)
        self.judge()

    def retired(self, name: str, core: int, reason: str) -> None:
        """The owner has given a node up."""
        self.membership.retire(name, core, reason)
        self.serd.forget(name)
        self.judge()

    def moved(self, name: str) -> None:
        """The next faults of this node are those of another core."""
        self.serd.forget(name)

    def judge(self) -> None:
        """If this node is the conductor, and somebody is at the limit: ask the owner to give that node up. One at a time, for with it the
        faults that others had with it are explained."""
        if self.membership.conductor() != self.membership.me:
            return
        now = time.monotonic()
        for name in self.serd.suspects(now):
            life = self.membership.life_of(name)
            count = self.serd.count(name, now)
            reason = f"{count} fault{'s' * (count != 1)} in {self.serd.period:g} s"
            others = [other for other in self.membership.names() if other != name]
            if not others:
                self._tell(name, reason, "kept, for no other is up", now)
            elif name != self.main:
                self._tell(name, reason, "retired", now)
                self.ask("retire", name, reason)
                return
            elif not self.main_moves:
                self._tell(name, reason, "kept, for main runs there, and on_main_lost is 'stop'", now)
            elif life is not None:
                here = self.core_of(name)
                bad = [here, *[each.core for each in self.membership.retired.values()]]
                core = emptiest(self.cores, map(self.core_of, others), bad)
                if core in bad:
                    self._tell(name, reason, "kept, for main runs there, and there is no other core for it", now)
                else:
                    self._tell(name, reason, f"moved from core {here} to core {core}", now)
                    self.ask("rehome", name, life.incarnation, core, reason)
                    return

    def _tell(self, name: str, reason: str, outcome: str, now: float) -> None:
        """Once for each node in a window."""
        if now - self.told.get(name, -self.serd.period) >= self.serd.period:
            self.told[name] = now
            log(logger, logging.ERROR, "memory between %s and others was changed behind our back, %s: it is %s", name, reason, outcome)
