"""C5, C6: every privileged call of the drivers is refused to whom an exclusion refuses it, and there is none that is in no table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_servers import start as start_manager
from test_servers import timer
from test_space import as_limited

import drivers
from beamlike import run
from beamlike.privileged import DRIVERS
from drivers import (
    AreaService,
    IoServer,
    MachineSpace,
    PortBus,
    Qemu,
    find_devices,
    open_area,
    open_device,
    revoke_device,
)
from drivers.models.ata import AtaModel
from drivers.servers.finding import find_ata

UNPRIVILEGED = {
    "as of the accesses that they make": "IoSpace PortBus Narrowed Memory find_devices DeviceManager AreaService",
    "started by what is privileged": "Qemu IoServer MachineSpace Console SerialConsole VgaConsole start_console_machine",
    "tells of devices": "list_devices list_areas",
    "uses what was opened": "Handle",
    "values, and errors": "Device Kind DeviceInfo DeviceData DeviceBack DeviceLost DeviceError DeviceAbsentError DeviceBusyError "
    "Action DeviceLostError DeviceTimeoutError MachineStoppedError GrantAsked GrantTaken GrantRevokedError Fault Interrupt Stopped",
}


class World:
    """A machine with a timer and a disk."""

    async def open(self, path: Path) -> None:
        self.bus = PortBus()
        self.bus.plug("pit")
        AtaModel(self.bus, path)
        screen = timer(self.bus, "screen")
        screen.ports, screen.memory, screen.lines = (), ((0xB8000, 0xB8FA0),), ()
        self.manager = await start_manager(timer(self.bus), screen, *await find_devices(self.bus, (find_ata,)))
        self.areas = await AreaService.start_link(self.manager, "ata0.0", {"home": (0, 8)})


async def sync(act: Callable[[], Any]) -> Any:
    return act()


ATTEMPTS: list[tuple[str, str, tuple[Any, ...], Callable[[World], Any]]] = [
    ("IoSpace", "port_io", ("port_io", 0x40, 0x41), lambda world: sync(lambda: world.bus.inl(0x3D))),
    ("IoSpace", "raw_memory", ("raw_memory", 0x1003, 0x1004), lambda world: sync(lambda: world.bus.read32(0x1000))),
    ("IoSpace.lines.attach", "device", ("device", "irq 3"), lambda world: sync(lambda: world.bus.lines.attach(3))),
    ("Qemu.start", "device", ("device", "qemu"), lambda world: Qemu.start()),
    ("IoServer.start", "device", ("device", "qemu"), lambda world: IoServer.start()),
    ("MachineSpace.open", "device", ("device", "machine"), lambda world: sync(lambda: MachineSpace.open([(0x80, 0x81)]))),
    ("open_device", "device", ("device", "irq 0"), lambda world: open_device(world.manager, "timer")),
    ("open_device", "port_io", ("port_io", 0x43, 0x44), lambda world: open_device(world.manager, "timer")),
    ("open_device", "raw_memory", ("raw_memory", 0xB8000, 0xB8001), lambda world: open_device(world.manager, "screen")),
    ("revoke_device", "device", ("device", "timer"), lambda world: revoke_device(world.manager, "timer")),
    ("open_area", "device", ("device", "ata0.0/home"), lambda world: open_area(world.areas, "home")),
]


def test_the_attempts_are_those_of_the_table() -> None:
    assert sorted((row.call, row.kind) for row in DRIVERS) == sorted((f"drivers.{call}", kind) for call, kind, _, _ in ATTEMPTS)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: f"{attempt[0]} {attempt[1]}")
def test_each_is_refused_to_whom_an_exclusion_refuses_it(attempt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEAMLIKE_REAL_IO", raising=False)
    _, _, term, do = attempt
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512 * 64))

    async def main() -> None:
        world = World()
        await world.open(disk)
        with pytest.raises(PermissionError) as refused:
            await as_limited([term], do, world)
        assert "exclu" in str(refused.value)

    run(main)


def test_every_public_name_is_in_the_table_or_said_to_need_no_permission() -> None:
    listed = {name for names in UNPRIVILEGED.values() for name in names.split()}
    in_table = {row.call.removeprefix("drivers.").split(".")[0] for row in DRIVERS}
    assert listed | in_table == set(drivers.__all__)
