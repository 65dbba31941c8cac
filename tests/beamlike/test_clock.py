"""Sleeping, timers and virtual time."""

from __future__ import annotations

import colorsys
import math
import re
from typing import Any

import pytest

from beamlike import (
    Down,
    Exit,
    Pid,
    Ref,
    cancel_timer,
    exit,
    io,
    monitor,
    process_flag,
    receive,
    register,
    run,
    self_pid,
    send,
    send_after,
    send_interval,
    sleep,
    spawn,
    spawn_monitor,
    unregister,
)
from beamlike.hot import scheduler
from beamlike.hot.scheduler import now


async def count_until_silence(seconds: float) -> list[Any]:
    """What comes until nothing has come for `seconds`."""
    messages = []
    while True:
        try:
            messages.append(await receive(timeout=seconds))
        except TimeoutError:
            return messages


async def sleeper() -> None:
    await sleep(math.inf)


def test_virtual_time_jumps_to_the_next_timer_and_is_exact() -> None:
    async def main() -> float:
        start = now()
        await sleep(1_000_000)
        return now() - start

    assert run(main, seed=1) == pytest.approx(1_000_000, abs=1e-6)


def test_sleep_lasts_at_least_as_long_as_it_should() -> None:
    async def main() -> float:
        start = now()
        await sleep(0.02)
        return now() - start

    assert run(main) >= 0.02


@pytest.mark.parametrize("mode", ["scheduler", "trio"])
def test_sleepers_wake_in_the_order_of_their_times(mode: str) -> None:
    async def body(to: Pid, seconds: float) -> None:
        await sleep(seconds)
        send(to, seconds)

    async def main() -> list[Any]:
        for seconds in (3, 1, 2, 0.5, 0):
            spawn(body, self_pid(), seconds, io=mode == "trio")
        return [await receive(timeout=10) for _ in range(5)]

    assert run(main, seed=3) == [0, 0.5, 1, 2, 3]


def test_messages_stay_in_the_mailbox_during_sleep() -> None:
    async def main() -> Any:
        send_after(1, self_pid(), "hello")
        start = now()
        await sleep(2)
        assert now() - start == pytest.approx(2)
        return await receive(timeout=0)

    assert run(main, seed=1) == "hello"


def test_sleep_0_gives_the_others_a_turn() -> None:
    trace = []

    async def body(name: str) -> None:
        for _ in range(3):
            trace.append(name)
            await sleep(0)

    async def main() -> None:
        _, _one = spawn_monitor(body, "a")
        _, _other = spawn_monitor(body, "b")
        await receive(Down)
        await receive(Down)

    run(main, preempt=False)
    assert trace == ["a", "b", "a", "b", "a", "b"]


@pytest.mark.parametrize("seconds", [None, "1", True, [1]])
def test_sleep_of_what_is_no_number_is_a_type_error(seconds: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="seconds"):
            await sleep(seconds)

    run(main, seed=1)


@pytest.mark.parametrize("seconds", [-1, -0.001, math.nan])
def test_sleep_of_a_wrong_number_is_a_value_error(seconds: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=str(seconds)):
            await sleep(seconds)

    run(main, seed=1)


def test_timeout_of_receive_is_exact_in_virtual_time() -> None:
    async def main() -> float:
        start = now()
        with pytest.raises(TimeoutError):
            await receive(timeout=2.5)
        with pytest.raises(TimeoutError):
            await receive(str, timeout=2.5)
        return now() - start

    assert run(main, seed=1) == pytest.approx(5)


def test_short_wait_after_a_long_one_that_was_cut_short_ends_in_time() -> None:
    """A process has one entry in the heap of timers, which moves itself on."""

    async def main() -> None:
        start = now()
        for wait in (100, 1, 50, 0.5):
            send_after(0.25, self_pid(), "cut short")
            assert await receive(timeout=wait) == "cut short"
        assert now() - start == pytest.approx(1)
        with pytest.raises(TimeoutError):
            await receive(timeout=0.5)
        assert now() - start == pytest.approx(1.5)
        await sleep(200)
        assert now() - start == pytest.approx(201.5)

    run(main, seed=1)


def test_wait_that_was_satisfied_leaves_no_wake_up_behind() -> None:
    async def main() -> None:
        send_after(1, self_pid(), "hello")
        assert await receive(timeout=2) == "hello"
        start = now()
        with pytest.raises(TimeoutError):
            await receive(timeout=5)  # the old deadline lies within
        assert now() - start == pytest.approx(5)

    run(main, seed=1)


