"""Checks that test_services.py runs; each is a process of a system of four nodes."""

from __future__ import annotations

from in_system import do_at, kill, kill_service, lose_connection, others, stay, until_up

from beamlike import Pid, demonitor, exit, monitor, receive, self_pid, send, spawn
from nodes import list_nodes
from nodes.groups import SERVICE, GroupJoined, GroupLeft, demonitor_group, join, leave, list_groups, local_members, members, monitor_group


async def until_members(group: object, expected: list[Pid]) -> None:
    """Until this node knows just these members. It is told of each change, so it does not look again before one."""
    ref, now = await monitor_group(group)
    while sorted(now, key=repr) != sorted(expected, key=repr):
        try:
            change = await receive(lambda message: isinstance(message, GroupJoined | GroupLeft) and message.ref == ref, 5)
        except TimeoutError:
            raise AssertionError(f"{self_pid()} knows {now}, not {expected}") from None
        match change:
            case GroupJoined(_, _, pids):
                now.extend(pids)
            case GroupLeft(_, _, pids):
                for pid in pids:
                    now.remove(pid)
    await demonitor_group(ref)
    assert sorted(members(group), key=repr) == sorted(expected, key=repr)


async def check_every_node_learns_who_joins_and_leaves() -> None:
    pids = [await stay(node, join, "club") for node in list_nodes()]
    for node in list_nodes():
        await do_at(node, until_members, "club", pids)
    assert local_members("club") == [pid for pid in pids if pid.node == self_pid().node]
    exit(pids[1], "kill")
    for node in list_nodes():
        await do_at(node, until_members, "club", [pids[0], *pids[2:]])
    for pid in pids:
        exit(pid, "kill")
    for node in list_nodes():
        await do_at(node, until_members, "club", [])


async def check_a_member_may_join_several_times_and_leaves_once_each() -> None:
    await join("twice")
    await join("twice")
    assert members("twice") == [self_pid(), self_pid()]
    await do_at(others()[0], until_members, "twice", [self_pid(), self_pid()])
    assert await leave("twice")
    assert members("twice") == [self_pid()]
    await do_at(others()[0], until_members, "twice", [self_pid()])
    assert await leave("twice")
    assert not await leave("twice")
    assert members("twice") == []
    assert "twice" not in list_groups()


async def check_a_dead_process_does_not_join() -> None:
    pid = spawn(nothing)
    ref = monitor(pid)
    await receive()
    demonitor(ref)
    await join("dead", pid)
    assert members("dead") == []


async def nothing() -> None:
    pass


async def check_only_processes_of_this_node_can_be_joined() -> None:
    pid = await stay(others()[0], nothing)
    for wrong, expected in ((pid, ValueError), ("x", TypeError)):
        try:
            await join("far", wrong)  # type: ignore[arg-type]
        except expected:
            pass
        else:
            raise AssertionError(wrong)
    exit(pid, "kill")


async def check_who_monitors_a_group_is_told_in_order_until_it_does_so_no_longer() -> None:
    ref, now = await monitor_group(("room", 1))
    assert now == []
    pid = await stay(others()[1], join, ("room", 1))
    assert await receive(timeout=5) == GroupJoined(ref, ("room", 1), (pid,))
    exit(pid, "kill")
    assert await receive(timeout=5) == GroupLeft(ref, ("room", 1), (pid,))
    await join(("room", 2))
    await demonitor_group(ref)
    await join(("room", 1))
    send(self_pid(), "end")
    assert await receive(timeout=5) == "end"


async def check_the_members_of_a_lost_node_leave_and_a_node_that_comes_back_learns_all() -> None:
    node = others()[0]
    here = await stay(others()[1], join, "partly")
    there = await stay(node, join, "partly")
    await until_members("partly", [here, there])
    await kill(node)
    await until_members("partly", [here])
    for each in others():
        await do_at(each, until_members, "partly", [here])

    await until_up(4)
    await do_at(node, until_members, "partly", [here])
    exit(here, "kill")


async def check_who_monitors_a_group_is_told_of_all_though_the_service_was_killed() -> None:
    here = [await stay(self_pid().node, join, "watched") for _ in range(2)]
    there = await stay(others()[1], join, "watched")
    await until_members("watched", [*here, there])
    ref, pids = await monitor_group("watched")
    exit(here[1], "kill")
    await kill_service(SERVICE)
    late = await stay(others()[0], join, "watched")
    while sorted(pids, key=repr) != sorted([here[0], there, late], key=repr):
        match await receive(lambda message: message.ref == ref, timeout=5):
            case GroupJoined(_, _, joined):
                pids.extend(joined)
            case GroupLeft(_, _, left):
                for pid in left:
                    pids.remove(pid)
    for node in list_nodes():
        await do_at(node, until_members, "watched", pids)
    await demonitor_group(ref)
    for pid in pids:
        exit(pid, "kill")


async def check_two_nodes_know_each_others_members_after_the_connection_was_lost() -> None:
    one, other, _ = others()
    for number in range(3):
        pids = [await stay(node, join, ("lost", number)) for node in (one, other)]
        await lose_connection(one, other)
        pids += [await stay(node, join, ("lost", number)) for node in (one, other)]
        for node in list_nodes():
            await do_at(node, until_members, ("lost", number), pids)
        for pid in pids:
            exit(pid, "kill")
