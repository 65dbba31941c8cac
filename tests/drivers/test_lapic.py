"""The local APIC.

QEMU's answers to nobody but its processor, so the other machine is the one whose accesses a processor makes. What waits is looked at in the
registers, as a processor sees it that lets no interrupts through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
from machines import needs_qemu

from beamlike import run
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, IoServer, IoSpace, PortBus, Qemu
from drivers.devices.hpet import Hpet
from drivers.devices.lapic import Delivery, Lapic, Local, Problem, To
from drivers.devices.pit import Pit, Speaker
from drivers.models.lapic import LapicModel

Check = Callable[[Any], Awaitable[None]]


async def portbus(check: Check) -> None:
    """With a local APIC, a PIT and an HPET."""
    bus = PortBus()
    bus.models[LapicModel] = LapicModel(bus)
    bus.plug("pit")
    bus.plug("hpet", 7)
    await check(bus)


async def io_server(check: Check) -> None:
    """QEMU's, whose processor asks it."""
    with closing(await IoServer.start()) as machine:
        await check(machine)


MACHINES = [portbus, pytest.param(io_server, marks=needs_qemu)]


@pytest.fixture(params=MACHINES, ids=["portbus", "io_server"])
def on(request: pytest.FixtureRequest) -> Callable[[Check], None]:
    """`on(check)`: run it on such a machine."""
    return lambda check: run(lambda: request.param(check))


def on_portbus(check: Callable[[PortBus, Lapic, LapicModel], Awaitable[None]]) -> None:
    """What needs somebody who takes the interrupts, or the model's own clock."""
    run(lambda: portbus(lambda bus: check(bus, Lapic(bus), bus.models[LapicModel])))


