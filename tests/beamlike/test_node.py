"""`run` and `node`: results, ends, signals of the terminal, and runs that can be repeated."""

from __future__ import annotations

import colorsys
import contextlib
import gc
import math
import os
import re
import signal
import subprocess
import sys
import threading
from textwrap import dedent
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from beamlike import (
    Down,
    Exit,
    ExitError,
    Pid,
    Stop,
    blocking,
    call,
    exit,
    garbage,
    io,
    link,
    monitor,
    node,
    process_flag,
    process_info,
    processes,
    receive,
    register,
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
from beamlike.hot import scheduler
from beamlike.hot.calls import Call
from beamlike.hot.scheduler import now
from beamlike.node import GRACE


async def sleeper() -> None:
    await sleep(float("inf"))


async def echo() -> None:
    while True:
        sender, message = await receive()
        send(sender, message)


# --- run: how main ends ---------------------------------------------------------------------------------------------------


def test_run_returns_what_main_returned() -> None:
    async def main(*args: Any) -> Any:
        return args

    assert run(main) == ()
    assert run(main, 1, [2]) == (1, [2])
    assert run(main, "seeded", seed=1) == ("seeded",)


def test_result_of_main_needs_not_be_a_message() -> None:
    async def main() -> Any:
        return lambda: 5

    assert run(main)() == 5


@pytest.mark.parametrize("error", [ValueError("text"), SystemExit(3), KeyboardInterrupt(), ExceptionGroup("group", [ValueError()])])
@pytest.mark.parametrize("mode", ["scheduler", "trio"])
def test_run_raises_what_main_raised(error: BaseException, mode: str) -> None:
    async def main() -> None:
        if mode == "trio":
            async with io():
                await trio.lowlevel.checkpoint()
                raise error
        raise error

    with pytest.raises(type(error)) as raised:
        run(main)
    assert raised.value is error


class HostileError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError


def test_run_raises_an_exception_whose_str_and_repr_raise() -> None:
    async def main() -> None:
        raise HostileError

    with pytest.raises(HostileError):
        run(main)


def test_traceback_of_what_main_raised_leads_to_the_line() -> None:
    async def main() -> None:
        raise LookupError

    with pytest.raises(LookupError) as raised:
        run(main)
    assert raised.traceback[-1].name == "main"


@pytest.mark.parametrize("reason", ["boom", "killed", ("shutdown", 1)])
def test_exit_signal_that_ends_main_is_an_exit_error_with_its_reason(reason: Any) -> None:
    async def killer(victim: Pid) -> None:
        exit(victim, "kill" if reason == "killed" else reason)

    async def main() -> None:
        spawn(killer, self_pid())
        await receive()

    with pytest.raises(ExitError) as raised:
        run(main)
    assert raised.value.reason == reason


def test_linked_process_that_crashes_ends_main() -> None:
    async def crashing() -> None:
        raise LookupError("lost")

    async def main() -> None:
        spawn_link(crashing)
        await receive()

    with pytest.raises(ExitError, match="lost") as raised:
        run(main)
    assert raised.value.reason[0] == ("LookupError", "lost")


@pytest.mark.parametrize("how", ["Stop", "exit"])
def test_main_that_ends_itself_with_normal_is_no_error(how: str) -> None:
    async def main() -> None:
        if how == "Stop":
            raise Stop("normal")
        exit(self_pid(), "normal")

    assert run(main) is None


@pytest.mark.parametrize("how", ["Stop", "exit"])
def test_main_that_ends_itself_with_a_reason_is_an_exit_error(how: str) -> None:
    async def main() -> None:
        if how == "Stop":
            raise Stop("out of paper")
        exit(self_pid(), "out of paper")

    with pytest.raises(ExitError) as raised:
        run(main)
    assert raised.value.reason == "out of paper"


def test_exit_signal_counts_more_than_what_main_raises_in_finally() -> None:
    async def killer(victim: Pid) -> None:
        exit(victim, "boom")

    async def main() -> None:
        spawn(killer, self_pid())
        try:
            await receive()
        finally:
            raise ValueError("in finally")

    with pytest.raises(ExitError) as raised:
        run(main)
    assert raised.value.reason == "boom"


def test_exit_signal_counts_more_than_what_a_main_that_swallows_returns() -> None:
    async def killer(victim: Pid) -> None:
        exit(victim, "boom")

    async def main() -> str:
        spawn(killer, self_pid())
        with contextlib.suppress(BaseException):
            await receive()
        return "swallowed"

    with pytest.raises(ExitError):
        run(main)


# --- run: misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("main", [5, None, "main"])
def test_run_of_what_is_no_function_is_a_type_error(main: Any) -> None:
    with pytest.raises(TypeError, match=repr(main)):
        run(main)


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"seed": "x"}, TypeError),
        ({"seed": 1.5}, TypeError),
        ({"seed": True}, TypeError),
        ({"preempt": "no"}, TypeError),
        ({"name": 5}, TypeError),
        ({"name": ""}, ValueError),
        ({"name": "@machine"}, ValueError),
        ({"name": "name@"}, ValueError),
    ],
)
def test_wrong_option_of_run_is_refused_before_anything_runs(option: Any, error: Any) -> None:
    (wrong,) = option.values()
    with pytest.raises(error, match=re.escape(repr(wrong))):
        run(sleeper, **option)


