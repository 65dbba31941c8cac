"""The virtio disk, and what virtio devices share, on both machines.

QEMU differs from the model in these: its queue has 256 descriptors instead of 128, it offers more features, and what a shrinking medium has
lost reads as 0 there instead of as an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import Play

import caps
from beamlike import Down, exit, receive, record, run, self_pid, send, sleep, spawn, spawn_monitor
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.pci import Command, Pci
from drivers.devices.pci_setup import Piix3, assign
from drivers.devices.virtio import CONFIG, NOTIFY, STATUS, VENDOR, Buffer, Isr, Queue, Status, Virtio, open_function
from drivers.devices.virtio_blk import DEVICE, VirtioBlk
from drivers.memory import START, Memory

SECTORS = 2048
LINE = 11
DISK = ("virtio-blk-pci,drive=d,disable-modern=on",)


@record
class Read:
    lba: int
    data: bytes


class Medium:
    """A file whose sectors each say which one they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"".join(sector(each) for each in range(SECTORS)))
        self.descriptor = os.open(path, os.O_RDWR)

    def model(self, is_read_only: bool = False, serial: bytes = b"the serial number", block: int = 512) -> list[Any]:
        return [("pci",), ("virtio_blk", self.descriptor, is_read_only, serial, block)]

    def qemu(self, more: str = "", device: str = "serial=the serial number") -> list[str]:
        device = "virtio-blk-pci,drive=d,disable-modern=on," + device
        return ["-drive", f"file={self.path},if=none,id=d,format=raw,file.locking=off{more}", "-device", device]


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Medium]:
    made = Medium(tmp_path / "medium")
    yield made
    os.close(made.descriptor)


def sector(lba: int, mark: bytes = b"sector") -> bytes:
    return (mark + b" %d|" % lba).ljust(512, b".")


def base_of(io: IoSpace) -> int:
    pci = Pci(io)
    assign(pci)
    (function,) = pci.find(VENDOR, DEVICE)
    Piix3(pci).route(function, LINE)
    return open_function(pci, function)


async def started(io: IoSpace, **options: Any) -> VirtioBlk:
    disk = VirtioBlk(io, base_of(io), Memory(io), **options)
    await disk.start()
    return disk


