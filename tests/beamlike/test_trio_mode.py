"""Trio mode: `io()`, `spawn(io=True)` and `blocking` (P4, P6), and what happens to those who misuse them."""

from __future__ import annotations

import contextlib
import threading
from contextvars import ContextVar
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from beamlike import (
    Down,
    Exit,
    Pid,
    blocking,
    call,
    exit,
    io,
    link,
    node,
    process_flag,
    process_info,
    receive,
    reply,
    run,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
)
from beamlike.hot.calls import Call

setting: ContextVar[str] = ContextVar("setting", default="none")


async def sleeper() -> None:
    await sleep(float("inf"))


async def is_well() -> bool:
    """Do new processes still run, in both modes, and trio beside them?"""

    async def body(to: Pid, what: str) -> None:
        send(to, what)

    for mode in (False, True):
        spawn(body, self_pid(), "well", io=mode)
        await receive(lambda message: bool(message == "well"), timeout=5)
    return True


# --- everything works in it -----------------------------------------------------------------------------------------------


def test_trio_works_in_io_and_the_process_is_the_same_before_in_and_after() -> None:
    async def main() -> None:
        me = self_pid()
        async with io():
            assert self_pid() == me
            with trio.move_on_after(1) as scope:
                await trio.sleep_forever()
            assert scope.cancelled_caught
            assert process_info(me).status in ("in_trio", "running")  # type: ignore[union-attr]
        assert self_pid() == me
        with pytest.raises(RuntimeError):
            trio.lowlevel.current_task()
        await sleep(0)

    run(main, seed=1)


def test_io_of_spawn_runs_the_whole_body_in_trio_mode() -> None:
    async def body(to: Pid) -> None:
        await trio.sleep(1)
        send(to, (self_pid(), await receive(timeout=5)))

    async def main() -> None:
        pid = spawn(body, self_pid(), io=True)
        send(pid, "hello")
        assert await receive(timeout=5) == (pid, "hello")

    run(main, seed=1)


def test_nested_io_does_nothing() -> None:
    async def main() -> None:
        async with io():
            async with io(), io():
                await trio.sleep(1)
            await trio.sleep(1)
        with pytest.raises(RuntimeError):
            await trio.sleep(1)

    run(main, seed=1)


def test_io_may_be_entered_again_and_again() -> None:
    async def main() -> int:
        count = 0
        for _ in range(50):
            async with io():
                await trio.lowlevel.checkpoint()
                count += 1
            await sleep(0)
        return count

    assert run(main, seed=1) == 50


def test_all_primitives_work_in_trio_mode() -> None:
    async def server() -> None:
        while True:
            request = await receive(Call)
            reply(request.caller, request.request + 1)

    async def main() -> None:
        async with io():
            process_flag("trap_exit", True)
            assert await call(spawn(server), 1) == 2
            child = spawn_link(sleeper)
            exit(child, "boom")
            assert await receive(timeout=1) == Exit(child, "boom")
            watched, ref = spawn_monitor(sleeper)
            link(watched)
            exit(watched, "kill")
            assert {await receive(timeout=1), await receive(timeout=1)} == {Exit(watched, "killed"), Down(ref, watched, "killed")}
            send_after(1, self_pid(), "later")
            await sleep(2)
            assert await receive(timeout=0) == "later"

    run(main, seed=1)


def test_server_in_trio_mode_answers() -> None:
    async def server() -> None:
        while True:
            request = await receive(Call)
            await trio.sleep(0.5)
            reply(request.caller, ("answer", request.request))

    async def main() -> Any:
        return await call(spawn(server, io=True), 1)

    assert run(main, seed=1) == ("answer", 1)


def test_exception_in_io_leaves_it_and_can_be_handled() -> None:
    async def main() -> Any:
        async def divide() -> None:
            async with io():
                await trio.lowlevel.checkpoint()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await divide()
        await sleep(1)
        send(self_pid(), "scheduler mode again")
        return await receive(timeout=1)

    assert run(main, seed=1) == "scheduler mode again"


def test_exception_out_of_io_is_the_exit_reason() -> None:
    async def body() -> None:
        async with io():
            await trio.lowlevel.checkpoint()
            raise LookupError("lost")

    async def main() -> Any:
        spawn_monitor(body)
        return (await receive(timeout=1)).reason[0]

    assert run(main, seed=1) == ("LookupError", "lost")


# --- receive and cancellation ---------------------------------------------------------------------------------------------


