"""What runs over all nodes (D5, D6, process pairs), on real nodes that are really killed: one system for the checks of each module."""

from __future__ import annotations

from functools import cache

import pytest
from in_system import checks_of, run_checks

MODULES = (
    "names_checks",
    "groups_checks",
    "placement_checks",
    "partitioned_checks",
    "supervisor_checks",
    "pairs_checks",
    "chaos_checks",
    "faults_checks",
    "forgery_checks",
)


@cache
def outcome_of(module: str) -> dict[str, str]:
    return run_checks(module, nodes=4)


@pytest.mark.parametrize(("module", "check"), [(module, check) for module in MODULES for check in checks_of(module)])
def test_on_nodes(module: str, check: str) -> None:
    assert outcome_of(module).get(check, "not reached: a check before it hangs") == ""
