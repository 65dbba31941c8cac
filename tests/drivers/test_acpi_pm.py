"""The power management timer, on both machines. QEMU's has 24 bits."""

from __future__ import annotations

import pytest
from firmware import MACHINES, PM_BASE, set_pm_base
from machines import Play

from beamlike import run
from drivers import DeviceAbsentError, DeviceTimeoutError, Fault, IoSpace, PortBus
from drivers.devices.acpi_pm import HERTZ, PORT, PmTimer

PM = [("acpi_pm", PM_BASE, 24)]


@pytest.mark.parametrize("machine", MACHINES)
def test_it_counts_with_the_time(play: Play, machine: str) -> None:
    async def check(io: IoSpace) -> None:
        set_pm_base(io, machine)
        timer = PmTimer(io)
        before, first = io.now(), timer.read()
        await io.pause(0.01)
        passed, after = timer.elapsed(first), io.now()
        assert 0.01 - 1e-6 <= passed <= after - before + 1e-6

    play(check, PM, machine=machine)


def test_wraps_are_counted(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        set_pm_base(io)
        timer = PmTimer(io)
        before, first = io.now(), timer.ticks()
        count = timer.read()
        await timer.wait(timer.period + 0.1)
        counted = timer.elapsed(count)
        passed, after = (timer.ticks() - first) / HERTZ, io.now()
        assert timer.period + 0.1 <= passed <= after - before + 1e-6
        assert counted <= passed - timer.period + 1e-6  # the count itself knows nothing of the wrap

    play(check, PM)


@pytest.mark.parametrize("bits", [24, 32])
def test_the_time_that_has_passed_is_right_across_the_wrap(bits: int) -> None:
    """Only on the port bus: QEMU's clock cannot be set to such a moment, nor be made 20 minutes later."""

    async def check() -> None:
        bus = PortBus()
        bus.plug("acpi_pm", PM_BASE, bits)
        timer = PmTimer(bus, PORT, bits)
        bus.advance(timer.period - 0.5)
        first = timer.read()
        assert first == pytest.approx((1 << bits) - HERTZ / 2, abs=1)
        bus.advance(1)
        assert timer.read() == pytest.approx(HERTZ / 2, abs=1)
        assert timer.elapsed(first) == pytest.approx(1, abs=1e-6)

    run(check)


def test_waiting_takes_no_less_than_its_time(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        set_pm_base(io)
        timer = PmTimer(io)
        for seconds in (0.0, 0.001, 0.03):
            before = io.now()
            await timer.wait(seconds)
            assert io.now() - before >= seconds
            if io.name == "portbus":
                assert io.now() - before <= seconds + 0.002

    play(check, PM)


def test_bits_and_times_that_there_are_not(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(ValueError, match="expected 24 or 32"):
            PmTimer(io, PORT, 16)
        with pytest.raises(ValueError, match="no negative time"):
            await PmTimer(io).wait(-1)

    play(check, PM)


def test_it_is_absent_until_its_port_is_set(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        for bits in (24, 32):
            timer = PmTimer(io, PORT, bits)
            with pytest.raises(DeviceAbsentError, match="no PM timer at port 0x608"):
                timer.read()
            with pytest.raises(DeviceAbsentError):
                await timer.wait(1)

    play(check, [])


@pytest.mark.parametrize("kind", [Fault.ZEROS, Fault.ONES])
def test_a_timer_that_stands_still_is_a_timeout(kind: Fault) -> None:
    async def check() -> None:
        bus = PortBus()
        bus.plug("acpi_pm", PM_BASE, 24)
        bus.fault(kind, range(PORT, PORT + 3))
        with pytest.raises(DeviceTimeoutError, match=r"no 0\.1 s: not within 1\.2 s"):
            await PmTimer(bus, PORT).wait(0.1)

    run(check)
