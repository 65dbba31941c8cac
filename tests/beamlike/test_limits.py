"""Bounded mailboxes (M9), limits (P3) and dead letters."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import pytest

from beamlike import (
    Down,
    Limits,
    Mailbox,
    Pid,
    process_info,
    processes,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
)
from beamlike.dead_letters import DeadLetter, dead_letter_counts, dead_letters
from beamlike.hot.values import size_of


async def sleeper() -> None:
    await sleep(float("inf"))


async def slow_reader(boss: Pid) -> None:
    """Lets its mailbox fill, then reports what is in it."""
    await sleep(1)
    messages = []
    while True:
        try:
            messages.append(await receive(timeout=0))
        except TimeoutError:
            break
    send(boss, messages)
    await sleeper()


@pytest.mark.parametrize(("full", "kept", "dropped"), [("drop_new", [0, 1, 2], [3, 4]), ("drop_old", [2, 3, 4], [0, 1])])
def test_m9_bounded_mailbox_keeps_what_it_should_and_counts_the_rest(full: Any, kept: list[int], dropped: list[int]) -> None:
    async def main() -> None:
        pid = spawn(slow_reader, self_pid(), mailbox=Mailbox(3, full))
        for number in range(5):
            send(pid, number)
        assert await receive(timeout=2) == kept
        assert dead_letters() == [DeadLetter(pid, number, full) for number in dropped]
        assert dead_letter_counts() == {(pid, full): 2}

    run(main, seed=1)


def test_m9_bounded_mailbox_may_end_its_receiver() -> None:
    async def main() -> None:
        pid, _ = spawn_monitor(sleeper, mailbox=Mailbox(2, "exit"))
        for number in range(3):
            send(pid, number)
        assert (await receive(Down, timeout=1)).reason == ("mailbox", "full")
        assert dead_letters() == [DeadLetter(pid, 2, "exit")]

    run(main, seed=1)


def test_m9_mailbox_has_room_again_when_a_message_was_taken() -> None:
    async def reader(boss: Pid) -> None:
        while True:
            send(boss, await receive())

    async def main() -> list[Any]:
        pid = spawn(reader, self_pid(), mailbox=Mailbox(1))
        got = []
        for number in range(5):
            send(pid, number)
            got.append(await receive(timeout=1))
        return got

    assert run(main, seed=1) == [0, 1, 2, 3, 4]


def test_m9_mailbox_of_a_child_is_not_bounded_as_its_parents() -> None:
    async def parent(boss: Pid) -> None:
        send(boss, spawn(sleeper))
        await sleeper()

    async def main() -> int:
        spawn(parent, self_pid(), mailbox=Mailbox(1))
        child = await receive(Pid)
        for number in range(10):
            send(child, number)
        return process_info(child).mailbox_length  # type: ignore[union-attr]

    assert run(main, seed=1) == 10


def test_m9_dead_letters_are_logged_when_their_number_doubles(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pid = spawn(sleeper, mailbox=Mailbox(1))
        for number in range(10):
            send(pid, number)

    with caplog.at_level(logging.WARNING, "beamlike.dead_letters"):
        run(main, seed=1)
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [1, 2, 4, 8]


def test_m9_the_last_dead_letters_are_kept() -> None:
    async def main() -> None:
        pid = spawn(sleeper, mailbox=Mailbox(1))
        for number in range(301):
            send(pid, number)
        assert [letter.message for letter in dead_letters()] == list(range(201, 301))
        assert dead_letter_counts() == {(pid, "drop_new"): 300}

    run(main, seed=1)


def test_m9_counts_are_kept_for_a_bounded_number_of_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("beamlike.dead_letters"), "MOST_RECEIVERS", 2)  # the face has a function of that name

    async def main() -> None:
        pids = [spawn(sleeper, mailbox=Mailbox(1)) for _ in range(3)]
        for pid in pids:
            for number in range(3):
                send(pid, number)
        assert dead_letter_counts() == {(pid, "drop_new"): 2 for pid in pids[1:]}
        assert len(dead_letters()) == 6

    run(main, seed=1)


def test_dead_letters_of_one_run_are_forgotten_in_the_next() -> None:
    async def main() -> int:
        before = len(dead_letters())
        pid = spawn(sleeper, mailbox=Mailbox(1))
        send(pid, 1)
        send(pid, 2)
        return before

    assert [run(main, seed=1), run(main, seed=1)] == [0, 0]


# --- P3 -------------------------------------------------------------------------------------------------------------------


def test_p3_passing_the_limit_of_messages_ends_with_a_reason_that_names_it() -> None:
    async def main() -> Any:
        pid, _ = spawn_monitor(sleeper, limits=Limits(messages=3))
        for number in range(3):
            send(pid, number)
        assert process_info(pid) is not None, "three may wait"
        send(pid, 3)
        return (await receive(Down, timeout=1)).reason

    assert run(main, seed=1) == ("limit", "messages")


def test_p3_passing_the_limit_of_bytes_ends_with_a_reason_that_names_it() -> None:
    async def main() -> Any:
        pid, _ = spawn_monitor(sleeper, limits=Limits(bytes=10_000))
        send(pid, b"x" * 5_000)
        assert process_info(pid) is not None
        send(pid, b"x" * 6_000)
        return (await receive(Down, timeout=1)).reason

    assert run(main, seed=1) == ("limit", "bytes")


def test_p3_messages_that_were_taken_do_not_count() -> None:
    async def reader(boss: Pid) -> None:
        while True:
            send(boss, len(await receive()))

    async def main() -> None:
        pid = spawn(reader, self_pid(), limits=Limits(messages=1, bytes=10_000))
        for _ in range(20):
            send(pid, b"x" * 5_000)
            assert await receive(timeout=1) == 5_000

    run(main, seed=1)


def test_p3_passing_the_limit_of_reductions_ends_with_a_reason_that_names_it() -> None:
    async def busy() -> None:
        while True:
            await sleep(0)

    async def main() -> Any:
        _pid, _ = spawn_monitor(busy, limits=Limits(reductions=1000))
        return (await receive(Down, timeout=10)).reason

    assert run(main) == ("limit", "reductions")


def test_p3_process_within_its_reductions_lives_on() -> None:
    async def modest(boss: Pid) -> None:
        for _ in range(50):
            await sleep(0.1)
        send(boss, "lives")

    async def main() -> Any:
        spawn_monitor(modest, self_pid(), limits=Limits(reductions=1000))
        return await receive(timeout=60)

    assert run(main, seed=1) == "lives"


def test_p3_limits_are_inherited_and_can_only_be_tightened() -> None:
    async def parent(boss: Pid) -> None:
        for limits in (None, Limits(messages=100), Limits(messages=2)):
            send(boss, spawn(sleeper, limits=limits))
        await sleeper()

    async def main() -> list[int]:
        spawn(parent, self_pid(), limits=Limits(messages=5))
        lengths = []
        for child in [await receive(Pid, timeout=1) for _ in range(3)]:
            survived = 0
            while process_info(child) is not None:
                survived += 1
                send(child, survived)
            lengths.append(survived - 1)
        return lengths

    assert run(main, seed=1) == [5, 5, 2]


def test_p3_grandchildren_inherit_too_and_each_counts_on_its_own() -> None:
    async def descend(boss: Pid, generations: int) -> None:
        if generations:
            spawn_link(descend, boss, generations - 1)
        send(boss, self_pid())
        await sleeper()

    async def main() -> int:
        spawn(descend, self_pid(), 3, limits=Limits(messages=2))
        family = [await receive(Pid, timeout=1) for _ in range(4)]
        for pid in family:
            send(pid, 1)
            send(pid, 2)
        assert len(processes()) == 5
        send(family[2], 3)  # one passes its limit, and its links follow
        await sleep(1)
        return len(processes())

    assert run(main, seed=1) == 1


def test_p3_limit_holds_in_trio_mode() -> None:
    async def main() -> Any:
        pid, _ = spawn_monitor(sleeper, io=True, limits=Limits(messages=1))
        await sleep(0.1)
        send(pid, 1)
        send(pid, 2)
        return (await receive(Down, timeout=1)).reason

    assert run(main, seed=1) == ("limit", "messages")


def test_p3_a_send_under_a_limit_of_bytes_sizes_its_own_message_and_not_those_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    sized: list[Any] = []

    def counting(value: Any) -> int:
        sized.append(value)
        return size_of(value)

    monkeypatch.setattr("beamlike.limits.size_of", counting)

    async def main() -> int:
        pid = spawn(sleeper, limits=Limits(bytes=10**9))
        for number in range(200):
            send(pid, number)
        return process_info(pid).mailbox_length  # type: ignore[union-attr]

    assert run(main, seed=1) == 200
    assert sized == list(range(200))


def test_p3_limit_of_bytes_holds_in_a_full_mailbox_that_drops_the_oldest() -> None:
    async def main() -> Any:
        pid, _ = spawn_monitor(sleeper, limits=Limits(bytes=1000), mailbox=Mailbox(2, "drop_old"))
        send(pid, 1)
        send(pid, 2)
        send(pid, b"x" * 10**6)
        return (await receive(Down, timeout=1)).reason

    assert run(main, seed=1) == ("limit", "bytes")


def test_p3_message_that_was_dropped_does_not_count() -> None:
    async def main() -> int:
        pid = spawn(sleeper, limits=Limits(messages=2, bytes=10_000), mailbox=Mailbox(2, "drop_old"))
        for _ in range(10):
            send(pid, b"x" * 4_000)
        return process_info(pid).mailbox_length  # type: ignore[union-attr]

    assert run(main, seed=1) == 2


# --- misuse ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Mailbox(0), "0"),
        (lambda: Mailbox(-1), "-1"),
        (lambda: Mailbox("3"), "'3'"),  # type: ignore[arg-type]
        (lambda: Mailbox(True), "True"),
        (lambda: Mailbox(1.5), "1.5"),  # type: ignore[arg-type]
        (lambda: Mailbox(1, "drop"), "'drop'"),  # type: ignore[arg-type]
        (lambda: Limits(messages=0), "messages is None or a whole number >= 1, not 0"),
        (lambda: Limits(bytes=-5), "bytes .* not -5"),
        (lambda: Limits(reductions="x"), "reductions .* not 'x'"),  # type: ignore[arg-type]
        (lambda: Limits(1).tightened(5), "not 5"),  # type: ignore[arg-type]
    ],
)
def test_wrong_bounds_are_refused_where_they_are_made(make: Any, names: str) -> None:
    with pytest.raises((TypeError, ValueError), match=names):
        make()


@pytest.mark.parametrize(("option", "value"), [("limits", 5), ("limits", {"messages": 1}), ("mailbox", 5), ("mailbox", "drop_new")])
def test_option_that_is_no_bound_is_refused_and_nothing_is_spawned(option: str, value: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=f"{option} is a"):
            spawn(sleeper, **{option: value})
        assert processes() == [self_pid()]

    run(main, seed=1)
