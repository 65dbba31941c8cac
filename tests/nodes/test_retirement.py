"""What the conductor does about a node that has too many faults, and what everybody does who is told."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

import nodes
from beamlike.hot.ids import NodeId
from nodes.membership import Member, Membership
from nodes.requirements import check_fault_limit
from nodes.retirement import Retirement
from nodes.serd import Fault, Serd

CORES = {"a": 0, "b": 1, "c": 2, "d": 2}


class Scene:
    """The nodes of a string, by age, with main on a; the first is where all is seen from, unless told otherwise."""

    def __init__(self, up: str, *, main_moves: bool = False, me: str = "", cores: tuple[int, ...] = (0, 1, 2), limit: int = 3) -> None:
        lives = {name: NodeId(name, number) for number, name in enumerate(up, 1)}
        mine = lives.pop(me or up[0])
        self.asked: list[tuple[Any, ...]] = []
        nobody: Any = None
        self.membership = Membership(mine, ("a", "b", "c", "d"), nobody, nobody, self.ask)
        for name, id_ in lives.items():
            self.membership.members[name] = Member(id_, 0, 0.0, 0, -1, nobody)
        self.retirement = Retirement(self.membership, Serd(limit, 3600.0), "a", main_moves, cores, CORES.__getitem__, self.ask)

    def ask(self, *packet: Any) -> None:
        self.asked.append(packet)

    def faults(self, faults: str) -> Scene:
        """`"ab"`: b found what a wrote."""
        for ends in faults.split():
            self.retirement.fault(Fault(time.monotonic(), ends[0], ends[1]))
        return self


def test_who_is_at_the_limit_is_retired() -> None:
    assert Scene("acbd").faults("ba cb").asked == []
    assert Scene("acbd").faults("ba cb bd").asked == [("retire", "b", "3 faults in 3600 s")]


def test_only_the_conductor_asks_and_the_next_one_knows_as_much() -> None:
    scene = Scene("acbd", me="c").faults("ba cb bd")
    assert scene.asked == []
    del scene.membership.members["a"]
    scene.retirement.judge()
    assert scene.asked == [("retire", "b", "3 faults in 3600 s")]


def test_conductor_gives_itself_up_too() -> None:
    assert Scene("bacd").faults("ba cb bd").asked == [("retire", "b", "3 faults in 3600 s")]


def test_who_is_retired_explains_the_faults_of_its_partners() -> None:
    scene = Scene("acbd").faults("bc bc bc")
    assert scene.asked == [("retire", "b", "3 faults in 3600 s")]
    scene.retirement.retired("b", 1, "3 faults in 3600 s")
    assert len(scene.asked) == 1
    assert scene.membership.roster == ("a", "c", "d")
    scene.faults("cd dc cd")
    assert scene.asked[1:] == [("retire", "c", "3 faults in 3600 s")]


def test_two_at_the_limit_are_given_up_one_after_the_other() -> None:
    scene = Scene("acbd", limit=1).faults("bc")
    scene.faults("dc")
    assert scene.asked == [("retire", "b", "1 fault in 3600 s"), ("retire", "c", "2 faults in 3600 s")]
    scene.retirement.retired("c", 2, "2 faults in 3600 s")
    assert len(scene.asked) == 2


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize(
    ("up", "faults", "main_moves", "cores", "why"),
    [
        ("ac", "ac ca ac ac ac", False, (0, 1, 2), "main runs there, and on_main_lost is 'stop'"),
        ("ac", "ac ca ac ac ac", True, (0,), "there is no other core for it"),
        ("b", "bc bc bc bc bc", True, (0, 1, 2), "no other is up"),
        ("a", "ac ca ac ac ac", True, (0, 1, 2), "no other is up"),
    ],
)
def test_who_is_indispensable_is_kept_which_is_logged_once(
    caplog: pytest.LogCaptureFixture, up: str, faults: str, main_moves: bool, cores: tuple[int, ...], why: str
) -> None:
    assert Scene(up, main_moves=main_moves, cores=cores).faults(faults).asked == []
    (text,) = told(caplog)
    assert text.startswith(f"memory between {up[0]} and others was changed behind our back, 3 faults in 3600 s: it is kept, for ")
    assert text.endswith(why)


def test_who_is_kept_does_not_hide_another() -> None:
    assert Scene("abcd").faults("ab ac ad ad bc bc bd").asked == [("retire", "b", "4 faults in 3600 s")]


@pytest.mark.parametrize(("up", "core"), [("cab", 1), ("bacd", 1), ("cad", 1), ("cabd", 1), ("cb", None)])
def test_main_moves_to_the_emptiest_other_core(up: str, core: int | None) -> None:
    scene = Scene(up, main_moves=True).faults("ab ca ac")
    assert scene.asked == ([] if core is None else [("rehome", "a", up.index("a") + 1, core, "3 faults in 3600 s")])


def test_main_does_not_move_to_the_core_of_a_node_that_is_retired() -> None:
    scene = Scene("cad", main_moves=True)
    scene.retirement.retired("b", 1, "3 faults in 3600 s")
    assert scene.faults("ac ca ac").asked == [("rehome", "a", 2, 2, "3 faults in 3600 s")]


def test_faults_on_the_former_core_do_not_count() -> None:
    scene = Scene("cab").faults("ba cb")
    scene.retirement.moved("b")
    assert scene.faults("bc bc").asked == []


@pytest.mark.parametrize("limit", [(1, 1), (3, 3600.0), (64, 0.5)])
def test_fault_limits(limit: tuple[int, float]) -> None:
    assert check_fault_limit(limit) == limit


@pytest.mark.parametrize("limit", [(0, 1.0), (65, 1.0), (3, 0.0), (3, -1), (3, float("inf")), (3, float("nan"))])
def test_fault_limit_that_cannot_be_is_a_value_error(limit: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match=r"fault_limit is 1 to 64 faults in more than 0.0 seconds"):
        check_fault_limit(limit)


@pytest.mark.parametrize("limit", [3, (3,), (3.0, 1.0), (True, 1.0), (3, "1"), (3, 1.0, 1), None])
def test_fault_limit_of_another_type_is_a_type_error(limit: Any) -> None:
    with pytest.raises(TypeError, match=r"fault_limit is how many faults in how many seconds retire a node, as \(3, 3600.0\), not"):
        nodes.run(main, fault_limit=limit)


async def main() -> None:
    """Of a system that is not started."""
