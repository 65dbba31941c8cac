"""C1, C2, C4, C7, C8 between nodes: exclusions go with spawns, calls and casts, and are added to what lives elsewhere."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from system import System

from beamlike.hot import is_compiled

MODULE = "exclusions_checks"
MOVES = 100_000 if is_compiled() else 10_000  # at least, of all examples: uncompiled they take several times as long
WORLDS, STEPS, AT_ONCE = 6, 36, 50
SETTINGS = settings(stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    "check",
    [
        "check_layers_go_with_a_call_and_a_cast_to_another_node",
        "check_an_applications_capability_goes_with_a_remote_spawn_and_refuses_there",
        "check_tightening_reaches_what_descends_on_all_nodes",
        "check_tightening_from_another_node_needs_the_right_to",
    ],
)
def test_exclusions_between_nodes(system: System, check: str) -> None:
    system.run(MODULE, check)


class NoEnlargement(RuleBasedStateMachine):
    """The rules are noted, and made by the system of nodes: WORLDS of processes at once, each with its own moves."""

    system: ClassVar[System]
    made: ClassVar[int] = 0  # moves, of all examples
    refused: ClassVar[int] = 0
    collected: ClassVar[int] = 0  # messages of timers and late calls

    @initialize()
    def begin(self) -> None:
        self.worlds = [b""] * WORLDS

    @rule(world=st.integers(0, WORLDS - 1), moves=st.binary(min_size=4 * AT_ONCE, max_size=4 * AT_ONCE))
    def moves(self, world: int, moves: bytes) -> None:
        """Many at a time: drawing them takes longer than making them."""
        self.worlds[world] += moves

    def teardown(self) -> None:
        worlds = [each.hex() for each in getattr(self, "worlds", []) if each]
        if worlds:
            refused, collected = self.system.run(MODULE, "check_nothing_enlarges_what_is_permitted", worlds)
            NoEnlargement.made += sum(map(len, worlds)) // 8
            NoEnlargement.refused += refused
            NoEnlargement.collected += collected


def test_c2_no_sequence_of_operations_over_nodes_ever_enlarges_what_is_permitted(system: System) -> None:
    NoEnlargement.system = system
    while (left := MOVES - NoEnlargement.made) > 0:  # hypothesis ends some examples early
        run_state_machine_as_test(NoEnlargement, settings=settings(SETTINGS, max_examples=1 + left // (STEPS * AT_ONCE)))
    print(f"{NoEnlargement.made} moves, {NoEnlargement.refused} of them refused; {NoEnlargement.collected} messages collected")
    assert NoEnlargement.refused > MOVES // 100
    assert NoEnlargement.collected > MOVES // 100
