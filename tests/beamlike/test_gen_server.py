"""GenServer: the rules G1–G7 on one node, each under its name; system messages (G6) are in test_system.py."""

from __future__ import annotations

import functools
import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
import trio

import beamlike
from beamlike import (
    IGNORE,
    NOREPLY,
    BadNameError,
    Caller,
    CallError,
    CallTimeoutError,
    Exit,
    GenServer,
    Pid,
    Stop,
    call,
    cast,
    exit,
    io,
    monitor,
    process_flag,
    process_info,
    receive,
    record,
    reply,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    whereis,
)
from beamlike.behaviours.gen_server import Continue
from beamlike.behaviours.requests import Request
from beamlike.behaviours.system import stop


class Server(GenServer):
    """Does what it is told to, and tells `watcher` how it ends."""

    async def init(self, watcher: Pid | None = None, traps: bool = False) -> None:
        process_flag("trap_exit", traps)
        self.watcher = watcher
        self.kept: list[Caller] = []

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ("echo", value):
                return value
            case "bug":
                raise KeyError("bug")
            case "noreply":
                self.kept.append(caller)
                return NOREPLY
            case ("stop", reason):
                raise Stop(reason)
            case ("stop", reason, answer):
                raise Stop(reason, answer)
            case ("call", server, timeout):
                return await call(server, ("echo", 1), timeout)
            case ("delegate",):
                spawn(answer_later, caller)
                return NOREPLY
            case ("continue", value, answer):
                return Continue(value, answer)
            case ("continue", value):
                self.kept.append(caller)
                return Continue(value)
            case "unsendable":
                return lambda: None
        return None

    async def handle_cast(self, request: Any) -> Any:
        match request:
            case "bug":
                raise KeyError("bug")
            case ("return", value):
                return value
            case ("stop", reason):
                raise Stop(reason)
            case ("tell", value):
                send(self.watcher, value)
            case ("sleep", seconds):
                await sleep(seconds)
            case "answer":
                reply(self.kept.pop(), "late")
        return None

    async def handle_continue(self, value: Any) -> Continue | None:
        if value == "twice":
            return Continue("once")
        if self.watcher is not None:
            send(self.watcher, ("continued", value))
        if self.kept:
            reply(self.kept.pop(), ("continued", value))
        return None

    async def terminate(self, reason: Any) -> None:
        if self.watcher is not None:
            send(self.watcher, ("terminated", reason))


async def answer_later(caller: Caller) -> None:
    await sleep(1)
    reply(caller, "from another process")


async def start(*args: Any, **options: Any) -> Pid:
    """A server without a link."""
    return await Server.start(*args, **options)


@pytest.fixture(autouse=True)
def crashes() -> Any:
    """The crash reports."""
    reports: list[Any] = []
    handler = logging.Handler()
    handler.emit = lambda record: reports.append(record.report)  # type: ignore[attr-defined, method-assign]
    log = logging.getLogger("beamlike.crash")
    log.addHandler(handler)
    log.propagate = False
    yield reports
    log.removeHandler(handler)
    log.propagate = True


# --- G1 -------------------------------------------------------------------------------------------------------------------


def test_g1_a_call_is_answered_by_what_handle_call_returns() -> None:
    async def main() -> None:
        server = await start(name="it")
        assert await call(server, ("echo", [1, (2,)])) == [1, (2,)]
        assert await call("it", ("echo", None)) is None

    run(main, seed=1)


def test_g1_a_call_is_given_up_after_5_seconds() -> None:
    async def main() -> None:
        server = await start()
        with pytest.raises(CallTimeoutError, match=r"no answer in 5\.0 s") as caught:
            await call(server, "noreply")
        assert caught.value.reason == "timeout"
        cast(server, "answer")
        await sleep(0)
        with pytest.raises(TimeoutError):
            await receive(timeout=1)  # M5: the late answer reaches no mailbox

    run(main, seed=1)


def test_g1_a_call_to_who_is_not_there_fails_at_once() -> None:
    async def main() -> None:
        server = await start()
        await stop(server)
        with pytest.raises(CallError) as caught:
            await call(server, "bug", timeout=None)
        assert caught.value.reason == "noproc"
        with pytest.raises(BadNameError):
            await call("nobody", "bug", timeout=None)

    run(main, seed=1)


@pytest.mark.parametrize("is_queued", [False, True])
def test_g1_no_call_hangs_on_a_server_that_dies(is_queued: bool) -> None:
    async def assassin(victim: Pid) -> None:
        await sleep(1)
        exit(victim, "kill")

    async def main() -> None:
        server = await start()
        spawn(assassin, server)
        if is_queued:  # the server is busy and dies before it gets to the request
            spawn(caller_of, server, ("call", await start(), None))
        with pytest.raises(CallError) as caught:
            await call(server, "noreply", timeout=None)
        assert caught.value.reason == "killed"

    run(main, seed=1)


