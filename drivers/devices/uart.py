"""UARTs of the family of the 8250, with one to four serial ports on a PC.

Source: National Semiconductor PC16550D data sheet (TL/C/8652); National Semiconductor AN-491 on its FIFOs; IBM PC AT Technical Reference:
the ports, and OUT2, which lets the interrupt through.

Covers: which of the family it is, rates, formats, FIFOs and their trigger levels, the four interrupts, the modem lines, RTS/CTS flow
control, break, errors of the line, the self-test in a loop. Not: what later ones add (the 16750's 64 bytes, flow control by the chip),
DMA modes.
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag
from typing import Final

from beamlike import record
from drivers.errors import DeviceAbsentError, DeviceError, DeviceTimeoutError
from drivers.space import IoSpace

COM: Final = ((0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3))
"""The base and the interrupt of a PC's serial ports, COM1 first."""

FASTEST: Final = 115200  # baud: its clock of 1.8432 MHz by 16
WORST_RATE: Final = 0.03  # off by so much a byte is still read right: its last bit is sampled within it
DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCRATCH = 0, 1, 2, 2, 3, 4, 5, 6, 7
DLAB, BREAK_ON = 0x80, 0x40  # LCR
DTR, RTS, OUT2, LOOP = 0x01, 0x02, 0x08, 0x10  # MCR
ALL_BUT_SENDING: Final = 0x0D  # IER
HAS_DATA, MAY_SEND, IS_IDLE = 0x01, 0x20, 0x40  # LSR
FIFO_ON, CLEAR_RECEIVED, CLEAR_SENDING = 0x01, 0x02, 0x04  # FCR
TRIGGERS: Final = {1: 0x00, 4: 0x40, 8: 0x80, 14: 0xC0}  # FCR, by the bytes that are in the FIFO
FIFO: Final = 16
IIR_NOTHING, IIR_CAUSE, IIR_MODEM = 0x01, 0x0E, 0x00
MOST_CAUSES: Final = 64  # that one interrupt may have: each reads a FIFO full; others are to have a turn, too
PATTERN: Final = bytes((0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7E, 0x3C))  # of the self-test


class Kind(Enum):
    """Which of the family it is."""

    UART_8250 = "8250"
    """Without a scratch register."""
    UART_16450 = "16450"
    """Without FIFOs."""
    UART_16550 = "16550"
    """Its FIFOs lose bytes, and are left off."""
    UART_16550A = "16550A"
    """With two FIFOs of 16 bytes."""


@record
class Parity(IntEnum):
    """The bit after those of the byte, as the line control register has it."""

    NONE = 0x00
    ODD = 0x08
    EVEN = 0x18
    MARK = 0x28
    """Always 1."""
    SPACE = 0x38
    """Always 0."""


class Source(IntFlag):
    """What may interrupt."""

    NONE = 0
    RECEIVED = 1
    """The FIFO is as full as the trigger says, or nothing more has come for the time of four bytes."""
    MAY_SEND = 2
    """All has been handed to the wire."""
    LINE = 4
    """An error of the line, or a break."""
    MODEM = 8
    """A modem line has changed."""


@record
class LineFault(IntFlag):
    """What was wrong with a byte, as the line status register has it."""

    OVERRUN = 0x02
    """Bytes were lost, somewhere after it: nobody has read in time."""
    PARITY = 0x04
    FRAMING = 0x08
    """No stop bit: mostly a wrong rate or format."""
    BREAK = 0x10
    """It is no byte, but a break; it reads as zero."""


@record
class Modem(IntFlag):
    """The modem lines into it, as the modem status register has them."""

    NONE = 0
    CTS = 0x10
    DSR = 0x20
    RING = 0x40
    CARRIER = 0x80


@record
class Received:
    """What was read."""

    data: bytes
    faults: tuple[tuple[int, LineFault], ...] = ()
    """For each byte with faults its position in `data`, in order; an overrun may stand at the end, behind the last byte."""


@record
class Event:
    """What one interrupt was about."""

    received: Received
    room: int
    """So many bytes `try_write` would take now."""
    changed: Modem
    """The modem lines that have changed; RING when it has ended."""