def test_move_on_after_around_receive_moves_on_and_the_process_receives_again() -> None:
    async def main() -> Any:
        async with io():
            with trio.move_on_after(1) as scope:
                await receive()
            assert scope.cancelled_caught
            with pytest.raises(trio.TooSlowError), trio.fail_after(1):
                await receive(str, timeout=10)
            send(self_pid(), "hello")
            return await receive(timeout=1)

    assert run(main, seed=1) == "hello"


@pytest.mark.parametrize("seed", range(10))
def test_cancellation_loses_no_message(seed: int) -> None:
    """Messages come at the very times at which receives are cancelled or time out: each arrives, once and in order."""

    async def sender(to: Pid) -> None:
        for number in range(100):
            await sleep(0.5)
            send(to, number)

    async def main() -> list[Any]:
        got: list[Any] = []
        async with io():
            spawn(sender, self_pid())
            while len(got) < 100:
                with trio.move_on_after(0.5):
                    got.append(await receive())
                with contextlib.suppress(TimeoutError):
                    got.append(await receive(timeout=0.5))
        return got

    assert run(main, seed=seed) == list(range(100))


def test_receive_in_a_cancelled_scope_takes_no_message() -> None:
    async def main() -> Any:
        async with io():
            send(self_pid(), "hello")
            with trio.CancelScope() as scope:
                scope.cancel()
                await receive()
            assert scope.cancelled_caught
            return await receive(timeout=0)

    assert run(main, seed=1) == "hello"


def test_timeout_of_receive_is_not_taken_for_a_cancellation_from_outside() -> None:
    async def main() -> None:
        async with io():
            with trio.move_on_after(1) as scope:
                with pytest.raises(TimeoutError):
                    await receive(timeout=0.5)
                await receive(timeout=5)
            assert scope.cancelled_caught

    run(main, seed=1)


def test_call_that_is_cancelled_leaves_nothing_behind() -> None:
    async def slow() -> None:
        request = await receive(Call)
        await sleep(2)
        reply(request.caller, "late")
        await sleeper()

    async def main() -> None:
        server = spawn(slow)
        async with io():
            with trio.move_on_after(1) as scope:
                await call(server, 1, timeout=None)
            assert scope.cancelled_caught
            assert process_info(server).monitored_by == ()  # type: ignore[union-attr]
            with pytest.raises(TimeoutError):
                await receive(timeout=5)

    run(main, seed=1)


def test_second_task_that_receives_at_the_same_time_is_refused() -> None:
    async def main() -> Any:
        async with io():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(RuntimeError, match="one at a time"):
                    await receive()
                nursery.cancel_scope.cancel()
            send(self_pid(), 1)
            return await receive(timeout=0)

    assert run(main, seed=1) == 1


# --- P6: who one is -------------------------------------------------------------------------------------------------------


def test_p6_child_tasks_and_threads_are_the_process_in_both_modes() -> None:
    async def main() -> None:
        me = self_pid()
        assert await blocking(self_pid) == me
        async with io():
            seen: list[Pid] = []

            async def task() -> None:
                seen.append(self_pid())
                seen.append(await trio.to_thread.run_sync(self_pid))
                async with trio.open_nursery() as inner:
                    inner.start_soon(grandchild)

            async def grandchild() -> None:
                seen.append(self_pid())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)
            seen.append(await blocking(self_pid))
            assert seen == [me] * 4
        assert await blocking(self_pid) == me

    run(main)


def test_p6_exclusions_follow_into_child_tasks() -> None:
    async def body(boss: Pid) -> None:
        async def task() -> None:
            spawn(report, boss)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)

    async def report(boss: Pid) -> None:
        send(boss, process_info(self_pid()).exclusions)  # type: ignore[union-attr]

    async def main() -> Any:
        spawn(body, self_pid(), io=True, exclude=[("port_io", "all")])
        return len(await receive(timeout=5))

    assert run(main, seed=1) == 1


def test_p6_child_task_spawns_and_receives_as_its_process() -> None:
    async def echo(to: Pid) -> None:
        send(to, ("from", self_pid()))

    async def main() -> None:
        async with io():
            got: list[Any] = []

            async def task() -> None:
                pid = spawn_link(echo, self_pid())
                got.append((await receive(timeout=1), pid))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)
            ((message, pid),) = got
            assert message == ("from", pid)

    run(main, seed=1)


