"""NE2000: an Ethernet board for the ISA bus, 10 Mbit/s.

Source: National Semiconductor DP8390D/NS32490D NIC data sheet (July 1995), also "Buffer Ring Overflow"; the board's PROM, memory, data
port and reset port as of Novell's NE2000.

Covers: reset and probe, address from the PROM or another, sending, the ring of received frames with all checks, recovery from an overflow,
filters, tallies, interrupts. Not: 8-bit boards (NE1000), loopback tests, damaged, short and too long frames as data.

Theory of operation. The board has 16 KiB of its own: 6 pages of 256 bytes for one frame to be sent, the others a ring. The chip writes
frames behind each other from page CURR on, each from the beginning of a page with 4 bytes before it: status, the next frame's page, and
the length with the check sequence. BNRY is the page before the first that we have not read; the chip does not write there. All of it goes
through the data port, word by word. A board is for one process: its registers say one thing at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import IntFlag
from typing import Final

from beamlike import record
from drivers.errors import DeviceAbsentError, DeviceError, DeviceTimeoutError
from drivers.space import IoSpace

BASE: Final = 0x300
SHORTEST, LARGEST, HEADER = 60, 1514, 14
"""Of frames, without the check sequence; a shorter one is padded. `HEADER`: two addresses and the type."""

COMMAND, PSTART, PSTOP, BNRY, TPSR, TBCR, ISR, RSAR, RBCR, RCR, TCR, DCR, IMR = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    10,
    12,
    13,
    14,
    15,
)  # page 0, written
TSR, ALIGNMENT_ERRORS, CHECK_ERRORS, MISSED = 4, 13, 14, 15  # page 0, read
ADDRESS, CURR, HASH = 1, 7, 8  # page 1
DATA, RESET = 0x10, 0x1F
STOP, START, SEND, READ, WRITE, NO_DMA, PAGE_1 = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40  # of COMMAND
SENT, SEND_FAILED, OVERFLOW, DMA_DONE, IS_RESET = 0x02, 0x08, 0x10, 0x40, 0x80  # of ISR
BROADCAST, MULTICAST, PROMISCUOUS, MONITOR = 0x04, 0x08, 0x10, 0x20  # of RCR
LOOPBACK: Final = 0x02  # of TCR
WORDS: Final = 0x49  # of DCR: word transfers, no loopback, DMA bursts from 8 bytes on
SENT_WELL, COLLIDED, UNDERRUN = 0x01, 0x08, 0x20  # of TSR
RECEIVED_WELL: Final = 0x01  # of a frame's status

PAGE: Final = 256
SENT_FROM, FIRST, LAST = 0x40, 0x46, 0x80  # pages: of the frame that is sent, of the ring; the last exclusive
RING: Final = LAST - FIRST
PROM_SIZE: Final = 32
PROM_MARK: Final = 0x57

RESET_TIMEOUT: Final = 0.1
DMA_TIMEOUT: Final = 0.02
SEND_TIMEOUT: Final = 0.1  # 16 collisions of a large frame take up to 0.08 s
STOP_PAUSE: Final = 1.6e-3  # until what is under way is through (data sheet, "Buffer Ring Overflow", step 3)


class Happened(IntFlag):
    """Why there was an interrupt."""

    RECEIVED = 0x01
    """Frames are in the ring."""
    SENT = 0x02
    RECEIVE_ERROR = 0x04
    """A frame with a wrong check sequence, or that does not end with a byte."""
    SEND_ERROR = 0x08
    """A frame was given up."""
    OVERFLOW = 0x10
    """The ring is full. Nothing is received until `recover`."""
    COUNTERS = 0x20
    """A tally is half full: `statistics` reads it."""


ALL: Final = Happened(0x3F)


@record(frozen=False)
class Statistics:
    """Frames since the driver was made."""

    sent: int = 0
    received: int = 0
    send_errors: int = 0
    alignment_errors: int = 0
    check_errors: int = 0
    missed: int = 0
    """There was no room for."""
    overflows: int = 0
    too_long: int = 0
    """More than 1,514 bytes, as a full frame with a VLAN's tag has. The chip takes them, the driver does not."""
    garbled: int = 0
    """How often the ring made no sense."""


