"""The clock and its memory, on both machines.

QEMU's device is not the data sheet's in some things that no driver should need: the periodic flag (PF) comes only while its interrupt is
enabled; an update takes no time, and "update in progress" shows 244 us before it, not 2228; every fourth year is a leap year for the chip,
but 2100 is none for QEMU; register 0x37 is the century, too, and no memory; the day of the week follows from the date.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import datetimes, integers, sampled_from
from machines import Play

from beamlike import receive, run
from drivers import (
    DeviceAbsentError,
    DeviceError,
    DeviceManager,
    DeviceTimeoutError,
    Fault,
    Interrupt,
    IoSpace,
    PortBus,
    find_devices,
    open_device,
)
from drivers.devices.cmos import SUMMED, Cmos
from drivers.devices.rtc import ALL, LINE, Alarm, Cause, Rtc
from drivers.models.rtc import START, RtcModel
from drivers.servers.finding import find_clock

RTC = [("rtc", START)]
BEGUN = datetime(2026, 1, 1)
CLOCK = ["-rtc", "base=2026-01-01T00:00:00,clock=vm"]
DATA = 0x71
MODES = [(binary, hours_24) for binary in (False, True) for hours_24 in (False, True)]


async def interrupt(io: IoSpace, within: float = 5) -> Interrupt:
    """The next one. The port bus's clock stands still unless somebody pauses."""
    deadline = io.now() + within
    while True:
        await io.pause(0.0002)
        try:
            found: Interrupt = await receive(Interrupt, timeout=0)
            return found
        except TimeoutError:
            if io.now() > deadline:
                raise


def took(io: IoSpace, seconds: float, expected: float) -> bool:
    """QEMU may be late when the machine is busy, but never early."""
    return abs(seconds - expected) < 1e-4 if io.name == "portbus" else seconds > expected - 0.001


def near(time: datetime, expected: datetime) -> bool:
    """QEMU's clock goes on while we are not looking."""
    return expected <= time <= expected + timedelta(seconds=9)


