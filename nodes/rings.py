"""Pairs of rings in shared memory, from Python: who makes a pair, who joins it, and the two ends.

The rules are in ring.h, with their theory. A pair is a sealed memfd: neither side can truncate it under the other, which
would be a SIGBUS. Its maker has side 0, the other side 1; each side writes one ring and reads the other. There are no
doorbells in here: a method says when one has to be rung.

Compiled code calls the functions of ring.h on the same state: see `writer_address` and `reader_address`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from enum import Enum
from typing import Any, NoReturn

from nodes._ring import ffi, lib

# 128 KiB: holds a payload just under the 64 KiB from which bytes go through a segment of their own, and as much again of
# others. Speed does not decide: 64, 128 and 256 KiB measure the same. Memory does, because all of it is committed when a
# pair is made: 16 nodes that all talk are 120 pairs, 31 MB.
CAPACITY = 128 * 1024
# Bytes of a message that an end takes in fragments, unless it is opened for another length. Mailboxes do not get there: what has
# `segments.LARGE` bytes or more does not go through the ring.
LONGEST = 64 * 1024 * 1024

KEPT = 1024 * 1024  # bytes up to which the buffer that a long message needed is kept for the next

BROKEN = "the peer broke the protocol of the ring, or this end is closed or broken since earlier"

HEADER = struct.Struct("=IIBBHIQQQ")  # bl_record
PADDING = 0xFFFFFFFF  # BL_PADDING

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Record = tuple[int, int, int, int, int, bytes]
"""kind, flags, to, from, ref, payload"""


class Written(Enum):
    """What became of a write that is no mistake."""

    DONE = "written; the reader is awake or was rung for"
    RING_BELL = "written, and the reader sleeps: ring its bell now"
    FULL = "not written: there is no room"


class BrokenRingError(Exception):
    """An end that cannot be used any more: the peer broke the protocol, or the memory changed behind our back.

    The other end is to be treated as dead: what comes next in the ring cannot be known.
    """


class UnusableError(BrokenRingError):
    """The connection cannot go on either, but no memory is to blame: a record that nobody can act upon, or no descriptor is left."""


def create(capacity: int = CAPACITY, longest: int = LONGEST, size: int | None = None) -> tuple[int, PairEnd]:
    """A new pair: the descriptor to give to the other node, and our end, side 0.

    The descriptor is the caller's, to be closed once it was sent: the mapping does not need it.

    Args:
        capacity: bytes of each ring, a power of two from 4 KiB to 16 MiB. All is allocated now.
        longest: bytes of the longest message, the same at both ends.
        size: bytes of the memory, if there is to be more after the pair. That is all zero, and nobody's of this module.

    Raises:
        ValueError: for the capacity, or the size, if the pair does not fit.
        OSError: there is no memory or no descriptor left.
    """
    pair = lib.bl_pair_size(capacity, capacity)
    if pair == 0:
        raise ValueError(f"the capacity of a ring is a power of two from 4096 to 16777216 bytes, not {capacity}")
    size = pair if size is None else size
    if size < pair:
        raise ValueError(f"a pair of rings of {capacity} bytes has {pair} bytes: {size} are too few")
    memfd = os.memfd_create("beamlike-rings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(memfd, size)
        os.posix_fallocate(memfd, 0, size)  # running out of memory is an error here and not a SIGBUS later
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS)
        memory = _map(memfd, pair)
        formatted = lib.bl_pair_format(memory, pair, capacity, capacity)
        assert formatted == 0
        return memfd, PairEnd(memory, pair, 0, longest)
    except BaseException:
        os.close(memfd)
        raise


def attach(memfd: int, longest: int = LONGEST) -> PairEnd:
    """The other end, side 1, of a pair that somebody made and who need not be trusted. The descriptor stays the caller's.

    Raises:
        ValueError: the descriptor is not a pair that this end can use safely; the message says why.
        OSError: it could not be mapped.
    """
    try:
        seals = fcntl.fcntl(memfd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ValueError("this is no pair of rings: the descriptor is no memfd, expected one that create() made") from error
    if seals & SEALS != SEALS:
        raise ValueError(f"this memfd has the seals {seals:#x}, a pair of rings needs {SEALS:#x}: its size could change under us")
    size = os.fstat(memfd).st_size
    if size < lib.BL_PAGE:
        raise ValueError(f"this memfd of {size} bytes is too small for the header of a pair of rings, {lib.BL_PAGE} bytes")
    return PairEnd(_map(memfd, size), size, 1, longest)


def crc32c(data: bytes) -> int:
    """CRC32C (Castagnoli), as records carry it."""
    return lib.bl_crc32c(data, len(data))


class PairEnd:
    """One end of a pair: writes one ring, reads the other. For one thread.

    Made by `create` and `attach`. After `close`, and after a BrokenRingError, each method raises BrokenRingError for the direction.
    """

    __slots__ = ("_buffer", "_header", "_lines", "_memory", "_offset", "_payload", "_reader", "_record", "_writer", "largest")

    def __init__(self, memory: Any, size: int, side: int, longest: int) -> None:
        self._memory = memory
        self._writer = ffi.new("bl_writer *")
        self._reader = ffi.new("bl_reader *")
        error = lib.bl_open(memory, size, side, longest, self._writer, self._reader)
        if error == -lib.BL_EPROTONOSUPPORT:
            raise ValueError("this pair of rings has a layout of another version: both nodes need the same beamlike")
        if error < 0:
            raise ValueError(f"this is no pair of rings: the header in its {size} bytes has another magic number, or sizes that do not fit")
        self._lines = lib.BL_PAGE if side == 0 else 2 * lib.BL_PAGE + self._reader.capacity  # where the ring that we write begins
        self._record = ffi.new("bl_record *")
        self._header = ffi.buffer(self._record)
        self._offset = ffi.new("uint32_t *")
        self._buffer: Any = None
        self._resize(lib.bl_largest(self._reader.capacity))
        self.largest: int = lib.bl_largest(self._writer.capacity)
        """Bytes of the largest payload that `write` takes."""

    @property
    def writer_address(self) -> int:
        """The bl_writer in C. It lives as long as this object."""
        return int(ffi.cast("uintptr_t", self._writer))

    @property
    def reader_address(self) -> int:
        """The bl_reader in C. Who reads a message in C reads all of it there: its beginning may be in their buffer."""
        return int(ffi.cast("uintptr_t", self._reader))

    def write(self, kind: int, to: int, from_: int, ref: int, data: bytes, flags: int = 0) -> Written:
        """Write a message of at most `largest` bytes. Never waits.

        Raises:
            ValueError: kind is 0, flags has the ring's own bit 0, or the data is longer than `largest`: use write_part.
            RuntimeError: a message that write_part began is not finished.
            BrokenRingError
        """
        return self._written(lib.bl_write(self._writer, kind, flags, to, from_, ref, data, len(data)), data)

    def write_part(self, kind: int, to: int, from_: int, ref: int, data: bytes, offset: int = 0, flags: int = 0) -> tuple[Written, int]:
        """Write as much as fits now of a message of any length from offset on. Returns the offset to go on with.

        It is finished when that is the length and the outcome is not FULL, which means that this call wrote nothing.
        The reader gets it only when it is finished; until then nothing else can be written.

        Raises:
            ValueError: as `write`; the data is longer than `longest`; or the offset is not where the message stands.
            BrokenRingError
        """
        self._offset[0] = offset
        outcome = lib.bl_write_part(self._writer, kind, flags, to, from_, ref, data, len(data), self._offset)
        if outcome == -lib.BL_EINVAL and kind != 0 and not flags & 1:
            raise ValueError(f"a message is continued where it stands and begun at 0, not at {offset} of {len(data)} bytes")
        return self._written(outcome, data), self._offset[0]

    def write_damaged(self, kind: int, to: int, from_: int, ref: int, data: bytes, *, bit: int | None = None, torn_at: int = 0) -> bool:
        """Write a message of at most `largest` bytes with a fault, for `nodes.chaos`. False: there is no room. Else ring the bell.

        With `bit`, this bit of the record, modulo their number, is changed after the checksum was made. Without, only the first `torn_at`
        bytes of the record, of a header of 40 bytes and the data, get into the ring, and nothing is published: as if this OS process had
        been killed there, which is to be done now.

        Raises: BrokenRingError
        """
        if not self.await_room():
            return False
        writer, fields = self._writer, (kind, 0, 0, self._writer.sequence, to, from_, ref)
        record = bytearray(HEADER.pack(len(data), crc32c(HEADER.pack(len(data), 0, *fields) + data), *fields) + data)
        lines = ffi.cast("uint8_t *", self._memory) + self._lines
        index, size = writer.tail % writer.capacity, (len(record) + 7) & ~7
        rest = writer.capacity - index
        skipped = rest if rest < size else 0
        if skipped:
            ffi.memmove(lines + lib.BL_PAGE + index, struct.pack("=II", PADDING, crc32c(struct.pack("=Q", writer.tail))), 8)
        if bit is not None:
            record[bit // 8 % len(record)] ^= 1 << bit % 8
        ffi.memmove(lines + lib.BL_PAGE + (0 if skipped else index), record, len(record) if bit is not None else min(torn_at, len(record)))
        if bit is not None:
            writer.sequence = (writer.sequence + 1) & 0xFFFFFFFF
            writer.tail += skipped + size
            ffi.cast("uint64_t *", lines)[0] = writer.tail  # in whatever order the reader sees this and the record: it is not a good one
        return True

    def await_room(self) -> bool:
        """Say that we are going to wait for room. Whether there is some already: then do not wait for the bell."""
        return self._flag(lib.bl_await_room(self._writer))

    def read(self) -> Record | None:
        """The next whole message, or None if there is none yet.

        Raises:
            BrokenRingError: what is in the ring is not what a writer of ours writes, or was changed since.
        """
        while (length := lib.bl_read(self._reader, self._record, self._buffer, len(self._payload))) < 0:
            if length == -lib.BL_EAGAIN:
                return None
            if length != -lib.BL_ENOBUFS:
                self.refuse(length)
            self._resize(max(self._record.length, 2 * len(self._payload)))
        _, _, kind, flags, _, _, to, from_, ref = HEADER.unpack_from(self._header)
        message = kind, flags, to, from_, ref, self._payload[:length]
        if length > KEPT:
            self._resize(lib.bl_largest(self._reader.capacity))
        return message

    def sleep(self) -> bool:
        """Say that we are going to sleep. Whether there is something to read: then do not. Call `wake` in either case."""
        return self._flag(lib.bl_sleep(self._reader))

    def wake(self) -> None:
        """Say that we are awake: nobody needs to ring."""
        lib.bl_wake(self._reader)

    def room_wanted(self) -> bool:
        """Whether the peer waits for room and was not rung for yet: ring its bell. To be asked after `sleep`, before sleeping."""
        return self._flag(lib.bl_room_wanted(self._reader))

    def close(self) -> None:
        """Give the memory back. The peer does not notice."""
        self._writer.broken = self._reader.broken = 1  # so that nothing in C touches the memory again
        if self._memory is not None:
            ffi.release(self._memory)
            self._memory = None

    def _resize(self, size: int) -> None:
        buffer = ffi.new("uint8_t[]", size)
        if self._reader.gathered:  # the beginning of the message that it got too small for
            ffi.memmove(buffer, self._buffer, self._reader.gathered)
        self._buffer = buffer
        self._payload = ffi.buffer(buffer)

    def refuse(self, outcome: int) -> NoReturn:
        """Raise BrokenRingError for what a function of ring.h has answered."""
        if outcome == -lib.BL_EIO:
            raise BrokenRingError("a record in the ring has a wrong checksum: memory changed behind our back")
        raise BrokenRingError(BROKEN)

    def _written(self, outcome: int, data: bytes) -> Written:
        if outcome == 0:
            return Written.DONE
        if outcome == 1:
            return Written.RING_BELL
        if outcome == -lib.BL_EAGAIN:
            return Written.FULL
        if outcome == -lib.BL_EMSGSIZE:
            raise ValueError(
                f"{len(data)} bytes are too long: one record takes {self.largest}; write_part takes what the end was opened for"
            )
        if outcome == -lib.BL_EBUSY:
            raise RuntimeError("a message is begun: finish it with write_part before another one")
        if outcome == -lib.BL_EINVAL:
            raise ValueError("kind 0 and bit 0 of the flags are the ring's own")
        raise BrokenRingError(BROKEN)

    def _flag(self, outcome: int) -> bool:
        if outcome < 0:
            raise BrokenRingError(BROKEN)
        return outcome == 1


class ReaderSet:
    """The ends that one node reads, looked at together. An end has a place in it, a small number, from add to remove."""

    __slots__ = ("_ends", "_readers", "_set")

    def __init__(self, size: int) -> None:
        """Args:
        size: how many ends there can be.
        """
        self._ends: list[PairEnd | None] = [None] * size  # keeps the C structs alive
        self._readers = ffi.new("bl_reader *[]", size)
        self._set = ffi.new("bl_set *", {"readers": self._readers, "size": 0, "next": 0})

    @property
    def address(self) -> int:
        """The bl_set in C. It lives as long as this object."""
        return int(ffi.cast("uintptr_t", self._set))

    def add(self, end: PairEnd) -> int:
        """Look at this end too. Returns its place.

        Raises:
            RuntimeError: all places are taken.
        """
        if None not in self._ends:
            raise RuntimeError(f"all {len(self._ends)} places of this set are taken: remove an end, or make it larger")
        place = self._ends.index(None)
        self._ends[place] = end
        self._readers[place] = end._reader
        self._set.size = max(self._set.size, place + 1)  # looks are as long as the places that are taken
        return place

    def remove(self, place: int) -> None:
        """Do not look at the end at this place any more; the place is free. Its end stays open."""
        self._readers[place] = ffi.NULL
        self._ends[place] = None
        while self._set.size and self._ends[self._set.size - 1] is None:
            self._set.size -= 1

    def poll(self, spins: int = 0) -> int:
        """The place of an end with something to read, taking turns, or -1 after looking 1 + spins times."""
        return lib.bl_set_poll(self._set, spins)

    def sleep(self) -> int:
        """`PairEnd.sleep` for all. The place of an end with something to read, or -1: sleep. Call `wake` in either case."""
        return lib.bl_set_sleep(self._set)

    def wake(self) -> None:
        """`PairEnd.wake` for all."""
        lib.bl_set_wake(self._set)


def _map(memfd: int, size: int) -> Any:
    """The memory of a pair, unmapped when it is released. Not mmap.mmap: before Python 3.13 that keeps a descriptor of its own."""
    memory = lib.mmap(ffi.NULL, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, memfd, 0)
    if memory == ffi.cast("void *", -1):
        raise OSError(ffi.errno, f"cannot map a pair of rings of {size} bytes: {os.strerror(ffi.errno)}")
    return ffi.gc(memory, lambda mapped: lib.munmap(mapped, size))
