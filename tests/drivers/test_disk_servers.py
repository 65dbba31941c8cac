"""Disks as devices that are handed out: whole and in parts, through crashes, on both machines."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machines import Play, on
from test_ata import SECTORS, drive, medium, model, sector, sectors
from test_servers import ready

from beamlike import Pid, exit, receive, run, self_pid, send, spawn, spawn_monitor
from drivers import DeviceError, IoSpace, PortBus
from drivers.models.ata import AtaModel
from drivers.servers.device import DeviceBack, DeviceData, DeviceLost
from drivers.servers.finding import find_devices
from drivers.servers.grants import DeviceBusyError, GrantRevokedError
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import Handle, list_devices, open_device, revoke_device
from drivers.services.fat import Fat

__all__ = ["medium"]

DISK = "ata0.0"


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


async def start(io: IoSpace, *, intensity: int = 1000) -> Pid:
    """A manager of all that is found, when the disk is ready."""
    manager = await DeviceManager.start_link(await find_devices(io), intensity)
    await ready(manager, DISK)
    return manager


def play_disk(play: Play, medium: Path, check: Callable[[Any, Pid], Any], **options: Any) -> None:
    async def with_manager(io: IoSpace) -> None:
        await check(io, await start(io))

    play(with_manager, [("pit",), model(medium, **options)], qemu=drive(medium))


def test_a_disk_is_found_and_read_and_written_in_the_owners_own_process(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid) -> None:
        infos = {each.name: each for each in await list_devices(manager)}
        assert {"timer", "speaker", DISK} <= infos.keys()
        assert infos[DISK].ports == ((0x1F0, 0x1F8), (0x3F6, 0x3F7))
        async with await open_device(manager, DISK) as disk:
            exit(manager, "normal")  # nobody but the driver is needed
            assert await disk.do("read", 10, 20) == sectors(10, 20)
            await disk.do("write", 5, sector(7))
            await disk.do("flush")
            assert await disk.do("read", 4, 3) == sector(4) + sector(7) + sector(6)

    play_disk(play, medium, check)


def test_parts_of_a_disk_are_numbered_from_0_and_nobody_elses(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid) -> None:
        first = await open_device(manager, DISK, blocks=(0, 100))
        second = await open_device(manager, DISK, blocks=(100, SECTORS))
        assert await second.do("read", 0, 2) == sectors(100, 2)
        await second.do("write", 1, sector(1))
        assert await first.do("read", 99, 1) == sector(99)
        for start, count in ((99, 2), (100, 1), (-1, 1), (0, 101), (1 << 60, 1)):
            with pytest.raises(ValueError, match="not in the 100 that were granted"):
                await first.do("read", start, count)
        with pytest.raises(ValueError, match="not in the 100 that were granted"):
            await first.do("write", 99, sector(0) * 2)
        with pytest.raises(ValueError, match="expects the first block, and a number of blocks; got lba=99, count=2"):
            await first.do("read", lba=99, count=2)
        for taken in ((0, 1), (50, 150), (99, 101), (0, SECTORS), (SECTORS - 1, SECTORS)):
            with pytest.raises(DeviceBusyError, match=r"this process has blocks (0 to 99|100 to \d+) already"):
                await open_device(manager, DISK, blocks=taken)
        with pytest.raises(DeviceBusyError):
            await open_device(manager, DISK)
        await first.close()
        middle = await open_device(manager, DISK, blocks=(20, 30))
        assert await middle.do("read", 9, 1) == sector(29)
        for wrong in ((5, 5), (-1, 4), (0, SECTORS + 1)):
            with pytest.raises(ValueError, match=rf"which has {SECTORS}|expected \(start, end\), half-open"):
                await open_device(manager, DISK, blocks=wrong)

    play_disk(play, medium, check)


def test_a_file_system_of_a_handle_is_told_what_it_takes(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid) -> None:
        handle: Any = await open_device(manager, DISK)
        with pytest.raises(TypeError, match=r"of a handle, make `await Blocks.of\(handle\)`: ata0.0"):
            await Fat.mount(handle)

    play_disk(play, medium, check)


def test_how_large_the_part_is_that_one_has(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid) -> None:
        for blocks, count in ((None, SECTORS), ((100, 130), 30)):
            for is_remote in (False, True):
                async with await open_device(manager, DISK, blocks=blocks) as disk:
                    if is_remote:
                        disk._grant = None
                    assert await disk.do("size") == (count, 512)

    play_disk(play, medium, check)


def test_many_processes_with_a_part_each_at_the_same_time(play: Play, medium: Path) -> None:
    async def worker(boss: Pid, manager: Pid, number: int) -> None:
        part = await open_device(manager, DISK, blocks=(number * 4, number * 4 + 4))
        for turn in range(3):
            await part.do("write", turn, sector(1000 + number))
            assert await part.do("read", 0, 4) == sector(1000 + number) * (turn + 1) + sectors(number * 4 + turn + 1, 3 - turn)
        send(boss, number)

    async def check(io: IoSpace, manager: Pid) -> None:
        for number in range(20):
            spawn(worker, self_pid(), manager, number)
        assert {await receive(int, timeout=30) for _ in range(20)} == set(range(20))

    play_disk(play, medium, check)


def test_a_driver_that_is_killed_while_a_transfer_runs(play: Play, medium: Path) -> None:
    """It is restarted, its owner told, no other device disturbed, and the next transfer is right. The transfer is one of the owner's own
    process, or of the server's for an owner elsewhere: both by turns."""

    async def check(io: IoSpace, manager: Pid) -> None:
        timer = await open_device(manager, "timer")
        await timer.do("start_periodic", 100)
        disk = await open_device(manager, DISK)
        server = disk._server
        count, times = (90, 100) if io.name == "portbus" else (8, 25)  # each word takes 20 µs there
        for turn in range(times):
            first = turn % 7 * 100

            async def transfer(boss: Pid, manager: Pid, first: int, is_remote: bool) -> None:
                part = await open_device(manager, "ata0.0", blocks=(first, first + count))
                if is_remote:
                    part._grant = None  # as from another node: the server does it
                send(boss, "begun")
                while True:
                    await part.do("read", 0, count)

            await disk.close()
            pid, ref = spawn_monitor(transfer, self_pid(), manager, first, turn % 2 == 0)
            await receive(str, timeout=5)
            await io.pause(0.0005 * (turn % 5))
            assert server is not None
            exit(server, "kill")
            exit(pid, "kill")
            await receive(lambda message, ref=ref: getattr(message, "ref", None) == ref, timeout=5)
            server = await ready(manager, DISK)
            disk = await open_device(manager, DISK)
            assert await disk.do("read", first, count) == sectors(first, count), turn
            exit(server, "kill")
            assert (await receive(DeviceLost, timeout=5)).device == DISK
            back = await receive(DeviceBack, timeout=5)
            assert back.device == DISK
            server = back.server
            assert await disk.do("read", first, 3) == sectors(first, 3), turn
        assert 0 <= await timer.do("read", 0) < 12000
        await io.pause(0.02)
        await receive(DeviceData, timeout=5)

    play_disk(play, medium, check, delay=0.001)


