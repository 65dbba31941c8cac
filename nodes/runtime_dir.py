"""The folder with a Unix socket for each system that runs: where programs find each other that want to look into one.

It is only for its user (0700): whoever can connect there can run code in the system. A socket file is named by its owner's pid. One that
nobody listens on any more is stale, and removed by whoever looks next.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import tempfile
from contextlib import suppress

VARIABLE = "BEAMLIKE_RUNTIME_DIR"
SUFFIX = ".sock"
PATIENCE = 5  # seconds for an owner to have room for one more that connects
_TIMEVAL = struct.Struct("ll")


def path() -> str:
    """$BEAMLIKE_RUNTIME_DIR; else `beamlike` in $XDG_RUNTIME_DIR, where that is this user's; else `beamlike-UID` in the folder for
    temporary files."""
    if chosen := os.environ.get(VARIABLE):
        return os.path.abspath(chosen)
    home = os.environ.get("XDG_RUNTIME_DIR")
    if home and os.path.isdir(home) and os.stat(home).st_uid == os.getuid():
        return os.path.join(home, "beamlike")
    return os.path.join(tempfile.gettempdir(), f"beamlike-{os.getuid()}")


def make() -> str:
    """The folder, made if it is not there. Raises: as `check`; OSError if it cannot be made."""
    with suppress(FileExistsError):
        os.mkdir(path(), 0o700)
    check()
    return path()


def check() -> None:
    """Raises: FileNotFoundError if there is no such folder; PermissionError, with a text for people, if it is not this user's alone."""
    found = os.lstat(path())
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(f"{path()} is a symbolic link: it is to be a folder of this user's")
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{path()} is no folder")
    if found.st_uid != os.getuid():
        raise PermissionError(f"{path()} belongs to the user {found.st_uid}, not to {os.getuid()}, who asks")
    if found.st_mode & 0o077:
        raise PermissionError(f"{path()} is open to others (mode {stat.S_IMODE(found.st_mode):04o}): it is to be 0700")


def socket_of(owner: int) -> str:
    """The socket file of the system with this owner."""
    return os.path.join(path(), f"{owner}{SUFFIX}")


def list_systems() -> list[int]:
    """The owners' pids of all systems of this user's that run, sorted; stale socket files are removed. Raises: PermissionError."""
    try:
        check()
    except FileNotFoundError:
        return []
    names = [name.removesuffix(SUFFIX) for name in os.listdir(path()) if name.endswith(SUFFIX)]
    return sorted(int(name) for name in names if name.isdecimal() and _answers(int(name)))


def connect(owner: int) -> socket.socket:
    """A connection to the system with this owner.

    Raises: TimeoutError: too many wait there to be accepted; OSError: there is none; if its socket file is stale that is removed.
    """
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(PATIENCE, 0))  # `settimeout` does not wait: EAGAIN, see unix(7)
        end.connect(socket_of(owner))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(0, 0))
    except BlockingIOError as error:
        end.close()
        raise TimeoutError(f"the system {owner} has accepted nobody for {PATIENCE} s: its owner is stopped, or overloaded") from error
    except BaseException as error:
        end.close()
        if isinstance(error, ConnectionRefusedError):
            with suppress(FileNotFoundError):
                os.unlink(socket_of(owner))
        raise
    return end


def _answers(owner: int) -> bool:
    try:
        connect(owner).close()
    except TimeoutError:  # it listens
        return True
    except OSError:
        return False
    return True