def test_run_of_a_plain_function_is_a_type_error() -> None:
    def main() -> int:
        return 1

    with pytest.raises(TypeError, match="async def"):
        run(main)  # type: ignore[arg-type]


def test_run_of_a_coroutine_is_a_type_error_that_says_what_to_write() -> None:
    coro = echo()
    with pytest.raises(TypeError, match="async function"):
        run(coro)  # type: ignore[arg-type]
    coro.close()


def test_nested_run_is_a_runtime_error_and_harms_nothing() -> None:
    async def main() -> Any:
        with pytest.raises(RuntimeError):
            run(sleeper)
        async with io():
            with pytest.raises(RuntimeError):
                run(sleeper)
            with pytest.raises(RuntimeError, match="one node an interpreter"):
                async with node():
                    pass
        spawn(echo, name="echo")
        send("echo", (self_pid(), "well"))
        return await receive(timeout=5)

    assert run(main) == "well"


def test_run_in_another_thread_while_a_node_runs_is_a_runtime_error_and_harms_nothing() -> None:
    def second() -> None:
        with pytest.raises(RuntimeError, match="one node an interpreter"):
            run(sleeper, preempt=False)

    async def main() -> Any:
        await blocking(second)
        spawn(echo, name="echo")
        send("echo", (self_pid(), "well"))
        return await receive(timeout=5)

    assert run(main) == "well"


# --- the end of a run -----------------------------------------------------------------------------------------------------


def test_processes_that_are_left_get_shutdown_and_are_gone() -> None:
    trace: list[Any] = []

    async def trapping() -> None:
        process_flag("trap_exit", True)
        trace.append((await receive()).reason)

    async def plain() -> None:
        try:
            await receive()
        finally:
            trace.append("finally")

    async def in_trio() -> None:
        try:
            await trio.sleep_forever()
        finally:
            trace.append("finally in trio")

    async def main() -> None:
        spawn(trapping)
        spawn(plain)
        spawn(in_trio, io=True)
        await sleep(1)

    run(main, seed=1)
    assert sorted(trace) == ["finally", "finally in trio", "shutdown"]


def test_process_that_traps_and_does_not_end_is_killed_after_a_second() -> None:
    times: list[float] = []

    async def deaf() -> None:
        process_flag("trap_exit", True)
        try:
            while True:
                await receive()
        finally:
            times.append(now())

    async def main() -> None:
        spawn(deaf)
        await sleep(1)
        times.append(now())

    run(main, seed=1)
    assert times[1] - times[0] == pytest.approx(1)


def test_processes_are_stopped_after_a_main_that_raised() -> None:
    trace: list[str] = []

    async def plain() -> None:
        try:
            await receive()
        finally:
            trace.append("stopped")

    async def main() -> None:
        spawn(plain)
        await sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        run(main)
    assert trace == ["stopped"]


def test_one_that_starts_its_successor_for_ever_is_killed_after_a_second() -> None:
    times: list[float] = []

    async def job() -> None:
        process_flag("trap_exit", True)
        times.append(now())
        await sleep(0.4)
        spawn(job)

    async def main() -> None:
        spawn(job)
        await sleep(1)
        times.append(now())

    run(main, seed=1)
    assert len(times) == 3 + 1 + 2