def test_p6_each_process_has_its_own_contextvars_in_both_modes() -> None:
    async def body(to: Pid, name: str) -> None:
        setting.set(name)
        for _ in range(5):
            await sleep(0.01)
            assert setting.get() == name
            async with io():
                assert setting.get() == name
                setting.set(name)
                await trio.sleep(0.01)
                assert setting.get() == name
                assert await trio.to_thread.run_sync(setting.get) == name
            assert await blocking(setting.get) == name
        send(to, name)

    async def main() -> None:
        setting.set("main")
        names = [f"process {number}" for number in range(5)]
        for number, name in enumerate(names):
            spawn(body, self_pid(), name, io=number % 2 == 0)
        assert sorted([await receive(timeout=20) for _ in names]) == names
        assert setting.get() == "main"

    run(main)


def test_p6_what_is_set_inside_io_is_there_after_it() -> None:
    async def main() -> str:
        async with io():
            setting.set("inside")
        return setting.get()

    assert run(main, seed=1) == "inside"


# --- blocking -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["scheduler", "trio"])
def test_blocking_returns_raises_and_lets_others_go_on(mode: str) -> None:
    async def body() -> None:
        go = threading.Event()

        def work() -> str:
            assert go.wait(20)
            return threading.current_thread().name

        async def other() -> None:
            go.set()

        spawn(other)
        assert await blocking(work) != threading.current_thread().name
        with pytest.raises(ZeroDivisionError):
            await blocking(lambda: 1 / 0)
        assert await blocking(max, 1, 2) == 2

    async def main() -> None:
        if mode == "trio":
            async with io():
                await body()
        else:
            await body()

    run(main)


def test_messages_that_come_during_blocking_wait_in_the_mailbox() -> None:
    async def main() -> list[Any]:
        go = threading.Event()
        me = self_pid()

        async def other() -> None:
            send(me, 1)
            await sleep(0)
            send(me, 2)
            go.set()

        spawn(other)
        await blocking(go.wait, 20)
        return [await receive(timeout=0), await receive(timeout=0)]

    assert run(main) == [1, 2]


def test_process_that_is_ended_during_blocking_is_down_at_once_and_its_thread_runs_on() -> None:
    go, over = threading.Event(), threading.Event()

    def work(boss: Pid) -> None:
        send(boss, "started")
        go.wait(20)
        over.set()

    async def body(boss: Pid) -> None:
        await blocking(work, boss)

    async def main() -> Any:
        pid, _ = spawn_monitor(body, self_pid())
        assert await receive(timeout=5) == "started"
        exit(pid, "boom")
        reason = (await receive(Down, timeout=5)).reason
        assert not over.is_set()
        go.set()
        assert over.wait(20)
        assert await is_well()
        return reason

    assert run(main) == "boom"


# --- P4: misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: trio.sleep(1),  # noqa: ASYNC105 - awaited by the test
        lambda: trio.lowlevel.checkpoint(),  # noqa: ASYNC105 - awaited by the test
        lambda: trio.to_thread.run_sync(print),
        lambda: trio.open_nursery().__aenter__(),
        lambda: trio.Event().wait(),
    ],
    ids=["sleep", "checkpoint", "thread", "nursery", "event"],
)
def test_p4_trio_outside_io_is_an_error_at_that_call_with_our_note(misuse: Any) -> None:
    async def body() -> None:
        await misuse()

    async def main() -> None:
        _, _ref = spawn_monitor(body)
        (kind, text), stack = (await receive(timeout=5)).reason
        assert kind == "RuntimeError"
        assert "async with io():" in text
        assert any(function == "body" for _, _, function in stack)
        assert await is_well()

    run(main)


def test_p4_cancel_scope_outside_io_is_an_error_at_that_call_with_our_note() -> None:
    async def body() -> None:
        with trio.CancelScope():
            await sleep(1)

    async def main() -> None:
        spawn_monitor(body)
        (kind, text), _ = (await receive(timeout=5)).reason
        assert kind == "RuntimeError"
        assert "async with io():" in text
        assert await is_well()

    run(main)


def test_p4_process_can_handle_the_error_and_go_on() -> None:
    async def main() -> Any:
        with pytest.raises(RuntimeError, match="must be called from async context"):
            await trio.sleep(1)
        assert await is_well()
        return "went on"

    assert run(main) == "went on"