def test_what_it_is(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        found = lapic.version()
        assert 0x10 <= found.number < 0x20
        assert found.local_vectors >= 4
        assert 0 <= lapic.number <= 0xFF

    on(check)


@pytest.mark.parametrize("version", [0, 0x0F, 0x20, 0xFFFFFFFF])
def test_memory_is_none(on: Any, version: int) -> None:
    async def check(io: IoSpace) -> None:
        io.write32(0x4030, version)
        for act in (Lapic(io, 0x4000).version, Lapic(io, 0x4000).enable):
            with pytest.raises(DeviceAbsentError, match=f"no local APIC at 0x4000: its version is {version:#x}"):
                act()

    on(check)


@needs_qemu
def test_nobody_but_a_processor_sees_one_in_qemu() -> None:
    async def check() -> None:
        machine = await Qemu.start()
        with pytest.raises(DeviceAbsentError, match="no local APIC at 0xfee00000"):
            Lapic(machine).enable()
        machine.close()

    run(check)


def test_where_nothing_answers_is_none() -> None:
    async def check() -> None:
        with pytest.raises(DeviceAbsentError, match="its version is 0xffffffff"):
            Lapic(PortBus()).version()

    run(check)


def test_it_is_enabled_and_disabled(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable(0xEF)
        assert lapic.is_enabled
        lapic.disable()
        assert not lapic.is_enabled

    on(check)


def test_vectors_stay_masked_while_it_is_disabled() -> None:
    """Intel SDM 3A, 11.4.7.2. QEMU's does not mask them, and accepts interrupts then."""

    async def check(bus: PortBus, lapic: Lapic, model: LapicModel) -> None:
        lapic.disable()
        with pytest.raises(DeviceError, match="its timer stays masked; is it enabled"):
            lapic.start(1000, 0x40)
        with pytest.raises(DeviceError, match="ERROR stays masked; is it enabled"):
            lapic.connect(Local.ERROR, 0x41)
        await lapic.send(To.SELF, 0x71)
        assert lapic.requested() == ()

    on_portbus(check)


def test_the_timer_requests_its_vector_once(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable()
        lapic.start(100_000, 0x61)
        requested, left = lapic.requested(), lapic.left()
        assert left <= 100_000
        assert requested == () or left == 0  # this may be held up for longer than that
        await io.until(lambda: lapic.is_requested(0x61), 1, "the timer")
        assert lapic.requested() == (0x61,)
        assert lapic.left() == 0
        assert lapic.in_service() == ()

    on(check)


def test_a_periodic_timer_goes_on(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable()
        lapic.start_periodic(100_000, 0x62)
        await io.until(lambda: lapic.is_requested(0x62), 1, "the timer")
        await io.pause(0.01)
        await io.until(lambda: lapic.left() > 0, 1, "a later period")
        lapic.stop()
        assert lapic.left() == 0

    on(check)


@pytest.mark.parametrize("divider", [1, 2, 4, 8, 16, 32, 64, 128])
def test_a_divider_makes_the_timer_slower(on: Any, divider: int) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable()
        hertz = await lapic.calibrate(Pit(io))
        lapic.start(0xFFFFFFFF, 0x60, divider)
        before, first, begun = io.now(), lapic.left(), io.now()
        await io.pause(0.01)
        end, second, after = io.now(), lapic.left(), io.now()
        slack = 0.01 if io.name == "portbus" else 0.4  # of the measurement of its rate, if that is held up
        assert (end - begun) * (1 - slack) <= (first - second) * divider / hertz <= (after - before) * (1 + slack)

    on(check)


@pytest.mark.parametrize("clock", [Pit, Hpet])
def test_it_is_measured_by_another_clock(on: Any, clock: type[Pit] | type[Hpet]) -> None:
    async def check(io: IoSpace) -> None:
        lapic, by = Lapic(io), clock(io)
        if isinstance(by, Hpet):
            by.enable()
        hertz = await lapic.calibrate(by)
        again = await lapic.calibrate(by, 0.005)
        assert again == pytest.approx(hertz, rel=0.01 if io.name == "portbus" else 0.4)
        if io.name == "portbus":
            assert hertz == pytest.approx(100e6, rel=1e-4)
        assert lapic.left() == 0
        assert not Speaker(io).is_on

    on(check)


def test_a_clock_that_stands_still_measures_nothing(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.disable()
        with pytest.raises(DeviceTimeoutError, match="the clock to measure by: not within"):
            await Lapic(io).calibrate(hpet, 0.001)
        for seconds in (0, -1, 0.06):
            with pytest.raises(ValueError, match=r"expected up to 0\.05 by a PIT"):
                await Lapic(io).calibrate(Pit(io), seconds)
        with pytest.raises(ValueError, match="expected up to 1 s"):
            await Lapic(io).calibrate(hpet, 1.5)

    on(check)


def test_a_timer_that_stands_still_is_an_error(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        io.write32(0x4030, 0x14)
        with pytest.raises(DeviceError, match="its timer stands still: 0 ticks"):
            await Lapic(io, 0x4000).calibrate(Pit(io), 0.001)

    on(check)


def test_a_message_to_itself_is_requested(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable()
        await lapic.send(To.SELF, 0x71)
        await lapic.send(lapic.number, 0x93)
        await io.until(lambda: lapic.requested() == (0x71, 0x93), 1, "both")
        await lapic.send(To.OTHERS, 0x72)
        await lapic.send(To.ALL, 0x74)
        await io.until(lambda: lapic.requested() == (0x71, 0x74, 0x93), 1, "what is for all")

    on(check)


def test_priorities(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable()
        assert lapic.priority == 0
        lapic.priority = 0x55
        assert (lapic.priority, lapic.processor_priority) == (0x55, 0x55)
        for wrong in (-1, 256):
            with pytest.raises(ValueError, match="expected 0 to 255"):
                lapic.priority = wrong
        lapic.priority = 0

    on(check)


def test_the_local_vectors_are_kept(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable()
        lapic.connect(Local.LINT0, 0, Delivery.EXTERNAL, level=True)
        lapic.connect(Local.LINT1, 0, Delivery.NMI, active_low=True)
        lapic.connect(Local.ERROR, 0x44)
        assert io.read32(0xFEE00350) & 0x1A7FF == 0x8700
        assert io.read32(0xFEE00360) & 0x1A7FF == 0x2400
        assert io.read32(0xFEE00370) & 0x100FF == 0x44
        lapic.mask(Local.LINT0)
        assert io.read32(0xFEE00350) & 0x1A7FF == 0x18700

    on(check)


def test_what_it_cannot_do(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        lapic = Lapic(io)
        lapic.enable()
        for vector in (15, -1, 256):
            with pytest.raises(ValueError, match="expected 16 to 255 of FIXED"):
                lapic.start(1, vector)
            with pytest.raises(ValueError, match="expected 16 to 255 of FIXED"):
                await lapic.send(To.SELF, vector)
            with pytest.raises(ValueError, match="expected 16 to 255 of FIXED"):
                lapic.enable(vector)
        for ticks in (0, 1 << 32):
            with pytest.raises(ValueError, match="expected 1 to 4294967295"):
                lapic.start_periodic(ticks, 0x40)
        with pytest.raises(ValueError, match="expected a power of 2 from 1 to 128"):
            lapic.start(1, 0x40, 3)
        with pytest.raises(ValueError, match="a message to 256: expected To"):
            await lapic.send(256, 0x40)
        with pytest.raises(ValueError, match="INIT to SELF: expected FIXED"):
            await lapic.send(To.SELF, 0, Delivery.INIT)
        with pytest.raises(ValueError, match="expected LINT0 or LINT1"):
            lapic.connect(Local.ERROR, 0x40, level=True)
        with pytest.raises(ValueError, match="TIMER delivers NMI: expected FIXED"):
            lapic.connect(Local.TIMER, 0, Delivery.NMI)

    on(check)


def test_a_message_that_is_never_sent_times_out(on: Any) -> None:
    async def check(io: IoSpace) -> None:
        io.write32(0x4030, 0x14)
        io.write32(0x4300, 0x1000)  # it is being sent, says this memory
        with pytest.raises(DeviceTimeoutError, match=r"local APIC at 0x4000: a message sent: not within 0\.01 s"):
            await Lapic(io, 0x4000).send(1, 0x40, timeout=0.01)

    on(check)


def test_memory_that_does_not_stay_enabled_is_found_out() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        class Forgetful(Lapic):
            def _out(self, register: int, value: int) -> None:
                if register != 0xF0:
                    super()._out(register, value)

        with pytest.raises(DeviceError, match="it does not stay enabled: 0xff"):
            Forgetful(io).enable(0x40)

    on_portbus(check)


# --- with a processor that takes the interrupts ---


def test_the_highest_vector_is_taken_first_and_a_lower_one_waits_for_its_end() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        lapic.enable()
        for vector in (0x41, 0x80, 0x43):
            await lapic.send(To.SELF, vector)
        assert processor.take() == 0x80
        assert processor.take() is None
        assert (lapic.in_service(), lapic.requested(), lapic.processor_priority) == ((0x80,), (0x41, 0x43), 0x80)
        await lapic.send(To.SELF, 0x91)
        assert processor.take() == 0x91  # nested
        lapic.end()
        assert lapic.in_service() == (0x80,)
        lapic.end()
        assert processor.take() == 0x43
        assert processor.take() is None  # of the same sixteen
        lapic.end()
        assert processor.take() == 0x41
        lapic.end()
        assert (lapic.in_service(), lapic.requested()) == ((), ())

    on_portbus(check)


def test_a_task_of_a_higher_priority_is_not_interrupted() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        lapic.enable()
        lapic.priority = 0x50
        await lapic.send(To.SELF, 0x5F)
        assert processor.take() is None
        await lapic.send(To.SELF, 0x60)
        assert processor.take() == 0x60
        lapic.priority = 0x4F
        lapic.end()
        assert processor.take() == 0x5F

    on_portbus(check)


def test_an_end_of_nothing_does_nothing() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        lapic.enable()
        lapic.end()
        await lapic.send(To.SELF, 0x40)
        lapic.end()
        assert lapic.requested() == (0x40,)

    on_portbus(check)


def test_periods_come_in_time() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        lapic.enable()
        lapic.start_periodic(1000, 0x40, 16)  # 160 us
        for _ in range(5):
            await io.pause(159.9e-6)
            assert processor.take() is None
            await io.pause(0.1e-6)
            assert processor.take() == 0x40
            lapic.end()

    on_portbus(check)


def test_a_masked_timer_counts_and_does_not_interrupt() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        lapic.enable()
        lapic.start_periodic(1000, 0x40)
        lapic.mask(Local.TIMER)
        await io.pause(95e-6)
        assert lapic.left() == 500
        assert processor.take() is None
        lapic.connect(Local.TIMER, 0x41)
        await io.pause(5e-6)
        assert processor.take() == 0x41
        lapic.end()
        await io.pause(10e-6)
        assert processor.take() == 0x41

    on_portbus(check)


def test_errors_are_shown_once_and_interrupt() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        lapic.enable()
        assert lapic.errors() == Problem.NONE
        lapic.connect(Local.ERROR, 0xE0)
        io.read32(0xFEE00010)  # no register
        assert processor.take() == 0xE0
        lapic.end()
        io.write32(0xFEE00300, 0x40003)  # an illegal vector to itself
        await io.pause(1e-5)
        assert lapic.errors() == Problem.ILLEGAL_REGISTER | Problem.SENT_ILLEGAL_VECTOR | Problem.RECEIVED_ILLEGAL_VECTOR
        assert lapic.errors() == Problem.NONE

    on_portbus(check)


def test_a_message_is_being_sent_for_a_while() -> None:
    async def check(io: PortBus, lapic: Lapic, processor: LapicModel) -> None:
        lapic.enable()
        begun = io.now()
        await lapic.send(To.SELF, 0x40)
        assert io.now() - begun >= 1e-6
        io.write32(0xFEE00300, 0x40041)
        assert io.read32(0xFEE00300) == 0x41041
        assert lapic.requested() == (0x40,)
        await lapic.send(To.SELF, 0x42)  # it waits for the one before
        assert lapic.requested() == (0x40, 0x41, 0x42)

    on_portbus(check)
