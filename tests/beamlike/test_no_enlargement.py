"""C2: no sequence of operations ever enlarges what a process is permitted; on one node. Between nodes: tests/nodes/test_exclusions.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import ClassVar

import pytest
from exclusion_moves import PROBES, Moves
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from beamlike import run, self_pid

MOVES = 100_000  # at least, of all examples
STEPS, AT_ONCE = 40, 10
SETTINGS = settings(stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL + 1)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


class NoEnlargement(RuleBasedStateMachine):
    """The rules are noted, and made one after the other on a node of their own."""

    made: ClassVar[int] = 0  # moves, of all examples
    refused: ClassVar[int] = 0
    collected: ClassVar[int] = 0  # messages of timers and late calls

    @initialize()
    def begin(self) -> None:
        self.moves: list[tuple[int, int, int, int]] = []

    @rule(moves=st.binary(min_size=4 * AT_ONCE, max_size=4 * AT_ONCE))
    def ten_moves(self, moves: bytes) -> None:
        """Ten at a time: drawing them takes longer than making them."""
        self.moves += [tuple(moves[i : i + 4]) for i in range(0, 4 * AT_ONCE, 4)]  # type: ignore[misc]

    def teardown(self) -> None:
        if not getattr(self, "moves", []):
            return

        async def main() -> None:
            moves = Moves([self_pid().node])
            await moves.open()
            for each in self.moves:
                await moves.make(*each)
            NoEnlargement.collected += len(await moves.close())
            NoEnlargement.refused += moves.refused

        run(main, preempt=False)
        NoEnlargement.made += len(self.moves)


def test_c2_no_sequence_of_operations_ever_enlarges_what_is_permitted() -> None:
    assert len(PROBES) >= 40
    while (left := MOVES - NoEnlargement.made) > 0:  # hypothesis ends some examples early
        run_state_machine_as_test(NoEnlargement, settings=settings(SETTINGS, max_examples=1 + left // (STEPS * AT_ONCE)))
    print(f"{NoEnlargement.made} moves, {NoEnlargement.refused} of them refused; {NoEnlargement.collected} messages collected")
    assert NoEnlargement.refused > MOVES // 100
    assert NoEnlargement.collected > MOVES // 100
