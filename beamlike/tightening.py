"""Forbidding more to processes that live: `tighten`, of a whole subtree at once (C1).

Theory of operation. A record knows its parent's, and so all that live above it; the records of the dead are left out of the chain. A
process that was spawned from another node knows the pids of all that lived above it there. So each node finds for itself who descends from
a process. A node that is told tightens its part and tells all others, in the mailboxes through which it sends its spawns: what one node
spawned on another before it was told is there before that is told by it, and what it spawns after it carries the new layer. What is
still on its way between two other nodes is limited when it comes: a node remembers what it was told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import caps
from beamlike import clock, exclusions, names, routing
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.calls import joined
from beamlike.hot.ids import Pid
from beamlike.hot.process import Process, living

MOST_TOLD = 1024  # processes whose exclusions a node remembers, the last that were tightened

_told: dict[Pid, caps.Layers] = {}


async def tighten(pid: Pid, terms: Iterable[caps.Term]) -> int:
    """Add exclusions to a process that lives and to all that descend from it, on all nodes; returns how many these are.

    Those of this node have them when it is called, before it is awaited; those of others when it returns, unless their node is lost. They
    count at the next privileged call of each, and for timers that it has set; what it spawns inherits them, and a supervisor starts a
    child again with what that had been forbidden. Nothing takes them away. A process that lives on when its parent has ended descends from
    who is next above it. A checkpoint.

    Args:
        pid: the caller, or a process that descends from it.
        terms: as for `spawn(exclude=…)`.

    Raises: PermissionError if `pid` is neither; ValueError if it is not alive; TypeError, ValueError: `terms` are no exclusions.
    """
    me = scheduler.caller("tighten")
    process = names.local(pid, "tighten")
    layers = caps.extend((), terms)
    if process is None and pid.origin != me.pid.origin:
        return await routing.router.tighten(me, pid, layers)
    if process is None:
        raise ValueError(f"tighten: {pid} is not alive")
    check_right(me.pid, process)
    count, _ = tighten_here(pid, layers)
    return count + await routing.router.tighten_others(pid, layers)


def check_right(who: Pid, process: Process) -> None:
    """PermissionError unless it is the process itself, or above it."""
    if not descends(process, who):
        raise PermissionError(f"tighten: {process.pid} is neither {who} itself nor does it descend from it")


def tighten_here(root: Pid, layers: caps.Layers) -> tuple[int, int]:
    """Tighten those of this node that descend from `root`, itself included. How many are they, and to how many did that add something?"""
    _told[root] = joined(_told.pop(root, ()), layers)
    if len(_told) > MOST_TOLD:
        del _told[next(iter(_told))]
    count = added = 0
    for process in scheduler.all_processes():
        if descends(process, root):
            count += 1
            if exclusions.add(process, layers):
                added += 1
                clock.tighten(process.pid, layers)
                _tell_parent(process, layers)
    return count, added


def told_of(above: Iterable[Pid]) -> caps.Layers:
    """What those that descend from these were forbidden, as far as this node was told: for a process that comes late."""
    layers: caps.Layers = ()
    for pid in above if _told else ():
        layers = joined(layers, _told.get(pid, ()))
    return layers


def descends(process: Process, root: Pid) -> bool:
    """Is the process that one, or is that one above it?"""
    above: Any = process
    while type(above) is Process:
        if above.pid == root:
            return True
        above = living(above.parent)
    return above is not None and root in above


def living_above(process: Process) -> tuple[Pid, ...]:
    """Itself, and all that live above it, nearest first: what a process that it spawns on another node is told."""
    pids: list[Pid] = []
    above: Any = process
    while type(above) is Process:
        pids.append(above.pid)
        above = living(above.parent)
    return tuple(pids) if above is None else (*pids, *above)


def _tell_parent(process: Process, layers: caps.Layers) -> None:
    """Whoever would start it again does so with these."""
    above = living(process.parent)
    if type(above) is Process and above.extra is not None and above.extra.tightened is not None:
        told = above.extra.tightened
        told[process.pid] = joined(told.get(process.pid, ()), layers)


def note_tightened(parent: Process) -> None:
    """From now on it is told what its children are forbidden."""
    extra(parent).tightened = {}


def tightened(parent: Process, child: Pid) -> caps.Layers:
    """What the child of this process was forbidden since it was started."""
    told = extra(parent).tightened
    return () if told is None else told.pop(child, ())
