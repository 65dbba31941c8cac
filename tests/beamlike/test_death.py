"""P5: `kill` ends every process, wherever it is and whatever it swallows; the node stays healthy and `run` returns.

Each of the stubborn ones runs in an interpreter of its own, with a watchdog: the failure to find is a node that hangs.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from beamlike import (
    Down,
    Pid,
    exit,
    io,
    monitor,
    process_info,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_monitor,
    unregister,
    whereis,
)
from beamlike.hot.scheduler import process_count
from beamlike.trio_mode import GRACE_OF_KILLED
from beamlike.unwinding import MOST_TURNS, graveyard_size

# What a stubborn process does for ever, and how it is started. Each says "ready" first.
STUBBORN = {
    "parked in receive": ("await receive()", ""),
    "parked in receive with a match": ("await receive(int, timeout=1000)", ""),
    "parked in sleep": ("await sleep(1000)", ""),
    "parked in call": ("await call(server, 1, timeout=1000)", ""),
    "runnable": ("await sleep(0)", ""),
    "computing": ("count = 0\n            while True: count += 1", ""),
    "in a thread": ("await blocking(parked.wait, 1000)", ""),
    "in trio mode, in receive": ("await receive()", "io=True"),
    "in trio mode, in a call": ("await call(server, 1, timeout=1000)", "io=True"),
    "in trio mode, in trio": ("await trio.sleep_forever()", "io=True"),
    "in trio mode, behind a shield": ("with trio.CancelScope(shield=True): await trio.sleep_forever()", "io=True"),
    "in trio mode, behind two shields": (
        "with trio.CancelScope(shield=True), trio.CancelScope(shield=True): await trio.sleep_forever()",
        "io=True",
    ),
    "in trio mode, computing": ("count = 0\n            while True: count += 1", "io=True"),
    "in trio mode, in checkpoints": ("await trio.lowlevel.checkpoint()", "io=True"),
    "in trio mode, in a thread": ("await blocking(parked.wait, 1000)", "io=True"),
    "in trio mode, with a child task that swallows everything": (
        "async with trio.open_nursery() as nursery:\n                nursery.start_soon(stubborn_task)",
        "io=True",
    ),
    "in trio mode, with a child task behind a shield": (
        "async with trio.open_nursery() as nursery:\n                nursery.start_soon(shielded_task)",
        "io=True",
    ),
    "in a block of io()": ("async with io(): await trio.sleep_forever()", ""),
    "in a block of io(), behind a shield": (
        "async with io():\n                with trio.CancelScope(shield=True): await trio.sleep_forever()",
        "",
    ),
}

COMMON = """
import logging
logging.disable(logging.CRITICAL)
parked = threading.Event()

async def stubborn_task():
    while True:
        try:
            await trio.sleep_forever()
        except BaseException:
            pass

async def shielded_task():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

async def sleeper():
    await sleep(float("inf"))

async def echo():
    while True:
        pid, message = await receive()
        send(pid, message)
"""

STUBBORN_ONE = """
async def {name}(boss, server):
    send(boss, "ready")
    while True:
        try:
            {body}
        except BaseException:
            pass
"""

KILL = """
async def main():
    echoer, server = spawn(echo), spawn(sleeper)
    victims = [spawn(stubborn, self_pid(), server, name=str(number), {options}) for number in range(3)]
    for victim in victims:
        await receive(lambda message: message == "ready", timeout=10)
    await sleep(0.05)  # let it get to where it will be: computing, or in its thread
    for number, victim in enumerate(victims):
        ref = monitor(victim)
        exit(victim, "kill")
        down = await receive(Down, timeout=0)
        assert (down.ref, down.object, down.reason) == (ref, victim, "killed"), down
        assert process_info(victim) is None and whereis(str(number)) is None
        send(echoer, (self_pid(), number))
        assert await receive(timeout=10) == number
    await sleep({linger})
    assert process_info(server).monitored_by == (), "the dead hold nothing"
    return "done"

print(run(main))
"""

LEAVE = """
from beamlike import trio_mode
GRACE = sys.modules["beamlike.node"].GRACE
trio_mode.GRACE = 1000  # not for those who are killed
async def main():
    server = spawn(sleeper)
{spawns}
    for _ in range({count}):
        await receive(lambda message: message == "ready", timeout=10)
    await sleep(0.05)
    return time.perf_counter()

