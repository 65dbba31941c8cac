"""Blocks: any disk by bytes, with a cache."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import MemoryDisk, finish

from drivers import DeviceError
from drivers.services import blocks as module
from drivers.services.blocks import Blocks

DATA = Random(5).randbytes(512 * 100)


def test_what_was_read_lately_is_not_read_again() -> None:
    disk = MemoryDisk(DATA)
    blocks = Blocks(disk)
    assert blocks.size == len(DATA)
    for _ in range(2):
        assert finish(blocks.read(10, 5)) == DATA[5120:7680]
    assert finish(blocks.read(8, 10)) == DATA[4096:9216]
    assert finish(blocks.read_bytes(5121, 1)) == DATA[5121:5122]
    assert disk.reads == [(10, 5), (8, 2), (15, 3)]
    assert finish(blocks.read_bytes(5121, 0)) == b""


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 100))),
    st.integers(0, 512 * 60),
    st.tuples(st.integers(0, 50), st.integers(51, 100)),
)
def test_reads_are_right_and_the_cache_is_no_larger_than_it_may_be(
    wanted: list[tuple[int, int]], cache: int, part: tuple[int, int]
) -> None:
    disk = MemoryDisk(DATA)
    blocks = Blocks(disk, cache=cache).part(*part)
    first, end = part
    for begin, count in wanted:
        if begin + count <= end - first:
            expected = DATA[(first + begin) * 512 : (first + begin + count) * 512]
            assert finish(blocks.read(begin, count)) == expected
        else:
            with pytest.raises(ValueError, match=f"not in the {end - first}"):
                finish(blocks.read(begin, count))
        assert sum(map(len, blocks._kept.values())) <= cache


def test_what_was_used_longest_ago_goes_first() -> None:
    disk = MemoryDisk(DATA)
    blocks = Blocks(disk, cache=4 * 512)
    for sector in (0, 1, 2, 3, 0, 4, 0, 1):
        finish(blocks.read(sector, 1))
    assert [first for first, _ in disk.reads] == [0, 1, 2, 3, 4, 1]


def test_parts_of_parts_count_from_their_own_first_sector() -> None:
    part = Blocks(MemoryDisk(DATA)).part(10, 90).part(5, 20)
    assert part.sectors == 15
    assert finish(part.read(0, 15)) == DATA[15 * 512 : 30 * 512]
    for first, end in ((0, 16), (-1, 3), (3, 2)):
        with pytest.raises(ValueError, match="not in the 15"):
            part.part(first, end)


def test_large_reads_are_done_a_piece_at_a_time_and_go_past_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 10 * 512)
    disk = MemoryDisk(DATA)
    blocks = Blocks(disk, cache=40 * 512)
    assert finish(blocks.read(0, 25)) == DATA[: 25 * 512]
    assert disk.reads == [(0, 10), (10, 10), (20, 5)]
    assert not blocks._kept


def test_a_read_that_fails_leaves_nothing_behind_and_the_next_one_is_right() -> None:
    disk = MemoryDisk(DATA)
    blocks = Blocks(disk)
    finish(blocks.read(3, 1))
    disk.broken = True
    for count in (4, 10, 1):
        with pytest.raises(DeviceError, match="broken"):
            finish(blocks.read(0, count))
    assert finish(blocks.read(3, 1)) == DATA[3 * 512 : 4 * 512]
    disk.broken = False
    assert finish(blocks.read(0, 10)) == DATA[: 10 * 512]


def test_reads_that_fail_leave_no_more_than_the_cache_may_have() -> None:
    disk = MemoryDisk(DATA)
    blocks = Blocks(disk, cache=16 * 512)
    for first in range(0, 90, 4):
        disk.sectors = 100
        finish(blocks.read(first + 1, 1))
        disk.sectors = first + 2  # and so there is the first one besides, and no more
        with pytest.raises(DeviceError, match="not what it was"):
            finish(blocks.read(first, 4))
        assert len(blocks._kept) <= 16
    disk.sectors = 100
    assert finish(blocks.read(88, 2)) == DATA[88 * 512 : 90 * 512]


def test_a_disk_that_gives_less_than_it_said() -> None:
    disk = MemoryDisk(DATA)
    blocks = Blocks(disk)
    disk.sectors = 50
    with pytest.raises(DeviceError, match="the disk is not what it was: no such sectors: 40, 20"):
        finish(blocks.read(40, 20))
    disk.sectors = 100
    disk.data = DATA[: 45 * 512]
    with pytest.raises(DeviceError, match="2560 bytes for 20 sectors of 512"):
        finish(blocks.read(40, 20))
    assert finish(blocks.read(40, 5)) == DATA[40 * 512 : 45 * 512]