class Uart:
    """One serial port, with its FIFOs off until `use_fifo`.

    Args:
        flow_control: bytes go only while CTS is on; what is on its way in the FIFO goes nevertheless. Whoever reads says by `set_lines`
            whether the other end may send.
    """

    def __init__(self, io: IoSpace, base: int = COM[0][0], *, flow_control: bool = False) -> None:
        self.io = io
        self.base = base
        self.flow_control = flow_control
        self._depth = 1
        self._faults = LineFault(0)  # of the byte that is read next: reading the line status clears them
        self._changed = Modem.NONE  # since the last event: reading the modem status clears it

    def detect(self) -> Kind:
        """Which UART it is. It is set as before, but that its FIFOs are off, and empty, and that it is in no loop, nor shows its divisor:
        whoever was killed in the middle may have left it so.

        Raises: DeviceAbsentError: what answers is no UART, or nothing does.
        """
        format_, control = self._in(LCR) & ~DLAB, self._in(MCR) & 0x1F & ~LOOP
        self._out(LCR, format_)
        enabled = self._in(IER)
        self._out(IER, 0)
        none = self._in(IER)
        self._out(IER, ALL_BUT_SENDING)  # that one would interrupt at once
        every = self._in(IER)
        self._out(IER, 0)
        self._out(MCR, LOOP | OUT2 | RTS)
        looped = self._in(MSR) & 0xF0
        self._out(MCR, control)
        self._in(MSR)  # what the loop has changed is no news
        self._changed = Modem.NONE
        if (none, every, looped) != (0, ALL_BUT_SENDING, Modem.CTS | Modem.CARRIER):
            raise DeviceAbsentError(f"no UART at {self.base:#x}: {none:#x}, {every:#x}, {looped:#x}, expected 0x0, 0xd, 0x90")
        kind = self._kind()
        self._out(IER, enabled & 0x0F)
        return kind

    def _kind(self) -> Kind:
        kept = self._in(SCRATCH)
        for value in (0x5A, 0xA5):
            self._out(SCRATCH, value)
            if self._in(SCRATCH) != value:
                return Kind.UART_8250
        self._out(SCRATCH, kept)
        self._out(FCR, FIFO_ON)
        shown = self._in(IIR) >> 6
        self._out(FCR, 0)
        self._depth = 1
        return {2: Kind.UART_16550, 3: Kind.UART_16550A}.get(shown, Kind.UART_16450)

    # --- how it is set ---

    def configure(self, baud: float, bits: int = 8, parity: Parity = Parity.NONE, stop: float = 1) -> float:
        """Set the rate and the format; what is on the wire at this time is spoilt (`drain` first). The rate that it really is, in baud.

        Args:
            bits: 5 to 8.
            stop: 1; 1.5 with 5 bits; 2 with more.

        Raises:
            ValueError: another format, or a rate that it cannot do to 3 %: 1.75 to 115,200 baud.
            DeviceError: it does not keep them.
        """
        divisor = round(FASTEST / baud) if baud > 0 else 0
        if not 1 <= divisor <= 0xFFFF or abs(FASTEST / divisor / baud - 1) > WORST_RATE:
            raise ValueError(f"{baud} baud: expected 115200 by a whole number to 65535, to 3 %")
        if bits not in (5, 6, 7, 8) or stop not in (1, 1.5 if bits == 5 else 2):
            raise ValueError(f"{bits} bits and {stop} stop bits: expected 5 bits and 1 or 1.5, or 6 to 8 bits and 1 or 2")
        format_ = bits - 5 | (0 if stop == 1 else 4) | Parity(parity)
        self._out(LCR, format_ | DLAB)
        self._out(DATA, divisor & 0xFF)
        self._out(IER, divisor >> 8)
        kept = self._in(IER) << 8 | self._in(DATA)
        self._out(LCR, format_)
        if (kept, self._in(LCR)) != (divisor, format_):
            raise DeviceError(f"UART at {self.base:#x}: it keeps the divisor {kept} and not {divisor}, or not the format {format_:#x}")
        return FASTEST / divisor

    def use_fifo(self, trigger: int | None = 14) -> None:
        """Switch the FIFOs on, or off. Both are empty then.

        Args:
            trigger: it interrupts when 1, 4, 8 or 14 bytes have come. None: no FIFOs.

        Raises: ValueError: another number; DeviceError: it has none that work, see `detect`.
        """
        if trigger is not None and trigger not in TRIGGERS:
            raise ValueError(f"a trigger of {trigger!r} bytes: expected 1, 4, 8, 14 or None")
        self._depth = 1
        self._faults = LineFault(0)
        self._out(FCR, 0)
        if trigger is None:
            return
        self._out(FCR, FIFO_ON | CLEAR_RECEIVED | CLEAR_SENDING | TRIGGERS[trigger])
        if self._in(IIR) >> 6 != 3:
            self._out(FCR, 0)
            raise DeviceError(f"UART at {self.base:#x}: it has no FIFOs that work")
        self._depth = FIFO

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Data terminal ready: we are here. Request to send: the other end may send, if it heeds this."""
        kept = self._in(MCR) & ~(DTR | RTS) & 0x1F
        self._out(MCR, kept | (DTR if dtr else 0) | (RTS if rts else 0))

    def lines(self) -> Modem:
        """The lines from the other end."""
        return self._modem()

    def enable(self, sources: Source) -> None:
        """Let these interrupt, and no others. One that waits already interrupts at once; MAY_SEND does if there is nothing to send."""
        control = self._in(MCR) & 0x1F
        self._out(MCR, control | OUT2 if sources else control & ~OUT2)
        self._out(IER, int(sources) & 0x0F)

    # --- without waiting ---

    def try_read(self, most: int = 1024) -> Received:
        """The bytes that have come, which may be none."""
        data = bytearray()
        faults = []
        while len(data) < most:
            status = self._line()
            if self._faults:
                faults.append((len(data), self._faults))
                self._faults = LineFault(0)
            if not status & HAS_DATA:
                break
            data.append(self._in(DATA))
        return Received(bytes(data), tuple(faults))

    def try_write(self, data: bytes) -> int:
        """Send what the device takes now, from the beginning; how many bytes, which may be 0."""
        count = min(self.room(), len(data))
        if count:
            self.io.outsb(self.base + DATA, data[:count])
        return count

    def room(self) -> int:
        """So many bytes `try_write` would take now. It does not say how full a FIFO is, so that is all of it or nothing."""
        if not self._line() & MAY_SEND or (self.flow_control and Modem.CTS not in self._modem()):
            return 0
        return self._depth

    def interrupt(self) -> Event:
        """Handle an interrupt: read all that has come, and all causes. The line is low after it, so the next one is a new edge.

        An interrupt of somebody else on the same line is an event with nothing in it, but for `room`.

        Raises: DeviceError: the causes do not end; DeviceAbsentError.
        """
        data = b""
        faults: list[tuple[int, LineFault]] = []
        for _ in range(MOST_CAUSES):
            cause = self._in(IIR)
            if cause & IIR_NOTHING:
                break
            if cause & IIR_CAUSE == IIR_MODEM:
                self._modem()
            part = self.try_read(4 * FIFO)  # reads the line status, too
            faults += [(len(data) + at, fault) for at, fault in part.faults]
            data += part.data
        else:
            if not data and not faults:
                raise DeviceError(f"UART at {self.base:#x}: {MOST_CAUSES} interrupts at once, the last one {cause:#x}")
            enabled = self._in(IER)  # bytes come as fast as they are read: down and up again, so that there is an edge for the next ones
            self._out(IER, 0)
            self._out(IER, enabled)
        room = self.room()
        changed, self._changed = self._changed, Modem.NONE
        return Event(Received(data, tuple(faults)), room, changed)

    # --- with waiting ---

    async def read(self, most: int, timeout: float) -> Received:
        """At least one byte or fault, and up to `most` bytes that have come.

        Raises: DeviceTimeoutError: nothing has come; DeviceAbsentError.
        """
        if most < 1:
            raise ValueError(f"read {most} bytes: expected at least 1")

        def ready() -> Received | None:
            found = self.try_read(most)
            return found if found.data or found.faults else None

        found = await self.io.until(ready, timeout, f"UART at {self.base:#x}: a byte")
        assert found is not None  # `until` returns what is true
        return found

    async def write(self, data: bytes, timeout: float) -> None:
        """Hand all bytes to the device. Its FIFO may hold the last ones yet: see `drain`.

        Raises: DeviceTimeoutError, which says how many it has taken; they are sent nevertheless.
        """
        deadline = self.io.now() + timeout
        done = 0
        while done < len(data):
            left = max(0.0, deadline - self.io.now())
            try:
                await self.io.until(self.room, left, "room")
            except DeviceTimeoutError:
                why = "CTS is off" if self.flow_control and Modem.CTS not in self._modem() else f"line status {self._line():#x}"
                text = f"UART at {self.base:#x}: it has taken {done} of {len(data)} bytes within {timeout:g} s: {why}"
                raise DeviceTimeoutError(text) from None
            done += self.try_write(data[done:])

    async def drain(self, timeout: float) -> None:
        """Wait until the last bit is on the wire.

        Raises: DeviceTimeoutError; DeviceAbsentError.
        """
        await self.io.until(lambda: self._line() & IS_IDLE, timeout, f"UART at {self.base:#x}: all sent")

    async def send_break(self, seconds: float) -> None:
        """Hold the line as no byte does: for longer than one takes. The end of what was written goes before, for at most 10 s.

        Raises: DeviceTimeoutError: that does not end.
        """
        await self.drain(10)
        format_ = self._in(LCR)
        self._out(LCR, format_ | BREAK_ON)
        try:
            await self.io.pause(seconds)
        finally:
            self._out(LCR, format_ & ~BREAK_ON)

    async def self_test(self, timeout: float = 1.0) -> None:
        """Send to itself, nothing of which is seen outside, and look at the modem lines. What has come and was not read is lost.

        Args:
            timeout: of each byte.

        Raises: DeviceError: something else came back; DeviceTimeoutError: nothing; DeviceAbsentError.
        """
        control, enabled = self._in(MCR), self._in(IER)
        self._out(IER, 0)
        self._out(MCR, LOOP)
        try:
            await self.drain(timeout)
            self.try_read()
            mask = (1 << (self._in(LCR) & 3) + 5) - 1
            for byte in (each & mask for each in PATTERN):
                self._out(DATA, byte)
                came = await self.read(1, timeout)
                if came != Received(bytes((byte,))):
                    raise DeviceError(f"UART at {self.base:#x}: {byte:#x} came back as {came}")
            for out, back in ((DTR, Modem.DSR), (RTS, Modem.CTS), (OUT2, Modem.CARRIER), (0, Modem.NONE)):
                self._out(MCR, LOOP | out)
                if self._modem() != back:
                    raise DeviceError(f"UART at {self.base:#x}: {out:#x} of the modem control came back as {self._modem()!r}")
        finally:
            self._out(MCR, control & 0x1F)
            self._modem()
            self._changed = Modem.NONE
            self._out(IER, enabled & 0x0F)

    # --- registers ---

    def _line(self) -> int:
        """The line status; its errors are kept for whoever reads the byte."""
        status = self._in(LSR)
        if status == 0xFF:  # all errors at once, while it is idle
            raise DeviceAbsentError(f"no UART at {self.base:#x}: its line status is 0xff")
        self._faults |= LineFault(status & 0x1E)
        return status

    def _modem(self) -> Modem:
        """The lines; which of them have changed is kept for the next event."""
        status = self._in(MSR)
        self._changed |= Modem((status & 0x0F) << 4)
        return Modem(status & 0xF0)

    def _in(self, register: int) -> int:
        return self.io.inb(self.base + register)

    def _out(self, register: int, value: int) -> None:
        self.io.outb(self.base + register, value)


def find(io: IoSpace) -> list[tuple[Uart, int, Kind]]:
    """The serial ports of a PC, with the interrupts and kinds: those of `COM` that answer."""
    found = []
    for base, irq in COM:
        uart = Uart(io, base)
        try:
            found.append((uart, irq, uart.detect()))
        except DeviceAbsentError:
            continue
    return found
