"""An 82077AA floppy controller, and a drive of it for 1.44 MB disks.

Source: Intel 82077AA data sheet (290166-007); IBM PC AT Technical Reference, byte 0x10 of the CMOS memory.

Covers: detection, reset, motor, recalibrate, seek, READ ID, reading and writing sectors by DMA, the disk change line, no disk, write
protection. Not: other formats, formatting, transfers without DMA, two drives at a time.

A command that does not end well, or whose caller is cancelled or killed, leaves the controller unsettled: it is reset before its next use.
"""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn

from drivers.devices.dma import LIMIT, Direction, Dma
from drivers.devices.exclusive import Exclusive
from drivers.errors import DeviceAbsentError, DeviceError, DeviceTimeoutError
from drivers.space import IoSpace

BASE: Final = 0x3F0
CHANNEL: Final = 2
"""Of DMA. The interrupt is 6."""
OUTPUT, MAIN_STATUS, FIFO, RATE = 2, 4, 5, 7
INPUT: Final = RATE  # when it is read
NOT_RESET, GATE = 0x04, 0x08  # of the output register; the motors are bits 4 to 7
REQUEST, TO_US, BUSY = 0x80, 0x40, 0x10  # of the main status
CHANGED: Final = 0x80
RATE_500: Final = 0  # kbit/s

READ, WRITE, READ_ID = 0xC6, 0xC5, 0x4A  # both heads, MFM
SPECIFY, SENSE_DRIVE, RECALIBRATE, SENSE_INTERRUPT, SEEK, VERSION, CONFIGURE = 0x03, 0x04, 0x07, 0x08, 0x0F, 0x10, 0x13
NAMES: Final = {READ: "READ DATA", WRITE: "WRITE DATA", READ_ID: "READ ID", RECALIBRATE: "RECALIBRATE", SEEK: "SEEK"}
TIMES: Final = (0xDF, 0x02)  # steps of 3 ms, the head is unloaded after 240 ms and loaded within 2 ms; with DMA
SETTINGS: Final = (0x00, 0x18, 0x00)  # FIFO of 8 bytes, no polling of drives, no implied seek
ENHANCED: Final = 0x90  # an answer to VERSION
INVALID: Final = 0x80
SEEK_DONE, EQUIPMENT, FAILED = 0x20, 0x10, 0xC0  # of ST0
PROTECTED: Final = 0x40  # of ST3
ERRORS: Final = (  # of ST1, and of ST2
    {0x80: "no more sectors", 0x20: "CRC", 0x10: "overrun", 0x04: "no such sector", 0x02: "write-protected", 0x01: "no address mark"},
    {0x40: "deleted", 0x20: "CRC in the data", 0x10: "wrong cylinder", 0x02: "bad cylinder", 0x01: "no data mark"},
)

CMOS: Final = 0x70
TYPES: Final = 0x10  # the byte: the first drive is its high half, the second one its low half
TYPE_1440: Final = 4

SECTOR, SECTORS, HEADS, CYLINDERS = 512, 18, 2, 80
CAPACITY: Final = SECTORS * HEADS * CYLINDERS
CYLINDER: Final = SECTORS * HEADS
CYLINDER_SIZE: Final = CYLINDER * SECTOR
BUFFER: Final = 0x10000
GAP, NO_LENGTH = 0x1B, 0xFF
BYTE_TIMEOUT, SEEK_TIMEOUT, TRANSFER_TIMEOUT = (
    0.5,
    3.0,
    3.0,
)  # seconds; a cylinder takes two turns of 0.2 s, and one that is not found two more
POLL_TIMEOUT: Final = 0.1
SPIN_UP: Final = 0.5
SETTLE: Final = 0.015  # seconds until the head is quiet after its steps, as the AT's BIOS has it


class Id(NamedTuple):
    """What a sector's header says: sectors are numbered from 1."""

    cylinder: int
    head: int
    sector: int