left = run(main)
print(time.perf_counter() - left < {count} * GRACE)  # all of them at once have a grace, and not one after the other
"""


@pytest.mark.parametrize("where", STUBBORN)
def test_p5_process_that_swallows_everything_is_killed_and_the_node_stays_healthy(where: str, program: Any) -> None:
    body, options = STUBBORN[where]
    # In trio mode what it started has a grace, too: the node must be healthy when that has ended.
    linger = 2 * GRACE_OF_KILLED if options or "io()" in where else 0
    done = program(COMMON + STUBBORN_ONE.format(name="stubborn", body=body) + KILL.format(options=options, linger=linger))
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("mode", ["scheduler", "trio"])
def test_p5_processes_that_swallow_everything_do_not_keep_run_from_returning(mode: str, program: Any) -> None:
    """Killed by nobody before main returns: the end of the node has to do it, with all of them at once."""
    kinds = [kind for where, kind in STUBBORN.items() if ("trio" in where or "io()" in where) == (mode == "trio")]
    bodies = "".join(STUBBORN_ONE.format(name=f"stubborn{number}", body=body) for number, (body, _) in enumerate(kinds))
    spawns = "".join(f"    spawn(stubborn{number}, self_pid(), server, {options})\n" for number, (_, options) in enumerate(kinds))
    done = program(COMMON + bodies + LEAVE.format(spawns=spawns, count=len(kinds)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


# --- what ends orderly ----------------------------------------------------------------------------------------------------

WELL_BEHAVED = ["receive", "selective receive", "sleep", "runnable", "not yet started", "io receive", "io trio", "io block"]


@pytest.mark.parametrize("reason", ["kill", "boom"])
@pytest.mark.parametrize("where", WELL_BEHAVED)
def test_p5_finally_blocks_of_a_well_behaved_process_run(where: str, reason: str) -> None:
    import trio

    trace: list[str] = []

    async def body(boss: Pid) -> None:
        try:
            send(boss, "ready")
            match where:
                case "receive" | "io receive":
                    await receive()
                case "selective receive":
                    await receive(int, timeout=100)
                case "sleep":
                    await sleep(100)
                case "runnable":
                    while True:
                        await sleep(0)
                case "io trio":
                    await trio.sleep_forever()
                case "io block":
                    async with io():
                        await trio.sleep_forever()
        finally:
            trace.append("inner")
        trace.append("went on")

    async def outer(boss: Pid) -> None:
        try:
            await body(boss)
        finally:
            trace.append("outer")
            send(boss, "goodbye")

    async def main() -> Any:
        pid, _ = spawn_monitor(outer, self_pid(), io=where in ("io receive", "io trio"))
        if where != "not yet started":
            assert await receive(timeout=10) == "ready"
            await sleep(0)
        exit(pid, reason)
        down = await receive(Down, timeout=10)
        if where != "not yet started":
            assert await receive(timeout=10) == "goodbye"
        return down.reason

    assert run(main) == ("killed" if reason == "kill" else reason)
    assert trace == ([] if where == "not yet started" else ["inner", "outer"])


def test_p5_finally_block_may_wait_but_each_wait_is_cut_short() -> None:
    trace = []

    async def body() -> None:
        try:
            await receive()
        finally:
            try:
                await sleep(1000)
                trace.append("slept")
            finally:
                trace.append("last")

    async def main() -> None:
        pid, _ = spawn_monitor(body)
        await sleep(1)
        exit(pid, "boom")
        await receive(Down)
        await sleep(1)

    run(main, seed=1)
    assert trace == ["last"]


def test_p5_down_comes_before_the_process_is_unwound() -> None:
    """For everybody else it is dead at once; what it does in `finally` comes later."""

    async def body(boss: Pid) -> None:
        try:
            await receive()
        finally:
            send(boss, "from finally")

    async def main() -> list[Any]:
        pid, _ref = spawn_monitor(body, self_pid())
        await sleep(1)
        exit(pid, "boom")
        assert process_info(pid) is None
        return [await receive(timeout=0), await receive(timeout=1)]

    first, second = run(main, seed=1)
    assert (first.reason, second) == ("boom", "from finally")


def test_p5_one_that_swallows_has_a_bounded_number_of_turns_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    turns = []

    async def stubborn() -> None:
        while True:
            try:
                await receive()
            except BaseException:  # noqa: BLE001 - the point of it
                turns.append(1)

    async def main() -> None:
        before = graveyard_size()
        pid, _ = spawn_monitor(stubborn)
        await sleep(1)
        exit(pid, "kill")
        assert (await receive(Down, timeout=1)).reason == "killed"
        await sleep(10)
        assert graveyard_size() == before + 1

    run(main, seed=1)
    assert len(turns) == MOST_TURNS
    assert "refused to end" in caplog.text


def test_p5_killed_process_receives_nothing_more() -> None:
    got: list[Any] = []

    async def stubborn() -> None:
        while True:
            with contextlib.suppress(BaseException):
                got.append(await receive())

    async def main() -> None:
        pid, _ = spawn_monitor(stubborn)
        await sleep(1)
        send(pid, "before")
        exit(pid, "kill")
        send(pid, "after")
        await sleep(10)

    run(main, seed=1)
    assert got == []


def test_p5_process_that_ends_itself_goes_no_further() -> None:
    trace = []

    async def body() -> None:
        trace.append("before")
        try:
            exit(self_pid(), "boom")
            trace.append("after")
        finally:
            trace.append("finally")

    async def main() -> Any:
        spawn_monitor(body)
        return (await receive(timeout=1)).reason

    assert run(main, seed=1) == "boom"
    assert trace == ["before", "finally"]


@pytest.mark.parametrize("mode", [False, True])
def test_p5_process_that_swallows_its_own_exit_is_dead_all_the_same(mode: bool) -> None:
    async def body(boss: Pid) -> None:
        with contextlib.suppress(BaseException):
            exit(self_pid(), "boom")
        send(boss, ("what it does still counts", process_info(self_pid())))
        await receive()

    async def main() -> None:
        pid, ref = spawn_monitor(body, self_pid(), io=mode)
        assert await receive(timeout=10) == Down(ref, pid, "boom")
        assert await receive(timeout=10) == ("what it does still counts", None)
        assert process_info(pid) is None

    run(main)


def test_p5_second_exit_signal_changes_nothing() -> None:
    async def main() -> None:
        pid, ref = spawn_monitor(spawned)
        await sleep(1)
        exit(pid, "first")
        exit(pid, "kill")
        assert await receive(timeout=1) == Down(ref, pid, "first")
        late = monitor(pid)
        assert await receive(timeout=0) == Down(late, pid, "noproc")

    async def spawned() -> None:
        await receive()

    run(main, seed=1)


def test_p5_exception_in_a_finally_block_does_not_change_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        try:
            await receive()
        finally:
            raise ValueError("in finally")

    async def main() -> Any:
        pid, _ = spawn_monitor(body)
        await sleep(1)
        exit(pid, "boom")
        reason = (await receive(Down, timeout=1)).reason
        await sleep(1)
        return reason

    assert run(main, seed=1) == "boom"
    assert "in finally" in caplog.text


def test_p5_processes_whose_finally_starts_their_like_do_not_keep_run_from_returning(program: Any) -> None:
    done = program("""
        async def hydra():
            try:
                await receive()
            finally:
                spawn(hydra)

        async def main():
            spawn(hydra)
            await sleep(0.01)

        print(run(main))
    """)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


def test_p5_killed_while_it_computes_in_a_finally_block(program: Any) -> None:
    done = program("""
        async def body(boss):
            try:
                send(boss, "ready")
                await receive()
            finally:
                while True:
                    pass

        async def main():
            pid, _ = spawn_monitor(body, self_pid())
            await receive()
            exit(pid, "boom")
            down = await receive(Down, timeout=5)
            await sleep(0.1)
            return down.reason

        print(run(main))
    """)
    assert (done.returncode, done.stdout) == (0, "boom\n"), done.stderr


@pytest.mark.parametrize("reason", ["kill", "boom"])
@pytest.mark.parametrize("where", ["waits", "computes", "ends itself", "computes in trio mode"])
def test_p5_finally_block_that_is_preempted_goes_on(where: str, reason: str, program: Any) -> None:
    done = program(f"""
        where, reason = {where!r}, {reason!r}

        def compute(seconds):
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass

        async def body(boss):
            try:
                send(boss, "ready")
                if where == "waits":
                    await receive()
                elif where == "ends itself":
                    exit(self_pid(), reason)
                elif where == "computes":
                    compute(60)
                else:
                    async with io():
                        compute(60)
            finally:
                compute(0.05)
                print("through", flush=True)

        async def main():
            pid, _ = spawn_monitor(body, self_pid())
            await receive(str)
            await sleep(0.02)
            exit(pid, reason)
            await receive(Down, timeout=5)
            await sleep(0.5)

        run(main)
    """)
    assert (done.returncode, done.stdout) == (0, "through\n"), done.stderr


def test_dead_process_has_no_name_to_take_away() -> None:
    async def body() -> None:
        await receive()

    async def main() -> None:
        pid = spawn(body, name="name")
        exit(pid, "kill")
        assert whereis("name") is None
        with pytest.raises(LookupError):
            unregister("name")

    run(main, seed=1)


@pytest.mark.parametrize("where", ["waits", "computes"])
def test_p5_finally_block_that_waits_is_cut_short_wherever_the_process_was(where: str) -> None:
    trace: list[str] = []

    async def body(boss: Pid) -> None:
        try:
            send(boss, "ready")
            if where == "waits":
                await receive()
            count = 0
            while True:
                count += 1
        finally:
            trace.append("finally")
            try:
                await receive()
            finally:
                trace.append("after")

    async def main() -> int:
        pid = spawn(body, self_pid())
        await receive(str)
        if where == "computes":
            assert process_info(pid).status == "preempted"  # type: ignore[union-attr]
        exit(pid, "shutdown")
        for _ in range(1000):
            await sleep(0)
        return process_count()

    assert run(main) == 1, "its record is gone"
    assert trace == ["finally", "after"]
