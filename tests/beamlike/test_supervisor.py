"""Supervisor: the rules S1–S10, each under its name; after OTP's supervisor_SUITE."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from beamlike import (
    IGNORE,
    Backoff,
    CallError,
    ChildError,
    ChildSpec,
    ChildStartError,
    Down,
    Exit,
    GenServer,
    Pid,
    Stop,
    Supervisor,
    call,
    cast,
    exit,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    record,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    unlink,
    whereis,
)
from beamlike.behaviours.restarts import RestartWindow, is_restarted
from beamlike.behaviours.system import get_status
from beamlike.exits import is_quiet
from beamlike.hot import scheduler
from beamlike.hot.mailboxes import take_matching
from beamlike.processes import ProcessInfo

QUIET = ("normal", "shutdown", ("shutdown", "upgrade"))
LOUD = ("boom", "kill", "killed", ("shutdown", 1, 2), ("boom", 1))
RESTARTS = ("permanent", "transient", "temporary")


class Server(GenServer):
    """A child that tells `probe` of its life, and ends as it is told."""

    async def init(self, probe: Pid, id: str, *modes: str) -> Any:
        self.probe, self.id = probe, id
        process_flag("trap_exit", True)
        send(probe, ("init", id))
        if "unlinks" in modes:
            unlink(info(self_pid()).links[0])
        if "declines" in modes:
            return IGNORE
        if "fails" in modes or ("fails_again" in modes and whereis("again") is not None):
            raise ValueError(f"no {id} today")
        self.stubborn = "stubborn" in modes
        return None

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return self.id

    async def handle_info(self, message: Any) -> None:
        match message:
            case ("end", "kill"):
                exit(self_pid(), "kill")
            case ("end", reason):
                raise Stop(reason)

    async def terminate(self, reason: Any) -> None:
        send(self.probe, ("terminate", self.id, reason))
        if self.stubborn:
            await sleep(1000)


def info(pid: Pid | None) -> ProcessInfo:
    assert pid is not None
    found = process_info(pid)
    assert found is not None
    return found


async def plain(seconds: float = 1000.0) -> None:
    await sleep(seconds)


def child(id: str, *modes: str, **fields: Any) -> ChildSpec:
    return ChildSpec.of(Server, self_pid(), id, *modes, id=id, **fields)


async def end(pid: Pid | None, reason: Any) -> None:
    """End a child; when this returns, its supervisor has the `Exit`."""
    assert pid is not None
    ref = monitor(pid)
    send(pid, ("end", reason))
    await receive(lambda message: type(message) is Down and message.ref == ref)


async def ended(pid: Pid) -> Any:
    """The reason it ends with."""
    ref = monitor(pid)
    down: Down = await receive(lambda message: type(message) is Down and message.ref == ref)
    return down.reason


async def pid_of(supervisor: Any, id: str) -> Pid | None:
    return (await pids(supervisor))[id]


async def pids(supervisor: Any) -> dict[str, Pid | None]:
    return {each.id: each.pid for each in await Supervisor.which_children(supervisor)}


async def statuses(supervisor: Any) -> dict[str, str]:
    return {each.id: each.status for each in await Supervisor.which_children(supervisor)}


def events() -> list[Any]:
    """What children told since the last time."""
    told: list[Any] = []
    while True:
        message = take_matching(scheduler.current_process(), lambda m: type(m) is tuple and m[0] in ("init", "terminate"), 0)
        if type(message) is not tuple:
            return told
        told.append(message)


def trapping(main: Any) -> Any:
    """Run a test as a process that traps exits."""

    async def body() -> Any:
        process_flag("trap_exit", True)
        return await main()

    return run(body, seed=7)


# --- S1: strategies ---


@pytest.mark.parametrize(
    ("strategy", "crashed", "restarted"),
    [
        ("one_for_one", "a", "a"),
        ("one_for_one", "b", "b"),
        ("one_for_one", "c", "c"),
        ("rest_for_one", "a", "abc"),
        ("rest_for_one", "b", "bc"),
        ("rest_for_one", "c", "c"),
        ("one_for_all", "a", "abc"),
        ("one_for_all", "b", "abc"),
        ("one_for_all", "c", "abc"),
    ],
)
def test_s1_who_is_restarted_with_whom_and_in_which_order(strategy: Any, crashed: str, restarted: str) -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child(name) for name in "abc"], strategy)
        before = await pids(top)
        events()
        await end(before[crashed], "boom")
        after = await pids(top)
        stopped = [("terminate", name, "shutdown") for name in reversed(restarted) if name != crashed]
        assert events() == [("terminate", crashed, "boom"), *stopped, *(("init", name) for name in restarted)]
        assert {name for name in before if before[name] != after[name]} == set(restarted)
        assert [await call(pid, "id") for pid in after.values()] == list("abc")

    trapping(main)


def test_s1_temporary_siblings_are_stopped_and_not_started_again() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a"), child("b", restart="temporary"), child("c", restart="transient")], "one_for_all")
        await end(await pid_of(top, "a"), "boom")
        assert await statuses(top) == {"a": "running", "c": "running"}

    trapping(main)


# --- S2, S3: the restart window ---


@pytest.mark.parametrize("intensity", [0, 1, 3])
def test_s2_one_restart_too_many_ends_all_children_and_then_the_supervisor_with_shutdown(intensity: int) -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a"), child("b")], intensity=intensity, period=10.0)
        for _ in range(intensity):
            await end(await pid_of(top, "a"), "boom")
        last = await pids(top)
        events()
        await end(last["a"], "boom")
        assert await receive(Exit) == Exit(top, "shutdown")
        assert events() == [("terminate", "a", "boom"), ("terminate", "b", "shutdown")]
        assert last["b"] not in processes()

    trapping(main)


def test_s2_restarts_that_are_older_than_the_period_do_not_count() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a")], intensity=1, period=5.0)
        for _ in range(5):
            await end(await pid_of(top, "a"), "boom")
            await sleep(5.01)
        assert await statuses(top) == {"a": "running"}
        await end(await pid_of(top, "a"), "boom")
        await sleep(4.99)
        await end(await pid_of(top, "a"), "boom")
        assert await receive(Exit) == Exit(top, "shutdown")

    trapping(main)


def test_s2_the_default_is_one_restart_in_five_seconds() -> None:
    window = RestartWindow(1, 5.0)
    assert [window.admits(time) for time in (0.0, 5.1, 10.1, 10.2)] == [True, True, False, False]

    async def main() -> None:
        top = await Supervisor.start_link([child("a")])
        await end(await pid_of(top, "a"), "boom")
        assert await statuses(top) == {"a": "running"}
        await end(await pid_of(top, "a"), "boom")
        assert await receive(Exit) == Exit(top, "shutdown")

    trapping(main)


def test_s3_the_window_counts_the_restarts_of_all_children_together() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child(name) for name in "abc"], intensity=2)
        await end(await pid_of(top, "a"), "boom")
        await end(await pid_of(top, "b"), "boom")
        assert await statuses(top) == dict.fromkeys("abc", "running")
        await end(await pid_of(top, "c"), "boom")
        assert await receive(Exit) == Exit(top, "shutdown")

    trapping(main)


def test_s2_an_end_that_is_no_reason_to_restart_does_not_count() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", restart="temporary"), child("b", restart="transient")], intensity=0)
        await end(await pid_of(top, "a"), "boom")
        await end(await pid_of(top, "b"), "normal")
        assert await statuses(top) == {"b": "stopped"}

    trapping(main)


# --- S4: restart type × reason ---


@pytest.mark.parametrize(("restart", "reason"), list(itertools.product(RESTARTS, QUIET + LOUD)))
def test_s4_restart_type_and_reason_decide(restart: Any, reason: Any) -> None:
    expected = restart == "permanent" or (restart == "transient" and reason in LOUD)
    assert is_restarted(restart, reason) is expected
    assert is_quiet(reason) is (reason in QUIET)

    async def main() -> None:
        top = await Supervisor.start_link([child("a", restart=restart)])
        before = await pid_of(top, "a")
        await end(before, reason)
        after = await pids(top)
        if expected:
            assert after["a"] not in (before, None)
        else:
            assert after == ({} if restart == "temporary" else {"a": None})

    trapping(main)


# --- S5: stopping ---


@pytest.mark.parametrize(
    ("shutdown", "modes", "seconds"),
    [
        ("brutal_kill", (), 0.0),
        ("brutal_kill", ("stubborn",), 0.0),
        (3.0, (), 0.0),
        (3.0, ("stubborn",), 3.0),
        ("default", ("stubborn",), 5.0),
        ("infinity", ("stubborn",), 1000.0),
        (3.0, ("unlinks",), 0.0),
        (3.0, ("unlinks", "stubborn"), 3.0),
        ("brutal_kill", ("unlinks",), 0.0),
    ],
)
def test_s5_a_child_has_the_time_its_spec_gives_it(shutdown: Any, modes: Iterable[str], seconds: float) -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", *modes, shutdown=shutdown)])
        pid = await pid_of(top, "a")
        assert pid is not None
        begin = scheduler.now()
        events()
        await Supervisor.terminate_child(top, "a")
        assert scheduler.now() - begin == pytest.approx(seconds, abs=1e-6)
        assert events() == ([] if shutdown == "brutal_kill" else [("terminate", "a", "shutdown")])
        assert pid not in processes()
        assert await statuses(top) == {"a": "stopped"}

    trapping(main)


def test_s5_a_supervisor_child_has_for_ever() -> None:
    async def main() -> None:
        inner = ChildSpec.of(Supervisor, [child("a", "stubborn", shutdown="infinity")], id="inner")
        top = await Supervisor.start_link([inner])
        begin = scheduler.now()
        await Supervisor.terminate_child(top, "inner")
        assert scheduler.now() - begin == pytest.approx(1000.0)

    trapping(main)


def test_s5_a_child_that_has_ended_unseen_is_stopped_already() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", "unlinks")])
        await end(await pid_of(top, "a"), "boom")
        await Supervisor.terminate_child(top, "a")
        assert await statuses(top) == {"a": "stopped"}

    trapping(main)


# --- S6: starting ---


def test_s6_each_child_is_ready_before_the_next_is_started() -> None:
    async def main() -> None:
        order: list[str] = []

        async def start(id: str) -> Pid:
            order.append(f"{id} begins")
            await sleep(1)
            order.append(f"{id} is ready")
            return spawn_link(plain)

        await Supervisor.start_link([ChildSpec(name, start, (name,)) for name in "ab"])
        assert order == ["a begins", "a is ready", "b begins", "b is ready"]

    trapping(main)


def test_s6_a_failed_init_stops_those_already_started_in_reverse_order_and_names_the_child_and_its_reason() -> None:
    async def main() -> None:
        before = processes()
        with pytest.raises(ChildStartError) as raised:
            await Supervisor.start_link([child("a"), child("b"), child("c", "fails"), child("d")], name="top")
        assert events() == [
            *[("init", name) for name in "abc"],
            ("terminate", "b", "shutdown"),
            ("terminate", "a", "shutdown"),
        ]
        assert raised.value.id == "c"
        assert raised.value.reason[0] == ("ValueError", "no c today")
        assert "'c'" in str(raised.value)
        assert "ValueError: no c today" in str(raised.value)
        assert isinstance(raised.value.__cause__, ValueError)
        assert processes() == before
        assert whereis("top") is None
        with pytest.raises(TimeoutError):
            await receive(Exit, timeout=0)

    trapping(main)


def test_s6_a_start_that_gives_no_pid_is_a_failed_start() -> None:
    async def main() -> None:
        async def start() -> Any:
            return "done"

        with pytest.raises(ChildStartError, match="'done' was returned, expected a Pid or IGNORE"):
            await Supervisor.start_link([ChildSpec("a", start)])

    trapping(main)


def test_s6_a_child_that_its_start_did_not_link_is_supervised_as_well() -> None:
    async def main() -> None:
        async def start() -> Pid:
            return spawn(plain, 1.0)

        top = await Supervisor.start_link([ChildSpec("a", start)])
        before = await pid_of(top, "a")
        await sleep(1.5)
        assert await pid_of(top, "a") not in (before, None)

    trapping(main)


def test_s6_a_restart_that_fails_counts_and_is_tried_again() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", "fails_again"), child("b")], intensity=3, period=100.0)
        flag = spawn_link(plain, name="again")
        events()
        await end(await pid_of(top, "a"), "boom")
        assert await receive(Exit) == Exit(top, "shutdown")
        assert events() == [("terminate", "a", "boom"), *[("init", "a")] * 3, ("terminate", "b", "shutdown")]
        exit(flag, "kill")

    trapping(main)


def test_s6_a_restart_that_failed_goes_on_with_the_rest_of_the_group_when_it_succeeds() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a"), child("b", "fails_again"), child("c")], "rest_for_one", intensity=50, period=100.0)
        flag = spawn_link(plain, name="again")
        await end(await pid_of(top, "a"), "boom")
        assert (await statuses(top))["b"] == "restarting"
        with pytest.raises(ChildError) as raised:
            await Supervisor.restart_child(top, "b")
        assert raised.value.reason == "restarting"
        exit(flag, "kill")
        while (await statuses(top))["b"] == "restarting":
            await sleep(0)
        assert await statuses(top) == dict.fromkeys("abc", "running")

    trapping(main)


# --- S7: stopping the supervisor, declining ---


@pytest.mark.parametrize("reason", ["shutdown", "boom", "normal"])
def test_s7_it_ends_with_its_parent_and_stops_its_children_in_reverse_order(reason: Any) -> None:
    async def main() -> None:
        async def parent(specs: list[ChildSpec], probe: Pid) -> None:
            send(probe, ("top", await Supervisor.start_link(specs)))
            raise Stop(await receive())

        pid = spawn(parent, [child(name) for name in "abc"], self_pid())
        _, top = await receive(("top", Pid))
        events()
        send(pid, reason)
        assert await ended(top) == reason
        assert events() == [("terminate", name, "shutdown") for name in "cba"]

    trapping(main)


def test_s7_it_ends_when_it_is_told_to_by_its_parent() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a")])
        exit(top, "shutdown")
        assert await ended(top) == "shutdown"
        assert await receive(Exit) == Exit(top, "shutdown")

    trapping(main)


def test_s7_an_exit_signal_of_anybody_else_is_not_taken_for_its_parents() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a")])

        async def stranger(pid: Pid) -> None:
            exit(pid, "shutdown")

        await ended(spawn(stranger, top))
        assert await statuses(top) == {"a": "running"}

    trapping(main)


def test_s7_the_children_of_a_killed_supervisor_end_too() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a"), ChildSpec.of(plain)])
        children = await pids(top)
        exit(top, "kill")
        assert await ended(top) in ("killed", "noproc")
        await sleep(1)
        assert not set(children.values()) & set(processes())

    trapping(main)


def test_s7_the_end_of_the_node_stops_the_tree_in_reverse_order() -> None:
    told: list[str] = []

    async def body(id: str) -> None:
        process_flag("trap_exit", True)
        await receive(Exit)
        told.append(id)

    async def main() -> None:
        inner = ChildSpec.of(Supervisor, [ChildSpec.of(body, name, id=name) for name in "cd"], id="inner")
        await Supervisor.start_link([ChildSpec.of(body, "a", id="a"), inner, ChildSpec.of(body, "b", id="b")])
        await sleep(1)

    run(main, seed=3)
    assert told == ["b", "d", "c", "a"]


@pytest.mark.parametrize("restart", RESTARTS)
def test_s7_ignore_keeps_the_spec_with_no_pid_unless_it_is_temporary(restart: Any) -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", "declines", restart=restart), child("b")])
        expected = {"b": "running"} if restart == "temporary" else {"a": "stopped", "b": "running"}
        assert await statuses(top) == expected
        assert await Supervisor.start_child(top, child("c", "declines", restart=restart)) is IGNORE
        assert ("c" in await statuses(top)) is (restart != "temporary")

    trapping(main)


# --- S8: significant children ---


@pytest.mark.parametrize(
    ("auto_shutdown", "ends", "is_over"),
    [
        ("any_significant", [("a", "normal")], True),
        ("any_significant", [("b", "boom")], True),  # temporary: whatever it ended with
        ("any_significant", [("a", "boom")], False),  # transient: restarted
        ("any_significant", [("x", "normal")], False),
        ("all_significant", [("a", "normal")], False),
        ("all_significant", [("a", "normal"), ("b", "boom")], True),
        ("all_significant", [("b", "normal"), ("x", "normal")], False),
    ],
)
def test_s8_the_end_of_significant_children_ends_the_supervisor(auto_shutdown: Any, ends: list[Any], is_over: bool) -> None:
    async def main() -> None:
        children = [
            child("a", restart="transient", significant=True),
            child("b", restart="temporary", significant=True),
            child("x", restart="transient"),
            child("y"),
        ]
        top = await Supervisor.start_link(children, auto_shutdown=auto_shutdown)
        running = await pids(top)
        for name, reason in ends:
            await end(running[name], reason)
        if is_over:
            assert await receive(Exit) == Exit(top, "shutdown")
            assert running["y"] not in processes()
        else:
            assert (await statuses(top))["y"] == "running"

    trapping(main)


def test_s8_terminating_a_significant_child_does_not_end_the_supervisor() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", restart="transient", significant=True)], auto_shutdown="any_significant")
        await Supervisor.terminate_child(top, "a")
        assert await statuses(top) == {"a": "stopped"}

    trapping(main)


def test_s8_a_significant_child_needs_a_supervisor_with_auto_shutdown() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="auto_shutdown='never'"):
            await Supervisor.start_link([child("a", restart="transient", significant=True)])
        top = await Supervisor.start_link()
        with pytest.raises(ChildError, match="auto_shutdown='never'"):
            await Supervisor.start_child(top, child("a", restart="transient", significant=True))

    trapping(main)


# --- S9: what it can be asked ---


def test_s9_which_children_tells_all_in_the_order_of_their_start() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a"), ChildSpec.of(Supervisor, id="b"), child("c", "declines", restart="transient")])
        a, b, c = await Supervisor.which_children(top)
        assert (a.id, a.status, a.type, a.restart) == ("a", "running", "worker", "permanent")
        assert (b.id, b.status, b.type, type(b.pid)) == ("b", "running", "supervisor", Pid)
        assert (c.id, c.pid, c.status, c.restart) == ("c", None, "stopped", "transient")
        assert await Supervisor.count_children(top) == {"specs": 3, "active": 2, "supervisors": 1, "workers": 2}

    trapping(main)


def test_s9_a_child_is_started_terminated_restarted_and_deleted_by_name_of_its_supervisor() -> None:
    async def main() -> None:
        await Supervisor.start_link([child("a")], name="top")
        pid = await Supervisor.start_child("top", child("b"))
        assert await call(pid, "id") == "b"
        await Supervisor.terminate_child("top", "b")
        assert await statuses("top") == {"a": "running", "b": "stopped"}
        await Supervisor.terminate_child("top", "b")
        assert await call(await Supervisor.restart_child("top", "b"), "id") == "b"
        await Supervisor.terminate_child("top", "b")
        await Supervisor.delete_child("top", "b")
        assert await statuses("top") == {"a": "running"}

    trapping(main)


def test_s9_a_terminated_temporary_child_is_gone() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", restart="temporary")])
        await Supervisor.terminate_child(top, "a")
        assert await statuses(top) == {}

    trapping(main)


def test_s9_what_cannot_be_done_is_an_error_with_a_reason() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a"), child("b")])
        await Supervisor.terminate_child(top, "b")
        a = await pid_of(top, "a")
        for request, reason in [
            (Supervisor.start_child(top, child("a")), ("already_started", a)),
            (Supervisor.start_child(top, child("b")), "already_present"),
            (Supervisor.terminate_child(top, "x"), "not_found"),
            (Supervisor.terminate_child(top, [1]), "not_found"),
            (Supervisor.restart_child(top, "x"), "not_found"),
            (Supervisor.restart_child(top, "a"), "running"),
            (Supervisor.delete_child(top, "x"), "not_found"),
            (Supervisor.delete_child(top, "a"), "running"),
            (Supervisor.get_childspec(top, "x"), "not_found"),
        ]:
            with pytest.raises(ChildError) as raised:
                await request
            assert raised.value.reason == reason
        assert (await call(top, "what?"))[0] == "error"
        assert await pid_of(top, "a") == a

    trapping(main)


def test_s9_a_child_that_does_not_start_is_not_kept_and_the_supervisor_goes_on() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a")])
        with pytest.raises(ChildStartError, match=r"'b'.*ValueError: no b today") as raised:
            await Supervisor.start_child(top, child("b", "fails"))
        assert raised.value.id == "b"
        assert await statuses(top) == {"a": "running"}

    trapping(main)


def test_s9_get_childspec_gives_the_spec() -> None:
    async def main() -> None:
        spec = child("a", restart="transient", shutdown=3)
        top = await Supervisor.start_link([spec])
        assert await Supervisor.get_childspec(top, "a") == spec

    trapping(main)


async def replaced() -> None: ...


def test_s9_what_cannot_be_sent_is_told_as_text_or_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        top = await Supervisor.start_link([ChildSpec("lent", start_lent, (lambda: 1,)), ChildSpec.of(plain, id=replaced)])
        with pytest.raises(ChildError, match=r"the spec of child 'lent' cannot be sent: .*lambda") as raised:
            await Supervisor.get_childspec(top, "lent")
        assert raised.value.reason == "cannot_be_sent"
        monkeypatch.setattr(sys.modules[__name__], "replaced", None)  # as when its module is loaded again
        lent, other = await Supervisor.which_children(top)
        assert (lent.id, lent.status, other.status) == ("lent", "running", "running")
        assert other.id.startswith("<function replaced")

    trapping(main)


async def start_lent(fn: Any) -> Pid:
    return spawn_link(plain)


async def leave() -> Pid:
    sys.exit(3)


@record
class Hostile:
    """A value whose code fails."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_s9_no_question_ends_a_supervisor(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a")])
        pid = await pid_of(top, "a")
        for request in (Hostile(), (Hostile(),), ("start_child", Hostile(), ()), ("terminate_child", [1])):
            assert (await call(top, request))[0] == "error"
        with pytest.raises(ChildError, match="no comparison") as raised:
            await Supervisor.terminate_child(top, Hostile())
        assert raised.value.reason == "bad_request"
        with pytest.raises(ChildStartError, match="SystemExit: 3"):
            await Supervisor.start_child(top, ChildSpec("leaves", leave))
        cast(top, "what?")
        send(top, Exit([], "boom"))  # type: ignore[arg-type]
        assert await pid_of(top, "a") == pid

    trapping(main)
    assert "Cast('what?')" in caplog.text


