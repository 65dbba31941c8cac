"""The high precision event timer, on both machines.

QEMU's differs from the specification: it keeps every route that is written, it interrupts at once for a comparator that has passed, and it
shows a level that has risen only while the timer may interrupt. Its board pc has only the route 2, so these tests take q35.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from machines import Play

from beamlike import receive, run
from drivers import DeviceAbsentError, DeviceError, Interrupt, IoSpace, PortBus
from drivers.devices.hpet import BASE, Hpet
from drivers.devices.pit import Mode, Pit

HPET: dict[str, Any] = {"models": [("hpet", 7)], "machine": "q35"}
NARROW = [("hpet", 1)]  # as Intel's boards: one timer of 64 bits, and two of 32 that do not repeat


def with_narrow_timers(check: Any) -> None:
    """On the port bus only: QEMU's timers are all wide."""

    async def main() -> None:
        bus = PortBus()
        bus.plug("hpet", 1)
        await check(bus)

    run(main)


def test_what_it_is(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        assert hpet.capabilities() == (1, 3, True, True, 0x8086, 10_000_000)
        assert hpet.hertz == 100e6
        assert hpet.ticks(1e-6) == 100
        assert hpet.ticks(1e-9) == 1
        for number in range(3):
            timer = hpet.timer(number)
            assert timer.can_repeat
            assert timer.is_wide
            assert timer.routes == (2, 8, 16, 17, 18, 19, 20, 21, 22, 23)
            assert not timer.is_enabled

    play(check, **HPET)


def test_where_nothing_answers_is_none(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        for act in (hpet.capabilities, hpet.enable, hpet.counter, lambda: hpet.start(0, 100)):
            with pytest.raises(DeviceAbsentError, match="no HPET at 0xfed00000"):
                act()

    play(check, [], machine="q35,hpet=off")


@pytest.mark.parametrize(("low", "period"), [(0, 10_000_000), (0x8086A201, 0), (0x8086A201, 100_000_001), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_memory_with_no_possible_period_or_revision_is_none(play: Play, low: int, period: int) -> None:
    async def check(io: IoSpace) -> None:
        io.write32(0x1000, low)
        io.write32(0x1004, period)
        with pytest.raises(DeviceAbsentError, match="no HPET at 0x1000"):
            Hpet(io, 0x1000).capabilities()

    play(check, **HPET)


def test_memory_that_looks_like_one_is_found_out(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        io.write32(0x1000, 0x80860001)  # one timer, 32 bits, no legacy replacement
        io.write32(0x1004, 10_000_000)
        hpet = Hpet(io, 0x1000)
        with pytest.raises(DeviceError, match="no legacy replacement"):
            hpet.enable(legacy=True)
        with pytest.raises(DeviceError, match="timer 0 can interrupt nowhere"):
            hpet.route(0)
        with pytest.raises(DeviceError, match="timer 0 does not repeat"):
            hpet.start_periodic(0, 100)
        with pytest.raises(ValueError, match="does not fit the counter of 32 bits"):
            hpet.set_counter(1 << 32)
        hpet.set_counter(0xFFFFFFFF)
        assert hpet.counter() == 0xFFFFFFFF

    play(check, **HPET)


def test_the_counter_goes_with_the_time_while_it_is_enabled(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        assert not hpet.is_enabled
        hpet.set_counter(1000)
        await io.pause(0.001)
        assert hpet.counter() == 1000
        hpet.enable()
        assert hpet.is_enabled
        before, first = io.now(), hpet.counter()
        await io.pause(0.01)
        second, after = hpet.counter(), io.now()
        assert 0.0099 <= (second - first) / hpet.hertz <= after - before + 0.001
        hpet.disable()
        halted = hpet.counter()
        await io.pause(0.001)
        assert hpet.counter() == halted
        assert halted >= second

    play(check, **HPET)


def test_64_bits_are_read_as_one(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.set_counter(0x1_FFFF_0000)
        assert hpet.counter() == 0x1_FFFF_0000
        hpet.enable()
        values: list[int] = []
        while not values or values[-1] < 0x2_0000_8000:
            values.append(hpet.counter())
            await io.pause(1e-6)
        assert all(earlier <= later < earlier + 0x1000_0000 for earlier, later in pairwise(values))
        with pytest.raises(RuntimeError, match=r"disable\(\) comes before"):
            hpet.set_counter(0)

    play(check, **HPET)


def test_a_high_half_that_is_different_at_each_look_is_an_error(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.capabilities()

        class Wild(Hpet):
            looks = 0

            def _in(self, register: int) -> int:
                if register == 0xF4:
                    self.looks += 1
                    return self.looks
                return super()._in(register)

        with pytest.raises(DeviceError, match="changes with every look, last 0x"):
            Wild(io).counter()

    play(check, **HPET)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("to", [8, 16, 23])
def test_a_timer_interrupts_once_where_it_is_routed(play: Play, number: int, to: int) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable()
        line = hpet.route(number, to)
        assert line == to
        assert hpet.timer(number).route == to
        io.lines.attach(line)
        begun = io.now()
        ticks = hpet.start(number, 500_000)
        assert hpet.timer(number).is_enabled
        await io.pause(0.02)
        got = await receive(Interrupt, timeout=5)
        assert got.line == line
        assert got.at - begun >= 0.005
        if ticks == 500_000:  # else the test was stopped for longer than that in between
            assert await receive_or_none() == 0

    play(check, **HPET)


def test_input_2_is_the_line_0(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable()
        assert hpet.route(1) == 0
        Pit(io).start(0, Mode.TERMINAL_COUNT, 65536)  # low for 55 ms: QEMU's is at this line, and runs from the beginning
        io.lines.attach(0)
        hpet.start(1, 1000)
        await io.pause(0.001)
        await receive(Interrupt, timeout=5)

    play(check, **HPET)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_periods_interrupt_until_it_is_stopped(play: Play, number: int) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.set_counter(0xFFFF_0000)  # the comparator's 32 bits go round on the way
        hpet.enable()
        io.lines.attach(hpet.route(number, 20))
        begun = io.now()
        hpet.start_periodic(number, hpet.ticks(0.001))
        assert hpet.timer(number).is_periodic
        await io.pause(0.05)
        found = [await receive(Interrupt, timeout=5) for _ in range(45)]
        assert all(later.number == earlier.number + 1 and later.at >= earlier.at for earlier, later in pairwise(found))
        assert io.now() - begun >= 0.044
        if io.name == "portbus":  # of QEMU it is not known when an interrupt came, but when it was heard of
            assert found[-1].at - found[0].at == pytest.approx(0.044, abs=1e-7)
        hpet.stop(number)
        assert not hpet.timer(number).is_enabled
        while await receive_or_none():
            continue  # these had come before
        await io.pause(0.005)
        assert await receive_or_none() == 0

    play(check, **HPET)


async def receive_or_none() -> int:
    """The number of an interrupt that has come, or 0."""
    try:
        got: Interrupt = await receive(Interrupt, timeout=0.02)
        return got.number
    except TimeoutError:
        return 0


def test_after_a_period_it_can_be_once_again(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable()
        line = hpet.route(0, 16)
        hpet.start_periodic(0, 1_000_000)
        hpet.stop(0)
        io.lines.attach(line)
        ticks = hpet.start(0, 1_000_000)
        await io.pause(0.03)
        await receive(Interrupt, timeout=5)
        assert await receive_or_none() == 0 or ticks > 1_000_000

    play(check, **HPET)


@pytest.mark.parametrize(("number", "line"), [(0, 0), (1, 8), (2, 18)])
def test_the_legacy_replacement_takes_the_first_two_timers_elsewhere(play: Play, number: int, line: int) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable(legacy=True)
        assert hpet.route(number, 18) == line
        io.lines.attach(line)
        hpet.start(number, 1000)
        await io.pause(0.001)
        assert (await receive(Interrupt, timeout=5)).line == line

    play(check, **HPET)


def test_the_legacy_replacement_cuts_the_8254_off(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        Pit(io).start_periodic(1000)
        io.lines.attach(0)
        await io.pause(0.005)
        await receive(Interrupt, timeout=5)
        hpet.enable(legacy=True)
        while await receive_or_none():
            continue  # these had come before
        await io.pause(0.005)
        assert await receive_or_none() == 0
        hpet.route(0)
        hpet.start(0, 1_000_000)
        await io.pause(0.02)
        await receive(Interrupt, timeout=5)
        hpet.enable()
        await io.pause(0.005)
        for _ in range(3):
            await receive(Interrupt, timeout=5)

    play(check, [("pit",), ("hpet", 7)], machine="q35")


def test_a_level_stays_until_it_is_acknowledged(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable()
        line = hpet.route(2, 21, level=True)
        io.lines.attach(line)
        assert hpet.timer(2).is_level
        for _ in range(3):
            hpet.start(2, 1_000_000)
            await io.until(hpet.pending, 5, "the level")
            assert hpet.pending() == (2,)
            await receive(Interrupt, timeout=5)
            hpet.acknowledge(2)
            assert hpet.pending() == ()

    play(check, **HPET)


def test_a_level_that_is_not_acknowledged_is_no_second_interrupt(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable()
        io.lines.attach(hpet.route(0, 21, level=True))
        hpet.start_periodic(0, hpet.ticks(0.001))
        await io.until(hpet.pending, 5, "the level")
        before = (await receive(Interrupt, timeout=5)).number
        while number := await receive_or_none():
            before = number  # setting it may have taken longer than a period
        await io.pause(0.01)
        assert await receive_or_none() == 0
        hpet.acknowledge(0)
        await io.pause(0.003)
        assert (await receive(Interrupt, timeout=5)).number == before + 1

    play(check, **HPET)


def test_nothing_interrupts_while_it_is_disabled(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable()
        io.lines.attach(hpet.route(0, 16))
        hpet.disable()
        hpet.start(0, 1_000_000)
        await io.pause(0.03)
        assert await receive_or_none() == 0
        hpet.enable()
        await io.pause(0.03)
        assert (await receive(Interrupt, timeout=5)).number == 1

    play(check, **HPET)


def test_a_time_that_passes_before_the_timer_is_set_is_not_waited_for_in_vain(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        hpet.enable()
        io.lines.attach(hpet.route(0, 16))
        for _ in range(10):
            hpet.start(0, 1)  # 10 ns: an access to QEMU takes 2000 of these
            await io.pause(0.001)
            await receive(Interrupt, timeout=5)

    play(check, **HPET)


def test_what_it_cannot_do(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        hpet = Hpet(io)
        for ticks in (0, -1, 1 << 31):
            with pytest.raises(ValueError, match="expected 1 to 2147483647"):
                hpet.start(0, ticks)
            with pytest.raises(ValueError, match="expected 1 to 2147483647"):
                hpet.start_periodic(0, ticks)
        for number in (3, -1):
            with pytest.raises(ValueError, match="expected 0 to 2"):
                hpet.start(number, 1)
            with pytest.raises(ValueError, match="expected 0 to 2"):
                hpet.acknowledge(number)
        with pytest.raises(ValueError, match=r"timer 0 of the HPET to 3: expected one of \(2, 8, 16"):
            hpet.route(0, 3)
        with pytest.raises(ValueError, match="does not fit the counter of 64 bits"):
            hpet.set_counter(-1)

    play(check, **HPET)


def test_a_timer_of_32_bits_interrupts_at_its_time_and_does_not_repeat() -> None:
    async def check(io: PortBus) -> None:
        hpet = Hpet(io)
        hpet.set_counter(0x5_FFFF_FF00)
        hpet.enable()
        assert [hpet.timer(each)[:2] for each in range(3)] == [(True, True), (False, False), (False, False)]
        with pytest.raises(DeviceError, match="timer 1 does not repeat"):
            hpet.start_periodic(1, 1000)
        line = hpet.route(1, 17)
        io.lines.attach(line)
        begun = io.now()
        hpet.start(1, 1000)  # past the wrap of its 32 bits
        await io.pause(0.001)
        assert (await receive(Interrupt, timeout=0)).at - begun == pytest.approx(10e-6, abs=1e-9)
        io.advance(2**32 * 10e-9)  # and once more when they have gone round
        assert (await receive(Interrupt, timeout=0)).at - begun == pytest.approx(2**32 * 10e-9 + 10e-6, abs=1e-8)
        hpet.stop(1)

    with_narrow_timers(check)


def test_the_model_keeps_no_route_that_it_has_not() -> None:
    async def check(io: PortBus) -> None:
        hpet = Hpet(io)
        hpet.route(0, 16)
        io.write32(BASE + 0x100, 3 << 9)
        assert hpet.timer(0).route == 16

    with_narrow_timers(check)


def test_a_counter_that_runs_away_is_an_error() -> None:
    async def check(io: PortBus) -> None:
        class Fast(Hpet):
            def counter(self) -> int:
                io.advance(30)
                return super().counter()

        hpet = Fast(io)
        hpet.enable()
        for act in (hpet.start, hpet.start_periodic):
            with pytest.raises(DeviceError, match="further than timer 0"):
                act(0, 1 << 30)  # 11 s

    with_narrow_timers(check)


def test_a_level_that_has_come_while_the_timer_was_stopped_does_not_interrupt_when_it_is_started() -> None:
    async def check(io: PortBus) -> None:
        hpet = Hpet(io)
        hpet.enable()
        for number, start in ((1, hpet.start), (0, hpet.start_periodic)):
            line = hpet.route(number, 16 + number, level=True)
            io.lines.attach(line)
            start(number, 1000)
            hpet.stop(number)
            io.advance(45)  # its 32 bits go round in 43 s
            assert number in hpet.pending()
            begun = io.now()
            start(number, 100_000)
            io.advance(0.002)
            assert (await receive(Interrupt, timeout=0)).at == pytest.approx(begun + 0.001, abs=1e-6)
            hpet.stop(number)
            hpet.acknowledge(number)

    with_narrow_timers(check)
