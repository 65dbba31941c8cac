"""Virtio disk, legacy interface.

Source: Virtual I/O Device 1.2 (OASIS), section 5.2.

Covers: capacity, block size, read, write, flush, the serial number, read-only disks, several requests at a time, of several segments each.
Not: discard and write zeroes, topology, several queues, disks whose capacity changes; SCSI commands, which were given up.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final

from drivers.devices.virtio import Buffer, Queue, Virtio
from drivers.errors import DeviceError
from drivers.memory import Memory
from drivers.space import IoSpace

DEVICE: Final = 0x1001
"""Its PCI device ID, of virtio.VENDOR."""
UNIT: Final = 512
"""Bytes in which the device counts, whatever its block size."""
CAPACITY, SIZE_MAX, SEG_MAX, BLK_SIZE = 0, 8, 12, 20
HEADER: Final = struct.Struct("<IIQ")
NO_STATUS: Final = 0xFF
SERIAL: Final = 20
SEGMENT: Final = 16384  # bytes; memory need not have more of them in one piece
SEGMENTS: Final = 8  # of one request; a longer read or write is several
TIMEOUT: Final = 30.0


class Feature(IntFlag):
    """What a disk can do."""

    SIZE_MAX = 1 << 1
    SEG_MAX = 1 << 2
    READ_ONLY = 1 << 5
    BLOCK_SIZE = 1 << 6
    FLUSH = 1 << 9


class Kind(IntEnum):
    """Of a request."""

    READ = 0
    WRITE = 1
    FLUSH = 4
    GET_ID = 8


class VirtioBlk:
    """A disk. `start` it first; several processes may use it then, each waiting for its own.

    A call that is cancelled or times out leaves its request to the device: it may still be carried out.

    Args:
        base: of its ports: `virtio.open_function`.
        memory: for the queue, and 128 KiB for each call that runs at the same time.
        timeout: seconds that a request may take.
    """

    def __init__(self, io: IoSpace, base: int, memory: Memory, timeout: float = TIMEOUT) -> None:
        self.io = io
        self.virtio = Virtio(io, base, memory, f"virtio disk at port {base:#x}")
        self.timeout = timeout
        self.sector_size = UNIT
        self.sectors = 0
        self._queue: Queue | None = None
        self._segment = SEGMENT
        self._most = 0  # bytes of one request

    async def start(self) -> None:
        """Reset it, and set it up.

        Raises: DeviceAbsentError, DeviceTimeoutError as `Virtio.begin`; DeviceError: what it says of itself makes no sense; MemoryError.
        It may have memory for its queue then, which `stop` gives back.
        """
        self._queue = None
        virtio = self.virtio
        async with virtio.setting_up(Feature.SIZE_MAX | Feature.SEG_MAX | Feature.READ_ONLY | Feature.BLOCK_SIZE | Feature.FLUSH):
            queue = virtio.queue(0)
            self._measure(queue)
        self._queue = queue

    def _measure(self, queue: Queue) -> None:
        """What its configuration says."""
        virtio = self.virtio
        size = virtio.config(BLK_SIZE, 4) if virtio.features & Feature.BLOCK_SIZE else UNIT
        if size < UNIT or size & (size - 1):
            raise DeviceError(f"{virtio.name} says that its blocks have {size} bytes, expected a power of 2 from {UNIT}")
        self.sector_size = size
        self.sectors = (virtio.config(CAPACITY + 4, 4) << 32 | virtio.config(CAPACITY, 4)) * UNIT // size
        self._segment = min(SEGMENT, virtio.config(SIZE_MAX, 4) if virtio.features & Feature.SIZE_MAX else SEGMENT)
        segments = min(SEGMENTS, queue.size - 2, max(1, virtio.config(SEG_MAX, 4)) if virtio.features & Feature.SEG_MAX else SEGMENTS)
        self._most = segments * self._segment // size * size
        if self._most <= 0:
            raise DeviceError(f"{virtio.name} takes {segments} segments of {self._segment} bytes, expected enough for a block of {size}")

    async def stop(self) -> None:
        """Reset it: it has no memory of ours any more, and who waits gets a DeviceError. Raises: DeviceTimeoutError."""
        self._queue = None
        await self.virtio.reset()

    @property
    def is_read_only(self) -> bool:
        """Can it only be read?"""
        return bool(self.virtio.features & Feature.READ_ONLY)

    async def read(self, lba: int, count: int) -> bytes:
        """So many sectors from this one.

        Raises: ValueError: they are not all on the disk; DeviceError: the disk reports an error, or was not started; DeviceTimeoutError.
        """
        self._check(lba, count)
        parts = []
        for at in range(0, count * self.sector_size, self._most):
            size = min(self._most, count * self.sector_size - at)
            parts.append(await self._request(Kind.READ, lba * self.sector_size + at, size=size))
        return b"".join(parts)

    async def write(self, lba: int, data: bytes) -> None:
        """Write whole sectors from this one. They need not outlast a loss of power before a `flush`. Long ones may be done in part only.

        Raises: as `read`; ValueError: no whole sectors; DeviceError: it can only be read.
        """
        count, rest = divmod(len(data), self.sector_size)
        if rest:
            raise ValueError(f"{len(data)} bytes to write: expected a multiple of {self.sector_size}")
        self._check(lba, count)
        if self.is_read_only:
            raise DeviceError(f"{self.virtio.name} can only be read")
        for at in range(0, len(data), self._most):
            await self._request(Kind.WRITE, lba * self.sector_size + at, data[at : at + self._most])

    async def flush(self) -> None:
        """Wait until all that was written will outlast a loss of power. A disk that has no such command has no cache. Raises: as `read`."""
        if self.virtio.features & Feature.FLUSH:
            await self._request(Kind.FLUSH)
        else:
            self._started()

    async def serial(self) -> str:
        """Its serial number, up to 20 characters; "" if it has none. Raises: as `read`; DeviceError: it knows no such request."""
        found = await self._request(Kind.GET_ID, size=SERIAL)
        return found.split(b"\0", 1)[0].decode("latin-1")

    def _check(self, lba: int, count: int) -> None:
        self._started()
        if lba < 0 or count < 0 or lba + count > self.sectors:
            raise ValueError(f"{count} sectors from {lba}: the disk has {self.sectors}, of {self.sector_size} bytes")

    def _started(self) -> Queue:
        if self._queue is None:
            raise DeviceError(f"{self.virtio.name} was not started, or has been stopped")
        return self._queue

    async def _request(self, kind: Kind, at: int = 0, data: bytes = b"", size: int = 0) -> bytes:
        """`size`: bytes to read. What was read."""
        memory = self.virtio.memory
        length = size or len(data)
        sizes = [min(self._segment, length - done) for done in range(0, length, self._segment)]
        await self._started().room(len(sizes) + 2, self.timeout)
        queue = self._started()
        owned: list[int] = []
        try:
            head = _take(memory, HEADER.size + 1, owned)
            segments = [Buffer(_take(memory, each, owned), each) for each in sizes]
            self.io.store(head, HEADER.pack(kind, 0, at // UNIT) + bytes([NO_STATUS]))
            self._fill(segments, data)
            status = Buffer(head + HEADER.size, 1)
            header = Buffer(head, HEADER.size)
            chain = queue.add([header, *([] if size else segments)], [*(segments if size else []), status], owned)
        except BaseException:
            for each in owned:
                memory.give_back(each)
            raise
        queue.notify()
        await queue.finish(chain, self.timeout)
        try:
            shown = self.io.read8(status.address)
            if shown:
                meaning = {1: "an I/O error", 2: "that it knows no such request"}.get(shown, "no status that there is")
                raise DeviceError(f"{self.virtio.name}: {kind.name} at byte {at:#x} shows {shown:#04x}: {meaning}")
            return b"".join(self.io.load(each.address, each.size) for each in segments) if size else b""
        finally:
            queue.release(chain)

    def _fill(self, segments: Sequence[Buffer], data: bytes) -> None:
        done = 0
        for each in segments if data else ():
            self.io.store(each.address, data[done : done + each.size])
            done += each.size


def _take(memory: Memory, size: int, owned: list[int]) -> int:
    address = memory.take(size)
    owned.append(address)
    return address
