"""The interrupt controllers, on both machines.

Lines are moved by the model on the port bus, and on QEMU by serial ports, which interrupt while their empty transmitter may.

QEMU's device is not the data sheet's in one thing: the request of an edge stays when its line falls before it was acknowledged, so that
there are no spurious interrupts; see `test_a_line_that_falls_too_soon_is_a_spurious_interrupt`.
"""

from __future__ import annotations

import pytest
from machines import Play

from beamlike import receive, run
from drivers import DeviceAbsentError, DeviceError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.pic import Pic
from drivers.models.pic import PicModel

UARTS = {5: 0x3F8, 7: 0x2F8, 10: 0x3E8, 15: 0x2E8}
LINES = [each for each in range(16) if each != 2]
INTERRUPT_ENABLE, TRANSMITTER_EMPTY = 1, 0x02
SERIAL = [word for line, base in UARTS.items() for word in ("-device", f"isa-serial,iobase={base:#x},irq={line}")]


def move(io: IoSpace, line: int, high: bool) -> None:
    if isinstance(io, PortBus):
        io.models[PicModel].set_line(line, high)
    else:
        io.outb(UARTS[line] + INTERRUPT_ENABLE, TRANSMITTER_EMPTY * high)


def begin(io: IoSpace, *unmasked: int) -> Pic:
    pic = Pic(io)
    pic.initialise()
    for line in unmasked:
        pic.unmask(line)
    return pic


def test_all_lines_are_masked_at_first(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        assert begin(io).masked == set(LINES)

    play(check, [PicModel])


def test_lines_are_masked_one_by_one(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io)
        for line in LINES:
            pic.unmask(line)
            assert pic.masked == set(LINES) - {line}
            pic.mask(line)
            assert pic.masked == set(LINES)

    play(check, [PicModel])


@pytest.mark.parametrize("line", UARTS)
def test_an_interrupt_is_requested_then_in_service_then_over(play: Play, line: int) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io, line)
        move(io, line, True)
        assert pic.requested & set(UARTS) == {line}
        assert pic.poll() == line
        assert not pic.requested & set(UARTS)
        assert pic.in_service == {line}
        pic.end(line)
        assert not pic.in_service
        assert pic.poll() is None
        for _ in range(2):  # the cascade has ended, too
            move(io, line, False)
            move(io, line, True)
            assert pic.poll() == line
            pic.end(line)

    play(check, [PicModel], qemu=SERIAL)


def test_a_masked_request_waits(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io)
        for line in UARTS:
            move(io, line, True)
            assert pic.poll() is None
            assert line in pic.requested
            pic.unmask(line)
            assert pic.poll() == line
            pic.end(line)

    play(check, [PicModel], qemu=SERIAL)


def test_the_highest_priority_comes_first_and_into_lower_ones(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io, *UARTS)
        for line in (5, 7, 15):
            move(io, line, True)
        assert pic.poll() == 15  # the slave is on line 2
        assert pic.poll() is None
        pic.end(15)
        assert pic.poll() == 5
        move(io, 10, True)
        assert pic.poll() == 10
        assert pic.in_service == {5, 10}
        pic.end_highest(slave=True)
        assert pic.in_service == {5}
        assert pic.poll() is None
        pic.end_highest()
        assert pic.poll() == 7
        pic.end_highest()
        assert not pic.in_service

    play(check, [PicModel], qemu=SERIAL)


def test_an_edge_interrupts_once_and_a_level_as_long_as_it_lasts(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io, *UARTS)
        for line in (5, 10):
            assert not pic.level_triggered
            move(io, line, True)
            assert pic.poll() == line
            pic.end(line)
            assert pic.poll() is None
            pic.set_level_triggered(line, True)
            assert pic.level_triggered == {line}
            move(io, line, False)
            move(io, line, True)
            for _ in range(3):
                assert pic.poll() == line
                assert line in pic.requested
                assert pic.poll() is None
                pic.end(line)
            move(io, line, False)
            assert pic.poll() is None
            pic.set_level_triggered(line, False)

    play(check, [PicModel], qemu=SERIAL)


def test_7_and_15_are_spurious_if_they_are_not_in_service(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io, *UARTS)
        for line in (7, 15):
            assert pic.is_spurious(line)
            move(io, line, True)
            assert pic.poll() == line
            assert not pic.is_spurious(line)
            pic.end(line)
        assert not pic.is_spurious(5)

    play(check, [PicModel], qemu=SERIAL)


def test_initialising_forgets_what_was(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io, *UARTS)
        move(io, 5, True)
        assert pic.poll() == 5
        move(io, 10, True)
        pic.initialise()
        assert not pic.in_service
        assert not pic.requested & set(UARTS)

    play(check, [PicModel], qemu=SERIAL)


