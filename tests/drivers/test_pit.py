"""The timer and the speaker, on both machines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from machines import Play, everywhere

from beamlike import receive
from drivers import Interrupt, IoSpace
from drivers.devices.pit import HERTZ, Mode, Pit, Speaker

PIT = [("pit",)]
pytestmark = everywhere


def test_what_was_set_is_read_back(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        for counter in range(3):
            for mode in Mode:
                pit.start(counter, mode, 5000)
                assert pit.status(counter).mode is mode

    play(check, PIT)


@pytest.mark.parametrize("mode", [Mode.TERMINAL_COUNT, Mode.RATE, Mode.SOFTWARE_STROBE])
def test_it_counts_down_with_the_time(play: Play, mode: Mode) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        pit.start(0, mode, 60000)
        before, first = io.now(), pit.read(0)
        await io.pause(0.01)
        second, after = pit.read(0), io.now()
        assert (first - second) / HERTZ + 2e-6 >= 0.01
        assert (first - second) / HERTZ <= after - before + 0.001

    play(check, PIT)


def test_the_square_wave_counts_by_two(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        pit.start(0, Mode.SQUARE_WAVE, 60000)
        assert {pit.read(0) & 1 for _ in range(8)} == {0}

    play(check, PIT)


def test_the_output_rises_at_the_terminal_count(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        pit.start(0, Mode.TERMINAL_COUNT, HERTZ // 100)
        assert not pit.status(0).output
        await io.pause(0.011)
        assert pit.status(0).output

    play(check, PIT)


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


def test_counts_and_rates_that_it_cannot_do(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pit = Pit(io)
        for wrong in (18, 1_000_000, 0, -1):
            with pytest.raises(ValueError, match=r"18\.21 to 596591 Hz"):
                pit.start_periodic(wrong)
        for count in (0, 65537):
            with pytest.raises(ValueError, match="expected 1 to 65536"):
                pit.start(0, Mode.TERMINAL_COUNT, count)
        with pytest.raises(ValueError, match="expected 0, 1 or 2"):
            pit.read(3)
        assert pit.start_periodic(1000) == pytest.approx(1000, abs=0.2)

    play(check, PIT)
