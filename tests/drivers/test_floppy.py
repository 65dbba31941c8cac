"""The floppy controller and its drive, on both machines, with the DMA controllers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from machines import Play

from beamlike import exit as end_process
from beamlike import monitor, receive, run, self_pid, send, spawn
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.floppy import CAPACITY, Floppy, Id
from drivers.models.floppy import FloppyModel

STATUS, FIFO = 0x3F4, 0x3F5


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A disk on which each sector says its number."""
    path = tmp_path / "floppy"
    path.write_bytes(sectors(0, CAPACITY))
    return path


def sectors(first: int, count: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") * 128 for number in range(first, first + count))


def content(path: Path) -> bytes:
    return path.read_bytes()


def models(medium: Path | None, **options: Any) -> list[Any]:
    def model(bus: PortBus) -> FloppyModel:
        made = bus.models[FloppyModel] = FloppyModel(bus, medium, **options)
        return made

    return [("dma",), model]


def drive(medium: Path | None, *, readonly: bool = False) -> list[str]:
    """What QEMU is told."""
    if medium is None:
        return ["-device", "floppy,unit=0,drive-type=144,id=floppy"]
    option = f"file={medium},if=none,id=f,format=raw" + ",readonly=on" * readonly
    return ["-drive", option, "-device", "floppy,drive=f,unit=0,id=floppy"]


def on_drive(play: Play, medium: Path | None, check: Callable[[Any, Floppy], Awaitable[None]], *, is_protected: bool = False) -> None:
    """The check, on both machines. QEMU's motor needs no time, and real seconds are dear."""

    async def with_drive(io: IoSpace) -> None:
        floppy = Floppy(io, spin_up=0.5 if io.name == "portbus" else 0.001)
        await floppy.start()
        await check(io, floppy)

    play(with_drive, models(medium, is_protected=is_protected), qemu=drive(medium, readonly=is_protected))


def on_model(medium: Path | None, check: Callable[[Any, Floppy], Awaitable[None]], **options: Any) -> None:
    """Only on the port bus: QEMU's drive has no such faults."""

    async def with_model() -> None:
        io = PortBus()
        io.plug("dma")
        io.models[FloppyModel] = FloppyModel(io, medium, **options)
        floppy = Floppy(io)
        await floppy.start()
        await check(io, floppy)

    run(with_model)


@pytest.mark.parametrize(("lba", "count"), [(0, 1), (17, 2), (35, 2), (30, 100), (CAPACITY - 1, 1), (1440, 36), (7, 0), (CAPACITY, 0)])
def test_what_is_on_the_disk_is_read(play: Play, medium: Path, lba: int, count: int) -> None:
    async def check(io: IoSpace, floppy: Floppy) -> None:
        assert (floppy.sector_size, floppy.sectors) == (512, 2880)
        assert await floppy.read(lba, count) == sectors(lba, count)

    on_drive(play, medium, check)


@pytest.mark.parametrize(("lba", "count"), [(0, 1), (30, 50), (CAPACITY - 1, 1), (7, 0)])
def test_what_is_written_is_on_the_disk_and_nothing_else_changes(play: Play, medium: Path, lba: int, count: int) -> None:
    async def check(io: IoSpace, floppy: Floppy) -> None:
        await floppy.write(lba, sectors(lba + 5000, count))
        await floppy.flush()
        assert content(medium) == sectors(0, lba) + sectors(lba + 5000, count) + sectors(lba + count, CAPACITY - lba - count)
        assert await floppy.read(lba, count) == sectors(lba + 5000, count)

    on_drive(play, medium, check)


def test_the_cmos_memory_says_what_the_drive_is(play: Play, medium: Path) -> None:
    async def check(io: Any, floppy: Floppy) -> None:
        if io.name == "portbus":  # there is no such memory: all ones but for the 4
            assert floppy.drive_type() is None
            io.fault(Fault.ZEROS, 0x71, mask=0xBF)
        assert floppy.drive_type() == 4
        with pytest.raises(DeviceAbsentError, match="there is no drive"):
            await Floppy(io, unit=1).start()

    on_drive(play, medium, check)


def test_a_drive_of_another_kind(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        io.fault(Fault.ZEROS, 0x71, mask=0xDF)
        with pytest.raises(DeviceError, match=r"of type 2: expected 4, 1\.44 MB"):
            await Floppy(io).start()

    on_model(medium, check)


def test_the_head_reads_the_sectors_ids_where_it_is(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, floppy: Floppy) -> None:
        for cylinder, head in ((0, 1), (40, 0), (79, 1), (3, 0)):
            await floppy.seek(cylinder)
            first, second = await floppy.read_id(head), await floppy.read_id(head)
            assert first[:2] == second[:2] == (cylinder, head)
            assert 1 <= first.sector <= 18
            assert second == Id(cylinder, head, first.sector % 18 + 1)

    on_drive(play, medium, check)


def test_sectors_cylinders_and_heads_that_there_are_not(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, floppy: Floppy) -> None:
        for lba, count in ((CAPACITY, 1), (CAPACITY - 1, 2), (-1, 1), (0, -1)):
            with pytest.raises(ValueError, match="it has 2880"):
                await floppy.read(lba, count)
        with pytest.raises(ValueError, match="it has 2880"):
            await floppy.write(CAPACITY - 1, bytes(1024))
        with pytest.raises(ValueError, match="511 bytes"):
            await floppy.write(0, bytes(511))
        with pytest.raises(ValueError, match="expected 0 to 79"):
            await floppy.seek(80)
        with pytest.raises(ValueError, match="expected 0 or 1"):
            await floppy.read_id(2)
        with pytest.raises(ValueError, match="expected 0 or 1"):
            Floppy(io, unit=2)
        for buffer in (-1, 0x1C000, 1 << 24, 0xFFFFFF):
            with pytest.raises(ValueError, match="18432 bytes below 16 MiB"):
                Floppy(io, buffer=buffer)
        assert await floppy.read(1, 1) == sectors(1, 1)

    on_drive(play, medium, check)


def test_a_drive_without_a_disk(play: Play) -> None:
    async def check(io: IoSpace, floppy: Floppy) -> None:
        for _ in range(2):
            assert floppy.is_changed
            with pytest.raises(DeviceError, match="there is no disk"):
                await floppy.read(0, 1)
        assert floppy.changes == 0

    on_drive(play, None, check)


def test_a_disk_that_is_taken_out_and_another_one_that_is_put_in(play: Play, medium: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(sectors(3000, CAPACITY))

    async def check(io: Any, floppy: Floppy) -> None:
        assert await floppy.read(5, 1) == sectors(5, 1)
        assert (floppy.changes, floppy.is_changed) == (1, False)
        if io.name == "portbus":
            io.models[FloppyModel].eject()
        else:
            io.qmp("blockdev-open-tray", id="floppy", force=True)
            io.qmp("blockdev-remove-medium", id="floppy")
        assert floppy.is_changed
        with pytest.raises(DeviceError, match="there is no disk"):
            await floppy.read(5, 1)
        if io.name == "portbus":
            io.models[FloppyModel].insert(other)
        else:
            io.qmp("blockdev-change-medium", id="floppy", filename=str(other), format="raw")
        assert floppy.is_changed
        assert await floppy.read(5, 1) == sectors(3005, 1)
        assert (floppy.changes, floppy.is_changed) == (2, False)

    on_drive(play, medium, check)


@pytest.mark.parametrize("is_protected", [False, True])
def test_a_disk_may_be_write_protected(play: Play, medium: Path, is_protected: bool) -> None:
    async def check(io: IoSpace, floppy: Floppy) -> None:
        assert await floppy.is_protected() is is_protected
        assert floppy.is_read_only is is_protected
        if is_protected:
            with pytest.raises(DeviceError, match="WRITE DATA: write-protected at cylinder 0, head 0"):
                await floppy.write(3, bytes(512))
            assert content(medium) == sectors(0, CAPACITY)
        else:
            await floppy.write(3, sectors(3, 1))
        assert await floppy.read(3, 1) == sectors(3, 1)

    on_drive(play, medium, check, is_protected=is_protected)


def test_a_read_ends_with_an_interrupt(play: Play, medium: Path) -> None:
    async def check(io: IoSpace, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        io.lines.attach(6)
        await floppy.read(0, 36)
        await receive(Interrupt, timeout=5)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)  # it was one, for all sectors

    on_drive(play, medium, check)


@pytest.mark.parametrize("is_write", [False, True])
def test_a_process_that_is_killed_in_a_transfer_leaves_a_drive_that_the_next_use_resets(play: Play, medium: Path, is_write: bool) -> None:
    async def check(io: Any, floppy: Floppy) -> None:
        await floppy.read(100, 1)
        parent, inb, outb = self_pid(), io.inb, io.outb
        sent: list[int] = []

        def counted(port: int, value: int) -> None:
            if port == FIFO:
                sent.append(value)
            outb(port, value)

        def held(port: int) -> int:
            """After its command the controller seems busy for ever: in truth it moves the sectors, or has its result."""
            if port != STATUS or len(sent) < 9:
                return int(inb(port))
            if len(sent) == 9:
                send(parent, list(sent))
                sent.append(0)
            return 0x10

        async def transfer() -> None:
            await (floppy.write(100, sectors(100, 5)) if is_write else floppy.read(100, 5))

        io.inb, io.outb = held, counted
        child = spawn(transfer)
        ref = monitor(child)
        await receive(list, timeout=5)
        with pytest.raises(RuntimeError, match="one transfer at a time"):
            await floppy.read(0, 1)
        end_process(child, "kill")
        assert (await receive(lambda message: getattr(message, "ref", None) == ref, timeout=5)).reason == "killed"
        del io.inb, io.outb
        assert await floppy.read(90, 30) == sectors(90, 30)
        again = Floppy(io, spin_up=0.001)
        await again.start()
        assert await again.read(90, 30) == sectors(90, 30)

    on_drive(play, medium, check)


# Only on the port bus from here on: QEMU has a controller always, and one without faults.


def test_a_machine_without_a_controller() -> None:
    async def check() -> None:
        io = PortBus()
        with pytest.raises(DeviceAbsentError, match="no controller answers"):
            await Floppy(io).start()
        io.plug("floppy", 1)
        with pytest.raises(DeviceAbsentError, match="DMA controller"):
            await Floppy(io).start()

    run(check)


def test_a_drive_that_is_not_there(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        with pytest.raises(DeviceError, match="RECALIBRATE does not find cylinder 0, ST0 0x70"):
            await floppy.read(0, 1)

    on_model(None, check, drives=0)


def test_the_motor_turns_from_the_first_use_on(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        model = io.models[FloppyModel]
        assert not model.is_turning()
        before = io.now()
        await floppy.read(0, 1)
        assert model.is_turning()
        assert io.now() - before > 0.5
        before = io.now()
        await floppy.read(0, 1)
        assert io.now() - before < 0.02
        floppy.stop_motor()
        assert not model.is_turning()
        assert await floppy.read(36, 1) == sectors(36, 1)

    on_model(medium, check)


def test_a_cylinder_takes_two_turns(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        before = io.now()
        await floppy.read(0, 36)
        assert io.now() - before == pytest.approx(0.4, abs=0.005)

    on_model(medium, check)


def test_the_head_is_quiet_before_anything_is_read_or_written(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        before = io.now()
        await floppy.seek(10)
        assert io.now() - before == pytest.approx(10 * 0.003 + 0.015, abs=0.003)

    on_model(medium, check)


def test_a_disk_that_shrinks_has_sectors_that_cannot_be_read(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        os.truncate(medium, 10 * 512)
        with pytest.raises(DeviceError, match="READ DATA: CRC, CRC in the data at cylinder 0, head 0, sector 11"):
            await floppy.read(5, 20)
        with pytest.raises(DeviceError, match="WRITE DATA: CRC"):
            await floppy.write(10, bytes(512))
        assert len(content(medium)) == 5120
        assert await floppy.read(5, 5) == sectors(5, 5)

    on_model(medium, check)


def test_a_disk_that_is_taken_out_in_a_transfer_is_a_timeout(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        parent = self_pid()

        async def transfer() -> None:
            with pytest.raises(DeviceTimeoutError, match="a result, main status 0x10"):
                await floppy.read(0, 36)
            send(parent, "it was noticed")

        spawn(transfer)
        await io.pause(0.1)
        io.models[FloppyModel].eject()
        assert await receive(str, timeout=5) == "it was noticed"
        with pytest.raises(DeviceError, match="there is no disk"):
            await floppy.read(0, 36)
        io.models[FloppyModel].insert(medium)
        assert await floppy.read(0, 36) == sectors(0, 36)

    on_model(medium, check)


@pytest.mark.parametrize("is_write", [False, True])
def test_one_transfer_is_of_one_disk(medium: Path, tmp_path: Path, is_write: bool) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        other = tmp_path / "other"
        other.write_bytes(b"o" * (CAPACITY * 512))
        real, moved = (io.store, io.load), 0

        def swapped(*args: Any) -> Any:
            nonlocal moved
            moved += 1
            if moved == 2:
                io.models[FloppyModel].insert(other)
            return real[not is_write](*args)

        setattr(io, "store" if is_write else "load", swapped)
        with pytest.raises(DeviceError, match=r"at sector (36|72): the disk was taken out"):
            await (floppy.write(0, b"n" * (108 * 512)) if is_write else floppy.read(0, 108))
        assert content(other) == b"o" * (CAPACITY * 512)
        assert await floppy.read(0, 108) == b"o" * (108 * 512)

    on_model(medium, check)


def test_dma_that_is_given_up_is_an_overrun(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        io.fault(Fault.LOSE, 0x0A)  # the channel stays masked
        with pytest.raises(DeviceError, match="READ DATA: overrun at cylinder 0, head 0, sector 1"):
            await floppy.read(0, 5)
        io.repair()
        assert await floppy.read(0, 5) == sectors(0, 5)

    on_model(medium, check)


def test_a_controller_that_is_never_ready(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        io.fault(Fault.ZEROS, STATUS, mask=0x80)
        for _ in range(2):
            with pytest.raises(DeviceTimeoutError, match="ready for a command"):
                await floppy.read(0, 1)
        io.repair()
        io.fault(Fault.ZEROS, FIFO, mask=0x20, skip=9)  # after the answers to the reset
        with pytest.raises(DeviceTimeoutError, match="RECALIBRATE: not within 3 s"):
            await floppy.read(0, 1)
        io.repair()
        assert await floppy.read(0, 1) == sectors(0, 1)

    on_model(medium, check)


@pytest.mark.parametrize("times", [3, 1000])
def test_a_controller_that_polls_its_drives_some_time_after_a_reset(medium: Path, times: int) -> None:
    async def check(io: Any, floppy: Floppy) -> None:
        outb, left = io.outb, times

        def early(port: int, value: int) -> None:
            """The first times there is no status, as for a command that there is not."""
            nonlocal left
            is_early = port == FIFO and value == 0x08 and left > 0
            left -= is_early
            outb(port, 0x00 if is_early else value)

        io.outb = early
        again = Floppy(io)
        if times == 3:
            await again.start()
            assert await again.read(7, 30) == sectors(7, 30)
        else:
            with pytest.raises(DeviceError, match="status 0x80 after a reset: expected 0xc0"):
                await again.start()

    on_model(medium, check)


@pytest.mark.parametrize("answer", [0x80, 0x00])
def test_another_controller(medium: Path, answer: int) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        io.fault(Fault.ZEROS, FIFO, mask=0x90 ^ answer, skip=8)
        with pytest.raises(DeviceError, match=f"its version is {answer:#04x}: expected 0x90"):
            await Floppy(io).start()
        io.repair()
        io.fault(Fault.ONES, FIFO, mask=0x01)
        with pytest.raises(DeviceError, match="status 0xc1 after a reset: expected 0xc0"):
            await Floppy(io).start()

    on_model(medium, check)


@pytest.mark.parametrize("kind", [Fault.MISSING, Fault.ONES, Fault.ZEROS, Fault.LOSE])
@pytest.mark.parametrize("after", range(0, 60, 3))
def test_a_controller_that_fails_at_any_access(medium: Path, kind: Fault, after: int) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        await floppy.read(0, 1)
        io.fault(kind, range(0x3F2, 0x3F8), skip=after)
        for lba in (0, 100, 200, 300):
            try:
                assert await floppy.read(lba, 20) == sectors(lba, 20)
            except DeviceError:
                break
        else:
            pytest.fail("it works without a controller")
        io.repair()
        assert await floppy.read(0, 20) == sectors(0, 20)

    on_model(medium, check)


def test_any_accesses_at_all_leave_a_controller_that_a_reset_brings_back(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        chance = Random(5)
        ports = [0x3F2, 0x3F4, 0x3F5, 0x3F5, 0x3F5, 0x3F7]
        for _ in range(20000):
            match chance.randrange(5):
                case 0 | 1:
                    port = chance.choice(ports)
                    io.port_out(port, 1, 0x1C if port == 0x3F2 and chance.random() < 0.9 else chance.randrange(256))
                case 2 | 3:
                    io.port_in(chance.choice(ports), chance.choice([1, 2, 4]))
                case _:
                    io.advance(chance.choice([0.0001, 0.02, 0.5]))
        again = Floppy(io)
        await again.start()
        assert await again.read(0, 40) == sectors(0, 40)

    on_model(medium, check, is_protected=True)


def test_a_drive_or_a_disk_that_there_is_not(medium: Path) -> None:
    async def check(io: PortBus, floppy: Floppy) -> None:
        model = io.models[FloppyModel]
        with pytest.raises(ValueError, match="cannot be put into drive 1"):
            model.insert(medium, drive=1)
        with pytest.raises(ValueError, match="no file"):
            model.insert(12345)
        with pytest.raises(ValueError, match="no drive 4"):
            model.eject(4)
        with pytest.raises(ValueError, match="cannot be plugged in"):
            FloppyModel(io, drives=5)

    on_model(medium, check)
