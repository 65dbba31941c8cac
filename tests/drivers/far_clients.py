"""Owners of devices on another node, and cells: run by test_elsewhere.py, and imported in nodes."""

from __future__ import annotations

import sys
from typing import Any

from beamlike import GenServer, Pid, exit, receive, self_pid, send, spawn_at
from beamlike import run as run_here
from cells import spawn_cell
from drivers import (
    AreaService,
    DeviceBack,
    DeviceBusyError,
    DeviceData,
    DeviceLost,
    DeviceManager,
    IoSpace,
    PortBus,
    find_devices,
    list_devices,
    open_area,
    open_device,
)
from drivers.models.ata import AtaModel
from nodes import kill_node, list_nodes, run

GUEST = """
from beamlike import CallError, call, send

async def main(boss, server):
    answers = []
    for request in ((0x42, 1), (0x3F, 2), (0x40, 1), (0x3D, 4), (0x41, 1)):
        try:
            answers.append(type(await call(server, request)).__name__)
        except CallError as error:
            answers.append(error.reason[0])
    send(boss, tuple(answers))
"""


def block(number: int) -> bytes:
    return number.to_bytes(4, "little") * 128


async def owner(boss: Pid, manager: Pid, areas: Pid) -> None:
    """Has the timer and an area, from another node than theirs."""
    timer = await open_device(manager, "timer")
    home = await open_area(areas, "home")
    await home.do("write", 1, block(1001))
    data = await home.do("read", 0, 3)
    try:
        await home.do("read", 30, 3)
    except ValueError as error:
        refused = str(error)
    await timer.do("start_periodic", 1000)
    send(boss, (data, refused))
    await receive(DeviceData, timeout=10)
    send(boss, "tick")
    lost = await receive(DeviceLost, timeout=10)
    back = await receive(DeviceBack, timeout=10)
    send(boss, (lost.device, back.device, await home.do("read", 1, 1)))
    await home.close()
    try:
        await home.do("read", 0, 1)
    except DeviceBusyError:
        raise
    except Exception as error:  # noqa: BLE001 - its name is the answer
        send(boss, ("closed", type(error).__name__))
    await receive(lambda message: False)


async def among_nodes(path: str) -> None:
    _, there = list_nodes()
    bus = PortBus()
    bus.plug("pit")
    AtaModel(bus, path)
    manager = await DeviceManager.start_link(await find_devices(bus))
    while any(each.state != "ready" for each in await list_devices(manager)):
        pass
    areas = await AreaService.start_link(manager, "ata0.0", {"home": (10, 42)})
    await spawn_at(there, owner, self_pid(), manager, areas)
    data, refused = await receive(tuple, timeout=20)
    assert data == block(10) + block(1001) + block(12)
    assert "not in the 32 that were granted" in refused, refused
    await bus.pause(0.003)
    assert await receive(str, timeout=20) == "tick"
    (disk,) = [each for each in await list_devices(manager) if each.name == "ata0.0"]
    assert disk.state == "ready"
    assert {pid.node for pid in disk.owners} == {self_pid().node, there}
    exit(server_of("ata0.0"), "kill")
    lost, back, data = await receive(tuple, timeout=20)
    assert (lost, back, data) == ("ata0.0", "ata0.0", block(1001))
    assert await receive(tuple, timeout=20) == ("closed", "GrantRevokedError")
    try:
        await open_device(manager, "timer")
        raise AssertionError("it has an owner")
    except DeviceBusyError:
        pass
    kill_node(there)  # with the owner
    while True:
        try:
            timer = await open_device(manager, "timer")
        except DeviceBusyError:
            continue
        break
    assert 0 <= await timer.do("read", 0) <= 65536


def server_of(name: str) -> Pid:
    from drivers.servers.device import _served

    (device,) = [each for each in _served.values() if each.name == name]
    assert device.server is not None
    return device.server


class PortServer(GenServer, guarded=True):
    async def init(self, io: IoSpace) -> None:
        self.io = io

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return self.io.port_in(*request)


async def from_a_cell() -> None:
    bus = PortBus()
    bus.plug("pit")
    server = await PortServer.start_link(bus)
    for opens, exclude, expected in (
        ([], [], ("refused",) * 5),
        (["port_io"], [("port_io", 0x40, 0x41)], ("int", "refused", "refused", "refused", "int")),
        (["port_io"], [], ("int",) * 5),
        (["port_io"], [("only", ("port_io", 0x41, 0x42))], ("refused",) * 4 + ("int",)),
    ):
        await spawn_cell(GUEST, "main", self_pid(), server, opens=opens, exclude=exclude)
        answers = await receive(tuple, timeout=20)
        assert answers == expected, (exclude, answers)


if __name__ == "__main__":
    if sys.argv[1] == "nodes":
        run(among_nodes, sys.argv[2], nodes=2)
    else:
        run_here(from_a_cell)
    print("done")