@pytest.mark.parametrize("at_the_end", ["tells all goodbye", "kills all"])
def test_nothing_that_processes_do_keeps_the_node_from_stopping_in_order(at_the_end: str) -> None:
    trace: list[str] = []

    async def last_deed() -> None:
        process_flag("trap_exit", True)
        await receive(Exit)
        for pid in set(processes()) - {self_pid()}:
            if at_the_end == "kills all":
                exit(pid, "kill")
            else:
                send(pid, "goodbye")
        try:
            await receive(bytes)
        finally:
            trace.append("last deed unwound")

    async def careful(name: str) -> None:
        process_flag("trap_exit", True)
        try:
            await receive(Exit)
            await sleep(0.2)
            trace.append(f"{name} ended")
            while name == "deaf":
                await receive()
        finally:
            trace.append(f"{name} unwound")

    async def main() -> None:
        spawn(last_deed)
        spawn(careful, "polite")
        spawn(careful, "deaf")
        await sleep(1)

    run(main, seed=1)
    ended = ["deaf ended", "polite ended"] if at_the_end == "tells all goodbye" else []
    assert sorted(trace) == sorted([*ended, "deaf unwound", "polite unwound", "last deed unwound"])


def test_process_spawned_while_the_node_stops_is_stopped_too() -> None:
    trace: list[str] = []

    async def late() -> None:
        try:
            await receive()
        finally:
            trace.append("late one stopped")

    async def trapping() -> None:
        process_flag("trap_exit", True)
        await receive()
        spawn(late)
        await sleep(0.1)

    async def main() -> None:
        spawn(trapping)
        await sleep(1)

    run(main, seed=1)
    assert trace == ["late one stopped"]


def test_runs_follow_each_other_with_nothing_left_of_the_one_before() -> None:
    async def main() -> Any:
        assert processes() == [self_pid()]
        spawn(sleeper, name="same name")
        send_after(1000, self_pid(), "never")
        spawn(echo, io=True)
        return self_pid()

    pids = [run(main) for _ in range(3)] + [run(main, seed=1) for _ in range(3)]
    assert len(set(pids)) == 6
    assert {pid.serial for pid in pids} == {pids[0].serial}


def test_run_after_a_run_that_raised() -> None:
    async def bad() -> None:
        spawn(sleeper)
        raise LookupError

    async def good() -> int:
        return len(processes())

    with pytest.raises(LookupError):
        run(bad)
    assert run(good) == 1


def test_run_works_after_one_in_another_thread() -> None:
    async def main() -> str:
        return "done"

    outcome: list[str] = []
    thread = threading.Thread(target=lambda: outcome.append(run(main, preempt=False)))
    thread.start()
    thread.join(30)
    assert [*outcome, run(main)] == ["done", "done"]


def test_name_of_the_node_is_in_its_pids() -> None:
    async def main() -> str:
        return self_pid().node

    assert run(main).startswith("main@")
    assert run(main, name="alpha").startswith("alpha@")
    assert run(main, name="alpha@machine") == "alpha@machine"


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------------

INTERRUPTED = """
import os
async def worker(name):
    try:
        await receive()
    finally:
        print("end of", name, flush=True)

async def main():
    spawn(worker, "worker")
    try:
        await sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        {waits}
    finally:
        print("end of main", flush=True)

try:
    run(main)
except KeyboardInterrupt:
    print("interrupted")
    {then}
"""


@pytest.mark.parametrize(
    "waits",
    [
        "await receive()",
        "while True: pass",
        "while True: await sleep(0)",
        "process_flag('trap_exit', True); await receive(); await receive()",
        "\n        async with io(): await trio.sleep_forever()",
        "\n        async with io():\n            while True: pass",
        "await blocking(threading.Event().wait, 100)",
    ],
    ids=["waits", "computes", "busy", "traps exits", "in trio mode", "computes in trio mode", "in a thread"],
)
def test_ctrl_c_ends_main_then_the_others_and_raises_keyboard_interrupt(waits: str, program: Any) -> None:
    done = program(INTERRUPTED.format(waits=waits, then="sys.exit(130)"))
    *ends, last = done.stdout.splitlines() or [""]
    ends.sort()  # either may be pre-empted in its `finally`, and in trio mode trio unwinds it, beside the scheduler
    assert (done.returncode, ends, last) == (130, ["end of main", "end of worker"], "interrupted"), done.stderr


