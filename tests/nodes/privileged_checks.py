"""Checks that test_privileged.py runs on the shared system: all privileged calls, where other nodes play a part."""

from __future__ import annotations

from typing import Any

from privileged_attempts import (
    ATTEMPTS,
    BY_NAME,
    IRRELEVANT,
    PATIENCE,
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

from beamlike import GenServer, Pid, exit, process_flag, receive, self_pid, send, spawn_at
from nodes import call_pair, start_pair, start_partitioned, stop_pair, stop_partitioned, where_is_pair

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
            case ("attempt", Pid() as boss, str(name), Pid() as limited):
                before = the_world().everything()
                send(limited, ("attempt", self_pid(), name))
                _, _, outcome = await receive(("outcome", name), PATIENCE)
                is_changed = the_world().everything() != before
                await end(limited)
                await the_world().close()
                await tidy()
                send(boss, ("outcome", outcome, is_changed))


class Limited(GenServer):
    """Half of a pair."""

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return await outcome_of(request, the_world())


async def check_all_calls_after_the_take_over_of_a_process_pair() -> None:
    process_flag("trap_exit", True)
    boss = self_pid()
    wide = {"file", "net", "node", "process_info"}  # of which the terms name what is on that node
    terms: set[tuple[Any, ...]] = {(each.kind, "all") for each in ATTEMPTS if each.kind in wide}
    nowhere = World()
    terms |= {each.term(nowhere) for each in ATTEMPTS if each.kind not in wide}
    nowhere.shut()
    await start_partitioned(Echo, name="partitioned")
    pair = await start_pair(Limited, name="limited", exclude=sorted(terms, key=repr))
    halves = where_is_pair(pair)
    assert halves is not None
    primary, backup = halves
    assert backup is not None
    away = await spawn_at(backup.node, keep_world)
    send(away, ("open", boss, "send send"))
    await receive(("term", tuple), PATIENCE)
    exit(primary, "kill")
    outcomes = {each.name: await call_pair(pair, each.name) for each in ATTEMPTS}
    halves = where_is_pair(pair)
    assert halves is not None
    assert halves[0] == backup
    await stop_pair(pair)
    await stop_partitioned("partitioned")
    wrong = {name: outcome for name, outcome in outcomes.items() if not outcome.startswith("refused")}
    assert wrong == {}, wrong
