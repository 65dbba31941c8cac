"""The VGA as a device that is handed out, on both machines."""

from __future__ import annotations

from typing import Any

from machines import Play
from test_servers import quiet, ready
from test_vga import MODELS, QEMU

from beamlike import exit, receive
from drivers import IoSpace
from drivers.devices.vga import Vga
from drivers.servers.device import DeviceBack
from drivers.servers.finding import find_devices, find_vga
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import open_device

__all__ = ["quiet"]


def test_a_vga_is_found_and_begins_with_an_empty_screen_also_after_its_driver_was_killed(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await DeviceManager.start_link(await find_devices(io, (find_vga,)))
        server = await ready(manager, "vga")
        vga = await open_device(manager, "vga")
        for _ in range(3):
            await vga.do("write", "grün")
            assert Vga(io).text()[0].rstrip() == "grün"
            exit(server, "kill")
            server = (await receive(DeviceBack, timeout=5)).server
            assert await vga.do("text") == [" " * 80] * 25
            assert await vga.do("cursor") == (0, 0)

    play(check, MODELS, qemu=QEMU)


def test_where_there_is_no_vga_none_is_found(play: Play) -> None:
    async def check(io: Any) -> None:
        assert "vga" not in [each.name for each in await find_devices(io)]

    play(check, [("pit",)])
