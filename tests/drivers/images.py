"""Images of disks made by the tools that everybody uses, and a disk in memory to read them from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st

from drivers import DeviceError
from drivers.errors import FileSystemError
from drivers.services.filesystem import FileSystem, is_name

PACKAGES = {"mkfs.fat": "dosfstools", "mcopy": "mtools", "mdel": "mtools", "genisoimage": "genisoimage", "sfdisk": "fdisk"}
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
WRITTEN = 981173106  # 2001-02-03 04:05:06 UTC
BIG = Random(1).randbytes(50_001)
TREE = {
    "HELLO.TXT": b"Hello!\n",
    "lower.txt": b"lower case, which fits into a short name",
    "nothing": b"",
    "A name that is long, with spaces, ä and ☃.text": b"long",
    "another name that begins as one before.text": b"1",
    "another name that begins as one after.text": b"2",
    "x" * 80 + ".dat": b"eighty",
    "sub/deeper/deepest/leaf.bin": bytes(range(256)) * 8,
    "sub/exactly": b"e" * 4096,
    **{f"many/file number {number:03}.txt": b"%d" % number for number in range(150)},
}

T = TypeVar("T")


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = sorted({PACKAGES[tool] for tool in tools if shutil.which(tool, path=PATH) is None})
    return pytest.mark.skipif(bool(missing), reason=f"not installed: apt-get install {' '.join(missing)}")


needs_fat = needs("mkfs.fat", "mcopy", "mdel")
needs_iso = needs("genisoimage")


def tool(name: str, *arguments: str | Path, given: str | None = None) -> None:
    """Run one."""
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run([name, *map(str, arguments)], input=given, env=environment, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def folder_of(files: dict[str, bytes], folder: Path) -> Path:
    """The files, in a folder, all of one time."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in folder.rglob("*"):
        os.utime(path, (WRITTEN, WRITTEN))
    return folder


def fat_image(path: Path, bits: int, size: int, files: dict[str, bytes], big: bytes = BIG, *options: str) -> Path:
    """A FAT file system with clusters of a sector, and `big.bin` in many pieces besides."""
    with path.open("wb") as file:
        file.truncate(size)
    room = ["-r", "512"] if bits < 32 else []
    tool("mkfs.fat", "-F", str(bits), "-s", "1", "-n", "BEAMLIKE", *room, *options, path)
    holes = folder_of({f"hole{number:03}": b"." for number in range(200)}, path.with_suffix(".holes"))
    tool("mcopy", "-i", path, *sorted(holes.iterdir()), "::")
    tool("mdel", "-i", path, *(f"::hole{number:03}" for number in range(0, 200, 2)))
    if bits == 32:  # nobody knows where to go on: from the first hole
        with path.open("r+b") as file:
            file.seek(512 + 488)
            file.write(b"\xff" * 8)
    everything = folder_of({**files, "big.bin": big}, path.with_suffix(".files"))
    tool("mcopy", "-s", "-m", "-i", path, everything / "big.bin", *sorted(set(everything.iterdir()) - {everything / "big.bin"}), "::")
    tool("mdel", "-i", path, *(f"::hole{number:03}" for number in range(1, 200, 2)))
    return path


def iso_image(path: Path, files: dict[str, bytes], *options: str) -> Path:
    tool("genisoimage", "-quiet", "-V", "BEAMLIKE", *options, "-o", path, folder_of(files, path.with_suffix(".files")))
    return path


class Images(dict[str, Any]):
    """By name. They are too large to be printed when a test fails."""

    def __repr__(self) -> str:
        return f"<images {', '.join(self)}>"


class MemoryDisk:
    """A block source that never waits."""

    def __init__(self, data: bytes | bytearray, sector_size: int = 512) -> None:
        self.data = data
        self.sector_size = sector_size
        self.sectors = len(data) // sector_size
        self.reads: list[tuple[int, int]] = []
        self.broken = False

    async def read(self, first: int, count: int, /) -> bytes:
        self.reads.append((first, count))
        if self.broken:
            raise DeviceError("broken")
        if first < 0 or first + count > self.sectors:
            raise ValueError(f"no such sectors: {first}, {count}")
        return bytes(self.data[first * self.sector_size : (first + count) * self.sector_size])


async def everything(fs: FileSystem, path: str = "", most: int = 1000) -> dict[str, bytes]:
    """All files there are, by their paths."""
    found: dict[str, bytes] = {}
    for name in await fs.listdir(path):
        if len(found) < most:
            if (await fs.stat(path + name)).is_directory:
                found.update(await everything(fs, path + name + "/", most - len(found)))
            else:
                found[path + name] = await fs.read(path + name)
    return found


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns, without waiting."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("it waits")


# --- damage ---

OTHERWISE = (FileSystemError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
VALUES = st.binary(min_size=1, max_size=8) | st.sampled_from(
    [b"\0", b"\1", b"\2", b"\xff", b"\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x0f"]
)


def spots_of(data: bytearray) -> list[int]:
    """Where something is written, and just before and after that."""
    written = {found.start() for found in re.finditer(rb"[^\0]", data)}
    return sorted({at + near for at in written for near in (-1, 0, 1) if 0 <= at + near < len(data)})


def damages(spots: list[int]) -> st.SearchStrategy[list[tuple[int, bytes]]]:
    return st.lists(st.tuples(st.sampled_from(spots), VALUES), min_size=1, max_size=8)


@contextmanager
def damaged(data: bytearray, damage: list[tuple[int, bytes]]) -> Iterator[None]:
    """The data has these bytes in these places, until the end."""
    before = [(at, bytes(data[at : at + len(value)])) for at, value in damage]
    for (at, old), (_, value) in zip(before, damage, strict=True):
        data[at : at + len(old)] = value[: len(old)]
    try:
        yield
    finally:
        for at, old in reversed(before):
            data[at : at + len(old)] = old


async def try_everything(mounted: Coroutine[Any, Any, FileSystem], most: int = 100) -> int:
    """Mount it and go everywhere; nothing else than what is said may be raised. How many entries there were."""
    with suppress(FileSystemError):
        fs = await mounted
        paths = [""]
        for path in paths:
            with suppress(*OTHERWISE):
                names = await fs.listdir(path)
                assert all(is_name(name) for name in names)
                paths += [f"{path}/{name}" for name in names][: max(0, most - len(paths))]
            with suppress(*OTHERWISE):
                entry = await fs.stat(path)
                assert entry.size >= 0
                data = await fs.read(path)
                assert len(data) == entry.size
                assert data[5:10] == await fs.read(path, 5, 5)
        return len(paths)
    return 0
