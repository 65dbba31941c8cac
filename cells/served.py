"""Files and connections of a cell: opened here, on the trusted side, where its exclusions permit it. The cell itself opens nothing.

The kinds `file` and `net` are closed to a cell unless whoever started it said that they are open: untrusted code gets what somebody wrote
down. All of it runs in a process with the layers of the cell, so it goes through the checked doors that every process has.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from io import FileIO
from threading import Lock
from typing import Any, Final

import trio

import caps
from beamlike import open_file, open_tcp

MOST_OPEN: Final = 64  # files and connections of a cell, those included that are being opened
MOST_READ: Final = 16 * 1024  # bytes of an answer
MOST_TEXT: Final = 500  # characters of an error
MOST_THREADS: Final = 4  # of the node's, which wait for a disk on behalf of one cell
LEFT: Final = 64  # descriptors that cells leave to the node
AT_A_TIME: Final = 2  # that it takes to open a file: of what was found, and of that opened
MODES: Final = {"r": "r", "w": "w", "a": "w", "x": "w", "r+": "rw", "w+": "rw"}  # of `open`, and what they are to exclusions


class Served:
    """What one cell has open, by number.

    Args:
        opened: of `file` and `net`, what is not closed to it.
        file_bytes: that it may write to files.
    """

    def __init__(self, opened: frozenset[str], file_bytes: int) -> None:
        self.opened = opened
        self.bytes_left = file_bytes
        self.lock = Lock()  # of that, and of where in its files is written: what is checked must be what is done
        self.open: dict[int, FileIO | trio.SocketStream] = {}
        self.users: Counter[FileIO] = Counter()  # threads in which something is done with a file: its descriptor must stay its own
        self.opening = 0  # that have been asked for
        self.is_closed = False
        self.last = 0
        self.threads = trio.CapacityLimiter(MOST_THREADS)

    async def answer(self, request: Any) -> tuple[Any, ...]:
        """The answer to a request: ("ok", value) or ("error", errno, text)."""
        try:
            match request:
                case ("open", str(path), str(mode)) if mode in MODES:
                    return ("ok", await self._keep(self._in_thread(self._open, path, mode)))
                case ("connect", str(host), int(port)):
                    return ("ok", await self._keep(self._connect(host, port)))
                case ("close", int(number)):
                    await self._close(number)
                    return ("ok", None)
                case (str(operation), int(number), *operands) if operation in OPERATIONS:
                    return ("ok", await self._operate(operation, self._numbered(number), operands))
        except OSError as error:
            return ("error", error.errno or errno.EIO, (error.strerror or str(error))[:MOST_TEXT])
        except trio.BrokenResourceError:
            return ("error", errno.EPIPE, "the connection is broken")
        except Exception as error:  # noqa: BLE001 - operands may be anything, and what is wrong with them is the cell's
            return ("error", errno.EINVAL, str(error)[:MOST_TEXT])
        return ("error", errno.EINVAL, "there is no such request")

    def close(self) -> None:
        """The cell has ended."""
        self.is_closed = True
        opened, self.open = list(self.open.values()), {}
        for each in opened:
            self._let_go(each)

    async def _in_thread(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await trio.to_thread.run_sync(fn, *args, limiter=self.threads)

    def _open(self, path: str, mode: str) -> FileIO:
        if "file" not in self.opened:
            raise OSError(errno.EACCES, "no file is open to this cell")
        caps.check("file", path, MODES[mode])  # as it is written: what is not permitted is not even looked for
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EACCES, "a cell opens regular files only")
        _require_descriptors()
        return open_file(path, mode + "b", buffering=0)  # type: ignore[return-value]  # it is not buffered

    async def _keep(self, opening: Coroutine[Any, Any, FileIO | trio.SocketStream]) -> int:
        """The number of what is being opened."""
        if len(self.open) + self.opening >= MOST_OPEN:
            opening.close()
            raise OSError(errno.EMFILE, f"a cell has at most {MOST_OPEN} files and connections open")
        self.opening += 1
        try:
            opened = await opening
        finally:
            self.opening -= 1
        if self.is_closed:
            self._let_go(opened)
            raise OSError(errno.EPIPE, "the cell has ended")
        self.last += 1
        self.open[self.last] = opened
        return self.last

    def _numbered(self, number: int) -> FileIO | trio.SocketStream:
        if number not in self.open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self.open[number]

    async def _close(self, number: int) -> None:
        what = self._numbered(number)
        del self.open[number]
        self._let_go(what)

    def _let_go(self, what: FileIO | trio.SocketStream) -> None:
        """It is open to the cell no longer."""
        if not isinstance(what, FileIO):
            what.socket.close()
        elif what not in self.users:
            what.close()

    async def _operate(self, operation: str, what: FileIO | trio.SocketStream, operands: list[Any]) -> Any:
        if isinstance(what, FileIO):
            self.users[what] += 1
            try:
                return await self._in_thread(OPERATIONS[operation], self, what, *operands)
            finally:
                self.users[what] -= 1
                if not self.users[what]:
                    del self.users[what]
                    if what not in self.open.values():
                        what.close()
        match operation, operands:
            case "read", [int(count)]:
                return bytes(await what.receive_some(max(1, min(count, MOST_READ))))
            case "write", [bytes(data)]:
                await what.send_all(data)
                return len(data)
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))

    async def _connect(self, host: str, port: int) -> trio.SocketStream:
        if "net" not in self.opened:
            raise OSError(errno.EACCES, "no connection is open to this cell")
        caps.check("net", host, port)  # the name itself: to look up any would tell them to whoever answers for them
        _require_descriptors()
        return await open_tcp(host, port)

    # --- operations on files, in a thread ---

    def _read(self, file: FileIO, count: int) -> bytes:
        return file.read(max(0, min(count, MOST_READ))) or b""

    def _write(self, file: FileIO, data: bytes) -> int:
        with self.lock:
            end = os.fstat(file.fileno()).st_size
            self._grow(max(len(data), file.tell() + len(data) - end))
            return file.write(data)

    def _seek(self, file: FileIO, offset: int, whence: int) -> int:
        with self.lock:
            return file.seek(offset, whence)

    def _truncate(self, file: FileIO, size: int) -> int:
        with self.lock:
            self._grow(max(0, size - os.fstat(file.fileno()).st_size))
            return file.truncate(size)

    def _grow(self, count: int) -> None:
        if count > self.bytes_left:
            raise OSError(errno.EDQUOT, f"it writes more to files than its Limits.file_bytes: {self.bytes_left} bytes are left")
        self.bytes_left -= count


def _require_descriptors() -> None:
    """Raises: OSError, EMFILE: few are left."""
    with ExitStack() as undo:
        for _ in range(AT_A_TIME):
            fd = os.eventfd(0, os.EFD_CLOEXEC)  # the lowest that is free
            undo.callback(os.close, fd)
    if fd >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - LEFT:
        raise OSError(errno.EMFILE, "the node of this cell may open few files more (ulimit -n)")


OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "read": Served._read,
    "write": Served._write,
    "seek": Served._seek,
    "truncate": Served._truncate,
}
