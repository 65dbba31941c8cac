"""Checks that test_services.py runs; each is a process of a system of four nodes."""
# ruff: noqa: SIM105 - nodes do not import pytest, so what is raised is caught by hand

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from in_system import begin_to_kill, do_at, kill, others, until_down, until_up

from beamlike import (
    IGNORE,
    CallError,
    ChildError,
    ChildSpec,
    ChildStartError,
    Down,
    GenServer,
    Pid,
    call,
    exit,
    monitor,
    process_info,
    process_info_at,
    processes,
    receive,
    self_pid,
    sleep,
    spawn_monitor,
    system,
)
from nodes import list_nodes
from nodes.distributed_supervisor import DistributedSupervisor as Spread
from nodes.global_names import call_global, register_global, whereis_global


class Worker(GenServer):
    async def init(self, name: str) -> Any:
        self.name = name
        if name == "fails":
            raise ValueError("it does not start")
        if name == "declines":
            return IGNORE
        await register_global(name)
        return None

    async def handle_call(self, request: Any, caller: Any) -> Any:
        if request == "crash":
            raise ValueError("told to")
        return self.name, self_pid()


def worker(name: str, **options: Any) -> ChildSpec:
    return ChildSpec.of(Worker, name, id=name, **options)


async def ask(name: str) -> Pid:
    """Who answers to this name, also when it is being moved."""
    while True:
        try:
            told, pid = await call_global(name, "who", timeout=10)
        except CallError:
            continue
        assert told == name
        assert isinstance(pid, Pid)
        return pid


async def running(supervisor: str) -> dict[Any, Pid | None]:
    return {info.id: info.pid for info in await Spread.which_children(supervisor)}


async def check_children_are_spread_evenly_and_known_on_every_node() -> None:
    names = [f"even{number}" for number in range(8)]
    await Spread.start("even", [worker(name) for name in names])
    pids = {name: await ask(name) for name in names}
    assert set(Counter(pid.node for pid in pids.values()).values()) == {2}, pids
    for node in list_nodes():
        found = await do_at(node, running, "even")
        assert found == pids, (found, pids)
    await Spread.stop("even")
    for name in names:
        assert await do_at(others()[0], gone, pids[name])
    try:
        await Spread.which_children("even")
    except ChildError as error:
        assert error.reason == "noproc"
    else:
        raise AssertionError


async def gone(pid: Pid) -> bool:
    return await process_info_at(pid) is None


async def check_a_spec_may_name_its_node() -> None:
    await Spread.start("fixed", [worker(f"fixed{node}", node=node) for node in list_nodes()])
    for node in list_nodes():
        assert (await ask(f"fixed{node}")).node == node
    node = others()[1]
    await kill(node)
    assert (await ask(f"fixed{node}")).node == node  # when it is back
    try:
        await Spread.start_child("fixed", worker("nowhere", node="n9@nowhere"))
    except ChildError as error:
        assert error.reason == "noconnection" and "n9@nowhere" in str(error)
    else:
        raise AssertionError
    await Spread.stop("fixed")


async def check_a_crashed_child_is_restarted_on_its_node() -> None:
    await Spread.start("crash", intensity=100)
    pid = await do_at(others()[0], Spread.start_child, "crash", worker("crash1"))
    try:
        await call(pid, "crash")
    except CallError:
        pass
    again = await ask("crash1")
    assert again != pid and again.node == pid.node
    for _ in range(100):
        if Spread.whereis_child("crash", "crash1") == again:
            break
        await sleep(0.01)
    else:
        raise AssertionError("the table does not follow")
    await Spread.stop("crash")


async def check_one_that_crashes_too_often_is_held_until_the_hold_is_cleared() -> None:
    await Spread.start("held", [worker("held1"), worker("held2")], intensity=1)
    for _ in range(2):
        pid = await ask("held1")
        ref = monitor(pid)
        try:
            await call(pid, "crash")
        except CallError:
            pass
        await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref, 5)
    while {info.id: info.status for info in await Spread.which_children("held")} != {"held1": "held", "held2": "running"}:
        await sleep(0.01)
    await Spread.clear_hold("held")
    await ask("held1")
    await Spread.stop("held")


async def check_the_ends_of_children_follow_their_restart_types() -> None:
    await Spread.start("types", [worker(kind, restart=kind) for kind in ("permanent", "transient", "temporary")], intensity=100)
    for kind in ("permanent", "transient", "temporary"):
        exit(await ask(kind), "shutdown")
    while set(await running("types")) != {"permanent"}:
        await sleep(0.01)
    await ask("permanent")
    for kind in ("transient", "temporary"):
        await Spread.start_child("types", worker(kind, restart=kind))  # its spec was forgotten
    for kind in ("transient", "temporary"):
        exit(await ask(kind), "kill")
    await ask("transient")
    while set(await running("types")) != {"permanent", "transient"}:
        await sleep(0.01)
    node = (await ask("transient")).node
    if node != self_pid().node:
        await kill(node)
        assert (await ask("transient")).node != node
    await Spread.stop("types")


