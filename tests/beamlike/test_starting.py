"""How behaviours start: the starter learns what came of init, by the return and by nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from beamlike import (
    IGNORE,
    BadNameError,
    CallError,
    Exit,
    ExitError,
    Pid,
    Stop,
    call,
    exit,
    monitor,
    node,
    process_flag,
    process_info,
    processes,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_monitor,
    whereis,
)
from beamlike.behaviours import starting
from beamlike.behaviours.starting import Started, start_behaviour


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("beamlike.crash").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike.crash").setLevel(logging.NOTSET)


class InitError(Exception):
    pass


async def ready(started: Started, *args: Any) -> None:
    started.ok()
    await receive()


async def failing(started: Started, error: Any) -> None:
    raise error


def forgetful(started: Started) -> None:
    started.ok()


async def declining(started: Started) -> None:
    started.ignore()


async def stuck(started: Started) -> None:
    await receive()


async def returning(started: Started) -> None:
    """Forgets both."""


def in_each_mode(main: Any) -> None:
    """Run it as a process in scheduler mode, and as the block of `async with node():`."""
    run(main, seed=1)

    async def block() -> None:
        async with node():
            await main()

    trio.run(block, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_starter_gets_the_pid_when_init_is_done() -> None:
    async def main() -> None:
        pid = await start_behaviour(ready, name="it")
        assert whereis("it") == pid
        info = process_info(self_pid())
        assert info is not None
        assert pid in info.links

    in_each_mode(main)


def test_without_link_there_is_no_link() -> None:
    async def main() -> None:
        pid = await start_behaviour(ready, link=False)
        info = process_info(pid)
        assert info is not None
        assert info.links == ()
        exit(pid, "kill")

    in_each_mode(main)


@pytest.mark.parametrize("traps", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_the_starter_gets_the_very_exception_of_init_and_no_signal(traps: bool, link: bool) -> None:
    async def main() -> None:
        process_flag("trap_exit", traps)
        error = InitError("no disk")
        with pytest.raises(InitError) as caught:
            await start_behaviour(failing, error, link=link)
        assert caught.value is error
        assert error.__cause__ is None
        assert error.__context__ is None
        info = process_info(self_pid())
        assert info is not None
        assert (info.links, info.mailbox_length) == ((), 0)

    in_each_mode(main)


@pytest.mark.parametrize(("body", "told"), [(5, "expects an async function.*not 5"), (forgetful, "forgetful is not async")])
def test_a_body_that_is_no_async_function_is_an_error_of_the_caller(body: Any, told: str) -> None:
    async def main() -> None:
        before = processes()
        with pytest.raises(TypeError, match=told):
            await start_behaviour(body)
        assert processes() == before

    in_each_mode(main)


def test_the_name_is_free_before_the_starter_is_told() -> None:
    async def main() -> None:
        for _ in range(3):
            with pytest.raises(InitError):
                await start_behaviour(failing, InitError(), name="it")
            assert whereis("it") is None

    in_each_mode(main)


def test_a_name_that_is_taken_is_an_error_of_the_caller() -> None:
    async def main() -> None:
        await start_behaviour(ready, name="it")
        with pytest.raises(BadNameError):
            await start_behaviour(ready, name="it")

    in_each_mode(main)


def test_one_that_declines_is_no_error_and_has_ended_normally() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        assert await start_behaviour(declining, name="it") is IGNORE
        assert whereis("it") is None
        with pytest.raises(TimeoutError):
            await receive(timeout=0)

    in_each_mode(main)


@pytest.mark.parametrize("reason", ["normal", "shutdown", ("bad", 1)])
def test_stop_in_init_does_not_stop_the_starter(reason: Any) -> None:
    async def main() -> None:
        with pytest.raises(ExitError) as caught:
            await start_behaviour(failing, Stop(reason))
        assert caught.value.reason == reason

    in_each_mode(main)


def test_one_that_ends_without_a_word_is_an_error() -> None:
    async def main() -> None:
        with pytest.raises(ExitError, match=r"test_starting:returning .* ended before it was ready: normal") as caught:
            await start_behaviour(returning)
        assert caught.value.reason == "normal"

    in_each_mode(main)


@pytest.mark.parametrize("traps", [False, True])
@pytest.mark.parametrize(("sent", "reason"), [("kill", "killed"), ("boom", "boom")])
def test_an_exit_signal_during_init_is_told_with_its_reason(traps: bool, sent: str, reason: str) -> None:
    async def assassin() -> None:
        while (victim := whereis("victim")) is None:
            await sleep(0)
        exit(victim, sent)

    async def main() -> None:
        process_flag("trap_exit", traps)
        spawn(assassin)
        with pytest.raises(ExitError) as caught:
            await start_behaviour(stuck, name="victim")
        assert caught.value.reason == reason
        with pytest.raises(TimeoutError):
            await receive(timeout=0)

    in_each_mode(main)


def test_a_timeout_kills_the_child() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        with pytest.raises(TimeoutError, match=r"not ready in 2\.5 s"):
            await start_behaviour(stuck, name="it", timeout=2.5)
        assert whereis("it") is None
        with pytest.raises(TimeoutError):
            await receive(timeout=0)

    in_each_mode(main)


def test_a_start_that_is_cancelled_kills_the_child() -> None:
    async def main() -> None:
        async with node():
            with trio.move_on_after(1) as scope:
                await start_behaviour(stuck, name="it")
            assert scope.cancelled_caught
            assert whereis("it") is None

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("link", [False, True])
def test_a_starter_that_ends_takes_the_child_with_it(link: bool) -> None:
    async def starter() -> None:
        await start_behaviour(stuck, name="it", link=link)

    async def main() -> None:
        pid, _ = spawn_monitor(starter)
        while (child := whereis("it")) is None:
            await sleep(0)
        monitor(child)
        exit(pid, "boom")
        assert (await receive()).reason == "boom"
        assert (await receive()).object == child
        assert whereis("it") is None

    run(main, seed=1)


def test_after_the_start_the_link_is_an_ordinary_one() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        pid = await start_behaviour(ready)
        exit(pid, "boom")
        assert await receive() == Exit(pid, "boom")

    in_each_mode(main)


def test_the_starters_mailbox_is_neither_read_nor_searched() -> None:
    async def main() -> None:
        for number in range(100_000):
            send(self_pid(), number)
        for _ in range(1000):
            await start_behaviour(declining)
        info = process_info(self_pid())
        assert info is not None
        assert info.mailbox_length == 100_000
        assert await receive() == 0

    run(main, seed=1)


def test_a_child_whose_init_calls_its_starter_fails_at_once() -> None:
    async def calling(started: Started, starter: Pid) -> None:
        await call(starter, "hello")

    async def main() -> None:
        with pytest.raises(CallError) as caught:
            await start_behaviour(calling, self_pid())
        assert caught.value.reason[0] == "calling_itself"

    run(main, seed=1)


def test_starts_are_right_while_processes_are_preempted() -> None:
    async def busy() -> None:
        while True:
            sum(range(1000))

    async def main() -> None:
        spawn(busy)
        for number in range(20):
            if number % 2:
                assert type(await start_behaviour(ready)) is Pid
            else:
                with pytest.raises(InitError):
                    await start_behaviour(failing, InitError())

    run(main)


def test_child_that_gets_ready_after_the_wait_for_it_and_before_its_end_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A starter may be pre-empted between the two; here it sleeps there."""

    async def slow(started: Started) -> None:
        await sleep(1.5)
        started.ok()
        await receive()

    async def main() -> None:
        pid = await start_behaviour(slow, name="it", timeout=1)
        assert whereis("it") == pid

    for wait in ("_wait_stepped", "_wait_in_trio"):
        original = getattr(starting, wait)

        async def then_sleep(start: Any, original: Any = original) -> Any:
            answer = await original(start)
            await sleep(1)
            return answer

        monkeypatch.setattr(starting, wait, then_sleep)
    in_each_mode(main)