async def caller_of(server: Pid, request: Any) -> None:
    await call(server, request)


# --- G2 -------------------------------------------------------------------------------------------------------------------


def test_g2_an_answer_may_come_later_and_from_another_process() -> None:
    async def main() -> None:
        server = await start()
        assert await call(server, ("delegate",)) == "from another process"

    run(main, seed=1)


def test_g2_handle_continue_runs_before_any_other_message() -> None:
    class Eager(Server):
        async def init(self, watcher: Pid) -> Continue:  # type: ignore[override]
            await super().init(watcher)
            cast(self_pid(), ("tell", "second"))
            return Continue("twice")

    async def main() -> None:
        await Eager.start(self_pid())
        assert [await receive(), await receive()] == [("continued", "once"), "second"]
        server = await start(self_pid())
        assert await call(server, ("continue", "after", "before")) == "before"
        assert await receive() == ("continued", "after")
        assert await call(server, ("continue", "now")) == ("continued", "now")

    run(main, seed=1)


def test_g2_stop_answers_its_caller_after_terminate() -> None:
    async def main() -> None:
        server = await start(self_pid())
        ref = monitor(server)
        assert await call(server, ("stop", "shutdown", "bye")) == "bye"
        assert await receive() == ("terminated", "shutdown")
        down = await receive()
        assert (down.ref, down.reason) == (ref, "shutdown")

    run(main, seed=1)


@pytest.mark.parametrize("answer", [None, False])
def test_g2_any_value_can_be_the_last_answer(answer: Any) -> None:
    async def main() -> None:
        assert await call(await start(), ("stop", "normal", answer)) is answer

    run(main, seed=1)


class InNursery(GenServer):
    """Stops in a nursery, which raises an exception group."""

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        async with io(), trio.open_nursery():
            raise Stop("shutdown", "bye")


def test_g2_stop_in_a_nursery_is_the_same() -> None:
    async def main() -> None:
        server = await InNursery.start()
        ref = monitor(server)
        assert await call(server, "stop") == "bye"
        down = await receive()
        assert (down.ref, down.reason) == (ref, "shutdown")

    run(main, seed=1)


def test_g2_stop_without_an_answer_tells_the_caller_the_reason() -> None:
    async def main() -> None:
        with pytest.raises(CallError) as caught:
            await call(await start(), ("stop", "normal"))
        assert caught.value.reason == "normal"

    run(main, seed=1)


def test_g2_a_handler_that_returns_something_else_is_told_so() -> None:
    async def main() -> None:
        server = await start()
        ref = monitor(server)
        cast(server, ("return", ("noreply", 1)))
        down = await receive()
        assert down.ref == ref
        (kind, text), _ = down.reason
        assert kind == "TypeError"
        assert text == "Server.handle_cast returned ('noreply', 1), expected None or Continue(value)"

    run(main, seed=1)


# --- G3 -------------------------------------------------------------------------------------------------------------------


class Broken(GenServer):
    async def init(self, error: Any) -> Any:
        if error is None:
            return IGNORE
        raise error


def test_g3_the_starter_gets_the_exception_of_init_and_the_name_is_free() -> None:
    async def main() -> None:
        error = KeyError("x")
        with pytest.raises(KeyError) as caught:
            await Broken.start_link(error, name="it")
        assert caught.value is error
        assert whereis("it") is None

    run(main, seed=1)


def test_g3_an_init_that_returns_something_else_is_told_to_the_starter() -> None:
    class Five(GenServer):
        async def init(self) -> int:
            return 5

    async def main() -> None:
        with pytest.raises(TypeError, match=r"Five\.init returned 5, expected None or Continue\(value\)"):
            await Five.start_link(name="it")
        assert whereis("it") is None

    run(main, seed=1)


def test_g3_arguments_without_an_init_are_refused() -> None:
    class Typo(GenServer):
        async def intit(self, start: int) -> None: ...

    async def main() -> None:
        with pytest.raises(TypeError, match="Typo has no init, but was given 3 argument"):
            await Typo.start_link(1, 2, 3)
        assert process_info(await Typo.start_link()) is not None

    run(main, seed=1)


def test_g3_a_server_may_decline_to_start() -> None:
    async def main() -> None:
        assert await Broken.start_link(None, name="it") is IGNORE
        assert whereis("it") is None

    run(main, seed=1)


# --- G4 -------------------------------------------------------------------------------------------------------------------


async def parent_of(watcher: Pid, traps: bool, end: Any) -> None:
    send(watcher, await Server.start_link(watcher, traps))
    await receive()
    raise Stop(end)


