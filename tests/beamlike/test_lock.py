"""Lock: who has it, in which order, and what becomes of it when its holder or a waiter ends, wherever that is."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from beamlike import (
    Call,
    Down,
    InternalError,
    Lock,
    Pid,
    ProcessExit,
    blocking,
    call,
    clock,
    exit,
    io,
    node,
    process_info,
    receive,
    reply,
    run,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    spawn_monitor,
    wire,
)
from beamlike import lock as lock_module
from beamlike.hot.scheduler import Park, now
from beamlike.testing import settle

MODES = pytest.mark.parametrize("in_trio", [False, True], ids=["scheduler mode", "trio mode"])
GLOBAL = Lock()


async def over(pid: Pid) -> Any:
    """The reason with which a watched process ends."""
    down = await receive(lambda message: type(message) is Down and message.object == pid, timeout=60)
    return down.reason


async def hold(lock: Lock, seconds: float = 1000) -> None:
    async with lock:
        await sleep(seconds)


async def take_and_tell(lock: Lock, parent: Pid, what: Any) -> None:
    await lock.acquire()
    send(parent, what)
    lock.release()


def messages(*expected: Any) -> Callable[[], Any]:
    async def come() -> None:
        for each in expected:
            assert await receive(timeout=60) == each

    return come


# --- holding --------------------------------------------------------------------------------------------------------------


@MODES
def test_only_one_process_holds_the_lock_at_a_time(in_trio: bool) -> None:
    lock = Lock()
    inside = most = entered = 0

    async def worker() -> None:
        nonlocal inside, most, entered
        for _ in range(5):
            async with lock:
                inside += 1
                entered += 1
                most = max(most, inside)
                await sleep(0.01)
                inside -= 1

    async def main() -> None:
        for _ in range(10):
            spawn_monitor(worker, io=in_trio)
        for _ in range(10):
            assert (await receive()).reason == "normal"

    run(main, seed=1)
    assert (most, entered) == (1, 50)


@MODES
def test_waiters_get_the_lock_in_the_order_in_which_they_came(in_trio: bool) -> None:
    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        for number in range(10):
            spawn(take_and_tell, lock, self_pid(), number, io=in_trio != bool(number % 3 == 0))  # some in the other mode
            await settle()
        lock.release()
        await messages(*range(10))()
        assert repr(lock) == "<Lock, free>"

    run(main, seed=1)


def test_who_releases_it_and_wants_it_again_does_not_overtake_those_who_wait() -> None:
    order: list[str] = []

    async def other(lock: Lock) -> None:
        async with lock:
            order.append("other")

    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        spawn(other, lock)
        await settle()
        lock.release()
        async with lock:
            order.append("main")

    run(main, seed=1)
    assert order == ["other", "main"]


def test_a_lock_is_shared_through_closures_globals_and_arguments_of_spawn() -> None:
    async def main() -> None:
        closed_over, given = Lock(), Lock()

        async def child(parent: Pid, argument: Lock, inside: list[Lock]) -> None:
            same = argument is given and inside[0] is given
            try:
                await closed_over.acquire(timeout=0)
            except TimeoutError:
                async with GLOBAL:
                    send(parent, same)

        await closed_over.acquire()
        await GLOBAL.acquire()
        spawn(child, self_pid(), given, [given])
        await settle()
        GLOBAL.release()
        assert await receive(timeout=1) is True

    run(main, seed=1)
    run(main, seed=2)  # a global one serves the next node as well: the end of main has released the other


def test_a_lock_is_of_one_node_and_cannot_be_sent() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="Lock"):
            send(self_pid(), ("here", Lock()))
        with pytest.raises(TypeError, match="Lock"):
            wire.pack(Lock())

    run(main, seed=1)


def test_a_process_that_holds_it_may_change_modes_meanwhile() -> None:
    async def main() -> None:
        lock = Lock()
        async with lock, io():
            await trio.sleep(1)
        async with io():
            await lock.acquire()
        lock.release()
        assert repr(lock) == "<Lock, free>"

    run(main, seed=1)


def test_it_works_in_the_block_of_an_embedded_node_and_in_tasks_started_there() -> None:
    lock = Lock()

    async def main() -> None:
        async with node(seed=1):
            pid, _ = spawn_monitor(hold, lock, 1)
            await settle()
            async with lock, trio.open_nursery() as nursery:
                assert await over(pid) == "normal"
                nursery.start_soon(lock_is_held_by_its_process)
            await lock.acquire()  # the end of the block releases it

    async def lock_is_held_by_its_process() -> None:
        lock.release()
        await lock.acquire()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert repr(lock) == "<Lock, free>"


def test_a_holder_that_computes_and_is_preempted_does_not_stop_the_node() -> None:
    # No virtual time here, for a seeded run does not pre-empt. The holder computes until the others have had their turns.
    turns = 0

    async def computes(lock: Lock) -> None:
        async with lock:
            while turns < 20:
                pass

    async def ticks() -> None:
        nonlocal turns
        for _ in range(20):
            await sleep(0)
            turns += 1

    async def main() -> None:
        lock = Lock()
        spawn(computes, lock)
        await sleep(0)
        spawn(ticks)
        await lock.acquire(timeout=30)
        assert turns == 20

    run(main)


# --- misuse ---------------------------------------------------------------------------------------------------------------


def test_release_by_who_does_not_hold_it_is_an_error_that_names_both() -> None:
    async def main() -> None:
        lock = Lock()
        pid = spawn(hold, lock)
        await settle()
        with pytest.raises(RuntimeError) as caught:
            lock.release()
        assert f"{self_pid()} does not hold this lock" in str(caught.value)
        assert f"held by {pid}" in str(caught.value)
        exit(pid, "kill")
        with pytest.raises(RuntimeError, match=r"does not hold this lock: <Lock, free>"):
            lock.release()

    run(main, seed=1)


@MODES
def test_the_holder_that_acquires_it_again_gets_an_error_and_still_holds_it(in_trio: bool) -> None:
    lock = Lock()

    async def body(parent: Pid) -> None:
        async with lock:
            for timeout in (None, 0, 1):
                with pytest.raises(RuntimeError, match="holds this lock already, and would wait for itself"):
                    await lock.acquire(timeout=timeout)
            send(parent, repr(lock) == f"<Lock held by {self_pid()}, nobody waits>")

    async def main() -> None:
        spawn(body, self_pid(), io=in_trio)
        assert await receive(timeout=1) is True

    run(main, seed=1)


def test_two_tasks_of_one_process_cannot_wait_for_it_at_the_same_time() -> None:
    async def main() -> None:
        lock = Lock()
        spawn(hold, lock, 5)
        await settle()
        async with io(), trio.open_nursery() as nursery:
            nursery.start_soon(lock.acquire)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="has another task that waits for this lock already"):
                await lock.acquire()
        lock.release()

    run(main, seed=1)


def test_outside_a_process_it_is_an_error() -> None:
    lock = Lock()
    with pytest.raises(RuntimeError, match="not called by a process"):
        trio.run(lock.acquire)
    with pytest.raises(RuntimeError, match="not called by a process"):
        lock.release()
    assert repr(lock) == "<Lock, free>"


def test_in_a_thread_of_blocking_it_is_an_error() -> None:
    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        with pytest.raises(RuntimeError, match="in a thread"):
            await blocking(lock.release)
        lock.release()

    run(main, seed=1)


@MODES
@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError), (True, TypeError)])
def test_a_wrong_timeout_is_an_error_and_nothing_is_acquired(in_trio: bool, timeout: Any, error: type[Exception]) -> None:
    async def body(parent: Pid) -> None:
        lock = Lock()
        with pytest.raises(error, match="a timeout is None or seconds"):
            await lock.acquire(timeout=timeout)
        send(parent, repr(lock))

    async def main() -> None:
        spawn(body, self_pid(), io=in_trio)
        assert await receive(timeout=1) == "<Lock, free>"

    run(main, seed=1)


def test_the_repr_tells_the_holder_and_the_waiters_that_live() -> None:
    async def main() -> None:
        lock = Lock()
        assert repr(lock) == "<Lock, free>"
        pids = []
        for _ in range(4):
            pids.append(spawn(hold, lock))
            await settle()
        assert repr(lock) == f"<Lock held by {pids[0]}, waiting: {pids[1]}, {pids[2]}, {pids[3]}>"
        exit(pids[2], "kill")
        assert repr(lock) == f"<Lock held by {pids[0]}, waiting: {pids[1]}, {pids[3]}>"

    run(main, seed=1)


# --- the end of the holder ------------------------------------------------------------------------------------------------

parked = threading.Event()


async def waits(lock: Lock) -> None:
    await lock.acquire()
    await receive(int)


async def computes(lock: Lock) -> None:
    await lock.acquire()
    count = 0
    while True:
        count += 1


async def in_a_thread(lock: Lock) -> None:
    await lock.acquire()
    await blocking(parked.wait, 1000)


async def in_a_block_of_trio_mode(lock: Lock) -> None:
    await lock.acquire()
    async with io():
        await trio.sleep_forever()


async def behind_a_shield(lock: Lock) -> None:
    async with io(), lock:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


async def swallows_everything(lock: Lock) -> None:
    await lock.acquire()
    while True:
        with suppress(BaseException):
            await receive()
        with suppress(BaseException):  # in a process that has ended `receive` raises at once: it is to refuse, not to compute
            if trio.lowlevel.in_trio_task():
                await trio.sleep_forever()
            else:
                await Park()


HOLDERS = {
    "waiting": (waits, False),
    "in a thread": (in_a_thread, False),
    "in trio mode": (waits, True),
    "in trio mode, in a thread": (in_a_thread, True),
    "in a block of io()": (in_a_block_of_trio_mode, False),
    "in trio mode, behind a shield": (behind_a_shield, False),
    "swallowing everything": (swallows_everything, False),
    "swallowing everything in trio mode": (swallows_everything, True),
}


@pytest.mark.parametrize(("body", "in_trio"), HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("waiter_in_trio", [False, True], ids=["scheduler mode", "trio mode"])
def test_a_holder_that_is_killed_releases_it_and_the_next_waiter_gets_it(body: Any, in_trio: bool, waiter_in_trio: bool) -> None:
    async def main() -> None:
        lock = Lock()
        holder, _ = spawn_monitor(body, lock, io=in_trio)
        await settle()
        assert f"held by {holder}" in repr(lock)
        spawn(take_and_tell, lock, self_pid(), "mine", io=waiter_in_trio)
        await settle()
        exit(holder, "kill")
        assert f"held by {holder}" not in repr(lock)  # at once, and so before its Down comes (E19)
        assert await over(holder) == "killed"
        assert await receive(timeout=60) == "mine"
        parked.set()

    parked.clear()
    run(main, seed=1)


@MODES
def test_a_holder_that_is_killed_while_it_is_preempted_releases_it(in_trio: bool) -> None:
    async def main() -> None:  # not seeded: pre-emption
        lock = Lock()
        holder, _ = spawn_monitor(computes, lock, io=in_trio)
        while f"held by {holder}" not in repr(lock):
            await sleep(0)
        spawn(take_and_tell, lock, self_pid(), "mine")
        await sleep(0)
        info = process_info(holder)
        assert info is not None
        assert info.status in ("preempted", "in_trio")
        exit(holder, "kill")
        assert await over(holder) == "killed"
        assert await receive(timeout=60) == "mine"

    run(main)


def test_a_holder_that_kills_itself_while_it_runs_releases_it() -> None:
    async def body(lock: Lock) -> None:
        async with lock:
            exit(self_pid(), "kill")

    async def main() -> None:
        lock = Lock()
        pid, _ = spawn_monitor(body, lock)
        assert await over(pid) == "killed"
        assert repr(lock) == "<Lock, free>"

    run(main, seed=1)


@MODES
@pytest.mark.parametrize("way", ["returns", "raises", "is told to exit"])
def test_a_holder_that_ends_without_releasing_it_releases_it(way: str, in_trio: bool) -> None:
    async def body(locks: list[Lock]) -> None:
        for lock in locks:
            await lock.acquire()
        if way == "raises":
            raise SystemError("a bug")
        if way == "is told to exit":
            exit(self_pid(), "normal")

    async def main() -> None:
        locks = [Lock(), Lock()]
        await over(spawn_monitor(body, locks, io=in_trio)[0])
        assert [repr(lock) for lock in locks] == ["<Lock, free>"] * 2
        assert lock_module._held == {}

    run(main, seed=1)


def test_locks_may_be_released_in_any_order_and_the_end_releases_those_that_are_left() -> None:
    async def body(first: Lock, second: Lock) -> None:
        await first.acquire()
        await second.acquire()
        first.release()
        await sleep(1000)

    async def main() -> None:
        first, second = Lock(), Lock()
        holder, _ = spawn_monitor(body, first, second)
        await settle()
        await first.acquire(timeout=0)
        assert f"held by {holder}" in repr(second)
        exit(holder, "kill")
        assert (repr(first), repr(second)) == (f"<Lock held by {self_pid()}, nobody waits>", "<Lock, free>")

    run(main, seed=1)


@MODES
def test_what_a_dead_holder_does_in_its_finally_neither_fails_nor_releases_it_for_the_next_holder(in_trio: bool) -> None:
    went: list[str] = []

    async def body(lock: Lock) -> None:
        try:
            async with lock:
                await sleep(1000)
        except ProcessExit:
            went.append("exit")
        except trio.Cancelled:
            went.append("cancelled")
            raise
        finally:
            lock.release()
            went.append("released again")
            try:
                await lock.acquire()
            except ProcessExit:
                went.append("acquires nothing")

    async def main() -> None:
        lock = Lock()
        holder, _ = spawn_monitor(body, lock, io=in_trio)
        await settle()
        next_one = spawn(hold, lock)
        await settle()
        exit(holder, "shutdown")
        await settle()
        assert repr(lock) == f"<Lock held by {next_one}, nobody waits>"

    run(main, seed=1)
    assert went == ["cancelled" if in_trio else "exit", "released again", "acquires nothing"]


def test_one_that_is_given_the_lock_and_killed_in_the_same_moment_goes_no_further() -> None:
    entered: list[Pid] = []

    async def body(lock: Lock) -> None:
        with suppress(TimeoutError):  # nor does it take that for a timeout
            await lock.acquire()
        entered.append(self_pid())

    async def main() -> None:
        for in_trio in (False, True):
            lock = Lock()
            await lock.acquire()
            waiter, _ = spawn_monitor(body, lock, io=in_trio)
            await settle()
            lock.release()
            assert repr(lock) == f"<Lock held by {waiter}, nobody waits>"
            exit(waiter, "kill")
            assert await over(waiter) == "killed"
            await settle()
            assert repr(lock) == "<Lock, free>"

    run(main, seed=1)
    assert entered == []


def test_a_lock_that_was_held_when_its_node_failed_is_free_on_the_next_node(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock()

    def fail(timer: Any) -> None:
        raise ZeroDivisionError("a fault of the node")

    async def main() -> None:
        for _ in range(2):
            spawn(waits, lock)
            await settle()
        send_after(1, self_pid(), "never")
        await receive()

    with monkeypatch.context() as patched:
        patched.setattr(clock, "fire", fail)
        with pytest.raises((ZeroDivisionError, InternalError, BaseExceptionGroup)):
            run(main, seed=1)
    assert "held by" in repr(lock)

    async def next_main() -> None:
        await lock.acquire(timeout=0)
        assert repr(lock) == f"<Lock held by {self_pid()}, nobody waits>"

    run(next_main, seed=1)
    assert lock_module._held == {}


# --- waiters that go ------------------------------------------------------------------------------------------------------


@MODES
def test_a_waiter_that_dies_is_skipped(in_trio: bool) -> None:
    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        pids = []
        for number in range(3):
            pids.append(spawn(take_and_tell, lock, self_pid(), number, io=in_trio))
            await settle()
        exit(pids[0], "kill")
        exit(pids[1], "shutdown")
        lock.release()  # neither has been unwound yet
        assert repr(lock) == f"<Lock held by {pids[2]}, nobody waits>"
        assert await receive(timeout=1) == 2
        await settle()
        assert repr(lock) == "<Lock, free>"

    run(main, seed=1)


@MODES
def test_a_timeout_is_a_timeout_error_as_of_receive_and_out_of_the_queue(in_trio: bool) -> None:
    async def body(lock: Lock, parent: Pid) -> None:
        for timeout in (0, 0.5, 2):
            with pytest.raises(TimeoutError, match=f"others held it for {timeout} s: <Lock held by .*, nobody waits>"):
                await lock.acquire(timeout=timeout)
        send(parent, "timed out")
        await receive("go".__eq__)
        await lock.acquire(timeout=0)
        send(parent, "acquired")

    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        pid = spawn(body, lock, self_pid(), io=in_trio)
        start = now()
        assert await receive(timeout=60) == "timed out"
        assert now() - start == pytest.approx(2.5)
        lock.release()
        assert repr(lock) == "<Lock, free>"
        send(pid, "go")
        assert await receive(timeout=60) == "acquired"

    run(main, seed=1)


@MODES
def test_a_timeout_that_is_long_enough_changes_nothing_and_leaves_no_deadline_behind(in_trio: bool) -> None:
    async def body(lock: Lock, parent: Pid) -> None:
        await lock.acquire(timeout=5)
        send(parent, await call(parent, "whatever lasts longer than the timeout", timeout=None))

    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        spawn(body, lock, self_pid(), io=in_trio)
        await sleep(1)
        lock.release()
        request = await receive(Call, timeout=100)
        await sleep(100)
        reply(request.caller, "answer")
        assert await receive(timeout=100) == "answer"

    run(main, seed=1)


@pytest.mark.parametrize("seed", range(20))
def test_at_the_moment_of_a_timeout_a_waiter_has_the_lock_or_the_error_and_the_next_one_goes_on(seed: int) -> None:
    outcomes: list[str] = []

    async def body(lock: Lock) -> None:
        try:
            await lock.acquire(timeout=1)
        except TimeoutError:
            outcomes.append("timeout")
            return
        outcomes.append("acquired")
        turns = count_of_turns()
        for _ in range(3):
            await sleep(0)
        assert count_of_turns() - turns == 3
        await sleep(5)
        lock.release()

    def count_of_turns() -> int:
        info = process_info(self_pid())
        assert info is not None
        return info.reductions

    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        pids = [spawn_monitor(body, lock)[0] for _ in range(4)]
        await sleep(1)  # runnable at the same moment as they
        lock.release()
        for pid in pids:
            assert await over(pid) == "normal"
        assert repr(lock) == "<Lock, free>"

    run(main, seed=seed)
    assert len(outcomes) == 4
    assert outcomes.count("acquired") <= 1


def test_messages_that_come_to_a_waiter_stay_in_its_mailbox_and_do_not_wake_it() -> None:
    async def body(lock: Lock, parent: Pid) -> None:
        async with lock:
            send(parent, (await receive(timeout=0), await receive(timeout=0)))

    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        pid = spawn(body, lock, self_pid())
        await settle()
        send(pid, 1)
        send(pid, 2)
        await settle()
        info = process_info(pid)
        assert info is not None
        assert (info.status, info.mailbox_length) == ("waiting", 2)
        lock.release()
        assert await receive(timeout=1) == (1, 2)

    run(main, seed=1)


def test_a_waiter_that_is_cancelled_is_out_of_the_queue() -> None:
    async def main() -> None:
        lock = Lock()
        holder = spawn(hold, lock)
        await settle()
        async with io():
            with trio.move_on_after(1) as scope:
                await lock.acquire()
            assert scope.cancelled_caught
            assert repr(lock) == f"<Lock held by {holder}, nobody waits>"
            exit(holder, "kill")
            assert repr(lock) == "<Lock, free>"

    run(main, seed=1)


def test_in_trio_mode_acquire_is_a_checkpoint_also_of_a_free_lock_and_cancelled_it_holds_nothing() -> None:
    async def main() -> None:
        lock = Lock()
        async with io():
            with trio.testing.assert_checkpoints():
                await lock.acquire()
            lock.release()
            with trio.CancelScope() as scope:
                scope.cancel()
                await lock.acquire()
            assert scope.cancelled_caught
            assert repr(lock) == "<Lock, free>"

    run(main, seed=1)


def test_one_that_is_given_the_lock_and_cancelled_in_the_same_moment_has_it() -> None:
    async def main() -> None:
        lock = Lock()
        async with io(), trio.open_nursery() as nursery:
            holder = spawn(hold, lock)
            await trio.testing.wait_all_tasks_blocked()
            scope = trio.CancelScope()

            async def acquires() -> None:
                with scope:
                    await lock.acquire()
                    lock.release()

            nursery.start_soon(acquires)
            await trio.testing.wait_all_tasks_blocked()
            exit(holder, "kill")
            scope.cancel()
        assert not scope.cancelled_caught
        assert repr(lock) == "<Lock, free>"

    run(main, seed=1)


# --- all at once ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_under_random_kills_there_is_never_more_than_one_inside_and_nobody_waits_for_ever(seed: int) -> None:
    run(random_kills, random.Random(seed), seed=seed)


async def random_kills(draw: random.Random) -> None:
    locks = [Lock() for _ in range(3)]
    inside: list[set[Pid]] = [set() for _ in locks]
    entered = timed_out = 0

    async def worker(seed: int, parent: Pid) -> None:
        nonlocal entered, timed_out
        mine = random.Random(seed)
        while True:
            index = mine.randrange(len(locks))
            try:
                await locks[index].acquire(timeout=mine.choice([None, None, 0, 0.05]))
            except TimeoutError:
                timed_out += 1
                continue
            finally:
                await sleep(0.001)  # also where it is unwound: then it is not inside
            living = {pid for pid in inside[index] if process_info(pid) is not None}
            assert living == set(), f"{self_pid()} is inside with {living}"
            inside[index].add(self_pid())
            entered += 1
            try:
                match mine.randrange(4):
                    case 0:
                        await sleep(mine.random() / 20)
                    case 1:
                        async with io():
                            await trio.sleep(mine.random() / 20)
                    case 2:
                        raise LookupError("a crash with the lock in hand") if mine.random() < 0.1 else TimeoutError
                    case 3:
                        await sleep(0)
            except TimeoutError:
                pass
            inside[index].discard(self_pid())
            locks[index].release()

    def start() -> Pid:
        return spawn_monitor(worker, draw.randrange(10**9), self_pid(), io=draw.random() < 0.3)[0]

    workers = [start() for _ in range(12)]
    for _ in range(150):
        await sleep(draw.random() / 50)
        victim = draw.choice(workers)
        exit(victim, draw.choice(["kill", "shutdown", "stop"]))
        workers = [start() if process_info(pid) is None else pid for pid in workers]
    assert entered > 100
    assert timed_out > 0
    for lock in locks:  # whoever is before us in the queue comes through: all hold it for a moment only
        await lock.acquire(timeout=30)
        lock.release()
    for pid in workers:
        exit(pid, "kill")
    await settle()
    assert [repr(lock) for lock in locks] == ["<Lock, free>"] * 3
    assert lock_module._held == {}
