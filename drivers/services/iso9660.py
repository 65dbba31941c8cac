"""ISO 9660 file systems, as on CD-ROMs, read.

Source: ECMA-119, 4th edition (2019); Joliet Specification (Microsoft, 1995); System Use Sharing Protocol, IEEE P1281 draft 1.12, and Rock
Ridge Interchange Protocol, IEEE P1282 draft 1.12 (both 1994).

Covers: files in several extents, Joliet names, Rock Ridge names, and directories that it has moved. Not: earlier sessions of a disc,
interleaved files, symbolic links and the rest of Rock Ridge (a link is a file of 0 bytes), compressed files (they are read as they are).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Final, NamedTuple, Self

from drivers.services.blocks import Source
from drivers.services.filesystem import Entry, FileSystem, Pieces, fields, in_capitals, is_name

SECTOR, FIRST = 2048, 16  # of volume descriptors
IDENTIFIER, PRIMARY, SUPPLEMENTARY, TERMINATOR = b"CD001", 1, 2, 255
MOST_DESCRIPTORS: Final = 64
JOLIET: Final = (b"%/@", b"%/C", b"%/E")
MOST_DIRECTORY: Final = 16 << 20  # bytes
MOST_EXTENTS: Final = 4096  # of a file
MOST_AREAS: Final = 16  # of a record, for what does not fit into it
RECORD: Final = 33  # bytes before its name
INTERLEAVED: Final = -1  # instead of where it is
DIRECTORY, ASSOCIATED, MORE = 0x02, 0x04, 0x80  # flags
SPEAKS_SUSP: Final = b"SP\x07\x01\xbe\xef"
ENTRY: Final = 4  # bytes before the data of an entry of a system use area
NAME_GOES_ON, NAME_IS_NONE = 0x01, 0x06  # flags


class Record(NamedTuple):
    """Of a directory."""

    at: int
    """In bytes, of what it is about; `INTERLEAVED`."""
    size: int
    flags: int
    modified: datetime | None
    name: bytes
    use: bytes
    """For others than this standard."""


class Iso9660(FileSystem):
    """Made by `mount`. Rock Ridge names are used if there are some, or Joliet's, or those of the standard without version; only the first
    are told apart by capitals."""

    name = "ISO 9660"
    label: str
    names: str
    """`Rock Ridge`, `Joliet` or `plain`."""

    @classmethod
    async def mount(cls, source: Source) -> Self:
        """Raises: FileSystemError: there is none, or what it says of itself cannot be true; DeviceError."""
        iso = cls(source)
        await iso._begin()
        return iso

    async def _begin(self) -> None:
        self.names, self._skip = "plain", 0
        primary = joliet = None
        for number in range(FIRST, FIRST + MOST_DESCRIPTORS):
            found = await self._bytes(number * SECTOR, SECTOR)
            if found[1:6] != IDENTIFIER:
                raise self._wrong(f"sector {number} is no volume descriptor")
            if found[0] == PRIMARY and primary is None:
                primary = found
            elif found[0] == SUPPLEMENTARY and found[88:91] in JOLIET and joliet is None:
                joliet = found
            elif found[0] == TERMINATOR:
                break
        else:
            raise self._wrong(f"more than {MOST_DESCRIPTORS} volume descriptors")
        if primary is None:
            raise self._wrong("no primary volume descriptor")
        self._use(primary)
        itself = next(iter(await self._records(self.root)), None)
        if itself is not None and itself.use.startswith(SPEAKS_SUSP) and len(itself.use) > 6:
            self._skip = itself.use[6]
            self.names = "Rock Ridge" if await self._has_rock_ridge(itself) else "plain"
        if self.names == "plain" and joliet is not None:
            self.names = "Joliet"
            self._use(joliet)

    def _use(self, descriptor: bytes) -> None:
        (self._block,) = fields("H", descriptor, 128)
        if self._block not in (512, 1024, 2048):
            raise self._wrong(f"blocks of {self._block} bytes")
        record = self._record(descriptor[156:190], 0)
        if record is None or not record.flags & DIRECTORY:
            raise self._wrong("no root directory")
        self.root = Entry("", True, 0, None, "", ((record.at, record.size),))
        self.label = self._text(descriptor[40:72]).rstrip(" \0")

    # --- directories ---

    def _folded(self, name: str) -> str:
        return name if self.names == "Rock Ridge" else in_capitals(name)

    async def _pieces(self, entry: Entry) -> Pieces:
        pieces: Pieces = entry.start
        if any(at == INTERLEAVED for at, _ in pieces):
            raise self._wrong(f"{entry.name} is interleaved with others, and cannot be read")
        return pieces

    async def _entries(self, directory: Entry) -> list[Entry]:
        entries = []
        name, before = b"", Pieces()  # the extents so far of a file that goes on
        for record in await self._records(directory):
            if record.name in (b"\0", b"\1") or record.flags & ASSOCIATED:
                continue
            pieces = *(before if record.name == name else ()), (record.at, record.size)
            if len(pieces) > MOST_EXTENTS:
                raise self._wrong(f"a file has more than {MOST_EXTENTS} extents")
            if record.flags & MORE:
                name, before = record.name, pieces
                continue
            name, before = b"", ()
            entry = await self._entry(record, pieces)
            if entry is not None and is_name(entry.name):
                entries.append(entry)
        return entries

    async def _entry(self, record: Record, pieces: Pieces) -> Entry | None:
        plain = self._text(record.name).partition(";")[0].removesuffix(".")
        is_directory = bool(record.flags & DIRECTORY)
        size = 0 if is_directory else sum(size for _, size in pieces)
        entry = Entry(plain, is_directory, size, record.modified, plain, pieces)
        return await self._with_rock_ridge(entry, record.use[self._skip :]) if self.names == "Rock Ridge" else entry

    async def _records(self, directory: Entry) -> list[Record]:
        at, size = directory.start[0]
        if len(directory.start) > 1 or at == INTERLEAVED or not 0 < size <= MOST_DIRECTORY:
            raise self._wrong(f"directory {directory.name!r} has {len(directory.start)} extents, the first one of {size} bytes at {at}")
        data = await self._bytes(at, size)
        records = []
        for begin in range(0, size, SECTOR):
            sector = data[begin : begin + SECTOR]
            place = 0
            while place < len(sector) and sector[place]:  # a 0: the next one is in the next sector
                record = self._record(sector, place)
                if record is None:
                    raise self._wrong(f"directory {directory.name!r} has no record at byte {begin + place}")
                records.append(record)
                place += sector[place]
        return records

    def _record(self, data: bytes, at: int) -> Record | None:
        length = data[at]
        data = data[at : at + length]
        if not RECORD < length == len(data) or RECORD + data[32] > length:
            return None
        attributes, extent, size = fields("xBIxxxxI", data)
        flags, unit, gap = data[25:28]
        at = INTERLEAVED if unit or gap else (extent + attributes) * self._block
        end = RECORD + data[32]
        return Record(at, size, flags, _when(data[18:25]), data[RECORD:end], data[end + (end & 1) :])

    def _text(self, name: bytes) -> str:
        return name.decode("utf-16-be" if self.names == "Joliet" else "latin-1", "replace")

    # --- Rock Ridge ---

    async def _has_rock_ridge(self, itself: Record) -> bool:
        uses = await self._uses(itself.use)
        return any(signature in (b"RR", b"PX") or (signature == b"ER" and b"RRIP" in data) for signature, data in uses)

    async def _with_rock_ridge(self, entry: Entry, use: bytes) -> Entry | None:
        """What Rock Ridge makes of it; None: a directory that is moved away from here."""
        name, is_complete = b"", False
        for signature, data in await self._uses(use):
            if signature == b"NM" and data and not is_complete and not data[0] & NAME_IS_NONE:
                name += data[1:]
                is_complete = not data[0] & NAME_GOES_ON
            elif signature == b"RE":
                return None
            elif signature == b"CL" and len(data) >= 4:
                at = int.from_bytes(data[:4], "little") * self._block
                itself = self._record(await self._bytes(at, SECTOR), 0)
                if itself is None or not itself.flags & DIRECTORY or itself.at != at:
                    raise self._wrong(f"{entry.name} is a directory at {at}, where there is none")
                entry = replace(entry, is_directory=True, size=0, start=((at, itself.size),))
        text = name.decode("utf-8", "replace")
        return replace(entry, name=text, alias=text) if is_name(text) else entry

    async def _uses(self, area: bytes) -> list[tuple[bytes, bytes]]:
        """The signatures and data of a system use area, and of the areas where it goes on."""
        uses = []
        for _ in range(MOST_AREAS):
            following = None
            at = 0
            while at + ENTRY <= len(area) and ENTRY <= area[at + 2] <= len(area) - at:
                signature, data = area[at : at + 2], area[at + ENTRY : at + area[at + 2]]
                at += area[at + 2]
                if signature == b"ST":
                    break
                if signature == b"CE" and len(data) == 24:
                    following = fields("IxxxxIxxxxI", data)
                uses.append((signature, data))
            if following is None:
                return uses
            block, offset, size = following
            if offset + size > SECTOR:
                raise self._wrong(f"{size} bytes of a system use area, {offset} into a sector")
            area = await self._bytes(block * self._block + offset, size)
        raise self._wrong(f"a system use area goes on in more than {MOST_AREAS} places")


def _when(date: bytes) -> datetime | None:
    year, month, day, hour, minute, second, zone = date
    zone -= (zone & 0x80) * 2  # quarters of an hour, signed
    try:
        return datetime(1900 + year, month, day, hour, minute, second, tzinfo=timezone(timedelta(minutes=15 * zone)))
    except ValueError:
        return None