def test_s9_a_supervisor_that_is_not_there_is_a_call_error() -> None:
    async def main() -> None:
        top = await Supervisor.start_link()
        exit(top, "shutdown")
        await ended(top)
        with pytest.raises(CallError) as raised:
            await Supervisor.which_children(top)
        assert raised.value.reason == "noproc"

    trapping(main)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"strategy": "one_for_none"}, "strategy"),
        ({"intensity": -1}, "intensity"),
        ({"intensity": 1.5}, "intensity"),
        ({"period": 0}, "period"),
        ({"auto_shutdown": "always"}, "auto_shutdown"),
        ({"backoff": 1.0}, "backoff"),
        ({"hold": 1}, "hold"),
    ],
)
def test_a_wrong_option_is_an_error_of_the_caller(options: Any, named: str) -> None:
    async def main() -> None:
        before = processes()
        with pytest.raises(ValueError, match=named):
            await Supervisor.start_link([], **options)
        with pytest.raises(TypeError, match=r"children is an iterable of .*, not <class '.*Server'>"):
            await Supervisor.start_link(Server)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="two children have the id 'a'"):
            await Supervisor.start_link([child("a"), child("a")])
        with pytest.raises(ValueError, match="node='other'"):
            await Supervisor.start_link([child("a", node="other")])
        assert processes() == before

    trapping(main)