def test_an_owner_that_is_killed_while_its_transfer_runs(play: Play, medium: Path) -> None:
    async def transfer(boss: Pid, manager: Pid) -> None:
        disk = await open_device(manager, DISK)
        send(boss, "begun")
        while True:
            await disk.do("write", 0, sectors(0, 8))

    async def check(io: IoSpace, manager: Pid) -> None:
        for turn in range(30):
            pid, ref = spawn_monitor(transfer, self_pid(), manager)
            await receive(str, timeout=5)
            await io.pause(0.0004 * (turn % 8))
            exit(pid, "kill")
            await receive(lambda message, ref=ref: getattr(message, "ref", None) == ref, timeout=5)
            async with await open_device(manager, DISK) as disk:
                assert await disk.do("read", 0, 10) == sectors(0, 10), turn

    play_disk(play, medium, check, delay=0.001)


def test_a_grant_that_is_taken_while_a_transfer_waits_does_nothing_more(play: Play, medium: Path) -> None:
    async def owner(boss: Pid, manager: Pid) -> None:
        part = await open_device(manager, DISK, blocks=(0, 10))
        send(boss, "begun")
        try:
            while True:
                await part.do("read", 0, 10)
        except GrantRevokedError as error:
            send(boss, str(error))

    async def check(io: IoSpace, manager: Pid) -> None:
        spawn(owner, self_pid(), manager)
        await receive(str, timeout=5)
        assert await revoke_device(manager, DISK, 0.02) == 1
        while True:
            await io.pause(0.001)
            try:
                assert "it was not given back in time" in await receive(str, timeout=0)
            except TimeoutError:
                continue
            break

    play_disk(play, medium, check)


