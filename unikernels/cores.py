"""Cores that this node leaves to unikernels, as long as it has others: who looks for a message for a while must be alone on its core."""

from __future__ import annotations

import os

from nodes.seam import joined_or_none, topology
from unikernels.memory import Memory

_there: dict[int, list[Memory]] = {}  # of the unikernels of this node that each has
_left: set[int] = set()  # those that this node has left to them


def take(core: int, memory: Memory) -> None:
    """One is to be started there."""
    _there.setdefault(core, []).append(memory)
    mine = os.sched_getaffinity(0)
    if core in mine and len(mine) > 1:
        os.sched_setaffinity(0, mine - {core})
        _left.add(core)
    _tell(core)


def give_back(core: int, memory: Memory) -> None:
    """It has ended."""
    _there[core].remove(memory)
    if _there[core]:
        _tell(core)
        return
    del _there[core]
    if core in _left:
        _left.remove(core)
        os.sched_setaffinity(0, os.sched_getaffinity(0) | {core})


def _tell(core: int) -> None:
    """Who is there looks before it sleeps if it is alone, as far as this node knows."""
    is_alone = len(_there[core]) == 1 and core not in os.sched_getaffinity(0) and core not in _of_nodes()
    for each in _there[core]:
        each.poll(is_alone)


def _of_nodes() -> set[int]:
    return set() if joined_or_none() is None else {state.core for state in topology() if state.state == "up"}
