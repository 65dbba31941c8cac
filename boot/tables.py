"""What a running system looks like: tables and trees for people, of what `nodes.frames` says that there is to ask."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import caps
from cells import Found

WIDEST = 500  # columns, where no terminal has a width
OURS = ("beamlike", "nodes")
KINDS = len(caps.all_but())  # of access
UNITS = ("B", "K", "M", "G", "T")
STATES = {"up": "green", "down": "red", "retired": "red", "running": "", "receiving": "", "waiting": "", "exiting": "red"}

GOAL_STATES = {"online": "green", "degraded": "yellow", "maintenance": "red", "starting": "cyan", "stopping": "cyan"}


def console() -> Console:
    """For stdout: colours on a terminal, unless NO_COLOR is set; elsewhere lines are as long as they are."""
    return Console(
        highlight=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=None if sys.stdout.isatty() else WIDEST,
    )


def process_table(rows: Iterable[dict[str, Any]], recent: float | None = None) -> Table:
    """Processes. `recent`: seconds in which what they have of that was counted."""
    table = _table("PID", "~NAME", "~FUNCTION", "STATUS", ">MAILBOX", ">LINKS", ">REDUCTIONS", ">MEMORY")
    if recent is not None:
        table.add_column("PER S", justify="right", no_wrap=True)
    for row in rows:
        cells = [
            _text(row["pid"], "cyan"),
            _text(_name(row), "bold"),
            _text(_function(row)),
            _text(row["status"], STATES.get(row["status"], "")),
            _text(row["mailbox"], "yellow" if row["mailbox"] else ""),
            _text(len(row["links"])),
            _text(row["reductions"]),
            _text(_size(row["memory"])),
        ]
        if recent is not None:
            cells.append(_text(round(row["recent"] / recent)))
        table.add_row(*cells)
    return table


def capability_table(rows: Iterable[dict[str, Any]]) -> Table:
    """Processes and what each may do. Of kinds of access that it has all of, and nothing excluded, `everything` is said."""
    table = _table("PID", "~NAME", "~FUNCTION", "~HAS", "~EXCEPT")
    for row in rows:
        is_unlimited = len(row["has"]) == KINDS
        table.add_row(
            _text(row["pid"], "cyan"),
            _text(_name(row), "bold"),
            _text(_function(row)),
            _text("everything" if is_unlimited else ", ".join(row["has"]) or "nothing", "yellow" if is_unlimited else "green"),
            _text(", ".join(row["except"])),
        )
    return table


def node_table(states: Iterable[dict[str, Any]]) -> Table:
    """Nodes."""
    table = _table("NODE", "STATE", "~ROLE", ">INCARNATION", ">CORE", ">OS PID", ">UP", ">BUSY", ">QUEUE", ">PROCESSES", ">FAULTS")
    for state in states:
        is_up, load = state["state"] == "up", state["load"]
        roles = [role for role in ("main", "conductor") if state[f"is_{role}"]]
        table.add_row(
            _text(state["name"], "bold"),
            _text(state["state"], STATES.get(state["state"], "")),
            _text(", ".join(roles)),
            _text(state["incarnation"] if is_up else ""),
            _text(state["core"] if is_up and state["core"] >= 0 else ""),
            _text(state["pid"] if is_up else ""),
            _text(_duration(time.time() - state["started"]) if is_up else ""),
            _text(f"{load['busy']:.0%}" if load else ""),
            _text(f"{load['queue']:.0f}" if load else ""),
            _text(load["processes"] if load else ""),
            _text(state["faults"], "yellow" if state["faults"] else ""),
        )
    return table


def unikernel_table(rows: Iterable[dict[str, Any]]) -> Table:
    """Unikernels."""
    table = _table("~UNIKERNEL", "PID", "OF NODE", ">CORE", ">OS PID", ">UP", ">CPU S")
    for row in rows:
        table.add_row(
            _text(row["name"], "bold"),
            _text(row["pid"], "cyan"),
            _text(row["node"]),
            _text("" if row["core"] is None else row["core"]),
            _text(row["os_pid"]),
            _text(_duration(time.time() - row["started"])),
            _text(f"{row['cpu']:.2f}"),
        )
    return table


def goal_table(rows: Iterable[dict[str, Any]], now: float) -> Table:
    """Init goals."""
    table = _table("~GOAL", "STATE", ">SINCE", ">FAILURES", "~NODES", "~WHY")
    for row in rows:
        table.add_row(
            _text(row["name"], "bold"),
            _text(row["state"], GOAL_STATES.get(row["state"], "")),
            _text(_duration(now - row["since"])),
            _text(row["attempts"], "yellow" if row["attempts"] else ""),
            _text(", ".join(row["pids"])),
            _text(row["why"]),
        )
    return table


def wall_table(walls: Iterable[Found]) -> Table:
    """The walls of cells."""
    table = _table("WALL", "REQUIRED", "PRESENT", "~DETAIL")
    for wall in walls:
        style = "green" if wall.is_present else "red" if wall.is_required else "yellow"
        required, present = ("yes" if each else "no" for each in (wall.is_required, wall.is_present))
        table.add_row(_text(wall.name, "bold"), _text(required), _text(present, style), _text(wall.detail))
    return table


def supervision_tree(name: str, answer: dict[str, Any] | None, supervisors: dict[str, dict[str, Any]], below: set[str]) -> Tree:
    """The supervisors of a node with their children, who may be on others.

    Args:
        supervisors: of all nodes, by their pids.
        below: the pids of children of supervisors, of all nodes.
    """
    tree = Tree(_text(name, "bold"))
    if answer is None:
        tree.add(_text("it does not answer", "red"))
        return tree
    for row in answer["supervisors"]:
        if row["pid"] not in below:
            _add_supervisor(tree.add(_label(row, row["name"] or row["label"] or "supervisor")), row, supervisors)
    if answer["more"]:
        tree.add(_text(f"… and {answer['more']} more supervisors", "dim"))
    if answer["others"]:
        tree.add(_text(f"{answer['others']} processes without a supervisor", "dim"))
    return tree


def _add_supervisor(branch: Tree, row: dict[str, Any], supervisors: dict[str, dict[str, Any]]) -> None:
    if row["children"] is None:
        branch.add(_text("it does not answer: it is starting or stopping a child", "yellow"))
        return
    for child in row["children"]:
        twig = branch.add(_label(child, child["id"]))
        if child["pid"] in supervisors:
            _add_supervisor(twig, supervisors[child["pid"]], supervisors)
        else:
            for link in child["links"]:
                twig.add(_text(f"linked to {link}", "dim"))
    if row["more"]:
        branch.add(_text(f"… and {row['more']} more", "dim"))


def _label(row: dict[str, Any], id: str) -> Text:
    label = _text(id, "bold") + _text(f"  {row['pid'] or ''}", "cyan")
    if row.get("name") and row["name"] != id:
        label += _text(f"  {row['name']}")
    if "function" in row and not row["function"].endswith(f":{id}"):
        label += _text(f"  {_function(row)}", "dim")
    if row["status"] in ("stopped", "restarting", "held"):
        label += _text(f"  {row['status']}", "red")
    return label


def _name(row: dict[str, Any]) -> str:
    """Its registered name, or its label in brackets."""
    return row["name"] or ("" if row["label"] is None else f"[{row['label']}]")


def _function(row: dict[str, Any]) -> str:
    """What a process was started with; of ours, without the module."""
    function: str = row["function"]
    module, _, name = function.rpartition(":")
    return name if module.partition(".")[0] in OURS else function


def _table(*columns: str) -> Table:
    """A `>` before a column's name: to the right; a `~`: what is too long there for the terminal is cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">~"), justify="right" if column[0] == ">" else "left", no_wrap=column[0] != "~")
    return table


def _text(value: Any, style: str = "") -> Text:
    """A value's text in one line, in which nothing moves the cursor or is taken for markup."""
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(value))
    return Text(shown, style, no_wrap=True, overflow="ellipsis")


def _size(count: float) -> str:
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def _duration(seconds: float) -> str:
    minutes, left = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"
