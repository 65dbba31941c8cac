"""`spawn_at` between real nodes: options, errors, exclusions, and what ends while it is asked."""

from __future__ import annotations

import pytest
from system import System

MODULE = "spawn_checks"


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "check",
    [
        "check_every_option_has_its_effect_there",
        "check_errors_come_back_as_the_exception_that_spawn_raises",
        "check_limits_are_inherited_and_only_tightened",
        "check_ancestors_and_initial_call_are_known",
        "check_link_and_monitor_are_there_from_the_start",
    ],
)
def test_spawn_on_one_node_and_on_two(system: System, check: str, number: int) -> None:
    system.run(MODULE, check, number)


@pytest.mark.parametrize("numbers", [(2, 3, 1), (1, 2, 1), (2, 2, 3)], ids=str)
def test_c4_layers_and_ancestors_arrive_over_every_hop(system: System, numbers: tuple[int, ...]) -> None:
    system.run(MODULE, "check_layers_and_ancestors_arrive_over_every_hop", *numbers)


@pytest.mark.parametrize(
    "check",
    [
        "check_child_of_a_spawner_that_dies_before_the_answer_dies_with_it",
        "check_child_of_a_spawn_that_was_cancelled_is_ended",
        "check_spawn_fails_when_the_connection_is_lost_before_the_answer",
        "check_spawn_fails_when_the_node_dies_before_the_answer",
        "check_asker_of_process_info_and_spawn_may_be_killed_meanwhile",
    ],
)
def test_spawn_and_death(system: System, check: str) -> None:
    system.run(MODULE, check)
