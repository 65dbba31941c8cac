"""Checks that tests/boot/test_init_nodes.py runs on the shared system: goals on each node, and nodes that are lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beamlike import (
    BadNameError,
    CallError,
    GenServer,
    Pid,
    call,
    exit,
    monitor,
    process_flag,
    process_info_at,
    receive,
    self_pid,
    send,
    sleep,
    spawn_at,
    spawn_link,
    system,
    tighten,
    whereis,
)
from boot.goals import Goal, GoalStatus
from boot.init import Init, restart, status, stop
from nodes import NodeDown, NodeUp, kill_node, list_nodes, monitor_node

PATIENCE = 20.0


class Service(GenServer):
    async def init(self) -> None:
        process_flag("trap_exit", True)

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return self_pid()


async def serve(name: str) -> Pid:
    return await Service.start_link(name=name)


async def stay() -> None:
    process_flag("trap_exit", True)
    await receive(lambda message: False)


async def serve_stubbornly(name: str) -> Pid:
    """It does not end when it is told to."""
    return spawn_link(stay, name=name)


async def serve_elsewhere(name: str, node: str) -> Pid:
    """Fails on one node."""
    if self_pid().node == node:
        raise ValueError("not here")
    return await serve(name)


async def never() -> None:
    await sleep(1e6)


def goal(name: str, *requires: str, **fields: Any) -> Goal:
    return Goal(name, serve, (name,), requires, **fields)


def each(name: str, *requires: str, **fields: Any) -> Goal:
    return goal(name, *requires, each_node=True, **fields)


async def when(is_so: Callable[[dict[str, GoalStatus]], bool], init: Any = "init") -> dict[str, GoalStatus]:
    """Wait until it is so."""
    for _ in range(int(PATIENCE / 0.01)):
        seen = {one.name: one for one in await status(init)}
        if is_so(seen):
            return seen
        await sleep(0.01)
    raise AssertionError(seen)


async def all_online() -> dict[str, GoalStatus]:
    return await when(lambda seen: all(one.state.value == "online" for one in seen.values()))


async def where(name: str) -> list[str]:
    """The nodes where somebody has this name."""
    found = []
    for node in list_nodes():
        try:
            pid = await call((name, node), "who?")
        except (CallError, BadNameError):
            continue
        found.append(pid.node)
    return found


async def until_unnamed(name: str) -> None:
    """Wait until nobody on this node has this name."""
    pid = whereis(name)
    if pid is not None:
        ref = monitor(pid)
        await receive(lambda message: getattr(message, "ref", None) == ref, PATIENCE)


async def until_nowhere(*names: str) -> None:
    for _ in range(int(PATIENCE / 0.01)):
        if not [node for name in names for node in await where(name)]:
            return
        await sleep(0.01)
    raise AssertionError({name: await where(name) for name in names})


def others() -> list[str]:
    return [name for name in list_nodes() if name != self_pid().node]


async def back(name: str) -> None:
    """Wait until a node is there again."""
    await receive(lambda message: isinstance(message, NodeUp) and message.name == name, PATIENCE)


async def check_goals_on_each_node_come_up_on_all() -> None:
    init = await Init.start_link([goal("base"), each("agent", "base"), each("helper", "agent"), goal("top", "helper")])
    seen = await all_online()
    assert [*seen["agent"].pids] == [*seen["helper"].pids] == list_nodes()
    assert all(pid is not None and pid.node == node for node, pid in seen["agent"].pids.items())
    assert [*seen["base"].pids] == [*seen["top"].pids] == [self_pid().node]
    assert await where("agent") == list_nodes()
    process_flag("trap_exit", True)
    ref = monitor(init)
    exit(init, "shutdown")
    await receive(lambda message: getattr(message, "ref", None) == ref, PATIENCE)
    assert [await where(name) for name in ("base", "agent", "helper", "top")] == [[]] * 4


async def check_a_goal_is_gone_with_a_node_and_comes_to_it_when_it_is_back() -> None:
    await Init.start_link([each("agent"), each("helper", "agent"), goal("top", "helper")])
    before = await all_online()
    victim = others()[0]
    monitor_node(victim)
    kill_node(victim)
    await when(lambda seen: victim not in seen["agent"].pids or seen["agent"].pids[victim] != before["agent"].pids[victim])
    await back(victim)
    await when(lambda seen: all(one.state.value == "online" for one in seen.values()) and victim in seen["helper"].pids)
    after = await all_online()
    for node in list_nodes():
        for name in ("agent", "helper"):
            assert (after[name].pids[node] == before[name].pids[node]) == (node != victim)
    assert after["top"].pids == before["top"].pids
    assert max(one.attempts for one in after.values()) == 0


async def mark() -> None:
    """A step: what it does is gone with the node."""
    await Service.start(name="mark")


async def check_a_step_is_done_again_on_a_node_that_was_lost_and_is_back_before_init_hears_of_it() -> None:
    await Init.start_link([Goal("step", mark, each_node=True), each("agent", "step")])
    before = await all_online()
    victim = others()[0]
    monitor_node(victim)
    await system.suspend("init")
    kill_node(victim)
    await back(victim)
    await system.resume("init")
    await when(lambda seen: seen["agent"].state.value == "online" and seen["agent"].pids[victim] != before["agent"].pids[victim])
    assert await where("mark") == list_nodes()
    await stop("init", None)
    for node in list_nodes():
        exit(await call(("mark", node), "who?"), "kill")
    await until_nowhere("mark")


async def check_a_goal_that_lacks_a_node_is_degraded_and_who_requires_it_runs() -> None:
    lame = others()[0]
    failing = Goal("agent", serve_elsewhere, ("agent", lame), each_node=True, attempts=2, period=1.0)
    await Init.start_link([failing, each("helper", "agent"), goal("top", "agent")])
    seen = await when(lambda seen: seen["top"].state.value == "online" and seen["agent"].attempts == 2)
    seen = await when(lambda seen: len(seen["helper"].pids) == 2)
    assert (seen["agent"].state.value, seen["helper"].state.value) == ("degraded", "degraded")
    assert seen["agent"].why.startswith("ValueError: not here")
    assert lame not in seen["agent"].pids
    assert lame not in await where("helper")
    assert seen["helper"].why == f"not on {lame}"


async def check_on_a_node_what_requires_a_service_goes_and_comes_with_it() -> None:
    await Init.start_link([each("agent"), each("helper", "agent", stop_timeout=0.5), goal("top", "agent")])
    before = await all_online()
    node = others()[-1]
    pid = before["agent"].pids[node]
    assert pid is not None
    exit(pid, "kill")
    await when(
        lambda seen: (
            seen["agent"].pids.get(node) not in (None, pid) and seen["helper"].pids.get(node) not in (None, before["helper"].pids[node])
        )
    )
    after = await all_online()
    for other in list_nodes():
        assert (after["helper"].pids[other] == before["helper"].pids[other]) == (other != node)
    assert after["top"].pids == before["top"].pids
    assert after["agent"].attempts == 1


async def check_on_a_node_what_a_process_was_forbidden_it_is_when_it_is_started_again() -> None:
    await Init.start_link([each("agent")])
    before = await all_online()
    node = others()[0]
    pid = before["agent"].pids[node]
    assert pid is not None
    await tighten(pid, [("file", "all")])
    exit(pid, "kill")
    await when(lambda seen: seen["agent"].pids.get(node) not in (None, pid))
    for name, found in (await all_online())["agent"].pids.items():
        assert found is not None
        info = await process_info_at(found)
        assert info is not None
        assert info.exclusions == (((("file", "all"),),) if name == node else ())


async def stay_a_while() -> None:
    await sleep(5)


async def serve_unlinked(node: str) -> Pid:
    return await spawn_at(node, stay_a_while)


async def check_a_start_that_returns_an_unlinked_process_of_another_node_is_told_so() -> None:
    await Init.start_link([Goal("agent", serve_unlinked, (others()[0],), attempts=1)])
    seen = await when(lambda seen: seen["agent"].state.value == "maintenance")
    assert seen["agent"].why.startswith("TypeError: the start of goal 'agent' returned <")
    assert "to which it is not linked" in seen["agent"].why


async def check_stop_and_restart_reach_all_nodes() -> None:
    await Init.start_link([each("agent"), each("helper", "agent")])
    before = await all_online()
    assert await restart("init", "agent") == ["helper"]
    after = await all_online()
    assert not set(before["agent"].pids.values()) & set(after["agent"].pids.values())
    assert await stop("init", "agent") == ["helper"]
    assert await where("agent") == await where("helper") == []


async def check_a_goal_that_starts_on_another_node_is_stopped() -> None:
    await Init.start_link([Goal("agent", never, each_node=True, stop_timeout=1.0)])
    assert await stop("init", "agent") == []
    assert [one.state.value for one in await status()] == ["offline"]


async def check_a_goal_starts_anew_on_a_node_that_was_lost_while_it_started_there() -> None:
    await Init.start_link([Goal("agent", starting, (self_pid(),), each_node=True)])
    for _ in list_nodes():
        await receive(("starting", str), PATIENCE)
    victim = others()[0]
    kill_node(victim)
    await receive(("starting", victim), PATIENCE)
    seen = await when(lambda seen: seen["agent"].state.value == "starting")
    assert seen["agent"].attempts == 0
    assert await stop("init", "agent") == []


async def starting(boss: Pid) -> None:
    send(boss, ("starting", self_pid().node))
    await sleep(1e6)


async def check_a_stop_is_over_when_the_node_is_lost_that_it_waits_for() -> None:
    await Init.start_link([Goal("agent", serve_waiting, (self_pid(),), each_node=True, stop_timeout=1e6), each("helper", "agent")])
    await all_online()
    spawn_link(ask_to_stop, self_pid())
    stopping = [await receive(("stopping", Pid), PATIENCE) for _ in list_nodes()]
    victim = others()[0]
    kill_node(victim)
    for _, pid in stopping:
        if pid.node != victim:
            send(pid, ("go on",))
    assert await receive(("stopped", list), PATIENCE) == ("stopped", ["helper"])
    await when(lambda seen: all(one.state.value == "offline" for one in seen.values()))


class Waiting(Service):
    async def init(self, boss: Pid) -> None:  # type: ignore[override]
        await super().init()
        self.boss = boss

    async def terminate(self, reason: Any) -> None:
        send(self.boss, ("stopping", self_pid()))
        await receive(("go on",))


async def serve_waiting(boss: Pid) -> Pid:
    return await Waiting.start_link(boss)


async def ask_to_stop(boss: Pid) -> None:
    send(boss, ("stopped", await stop("init", "agent")))


async def run_init(boss: Pid) -> None:
    stubborn = Goal("stubborn", serve_stubbornly, ("stubborn",), each_node=True, stop_timeout=0.1)
    init = await Init.start_link([goal("base"), each("agent"), each("helper", "agent"), stubborn])
    send(boss, ("init", init))
    await receive(lambda message: False)


async def check_all_ends_when_init_is_killed() -> None:
    await spawn_at(others()[0], run_init, self_pid())
    _, init = await receive(("init", Pid), PATIENCE)
    await when(lambda seen: all(one.state.value == "online" for one in seen.values()), init)
    exit(init, "kill")
    await until_unnamed("stubborn")
    await until_nowhere("base", "agent", "helper")


class Slow(Service):
    async def terminate(self, reason: Any) -> None:
        await sleep(1)


async def serve_slowly(name: str) -> Pid:
    return await Slow.start_link(name=name)


async def run_slow_init(boss: Pid) -> None:
    init = await Init.start_link([Goal("slow", serve_slowly, ("slow",), each_node=True)])
    send(boss, ("init", init))
    await receive(lambda message: False)


async def check_an_init_that_is_started_when_the_node_of_one_was_lost_waits_for_what_ends_there() -> None:
    victim = others()[0]
    await spawn_at(victim, run_slow_init, self_pid())
    _, init = await receive(("init", Pid), PATIENCE)
    before = (await when(lambda seen: seen["slow"].state.value == "online", init))["slow"].pids
    monitor_node(victim)
    kill_node(victim)
    await receive(lambda message: isinstance(message, NodeDown), PATIENCE)
    await Init.start_link([Goal("slow", serve_slowly, ("slow",), each_node=True)])
    after = await when(lambda seen: seen["slow"].state.value == "online" and victim in seen["slow"].pids)
    assert not set(before.values()) & set(after["slow"].pids.values())
    assert after["slow"].attempts == 0


async def check_all_ends_when_the_node_of_init_is_lost() -> None:
    victim = others()[0]
    await spawn_at(victim, run_init, self_pid())
    _, init = await receive(("init", Pid), PATIENCE)
    await when(lambda seen: all(one.state.value == "online" for one in seen.values()), init)
    assert len(await where("agent")) == len(list_nodes())
    kill_node(victim)
    await until_unnamed("stubborn")
    await until_nowhere("base", "agent", "helper")