@on("portbus")
def test_a_rate_is_kept(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid) -> None:

        disk = await open_device(manager, DISK, rate=512 * 1000)
        begun = time.monotonic()
        for _ in range(6):
            await disk.do("read", 0, 20)
        assert time.monotonic() - begun >= 0.1  # five of six are waited for

    play_disk(play, medium, check)


@on("portbus")
def test_errors_of_the_disk_are_the_owners_and_the_next_transfer_is_right(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid) -> None:
        for is_remote in (False, True):
            disk = await open_device(manager, DISK)
            if is_remote:
                disk._grant = None
            with pytest.raises(DeviceError, match="17"):
                await disk.do("read", 10, 20)
            assert await disk.do("read", 0, 10) == sectors(0, 10)
            with pytest.raises(ValueError, match=str(SECTORS)):
                await disk.do("read", SECTORS, 1)
            await disk.close()

    play_disk(play, medium, check, bad=[17])


def test_an_image_that_shrinks_while_it_is_in_use(medium: Path) -> None:
    async def main() -> None:
        bus = PortBus()
        AtaModel(bus, medium)
        manager = await start(bus)
        disk = await open_device(manager, DISK)
        assert await disk.do("read", 900, 10) == sectors(900, 10)
        os.truncate(medium, 500 * 512)
        with pytest.raises(DeviceError):
            await disk.do("read", 900, 10)
        assert await disk.do("read", 400, 10) == sectors(400, 10)
        os.truncate(medium, SECTORS * 512)
        assert await disk.do("read", 900, 10) == bytes(5120)

    run(main)


@on("portbus")
def test_what_was_checked_is_what_is_written(play: Play, medium: Path) -> None:
    """The owner's buffer grows while its write waits for its turn."""

    async def check(io: IoSpace, manager: Pid) -> None:
        part = await open_device(manager, DISK, blocks=(0, 1))
        data = bytearray(sector(9))

        async def grow() -> None:
            data.extend(sector(9) * 50)

        spawn(grow)
        await part.do("write", 0, data)
        assert len(data) == 51 * 512
        await part.close()
        async with await open_device(manager, DISK) as disk:
            assert await disk.do("read", 0, 3) == sector(9) + sectors(1, 2)

    play_disk(play, medium, check)


@on("portbus")
def test_only_the_owner_lends_what_is_still_its_own(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, manager: Pid) -> None:
        disk = await open_device(manager, DISK, blocks=(100, 200), rate=512 * 1000)
        me = self_pid()

        async def thief(boss: Pid) -> None:
            with pytest.raises(GrantRevokedError, match="was opened by"):
                disk.lend(self_pid(), (0, 10), lambda: None)
            send(boss, "refused")

        spawn(thief, me)
        assert await receive(str, timeout=5) == "refused"
        part = Handle(manager, DISK, disk.lend(me, (10, 60), lambda: None))
        inner = Handle(manager, DISK, part.lend(me, (5, 30), lambda: None))
        assert await inner.do("read", 0, 1) == sector(115)
        with pytest.raises(ValueError, match="in the 25 that were granted"):
            await inner.do("read", 25, 1)
        begun = time.monotonic()
        for _ in range(6):
            await inner.do("read", 0, 20)  # the rate of what it is a part of is its own, too
        assert time.monotonic() - begun >= 0.1
        await disk.close()
        for each in (part, inner):
            with pytest.raises(GrantRevokedError):
                await each.do("read", 0, 1)
        with pytest.raises(GrantRevokedError):
            disk.lend(me, (0, 10), lambda: None)

    play_disk(play, medium, check)