def test_ctrl_c_that_nobody_catches_ends_the_program_as_the_shell_expects(program: Any) -> None:
    """Python ends itself by SIGINT then: a shell shows 130."""
    done = program(INTERRUPTED.format(waits="await receive()", then="raise"))
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_second_ctrl_c_does_not_wait(program: Any) -> None:
    done = program("""
        import os
        async def deaf(boss):
            process_flag("trap_exit", True)
            send(boss, "ready")
            await receive()  # shutdown
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                await receive()

        async def main():
            spawn(deaf, self_pid())
            await receive()
            os.kill(os.getpid(), signal.SIGINT)
            await receive()

        sys.modules["beamlike.node"].GRACE = 1000
        try:
            run(main)
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


TERMINATED = """
import atexit, os
async def worker(name):
    process_flag("trap_exit", True)
    try:
        while True:
            await receive()
            {then}
    finally:
        print("end of", name)

async def main():
    spawn(worker, "worker")
    try:
        await sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await receive()
    finally:
        print("end of main")

atexit.register(print, "atexit")
try:
    run(main)
finally:
    print("finally", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


def test_sigterm_ends_main_then_the_others_and_the_exit_status_is_143(program: Any) -> None:
    done = program(TERMINATED.format(then="return"))
    assert (done.returncode, done.stderr) == (143, "")
    assert done.stdout.splitlines() == ["end of main", "end of worker", "finally True", "atexit"]


def test_second_sigterm_does_not_wait(program: Any) -> None:
    again = "os.kill(os.getpid(), signal.SIGTERM)"
    done = program('sys.modules["beamlike.node"].GRACE = 1000\n' + TERMINATED.format(then=again))
    assert (done.returncode, done.stderr) == (143, "")


def test_programs_own_handler_of_sigterm_is_left_alone(program: Any) -> None:
    done = program("""
        import os
        signal.signal(signal.SIGTERM, lambda *_: print("mine"))
        async def main():
            os.kill(os.getpid(), signal.SIGTERM)
            await sleep(0)
            return "went on"
        print(run(main))
    """)
    assert (done.returncode, done.stdout) == (0, "mine\nwent on\n"), done.stderr


def test_handler_that_the_program_sets_while_it_runs_is_kept(program: Any) -> None:
    done = program("""
        def mine(*_):
            pass
        async def main():
            signal.signal(signal.SIGTERM, mine)
        run(main)
        print(signal.getsignal(signal.SIGTERM) is mine)
    """)
    assert done.stdout == "True\n", done.stderr


def test_error_of_main_is_reported_when_a_signal_comes_while_the_node_stops(program: Any) -> None:
    done = program("""
        import os
        class Slow(GenServer):
            async def init(self):
                process_flag("trap_exit", True)
            async def terminate(self, reason):
                os.kill(os.getpid(), signal.SIGTERM)
                await sleep(0.01)
        async def main():
            server = await Slow.start_link()
            unlink(server)
            raise ValueError("what main raised")
        run(main)
    """)
    assert done.returncode == 143
    assert "ValueError: what main raised" in done.stderr


def test_m6_pid_of_a_node_that_stopped_in_disorder_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: Any) -> None:
        raise RuntimeError("the node cannot stop")

    old: list[Any] = []
    unwound: list[str] = []

    async def waits() -> None:
        try:
            await receive()
        finally:
            unwound.append("outside of any process")

    async def broken() -> None:
        old.append(spawn(waits))
        await sleep(0)

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["beamlike.node"].Node, "_stop", fails)  # `beamlike.node` is the function
        with pytest.raises(RuntimeError, match="cannot stop"):
            run(broken)

    async def main() -> None:
        send(old[0], "wake up")
        await sleep(0)
        assert processes() == [self_pid()]

    assert old[0].process is None
    run(main)
    gc.collect()
    assert unwound == []


