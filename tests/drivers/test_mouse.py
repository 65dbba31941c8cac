"""The mouse, on both machines; its reports, on none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from hands import Hands
from hypothesis import given
from hypothesis import strategies as st
from machines import Play

from beamlike import receive, run
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.i8042 import I8042, Port
from drivers.devices.mouse import RATES, Buttons, Kind, Mouse, MouseDecoder, MouseEvent
from drivers.models.i8042 import I8042Model

MODELS = [I8042Model]
DATA = 0x60
NONE = Buttons(0)


def with_mouse(check: Callable[[Mouse, Hands], Awaitable[None]], starts: bool = True) -> Callable[[IoSpace], Awaitable[None]]:
    async def begin(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start()
        mouse = Mouse(controller)
        if starts:
            await mouse.start()
        await check(mouse, Hands(io))

    return begin


def on_portbus(check: Callable[[Mouse, Hands], Awaitable[None]], starts: bool = True) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.models[I8042Model] = I8042Model(bus)
        await with_mouse(check, starts)(bus)

    run(main)


async def steal(mouse: Mouse) -> int:
    """A byte that the driver does not see: it is lost."""
    controller = mouse.controller
    found = await controller.io.until(lambda: controller.take(mouse.port) or None, 1, "a byte that is not 0")
    assert found is not None
    return found


@pytest.mark.parametrize("kind", list(Kind))
def test_reset_and_the_kinds_that_it_can_be(play: Play, kind: Kind) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        await mouse.reset()
        assert await mouse.identify() is Kind.PLAIN
        assert await mouse.unlock(kind) is kind
        assert await mouse.identify() is mouse.kind is kind
        await mouse.enable()
        hands.move(4, -3, wheel=2, buttons=Buttons.LEFT | Buttons.SIDE)
        expected = Buttons.LEFT | (Buttons.SIDE if kind is Kind.EXPLORER else NONE)
        assert await mouse.read(1) == MouseEvent(4, -3, 2 if kind else 0, expected, False)

    play(with_mouse(check, starts=False), MODELS)


@pytest.mark.parametrize(("dx", "dy"), [(5, 0), (-5, 0), (0, 5), (0, -5), (127, -127), (-127, 127), (1, 1), (-1, -1)])
def test_moves_have_their_directions(play: Play, dx: int, dy: int) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        hands.move(dx, dy)
        assert await mouse.read(1) == MouseEvent(dx, dy, 0, NONE, False)
        assert mouse.poll() is None

    play(with_mouse(check), MODELS)


def test_the_wheel_turns_both_ways(play: Play) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        for wheel in (1, -1, 3, -4):
            hands.move(wheel=wheel)
            assert (await mouse.read(1)).wheel == wheel

    play(with_mouse(check), MODELS)


@pytest.mark.parametrize("button", list(Buttons))
def test_each_button_is_held_and_let_go(play: Play, button: Buttons) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        hands.move(buttons=button)
        assert (await mouse.read(1)).buttons == button
        hands.move(1)
        assert (await mouse.read(1)).buttons == NONE

    play(with_mouse(check), MODELS)


def test_a_long_way_is_not_longer_than_it_was(play: Play) -> None:
    # QEMU makes several reports of it, and none overflows. A mouse says what fits its nine bits, that it was more, and forgets the rest.
    async def check(mouse: Mouse, hands: Hands) -> None:
        hands.move(300, -300)
        found = [await mouse.read(1)]
        if mouse.controller.io.name == "portbus":
            assert found == [MouseEvent(255, -256, 0, NONE, True)]
            return
        while sum(event.dx for event in found) < 300:
            found.append(await mouse.read(1))
        assert (sum(event.dx for event in found), sum(event.dy for event in found)) == (300, -300)
        assert not any(event.is_overflow for event in found)

    play(with_mouse(check), MODELS)


def test_reports_are_interrupts(play: Play) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        io: Any = mouse.controller.io
        io.lines.attach(12)
        hands.move(1, 2)
        event = None
        while event is None:
            await io.pause(0.002)
            assert (await receive(Interrupt, timeout=5)).line == 12
            event = mouse.poll()
        assert (event.dx, event.dy) == (1, 2)

    play(with_mouse(check), MODELS)


@pytest.mark.parametrize("how_many", [1, 2, 3])
def test_the_report_after_a_lost_byte_is_right(play: Play, how_many: int) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        hands.move(2, 3, wheel=1)
        for _ in range(how_many):
            await steal(mouse)
        with pytest.raises(DeviceTimeoutError):  # what was left is no report
            await mouse.read(0.05)
        for step in range(1, 4):
            hands.move(step, -step)
            assert await mouse.read(1) == MouseEvent(step, -step, 0, NONE, False)
        assert mouse.resyncs == 1

    play(with_mouse(check), MODELS)


def test_poll_says_that_a_byte_was_lost_and_resync_helps(play: Play) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        hands.move(2, 3)
        await steal(mouse)
        await mouse.controller.io.until(lambda: mouse.poll() or mouse.is_lost, 1, "the rest")
        assert mouse.is_lost
        hands.move(7)
        assert mouse.poll() is None
        await mouse.resync()
        assert not mouse.is_lost
        hands.move(9)
        assert (await mouse.read(1)).dx == 9

    play(with_mouse(check), MODELS)


def test_a_mouse_that_is_off_says_nothing(play: Play) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        await mouse.disable()
        hands.move(5)
        with pytest.raises(DeviceTimeoutError, match=r"a report of the mouse: not within 0\.02 s"):
            await mouse.read(0.02)
        await mouse.enable()
        hands.move(6)
        assert (await mouse.read(1)).dx == 6

    play(with_mouse(check), MODELS)


def test_settings_are_read_back_while_it_reports(play: Play) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        for rate in RATES:
            hands.move(rate)
            await mouse.set_rate(rate)
            assert (await mouse.state()).rate == rate
        for counts in (1, 2, 4, 8):
            await mouse.set_resolution(counts)
            assert (await mouse.state()).resolution == counts
        for is_doubled in (True, False):
            await mouse.set_scaling(is_doubled)
            assert (await mouse.state()).is_doubled is is_doubled
        state = await mouse.state()
        assert (state.is_enabled, state.is_remote) == (True, False)
        hands.move(3)
        assert (await mouse.read(1)).dx == 3

    play(with_mouse(check), MODELS)


@pytest.mark.parametrize("button", [Buttons.LEFT, Buttons.RIGHT, Buttons.MIDDLE])
def test_its_state_has_the_buttons(play: Play, button: Buttons) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        hands.move(buttons=button)
        await mouse.read(1)
        assert (await mouse.state()).buttons == (NONE if mouse.controller.io.name == "qemu" else button)  # QEMU's never says

    play(with_mouse(check), MODELS)


def test_wrong_settings(play: Play) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        with pytest.raises(ValueError, match="70 reports a second: expected one of"):
            await mouse.set_rate(70)
        with pytest.raises(ValueError, match="70 reports a second"):
            await mouse.start(rate=70)
        with pytest.raises(ValueError, match="3 counts a millimetre: expected one of"):
            await mouse.set_resolution(3)
        hands.move(1)
        assert (await mouse.read(1)).dx == 1

    play(with_mouse(check), MODELS)


# What follows is for the port bus only: QEMU's mouse reports at once, is always there, and does not fail.


def test_it_reports_as_often_as_it_was_told() -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        io = mouse.controller.io
        await mouse.set_rate(20)
        at, total = [], 0
        for _ in range(40):
            hands.move(1)
            await io.pause(0.01)
            if event := mouse.poll():
                at.append(io.now())
                total += event.dx
        while total < 40:
            total += (await mouse.read(1)).dx
        assert all(later - earlier == pytest.approx(0.05, abs=0.011) for earlier, later in pairwise(at))
        assert len(at) >= 6

    on_portbus(check)


@pytest.mark.parametrize(("moved", "counted"), [(1, 1), (2, 1), (3, 3), (-4, -6), (5, 9), (20, 40)])
def test_doubled_scaling_counts_fast_moves_double(moved: int, counted: int) -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        await mouse.set_scaling(True)
        hands.move(moved)
        assert (await mouse.read(1)).dx == counted

    on_portbus(check)


def test_a_reset_that_fails_and_no_mouse() -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        assert hands.model is not None
        hands.model.attach(Port.AUX, fails=True)
        with pytest.raises(DeviceError, match="port AUX says fc 00 after its reset: expected aa 00"):
            await mouse.reset()
        hands.model.unplug(Port.AUX)
        with pytest.raises(DeviceAbsentError, match="no device on port AUX"):
            await mouse.start()

    on_portbus(check, starts=False)


@pytest.mark.parametrize("act", [Mouse.start, Mouse.resync, Mouse.state])
def test_a_report_that_looks_as_an_acknowledgement_is_none(act: Callable[[Mouse], Awaitable[object]]) -> None:
    """Its second byte, -6, is on the wire, and through it a moment sooner or later, when the mouse is told something."""

    async def check(mouse: Mouse, hands: Hands) -> None:
        bus, controller = mouse.controller.io, mouse.controller
        for microseconds in range(970, 1010, 2):
            await mouse.start()
            await bus.pause(0.05)
            hands.move(-6, 0)
            await bus.pause(1.01e-3)
            controller.poll()
            await bus.pause(microseconds * 1e-6)
            await act(mouse)
            await bus.pause(0.05)
            hands.move(3, 4)
            assert await mouse.read(1) == MouseEvent(3, 4, 0, NONE, False)

    on_portbus(check)


def test_answers_that_cannot_be() -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        io: Any = mouse.controller.io
        await mouse.disable()
        io.fault(Fault.ONES, DATA, mask=0x50, skip=1, count=1)
        with pytest.raises(DeviceError, match="calls itself 0x54"):
            await mouse.identify()
        io.repair()
        io.fault(Fault.ONES, DATA, mask=0x50, skip=2, count=1)
        with pytest.raises(DeviceError, match="says 82 for its resolution"):
            await mouse.state()

    on_portbus(check)


def test_a_mouse_that_stops_in_the_midst_of_a_report() -> None:
    async def check(mouse: Mouse, hands: Hands) -> None:
        io: Any = mouse.controller.io
        hands.move(5)
        io.advance(0.0015)
        mouse.poll()
        io.fault(Fault.ZEROS, 0x64, mask=0x01)
        with pytest.raises(DeviceTimeoutError, match="a report of the mouse"):
            await mouse.read(0.1)
        io.repair()
        assert (await mouse.read(1)).dx == 5

    on_portbus(check)


# What follows needs no machine.

NINE_BITS = st.integers(-256, 255)


@given(st.sampled_from(list(Kind)), st.lists(st.tuples(NINE_BITS, NINE_BITS, st.integers(-8, 7), st.integers(0, 31), st.booleans())))
def test_reports_are_decoded_as_they_were_made(kind: Kind, reports: list[tuple[int, int, int, int, bool]]) -> None:
    decoder = MouseDecoder(kind)
    for dx, dy, wheel, buttons, is_overflow in reports:
        report = [buttons & 7 | 8 | (dx < 0) << 4 | (dy < 0) << 5 | is_overflow << 6, dx & 0xFF, dy & 0xFF]
        if kind is Kind.WHEEL:
            report.append(wheel & 0xFF)
        elif kind is Kind.EXPLORER:
            report.append(wheel & 0x0F | buttons << 1 & 0x30)
        *early, last = [decoder.feed(byte) for byte in report]
        assert early == [None] * len(early)
        held = Buttons(buttons if kind is Kind.EXPLORER else buttons & 7)
        assert last == MouseEvent(dx, dy, wheel if kind else 0, held, is_overflow)


@given(st.sampled_from(list(Kind)), st.binary())
def test_after_any_garbage_it_can_begin_again(kind: Kind, garbage: bytes) -> None:
    decoder = MouseDecoder(kind)
    for byte in garbage:
        decoder.feed(byte)
    decoder.begin()
    assert [event for byte in (8, 1, 2, 0)[: 3 if kind is Kind.PLAIN else 4] if (event := decoder.feed(byte))] == [
        MouseEvent(1, 2, 0, NONE, False)
    ]


@pytest.mark.parametrize(("kind", "first"), [(Kind.PLAIN, "07"), (Kind.WHEEL, "f7"), (Kind.EXPLORER, "08 01 02 40")])
def test_a_byte_that_cannot_be_there_is_noticed(kind: Kind, first: str) -> None:
    decoder = MouseDecoder(kind)
    for byte in bytes.fromhex(first):
        assert decoder.feed(byte) is None
    assert decoder.is_lost
    assert decoder.feed(8) is None
