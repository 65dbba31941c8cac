"""Calls between real nodes (G1–G7), some of them killed."""

from __future__ import annotations

import pytest
from system import System

MODULE = "calls_checks"


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "check",
    [
        "check_g1_every_reason_of_a_call_without_an_answer",
        "check_g2_answers_of_others_and_the_watch_is_removed",
        "check_cast_reaches_the_server_in_order",
        "check_supervisor_of_another_node_is_asked_and_told",
        "check_sys_functions_work_on_a_server_of_another_node",
        "check_process_info_at_busy_and_dead_and_remote_processes",
    ],
)
def test_calls_on_one_node_and_on_two(system: System, check: str, number: int) -> None:
    system.run(MODULE, check, number)


def test_g1_calls_in_flight_when_the_node_is_killed_are_noconnection(system: System) -> None:
    system.run(MODULE, "check_g1_calls_in_flight_when_the_node_is_killed_are_noconnection", 2)


@pytest.mark.parametrize("numbers", [(2, 3), (1, 2), (2, 1), (1, 2, 3), (3, 2, 1, 2), (2, 2, 3), (1, 2, 2), (2, 2)], ids=str)
def test_g7_cycle_of_calls_over_nodes_fails_and_names_the_cycle(system: System, numbers: tuple[int, ...]) -> None:
    system.run(MODULE, "check_g7_cycle_of_calls_over_nodes_fails_and_names_the_cycle", *numbers)


@pytest.mark.parametrize(
    "check",
    [
        "check_g7_call_that_is_long_but_no_cycle_goes_on",
        "check_g7_server_that_answers_later_is_no_part_of_a_cycle",
        "check_g7_of_a_cycle_that_closes_at_both_ends_at_once_not_all_need_fail",
        "check_g7_cycle_that_a_call_on_one_node_closes_is_found",
        "check_g7_ordinary_calls_send_no_probes",
    ],
)
def test_cycles(system: System, check: str) -> None:
    system.run(MODULE, check)
