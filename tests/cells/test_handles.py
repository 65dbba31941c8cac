"""Handles: what a cell may name, for how long."""

from __future__ import annotations

import pytest

from beamlike import Pid, exit, receive, run, self_pid, sleep, spawn
from cells import handles
from cells.handles import Handles, TooManyError


async def waits() -> None:
    await receive(lambda message: False)


def test_who_has_ended_is_forgotten_who_lives_is_not_and_no_number_is_given_twice() -> None:
    async def main() -> None:
        here = self_pid().origin
        kept = Handles(here)
        living = [spawn(waits) for _ in range(10)]
        numbers = [kept.number(pid) for pid in living]
        assert numbers == [*range(1, 11)]
        for _ in range(5 * handles.FEWEST):
            brief = spawn(sleep, 0)
            number = kept.number(brief)
            numbers.append(number)
            assert kept.pid(number) is brief
            exit(brief, "kill")
            await sleep(0)
        assert numbers == [*range(1, len(numbers) + 1)]
        assert [kept.pid(number) for number in range(1, 11)] == living
        assert [kept.number(pid) for pid in living] == [*range(1, 11)]
        assert len(kept.pids) <= 2 * handles.FEWEST
        assert kept.pid(20) == Pid(here, 0)
        assert [kept.pid(number) for number in (0, -1, len(numbers) + 1, 2**64)] == [None] * 4

    run(main)


def test_so_many_that_live_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(handles, "MOST_HANDLES", 2 * handles.FEWEST)
        kept = Handles(self_pid().origin)
        while len(kept.pids) < 2 * handles.FEWEST:
            kept.number(spawn(waits))
        with pytest.raises(TooManyError):
            kept.number(spawn(waits))
        for pid in list(kept.pids.values()):
            exit(pid, "kill")
        await sleep(0)
        assert kept.number(self_pid()) > 2 * handles.FEWEST

    run(main)
