"""System messages (G6): each function on each kind of behaviour."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from beamlike import (
    Call,
    Caller,
    CallError,
    CallTimeoutError,
    ChildSpec,
    GenServer,
    Pid,
    Supervisor,
    call,
    cast,
    exit,
    monitor,
    process_flag,
    process_info,
    receive,
    reply,
    run,
    self_pid,
    send,
    spawn,
)
from beamlike.behaviours import system
from beamlike.behaviours.state_machine import StateMachine
from beamlike.behaviours.system import Statistics, Status


class Counter(GenServer):
    async def init(self, watcher: Pid | None = None) -> None:
        process_flag("trap_exit", True)
        self.watcher = watcher
        self.count = 0

    async def handle_call(self, request: Any, caller: Caller) -> int:
        self.count += 1
        return self.count

    async def handle_cast(self, request: Any) -> None:
        self.count += 1

    async def terminate(self, reason: Any) -> None:
        if self.watcher is not None:
            send(self.watcher, ("terminated", reason))


class Machine(StateMachine):
    async def init(self, watcher: Pid | None = None) -> str:
        process_flag("trap_exit", True)
        self.watcher = watcher
        self.count = 0
        return "counting"

    async def counting(self, event: Any) -> None:
        self.count += 1
        if type(event) is Call:
            reply(event.caller, self.count)

    async def other(self, event: Any) -> None:
        """Where `replace_state` leads."""

    async def terminate(self, reason: Any) -> None:
        if self.watcher is not None:
            send(self.watcher, ("terminated", reason))


async def start_counter() -> Any:
    return await Counter.start_link(name="it")


async def start_machine() -> Any:
    return await Machine.start_link(name="it")


async def start_supervisor() -> Any:
    return await Supervisor.start_link([ChildSpec.of(Counter)], name="it")


@pytest.fixture(params=[start_counter, start_machine, start_supervisor])
def start(request: Any) -> Any:
    return request.param


def request_to(start: Any) -> Any:
    return ("which_children",) if start is start_supervisor else "count"


def test_g6_a_suspended_behaviour_takes_only_system_messages(start: Any) -> None:
    async def main() -> None:
        server = await start()
        assert not (await system.get_status(server)).is_suspended
        await system.suspend(server)
        await system.suspend(server)  # twice is no error
        assert (await system.get_status(server)).is_suspended
        with pytest.raises(CallTimeoutError):
            await call(server, request_to(start), timeout=1)
        await system.resume(server)
        await system.resume(server)
        await call(server, request_to(start), timeout=1)

    run(main, seed=1)


def test_g6_what_comes_while_it_is_suspended_is_handled_later_in_order() -> None:
    async def main() -> None:
        server = await start_counter()
        await system.suspend(server)
        for _ in range(3):
            cast(server, "count")
        assert (await system.get_state(server))["count"] == 0
        await system.resume(server)
        assert await call(server, "count") == 4

    run(main, seed=1)


async def parent(watcher: Pid, kind: Any) -> None:
    send(watcher, await kind.start_link(watcher))
    await receive()


@pytest.mark.parametrize("kind", [Counter, Machine])
def test_g6_a_suspended_behaviour_obeys_its_parents_exit_and_cleans_up(kind: Any) -> None:
    async def main() -> None:
        starter = spawn(parent, self_pid(), kind)
        server = await receive()
        await system.suspend(server)
        ref = monitor(server)
        send(starter, "return")
        assert await receive() == ("terminated", "normal")
        assert (await receive()).ref == ref

    run(main, seed=1)


def test_g6_a_suspended_supervisor_shuts_down_its_children_with_its_parent() -> None:
    async def main() -> None:
        server = await start_supervisor()
        (child,) = await Supervisor.which_children(server)
        assert child.pid is not None
        await system.suspend(server)
        monitor(child.pid)
        exit(server, "shutdown")  # its parent is this process
        assert (await receive()).reason == "shutdown"

    async def block() -> None:
        process_flag("trap_exit", True)
        await main()

    run(block, seed=1)


def test_g6_a_suspended_behaviour_can_be_stopped(start: Any) -> None:
    async def main() -> None:
        server = await start()
        await system.suspend(server)
        await system.stop(server)
        assert process_info(server) is None

    run(main, seed=1)


def test_g6_get_state_shows_the_attributes() -> None:
    async def main() -> None:
        assert await system.get_state(await Counter.start()) == {"watcher": None, "count": 0}
        assert await system.get_state(await Machine.start()) == ("counting", {"watcher": None, "count": 0})
        assert "children" in await system.get_state(await start_supervisor())

    run(main, seed=1)


def test_g6_what_cannot_be_sent_of_a_state_is_shown_as_text() -> None:
    class Holder(Counter):
        async def init(self) -> None:  # type: ignore[override]
            self.lock = object()
            self.parts = {"x": [1], "y": (object(), 2)}

    async def main() -> None:
        state = await system.get_state(await Holder.start())
        assert state["lock"].startswith("<object object at")
        assert state["parts"]["x"] == [1]
        assert state["parts"]["y"][1] == 2

    run(main, seed=1)


def add_ten(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "count": state["count"] + 10}


def go_to_other(state: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return "other", {**state[1], "count": 7}


def fail(state: Any) -> Any:
    raise KeyError("no")


def give_nothing(state: Any) -> Any:
    return None


def go_nowhere(state: Any) -> Any:
    return "nowhere", {}


def test_g6_replace_state_puts_in_what_the_function_returns() -> None:
    async def main() -> None:
        server = await Counter.start()
        assert await system.replace_state(server, add_ten) == {"watcher": None, "count": 10}
        assert await call(server, "count") == 11
        machine = await Machine.start()
        assert await system.replace_state(machine, go_to_other) == ("other", {"watcher": None, "count": 7})
        cast(machine, "count")
        assert await system.get_state(machine) == ("other", {"watcher": None, "count": 7})

    run(main, seed=1)


@pytest.mark.parametrize("kind", [Counter, Machine])
@pytest.mark.parametrize("fn", [fail, give_nothing, go_nowhere])
def test_g6_a_function_that_fails_leaves_the_state_as_it_was(kind: Any, fn: Callable[[Any], Any]) -> None:
    async def main() -> None:
        server = await kind.start()
        before = await system.get_state(server)
        with pytest.raises(RuntimeError, match=r"replace_state of .* failed: (KeyError|TypeError)"):
            await system.replace_state(server, fn)
        assert await system.get_state(server) == before

    run(main, seed=1)


def test_g6_get_status(start: Any) -> None:
    async def main() -> None:
        server = await start()
        status = await system.get_status("it")
        assert type(status) is Status
        assert (status.pid, status.name, status.parent) == (server, "it", self_pid())
        assert (status.is_suspended, status.is_traced, status.has_statistics) == (False, False, False)
        if start is start_counter:
            assert status.behaviour.endswith("test_system:Counter")
            assert status.state == {"watcher": None, "count": 0}

    run(main, seed=1)


def test_g6_trace_logs_messages_and_answers(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="beamlike.trace")

    async def main() -> None:
        server = await start()
        await call(server, request_to(start))
        await system.trace(server, True)
        assert (await system.get_status(server)).is_traced
        caplog.clear()
        await call(server, request_to(start))
        await system.trace(server, False)
        await call(server, request_to(start))
        first = caplog.records[0]
        assert first.got.request == request_to(start)  # type: ignore[attr-defined]
        if start is not start_machine:  # which answers by itself
            assert [each.getMessage().split()[1] for each in caplog.records] == ["got", "replied", "got"]

    run(main, seed=1)


def test_g6_statistics_count_from_when_they_are_switched_on() -> None:
    async def main() -> None:
        server = await Counter.start()
        assert await system.statistics(server) is None
        await system.statistics(server, True)
        await call(server, "count")
        cast(server, "count")
        counted = await system.statistics(server)
        assert type(counted) is Statistics
        assert (counted.messages, counted.replies) == (3, 1)  # the question itself is a message
        assert counted.reductions > 0
        await system.statistics(server, False)
        assert await system.statistics(server) is None

    run(main, seed=1)


def test_system_messages_fail_as_calls_do() -> None:
    async def main() -> None:
        server = await Counter.start()
        await system.stop(server)
        with pytest.raises(CallError) as caught:
            await system.get_state(server)
        assert caught.value.reason == "noproc"
        with pytest.raises(TypeError, match="trace: `on` is True or False, not 1"):
            await system.trace(server, 1)  # type: ignore[arg-type]

    run(main, seed=1)
