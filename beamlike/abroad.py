"""The pids of this node that have left it as bytes, so that one that comes back is the pid of the live process again.

Theory of operation. A pid is a pointer to its record, and a copy made of numbers has none. A table of all serials would cost every spawn;
this one has those that were packed, and forgets each when its process ends.
"""

from __future__ import annotations

from typing import Any

from beamlike import signals
from beamlike.hot import scheduler
from beamlike.hot.ids import NodeId, Pid
from beamlike.hot.process import Process
from beamlike.processes import extra

_left: dict[int, Pid] = {}  # by serial


def leaves(pid: Pid) -> None:
    """This pid is being packed."""
    if pid.process is not None:
        extra(pid.process)  # so that its end is told to `on_release`
        _left[pid.serial] = pid


def arrives(name: str, incarnation: int, serial: int) -> Pid:
    """The pid of these numbers: for a live process of this node, the one that it has."""
    here = scheduler.current_node()
    if here is None or here.incarnation != incarnation or here.name != name:
        return Pid(NodeId(name, incarnation), serial)
    return _left.get(serial) or Pid(here, serial)  # the latter is of one that has ended


def _released(process: Process, reason: Any) -> None:
    _left.pop(process.pid.serial, None)


signals.on_release.append(_released)


def clear() -> None:
    """A node opens or closes."""
    _left.clear()
