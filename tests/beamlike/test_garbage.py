"""When cycles are collected while a node is open, and the switch that leaves that to Python."""

from __future__ import annotations

import gc
import weakref

import pytest

from beamlike import Pid, exit, garbage, receive, run, sleep, spawn

GROWTH = 100  # for these tests


@pytest.fixture(autouse=True)
def _small_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "GROWTH", GROWTH)
    monkeypatch.delenv("BEAMLIKE_GC", raising=False)


class Cycle:
    """Something only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


async def grown(cycles: weakref.WeakSet[Cycle]) -> list[Pid]:
    """Processes, more than GROWTH, that hold a cycle each and have had their first turn."""

    async def body() -> None:
        cycle = Cycle()
        cycles.add(cycle)
        await receive()

    pids = [spawn(body) for _ in range(2 * GROWTH)]
    await sleep(1)
    assert len(cycles) == len(pids)
    return pids


async def killed(pids: list[Pid]) -> None:
    for pid in pids:
        exit(pid, "kill")
    await sleep(1)


@pytest.mark.parametrize("number", [0, 2 * GROWTH])
def test_growth_is_frozen_while_the_node_is_open(number: int) -> None:
    """Whether or not so many have ended since that what was left has been frozen anew."""

    async def main() -> int:
        pids = await grown(weakref.WeakSet())
        await killed(pids[:number])
        return gc.get_freeze_count()

    thresholds = gc.get_threshold()
    assert run(main, seed=1) > GROWTH
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, thresholds)


def test_nothing_stays_frozen_when_the_node_was_idle_with_no_process_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = garbage.stop

    def idle_once_more() -> None:
        garbage.before_idle()  # as trio has it now and then
        stop()

    async def main() -> None:
        await grown(weakref.WeakSet())

    monkeypatch.setattr(garbage, "stop", idle_once_more)
    run(main, seed=1)
    assert gc.get_freeze_count() == 0


def test_cycles_wait_until_half_of_the_processes_have_ended() -> None:
    cycles: weakref.WeakSet[Cycle] = weakref.WeakSet()

    async def main() -> None:
        pids = await grown(cycles)
        await killed(pids[: GROWTH // 2])
        gc.collect()
        assert len(cycles) == 2 * GROWTH, "frozen: out of the collector's sight"
        await killed(pids[GROWTH // 2 :])
        assert len(cycles) == 0

    run(main, seed=1)


def test_with_the_switch_off_pythons_own_policy_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLIKE_GC", "off")
    cycles: weakref.WeakSet[Cycle] = weakref.WeakSet()

    async def main() -> None:
        pids = await grown(cycles)
        assert (gc.get_freeze_count(), gc.get_threshold()) == before
        await killed(pids[: GROWTH // 2])
        gc.collect()
        assert len(cycles) == 2 * GROWTH - GROWTH // 2

    gc.collect()  # CPython 3.12 moves its immortal objects among the frozen ones at the first
    before = gc.get_freeze_count(), gc.get_threshold()
    run(main, seed=1)
    assert (gc.get_freeze_count(), gc.get_threshold()) == before
