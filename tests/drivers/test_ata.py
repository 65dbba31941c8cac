"""ATA disks, on both machines."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from machines import Play

from beamlike import exit as end_process
from beamlike import monitor, receive, run, self_pid, send, spawn
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.ata import PRIMARY, READ, SECONDARY, WRITE, AtaChannel, AtaDisk, Kind
from drivers.models.ata import AtaModel

SECTORS = 1024
STATUS, COMMAND = 0x1F7, 0x1F7


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A file in which each sector says its number."""
    path = tmp_path / "disk"
    path.write_bytes(b"".join(sector(number) for number in range(SECTORS)))
    return path


def sector(number: int) -> bytes:
    return number.to_bytes(4, "little") * 128


def sectors(first: int, count: int) -> bytes:
    return b"".join(sector(number) for number in range(first, first + count))


def content(path: Path) -> bytes:
    return path.read_bytes()


def model(path: Path | int, **options: Any) -> Callable[[PortBus], AtaModel]:
    return lambda bus: AtaModel(bus, path, **options)


def drive(path: Path, channel: int = 0, unit: int = 0) -> list[str]:
    """What QEMU is told."""
    name = f"d{channel}{unit}"
    return ["-drive", f"file={path},if=none,id={name},format=raw", "-device", f"ide-hd,drive={name},bus=ide.{channel},unit={unit}"]


def on_disk(play: Play, medium: Path, check: Callable[[Any, AtaDisk], Awaitable[None]], **options: Any) -> None:
    """The check, on both machines, with the master of the first channel."""

    async def with_disk(io: IoSpace) -> None:
        await check(io, await AtaChannel(io).disk(0))

    play(with_disk, [model(medium, **options)], qemu=drive(medium))


def test_what_a_disk_says_of_itself(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, disk: AtaDisk) -> None:
        assert disk.sectors == SECTORS
        assert disk.sector_size == 512
        assert (disk.model, disk.serial) == (("BEAMLIKE DISK", "BL00") if io.name == "portbus" else ("QEMU HARDDISK", "QM00001"))
        assert disk.has_lba48
        assert disk.most_multiple == disk.multiple == 16
        assert not disk.is_read_only

    on_disk(play, medium, check)


def test_master_and_slave_of_both_channels_are_told_apart(play: Play, tmp_path: Path) -> None:
    places = [(channel, unit) for channel in (0, 1) for unit in (0, 1)]
    paths = {place: tmp_path / f"{place[0]}{place[1]}" for place in places}
    for number, path in enumerate(paths.values()):
        path.write_bytes(sectors(1000 * number, 10 + number))

    async def check(io: IoSpace) -> None:
        channels = AtaChannel(io, *PRIMARY), AtaChannel(io, *SECONDARY)
        for channel in channels:
            assert await channel.detect() == (Kind.DISK, Kind.DISK)
        for number, (which, unit) in enumerate(places):
            disk = await channels[which].disk(unit)
            assert disk.sectors == 10 + number
            assert await disk.read(9, 1) == sector(1000 * number + 9)

    models = [model(path, channel=channel, unit=unit) for (channel, unit), path in paths.items()]
    play(check, models, qemu=[option for place, path in paths.items() for option in drive(path, *place)])


@pytest.mark.parametrize("unit", [0, 1])
def test_a_disk_may_be_alone_as_either_unit(play: Play, medium: Path, unit: int) -> None:
    async def check(io: IoSpace) -> None:
        channel = AtaChannel(io)
        kinds = await channel.detect()
        assert kinds == ((Kind.DISK, Kind.NOTHING) if unit == 0 else (Kind.NOTHING, Kind.DISK))
        assert await (await channel.disk(unit)).read(5, 2) == sectors(5, 2)
        with pytest.raises(DeviceAbsentError, match=f"unit {1 - unit} is nothing"):
            await channel.disk(1 - unit)
        with pytest.raises(ValueError, match="expected 0 or 1"):
            await channel.disk(2)

    play(check, [model(medium, unit=unit)], qemu=drive(medium, unit=unit))


@pytest.mark.parametrize("unit", [0, 1])
def test_a_packet_device_is_no_disk(play: Play, medium: Path, unit: int) -> None:
    async def check(io: IoSpace) -> None:
        channel = AtaChannel(io)
        kinds = await channel.detect()
        assert kinds[unit] is Kind.PACKET
        assert kinds[1 - unit] is Kind.NOTHING
        with pytest.raises(DeviceAbsentError, match="is a packet device, and no disk"):
            await channel.disk(unit)

    cd = ["-drive", f"file={medium},if=none,id=cd,format=raw,media=cdrom", "-device", f"ide-cd,drive=cd,bus=ide.0,unit={unit}"]
    play(check, [model(medium, is_packet=True, unit=unit)], qemu=cd)


