"""FAT file systems, read.

Source: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03 (2000), and its long names; ECMA-107 of FAT12 and FAT16. Where
these want FAT32 told by the number of clusters, Linux and `mkfs.fat` tell it by the field for the size of a FAT: so does this.

Covers: FAT12, FAT16, FAT32, long names, short names in code page 437, the active FAT of FAT32. Not: writing, exFAT, other code pages.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final, Self

from drivers.services.blocks import Source
from drivers.services.filesystem import Entry, FileSystem, Pieces, fields, in_capitals, is_name

BOOT, SIGNATURE = 512, b"\x55\xaa"
ENTRY: Final = 32
MOST_DIRECTORY, LARGEST = 65536 * ENTRY, 1 << 32  # bytes of a directory, and of a file
MOST_PIECES: Final = 1 << 18  # of a file: bounds what a list of them takes
FEW_12, FEW_16, FEW_32 = 4085, 65525, 0x0FFFFFF5  # clusters: fewer are FAT12; FAT16; FAT32

END, DELETED, IS_E5 = 0x00, 0xE5, 0x05  # first bytes of a name
VOLUME, DIRECTORY, LONG, ATTRIBUTES = 0x08, 0x10, 0x0F, 0x3F
LOWER_BASE, LOWER_EXTENSION = 0x08, 0x10
LAST: Final = 0x40  # of the pieces of a long name, which is the first one on the disk
MOST_OF_NAME: Final = 20  # pieces
BYTES: Final = {12: 2, 16: 2, 32: 4}  # to read for an entry of a FAT


class Fat(FileSystem):
    """Made by `mount`. Names are found by their long and their short form, in capitals or not."""

    name = "FAT"
    label: str
    bits: int
    """12, 16 or 32."""

    @classmethod
    async def mount(cls, source: Source) -> Self:
        """Raises: FileSystemError: there is none, or what it says of itself cannot be true; DeviceError."""
        fat = cls(source)
        await fat._begin()
        return fat

    async def _begin(self) -> None:
        boot = await self._bytes(0, BOOT)
        sector, per_cluster, reserved, fats, root_entries, few_sectors, media, short_fat = fields("HBHBHHBH", boot, 11)
        many_sectors, long_fat, flags, version, root_cluster = fields("IIHHI", boot, 32)
        if boot[510:] != SIGNATURE or boot[0] not in (0xEB, 0xE9):
            raise self._wrong("no boot sector")
        if sector not in (512, 1024, 2048, 4096) or not per_cluster or per_cluster & (per_cluster - 1) or not reserved or not fats:
            raise self._wrong(f"{sector} bytes a sector, {per_cluster} sectors a cluster, {reserved} before {fats} FATs")
        if media < 0xF0:
            raise self._wrong(f"its media type is {media:#04x}")
        fat_sectors, sectors = short_fat or long_fat, few_sectors or many_sectors
        root_at = reserved + fats * fat_sectors
        data = root_at + -(-root_entries * ENTRY // sector)
        if sectors * sector > self.blocks.size:
            raise self._wrong(f"it says that it has {sectors} sectors of {sector} bytes, and the disk has {self.blocks.size} bytes")
        clusters = (sectors - data) // per_cluster
        self.bits = 32 if not short_fat else 12 if clusters < FEW_12 else 16
        limit = FEW_32 if self.bits == 32 else FEW_16
        if not 0 < clusters < min(limit, fat_sectors * sector * 8 // self.bits - 1):  # two entries are no clusters'
            raise self._wrong(f"FATs of {fat_sectors} sectors do not fit {clusters} clusters in {sectors} sectors")
        if bool(root_entries) == (self.bits == 32):
            raise self._wrong(f"FAT{self.bits} with {root_entries} entries of the root directory at a fixed place")
        active = flags & 15 if self.bits == 32 and flags & 0x80 else 0
        if active >= fats or (self.bits == 32 and version):
            raise self._wrong(f"FAT {active} of {fats}, version {version}")
        self._table = (reserved + active * fat_sectors) * sector
        self._root = (root_at * sector, root_entries * ENTRY)
        self._data = data * sector
        self._last = clusters + 1
        self._end = (1 << min(28, self.bits)) - 8  # this and more end a chain
        self._cluster = sector * per_cluster
        self.root = Entry("", True, 0, None, "", root_cluster if self.bits == 32 else 0)
        self.label = await self._label()

    async def _label(self) -> str:
        """The one in the root directory, or nothing."""
        for record in await self._records(self.root):
            if record[0] != DELETED and record[11] & ATTRIBUTES != LONG and record[11] & VOLUME:
                return record[:11].decode("cp437").rstrip()
        return ""

    # --- clusters ---

    async def _pieces(self, entry: Entry) -> Pieces:
        pieces = await self._chain(entry.start, LARGEST) if entry.size else ()
        room = sum(size for _, size in pieces)
        if room < entry.size:
            raise self._wrong(f"{entry.name} has {entry.size} bytes, and clusters for {room}")
        return pieces

    async def _chain(self, cluster: int, most: int) -> Pieces:
        """Where the clusters of a chain are. Loops are found after Brent ("An improved Monte Carlo factorization algorithm", 1980)."""
        pieces: list[tuple[int, int]] = []
        room = mark = steps = 0
        limit = 1
        while True:
            if not 2 <= cluster <= self._last:
                raise self._wrong(f"a chain goes to cluster {cluster}, and there are 2 to {self._last}")
            if cluster == mark:
                raise self._wrong(f"a chain comes to cluster {cluster} again and again")
            steps += 1
            if steps == limit:
                mark, steps, limit = cluster, 0, limit * 2
            at = self._data + (cluster - 2) * self._cluster
            if pieces and sum(pieces[-1]) == at:
                pieces[-1] = pieces[-1][0], pieces[-1][1] + self._cluster
            else:
                pieces.append((at, self._cluster))
            room += self._cluster
            if room > max(most, self._cluster) or len(pieces) > MOST_PIECES:
                raise self._wrong(f"a chain has more than {most} bytes, or {MOST_PIECES} pieces")
            cluster = await self._next(cluster)
            if cluster >= self._end:
                return tuple(pieces)

    async def _next(self, cluster: int) -> int:
        found = int.from_bytes(await self._bytes(self._table + cluster * self.bits // 8, BYTES[self.bits]), "little")
        if self.bits == 12:
            return found >> 4 if cluster & 1 else found & 0xFFF
        return found & 0x0FFFFFFF

    # --- directories ---

    def _folded(self, name: str) -> str:
        return in_capitals(name)

    async def _entries(self, directory: Entry) -> list[Entry]:
        entries = []
        pieces: list[bytes] = []  # of a long name, from its end
        for record in await self._records(directory):
            if record[0] == DELETED:
                pieces = []
            elif record[11] & ATTRIBUTES == LONG:
                pieces = [record] if record[0] & LAST else [*pieces, record][:MOST_OF_NAME]
            else:
                if not record[11] & VOLUME and (entry := self._entry(record, pieces)) is not None:
                    entries.append(entry)
                pieces = []
        return entries

    def _entry(self, record: bytes, pieces: list[bytes]) -> Entry | None:
        short = _short_name(record)
        name = _long_name(record[:11], pieces) or short
        if not is_name(name):
            return None
        high, time, date, low, size = fields("HHHHI", record, 20)
        start = low | high << 16 if self.bits == 32 else low
        is_directory = bool(record[11] & DIRECTORY)
        return Entry(name, is_directory, 0 if is_directory else size, _when(date, time), short, start)

    async def _records(self, directory: Entry) -> list[bytes]:
        """All there are up to the end."""
        is_fixed = directory is self.root and self.bits != 32
        pieces = (self._root,) if is_fixed else await self._chain(directory.start, MOST_DIRECTORY)
        data = b"".join([await self._bytes(*piece) for piece in pieces])
        records = [data[at : at + ENTRY] for at in range(0, len(data), ENTRY)]
        return list(takewhile(lambda record: record[0] != END, records))


def _short_name(record: bytes) -> str:
    first = b"\xe5" if record[0] == IS_E5 else record[:1]
    base, extension = (first + record[1:8]).decode("cp437").rstrip(" "), record[8:11].decode("cp437").rstrip(" ")
    base = base.lower() if record[12] & LOWER_BASE else base
    extension = extension.lower() if record[12] & LOWER_EXTENSION else extension
    return f"{base}.{extension}" if extension else base


def _long_name(short: bytes, pieces: list[bytes]) -> str:
    """The one that is before a short name; nothing: there is none, or it is another name's, or none that a path can have."""
    count = len(pieces)
    if not pieces or pieces[0][0] & LAST == 0:
        return ""
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7 | checksum >> 1) + byte & 0xFF
    if any(piece[0] & ~LAST != count - place or piece[13] != checksum for place, piece in enumerate(pieces)):
        return ""
    units = b"".join(piece[1:11] + piece[14:26] + piece[28:32] for piece in reversed(pieces))
    name = units.decode("utf-16-le", "replace").partition("\0")[0]
    return name if is_name(name) else ""


def _when(date: int, time: int) -> datetime | None:
    try:
        midnight = datetime(1980 + (date >> 9), date >> 5 & 15, date & 31)
    except ValueError:
        return None
    hours, minutes, seconds = time >> 11, time >> 5 & 63, (time & 31) * 2
    return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds) if hours < 24 and minutes < 60 and seconds < 60 else None
