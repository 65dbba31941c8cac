"""How an attempt to boot ended, and what that is to the caller: the table of faults."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NoReturn
from zlib import crc32

from boot.engines.events import Event
from boot.engines.handoff import HandOff
from boot.engines.memory import GuestMemory
from boot.errors import (
    BootError,
    BootReadError,
    BootTimeoutError,
    ChunkTableError,
    EngineError,
    FirmwareError,
    ImageTruncatedError,
    ManifestError,
    MbrError,
    MemoryTooSmallError,
    NoSlaveCoreError,
    PayloadCorruptError,
    PrimaryDiedError,
    ShortReadError,
    Stage2Error,
)
from boot.guest.layout import CHUNK_SECTORS, COPY_LBA, MANIFEST_LBA, PAYLOAD_LBA, SECTOR, STAGE2_LBA, TABLE_LBA, Reason
from boot.image import check_mbr, read_manifest

FIRMWARE: Final = 1 << 18  # bytes at the end of memory: SeaBIOS's tables, and what its drivers read into (BUILD_MAX_HIGHTABLE, 1.16.2)


class How(Enum):
    """How it ended, as the engine sees it."""

    ENDED = auto()
    """By the primary: with a status, or without one because it died."""
    TIMEOUT = auto()
    STOPPED = auto()
    """Nobody wants it any more."""
    NOT_BOOTABLE = auto()
    """The first sector is none that firmware starts."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Args:
        status: what was written to the exit port, if anything was.
        events: those that the engine has seen.
        why: what the engine says of a primary that died.
    """

    how: How
    status: int | None = None
    serial: bytes = b""
    events: list[Event] = field(default_factory=list)
    why: str = ""


def check(ending: Ending, handoff: HandOff | None, memory: GuestMemory, medium: int, events: tuple[Event, ...], timeout: float) -> None:
    """Nothing if it has booted. Raises: BootError: the kind that fits."""
    try:
        _check(ending, handoff, memory, medium, timeout)
    except BootError as error:
        error.serial = ending.serial.decode("ascii", "replace")
        error.events = events
        if error.core is None and handoff is not None and handoff.slave < 1 << 31:
            error.core = handoff.slave
        raise


def _check(ending: Ending, handoff: HandOff | None, memory: GuestMemory, medium: int, timeout: float) -> None:
    head = os.pread(medium, PAYLOAD_LBA * SECTOR, 0)
    if handoff is None:
        check_mbr(head)  # whatever it did, and whomever it blames
    else:
        _check_room(handoff, memory.size)  # what is not there is lost, or a fault, or no memory, as the machine has it
    if ending.status is None:
        if ending.how is How.NOT_BOOTABLE:
            raise MbrError("the first sector cannot be read", lba=0)
        if ending.how is How.TIMEOUT:
            raise BootTimeoutError(f"it has not booted within {timeout:g} s")
        raise PrimaryDiedError(
            f"the primary core has ended without a word: {ending.why or 'it halted, or its OS process was killed'}", core=0
        )
    if ending.status == Reason.STAGE2_READ:
        raise Stage2Error("stage 2 cannot be read", lba=STAGE2_LBA, core=0)
    if ending.status == Reason.STAGE2:
        raise Stage2Error("stage 2 has a wrong checksum", lba=STAGE2_LBA, core=0)
    if handoff is None or handoff.reason != ending.status:
        said = "nothing" if handoff is None else hex(handoff.reason)
        raise EngineError(f"the machine has ended with {ending.status:#x}, and in memory it says {said}")
    if handoff.reason == Reason.OK:
        found = crc32(memory.read(handoff.load_address, handoff.payload_bytes))
        if found != handoff.payload_crc:
            raise EngineError(f"the payload in memory has the checksum {found:08x}, and the primary counted {handoff.payload_crc:08x}")
        return
    _raise(handoff, head, os.fstat(medium).st_size)


def _check_room(handoff: HandOff, size: int) -> None:
    end = handoff.load_address + -(-handoff.payload_bytes // SECTOR) * SECTOR  # whole sectors are moved
    if end > size - FIRMWARE:
        raise MemoryTooSmallError(
            f"the payload goes to {handoff.load_address:#x} to {end:#x}, and the machine has room for it up to {size - FIRMWARE:#x}", core=0
        )


def _raise(handoff: HandOff, head: bytes, size: int) -> NoReturn:
    lba, wanted, got = handoff.lba, handoff.wanted, handoff.got
    expected = _expected(head)
    match handoff.reason:
        case Reason.MANIFEST:
            why = f"the copy was read with status {handoff.status:02x}" if handoff.status else _why_bad(head)
            raise ManifestError(f"the manifest at LBA {MANIFEST_LBA} and its copy at LBA {COPY_LBA} are bad: {why}", lba=MANIFEST_LBA)
        case Reason.TABLE:
            raise ChunkTableError(f"the chunk table has the checksum {got:08x}, expected {wanted:08x}", lba=TABLE_LBA)
        case Reason.READ | Reason.SHORT | Reason.CHUNK if size < expected and (lba + CHUNK_SECTORS) * SECTOR > size:
            # That a checksum is wrong: QEMU reads zeroes behind the end of a file that has become shorter.
            raise ImageTruncatedError(f"the image has {size} bytes, expected {expected}", lba=size // SECTOR)
        case Reason.CHUNK:
            raise PayloadCorruptError(f"chunk {handoff.chunk} gives the checksum {got:08x}, expected {wanted:08x}", lba=lba)
        case Reason.READ:
            raise BootReadError(f"of {wanted} sectors from LBA {lba} {got} came, then status {handoff.status:02x}", lba=lba + got)
        case Reason.SHORT:
            raise ShortReadError(f"{got} sectors came from LBA {lba}, expected {wanted}", lba=lba)
        case Reason.NO_SLAVE:
            dead = ", ".join(map(str, handoff.dead_cores))
            raise NoSlaveCoreError(f"no core is left that could read; dead are {dead}" if dead else "there is no second core")
        case Reason.NO_TIMER:
            raise FirmwareError("the firmware's ACPI tables tell of no PM timer", core=0)
        case Reason.FAULT:
            raise PrimaryDiedError(
                f"the primary core has met exception {handoff.vector} at {handoff.rip:#x}, with {handoff.cr2:#x} in CR2", core=0
            )
        case other:
            raise EngineError(f"the primary has ended with {other:#x}, of which nothing is known")


def _why_bad(head: bytes) -> str:
    try:
        read_manifest(head, COPY_LBA)
    except ManifestError as error:
        return str(error)
    return "what was read of the copy is not what is there"


def _expected(head: bytes) -> int:
    """Bytes of the image, as its manifest says; 0 if neither it nor its copy is good."""
    for lba in (MANIFEST_LBA, COPY_LBA):
        with suppress(ManifestError):
            return read_manifest(head, lba).image_sectors * SECTOR
    return 0