# --- S10: beyond OTP ---


def test_s10_back_off_grows_with_each_restart_in_a_row_and_begins_anew_after_a_calm_period() -> None:
    async def main() -> None:
        backoff = Backoff(first=1.0, factor=2.0, most=3.0, jitter=0.0)
        top = await Supervisor.start_link([child("a")], intensity=100, period=10.0, backoff=backoff)
        waited = []
        for calm in (0.0, 0.0, 0.0, 0.0, 10.0):
            await sleep(calm)
            await end(await pid_of(top, "a"), "boom")
            begin = scheduler.now()
            events()
            assert await statuses(top) == {"a": "restarting"}
            await receive(("init", "a"))
            waited.append(round(scheduler.now() - begin, 6))
        assert waited == [1.0, 2.0, 3.0, 3.0, 1.0]

    trapping(main)


def test_s10_back_off_also_waits_after_a_restart_that_failed() -> None:
    async def main() -> None:
        backoff = Backoff(first=1.0, factor=2.0, most=100.0, jitter=0.0)
        top = await Supervisor.start_link([child("a", "fails_again")], intensity=100, backoff=backoff)
        spawn_link(plain, name="again")
        await end(await pid_of(top, "a"), "boom")
        begin = scheduler.now()
        events()
        times = []
        for _ in range(4):
            await receive(("init", "a"))
            times.append(round(scheduler.now() - begin, 6))
        assert times == [1.0, 3.0, 7.0, 15.0]

    trapping(main)


