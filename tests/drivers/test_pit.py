"""The timer and the speaker, on both machines.

QEMU's timer differs from the data sheet: it counts binary always; in the modes 1 and 5 it counts before its gate has risen, and in mode 1
its output is high while it counts; in the modes 0 and 4 it counts on while its gate is low.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from machines import Play, everywhere

from beamlike import receive, run
from drivers import DeviceError, Fault, Interrupt, IoSpace, Narrowed, PortBus
from drivers.devices.pit import HERTZ, Mode, Pit, Speaker, Status

PIT = [("pit",)]


@everywhere
def state(pit: Pit, counter: int) -> tuple[bool, bool]:
    """Its output, and whether its count is loaded."""
    found = pit.status(counter)
    return found.output, found.is_loaded


def test_what_was_set_is_read_back(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        for counter in range(3):
            for mode in Mode:
                for bcd in (False, True):
                    pit.start(counter, mode, 5000, bcd=bcd)
                    found = pit.status(counter)
                    assert (found.mode, found.is_bcd) == (mode, bcd)

    play(check, PIT)


@everywhere
@pytest.mark.parametrize("mode", [Mode.TERMINAL_COUNT, Mode.RATE, Mode.SOFTWARE_STROBE])
def test_it_counts_down_with_the_time(play: Play, mode: Mode) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        pit.start(0, mode, 60000)
        before, first = io.now(), pit.read(0)
        begun = io.now()
        await io.pause(0.01)
        ended = io.now()
        second, after = pit.read(0), io.now()
        period = 60000 if mode is Mode.RATE else 65536
        least, most = (ended - begun) * HERTZ - 2, (after - before) * HERTZ + 2
        passed = (first - second) % period  # and perhaps some periods, if this was held up
        assert any(least <= passed + periods * period <= most for periods in range(int(most / period) + 1))

    play(check, PIT)


@everywhere
def test_the_square_wave_counts_by_two(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        pit.start(0, Mode.SQUARE_WAVE, 60000)
        assert {pit.read(0) & 1 for _ in range(8)} == {0}

    play(check, PIT)


@everywhere
def test_the_output_rises_at_the_terminal_count(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        begun = io.now()
        pit.start(0, Mode.TERMINAL_COUNT, HERTZ // 100)
        was_high = pit.status(0).output
        assert not was_high or io.now() - begun >= 0.01  # it may have been held up
        await io.pause(0.011)
        assert pit.status(0).output

    play(check, PIT)


@everywhere
@pytest.mark.parametrize("mode", [Mode.RATE, Mode.SQUARE_WAVE])
def test_each_period_is_an_interrupt(play: Play, mode: Mode) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        pit.start(0, mode, HERTZ // 1000)
        io.lines.attach(0)
        await io.pause(0.05)
        found = [await receive(Interrupt, timeout=5) for _ in range(45)]
        assert all(later.number == earlier.number + 1 and later.at >= earlier.at for earlier, later in pairwise(found))
        assert found[-1].at - found[0].at == pytest.approx(0.044, abs=0.001 if io.name == "portbus" else 0.03)

    play(check, PIT)


@everywhere
def test_the_terminal_count_interrupts_once(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        io.lines.attach(0)
        pit.start(0, Mode.TERMINAL_COUNT, HERTZ // 1000)
        await io.pause(0.02)
        await receive(Interrupt, timeout=5)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)

    play(check, PIT)


@everywhere
def test_the_speaker_sounds_until_it_is_stopped(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        speaker = Speaker(io)
        assert speaker.play(440) == pytest.approx(440, abs=0.1)
        assert speaker.is_on
        assert speaker.pit.status(2).mode is Mode.SQUARE_WAVE
        assert speaker.pit.status(2).is_loaded
        speaker.stop()
        assert not speaker.is_on

    play(check, PIT)


@everywhere
def test_counts_and_rates_that_it_cannot_do(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        for wrong in (18, 1_000_000, 0, -1):
            with pytest.raises(ValueError, match=r"18\.21 to 596591 Hz"):
                pit.start_periodic(wrong)
        for count in (0, 65537):
            with pytest.raises(ValueError, match="expected 1 to 65536"):
                pit.start(0, Mode.TERMINAL_COUNT, count)
        with pytest.raises(ValueError, match="expected 0 to 2"):
            pit.read(3)
        assert pit.start_periodic(1000) == pytest.approx(1000, abs=0.2)

    play(check, PIT)


@everywhere
@pytest.mark.parametrize("mode", [Mode.ONE_SHOT, Mode.HARDWARE_STROBE, Mode.RATE])
def test_a_gate_that_rises_begins_the_count_anew(play: Play, mode: Mode) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        pit.set_gate(high=True)
        pit.start(2, mode, 60000)
        for _ in range(3):
            await io.pause(0.02)
            pit.set_gate(high=False)
            before = io.now()
            pit.set_gate(high=True)
            count, after = pit.read(2), io.now()
            assert 60000 - count <= (after - before) * HERTZ + 1000

    play(check, PIT)


# --- what QEMU's does otherwise ---


def on_portbus(check: Any) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        await check(bus, Pit(bus))

    run(main)


def test_a_counter_that_is_excluded_goes_on_as_it_was() -> None:
    async def check(bus: PortBus, pit: Pit) -> None:
        pit.start(2, Mode.RATE, 1000)
        others = Pit(Narrowed(bus, ((0x40, 0x42), (0x43, 0x44)), ()))
        for act in (lambda: others.start(2, Mode.TERMINAL_COUNT, 5), lambda: others.read(2), lambda: others.status(2)):
            with pytest.raises(PermissionError, match="0x42"):
                act()
        assert pit.status(2) == Status(True, True, Mode.RATE, False)
        others.start(0, Mode.RATE, 5)
        assert pit.status(2).mode is Mode.RATE

    on_portbus(check)


def test_decimal_counts_are_counted_and_read_as_numbers() -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        for mode, step in ((Mode.TERMINAL_COUNT, 1), (Mode.RATE, 1), (Mode.SQUARE_WAVE, 2)):
            pit.start(0, mode, 4321, bcd=True)
            await io.pause(1000.5 / HERTZ)  # the count arrives with the next pulse
            assert abs(pit.read(0) - (4321 - step * 1000)) <= 2 * step
        pit.start(0, Mode.TERMINAL_COUNT, 10000, bcd=True)
        await io.pause(2.5 / HERTZ)
        assert pit.read(0) in (9998, 9999)
        await io.pause(10010 / HERTZ)
        assert pit.read(0) in (9988, 9989)  # it has gone round, and goes on
        for count in (0, 10001):
            with pytest.raises(ValueError, match="expected 1 to 10000"):
                pit.start(0, Mode.TERMINAL_COUNT, count, bcd=True)

    on_portbus(check)


def test_a_decimal_count_takes_its_time() -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        io.lines.attach(0)
        pit.start(0, Mode.RATE, 1000, bcd=True)
        await io.pause(0.01)
        found = [await receive(Interrupt, timeout=0) for _ in range(10)]
        assert found[-1].at - found[0].at == pytest.approx(9 * 1000 / HERTZ, abs=2e-6)

    on_portbus(check)


def test_digits_that_are_none_are_an_error() -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        pit.start(0, Mode.RATE, 4000, bcd=True)
        io.fault(Fault.ONES, 0x40, mask=0x0F, skip=1)
        with pytest.raises(DeviceError, match=r"counter 0 shows 0x.*, expected decimal digits"):
            pit.read(0)

    on_portbus(check)


def test_an_access_of_16_bits_is_one_of_each_of_two_ports(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        for counter in (0, 1):
            pit.start(counter, Mode.SQUARE_WAVE, 0x1000 + 0x2000 * counter)
        io.outb(0x43, 0xE6)  # status of both
        assert io.inw(0x40) & 0x3F3F == 0x3636
        io.outw(0x42, 0x7000 | 0x55)  # counter 2's low byte, and then a control word for counter 1
        assert pit.status(1).mode is Mode.TERMINAL_COUNT

    play(check, PIT)


@pytest.mark.parametrize(("old", "new"), [(1000, 3000), (3000, 100)])
def test_a_new_count_counts_when_the_period_is_over(old: int, new: int) -> None:
    """QEMU's begins at once."""

    async def check(bus: PortBus, pit: Pit) -> None:
        pit.start(0, Mode.RATE, old)
        bus.advance(10.5 / HERTZ)
        bus.outsb(0x40, new.to_bytes(2, "little"))
        bus.advance((old - 10) / HERTZ)  # it was loaded one pulse after it was written
        assert state(pit, 0) == (False, False)
        bus.advance(1 / HERTZ)
        assert state(pit, 0) == (True, True)
        assert pit.read(0) == new

    on_portbus(check)


