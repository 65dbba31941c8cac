"""`open` and `connect` in a cell: the trusted side opens, and the cell reads and writes through the gateway."""

from __future__ import annotations

import builtins
import errno
import io
import os
from typing import Any

from cells.inside.door import Door

PART = 16 * 1024  # bytes of a request

_door: Door


def install(door: Door) -> None:
    """Replace Python's own `open`, which the walls refuse."""
    global _door
    _door = door
    builtins.open = io.open = open_file  # type: ignore[assignment]


def open_file(
    file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None, *_: Any
) -> Any:
    """`open`, of a file that the exclusions of this cell permit. Raises: OSError as the trusted side says."""
    if isinstance(file, int):
        raise OSError(errno.EPERM, "a cell has no descriptors of its own")
    kind = mode.replace("b", "").replace("t", "")
    if kind not in ("r", "w", "a", "x", "r+", "w+"):
        raise ValueError(f"invalid mode: {mode!r}")
    if buffering == 0 and "b" not in mode:
        raise ValueError("can't have unbuffered text I/O")
    raw = Remote(_door.request("open", os.fspath(file), kind), kind)
    if buffering == 0:
        return raw
    size = io.DEFAULT_BUFFER_SIZE if buffering <= 1 else buffering
    buffered: Any = (
        io.BufferedRandom(raw, size) if "+" in kind else io.BufferedReader(raw, size) if kind == "r" else io.BufferedWriter(raw, size)
    )
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline, line_buffering=buffering == 1)


def connect(host: str, port: int) -> io.BufferedRWPair:
    """A TCP connection to where the exclusions of this cell permit one. Raises: OSError as the trusted side says."""
    raw = Remote(_door.request("connect", host, port), "c")
    return io.BufferedRWPair(raw, raw)


class Remote(io.RawIOBase):
    """A file or connection that the trusted side has open, under a number."""

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind

    def readable(self) -> bool:
        return self.kind == "c" or "r" in self.kind or "+" in self.kind

    def writable(self) -> bool:
        return self.kind != "r"

    def seekable(self) -> bool:
        return self.kind != "c"

    def readinto(self, buffer: Any, /) -> int:
        data: bytes = _door.request("read", self.number, min(len(buffer), PART))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any, /) -> int:
        written: int = _door.request("write", self.number, bytes(data[:PART]))
        return written

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position: int = _door.request("seek", self.number, offset, whence)
        return position

    def truncate(self, size: int | None = None, /) -> int:
        length: int = _door.request("truncate", self.number, self.tell() if size is None else size)
        return length

    def close(self) -> None:
        if not self.closed:
            super().close()
            _door.request("close", self.number)