def test_a_disk_beside_a_packet_device(play: Play, medium: Path) -> None:
    async def check(io: IoSpace) -> None:
        channel = AtaChannel(io)
        assert await channel.detect() == (Kind.PACKET, Kind.DISK)
        assert await (await channel.disk(1)).read(100, 3) == sectors(100, 3)

    cd = ["-drive", f"file={medium},if=none,id=cd,format=raw,media=cdrom,readonly=on,file.locking=off"]
    cd += ["-device", "ide-cd,drive=cd,bus=ide.0,unit=0"]
    disk = drive(medium, unit=1)
    disk[1] += ",file.locking=off"
    play(check, [model(medium, is_packet=True), model(medium, unit=1)], qemu=cd + disk)


def test_a_channel_without_devices(play: Play) -> None:
    # QEMU's channel answers with zeros, a bus that nobody drives with ones.
    async def check(io: IoSpace) -> None:
        for base, control in (PRIMARY, SECONDARY, (0x2000, 0x2206)):
            with pytest.raises(DeviceAbsentError, match=f"{base:#x}"):
                await AtaChannel(io, base, control).detect()

    play(check, [])


@pytest.mark.parametrize("multiple", [0, 1, 4, 16])
@pytest.mark.parametrize(("lba", "count"), [(0, 1), (3, 17), (700, 256), (7, 300), (SECTORS - 1, 1), (5, 0), (SECTORS, 0)])
def test_what_is_on_the_medium_is_read(play: Play, medium: Path, multiple: int, lba: int, count: int) -> None:
    # A count of more than 256 needs an EXT command, one of up to 256 none.
    async def check(io: IoSpace, disk: AtaDisk) -> None:
        await disk.set_multiple(multiple)
        assert await disk.read(lba, count) == sectors(lba, count)

    on_disk(play, medium, check)


@pytest.mark.parametrize("multiple", [0, 16])
@pytest.mark.parametrize(("lba", "count"), [(0, 1), (3, 17), (700, 256), (7, 300), (SECTORS - 1, 1), (5, 0)])
def test_what_is_written_is_on_the_medium_and_nothing_else_changes(play: Play, medium: Path, multiple: int, lba: int, count: int) -> None:
    async def check(io: IoSpace, disk: AtaDisk) -> None:
        await disk.set_multiple(multiple)
        await disk.write(lba, sectors(lba + 5000, count))
        await disk.flush()
        expected = sectors(0, lba) + sectors(lba + 5000, count) + sectors(lba + count, SECTORS - lba - count)
        assert content(medium) == expected
        assert await disk.read(lba, count) == sectors(lba + 5000, count)

    on_disk(play, medium, check)


def test_sectors_behind_the_limit_of_28_bits(play: Play, tmp_path: Path) -> None:
    limit = 1 << 28
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate((limit + 1000) * 512)
        file.seek((limit - 2) * 512)
        file.write(sectors(0, 4))

    async def check(io: IoSpace, disk: AtaDisk) -> None:
        assert disk.sectors == limit + 1000
        assert await disk.read(limit - 2, 4) == sectors(0, 4)
        assert await disk.read(limit - 2, 2) == sectors(0, 2)
        await disk.write(limit + 999, sector(77))
        await disk.flush()
        assert await disk.read(limit + 998, 2) == bytes(512) + sector(77)
        with pytest.raises(ValueError, match=f"it has {limit + 1000}"):
            await disk.read(limit + 999, 2)

    on_disk(play, path, check)


def test_sectors_that_the_disk_does_not_have_and_data_that_is_no_sectors(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, disk: AtaDisk) -> None:
        for lba, count in ((SECTORS, 1), (SECTORS - 1, 2), (-1, 1), (0, -1), (1 << 50, 1)):
            with pytest.raises(ValueError, match=f"it has {SECTORS}"):
                await disk.read(lba, count)
        with pytest.raises(ValueError, match=f"it has {SECTORS}"):
            await disk.write(SECTORS - 1, bytes(1024))
        with pytest.raises(ValueError, match="513 bytes"):
            await disk.write(0, bytes(513))
        for multiple in (3, 32, -1):
            with pytest.raises(ValueError, match="expected 0 or a power of two up to 16"):
                await disk.set_multiple(multiple)
        assert await disk.read(1, 1) == sector(1)
        assert content(medium) == sectors(0, SECTORS)

    on_disk(play, medium, check)


