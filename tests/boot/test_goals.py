"""Goals as values: what a goal may be, and the plan, which names at once all that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamlike import pack, unpack
from boot.goals import Goal, GoalError, State, plan


async def begin() -> None:
    """Is never run."""


def plain() -> None:
    """Is not async."""


def goal(name: str, *requires: str, wants: tuple[str, ...] = (), **fields: Any) -> Goal:
    return Goal(name, begin, requires=requires, wants=wants, **fields)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, ValueError),
        ({"name": "a/b"}, ValueError),
        ({"name": "../a"}, ValueError),
        ({"name": "a\n"}, ValueError),
        ({"name": "x" * 101}, ValueError),
        ({"name": 7}, ValueError),
        ({"name": None}, TypeError),
        ({"start": plain}, TypeError),
        ({"start": None}, TypeError),
        ({"args": [1]}, TypeError),
        ({"requires": ["b"]}, TypeError),
        ({"requires": "b"}, ValueError),
        ({"requires": ("b", 1)}, TypeError),
        ({"requires": ("b", "b")}, ValueError),
        ({"requires": ("a",)}, ValueError),
        ({"wants": ("a",)}, ValueError),
        ({"requires": ("b",), "wants": ("b",)}, ValueError),
        ({"each_node": 1}, ValueError),
        ({"only_first_boot": None}, TypeError),
        ({"only_first_boot": True, "each_node": True}, ValueError),
        ({"start_timeout": 0}, ValueError),
        ({"start_timeout": True}, ValueError),
        ({"start_timeout": float("inf")}, ValueError),
        ({"start_timeout": float("nan")}, ValueError),
        ({"stop_timeout": -1}, ValueError),
        ({"stop_timeout": None}, TypeError),
        ({"attempts": 0}, ValueError),
        ({"attempts": 1.5}, ValueError),
        ({"period": 0.0}, ValueError),
        ({"exclude": [("spawn", "all")]}, TypeError),
        ({"exclude": (("nothing", "like it"),)}, ValueError),
    ],
)
def test_a_goal_that_cannot_be_is_refused_by_field(fields: dict[str, Any], error: type[Exception]) -> None:
    given: dict[str, Any] = {"name": "a", "start": begin, **fields}
    with pytest.raises(error, match=f"goal .*: {'|'.join(fields)}") as caught:
        Goal(**given)
    assert type(caught.value) is error


def test_a_goal_is_frozen_and_can_be_sent() -> None:
    made = goal("a", "b", wants=("c",), exclude=(("send", "bank"),))
    with pytest.raises(AttributeError):
        made.name = "b"  # type: ignore[misc]
    assert unpack(pack(made), functions=True) == made
    assert unpack(pack(State.ONLINE)) is State.ONLINE


def test_a_plan_has_each_goal_behind_what_it_needs_and_else_as_given() -> None:
    goals = [goal("d", "b", wants=("c",)), goal("a"), goal("c", "a"), goal("b", "a"), goal("e")]
    assert [*plan(goals)] == ["a", "c", "b", "d", "e"]
    assert plan([]) == {}


def test_all_that_is_wrong_is_named_at_once() -> None:
    goals = [
        goal("a", "x"),
        goal("b", "x", wants=("y",)),
        goal("c", "d"),
        goal("d", wants=("e",)),
        goal("e", "c"),
        goal("f", "f2"),
    ]
    with pytest.raises(GoalError) as caught:
        plan([*goals, goal("a"), goal("f2", "f")])
    assert caught.value.problems == (
        "2 goals are called 'a'",
        "there is no goal 'x', which b requires",
        "there is no goal 'y', which b wants",
        "a cycle: c requires d, d wants e, e requires c",
        "a cycle: f requires f2, f2 requires f",
    )
    assert "c requires d, d wants e, e requires c" in str(caught.value)


def test_who_lacks_the_same_need_is_named_together() -> None:
    with pytest.raises(GoalError, match=r"^there is no goal 'x', which a and b require; there is no goal 'y', which c wants$"):
        plan([goal("a", "x"), goal("b", "x"), goal("c", wants=("y",))])


def test_who_is_behind_a_cycle_is_not_blamed() -> None:
    with pytest.raises(GoalError) as caught:
        plan([goal("behind", "a"), goal("more", "behind"), goal("a", "b", "apart"), goal("b", "a"), goal("apart")])
    assert caught.value.problems == ("a cycle: a requires b, b requires a",)


def test_what_is_no_goal_is_a_type_error() -> None:
    for wrong in (7, ["a"], [begin]):
        with pytest.raises(TypeError, match="plan expects"):
            plan(wrong)  # type: ignore[arg-type]


@given(st.dictionaries(st.sampled_from("abcdefg"), st.tuples(st.sets(st.sampled_from("abcdefg")), st.sets(st.sampled_from("abcdefg")))))
def test_a_plan_is_in_order_or_says_why_there_is_none(needs: dict[str, tuple[set[str], set[str]]]) -> None:
    goals = [
        goal(name, *sorted(requires - {name}), wants=tuple(sorted(wants - requires - {name}))) for name, (requires, wants) in needs.items()
    ]
    try:
        planned = [*plan(goals)]
    except GoalError as error:
        by_name = {each.name: each for each in goals}
        for problem in error.problems:
            if problem.startswith("a cycle: "):
                pairs = [
                    part.replace(" wants ", " requires ").split(" requires ") for part in problem.removeprefix("a cycle: ").split(", ")
                ]
                assert all(b in by_name[a].needs for a, b in pairs)
                assert [b for _, b in pairs] == [*[a for a, _ in pairs[1:]], pairs[0][0]]
            else:
                assert problem.startswith("there is no goal ")
        return
    assert sorted(planned) == sorted(needs)
    for each in goals:
        assert all(planned.index(need) < planned.index(each.name) for need in each.needs)