def test_s10_jitter_takes_off_a_part_that_is_drawn_from_the_nodes_seed() -> None:
    backoff = Backoff(first=10.0, jitter=0.5)
    assert [backoff.delay(1, chance) for chance in (0.0, 0.5, 1.0)] == [10.0, 7.5, 5.0]
    assert Backoff(jitter=0.0).delay(10_000, 1.0) == 30.0

    async def main() -> float:
        top = await Supervisor.start_link([child("a")], backoff=backoff)
        await end(await pid_of(top, "a"), "boom")
        events()
        begin = scheduler.now()
        await receive(("init", "a"))
        return scheduler.now() - begin

    delays = [run(main, seed=seed) for seed in range(5)]
    assert all(5.0 <= delay <= 10.0 for delay in delays)
    assert len(set(delays)) == 5
    assert delays == [run(main, seed=seed) for seed in range(5)]


@pytest.mark.parametrize("fields", [{"first": -1}, {"factor": 0.5}, {"most": 0.01}, {"jitter": 1.5}, {"first": "1"}])
def test_s10_a_wrong_back_off_names_the_field(fields: Any) -> None:
    with pytest.raises(ValueError, match=f"Backoff: {next(iter(fields))}"):
        Backoff(**fields)


def test_s10_a_child_that_is_terminated_while_it_waits_is_not_restarted() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a")], backoff=Backoff(first=1.0))
        await end(await pid_of(top, "a"), "boom")
        await Supervisor.terminate_child(top, "a")
        await sleep(10)
        assert await statuses(top) == {"a": "stopped"}

    trapping(main)


