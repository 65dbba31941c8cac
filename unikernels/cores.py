"""Cores that this node leaves to unikernels, as long as it has others: who looks for a message for a while must be alone on its core."""

from __future__ import annotations

import os
from collections import Counter

_left: Counter[int] = Counter()  # how many unikernels each has that this node has left


def leave(core: int) -> bool:
    """Before one is started there. Is this node elsewhere now?"""
    mine = os.sched_getaffinity(0)
    if core in mine and len(mine) > 1:
        mine.discard(core)
        os.sched_setaffinity(0, mine)
        _left[core] = 0
    if core in _left:
        _left[core] += 1
    return core not in mine


def is_left(core: int) -> bool:
    """Has this node left it, to one or more?"""
    return core in _left


def take_back(core: int) -> None:
    """One has ended there for which it was left."""
    _left[core] -= 1
    if _left[core] == 0:
        del _left[core]
        os.sched_setaffinity(0, os.sched_getaffinity(0) | {core})
