"""The medium of a machine with Unicorn: a file that may change, or fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from boot.engines.disk import NOT_FOUND, UNCORRECTABLE, Disk
from boot.engines.memory import GuestMemory
from boot.guest.layout import SECTOR

MEGABYTE = 1 << 20
ADDRESS = 0x20000


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory(MEGABYTE)
    yield memory
    memory.close()


def test_a_file_that_becomes_shorter_gives_a_status_and_what_is_left(tmp_path: Path, memory: GuestMemory) -> None:
    data = os.urandom(8 * SECTOR)
    (tmp_path / "image").write_bytes(data)
    with (tmp_path / "image").open("r+b") as file:
        disk = Disk(file.fileno())
        assert disk.read(0, 8, memory, ADDRESS) == (0, 8)
        file.truncate(5 * SECTOR + 100)
        assert disk.read(2, 4, memory, ADDRESS) == (UNCORRECTABLE, 3)
        assert memory.read(ADDRESS, 3 * SECTOR) == data[2 * SECTOR : 5 * SECTOR]
        assert disk.read(6, 2, memory, ADDRESS) == (UNCORRECTABLE, 0)


def test_a_file_that_cannot_be_read_gives_a_status(tmp_path: Path, memory: GuestMemory) -> None:
    (tmp_path / "image").write_bytes(bytes(SECTOR))
    with (tmp_path / "image").open("r+b") as file:
        disk = Disk(file.fileno())
        writer = os.open(tmp_path / "image", os.O_WRONLY)
        os.dup2(writer, file.fileno())
        os.close(writer)
        assert disk.read(0, 1, memory, ADDRESS) == (UNCORRECTABLE, 0)


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_behind_the_end_is_not_found(tmp_path: Path, memory: GuestMemory, count: int) -> None:
    (tmp_path / "image").write_bytes(bytes(SECTOR))
    with (tmp_path / "image").open("rb") as file:
        for lba in (2, (1 << 64) - 1):
            assert Disk(file.fileno()).read(lba, count, memory, ADDRESS) == (NOT_FOUND, 0)
