"""The checks of test_membership.py: who is up, who was lost and why, and who restarts it (D1, D2, D6, D7)."""

from __future__ import annotations

import os
import signal
from typing import Any

from descriptors import no_descriptors
from messages_checks import at, nothing_comes, os_pid_of
from puppets import PATIENCE, make, make_again, node

from beamlike import Down, Pid, receive, self_pid, send, sleep, spawn_at, spawn_monitor
from nodes import NodeDown, NodeUp, SpawnError, demonitor_node, kill_node, list_nodes, monitor_node
from nodes.here import joined


async def exits(status: int) -> None:
    os._exit(status)


async def is_stuck(who: Pid) -> None:
    send(who, ("stuck", self_pid()))
    await sleep(0)
    sum(range(10**11))


async def stays() -> None:
    await receive(lambda message: False)


async def down_of(number: int) -> Any:
    """The reason of the next NodeDown; and wait for the NodeUp."""
    down = await receive(lambda message: isinstance(message, NodeDown | NodeUp), PATIENCE)
    assert isinstance(down, NodeDown), down
    assert down.name == node(number)
    up = await receive(lambda message: isinstance(message, NodeDown | NodeUp), PATIENCE)
    assert up == NodeUp(node(number)), up
    return down.reason


async def check_d1_reasons_of_node_down(number: int) -> None:
    monitor_node(node(number))
    kill_node(node(number))
    assert await down_of(number) == ("signal", "SIGKILL")
    os.kill(await at(number, os_pid_of), signal.SIGSEGV)
    assert await down_of(number) == ("signal", "SIGSEGV")
    await spawn_at(node(number), exits, 3)
    assert await down_of(number) == ("status", 3)
    await nothing_comes()
    demonitor_node(node(number))
    kill_node(node(number))
    await make_again(number)
    await nothing_comes()


async def check_d2_node_that_is_stuck_is_killed_and_its_stack_kept(number: int) -> None:
    monitor_node(node(number))
    await spawn_at(node(number), is_stuck, self_pid())
    _, pid = await receive(lambda message: type(message) is tuple, PATIENCE)
    kind, stepped, stack = await down_of(number)
    assert (kind, stepped) == ("hung", pid.serial), (kind, stepped, pid)
    assert "is_stuck" in stack, stack


async def check_d2_node_that_is_stopped_is_killed_and_restarted(number: int) -> None:
    monitor_node(node(number))
    os.kill(await at(number, os_pid_of), signal.SIGSTOP)
    reason = await down_of(number)
    assert reason[0] == "hung", reason
    await make_again(number)


async def check_node_monitors_of_what_is_not_there() -> None:
    monitor_node("nowhere@at.all")
    assert await receive(timeout=0) == NodeDown("nowhere@at.all", ("lost",))
    monitor_node(self_pid().node)
    await nothing_comes()
    for bad in (1, None, b"n1"):
        try:
            monitor_node(bad)  # type: ignore[arg-type]
        except TypeError:
            continue
        raise AssertionError(bad)
    try:
        kill_node("nowhere@at.all")
    except ValueError as error:
        assert "nowhere@at.all" in str(error)
        assert node(1) in str(error)


async def check_node_up_and_down_alternate_whatever_happens() -> None:
    for number in (2, 3):
        monitor_node(node(number))
    for _ in range(10):
        for number in (2, 3):
            if node(number) in list_nodes():
                kill_node(node(number))
        await receive(NodeUp, PATIENCE)
    while len(list_nodes()) < 3:
        await receive(NodeUp, PATIENCE)


async def watches(names: list[str]) -> None:
    for name in names:
        monitor_node(name)


async def check_nothing_is_kept_of_watchers_that_have_ended() -> None:
    membership = joined().membership
    before = {name: set(watchers) for name, watchers in membership.watchers.items()}, set(membership.watching)
    for _ in range(20):
        _, ref = spawn_monitor(watches, [node(2), node(3)])
        await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref, PATIENCE)
    assert ({name: set(watchers) for name, watchers in membership.watchers.items()}, set(membership.watching)) == before


async def has_no_descriptors_left(who: Pid) -> None:
    with no_descriptors():
        send(who, "full")
        await receive(lambda message: False)