async def check_a_start_that_fails_is_told_and_leaves_nothing() -> None:
    await Spread.start("failing")
    for node in list_nodes():
        try:
            await Spread.start_child("failing", worker("fails", node=node))
        except ChildStartError as error:
            assert error.id == "fails" and error.reason[0] == ("ValueError", "it does not start"), error.reason
        else:
            raise AssertionError
    assert await running("failing") == {}
    assert await Spread.start_child("failing", worker("declines")) is IGNORE
    while await running("failing"):
        await sleep(0.01)
    await Spread.stop("failing")
    try:
        await Spread.start("failing", [worker("well"), worker("fails")])
    except ChildStartError:
        pass
    assert whereis_global("well") is None
    await Spread.start("failing")
    await Spread.stop("failing")


async def check_misuse_is_told() -> None:
    await Spread.start("misuse", [worker("there")])
    pid = await ask("there")
    for wrong, reason in (
        (lambda: Spread.start("misuse"), "already_started"),
        (lambda: Spread.start_child("misuse", worker("there")), ("already_started", pid)),
        (lambda: Spread.start_child("unknown", worker("x")), "noproc"),
        (lambda: Spread.terminate_child("misuse", "x"), "not_found"),
        (lambda: Spread.stop("unknown"), "noproc"),
    ):
        try:
            await wrong()
        except ChildError as error:
            assert error.reason == reason, error.reason
        else:
            raise AssertionError(reason)
    try:
        await Spread.start("x", placement="nowhere")
    except ValueError:
        pass
    else:
        raise AssertionError
    await Spread.terminate_child("misuse", "there")
    assert await gone(pid)
    assert await running("misuse") == {}
    await Spread.stop("misuse")


async def check_the_children_of_a_lost_node_answer_from_others_soon() -> None:
    names = [f"moved{number}" for number in range(12)]
    await Spread.start("moved", [worker(name) for name in names], intensity=100)
    times = []
    for _ in range(3):
        for node in others()[:2]:  # the conductor's as well
            pids = {name: await ask(name) for name in names}
            lost = [name for name in names if pids[name].node == node]
            start = time.perf_counter()
            begin_to_kill(node)
            for name in lost:
                while (now := await ask(name)) == pids[name]:
                    pass
                assert now.node != node or now.origin != pids[name].origin
            if lost:
                times.append(time.perf_counter() - start)
            for name in names:
                if name not in lost:
                    assert await ask(name) == pids[name], "it was moved without need"
            await until_down(node)
            await until_up(4)
    assert times, "no node had children when it was killed"
    await Spread.stop("moved")


async def check_of_each_child_one_runs_after_kills_at_random() -> None:
    names = [f"one{number}" for number in range(10)]
    await Spread.start("one", [worker(name) for name in names], intensity=1000)
    for turn in range(4):
        victims = others()[: 1 + turn % 3]
        begin_to_kill(*victims)
        for name in names:
            await ask(name)
        await until_down(*victims)
        await until_up(4)
    found: Counter[str] = Counter()
    while found != Counter(names):
        found = Counter()
        for node in list_nodes():
            found.update(await do_at(node, workers_here))
        assert max(found.values()) == 1, found
        await sleep(0.01)
    assert set(await running("one")) == set(names)
    await Spread.stop("one")
    for node in list_nodes():
        assert await do_at(node, workers_here) == []


async def workers_here() -> list[str]:
    found = []
    for pid in processes():
        info = process_info(pid)
        if info is not None and info.initial_call == "supervisor_checks:Worker":
            found.append((await system.get_state(pid))["name"])
    return found


async def check_starts_in_flight_end_when_the_conductor_dies() -> None:
    await Spread.start("flight", intensity=1000)
    for turn in range(4):
        conductor = others()[0]
        names = [f"flight{turn}.{number}" for number in range(10)]
        refs = [spawn_monitor(start_one, "flight", name)[1] for name in names]
        begin_to_kill(conductor)
        for _ in refs:
            down = await receive(lambda message, refs=refs: isinstance(message, Down) and message.ref in refs, 10)
            assert down.reason == "normal", down.reason
        for name in names:
            await ask(name)
        await until_down(conductor)
        await until_up(4)
    assert len(await running("flight")) == 40
    await Spread.stop("flight")


async def start_one(supervisor: str, name: str) -> None:
    await Spread.start_child(supervisor, worker(name))
