"""Which parts a disk has.

Source: of the master boot record and extended partitions, what all systems do, as the UEFI specification 2.10 has it in 5.2; of GUID
partition tables, the same, 5.3.

Covers: both, the copy of a GUID partition table if the first one is damaged. Not: writing; cylinders, heads and sectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

from drivers.errors import FileSystemError
from drivers.services.blocks import Blocks, Source
from drivers.services.filesystem import fields

BOOT, SIGNATURE, TABLE, ENTRY = 512, b"\x55\xaa", 446, 16  # of a master boot record
PRIMARIES, MOST_LOGICAL = 4, 128
EXTENDED, PROTECTIVE = (0x05, 0x0F, 0x85), 0xEE  # types
GPT: Final = b"EFI PART\0\0\1\0"
HEADER, LEAST_ENTRY, MOST_TABLE = 92, 128, 1 << 20  # bytes
UNUSED: Final = UUID(int=0)


@dataclass(frozen=True)
class Partition:
    """A part of a disk."""

    number: int
    """From 1, as Linux numbers them; logical ones from 5."""
    blocks: tuple[int, int]
    """Half-open: as `open_device` and `Blocks.part` take them."""
    kind: int | UUID
    """The type in a master boot record, or a GUID partition table."""
    name: str
    """Nothing in a master boot record."""


class _Row(NamedTuple):
    kind: int
    first: int
    sectors: int


async def list_partitions(source: Source) -> list[Partition]:
    """In the order of their numbers. They may overlap, if the table says so.

    Raises: FileSystemError: there is no partition table, or it cannot be true; DeviceError.
    """
    blocks = source if isinstance(source, Blocks) else Blocks(source)
    rows = await _rows(blocks, 0)
    if any(row.kind == PROTECTIVE for row in rows):
        return await _gpt(blocks)
    found = []
    extended = None
    for number, row in enumerate(rows, 1):
        if row.kind in EXTENDED and row.sectors:
            extended = extended or row
        elif row.kind and row.sectors:
            found.append(_partition(blocks, number, row.first, row.first + row.sectors, row.kind))
    if extended is not None:
        found += await _logical(blocks, extended.first)
    return found


async def _rows(blocks: Blocks, sector: int) -> list[_Row]:
    if sector >= blocks.sectors:
        raise FileSystemError(f"a partition table in sector {sector}, and the disk has {blocks.sectors}")
    record = (await blocks.read(sector, 1))[:BOOT]
    states = record[TABLE : BOOT - 2 : ENTRY]
    if record[BOOT - 2 :] != SIGNATURE or any(state & 0x7F for state in states):
        raise FileSystemError(f"no partition table in sector {sector}")
    return [_Row(*fields("4xB3xII", record, TABLE + number * ENTRY)) for number in range(PRIMARIES)]


def _partition(blocks: Blocks, number: int, first: int, end: int, kind: int | UUID, name: str = "") -> Partition:
    if not 0 < first < end <= blocks.sectors:
        raise FileSystemError(f"partition {number} has sectors {first} to {end - 1}, and the disk has {blocks.sectors}")
    return Partition(number, (first, end), kind, name)


async def _logical(blocks: Blocks, start: int) -> list[Partition]:
    """Each is in a table of its own, which names the next one."""
    found: list[Partition] = []
    tables = [start]
    while len(tables) <= MOST_LOGICAL:
        table = tables[-1]
        rows = [row for row in (await _rows(blocks, table))[:2] if row.kind and row.sectors]
        for row in rows:
            if row.kind not in EXTENDED:
                first = table + row.first
                found.append(_partition(blocks, PRIMARIES + 1 + len(found), first, first + row.sectors, row.kind))
        following = next((start + row.first for row in rows if row.kind in EXTENDED), None)
        if following is None:
            return found
        if following in tables:
            raise FileSystemError(f"the tables of the logical partitions go on in sector {following} again and again")
        tables.append(following)
    raise FileSystemError(f"more than {MOST_LOGICAL} tables of logical partitions")


async def _gpt(blocks: Blocks) -> list[Partition]:
    try:
        return await _gpt_at(blocks, 1)
    except FileSystemError as error:
        try:
            return await _gpt_at(blocks, blocks.sectors - 1)
        except FileSystemError as also:
            raise FileSystemError(f"{error}; its copy: {also}") from None


async def _gpt_at(blocks: Blocks, place: int) -> list[Partition]:
    """What the header in this sector says."""
    if not 0 < place < blocks.sectors:
        raise FileSystemError("no room for a GUID partition table")
    header = await blocks.read(place, 1)
    size, checksum = fields("II", header, 12)
    if not header.startswith(GPT):
        raise FileSystemError(f"no GUID partition table in sector {place}")
    if not HEADER <= size <= len(header) or crc32(header[:16] + bytes(4) + header[20:size]) != checksum:
        raise FileSystemError(f"the GUID partition table in sector {place} has a wrong checksum")
    itself, first, end = *fields("Q", header, 24), *fields("QQ", header, 40)
    table, count, entry_size, table_checksum = fields("QIII", header, 72)
    if itself != place or entry_size < LEAST_ENTRY or entry_size % LEAST_ENTRY or not 0 < count * entry_size <= MOST_TABLE:
        raise FileSystemError(f"the GUID partition table in sector {place} is for {itself}, with {count} entries of {entry_size} bytes")
    if table * blocks.sector_size + count * entry_size > blocks.size:
        raise FileSystemError(f"entries from sector {table} on, and the disk has {blocks.sectors}")
    data = await blocks.read_bytes(table * blocks.sector_size, count * entry_size)
    if crc32(data) != table_checksum:
        raise FileSystemError(f"the entries from sector {table} on have a wrong checksum")
    found = []
    for number in range(count):
        entry = data[number * entry_size : (number + 1) * entry_size]
        kind = UUID(bytes_le=entry[:16])
        if kind != UNUSED:
            begin, last = fields("QQ", entry, 32)
            if not first <= begin <= last <= end:
                raise FileSystemError(f"partition {number + 1} has sectors {begin} to {last}, and {first} to {end} may be used")
            name = entry[56:128].decode("utf-16-le", "replace").partition("\0")[0]
            found.append(_partition(blocks, number + 1, begin, last + 1, kind, name))
    return found
