"""Cores that this node leaves to unikernels, as long as it has others: who looks for a message for a while must be alone on its core."""

from __future__ import annotations

import os
from collections import Counter

from nodes.seam import joined_or_none, topology

_count: Counter[int] = Counter()  # how many unikernels of this node each has
_left: set[int] = set()  # those that this node has left to them


def take(core: int) -> bool:
    """One is to be started there. Will it be alone, as far as this node knows?"""
    mine = os.sched_getaffinity(0)
    if core in mine and len(mine) > 1:
        mine.discard(core)
        os.sched_setaffinity(0, mine)
        _left.add(core)
    _count[core] += 1
    return core not in mine and _count[core] == 1 and core not in _of_nodes()


def give_back(core: int) -> None:
    """It has ended."""
    _count[core] -= 1
    if _count[core] == 0 and core in _left:
        _left.remove(core)
        os.sched_setaffinity(0, os.sched_getaffinity(0) | {core})


def _of_nodes() -> set[int]:
    return set() if joined_or_none() is None else {state.core for state in topology() if state.state == "up"}
