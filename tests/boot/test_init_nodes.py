"""Goals on each node of a system of real nodes, some of which are killed."""

from __future__ import annotations

import pytest
from system import System, checks_of

MODULE = "init_checks"


@pytest.mark.parametrize("check", checks_of(MODULE))
def test_goals_on_nodes(system: System, check: str) -> None:
    system.run(MODULE, check)
