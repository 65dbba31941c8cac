"""Global names (D5), on real nodes that are really killed: one system for all checks, which are in names_checks.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # of the nodes, too

from in_system import checks_of, run_checks

MODULE = "names_checks"


@pytest.fixture(scope="module")
def outcome() -> dict[str, str]:
    return run_checks(MODULE, nodes=4)


@pytest.mark.parametrize("check", checks_of(MODULE))
def test_on_nodes(check: str, outcome: dict[str, str]) -> None:
    assert outcome.get(check, "not reached: a check before it hangs") == ""
