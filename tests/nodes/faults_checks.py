"""Checks that test_services.py runs: memory of mailboxes that really changes, what that costs, and what nodes know of each other."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from in_system import PATIENCE, begin_to_kill, do_at, kill, others, stay, until_down, until_up
from pairs_checks import Account, start_on, until_paired

from beamlike import CallError, ChildSpec, Down, Pid, call, monitor, process_info_at, receive, self_pid, send, sleep, spawn_at
from nodes import (
    DistributedSupervisor,
    NodeDown,
    NodeState,
    call_pair,
    list_nodes,
    monitor_node,
    topology,
)
from nodes._ring import ffi, lib
from nodes.here import joined
from nodes.rings import CAPACITY, UnusableError


def state_of(name: str) -> NodeState:
    """As this node knows it."""
    return next(state for state in topology() if state.name == name)


async def told() -> tuple[NodeState, ...]:
    """The topology by what a node knows, without the load, which changes. Run by `do_at`."""
    return tuple(replace(state, load=None) for state in topology())


async def damage(to: Pid) -> None:
    """Send a message to a process of another node, which finds a bit of it changed."""
    await process_info_at(to)  # so there is a mailbox
    life = joined()
    reader, end = life.membership.members[to.node].pid, life.mailboxes.open[to.origin].end
    memory = ffi.buffer(end._memory, lib.bl_pair_size(CAPACITY, CAPACITY))
    mark = os.urandom(32)
    os.kill(reader, signal.SIGSTOP)
    try:
        wait_stopped(reader)
        send(to, mark)
        at = memory[:].index(mark)
        memory[at] = bytes([mark[0] ^ 1])
    finally:
        os.kill(reader, signal.SIGCONT)


def wait_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0)


async def nothing_comes() -> None:
    try:
        message = await receive(timeout=0)
    except TimeoutError:
        return
    raise AssertionError(message)


async def nothing() -> None:
    """What `stay` does first."""


async def lose_connection(to: Pid) -> None:
    """As when this OS process may open no more descriptors."""
    await process_info_at(to)
    mailboxes = joined().mailboxes
    mailboxes._broke(to.origin, mailboxes.open[to.origin], UnusableError("no memory is to blame"))
    await echoes(to)


async def echoes(*pids: Pid) -> None:
    """Each of these answers."""
    for number, pid in enumerate(pids):
        send(pid, ("echo", self_pid(), ("it is", number)))
        await receive(lambda message, number=number: message == ("it is", number), PATIENCE)


async def damage_and_watch(victim: Pid, spared: Pid) -> None:
    """What depends on the other end of that mailbox is told, and what on others is not; and the next message gets there."""
    ref = monitor(victim)
    monitor(spared)
    await damage(victim)
    down = await receive(lambda message: isinstance(message, Down), PATIENCE)
    assert (down.ref, down.reason) == (ref, "noconnection"), down
    await echoes(victim, spared)
    await nothing_comes()


async def until_faults(**expected: int) -> None:
    """Until every node counts as many faults, by the names of nodes without their machine; and all say the same."""
    while True:
        await until_all_say_the_same()
        counted = {short(state.name): state.faults for state in topology()}
        if counted | expected == counted:
            return
        await sleep(0.002)


async def until_all_say_the_same() -> None:
    """Who hears a packet of the owner's last, says so last."""
    while len({await do_at(name, told) for name in list_nodes()}) > 1:
        await sleep(0.002)


def short(name: str) -> str:
    return name.partition("@")[0]


async def check_topology_says_what_is_so() -> None:
    await until_all_say_the_same()
    states = topology()
    assert [short(state.name) for state in states] == ["n1", "n2", "n3", "n4"]
    assert [state.is_main for state in states] == [True, False, False, False]
    assert [state.name for state in states if state.is_conductor] == [others()[0]]
    assert [state.restarts for state in states] == [1, 0, 0, 0]  # main's node was killed before this
    assert sorted(state.incarnation for state in states) == [2, 3, 4, 5]
    assert states[0].incarnation == 5
    assert states[0].pid == os.getpid()
    for state in states:
        assert state.state == "up", state
        assert [state.core] == list(os.sched_getaffinity(state.pid)), state
        assert 0 <= time.time() - state.started < 60, state
        assert state.load is not None, state
        assert state.load.processes > 0, state
    one = others()[1]
    before = state_of(one)
    await kill(one)
    down = state_of(one)
    assert (down.state, down.incarnation, down.pid, down.core, down.load) == ("down", 0, 0, -1, None), down
    await until_up(4)
    after = state_of(one)
    assert (after.state, after.incarnation, after.restarts, after.core) == ("up", 6, before.restarts + 1, before.core), after
    assert after.started > before.started


