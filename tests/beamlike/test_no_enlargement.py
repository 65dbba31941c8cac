"""C2: no sequence of operations ever enlarges what a process is permitted; on one node. Between nodes: tests/nodes/test_exclusions.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from exclusion_moves import PROBES, Moves
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from beamlike import run, self_pid

EXAMPLES, STEPS = 290, 400  # hypothesis ends some examples early: 10^5 moves and more

made = 0  # moves, of all examples


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL + 1)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


number = st.integers(0, 255)


class NoEnlargement(RuleBasedStateMachine):
    """The rules are noted, and made one after the other on a node of their own."""

    @initialize()
    def begin(self) -> None:
        self.moves: list[tuple[int, int, int, int]] = []

    @rule(moves=st.binary(min_size=40, max_size=40))
    def ten_moves(self, moves: bytes) -> None:
        """Ten at a time: drawing them takes longer than making them."""
        self.moves += [tuple(moves[i : i + 4]) for i in range(0, 40, 4)]  # type: ignore[misc]

    def teardown(self) -> None:
        global made
        if not hasattr(self, "moves"):
            return

        async def main() -> None:
            moves = Moves([self_pid().node])
            await moves.open()
            for each in self.moves:
                await moves.make(*each)

        run(main, preempt=False)
        made += len(self.moves)


def test_c2_no_sequence_of_operations_ever_enlarges_what_is_permitted() -> None:
    assert len(PROBES) >= 40
    run_state_machine_as_test(
        NoEnlargement,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS // 10, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        ),
    )
    print(f"{made} moves")
    assert made >= 100_000
