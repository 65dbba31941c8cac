"""Checks that test_services.py runs; each is a process of a system of four nodes."""
# ruff: noqa: SIM105 - nodes do not import pytest, so what is raised is caught by hand

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from in_system import begin_to_kill, conductor, do_at, kill, kill_service, lose_connection, others, until_down, until_up

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
    make_ref,
    monitor,
    process_flag,
    process_info,
    process_info_at,
    processes,
    receive,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_monitor,
    system,
    whereis,
)
from beamlike.seam import NodeId, Options
from nodes import list_nodes, placing
from nodes.distributed_supervisor import DistributedSupervisor as Spread
from nodes.global_names import call_global, register_global, whereis_global
from nodes.leading import Asked, Decided
from nodes.local_children import Placed, Removed
from nodes.placing import SERVICE, Entry, Group, Placing
from nodes.replicated import Changed, Replicated, Whole


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
    await Spread.stop("types")
    while whereis_global("transient") is not None:
        await sleep(0.01)
    names = [f"transient{number}" for number in range(4)]
    await Spread.start("types", [worker(name, restart="transient") for name in names])  # one is on each node
    pids = [await ask(name) for name in names]
    name, pid = next((name, pid) for name, pid in zip(names, pids, strict=True) if pid.node == others()[1])
    await kill(pid.node)
    assert (await ask(name)).node != pid.node
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
        leads = others()[0]
        names = [f"flight{turn}.{number}" for number in range(10)]
        refs = [spawn_monitor(start_one, "flight", name)[1] for name in names]
        begin_to_kill(leads)
        for _ in refs:
            down = await receive(lambda message, refs=refs: isinstance(message, Down) and message.ref in refs, 10)
            assert down.reason == "normal", down.reason
        for name in names:
            await ask(name)
        await until_down(leads)
        await until_up(4)
    assert len(await running("flight")) == 40
    await Spread.stop("flight")


async def start_one(supervisor: str, name: str) -> None:
    await Spread.start_child(supervisor, worker(name))


class Slow(GenServer):
    """Ends when it is told to, after it was asked to."""

    async def init(self, who: Pid) -> None:
        process_flag("trap_exit", True)
        self.who = who

    async def terminate(self, reason: Any) -> None:
        send(self.who, ("ends", self_pid()))
        await receive(lambda message: message == "go on")


async def terminate_slow(who: Pid) -> None:
    await Spread.terminate_child("slow", "slow")
    send(who, "terminated")


async def start_slow(who: Pid, asker: Pid) -> None:
    send(asker, ("started", await Spread.start_child("slow", ChildSpec.of(Slow, who, id="slow", shutdown=20.0))))


async def check_a_child_that_is_being_stopped_is_not_started_elsewhere() -> None:
    await Spread.start("slow", placement="any")
    spawn(start_slow, self_pid(), self_pid())
    _, first = await receive(lambda message: message[0] == "started", 5)
    spawn(terminate_slow, self_pid())
    assert await receive(lambda message: message[0] == "ends", 5) == ("ends", first)
    spawn(start_slow, self_pid(), self_pid())
    try:
        await receive(lambda message: message[0] == "started", 0.1)
    except TimeoutError:
        pass
    else:
        raise AssertionError("it runs twice")
    send(first, "go on")
    _, second = await receive(lambda message: message[0] == "started", 5)
    assert second != first and await gone(first)
    spawn(terminate_slow, self_pid())
    await receive(lambda message: message[0] == "ends", 5)
    send(second, "go on")
    await receive(lambda message: message == "terminated", 5)
    await Spread.stop("slow")


async def check_a_leader_that_dies_after_its_answer_has_made_the_change() -> None:
    home = self_pid()  # stands for that, too
    for told in (Removed(("g", "x"), 5), Placed(("g", "x"), 5, None, "no"), Placed(("g", "x"), 5, home, None)):
        leader = placing_alone()
        leader.fellows = {home.origin: home}
        leader.table = {"g": Group(Options(), "any"), ("g", "x"): Entry(5, home, b"", (), None, False, None)}
        leader.decide(Asked(home, make_ref(), (told, home), False))
        assert [type(await receive(timeout=5)) for _ in range(2)] == [Changed, Decided]


async def check_who_waits_for_the_end_of_a_child_that_its_home_does_not_run_is_told() -> None:
    node = others()[1]
    await Spread.start("mislaid", [worker("mislaid1", node=node)])
    pid = await ask("mislaid1")
    await do_at(node, mislay, ("mislaid", "mislaid1"))
    await Spread.terminate_child("mislaid", "mislaid1")
    assert await running("mislaid") == {"mislaid1": pid}  # nobody stopped it
    await Spread.stop("mislaid")
    while not await gone(pid):
        await sleep(0.002)


