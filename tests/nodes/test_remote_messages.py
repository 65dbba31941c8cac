"""The rules M1–M10 between real nodes, some of them stopped or killed."""

from __future__ import annotations

import pytest
from system import System

MODULE = "messages_checks"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("place", [(1, 2), (2, 1), (2, 3)])
def test_m1_order_holds_for_messages_of_all_lengths(system: System, place: tuple[int, int], seed: int) -> None:
    system.run(MODULE, "check_m1_order_holds_for_messages_of_all_lengths", *place, seed)


@pytest.mark.parametrize(
    "check",
    [
        "check_m1_order_holds_for_all_signals_together",
        "check_m1_order_holds_while_the_other_node_does_not_read",
        "check_m2_send_to_a_dead_pid_or_a_name_nobody_has_is_dropped_in_silence",
        "check_m4_also_at_first_contact",
        "check_m5_late_reply_to_a_call_that_timed_out_is_dropped",
        "check_m5_reply_that_has_come_before_the_caller_looks_is_dropped_when_the_call_is_over",
        "check_m6_pid_of_a_node_that_was_restarted_reaches_nobody",
        "check_m7_pid_that_came_back_is_reached_at_home",
        "check_m10_deaths_are_told_while_a_flooder_is_suspended",
        "check_m10_suspended_flooder_in_trio_mode_does_not_compute",
        "check_message_that_ends_the_program_where_it_is_imported_is_dropped",
    ],
)
def test_messages(system: System, check: str) -> None:
    system.run(MODULE, check)


@pytest.mark.parametrize(("length", "count"), [(10, 500), (10, 5000), (40_000, 4), (100_000, 4), (100_000, 500)])
def test_m4_what_a_node_that_dies_had_committed_comes_before_noconnection(system: System, length: int, count: int) -> None:
    system.run(MODULE, "check_m4_what_a_node_that_dies_had_committed_comes_before_noconnection", 2, length, count)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "check",
    [
        "check_m7_every_kind_of_value_arrives_equal_types_included",
        "check_m8_what_cannot_be_sent_is_a_type_error_in_the_sender_that_names_the_part",
    ],
)
def test_values_on_one_node_and_on_two(system: System, check: str, number: int) -> None:
    system.run(MODULE, check, number)


@pytest.mark.parametrize(("full", "kept"), [("drop_new", [0, 1, 2]), ("drop_old", [2, 3, 4]), ("exit", [])])
def test_m9_bounded_mailbox_of_another_node_keeps_what_it_should(system: System, full: str, kept: list[int]) -> None:
    system.run(MODULE, "check_m9_bounded_mailbox_of_another_node_keeps_what_it_should", full, kept)


@pytest.mark.parametrize(
    ("how", "count", "length"),
    [("for", 30_000, 200), ("for", 120, 300_000), ("io", 30_000, 200), ("sorted", 30_000, 200), ("server", 30_000, 200)],
)
def test_m10_flooder_of_a_node_that_does_not_read_is_suspended(system: System, how: str, count: int, length: int) -> None:
    system.run(MODULE, "check_m10_flooder_of_a_node_that_does_not_read_is_suspended", how, count, length)


@pytest.mark.parametrize("how", ["for", "io", "sorted", "server"])
@pytest.mark.parametrize("check", ["check_m10_flooder_that_is_killed_dies", "check_m10_flooder_goes_on_when_the_node_is_killed"])
def test_m10_suspended_flooder(system: System, check: str, how: str) -> None:
    system.run(MODULE, check, how)
