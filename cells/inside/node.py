"""The node that a cell is: the actor core without trio, for whoever is in a cell has no sockets and no threads to wait for.

Theory of operation. The loop steps processes. When none can run it looks for a while at the ring, says in it that it sleeps, and waits in
poll(2) for its bell or the next timer: those two are all that can wake a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beamlike.seam import (
    ENTER,
    INFINITY,
    PREEMPTED,
    Cooperative,
    Hooks,
    NodeId,
    Process,
    enqueue,
    is_ready,
    next_timer,
    now,
    open_core,
    set_intake,
)
from cells.inside.door import Door
from cells.kinds import CELL, LIFE

SLICE = 0.01  # seconds


class CellNode(Hooks):
    """See the module."""

    def __init__(self, door: Door) -> None:
        super().__init__(NodeId(CELL, LIFE))
        self.door = door
        self.stepper = Cooperative()
        open_core(self)
        door.open(self.id)
        set_intake(door)

    def became_ready(self) -> None:
        """Hook: the loop looks by itself."""

    def foreign_yield(self, process: Process, yielded: Any) -> None:
        if yielded is not ENTER:
            super().foreign_yield(process, yielded)
            return
        process.greenlet = RuntimeError("there is no trio in a cell: it has no sockets, files or threads to wait for")
        process.state = PREEMPTED
        enqueue(process)

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Step processes until that is so."""
        while not is_over():
            self.door.drain()
            self.stepper.run_slice(SLICE)
            if not is_ready() and not is_over() and self.door.sleep():
                soonest = next_timer()
                self.door.wait(None if soonest == INFINITY else max(0.0, soonest - now()))