async def check_node_that_cannot_take_what_the_owner_says_ends_with_an_error() -> None:
    monitor_node(node(2))
    await spawn_at(node(2), has_no_descriptors_left, self_pid())
    assert await receive(timeout=PATIENCE) == "full"
    kill_node(node(3))
    kind, text = await down_of(2)
    assert kind == "error"
    assert text.startswith("what the owner said cannot be taken: descriptors of a control packet were lost"), text


def conductor() -> str:
    return joined().membership.conductor().name


async def tell_conductor(who: Pid, ref: Any) -> None:
    send(who, (ref, conductor()))


async def check_d7_conductor_that_is_killed_is_restarted_by_the_next_eldest() -> str:
    """Called on the node that is not the conductor; kills that."""
    name = conductor()
    assert name != self_pid().node
    monitor_node(name)
    kill_node(name)
    assert isinstance(await receive(lambda message: isinstance(message, NodeDown), PATIENCE), NodeDown)
    assert conductor() != name
    assert await receive(lambda message: isinstance(message, NodeUp), PATIENCE) == NodeUp(name)
    names = {await at(number, tell_conductor) for number in (1, 2, 3)}
    assert names == {conductor()}
    return conductor()


async def check_who_is_conductor() -> str:
    return conductor()


async def check_d2_conductor_that_is_stopped_is_found_by_the_second_eldest() -> None:
    name = conductor()
    number = int(name.partition("@")[0][1:])
    monitor_node(name)
    os.kill(await at(number, os_pid_of), signal.SIGSTOP)
    assert (await down_of(number))[0] == "hung"
    assert conductor() != name


def forge_pid() -> int:
    """The child of the owner that is no node's: it runs `nodes.forge`."""
    owner = os.getppid()
    with open(f"/proc/{owner}/task/{owner}/children") as file:
        children = [int(pid) for pid in file.read().split()]
    for pid in children:
        with open(f"/proc/{pid}/stat") as file:
            session = int(file.read().rpartition(")")[2].split()[3])
        if session == pid:
            return pid
    raise AssertionError(children)


async def check_d7_forge_that_is_killed_is_replaced() -> None:
    for number in (2, 3, 2):
        monitor_node(node(number))
        os.kill(forge_pid(), signal.SIGKILL)
        kill_node(node(number))
        assert (await down_of(number)) == ("signal", "SIGKILL")
        demonitor_node(node(number))
        await make(number)


async def check_d7_node_that_is_killed_before_it_is_up_is_started_again() -> None:
    """Children of the owner that are not announced yet are killed as they appear."""
    monitor_node(node(2))
    before = others_of_owner()
    kill_node(node(2))
    await receive(lambda message: isinstance(message, NodeDown), PATIENCE)
    while not (born := others_of_owner() - before):
        await sleep(0)
    for pid in born:
        os.kill(pid, signal.SIGKILL)
    assert await receive(lambda message: isinstance(message, NodeUp), PATIENCE) == NodeUp(node(2))
    await make_again(2)


def others_of_owner() -> set[int]:
    owner = os.getppid()
    with open(f"/proc/{owner}/task/{owner}/children") as file:
        return {int(pid) for pid in file.read().split()}


async def check_mailboxes_that_both_open_at_once_are_one(rounds: int) -> None:
    """The first words of two nodes to each other, in the same moment: none is lost, and no connection."""
    for _ in range(rounds):
        monitor_node(node(2))
        monitor_node(node(3))
        kill_node(node(2))
        kill_node(node(3))
        for _ in range(2):
            await receive(NodeDown, PATIENCE)
        while len(list_nodes()) < 3:
            await receive(NodeUp, PATIENCE)
        one, other = await make_again(2), await make_again(3)
        send(one.pid, ("do", self_pid(), self_ref(), "monitor", (other.pid,)))
        send(other.pid, ("do", self_pid(), self_ref(), "monitor", (one.pid,)))
        for each, peer in ((one, other), (other, one)):
            send(each.pid, ("pass on", peer.pid, "hello"))
        for each in (one, other):
            seen: tuple[Any, ...] = ()
            while "hello" not in seen:
                seen += await each.seen()
            assert seen == ("hello",), seen
        while True:
            try:
                await receive(timeout=0)
            except TimeoutError:
                break


def self_ref() -> Any:
    from beamlike import make_ref

    return make_ref()


assert all((stays, SpawnError, spawn_monitor))
