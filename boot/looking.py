"""The commands that look into a running system of nodes: ps, top, tree, nodes, kill-node, shell."""

from __future__ import annotations

import json
import os
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from boot import tables
from boot.attach import System, as_json_option, complete_node, complete_node_or_unikernel, fail, looks_into_system
from boot.shell import run_shell
from nodes import AttachError

MOST_SORTING = 30.0  # seconds for what has to be worked out of each process
MOST_WAITING = 2.0  # seconds for a unikernel that was killed to be back, which only happens if it is supervised
SOON = 0.01  # seconds between two looks whether it is: nobody tells a command of that


@click.command()
@click.option("--node", "name", metavar="NODE", shell_complete=complete_node, help="Of this node alone.")
@click.option("--sort", type=click.Choice(["pid", "reductions", "mailbox", "memory"]), default="pid", show_default=True, help="By what.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Show at most so many.")
@click.option("--caps", "shows_caps", is_flag=True, help="Show what each may do: the kinds of access that it has.")
@as_json_option
@looks_into_system
def ps(system: System, name: str | None, sort: str, limit: int, shows_caps: bool, as_json: bool) -> None:
    """List the processes of all nodes: the oldest first, or those with the most reductions, messages that wait, or memory."""
    node = None if name is None else system.node(name)["name"]
    answers = system.ask("processes", node, sort, limit, within=MOST_SORTING if sort == "memory" else 0.0)
    rows, more = _merged(answers, None if sort == "pid" else sort, limit)
    silent = [name for name, answer in answers.items() if answer is None]
    if as_json:
        print(json.dumps({"processes": rows, "more": more, "silent": silent}))
        return
    console = tables.console()
    console.print(tables.capability_table(rows) if shows_caps else tables.process_table(rows))
    for line in _remarks(more, silent):
        console.print(line)