async def check_a_fault_costs_that_connection_only_and_is_counted() -> None:
    one, two, three = sorted(others())
    at_one, at_two, at_three = [await stay(node, nothing) for node in (one, two, three)]
    for pid in (at_one, at_two, at_three):
        monitor(pid)
    before = {state.name: state.incarnation for state in topology()}
    await do_at(two, lose_connection, at_three)  # which does not count
    await do_at(two, damage_and_watch, at_one, at_three)
    await until_faults(**{short(one): 1, short(two): 1, short(three): 0, "n1": 0})
    await echoes(at_one, at_two, at_three)
    await nothing_comes()  # of those monitors
    assert {state.name: state.incarnation for state in topology()} == before


async def check_what_was_counted_is_told_to_who_comes_later() -> None:
    """And the end of a conductor does not change it."""
    one, two, three = sorted(others())
    await kill(one)
    await until_up(4)
    await until_faults(**{short(one): 1, short(two): 1, short(three): 0, "n1": 0})


async def check_third_fault_retires_the_node_and_its_work_goes_on_elsewhere() -> None:
    """The last check: one node is gone for good."""
    bad = next(state.name for state in topology() if state.faults and not state.is_main)
    first, second = [name for name in others() if name != bad and not state_of(name).faults] + [self_pid().node]
    children = [ChildSpec.of(Account, 10 * number, id=number) for number in range(4)]
    await DistributedSupervisor.start("accounts", children)
    (moving,) = [number for number in range(4) if pid_of(number).node == bad]
    assert await ask(moving, ("add", 1)) == 10 * moving + 1
    pair = await start_on(bad, Account, "pair", 5)
    assert await call_pair(pair, ("add", 3)) == 8
    await until_paired(pair)
    monitor_node(bad)
    core = state_of(bad).core

    await do_at(bad, damage, await stay(first, nothing))
    await until_faults(**{short(bad): 2, short(first): 1})
    await spawn_at(bad, damage, await stay(second, nothing))
    down = await receive(lambda message: isinstance(message, NodeDown), PATIENCE)
    assert down == NodeDown(bad, ("retired", "3 faults in 3600 s")), down

    assert await ask(moving, "get") == 10 * moving
    assert pid_of(moving).node != bad
    assert await call_pair(pair, ("add", 3)) == 11
    primary, backup = await until_paired(pair)
    assert bad not in (primary.node, backup.node)
    await until_faults(**{short(name): 0 for name in (first, second, bad)})
    assert (state_of(bad).state, state_of(bad).core) == ("retired", core)

    assert state_of(first).is_conductor
    await retire_while_the_conductor_is_stopped(first, next(name for name in others() if name != first))
    assert (state_of(bad).state, bad in list_nodes()) == ("retired", False)
    monitor_node(bad)
    assert await receive(lambda message: isinstance(message, NodeDown), 0) == down


async def retire_while_the_conductor_is_stopped(conductor: str, bad: str) -> None:
    """Nobody judges, until the next one is the conductor. When the former is back, what is to be started again has been."""
    here = await stay(self_pid().node, nothing)
    monitor_node(bad)
    os.kill(state_of(conductor).pid, signal.SIGSTOP)
    for count in range(1, 4):
        await spawn_at(bad, damage, here)
        while state_of(bad).faults < count:
            await sleep(0.002)
    assert bad in list_nodes()
    begin_to_kill(conductor)
    await until_down(conductor, bad)
    while conductor not in list_nodes():
        await sleep(0.01)
    await until_all_say_the_same()
    assert [state_of(name).state for name in (conductor, bad)] == ["up", "retired"]


async def ask(number: int, request: Any) -> Any:
    """What this account answers, as soon as it runs somewhere."""
    while True:
        try:
            return await call(pid_of(number), request)
        except (CallError, LookupError):
            await sleep(0.002)


def pid_of(number: int) -> Pid:
    pid = DistributedSupervisor.whereis_child("accounts", number)
    if pid is None:
        raise LookupError(number)
    return pid
