"""Cores that this node leaves to unikernels, as long as it has others: who looks for a message for a while must be alone on its core."""

from __future__ import annotations

import os

from nodes.seam import allowed_cores, joined_or_none, topology
from unikernels.memory import Memory

_there: dict[int, list[Memory]] = {}  # of the unikernels of this node that each has
_left: set[int] = set()  # those that this node has left to them


def take(core: int, memory: Memory) -> None:
    """One is to be started there."""
    _there.setdefault(core, []).append(memory)
    _settle()


def give_back(core: int, memory: Memory) -> None:
    """It has ended."""
    _there[core].remove(memory)
    if not _there[core]:
        del _there[core]
    _settle()


def free() -> set[int]:
    """Those for what may run anywhere: all but those that are taken, unless all are."""
    allowed = allowed_cores()
    return allowed.difference(_there) or allowed


def _settle() -> None:
    """Leave all cores that are taken but one's own, the oldest first; and have who is alone on one look before it sleeps."""
    own = os.sched_getaffinity(0) | _left
    left = {core for core in _there if core in own}
    if left == own:
        left.discard([core for core in _there if core in own][-1])
    if left != _left:
        os.sched_setaffinity(0, own - left)
        _left.clear()
        _left.update(left)
    others = os.sched_getaffinity(0) | _of_nodes()
    for core, there in _there.items():
        for memory in there:
            memory.poll(len(there) == 1 and core not in others)


def _of_nodes() -> set[int]:
    return set() if joined_or_none() is None else {state.core for state in topology() if state.state == "up"}