def test_handler_of_ctrl_c_is_as_before_after_a_run() -> None:
    async def main() -> None:
        pass

    before = signal.getsignal(signal.SIGINT)
    run(main)
    assert signal.getsignal(signal.SIGINT) is before


def test_system_exit_of_main_is_the_exit_status(program: Any) -> None:
    done = program("""
        async def main():
            spawn(receive_for_ever)
            sys.exit(7)

        async def receive_for_ever():
            await receive()

        run(main)
    """)
    assert (done.returncode, done.stderr) == (7, "")


# --- deterministic mode ---------------------------------------------------------------------------------------------------


def trace_of(seed: int) -> list[Any]:
    trace: list[Any] = []

    async def worker(number: int, peers: int) -> None:
        for turn in range(5):
            trace.append((number, turn, now()))
            await sleep(0 if turn % 2 else 0.5 * (number % 3))

    async def main() -> None:
        refs = {spawn_monitor(worker, number, 10)[1] for number in range(10)}
        while refs:
            refs.discard((await receive(Down)).ref)
        trace.append(now())

    run(main, seed=seed)
    return trace


def test_same_seed_gives_the_same_trace() -> None:
    assert trace_of(42) == trace_of(42)


def test_different_seeds_give_different_traces() -> None:
    assert len({str(trace_of(seed)) for seed in range(5)}) == 5


def test_same_seed_gives_the_same_trace_in_another_interpreter() -> None:
    """Though there the hashes are others, and so the order of sets."""
    source = """
        from beamlike import *
        trace = []
        async def worker(number):
            for turn in range(5):
                trace.append((number, turn))
                await sleep(0.1 * (turn % 2))

        async def crash(number):
            await sleep(0.05)
            raise Stop(number)

        async def main():
            process_flag("trap_exit", True)
            for number in range(10):
                spawn_link(worker, number)
                spawn_link(crash, number)
            for _ in range(20):
                trace.append((await receive()).reason)

        run(main, seed=7)
        print(trace)
    """
    first, second = (
        subprocess.run(
            [sys.executable, "-c", dedent(source)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            timeout=60,
        )
        for hashes in ("1", "2")
    )
    assert first.returncode == 0, first.stderr
    assert "'normal'" in first.stdout
    assert first.stdout == second.stdout


# --- node() ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [lambda pid: receive(), lambda pid: call(pid, 1, timeout=None), lambda pid: sleep(math.inf)])
def test_when_all_wait_for_ever_main_is_told_who_waits_for_what(wait: Any) -> None:
    trace = []

    async def worker() -> None:
        process_flag("label", "the one")
        await receive(("never",))

    async def main() -> None:
        pid = spawn(worker, name="worker")
        send(pid, 1)
        send(pid, 2)
        try:
            await wait(pid)
        finally:
            trace.append("finally")

    with pytest.raises(RuntimeError, match="every process waits") as raised:
        run(main, seed=1)
    _, about_main, about_worker = str(raised.value).splitlines()
    assert re.search(r"main@.*, started as .*main: (receiving|waiting) in .*main, line \d+, 0 message", about_main)
    assert re.search(r" 'worker' \['the one'\], started as .*worker: receiving in .*worker, line \d+, [23] message", about_worker)
    assert trace == ["finally"]


def test_nobody_waits_for_ever_while_one_is_in_trio_mode_or_in_a_thread() -> None:
    async def in_trio(boss: Pid) -> None:
        async with io():
            for _ in range(10):
                await trio.lowlevel.checkpoint()
        send(boss, await blocking(lambda: "from a thread"))

    async def main() -> Any:
        spawn(in_trio, self_pid())
        first = await receive()
        thread = threading.Thread(target=send, args=(self_pid(), "from a thread of the program's"))
        thread.start()
        return first, await receive()

    assert run(main, seed=1) == ("from a thread", "from a thread of the program's")


def test_node_makes_a_process_of_a_block_of_a_trio_program() -> None:
    async def program() -> Any:
        async with node() as pid:
            assert pid == self_pid()
            with trio.move_on_after(0.01):
                await receive()
            child = spawn(echo)
            send(child, (pid, "hello"))
            return await receive(timeout=5)

    assert trio.run(program) == "hello"


def test_everything_works_in_the_block_of_node() -> None:
    async def server() -> None:
        request = await receive(Call)
        reply(request.caller, request.request * 2)

    async def program() -> None:
        async with node(name="embedded"):
            process_flag("trap_exit", True)
            assert self_pid().node.startswith("embedded@")
            assert await call(spawn(server), 21) == 42
            child = spawn_link(sleeper)
            exit(child, "boom")
            assert await receive(timeout=5) == Exit(child, "boom")
            async with io():
                await trio.lowlevel.checkpoint()
            seen: list[Pid] = []

            async def task() -> None:
                seen.append(self_pid())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)
            assert seen == [self_pid()]
            assert await blocking(self_pid) == self_pid()
            await sleep(0)
            assert process_info(self_pid()) is not None

    trio.run(program)