def test_s10_hold_leaves_the_child_down_until_it_is_cleared() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a"), child("b")], hold=True)
        await end(await pid_of(top, "a"), "boom")
        await end(await pid_of(top, "a"), "boom")
        assert await statuses(top) == {"a": "held", "b": "running"}
        await sleep(100)
        assert await statuses(top) == {"a": "held", "b": "running"}
        await Supervisor.clear_hold(top)
        assert await statuses(top) == {"a": "running", "b": "running"}
        await end(await pid_of(top, "a"), "boom")
        assert await statuses(top) == {"a": "running", "b": "running"}

    trapping(main)


@pytest.mark.parametrize(("strategy", "down"), [("one_for_all", "abc"), ("rest_for_one", "bc"), ("one_for_one", "b")])
def test_s10_hold_keeps_down_who_would_be_restarted_with_the_child(strategy: Any, down: str) -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child(name) for name in "abc"], strategy, intensity=0, hold=True)
        await end(await pid_of(top, "b"), "boom")
        after = await statuses(top)
        assert after["b"] == "held"
        assert {name for name in after if after[name] != "running"} == set(down)
        await Supervisor.clear_hold(top)
        assert await statuses(top) == dict.fromkeys("abc", "running")

    trapping(main)


def test_s10_a_held_child_is_not_restarted_with_another_one() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child(name) for name in "abc"], "rest_for_one", intensity=1, period=5.0, hold=True)
        for _ in range(2):
            await end(await pid_of(top, "b"), "boom")
        await sleep(6)
        await end(await pid_of(top, "a"), "boom")
        assert await statuses(top) == {"a": "running", "b": "held", "c": "stopped"}
        assert await call(await Supervisor.restart_child(top, "b"), "id") == "b"

    trapping(main)