def test_it_says_how_large_it_is(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        assert (disk.sectors, disk.sector_size, disk.is_read_only) == (SECTORS, 512, False)
        assert disk.virtio.status == Status.ACKNOWLEDGE | Status.DRIVER | Status.DRIVER_OK

    play(check, medium.model(), medium.qemu())


@pytest.mark.parametrize(("lba", "count"), [(0, 1), (SECTORS - 1, 1), (3, 0), (100, 33), (0, SECTORS), (SECTORS, 0)])
def test_sectors_are_read(play: Play, medium: Medium, lba: int, count: int) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        assert await disk.read(lba, count) == b"".join(sector(each) for each in range(lba, lba + count))
        assert disk.virtio.memory.free == Memory(io).free - 3 * 4096 + (4096 if io.name == "portbus" else 0)  # the queue

    play(check, medium.model(), medium.qemu())


@pytest.mark.parametrize(("lba", "count"), [(0, 1), (SECTORS - 1, 1), (5, 0), (70, 300)])
def test_what_was_written_and_flushed_is_on_the_medium(play: Play, medium: Medium, lba: int, count: int) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        data = b"".join(sector(each, b"written") for each in range(lba, lba + count))
        await disk.write(lba, data)
        await disk.flush()
        assert medium.path.read_bytes() == b"".join(
            sector(each, b"written" if lba <= each < lba + count else b"sector") for each in range(SECTORS)
        )
        assert await disk.read(lba, count) == data

    play(check, medium.model(), medium.qemu())


def test_what_is_not_on_the_disk_is_refused_with_its_capacity(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        for lba, count in ((SECTORS, 1), (SECTORS - 1, 2), (-1, 1), (0, -1), (1 << 70, 1)):
            with pytest.raises(ValueError, match=f"{count} sectors from {lba}: the disk has {SECTORS}, of 512 bytes"):
                await disk.read(lba, count)
        with pytest.raises(ValueError, match="the disk has 2048"):
            await disk.write(SECTORS - 1, bytes(1024))
        with pytest.raises(ValueError, match="513 bytes to write: expected a multiple of 512"):
            await disk.write(0, bytes(513))

    play(check, medium.model(), medium.qemu())


def test_the_device_refuses_what_is_not_on_the_disk(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        disk.sectors = 1 << 60
        for lba in (SECTORS, SECTORS - 1, 1 << 54):
            with pytest.raises(DeviceError, match="an I/O error"):
                await disk.read(lba, 2)
            with pytest.raises(DeviceError, match="WRITE at byte"):
                await disk.write(lba, bytes(1024))
        assert await disk.read(7, 1) == sector(7)

    play(check, medium.model(), medium.qemu())


def test_the_serial_number_is_told(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        assert await (await started(io)).serial() == "the serial number"

    play(check, medium.model(), medium.qemu())


def test_a_serial_number_of_20_characters_or_none(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        assert await (await started(io)).serial() == "0123456789abcdefghij"

    async def check_none(io: IoSpace) -> None:
        assert await (await started(io)).serial() == ""

    play(check, medium.model(serial=b"0123456789abcdefghij"), medium.qemu(device="serial=0123456789abcdefghij"))
    play(check_none, medium.model(serial=b""), medium.qemu(device=""))


def test_a_read_only_disk_is_not_written(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        assert disk.is_read_only
        assert await disk.read(5, 1) == sector(5)
        with pytest.raises(DeviceError, match="can only be read"):
            await disk.write(5, bytes(512))
        disk.virtio.features = 0  # and if the driver did not know
        with pytest.raises(DeviceError, match="an I/O error"):
            await disk.write(5, bytes(512))
        assert medium.path.read_bytes()[5 * 512 : 6 * 512] == sector(5)

    play(check, medium.model(is_read_only=True), medium.qemu(",readonly=on"))


def test_an_error_of_the_medium_is_reported_and_others_can_be_read(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        if io.name == "portbus":
            os.truncate(medium.path, 1000 * 512)
        with pytest.raises(DeviceError, match="READ at byte 0x7d000 shows 0x01: an I/O error"):
            await disk.read(1000, 1)
        assert await disk.read(999, 1) == sector(999)

    rule = {"event": "none", "iotype": "read", "sector": 1000, "errno": 5}
    file = {"driver": "file", "filename": str(medium.path), "locking": "off"}
    broken = json.dumps({"driver": "blkdebug", "node-name": "d", "image": file, "inject-error": [rule]})
    play(check, medium.model(), ["-blockdev", broken, "-device", *DISK])


def test_processes_read_at_the_same_time_each_its_own(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        parent = self_pid()

        async def reader(lba: int) -> None:
            send(parent, Read(lba, await disk.read(lba, 300)))

        for lba in range(0, 1000, 100):
            spawn(reader, lba)
        queue = disk.virtio._queues[0]
        found = [await receive(Read, timeout=5) for _ in range(10)]
        assert {each.lba for each in found} == set(range(0, 1000, 100))
        assert all(each.data == b"".join(sector(n) for n in range(each.lba, each.lba + 300)) for each in found)
        assert queue.count == 0
        assert queue.free == queue.size

    play(check, medium.model(), medium.qemu())


def test_several_chains_are_with_the_device_at_once_and_all_come_back(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        queue = disk.virtio._queues[0]
        memory = disk.virtio.memory
        chains = []
        for lba in range(queue.size // 4):
            at = memory.take(16 + 512 + 1)
            io.store(at, bytes(8) + lba.to_bytes(8, "little"))
            # The data in two pieces, of which one has the status, too.
            chains.append((queue.add([Buffer(at, 7), Buffer(at + 7, 9)], [Buffer(at + 16, 500), Buffer(at + 516, 13)], [at]), at))
        assert (queue.free, queue.count) == (0, queue.size // 4)
        with pytest.raises(ValueError, match="1 buffers, expected 1 to 0"):
            queue.add([Buffer(0, 1)], [])
        queue.notify()
        for lba, (chain, at) in enumerate(chains):
            assert await queue.finish(chain, 5) == 513
            assert io.load(at + 16, 513) == sector(lba) + b"\0"
            queue.release(chain)
        assert (queue.free, queue.count, queue.take()) == (queue.size, 0, None)

    play(check, medium.model(), medium.qemu())


def test_a_request_that_the_device_does_not_know_says_so(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        queue = (await started(io)).virtio._queues[0]
        at = queue.memory.take(17)
        io.store(at, (99).to_bytes(4, "little") + bytes(12) + b"\xff")
        chain = queue.add([Buffer(at, 16)], [Buffer(at + 16, 1)])
        queue.notify()
        assert await queue.finish(chain, 5) == 1
        assert io.read8(at + 16) == 2

    play(check, medium.model(), medium.qemu())


def test_a_disk_without_a_flush_has_no_cache(medium: Medium) -> None:
    """On the port bus, where a feature can be hidden."""

    async def check(io: PortBus) -> None:
        base = base_of(io)
        io.fault(Fault.ZEROS, base + 1, mask=0x02)
        disk = VirtioBlk(io, base, Memory(io))
        await disk.start()
        await disk.write(3, bytes(512))
        io.fault(Fault.LOSE, base + NOTIFY)
        await disk.flush()
        assert medium.path.read_bytes()[3 * 512 : 4 * 512] == bytes(512)

    _on_portbus(check, medium)


def test_the_rings_go_around(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        free = disk.virtio.memory.free
        for lba in range(600):
            assert await disk.read(lba, 1) == sector(lba)
        assert disk.virtio.memory.free == free

    play(check, medium.model(), medium.qemu())


def test_the_rings_indices_go_around(medium: Medium) -> None:
    """On the port bus: 65,536 requests take too long in QEMU."""

    async def check(io: PortBus) -> None:
        disk = await started(io)
        queue = disk.virtio._queues[0]
        at = disk.virtio.memory.take(16 + 20 + 1)
        io.store(at, (8).to_bytes(4, "little") + bytes(12))
        buffers = [Buffer(at, 16)], [Buffer(at + 16, 20), Buffer(at + 36, 1)]
        done = 0
        while done < 0x1_0000 + 100:
            for _ in range(40):
                queue.add(*buffers)
            queue.notify()
            await queue.room(queue.size, 5)
            done += 40
        assert await disk.read(9, 1) == sector(9)

    _on_portbus(check, medium)


def test_what_is_done_is_an_interrupt_until_it_is_taken(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        io.lines.attach(LINE)
        for number in (1, 2):
            await disk.read(0, 1)
            await disk.read(1, 1)
            assert (await receive(Interrupt, timeout=5)).number == number
            assert disk.virtio.take_interrupts() == Isr.QUEUE
            assert disk.virtio.take_interrupts() == Isr(0)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)

    play(check, medium.model(), medium.qemu())


def test_blocks_may_be_larger_than_512_bytes(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        assert (disk.sectors, disk.sector_size) == (SECTORS // 8, 4096)
        assert await disk.read(3, 2) == b"".join(sector(each) for each in range(24, 40))
        await disk.write(1, bytes(4096))
        assert await disk.read(1, 1) == bytes(4096)
        with pytest.raises(ValueError, match="the disk has 256, of 4096 bytes"):
            await disk.read(256, 1)
        disk.sector_size = 512
        with pytest.raises(DeviceError, match="an I/O error"):
            await disk.read(8, 1)

    play(check, medium.model(block=4096), medium.qemu(device="logical_block_size=4096,physical_block_size=4096"))


def test_a_disk_that_was_stopped_can_be_started_again(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        await disk.read(0, 1)
        await disk.stop()
        assert disk.virtio.memory.free == disk.virtio.memory.size
        assert disk.virtio.status == 0
        for call in (disk.read(0, 1), disk.write(0, bytes(512)), disk.flush(), disk.serial()):
            with pytest.raises(DeviceError, match="was not started, or has been stopped"):
                await call
        await disk.start()
        await disk.start()
        assert await disk.read(1, 1) == sector(1)

    play(check, medium.model(), medium.qemu())


@pytest.mark.parametrize(
    ("index", "element", "match"),
    [
        (2, (0, 0), "shows 2 chains that came back, of 1"),
        (0xFFFF, (0, 0), "shows 65535 chains"),
        (1, (1, 1), "shows chain 1, which it does not have"),
        (1, (0x1_0000, 1), "shows chain 65536"),
        (1, (0xFFFF_FFFF, 1), "shows chain 4294967295"),
        (1, (0, 21), "21 bytes were written, it says, to a chain of 20"),
        (1, (0, 0xFFFF_FFFF), "4294967295 bytes were written"),
    ],
)
def test_a_used_ring_that_makes_no_sense_is_an_error_until_a_reset(
    play: Play, medium: Medium, index: int, element: tuple[int, int], match: str
) -> None:
    async def check(io: IoSpace) -> None:
        virtio = Virtio(io, base_of(io), Memory(io), "disk")
        await virtio.begin(0)
        queue = virtio.queue(0)
        virtio.go()
        at = virtio.memory.take(20)
        chain = queue.add([], [Buffer(at, 20)], [at])
        assert chain.descriptors == [0]
        io.store(queue.used + 4, b"".join(each.to_bytes(4, "little") for each in element))
        io.write16(queue.used + 2, index)
        for _ in range(2):
            with pytest.raises(DeviceError, match=match):
                queue.take()
        with pytest.raises(DeviceError, match=match):
            await queue.finish(chain, 5)
        assert virtio.memory.free < virtio.memory.size  # it is the device's
        await virtio.reset()
        assert virtio.memory.free == virtio.memory.size

    play(check, medium.model(), medium.qemu())


def test_a_device_may_count_what_it_has_read_as_written(play: Play, medium: Medium) -> None:
    """As some legacy ones do: of a write they give the length of the data, or of the whole chain."""

    async def check(io: IoSpace) -> None:
        virtio = Virtio(io, base_of(io), Memory(io), "disk")
        await virtio.begin(0)
        queue = virtio.queue(0)
        virtio.go()
        at = virtio.memory.take(16 + 512 + 1)
        chain = queue.add([Buffer(at, 16), Buffer(at + 16, 512)], [Buffer(at + 528, 1)], [at])
        io.store(queue.used + 4, (0).to_bytes(4, "little") + (529).to_bytes(4, "little"))
        io.write16(queue.used + 2, 1)
        assert await queue.finish(chain, 5) == 1

    play(check, medium.model(), medium.qemu())


def _queue_with(io: IoSpace, virtio: Virtio, table: list[tuple[int, int, int, int]], head: int = 0, index: int = 1) -> Queue:
    queue = virtio.queue(0)
    entries = (
        a.to_bytes(8, "little") + s.to_bytes(4, "little") + f.to_bytes(2, "little") + n.to_bytes(2, "little") for a, s, f, n in table
    )
    io.store(queue.address, b"".join(entries))
    io.write16(queue.available + 4, head)
    io.write16(queue.available + 2, index)
    return queue


@pytest.mark.parametrize(
    ("table", "head", "index"),
    [
        ([(0x10_0000, 16, 1, 0)], 0, 1),  # a loop
        ([(0x10_0000, 16, 1, 9999)], 0, 1),
        ([(0x10_0000, 16, 0, 0)], 0xFFFF, 1),
        ([(0x10_0000, 16, 0, 0)], 0, 0x8000),
        ([(0xFFFF_FFFF_FFFF_FFF0, 0xFFFF, 1, 1), (0x10_0000, 1, 2, 0)], 0, 1),
        ([(0x10_0000, 16, 1, 1), (0xFFFF_FFFF, 0xFFFF_FFFF, 2, 0)], 0, 1),
        ([(0x10_0000, 1, 3, 1), (0x10_0000, 16, 0, 0)], 0, 1),  # written before read
        ([(0x10_0000, 16, 0, 0)], 0, 1),  # nowhere for a status
        ([(0x10_0000, 4, 1, 1), (0x10_0000, 1, 2, 0)], 0, 1),  # not a whole header
    ],
)
def test_a_queue_that_makes_no_sense_does_not_hurt_the_device_which_works_again_after_a_reset(
    play: Play, medium: Medium, table: list[tuple[int, int, int, int]], head: int, index: int
) -> None:
    async def check(io: IoSpace) -> None:
        base = base_of(io)
        virtio = Virtio(io, base, Memory(io), "disk")
        await virtio.begin(0)
        _queue_with(io, virtio, table, head, index)
        virtio.go()
        io.outw(base + NOTIFY, 0)
        await io.pause(0.001)
        disk = VirtioBlk(io, base, Memory(io))
        await disk.start()
        assert await disk.read(1, 1) == sector(1)

    play(check, medium.model(), medium.qemu())


def test_queues_that_there_are_not(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        virtio = Virtio(io, base_of(io), Memory(io), "disk")
        await virtio.begin(0)
        for number in (1, 2, 0xFFFF):
            with pytest.raises(DeviceError, match=f"queue {number} has a size of 0"):
                virtio.queue(number)
            io.outw(virtio.base + NOTIFY, number)
        virtio.queue(0)
        assert not virtio.status & Status.DRIVER_OK
        virtio.go()
        assert virtio.status & Status.DRIVER_OK

    play(check, medium.model(), medium.qemu())


def test_nobody_at_the_ports(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="nobody answers at port 0xc812"):
            await VirtioBlk(io, 0xC800, Memory(io)).start()
        pci = Pci(io)
        (function,) = pci.find(VENDOR, DEVICE)
        with pytest.raises(DeviceError, match="expected ports with an address"):
            open_function(pci, function)
        base = base_of(io)
        pci.disable(function, Command.IO)
        with pytest.raises(DeviceAbsentError):
            await VirtioBlk(io, base, Memory(io)).start()

    play(check, medium.model(), medium.qemu())


def test_a_request_that_times_out_is_the_devices_until_it_comes_back(medium: Medium) -> None:
    """On the port bus, where a notification can be lost."""

    async def check(io: PortBus) -> None:
        disk = await started(io, timeout=0.5)
        free = disk.virtio.memory.free
        io.fault(Fault.LOSE, disk.virtio.base + NOTIFY, count=1)
        with pytest.raises(DeviceTimeoutError, match=r"queue 0: an answer: not within 0\.5 s"):
            await disk.read(3, 1)
        assert disk.virtio.memory.free < free
        assert await disk.read(4, 1) == sector(4)
        assert disk.virtio.memory.free == free

    _on_portbus(check, medium)


def test_a_process_that_ends_while_it_waits_leaves_its_request_to_the_device(medium: Medium) -> None:
    """On the port bus, whose time stands still until somebody waits."""

    async def check(io: PortBus) -> None:
        disk = await started(io)
        free = disk.virtio.memory.free
        io.fault(Fault.LOSE, disk.virtio.base + NOTIFY, count=1)

        async def reader() -> None:
            await disk.read(3, 1)

        pid, _ = spawn_monitor(reader)
        while disk.virtio.memory.free == free:
            await sleep(0)
        exit(pid, "kill")
        await receive(Down, timeout=5)
        assert disk.virtio.memory.free < free
        assert await disk.read(4, 1) == sector(4)
        assert disk.virtio.memory.free == free

    _on_portbus(check, medium)


def test_who_waits_while_the_disk_is_stopped_gets_an_error(medium: Medium) -> None:
    """On the port bus, as above."""

    async def check(io: PortBus) -> None:
        disk = await started(io)
        parent = self_pid()
        io.fault(Fault.LOSE, disk.virtio.base + NOTIFY, count=1)

        async def reader() -> None:
            try:
                await disk.read(3, 1)
            except DeviceError as error:
                send(parent, str(error))

        spawn(reader)
        while disk.virtio._queues[0].count == 0:
            await sleep(0)
        await disk.stop()
        assert "the device was reset before it answered" in await receive(str, timeout=5)
        assert disk.virtio.memory.free == disk.virtio.memory.size

    _on_portbus(check, medium)


def test_who_waits_for_room_while_the_disk_is_stopped_gets_an_error(medium: Medium) -> None:
    """On the port bus, as above."""

    async def check(io: PortBus) -> None:
        disk = await started(io)
        queue = disk.virtio._queues[0]
        parent = self_pid()
        for _ in range(queue.size):
            queue.add([], [Buffer(0x10_0000, 1)])

        async def reader() -> None:
            try:
                await disk.read(3, 1)
            except DeviceError as error:
                send(parent, str(error))

        spawn(reader)
        await io.pause(0.001)
        await disk.stop()
        assert "queue 0: the device was reset" in await receive(str, timeout=5)

    _on_portbus(check, medium)


@pytest.mark.parametrize("kind", ["raw_memory", "port_io"])
def test_who_may_not_touch_the_queue_changes_nothing(play: Play, medium: Medium, kind: str) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io)
        notify = disk.virtio.base + NOTIFY
        forbidden = (kind, notify, notify + 2) if kind == "port_io" else (kind, START, START + 4096)
        queue, free = disk.virtio._queues[0], disk.virtio.memory.free
        parent = self_pid()

        async def reader() -> None:
            try:
                await disk.read(3, 1)
            except caps.CapabilityError:
                send(parent, "refused")

        spawn(reader, exclude=[forbidden])
        assert await receive(str, timeout=5) == "refused"
        assert (queue.free, queue.count, disk.virtio.memory.free) == (queue.size, 0, free)
        assert await disk.read(4, 1) == sector(4)

    play(check, medium.model(), medium.qemu())


@pytest.mark.parametrize(
    ("kind", "offset", "mask", "error", "match"),
    [
        (Fault.MISSING, range(0x40), 0xFF, DeviceAbsentError, "nobody answers"),
        (Fault.ONES, STATUS, 0x04, DeviceTimeoutError, "reset: not within 1 s"),
        (Fault.ONES, STATUS, 0x40, DeviceTimeoutError, "reset: not within 1 s"),
        (Fault.ZEROS, STATUS, 0xFF, DeviceError, "shows the status .*, expected DRIVER_OK"),
        (Fault.ZEROS, range(12, 14), 0xFF, DeviceError, "queue 0 has a size of 0"),
        (Fault.ONES, range(12, 14), 0x03, DeviceError, "queue 0 has a size of 899"),
        (Fault.LOSE, range(8, 12), 0xFF, DeviceError, "shows page 0x0, not 0x100"),
        (Fault.ONES, CONFIG + 20, 0x01, DeviceError, "blocks have 513 bytes"),
        (Fault.ZEROS, range(CONFIG + 20, CONFIG + 24), 0xFF, DeviceError, "blocks have 0 bytes"),
        (Fault.ONES, CONFIG + 23, 0x80, DeviceError, "blocks have 2147484160 bytes"),
        (Fault.ONES, range(4), 0xFF, DeviceError, "segments of 0 bytes"),
    ],
)
def test_what_it_says_of_itself_is_checked(
    medium: Medium, kind: Fault, offset: int | range, mask: int, error: type[Exception], match: str
) -> None:
    """On the port bus, whose ports can be broken."""

    async def check(io: PortBus) -> None:
        base = base_of(io)
        ports = [base + each for each in ([offset] if isinstance(offset, int) else offset)]
        io.fault(kind, ports, mask=mask)
        disk = VirtioBlk(io, base, Memory(io))
        with pytest.raises(error, match=match):
            await disk.start()
        with pytest.raises(DeviceError, match="was not started"):
            await disk.read(0, 1)
        io.repair()
        assert bool(disk.virtio.status & Status.FAILED) is (error is DeviceError)
        await disk.start()
        assert await disk.read(0, 1) == sector(0)

    _on_portbus(check, medium)


def test_without_bus_mastering_nothing_is_moved(play: Play, medium: Medium) -> None:
    async def check(io: IoSpace) -> None:
        disk = await started(io, timeout=0.05)
        pci = Pci(io)
        (function,) = pci.find(VENDOR, DEVICE)
        pci.disable(function, Command.MASTER)
        with pytest.raises(DeviceTimeoutError):
            await disk.read(0, 1)

    play(check, medium.model(), medium.qemu())


def _on_portbus(check: Any, medium: Medium) -> None:
    async def main() -> None:
        bus = PortBus()
        for each in medium.model():
            bus.plug(*each)
        await check(bus)

    run(main)
