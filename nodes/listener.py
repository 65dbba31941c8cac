"""The owner's listening socket: who connects is handed on to a node, and the owner never reads what it says.

The file appears when the socket listens and goes with it; when the owner is killed, the *sweeper* removes it: a fork of the forge's that
waits for nothing else. It is in the forge's process group, so it ends with the forge, and the next one starts another.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
from contextlib import suppress

from nodes import runtime_dir
from nodes.errors import StartError

MOST_WAITING = 64  # connections that nobody has accepted
_CREDENTIALS = struct.Struct("=iII")  # struct ucred


class Listener:
    """A socket that listens, in the runtime folder.

    Raises: StartError if it cannot be there: it says what to do.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._spare = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # for `_refuse`
        try:
            folder = runtime_dir.make()
            self.path = runtime_dir.socket_of(os.getpid())
            unfinished = os.path.join(folder, str(os.getpid()))  # nobody is to find a socket that does not listen yet, and call it stale
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
            self._socket.bind(unfinished)
            self._socket.listen(MOST_WAITING)
            self._socket.setblocking(False)
            os.rename(unfinished, self.path)
        except OSError as error:
            self._socket.close()
            self._spare.close()
            raise StartError(
                f"a system listens on a socket in {runtime_dir.path()}, and cannot: {error}. "
                f"Set {runtime_dir.VARIABLE} to a folder that can be made, or is yours alone, with a path of less than 90 characters"
            ) from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """A connection of this user's, or root's; None if there is none now."""
        try:
            end, _ = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse()
            return None  # or it has gone
        _, uid, _ = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid in (0, os.getuid()):
            return end
        end.close()
        return None

    def _refuse(self) -> None:
        """Close a connection for which there is no descriptor, by way of the spare one: if it waited, the owner's loop would spin."""
        self._spare.close()
        with suppress(OSError):
            self._socket.accept()[0].close()
        with suppress(OSError):  # another thread was faster; the next refusal tries again
            self._spare = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def close(self) -> None:
        """Listen no more, and leave no file. Closing twice does nothing."""
        if self._socket.fileno() >= 0:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
            self._socket.close()
            self._spare.close()


def start_sweeper(owner: int, path: str) -> None:
    """Fork an OS process that removes the file when the owner ends, and then ends itself. Called in the forge."""
    pidfd = os.pidfd_open(owner)
    if os.fork() == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.closerange(3, pidfd)
            os.closerange(pidfd + 1, os.sysconf("SC_OPEN_MAX"))
            select.select([pidfd], [], [])
            os.unlink(path)
        finally:
            os._exit(0)
    os.close(pidfd)