def test_node_works_with_a_mock_clock_that_jumps() -> None:
    async def program() -> float:
        async with node():
            start = trio.current_time()
            send_after(1000, self_pid(), "later")
            assert await receive() == "later"
            with pytest.raises(TimeoutError):
                await receive(timeout=1000)

            async def napper(boss: Pid) -> None:
                await sleep(1000)
                send(boss, "awake")

            spawn(napper, self_pid())
            assert await receive(timeout=2000) == "awake"
            return trio.current_time() - start

    assert trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0)) == pytest.approx(3000)


async def test_node_works_in_a_pytest_trio_test(autojump_clock: trio.testing.MockClock) -> None:
    async with node(preempt=False):
        spawn(echo, name="echo")
        send("echo", (self_pid(), "hello"))
        await sleep(100)
        assert await receive(timeout=0) == "hello"


def test_exception_of_the_block_comes_out_as_it_is_and_links_see_it() -> None:
    seen: list[Any] = []

    async def linked(boss: Pid) -> None:
        process_flag("trap_exit", True)
        link(boss)
        send(boss, "linked")
        seen.append((await receive()).reason)

    async def program() -> None:
        async with node() as pid:
            spawn(linked, pid)
            await receive(timeout=5)
            raise LookupError("lost")

    with pytest.raises(LookupError):
        trio.run(program)
    assert [reason[0] for reason in seen] == [("LookupError", "lost")]


@pytest.mark.parametrize("reason", ["kill", "boom"])
def test_exit_signal_to_the_block_cancels_it_and_is_an_exit_error(reason: str) -> None:
    trace: list[str] = []

    async def killer(victim: Pid) -> None:
        exit(victim, reason)

    async def program() -> None:
        async with node() as pid:
            spawn(killer, pid)
            try:
                await trio.sleep_forever()
            finally:
                trace.append("finally")

    with pytest.raises(ExitError) as raised:
        trio.run(program)
    assert raised.value.reason == ("killed" if reason == "kill" else reason)
    assert trace == ["finally"]


def test_processes_of_a_node_are_stopped_at_the_end_of_the_block() -> None:
    trace: list[str] = []

    async def plain() -> None:
        try:
            await receive()
        finally:
            trace.append("stopped")

    async def program() -> None:
        async with node():
            spawn(plain)
            await sleep(0.01)
        assert trace == ["stopped"]
        with pytest.raises(RuntimeError, match="no node runs"):
            spawn(plain)
        async with node():
            assert len(processes()) == 1

    trio.run(program)


def test_cancellation_from_outside_ends_the_node() -> None:
    async def program() -> bool:
        with trio.move_on_after(0.05) as scope:
            async with node():
                spawn(sleeper)
                await receive()
        return scope.cancelled_caught

    assert trio.run(program)


def test_nodes_of_one_trio_program_exclude_each_other() -> None:
    async def program() -> None:
        async with node():
            with pytest.raises(RuntimeError, match="one node an interpreter"):
                async with node():
                    pass
            await sleep(0)

    trio.run(program)


def test_node_with_a_seed_repeats_its_order() -> None:
    def trace() -> list[int]:
        order: list[int] = []

        async def worker(number: int) -> None:
            for _ in range(3):
                order.append(number)
                await sleep(0)

        async def program() -> None:
            async with node(seed=5):
                refs = {spawn_monitor(worker, number)[1] for number in range(6)}
                while refs:
                    refs.discard((await receive(Down)).ref)

        trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))
        return order

    first = trace()
    assert first == trace()
    assert first != sorted(first)