# --- exclusions, reports, system messages ---


def test_c2_a_child_has_its_supervisors_exclusions_and_its_own_at_each_restart() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a", exclude=[("port_io", 0x60, 0x65)]), child("b")], exclude=[("raw_memory", "all")])
        for _ in range(2):
            running = await pids(top)
            assert info(running["a"]).exclusions == ((("raw_memory", "all"),), (("port_io", 0x60, 0x65),))
            assert info(running["b"]).exclusions == ((("raw_memory", "all"),),)
            assert info(top).exclusions == ((("raw_memory", "all"),),)
            await end(running["a"], "boom")

    trapping(main)


def test_c8_a_limited_process_gets_no_stronger_child_by_asking_a_supervisor() -> None:
    async def main() -> None:
        async def limited(probe: Pid, top: Pid, spec: ChildSpec) -> None:
            send(probe, ("child", await Supervisor.start_child(top, spec)))

        top = await Supervisor.start_link()
        spawn(limited, self_pid(), top, child("a"), exclude=[("port_io", "all")])
        _, pid = await receive(("child",))
        assert info(pid).exclusions == ((("port_io", "all"),),)
        await end(pid, "boom")
        again = await pid_of(top, "a")
        assert again not in (pid, None)
        assert info(again).exclusions == ((("port_io", "all"),),)

    trapping(main)


