"""Checks that test_privileged.py runs on the shared system: all privileged calls, where other nodes play a part."""

from __future__ import annotations

from typing import Any

from privileged_attempts import (
    ATTEMPTS,
    BY_NAME,
    IRRELEVANT,
    PATIENCE,
    Attempt,
    Echo,
    World,
    another,
    direct,
    end,
    in_blocking_thread,
    in_child_task,
    in_trio,
    inherited,
    outcome_of,
    restarted,
    set_world,
    subject,
    the_world,
    through_server,
    tidy,
    try_all,
)

from beamlike import GenServer, Pid, exit, process_flag, receive, self_pid, send, sleep, spawn_at
from nodes import call_pair, list_nodes, start_pair, start_partitioned, stop_pair, stop_partitioned, where_is_pair

BETWEEN = [each for each in ATTEMPTS if each.call.startswith("nodes.")]
SITUATIONS = {each.__name__: each for each in (direct, inherited, restarted, through_server, in_trio, in_child_task, in_blocking_thread)}


async def check_calls_between_nodes(situation: str) -> None:
    process_flag("trap_exit", True)
    await start_partitioned(Echo, name="partitioned")
    wrong = await try_all(BETWEEN, SITUATIONS[situation])
    await stop_partitioned("partitioned")
    assert wrong == {}, wrong


async def check_all_calls_after_a_remote_spawn() -> None:
    """The limited process is on another node, and makes its attempts at what is there."""
    process_flag("trap_exit", True)
    boss, node = self_pid(), another()
    away = await spawn_at(node, keep_world)
    await start_partitioned(Echo, name="partitioned")
    wrong = {}
    for each in ATTEMPTS:
        for is_refused in (True, False) if each.is_harmless else (True,):
            send(away, ("open", boss, each.name))
            _, term = await receive(("term", tuple), PATIENCE)
            limited = await spawn_at(node, subject, "scheduler", exclude=[term if is_refused else IRRELEVANT])
            send(away, ("attempt", boss, each.name, limited))
            _, outcome, is_changed = await receive(("outcome", str, bool), PATIENCE)
            if outcome != ("refused" if is_refused else "passed") or (is_refused and is_changed):
                wrong[each.name] = outcome, is_changed
    await stop_partitioned("partitioned")
    assert wrong == {}, wrong


async def keep_world() -> None:
    """Of its node: makes a World for each attempt, and looks whether it has changed."""
    process_flag("trap_exit", True)
    while True:
        match await receive():
            case ("open", Pid() as boss, str(name)):
                world = World()
                await world.open()
                set_world(world)
                send(boss, ("term", BY_NAME[name].term(world)))
            case ("attempt", Pid() as boss, str(name), Pid() | str() as limited):
                before = the_world().everything()
                if isinstance(limited, Pid):
                    send(limited, ("attempt", self_pid(), name))
                    _, _, outcome = await receive(("outcome", name), PATIENCE)
                else:
                    outcome = await call_pair(limited, name)
                is_changed = the_world().everything() != before
                if isinstance(limited, Pid):
                    await end(limited)
                await the_world().close()
                await tidy()
                send(boss, ("outcome", outcome, is_changed))


class Limited(GenServer):
    """Half of a pair."""

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return await outcome_of(request, the_world())

    async def handle_info(self, message: Any) -> None:
        pass


async def check_all_calls_after_the_take_over_of_a_process_pair() -> None:
    """Each by a pair that is refused just this, and by one that is not, after its backup has taken over; at what is there."""
    process_flag("trap_exit", True)
    boss, here = self_pid(), self_pid().node
    keepers = {name: await spawn_at(name, keep_world) for name in list_nodes() if name != here}
    await start_partitioned(Echo, name="partitioned")
    wrong = {}
    for each in ATTEMPTS:
        for is_refused in (True, False) if each.is_harmless else (True,):
            await start_pair(Limited, name="limited", exclude=[lasting_term(each) if is_refused else IRRELEVANT])
            away = keepers[(await taken_over("limited")).node]
            send(away, ("open", boss, each.name))
            await receive(("term", tuple), PATIENCE)
            send(away, ("attempt", boss, each.name, "limited"))
            _, outcome, is_changed = await receive(("outcome", str, bool), PATIENCE)
            if outcome != ("refused" if is_refused else "passed") or (is_refused and is_changed):
                wrong[each.name] = outcome, is_changed
            await stop_pair("limited")
    await stop_partitioned("partitioned")
    assert wrong == {}, wrong


def lasting_term(each: Attempt) -> tuple[Any, ...]:
    """The exclusion, wherever the pair will be: what is said of a node's own file, port or name is said of all."""
    world = World()
    world.shut()
    return (each.kind, "all") if each.kind in ("file", "net", "node", "process_info") else each.term(world)


async def taken_over(pair: str) -> Pid:
    """Kill the primary, and wait until the backup is in its place and has one of its own: the new primary."""
    halves = where_is_pair(pair)
    assert halves is not None
    first, second = halves
    exit(first, "kill")
    while halves is None or halves[0] == first or halves[1] is None:
        await sleep(0.001)
        halves = where_is_pair(pair)
    assert halves[0] == second
    return halves[0]
