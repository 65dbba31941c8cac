"""P1: a process that computes in pure Python does not stop the others, and nothing of the machinery stays behind."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import caps
from beamlike import (
    Down,
    Pid,
    exit,
    io,
    process_info,
    processes,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_monitor,
)
from beamlike.hot import scheduler
from beamlike.preemption import MOST_LOOPERS, may_be_left


def spin() -> None:
    while True:
        pass


async def endless(boss: Pid) -> None:
    send(boss, "computing")
    spin()


async def ping(boss: Pid, times: int) -> None:
    for number in range(times):
        send(boss, number)
        await sleep(0)


@pytest.mark.parametrize("mode", [False, True])
def test_p1_third_process_gets_its_turns_while_two_compute_for_ever(mode: bool) -> None:
    async def main() -> None:
        for _ in range(2):
            spawn(endless, self_pid(), io=mode)
            assert await receive(timeout=10) == "computing"
        spawn(ping, self_pid(), 5)
        assert [await receive(timeout=10) for _ in range(5)] == [0, 1, 2, 3, 4]

    run(main)


def test_p1_trio_and_timers_go_on_while_one_computes() -> None:
    import trio

    async def main() -> None:
        spawn(endless, self_pid())
        assert await receive(timeout=10) == "computing"
        async with io():
            await trio.sleep(0.01)
            await trio.to_thread.run_sync(threading.Event().wait, 0.01)
        with pytest.raises(TimeoutError):
            await receive(timeout=0.01)

    run(main)


@pytest.mark.parametrize("mode", [False, True])
def test_p1_computation_that_was_interrupted_comes_to_its_right_end(mode: bool) -> None:
    def count(to: int) -> int:
        total = 0
        for number in range(to):
            total += number
        return total

    async def body(boss: Pid) -> None:
        send(boss, ("sum", count(300_000)))

    async def main() -> None:
        for _ in range(4):
            spawn(body, self_pid(), io=mode)
        for _ in range(4):
            assert await receive(timeout=60) == ("sum", 299_999 * 150_000)

    run(main)


def test_p1_many_computing_processes_all_end() -> None:
    async def body(boss: Pid, number: int) -> None:
        total = 0
        for each in range(20_000):
            total += each
        send(boss, number)

    async def main() -> list[Any]:
        for number in range(50):
            spawn(body, self_pid(), number)
        return sorted([await receive(timeout=60) for _ in range(50)])

    assert run(main) == list(range(50))


def test_p1_interrupted_process_counts_reductions_and_can_be_looked_at() -> None:
    async def main() -> None:
        pid = spawn(endless, self_pid())
        await receive(timeout=10)
        while process_info(pid).status != "preempted":  # type: ignore[union-attr]
            await sleep(0)
        assert process_info(pid).reductions >= 4000  # type: ignore[union-attr]

    run(main)


def test_p1_computing_process_has_its_own_contextvars_and_pid_when_it_goes_on() -> None:
    from contextvars import ContextVar

    name: ContextVar[int] = ContextVar("name")

    async def body(boss: Pid, number: int) -> None:
        name.set(number)
        me = self_pid()
        for _ in range(100_000):
            if name.get() != number or self_pid() is not me:
                send(boss, "mixed up")
        send(boss, number)

    async def main() -> list[Any]:
        for number in range(4):
            spawn(body, self_pid(), number)
        return sorted([await receive(timeout=60) for _ in range(4)])

    assert run(main) == [0, 1, 2, 3]


def test_p1_predicate_of_receive_is_never_interrupted() -> None:
    inside = 0
    seen: list[int] = []

    def slow(message: Any) -> bool:
        nonlocal inside
        inside += 1
        for _ in range(300_000):
            pass
        inside -= 1
        return False

    async def watcher() -> None:
        while True:
            seen.append(inside)
            await sleep(0)

    async def main() -> None:
        spawn(watcher)
        for number in range(10):
            send(self_pid(), number)
        with pytest.raises(TimeoutError):
            await receive(slow, timeout=0)
        await sleep(0.01)

    run(main)
    assert set(seen) == {0}


def test_p1_predicate_that_raises_leaves_pre_emption_on() -> None:
    def broken(message: Any) -> bool:
        raise ZeroDivisionError

    async def main() -> None:
        send(self_pid(), 1)
        with pytest.raises(ZeroDivisionError):
            await receive(broken)
        spawn(endless, self_pid())
        assert await receive(lambda message: bool(message == "computing"), timeout=10) == "computing"
        spawn(ping, self_pid(), 3)
        assert await receive(timeout=10) == 1
        assert [await receive(timeout=10) for _ in range(3)] == [0, 1, 2]

    run(main)


def test_p1_finalizer_is_never_interrupted() -> None:
    inside = 0
    seen: list[int] = []

    class Slow:
        def __del__(self) -> None:
            nonlocal inside
            inside += 1
            for _ in range(300_000):
                pass
            inside -= 1

    async def watcher() -> None:
        while True:
            seen.append(inside)
            await sleep(0)

    async def main() -> None:
        spawn(watcher)
        for _ in range(5):
            Slow()
        await sleep(0.01)

    run(main)
    assert set(seen) == {0}


def test_greenlets_of_the_step_loop_are_not_collected_for_ever() -> None:
    async def computer() -> None:
        before = time.thread_time()
        while time.thread_time() - before < 0.03:
            pass

    async def main() -> None:
        for _ in range(4 * MOST_LOOPERS):
            spawn(computer)
        while len(processes()) > 1:
            await sleep(0)
        stepper: Any = scheduler.hooks_or_error().stepper
        assert 0 < len(stepper.loopers) <= MOST_LOOPERS

    run(main)


def test_preempt_false_interrupts_nobody() -> None:
    trace: list[int] = []

    async def body(number: int) -> None:
        for _ in range(20):
            for _ in range(20_000):
                pass
            trace.append(number)

    async def main() -> None:
        spawn_monitor(body, 1)
        spawn_monitor(body, 2)
        await receive(Down)
        await receive(Down)

    run(main, preempt=False)
    assert trace == [1] * 20 + [2] * 20


def test_no_timer_and_no_handler_stays_after_run() -> None:
    async def main() -> None:
        spawn(endless, self_pid())
        await receive(timeout=10)
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[1] > 0

    def handler(signum: int, frame: Any) -> None:
        raise AssertionError("nobody sends it")

    before = signal.signal(signal.SIGVTALRM, handler)
    try:
        run(main)
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGVTALRM) is handler
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_no_timer_stays_after_a_run_that_raised() -> None:
    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


BURN = "import time; end = time.process_time() + 0.1\nwhile time.process_time() < end: pass\nprint('burnt')"


@pytest.mark.parametrize("when", ["after run", "within run"])
def test_program_that_follows_by_exec_is_not_killed_by_the_timer(when: str, program: Any) -> None:
    done = program(f"""
        import os
        def go_on():
            os.execv(sys.executable, [sys.executable, "-c", {BURN!r}])

        async def main():
            if {when!r} == "within run":
                go_on()

        run(main)
        go_on()
    """)
    assert (done.returncode, done.stdout) == (0, "burnt\n"), done.stderr


def test_program_that_a_process_starts_is_not_killed_by_the_timer(program: Any) -> None:
    done = program(f"""
        import subprocess
        async def main():
            return await blocking(lambda: subprocess.run([sys.executable, "-c", {BURN!r}], capture_output=True, text=True))

        done = run(main)
        print(done.returncode, done.stdout, end="")
    """)
    assert (done.returncode, done.stdout) == (0, "0 burnt\n"), done.stderr


def test_off_the_main_thread_there_is_a_warning_and_no_pre_emption_but_it_works() -> None:
    outcome: list[Any] = []

    async def main() -> Any:
        spawn(ping, self_pid(), 3)
        return [await receive(timeout=10) for _ in range(3)]

    def thread() -> None:
        with pytest.warns(RuntimeWarning, match="outside the main thread"):
            outcome.append(run(main))
        outcome.append(run(main, preempt=False))  # not wanted: no warning
        outcome.append(run(main, seed=1))

    runner = threading.Thread(target=thread)
    runner.start()
    runner.join(60)
    assert outcome == [[0, 1, 2]] * 3


def test_computing_process_can_be_killed_and_its_finally_runs() -> None:
    trace = []

    async def body(boss: Pid) -> None:
        try:
            send(boss, "computing")
            spin()
        finally:
            trace.append("finally")

    async def main() -> Any:
        pid, _ = spawn_monitor(body, self_pid())
        await receive(timeout=10)
        exit(pid, "boom")
        reason = (await receive(Down, timeout=10)).reason
        await sleep(0.05)
        return reason

    assert run(main) == "boom"
    assert trace == ["finally"]


def test_main_that_computes_is_interrupted_for_others() -> None:
    trace: list[int] = []

    async def other() -> None:
        trace.append(1)

    async def main() -> None:
        spawn(other)
        while not trace:
            pass

    run(main)
    assert trace == [1]


@pytest.mark.parametrize("name", ["caps/layers.py", "nodes/router.py", "cells/gateway.py", "cells/connection.py"])
def test_code_of_ours_is_not_left_in_the_middle(name: str) -> None:
    assert not may_be_left(str(Path(caps.__file__).parents[1] / name))