def test_each_block_of_a_read_interrupts_if_that_is_on(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, disk: AtaDisk) -> None:
        io.lines.attach(14)
        await disk.read(0, 64)
        disk.channel.set_interrupts(True)
        await disk.read(0, 64)
        found = [await receive(Interrupt, timeout=5) for _ in range(4)]
        assert [each.number - found[0].number for each in found] == [0, 1, 2, 3]
        disk.channel.set_interrupts(False)
        await disk.read(0, 64)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)

    on_disk(play, medium, check)


def test_the_second_channel_has_an_interrupt_of_its_own(play: Play, medium: Path) -> None:
    async def check(io: IoSpace) -> None:
        channel = AtaChannel(io, *SECONDARY)
        disk = await channel.disk(0)
        channel.set_interrupts(True)
        io.lines.attach(14)
        io.lines.attach(15)
        await disk.flush()
        assert (await receive(Interrupt, timeout=5)).line == 15

    play(check, [model(medium, channel=1)], qemu=drive(medium, channel=1))


def test_a_reset_gives_up_what_the_disk_does_and_its_settings_are_made_again(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, disk: AtaDisk) -> None:
        await disk.set_multiple(4)
        await disk.channel.command(0, READ[False, False], 8, 100)  # of which nobody takes the data
        await disk.channel.reset()
        assert await disk.read(0, 64) == sectors(0, 64)
        assert disk.multiple == 4

    on_disk(play, medium, check)


@pytest.mark.parametrize("is_write", [False, True])
def test_a_process_that_is_killed_in_a_transfer_leaves_a_disk_that_the_next_use_resets(play: Play, medium: Path, is_write: bool) -> None:
    async def check(io: Any, disk: AtaDisk) -> None:
        parent = self_pid()
        inb, block = io.inb, io.outsw if is_write else io.insw
        moved: list[int] = []

        def held(port: int) -> int:
            """The disk seems busy after the first block, so the process waits there: in truth, data is pending."""
            if port != STATUS or not moved:
                return int(inb(port))
            if len(moved) == 1:
                moved.append(inb(port))
                send(parent, moved)
            return 0x80

        def moving(*args: Any) -> Any:
            moved.append(0)
            return block(*args)

        async def transfer() -> None:
            await (disk.write(100, sectors(7000, 64)) if is_write else disk.read(100, 64))

        io.inb, io.outsw, io.insw = held, moving, moving
        child = spawn(transfer)
        ref = monitor(child)
        await receive(list, timeout=5)
        with pytest.raises(RuntimeError, match="one transfer at a time"):
            await disk.read(0, 1)
        end_process(child, "kill")
        assert (await receive(lambda message: getattr(message, "ref", None) == ref, timeout=5)).reason == "killed"
        del io.inb, io.outsw, io.insw
        if not is_write:
            assert inb(STATUS) & 0x08  # it is in the midst of it
        assert await disk.read(0, 64) == sectors(0, 64)
        again = await AtaChannel(io).disk(0)
        assert await again.read(164, 64) == sectors(164, 64)
        assert await again.read(116, 48) == sectors(116, 48)  # only a first block was moved

    on_disk(play, medium, check)


def test_a_driver_that_begins_in_the_midst_of_anothers_transfer_resets_it(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, disk: AtaDisk) -> None:
        await disk.channel.command(0, WRITE[False, False], 8, 100)
        again = await AtaChannel(io).disk(0)
        assert await again.read(100, 8) == sectors(100, 8)

    on_disk(play, medium, check)


def test_a_sector_that_cannot_be_read_is_an_error_and_the_next_read_is_right(play: Play, medium: Path) -> None:
    # QEMU's disk reports an error of its medium as ABRT, of the first sector of the block, and not as UNC of the one that is bad.
    async def check(io: IoSpace) -> None:
        disk = await AtaChannel(io).disk(0)
        expected = "UNC at sector 121" if io.name == "portbus" else "ABRT at sector 116"
        with pytest.raises(DeviceError, match=f"READ MULTIPLE of 64 sectors from 100 on: {expected}"):
            await disk.read(100, 64)
        assert await disk.read(0, 121) == sectors(0, 121)
        assert await disk.read(122, 300) == sectors(122, 300)

    broken = f"driver=blkdebug,image.driver=raw,image.file.driver=file,image.file.filename={medium}"
    broken += ",inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.sector=121"
    qemu = ["-drive", f"{broken},if=none,id=d", "-device", "ide-hd,drive=d,bus=ide.0,unit=0"]
    play(check, [model(medium, bad=[121])], qemu=qemu)