def test_error_in_a_hook_of_the_node_ends_the_run_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """trio would drop an instrument that raises, and the node would stand still in silence."""
    from beamlike import garbage

    def broken() -> None:
        raise ZeroDivisionError("our own fault")

    async def main() -> None:
        monkeypatch.setattr(garbage, "after_slice", broken)
        await sleep(1)

    with pytest.raises(BaseException) as raised:  # noqa: PT011 - in a group or not, it must tell what happened
        run(main)
    errors: list[BaseException] = [raised.value]
    texts = ""
    while errors:
        error = errors.pop()
        texts += repr(error)
        errors += [each for each in (error.__cause__, *getattr(error, "exceptions", ())) if each is not None]
    assert "InternalError" in texts
    assert "our own fault" in texts


def test_block_that_was_ended_and_raises_something_else_is_left_at_once() -> None:
    async def ender(pid: Pid) -> None:
        exit(pid, "boom")

    async def ended_block() -> None:
        async with node() as pid:
            spawn(ender, pid)
            try:
                await trio.sleep_forever()
            finally:
                raise ZeroDivisionError

    async def program() -> float:
        before = trio.current_time()
        with pytest.raises(ZeroDivisionError):
            await ended_block()
        return trio.current_time() - before

    took = trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))
    assert took < GRACE


def test_what_a_finalizer_sends_while_the_node_goes_to_sleep_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Pid] = []

    def collection() -> None:
        while waiting:
            send(waiting.pop(), "finalized")

    monkeypatch.setattr("beamlike.garbage.before_idle", collection)

    async def main() -> float:
        before = now()
        waiting.append(self_pid())
        assert await receive(timeout=3) == "finalized"
        return now() - before

    assert run(main, seed=1) == 0


@pytest.mark.parametrize("next_node", ["at once", "later"])
def test_message_from_a_thread_that_comes_too_late_is_dropped(next_node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with node() as pid:
            stop = garbage.stop

            def send_and_stop() -> None:
                spawned = scheduler.new_process(sleeper(), (), None)  # one that is there to the very end
                register("late", spawned.pid)
                for destination in (pid, "late"):
                    thread = threading.Thread(target=send, args=(destination, 1))
                    thread.start()
                    thread.join()
                spawned.coro.close()
                stop()

            monkeypatch.setattr(garbage, "stop", send_and_stop)
        monkeypatch.undo()
        if next_node == "later":
            await trio.testing.wait_all_tasks_blocked()
        async with node():
            register("late")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(TimeoutError):
                await receive(timeout=0)

    trio.run(main)


def test_message_of_a_thread_that_cannot_be_copied_any_more_is_delivered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> Any:
        job = colorsys.rgb_to_hsv
        thread = threading.Thread(target=send, args=(self_pid(), job))
        thread.start()
        thread.join()
        monkeypatch.setattr(colorsys, "rgb_to_hsv", None)
        return await receive(timeout=10) is job

    assert run(main)


@pytest.mark.parametrize("where", ["process", "main", "block"])
def test_stop_in_a_nursery_is_a_stop(where: str) -> None:
    async def body() -> None:
        async with io(), trio.open_nursery(), trio.open_nursery():
            raise Stop("shutdown")

    async def main() -> Any:
        spawn_monitor(body)
        return (await receive(Down, timeout=10)).reason

    async def block() -> Any:
        down: list[Any] = []

        async def watch(pid: Pid) -> None:
            process_flag("trap_exit", True)
            monitor(pid)
            down.append((await receive(Down)).reason)

        with contextlib.suppress(BaseExceptionGroup):
            async with node() as pid:
                spawn(watch, pid)
                await trio.testing.wait_all_tasks_blocked()
                async with trio.open_nursery():
                    raise Stop("as planned")
        return down

    if where == "process":
        assert run(main) == "shutdown"
    elif where == "main":
        with pytest.raises(ExitError) as raised:
            run(body)
        assert raised.value.reason == "shutdown"
    else:
        assert trio.run(block) == ["as planned"]
