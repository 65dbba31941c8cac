"""Storage areas, on both machines."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from machines import Play
from test_ata import SECTORS, drive, medium, model, sector, sectors
from test_disk_servers import DISK, start
from test_space import as_limited

from beamlike import (
    CallError,
    Down,
    Exit,
    Pid,
    call,
    exit,
    make_ref,
    process_flag,
    receive,
    self_pid,
    send,
    spawn,
    spawn_monitor,
    system,
    tighten,
)
from drivers import DeviceAbsentError, IoSpace
from drivers.servers.device import DeviceBack, DeviceLost
from drivers.servers.grants import DeviceBusyError, GrantRevokedError, GrantTaken, grant_of
from drivers.servers.opening import open_device, revoke_device
from drivers.servers.server import Failed
from drivers.services.areas import AreaService, OpenArea, list_areas, open_area

__all__ = ["medium"]

AREAS = {"boot": (0, 64), "home": (64, 100), "rest": (200, SECTORS)}
NO_PORTS = [("port_io", "all"), ("raw_memory", "all"), ("device", DISK), ("device", f"{DISK}/boot")]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


def play_areas(play: Play, medium: Path, check: Callable[[Any, Pid, Pid], Awaitable[None]]) -> None:
    async def with_service(io: IoSpace) -> None:
        manager = await start(io)
        await check(io, manager, await AreaService.start_link(manager, DISK, AREAS))

    play(with_service, [("pit",), model(medium)], qemu=drive(medium))


def test_an_area_is_a_disk_of_its_own(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        assert await list_areas(service) == AREAS
        home = await open_area(service, "home")
        assert home.sectors == 36
        assert await home.do("read", 0, 36) == sectors(64, 36)
        await home.do("write", 35, sector(5))
        boot = await open_area(service, "boot")
        assert await boot.do("read", 63, 1) == sector(63)
        for first, count in ((36, 1), (35, 2), (-1, 1)):
            with pytest.raises(ValueError, match="in the 36 that were granted"):
                await home.do("read", first, count)
        with pytest.raises(DeviceBusyError):
            await open_area(service, "home")
        with pytest.raises(DeviceBusyError):
            await open_device(manager, DISK)
        with pytest.raises(DeviceAbsentError, match="no area 'swap': expected one of boot, home, rest"):
            await open_area(service, "swap")
        await home.close()
        assert await (await open_area(service, "home")).do("read", 35, 1) == sector(5)

    play_areas(play, medium, check)


def test_who_may_do_no_port_io_may_have_an_area_and_nothing_else(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        async def limited() -> None:
            home = await open_area(service, "home")
            assert await home.do("read", 1, 1) == sector(65)
            home._grant = None  # as from another node
            assert await home.do("read", 1, 1) == sector(65)
            with pytest.raises(PermissionError, match="excl"):
                await open_area(service, "boot")
            with pytest.raises(PermissionError, match="refused by"):
                await open_device(manager, "timer")
            with pytest.raises(PermissionError):
                io.inb(0x1F7)

        await as_limited(NO_PORTS, limited)

    play_areas(play, medium, check)


def test_an_area_is_lost_by_who_may_not_have_it_any_more(play: Play, medium: Path) -> None:
    async def owner(boss: Pid, service: Pid) -> None:
        home = await open_area(service, "home")
        while True:
            send(boss, "ready")
            await receive(str)
            try:
                await home.do("read", 0, 1)
            except PermissionError:
                send(boss, "refused")

    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        pid = spawn(owner, self_pid(), service)
        assert await receive(str, timeout=5) == "ready"
        await tighten(pid, [("port_io", "all")])
        send(pid, "go")
        assert await receive(str, timeout=5) == "ready"
        await tighten(pid, [("device", f"{DISK}/home")])
        send(pid, "go")
        assert await receive(str, timeout=5) == "refused"

    play_areas(play, medium, check)


def test_areas_go_on_when_the_driver_is_killed_and_end_with_their_service(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        process_flag("trap_exit", True)
        home = await open_area(service, "home")
        assert home._server is not None
        exit(home._server, "kill")
        await receive(DeviceLost, timeout=5)
        await receive(DeviceBack, timeout=5)
        assert await home.do("read", 0, 1) == sector(64)
        exit(service, "kill")
        assert (await receive(GrantTaken, timeout=5)).reason == "its owner has ended"
        with pytest.raises(GrantRevokedError):
            await home.do("read", 0, 1)

    play_areas(play, medium, check)


def test_an_area_is_free_when_its_owner_has_ended(play: Play, medium: Path) -> None:
    async def owner(service: Pid) -> None:
        await open_area(service, "home")

    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        for _ in range(5):
            _, ref = spawn_monitor(owner, service)
            await receive(lambda message, ref=ref: getattr(message, "ref", None) == ref, timeout=5)
        await open_area(service, "home")

    play_areas(play, medium, check)


@pytest.mark.parametrize(
    ("areas", "says"),
    [
        ({"a": (0, 10), "b": (9, 20)}, "'a' and 'b' of ata0.0 overlap"),
        ({"a": (0, SECTORS + 1)}, f"which has {SECTORS}"),
        ({"a": (5, 5)}, r"'a' of ata0.0 is \(5, 5\), expected a range of blocks"),
        ({"a": (5, 1)}, r"'a' of ata0.0 is \(5, 1\), expected a range"),
        ({"a": ("0", 5)}, "expected a range"),
        ({"a": range(5)}, "expected a range"),
        ({"a/b": (0, 5)}, "'a/b' is no name of an area"),
        ({5: (0, 5)}, "5 is no name of an area"),
        ([("a", (0, 5))], "expected a mapping"),
    ],
)
def test_areas_that_cannot_be(play: Play, medium: Path, areas: Any, says: str) -> None:
    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        process_flag("trap_exit", True)
        exit(service, "kill")
        await receive(timeout=5)
        with pytest.raises(ValueError, match=says):
            await AreaService.start_link(manager, DISK, areas)

    play_areas(play, medium, check)


def test_a_disk_that_comes_back_smaller_costs_only_the_areas_that_it_has_no_more(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        home = await open_area(service, "home")
        grant = grant_of(home.number)
        assert grant is not None
        grant.device.sectors = 150  # as its driver says when it is up again
        with pytest.raises(ValueError, match=r"are not in the 150 of ata0\.0"):
            await open_area(service, "rest")
        assert await home.do("read", 0, 1) == sector(64)
        assert await (await open_area(service, "boot")).do("read", 0, 1) == sector(0)

    play_areas(play, medium, check)


def test_areas_of_a_disk_that_was_taken_are_gone(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        process_flag("trap_exit", True)
        home = await open_area(service, "home")
        assert await revoke_device(manager, DISK, 0.01) == 2
        exited = await receive(Exit, timeout=5)
        assert (exited.sender, exited.reason) == (service, ("revoked", DISK))
        with pytest.raises(GrantRevokedError):
            await home.do("read", 0, 1)
        with pytest.raises(CallError):
            await open_area(service, "boot")
        async with await open_device(manager, DISK) as disk:
            assert await disk.do("read", 64, 1) == sector(64)

    play_areas(play, medium, check)


def test_nonsense_and_forged_ends_harm_no_area(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid, service: Pid) -> None:
        home = await open_area(service, "home")
        open_: Any = OpenArea  # records arrive without being checked
        for nonsense in (open_(["x"]), open_(None), "hello", 5):
            assert type(await call(service, nonsense)) is Failed
        send(service, Down(make_ref(), self_pid(), "x"))
        send(service, GrantTaken(DISK, 1, "x"))
        for _ in range(50):
            await (await open_area(service, "boot")).close()
        assert await home.do("read", 0, 1) == sector(64)
        state = await system.get_state(service)
        assert [len(numbers) for numbers in state["lent"].values()] <= [2]

    play_areas(play, medium, check)