def on_model(medium: Path, check: Callable[[Any, AtaDisk], Awaitable[None]], channel: dict[str, Any] | None = None, **options: Any) -> None:
    """Only on the port bus: QEMU's disks have no such faults, or are not of that kind."""

    async def with_model() -> None:
        io = PortBus()
        io.models[AtaModel] = AtaModel(io, medium, **options)
        await check(io, await AtaChannel(io, **(channel or {})).disk(0))

    run(with_model)


@pytest.mark.parametrize("multiple", [0, 16])
@pytest.mark.parametrize("count", [64, 300])
def test_a_bad_sector_is_named_until_it_is_written(medium: Path, multiple: int, count: int) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        await disk.set_multiple(multiple)
        with pytest.raises(DeviceError, match=r"of \d+ sectors from 100 on: UNC at sector 121 \(status 0x51, error 0x40\)"):
            await disk.read(100, count)
        assert await disk.read(0, 121) == sectors(0, 121)
        await disk.write(121, sector(121))
        assert await disk.read(100, count) == sectors(100, count)

    on_model(medium, check, bad=[121])


def test_a_bad_sector_behind_the_limit_of_28_bits_is_named(tmp_path: Path) -> None:
    first = 1 << 33
    with (tmp_path / "large").open("wb") as file:
        file.truncate((first + 100) * 512)

    async def check(io: PortBus, disk: AtaDisk) -> None:
        with pytest.raises(DeviceError, match=f"READ MULTIPLE EXT of 16 sectors from {first} on: UNC at sector {first + 5}"):
            await disk.read(first, 16)

    on_model(tmp_path / "large", check, bad=[first + 5])