class Ne2000:
    """A board. `reset` comes first."""

    def __init__(self, io: IoSpace, base: int = BASE) -> None:
        self.io = io
        self.base = base
        self.mac = bytes(6)
        self._counted = Statistics()
        self._next = FIRST + 1  # the page that is read next

    # --- the board ---

    async def reset(self, mac: bytes | None = None) -> bytes:
        """Look for the board, and start it: it receives frames to its address and to everybody. Its address.

        Args:
            mac: an address instead of the one in the PROM.

        Raises: DeviceAbsentError: there is none. DeviceTimeoutError: its reset does not end. DeviceError: its PROM is not an NE2000's, or
        has no address. ValueError: `mac` is no station's address.
        """
        if mac is not None and (len(mac) != 6 or mac[0] & 1):
            raise ValueError(f"{mac!r} is no address of a station: expected 6 bytes, the first of them even")
        if self._in(COMMAND) == 0xFF:
            raise DeviceAbsentError(f"NE2000 at {self.base:#x}: nothing answers")
        self.io.outb(self.base + RESET, self.io.inb(self.base + RESET))
        await self.io.until(lambda: self._in(ISR) & IS_RESET, RESET_TIMEOUT, f"NE2000 at {self.base:#x}: its reset")
        self._out(COMMAND, STOP | NO_DMA)
        for value in (0x55, 0x2A):
            self._out(BNRY, value)
            if (found := self._in(BNRY)) != value:
                raise DeviceAbsentError(f"NE2000 at {self.base:#x}: BNRY is {found:#x} after {value:#x} was written")
        self._set_up()
        self.mac = self._address() if mac is None else bytes(mac)
        self._out(COMMAND, STOP | NO_DMA | PAGE_1)
        for at, value in enumerate(self.mac):
            self._out(ADDRESS + at, value)
        self._next = FIRST + 1
        self._out(CURR, self._next)
        self._out(COMMAND, START | NO_DMA)
        self._out(TCR, 0)
        self._out(ISR, 0xFF)  # before a frame can come
        self.accept()
        self._out(IMR, ALL)
        return self.mac

    def _set_up(self) -> None:
        """Everything of page 0; it runs then, but nothing gets in or out yet."""
        self._out(DCR, WORDS)
        self._out_pair(RBCR, 0)
        self._out(RCR, MONITOR)
        self._out(TCR, LOOPBACK)
        self._out(TPSR, SENT_FROM)
        self._out(PSTART, FIRST)
        self._out(PSTOP, LAST)
        self._out(BNRY, FIRST)
        self._out(IMR, 0)
        self._out(ISR, 0xFF)
        self._out(COMMAND, START | NO_DMA)

    def _address(self) -> bytes:
        prom = self._load(0, PROM_SIZE)
        mac, marks = prom[0:12:2], prom[28::2]
        if prom[::2] != prom[1::2] or marks != bytes([PROM_MARK] * 2):
            raise DeviceError(f"NE2000 at {self.base:#x}: the PROM has {prom.hex()}: expected each byte twice, and 0x57 at the end")
        if mac[0] & 1 or not any(mac):
            raise DeviceError(f"NE2000 at {self.base:#x}: {mac.hex(':')} in the PROM is no address of a station")
        return mac

    def stop(self) -> None:
        """Receive no more, and interrupt no more; `reset` starts it again."""
        self._out(IMR, 0)
        self._out(COMMAND, STOP | NO_DMA)

    def accept(self, *, multicast: Iterable[bytes] = (), broadcast: bool = True, promiscuous: bool = False) -> None:
        """Which frames to receive besides those to its own address.

        Args:
            multicast: group addresses. The chip has a table of 64 bits, so frames to others of the same hash come, too.
            promiscuous: all of them.

        Raises: ValueError: one is no group address.
        """
        table = 0
        for each in multicast:
            if len(each) != 6 or not each[0] & 1:
                raise ValueError(f"{each!r} is no group address: expected 6 bytes, the first of them odd")
            table |= 1 << _hash(each)
        if promiscuous:
            table = (1 << 64) - 1
        self._out(COMMAND, START | NO_DMA | PAGE_1)
        for at, value in enumerate(table.to_bytes(8, "little")):
            self._out(HASH + at, value)
        self._out(COMMAND, START | NO_DMA)
        self._out(RCR, MULTICAST * bool(table) | BROADCAST * (broadcast or promiscuous) | PROMISCUOUS * promiscuous)

    def interrupt(self) -> Happened:
        """What has happened since the last time; nothing: it was not this board. The line is down then, but with `OVERFLOW`: that stays
        until `recover`.

        Raises: DeviceAbsentError: nothing answers any more.
        """
        found = self._in(ISR)
        if found == 0xFF and self._in(COMMAND) == 0xFF:
            raise DeviceAbsentError(f"NE2000 at {self.base:#x}: nothing answers any more")
        self._out(ISR, found & ALL & ~OVERFLOW)
        return Happened(found) & ALL

    def statistics(self) -> Statistics:
        """As of now. It reads the chip's tallies, which count no further than 192 between two calls of this or `frames`."""
        counted = self._counted
        counted.alignment_errors += self._in(ALIGNMENT_ERRORS)
        counted.check_errors += self._in(CHECK_ERRORS)
        counted.missed += self._in(MISSED)
        return replace(counted)

    # --- sending ---

    async def send(self, frame: bytes) -> None:
        """Send a frame, without its check sequence, and wait until it is on the wire. A short one is filled with zeros.
        A call that is cancelled sends it or does not.

        Raises: ValueError: it has less than 14 bytes or more than 1,514. DeviceError: it was given up, after 16 collisions or for want of
        data. DeviceTimeoutError: the board does not say that it has sent it.
        """
        if not HEADER <= len(frame) <= LARGEST:
            raise ValueError(f"a frame of {len(frame)} bytes: expected {HEADER} to {LARGEST}")
        data = bytes(frame).ljust(SHORTEST, b"\0")
        what = f"NE2000 at {self.base:#x}: "
        # of a call that was cancelled: the board's memory has it until it is on the wire
        await self.io.until(lambda: not self._in(COMMAND) & SEND, SEND_TIMEOUT, what + "the end of sending the frame before")
        self._start_dma(WRITE, SENT_FROM * PAGE, _even(len(data)))
        self.io.outsw(self.base + DATA, data.ljust(_even(len(data)), b"\0"))
        await self.io.until(lambda: self._in(ISR) & DMA_DONE, DMA_TIMEOUT, what + "the end of a transfer to its memory")
        self._out(COMMAND, START | NO_DMA)
        self._out_pair(TBCR, len(data))
        self._out(ISR, SENT | SEND_FAILED)
        self._out(COMMAND, START | NO_DMA | SEND)
        await self.io.until(lambda: self._in(ISR) & (SENT | SEND_FAILED), SEND_TIMEOUT, what + "the end of sending")
        status = self._in(TSR)
        if not status & SENT_WELL or status & (COLLIDED | UNDERRUN):
            self._counted.send_errors += 1
            why = "too many collisions" if status & COLLIDED else "too few data in time" if status & UNDERRUN else "no success"
            raise DeviceError(f"NE2000 at {self.base:#x}: a frame was not sent: {why} (TSR {status:#x})")
        self._counted.sent += 1

    # --- receiving ---

    async def receive(self, timeout: float) -> bytes:
        """The next frame, without its check sequence. It recovers from overflows. A cancelled call loses nothing but in a recovery.

        Raises: DeviceTimeoutError: none has come. DeviceError: as `try_receive`.
        """
        deadline = self.io.now() + timeout

        def look() -> bytes | int | None:
            return self._in(ISR) & OVERFLOW or self.try_receive()

        while True:
            found = await self.io.until(look, max(deadline - self.io.now(), 0), f"NE2000 at {self.base:#x}: a frame")
            frame = found if isinstance(found, bytes) else await self.recover()
            if frame is not None:
                return frame
            if self.io.now() >= deadline:
                raise DeviceTimeoutError(f"NE2000 at {self.base:#x}: a frame: not within {timeout:g} s, of overflows without one")

    def try_receive(self) -> bytes | None:
        """The next frame, if there is one. Those that are too long are passed over.

        Raises: DeviceError: what the ring says makes no sense. All that was in it is lost, and it goes on with what comes after; if the
        chip's own register is wrong, only `reset` helps. DeviceAbsentError: nothing answers any more.
        """
        return next(self._waiting(), None)

    def _waiting(self) -> Iterator[bytes]:
        """Of as many frames as there can be now: whatever comes meanwhile, it comes to an end."""
        for _ in range(RING):
            frame = self._take()
            if frame is None:
                return
            if frame:
                yield frame

    def _take(self) -> bytes | None:
        """The next frame; b"": it was too long; None: there is none."""
        current = self._current()
        if current == self._next:
            return None
        page = self._next
        status, following, *length = self._load(page * PAGE, 4)
        size = int.from_bytes(bytes(length), "little") - 4  # without the check sequence
        pages = -(-(size + 8) // PAGE)
        received = (current - page) % RING
        advance = (following - page) % RING
        # some chips go a page too far when it fits closely (so has Linux, drivers/net/ethernet/8390/lib8390.c)
        is_right = size >= SHORTEST and FIRST <= following < LAST and advance in (pages, pages + 1) and advance <= received
        if not is_right or not status & RECEIVED_WELL:
            self._counted.garbled += 1
            self._release(current)
            raise DeviceError(
                f"NE2000 at {self.base:#x}: page {page:#x} has the status {status:#x}, the next page {following:#x} and {size} bytes: "
                f"expected a good frame of at least {SHORTEST} bytes and the page behind it, up to {current:#x}; the ring was emptied"
            )
        if size > LARGEST:
            self._counted.too_long += 1
            self._release(following)
            return b""
        first = min(size, (LAST - page) * PAGE - 4)
        frame = self._load(page * PAGE + 4, first) + self._load(FIRST * PAGE, size - first)
        self._release(following)
        self._counted.received += 1
        return frame

    async def frames(self) -> list[bytes]:
        """After an interrupt: all frames that have come. It recovers from an overflow, and resets a board whose ring makes no sense, as
        QEMU's does after a frame that is longer than it. Raises: DeviceAbsentError, DeviceTimeoutError."""
        self._out(IMR, 0)  # the line goes down, so that what comes from here on makes it go up, then or at the end
        try:
            happened = self.interrupt()
            if Happened.COUNTERS in happened:
                self.statistics()
            found: list[bytes] = []
            try:
                if Happened.OVERFLOW in happened and (rescued := await self.recover()) is not None:
                    found.append(rescued)
                for frame in self._waiting():
                    found.append(frame)  # one at a time: they stay when the next one is none
            except (DeviceAbsentError, DeviceTimeoutError):
                raise
            except DeviceError:
                await self.reset(self.mac)
            return found  # of what comes meanwhile another interrupt tells
        finally:
            self._out(IMR, ALL)

    async def recover(self) -> bytes | None:
        """After an overflow: stop, make room, and go on, as the data sheet says. The frame that was taken from the ring for that.

        Raises: DeviceError as `try_receive`; the board goes on all the same.
        """
        was_sending = self._in(COMMAND) & SEND
        self._out(COMMAND, STOP | NO_DMA)
        try:
            await self.io.pause(STOP_PAUSE)
            self._out_pair(RBCR, 0)
            sends_again = was_sending and not self._in(ISR) & (SENT | SEND_FAILED)
            self._out(TCR, LOOPBACK)
            self._out(COMMAND, START | NO_DMA)
            self._counted.overflows += 1
            try:
                return self.try_receive()
            finally:
                self._out(ISR, OVERFLOW)
                self._out(TCR, 0)
                if sends_again:
                    self._out(COMMAND, START | NO_DMA | SEND)
        finally:
            self._out(COMMAND, START | NO_DMA)  # also when it was cancelled; it says nothing new else

    def _current(self) -> int:
        self._out(COMMAND, START | NO_DMA | PAGE_1)
        current = self._in(CURR)
        self._out(COMMAND, START | NO_DMA)
        if current == 0xFF and self._in(COMMAND) == 0xFF:
            raise DeviceAbsentError(f"NE2000 at {self.base:#x}: nothing answers any more")
        if not FIRST <= current < LAST:
            self._counted.garbled += 1
            raise DeviceError(f"NE2000 at {self.base:#x}: CURR is {current:#x}: expected {FIRST:#x} to {LAST - 1:#x}; reset it")
        return current

    def _release(self, following: int) -> None:
        self._next = following
        self._out(BNRY, LAST - 1 if following == FIRST else following - 1)

    # --- its memory and registers ---

    def _load(self, address: int, size: int) -> bytes:
        if size == 0:
            return b""
        self._start_dma(READ, address, _even(size))
        data = self.io.insw(self.base + DATA, _even(size) // 2)
        self._out(COMMAND, START | NO_DMA)
        return data[:size]

    def _start_dma(self, direction: int, address: int, size: int) -> None:
        self._out(COMMAND, START | NO_DMA)
        self._out(ISR, DMA_DONE)
        self._out_pair(RBCR, size)
        self._out_pair(RSAR, address)
        self._out(COMMAND, START | direction)

    def _in(self, register: int) -> int:
        return self.io.inb(self.base + register)

    def _out(self, register: int, value: int) -> None:
        self.io.outb(self.base + register, value)

    def _out_pair(self, register: int, value: int) -> None:
        self._out(register, value & 0xFF)
        self._out(register + 1, value >> 8)


def _even(size: int) -> int:
    return size + size % 2


def _hash(address: bytes) -> int:
    """The upper 6 bits of the check sequence, of which zlib has all bits the other way round."""
    low = ~zlib.crc32(address) & 0x3F
    return int(f"{low:06b}"[::-1], 2)
