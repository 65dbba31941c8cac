"""The command that looks at the init goals of a running system, and starts and stops them."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from boot import tables
from boot.attach import System, as_json_option, complete_node, fail, looks_into_system
from boot.init_requests import NAME
from nodes import AttachError

LOOK = ("init", "plain status")
FORMS = {"start": "started", "stop": "stopped", "restart": "restarted", "clear": "cleared"}


def complete_goal(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Tab completion: the names of the goals."""
    try:
        answers = System(context.params.get("owner")).ask("ask", NAME, LOOK, None)
    except AttachError:
        return []
    names = {row["name"] for answer in answers.values() if answer[0] == "ok" for row in answer[1]}
    return sorted(name for name in names if name.startswith(incomplete))


on_node_option = click.option(
    "--node", metavar="NODE", shell_complete=complete_node, help="Of which node. [default: the only one with goals]"
)


@click.group()
def init() -> None:
    """Look at the init goals of a running system, and start and stop them."""


@init.command("status")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_goal)
@on_node_option
@as_json_option
@looks_into_system
def status_(system: System, name: str | None, node: str | None, as_json: bool) -> None:
    """List the goals: how each is, since when, and why. The status is 1 if one is in maintenance."""
    _, rows = _look(system, node)
    if name is not None:
        there = ", ".join(row["name"] for row in rows) or "none"
        rows = [row for row in rows if row["name"] == name]
        if not rows:
            fail(f"there is no goal {name!r}: there are {there}")
    if as_json:
        print(json.dumps({"goals": rows}))
    else:
        tables.console().print(tables.goal_table(rows, time.time()))
    if any(row["state"] == "maintenance" for row in rows):
        raise SystemExit(1)


def _acting(verb: str, text: str) -> click.Command:
    """The command that does this to a goal."""

    @click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_goal)
    @click.option("--all", "is_all", is_flag=True, help="All goals, instead of one.")
    @on_node_option
    @as_json_option
    @looks_into_system
    def act(system: System, name: str | None, is_all: bool, node: str | None, as_json: bool) -> None:
        if is_all == (name is not None):
            raise click.UsageError("name one goal, or say --all")
        where, _ = _look(system, node)
        answers = system.ask_once("ask", NAME, ("init", verb, name), where, within=None)
        if not answers:
            fail(f"{NAME} on {where} has ended before it answered")
        others = _value(answers[where])
        if as_json:
            print(json.dumps({"goal": name, "done": FORMS[verb], "others": others}))
        elif verb == "clear":
            print(f"cleared, and tried again: {', '.join(others) or 'none was in maintenance'}")
        else:
            print(f"{name or 'all goals'}: {FORMS[verb]}" + (f"; with it {', '.join(others)}" if others else ""))

    act.__doc__ = text
    return click.command(verb)(act)


for verb, text in (
    ("start", "Have a goal that was stopped run again, and what it requires. It comes up meanwhile."),
    ("stop", "Stop a goal until `start`, and first what requires it, which comes again with it. Returns when they have stopped."),
    ("restart", "Stop a goal and what requires it, and have them come up again."),
    ("clear", "Forget the failures of a goal, so that one in maintenance is tried again."),
):
    init.add_command(_acting(verb, text))


def _look(system: System, node: str | None) -> tuple[str, list[dict[str, Any]]]:
    """The node whose Init is meant, and the goals there. Nothing is asked of any before it is known which.

    It ends the command if there is none, or if there are several and none is named.
    """
    where = None if node is None else system.node(node)["name"]
    answers: dict[str, Any] = system.ask("ask", NAME, LOOK, where, within=None)
    if not answers:
        fail(f"no process of {where or 'this system'} is called {NAME}: a program starts it by Init.start_link(goals)")
    if len(answers) > 1:
        fail(f"several nodes have an {NAME}: say which by --node: {', '.join(answers)}")
    ((where, answer),) = answers.items()
    return where, _value(answer)


def _value(answer: Any) -> Any:
    """What Init answered. It ends the command if it refuses."""
    match answer:
        case ("ok", value):
            return value
        case ("error", str(error), _):
            fail(error)
    fail(f"the process {NAME} is no Init: it answered {answer!r:.100}")
