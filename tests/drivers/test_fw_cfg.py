"""The firmware configuration device, on both machines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from machines import Play

import caps
from beamlike import receive, run, self_pid, send, spawn
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, IoSpace, PortBus
from drivers.devices.fw_cfg import DIRECTORY, LARGEST, Features, File, FwCfg
from drivers.models.fw_cfg import FwCfgModel

BUFFER = 0x100000
FILES = {"opt/test/large": bytes(i * 7 % 256 for i in range(5000)), "opt/test/one": b"1", "opt/test/word": b"hello"}


@pytest.fixture(params=[None, BUFFER], ids=["by port", "by DMA"])
def machine(request: pytest.FixtureRequest, play: Play, tmp_path: Path) -> Callable[[Callable[[IoSpace, FwCfg], Any]], None]:
    """A machine whose device has `FILES`, read in both ways."""
    options = []
    for at, (name, data) in enumerate(FILES.items()):
        (tmp_path / str(at)).write_bytes(data)
        options += ["-fw_cfg", f"name={name},file={tmp_path / str(at)}"]

    def with_files(check: Callable[[IoSpace, FwCfg], Any]) -> None:
        async def main(io: Any) -> None:
            if io.name == "portbus":
                for name, data in FILES.items():
                    io.models[FwCfgModel].add(name, data)
            await check(io, FwCfg(io, buffer=request.param))

        play(main, [FwCfgModel], qemu=options)

    return with_files


Machine = Callable[[Callable[[IoSpace, FwCfg], Any]], None]


def test_it_says_what_it_can_do(machine: Machine) -> None:
    async def check(io: IoSpace, fw: FwCfg) -> None:
        assert fw.probe() == Features.TRADITIONAL | Features.DMA

    machine(check)


def test_the_directory_has_the_files(machine: Machine) -> None:
    async def check(io: IoSpace, fw: FwCfg) -> None:
        found = await fw.files()
        assert FILES.keys() <= found.keys()
        for name, data in FILES.items():
            assert found[name] == File(name, len(data), found[name].select)
        assert len({each.select for each in found.values()}) == len(found)

    machine(check)


def test_files_are_read_by_their_names(machine: Machine) -> None:
    async def check(io: IoSpace, fw: FwCfg) -> None:
        for _ in range(2):
            for name, data in FILES.items():
                assert await fw.read(name) == data
        with pytest.raises(KeyError, match="opt/test/none"):
            await fw.read("opt/test/none")

    machine(check)


def test_after_the_end_of_an_item_there_are_zeros(machine: Machine) -> None:
    async def check(io: IoSpace, fw: FwCfg) -> None:
        file = (await fw.files())["opt/test/word"]
        assert await fw.item(file.select, 1000) == b"hello" + bytes(995)
        assert await fw.item(file.select, 3) == b"hel"
        assert await fw.item(file.select, 0) == b""
        assert await fw.item(0x3FFF, 20) == bytes(20)

    machine(check)


def test_items_and_sizes_that_there_cannot_be(machine: Machine) -> None:
    async def check(io: IoSpace, fw: FwCfg) -> None:
        for select, size in ((-1, 1), (0x10000, 1), (0, -1), (0, LARGEST + 1)):
            with pytest.raises(ValueError, match=f"{size} bytes of the item {select:#x}"):
                await fw.item(select, size)

    machine(check)


def test_reading_goes_through_the_buffer_or_leaves_memory_alone(machine: Machine) -> None:
    async def check(io: IoSpace, fw: FwCfg) -> None:
        before = io.load(BUFFER, 6000)
        await fw.read("opt/test/large")
        assert (io.load(BUFFER, 6000) == before) == (fw.buffer is None)

    machine(check)


def test_a_transfer_to_where_there_is_no_ram_is_an_error(play: Play) -> None:
    async def check(io: Any) -> None:
        if io.name == "portbus":
            io.models[FwCfgModel].add("opt/test/file", b"x" * 100)
        file = (await FwCfg(io).files())["opt/test/file"]
        with pytest.raises(DeviceError, match=r"DMA of 100 bytes of the item .* to 0x1000000 has failed"):
            await FwCfg(io, buffer=(16 << 20) - 16).item(file.select, 100)

    play(check, [FwCfgModel], qemu=["-fw_cfg", f"name=opt/test/file,string={'x' * 100}"])


def test_who_may_not_access_the_buffer_does_not_let_the_device_write_there(play: Play) -> None:
    async def check(io: Any) -> None:
        if io.name == "portbus":
            io.models[FwCfgModel].add("opt/test/file", b"x" * 100)
        file = (await FwCfg(io).files())["opt/test/file"]
        before, parent = io.load(BUFFER, 200), self_pid()

        async def reader() -> None:
            try:
                await FwCfg(io, buffer=BUFFER).item(file.select, 100)
            except caps.CapabilityError:
                send(parent, "refused")

        spawn(reader, exclude=[("raw_memory", BUFFER + 100, BUFFER + 101)])
        assert await receive(str, timeout=5) == "refused"
        assert io.load(BUFFER, 200) == before

    play(check, [FwCfgModel], qemu=["-fw_cfg", f"name=opt/test/file,string={'x' * 100}"])


def test_where_there_is_none(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="expected b'QEMU'"):
            FwCfg(io, base=0x540).probe()
        with pytest.raises(DeviceAbsentError, match="expected b'QEMU'"):
            await FwCfg(io, base=0x540).files()

    play(check, [])


# From here on it is the port bus alone: QEMU's device cannot be broken.


def on_model(check: Callable[[PortBus, FwCfgModel], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        bus = PortBus()
        await check(bus, FwCfgModel(bus))

    run(main)


def entry(size: int, select: int, name: bytes) -> bytes:
    return size.to_bytes(4, "big") + select.to_bytes(2, "big") + bytes(2) + name.ljust(56, b"\0")


class Garbled(FwCfg):
    """Its directory is this."""

    def __init__(self, io: IoSpace, directory: bytes) -> None:
        super().__init__(io)
        self.directory = directory

    async def item(self, select: int, size: int) -> bytes:
        return self.directory[:size].ljust(size, b"\0") if select == DIRECTORY else await super().item(select, size)


@pytest.mark.parametrize(
    "entries",
    [
        [entry(1, 0x1F, b"name")],
        [entry(1, 0x4000, b"name")],
        [entry(1, 0x20, b"")],
        [entry(1, 0x20, b"n" * 56)],
        [entry(1, 0x20, b"\xff")],
        [entry(1, 0x20, b"name"), entry(1, 0x21, b"name")],
    ],
)
def test_a_directory_that_makes_no_sense_is_an_error(entries: list[bytes]) -> None:
    async def check(bus: PortBus, model: FwCfgModel) -> None:
        with pytest.raises(DeviceError, match="makes no sense"):
            await Garbled(bus, len(entries).to_bytes(4, "big") + b"".join(entries)).files()
        with pytest.raises(DeviceError, match=r"a directory of 4294967295 files: expected at most 16352"):
            await Garbled(bus, b"\xff" * 4).files()

    on_model(check)


def test_a_file_that_is_too_large_is_not_read() -> None:
    async def check(bus: PortBus, model: FwCfgModel) -> None:
        with pytest.raises(DeviceError, match="large has 16777217 bytes"):
            await Garbled(bus, (1).to_bytes(4, "big") + entry(LARGEST + 1, 0x20, b"large")).read("large")

    on_model(check)


def test_dma_that_never_ends() -> None:
    async def check(bus: PortBus, model: FwCfgModel) -> None:
        model.add("opt/test/file", bytes(100))
        bus.fault(Fault.LOSE, range(0x518, 0x51C))
        with pytest.raises(DeviceTimeoutError, match=r"DMA \(control 0x19000a\): not within 1 s"):
            await FwCfg(bus, buffer=BUFFER).read("opt/test/file")

    on_model(check)


def test_without_dma_the_data_port_does_it_although_there_is_a_buffer() -> None:
    async def check(bus: PortBus, model: FwCfgModel) -> None:
        model.add("opt/test/file", b"x" * 100)
        bus.fault(Fault.MISSING, range(0x514, 0x51C))
        assert await FwCfg(bus, buffer=BUFFER).read("opt/test/file") == b"x" * 100

    on_model(check)


def test_a_device_that_is_taken_out() -> None:
    async def check(bus: PortBus, model: FwCfgModel) -> None:
        fw = FwCfg(bus)
        fw.probe()
        bus.fault(Fault.MISSING, range(0x510, 0x51C))
        with pytest.raises(DeviceAbsentError):
            await fw.files()

    on_model(check)


def test_files_that_the_model_cannot_have() -> None:
    async def check(bus: PortBus, model: FwCfgModel) -> None:
        model.add("a" * 55, b"")
        with pytest.raises(ValueError, match="File exists"):
            model.add("a" * 55, b"")
        with pytest.raises(ValueError, match="name too long"):
            model.add("a" * 56, b"")
        for number in range(127):
            model.add(str(number), b"")
        with pytest.raises(ValueError, match="No space left"):
            model.add("more", b"")
        assert len(await FwCfg(bus).files()) == 128

    on_model(check)


def test_the_model_bears_any_transfer() -> None:
    async def check(bus: PortBus, model: FwCfgModel) -> None:
        model.add("opt/test/file", b"x" * 100)
        for control in (0, 2, 4, 8, 0x0020000A, 0x0020000C, 0x10, 0xFFFFFFFF):
            for size in (0, 1, 100, 0x7FFFFFFF, 0xFFFFFFFF):
                for address in (BUFFER, (16 << 20) - 50, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFF0):
                    bus.store(BUFFER, control.to_bytes(4, "big") + size.to_bytes(4, "big") + address.to_bytes(8, "big"))
                    bus.outl(0x518, int.from_bytes(BUFFER.to_bytes(4, "big"), "little"))
                    bus.inb(0x511)
        for at in (0x00FFFFF8, 0xFFFFFFFF):
            bus.outl(0x514, 0xFFFFFFFF)
            bus.outl(0x518, int.from_bytes(at.to_bytes(4, "big"), "little"))
        assert await FwCfg(bus).read("opt/test/file") == b"x" * 100

    on_model(check)
