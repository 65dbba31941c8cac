"""Partition tables, as sfdisk makes them, from a disk in memory."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import Images, MemoryDisk, damaged, damages, finish, needs, spots_of, tool

from drivers import DeviceError
from drivers.errors import FileSystemError
from drivers.services.partitions import Partition, list_partitions

pytestmark = needs("sfdisk")

SECTORS = 20480
LINUX = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
MBR = """label: dos
start=64, size=100, type=c
start=2048, size=10000, type=5
start=200, size=50, type=83
start=4096, size=1, type=83
start=6144, size=100, type=82
start=8192, size=3856, type=7
"""
GPT = """label: gpt
first-lba: 34
start=64, size=100, name="the first"
start=200, size=50, name="ä ☃"
"""


def made(path: Path, script: str) -> bytearray:
    path.write_bytes(bytes(SECTORS * 512))
    tool("sfdisk", "--quiet", path, given=script)
    return bytearray(path.read_bytes())


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("partitions")
    return Images(mbr=made(folder / "mbr", MBR), gpt=made(folder / "gpt", GPT))


@pytest.fixture
def mbr(tables: Images) -> bytearray:
    return bytearray(tables["mbr"])


@pytest.fixture
def gpt(tables: Images) -> bytearray:
    return bytearray(tables["gpt"])


def listed(data: bytes | bytearray, sector_size: int = 512) -> list[Partition]:
    return finish(list_partitions(MemoryDisk(data, sector_size)))


def put(data: bytearray, at: int, *values: int, width: int = 4) -> None:
    for number, value in enumerate(values):
        data[at + number * width : at + (number + 1) * width] = value.to_bytes(width, "little")


def sign(data: bytearray, sector: int = 1) -> None:
    """Make the checksums of a GUID partition table right, if it says where its entries are."""
    header = sector * 512
    size, table = int.from_bytes(data[header + 12 : header + 16], "little"), int.from_bytes(data[header + 72 : header + 80], "little")
    count, entry = (int.from_bytes(data[at : at + 4], "little") for at in (header + 80, header + 84))
    if count * entry <= 1 << 20 and table < SECTORS:
        put(data, header + 88, crc32(data[table * 512 : table * 512 + count * entry]))
    put(data, header + 16, 0)
    put(data, header + 16, crc32(data[header : header + min(size, 512)]))


def test_primary_and_logical_partitions(mbr: bytearray) -> None:
    assert [(each.number, each.blocks, each.kind, each.name) for each in listed(mbr)] == [
        (1, (64, 164), 0x0C, ""),
        (3, (200, 250), 0x83, ""),
        (5, (4096, 4097), 0x83, ""),
        (6, (6144, 6244), 0x82, ""),
        (7, (8192, 12048), 0x07, ""),
    ]


def test_a_guid_partition_table(gpt: bytearray) -> None:
    expected = [Partition(1, (64, 164), LINUX, "the first"), Partition(2, (200, 250), LINUX, "ä ☃")]
    assert listed(gpt) == expected
    gpt[512:520] = bytes(8)
    assert listed(gpt) == expected  # of the copy
    put(gpt, (SECTORS - 1) * 512 + 16, 0)
    with pytest.raises(FileSystemError, match=rf"no GUID partition table in sector 1; its copy: .* {SECTORS - 1} has a wrong checksum"):
        listed(gpt)


def test_sectors_of_4096_bytes() -> None:
    data = bytearray(4096 * 100)
    data[510:512] = b"\x55\xaa"
    data[450] = 0xC
    put(data, 454, 10, 90)
    assert [each.blocks for each in listed(data, 4096)] == [(10, 100)]


def test_what_is_no_partition_table(mbr: bytearray) -> None:
    for nothing in (b"", bytes(512), bytes(5120), b"\xff" * 5120, bytes(510) + b"\x55\xaa"):
        if nothing[510:] == b"\x55\xaa":
            assert listed(nothing) == []
        else:
            with pytest.raises(FileSystemError, match="partition table in sector 0"):
                listed(nothing)
    mbr[446] = 1
    with pytest.raises(FileSystemError, match="no partition table in sector 0"):
        listed(mbr)


def test_partitions_that_are_not_on_the_disk(mbr: bytearray, gpt: bytearray) -> None:
    for first, count in ((0, 10), (SECTORS, 1), (SECTORS - 1, 2), (0xFFFFFFFF, 0xFFFFFFFF)):
        put(mbr, 454, first, count)
        with pytest.raises(FileSystemError, match=rf"partition 1 has sectors {first} to .* the disk has {SECTORS}"):
            listed(mbr)
    for first, last in ((0, 100), (10, SECTORS), (100, 99), (1 << 63, (1 << 63) + 1)):
        put(gpt, 1024 + 32, first, last, width=8)
        sign(gpt)
        gpt[(SECTORS - 1) * 512] = 0
        with pytest.raises(FileSystemError, match=f"partition 1 has sectors {first} to {last}, and"):
            listed(gpt)


@pytest.mark.parametrize("following", [0, 2047, 4096])
def test_logical_partitions_that_go_on_where_they_were(mbr: bytearray, following: int) -> None:
    tables = [at for at in range(2048, 12048) if mbr[at * 512 + 510 : at * 512 + 512] == b"\x55\xaa"]
    assert tables[0] == 2048
    assert len(tables) == 3
    at = tables[-1] * 512 + 446 + 16
    for loop in tables:
        mbr[at + 4] = 5
        put(mbr, at + 8, loop - 2048, 100)
        with pytest.raises(FileSystemError, match=f"go on in sector {loop} again and again"):
            listed(mbr)
    put(mbr, at + 8, SECTORS + following, 100)
    with pytest.raises(FileSystemError, match=f"in sector {SECTORS + following + 2048}, and the disk has {SECTORS}"):
        listed(mbr)


def test_more_logical_partitions_than_a_bound(mbr: bytearray) -> None:
    for table in range(2048, 12000):
        mbr[table * 512 + 446 : table * 512 + 512] = bytes(64) + b"\x55\xaa"
        mbr[table * 512 + 450] = 5
        put(mbr, table * 512 + 454, table + 1 - 2048, 100)
    with pytest.raises(FileSystemError, match="more than 128 tables"):
        listed(mbr)


@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (8, 0x20000, "no GUID"),
        (12, 91, "checksum"),
        (12, 513, "checksum"),
        (12, 0xFFFFFFFF, "checksum"),
        (24, 2, "is for 2"),
        (72, SECTORS, "entries from sector"),
        (76, 0xFFFFFFFF, "entries from sector"),
        (80, 0, "0 entries"),
        (80, 0xFFFFFFFF, "entries of"),
        (84, 0, "of 0 bytes"),
        (84, 127, "of 127 bytes"),
        (84, 1 << 30, "entries of"),
    ],
)
def test_guid_partition_tables_that_cannot_be_true(gpt: bytearray, at: int, value: int, what: str) -> None:
    gpt[(SECTORS - 1) * 512] = 0
    put(gpt, 512 + at, value)
    sign(gpt)
    with pytest.raises(FileSystemError, match=what):
        listed(gpt)


def test_entries_with_a_wrong_checksum(gpt: bytearray) -> None:
    gpt[(SECTORS - 1) * 512] = 0
    gpt[1024 + 127] ^= 1
    with pytest.raises(FileSystemError, match="entries from sector 2 on have a wrong checksum"):
        listed(gpt)


def test_a_disk_that_fails_is_told_as_such(gpt: bytearray) -> None:
    disk = MemoryDisk(gpt)
    disk.broken = True
    with pytest.raises(DeviceError, match="broken"):
        finish(list_partitions(disk))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_of_any_kind_is_told_as_such(data: st.DataObject, tables: Images) -> None:
    name = data.draw(st.sampled_from(["mbr", "gpt"]))
    image = tables[name]
    spots = spots_of(image[:4096]) + [2048 * 512 + at for at in range(446, 512)] + [(SECTORS - 1) * 512 + at for at in range(92)]
    signatures = [(512 + 16, bytes(image[512 + 16 : 512 + 20])), (512 + 88, bytes(image[512 + 88 : 512 + 92]))]
    with damaged(image, [*signatures, *data.draw(damages(spots))]):
        if name == "gpt" and data.draw(st.booleans()):
            sign(image)
        disk = MemoryDisk(image)
        disk.sectors = data.draw(st.sampled_from([SECTORS, SECTORS, SECTORS // 2, 3, 1, 0]))
        try:
            found = finish(list_partitions(disk))
        except FileSystemError:
            return
        assert all(0 < each.blocks[0] < each.blocks[1] <= disk.sectors for each in found)
