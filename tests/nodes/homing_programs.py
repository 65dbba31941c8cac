"""The programs of test_homing.py: systems of two nodes of which a core goes away, or is bad."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from faults_checks import damage, nothing, state_of
from in_system import do_at, stay

from beamlike import receive, self_pid, sleep
from nodes import NodeState, monitor_node, topology
from nodes.here import joined


async def until_on(*cores: int) -> list[NodeState]:
    """Until the nodes say that they are on these, and are."""
    while [state.core for state in topology()] != list(cores):
        await sleep(0.01)
    states = topology()
    for state in states:
        assert os.sched_getaffinity(state.pid) == {state.core}, state
    return states


async def affinity() -> set[int]:
    return os.sched_getaffinity(0)


async def one_core_that_there_is_not(core: int) -> list[int]:
    """Main of a system whose second core is none. The cores that the two nodes are on; and where the next life is."""
    second = topology()[1].name
    while state_of(second).core < 0:
        await sleep(0.01)
    first = topology()
    assert await do_at(second, affinity) == {first[1].core}
    monitor_node(second)
    joined().channel.send("kill", second, first[1].incarnation, ("lost",))
    await receive()  # NodeDown
    await receive()  # NodeUp
    return [state.core for state in [*first, topology()[1]]]


async def cores_that_go_away(cpuset: str, cores: list[int]) -> list[dict[str, Any]]:
    """Main of a system that is moved into this cpuset, of which the cores then go away in turn. What was asked over the nodes meanwhile."""
    folder, (one, other) = Path(cpuset), cores
    states = await until_on(one, other)
    for state in states:
        (folder / "cgroup.procs").write_text(str(state.pid))
    second = states[1].name
    answers = []
    for allowed in ({one}, {other}, {one, other}):
        (folder / "cpuset.cpus").write_text(",".join(map(str, allowed)))
        only = min(allowed) if len(allowed) == 1 else other  # nothing moves back
        await until_on(only, only)
        answers.append({"allowed": sorted(allowed), "second": sorted(await do_at(second, affinity))})
    assert [state.incarnation for state in topology()] == [state.incarnation for state in states]
    return answers


async def main_on_a_bad_core() -> tuple[list[int], list[int]]:
    """Main of a system in which one fault is too many, and its first life has it. The cores of its nodes, and how often they restarted."""
    if self_pid().origin.incarnation == 1:
        await damage(await stay(topology()[1].name, nothing))
        await receive(lambda message: False)
    return [state.core for state in topology()], [state.restarts for state in topology()]