def test_a_start_that_does_not_return_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def slow() -> Pid:
        await sleep(4.9)
        return spawn_link(plain)

    async def main() -> None:
        starting = spawn_link(start_loop)
        await sleep(4.9)
        assert caplog.messages == []
        await sleep(0.2)
        exit(starting, "kill")
        before = scheduler.now()
        await Supervisor.start_link([ChildSpec("slow", slow)])
        assert scheduler.now() - before == pytest.approx(4.9)
        await sleep(1)

    trapping(main)
    (text,) = caplog.messages
    assert "child 'loop' is not started yet" in text
    assert "has not in 5.0 s; a loop is made a child by ChildSpec.of(loop)" in text


async def loop() -> None:
    while True:
        await receive()


async def start_loop() -> None:
    await Supervisor.start_link([ChildSpec("loop", loop)])


def test_what_goes_wrong_is_reported_and_what_goes_well_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        children = [child("a"), child("b", "fails_again"), child("c", "stubborn", shutdown=1.0), child("d", restart="transient")]
        top = await Supervisor.start_link(children, name="top")
        running = await pids(top)
        spawn_link(plain, name="again")
        await end(running["a"], "shutdown")
        await end(running["d"], "normal")
        await Supervisor.terminate_child(top, "c")
        assert await statuses(top) == {"a": "running", "b": "running", "c": "stopped", "d": "stopped"}
        await end(running["b"], "boom")
        await ended(top)

    with caplog.at_level(logging.INFO, "beamlike"):
        trapping(main)
    reports = [record.report for record in caplog.records if record.name == "beamlike.supervisor"]  # type: ignore[attr-defined]
    assert [(report["error"], report["child"]["id"], report["reason"]) for report in reports] == [
        ("shutdown_error", "c", "killed"),
        ("child_terminated", "b", "boom"),
        ("intensity", "b", "boom"),
    ]
    assert {report["registered_name"] for report in reports} == {"top"}
    text = caplog.records[-1].getMessage()
    assert "supervisor top: permanent child 'b'" in text
    progress = [record.report["child"]["id"] for record in caplog.records if record.name == "beamlike.progress"]  # type: ignore[attr-defined]
    assert progress == ["a", "b", "c", "d", "a"]
    assert all(record.levelno == logging.INFO for record in caplog.records if record.name == "beamlike.progress")


