"""The UART, on both machines.

QEMU's differs from a chip: it sends at once and with eight bits, whatever rate and format are; it takes from its far end what fits, so
there is an overrun only in a loop; each byte that has gone interrupts; a break is shown with the byte that is read next; it does not look
at OUT2, and interrupts in a loop, too; its modem lines do not move.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from machines import Play

from beamlike import receive, run, spawn_link
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.uart import Event, Kind, LineFault, Modem, Parity, Received, Source, Uart, find
from drivers.models.uart import BREAK, CARRIER, CTS, DSR, DTR, RING, RTS, UartModel

COM1: dict[str, Any] = {"models": [UartModel], "qemu": ["-device", "isa-serial,chardev=com1"], "channels": ["com1"]}


class Peer:
    """The other end of the wire."""

    def __init__(self, io: Any) -> None:
        self.io = io
        self.model: UartModel | None = io.models[UartModel] if io.name == "portbus" else None
        self.socket: socket.socket | None = None if self.model else io.channels["com1"]
        self.had = bytearray()

    def feed(self, data: bytes) -> None:
        if self.model:
            self.model.feed(data)
        elif self.socket:
            self.socket.sendall(data)

    async def expect(self, data: bytes) -> None:
        """It is this that comes."""
        await self.io.until(lambda: len(self._all()) >= len(data), 30, lambda: f"got {self.had!r}")
        assert bytes(self.had) == data
        self.had.clear()

    def _all(self) -> bytearray:
        if self.model:
            self.had += self.model.taken()
        elif self.socket:
            self.socket.setblocking(False)
            with suppress(BlockingIOError):  # nothing has come yet: `expect` looks again
                self.had += self.socket.recv(65536)
        return self.had


async def some(uart: Uart, count: int) -> Received:
    """What is read until there are so many bytes."""
    data = b""
    faults: tuple[tuple[int, LineFault], ...] = ()
    while len(data) < count:
        part = await uart.read(count - len(data), 5)
        faults += tuple((len(data) + at, fault) for at, fault in part.faults)
        data += part.data
    return Received(data, faults)


def test_a_pc_has_a_16550a_and_it_stays_as_it_was(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart = Uart(io)
        uart.configure(1200, 7, Parity.EVEN, 2)
        uart.set_lines(dtr=True, rts=False)
        uart.enable(Source.RECEIVED | Source.LINE)
        before = [io.inb(0x3F8 + each) for each in (1, 3, 4)]
        assert uart.detect() is Kind.UART_16550A
        assert [io.inb(0x3F8 + each) for each in (1, 3, 4)] == before
        assert [(each.base, irq, kind) for each, irq, kind in find(io)] == [(0x3F8, 4, Kind.UART_16550A)]

    play(check, **COM1)


@pytest.mark.parametrize(("register", "value"), [(3, 0x83), (4, 0x1A)])
def test_who_is_killed_in_the_middle_leaves_neither_a_loop_nor_the_divisor(play: Play, register: int, value: int) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        io.outb(0x3F8 + register, value)
        assert uart.detect() is Kind.UART_16550A
        assert io.inb(0x3FB) & 0x80 == 0
        uart.configure(115200)
        await uart.write(b"out", 5)
        await peer.expect(b"out")
        assert uart.try_read() == Received(b"")

    play(check, **COM1)


def test_where_nothing_answers_is_no_uart(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart = Uart(io)
        with pytest.raises(DeviceAbsentError, match=r"no UART at 0x3f8: 0xff, 0xff, 0xf0, expected"):
            uart.detect()
        for act in (uart.try_read, uart.room, lambda: uart.try_write(b"x")):
            with pytest.raises(DeviceAbsentError):
                act()
        with pytest.raises(DeviceAbsentError):
            await uart.write(b"x", 1)
        with pytest.raises(DeviceError, match="no UART"):
            uart.interrupt()
        with pytest.raises(DeviceError, match="it keeps the divisor 65535 and not 12"):
            uart.configure(9600)
        assert find(io) == []

    play(check, [])


def test_memory_is_no_uart(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="expected 0x0, 0xd, 0x90"):
            Uart(io, 0x40).detect()  # the timer, which answers, but otherwise

    play(check, [("pit",)])


@pytest.mark.parametrize(
    ("baud", "bits", "parity", "stop"),
    [
        (115200, 8, Parity.NONE, 1),
        (9600, 7, Parity.ODD, 2),
        (110, 5, Parity.MARK, 1.5),
        (50, 6, Parity.SPACE, 1),
        (57600, 8, Parity.EVEN, 2),
    ],
)
def test_rates_and_formats_are_kept(play: Play, baud: float, bits: int, parity: Parity, stop: float) -> None:
    async def check(io: IoSpace) -> None:
        assert Uart(io).configure(baud, bits, parity, stop) == pytest.approx(baud, rel=0.03)
        assert io.inb(0x3FB) == bits - 5 | (stop != 1) << 2 | parity

    play(check, **COM1)


def test_what_it_cannot_be_set_to(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart = Uart(io)
        for baud in (0, -1, 1, 100_000, 230_400):
            with pytest.raises(ValueError, match="115200 by a whole number"):
                uart.configure(baud)
        for bits, stop in ((4, 1), (9, 1), (8, 1.5), (5, 2), (8, 0)):
            with pytest.raises(ValueError, match="expected 5 bits and 1 or"):
                uart.configure(9600, bits, Parity.NONE, stop)
        with pytest.raises(ValueError, match="expected 1, 4, 8, 14 or None"):
            uart.use_fifo(16)
        with pytest.raises(ValueError, match="expected at least 1"):
            await uart.read(0, 1)

    play(check, **COM1)


@pytest.mark.parametrize("trigger", [None, 1, 4, 8, 14])
def test_bytes_go_both_ways(play: Play, trigger: int | None) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(9600)  # slow enough to be read byte by byte
        uart.use_fifo(trigger)
        every = bytes(range(256))
        await uart.write(every, 5)
        await peer.expect(every)
        peer.feed(every)
        assert await some(uart, 256) == Received(every, ())
        assert uart.try_read() == Received(b"", ())

    play(check, **COM1)


def test_it_takes_what_fits_and_no_more(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        assert uart.room() == 1
        assert uart.try_write(b"") == 0
        assert uart.try_write(b"abc") == 1
        await uart.drain(1)
        uart.use_fifo()
        assert uart.room() == 16
        assert uart.try_write(b"0123456789abcdefg") == 16
        # QEMU's UART sends at once, whatever its rate is: there is always room
        assert uart.try_write(b"g") == (0 if io.name == "portbus" else 1)
        await uart.drain(1)
        await peer.expect(b"a0123456789abcdef" + (b"" if io.name == "portbus" else b"g"))

    play(check, **COM1)


def test_only_as_many_are_read_as_are_asked_for(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        uart.use_fifo()
        peer.feed(b"abcde")
        assert (await uart.read(1, 5)).data == b"a"
        assert await some(uart, 4) == Received(b"bcde", ())

    play(check, **COM1)


def test_a_read_of_nothing_times_out(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        before = io.now()
        with pytest.raises(DeviceTimeoutError, match=r"UART at 0x3f8: a byte: not within 0\.02 s"):
            await Uart(io).read(10, 0.02)
        assert io.now() - before >= 0.02

    play(check, **COM1)


def test_received_bytes_interrupt_and_so_do_those_after_them(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        uart.use_fifo(4)
        io.lines.attach(4)
        uart.enable(Source.RECEIVED)
        got = b""
        numbers = []
        for text in (b"four", b"and three more"):
            peer.feed(text)
            want = len(got) + len(text)
            while len(got) < want:
                await io.pause(0.01)  # of the port bus's clock, in which the bytes come
                numbers.append((await receive(Interrupt, timeout=5)).number)
                got += uart.interrupt().received.data
        assert got == b"fourand three more"
        assert all(later > earlier for earlier, later in pairwise(numbers))

    play(check, **COM1)


def test_fewer_bytes_than_the_trigger_interrupt_after_a_while(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        uart.use_fifo(14)
        io.lines.attach(4)
        uart.enable(Source.RECEIVED)
        peer.feed(b"abc")
        await io.pause(0.01)
        await receive(Interrupt, timeout=5)
        assert uart.interrupt().received == Received(b"abc", ())

    play(check, **COM1)


def test_room_to_send_interrupts_at_once_and_each_time_that_all_has_gone(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        uart.use_fifo()
        io.lines.attach(4)
        uart.enable(Source.MAY_SEND)
        text = bytes(range(40))
        left, number = text, 0
        while left:
            number = (await receive(Interrupt, timeout=5)).number
            event = uart.interrupt()
            assert event.received == Received(b"", ())
            assert event.room == 16
            left = left[uart.try_write(left) :]
            await io.pause(0.01)
        if io.name == "portbus":  # of QEMU there is one of each byte: it sends each one at once
            assert number == 3
            assert (await receive(Interrupt, timeout=5)).number == 4
            assert uart.interrupt().room == 16
            with pytest.raises(TimeoutError):
                await receive(Interrupt, timeout=0)
        await peer.expect(text)

    play(check, **COM1)


def test_a_server_that_handles_interrupts_echoes_all_that_comes(play: Play) -> None:
    async def serve(io: IoSpace) -> None:
        uart = Uart(io)
        io.lines.attach(4)
        uart.enable(Source.RECEIVED | Source.MAY_SEND | Source.LINE)
        waiting = b""
        while True:
            await receive(Interrupt)
            event = uart.interrupt()
            assert event.received.faults == ()
            waiting += event.received.data
            if event.room:
                waiting = waiting[uart.try_write(waiting) :]

    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        uart.use_fifo(8)
        spawn_link(serve, io)
        await io.pause(1e-5)  # it listens
        for size in (1, 7, 8, 300):
            text = bytes(each & 0xFF for each in range(size))
            peer.feed(text)
            await peer.expect(text)

    play(check, **COM1)


def test_one_byte_that_has_gone_interrupts_once(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart = Uart(io)
        uart.configure(115200)
        uart.use_fifo()
        uart.enable(Source.MAY_SEND)
        assert uart.interrupt().room == 16
        io.lines.attach(4)
        assert uart.try_write(b"x") == 1
        await io.pause(0.01)
        await receive(Interrupt, timeout=5)
        assert uart.interrupt().room == 16
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)

    play(check, **COM1)


def test_what_is_not_enabled_does_not_interrupt(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        uart.use_fifo(1)
        io.lines.attach(4)
        uart.enable(Source.LINE | Source.MODEM)
        peer.feed(b"x")
        assert (await uart.read(1, 5)).data == b"x"
        uart.enable(Source.RECEIVED)
        uart.enable(Source.NONE)
        peer.feed(b"y")
        assert (await uart.read(1, 5)).data == b"y"
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)

    play(check, **COM1)


def test_an_interrupt_of_somebody_else_is_an_event_with_nothing_in_it(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart = Uart(io)
        uart.enable(Source.RECEIVED)
        assert uart.interrupt() == Event(Received(b"", ()), 1, Modem.NONE)

    play(check, **COM1)


def test_a_break_that_comes_is_a_fault_of_a_zero_byte(play: Play) -> None:
    async def check(io: Any) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200)
        uart.use_fifo()
        io.lines.attach(4)
        uart.enable(Source.LINE)
        peer.feed(b"a")
        # QEMU shows a break at once, as one of the byte that is read next: nothing is to be before it.
        assert await some(uart, 1) == Received(b"a", ())
        if peer.model:
            peer.model.feed(b"\0", BREAK)
        else:
            io.qmp("chardev-send-break", id="com1")
        assert await some(uart, 1) == Received(b"\0", ((0, LineFault.BREAK),))
        await receive(Interrupt, timeout=5)
        peer.feed(b"b")
        assert await some(uart, 1) == Received(b"b", ())

    play(check, **COM1)


def test_bytes_that_nobody_reads_in_time_are_an_overrun(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart = Uart(io)
        uart.configure(115200)
        uart.use_fifo()
        uart.enable(Source.RECEIVED | Source.LINE)
        # From itself: the far end of QEMU's UART waits until there is room.
        io.outb(0x3FC, 0x10)
        await uart.write(bytes(range(20)), 5)
        await uart.drain(5)
        event = uart.interrupt()
        assert event.received == Received(bytes(range(16)), ((0, LineFault.OVERRUN),))
        assert uart.try_read() == Received(b"", ())

    play(check, **COM1)


def test_without_a_fifo_the_last_byte_is_what_remains(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        uart = Uart(io)
        uart.configure(115200)
        io.outb(0x3FC, 0x10)
        await uart.write(b"xyz", 5)
        await uart.drain(5)
        assert uart.try_read() == Received(b"z", ((0, LineFault.OVERRUN),))

    play(check, **COM1)


@pytest.mark.parametrize("trigger", [None, 8])
@pytest.mark.parametrize("bits", [5, 8])
def test_the_self_test_passes_and_nothing_of_it_is_seen_outside(play: Play, trigger: int | None, bits: int) -> None:
    async def check(io: IoSpace) -> None:
        uart, peer = Uart(io), Peer(io)
        uart.configure(115200, bits)
        uart.use_fifo(trigger)
        uart.set_lines(dtr=True, rts=True)
        before = io.inb(0x3FC)
        await uart.self_test()
        assert io.inb(0x3FC) == before
        await uart.write(b"\x0a", 5)
        await peer.expect(b"\x0a")

    play(check, **COM1)


def test_the_lines_from_the_other_end(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        assert Uart(io).lines() == Modem.CTS | Modem.DSR | Modem.CARRIER  # a socket has none: QEMU says that all is well

    play(check, **COM1)


# --- what only a model shows: modem lines, errors of the line, time on the wire, other kinds, faults ---


def only_on_the_port_bus(check: Any, **options: Any) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.models[UartModel] = UartModel(bus, **options)
        await check(bus)

    run(main)


@pytest.mark.parametrize(("kind", "name"), [(0, Kind.UART_8250), (1, Kind.UART_16450), (2, Kind.UART_16550A)])
def test_kinds_are_told_from_each_other(kind: int, name: Kind) -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io, 0x2E8)
        assert uart.detect() is name
        assert [found[1:] for found in find(io)] == [(3, name)]
        uart.configure(115200)
        await uart.self_test()
        if name is not Kind.UART_16550A:
            with pytest.raises(DeviceError, match="no FIFOs that work"):
                uart.use_fifo()
        assert uart.room() == 1

    only_on_the_port_bus(check, base=0x2E8, irq=3, kind=kind)


def test_fifos_of_a_16550_are_left_off() -> None:
    async def check(io: PortBus) -> None:
        io.fault(Fault.ZEROS, 0x3FA, mask=0x40)
        assert Uart(io).detect() is Kind.UART_16550
        with pytest.raises(DeviceError, match="no FIFOs that work"):
            Uart(io).use_fifo()

    only_on_the_port_bus(check)


@pytest.mark.parametrize(
    ("bits", "parity", "stop", "length"), [(8, Parity.NONE, 1, 10), (7, Parity.EVEN, 2, 11), (5, Parity.ODD, 1.5, 8.5)]
)
def test_a_byte_takes_the_time_of_its_bits(bits: int, parity: Parity, stop: float, length: float) -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        rate = uart.configure(1200, bits, parity, stop)
        io.lines.attach(4)
        uart.enable(Source.RECEIVED)
        begun = io.now()
        io.models[UartModel].feed(b"\x01")
        await io.pause(1)
        assert (await receive(Interrupt, timeout=0)).at - begun == pytest.approx(length / rate, rel=1e-6)
        begun = io.now()
        assert uart.try_write(b"x") == 1
        await uart.drain(1)
        assert 0 <= io.now() - begun - length / rate <= 0.001

    only_on_the_port_bus(check)


@pytest.mark.parametrize("fault", [LineFault.PARITY, LineFault.FRAMING, LineFault.PARITY | LineFault.FRAMING, LineFault.BREAK])
@pytest.mark.parametrize("trigger", [None, 14])
def test_errors_are_those_of_the_byte_that_has_them(fault: LineFault, trigger: int | None) -> None:
    async def check(io: PortBus) -> None:
        uart, model = Uart(io), io.models[UartModel]
        uart.configure(9600)
        uart.use_fifo(trigger)
        for data, errors in ((b"good", 0), (b"\0", fault), (b"again", 0), (b"!", fault)):
            model.feed(data, errors)
        if trigger:
            await io.pause(0.1)  # all are in the FIFO
            assert uart.room() == 16  # a look at the line status between does not lose what it says
        assert await some(uart, 11) == Received(b"good\0again!", ((4, fault), (10, fault)))

    only_on_the_port_bus(check)


def test_an_error_interrupts_and_is_in_the_event() -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        uart.configure(115200)
        uart.use_fifo(1)
        io.lines.attach(4)
        uart.enable(Source.RECEIVED | Source.LINE)
        io.models[UartModel].feed(b"x", 8)
        await io.pause(0.01)
        await receive(Interrupt, timeout=0)
        assert uart.interrupt() == Event(Received(b"x", ((0, LineFault.FRAMING),)), 16, Modem.NONE)

    only_on_the_port_bus(check)


def test_a_modem_line_that_changes_interrupts() -> None:
    async def check(io: PortBus) -> None:
        uart, model = Uart(io), io.models[UartModel]
        io.lines.attach(4)
        uart.enable(Source.MODEM)
        for lines, changed in (
            (CTS | CARRIER, Modem.DSR),
            (CTS | DSR | CARRIER, Modem.DSR),
            (DSR, Modem.CTS | Modem.CARRIER),
        ):
            model.connect(lines)
            await receive(Interrupt, timeout=1)
            assert uart.interrupt().changed == changed
            assert uart.lines() == Modem(lines)
        model.connect(DSR | RING)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0)
        model.connect(DSR)
        await receive(Interrupt, timeout=1)
        assert uart.interrupt().changed == Modem.RING

    only_on_the_port_bus(check)


def test_our_lines_are_seen_at_the_other_end() -> None:
    async def check(io: PortBus) -> None:
        uart, model = Uart(io), io.models[UartModel]
        for dtr, rts in ((True, False), (True, True), (False, True), (False, False)):
            uart.set_lines(dtr=dtr, rts=rts)
            assert (bool(model.outputs & DTR), bool(model.outputs & RTS)) == (dtr, rts)

    only_on_the_port_bus(check)


def test_nothing_is_sent_while_cts_is_off_and_the_line_that_rises_says_that_there_is_room() -> None:
    async def check(io: PortBus) -> None:
        uart, model = Uart(io, flow_control=True), io.models[UartModel]
        uart.configure(115200)
        uart.use_fifo()
        io.lines.attach(4)
        uart.enable(Source.MODEM)
        model.connect(DSR)
        await receive(Interrupt, timeout=1)
        assert uart.interrupt().room == 0
        assert uart.try_write(b"x") == 0
        with pytest.raises(DeviceTimeoutError, match=r"it has taken 0 of 3 bytes within 0\.01 s: CTS is off"):
            await uart.write(b"abc", 0.01)
        model.connect(CTS)
        await receive(Interrupt, timeout=1)
        event = uart.interrupt()
        assert (event.room, Modem.CTS in event.changed) == (16, True)
        await uart.write(b"abc", 0.01)
        await uart.drain(1)
        assert model.taken() == b"abc"

    only_on_the_port_bus(check)


def test_who_heeds_rts_sends_only_while_it_is_on() -> None:
    async def check(io: PortBus) -> None:
        uart, model = Uart(io), io.models[UartModel]
        uart.configure(115200)
        uart.use_fifo()
        model.feed(bytes(100))
        with pytest.raises(DeviceTimeoutError):
            await uart.read(1, 0.1)
        uart.set_lines(dtr=True, rts=True)
        assert len((await some(uart, 100)).data) == 100

    only_on_the_port_bus(check, obeys=True)


def test_bytes_that_come_from_the_wire_too_fast_are_an_overrun() -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        uart.configure(115200)
        uart.use_fifo()
        io.models[UartModel].feed(bytes(range(30)))
        await io.pause(0.1)
        assert uart.try_read() == Received(bytes(range(16)), ((0, LineFault.OVERRUN),))

    only_on_the_port_bus(check)


def test_a_break_lasts_as_long_as_it_is_to_and_follows_what_was_written() -> None:
    async def check(io: PortBus) -> None:
        uart, model = Uart(io), io.models[UartModel]
        uart.configure(1200)
        begun = io.now()
        assert uart.try_write(b"x") == 1
        io.lines.attach(4)
        await uart.send_break(0.25)
        assert 10 / 1200 + 0.25 <= io.now() - begun <= 10 / 1200 + 0.252
        assert model.taken() == b"x"
        assert not model.outputs & BREAK

    only_on_the_port_bus(check)


def test_a_transmitter_that_is_never_done() -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        io.fault(Fault.ZEROS, 0x3FD, mask=0x60)
        with pytest.raises(DeviceTimeoutError, match=r"all sent: not within 0\.1 s"):
            await uart.drain(0.1)
        with pytest.raises(DeviceTimeoutError, match=r"it has taken 0 of 1 bytes within 0\.1 s: line status 0x0"):
            await uart.write(b"x", 0.1)
        with pytest.raises(DeviceTimeoutError):
            await uart.self_test(0.1)

    only_on_the_port_bus(check)


@pytest.mark.parametrize(
    ("register", "kind", "mask", "message"),
    [
        (0, Fault.ONES, 0x01, r"0x0 came back as .*x01"),
        (0, Fault.ZEROS, 0x80, r"0xff came back as .*x7f"),
        (6, Fault.ZEROS, 0x20, "0x1 of the modem control came back as"),
        (6, Fault.ONES, 0x10, "0x1 of the modem control came back as"),
    ],
)
def test_a_loop_that_gives_back_something_else_fails_the_self_test(register: int, kind: Fault, mask: int, message: str) -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        uart.configure(115200)
        io.fault(kind, 0x3F8 + register, mask=mask)
        with pytest.raises(DeviceError, match=message):
            await uart.self_test()

    only_on_the_port_bus(check)


def test_a_device_that_loses_what_is_written_is_noticed() -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        io.fault(Fault.LOSE, range(0x3F8, 0x400))
        with pytest.raises(DeviceError, match="it keeps the divisor"):
            uart.configure(1200)
        with pytest.raises(DeviceError, match="no FIFOs that work"):
            uart.use_fifo()
        with pytest.raises(DeviceAbsentError, match="no UART at 0x3f8"):
            uart.detect()
        io.repair()
        assert uart.detect() is Kind.UART_16550A

    only_on_the_port_bus(check)


def test_an_interrupt_that_does_not_end_is_an_error() -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        uart.configure(115200)
        io.fault(Fault.ZEROS, 0x3FA)
        with pytest.raises(DeviceError, match="64 interrupts at once, the last one 0x0"):
            uart.interrupt()
        io.repair()
        io.fault(Fault.ONES, 0x3FD, mask=0x01)  # there is always a byte
        assert len(uart.try_read(100).data) == 100

    only_on_the_port_bus(check)


def test_lost_interrupts_leave_the_bytes() -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        uart.configure(115200)
        uart.use_fifo(1)
        io.lines.attach(4)
        uart.enable(Source.RECEIVED)
        io.fault(Fault.DEAF, 4)
        io.models[UartModel].feed(b"x")
        await io.pause(0.01)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0)
        assert uart.try_read().data == b"x"

    only_on_the_port_bus(check)


def test_the_board_lets_an_interrupt_through_only_with_out2() -> None:
    async def check(io: PortBus) -> None:
        uart = Uart(io)
        uart.configure(115200)
        io.lines.attach(4)
        uart.enable(Source.RECEIVED)
        io.outb(0x3FC, 0x00)
        io.models[UartModel].feed(b"x")
        await io.pause(0.01)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0)
        io.outb(0x3FC, 0x08)
        await receive(Interrupt, timeout=1)

    only_on_the_port_bus(check)  # QEMU does not look at OUT2


def test_a_wire_holds_64_kib() -> None:
    async def check(io: PortBus) -> None:
        model = io.models[UartModel]
        model.feed(bytes(65536))
        with pytest.raises(ValueError, match="the wire holds 65536"):
            model.feed(b"x")

    only_on_the_port_bus(check)


def test_two_on_one_line_hold_it_up_each() -> None:
    """COM1 and COM3 share line 4: what one does takes nothing from the other."""

    async def main() -> None:
        bus = PortBus()
        one, two = UartModel(bus, 0x3F8), UartModel(bus, 0x3E8)
        ports = Uart(bus, 0x3F8), Uart(bus, 0x3E8)
        for port in ports:
            port.configure(115200)
            port.set_lines(dtr=True, rts=True)
            port.enable(Source.RECEIVED)
        bus.lines.attach(4)
        one.feed(b"1")
        two.feed(b"2")
        bus.advance(0.01)
        assert (await receive(Interrupt, timeout=0)).number == 1
        assert ports[0].interrupt().received.data == b"1"
        one.feed(b"3")  # the line is up still, by the second
        bus.advance(0.01)
        assert ports[1].interrupt().received.data == b"2"
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0)
        assert ports[0].interrupt().received.data == b"3"
        two.feed(b"4")
        bus.advance(0.01)
        assert (await receive(Interrupt, timeout=0)).number == 2

    run(main)


def test_bytes_that_come_as_fast_as_they_are_read_are_read_by_more_than_one_interrupt() -> None:
    """As from QEMU's other end, which has always more: each interrupt ends, and the next one comes."""

    async def main() -> None:
        bus = PortBus()
        model = UartModel(bus)
        uart = Uart(bus)
        uart.configure(115200)
        uart.use_fifo()
        uart.set_lines(dtr=True, rts=True)
        uart.enable(Source.RECEIVED)
        bus.lines.attach(4)
        text = bytes(range(256)) * 64
        model.feed(text)
        inb = bus.inb

        def slow_inb(port: int) -> int:
            bus.advance(45e-6)  # a byte comes in the time of two accesses, which reading one takes
            return inb(port)

        bus.inb = slow_inb  # type: ignore[method-assign]
        lengths = []
        for _ in range(50):
            bus.advance(0.001)
            with suppress(TimeoutError):
                await receive(Interrupt, timeout=0)
                lengths.append(len(uart.interrupt().received.data))
        assert len(lengths) > 2
        assert sum(lengths) > len(text) * 9 // 10  # it reads a little too slowly: some are overrun
        model.feed(b"!")
        bus.advance(0.01)
        await receive(Interrupt, timeout=0)
        assert uart.interrupt().received.data == b"!"

    run(main)