def test_a_medium_that_shrinks_has_sectors_that_cannot_be_read_or_found(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        os.truncate(medium, 500 * 512)
        with pytest.raises(DeviceError, match="UNC at sector 500"):
            await disk.read(490, 64)
        with pytest.raises(DeviceError, match="IDNF at sector 510"):
            await disk.write(510, bytes(512))
        assert content(medium) == sectors(0, 500)
        assert await disk.read(490, 10) == sectors(490, 10)

    on_model(medium, check)


def test_a_disk_that_is_write_protected_says_so(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        assert disk.is_read_only
        with pytest.raises(DeviceError, match="WP, write-protected"):
            await disk.write(7, bytes(512))
        assert await disk.read(7, 1) == sector(7)

    on_model(medium, check, read_only=True)


@pytest.mark.parametrize("count", [1, 256, 300])
def test_a_disk_of_before_lba48_without_multiple(medium: Path, count: int) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        assert (disk.has_lba48, disk.most_multiple, disk.sectors) == (False, 0, SECTORS)
        await disk.write(9, sectors(5000, count))
        await disk.flush()
        assert await disk.read(8, count + 1) == sector(8) + sectors(5000, count)
        with pytest.raises(ValueError, match="up to 0"):
            await disk.set_multiple(1)

    on_model(medium, check, has_lba48=False, has_multiple=False)


def test_a_command_takes_its_time(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        before = io.now()
        assert await disk.read(0, 256) == sectors(0, 256)
        assert 0.008 <= io.now() - before < 0.01

    on_model(medium, check, delay=0.008)


@pytest.mark.parametrize("use", ["read", "write", "flush"])
def test_a_disk_that_stays_busy_is_reset_before_its_next_use(medium: Path, use: str) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        uses = {"read": lambda: disk.read(3, 40), "write": lambda: disk.write(3, sectors(3, 40)), "flush": disk.flush}
        seconds = 8 if use == "flush" else 2
        io.models[AtaModel].stick()
        before = io.now()
        with pytest.raises(DeviceTimeoutError, match=rf"(data|the end): not within {seconds} s"):
            await uses[use]()
        assert seconds <= io.now() - before < seconds + 0.1
        assert await disk.read(0, 50) == sectors(0, 50)
        await uses[use]()
        assert content(medium) == sectors(0, SECTORS)

    on_model(medium, check, channel={"timeout": 2})


def test_a_flush_may_take_longer_than_other_commands(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        io.fault(Fault.ONES, STATUS, mask=0x80, skip=1, count=35_000)  # a millisecond from look to look
        before = io.now()
        await disk.flush()
        assert 30 < io.now() - before < 40
        assert disk.channel.is_settled

    on_model(medium, check)


def test_a_disk_that_does_not_even_end_its_reset(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        io.fault(Fault.ONES, 0x3F6, mask=0x80)
        with pytest.raises(DeviceTimeoutError, match="the end of its reset"):
            await disk.channel.reset()
        with pytest.raises(DeviceTimeoutError, match="the end of its reset"):
            await disk.read(0, 1)
        io.repair()
        assert await disk.read(0, 1) == sector(0)

    on_model(medium, check)


def test_a_disk_without_data_where_there_should_be_some(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        io.fault(Fault.ZEROS, STATUS, mask=0x08)
        with pytest.raises(DeviceTimeoutError, match="READ MULTIPLE of 1 sectors from 0 on: data"):
            await disk.read(0, 1)
        with pytest.raises(DeviceError, match="IDENTIFY DEVICE"):
            await AtaChannel(io).detect()
        io.repair()
        assert await disk.read(0, 1) == sector(0)
        io.fault(Fault.ONES, STATUS, mask=0x08, skip=2)
        with pytest.raises(DeviceError, match="more data than was asked for"):
            await disk.read(0, 1)
        io.repair()
        assert await disk.read(0, 1) == sector(0)

    on_model(medium, check)


def test_a_device_fault_is_an_error(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        io.fault(Fault.ONES, STATUS, mask=0x20, skip=1)
        with pytest.raises(DeviceError, match=r"DF \(status 0x.., error 0x00\)"):
            await disk.read(0, 1)
        io.repair()
        assert await disk.read(0, 1) == sector(0)

    on_model(medium, check)


@pytest.mark.parametrize("after", range(40))
def test_a_disk_that_is_unplugged_at_any_access(medium: Path, after: int) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        io.fault(Fault.MISSING, range(0x1F0, 0x1F8), skip=after)
        for _ in range(after):  # each use makes some accesses
            with suppress(DeviceError):
                await disk.read(0, 20)
        with pytest.raises(DeviceError):
            await disk.read(0, 20)
        io.repair()
        assert await disk.read(0, 20) == sectors(0, 20)

    on_model(medium, check, channel={"timeout": 0.1})


def test_a_disk_that_says_nonsense_of_itself(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        for kind, mask in ((Fault.ZEROS, 0xFF), (Fault.ONES, 0xFF), (Fault.ZEROS, 0x02)):
            io.fault(kind, range(0x1F0, 0x1F2), mask=mask)
            with pytest.raises(DeviceError, match=r"no LBA|says that it has|sectors of"):
                await AtaChannel(io).disk(0)
            io.repair()
        assert await (await AtaChannel(io).disk(0)).read(0, 1) == sector(0)

    on_model(medium, check)


def test_any_accesses_at_all_leave_a_disk_that_a_reset_brings_back(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        chance = Random(7)
        ports = [*range(0x1F0, 0x1F8), 0x3F6]
        commands = [0x20, 0x24, 0x29, 0x30, 0x34, 0x39, 0xC4, 0xC5, 0xC6, 0xE7, 0xEC, 0xA1, 0x90, *range(0, 256, 7)]
        for _ in range(30000):
            port, width = chance.choice(ports), chance.choice([1, 1, 1, 2, 4])
            match chance.randrange(4):
                case 0:
                    io.port_in(port, width)
                case 1:
                    io.port_out(port, 1, chance.choice(commands) if port == COMMAND else chance.randrange(256))
                case 2:
                    io.block_in(port, width, chance.randrange(5000))
                case _:
                    io.block_out(0x1F0, 2, bytes(2 * chance.randrange(5000)))
        again = await AtaChannel(io).disk(0)
        await again.write(0, sectors(0, SECTORS))
        assert await again.read(0, SECTORS) == sectors(0, SECTORS)
        assert content(medium) == sectors(0, SECTORS)

    on_model(medium, check)


def test_a_unit_that_is_there_already_and_a_medium_that_is_none(medium: Path) -> None:
    async def check(io: PortBus, disk: AtaDisk) -> None:
        with pytest.raises(ValueError, match="cannot be plugged in"):
            AtaModel(io, medium)
        with pytest.raises(OSError, match="Bad file descriptor"):
            AtaModel(io, 12345, unit=1)
        with pytest.raises(FileNotFoundError):
            AtaModel(io, medium.parent / "none", unit=1)
        with pytest.raises(ValueError, match="more than 64"):
            AtaModel(io, medium, unit=1, bad=range(65))

    on_model(medium, check)


def test_what_is_no_medium(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"x" * 511)
    directory = os.open(tmp_path, os.O_RDONLY)
    for wrong in (tmp_path / "empty", directory):
        with pytest.raises(ValueError, match="is no medium of a disk"):
            AtaModel(PortBus(), wrong)
    os.close(directory)