@pytest.mark.parametrize("reason", ["normal", "shutdown", "boom"])
def test_g4_a_server_that_traps_exits_stops_with_its_parent_and_cleans_up(reason: str) -> None:
    async def main() -> None:
        parent = spawn(parent_of, self_pid(), True, reason)
        server = await receive()
        ref = monitor(server)
        send(parent, "go")
        assert await receive() == ("terminated", reason)
        down = await receive()
        assert (down.ref, down.reason) == (ref, reason)

    run(main, seed=1)


def test_g4_a_server_that_does_not_trap_exits_ends_with_its_parent_at_once() -> None:
    async def main() -> None:
        parent = spawn(parent_of, self_pid(), False, "boom")
        server = await receive()
        monitor(server)
        send(parent, "go")
        assert (await receive()).reason == "boom"
        with pytest.raises(TimeoutError):
            await receive(timeout=1)

    run(main, seed=1)


def test_g4_the_exit_of_anybody_else_is_a_message() -> None:
    class Collector(Server):
        async def handle_info(self, message: Any) -> None:
            send(self.watcher, message)

    async def main() -> None:
        server = await Collector.start(self_pid(), True)
        exit(server, "boom")
        assert await receive() == Exit(self_pid(), "boom")

    run(main, seed=1)


def test_g4_terminate_runs_on_stop() -> None:
    async def main() -> None:
        server = await start(self_pid(), name="it")
        await stop(server, "shutdown")
        assert await receive(timeout=0) == ("terminated", "shutdown")
        assert whereis("it") is None

    run(main, seed=1)


def test_g4_an_exception_of_terminate_is_what_the_server_ended_with() -> None:
    class Clumsy(Server):
        async def terminate(self, reason: Any) -> None:
            raise OSError("full")

    async def main() -> None:
        server = await Clumsy.start()
        with pytest.raises(CallError) as caught:
            await call(server, ("stop", "normal"))
        assert caught.value.reason[0] == ("OSError", "full")
        server = await Clumsy.start()
        assert await call(server, ("stop", "normal", "answer")) == "answer"

    run(main, seed=1)


def test_stop_tells_of_another_reason_and_of_nobody() -> None:
    class Clumsy(Server):
        async def terminate(self, reason: Any) -> None:
            raise Stop("other")

    async def main() -> None:
        server = await Clumsy.start()
        with pytest.raises(CallError) as caught:
            await stop(server)
        assert caught.value.reason == "other"
        with pytest.raises(CallError) as caught:
            await stop(server)
        assert caught.value.reason == "noproc"

    run(main, seed=1)


def test_stop_gives_up_after_its_timeout() -> None:
    async def main() -> None:
        busy = await start()
        cast(busy, ("sleep", 10))
        with pytest.raises(CallTimeoutError):
            await stop(busy, timeout=1)

    run(main, seed=1)


# --- G5 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["call", "cast"])
def test_g5_a_bug_ends_the_server_either_way_after_terminate(how: str, crashes: list[Any]) -> None:
    async def main() -> None:
        server = await start(self_pid())
        monitor(server)
        if how == "call":
            with pytest.raises(CallError) as caught:
                await call(server, "bug")
            assert caught.value.reason[0] == ("KeyError", "'bug'")
        else:
            cast(server, "bug")
        tag, reason = await receive()
        assert tag == "terminated"
        assert reason[0] == ("KeyError", "'bug'")
        assert (await receive()).reason[0] == ("KeyError", "'bug'")

    run(main, seed=1)
    (report,) = crashes
    assert report["last_message"].request == "bug"
    assert report["initial_call"].endswith("test_gen_server:Server")
    assert "KeyError" in report["traceback"]


def test_g5_who_waits_for_a_later_answer_learns_the_reason() -> None:
    async def main() -> None:
        server = await start()

        async def break_it() -> None:
            await sleep(1)
            cast(server, "bug")

        spawn(break_it)
        with pytest.raises(CallError) as caught:
            await call(server, "noreply", timeout=None)
        assert caught.value.reason[0] == ("KeyError", "'bug'")

    run(main, seed=1)


def test_g5_an_answer_that_cannot_be_sent_is_the_servers_bug() -> None:
    async def main() -> None:
        with pytest.raises(CallError) as caught:
            await call(await start(), "unsendable")
        assert caught.value.reason[0][0] == "TypeError"

    run(main, seed=1)


def test_g5_a_quiet_stop_makes_no_crash_report(crashes: list[Any]) -> None:
    async def main() -> None:
        for reason in ("normal", "shutdown", ("shutdown", "done")):
            with pytest.raises(CallError):
                await call(await start(), ("stop", reason))

    run(main, seed=1)
    assert crashes == []


