"""The DMA controllers, on both machines: what registers show. Transfers need a device: see test_floppy, and here the model's host side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest
from machines import Play

from beamlike import run
from drivers import DeviceAbsentError, Fault, IoSpace, PortBus
from drivers.devices.dma import PAGES, Direction, Dma
from drivers.models.dma import DmaModel

DMA = [("dma",)]
CHANNELS = [0, 1, 2, 3, 5, 6, 7]
Check = Callable[[PortBus, Dma, DmaModel], Awaitable[None]]


def test_they_are_found(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        Dma(io).detect()

    play(check, DMA)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(("address", "size"), [(0x10000, 0x10000), (0x23456, 0x100), (0xFE0000, 2), (0, 0x8000)])
def test_a_channel_shows_what_it_was_programmed_with(play: Play, channel: int, address: int, size: int) -> None:
    async def check(io: IoSpace) -> None:
        dma = Dma(io)
        for direction in Direction:
            dma.program(channel, address, size, direction)
            assert dma.left(channel) == size
            assert not dma.is_over(channel)
            assert io.inb(PAGES[channel]) == address >> 16
        dma.mask(channel)
        dma.program(1, 0x10000, 100, Direction.VERIFY)
        if channel != 1:
            assert dma.left(channel) == size  # channels do not disturb each other

    play(check, DMA)


def test_memory_that_a_channel_cannot_reach(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        dma = Dma(io)
        for channel, address, size, said in [
            (2, 0xFFFF, 2, "cross a multiple of 64 KiB"),
            (5, 0x1FFFE, 4, "cross a multiple of 128 KiB"),
            (2, 0xFFFFFF, 2, "first 16 MiB"),
            (2, 1 << 32, 2, "first 16 MiB"),
            (2, -2, 1, "first 16 MiB"),
            (2, 0, 0, "expected 1 to 65536"),
            (2, 0, 65537, "expected 1 to 65536"),
            (5, 0, 131073, "expected 1 to 131072, in units of 2"),
            (5, 1, 2, "in units of 2"),
            (5, 0, 3, "in units of 2"),
        ]:
            with pytest.raises(ValueError, match=said):
                dma.program(channel, address, size, Direction.TO_MEMORY)
        for channel in (4, 8, -1):
            for call in (dma.mask, dma.left, dma.is_over, lambda n: dma.program(n, 0, 1, Direction.VERIFY)):
                with pytest.raises(ValueError, match="expected 0 to 3 or 5 to 7"):
                    call(channel)

    play(check, DMA)


def test_there_are_none() -> None:
    # Only on the port bus: QEMU's machines have them always.
    async def check() -> None:
        io = PortBus()
        with pytest.raises(DeviceAbsentError, match="holds 0xffff"):
            Dma(io).detect()
        io.plug("dma")
        Dma(io).detect()
        io.fault(Fault.LOSE, range(0xC0, 0xE0))
        with pytest.raises(DeviceAbsentError):
            Dma(io).detect()

    run(check)


# From here on the model's host side is the device. QEMU has none of its own that could be told when to move what, but the floppy.


def on_model(check: Check) -> None:
    async def with_model() -> None:
        io = PortBus()
        model = DmaModel(io)
        await check(io, Dma(io), model)

    run(with_model)


@pytest.mark.parametrize("channel", CHANNELS)
def test_data_is_moved_to_memory_and_from_it(channel: int) -> None:
    async def check(io: PortBus, dma: Dma, model: DmaModel) -> None:
        data = Random(1).randbytes(3000)
        dma.program(channel, 0x2F000, 3000, Direction.TO_MEMORY)
        assert model.to_memory(channel, data[:1000]) == 1000
        assert (dma.left(channel), dma.is_over(channel), model.is_over(channel)) == (2000, False, False)
        assert model.to_memory(channel, data[1000:] + b"more") == 2000
        assert (dma.left(channel), dma.is_over(channel), model.is_over(channel)) == (0, True, True)
        assert io.load(0x2EFFF, 3002) == b"\0" + data + b"\0"
        assert model.to_memory(channel, b"more") == 0
        dma.program(channel, 0x2F000, 3000, Direction.FROM_MEMORY)
        assert not dma.is_over(channel)
        assert model.from_memory(channel, 5000) == data

    on_model(check)


@pytest.mark.parametrize(("channel", "size"), [(2, 0x10000), (6, 0x20000)])
def test_the_largest_count_is_whole_and_then_nothing_is_left(channel: int, size: int) -> None:
    async def check(io: PortBus, dma: Dma, model: DmaModel) -> None:
        data = Random(2).randbytes(size)
        dma.program(channel, 0x40000, size, Direction.TO_MEMORY)
        assert dma.left(channel) == size
        assert model.to_memory(channel, data + b"more") == size
        assert dma.left(channel) == 0
        assert io.load(0x40000, size + 2) == data + b"\0\0"

    on_model(check)


def test_a_channel_moves_nothing_when_it_is_masked_or_set_for_the_other_direction() -> None:
    async def check(io: PortBus, dma: Dma, model: DmaModel) -> None:
        assert model.to_memory(2, b"data") == 0  # as it was switched on
        dma.program(2, 0x1000, 4, Direction.TO_MEMORY)
        assert model.from_memory(2, 4) == b""
        dma.mask(2)
        assert model.to_memory(2, b"data") == 0
        dma.program(2, 0x1000, 4, Direction.VERIFY)
        assert model.to_memory(2, b"data") == 4
        assert dma.is_over(2)
        assert io.load(0x1000, 4) == bytes(4)

    on_model(check)


def test_a_channel_may_begin_anew_by_itself() -> None:
    async def check(io: PortBus, dma: Dma, model: DmaModel) -> None:
        dma.program(1, 0x1000, 4, Direction.FROM_MEMORY, again=True)
        io.store(0x1000, b"data")
        for _ in range(3):
            assert model.from_memory(1, 10) == b"data"
            assert model.is_over(1)
        assert dma.is_over(1)
        assert dma.left(1) == 4

    on_model(check)


def test_the_terminal_counts_of_channels_are_not_lost_by_looking_at_another() -> None:
    async def check(io: PortBus, dma: Dma, model: DmaModel) -> None:
        for channel in (1, 2):
            dma.program(channel, 0x1000 * channel, 4, Direction.TO_MEMORY)
        assert model.to_memory(1, b"data") == 4
        dma.program(3, 0x3000, 4, Direction.TO_MEMORY)
        assert (dma.is_over(3), dma.is_over(2), dma.is_over(1)) == (False, False, True)

    on_model(check)


def test_memory_that_is_not_there_takes_and_gives_nothing() -> None:
    async def check() -> None:
        io = PortBus(memory=0x10000)
        model, dma = DmaModel(io), Dma(io)
        dma.program(2, 0xF00000, 4, Direction.TO_MEMORY)
        assert model.to_memory(2, b"data") == 4
        dma.program(2, 0xF00000, 4, Direction.FROM_MEMORY)
        assert model.from_memory(2, 4) == b"\xff" * 4

    run(check)


def test_any_accesses_at_all_harm_nothing() -> None:
    async def check(io: PortBus, dma: Dma, model: DmaModel) -> None:
        chance = Random(3)
        ports = [*range(16), *range(0x80, 0x90), *range(0xC0, 0xE0)]
        for _ in range(20000):
            if chance.random() < 0.5:
                io.port_out(chance.choice(ports), 1, chance.randrange(256))
            else:
                io.port_in(chance.choice(ports), chance.choice([1, 2, 4]))
            if chance.random() < 0.05:
                model.to_memory(chance.randrange(10), bytes(chance.randrange(2000)))
        Dma(io).detect()

    on_model(check)
