"""What the readers of file systems have in common: paths, and files in pieces.

Nothing on a medium is believed. What cannot be true is a FileSystemError, and nothing that a medium says makes a call endless, or lets it
take more memory than `MOST` and some directories.
"""

from __future__ import annotations

import errno
import os
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from drivers.errors import FileSystemError
from drivers.services.blocks import Blocks, Source

MOST: Final = 64 << 20  # bytes that one read gives
LISTED: Final = 4  # directories that are remembered

Pieces = tuple[tuple[int, int], ...]
"""Where a file is: offset and size of each piece, in bytes."""


@dataclass(frozen=True)
class Entry:
    """A file, or a directory."""

    name: str
    is_directory: bool
    size: int
    """In bytes; 0 of directories."""
    modified: datetime | None
    """As the medium has it, without a time zone if it has none; None: it makes no sense."""
    alias: str
    """Another name that finds it, or the same."""
    start: Any
    """Where it begins, as the file system has it."""


class FileSystem(ABC):
    """A file system that is read. Paths have `/`; they all begin at the root, also without a first one.

    Its methods raise:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: as the functions of `os`.
        FileSystemError: what is on the medium cannot be true.
        DeviceError: the disk reports an error. The next call is right again if the disk is.
    """

    name: str
    """Of the format."""
    root: Entry

    def __init__(self, source: Source) -> None:
        self.blocks = source if isinstance(source, Blocks) else Blocks(source)
        self._listed: dict[Any, dict[str, Entry]] = {}  # what is in directories that were used lately
        self._latest: tuple[str, Entry, Pieces] | None = None  # what was read last, and where it is

    async def listdir(self, path: str = "/") -> list[str]:
        """The names in a directory, as they are in it. An entry without a name that a path could have is left out."""
        return [entry.name for entry in await self._entries(await self._directory(path))]

    async def stat(self, path: str) -> Entry:
        """What is known of a file or a directory."""
        return await self._find(path)

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """What is in a file: `size` bytes from `offset` on, or fewer if it ends before; all of it if not given.

        Raises: see the class; ValueError: `offset` or `size` is negative; FileSystemError also: these are more than `MOST` bytes.
        """
        if offset < 0 or (size is not None and size < 0):
            raise ValueError(f"{size} bytes from {offset}: expected no negative numbers")
        if self._latest is None or self._latest[0] != path:
            entry = await self._find(path)
            if entry.is_directory:
                _fail(IsADirectoryError, errno.EISDIR, path)
            self._latest = path, entry, await self._pieces(entry)
        _, entry, pieces = self._latest
        left = max(0, entry.size - offset)
        left = left if size is None else min(left, size)
        if left > MOST:
            raise FileSystemError(f"{path}: {left} bytes are more than the {MOST} of one read: read it in parts")
        parts = []
        for at, length in pieces:
            some = min(left, length - offset)
            if some > 0:
                parts.append(await self._bytes(at + offset, some))
                left -= some
            offset = max(0, offset - length)
        return b"".join(parts)

    # --- of a format ---

    @abstractmethod
    async def _entries(self, directory: Entry) -> list[Entry]:
        """What is in a directory, without itself and its parent."""

    @abstractmethod
    async def _pieces(self, entry: Entry) -> Pieces:
        """Where a file is: of its size or more."""

    def _folded(self, name: str) -> str:
        """The same for all names that mean one entry."""
        return name

    # --- for formats ---

    async def _bytes(self, offset: int, size: int) -> bytes:
        if offset + size > self.blocks.size:
            raise self._wrong(f"bytes {offset} to {offset + size - 1} are needed, and the disk has {self.blocks.size}")
        return await self.blocks.read_bytes(offset, size)

    def _wrong(self, what: str) -> FileSystemError:
        return FileSystemError(f"{self.name}: {what}")

    # --- paths ---

    async def _find(self, path: str) -> Entry:
        entry = self.root
        above = {entry.start}
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not entry.is_directory:
                _fail(NotADirectoryError, errno.ENOTDIR, path)
            entry = await self._look_up(entry, part) or _fail(FileNotFoundError, errno.ENOENT, path)
            if entry.is_directory:
                if entry.start in above:
                    raise self._wrong(f"{path}: {part} is a directory that it is in")
                above.add(entry.start)
        return entry

    async def _look_up(self, directory: Entry, name: str) -> Entry | None:
        """By its name as it is, or else by one that means the same, or else by its alias; the first one if there are several."""
        found = self._listed.pop(directory.start, None)
        if found is None:
            entries = (await self._entries(directory))[::-1]
            found = {self._folded(each.alias): each for each in entries} | {self._folded(each.name): each for each in entries}
            found |= {each.name: each for each in entries}
        self._listed[directory.start] = found
        if len(self._listed) > LISTED:
            del self._listed[next(iter(self._listed))]
        return found.get(name) or found.get(self._folded(name))

    async def _directory(self, path: str) -> Entry:
        entry = await self._find(path)
        return entry if entry.is_directory else _fail(NotADirectoryError, errno.ENOTDIR, path)


def is_name(name: str) -> bool:
    """Can a path have it?"""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def in_capitals(name: str) -> str:
    """As file systems do it, a character for a character: a sharp s, which is two in capitals, stays."""
    return "".join(each.upper() if len(each.upper()) == 1 else each for each in name)


def fields(layout: str, data: bytes, at: int = 0) -> tuple[Any, ...]:
    """Little-endian, from there on, which is there."""
    return struct.unpack_from("<" + layout, data, at)


def _fail(kind: type[OSError], number: int, path: str) -> NoReturn:
    raise kind(number, os.strerror(number), path)
