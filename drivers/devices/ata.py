"""ATA disks by programmed I/O, on the two channels that a PC has.

Source: ATA/ATAPI-6 (T13/1410D revision 3b): registers (7), commands (8), protocols (9).

Covers: detection of disks and packet devices (CD-ROM drives), IDENTIFY DEVICE, software reset, READ and WRITE SECTORS and MULTIPLE, with
28 and 48 bits of LBA, FLUSH CACHE, write protection as removable disks tell it, errors, interrupts on or off. Not: DMA, packet commands,
cylinders and heads, sectors of other than 512 bytes, power management, security.

A command that does not end well, or whose caller is cancelled or killed, leaves the channel unsettled: it is reset before its next use.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, NamedTuple, NoReturn

from drivers.devices.exclusive import Exclusive
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

PRIMARY: Final = (0x1F0, 0x3F6)
"""Its command and its control block; interrupt 14."""
SECONDARY: Final = (0x170, 0x376)
"""The same; interrupt 15."""

SECTOR: Final = 512
WORDS: Final = SECTOR // 2
FEATURES, COUNT, LOW, MIDDLE, HIGH, DEVICE, COMMAND = 1, 2, 3, 4, 5, 6, 7
ERROR, STATUS = FEATURES, COMMAND  # when they are read
BSY, DRDY, DF, DRQ, ERR = 0x80, 0x40, 0x20, 0x08, 0x01
HIGH_ORDER, SOFTWARE_RESET, NO_INTERRUPTS = 0x80, 0x04, 0x02  # of the control register
LBA, UNIT = 0x40, 0x10  # of the device register
ERRORS: Final = ((0x80, "ICRC"), (0x40, "UNC"), (0x20, "MC"), (0x10, "IDNF"), (0x08, "MCR"), (0x04, "ABRT"), (0x02, "NM"))
WRITE_PROTECTED: Final = 0x40  # is UNC of what reads
FLOATING: Final = (0xFF, 0x7F)  # nobody drives the bus; a resistor may pull bit 7 down

LIMIT_28: Final = 1 << 28
MOST_28, MOST_48 = 256, 65536  # sectors of a command
RESET_PULSE, RESET_QUIET, RESET_TIMEOUT = 5e-6, 2e-3, 31.0  # seconds (9.2)
TIMEOUT: Final = 10.0  # seconds for each of a command's steps: a disk may have to spin up
FLUSH_STEPS: Final = 4  # so many times that: FLUSH CACHE may take longer than 30 s, its description says


class Kind(Enum):
    """What a unit is."""

    NOTHING = "nothing"
    DISK = "a disk"
    PACKET = "a packet device"
    """A CD-ROM drive, for example."""


class Command(NamedTuple):
    """Its code, and its name for messages."""

    code: int
    name: str


IDENTIFY, IDENTIFY_PACKET = Command(0xEC, "IDENTIFY DEVICE"), Command(0xA1, "IDENTIFY PACKET DEVICE")
SET_MULTIPLE, MEDIA_STATUS = Command(0xC6, "SET MULTIPLE MODE"), Command(0xDA, "GET MEDIA STATUS")
FLUSH, FLUSH_EXT = Command(0xE7, "FLUSH CACHE"), Command(0xEA, "FLUSH CACHE EXT")
READ: Final = {  # by: is it MULTIPLE, is it EXT
    (False, False): Command(0x20, "READ SECTORS"),
    (False, True): Command(0x24, "READ SECTORS EXT"),
    (True, False): Command(0xC4, "READ MULTIPLE"),
    (True, True): Command(0x29, "READ MULTIPLE EXT"),
}
WRITE: Final = {
    (False, False): Command(0x30, "WRITE SECTORS"),
    (False, True): Command(0x34, "WRITE SECTORS EXT"),
    (True, False): Command(0xC5, "WRITE MULTIPLE"),
    (True, True): Command(0x39, "WRITE MULTIPLE EXT"),
}

SIGNATURES: Final = {
    (0x00, 0x00): IDENTIFY,
    (0x3C, 0xC3): IDENTIFY,  # of SATA
    (0x14, 0xEB): IDENTIFY_PACKET,
    (0x69, 0x96): IDENTIFY_PACKET,  # of SATA
}


class AtaChannel:
    """A channel, and what is on it. One transfer at a time: a second one is a RuntimeError, of whichever disk of the channel.

    One object a channel: a second one's reset takes from the first one's disks the settings that it counts on.

    Args:
        timeout: seconds for each step of a command; four times as many for a flush.
    """

    def __init__(self, io: IoSpace, base: int = PRIMARY[0], control: int = PRIMARY[1], *, timeout: float = TIMEOUT) -> None:
        self.io = io
        self.base = base
        self.control = control
        self.timeout = timeout
        self.resets = 0
        """So many of `reset`: disks have forgotten their settings at each."""
        self.exclusive = Exclusive(str(self))
        """Of a transfer, of whichever disk."""
        self._is_settled = False
        self._control = NO_INTERRUPTS
        self._found: list[tuple[Kind, bytes]] = []

    async def detect(self) -> tuple[Kind, Kind]:
        """What the units 0 and 1 (master and slave) are; they are reset.

        Raises: DeviceAbsentError: there is nothing on the channel; DeviceTimeoutError: something stays busy.
        """
        with self.exclusive.use():
            await self.reset()
            self._is_settled = False
            self._found = [await self._identify(unit) for unit in (0, 1)]
            self._is_settled = True
        kinds = self._found[0][0], self._found[1][0]
        if kinds == (Kind.NOTHING, Kind.NOTHING):
            raise DeviceAbsentError(f"{self}: no device answers")
        return kinds

    async def disk(self, unit: int) -> AtaDisk:
        """The disk that was detected as a unit, 0 or 1; `detect` is called if it was not yet.

        Raises: ValueError: there is no such unit; DeviceAbsentError: it is no disk; DeviceError: a disk that this driver cannot use, or
            what it says of itself makes no sense; DeviceTimeoutError.
        """
        if unit not in (0, 1):
            raise ValueError(f"{unit!r} is no unit of an ATA channel: expected 0 or 1")
        if not self._found:
            await self.detect()
        kind, identity = self._found[unit]
        if kind is not Kind.DISK:
            raise DeviceAbsentError(f"{self} unit {unit} is {kind.value}, and no disk")
        disk = AtaDisk(self, unit, identity)
        with self.exclusive.use():
            await disk.settle()
        return disk

    def set_interrupts(self, on: bool) -> None:
        """Let the disks interrupt (nIEN). They are off at first: this driver looks at the status, and needs none."""
        self._control = 0 if on else NO_INTERRUPTS
        self.io.outb(self.control, self._control)

    async def reset(self) -> None:
        """A software reset of both units: whatever they do is given up. Done by itself when it is needed.

        Raises: DeviceAbsentError: nobody drives the bus; DeviceTimeoutError: a unit stays busy.
        """
        io = self.io
        self.resets += 1
        self._is_settled = False
        io.outb(self.control, SOFTWARE_RESET | NO_INTERRUPTS)
        await io.pause(RESET_PULSE)
        io.outb(self.control, self._control)
        await io.pause(RESET_QUIET)
        floating = 0
        for unit in (0, 1):
            io.outb(self.base + DEVICE, unit * UNIT)
            status = await io.until(self._settled, RESET_TIMEOUT, f"{self} unit {unit}: the end of its reset")
            floating += status - 1 in FLOATING
        if floating == 2:
            raise DeviceAbsentError(f"{self}: nobody drives the bus")
        self._is_settled = True

    def _settled(self) -> int:
        """The status + 1, if it is no longer busy."""
        status = self.io.inb(self.control)
        return 0 if status & BSY and status not in FLOATING else status + 1

    async def _identify(self, unit: int) -> tuple[Kind, bytes]:
        """What a unit is, and what it says of itself. An absent one has no status, or one that never is ready, or refuses to say."""
        io = self.io
        io.outb(self.base + DEVICE, unit * UNIT)
        signature = io.inb(self.base + MIDDLE), io.inb(self.base + HIGH)
        command = SIGNATURES.get(signature)
        if command is None or io.inb(self.control) in FLOATING:
            return Kind.NOTHING, b""
        io.outb(self.base + COMMAND, command.code)
        self._let_status_settle()
        if io.inb(self.base + STATUS) == 0:
            return Kind.NOTHING, b""
        status = await io.until(self.status_if_ready, self.timeout, f"{self} unit {unit}: {command.name}")
        if status & (ERR | DF):
            return Kind.NOTHING, b""
        if not status & DRQ:
            raise DeviceError(f"{self} unit {unit}: {command.name} without data, status {status:#04x}")
        return Kind.DISK if command is IDENTIFY else Kind.PACKET, io.insw(self.base, WORDS)

    # --- of its disks ---

    @property
    def is_settled(self) -> bool:
        """Has all that was begun ended well?"""
        return self._is_settled

    async def command(self, unit: int, command: Command, count: int = 0, lba: int = 0, *, is_extended: bool = False) -> None:
        """Begin one, when the unit is ready. Until `done` the channel is unsettled."""
        io, base = self.io, self.base
        self._is_settled = False
        io.outb(base + DEVICE, LBA | unit * UNIT | (0 if is_extended else lba >> 24))
        self._let_status_settle()
        if io.inb(base + STATUS) & (BSY | DRQ | DRDY) != DRDY:
            await io.until(self._is_idle, self.timeout, f"{self} unit {unit}: ready for {command.name}")
        if is_extended:
            io.outb(base + COUNT, count >> 8 & 0xFF)
            io.outb(base + LOW, lba >> 24 & 0xFF)
            io.outb(base + MIDDLE, lba >> 32 & 0xFF)
            io.outb(base + HIGH, lba >> 40 & 0xFF)
        io.outb(base + COUNT, count & 0xFF)
        io.outb(base + LOW, lba & 0xFF)
        io.outb(base + MIDDLE, lba >> 8 & 0xFF)
        io.outb(base + HIGH, lba >> 16 & 0xFF)
        io.outb(base + COMMAND, command.code)
        self._let_status_settle()

    def _let_status_settle(self) -> None:
        """400 ns pass until the status is right: four reads take as long on a real bus."""
        for _ in range(4):
            self.io.inb(self.control)

    def done(self) -> None:
        """What was begun has ended well."""
        self._is_settled = True

    def status_if_ready(self) -> int:
        """The status when it is not busy and has data, or an error; else 0."""
        status = self.io.inb(self.base + STATUS)
        return 0 if status & BSY else status & (DRQ | ERR | DF)

    def status_if_over(self) -> int:
        """The status when it is not busy, and ready; else 0."""
        status = self.io.inb(self.base + STATUS)
        return 0 if status & BSY else status & (DRDY | DRQ | ERR | DF)

    def _is_idle(self) -> bool:
        return self.io.inb(self.base + STATUS) & (BSY | DRQ | DRDY) == DRDY

    def error_address(self, is_extended: bool) -> int:
        """The sector that the registers name."""
        io, base = self.io, self.base
        lba = io.inb(base + LOW) | io.inb(base + MIDDLE) << 8 | io.inb(base + HIGH) << 16
        if not is_extended:
            return lba | (io.inb(base + DEVICE) & 15) << 24
        io.outb(self.control, self._control | HIGH_ORDER)
        lba |= io.inb(base + LOW) << 24 | io.inb(base + MIDDLE) << 32 | io.inb(base + HIGH) << 40
        io.outb(self.control, self._control)
        return lba

    def __str__(self) -> str:
        return f"ATA channel {self.base:#x}"


class AtaDisk:
    """A disk, made by `AtaChannel.disk`. Sectors are numbered from 0.

    A call that is cancelled may have moved any part of its sectors. So may one that fails.
    """

    sector_size: Final = SECTOR

    def __init__(self, channel: AtaChannel, unit: int, identity: bytes) -> None:
        words = struct.unpack("<256H", identity)
        self.channel = channel
        self.unit = unit
        self.model = _text(identity, 27, 20)
        self.serial = _text(identity, 10, 10)
        self.firmware = _text(identity, 23, 4)
        self.has_lba48 = words[83] & 0xC400 == 0x4400  # the highest bits say that the word is valid
        few, many = words[60] | words[61] << 16, int.from_bytes(identity[200:208], "little")
        self.sectors = many if self.has_lba48 else few
        """How many it has."""
        self.is_read_only = False
        """Is its medium write-protected, as far as it tells?"""
        self.most_multiple = 1 << (words[47] & 0xFF).bit_length() >> 1
        """Sectors that it can move at once; 0: it has no such mode."""
        self.multiple = self.most_multiple
        """Sectors that it moves at once, of READ and WRITE MULTIPLE; 0: these commands are not used."""
        self._tells_protection = words[82] & 0x0004 != 0
        self._resets = 0  # of the channel, when its settings were made
        if not words[49] & 0x0200:
            raise DeviceError(f"{self} has no LBA: word 49 of its identity is {words[49]:#06x}")
        if not 0 < self.sectors <= (1 << 48 if self.has_lba48 else LIMIT_28):
            raise DeviceError(f"{self} says that it has {self.sectors} sectors")
        if words[106] & 0xD000 == 0x5000:
            raise DeviceError(f"{self} has sectors of {2 * (words[117] | words[118] << 16)} bytes: expected {SECTOR}")

    async def read(self, lba: int, count: int) -> bytes:
        """The data of `count` sectors from `lba` on.

        Raises:
            ValueError: they are not all on the disk.
            DeviceError: the disk reports an error; the message has its bits, and the sector if it names one.
            DeviceTimeoutError: it does not become ready.
            RuntimeError: the channel is in use.
        """
        self._check(lba, count)
        pieces: list[bytes] = []
        channel = self.channel
        with channel.exclusive.use():
            while count:
                some, is_extended = self._portion(lba, count)
                await self._read(lba, some, is_extended, pieces)
                lba += some
                count -= some
        return b"".join(pieces)

    async def write(self, lba: int, data: bytes) -> None:
        """Write whole sectors from `lba` on. It may still be in the disk's cache then: see `flush`.

        Raises: as `read`; ValueError also if it is no whole number of sectors; DeviceError also if the medium is write-protected.
        """
        if len(data) % SECTOR:
            raise ValueError(f"{self}: {len(data)} bytes are no whole sectors of {SECTOR}")
        count = len(data) // SECTOR
        self._check(lba, count)
        channel = self.channel
        with channel.exclusive.use():
            at = 0
            while count:
                some, is_extended = self._portion(lba, count)
                await self._write(lba, data[at : at + some * SECTOR], is_extended)
                at += some * SECTOR
                lba += some
                count -= some

    async def flush(self) -> None:
        """All that was written is on the medium. Raises: DeviceError, DeviceTimeoutError, RuntimeError as `read`."""
        with self.channel.exclusive.use():
            await self.settle()
            command = FLUSH_EXT if self.has_lba48 else FLUSH
            await self.channel.command(self.unit, command)
            await self._over(command, steps=FLUSH_STEPS)

    async def set_multiple(self, sectors: int) -> None:
        """Let so many sectors be moved at once, or 0: one after the other. It is `most_multiple` at first.

        Raises: ValueError: no power of two, or more than it can do; DeviceError, DeviceTimeoutError, RuntimeError as `read`.
        """
        if sectors and (not 0 < sectors <= self.most_multiple or sectors & (sectors - 1)):
            raise ValueError(f"{self}: {sectors} sectors at once: expected 0 or a power of two up to {self.most_multiple}")
        with self.channel.exclusive.use():
            self.multiple = sectors
            self._resets = 0
            await self.settle()

    async def settle(self) -> None:
        """Reset the channel if need be, and make the settings that the disk has forgotten by that. Done before each use."""
        channel = self.channel
        if not channel.is_settled:
            await channel.reset()
        if self._resets == channel.resets:
            return
        if self.multiple:
            await channel.command(self.unit, SET_MULTIPLE, self.multiple)
            await self._over(SET_MULTIPLE)
        if self._tells_protection:
            await channel.command(self.unit, MEDIA_STATUS)
            await channel.io.until(channel.status_if_over, channel.timeout, lambda: f"{self}: {MEDIA_STATUS.name}")
            self.is_read_only = channel.io.inb(channel.base + ERROR) & WRITE_PROTECTED != 0
            channel.done()
        self._resets = channel.resets

    def _check(self, lba: int, count: int) -> None:
        if lba < 0 or count < 0 or lba + count > self.sectors:
            raise ValueError(f"{self}: {count} sectors from {lba} on: it has {self.sectors}")

    def _portion(self, lba: int, count: int) -> tuple[int, bool]:
        """How many of these sectors are done by one command, and whether it is an EXT one."""
        is_extended = self.has_lba48 and (count > MOST_28 or lba + count > LIMIT_28)
        return min(count, MOST_48 if is_extended else MOST_28), is_extended

    async def _read(self, lba: int, count: int, is_extended: bool, pieces: list[bytes]) -> None:
        await self.settle()
        channel, io, base, block = self.channel, self.channel.io, self.channel.base, self.multiple or 1
        status_port, control = base + STATUS, channel.control
        command = READ[self.multiple != 0, is_extended]
        await channel.command(self.unit, command, count, lba, is_extended=is_extended)
        left = count
        while left:
            if io.inb(status_port) & (BSY | DRQ | DF | ERR) != DRQ:
                await self._data(command, lba, count, is_extended)
            some = min(left, block)
            pieces.append(io.insw(base, some * WORDS))
            left -= some
            io.inb(control)  # the status is right one cycle later (9.5)
        await self._over(command, lba, count, is_extended)

    async def _write(self, lba: int, data: bytes, is_extended: bool) -> None:
        await self.settle()
        channel, io, base, block = self.channel, self.channel.io, self.channel.base, self.multiple or 1
        status_port, control = base + STATUS, channel.control
        command = WRITE[self.multiple != 0, is_extended]
        count = len(data) // SECTOR
        await channel.command(self.unit, command, count, lba, is_extended=is_extended)
        for at in range(0, len(data), block * SECTOR):
            if io.inb(status_port) & (BSY | DRQ | DF | ERR) != DRQ:
                await self._data(command, lba, count, is_extended)
            io.outsw(base, data[at : at + block * SECTOR])
            io.inb(control)
        await self._over(command, lba, count, is_extended)

    async def _data(self, command: Command, lba: int, count: int, is_extended: bool) -> None:
        """Wait until the next block can be moved."""
        channel = self.channel
        status = await channel.io.until(channel.status_if_ready, channel.timeout, lambda: f"{_what(self, command, lba, count)}: data")
        if status & (ERR | DF):
            self._fail(command, lba, count, is_extended, status)

    async def _over(self, command: Command, lba: int = 0, count: int = 0, is_extended: bool = False, *, steps: int = 1) -> None:
        """Wait for the end of a command."""
        channel, timeout = self.channel, steps * self.channel.timeout
        status = await channel.io.until(channel.status_if_over, timeout, lambda: f"{_what(self, command, lba, count)}: the end")
        if status & (ERR | DF):
            self._fail(command, lba, count, is_extended, status)
        if status & DRQ:
            raise DeviceError(f"{_what(self, command, lba, count)}: more data than was asked for, status {status:#04x}")
        channel.done()

    def _fail(self, command: Command, lba: int, count: int, is_extended: bool, status: int) -> NoReturn:
        channel = self.channel
        status |= channel.io.inb(channel.control)  # with the bits that say nothing of an error
        error = channel.io.inb(channel.base + ERROR) if status & ERR else 0
        names = [name for bit, name in ERRORS if error & bit] + ["DF"] * bool(status & DF)
        if error & WRITE_PROTECTED and command in WRITE.values():
            names[names.index("UNC")] = "WP, write-protected"
        where = channel.error_address(is_extended) if count and error else -1
        at = f" at sector {where}" if lba <= where <= min(lba + count, self.sectors) else ""  # an aborted command need not name one
        raise DeviceError(
            f"{_what(self, command, lba, count)}: {' '.join(names) or 'no error bit'}{at} (status {status:#04x}, error {error:#04x})"
        )

    def __str__(self) -> str:
        return f"{self.channel} unit {self.unit}"


def _what(disk: AtaDisk, command: Command, lba: int, count: int) -> str:
    return f"{disk}: {command.name}" + (f" of {count} sectors from {lba} on" if count else "")


def _text(identity: bytes, first: int, words: int) -> str:
    """Two characters a word, the first one in its high byte (8.15.8.12)."""
    swapped = bytes(identity[(2 * first + i) ^ 1] for i in range(2 * words))
    return swapped.decode("ascii", "replace").strip(" \0")
