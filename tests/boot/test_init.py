"""Init: goals come up when their needs are up, go when these go, are tried again, given up, and stopped in reverse order."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caps
from beamlike import (
    IGNORE,
    CallError,
    ChildSpec,
    Down,
    ExitError,
    GenServer,
    Pid,
    Supervisor,
    call,
    cast,
    exit,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    registered,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
    system,
    tighten,
    whereis,
)
from beamlike.hot import scheduler
from beamlike.privileged import INIT, Row
from beamlike.testing import seeds, settle
from boot import init as init_module
from boot.goals import Goal, GoalError, GoalStatus, plan
from boot.init import Init, InitError, clear, restart, start, status, stop
from caps import CapabilityError


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "beamlike.crash")
    caplog.set_level(logging.INFO, "beamlike.init")


class World(GenServer):
    """Knows what came when, and tells each start what to do: `ok`, unless ordered otherwise."""

    async def init(self) -> None:
        self.history: list[str] = []
        self.orders: dict[str, list[Any]] = {}
        self.times: dict[str, list[float]] = {}  # of each start

    async def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case ("begin", name):
                self.history.append(f"begin {name}")
                self.times.setdefault(name, []).append(scheduler.now())
                orders = self.orders.get(name)
                return "ok" if not orders else orders.pop(0) if len(orders) > 1 else orders[0]
            case ("times", name):
                return self.times[name]
            case ("order", name, *orders):
                self.orders[name] = orders
            case ("history",):
                history, self.history = self.history, []
                return history
            case str():
                self.history.append(request)


class Service(GenServer):
    async def init(self, name: str, order: Any) -> None:
        process_flag("trap_exit", True)
        self.name, self.order = name, order
        await call("world", f"up {name}")

    async def terminate(self, reason: Any) -> None:
        if self.order == "stubborn":
            await call("world", f"down {self.name}")
            await sleep(1000)
        if isinstance(self.order, tuple) and self.order[0] == "lingers":
            await sleep(self.order[1])
        await call("world", f"down {self.name}")


async def serve(name: str) -> Any:
    match await call("world", ("begin", name)):
        case "fail":
            raise ValueError(f"no {name} today")
        case "hang":
            await sleep(1e6)
        case ("slow", seconds):
            await sleep(seconds)
        case "half":
            await Service.start_link(name, "ok", name=name)
            await sleep(1e6)
        case "wrong":
            return 7
        case "unlinked":
            return spawn(linger)
        case "stranger":
            return whereis("world")
        case "dead":
            pid = spawn_link(nothing)
            await sleep(0.1)
            return pid
        case "declined":
            return IGNORE
        case "beside":  # what else was started does not go by itself
            spawn_link(stay, name=f"second {name}")
        case "beside and fail":
            spawn_link(stay, name=f"second {name}")
            await sleep(0.1)
            raise ValueError(f"no {name} today")
        case "two":
            spawn_link(linger, name=f"second {name}")
        case order:
            return await Service.start_link(name, order, name=name)
    return await Service.start_link(name, "ok", name=name)


async def do(name: str) -> None:
    """A step."""
    order = await call("world", ("begin", name))
    if order == "fail":
        raise ValueError(f"no {name} today")
    if order == "beside":
        spawn_link(stay, name=f"second {name}")
        await sleep(0.1)
    if order == "helped":
        spawn_link(linger, name=f"helper of {name}")
    await call("world", f"done {name}")


async def linger() -> None:
    await receive(lambda message: False)


async def stay() -> None:
    process_flag("trap_exit", True)
    await linger()


async def nothing() -> None:
    """Ends."""


def goal(name: str, *requires: str, **fields: Any) -> Goal:
    return Goal(name, fields.pop("start", serve), (name,), requires, **fields)


def step(name: str, *requires: str, **fields: Any) -> Goal:
    return goal(name, *requires, start=do, **fields)


async def begin(*goals: Goal, orders: dict[str, list[Any]] | None = None, **options: Any) -> Pid:
    """A world with Init."""
    process_flag("trap_exit", True)
    await World.start(name="world")
    for name, each in (orders or {}).items():
        await call("world", ("order", name, *each))
    return await Init.start_link(goals, **options)


async def order(name: str, *orders: Any) -> None:
    await call("world", ("order", name, *orders))


async def history() -> list[str]:
    """What has happened since the last time."""
    return await call("world", ("history",))  # type: ignore[no-any-return]


async def states() -> str:
    """Of all goals, in order, by their letters."""
    return " ".join(f"{each.name}:{each.state.value}" for each in await status())


async def one(name: str) -> GoalStatus:
    return next(each for each in await status() if each.name == name)


async def end(name: str, reason: Any = "boom") -> None:
    """End a service; Init has heard of it when this returns, but no time has passed."""
    pid = whereis(name)
    assert pid is not None
    ref = monitor(pid)
    exit(pid, "kill") if reason == "kill" else await system.stop(pid, reason)
    await receive(lambda message: type(message) is Down and message.ref == ref)
    await settle()


async def end_init(init: Pid, reason: Any = "shutdown") -> None:
    ref = monitor(init)
    exit(init, reason)
    await receive(lambda message: type(message) is Down and message.ref == ref)


# --- coming up ------------------------------------------------------------------------------------------------------------


@seeds(3)
async def test_goals_start_in_parallel_as_soon_as_their_needs_are_up() -> None:
    await begin(
        goal("a"), goal("b"), goal("c", "a"), goal("d", "b", wants=("c",)), step("e", "d"),
        orders={"a": [("slow", 2)], "b": [("slow", 1)]},
    )  # fmt: skip
    await settle()
    assert await states() == "a:starting b:starting c:offline d:offline e:offline"
    assert set(await history()) == {"begin a", "begin b"}
    await sleep(1.5)
    assert await states() == "a:starting b:online c:offline d:offline e:offline"
    assert (await one("d")).waits_for == ("c",)
    assert (await one("e")).waits_for == ("d",)
    assert (await one("c")).why == "without a"
    assert await history() == ["up b"]
    await sleep(1)
    assert await states() == "a:online b:online c:online d:online e:online"
    assert await history() == ["up a", "begin c", "up c", "begin d", "up d", "begin e", "done e"]


@seeds(2)
async def test_start_link_does_not_wait_and_refuses_goals_that_cannot_be() -> None:
    process_flag("trap_exit", True)
    with pytest.raises(GoalError, match="a requires b, b requires a"):
        await Init.start_link([goal("a", "b"), goal("b", "a")])
    with pytest.raises(GoalError, match="there is no goal 'x', which a requires"):
        await Init.start_link([goal("a", "x")])
    assert whereis("init") is None
    init = await begin(goal("a"), orders={"a": ["hang"]})
    assert whereis("init") == init
    assert await states() == "a:starting"


@seeds(2)
async def test_an_init_without_goals_is_an_init() -> None:
    init = await begin()
    assert await status(init) == []
    await end_init(init)


@seeds(2)
async def test_status_tells_of_pids_times_and_attempts() -> None:
    await begin(goal("a"), step("b"), orders={"a": ["fail", "ok"]})
    await settle()
    failed = await one("a")
    assert (failed.state.value, failed.attempts, failed.pids, failed.waits_for) == ("offline", 1, {}, ())
    assert failed.why.startswith("ValueError: no a today")
    assert "\n" not in failed.why
    assert (await one("b")).pids == {self_pid().node: None}
    await sleep(1)
    again = await one("a")
    assert (again.state.value, again.attempts, again.pids, again.why) == ("online", 1, {self_pid().node: whereis("a")}, "")
    assert again.since >= failed.since > 1e9
    await sleep(60)
    assert (await one("a")).attempts == 0


@seeds(2)
async def test_each_change_of_state_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    await begin(goal("a", attempts=1), goal("b", wants=("a",)), orders={"a": ["fail"]})
    await settle()
    lines = [record.getMessage().partition(" at ")[0] for record in caplog.records if record.name == "beamlike.init"]
    assert lines == [
        "goal a is starting",
        "goal a is maintenance: ValueError: no a today",
        "goal b is starting",
        "goal b is degraded: without a",
    ]
    assert [record.levelname for record in caplog.records if record.name == "beamlike.init"] == ["INFO", "ERROR", "INFO", "WARNING"]


# --- failures -------------------------------------------------------------------------------------------------------------


@seeds(3)
async def test_a_goal_that_fails_is_tried_again_after_growing_pauses_and_then_in_maintenance_until_cleared() -> None:
    await begin(goal("a", attempts=4), goal("b", "a"), orders={"a": ["fail"]})
    await sleep(10)
    times = await call("world", ("times", "a"))
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(pauses) == 3
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, (0.1, 0.2, 0.4), strict=True))
    assert (await one("a")).attempts == 4
    assert await history() == ["begin a"] * 4
    assert await states() == "a:maintenance b:offline"
    assert await history() == []
    await order("a", "ok")
    await sleep(1000)
    assert await history() == []
    with pytest.raises(InitError, match="goal 'a' is in maintenance, and is not tried until it is cleared: ValueError: no a today"):
        await start("init", "a")
    with pytest.raises(InitError, match="is cleared") as caught:
        await restart("init", "a")
    assert caught.value.reason == "maintenance"
    assert await clear("init", "a") == ["a"]
    await settle()
    assert await states() == "a:online b:online"
    assert await clear("init", None) == []


@seeds(1)
async def test_a_goal_that_may_fail_without_end_is_not_tried_without_a_pause() -> None:
    await begin(goal("a", attempts=100_000), orders={"a": ["fail"]})
    await sleep(1)
    assert await states() in ("a:offline", "a:starting")
    assert 50 <= len(await call("world", ("times", "a"))) <= 200


@seeds(2)
async def test_failures_that_lie_apart_do_not_count_together() -> None:
    await begin(goal("a", attempts=2, period=10))
    for _ in range(4):
        await settle()
        await end("a")
        assert (await one("a")).state.value == "offline"
        await sleep(11)
        assert await states() == "a:online"
    await end("a")
    await sleep(1)
    await end("a")
    assert await states() == "a:maintenance"


@seeds(2)
@pytest.mark.parametrize(
    ("orders", "why"),
    [
        ("fail", "ValueError: no a today at "),
        ("hang", "it was not up in 3 s"),
        ("half", "it was not up in 3 s"),
        ("wrong", "TypeError: the start of goal 'a' returned 7, expected the Pid"),
        ("unlinked", "TypeError: the start of goal 'a' returned <"),
        ("stranger", "TypeError: the start of goal 'a' returned <"),
        ("dead", "it ended: noproc"),
    ],
)
async def test_ways_to_fail(orders: str, why: str) -> None:
    await begin(goal("a", attempts=2, start_timeout=3, period=100), orders={"a": [orders]})
    await sleep(90)
    assert await states() == "a:maintenance"
    assert (await one("a")).why.startswith(why)
    assert (await one("a")).attempts == 2
    assert whereis("a") is None
    assert whereis("world") is not None
    if orders == "half":
        assert await history() == ["begin a", "up a", "down a"] * 2


@seeds(2)
@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", 1), "boom", "kill"])
async def test_a_service_that_ends_by_itself_has_failed_whatever_the_reason(reason: Any) -> None:
    await begin(goal("a"))
    await settle()
    await end("a", reason)
    assert (await one("a")).why == f"it ended: {'killed' if reason == 'kill' else reason}"
    assert await states() == "a:offline"
    await sleep(1)
    assert await states() == "a:online"


@seeds(2)
async def test_what_else_was_started_falls_with_the_goal_and_fells_it() -> None:
    await begin(goal("a"), orders={"a": ["two", "ok"]})
    await settle()
    second = whereis("second a")
    assert second is not None
    exit(second, "boom")
    await settle()
    assert (await one("a")).why == "it ended: boom"
    await order("a", "two")
    await restart("init", "a")
    await sleep(1)
    assert whereis("second a") is not None
    await stop("init", "a")
    assert (whereis("a"), whereis("second a")) == (None, None)


@seeds(2)
@pytest.mark.parametrize("ends", ["by itself", "in its start"])
async def test_a_goal_that_failed_is_tried_again_when_all_that_it_has_started_is_gone_and_that_is_killed_after_its_time(ends: str) -> None:
    await begin(goal("a", stop_timeout=2), goal("b", "a"), orders={"a": ["beside" if ends == "by itself" else "beside and fail", "ok"]})
    await sleep(0.5)
    if ends == "by itself":
        assert await states() == "a:online b:online"
        await end("a")
    assert await states() == "a:stopping b:offline"
    assert (await one("a")).pids == {}
    assert whereis("second a") is not None
    await sleep(1.3)
    assert await states() == "a:stopping b:offline"
    await sleep(1)
    assert await states() == "a:online b:online"
    assert whereis("second a") is None
    assert (await one("a")).attempts == 1
    await order("a", "beside")
    await restart("init", "a")
    await settle()
    await end("a")
    await stop("init", "a")
    assert (await states(), whereis("second a")) == ("a:offline b:offline", None)


@seeds(2)
async def test_a_step_that_is_done_leaves_nothing_that_does_not_go_by_itself() -> None:
    await begin(step("a", stop_timeout=2), goal("b", "a"), orders={"a": ["beside"]})
    await sleep(1)
    assert await states() == "a:online b:online"
    assert whereis("second a") is not None
    await sleep(2)
    assert await states() == "a:online b:online"
    assert whereis("second a") is None


@seeds(2)
async def test_a_step_is_done_and_stays_online_and_leaves_nothing() -> None:
    await begin(step("a"), goal("b", "a"), goal("c"), orders={"a": ["helped"], "c": ["declined"]})
    await sleep(100)
    assert await states() == "a:online b:online c:online"
    assert whereis("helper of a") is None
    assert (await history()).count("begin a") == 1


@seeds(2)
async def test_the_guard_or_keeper_that_is_killed_is_a_failure() -> None:
    await begin(goal("a"))
    for label in ("guard of a", "keeper of a"):
        await settle()
        exit(by_label(label), "kill")
        await settle()
        assert await states() == "a:offline"
        assert whereis("a") is None
        assert "killed" in (await one("a")).why
        await sleep(1)
    assert await states() == "a:online"


def by_label(label: str) -> Pid:
    (found,) = (pid for pid in processes() if (info := process_info(pid)) is not None and info.label == label)
    return found


# --- when a needed goal goes ------------------------------------------------------------------------------------------------


@seeds(3)
async def test_who_requires_what_dies_is_stopped_first_and_starts_again_when_it_is_back() -> None:
    await begin(goal("a"), goal("b", "a"), goal("c", "b"), goal("d", wants=("a",)), orders={"c": [("lingers", 1)], "b": [("lingers", 1)]})
    await sleep(1)
    await history()
    await end("a")
    assert await states() == "a:offline b:stopping c:stopping d:degraded"
    assert (await one("d")).why == "without a"
    await sleep(1.5)
    assert await states() == "a:offline b:stopping c:offline d:degraded"
    await sleep(1.5)
    assert await states() == "a:online b:online c:online d:online"
    assert await history() == ["down a", "down c", "down b", "begin a", "up a", "begin b", "up b", "begin c", "up c"]


@seeds(3)
async def test_what_requires_a_goal_in_maintenance_waits_and_what_wants_it_goes_on() -> None:
    await begin(goal("a", attempts=1), goal("b", "a"), goal("c", wants=("a",)), goal("d", wants=("b",)), orders={"a": ["fail", "ok"]})
    await settle()
    assert await states() == "a:maintenance b:offline c:degraded d:degraded"
    assert ((await one("b")).waits_for, (await one("d")).waits_for) == (("a",), ("b",))
    await clear("init", "a")
    await settle()
    assert await states() == "a:online b:online c:online d:online"
    assert (await history()).count("begin c") == 1


@seeds(3)
async def test_a_wanted_goal_that_is_still_tried_is_waited_for() -> None:
    await begin(goal("a"), goal("b", wants=("a",)), orders={"a": ["fail", "fail", "ok"]})
    await settle()
    assert await states() == "a:offline b:offline"
    await sleep(1)
    assert await states() == "a:online b:online"
    assert (await history())[-4:] == ["begin a", "up a", "begin b", "up b"]


@seeds(3)
async def test_a_wanted_goal_that_was_stopped_by_hand_is_not_waited_for() -> None:
    await begin(goal("a"), goal("b", "a"), goal("c", wants=("a", "b")))
    await settle()
    await stop("init", "a")
    await restart("init", "c")
    await settle()
    assert await states() == "a:offline b:offline c:degraded"
    assert ((await one("c")).why, (await one("c")).waits_for) == ("without a, b", ("a", "b"))
    await start("init", "a")
    await settle()
    assert await states() == "a:online b:online c:online"


@seeds(2)
async def test_a_step_is_done_again_when_what_it_requires_has_been_away() -> None:
    await begin(goal("a"), step("b", "a"), step("c", "a", only_first_boot=True))
    await sleep(1)
    assert sorted(await history()) == ["begin a", "begin b", "begin c", "done b", "done c", "up a"]
    await end("a")
    assert await states() == "a:offline b:offline c:offline"
    await sleep(1)
    assert await states() == "a:online b:online c:online"
    assert await history() == ["down a", "begin a", "up a", "begin b", "done b"]


# --- requests ---------------------------------------------------------------------------------------------------------------


@seeds(3)
async def test_stop_stops_who_requires_it_first_and_says_whom_and_start_brings_them_back() -> None:
    await begin(goal("a"), goal("b", "a"), goal("c", "b"), goal("d", wants=("b",)), goal("e"))
    await settle()
    await history()
    assert await stop("init", "b") == ["c"]
    assert await history() == ["down c", "down b"]
    assert await states() == "a:online b:offline c:offline d:degraded e:online"
    assert (await one("b")).why == "stopped by hand"
    await sleep(1000)
    assert await history() == []
    assert await stop("init", "b") == []
    assert await start("init", "b") == []
    await settle()
    assert await states() == "a:online b:online c:online d:online e:online"
    assert await history() == ["begin b", "up b", "begin c", "up c"]


@seeds(2)
async def test_start_starts_what_the_goal_requires_as_well() -> None:
    await begin(goal("a"), goal("b", "a"), goal("c", "b"))
    await settle()
    await stop("init", "c")
    await stop("init", "a")
    await stop("init", "b")
    assert await start("init", "c") == ["a", "b"]
    await settle()
    assert await states() == "a:online b:online c:online"


@seeds(3)
async def test_restart_stops_and_starts_and_says_who_else() -> None:
    await begin(goal("a"), goal("b", "a"), goal("c"), orders={"b": [("lingers", 2)]})
    await settle()
    await history()
    assert await restart("init", "a") == ["b"]
    assert (await history())[:2] == ["down b", "down a"]
    await settle()
    assert await states() == "a:online b:online c:online"
    await stop("init", "a")
    assert await restart("init", "a") == []
    await settle()
    assert await states() == "a:online b:online c:online"


@seeds(2)
async def test_stop_and_start_of_all() -> None:
    await begin(goal("a"), goal("b", "a"), goal("c", "a", wants=("b",)))
    await settle()
    await history()
    assert await stop("init", None) == []
    assert await history() == ["down c", "down b", "down a"]
    await start("init", None)
    await settle()
    assert await restart("init", None) == []
    await settle()
    assert await states() == "a:online b:online c:online"


@seeds(2)
async def test_a_goal_is_stopped_while_it_starts() -> None:
    await begin(goal("a"), goal("b"), orders={"a": ["hang"], "b": ["half"]})
    await settle()
    assert await stop("init", "a") == []
    assert await stop("init", "b") == []
    assert await states() == "a:offline b:offline"
    assert (await one("a")).attempts == 0
    assert whereis("b") is None


@seeds(2)
async def test_who_does_not_stop_in_its_time_is_killed() -> None:
    await begin(goal("a", stop_timeout=2), goal("b", "a", stop_timeout=3), orders={"a": ["stubborn"], "b": ["stubborn"]})
    await settle()
    spawn_link(ask_to_stop, self_pid())
    await sleep(2.9)
    assert await states() == "a:stopping b:stopping"
    await sleep(1)
    assert await states() == "a:stopping b:offline"
    await receive(("stopped",), 1.2)
    assert await states() == "a:offline b:offline"
    assert (whereis("a"), whereis("b")) == (None, None)


async def ask_to_stop(boss: Pid) -> None:
    await stop("init", "a")
    send(boss, ("stopped",))


@seeds(2)
async def test_nothing_that_a_goal_does_blocks_init() -> None:
    await begin(goal("a"), goal("b"), orders={"a": ["hang"], "b": ["stubborn"]})
    await settle()
    spawn(restart, "init", "b")
    await sleep(0)
    assert (await states()).startswith("a:starting")


@seeds(2)
async def test_an_unknown_goal_or_request_is_an_error_that_names_what_there_is() -> None:
    init = await begin(goal("a"), goal("b"))
    for verb in (start, stop, restart, clear):
        with pytest.raises(InitError, match="there is no goal 'x': there are a, b") as caught:
            await verb(init, "x")
        assert caught.value.reason == "not_found"
    assert (await call(init, "what?"))[2] == "unknown_request"
    cast(init, "what?")
    send(init, "what?")
    send(init, ("up", 1, 2))
    await settle()
    assert await states() == "a:online b:online"
    with pytest.raises(TypeError, match="is no Init"):
        await status("world")
    with pytest.raises(CallError):
        await status(spawn(nothing))


async def attempt(verb: Callable[..., Awaitable[Any]], *args: Any) -> None:
    await verb(*args)


@seeds(2)
async def test_to_stop_and_restart_is_an_access_of_the_kind_exit_and_all_is_one_of_send() -> None:
    init = await begin(goal("a"))
    await settle()
    for verb in (stop, restart):
        for term in (("exit", "all"), ("exit", "init"), ("exit", init), ("exit", self_pid().node)):
            for name in ("a", None):
                assert await refusal(verb, "init", name, exclude=[term]) is True
        assert await refusal(verb, "init", "a", exclude=[("exit", "other")]) is False
        await start("init", "a")
    for verb in (start, clear):
        assert await refusal(verb, "init", "a", exclude=[("exit", "all")]) is False
        assert await refusal(verb, "init", "a", exclude=[("send", "init")]) is True
    assert await refusal(status, "init", exclude=[("send", "init")]) is True
    await settle()
    assert await states() == "a:online"


async def refusal(verb: Callable[..., Awaitable[Any]], *args: Any, exclude: list[Any]) -> bool:
    """Is this refused to a process with these exclusions?"""
    _, ref = spawn_monitor(attempt, verb, *args, exclude=exclude)
    down = await receive(lambda message: type(message) is Down and message.ref == ref)
    if down.reason == "normal":
        return False
    assert down.reason[0][0] == "caps.errors.CapabilityError"
    return True


@seeds(2)
async def test_exclusions_of_a_goal_are_its_keepers_and_its_services() -> None:
    await begin(goal("a", exclude=(("send", "bank"),)), goal("b"))
    await settle()
    for name, excluded in (("a", ((("send", "bank"),),)), ("b", ())):
        for pid in (whereis(name), by_label(f"keeper of {name}")):
            assert pid is not None
            info = process_info(pid)
            assert info is not None
            assert tuple(info.exclusions) == excluded


VERBS: dict[str, Callable[..., Awaitable[Any]]] = {
    "status": status, "start": start, "stop": stop, "restart": restart, "clear": clear,
}  # fmt: skip


@pytest.mark.parametrize("row", INIT, ids=lambda row: f"{row.call} {row.kind}")
def test_each_privileged_request_is_refused_to_whom_an_exclusion_refuses_it_and_changes_nothing(row: Row) -> None:
    verb = row.call.removeprefix("boot.init.")
    arguments = ("init",) if verb == "status" else ("init", "a")

    async def main() -> None:
        await begin(goal("a"))
        await settle()
        before = whereis("a")
        assert await refusal(VERBS[verb], *arguments, exclude=[(row.kind, "init")]) is True
        await settle()
        assert (await states(), whereis("a")) == ("a:online", before)
        _, ref = spawn_monitor(attempt, call, "init", ("init", verb, *arguments[1:]), exclude=[(row.kind, "init")])  # made by hand
        await receive(lambda message: type(message) is Down and message.ref == ref)
        await settle()
        assert (await states(), whereis("a")) == ("a:online", before)
        assert await refusal(VERBS[verb], *arguments, exclude=[(row.kind, "other")]) is False

    run(main, seed=1)


def test_every_request_is_in_the_table() -> None:
    assert {row.call.removeprefix("boot.init.") for row in INIT} == VERBS.keys() == set(init_module.__all__) - {"Init", "InitError"}


@seeds(2)
async def test_a_goal_and_an_init_that_may_send_nothing_come_up_and_are_stopped() -> None:
    process_flag("trap_exit", True)
    closed = caps.all_but("spawn")
    await Init.start_link([Goal("a", serve_alone, exclude=closed), Goal("b", do_nothing, exclude=closed)], name="inner")
    await Init.start_link([Goal("a", serve_alone), Goal("b", do_nothing)], exclude=closed)
    await settle()
    for init in ("inner", "init"):
        assert [each.state.value for each in await status(init)] == ["online", "online"]
        await stop(init, None)
        assert [each.state.value for each in await status(init)] == ["offline", "offline"]


@seeds(2)
@pytest.mark.parametrize("by", ["its end", "a restart", "a stop and a start"])
async def test_what_the_process_of_a_goal_was_forbidden_it_is_when_it_is_started_again(by: str) -> None:
    await begin(goal("a", exclude=(("send", "bank"),)), goal("b"))
    await settle()
    await tighten(required("a"), [("file", "all")])
    for more in (("net", "all"), ("blocking", "all")):
        await tighten(required("a"), [more])
        if by == "its end":
            await end("a")
        elif by == "a restart":
            await restart("init", "a")
        else:
            await stop("init", "a")
            await start("init", "a")
        await sleep(1)
        assert await states() == "a:online b:online"
        assert {term for layer in layers_of("a") for term in layer} >= {("send", "bank"), ("file", "all"), more}
    assert {term for layer in layers_of("a") for term in layer} >= {("net", "all"), ("blocking", "all")}
    assert layers_of("b") == ()


def layers_of(name: str) -> Any:
    info = process_info(required(name))
    assert info is not None
    return info.exclusions


@seeds(2)
async def test_an_init_that_is_forbidden_to_start_anything_keeps_what_runs() -> None:
    init = await begin(goal("a"), goal("b"))
    await settle()
    before = whereis("b")
    await tighten(init, [("spawn", "all")])
    await end("a")
    await sleep(10)
    assert await states() == "a:maintenance b:online"
    assert "'boot.keeping:guard') is refused by the exclusion ('spawn', 'all')" in (await one("a")).why
    assert whereis("b") == before


async def serve_alone() -> Pid:
    return spawn_link(linger)


async def do_nothing() -> None:
    """A step."""


# --- the end ----------------------------------------------------------------------------------------------------------------


@seeds(3)
async def test_when_init_is_told_to_exit_all_stop_in_reverse_order_in_parallel_where_order_permits() -> None:
    lingering: dict[str, list[Any]] = {name: [("lingers", 1)] for name in "abcd"}
    init = await begin(goal("a"), goal("b", "a"), goal("c", wants=("a",)), goal("d", "b", "c"), goal("e"), orders=lingering)
    await settle()
    await history()
    before = scheduler.now()
    await end_init(init)
    assert scheduler.now() - before == pytest.approx(3)
    ended = await history()
    assert (ended[0], ended[1], set(ended[2:4]), ended[4:]) == ("down e", "down d", {"down b", "down c"}, ["down a"])


@seeds(3)
@pytest.mark.parametrize("reason", ["shutdown", "kill", "boom"])
async def test_nothing_is_left_of_init(reason: str) -> None:
    before = set(processes())
    init = await begin(
        goal("a"), goal("b", "a"), goal("c"), step("d"), goal("e"), goal("f"), goal("g", stop_timeout=1),
        orders={"c": ["hang"], "e": ["fail"], "f": ["half"], "g": ["stubborn"]},
    )  # fmt: skip
    world = whereis("world")
    await settle()
    await end_init(init, reason)
    await sleep(6)
    assert set(processes()) - before == {world}


@seeds(2)
async def test_init_ends_with_its_parent_and_as_a_child_of_a_supervisor_has_the_time_it_needs() -> None:
    process_flag("trap_exit", True)
    await World.start(name="world")
    await order("a", ("lingers", 20))
    assert ChildSpec.of(Init, [], id="init").grace > 1e6
    above = await Supervisor.start_link([ChildSpec.of(Init, [goal("a", stop_timeout=30)], id="init")])
    await settle()
    assert await states() == "a:online"
    await end_init(above)
    assert await history() == ["begin a", "up a", "down a"]


@seeds(3)
async def test_an_init_that_is_started_when_one_was_killed_waits_for_each_goal_until_its_former_self_is_gone() -> None:
    process_flag("trap_exit", True)
    await World.start(name="world")
    for name, seconds in (("a", 1), ("b", 2)):
        await order(name, ("lingers", seconds))
    await Supervisor.start_link([ChildSpec.of(Init, [goal("a"), goal("b", "a"), goal("c")], id="init")])
    await settle()
    for init in ("first", "second"):
        await history()
        exit(required("init"), "kill")
        await settle()
        assert await states() == "a:starting b:offline c:online", init
        await sleep(1.5)
        assert await states() == "a:online b:starting c:online", init
        await sleep(1)
        assert await states() == "a:online b:online c:online", init
        assert [each for each in await history() if "c" not in each] == ["down a", "begin a", "up a", "down b", "begin b", "up b"]
        assert max(each.attempts for each in await status()) == 0
        await sleep(10)  # the supervisor's patience
    exit(required("init"), "kill")
    await settle()
    assert await stop("init", "a") == []
    assert await states() == "a:offline b:offline c:online"


def required(name: str) -> Pid:
    pid = whereis(name)
    assert pid is not None
    return pid


def test_init_is_stopped_in_order_when_main_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await Init.start_link([Goal("a", serve_slowly), Goal("b", serve_slowly, requires=("a",))])
        await settle()

    run(main, seed=1)
    lines = [record.getMessage() for record in caplog.records if record.name == "beamlike.init"]
    assert lines[4:] == [f"goal {each}: Init ends" for each in ("a is stopping", "b is stopping", "b is offline", "a is offline")]


async def serve_slowly() -> Pid:
    return await Slow.start_link()


class Slow(GenServer):
    async def init(self) -> None:
        process_flag("trap_exit", True)

    async def terminate(self, reason: Any) -> None:
        await sleep(3)


@seeds(2)
async def test_supervision_trees_show_the_services() -> None:
    await begin(goal("a"), goal("b", attempts=1), goal("c"), orders={"b": ["fail"]})
    await settle()
    await stop("init", "c")
    children = await Supervisor.which_children("init")
    assert [(child.id, child.pid, child.status) for child in children] == [
        ("a", whereis("a"), "running"), ("b", None, "held"), ("c", None, "stopped"),
    ]  # fmt: skip


# --- the first boot ----------------------------------------------------------------------------------------------------------


async def until(name: str, state: str) -> None:
    """A step is noted by a thread, which time does not wait for."""
    while (await one(name)).state.value != state:
        await sleep(0.01)


def boot(*orders: Any, store: Path | None) -> list[str]:
    """What happens in a system with a first step."""

    async def main() -> list[str]:
        init = await begin(step("a", only_first_boot=True, attempts=1), goal("b", "a"), store=store, orders={"a": list(orders)})
        await until(*(("a", "maintenance") if orders == ("fail",) else ("b", "online")))
        await end_init(init)
        return [each for each in await history() if each.endswith("a")]

    return run(main)


def test_a_first_step_is_done_once_ever_when_it_has_succeeded(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "store"
    assert boot("fail", store=store) == ["begin a"]
    assert boot("ok", store=store) == ["begin a", "done a"]
    assert [path.name for path in store.iterdir()] == ["a.done"]
    assert boot("fail", "fail", store=store) == []
    (store / "a.done").unlink()
    assert boot("ok", store=store) == ["begin a", "done a"]


def test_without_a_store_a_first_step_is_done_once_a_system() -> None:
    assert boot("ok", store=None) == boot("ok", store=None) == ["begin a", "done a"]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"goal": "b", "done": 1}', b'{"goal": "a"}'])
def test_a_damaged_note_counts_as_done_and_is_told(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.done").write_bytes(damage)
    (tmp_path / ".a.77.new").write_bytes(b"{")  # of who was killed while it wrote
    assert boot("ok", store=tmp_path) == []
    assert f"{tmp_path}/a.done is damaged: a counts as done; remove the file to have it done again" in caplog.text


def test_a_store_that_cannot_be_used_is_an_error_of_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((ExitError, OSError)):
        boot("ok", store=tmp_path / "file")


def test_a_step_that_cannot_be_noted_is_done_and_that_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = tmp_path / "store"

    async def main() -> None:
        await World.start(name="world")
        await order("a", ("slow", 0.1))
        await Init.start_link([step("a", only_first_boot=True)], store=store)
        store.rmdir()
        store.touch()
        await until("a", "online")

    run(main)
    assert "goal a is done, but that cannot be noted, so it will be done again at the next boot" in caplog.text


@seeds(1)
async def test_a_first_step_that_returns_a_pid_is_an_error() -> None:
    await begin(goal("a", only_first_boot=True, attempts=1))
    await settle()
    assert (await one("a")).why.startswith("TypeError: goal 'a' is only_first_boot, a step that is done once, but its start returned a Pid")
    assert whereis("a") is None


def test_a_capability_error_is_raised_in_who_asks() -> None:
    async def main() -> None:
        await begin(goal("a"))
        await spawn_and_wait()

    async def ask(boss: Pid) -> None:
        try:
            await stop("init", "a")
        except CapabilityError as error:
            send(boss, (error.kind, error.exclusion))

    async def spawn_and_wait() -> None:
        spawn(ask, self_pid(), exclude=[("exit", "init")])
        assert await receive(tuple, 5) == ("exit", ("exit", "init"))

    run(main)


# --- laws -------------------------------------------------------------------------------------------------------------------

ORDERS = ("ok", "ok", "fail", "hang", "half", "stubborn", ("slow", 1), ("lingers", 0.3))


@st.composite
def systems(draw: st.DrawFn) -> tuple[list[Goal], dict[str, list[Any]]]:
    """Goals that need some of those before them, in any order, and what their starts do at first."""
    goals: list[Goal] = []
    orders = {}
    for name in "abcdefg"[: draw(st.integers(1, 7))]:
        before = [each.name for each in goals]
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        count = draw(st.integers(0, len(needs)))
        fields = {"wants": tuple(needs[count:]), "start_timeout": 2.0, "stop_timeout": 0.5}
        goals.append(goal(name, *needs[:count], **fields) if draw(st.integers(0, 3)) else step(name, *needs[:count], **fields))
        orders[name] = draw(st.lists(st.sampled_from(ORDERS), min_size=1, max_size=4))
    return draw(st.permutations(goals)), orders


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["crash", "crash", "stop", "start", "restart", "clear", "sleep"]), st.sampled_from("abcdefg")), max_size=8
)


@settings(max_examples=100, deadline=None)
@given(systems(), ACTIONS, st.sets(st.sampled_from("abcdefg"), max_size=2), st.integers(0, 100))
def test_laws(made: tuple[list[Goal], dict[str, list[Any]]], actions: list[tuple[str, str]], doomed: set[str], seed: int) -> None:
    goals, orders = made
    by_name = plan(goals)

    async def act(verb: str, name: str) -> None:
        match verb:
            case "crash":
                if whereis(name) is not None:
                    await call("world", f"crash {name}")
                    await end(name, "kill")
            case "sleep":
                await sleep(ord(name) - ord("a"))
            case _:
                with suppress(InitError):
                    await {"stop": stop, "start": start, "restart": restart, "clear": clear}[verb]("init", name)

    async def main() -> None:
        init = await begin(*goals, orders=orders)
        await settle()
        for verb, name in actions:
            if name in by_name:
                await act(verb, name)
                await settle()
        for name in by_name:
            await order(name, "fail" if name in doomed else "ok")
        for name in doomed & by_name.keys():
            await restart("init", name) if (await one(name)).state.value != "maintenance" else None
        await start("init", None)
        await clear("init", None)
        await sleep(1000)
        up: set[str] = set()
        for name, each in by_name.items():
            if name not in doomed and up.issuperset(each.requires):
                up.add(name)
        for status_ in await status():
            expected = "maintenance" if status_.name in doomed and up.issuperset(by_name[status_.name].requires) else "offline"
            if status_.name in up:
                expected = "online" if up.issuperset(by_name[status_.name].wants) else "degraded"
            assert status_.state.value == expected, (status_, up)
        check_order(await history(), by_name)
        await end_init(init)
        assert {*processes()} == {self_pid(), whereis("world")}
        assert set(registered()) == {"world"}

    run(main, seed=seed)


def check_order(history: list[str], by_name: dict[str, Goal]) -> None:
    """Nothing begins whose requirement does not run, and nothing is stopped that a service requires which runs."""
    up: set[str] = set()
    for verb, name in (line.split() for line in history):
        match verb:
            case "begin":
                assert up.issuperset(by_name[name].requires), (name, history)
            case "up" | "done":
                up.add(name)
            case "crash":
                up.discard(name)
            case "down":
                leaning = [each for each in up if name in by_name[each].requires and by_name[each].start is serve]
                assert name not in up or not leaning, (name, history)
                up.discard(name)
