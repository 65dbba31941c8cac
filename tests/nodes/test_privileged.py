"""C5, C6 between nodes: every privileged call, of processes that were spawned from another node, and of a pair that was taken over."""

from __future__ import annotations

import pytest
from system import System

MODULE = "privileged_checks"


@pytest.mark.parametrize(
    "situation", ["direct", "inherited", "restarted", "through_server", "in_trio", "in_child_task", "in_blocking_thread"]
)
def test_c5_calls_between_nodes_are_refused_and_change_nothing(system: System, situation: str) -> None:
    system.run(MODULE, "check_calls_between_nodes", situation)


@pytest.mark.parametrize("check", ["check_all_calls_after_a_remote_spawn", "check_all_calls_after_the_take_over_of_a_process_pair"])
def test_c2_and_c5_all_calls(system: System, check: str) -> None:
    system.run(MODULE, check)
