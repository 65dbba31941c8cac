"""Crash reports: what they hold, when there are any."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from beamlike import (
    Down,
    Exit,
    Pid,
    Stop,
    exit,
    io,
    monitor,
    process_flag,
    receive,
    record,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
)


class HostileError(Exception):
    """An exception whose own code raises."""

    def __str__(self) -> str:
        raise ZeroDivisionError("in __str__")

    def __repr__(self) -> str:
        raise ZeroDivisionError("in __repr__")


def crashes(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "beamlike.crash"]


def run_one(body: Any, io: bool = False) -> Any:
    """The reason that a process with this body ended with."""

    async def main() -> Any:
        spawn_monitor(body, io=io)
        return (await receive(Down, timeout=10)).reason

    return run(main, seed=1)


def test_report_holds_the_facts_of_the_crash(caplog: pytest.LogCaptureFixture) -> None:
    async def worker(boss: Pid) -> None:
        process_flag("label", ("worker", 7))
        await receive(bytes)
        await deeper()

    async def deeper() -> None:
        raise LookupError("no such thing")

    async def main() -> tuple[Pid, Pid]:
        process_flag("trap_exit", True)
        pid = spawn_link(worker, self_pid(), name="the worker")
        for number in range(15):
            send(pid, number)
        send(pid, b"go")
        await receive(timeout=1)
        return pid, self_pid()

    pid, parent = run(main, seed=1)
    (record,) = crashes(caplog)
    assert record.levelno == logging.ERROR
    report = record.report  # type: ignore[attr-defined]
    assert report["pid"] == pid
    assert report["registered_name"] == "the worker"
    assert report["label"] == ("worker", 7)
    assert report["initial_call"].endswith(":test_report_holds_the_facts_of_the_crash.<locals>.worker")
    assert report["reason"][0] == ("LookupError", "no such thing")
    assert report["ancestors"] == (parent,)
    assert report["links"] == (parent,)
    assert report["messages"] == tuple(range(10))
    assert report["mailbox_length"] == 15
    assert "LookupError: no such thing" in report["traceback"]
    assert "in deeper" in report["traceback"]


def test_text_of_the_report_tells_a_person_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        process_flag("label", "labelled")
        await receive(bytes)
        raise LookupError("no such thing")

    async def main() -> Pid:
        pid, _ = spawn_monitor(worker, name="the worker")
        send(pid, "unread")
        send(pid, b"go")
        await receive(Down, timeout=1)
        return pid

    pid = run(main, seed=1)
    (record,) = crashes(caplog)
    text = record.getMessage()
    for part in (
        str(pid),
        "'the worker'",
        "labelled",
        "test_text_of_the_report",
        "1 message(s)",
        "'unread'",
        "LookupError: no such thing",
        __file__,
    ):
        assert part in text


def test_traceback_shows_none_of_our_own_frames(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        raise LookupError

    for mode in (False, True):
        run_one(worker, io=mode)
    for crash in crashes(caplog):
        assert "/beamlike/hot/" not in crash.getMessage()
        assert "node.py" not in crash.getMessage()
        assert "trio_mode.py" not in crash.getMessage()


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", "why"), ("shutdown", [1])])
def test_quiet_reasons_make_no_report(caplog: pytest.LogCaptureFixture, reason: Any, mode: bool) -> None:
    async def worker() -> None:
        raise Stop(reason)

    assert run_one(worker, io=mode) == reason
    assert caplog.records == []


def test_end_by_return_makes_no_report(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        await sleep(0)

    assert run_one(worker) == "normal"
    assert caplog.records == []


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("reason", ["kill", "boom", "shutdown"])
def test_end_by_an_exit_signal_makes_no_report(caplog: pytest.LogCaptureFixture, reason: str, mode: bool) -> None:
    """Who sent the signal knows; the victim did nothing wrong."""

    async def worker() -> None:
        await receive()

    async def in_block() -> None:
        async with io():
            await receive()

    async def main() -> None:
        for body in (worker, in_block):
            pid, _ = spawn_monitor(body, io=mode)
            await sleep(1)
            exit(pid, reason)
            await receive(Down, timeout=1)
        await sleep(1)

    run(main, seed=1)
    assert caplog.records == []


def test_stop_with_another_reason_makes_a_report(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        raise Stop("out of paper")

    assert run_one(worker) == "out of paper"
    (record,) = crashes(caplog)
    assert record.report["reason"] == "out of paper"  # type: ignore[attr-defined]


def test_exception_of_main_is_raised_and_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        run(main, seed=1)
    assert crashes(caplog) == []


@pytest.mark.parametrize("mode", [False, True])
def test_exception_whose_str_and_repr_raise_is_reported_all_the_same(caplog: pytest.LogCaptureFixture, mode: bool) -> None:
    async def worker() -> None:
        raise HostileError

    (kind, text), _ = run_one(worker, io=mode)
    assert kind.endswith("HostileError")
    assert "ZeroDivisionError" in text
    (record,) = crashes(caplog)
    assert "HostileError" in record.getMessage()


def test_exception_group_with_hostile_members_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        raise ExceptionGroup("several", [HostileError(), ValueError("tame")])

    (kind, _), _ = run_one(worker)
    assert kind == "ExceptionGroup"
    (record,) = crashes(caplog)
    assert "several" in record.getMessage()


def test_cause_and_notes_of_the_exception_are_in_the_report(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        error = LookupError("outer")
        error.add_note("a note")
        raise error from KeyError("inner")

    (_, text), _ = run_one(worker)
    assert text == "outer\na note"
    text = crashes(caplog)[0].getMessage()
    for part in ("KeyError: 'inner'", "direct cause", "LookupError: outer", "a note"):
        assert part in text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("base"), RecursionError("deep")])
@pytest.mark.parametrize("mode", [False, True])
def test_any_exception_ends_its_process_only(caplog: pytest.LogCaptureFixture, error: BaseException, mode: bool) -> None:
    async def worker() -> None:
        await sleep(0)
        raise error

    (kind, _), _ = run_one(worker, io=mode)
    assert kind == type(error).__name__
    assert len(crashes(caplog)) == 1


@dataclass(frozen=True)
class FrozenError(Exception):
    """An exception that has no attributes but its own."""

    key: str


class FrozenRuntimeError(RuntimeError):
    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class WorstError(RuntimeError):
    """One that raises what nobody expects."""

    def __str__(self) -> str:
        raise SystemExit("in __str__")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FrozenError, "k"),
        (FrozenRuntimeError, "must be called from async context"),
        (WorstError, "<WorstError, whose str() raised SystemExit>"),
    ],
)
@pytest.mark.parametrize("mode", [False, True])
def test_exception_whose_own_code_refuses_everything_ends_its_process_only(error: Any, text: str, mode: bool) -> None:
    async def worker() -> None:
        await sleep(0)
        raise error(text)

    reason = run_one(worker, io=mode)
    assert reason[0] == (f"{__name__}.{error.__name__}", text)
    assert [frame[2] for frame in reason[1]] == ["worker"]


def test_exception_that_cannot_even_be_looked_at_ends_its_process_only(caplog: pytest.LogCaptureFixture) -> None:
    class OpaqueError(Stop):
        @property
        def reason(self) -> Any:
            raise SystemExit("no reason")

        @reason.setter
        def reason(self, value: Any) -> None:
            pass

    async def worker() -> None:
        raise OpaqueError

    assert run_one(worker) == (("Exception", "what was raised cannot be looked at: its own code raises"), ())
    (record,) = crashes(caplog)
    assert "cannot be reported: no reason" in record.getMessage()


@record
class Moody:
    """Can be hashed, and so copied in a set, as often as `lives` says."""

    lives: list[int]

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        self.lives[0] -= 1
        if self.lives[0] < 0:
            raise LookupError("no more lives")
        return 1


@pytest.mark.parametrize("lives", range(8))
def test_reason_that_cannot_be_copied_again_ends_no_node(lives: int) -> None:
    moody = Moody([100])
    reason = frozenset([moody])
    moody.lives[0] = lives

    async def worker() -> None:
        await receive()
        raise Stop(reason)

    async def main() -> None:
        process_flag("trap_exit", True)
        child = spawn_link(worker)
        ref = monitor(child)
        send(child, "go")
        ended, down = await receive(Exit, timeout=1), await receive(Down, timeout=1)
        assert (ended.sender, down.ref) == (child, ref)
        for each in (ended.reason, down.reason):
            assert type(each) is frozenset or each[0] == ("LookupError", each[0][1])

    run(main, seed=1)


def test_initial_call_in_the_report_is_the_function_that_was_spawned(caplog: pytest.LogCaptureFixture) -> None:
    async def inner() -> None:
        await sleep(0)
        raise ValueError

    async def worker() -> None:
        await inner()

    run_one(worker)
    (record,) = crashes(caplog)
    report: Any = record.report  # type: ignore[attr-defined]
    assert report["initial_call"] == f"{__name__}:{worker.__qualname__}"


def test_initial_call_of_a_function_of_a_library_is_that_function(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        spawn_monitor(trio.open_tcp_stream, "nowhere", 1)  # in scheduler mode: trio refuses
        await receive(Down, timeout=1)

    run(main, seed=1)
    (record,) = crashes(caplog)
    report: Any = record.report  # type: ignore[attr-defined]
    assert report["initial_call"] == f"{trio.open_tcp_stream.__globals__['__name__']}:open_tcp_stream"


def test_recursion_without_end_ends_its_process_only(caplog: pytest.LogCaptureFixture) -> None:
    def deep() -> None:
        deep()

    async def worker() -> None:
        deep()

    (kind, _), stack = run_one(worker)
    assert kind == "RecursionError"
    assert len(stack) <= 50
    assert len(crashes(caplog)) == 1


def test_what_is_shown_of_a_value_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        await receive(bytes)
        raise LookupError

    async def main() -> None:
        pid, _ = spawn_monitor(worker)
        send(pid, "x" * 100_000)
        send(pid, b"go")
        await receive(Down, timeout=1)

    run(main, seed=1)
    assert len(crashes(caplog)[0].getMessage()) < 5_000


def test_logging_that_is_off_costs_no_report(caplog: pytest.LogCaptureFixture) -> None:
    async def worker() -> None:
        raise LookupError

    with caplog.at_level(logging.CRITICAL, "beamlike.crash"):
        run_one(worker)
    assert crashes(caplog) == []


def test_handler_that_raises_does_not_disturb_the_node(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError("in the handler")

    async def worker() -> None:
        raise LookupError

    async def main() -> Any:
        spawn_monitor(worker)
        reason = (await receive(Down, timeout=1)).reason
        spawn_monitor(worker)
        assert (await receive(Down, timeout=1)).reason[0] == reason[0]
        return reason[0][0]

    log = logging.getLogger("beamlike.crash")
    handler = Broken()
    log.addHandler(handler)
    try:
        assert run(main, seed=1) == "LookupError"
    finally:
        log.removeHandler(handler)


def test_refusal_to_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(BaseException):
                await receive()

    async def main() -> None:
        pid = spawn(stubborn)
        await sleep(1)
        exit(pid, "kill")
        await sleep(1)

    run(main, seed=1)
    assert [record.name for record in caplog.records] == ["beamlike.unwinding"]