def test_who_listens_gets_masked_interrupts_too(play: Play) -> None:
    """Interrupts as messages come from the lines, as to an I/O APIC, and not through these controllers."""

    async def check(io: IoSpace) -> None:
        pic = begin(io)
        io.lines.attach(5)
        move(io, 5, True)
        assert 5 in pic.requested
        event = await receive(Interrupt, timeout=5)
        assert (event.line, event.number) == (5, 1)

    play(check, [PicModel], qemu=SERIAL)


# --- with a processor: QEMU's sleeps, and acknowledges nothing ---


def test_vectors_are_those_that_were_set() -> None:
    async def check() -> None:
        bus = PortBus()
        model = bus.models[PicModel] = PicModel(bus)
        pic = Pic(bus)
        pic.initialise(0x40, 0x78)
        for line in LINES:
            pic.unmask(line)
            assert not model.asks
            move(bus, line, True)
            assert model.asks
            assert model.acknowledge() == (0x40 + line if line < 8 else 0x70 + line)
            assert pic.in_service == {line}
            pic.end(line)

    run(check)


def test_a_line_that_falls_too_soon_is_a_spurious_interrupt() -> None:
    async def check() -> None:
        bus = PortBus()
        model = bus.models[PicModel] = PicModel(bus)
        pic = begin(bus, *UARTS)
        for line in UARTS:
            move(bus, line, True)
            move(bus, line, False)
            assert not pic.requested
            assert model.acknowledge() == 0x27
            assert pic.is_spurious(7)
            assert pic.poll() is None

    run(check)


def test_a_spurious_15_leaves_nothing_in_service() -> None:
    async def check() -> None:
        bus = PortBus()
        bus.models[PicModel] = PicModel(bus)
        pic = begin(bus, *UARTS)
        move(bus, 10, True)
        bus.fault(Fault.ZEROS, 0xA0, count=1)  # the slave has forgotten it when it is polled
        assert pic.poll() is None
        assert bus.inb(0x20) & 4 == 0
        pic.end(10)
        move(bus, 15, True)
        assert pic.poll() == 15

    run(check)


# --- bad input, and faults, which QEMU's devices have not ---


def test_lines_and_vectors_that_there_are_not(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pic = begin(io)
        for line in (-1, 2, 16):
            for act in (pic.mask, pic.unmask, pic.end, pic.is_spurious):
                with pytest.raises(ValueError, match="expected 0 to 15"):
                    act(line)
        for offset in (1, -8, 0x100):
            with pytest.raises(ValueError, match="a multiple of 8"):
                pic.initialise(offset, 0x28)
            with pytest.raises(ValueError, match="a multiple of 8"):
                pic.initialise(0x20, offset)
        for line in (0, 1, 8, 13):
            with pytest.raises(ValueError, match="always edge triggered"):
                pic.set_level_triggered(line, True)

    play(check, [PicModel])


def test_no_controllers_are_told() -> None:
    async def check() -> None:
        pic = Pic(PortBus())
        with pytest.raises(DeviceAbsentError, match="no 8259 at port 0x20"):
            pic.initialise()
        with pytest.raises(DeviceAbsentError, match="no 8259 at port 0x20"):
            pic.poll()
        bus = PortBus()
        PicModel(bus)
        bus.fault(Fault.MISSING, range(0xA0, 0xA2))
        with pytest.raises(DeviceAbsentError, match="no 8259 at port 0xa0"):
            Pic(bus).initialise()

    run(check)


@pytest.mark.parametrize("kind", [Fault.LOSE, Fault.ZEROS])
def test_masks_that_do_not_hold_are_told(kind: Fault) -> None:
    async def check() -> None:
        bus = PortBus()
        PicModel(bus)
        bus.fault(kind, 0x21)
        with pytest.raises(DeviceError, match="its mask is 0x00, then 0x00"):
            Pic(bus).initialise()

    run(check)


def test_any_accesses_leave_the_model_whole() -> None:
    async def check() -> None:
        bus = PortBus()
        model = bus.models[PicModel] = PicModel(bus)
        for step in range(5000):
            mixed = step * 2654435761 % 2**32
            port = (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1)[mixed % 6]
            width = (1, 2, 4)[(mixed >> 4) % 3]
            bus.port_out(port, width, mixed >> 8 & 0xFF)
            bus.port_in(port, width)
            move(bus, mixed >> 16 & 15, bool(mixed >> 20 & 1))
            model.acknowledge()
        for line in LINES:
            move(bus, line, False)
        pic = begin(bus, 5)
        move(bus, 5, True)
        assert pic.poll() == 5

    run(check)
