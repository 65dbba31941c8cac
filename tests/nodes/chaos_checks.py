"""Checks that test_services.py runs; each is a process of a system of four nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from in_system import PATIENCE, do_at, kill, others, until_down, until_up

from beamlike import (
    Call,
    CallError,
    CallTimeoutError,
    Down,
    Pid,
    call,
    exit,
    monitor,
    receive,
    reply,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_at,
)
from nodes import NodeDown, SpawnError, chaos, list_nodes, monitor_node, register_global, unregister_global
from nodes.here import joined
from nodes.placement import spawn_monitor_at


def state_of(name: str) -> str:
    """What Linux says: T if it is stopped."""
    with open(f"/proc/{joined().membership.members[name].pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0].decode()


async def until_state(name: str, is_stopped: bool) -> None:
    """The kernel acts upon a signal soon, and says so nowhere else."""
    while (state_of(name) == "T") != is_stopped:
        await sleep(0.001)


async def nothing() -> None:
    pass


async def server() -> None:
    """Answers calls; passes on what it is told to."""
    while True:
        match await receive():
            case Call(caller, request):
                reply(caller, request)
            case ("tell", Pid() as who, count, length):
                for number in range(count):
                    send(who, (number, b"x" * length))
            case ("ask", Pid() as who, Pid() as whom, timeout):
                try:
                    send(who, await call(whom, "asked", timeout))
                except CallError as error:
                    send(who, error.reason)


async def told(count: int) -> list[int]:
    """The numbers of so many messages of a server, as they come."""
    return [(await receive(lambda message: type(message) is tuple and type(message[0]) is int, PATIENCE))[0] for _ in range(count)]


async def tell(one: Pid, count: int, length: int = 10) -> None:
    """Have a server send so many, and return when it has."""
    send(one, ("tell", self_pid(), count, length))
    assert await call(one, "done", PATIENCE) == "done"


# --- nodes --------------------------------------------------------------------------------------------------------------------------


async def check_killed_nodes_end_by_sigkill_and_come_back() -> None:
    for victim in others()[:2]:
        monitor_node(victim)
        chaos.kill(victim)
        down = await receive(lambda message: isinstance(message, NodeDown), PATIENCE)
        assert down == NodeDown(victim, ("signal", "SIGKILL")), down
        await until_up(4)


async def kill_itself() -> None:
    chaos.kill(self_pid().node)


async def check_a_node_kills_itself() -> None:
    victim = others()[1]
    monitor_node(victim)
    await spawn_at(victim, kill_itself)
    await until_down(victim)


async def check_the_conductor_is_who_is_killed_as_such() -> None:
    before = chaos.conductor()
    assert [await do_at(name, conductor_there) for name in list_nodes()] == [before] * 4
    if before != self_pid().node:
        await kill(before)
        assert chaos.conductor() != before


async def conductor_there() -> str:
    return chaos.conductor()


async def check_a_stopped_node_is_stopped_until_it_goes_on() -> None:
    victim = others()[1]
    one = await spawn_at(victim, server)
    chaos.stop(victim)
    await until_state(victim, is_stopped=True)
    try:
        await call(one, "unheard", timeout=0.05)
    except CallTimeoutError:
        pass
    else:
        raise AssertionError("a stopped node has answered")
    chaos.go_on(victim)
    assert await call(one, "heard", timeout=PATIENCE) == "heard"
    assert state_of(victim) != "T"


async def stop_itself(asker: Pid) -> None:
    chaos.stop(self_pid().node)
    send(asker, "went on")


async def check_a_node_that_stops_itself_goes_on_by_another() -> None:
    victim = others()[1]
    await spawn_at(victim, stop_itself, self_pid())
    await until_state(victim, is_stopped=True)
    chaos.go_on(victim)
    assert await receive(timeout=PATIENCE) == "went on"


async def check_a_node_that_is_slowed_down_has_about_its_share() -> None:
    victim = others()[1]
    stopped = []
    for share in (0.1, 0.9):
        looks = 0
        async with chaos.slowing_down(victim, share) as fault:
            for _ in range(100):
                await sleep(0.003)
                looks += state_of(victim) == "T"
        assert fault.count is not None and fault.count >= 2, fault.count
        await until_state(victim, is_stopped=False)
        stopped.append(looks)
    assert stopped[0] > stopped[1] > 0, stopped


async def slow_down_itself(asker: Pid) -> None:
    async with chaos.slowing_down(self_pid().node, 0.5) as fault:
        await sleep(0.1)
    send(asker, fault.count)


async def check_a_node_slows_itself_down() -> None:
    await spawn_at(others()[1], slow_down_itself, self_pid())
    assert await receive(timeout=PATIENCE) >= 1


async def slow_down_for_ever(victim: str, asker: Pid) -> None:
    async with chaos.slowing_down(victim, 0.01):
        send(asker, "begun")
        await receive()


async def check_a_fault_is_over_when_who_asked_for_it_is_killed() -> None:
    victim = others()[1]
    asker = spawn(slow_down_for_ever, victim, self_pid())
    assert await receive(timeout=PATIENCE) == "begun"
    await until_state(victim, is_stopped=True)
    exit(asker, "kill")
    running = 0
    while running < 50:  # a share of 0.01 never looks like this
        await sleep(0.002)
        running = 0 if state_of(victim) == "T" else running + 1


def forges() -> set[int]:
    """The children of the owner that are forges."""
    owner = os.getppid()
    with open(f"/proc/{owner}/task/{owner}/children") as file:
        children = [int(pid) for pid in file.read().split()]
    found = set()
    for pid in children:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if os.getsid(pid) == pid and b"nodes.forge" in file.read():
                    found.add(pid)
        except OSError:  # it has ended meanwhile
            continue
    return found


async def check_a_forge_that_is_killed_is_replaced() -> None:
    before = forges()
    assert len(before) == 1
    chaos.kill_forge()
    while not (now := forges()) or now & before:
        await sleep(0.005)
    await kill(others()[1])
    await until_up(4)


# --- records ------------------------------------------------------------------------------------------------------------------------


async def check_dropped_messages_are_missing_and_counted() -> None:
    one = await spawn_at(others()[1], server)
    async with chaos.dropping(one.node, self_pid().node, rate=0.3, kinds=("message",), seed=7) as fault:
        await tell(one, 200)
    assert fault.count is not None
    came = await told(200 - fault.count)
    assert came == sorted(set(came)) and 20 < fault.count < 120, (came, fault.count)
    await tell(one, 1)
    assert await told(1) == [0], "nothing else came, and the fault is over"


async def check_a_call_that_is_dropped_or_whose_answer_is_waits_for_its_timeout() -> None:
    one = await spawn_at(others()[1], server)
    for place, kind in (((self_pid().node, one.node), "call"), ((one.node, self_pid().node), "answer")):
        async with chaos.dropping(*place, rate=1, kinds=(kind,)) as fault:
            for _ in range(2):
                try:
                    await call(one, kind, timeout=0.05)
                except CallTimeoutError:
                    pass
                else:
                    raise AssertionError(kind)
        assert fault.count == 2
        assert await call(one, kind, PATIENCE) == kind


async def check_links_spawns_and_services_are_not_struck() -> None:
    here, there = self_pid().node, others()[1]
    async with chaos.dropping(here, there, rate=1) as one, chaos.dropping(there, here, rate=1) as other:
        pid, ref = await spawn_monitor_at(there, nothing)
        assert await receive(lambda message: type(message) is Down, PATIENCE) == Down(ref, pid, "normal")
        pid, ref = await spawn_monitor_at(there, server)
        exit(pid, "shutdown")
        assert (await receive(lambda message: type(message) is Down, PATIENCE)).reason == "shutdown"
        await register_global("chaos")
        await unregister_global("chaos")
    assert (one.count, other.count) == (0, 0)


async def drop_for_ever(source: str, target: str, asker: Pid) -> None:
    async with chaos.dropping(source, target, rate=1):
        send(asker, "begun")
        await receive()


async def check_nothing_is_dropped_any_more_when_who_asked_for_it_is_killed_or_its_node_is() -> None:
    source, place = others()[1:3]
    one = await spawn_at(source, server)
    for is_node in (False, True):
        asker = await spawn_at(place, drop_for_ever, source, self_pid().node, self_pid())
        assert await receive(timeout=PATIENCE) == "begun"
        if is_node:
            chaos.kill(place)
        else:
            exit(asker, "kill")
        while True:
            try:
                assert await call(one, "heard", timeout=0.05) == "heard"
                break
            except CallTimeoutError:
                continue


async def check_a_fault_stays_when_the_connection_is_lost_and_when_its_target_is_started_again() -> None:
    source, target = others()[1:3]
    async with chaos.dropping(source, target, rate=1, kinds=("message",)) as fault:
        asked = await spawn_at(target, server)
        await do_at(source, send_to, asked)
        await do_at(source, cut, target)
        await do_at(source, send_to, asked)
        await kill(target)
        await until_up(4)
        await do_at(source, send_to, await spawn_at(target, server))
    assert fault.count == 3


async def cut(target: str) -> None:
    """The connection to this node is lost."""
    life = joined()
    life.mailboxes.cut(life.membership.members[target].id)


async def send_to(pid: Pid) -> None:
    await call(pid, "the connection is open", PATIENCE)
    send(pid, "dropped")


async def check_what_is_delayed_comes_late_and_in_order() -> None:
    one = await spawn_at(others()[1], server)
    async with chaos.delaying(one.node, self_pid().node, rate=0.1, seconds=0.02, kinds=("message",), seed=1) as fault:
        send(one, ("tell", self_pid(), 100, 10))
        assert await told(100) == list(range(100))
        send(one, ("tell", self_pid(), 40, 100_000))
        assert await told(40) == list(range(40))
    assert fault.count is not None and fault.count >= 1
    async with chaos.delaying(one.node, self_pid().node, rate=1, seconds=0.2):
        before = time.monotonic()
        assert await call(one, "late", PATIENCE) == "late"
        assert time.monotonic() - before >= 0.15


async def check_what_is_held_up_goes_when_the_delay_is_over() -> None:
    source, third = others()[1:3]
    one = await spawn_at(source, server)
    way_round = await spawn_at(third, relay, self_pid())
    async with chaos.delaying(source, self_pid().node, rate=1, seconds=600) as fault:
        send(one, ("tell", self_pid(), 3, 10))
        send(one, ("tell", way_round, 1, 10))
        assert await receive(timeout=PATIENCE) == "came", "before what was sent first"
        before = ticks_of(source)
        await sleep(0.5)
        assert ticks_of(source) - before < 5, "it does not sleep while its records are held up"
    assert await told(3) == [0, 1, 2]
    assert fault.count == 1


def ticks_of(name: str) -> int:
    """Of CPU time, 10 ms each, that a node has used."""
    with open(f"/proc/{joined().membership.members[name].pid}/stat", "rb") as file:
        return sum(map(int, file.read().rpartition(b")")[2].split()[11:13]))


async def relay(to: Pid) -> None:
    await receive()
    send(to, "came")


async def check_a_corrupted_record_costs_the_connection_and_nothing_else() -> None:
    one = await spawn_at(others()[1], server)
    for length in (0, 16_000):  # a third fault, and the node would be retired
        ref = monitor(one)
        async with chaos.corrupting(one.node, self_pid().node, rate=1, kinds=("message",), seed=length) as fault:
            send(one, ("tell", self_pid(), 3, length))
            down = await receive(lambda message: type(message) is Down, PATIENCE)
            assert down == Down(ref, one, "noconnection")
        assert fault.count == 3
        assert await call(one, "usable again", PATIENCE) == "usable again"
    await tell(one, 1)
    assert await told(1) == [0], "nothing that was corrupted came"


async def check_of_a_torn_record_nothing_is_seen() -> None:
    for at in (0, 1, 39, 40, 41, 10_000):
        source = others()[1]
        one = await spawn_at(source, server)
        monitor_node(source)
        await tell(one, 5)
        async with chaos.tearing(source, self_pid().node, at=at, kinds=("message",)) as fault:
            send(one, ("tell", self_pid(), 5, 100))
            assert (await receive(lambda message: isinstance(message, NodeDown), PATIENCE)).reason == ("signal", "SIGKILL")
        assert fault.count is None
        assert await told(5) == [0, 1, 2, 3, 4]
        try:
            late = await receive(lambda message: type(message) is tuple, 0)
        except TimeoutError:
            await until_up(4)
        else:
            raise AssertionError(late)


# --- misuse, and schedules ----------------------------------------------------------------------------------------------------------


async def check_misuse_is_told() -> None:
    here, there = self_pid().node, others()[0]
    wrong: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: chaos.kill("n9@nowhere"), ValueError, there),
        (lambda: chaos.stop(3), TypeError, "3"),  # type: ignore[arg-type]
        (lambda: chaos.stopping(there, 0), ValueError, "more than 0"),
        (lambda: chaos.slowing_down(there, 1.0), ValueError, "less than 1"),
        (lambda: chaos.slowing_down(there, "half"), TypeError, "half"),  # type: ignore[arg-type]
        (lambda: chaos.dropping(here, "n9@nowhere", rate=0.5), ValueError, "n9@nowhere"),
        (lambda: chaos.dropping("n9@nowhere", there, rate=0.5), ValueError, there),
        (lambda: chaos.dropping(here, here, rate=0.5), ValueError, here),
        (lambda: chaos.dropping(here, there, rate=1.5), ValueError, "from 0 to 1"),
        (lambda: chaos.dropping(here, there, rate=True), TypeError, "True"),
        (lambda: chaos.dropping(here, there, rate=1, kinds=("link",)), ValueError, "message, call, answer"),
        (lambda: chaos.dropping(here, there, rate=1, kinds="call"), TypeError, "call"),
        (lambda: chaos.delaying(here, there, rate=1, seconds=0), ValueError, "more than 0"),
        (lambda: chaos.tearing(here, there, at=-1), ValueError, "-1"),
        (lambda: chaos.tearing(here, there, at=0.5), TypeError, "0.5"),  # type: ignore[arg-type]
    ]
    for call_, error, text in wrong:
        try:
            call_()
        except error as told_:
            assert text in str(told_), told_
        else:
            raise AssertionError(text)
    await kill(there)
    try:
        async with chaos.dropping(there, here, rate=1):
            raise AssertionError
    except SpawnError as error_:
        assert there in str(error_)


async def check_a_schedule_is_done_and_its_steps_are_done_again() -> None:
    victims = others()
    faults = ("kill", "stop", "slow_down", "drop", "delay", "tear")  # nodes that have too many corrupted records are retired
    schedule = chaos.Schedule(5, victims, every=0.02, faults=faults, lasting=0.05)
    busy = [spawn(ask_for_ever, name) for name in victims]
    done = await chaos.run(schedule, seconds=0.5)
    assert len(done) > 10 and {step.outcome for step in done} >= {"done"}, done
    assert all(step.outcome for step in done)
    again = await chaos.replay(chaos.from_json(chaos.to_json(done)))
    assert [(step.at, step.fault, step.victim, step.details) for step in again] == [
        (step.at, step.fault, step.victim, step.details) for step in done
    ]
    for pid in busy:
        exit(pid, "kill")
    await until_up(4)
    for name in victims:
        assert await call(await spawn_at(name, server), name, PATIENCE) == name
    whoever = chaos.Step(0.0, "stop", "conductor", {"seconds": 0.02})  # by another node, for it may be this one
    assert [step.outcome for step in await chaos.replay([whoever])] == ["done"]
    try:
        await chaos.run(done, seconds=1)  # type: ignore[arg-type]
    except TypeError as error:
        assert "chaos.replay" in str(error)
    else:
        raise AssertionError


async def ask_for_ever(name: str) -> None:
    while True:
        try:
            one = await spawn_at(name, server)
            while True:
                await call(one, "well?", timeout=0.1)
        except (CallError, SpawnError):
            await sleep(0.01)
