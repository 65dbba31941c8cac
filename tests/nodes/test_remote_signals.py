"""The rules E1–E19 for two processes on one node, and on two, on real nodes: each check on every placement, with real kills."""

from __future__ import annotations

from typing import Any

import pytest
from system import System, checks_of

PLACES = {"local": (1, 1), "to another node": (1, 2), "from another node": (2, 1), "on two others": (2, 3)}
ALL = checks_of("signals_checks")
WITH_KILLS = [name for name in ALL if name.startswith(("check_e11", "check_e13", "check_e18_child_whose", "check_e19_on_down"))]
CROSSING = "check_e15_links_and_unlinks_of_both_that_cross_never_leave_half_a_link"


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("check", [name for name in ALL if name not in (*WITH_KILLS, CROSSING)])
def test_signals(system: System, check: str, place: tuple[int, int]) -> None:
    system.run("signals_checks", check, *place)


@pytest.mark.parametrize("place", [(1, 2), (3, 2)], ids=["one and the lost one", "another and the lost one"])
@pytest.mark.parametrize("check", WITH_KILLS)
def test_signals_of_a_node_that_is_killed(system: System, check: str, place: tuple[int, int]) -> None:
    system.run("signals_checks", check, *place)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("place", [(1, 2), (2, 3)], ids=["to another node", "on two others"])
def test_links_and_unlinks_that_cross(system: System, place: tuple[int, int], seed: int) -> None:
    system.run("signals_checks", CROSSING, *place, seed)


def test_every_rule_is_checked() -> None:
    rules: Any = {name.split("_")[1] for name in ALL}
    assert rules == {f"e{number}" for number in range(1, 20)}
