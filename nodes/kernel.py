"""What Linux offers about OS processes: what Python has no function for (prctl, the exit status that a pidfd remembers), and reaping.

Every function raises OSError, with the name of what was refused, if the kernel does not want.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
import time
from contextlib import suppress

# From linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37

# From linux/pidfd.h: struct pidfd_info, version 0. The exit code is its last field, and is there only after the reaping (Linux 6.15).
_INFO = struct.Struct("=QQ11Ii")
_INFO_EXIT = 1 << 3
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(0xFF, 11, struct pidfd_info)

# From glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT = 64 << 20  # bytes

REAP_PATIENCE = 1.0  # seconds; what was killed may still be in the kernel, or its parent not gone
REAP_PERIOD = 0.0005

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def set_death_signal(signum: int) -> None:
    """Have this OS process get the signal when the thread that is its parent ends. Look at the parent again after it: it may be gone."""
    _prctl("PR_SET_PDEATHSIG", PR_SET_PDEATHSIG, signum)


def set_subreaper(is_subreaper: bool) -> None:
    """Whether this OS process becomes the parent of those of its descendants that lose theirs."""
    _prctl("PR_SET_CHILD_SUBREAPER", PR_SET_CHILD_SUBREAPER, int(is_subreaper))


def is_subreaper() -> bool:
    """See `set_subreaper`."""
    found = ctypes.c_int()
    _prctl("PR_GET_CHILD_SUBREAPER", PR_GET_CHILD_SUBREAPER, ctypes.addressof(found))
    return bool(found.value)


def wait_status(pidfd: int) -> int | None:
    """How an OS process has ended that somebody has reaped already, as `os.waitpid` would have told. None if this kernel does not know."""
    request = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, request)
    except OSError:  # an older kernel, or it is not reaped
        return None
    mask, *_, status = _INFO.unpack(request)
    return status if mask & _INFO_EXIT else None


def kill(pidfd: int) -> None:
    """SIGKILL, unless it is reaped already."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def reap(pidfd: int) -> int | None:
    """The wait status of a child that has ended, or was killed. None if somebody else has reaped it and the kernel does not know."""
    patience = time.monotonic() + REAP_PATIENCE
    while True:
        try:
            found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        except ChildProcessError:
            # Somebody else has reaped it, or nobody needs to because SIGCHLD is ignored; or it is not our child yet: its parent is exiting.
            status = wait_status(pidfd)
            if status is not None or not _is_there(pidfd) or time.monotonic() > patience:
                return status
            time.sleep(REAP_PERIOD)
        else:
            assert found is not None
            return found.si_status << 8 if found.si_code == os.CLD_EXITED else found.si_status


def has_children(group: int) -> bool:
    """Whether children of ours are in a process group. Reaps those that have ended."""
    try:
        while os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG) is not None:
            pass  # there may be more
    except ChildProcessError:
        return False
    return True


def reap_followers(leader: int) -> None:
    """Reap the children of ours in the process group of `leader` that have ended, but not itself, nor who is seen after it."""
    with suppress(ChildProcessError):  # there are none
        while (found := os.waitid(os.P_PGID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None and found.si_pid != leader:
            os.waitpid(found.si_pid, 0)


def keep_freed_memory() -> None:
    """Have this OS process, and those that it forks, keep up to KEPT bytes that were freed, in place of giving them back at once.

    To have pages cleared and mapped anew costs more than the rest of a message of a megabyte. Does nothing without glibc.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT // 2)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def signal_name(signum: int) -> str:
    """SIGKILL, or SIGRTMIN+3."""
    try:
        return signal.Signals(signum).name
    except ValueError:  # a real-time signal
        return f"SIGRTMIN+{signum - signal.SIGRTMIN}"


def new_page(size: int) -> int:
    """A descriptor of shared memory, of zeros, which nobody can make shorter or longer."""
    page = os.memfd_create("beamlike-page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(page, size)
    fcntl.fcntl(page, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return page


def _is_there(pidfd: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    return True


def _prctl(name: str, option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({name}) was refused: {os.strerror(error)}")
