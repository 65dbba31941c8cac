"""C1, C2, C4, C7, C8 between nodes: exclusions go with spawns, calls and casts, and are added to what lives elsewhere."""

from __future__ import annotations

import pytest
from system import System

MODULE = "exclusions_checks"
MOVES = 1500  # by the check of C2


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


def test_c2_no_sequence_of_operations_over_nodes_ever_enlarges_what_is_permitted(system: System) -> None:
    assert system.run(MODULE, "check_nothing_enlarges_what_is_permitted", MOVES) > 0
