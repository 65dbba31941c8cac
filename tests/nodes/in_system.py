"""Runs checks, async functions of a module, as processes of one system of real nodes. It is imported in nodes, so nothing slow is
imported here.

The node of main is killed first: so the conductor is another, `n2`, and can be killed like any. After each check all nodes come back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from beamlike import (
    Down,
    Pid,
    exit,
    make_ref,
    process_info,
    process_info_at,
    receive,
    self_pid,
    send,
    sleep,
    spawn_at,
    spawn_monitor,
    whereis,
)
from nodes import NodeDown, NodeUp, kill_node, list_nodes, monitor_node, run
from nodes.here import joined
from nodes.rings import UnusableError

HERE = str(Path(__file__).parent)
PATIENCE = 20.0  # seconds after which something hangs


def checks_of(module: str) -> list[str]:
    """The names of the checks of a module, in order."""
    if HERE not in sys.path:
        sys.path.insert(0, HERE)
    return [name for name in vars(import_module(module)) if name.startswith("check_")]


def run_checks(module: str, nodes: int) -> dict[str, str]:
    """What went wrong in each check; empty: nothing."""
    names = checks_of(module)
    return run(main, module, names, nodes, nodes=nodes, on_main_lost="restart", setup=("in_system:load", (module,)))


def load(module: str) -> None:
    """Have the checks imported by each node before it is up."""
    import_module(module)


async def main(module: str, names: list[str], count: int) -> dict[str, str]:
    if self_pid().origin.incarnation == 1:
        kill_node(self_pid().node)
        await receive(lambda message: False)
    outcome = {}
    for name in names:
        await until_up(count)
        pid, ref = spawn_monitor(_check, module, name)
        try:
            down = await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref, PATIENCE)
        except TimeoutError:
            info = process_info(pid)
            where = info and f"{info.status} in {info.current_function}, line {info.current_line}"
            outcome[name] = f"hangs after {PATIENCE} s: {where}; up are {list_nodes()}"
            break
        outcome[name] = "" if down.reason == "normal" else repr(down.reason)
    return outcome


async def _check(module: str, name: str) -> None:
    await getattr(import_module(module), name)()


async def until_up(count: int) -> None:
    """Until so many nodes are up."""
    for number in range(1, count + 1):
        monitor_node(f"n{number}@{self_pid().node.partition('@')[2]}")
    while len(list_nodes()) < count:
        await receive(lambda message: isinstance(message, NodeUp), PATIENCE)
    with suppress(TimeoutError):  # what was told of nodes that were down before
        while True:
            await receive(lambda message: isinstance(message, NodeUp | NodeDown), 0)


def others() -> list[str]:
    """The other nodes, the eldest first: that is the conductor's, unless this one is elder."""
    return [member.id.name for member in sorted(joined().membership.members.values(), key=lambda member: member.id.incarnation)]


def conductor() -> str:
    """The node that leads."""
    return joined().membership.conductor().name


async def kill(*names: str) -> None:
    """Kill nodes and wait until this one knows."""
    begin_to_kill(*names)
    await until_down(*names)


def begin_to_kill(*names: str) -> None:
    """Kill nodes; `until_down` waits for that."""
    for name in names:
        monitor_node(name)
    for name in names:
        kill_node(name)


async def lose_connection(one: str, other: str) -> None:
    """Both nodes live, and what was between them is lost, as when a checksum is wrong. Returns when `one` has acted upon it."""
    await do_at(one, _lose_connection, other)


async def _lose_connection(other: str) -> None:
    life = joined()
    id_ = life.router.members[other]
    while id_ not in life.mailboxes.open:  # one is opened at the first contact
        await process_info_at(Pid(id_, 1))
    life.mailboxes._broke(id_, life.mailboxes.open[id_], UnusableError("a check wants it"))


async def kill_service(name: str) -> None:
    """Kill a process of this node that its supervisor starts again; return when another has the name."""
    pid = whereis(name)
    assert pid is not None
    exit(pid, "kill")
    while whereis(name) in (pid, None):
        await sleep(0.001)


async def until_down(*names: str) -> None:
    """Until the ends of nodes have been told."""
    for name in names:
        await receive(lambda message, name=name: isinstance(message, NodeDown) and message.name == name, PATIENCE)


async def do_at(node: str, fn: Callable[..., Any], *args: Any) -> Any:
    """What an async function returns that runs in a process of its own on a node; or the exception's type and text."""
    ref = make_ref()
    await spawn_at(node, _do, self_pid(), ref, fn, args)
    _, kind, value = await receive(lambda message: isinstance(message, tuple) and message[0] == ref, PATIENCE)
    if kind == "error":
        raise AssertionError(value)
    return value


async def _do(asker: Pid, ref: Any, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        send(asker, (ref, "ok", await fn(*args)))
    except Exception as error:  # noqa: BLE001 - told to who asked
        send(asker, (ref, "error", f"{type(error).__name__}: {error}"))


async def stay(node: str, fn: Callable[..., Any], *args: Any) -> Pid:
    """A process on a node that stays after it has awaited `fn(*args)`; returns when that is done."""
    ref = make_ref()
    pid = await spawn_at(node, _stay, self_pid(), ref, fn, args)
    _, kind, value = await receive(lambda message: isinstance(message, tuple) and message[0] == ref, PATIENCE)
    assert kind == "ok", value
    return pid


async def _stay(asker: Pid, ref: Any, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    await _do(asker, ref, fn, args)
    while True:
        match await receive():
            case ("echo", who, value):
                send(who, value)
