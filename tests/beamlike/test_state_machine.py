"""StateMachine, after OTP's gen_statem; first its own examples."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from beamlike import (
    IGNORE,
    Call,
    CallError,
    Cast,
    Pid,
    Stop,
    call,
    cast,
    monitor,
    process_flag,
    receive,
    reply,
    run,
    self_pid,
    send,
    sleep,
)
from beamlike.behaviours import system
from beamlike.behaviours.state_machine import Enter, EventTimeout, StateMachine, StateTimeout, Timeout


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("beamlike.crash").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike.crash").setLevel(logging.NOTSET)


class CodeLock(StateMachine):
    """OTP Design Principles, gen_statem, with state enter calls: buttons pressed while the lock is open are postponed."""

    state_enter = True

    async def init(self, watcher: Pid, code: list[int]) -> str:
        self.watcher = watcher
        self.code = code
        return "locked"

    async def handle_event(self, state: str, event: Any) -> str | None:
        if type(event) is Call and event.request == "code_length":
            reply(event.caller, len(self.code))
            return None
        return await super().handle_event(state, event)  # type: ignore[no-any-return]

    async def locked(self, event: Any) -> str | None:
        match event:
            case Enter(_):
                send(self.watcher, "locked")
                self.buttons: list[int] = []
            case Timeout("button"):
                self.buttons = []
            case Cast(("button", digit)):
                self.buttons = [*self.buttons, digit][-len(self.code) :]
                self.set_timeout("button", 30.0)
                if self.buttons == self.code:
                    return "open"
        return None

    async def open(self, event: Any) -> str | None:
        match event:
            case Enter(_):
                send(self.watcher, "open")
                self.set_state_timeout(10.0)
            case StateTimeout():
                return "locked"
            case Cast(("button", _)):
                self.postpone()
        return None


def press(lock: Any, *digits: int) -> None:
    for digit in digits:
        cast(lock, ("button", digit))


def test_code_lock() -> None:
    async def main() -> None:
        lock = await CodeLock.start_link(self_pid(), [1, 2, 3])
        assert await receive() == "locked"
        press(lock, 1, 2, 3)
        assert await receive() == "open"
        assert await call(lock, "code_length") == 3
        with pytest.raises(TimeoutError):
            await receive(timeout=9.9)
        assert await receive(timeout=0.2) == "locked"
        press(lock, 9, 1, 2, 4)
        with pytest.raises(TimeoutError):
            await receive(timeout=1)
        press(lock, 1, 2, 3)
        assert await receive() == "open"

    run(main, seed=1)


def test_code_lock_takes_postponed_buttons_up_when_it_is_locked_again() -> None:
    async def main() -> None:
        lock = await CodeLock.start_link(self_pid(), [1, 2])
        press(lock, 1, 2)
        press(lock, 1, 2, 7)
        assert [await receive() for _ in range(4)] == ["locked", "open", "locked", "open"]

    run(main, seed=1)


def test_code_lock_forgets_buttons_after_a_while() -> None:
    async def main() -> None:
        lock = await CodeLock.start_link(self_pid(), [1, 2])
        assert await receive() == "locked"
        press(lock, 1)
        await sleep(31)
        press(lock, 2)
        with pytest.raises(TimeoutError):
            await receive(timeout=1)

    run(main, seed=1)


class Door(StateMachine):
    """Answers who waits at it when it is opened, from another state than the one in which they came."""

    async def init(self) -> str:
        self.waiting: list[Any] = []
        return "closed"

    async def closed(self, event: Any) -> str | None:
        match event:
            case Call(caller, "enter"):
                self.waiting.append(caller)
            case Cast("open"):
                for caller in self.waiting:
                    reply(caller, "come in")
                return "opened"
        return None

    async def opened(self, event: Any) -> str | None:
        match event:
            case Call(caller, "enter"):
                reply(caller, "it is open")
            case Cast("close"):
                return "closed"
        return None


def test_door() -> None:
    async def main() -> None:
        door = await Door.start_link(name="door")
        with pytest.raises(TimeoutError):
            await call("door", "enter", timeout=1)
        cast(door, "open")
        assert await call("door", "enter") == "it is open"
        assert await system.get_state("door") != "closed"
        assert (await system.get_state("door"))[0] == "opened"

    run(main, seed=1)


class Script(StateMachine):
    """Tells `watcher` each event with the state it came in; an event may be a list of what to do: (method, *args), then the next state."""

    async def init(self, watcher: Pid, *first: Any) -> str:
        process_flag("trap_exit", True)
        self.watcher = watcher
        self.do(first)
        return "a"

    def do(self, todo: Any) -> Any:
        following = None
        for each in todo:
            if type(each) is tuple:
                getattr(self, each[0])(*each[1:])
            else:
                following = each
        return following

    async def a(self, event: Any) -> Any:
        send(self.watcher, (self.state, event))
        return self.do(event) if type(event) is list else None

    b = c = a

    async def terminate(self, reason: Any) -> None:
        send(self.watcher, ("terminated", reason))


class Entering(Script):
    state_enter = True


async def script(*first: Any, kind: type[Script] = Script) -> Pid:
    return await kind.start(self_pid(), *first)


async def told() -> list[Any]:
    """What the watcher was told until nothing happens for 100 seconds; commands are shown as `...`."""
    heard = []
    try:
        while True:
            state, event = await receive(timeout=100)
            heard.append((state, ... if type(event) is list else event))
    except TimeoutError:
        return heard


def outcome(*events: Any, first: tuple[Any, ...] = (), kind: type[Script] = Script) -> list[Any]:
    """What a machine does with these events, sent at once."""

    async def main() -> list[Any]:
        pid = await script(*first, kind=kind)
        for event in events:
            send(pid, event)
        return await told()

    return run(main, seed=1)


def test_postponed_events_come_back_in_order_before_what_waits_once_the_state_changes() -> None:
    class Postponing(Script):
        async def a(self, event: Any) -> Any:
            if event in ("x", "y"):
                self.postpone()
            return await super().a(event)

    assert outcome("x", "1", "y", "2", ["b"], "3", kind=Postponing) == [
        ("a", "x"), ("a", "1"), ("a", "y"), ("a", "2"), ("a", ...), ("b", "x"), ("b", "y"), ("b", "3"),
    ]  # fmt: skip


def test_a_postponed_event_stays_while_the_state_is_kept() -> None:
    assert outcome([("postpone",)], "1", ["a"], "2") == [("a", ...), ("a", "1"), ("a", ...), ("a", "2")]


def test_an_event_that_is_postponed_with_a_change_of_state_comes_back_at_once() -> None:
    class Once(Script):
        async def a(self, event: Any) -> Any:
            following = await super().a(event)
            if event == "x":
                self.postpone()
                return "b"
            return following

    assert outcome("x", "1", kind=Once) == [("a", "x"), ("b", "x"), ("b", "1")]


def test_inserted_events_come_next_in_their_order_before_postponed_ones() -> None:
    class Postponing(Script):
        async def a(self, event: Any) -> Any:
            if event == "x":
                self.postpone()
            return await super().a(event)

    assert outcome("x", [("insert", "i"), ("insert", "j"), "b"], "1", kind=Postponing) == [
        ("a", "x"), ("a", ...), ("b", "i"), ("b", "j"), ("b", "x"), ("b", "1"),
    ]  # fmt: skip


def test_init_may_insert_events_and_set_time_outs() -> None:
    assert outcome("1", first=(("insert", "i"), ("set_state_timeout", 5, "s"))) == [("a", "i"), ("a", "1"), ("a", StateTimeout("s"))]


@pytest.mark.parametrize(
    ("asked", "then", "comes"),
    [
        (("set_state_timeout", 5, "v"), "event", [StateTimeout("v")]),
        (("set_state_timeout", 5, "v"), ["b"], []),
        (("set_state_timeout", 5, "v"), ["a"], [StateTimeout("v")]),
        (("set_state_timeout", 5, "v"), [("set_state_timeout", None)], []),
        (("set_state_timeout", 5, "v"), [("set_state_timeout", 6, "w")], [StateTimeout("w")]),
        (("set_event_timeout", 5, "v"), None, [EventTimeout("v")]),
        (("set_event_timeout", 5, "v"), "event", []),
        (("set_event_timeout", 5, "v"), ["b"], []),
        (("set_timeout", "t", 5, "v"), "event", [Timeout("t", "v")]),
        (("set_timeout", "t", 5, "v"), ["b"], [Timeout("t", "v")]),
        (("set_timeout", "t", 5, "v"), [("set_timeout", "t", None)], []),
        (("set_timeout", "t", 5, "v"), [("set_timeout", "t", 6, "w")], [Timeout("t", "w")]),
        (("set_timeout", "t", 5, "v"), [("set_timeout", "u", 4, "w")], [Timeout("u", "w"), Timeout("t", "v")]),
    ],
)
def test_what_cancels_a_time_out(asked: tuple[Any, ...], then: Any, comes: list[Any]) -> None:
    async def main() -> None:
        machine = await script(asked)
        if then is not None:
            send(machine, then)
            await receive()
        heard = [event for _, event in await told()]
        assert heard == comes

    run(main, seed=1)


@pytest.mark.parametrize(
    ("asked", "comes"), [(("set_timeout", "t", 4, "v"), Timeout("t", "v")), (("set_state_timeout", 4, "v"), StateTimeout("v"))]
)
def test_another_time_out_cancels_an_event_time_out(asked: tuple[Any, ...], comes: Any) -> None:
    assert outcome(first=(("set_event_timeout", 5), asked)) == [("a", comes)]


def test_a_state_time_out_set_with_the_change_of_state_is_the_new_states() -> None:
    assert outcome([("set_state_timeout", 5), "b"]) == [("a", ...), ("b", StateTimeout(None))]


def test_a_time_out_in_no_time_comes_before_what_is_not_received_yet_and_after_what_is_inserted() -> None:
    assert outcome([("set_timeout", "t", 0), ("insert", "i")], "1") == [("a", ...), ("a", "i"), ("a", Timeout("t")), ("a", "1")]


def test_a_time_out_that_is_cancelled_when_it_is_due_does_not_come() -> None:
    async def main() -> None:
        machine = await script(("set_timeout", "t", 5))
        await system.suspend(machine)
        send(machine, [("set_timeout", "t", None)])
        await sleep(10)  # its message waits behind the cancellation
        await system.resume(machine)
        assert await told() == [("a", ...)]

    run(main, seed=1)


def test_a_time_out_that_comes_while_suspended_is_handled_after() -> None:
    async def main() -> None:
        machine = await script(("set_timeout", "t", 5))
        await system.suspend(machine)
        assert await told() == []
        await system.resume(machine)
        assert await told() == [("a", Timeout("t"))]

    run(main, seed=1)


def test_enter_comes_first_in_each_state_with_the_one_before() -> None:
    assert outcome([("insert", "i"), "b"], ["b"], ["a"], kind=Entering) == [
        ("a", Enter("a")), ("a", ...), ("b", Enter("a")), ("b", "i"), ("b", ...), ("b", ...), ("a", Enter("b")),
    ]  # fmt: skip


def test_no_enter_comes_unless_it_is_wanted() -> None:
    assert outcome(["b"]) == [("a", ...)]


@pytest.mark.parametrize("method", ["postpone", "insert"])
def test_enter_may_neither_postpone_nor_insert(method: str) -> None:
    class Bad(Entering):
        async def b(self, event: Any) -> Any:
            getattr(self, method)(*(["event"] if method == "insert" else []))

    heard = outcome(["b"], kind=Bad)
    assert heard[-1][0] == "terminated"
    assert heard[-1][1][0] == ("RuntimeError", f"{method}() while a state is entered: Enter may only set time-outs and reply")


def test_enter_may_not_change_the_state() -> None:
    class Bad(Entering):
        async def b(self, event: Any) -> Any:
            return "c"

    (kind, text), _ = outcome(["b"], kind=Bad)[-1][1]
    assert kind == "TypeError"
    assert text.endswith("Bad: Enter in state 'b' returned 'c', expected None")


@pytest.mark.parametrize("state", ["nowhere", "postpone", "watcher", 1])
def test_a_state_that_is_none_is_an_error_that_names_it(state: Any) -> None:
    heard = outcome([state])
    assert heard[-1][0] == "terminated"
    assert heard[-1][1][0] == ("TypeError", f"Script has no state {state!r}: a state is the name of a method of the subclass")


def test_a_state_that_is_not_async_is_an_error_that_names_it() -> None:
    class Door(StateMachine):
        async def init(self) -> str:
            return "closed"

        def closed(self, event: Any) -> None: ...

    async def main() -> None:
        with pytest.raises(TypeError, match=r"Door\.closed is not async: write `async def closed`"):
            await Door.start_link()

    run(main, seed=1)


def test_a_first_state_that_is_none_is_told_to_the_starter() -> None:
    class Bad(StateMachine):
        async def init(self) -> str:
            return "nowhere"

    class Declining(StateMachine):
        async def init(self) -> Any:
            return IGNORE

    async def main() -> None:
        with pytest.raises(TypeError, match="Bad has no state 'nowhere'"):
            await Bad.start_link()
        assert await Declining.start_link() is IGNORE

    run(main, seed=1)


def test_states_may_be_any_value_where_handle_event_is_overridden() -> None:
    class Grid(StateMachine):
        async def init(self) -> tuple[int, int]:
            return 0, 0

        def check_state(self, state: Any) -> None:
            if type(state) is not tuple:
                raise TypeError(f"not a position: {state!r}")

        async def handle_event(self, state: tuple[int, int], event: Any) -> tuple[int, int] | None:
            match event:
                case Cast((int() as x, int() as y)):
                    return state[0] + x, state[1] + y
                case Call(caller, "where"):
                    reply(caller, state)
            return None

    async def main() -> None:
        grid = await Grid.start_link()
        cast(grid, (1, 2))
        cast(grid, (3, -1))
        assert await call(grid, "where") == (4, 1)

    run(main, seed=1)


class Stopping(StateMachine):
    async def init(self) -> str:
        return "on"

    async def on(self, event: Any) -> None:
        match event:
            case Call(_, ("stop", reason, answer)):
                raise Stop(reason, answer)
            case Call(_, ("stop", reason)):
                raise Stop(reason)
            case Call(_, "bug"):
                raise KeyError("bug")


@pytest.mark.parametrize(("request_", "reason"), [(("stop", "normal"), "normal"), ("bug", ("KeyError", "'bug'"))])
def test_who_calls_a_machine_that_ends_learns_the_reason(request_: Any, reason: Any) -> None:
    async def main() -> None:
        machine = await Stopping.start()
        with pytest.raises(CallError) as caught:
            await call(machine, request_)
        assert reason in (caught.value.reason, caught.value.reason[0])

    run(main, seed=1)


def test_stop_may_bring_the_last_answer() -> None:
    async def main() -> None:
        machine = await Stopping.start()
        monitor(machine)
        assert await call(machine, ("stop", "off", "bye")) == "bye"
        assert (await receive()).reason == "off"

    run(main, seed=1)


def test_a_machine_that_stops_cleans_up() -> None:
    async def main() -> None:
        machine = await script()
        await system.stop(machine, "shutdown")
        assert await receive() == ("terminated", "shutdown")

    run(main, seed=1)