@pytest.mark.parametrize(("old", "new"), [(1000, 3000), (3000, 100)])
def test_a_new_wave_begins_with_its_other_half(old: int, new: int) -> None:
    async def check(bus: PortBus, pit: Pit) -> None:
        pit.start(0, Mode.SQUARE_WAVE, old)
        bus.advance(10.5 / HERTZ)
        bus.outsb(0x40, new.to_bytes(2, "little"))
        bus.advance((old // 2 - 10) / HERTZ)
        assert state(pit, 0) == (True, False)
        bus.advance(1 / HERTZ)
        for _ in range(2):
            assert state(pit, 0) == (False, True)
            bus.advance((new // 2 - 1) / HERTZ)
            assert not pit.status(0).output
            bus.advance(1 / HERTZ)
            assert pit.status(0).output
            bus.advance(new // 2 / HERTZ)

    on_portbus(check)


def test_a_new_count_of_a_one_shot_is_for_the_next_one() -> None:
    async def check(bus: PortBus, pit: Pit) -> None:
        pit.set_gate(high=False)
        pit.start(2, Mode.ONE_SHOT, 100)
        pit.set_gate(high=True)
        bus.advance(10.5 / HERTZ)
        bus.outsb(0x42, (50).to_bytes(2, "little"))
        bus.advance(80 / HERTZ)
        assert state(pit, 2) == (False, False)
        bus.advance(20 / HERTZ)
        assert pit.status(2).output
        pit.set_gate(high=False)
        pit.set_gate(high=True)
        bus.advance(40 / HERTZ)
        assert state(pit, 2) == (False, True)
        bus.advance(20 / HERTZ)
        assert pit.status(2).output

    on_portbus(check)


def test_a_one_shot_is_low_for_its_count_after_the_gate_has_risen() -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        pit.set_gate(high=False)
        pit.start(2, Mode.ONE_SHOT, 10000)
        await io.pause(0.02)
        assert state(pit, 2) == (True, False)
        pit.set_gate(high=True)
        assert state(pit, 2) == (False, True)
        await io.pause(0.005)
        pit.set_gate(high=False)  # its fall does nothing
        await io.pause(9990 / HERTZ - 0.005)
        assert not pit.status(2).output
        await io.pause(20 / HERTZ)
        assert pit.status(2).output

    on_portbus(check)


def test_a_one_shot_that_is_triggered_again_is_longer() -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        pit.set_gate(high=False)
        pit.start(2, Mode.ONE_SHOT, 10000)
        for _ in range(5):
            pit.set_gate(high=False)
            pit.set_gate(high=True)
            await io.pause(9900 / HERTZ)
            assert not pit.status(2).output
        await io.pause(200 / HERTZ)
        assert pit.status(2).output

    on_portbus(check)


def test_a_strobe_is_low_for_one_pulse_after_its_count() -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        pit.set_gate(high=False)
        pit.start(2, Mode.HARDWARE_STROBE, 100)
        pit.set_gate(high=True)
        low = []
        for tenth in range(1100):
            if not pit.status(2).output:
                low.append(tenth)
            await io.pause(0.1 / HERTZ)
        assert 9 <= len(low) <= 11
        assert 1000 <= low[0] <= 1021

    on_portbus(check)


@pytest.mark.parametrize("mode", [Mode.TERMINAL_COUNT, Mode.SOFTWARE_STROBE])
def test_a_gate_that_is_low_holds_the_count(mode: Mode) -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        pit.set_gate(high=True)
        pit.start(2, mode, 50000)
        await io.pause(0.01)
        pit.set_gate(high=False)
        held = pit.read(2)
        await io.pause(0.01)
        assert pit.read(2) == held
        pit.set_gate(high=True)
        await io.pause(0.01)
        assert held - pit.read(2) == pytest.approx(0.01 * HERTZ, abs=2)

    on_portbus(check)


@pytest.mark.parametrize("mode", [Mode.RATE, Mode.SQUARE_WAVE])
def test_a_gate_that_is_low_holds_a_wave_high(mode: Mode) -> None:
    async def check(io: PortBus, pit: Pit) -> None:
        pit.set_gate(high=False)
        pit.start(2, mode, 100)
        outputs = set()
        for _ in range(200):
            outputs.add(pit.status(2).output)
            await io.pause(0.7 / HERTZ)
        assert outputs == {True}
        pit.set_gate(high=True)
        for _ in range(200):
            outputs.add(pit.status(2).output)
            await io.pause(0.7 / HERTZ)
        assert outputs == {True, False}

    on_portbus(check)


class KilledError(Exception):
    pass


class Killing(PortBus):
    """Whoever makes more accesses than are left ends there."""

    left = 100

    def _count(self) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1

    def inb(self, port: int) -> int:
        self._count()
        return super().inb(port)

    def outb(self, port: int, value: int) -> None:
        self._count()
        super().outb(port, value)

    def block_in(self, port: int, width: int, count: int) -> bytes:
        self._count()
        return super().block_in(port, width, count)

    def block_out(self, port: int, width: int, data: bytes) -> None:
        self._count()
        super().block_out(port, width, data)


@pytest.mark.parametrize("accesses", range(5))
def test_who_is_killed_in_the_middle_leaves_no_half_of_a_count(accesses: int) -> None:
    async def main() -> None:
        bus = Killing()
        bus.plug("pit")
        Pit(bus).start(0, Mode.TERMINAL_COUNT, 0x1234)
        bus.left = accesses
        with suppress(KilledError):
            Pit(bus).read(0)
        bus.left = 100
        assert [Pit(bus).read(0) for _ in range(3)] == [0x1234] * 3
        bus.left = accesses
        with suppress(KilledError):
            Pit(bus).start(0, Mode.TERMINAL_COUNT, 0x5678)
        bus.left = 100
        Pit(bus).start(0, Mode.TERMINAL_COUNT, 0x9ABC)
        assert Pit(bus).read(0) == 0x9ABC

    run(main)


def test_where_there_is_none() -> None:
    for act in (lambda: Pit(PortBus()).status(0), lambda: Pit(PortBus()).read(0)):
        with pytest.raises(DeviceError, match="counter 0"):
            act()


def test_the_counters_of_a_driver_are_those_that_it_has() -> None:
    async def check(bus: PortBus, pit: Pit) -> None:
        with pytest.raises(ValueError, match="2 is no counter of this driver: expected 0 to 1"):
            Pit(bus, counters=2).start(2, Mode.RATE, 100)

    on_portbus(check)
