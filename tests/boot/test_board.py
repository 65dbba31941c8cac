"""The board: who may run on which node, by plain values."""

from __future__ import annotations

from typing import Any

from boot.board import Board, Phase
from boot.goals import Goal, plan


async def nothing() -> None:
    """Never runs."""


def each(name: str, *requires: str, **fields: Any) -> Goal:
    return Goal(name, nothing, requires=requires, each_node=True, **fields)


def started(board: Board) -> list[str]:
    """Who starts now, until nobody does."""
    names: list[str] = []
    while True:
        board.look()
        units = board.to_start()
        if not units:
            return names
        for unit in units:
            unit.phase = Phase.STARTING
            names.append(f"{unit.goal.name} on {unit.node}")


def up(board: Board, name: str, node: str) -> list[str]:
    """It is up there. Who starts now?"""
    board.standings[name].units[node].phase = Phase.RUNNING
    return started(board)


def test_of_goals_on_each_node_one_waits_for_the_one_that_it_wants_on_its_own_node() -> None:
    board = Board(plan([each("agent"), each("helper", wants=("agent",))]), "n1")
    board.set_nodes({"n1": 1, "n2": 1})
    assert started(board) == ["agent on n1", "agent on n2"]
    assert up(board, "agent", "n2") == ["helper on n2"]
    assert up(board, "agent", "n1") == ["helper on n1"]
    assert up(board, "helper", "n1") == up(board, "helper", "n2") == []
    board.set_nodes({"n1": 1, "n2": 1, "n3": 1})
    assert started(board) == ["agent on n3"]
    assert up(board, "agent", "n3") == ["helper on n3"]


def test_of_goals_on_each_node_one_does_not_wait_for_the_one_that_it_wants_where_that_has_failed() -> None:
    board = Board(plan([each("agent", attempts=1), each("helper", wants=("agent",))]), "n1")
    board.set_nodes({"n1": 1, "n2": 1})
    assert started(board) == ["agent on n1", "agent on n2"]
    board.standings["agent"].units["n2"].failed(0.0, "no")
    assert started(board) == ["helper on n2"]