class Floppy:
    """A drive, with its controller. Call `start` first.

    Sectors are numbered from 0, through both heads of a cylinder. The motor is on from the first use until `stop_motor`.

    Args:
        unit: the drive, 0 or 1.
        buffer: the address of 18 KiB below 16 MiB that nobody else uses; they must not cross a multiple of 64 KiB.
        spin_up: seconds until the disk turns as fast as it must.
    """

    sector_size: Final = SECTOR
    sectors: Final = CAPACITY

    def __init__(self, io: IoSpace, base: int = BASE, *, unit: int = 0, buffer: int = BUFFER, spin_up: float = SPIN_UP) -> None:
        if unit not in (0, 1):
            raise ValueError(f"{unit!r} is no floppy drive: expected 0 or 1")
        if not 0 <= buffer <= LIMIT - CYLINDER_SIZE or buffer % 65536 > 65536 - CYLINDER_SIZE:
            raise ValueError(f"a buffer at {buffer:#x}: expected {CYLINDER_SIZE} bytes below 16 MiB that do not cross a multiple of 64 KiB")
        self.io = io
        self.base = base
        self.unit = unit
        self.changes = 0
        """So often a disk was found that may be another one than before; 1 after the first use."""
        self.is_read_only = False
        """Is that disk write-protected? `is_protected` looks again."""
        self._buffer = buffer
        self._spin_up = spin_up
        self._dma = Dma(io)
        self._exclusive = Exclusive(str(self))
        self._is_settled = False
        self._turns_since: float | None = None
        self._is_new = True  # the disk, until something was found out about it
        self._cylinder = -1  # where the head is; -1: nobody knows

    async def start(self) -> None:
        """Find the controller and the drive, and reset it.

        Raises: DeviceAbsentError: no controller, or the CMOS memory says that there is no drive; DeviceError: another controller, or
            another kind of drive; DeviceTimeoutError.
        """
        with self._exclusive.use():
            if self.io.inb(self.base + MAIN_STATUS) == 0xFF:
                raise DeviceAbsentError(f"{self}: no controller answers")
            kind = self.drive_type()
            if kind == 0:
                raise DeviceAbsentError(f"{self}: the CMOS memory says that there is no drive")
            if kind not in (TYPE_1440, None):
                raise DeviceError(f"{self}: the CMOS memory says that the drive is of type {kind}: expected {TYPE_1440}, 1.44 MB")
            self._dma.detect()
            await self._reset()

    def drive_type(self) -> int | None:
        """What the CMOS memory says that the drive is: 0: there is none, 4: one for 1.44 MB. None: there is no such memory."""
        self.io.outb(CMOS, TYPES)
        found = self.io.inb(CMOS + 1)
        return None if found == 0xFF else found >> 4 if self.unit == 0 else found & 15

    @property
    def is_changed(self) -> bool:
        """Was the disk taken out since the last use? True also if there is none. The motor need not be on."""
        self._select()
        return bool(self.io.inb(self.base + INPUT) & CHANGED)

    async def is_protected(self) -> bool:
        """Is the disk write-protected? Raises: as `read`."""
        with self._exclusive.use():
            await self._ready()
            return await self._look()

    async def read(self, lba: int, count: int) -> bytes:
        """The data of `count` sectors from `lba` on.

        Raises:
            ValueError: they are not all on a disk.
            DeviceError: there is no disk, or another one than when this began, or the controller reports an error; the message says which,
                and where.
            DeviceTimeoutError: it does not become ready.
            RuntimeError: the drive is in use.
        """
        self._check(lba, count)
        pieces = []
        disk = 0
        with self._exclusive.use():
            while count:
                some = min(count, CYLINDER - lba % CYLINDER)
                disk = await self._transfer(READ, lba, some * SECTOR, disk)
                pieces.append(self.io.load(self._buffer, some * SECTOR))
                lba += some
                count -= some
        return b"".join(pieces)

    async def write(self, lba: int, data: bytes) -> None:
        """Write whole sectors from `lba` on. They are on the disk then. Raises: as `read`; ValueError also if they are no whole sectors."""
        if len(data) % SECTOR:
            raise ValueError(f"{self}: {len(data)} bytes are no whole sectors of {SECTOR}")
        self._check(lba, len(data) // SECTOR)
        with self._exclusive.use():
            at = disk = 0
            while at < len(data):
                piece = data[at : at + (CYLINDER - lba % CYLINDER) * SECTOR]
                self.io.store(self._buffer, piece)
                disk = await self._transfer(WRITE, lba, len(piece), disk)
                at += len(piece)
                lba += len(piece) // SECTOR

    async def flush(self) -> None:
        """Nothing: what was written is on the disk."""

    async def read_id(self, head: int = 0) -> Id:
        """The next sector that comes by under a head, of the cylinder where it is. Raises: as `read`."""
        if head not in (0, 1):
            raise ValueError(f"{self}: {head!r} is no head: expected 0 or 1")
        with self._exclusive.use():
            await self._ready()
            result = await self._command(READ_ID, head << 2 | self.unit, answers=7, timeout=TRANSFER_TIMEOUT)
            if result[0] & FAILED:
                self._fail(READ_ID, result)
            return Id(*result[3:6])

    async def seek(self, cylinder: int) -> None:
        """Move the head: `read` and `write` do it by themselves. Raises: as `read`."""
        if not 0 <= cylinder < CYLINDERS:
            raise ValueError(f"{self}: {cylinder} is no cylinder: expected 0 to {CYLINDERS - 1}")
        with self._exclusive.use():
            await self._ready()
            await self._seek(cylinder)

    def stop_motor(self) -> None:
        """It goes on by itself at the next use."""
        self._turns_since = None
        self._select()

    # --- a transfer ---

    def _check(self, lba: int, count: int) -> None:
        if lba < 0 or count < 0 or lba + count > CAPACITY:
            raise ValueError(f"{self}: {count} sectors from {lba} on: it has {CAPACITY}")

    async def _transfer(self, command: int, lba: int, size: int, disk: int) -> int:
        """All on one cylinder. The count of the DMA channel ends it. Which disk it was, as `changes` counts: `disk`, unless that is 0."""
        cylinder, rest = divmod(lba, CYLINDER)
        head, sector = divmod(rest, SECTORS)
        await self._ready()
        if disk not in (0, self.changes):
            raise DeviceError(f"{self}: {NAMES[command]} at sector {lba}: the disk was taken out in the midst of it")
        if self._cylinder != cylinder:
            await self._seek(cylinder)
        self._dma.program(CHANNEL, self._buffer, size, Direction.TO_MEMORY if command == READ else Direction.FROM_MEMORY)
        place = (cylinder, head, sector + 1)
        result = await self._command(
            *(command, head << 2 | self.unit, *place, 2, SECTORS, GAP, NO_LENGTH), answers=7, timeout=TRANSFER_TIMEOUT
        )
        if result[0] & FAILED:
            self._fail(command, result)
        if left := self._dma.left(CHANNEL):
            self._is_settled = False
            raise DeviceError(f"{self}: {NAMES[command]} of {size} bytes at sector {lba}: it has moved {size - left} of them")
        return self.changes

    async def _ready(self) -> None:
        """The controller is settled, the motor turns, and there is a disk."""
        if not self._is_settled:
            await self._reset()
        if self._turns_since is None:
            self._turns_since = self.io.now()
        self._is_new = self.is_changed or self._is_new  # the motor's bit, too, is written here
        rest = self._turns_since + self._spin_up - self.io.now()
        if rest > 0:
            await self.io.pause(rest)
        if self._cylinder < 0:
            await self._recalibrate()
        if not self._is_new:
            return
        if self.is_changed:  # a step takes the signal back, if there is a disk
            await self._seek(1 if self._cylinder == 0 else 0)
        if self.is_changed:
            raise DeviceError(f"{self}: there is no disk")
        await self._look()
        self.changes += 1
        self._is_new = False

    async def _look(self) -> bool:
        self.is_read_only = bool((await self._command(SENSE_DRIVE, self.unit, answers=1))[0] & PROTECTED)
        return self.is_read_only

    async def _reset(self) -> None:
        self._is_settled = False
        self._cylinder = -1
        self._dma.mask(CHANNEL)
        self.io.outb(self.base + OUTPUT, self._output() & ~NOT_RESET)
        await self.io.pause(20e-6)
        self.io.outb(self.base + OUTPUT, self._output())
        self.io.outb(self.base + RATE, RATE_500)
        deadline = self.io.now() + POLL_TIMEOUT
        for unit in range(4):  # each drive has a status when it was polled, and until then there is none to ask for
            while (found := await self._command(SENSE_INTERRUPT, answers=2))[0] == INVALID and self.io.now() < deadline:
                await self.io.pause(1e-3)
            if found[0] != 0xC0 | unit:
                raise DeviceError(f"{self}: status {found[0]:#04x} after a reset: expected {0xC0 | unit:#04x}")
        version = (await self._command(VERSION, answers=1))[0]
        if version != ENHANCED:
            raise DeviceError(f"{self}: it says that its version is {version:#04x}: expected {ENHANCED:#04x}, an 82077AA")
        await self._command(CONFIGURE, *SETTINGS, answers=0)
        await self._command(SPECIFY, *TIMES, answers=0)
        self._is_settled = True

    async def _recalibrate(self) -> None:
        for _ in range(2):  # a head beyond cylinder 79 needs more steps than one has
            await self._command(RECALIBRATE, self.unit, answers=0)
            status = (await self._arrival(RECALIBRATE))[0]
            if not status & FAILED:
                self._cylinder = 0
                return
        self._is_settled = False
        raise DeviceError(f"{self}: RECALIBRATE does not find cylinder 0, ST0 {status:#04x}: there may be no drive")

    async def _seek(self, cylinder: int) -> None:
        self._cylinder = -1
        await self._command(SEEK, self.unit, cylinder, answers=0)
        status, there = await self._arrival(SEEK)
        if status & FAILED or there != cylinder:
            self._is_settled = False
            raise DeviceError(f"{self}: SEEK to cylinder {cylinder}: it is at {there}, ST0 {status:#04x}")
        self._cylinder = cylinder

    async def _arrival(self, command: int) -> bytes:
        """ST0 and the cylinder, when the head has arrived. Asking before that is an invalid command."""
        deadline = self.io.now() + SEEK_TIMEOUT
        while True:
            found = await self._command(SENSE_INTERRUPT, answers=2)
            if found[0] & (SEEK_DONE | 3) == SEEK_DONE | self.unit:
                await self.io.pause(SETTLE)
                return found
            if self.io.now() >= deadline:
                self._is_settled = False
                raise DeviceTimeoutError(f"{self}: {NAMES[command]}: not within {SEEK_TIMEOUT:g} s")
            await self.io.pause(1e-3)

    def _fail(self, command: int, result: bytes) -> NoReturn:
        self._is_settled = False
        names = [name for status, known in zip(result[1:3], ERRORS, strict=True) for bit, name in known.items() if status & bit]
        raise DeviceError(
            f"{self}: {NAMES[command]}: {', '.join(names) or 'no error bit'} at cylinder {result[3]}, head {result[4]}, sector {result[5]}"
            f" (ST0 to ST2 {result[:3].hex(' ')})"
        )

    # --- the controller ---

    async def _command(self, *parameters: int, answers: int, timeout: float = BYTE_TIMEOUT) -> bytes:
        """Send a command, and take its result; one byte, 0x80, if it is invalid. Unsettled while it is under way."""
        was_settled, self._is_settled = self._is_settled, False
        for byte in parameters:
            await self._wait(REQUEST, REQUEST | TO_US, BYTE_TIMEOUT, "ready for a command")
            self.io.outb(self.base + FIFO, byte)
        result = bytearray()
        while len(result) < answers and result != bytes([INVALID]):
            await self._wait(REQUEST | TO_US | BUSY, REQUEST | TO_US | BUSY, BYTE_TIMEOUT if result else timeout, "a result")
            result.append(self.io.inb(self.base + FIFO))
        if len(result) < answers and parameters[0] != SENSE_INTERRUPT:  # which is, if there is none
            raise DeviceError(f"{self}: the command {parameters[0]:#04x} is invalid, it says")
        self._is_settled = was_settled
        return bytes(result)

    async def _wait(self, wanted: int, mask: int, timeout: float, what: str) -> None:
        io, port = self.io, self.base + MAIN_STATUS
        if io.inb(port) & mask != wanted:
            said = f"{self}: {what}"
            await io.until(lambda: io.inb(port) & mask == wanted, timeout, lambda: f"{said}, main status {io.inb(port):#04x}")

    def _output(self) -> int:
        return NOT_RESET | GATE | self.unit | (0x10 << self.unit if self._turns_since is not None else 0)

    def _select(self) -> None:
        self.io.outb(self.base + OUTPUT, self._output())

    def __str__(self) -> str:
        return f"floppy {self.base:#x} drive {self.unit}"