@pytest.mark.parametrize("where", ["in io()", "spawned with io=True"])
def test_p4_foreign_awaitable_in_trio_mode_is_an_error_in_that_process_only(where: str) -> None:
    class Foreign:
        def __await__(self) -> Any:
            yield "what no loop here knows"

    async def body() -> None:
        if where == "in io()":
            async with io():
                await Foreign()
        else:
            await Foreign()

    async def main() -> None:
        spawn_monitor(body, io=where != "in io()")
        assert (await receive(timeout=5)).reason[0][0] in ("TypeError", "RuntimeError")
        assert await is_well()

    run(main)


MISNESTED = """
async def body():
    async with io():
        {opened}
    await sleep(0)

async def echo(boss):
    send(boss, "well")

async def main():
    spawn_monitor(body)
    reason = (await receive(Down, timeout=10)).reason
    for mode in (False, True):
        spawn(echo, self_pid(), io=mode)
        assert await receive(timeout=5) == "well"
    return reason

import logging
logging.disable(logging.CRITICAL)
(kind, text), stack = run(main)
print(kind, "io()" in text)
"""


@pytest.mark.parametrize(
    "opened",
    [
        "scope = trio.CancelScope(); scope.__enter__()",
        "nursery = trio.open_nursery(); await nursery.__aenter__()",
        "nursery = trio.open_nursery(); (await nursery.__aenter__()).start_soon(trio.sleep_forever)",
    ],
    ids=["scope", "nursery", "nursery with a task"],
)
def test_p4_scope_left_open_across_the_end_of_io_is_an_error_in_that_process_only(opened: str, program: Any) -> None:
    done = program(MISNESTED.format(opened=opened))
    assert (done.returncode, done.stdout) == (0, "RuntimeError True\n"), done.stderr


def test_p4_io_opened_inside_and_closed_outside_of_a_scope_is_no_danger_to_the_node(program: Any) -> None:
    done = program("""
        async def body():
            block = io()
            await block.__aenter__()
            with trio.CancelScope():
                await block.__aexit__(None, None, None)
                await sleep(0)

        async def main():
            spawn_monitor(body)
            await receive(Down, timeout=10)
            async with io():
                await trio.sleep(0)
            return "well"

        import logging
        logging.disable(logging.CRITICAL)
        print(run(main))
    """)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_io_outside_a_process_is_a_runtime_error() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="no node runs"):
            async with io():
                pass

    trio.run(main)


def test_receive_of_a_thread_by_way_of_trio_is_an_error_that_says_so() -> None:
    async def take() -> Any:
        return await receive(timeout=0)

    def work() -> None:
        with pytest.raises(RuntimeError, match="not in trio mode"):
            trio.from_thread.run(take)

    async def main() -> None:
        await blocking(work)
        send(self_pid(), "still works")
        assert await receive(timeout=0) == "still works"

    run(main)


def test_receive_of_a_task_that_outlived_the_block_of_io_is_an_error_that_says_so() -> None:
    told: list[str] = []

    async def late() -> None:
        await trio.sleep(1)
        try:
            await receive(timeout=0)
        except RuntimeError as error:
            told.append(str(error))

    async def body(outer: trio.Nursery) -> None:
        async with io():
            outer.start_soon(late)
        await sleep(5)

    async def program() -> None:
        async with node(), trio.open_nursery() as outer:
            spawn(body, outer)
            await trio.sleep(2)

    trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(told) == 1
    assert "not in trio mode (any more)" in told[0]


# --- the private attributes of trio that killing uses ---------------------------------------------------------------------


def test_killed_process_in_trio_mode_loses_its_shields() -> None:
    trace = []

    async def body(boss: Pid) -> None:
        with trio.CancelScope(shield=True):
            send(boss, "ready")
            try:
                await trio.sleep_forever()
            finally:
                trace.append("through")

    async def main() -> None:
        pid, _ = spawn_monitor(body, self_pid(), io=True)
        await receive(timeout=5)
        exit(pid, "kill")
        assert (await receive(Down, timeout=5)).reason == "killed"
        async with io():
            await trio.sleep(0.1)

    run(main, seed=1)
    assert trace == ["through"]


def test_process_that_is_told_to_exit_keeps_its_shields_for_a_while() -> None:
    trace = []

    async def body(boss: Pid) -> None:
        try:
            send(boss, "ready")
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                trace.append("cleaned up")

    async def main() -> None:
        pid, _ = spawn_monitor(body, self_pid(), io=True)
        await receive(timeout=5)
        exit(pid, "boom")
        assert (await receive(Down, timeout=5)).reason == "boom"
        await sleep(2)

    run(main, seed=1)
    assert trace == ["cleaned up"]
