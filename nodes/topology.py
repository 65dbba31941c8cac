"""The topology and state service: all nodes, where they are, and how they are, as this node knows it.

It asks nobody: the owner has announced who is there and told of every fault, and the rest is in the nodes' pages of shared memory. So
every node says the same, but for what is on its way, and who asks cannot be held up.
"""

from __future__ import annotations

import os
import time
from typing import Literal

from beamlike import record
from nodes.here import joined
from nodes.homing import NOWHERE, core_of
from nodes.load import Load, load_of


@record
class NodeState:
    """One node. What is not up has neither life nor load: incarnation, pid, started and restarts are 0; but a retired one has its core.

    Fields:
        name: as in `list_nodes`.
        state: `retired` is down for good, for its core had too many faults.
        incarnation: which life of all nodes of the system this is, from 1.
        core: to which it is pinned; -1: to none.
        pid: of its OS process.
        started: since when it lives, in Unix time.
        is_conductor: whether it is the eldest, which has what is missing started.
        is_main: whether `main` belongs there.
        load: see `load_of`; None if it is not up.
        faults: of memory between it and others, within the window of `fault_limit`. Those that the retirement of a node has explained do
            not count any more.
        restarts: how many lives of this name have ended before.
    """

    name: str
    state: Literal["up", "down", "retired"]
    incarnation: int
    core: int
    pid: int
    started: float
    is_conductor: bool
    is_main: bool
    load: Load | None
    faults: int
    restarts: int


def topology() -> list[NodeState]:
    """The state of every node that the system was started with, by number. Raises: RuntimeError if this node is alone."""
    roster: tuple[str, ...] = joined().settings["roster"]
    return [_state(name) for name in roster]


def _state(name: str) -> NodeState:
    life = joined()
    membership = life.membership
    is_main = name == life.settings["main"]
    faults = life.retirement.serd.count(name, time.monotonic())
    up = membership.life_of(name)
    if up is None:
        retired = membership.retired.get(name)
        state: Literal["down", "retired"] = "down" if retired is None else "retired"
        core = NOWHERE if retired is None else retired.core
        return NodeState(name, state, 0, core, 0, 0.0, False, is_main, None, faults, 0)
    pid, started, restarts = os.getpid(), life.started, life.restarts
    if name in membership.members:
        member = membership.members[name]
        pid, started, restarts = member.pid, member.started, member.restarts
    core = core_of(life.page_of(name))
    is_conductor = up == membership.conductor()
    return NodeState(name, "up", up.incarnation, core, pid, started, is_conductor, is_main, load_of(name), faults, restarts)
