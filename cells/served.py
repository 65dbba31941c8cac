"""Files and connections of a cell: opened here, on the trusted side, where its exclusions permit it. The cell itself opens nothing.

The kinds `file` and `net` are closed to a cell unless whoever started it said that they are open: untrusted code gets what somebody wrote
down. All of it runs in a process with the layers of the cell, so it goes through the checked doors that every process has.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from io import FileIO
from typing import Any, Final

import trio

import caps
from beamlike import open_file, open_tcp

MOST_OPEN: Final = 64  # files and connections of a cell
MOST_READ: Final = 16 * 1024  # bytes of an answer
MODES: Final = {"r": "r", "w": "w", "a": "w", "x": "w", "r+": "rw", "w+": "rw"}  # of `open`, and what they are to exclusions


class Served:
    """What one cell has open, by number. `opened`: of `file` and `net`, what is not closed to it."""

    def __init__(self, opened: frozenset[str]) -> None:
        self.opened = opened
        self.open: dict[int, FileIO | trio.SocketStream] = {}
        self.last = 0

    async def answer(self, request: Any) -> tuple[Any, ...]:
        """The answer to a request: ("ok", value) or ("error", errno, text)."""
        try:
            match request:
                case ("open", str(path), str(mode)) if mode in MODES:
                    return ("ok", self._kept(await trio.to_thread.run_sync(self._open, path, mode)))
                case ("connect", str(host), int(port)):
                    return ("ok", self._kept(await self._connect(host, port)))
                case ("close", int(number)):
                    await self._close(number)
                    return ("ok", None)
                case (str(operation), int(number), *operands) if operation in OPERATIONS:
                    return ("ok", await self._operate(operation, self._numbered(number), operands))
        except OSError as error:
            return ("error", error.errno or errno.EIO, error.strerror or str(error))
        except trio.BrokenResourceError:
            return ("error", errno.EPIPE, "the connection is broken")
        except (ValueError, TypeError) as error:
            return ("error", errno.EINVAL, str(error))
        return ("error", errno.EINVAL, "there is no such request")

    def close(self) -> None:
        """The cell has ended."""
        for each in self.open.values():
            if isinstance(each, FileIO):
                each.close()
            else:
                each.socket.close()
        self.open.clear()

    def _open(self, path: str, mode: str) -> FileIO:
        if "file" not in self.opened:
            raise OSError(errno.EACCES, "no file is open to this cell")
        caps.check("file", path, MODES[mode])  # as it is written: what is not permitted is not even looked for
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EACCES, "a cell opens regular files only")
        return open_file(path, mode + "b", buffering=0)  # type: ignore[return-value]  # it is not buffered

    def _kept(self, what: FileIO | trio.SocketStream) -> int:
        if len(self.open) >= MOST_OPEN:
            if isinstance(what, FileIO):
                what.close()
            else:
                what.socket.close()
            raise OSError(errno.EMFILE, f"a cell has at most {MOST_OPEN} files and connections open")
        self.last += 1
        self.open[self.last] = what
        return self.last

    def _numbered(self, number: int) -> FileIO | trio.SocketStream:
        if number not in self.open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self.open[number]

    async def _close(self, number: int) -> None:
        what = self._numbered(number)
        del self.open[number]
        if isinstance(what, FileIO):
            what.close()
        else:
            await what.aclose()

    async def _operate(self, operation: str, what: FileIO | trio.SocketStream, operands: list[Any]) -> Any:
        if isinstance(what, FileIO):
            return await trio.to_thread.run_sync(OPERATIONS[operation], what, *operands)
        match operation, operands:
            case "read", [int(count)]:
                return bytes(await what.receive_some(min(count, MOST_READ)))
            case "write", [bytes(data)]:
                await what.send_all(data)
                return len(data)
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))

    async def _connect(self, host: str, port: int) -> trio.SocketStream:
        if "net" not in self.opened:
            raise OSError(errno.EACCES, "no connection is open to this cell")
        return await open_tcp(host, port)


OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "read": lambda file, count: file.read(min(count, MOST_READ)),
    "write": FileIO.write,
    "seek": FileIO.seek,
    "truncate": FileIO.truncate,
}
