"""The NE2000 board, on both machines. The other end of QEMU's cable is a socket of this process, with a frame a datagram."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from machines import Play, on

from beamlike import Down, exit, receive, run, sleep, spawn_monitor
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.ne2000 import FIRST, LAST, Happened, Ne2000, Statistics
from drivers.models.ne2000 import MAC, Damage, Ne2000Model

BASE, ISR, TSR_PORT, DATA_PORT, LINE = 0x300, 0x307, 0x304, 0x310, 9
PEER = bytes.fromhex("020000000001")
EVERYBODY = b"\xff" * 6
GROUP, OTHER_GROUP = bytes.fromhex("01005e000001"), bytes.fromhex("01005e000002")


class Cable(NamedTuple):
    """The far end: `feed` lets a frame arrive, `taken` is what the board has sent."""

    feed: Callable[[bytes], object]
    taken: Callable[[], bytes | None]


class Net:
    """A machine with a board, and the far end of its cable, which `check` gets besides."""

    def __init__(self, play: Play, folder: Path) -> None:
        self.play = play
        self.ours, self.theirs = folder / "ours", folder / "qemu"
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.peer.bind(str(self.ours))
        self.peer.settimeout(5)

    def __call__(self, check: Callable[[Any, Cable], Coroutine[Any, Any, Any]]) -> None:
        async def with_cable(io: Any) -> None:
            if io.name == "portbus":
                model = io.models[Ne2000Model]
                await check(io, Cable(model.feed, model.taken))
            else:
                await check(io, Cable(lambda frame: self.peer.sendto(frame, str(self.theirs)), lambda: self.peer.recv(4096)))

        net = f"dgram,id=net,local.type=unix,local.path={self.theirs},remote.type=unix,remote.path={self.ours}"
        board = f"ne2k_isa,iobase={BASE:#x},irq={LINE},netdev=net,mac={MAC.hex(':')}"
        self.play(with_cable, [Ne2000Model], qemu=["-netdev", net, "-device", board])


@pytest.fixture
def net(play: Play, tmp_path: Path) -> Iterator[Net]:
    made = Net(play, tmp_path)
    yield made
    made.peer.close()


def frame(to: bytes, size: int, number: int = 0) -> bytes:
    return to + PEER + (0x88B5).to_bytes(2, "big") + bytes((number + i) % 251 for i in range(size - 14))


@on("portbus")  # only there a frame comes at a moment that a test can name
def test_a_frame_that_comes_while_the_ones_before_are_taken_does_not_keep_the_line_up(play: Play) -> None:
    """Else nobody would hear of the next one: a line that is up does not go up."""

    async def check(io: Any) -> None:
        board, model = Ne2000(io), io.models[Ne2000Model]
        await board.reset()
        io.lines.attach(LINE)
        read = board._in
        later = [frame(MAC, 100, 0)]

        def read_and_feed(register: int) -> int:
            value = read(register)
            if register == ISR - BASE and later:
                assert model.feed(later.pop())
            return value

        await board.send(frame(PEER, 100))
        await receive(Interrupt, timeout=5)  # it was sent
        board._in = read_and_feed  # type: ignore[method-assign]
        assert await board.frames() == [frame(MAC, 100, 0)]
        for number in range(1, 5):
            model.feed(frame(MAC, 100, number))
            await receive(Interrupt, timeout=5)
            assert await board.frames() == [frame(MAC, 100, number)]

    play(check, [Ne2000Model])


@on("portbus")  # as above
def test_a_frame_that_comes_before_the_reset_is_through_interrupts(play: Play) -> None:
    async def check(io: Any) -> None:
        board, model = Ne2000(io), io.models[Ne2000Model]
        io.lines.attach(LINE)
        write, is_in = board._out, False

        def write_and_feed(register: int, value: int) -> None:
            nonlocal is_in
            write(register, value)
            is_in = is_in or model.feed(frame(MAC, 60))

        board._out = write_and_feed  # type: ignore[method-assign]
        await board.reset()
        assert is_in
        await receive(Interrupt, timeout=5)
        assert await board.frames() == [frame(MAC, 60)]

    play(check, [Ne2000Model])


@on("portbus")  # as above
def test_frames_that_come_as_fast_as_they_are_taken_are_taken_by_more_than_one_interrupt(play: Play) -> None:
    async def check(io: Any) -> None:
        board, model = Ne2000(io), io.models[Ne2000Model]
        await board.reset()
        io.lines.attach(LINE)
        release, fed = board._release, 1

        def release_and_feed(following: int) -> None:
            nonlocal fed
            release(following)
            if fed < 1000:
                assert model.feed(frame(MAC, 60, fed))
                fed += 1

        board._release = release_and_feed  # type: ignore[method-assign]
        assert model.feed(frame(MAC, 60, 0))
        found: list[bytes] = []
        while len(found) < 1000:
            await receive(Interrupt, timeout=5)
            some = await board.frames()
            assert len(some) < LAST - FIRST + 1
            found += some
        assert found == [frame(MAC, 60, number) for number in range(1000)]

    play(check, [Ne2000Model])


def test_the_address_is_the_one_in_the_prom(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        assert await board.reset() == MAC
        assert board.mac == MAC

    net(check)


@pytest.mark.parametrize("size", [60, 61, 250, 251, 256, 257, 1513, 1514])
def test_a_frame_is_sent_as_it_is(net: Net, size: int) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        for number in range(3):
            await board.send(frame(PEER, size, number))
            assert cable.taken() == frame(PEER, size, number)
        assert board.statistics() == Statistics(sent=3)

    net(check)


def test_a_short_frame_is_filled_with_zeros(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        await board.send(frame(PEER, 1514))
        assert cable.taken() == frame(PEER, 1514)
        for size in (14, 15, 59):
            await board.send(frame(PEER, size))
            assert cable.taken() == frame(PEER, size) + bytes(60 - size)

    net(check)


def test_frames_that_are_too_long_or_have_no_header_are_refused(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        for size in (0, 13, 1515, 70000):
            with pytest.raises(ValueError, match=rf"a frame of {size} bytes: expected 14 to 1514"):
                await board.send(bytes(size))
        assert board.statistics().sent == 0

    net(check)


def test_frames_come_whole_and_in_order_while_the_ring_goes_round(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        sizes = [60, 248, 249, 252, 256, 504, 505, 600, 1000, 1514] * 6  # 226 pages: four times round
        for number, size in enumerate(sizes):
            cable.feed(frame(MAC, size, number))
            assert await board.receive(5) == frame(MAC, size, number)
        assert board.try_receive() is None
        assert board.statistics() == Statistics(received=len(sizes))

    net(check)


def test_frames_wait_in_the_ring_until_they_are_read(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        for _ in range(3):
            for number in range(20):
                cable.feed(frame(MAC, 400, number))
            assert [await board.receive(5) for _ in range(20)] == [frame(MAC, 400, number) for number in range(20)]

    net(check)


def test_without_a_frame_receiving_ends_with_its_time(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        assert board.try_receive() is None
        before = io.now()
        with pytest.raises(DeviceTimeoutError, match="a frame: not within"):
            await board.receive(0.02)
        assert io.now() - before >= 0.02

    net(check)


@pytest.mark.parametrize("size", [1515, 1518, 2000])
def test_frames_that_are_too_long_are_passed_over_and_those_around_them_come(net: Net, size: int) -> None:
    """Anybody can send such, so they are no fault of the board, after which its driver would have to begin anew."""

    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        for number in range(30):  # around the ring
            cable.feed(frame(MAC, 60, number))
            cable.feed(frame(MAC, size))
            cable.feed(frame(MAC, 70, number))
            assert await board.receive(5) == frame(MAC, 60, number)
            assert await board.receive(5) == frame(MAC, 70, number)
        cable.feed(frame(MAC, size))
        await io.until(lambda: board.interrupt() & Happened.RECEIVED, 5, "the frame")
        await io.until(lambda: board._current() != board._next, 5, "the frame")
        assert await board.frames() == []
        assert board.statistics() == Statistics(received=60, too_long=31)

    net(check)


async def comes(board: Ne2000, cable: Cable, wanted: bytes, *, unwanted: bytes) -> None:
    """The first does, and the second, which was there before, does not."""
    cable.feed(unwanted)
    cable.feed(wanted)
    assert await board.receive(5) == wanted
    assert board.try_receive() is None


def test_it_gets_frames_to_its_address_and_to_everybody(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        await comes(board, cable, frame(MAC, 60), unwanted=frame(PEER, 60))
        await comes(board, cable, frame(EVERYBODY, 60), unwanted=frame(GROUP, 60))

    net(check)


def test_filters(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        board.accept(broadcast=False)
        await comes(board, cable, frame(MAC, 60), unwanted=frame(EVERYBODY, 60))
        board.accept(multicast=[GROUP])
        await comes(board, cable, frame(GROUP, 60), unwanted=frame(OTHER_GROUP, 60))
        board.accept(multicast=[GROUP, OTHER_GROUP], broadcast=False)
        await comes(board, cable, frame(OTHER_GROUP, 60), unwanted=frame(EVERYBODY, 60))
        board.accept(promiscuous=True)
        for to in (PEER, EVERYBODY, GROUP, MAC):
            cable.feed(frame(to, 60))
            assert await board.receive(5) == frame(to, 60)
        board.accept()
        await comes(board, cable, frame(EVERYBODY, 60), unwanted=frame(PEER, 60))

    net(check)


def test_each_group_address_finds_its_bit(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        by_bit = {zlib.crc32(each) & 0x3F: each for each in (bytes([1, 0, 0x5E, 0, 0, last]) for last in range(256))}
        assert len(by_bit) == 64
        groups = list(by_bit.values())
        for group, other in pairwise(groups):
            board.accept(multicast=[group])
            await comes(board, cable, frame(group, 60), unwanted=frame(other, 60))

    net(check)


def test_addresses_that_are_none_are_refused(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        for wrong in (b"", MAC[:5], MAC + b"\0", GROUP):
            with pytest.raises(ValueError, match="no address of a station"):
                await board.reset(wrong)
        await board.reset()
        for wrong in (MAC, GROUP[:5]):
            with pytest.raises(ValueError, match="no group address"):
                board.accept(multicast=[GROUP, wrong])

    net(check)


def test_sending_and_receiving_interrupt(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        io.lines.attach(LINE)
        assert board.interrupt() == Happened(0)
        await board.send(frame(PEER, 60))
        first = await receive(Interrupt, timeout=5)
        assert first.line == LINE
        assert board.interrupt() == Happened.SENT
        assert board.interrupt() == Happened(0)
        cable.feed(frame(MAC, 60))
        assert (await receive(Interrupt, timeout=5)).number == first.number + 1
        assert board.interrupt() == Happened.RECEIVED
        assert board.try_receive() == frame(MAC, 60)
        board.stop()
        cable.feed(frame(MAC, 60))
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)

    net(check)


def test_a_reset_begins_anew(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        cable.feed(frame(MAC, 600))
        await io.until(lambda: board.interrupt() & Happened.RECEIVED, 5, "the frame")
        await board.reset()
        assert board.try_receive() is None
        cable.feed(frame(MAC, 300))
        assert await board.receive(5) == frame(MAC, 300)

    net(check)


def test_a_ring_that_makes_no_sense_is_emptied_and_reported(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        page = FIRST + 1
        for header in (
            bytes([0, page + 1, 64, 0]),  # not received well
            bytes([1, 0, 64, 0]),
            bytes([1, 0xFF, 64, 0]),
            bytes([1, LAST, 64, 0]),
            bytes([1, page, 64, 0]),  # it is its own successor
            bytes([1, page + 1, 0, 0]),
            bytes([1, page + 1, 63, 0]),
            bytes([1, page + 1, 0xFF, 0xFF]),
            bytes([1, page + 7, 0xEF, 0x05]),  # a byte more than there may be
            bytes([1, page + 4, 0x00, 0x04]),  # more than has come
        ):
            await board.reset()
            cable.feed(frame(MAC, 60))
            await io.until(lambda: board.interrupt() & Happened.RECEIVED, 5, "the frame")
            board._start_dma(0x10, page << 8, 4)
            io.outsw(DATA_PORT, header)
            with pytest.raises(DeviceError, match="the ring was emptied"):
                board.try_receive()
            assert board.try_receive() is None
            cable.feed(frame(MAC, 80))
            assert await board.receive(5) == frame(MAC, 80)
        assert board.statistics().garbled == 10

    net(check)


@on("qemu")  # whose board writes a frame of any length over its ring, and over CURR
@pytest.mark.parametrize("size", [2000, 9000, 20000, 40000])
def test_frames_that_are_larger_than_the_ring_cost_no_more_than_what_is_in_it(net: Net, size: int) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        for _ in range(20):
            for each in (frame(MAC, 80, 1), frame(MAC, size), frame(MAC, 80, 2)):
                cable.feed(each)
                await io.pause(0.001)
            for each in await board.frames():
                assert each in (frame(MAC, 80, 1), frame(MAC, 80, 2))
        while await board.frames():
            pass
        cable.feed(frame(MAC, 100))
        assert await board.receive(5) == frame(MAC, 100)

    net(check)


@on("portbus")
def test_frames_before_one_that_makes_no_sense_are_not_lost(net: Net) -> None:
    async def check(io: IoSpace, cable: Cable) -> None:
        board = Ne2000(io)
        await board.reset()
        for number in range(3):
            cable.feed(frame(MAC, 80, number))
        board._start_dma(0x10, FIRST + 3 << 8, 4)
        io.outsw(DATA_PORT, bytes(4))
        assert await board.frames() == [frame(MAC, 80, 0), frame(MAC, 80, 1)]
        assert board.statistics().garbled == 1
        cable.feed(frame(MAC, 100))
        assert await board.frames() == [frame(MAC, 100)]

    net(check)


def test_where_there_is_no_board(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="nothing answers"):
            await Ne2000(io).reset()

    play(check, [])


# From here on it is the port bus alone. QEMU's board never overflows (without room for the largest frame it loses all, without a word),
# fills short frames that come up to 60 bytes (the chip drops them), knows no collisions, no damage and no tallies, compares with the PROM's
# address only, sends in no time, and cannot be broken.


def on_board(check: Callable[[PortBus, Ne2000Model, Ne2000], Coroutine[Any, Any, None]], mac: bytes = MAC) -> None:
    async def main() -> None:
        bus = PortBus()
        await check(bus, Ne2000Model(bus, mac=mac), Ne2000(bus))

    run(main)


def test_what_is_not_a_dp8390_is_absent() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        bus.fault(Fault.LOSE, BASE + 3)
        with pytest.raises(DeviceAbsentError, match="BNRY is 0x0 after 0x55"):
            await board.reset()

    on_board(check)


def test_another_address_than_the_prom_s() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        assert await board.reset(PEER) == PEER
        assert not model.feed(frame(MAC, 60))
        assert model.feed(frame(PEER, 60))
        assert await board.receive(0.01) == frame(PEER, 60)

    on_board(check)


def test_an_overflow_is_recovered_from_and_counted() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        bus.lines.attach(LINE)
        stored = 0
        while model.feed(frame(MAC, 1000, stored)):
            stored += 1
        assert stored == (LAST - FIRST - 1) // 4
        while board.interrupt() != Happened.OVERFLOW:
            await receive(Interrupt, timeout=1)
        assert [await board.receive(0.1) for _ in range(stored)] == [frame(MAC, 1000, number) for number in range(stored)]
        assert board.interrupt() == Happened(0)
        assert model.feed(frame(MAC, 1000, 99))
        assert await board.receive(0.1) == frame(MAC, 1000, 99)
        assert board.statistics() == Statistics(received=stored + 1, missed=1, overflows=1)

    on_board(check)


def test_an_overflow_that_does_not_end_is_a_timeout() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        for number in range(12):  # CURR, which is at the same port as the ISR, has the bit then, too
            assert model.feed(frame(MAC, 60, number))
            assert await board.receive(0.1) == frame(MAC, 60, number)
        bus.fault(Fault.ONES, ISR, mask=0x10, count=1000)  # then it ends, for who has no patience
        with pytest.raises(DeviceTimeoutError, match=r"a frame: not within 0\.1 s, of overflows without one"):
            await board.receive(0.1)
        assert bus.inb(ISR) & 0x10

    on_board(check)


def test_nothing_is_received_before_the_recovery() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        while model.feed(frame(MAC, 1514)):
            pass
        assert board.try_receive() == frame(MAC, 1514)
        assert not model.feed(frame(MAC, 60))
        assert await board.recover() == frame(MAC, 1514)
        assert model.feed(frame(MAC, 60))

    on_board(check)


def test_what_was_being_sent_at_an_overflow_is_sent_again() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        await board.send(frame(PEER, 60))
        assert model.taken() == frame(PEER, 60)
        bus.fault(Fault.ONES, BASE, mask=0x04, count=1)  # the chip is sending
        bus.fault(Fault.ZEROS, ISR, mask=0x0A, count=1)  # and does not come to an end
        await board.recover()
        await bus.pause(0.001)
        assert model.taken() == frame(PEER, 60)

    on_board(check)


def test_garbage_in_the_ring_does_not_end_a_recovery() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        while model.feed(frame(MAC, 1514)):
            pass
        board._start_dma(0x10, FIRST + 1 << 8, 4)
        bus.outsw(DATA_PORT, bytes(4))
        with pytest.raises(DeviceError, match="the ring was emptied"):
            await board.receive(1)
        assert model.feed(frame(MAC, 60))
        assert await board.receive(1) == frame(MAC, 60)

    on_board(check)


def test_a_frame_that_only_collides_is_an_error_and_the_next_one_is_not() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        model.jam(1)
        with pytest.raises(DeviceError, match=r"too many collisions \(TSR 0xc\)"):
            await board.send(frame(PEER, 60))
        assert board.interrupt() == Happened.SEND_ERROR
        assert model.taken() is None
        await board.send(frame(PEER, 60))
        assert model.taken() == frame(PEER, 60)
        assert board.statistics() == Statistics(sent=1, send_errors=1)

    on_board(check)


def test_sending_takes_as_long_as_the_bits_do() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        before = bus.now()
        await board.send(frame(PEER, 1514))
        assert 1514 * 8e-7 < bus.now() - before < 1514 * 8e-7 + 1.1e-3  # `until` looks once in a millisecond

    on_board(check)


def test_a_frame_that_nobody_waits_for_any_more_goes_out_whole_before_the_next_one() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()

        async def sender() -> None:
            await board.send(frame(PEER, 1514, 1))

        pid, _ = spawn_monitor(sender)
        while not bus.inb(BASE) & 0x04:  # the chip is sending
            await sleep(0)
        exit(pid, "kill")
        await receive(Down, timeout=5)
        await board.send(frame(PEER, 1000, 2))
        assert [model.taken(), model.taken(), model.taken()] == [frame(PEER, 1514, 1), frame(PEER, 1000, 2), None]

    on_board(check)


def test_damaged_frames_are_counted_and_do_not_come() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        bus.lines.attach(LINE)
        for damage in (Damage.CHECK_SEQUENCE, Damage.ALIGNMENT, Damage.ALIGNMENT):
            assert not model.feed(frame(MAC, 60), damage)
        assert (await receive(Interrupt, timeout=1)).line == LINE
        assert board.interrupt() == Happened.RECEIVE_ERROR
        assert board.try_receive() is None
        assert board.statistics() == Statistics(check_errors=1, alignment_errors=2)
        for _ in range(128):
            model.feed(frame(MAC, 60), Damage.CHECK_SEQUENCE)
        assert board.interrupt() == Happened.RECEIVE_ERROR | Happened.COUNTERS
        assert board.statistics().check_errors == 129

    on_board(check)


def test_a_tally_that_is_half_full_is_read_with_the_frames() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        for _ in range(500):
            model.feed(frame(MAC, 60), Damage.CHECK_SEQUENCE)
            assert await board.frames() == []
        assert board.statistics() == Statistics(check_errors=500)

    on_board(check)


def test_a_prom_without_an_address_or_of_another_board() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        with pytest.raises(DeviceError, match="no address of a station"):
            await board.reset()

    for wrong in (bytes(6), EVERYBODY):
        on_board(check, wrong)

    async def other(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        bus.fault(Fault.ZEROS, DATA_PORT)
        with pytest.raises(DeviceError, match="each byte twice"):
            await board.reset()

    on_board(other)


def test_a_board_that_never_becomes_ready() -> None:
    async def reset(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        bus.fault(Fault.ZEROS, ISR)
        with pytest.raises(DeviceTimeoutError, match="its reset: not within"):
            await board.reset()

    async def transfer(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        bus.fault(Fault.ZEROS, ISR)
        with pytest.raises(DeviceTimeoutError, match="the end of a transfer"):
            await board.send(frame(PEER, 60))

    async def send(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        bus.fault(Fault.ZEROS, ISR, mask=0x0A)
        with pytest.raises(DeviceTimeoutError, match="the end of sending"):
            await board.send(frame(PEER, 60))

    for each in (reset, transfer, send):
        on_board(each)


def test_a_status_without_success_is_an_error() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        bus.fault(Fault.ZEROS, TSR_PORT)
        with pytest.raises(DeviceError, match=r"no success \(TSR 0x0\)"):
            await board.send(frame(PEER, 60))

    on_board(check)


def test_a_board_that_is_taken_out() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        bus.fault(Fault.MISSING, range(BASE, BASE + 0x20))
        with pytest.raises(DeviceAbsentError, match="nothing answers any more"):
            board.interrupt()
        with pytest.raises(DeviceAbsentError, match="nothing answers any more"):
            board.try_receive()
        with pytest.raises(DeviceError):
            await board.receive(0.01)
        with pytest.raises(DeviceError):
            await board.send(frame(PEER, 60))

    on_board(check)


def test_a_page_outside_of_the_ring_needs_a_reset() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        bus.fault(Fault.ZEROS, ISR, mask=0x40)  # CURR is at the same port, on the other page
        with pytest.raises(DeviceError, match="CURR is 0x7: expected 0x46 to 0x7f; reset it"):
            board.try_receive()
        bus.repair()
        await board.reset()
        assert board.try_receive() is None

    on_board(check)


def test_the_model_bears_whatever_a_program_writes() -> None:
    async def check(bus: PortBus, model: Ne2000Model, board: Ne2000) -> None:
        await board.reset()
        for value in (0x00, 0x80, 0xFF, 0x3F, 0x7F):
            for command in (0x21, 0x61, 0xA1, 0xE1, 0x22, 0x62):
                bus.outb(BASE, command)
                for port in range(BASE + 1, BASE + 0x20):
                    bus.outb(port, value)
                    bus.inb(port)
            for command in (0x22, 0x0A, 0x12, 0x26):
                bus.outb(BASE, command)
                bus.insl(DATA_PORT, 70000 // 4)
                bus.outsw(DATA_PORT, bytes(70000))
            model.feed(frame(MAC, 1514))
            await bus.pause(0.1)
            while model.taken():
                pass
        assert await board.reset() == MAC
        await board.send(frame(PEER, 60))
        assert model.taken() == frame(PEER, 60)

    on_board(check)
