"""Which devices a machine has: of one with some of everything all are found; and blocks and frames by handles."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from machines import Play, on
from test_servers import ready
from test_space import as_limited

from beamlike import exit, receive, run
from drivers import Fault, IoSpace, PortBus
from drivers.devices.pci import Pci
from drivers.devices.virtio import VENDOR
from drivers.models.ata import AtaModel
from drivers.models.floppy import FloppyModel
from drivers.models.i8042 import I8042Model
from drivers.models.ne2000 import Ne2000Model
from drivers.models.rtc import RtcModel
from drivers.models.uart import UartModel
from drivers.models.virtio_net import VirtioNetModel
from drivers.servers.device import Device, DeviceBack, DeviceData, DeviceLost
from drivers.servers.finding import find_clock, find_devices
from drivers.servers.grants import DeviceBusyError
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import list_devices, open_device

OTHER, BOARD, CARD, PEER = (bytes.fromhex(f"5254000000{number:02x}") for number in range(4))
BLOCKS = 2048
KINDS = {
    "timer": ["timer"],
    "speaker": ["speaker"],
    "clock": ["clock"],
    "serial": ["com1", "com2"],
    "keyboard": ["keyboard"],
    "mouse": ["mouse"],
    "disk": ["ata0.0", "ata1.1", "fd0", "vd0", "vd1"],
    "network": ["eth0", "eth1", "eth2"],
}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


def block(number: int) -> bytes:
    return number.to_bytes(4, "little") * 128


class Rich:
    """A machine with one or two of everything. Its network interfaces are an NE2000 and two of virtio, each with a socket outside."""

    def __init__(self, play: Play, folder: Path) -> None:
        self.play = play
        self.qemu: list[str] = []
        self.sockets: list[socket.socket] = []
        self.folder = folder
        self.descriptors = [self._medium(name) for name in ("vd0", "vd1")]
        for name in ("ata0", "ata1"):
            self._medium(name)
        (folder / "fd0").write_bytes(b"".join(block(each) for each in range(2880)))
        self.qemu += ["-device", "isa-serial,chardev=com1", "-device", "isa-serial,chardev=com2"]
        for bus, unit in ((0, 0), (1, 1)):
            self._drive(f"ata{bus}", f"ide-hd,bus=ide.{bus},unit={unit}")
        self._drive("fd0", "floppy,unit=0,drive-type=144")
        self._card("eth0", f"ne2k_isa,iobase=0x300,irq=9,mac={BOARD.hex(':')}")
        self._drive("vd0", "virtio-blk-pci,disable-modern=on")
        self._card("eth1", f"virtio-net-pci,disable-modern=on,mac={CARD.hex(':')}")
        self._drive("vd1", "virtio-blk-pci,disable-modern=on")
        self._card("eth2", f"virtio-net-pci,disable-modern=on,mac={PEER.hex(':')}")

    def _medium(self, name: str) -> int:
        (self.folder / name).write_bytes(b"".join(block(each) for each in range(BLOCKS)))
        return os.open(self.folder / name, os.O_RDWR)

    def _drive(self, name: str, device: str) -> None:
        file = f"file={self.folder / name},if=none,id={name},format=raw,file.locking=off"
        self.qemu += ["-drive", file, "-device", f"{device},drive={name}"]

    def _card(self, name: str, device: str) -> None:
        outside = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        outside.bind(str(self.folder / f"{name}.out"))
        outside.settimeout(5)
        self.sockets.append(outside)
        ends = f"local.type=unix,local.path={self.folder / name},remote.type=unix,remote.path={self.folder / name}.out"
        self.qemu += ["-netdev", f"dgram,id={name},{ends}", "-device", f"{device},netdev={name}"]

    def _models(self) -> list[Any]:
        def keep(name: str, make: Callable[[PortBus], Any]) -> Callable[[PortBus], Any]:
            def made(bus: PortBus) -> Any:
                bus.models[name] = make(bus)
                return bus.models[name]

            return made

        return [
            *(("pit",), ("dma",), ("pci",)),
            RtcModel,
            lambda bus: UartModel(bus),
            lambda bus: UartModel(bus, 0x2F8, 3),
            I8042Model,
            lambda bus: AtaModel(bus, self.folder / "ata0"),
            lambda bus: AtaModel(bus, self.folder / "ata1", channel=1, unit=1),
            lambda bus: FloppyModel(bus, self.folder / "fd0"),
            keep("eth0", lambda bus: Ne2000Model(bus, mac=BOARD)),
            ("virtio_blk", self.descriptors[0], False, b"", 512),
            keep("eth1", lambda bus: VirtioNetModel(bus, CARD)),
            ("virtio_blk", self.descriptors[1], False, b"", 512),
            keep("eth2", lambda bus: VirtioNetModel(bus, PEER)),
        ]

    def __call__(self, check: Callable[[Any, list[Device]], Awaitable[None]]) -> None:
        async def with_devices(io: IoSpace) -> None:
            if io.name == "portbus":  # its CMOS memory is empty, QEMU's is not
                io.outb(0x70, 0x10)
                io.outb(0x71, 0x40)
            await check(io, await find_devices(io))

        self.play(with_devices, self._models(), qemu=self.qemu, channels=["com1", "com2"])

    def feed(self, io: Any, number: int, frame: bytes) -> None:
        """Let a frame arrive at an interface."""
        if io.name == "portbus":
            assert io.models[f"eth{number}"].feed(frame)
        else:
            self.sockets[number].sendto(frame, str(self.folder / f"eth{number}"))

    def taken(self, io: Any, number: int) -> bytes:
        """The next frame that an interface has sent."""
        taken: bytes = io.models[f"eth{number}"].taken() if io.name == "portbus" else self.sockets[number].recv(4096)
        return taken

    def close(self) -> None:
        for each in self.sockets:
            each.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


@pytest.fixture
def rich(play: Play, tmp_path: Path) -> Iterator[Rich]:
    made = Rich(play, tmp_path)
    yield made
    made.close()


def test_all_devices_of_a_rich_machine_are_found_and_come_up(rich: Rich) -> None:
    async def check(io: IoSpace, devices: list[Device]) -> None:
        manager = await DeviceManager.start_link(devices)
        for name in (name for names in KINDS.values() for name in names):
            await ready(manager, name)
        infos = await list_devices(manager)
        assert {(each.name, each.kind) for each in infos} == {(name, kind) for kind, names in KINDS.items() for name in names}
        about = {each.name: each.about for each in infos}
        assert [about[f"eth{number}"][-17:] for number in range(3)] == [BOARD.hex(":"), CARD.hex(":"), PEER.hex(":")]
        taken = [each for info in infos if info.name.startswith(("vd", "eth", "fd")) for each in info.memory + info.ports]
        assert len(set(taken)) == len(taken)

    rich(check)


@pytest.mark.parametrize("name", ["fd0", "vd0", "vd1"])
def test_blocks_by_a_handle_and_its_parts(rich: Rich, name: str) -> None:
    async def check(io: IoSpace, devices: list[Device]) -> None:
        manager = await DeviceManager.start_link(devices)
        await ready(manager, name)
        async with await open_device(manager, name, blocks=(100, 200)) as part:
            with pytest.raises(DeviceBusyError):
                await open_device(manager, name)
            assert await part.do("read", 98, 2) == block(198) + block(199)
            with pytest.raises(ValueError, match="not in the 100 that were granted"):
                await part.do("read", 98, 3)
            await part.do("write", 0, block(7) + block(8))
            await part.do("flush")
            assert await part.do("read", 0, 3) == block(7) + block(8) + block(102)
        assert (rich.folder / name).read_bytes()[99 * 512 : 103 * 512] == block(99) + block(7) + block(8) + block(102)

    rich(check)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_frames_by_a_handle(rich: Rich, number: int) -> None:
    mac, name = (BOARD, CARD, PEER)[number], f"eth{number}"

    async def check(io: IoSpace, devices: list[Device]) -> None:
        manager = await DeviceManager.start_link(devices)
        await ready(manager, name)
        async with await open_device(manager, name, address=mac) as card:
            for turn in range(40):  # more than there are buffers
                frame = bytes([*OTHER, *mac, 0x88, 0xB5]) + bytes([turn]) * (46 + turn)
                await card.do("send", frame)
                assert rich.taken(io, number) == frame
                back = mac + OTHER + frame[12:]
                rich.feed(io, number, back)
                assert await receive(DeviceData, timeout=5) == DeviceData(name, back)
            with pytest.raises(ValueError, match="what was granted is"):
                await card.do("send", bytes([*mac, *OTHER, 0x88, 0xB5]) + bytes(46))
            counted = await card.do("statistics")
            assert (counted.sent, counted.received) == (40, 40)

    rich(check)


def test_interfaces_do_not_disturb_each_other(rich: Rich) -> None:
    """Each has its line, and the disks theirs not at all."""

    async def check(io: IoSpace, devices: list[Device]) -> None:
        manager = await DeviceManager.start_link(devices)
        macs = {"eth0": BOARD, "eth1": CARD, "eth2": PEER}
        for name in (*macs, "vd0"):
            await ready(manager, name)
        lines = [each.lines for each in devices if each.name in macs]
        assert len({line for each in lines for line in each}) == 3
        for mac, name in ((mac, name) for name, mac in macs.items()):
            await open_device(manager, name, address=mac)
        disk = await open_device(manager, "vd0")
        for turn in range(10):
            for number, (name, mac) in enumerate(macs.items()):
                frame = bytes([*mac, *OTHER, 0x88, 0xB5]) + bytes([turn]) * 46
                rich.feed(io, number, frame)
                await disk.do("read", 0, 1)
                assert await receive(DeviceData, timeout=5) == DeviceData(name, frame)

    rich(check)


@pytest.mark.parametrize("name", ["fd0", "vd0", "eth1"])
def test_a_driver_that_is_killed_comes_back(rich: Rich, name: str) -> None:
    async def check(io: IoSpace, devices: list[Device]) -> None:
        manager = await DeviceManager.start_link(devices, 1000)
        server = await ready(manager, name)
        handle = await open_device(manager, name)
        for turn in range(10):
            exit(server, "kill")
            assert (await receive(DeviceLost, timeout=5)).device == name
            server = (await receive(DeviceBack, timeout=5)).server
            if name == "eth1":
                frame = CARD + OTHER + b"\x88\xb5" + bytes([turn]) * 46
                rich.feed(io, 1, frame)
                assert await receive(DeviceData, timeout=5) == DeviceData(name, frame)
            else:
                assert await handle.do("read", turn, 2) == block(turn) + block(turn + 1)

    rich(check)


@pytest.mark.parametrize("name", ["fd0", "vd0", "eth1"])
def test_who_may_not_touch_its_ports_or_memory_does_not_get_it(rich: Rich, name: str) -> None:
    async def check(io: IoSpace, devices: list[Device]) -> None:
        manager = await DeviceManager.start_link(devices)
        await ready(manager, name)
        (device,) = [each for each in devices if each.name == name]
        (port, _), (start, end) = device.ports[0], device.memory[0]

        async def limited() -> None:
            with pytest.raises(PermissionError, match="refused by"):
                await open_device(manager, name)

        for exclusion in (("port_io", port, port + 1), ("raw_memory", start, start + 1), ("raw_memory", end - 1, end)):
            await as_limited([exclusion], limited)
        await as_limited([("port_io", 0xCF8, 0xD00), ("raw_memory", 0, start)], open_device, manager, name)

    rich(check)


@pytest.mark.parametrize("excluded", [("port_io", 0xCF8, 0xCF9), ("port_io", 0xCFE, 0xCFF), ("raw_memory", 0x10_0000, 0x10_0001)])
def test_who_may_not_set_up_pci_finds_the_others(rich: Rich, excluded: tuple[str, int, int]) -> None:
    async def check(io: IoSpace, devices: list[Device]) -> None:
        async def limited() -> None:
            assert [each.name for each in await find_devices(io) if each.name[:2] in ("vd", "et", "fd")] == ["fd0", "eth0"]

        await as_limited([excluded], limited)

    rich(check)


# With what only the port bus can have: six virtio interfaces, whose fifth is on the first one's wire.
@on("portbus")
def test_an_interface_that_shares_its_wire_is_left_out_and_does_nothing(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        for _ in range(2):  # what is found is found again
            devices = await find_devices(io)
            assert [(each.name, each.lines) for each in devices] == [(f"eth{i}", (line,)) for i, line in enumerate((11, 5, 7, 10))]
        pci = Pci(io)
        functions = [each for each in pci.scan() if each.vendor == VENDOR]
        assert [bool(pci.command(each)) for each in functions] == [True] * 4 + [False] * 2

    play(check, [("pci",), *[lambda bus: VirtioNetModel(bus)] * 6])


# Only on the port bus, for QEMU's devices do not fail like this.
@on("portbus")
def test_a_virtio_device_that_does_not_come_up_is_left_out(play: Play) -> None:
    async def check(io: Any) -> None:
        io.fault(Fault.LOSE, range(0xC000, 0xC020))
        assert await find_devices(io) == []
        io.repair()
        assert [each.name for each in await find_devices(io)] == ["eth0"]

    play(check, [("pci",), VirtioNetModel])


@on("portbus")  # QEMU's machine always has a timer and PCI
def test_nothing_is_found_where_nothing_is(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        assert await find_devices(io) == []

    play(check, [])


def on_portbus(check: Callable[[PortBus], Awaitable[None]]) -> None:
    async def main() -> None:
        await check(PortBus())

    run(main)


def test_a_motor_and_a_tone_end_when_nobody_has_the_device_any_more(tmp_path: Path) -> None:
    async def check(bus: PortBus) -> None:
        disk = tmp_path / "disk"
        disk.write_bytes(bytes(2880 * 512))
        for each in ("pit", "dma"):
            bus.plug(each)
        RtcModel(bus)
        model = FloppyModel(bus, disk)
        bus.outb(0x70, 0x10)
        bus.outb(0x71, 0x40)
        manager = await DeviceManager.start_link(await find_devices(bus))
        async with await open_device(manager, "fd0", blocks=(0, 1)) as one:
            async with await open_device(manager, "fd0", blocks=(1, 2)) as other:
                await one.do("read", 0, 1)
                await other.do("read", 0, 1)
            await list_devices(manager)
            assert model.is_turning()
        await bus.until(lambda: not model.is_turning(), 1, "the motor's end")
        async with await open_device(manager, "speaker") as speaker:
            await speaker.do("play", 440)
            assert bus.inb(0x61) & 3 == 3
        await bus.until(lambda: bus.inb(0x61) & 3 == 0, 1, "the tone's end")

    on_portbus(check)


def test_a_clock_that_has_lost_the_time_is_found_and_can_be_set() -> None:
    async def check(bus: PortBus) -> None:
        RtcModel(bus).fail_battery()
        manager = await DeviceManager.start_link(await find_devices(bus, (find_clock,)))
        async with await open_device(manager, "clock") as clock:
            await clock.do("set", datetime(2026, 11, 30, 12, 0, 0))
            assert (await clock.do("read")).hour == 12

    on_portbus(check)
