"""Checks that test_exclusions.py runs on the shared system: exclusions that go from node to node."""

from __future__ import annotations

import logging
from typing import Any

import node_capabilities
from exclusion_moves import Moves
from puppets import make, node
from system import explained

import caps
from beamlike import (
    Caller,
    Down,
    GenServer,
    Pid,
    call,
    caller_layers,
    cast,
    exit,
    process_info,
    process_info_at,
    receive,
    self_pid,
    send,
    spawn,
    spawn_at,
    tighten,
)
from nodes import list_nodes, spawn_monitor_at

KEYBOARD = ("port_io", 0x60, 0x65)
CLOCK = ("port_io", 0x70, 0x72)
PATIENCE = 10.0
LOOK_EVERY, AHEAD = 12, 4  # moves


def refused() -> list[int]:
    """Which ports `caps.check` refuses to whoever calls this."""
    return [port for port in (0x60, 0x70, 0x80) if not _may(port)]


def _may(port: int) -> bool:
    try:
        caps.check("port_io", port, 1)
    except caps.CapabilityError:
        return False
    return True


class Guarded(GenServer, guarded=True):
    async def init(self) -> None:
        self.seen: list[Any] = []

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        if request == "seen":
            return self.seen
        return refused(), [layer.terms for layer in caller_layers()]

    async def handle_cast(self, request: Any) -> None:
        self.seen.append((request, refused()))


async def keep_server(boss: Pid) -> None:
    send(boss, ("server", await Guarded.start_link(name="guarded_there", exclude=[CLOCK])))
    await receive(lambda _: False)


async def ask(boss: Pid, server: Any) -> None:
    cast(server, "cast")
    send(boss, ("asked", await call(server, "look")))


async def check_layers_go_with_a_call_and_a_cast_to_another_node() -> None:
    await spawn_at(node(2), keep_server, self_pid())
    _, server = await receive(("server", Pid), PATIENCE)
    for target in (server, ("guarded_there", node(2))):
        spawn(ask, self_pid(), target, exclude=[KEYBOARD])
        assert (await receive(("asked", tuple), PATIENCE))[1] == ([0x60, 0x70], [(KEYBOARD,)])
        assert await call(target, "look") == ([0x70], [])
    assert await call(server, "seen") == [("cast", [0x60, 0x70])] * 2


async def check_an_applications_capability_goes_with_a_remote_spawn_and_refuses_there() -> None:
    for term, expected in ((("only", (node_capabilities.ROOM, "kitchen")), ["cellar"]), ((node_capabilities.ROOM, "kitchen"), ["kitchen"])):
        await spawn_at(node(2), tell_rooms, self_pid(), exclude=[term])
        assert await receive(list, PATIENCE) == expected
    await spawn_at(node(2), tell_rooms, self_pid())
    assert await receive(list, PATIENCE) == []


async def tell_rooms(boss: Pid) -> None:
    send(boss, [room for room in ("kitchen", "cellar") if not caps.permits(_own(), node_capabilities.ROOM, room)])


def _own() -> caps.Layers:
    info = process_info(self_pid())
    assert info is not None
    layers: caps.Layers = ()
    for terms in info.exclusions:
        layers = caps.extend(layers, terms)
    return layers


async def looking(boss: Pid) -> None:
    while True:
        await receive("look".__eq__)
        send(boss, ("seen", refused()))


async def top(boss: Pid, names: list[str]) -> None:
    """A process with children on each node, and grandchildren on the next."""
    send(boss, ("top", tuple([await spawn_at(name, middle, boss, names[index - 1]) for index, name in enumerate(names)])))
    await receive(lambda _: False)


async def middle(boss: Pid, name: str) -> None:
    send(boss, ("below", await spawn_at(name, looking, boss)))
    await looking(boss)


async def check_tightening_reaches_what_descends_on_all_nodes() -> None:
    names = list_nodes()
    for place in names:
        pid = await spawn_at(place, top, self_pid(), names)
        below = list((await receive(("top", tuple), PATIENCE))[1])
        below += [(await receive(("below", Pid), PATIENCE))[1] for _ in names]
        other = await spawn_at(node(3), looking, self_pid())
        assert await tighten(pid, [KEYBOARD]) == 1 + 2 * len(names)
        for each in below:
            send(each, "look")
            assert await receive(("seen", list), PATIENCE) == ("seen", [0x60])
        send(other, "look")
        assert await receive(("seen", list), PATIENCE) == ("seen", [])
        info = await process_info_at(below[-1])
        assert info is not None
        assert info.exclusions == ((KEYBOARD,),)


async def check_tightening_from_another_node_needs_the_right_to() -> None:
    one, other = await make(2), await make(3)
    try:
        await one.do("tighten", other.pid, [KEYBOARD])
    except AssertionError as error:
        assert "PermissionError" in str(error), error
    else:
        raise AssertionError("it was permitted")
    info = await process_info_at(other.pid)
    assert info is not None
    assert info.exclusions == ()
    assert await one.do("tighten", one.pid, [KEYBOARD]) == 1


async def check_nothing_enlarges_what_is_permitted(moves: list[str]) -> list[int]:
    """Worlds of processes, all at once, each with its moves, in hexadecimal. How many calls were refused, and how much was collected."""
    names = list_nodes()
    quiet = [await spawn_at(name, _keep_quiet, self_pid()) for name in names]
    for _ in quiet:
        await receive("quiet".__eq__, PATIENCE)
    worlds = [
        (await spawn_monitor_at(names[i % len(names)], _make_moves, self_pid(), bytes.fromhex(each)))[1] for i, each in enumerate(moves)
    ]
    total = [0, 0]
    for ref in worlds:
        down = await receive(lambda message, ref=ref: type(message) is Down and message.ref == ref)
        assert down.reason == "normal", explained(down.reason)
        _, refusals, collected = await receive(("made", int, int))
        total = [total[0] + refusals, total[1] + collected]
    for pid in quiet:
        exit(pid, "shutdown")
    return total


async def _keep_quiet(boss: Pid) -> None:
    """While it runs nothing is logged on its node of those that are killed, which are many."""
    logger = logging.getLogger("beamlike")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        send(boss, "quiet")
        await receive(lambda _: False)
    finally:
        logger.setLevel(level)


async def _make_moves(boss: Pid, numbers: bytes) -> None:
    moves = Moves(list_nodes(), LOOK_EVERY, AHEAD)
    await moves.open()
    for i in range(0, len(numbers), 4):
        await moves.make(*numbers[i : i + 4])
    send(boss, ("made", moves.refused, len(await moves.close())))