def test_it_shows_the_time(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        assert near(await Rtc(io).read(), BEGUN)

    play(check, RTC, qemu=CLOCK)


@pytest.mark.parametrize(("binary", "hours_24"), MODES)
def test_a_time_that_was_set_is_read_in_each_format(play: Play, binary: bool, hours_24: bool) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        for hour in range(24):
            rtc.set(datetime(2048, 12, 31, hour, 58, 39), binary=binary, hours_24=hours_24)
            assert near(await rtc.read(), datetime(2048, 12, 31, hour, 58, 39))
        assert rtc.cmos.read(0x0B) & 6 == binary << 2 | hours_24 << 1

    play(check, RTC, qemu=CLOCK)


@pytest.mark.parametrize(
    ("before", "after", "binary", "hours_24"),
    [
        (datetime(1999, 12, 31, 23, 59, 59), datetime(2000, 1, 1), False, True),
        (datetime(2028, 2, 28, 23, 59, 59), datetime(2028, 2, 29), True, True),
        (datetime(2026, 2, 28, 23, 59, 59), datetime(2026, 3, 1), True, False),
        (datetime(2026, 4, 30, 11, 59, 59), datetime(2026, 4, 30, 12), False, False),
        (datetime(2026, 4, 30, 12, 59, 59), datetime(2026, 4, 30, 13), False, False),
    ],
)
def test_the_next_second_begins_half_a_second_later(play: Play, before: datetime, after: datetime, binary: bool, hours_24: bool) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        rtc.enable(Cause.UPDATE)
        io.lines.attach(LINE)
        begun = io.now()
        rtc.set(before, binary=binary, hours_24=hours_24)
        event = await interrupt(io)
        assert took(io, event.at - begun, 0.5)
        assert near(await rtc.read(), after)

    play(check, RTC, qemu=CLOCK)


def test_each_second_is_an_interrupt_once_the_last_was_looked_at(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        io.lines.attach(LINE)
        begun = io.now()
        rtc.set(BEGUN)
        rtc.enable(Cause.UPDATE)
        found = []
        for _ in range(3):
            found.append(await interrupt(io))
            assert rtc.happened() & Cause.UPDATE
        assert all(later.number == earlier.number + 1 for earlier, later in pairwise(found))
        assert took(io, found[2].at - begun, 2.5)
        rtc.disable(Cause.UPDATE)
        rtc.happened()
        with suppress(TimeoutError):
            await receive(Interrupt, timeout=0)  # one that came just before
        await io.pause(1.2)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0)

    play(check, RTC, qemu=CLOCK)


@pytest.mark.parametrize("hertz", [2, 64, 1024])
def test_periodic_interrupts_have_the_rate_that_was_set(play: Play, hertz: int) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        rtc.set_rate(hertz)
        rtc.set(BEGUN)  # its divider begins anew
        begun = io.now()
        rtc.enable(Cause.PERIODIC)
        io.lines.attach(LINE)
        for _ in range(4):
            event = await interrupt(io)
            assert rtc.happened() & Cause.PERIODIC
        assert took(io, event.at - begun, 4 / hertz)

    play(check, RTC, qemu=CLOCK)


def test_what_has_interrupted_is_told_though_more_is_enabled(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        io.lines.attach(LINE)
        rtc.enable(Cause.UPDATE)
        await interrupt(io)
        for causes in (Cause.ALARM, Cause.UPDATE):
            rtc.enable(causes)
        assert rtc.happened() & Cause.UPDATE
        await interrupt(io)  # the line was let go
        rtc.disable()
        rtc.enable(Cause.UPDATE)
        assert io.name != "portbus" or not rtc.happened()  # another second may be over in real time

    play(check, RTC, CLOCK)


def test_an_alarm_comes_at_its_time(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        for binary, hours_24 in MODES:
            rtc.set(datetime(2026, 5, 6, 13, 59, 59), binary=binary, hours_24=hours_24)
            rtc.set_alarm(14, 0, 0)
            assert rtc.alarm() == Alarm(14, 0, 0)
            rtc.enable(Cause.ALARM)
            io.lines.attach(LINE)
            await interrupt(io)
            assert rtc.happened() & Cause.ALARM
            assert near(await rtc.read(), datetime(2026, 5, 6, 14))
            rtc.disable(Cause.ALARM)

    play(check, RTC, qemu=CLOCK)


def test_who_has_the_clock_asks_for_its_alarm(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await DeviceManager.start_link(await find_devices(io, (find_clock,)))
        async with await open_device(manager, "clock") as clock:
            await clock.do("set_alarm", 14, None, 5)
            assert await clock.do("alarm") == Alarm(14, None, 5)

    play(check, RTC, CLOCK)


def test_an_alarm_at_any_hour_and_minute_comes_when_the_second_fits(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        rtc.set(datetime(2026, 5, 6, 7, 8, 9))
        rtc.set_alarm(None, None, 11)
        assert rtc.alarm() == Alarm(None, None, 11)
        rtc.enable(Cause.ALARM)
        io.lines.attach(LINE)
        await interrupt(io)
        assert near(await rtc.read(), datetime(2026, 5, 6, 7, 8, 11))

    play(check, RTC, qemu=CLOCK)


def test_setting_the_time_leaves_the_interrupts_and_the_rate(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        rtc.set_rate(8192)
        rtc.enable(Cause.UPDATE | Cause.ALARM)
        rtc.set(BEGUN)
        assert rtc.cmos.read(0x0B) & ALL == Cause.UPDATE | Cause.ALARM
        assert rtc.cmos.read(0x0A) & 0x7F == 0x23

    play(check, RTC, qemu=CLOCK)


def test_what_does_not_interrupt_is_told_to_who_asks(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        rtc.set(BEGUN)
        rtc.set_alarm(None, None, None)
        rtc.happened()
        await io.pause(1.1)
        assert rtc.happened() & (Cause.UPDATE | Cause.ALARM) == Cause.UPDATE | Cause.ALARM

    play(check, RTC, qemu=CLOCK)


@given(
    begun=datetimes(datetime(1901, 1, 1), datetime(2099, 12, 1)),
    seconds=integers(0, 200_000),
    mode=sampled_from(MODES),
)
@settings(max_examples=200, deadline=None)
def test_the_model_counts_as_the_calendar_does(begun: datetime, seconds: int, mode: tuple[bool, bool]) -> None:
    """Of 1900 and 2100 the chip would think that they are leap years."""

    async def check() -> None:
        bus = PortBus(0x1000)
        bus.plug("rtc", START)
        rtc = Rtc(bus)
        rtc.set(begun, binary=mode[0], hours_24=mode[1])
        bus.advance(seconds)
        assert await rtc.read() == begun.replace(microsecond=0) + timedelta(seconds=seconds)
        assert int(f"{rtc.cmos.read(6):x}") == (await rtc.read()).isoweekday() % 7 + 1

    run(check)


def test_a_clock_that_was_stopped_does_not_make_up_for_it() -> None:
    """Only on the port bus: QEMU takes the other dividers for running."""

    async def check() -> None:
        bus = PortBus()
        bus.plug("rtc", START)
        rtc = Rtc(bus)
        for divider, first in ((0x70, 0.5), (0x60, 0.5), (0x00, 1)):
            begun = await rtc.read()
            rtc.cmos.write(0x0A, divider | 6)
            bus.advance(100)
            rtc.cmos.write(0x0A, 0x26)
            assert await rtc.read() == begun
            bus.advance(first + 0.1)
            assert await rtc.read() == begun + timedelta(seconds=1)

    run(check)


def test_the_time_is_never_read_in_the_midst_of_an_update() -> None:
    """Only on the port bus: QEMU's clock cannot be stopped at such a moment."""

    async def check() -> None:
        bus = PortBus()
        bus.plug("rtc", START)
        rtc = Rtc(bus)
        for before in (0.0030, 0.0022, 0.0019, 0.0001, 0.0):
            bus.advance(1 - bus.now() % 1 - before)
            began = bus.now()
            assert await rtc.read() == BEGUN + timedelta(seconds=int(bus.now() + 1e-9))
            assert bus.now() - began <= 0.004
            bus.advance(0.5)

    run(check)


def test_memory_is_kept_and_its_checksum_checked(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        cmos = Cmos(io)
        cmos.store(SUMMED.start, bytes(range(200, 200 + len(SUMMED))))
        assert cmos.load(SUMMED.start, len(SUMMED)) == bytes(range(200, 200 + len(SUMMED)))
        assert cmos.sum() == sum(range(200, 200 + len(SUMMED)))
        cmos.update_checksum()
        assert cmos.checksum == cmos.sum()
        assert (cmos.read(0x2E) << 8 | cmos.read(0x2F)) == cmos.sum()
        cmos.write(0x2D, cmos.read(0x2D) ^ 1)
        assert cmos.checksum != cmos.sum()

    play(check, RTC)


def test_the_mask_of_nmis_is_written_with_each_index() -> None:
    """Only on the port bus: QEMU has no NMI there, and the bit cannot be read."""

    async def check() -> None:
        bus = PortBus()
        model = RtcModel(bus)
        rtc = Rtc(bus)
        await rtc.read()
        assert not model.is_nmi_masked
        rtc.cmos.is_nmi_masked = True
        assert model.is_nmi_masked
        await rtc.read()
        rtc.set(BEGUN)
        rtc.cmos.store(0x40, b"abc")
        assert model.is_nmi_masked
        rtc.cmos.is_nmi_masked = False
        assert not model.is_nmi_masked

    run(check)


def test_a_failed_battery_is_told_until_the_time_is_set() -> None:
    """Only on the port bus: QEMU's battery lasts for ever."""

    async def check() -> None:
        bus = PortBus()
        model = RtcModel(bus)
        rtc = Rtc(bus)
        assert rtc.is_battery_good
        model.fail_battery()
        await rtc.read()
        assert not rtc.is_battery_good
        rtc.set(BEGUN)
        assert rtc.is_battery_good

    run(check)


def test_times_alarms_rates_and_bytes_that_there_are_not(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        rtc, cmos = Rtc(io), Cmos(io)
        with pytest.raises(ValueError, match="without a zone, from 1900 on"):
            rtc.set(datetime(1899, 12, 31))
        with pytest.raises(ValueError, match="without a zone"):
            rtc.set(BEGUN.astimezone())
        for alarm in ((24, 0, 0), (0, 60, 0), (0, 0, 60), (-1, 0, 0)):
            with pytest.raises(ValueError, match="or None"):
                rtc.set_alarm(*alarm)
        for hertz in (0, 1, 3, 16384, -2):
            with pytest.raises(ValueError, match="a power of two from 2 to 8192"):
                rtc.set_rate(hertz)
        for index in (-1, 128):
            with pytest.raises(ValueError, match="no index of the CMOS memory"):
                cmos.read(index)
        with pytest.raises(ValueError, match="no byte"):
            cmos.write(0x40, 256)
        for at, count in ((120, 9), (-1, 1), (129, 0)):
            with pytest.raises(ValueError, match="not in the CMOS memory"):
                cmos.load(at, count)

    play(check, RTC)


@pytest.mark.parametrize(
    ("register", "value", "binary"),
    [(0, 0x6A, False), (7, 0x00, False), (8, 0x13, False), (7, 31, True), (4, 0xFF, True), (9, 100, True), (0x32, 0, True)],
)
def test_registers_that_are_no_time_are_an_error(register: int, value: int, binary: bool) -> None:
    """Only on the port bus: QEMU makes a time of whatever is written."""

    async def check() -> None:
        bus = PortBus()
        bus.plug("rtc", START)
        rtc = Rtc(bus)
        rtc.set(datetime(2026, 2, 3), binary=binary)
        rtc.cmos.write(register, value)
        with pytest.raises(DeviceError, match=f"are no time .*: {value:#04x}"):
            await rtc.read()

    run(check)


@pytest.mark.parametrize(("register", "value"), [(5, 0x1B), (5, 0x24), (3, 0x60), (1, 0x99)])
def test_an_alarm_that_is_no_time_is_an_error(play: Play, register: int, value: int) -> None:
    async def check(io: IoSpace) -> None:
        rtc = Rtc(io)
        rtc.set_alarm(1, 2, 3)
        rtc.cmos.write(register, value)
        with pytest.raises(DeviceError, match="alarm are no time"):
            rtc.alarm()

    play(check, RTC)


# --- faults: QEMU's devices have none ---


def faulty(*faults: tuple[Fault, int, int]) -> PortBus:
    bus = PortBus()
    bus.plug("rtc", START)
    for kind, port, mask in faults:
        bus.fault(kind, port, mask=mask)
    return bus


def test_no_clock_is_told() -> None:
    async def check() -> None:
        for rtc in (Rtc(PortBus()), Rtc(faulty((Fault.MISSING, DATA, 0xFF)))):
            with pytest.raises(DeviceAbsentError, match="no clock chip at port 0x70"):
                await rtc.read()
            for act in (
                lambda: rtc.set(BEGUN),  # noqa: B023 - called here
                rtc.happened,
                lambda: rtc.cmos.load(0x10, 1),  # noqa: B023
                rtc.cmos.update_checksum,
            ):
                with pytest.raises(DeviceAbsentError):
                    act()

    run(check)


def test_an_update_that_never_ends_is_a_timeout() -> None:
    async def check() -> None:
        bus = faulty()
        rtc = Rtc(bus)
        bus.fault(Fault.ONES, DATA, mask=0x80)
        with pytest.raises(DeviceTimeoutError, match="no end of the update"):
            await rtc.read()
        assert bus.now() == pytest.approx(1, abs=0.01)

    run(check)


def test_writes_that_are_lost_are_told() -> None:
    async def check() -> None:
        rtc = Rtc(faulty((Fault.LOSE, DATA, 0xFF)))
        with pytest.raises(DeviceError, match=r"register 0x0b is 0x02 after 0x82 was written"):
            rtc.set(BEGUN)
        with pytest.raises(DeviceError, match=r"byte 0x40 is 0x00 after 0x61 was written"):
            rtc.cmos.store(0x40, b"a")

    run(check)


@pytest.mark.parametrize("writes", [1, 2, 5, 10, 11])
def test_a_clock_that_was_not_set_to_the_end_tells_no_time(play: Play, writes: int) -> None:
    async def check(io: Any) -> None:
        outb, left = io.outb, writes

        def ended(port: int, value: int) -> None:
            nonlocal left
            left -= port == DATA
            if left < 0:
                raise InterruptedError
            outb(port, value)

        io.outb = ended
        with pytest.raises(InterruptedError):
            Rtc(io).set(BEGUN)
        del io.outb
        with pytest.raises(DeviceError, match=r"it is stopped, register A is 0x.6 and B 0x.2: `set` lets it go"):
            await Rtc(io).read()
        Rtc(io).set(BEGUN)
        assert near(await Rtc(io).read(), BEGUN)

    play(check, RTC, CLOCK)


def test_any_accesses_leave_the_model_whole() -> None:
    """Widths, values and times that no driver uses."""

    async def check() -> None:
        bus = faulty()
        for step in range(4000):
            mixed = step * 2654435761 % 2**32
            bus.outb(0x70, mixed >> 8 & 0x8F)
            bus.port_out(0x70 + (mixed & 1), (1, 2, 4)[step % 3], mixed >> 4 & 0xFF)
            bus.port_in(0x70 + (mixed >> 1 & 1), (1, 2, 4)[mixed % 3])
            bus.advance((mixed >> 16) / 1e5)
        rtc = Rtc(bus)
        rtc.set(BEGUN, binary=False, hours_24=True)
        assert near(await rtc.read(), BEGUN)

    run(check)