def test_cancelled_timers_do_not_pile_up() -> None:
    timers = getattr(scheduler, "timers", None)
    if timers is None:
        pytest.skip("the heap cannot be seen from Python when compiled")

    async def main() -> int:
        for _ in range(20_000):
            cancel_timer(send_after(1000, self_pid(), "never"))
        return len(scheduler.timers.heap)

    assert run(main, seed=1) < 5_000


# --- send_after -----------------------------------------------------------------------------------------------------------


def test_send_after_sends_once_at_its_time() -> None:
    async def main() -> list[Any]:
        start = now()
        assert type(send_after(2, self_pid(), ["hello"])) is Ref
        with pytest.raises(TimeoutError):
            await receive(timeout=1.5)
        assert await receive() == ["hello"]
        assert now() - start == pytest.approx(2)
        return await count_until_silence(10)

    assert run(main, seed=1) == []


def test_send_after_0_comes_after_what_was_sent_before() -> None:
    async def main() -> list[Any]:
        send_after(0, self_pid(), "timer")
        send(self_pid(), "direct")
        return await count_until_silence(1)

    assert run(main, seed=1) == ["direct", "timer"]


def test_timers_of_the_same_time_fire_in_the_order_they_were_set() -> None:
    async def main() -> list[Any]:
        for number in range(20):
            send_after(1, self_pid(), number)
        return await count_until_silence(2)

    assert run(main, seed=1) == list(range(20))


def test_send_after_goes_although_its_sender_has_ended() -> None:
    async def sender(to: Pid) -> None:
        send_after(1, to, "posthumous")

    async def main() -> Any:
        spawn(sender, self_pid())
        return await receive(timeout=2)

    assert run(main, seed=1) == "posthumous"


def test_send_after_takes_the_value_of_the_message_when_it_is_called() -> None:
    async def main() -> Any:
        message = [1]
        send_after(1, self_pid(), message)
        message.append(2)
        return await receive(timeout=2)

    assert run(main, seed=1) == [1]


def test_send_after_looks_a_name_up_when_it_is_due() -> None:
    async def main() -> list[Any]:
        send_after(1, "nobody", "dropped")
        send_after(2, "late", "reaches")
        send_after(2, ("late", self_pid().node), "reaches, too")
        await sleep(1.5)
        register("late")
        return await count_until_silence(5)

    assert run(main, seed=1) == ["reaches", "reaches, too"]


def test_timer_wakes_a_node_that_is_idle() -> None:
    async def main() -> Any:
        async with io():
            send_after(0.01, self_pid(), "hello")
            return await receive(timeout=10)

    assert run(main) == "hello"


# --- cancel_timer ---------------------------------------------------------------------------------------------------------


def test_cancel_timer_gives_the_seconds_left_and_stops_it() -> None:
    async def main() -> None:
        ref = send_after(3, self_pid(), "never")
        await sleep(1)
        assert cancel_timer(ref) == pytest.approx(2)
        assert cancel_timer(ref) is None
        assert await count_until_silence(10) == []

    run(main, seed=1)


def test_cancel_timer_of_one_that_has_fired_or_never_was_is_none() -> None:
    async def main() -> None:
        ref = send_after(1, self_pid(), "hello")
        await sleep(2)
        assert cancel_timer(ref) is None
        assert await receive(timeout=0) == "hello"
        assert cancel_timer(monitor(self_pid())) is None

    run(main, seed=1)


def test_one_cancelled_timer_does_not_disturb_the_others() -> None:
    async def main() -> list[Any]:
        refs = [send_after(number, self_pid(), number) for number in range(1, 8)]
        for ref in refs[::2]:
            cancel_timer(ref)
        return await count_until_silence(20)

    assert run(main, seed=1) == [2, 4, 6]


# --- send_interval --------------------------------------------------------------------------------------------------------


def test_send_interval_sends_at_start_plus_n_periods() -> None:
    async def main() -> list[float]:
        start = now()
        ref = send_interval(0.5, self_pid(), "tick")
        times = []
        for _ in range(5):
            await receive(timeout=1)
            times.append(now() - start)
        assert cancel_timer(ref) is not None
        assert await count_until_silence(5) == []
        return times

    assert run(main, seed=1) == pytest.approx([0.5, 1, 1.5, 2, 2.5])


def test_send_interval_ends_with_its_owner() -> None:
    async def owner(to: Pid) -> None:
        send_interval(1, to, "tick")
        await sleep(3.5)

    async def main() -> list[Any]:
        spawn(owner, self_pid())
        return await count_until_silence(10)

    assert run(main, seed=1) == ["tick"] * 3