@click.command()
@click.option("--every", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Show at most so many processes.")
@as_json_option
@looks_into_system
def top(system: System, every: float, limit: int, as_json: bool) -> None:
    """Watch the nodes and the processes that run most. The key q, or Ctrl-C, ends it.

    Without a terminal one table after the other is printed, or with --json one object a line.
    """
    with suppress(KeyboardInterrupt):
        if as_json or not sys.stdout.isatty():
            while True:
                _print_top(_look(system, every, limit), every, as_json)
        console = tables.console()
        first = Text(f"looking for {every:g} s …")
        with _key_q_interrupts(), Live(first, console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_top_shown(_look(system, every, min(limit, max(1, console.height - 8))), every), refresh=True)


def _look(system: System, every: float, limit: int) -> dict[str, Any]:
    answers = system.ask("busiest", every, limit, within=every)
    rows, _ = _merged(answers, "recent", limit)
    unikernels, silent = system.unikernels()
    return {"nodes": list(system.ask("nodes")), "unikernels": unikernels, "processes": rows, "silent": silent}


def _top_shown(seen: dict[str, Any], every: float) -> Group:
    table = tables.process_table(seen["processes"], recent=every)
    return Group(Text(time.strftime("%H:%M:%S")), *_nodes_shown(seen), "", table, *_remarks(0, seen["silent"]))


def _nodes_shown(seen: dict[str, Any]) -> list[Any]:
    """The nodes, and unikernels if there are any."""
    shown: list[Any] = [tables.node_table(seen["nodes"])]
    return [*shown, "", tables.unikernel_table(seen["unikernels"])] if seen["unikernels"] else shown


def _print_top(seen: dict[str, Any], every: float, as_json: bool) -> None:
    if as_json:
        print(json.dumps(seen), flush=True)
    else:
        tables.console().print(_top_shown(seen, every), "")
        sys.stdout.flush()


@contextmanager
def _key_q_interrupts() -> Iterator[None]:
    """The key q is as Ctrl-C, and keys are not shown."""
    if not sys.stdin.isatty():
        yield
        return

    def read() -> None:
        while key := os.read(stdin, 1):
            if key in b"qQ":
                os.kill(os.getpid(), signal.SIGINT)
                return

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    try:
        tty.setcbreak(stdin)
        threading.Thread(target=read, daemon=True).start()
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Show at most so many children of each.")
@as_json_option
@looks_into_system
def tree(system: System, limit: int, as_json: bool) -> None:
    """Show the supervisors of all nodes with their children."""
    answers = system.ask("tree", limit, within=2.0)
    if as_json:
        print(json.dumps(answers))
        return
    supervisors = {row["pid"]: row for answer in answers.values() if answer is not None for row in answer["supervisors"]}
    below = {child["pid"] for row in supervisors.values() for child in row["children"] or ()}
    console = tables.console()
    for name, answer in answers.items():
        console.print(tables.supervision_tree(name, answer, supervisors, below))


@click.command()
@as_json_option
@looks_into_system
def nodes(system: System, as_json: bool) -> None:
    """List the nodes: their cores, lives, load and faults; and the unikernels, which are nodes of their own kind."""
    unikernels, silent = system.unikernels()
    seen = {"nodes": list(system.ask("nodes")), "unikernels": unikernels, "silent": silent}
    if as_json:
        print(json.dumps(seen))
    else:
        tables.console().print(*_nodes_shown(seen), *_remarks(0, silent), sep="\n")


@click.command("kill-node")
@click.argument("name", metavar="NODE", shell_complete=complete_node_or_unikernel)
@looks_into_system
def kill_node(system: System, name: str) -> None:
    """Kill a node by SIGKILL, as a failure would, and wait until it is back.

    NODE may be a unikernel, by its pid, or its name if no node has that.
    """
    begin = time.monotonic()
    state = next((each for each in system.ask("nodes") if name in (each["name"], each["name"].partition("@")[0])), None)
    if state is None:
        _kill_unikernel(system, name.strip("<>"), begin)
        return
    full = state["name"]
    if state["state"] != "up":
        fail(f"the node {full} is {state['state']}")
    try:
        incarnation = system.ask("kill", full, state["incarnation"], within=None)
    except AttachError as error:
        fail(f"{full} was to be killed, and is not back: {error}")
    print(f"{full} was killed, and is back after {time.monotonic() - begin:.2f} s, as incarnation {incarnation}")


def _kill_unikernel(system: System, name: str, begin: float) -> None:
    rows, silent = system.unikernels()
    found = [row for row in rows if name in (row["name"], row["pid"].strip("<>"))]
    if len(found) > 1:
        fail(f"{len(found)} unikernels are called {name}: name one by its pid, {', '.join(row['pid'].strip('<>') for row in found)}")
    if not found:
        there = [*(state["name"] for state in system.ask("nodes")), *(row["name"] for row in rows)]
        fail(f"there is no node {name!r}: there are {', '.join(there)}{''.join(f'; {each} does not answer' for each in silent)}")
    (row,) = found
    if not system.ask("kill unikernel", row["node"], row["pid"]):
        fail(f"the unikernel {name} could not be killed: it has ended, or {row['node']} does not answer")
    before = {each["pid"] for each in rows}
    end = time.monotonic() + MOST_WAITING
    while time.monotonic() < end:
        for each in system.unikernels()[0]:
            if each["name"] == row["name"] and each["pid"] not in before:
                print(f"{row['name']} was killed, and is back after {time.monotonic() - begin:.2f} s, as {each['pid']}")
                return
        time.sleep(SOON)
    print(f"{row['name']} was killed; nobody has started it again for {MOST_WAITING:g} s")


@click.command()
@click.option("--node", "name", metavar="NODE", shell_complete=complete_node, help="On which node. [default: that of main, if it is up]")
@looks_into_system
def shell(system: System, name: str | None) -> None:
    """A Python prompt in a process of the system, where `await` works, and all of beamlike and nodes is there by its name.

    Ctrl-C interrupts what is being evaluated, and names remain; Ctrl-D leaves. Tab completes names. Code that is piped in is run, and the
    status is 1 if it fails.
    """
    node = None if name is None else system.node(name)["name"]
    connection = system.connect()
    try:
        sys.exit(run_shell(connection, node))
    finally:
        connection.close()


def _merged(answers: dict[str, Any], key: str | None, limit: int) -> tuple[list[dict[str, Any]], int]:
    """The first rows of all nodes, and how many processes there are more. `key`: by which most comes first."""
    rows = [row for answer in answers.values() if answer is not None for row in answer["rows"]]
    if key is not None:
        rows.sort(key=lambda row: row[key], reverse=True)
    shown = rows[:limit]
    return shown, sum(answer["total"] for answer in answers.values() if answer is not None) - len(shown)


def _remarks(more: int, silent: list[str]) -> list[Text]:
    remarks = [Text(f"{name} does not answer", "red") for name in silent]
    if more > 0:
        remarks.append(Text(f"… and {more} more", "dim"))
    return remarks