def test_a_request_that_no_handler_takes_ends_the_server_with_its_name() -> None:
    async def main() -> None:
        bare = await GenServer.start()
        with pytest.raises(CallError, match="GenServer has no handle_call; it was asked 'what'"):
            await call(bare, "what")
        bare = await GenServer.start()
        monitor(bare)
        cast(bare, "what")
        assert (await receive()).reason[0] == ("NotImplementedError", "GenServer has no handle_cast; it was sent 'what'")

    run(main, seed=1)


def test_a_message_that_is_not_expected_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = await start()
        send(server, "surprise")
        assert await call(server, ("echo", 1)) == 1

    run(main, seed=1)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "beamlike.gen_server"]
    assert line.startswith("Server <")
    assert line.endswith("got a message it does not expect: 'surprise'")


# --- G7 -------------------------------------------------------------------------------------------------------------------


class Relay(GenServer):
    """Hands a request on to `next`."""

    async def init(self, name: str) -> None:
        self.name = name

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        path, later = request
        if not path:
            return "end"
        if later:
            spawn(relay, path, caller)
            return NOREPLY
        return await call(path[0], (path[1:], False), None)


async def relay(path: tuple[str, ...], caller: Caller) -> None:
    reply(caller, await call(path[0], (path[1:], False), None))


@pytest.mark.parametrize("path", [("a",), ("b", "a"), ("b", "c", "a"), ("b", "c", "b")])
def test_g7_a_call_that_would_wait_for_itself_fails_at_once_and_names_the_cycle(path: tuple[str, ...]) -> None:
    async def main() -> None:
        for name in "abc":
            await Relay.start(name, name=name)
        pids = {name: whereis(name) for name in "abc"}
        with pytest.raises(CallError) as caught:
            await call("a", (path, False), None)
        (_, text), _ = caught.value.reason
        assert "the call would wait for itself" in text
        assert str(pids[path[-1]]) in text

    run(main, seed=1)


def test_g7_a_server_that_answers_later_is_no_part_of_a_cycle() -> None:
    async def main() -> None:
        for name in "ab":
            await Relay.start(name, name=name)
        assert await call("a", (("b", "a"), True), None) == "end"

    run(main, seed=1)


# --- a forgotten async ---


@pytest.mark.parametrize("name", ["init", "handle_call", "handle_cast", "handle_info", "handle_continue", "terminate"])
def test_a_handler_that_is_not_async_is_refused_where_it_is_defined(name: str) -> None:
    with pytest.raises(TypeError, match=f"Forgetful.{name} is not async: write `async def {name}`"):
        exec(f"class Forgetful(GenServer):\n    def {name}(self, *args): return 1", {"GenServer": GenServer})


def untouched(fn: Any) -> Any:
    """A decorator."""

    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


async def echo(request: Any, caller: Caller) -> Any:
    return request


class Unusual(GenServer):
    """Handlers that are awaitable, though no `async def` in the class."""

    @untouched
    async def init(self) -> None:
        self.handle_cast = functools.partial(self.handle_info)  # type: ignore[method-assign]

    handle_call = staticmethod(echo)
    handle_info = lambda self, message: nothing()  # noqa: E731


async def nothing() -> None: ...


def test_what_may_be_awaited_is_not_refused() -> None:
    async def main() -> None:
        server = await Unusual.start()
        cast(server, 1)
        send(server, 2)
        assert await call(server, 3) == 3

    run(main, seed=1)


# --- what a server is -----------------------------------------------------------------------------------------------------


def test_the_process_of_a_server_is_shown_by_its_class() -> None:
    async def main() -> None:
        info = process_info(await start(name="it"))
        assert info is not None
        assert info.initial_call.endswith("test_gen_server:Server")
        assert info.registered_name == "it"
        assert info.ancestors == (self_pid(),)

    run(main, seed=1)


@record
class Balance(Request[int]):
    account: str


def test_a_typed_request_is_sent_as_any_record() -> None:
    async def main() -> None:
        request = Balance("me")
        assert await call(await start(), ("echo", request)) == request
        assert not hasattr(request, "__dict__")  # as small as a record without a base

    run(main, seed=1)


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy_knows_the_answer_to_a_typed_request_and_what_a_start_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mypy import api

    monkeypatch.chdir(Path(beamlike.__file__).parent.parent)
    source = Path(__file__).with_name("typed_calls.py")
    output, errors, status = api.run(
        ["--strict", "--explicit-package-bases", "--follow-imports", "silent", "--cache-dir", str(tmp_path), str(source)]
    )
    assert (output, errors, status) == ("Success: no issues found in 1 source file\n", "", 0)
