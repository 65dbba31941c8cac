"""The I/O APIC, on both machines, with the HPET for what is at its inputs.

QEMU's differs from the data sheet: what it sends counts as accepted at once, so nothing is ever pending. What the processor's end of it
gets is seen on the port bus only: QEMU's local APIC answers to nobody but its processor.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from machines import Play

from beamlike import run
from drivers import DeviceAbsentError, DeviceError, IoSpace, PortBus
from drivers.devices.hpet import Hpet
from drivers.devices.ioapic import IoApic, input_of
from drivers.devices.lapic import Delivery, Lapic
from drivers.devices.pit import Mode, Pit
from drivers.models.ioapic import IoApicModel

APIC: dict[str, Any] = {"models": [IoApicModel, ("hpet", 7)], "machine": "q35"}
SOON = 1_000_000  # ticks of the HPET: 10 ms


class OldModel(IoApicModel):
    """Without an EOI register."""

    def __init__(self, bus: PortBus) -> None:
        super().__init__(bus, version=0x11)


def level_at(io: IoSpace, number: int) -> Hpet:
    """An HPET whose timer 0 is going to raise this input, until it is acknowledged."""
    if io.name == "portbus":
        Lapic(io).enable()  # QEMU's takes all that is sent
    hpet = Hpet(io)
    if number == 2:
        hpet.enable(legacy=True)  # takes the 8254 off this input, which in QEMU runs from the beginning
        assert hpet.route(0, level=True) == 0
    else:
        hpet.enable()
        hpet.route(0, number, level=True)
    return hpet


def test_what_it_is(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic = IoApic(io)
        assert apic.version() == (0x20, 24)
        assert apic.number == 0
        apic.number = 5
        assert apic.number == 5
        assert apic.version() == (0x20, 24)

    play(check, **APIC)


@pytest.mark.parametrize("window", [0, 0x00170000, 0x00FF0020, 0xFFFFFFFF])
def test_where_nothing_answers_or_only_memory_does_is_none(play: Play, window: int) -> None:
    async def check(io: IoSpace) -> None:
        io.write32(0x1010, window)
        for base in (0x1000, 0xFEC10000):
            apic = IoApic(io, base)
            for act in (apic.version, apic.mask_all, lambda apic=apic: apic.entry(0), lambda apic=apic: apic.route(0, 0x30)):
                with pytest.raises(DeviceAbsentError, match=f"no I/O APIC at {base:#x}"):
                    act()

    play(check, **APIC)


def test_memory_that_looks_like_one_is_found_out(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        io.write32(0x1010, 0x00170011)
        apic = IoApic(io, 0x1000)
        with pytest.raises(DeviceError, match="input 3 keeps"):
            apic.route(3, 0x30, 7)

    play(check, **APIC)


def test_every_input_is_masked_in_the_beginning(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic = IoApic(io)
        assert all(apic.entry(each).is_masked for each in range(24))

    play(check, **APIC)


def test_what_was_said_of_an_input_is_kept(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic = IoApic(io)
        for delivery in set(Delivery) - {Delivery.STARTUP}:
            for logical, active_low, level, masked in product((False, True), repeat=4):
                for number in (0, 11, 23):
                    where = {"logical": logical, "active_low": active_low, "level": level, "masked": masked}
                    apic.route(number, 0x31 + number, 0x80 + number, delivery, **where)
                    expected = (0x31 + number, delivery, 0x80 + number, logical, active_low, level, masked, False, False)
                    assert apic.entry(number) == expected

    play(check, **APIC)


@pytest.mark.parametrize("number", [2, 8, 20])
def test_a_level_is_served_until_its_end(play: Play, number: int) -> None:
    async def check(io: IoSpace) -> None:
        apic, hpet = IoApic(io), level_at(io, number)
        apic.route(number, 0x50, level=True)
        assert not apic.entry(number).is_served
        hpet.start(0, SOON)
        await io.until(hpet.pending, 5, "the level")
        assert apic.entry(number).is_served
        hpet.acknowledge(0)
        assert apic.entry(number).is_served
        apic.end(0x51)
        assert apic.entry(number).is_served
        apic.end(0x50)
        assert not apic.entry(number).is_served

    play(check, **APIC)


def test_a_level_that_is_still_up_is_sent_again_after_its_end(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic, hpet = IoApic(io), level_at(io, 20)
        apic.route(20, 0x50, level=True)
        hpet.start(0, SOON)
        await io.until(hpet.pending, 5, "the level")
        apic.end(0x50)
        assert apic.entry(20).is_served
        hpet.acknowledge(0)
        apic.end(0x50)
        assert not apic.entry(20).is_served

    play(check, **APIC)


def test_a_level_waits_while_it_is_masked(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic, hpet = IoApic(io), level_at(io, 20)
        apic.route(20, 0x50, level=True)
        apic.mask(20)
        hpet.start(0, SOON)
        await io.until(hpet.pending, 5, "the level")
        assert not apic.entry(20).is_served
        apic.unmask(20)
        assert apic.entry(20).is_served

    play(check, **APIC)


def test_all_can_be_masked(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic = IoApic(io)
        for number in range(24):
            apic.route(number, 0x40 + number)
        apic.mask_all()
        assert [(apic.entry(each).vector, apic.entry(each).is_masked) for each in range(24)] == [(0x40 + each, True) for each in range(24)]

    play(check, **APIC)


def test_an_old_one_has_no_eoi_register(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic = IoApic(io)
        assert apic.version().number == 0x11
        with pytest.raises(DeviceError, match="version 0x11 has no EOI register"):
            apic.end(0x50)

    play(check, [OldModel], qemu=["-global", "ioapic.version=17"])


def test_what_it_cannot_do(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        apic = IoApic(io)
        for number in (-1, 24):
            with pytest.raises(ValueError, match="expected 0 to 23"):
                apic.entry(number)
        for vector in (15, 256):
            with pytest.raises(ValueError, match="expected 16 to 255"):
                apic.route(0, vector)
            with pytest.raises(ValueError, match="expected 16 to 255"):
                apic.end(vector)
        with pytest.raises(ValueError, match="expected 0 to 255"):
            apic.route(0, 0x30, 256)
        with pytest.raises(ValueError, match="no input can deliver STARTUP"):
            apic.route(0, 0x30, 0, Delivery.STARTUP)
        with pytest.raises(ValueError, match="expected 0 to 15"):
            apic.number = 16
        assert [input_of(each) for each in (0, 1, 3, 23)] == [2, 1, 3, 23]
        for line in (2, 24, -1):
            with pytest.raises(ValueError, match="expected 0, 1 or 3 to 23"):
                input_of(line)

    play(check, **APIC)


# --- what is seen at the processor's end: the port bus only ---


def with_processor(check: Any) -> None:
    async def main() -> None:
        bus = PortBus()
        model = IoApicModel(bus)
        bus.plug("hpet", 7)
        bus.plug("pit")
        await check(bus, IoApic(bus), Lapic(bus), model.lapic)

    run(main)


def test_an_edge_is_requested_of_the_processor_once() -> None:
    async def check(io: PortBus, apic: IoApic, lapic: Lapic, processor: Any) -> None:
        lapic.enable()
        apic.route(input_of(0), 0x30)
        Pit(io).start(0, Mode.TERMINAL_COUNT, 1000)
        assert lapic.requested() == ()
        await io.pause(0.01)
        assert lapic.requested() == (0x30,)
        assert not apic.entry(2).is_served
        assert processor.take() == 0x30
        assert lapic.in_service() == (0x30,)
        lapic.end()
        assert processor.take() is None

    with_processor(check)


def test_an_edge_that_comes_while_it_is_masked_is_lost() -> None:
    async def check(io: PortBus, apic: IoApic, lapic: Lapic, processor: Any) -> None:
        lapic.enable()
        apic.route(input_of(0), 0x30, masked=True)
        Pit(io).start(0, Mode.TERMINAL_COUNT, 1000)
        await io.pause(0.01)
        apic.unmask(2)
        assert lapic.requested() == ()

    with_processor(check)


@pytest.mark.parametrize("level", [False, True])
def test_what_no_processor_accepts_is_pending_until_one_does(level: bool) -> None:
    async def check(io: PortBus, apic: IoApic, lapic: Lapic, processor: Any) -> None:
        apic.route(input_of(0), 0x30, level=level)
        Pit(io).start(0, Mode.TERMINAL_COUNT, 1000)
        await io.pause(0.01)
        assert apic.entry(2)[-2:] == (True, False)
        lapic.enable()
        assert lapic.requested() == (0x30,)
        assert apic.entry(2)[-2:] == (False, level)

    with_processor(check)


def test_the_processors_end_of_a_level_is_told_to_the_io_apic() -> None:
    async def check(io: PortBus, apic: IoApic, lapic: Lapic, processor: Any) -> None:
        hpet = level_at(io, 20)
        apic.route(20, 0x50, level=True)
        hpet.start(0, 1000)
        await io.pause(0.001)
        assert processor.take() == 0x50
        assert apic.entry(20).is_served
        lapic.end()  # the line is up yet
        assert lapic.requested() == (0x50,)
        assert processor.take() == 0x50
        hpet.acknowledge(0)
        lapic.end()
        assert (lapic.requested(), apic.entry(20).is_served) == ((), False)

    with_processor(check)


@pytest.mark.parametrize(
    ("destination", "logical", "gets_there"),
    [(0, False, True), (1, False, False), (0xFF, False, True), (0x06, True, True), (0x01, True, False)],
)
def test_only_the_processor_that_it_is_for_accepts(destination: int, logical: bool, gets_there: bool) -> None:
    async def check(io: PortBus, apic: IoApic, lapic: Lapic, processor: Any) -> None:
        lapic.enable()
        io.write32(0xFEE000D0, 0x04000000)  # its logical destination
        apic.route(input_of(0), 0x30, destination, logical=logical)
        Pit(io).start(0, Mode.TERMINAL_COUNT, 1000)
        await io.pause(0.01)
        assert (lapic.requested() == (0x30,), apic.entry(2).is_pending) == (gets_there, not gets_there)

    with_processor(check)
