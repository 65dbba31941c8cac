"""Task: a value computed by another process, in both modes; and streams of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from beamlike import (
    CallError,
    CallTimeoutError,
    Down,
    Exit,
    ExitError,
    Pid,
    Stop,
    Task,
    TaskSupervisor,
    exit,
    io,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn,
)
from beamlike.hot import scheduler


async def add(a: int, b: int, seconds: float = 0.0) -> int:
    await sleep(seconds)
    return a + b


async def fail(seconds: float = 0.0) -> None:
    await sleep(seconds)
    raise ValueError("no value")


async def stop(reason: Any) -> None:
    raise Stop(reason)


def in_mode(mode: str, main: Any, seed: int = 11) -> Any:
    """Run a test as a process that traps exits, in scheduler mode or in trio mode."""

    async def body() -> Any:
        process_flag("trap_exit", True)
        if mode == "trio":
            async with io():
                return await main()
        return await main()

    return run(body, seed=seed)


both_modes = pytest.mark.parametrize("mode", ["scheduler", "trio"])


async def mailbox() -> list[Any]:
    """All messages that wait."""
    messages = []
    with contextlib.suppress(TimeoutError):
        while True:
            messages.append(await receive(timeout=0))
    return messages


@both_modes
def test_await_gives_the_value_and_leaves_nothing_in_the_mailbox(mode: str) -> None:
    async def main() -> None:
        task = Task.async_(add, 1, 2, 1.0)
        assert await Task.await_(task) == 3
        await sleep(1)
        assert await mailbox() == []
        assert processes() == [self_pid()]

    in_mode(mode, main)


@both_modes
def test_a_value_that_came_before_it_was_asked_for_is_kept(mode: str) -> None:
    async def main() -> None:
        tasks = [Task.async_(add, i, i, float(10 - i)) for i in range(5)]
        await sleep(100)
        assert [await Task.await_(task) for task in tasks] == [0, 2, 4, 6, 8]

    in_mode(mode, main)


@pytest.mark.parametrize("started_in", ["scheduler", "trio"])
def test_a_task_can_be_awaited_in_the_other_mode(started_in: str) -> None:
    async def main() -> int:
        if started_in == "scheduler":
            task = Task.async_(add, 1, 2, 1.0)
            async with io():
                return int(await Task.await_(task))
        async with io():
            task = Task.async_(add, 1, 2, 1.0)
        return int(await Task.await_(task))

    assert run(main, seed=1) == 3


@both_modes
@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_await_raises_the_reason_of_a_task_that_died(mode: str, seconds: float) -> None:
    async def main() -> None:
        task = Task.async_(fail, 1.0)
        await sleep(seconds)
        with pytest.raises(CallError, match="ValueError: no value") as raised:
            await Task.await_(task)
        assert raised.value.reason[0] == ("ValueError", "no value")
        assert await receive(Exit) == Exit(task.pid, raised.value.reason)

    in_mode(mode, main)


def test_a_task_that_crashes_takes_its_owner_along_unless_that_traps_exits() -> None:
    async def main() -> None:
        await Task.await_(Task.async_(stop, "boom"))

    with pytest.raises(ExitError) as raised:
        run(main, seed=1)
    assert raised.value.reason == "boom"


def test_a_task_ends_with_its_owner() -> None:
    async def main() -> None:
        async def owner(probe: Pid) -> None:
            send(probe, Task.async_(add, 1, 2, 1000.0).pid)
            raise Stop("boom")

        spawn(owner, self_pid())
        pid = await receive(Pid)
        ref = monitor(pid)
        assert (await receive(Down)).ref == ref
        assert scheduler.now() < 1000.0

    in_mode("scheduler", main)


@both_modes
def test_a_value_that_is_late_is_a_timeout_and_can_still_be_awaited(mode: str) -> None:
    async def main() -> None:
        task = Task.async_(add, 1, 2, 7.0)
        begin = scheduler.now()
        with pytest.raises(CallTimeoutError):
            await Task.await_(task)
        assert scheduler.now() - begin == pytest.approx(5.0)
        with pytest.raises(TimeoutError):
            await Task.await_(task, timeout=0)
        assert await Task.await_(task, timeout=None) == 3
        assert scheduler.now() - begin == pytest.approx(7.0)

    in_mode(mode, main)


def test_in_trio_mode_a_cancelled_await_leaves_the_task() -> None:
    async def main() -> None:
        task = Task.async_(add, 1, 2, 7.0)
        with trio.move_on_after(1.0) as scope:
            await Task.await_(task)
        assert scope.cancelled_caught
        assert await Task.await_(task, timeout=10) == 3

    in_mode("trio", main)


def test_only_the_owner_can_await_and_only_once() -> None:
    async def main() -> None:
        async def thief(task: Task, probe: Pid) -> None:
            try:
                await Task.await_(task)
            except RuntimeError as error:
                send(probe, str(error))

        task = Task.async_(add, 1, 2)
        spawn(thief, task, self_pid())
        assert "belongs to" in await receive(str)
        assert await Task.await_(task) == 3
        with pytest.raises(RuntimeError, match="taken before"):
            await Task.await_(task)
        with pytest.raises(TypeError, match="expected a Task"):
            await Task.await_(task.pid)  # type: ignore[arg-type]

    in_mode("scheduler", main)


def test_what_is_no_async_function_crashes_its_task() -> None:
    async def main() -> None:
        task = Task.async_(print)  # type: ignore[arg-type]
        with pytest.raises(CallError, match="async function"):
            await Task.await_(task)

    in_mode("scheduler", main)


def plain(x: int) -> int:
    raise AssertionError("this is not to be run")


def test_a_function_that_is_not_async_is_an_error_of_the_caller() -> None:
    async def main() -> None:
        top = await TaskSupervisor.start_link()
        with pytest.raises(TypeError, match="plain is not async: write `async def plain`"):
            Task.async_(plain, 1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="plain is not async"):
            await anext(Task.stream(plain, [1, 2]))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="plain is not async"):
            await TaskSupervisor.async_nolink(top, plain, 1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="plain is not async"):
            await TaskSupervisor.start_child(top, plain, 1)  # type: ignore[arg-type]
        assert processes() == [self_pid(), top]

    in_mode("scheduler", main)


def test_what_gives_a_coroutine_may_be_a_task() -> None:
    async def main() -> None:
        for fn in (lambda a, b: add(a, b), functools.partial(add, 1), functools.lru_cache(add)):
            assert await Task.async_(fn, *((1, 2) if type(fn) is not functools.partial else (2,))) == 3

    in_mode("scheduler", main)


@both_modes
def test_a_task_can_be_awaited_itself(mode: str) -> None:
    async def main() -> None:
        assert await Task.async_(add, 1, 2) == 3
        with pytest.raises(CallError, match="no value"):
            await Task.async_(fail)

    in_mode(mode, main)


def test_yield_tells_how_it_went_or_none() -> None:
    async def main() -> None:
        task = Task.async_(add, 1, 2, 3.0)
        assert await Task.yield_(task, timeout=1) is None
        assert await Task.yield_(task) == ("ok", 3)
        assert await Task.yield_(Task.async_(stop, "boom")) == ("exit", "boom")

    in_mode("scheduler", main)


def test_shutdown_ends_a_task_and_tells_how_it_went() -> None:
    async def stubborn() -> None:
        process_flag("trap_exit", True)
        while True:
            await receive()

    async def main() -> None:
        assert await Task.shutdown(Task.async_(add, 1, 2, 1000.0)) == ("exit", "shutdown")
        through = Task.async_(add, 1, 2)
        await sleep(1)
        assert await Task.shutdown(through) == ("ok", 3)
        begin = scheduler.now()
        task = Task.async_(stubborn)
        await sleep(1)
        assert await Task.shutdown(task, timeout=2) == ("exit", "killed")
        assert scheduler.now() - begin == pytest.approx(3.0)
        assert processes() == [self_pid()]
        assert await mailbox() == []

    in_mode("scheduler", main)


def test_a_task_knows_on_whose_behalf_it_works() -> None:
    async def callers() -> tuple[Pid, ...]:
        return process_info(self_pid()).callers  # type: ignore[union-attr]

    async def nested() -> Any:
        return await Task.await_(Task.async_(callers)), self_pid()

    async def main() -> None:
        found, middle = await Task.await_(Task.async_(nested))
        assert found == (middle, self_pid())

    in_mode("scheduler", main)


# --- under a supervisor ---


@both_modes
def test_the_crash_of_a_task_under_a_supervisor_is_no_crash_of_its_owner(mode: str) -> None:
    async def main() -> None:
        top = await TaskSupervisor.start_link()
        process_flag("trap_exit", False)
        with pytest.raises(CallError, match="ValueError: no value"):
            await Task.await_(await TaskSupervisor.async_nolink(top, fail))
        assert await Task.await_(await TaskSupervisor.async_nolink(top, add, 1, 2)) == 3
        seven = 7
        assert await Task.await_(await TaskSupervisor.async_nolink(top, lambda: add(seven, 2))) == 9
        assert await mailbox() == []

    in_mode(mode, main)


def test_a_task_under_a_supervisor_goes_on_when_its_owner_ends_and_ends_with_the_supervisor() -> None:
    async def main() -> None:
        async def owner(probe: Pid, top: Pid) -> None:
            send(probe, (await TaskSupervisor.async_nolink(top, add, 1, 2, 1000.0)).pid)
            raise Stop("boom")

        top = await TaskSupervisor.start_link()
        spawn(owner, self_pid(), top)
        pid = await receive(Pid)
        await sleep(10)
        assert pid in processes()
        exit(top, "shutdown")
        await receive(Exit)
        assert pid not in processes()

    in_mode("scheduler", main)


def test_a_task_nobody_awaits_runs_under_its_supervisor() -> None:
    async def main() -> None:
        top = await TaskSupervisor.start_link(max_children=1)
        pid = await TaskSupervisor.start_child(top, tell, self_pid())
        assert await receive(tuple) == ("told by", pid)

    in_mode("scheduler", main)


async def tell(probe: Pid) -> None:
    send(probe, ("told by", self_pid()))


# --- streams ---


async def double(i: int) -> int:
    await sleep(float(10 - i))
    return 2 * i


@both_modes
@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_yields_all_results_in_order_or_as_they_come(mode: str, ordered: bool) -> None:
    async def main() -> None:
        results = [outcome async for outcome in Task.stream(double, range(10), max_concurrency=10, ordered=ordered, timeout=None)]
        expected = [("ok", 2 * i) for i in range(10)]
        assert results == (expected if ordered else expected[::-1])
        assert await mailbox() == []
        assert processes() == [self_pid()]

    in_mode(mode, main)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_has_no_more_tasks_than_allowed_and_takes_no_item_before_its_time(ordered: bool) -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(10):
            taken.append(i)
            yield i

    async def main() -> None:
        count = 0
        async for _ in Task.stream(double, items(), max_concurrency=3, ordered=ordered, timeout=None):
            count += 1
            assert len(taken) <= count + 2
            assert len(processes()) <= 1 + 3
            await sleep(100)
            assert len(taken) <= count + 2
        assert count == 10

    in_mode("scheduler", main)


def test_a_stream_of_nothing_ends() -> None:
    async def main() -> None:
        assert [outcome async for outcome in Task.stream(double, [])] == []

    in_mode("scheduler", main)


@both_modes
@pytest.mark.parametrize("ordered", [True, False])
def test_a_crash_in_a_stream_is_an_exit_for_an_owner_that_traps_exits(mode: str, ordered: bool) -> None:
    async def some_fail(i: int) -> int:
        if i % 2:
            raise Stop(("odd", i))
        return i

    async def main() -> None:
        results = [outcome async for outcome in Task.stream(some_fail, range(4), ordered=ordered)]
        assert sorted(results, key=str) == sorted([("ok", 0), ("exit", ("odd", 1)), ("ok", 2), ("exit", ("odd", 3))], key=str)
        assert await mailbox() == []

    in_mode(mode, main)


@both_modes
@pytest.mark.parametrize("ordered", [True, False])
def test_a_task_of_a_stream_that_takes_too_long_is_killed_or_ends_the_stream(mode: str, ordered: bool) -> None:
    async def main() -> None:
        stream = Task.stream(double, range(4), max_concurrency=4, ordered=ordered, timeout=8.5, on_timeout="kill_task")
        results = [outcome async for outcome in stream]
        expected: list[Any] = [("exit", "timeout"), ("exit", "timeout"), ("ok", 4), ("ok", 6)]
        assert results == (expected if ordered else [("ok", 6), ("ok", 4), *expected[:2]])
        assert processes() == [self_pid()]
        with pytest.raises(CallTimeoutError):
            [outcome async for outcome in Task.stream(double, range(4), max_concurrency=4, ordered=ordered, timeout=8.5)]
        assert processes() == [self_pid()]
        assert await mailbox() == []

    in_mode(mode, main)


@both_modes
def test_a_stream_that_is_given_up_kills_what_is_at_work(mode: str) -> None:
    async def main() -> None:
        async with contextlib.aclosing(Task.stream(double, range(10), max_concurrency=4, ordered=False, timeout=None)) as stream:
            async for _ in stream:
                break
        assert processes() == [self_pid()]
        assert await mailbox() == []

    in_mode(mode, main)


def test_a_stream_that_is_dropped_kills_what_is_at_work() -> None:
    async def main() -> None:
        async for _ in Task.stream(double, range(10), max_concurrency=4, timeout=None):
            break
        await sleep(0)
        assert processes() == [self_pid()]

    in_mode("scheduler", main)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_concurrency": 0}, ValueError),
        ({"max_concurrency": 1.5}, ValueError),
        ({"on_timeout": "kill"}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"ordered": "x"}, TypeError),
        ({"items": 5}, TypeError),
    ],
)
def test_a_wrong_option_of_a_stream_is_an_error(options: Any, error: type[Exception]) -> None:
    async def main() -> None:
        ((name, value),) = options.items()
        with pytest.raises(error, match=f"{name}.*{value!r}"):
            [outcome async for outcome in Task.stream(double, **{"items": [1], **options})]

    in_mode("scheduler", main)