def test_send_interval_ends_with_the_pid_it_sends_to() -> None:
    async def main() -> Any:
        pid = spawn(sleeper)
        ref = send_interval(1, pid, "tick")
        exit(pid, "kill")
        await sleep(5)
        return cancel_timer(ref)

    assert run(main, seed=1) is None


def test_send_interval_to_a_name_goes_on_while_nobody_has_it() -> None:
    async def main() -> list[Any]:
        register("ticked")
        send_interval(1, "ticked", "tick")
        await sleep(2.5)
        unregister("ticked")
        await sleep(2)
        register("ticked")
        await sleep(1)
        unregister("ticked")
        return await count_until_silence(5)

    assert run(main, seed=1) == ["tick"] * 3


def test_each_tick_is_a_value_of_its_own() -> None:
    async def main() -> None:
        send_interval(1, self_pid(), [])
        first = await receive(timeout=2)
        first.append("changed")
        assert await receive(timeout=2) == []

    run(main, seed=1)


# --- misuse ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ((None, "self", 1), (TypeError, ValueError), "None"),
        (("1", "self", 1), TypeError, "'1'"),
        ((-1, "self", 1), ValueError, "-1"),
        ((math.inf, "self", 1), ValueError, "inf"),
        ((math.nan, "self", 1), ValueError, "nan"),
        ((1, 5, 1), TypeError, "5"),
        ((1, None, 1), TypeError, "None"),
        ((1, "self", iter([])), TypeError, "list_iterator"),
    ],
)
@pytest.mark.parametrize("start", [send_after, send_interval])
def test_wrong_arguments_of_a_timer_are_refused_at_once(start: Any, arguments: Any, error: Any, names: str) -> None:
    async def main() -> None:
        seconds, to, message = arguments
        with pytest.raises(error, match=names):
            start(seconds, self_pid() if to == "self" else to, message)

    run(main, seed=1)


def test_message_that_cannot_be_copied_any_more_is_sent_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function travels by its name, which may lead to another one by then: a module was reloaded."""

    async def main() -> None:
        job = colorsys.rgb_to_hsv
        send_after(2, self_pid(), job)
        send_after(3, ("me", self_pid().node), job)
        interval = send_interval(2, self_pid(), [job])
        register("me")
        monkeypatch.setattr(colorsys, "rgb_to_hsv", None)
        assert [await receive(timeout=2) for _ in range(4)] == [job, [job], job, [job]]
        cancel_timer(interval)

    run(main, seed=1)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: sleep(-1), ValueError, "sleep: seconds is a number >= 0 (math.inf waits for ever), not -1"),
        (lambda: sleep(None), TypeError, "sleep: seconds is a number >= 0 (math.inf waits for ever), not None"),  # type: ignore[arg-type]
        (lambda: sleep(math.nan), ValueError, "sleep: seconds is a number >= 0 (math.inf waits for ever), not nan"),
        (lambda: send_after("1", self_pid(), 1), TypeError, "send_after: seconds is a finite number >= 0, not '1'"),  # type: ignore[arg-type]
        (lambda: send_after(True, self_pid(), 1), TypeError, "send_after: seconds is a finite number >= 0, not True"),
        (lambda: send_interval(math.inf, self_pid(), 1), ValueError, "send_interval: seconds is a finite number > 0, not inf"),
    ],
)
def test_wrong_time_is_named_with_the_function_that_was_given_it(wrong: Any, error: Any, text: str) -> None:
    async def main() -> None:
        with pytest.raises(error, match=f"^{re.escape(text)}$"):
            await wrong()

    run(main, seed=1)


def test_interval_of_0_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="> 0"):
            send_interval(0, self_pid(), "tick")

    run(main, seed=1)


@pytest.mark.parametrize("ref", [None, 5, "ref"])
def test_cancel_timer_of_what_is_no_ref_is_a_type_error(ref: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=repr(ref)):
            cancel_timer(ref)

    run(main, seed=1)


def test_timer_of_a_process_that_is_gone_wakes_nobody() -> None:
    """The heap holds entries of dead processes; a new process must not be woken by one."""

    async def napper() -> None:
        await sleep(5)

    async def main() -> None:
        process_flag("trap_exit", True)
        for _ in range(100):
            pid, _ = spawn_monitor(napper)
            await sleep(0.001)
            exit(pid, "boom")
            await receive(Down)
        start = now()
        await sleep(20)
        assert now() - start == pytest.approx(20)
        with pytest.raises(TimeoutError):
            await receive(Exit, timeout=0)

    run(main, seed=1)