def test_a_start_that_fails_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        top = await Supervisor.start_link()
        with pytest.raises(ChildStartError):
            await Supervisor.start_child(top, child("b", "fails"))

    trapping(main)
    (report,) = [record.report for record in caplog.records if record.name == "beamlike.supervisor"]  # type: ignore[attr-defined]
    assert (report["error"], report["child"]["id"], report["reason"][0]) == ("start_error", "b", ("ValueError", "no b today"))


def test_a_failed_start_of_a_tree_is_reported_once_by_the_child_and_by_each_supervisor(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with pytest.raises(ChildStartError, match=r"'inner' did not start: .*'b' did not start: ValueError: no b today") as raised:
            await Supervisor.start_link([ChildSpec.of(Supervisor, [child("b", "fails")], id="inner")])
        assert isinstance(raised.value.__cause__, ChildStartError)
        assert isinstance(raised.value.__cause__.__cause__, ValueError)

    trapping(main)
    reports = [(record.name, record.report["reason"][0]) for record in caplog.records]  # type: ignore[attr-defined]
    assert [name for name, _ in reports] == ["beamlike.crash", "beamlike.supervisor", "beamlike.supervisor"]
    assert reports[0][1] == reports[1][1] == ("ValueError", "no b today")


def test_g6_a_supervisor_answers_system_messages() -> None:
    async def main() -> None:
        top = await Supervisor.start_link([child("a")], name="top")
        status = await get_status(top)
        assert (status.name, status.parent) == ("top", self_pid())
        assert status.state["children"].keys() == {"a"}

    trapping(main)
