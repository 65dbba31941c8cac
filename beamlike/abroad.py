"""Ids that cross between nodes as numbers: which object stands for them here.

Theory of operation. A pid is a pointer to its record, and a copy made of numbers has none. A table of all serials would cost every spawn;
this one has the processes of this node whose pid was packed, and forgets each when it ends. The lives of other nodes are kept, so
that all ids of one share its `NodeId`, and by it lead to the peer.
"""

from __future__ import annotations

from typing import Any

from beamlike import signals
from beamlike.extras import extra
from beamlike.hot import codec, scheduler
from beamlike.hot.ids import NodeId, Pid
from beamlike.hot.process import Process

MOST_LIVES = 1000  # of nodes, remembered without a peer: messages may name lives that there never were

left: dict[int, Pid] = {}  # the live processes of this node whose pid was packed, by serial
_lives: dict[tuple[str, int], NodeId] = {}


def leaves(pid: Pid) -> None:
    """This pid is being packed."""
    if pid.process is not None and pid.serial not in left:
        extra(pid.process)  # so that its end is told to `on_release`
        left[pid.serial] = pid


def arrives(name: str, incarnation: int, serial: int) -> Pid:
    """The pid of these numbers: for a live process of this node, the one that it has."""
    here = scheduler.current_node()
    if here is None or here.incarnation != incarnation or here.name != name:
        return Pid(life(name, incarnation), serial)
    return left.get(serial) or Pid(here, serial)  # the latter is of one that has ended


def here(serial: int) -> Process | None:
    """The live process of this node whose pid has left with this serial."""
    pid = left.get(serial)
    return None if pid is None else pid.process


def life(name: str, incarnation: int) -> NodeId:
    """The one NodeId of this life of a node."""
    found = _lives.get((name, incarnation))
    if found is None:
        if len(_lives) >= MOST_LIVES:
            for key in [key for key, known in _lives.items() if known.peer is None]:
                del _lives[key]
        found = _lives[name, incarnation] = NodeId(name, incarnation)
    return found


def _released(process: Process, reason: Any) -> None:
    left.pop(process.pid.serial, None)


signals.on_release.append(_released)


def clear() -> None:
    """A node opens or closes."""
    left.clear()
    codec.forget()
    for known in _lives.values():
        known.peer = None
    _lives.clear()