async def mislay(key: Any) -> None:
    """Have the service of this node forget that it runs a child."""
    pid = whereis(SERVICE)
    assert pid is not None
    frame = pid.process.coro
    while not isinstance(frame.cr_frame.f_locals.get("self"), Placing):
        frame = frame.cr_await
    del frame.cr_frame.f_locals["self"].here[key]


async def check_a_group_that_goes_with_the_whole_table_takes_its_children_along_and_no_others() -> None:
    leads = conductor()
    node = next(name for name in others() if name != leads)
    for name in ("goes", "stays"):
        await Spread.start(name, [worker(f"{name}1", node=node)])
    goes, stays = await ask("goes1"), await ask("stays1")
    service = await do_at(node, service_here)
    leader = await do_at(leads, service_here)
    send(service, Whole(leader, 10**6, tuple(await do_at(node, table_without, "goes"))))
    ref = monitor(goes)
    await receive(lambda message: isinstance(message, Down) and message.ref == ref, 5)
    while await running("goes"):
        await sleep(0.002)
    assert await do_at(node, service_here) == service
    assert await ask("stays1") == stays
    for name in ("goes", "stays"):
        await Spread.stop(name)


async def service_here() -> Pid | None:
    return whereis(SERVICE)


async def table_without(name: str) -> list[Any]:
    return [(key, value) for key, value in placing.table.items() if name not in (key, key[0])]


def placing_alone() -> Placing:
    """What decides, and is no process: it has no fellows."""
    leader = Placing()
    leader.leads = True
    leader.dirty, leader.starting, leader.stopping, leader.later = {}, {}, {}, {}
    return leader


async def check_no_child_is_placed_on_a_node_that_has_just_died() -> None:
    for placement in ("spread", "any", "least_loaded"):
        leader = placing_alone()
        dead = Pid(NodeId("n9@nowhere", 1), 1)
        leader.fellows = {dead.origin: dead}  # whose end has not come
        leader.table = {"g": Group(Options(), placement)}
        assert [leader._choose(("g", str(number)), None) for number in range(5)] == [self_pid()] * 5
        assert leader._choose(("g", "there"), "n9@nowhere") is None


async def check_to_ask_a_second_leader_for_a_start_is_no_second_start() -> None:
    leader = placing_alone()
    one, other = Group(Options(), "any"), Group(Options(intensity=7), "any")
    for group, again, expected in ((one, False, True), (one, False, False), (one, True, True), (other, True, False)):
        ref = make_ref()
        leader.decide(Asked(self_pid(), ref, ("start", "g", group), again))
        assert await receive(timeout=5) == Decided(self_pid(), ref, expected), (group, again)
    assert leader.table == {"g": one}


async def check_a_new_leader_takes_the_best_copy() -> None:
    for own, expected in ((1, {"a": 2}), (3, {"a": 1})):
        leader = Replicated()
        leader.number, leader.table = own, {"a": 1}
        leader.begin_to_lead({Pid(NodeId("n9@nowhere", 1), 1): (2, (("a", 2),)), Pid(NodeId("n9@nowhere", 1), 2): (0, (("a", 0),))})
        assert (leader.number, leader.table) == (max(own, 2), expected)


async def check_children_run_once_each_when_the_service_is_killed_on_any_node() -> None:
    names = [f"again{number}" for number in range(8)]
    await Spread.start("again", [worker(name) for name in names], intensity=1000)
    for node in list_nodes():  # the conductor's, which leads, as well
        await do_at(node, kill_service_and_look, "again")
        await until_one_each("again", names)
    await Spread.stop("again")


async def kill_service_and_look(supervisor: str) -> None:
    await kill_service(SERVICE)
    assert supervisor in placing.table  # what this node knows it knows all the time


async def check_children_run_once_each_after_a_connection_was_lost() -> None:
    names = [f"cut{number}" for number in range(8)]
    await Spread.start("cut", [worker(name) for name in names], intensity=1000)
    leads = conductor()
    other, another = others()[-2:]
    for one, two in ((leads, other), (other, another), (another, leads)):
        await lose_connection(one, two)
        await Spread.start_child("cut", worker(f"{one}{two}", node=two))
        names.append(f"{one}{two}")
    await until_one_each("cut", names)
    await Spread.stop("cut")


async def until_one_each(supervisor: str, names: list[str]) -> None:
    """Until of these children one each runs, and its supervisor knows."""
    while True:
        found: Counter[str] = Counter()
        for node in list_nodes():
            found.update(await do_at(node, workers_here))
        known = await running(supervisor)
        if found == Counter(names) and set(known) == set(names) and None not in known.values():
            return
        await sleep(0.01)
