"""Any disk, or a part of one, by bytes, with a cache of what was read lately."""

from __future__ import annotations

from typing import Final, Protocol, Self

from drivers.errors import DeviceError
from drivers.servers.opening import Handle

CACHE: Final = 1 << 20  # bytes
PIECE: Final = 1 << 20  # bytes that are read at a time: in between others have a turn at the device


class Source(Protocol):
    """What has blocks: the drivers of disks, and `Blocks`."""

    @property
    def sector_size(self) -> int:
        """In bytes: 512 or more."""

    @property
    def sectors(self) -> int:
        """How many there are, from 0."""

    async def read(self, first: int, count: int, /) -> bytes:
        """Their data. Raises: ValueError: they are not all there; DeviceError."""


class _Granted:
    """What a handle is for."""

    def __init__(self, handle: Handle, sectors: int, sector_size: int) -> None:
        self._handle = handle
        self.sectors = sectors
        self.sector_size = sector_size

    async def read(self, first: int, count: int, /) -> bytes:
        data: bytes = await self._handle.do("read", first, count)
        return data


class Blocks:
    """A block source over another one, or over a handle (`of`), for one process.

    Sectors that were read lately are not read again, so what somebody else writes meanwhile may not be seen; make another one for that, and
    for another medium. Reads of more than a quarter of the cache go past it.

    Args:
        cache: bytes that it has at most.

    Raises: TypeError: a handle, of which is not known how large it is.
    """

    def __init__(self, source: Source, *, cache: int = CACHE) -> None:
        if isinstance(source, Handle):
            raise TypeError(f"of a handle, make `await Blocks.of(handle)`: {source.name} is to be asked for its size")
        self.sector_size = source.sector_size
        self.sectors = source.sectors
        self._source = source
        self._first = 0
        self._cache = cache
        self._most = cache // self.sector_size
        self._kept: dict[int, bytes] = {}  # the one that was used last is the last

    @classmethod
    async def of(cls, handle: Handle, *, cache: int = CACHE) -> Self:
        """Over the disk, or part of one, that a handle is for. Raises: as `Handle.do`."""
        sectors, sector_size = await handle.do("size")
        return cls(_Granted(handle, sectors, sector_size), cache=cache)

    def part(self, first: int, end: int) -> Blocks:
        """Some of them, which count from 0; with a cache of their own. ValueError: they are not all there."""
        self._check(first, end - first)
        part = Blocks(self._source, cache=self._cache)
        part._first = self._first + first
        part.sectors = end - first
        return part

    @property
    def size(self) -> int:
        """Of all, in bytes."""
        return self.sectors * self.sector_size

    async def read(self, first: int, count: int, /) -> bytes:
        """The data of `count` sectors from `first` on.

        Raises: ValueError: they are not all there; DeviceError, RuntimeError: as what is below, and the next read asks it again.
        """
        self._check(first, count)
        if count > self._most // 4:
            return await self._fetch(first, count)
        kept = self._kept
        found = {sector: kept.pop(sector) for sector in range(first, first + count) if sector in kept}
        kept.update(found)
        at = first
        while at < first + count:
            if at in found:
                at += 1
                continue
            end = next((sector for sector in range(at, first + count) if sector in found), first + count)
            data = await self._fetch(at, end - at)
            for sector in range(at, end):
                begin = (sector - at) * self.sector_size
                found[sector] = kept[sector] = data[begin : begin + self.sector_size]
            while len(kept) > self._most:
                del kept[next(iter(kept))]
            at = end
        return b"".join(found[sector] for sector in range(first, first + count))

    async def read_bytes(self, offset: int, size: int) -> bytes:
        """The same by bytes."""
        if size == 0:
            return b""
        first = offset // self.sector_size
        data = await self.read(first, (offset + size - 1) // self.sector_size + 1 - first)
        offset -= first * self.sector_size
        return data[offset : offset + size]

    def _check(self, first: int, count: int) -> None:
        if first < 0 or count < 0 or first + count > self.sectors:
            raise ValueError(f"sectors {first} to {first + count - 1} are not in the {self.sectors} that there are")

    async def _fetch(self, first: int, count: int) -> bytes:
        step = max(1, PIECE // self.sector_size)
        pieces = []
        for at in range(first, first + count, step):
            some = min(step, first + count - at)
            try:
                data = await self._source.read(self._first + at, some)
            except ValueError as error:  # it was larger when this began
                raise DeviceError(f"the disk is not what it was: {error}") from error
            if len(data) != some * self.sector_size:
                raise DeviceError(f"{len(data)} bytes for {some} sectors of {self.sector_size}")
            pieces.append(data)
        return b"".join(pieces)
