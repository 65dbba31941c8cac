"""A second wall: namespaces, in which there are no files, no network and no other OS processes to reach.

They cost milliseconds, so a zygote enters them once, and its forks are in them.
"""

from __future__ import annotations

import os
import select
import signal
from typing import NoReturn

from cells.attempt import attempt
from cells.lockdown import close_all_but
from cells.syscalls import call

# From linux/sched.h
_FLAGS = {"mnt": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000, "net": 0x40000000}
_USER = 0x10000000
NAMES = tuple(_FLAGS)  # and "user", which only an ordinary user needs

# From linux/mount.h and linux/prctl.h
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _REC, _PRIVATE = 1, 2, 4, 8, 32, 0x4000, 0x40000
_DETACH = 2
_SET_PDEATHSIG = 1

INSIDE = 65534  # what an ordinary user is called in a user namespace: not root, who would keep its capabilities over a change of user


def enter() -> list[str]:
    """Enter new namespaces with an empty root that nobody can write, and return, as pid 1 there, which they are.

    They are a wall more, not the first one: where the kernel refuses one of them (no privilege, and no user namespaces) none is entered,
    nothing is changed, and the list is empty. For an OS process with one thread that has imported all it will ever need, for
    afterwards there is no file.

    It returns in a fork. The caller's own OS process stays outside: it closes all its descriptors, waits, ends as the fork ends,
    and if it is killed the fork is, with all that is in the namespaces.

    Raises: OSError if there can be no fork.
    """
    if attempt(lambda: str(_enter())).said is None:  # in a fork first: who has entered half of them cannot go back
        return []
    entered = _enter()
    _become_first()
    return entered


def _enter() -> list[str]:
    uid, gid = os.geteuid(), os.getegid()
    user = ["user"] if uid else []
    call("unshare", sum(_FLAGS.values()) | (_USER if user else 0))
    if user:
        _write("/proc/self/setgroups", "deny")  # the kernel wants it before it lets an ordinary user map a group
        _write("/proc/self/uid_map", f"{INSIDE} {uid} 1")
        _write("/proc/self/gid_map", f"{INSIDE} {gid} 1")
    _empty_root()
    return user + list(NAMES)


def _empty_root() -> None:
    call("mount", 0, b"/\0", 0, _REC | _PRIVATE, 0)  # nothing of what follows is seen outside
    options = _NOSUID | _NODEV | _NOEXEC
    call("mount", b"none\0", b"/proc\0", b"tmpfs\0", options, b"size=4k,nr_inodes=1,mode=555\0")
    os.chdir("/proc")
    call("pivot_root", b".\0", b".\0")  # the old root is now mounted over the new one
    call("umount2", b".\0", _DETACH)
    os.chdir("/")
    call("mount", 0, b"/\0", 0, options | _REMOUNT | _RDONLY, 0)


def _become_first() -> None:
    """Return in a fork, which is pid 1 of the new pid namespace."""
    gone, alive = os.pipe()
    pid = os.fork()
    if pid:
        _stand_by(pid, alive)
    os.close(alive)
    call("prctl", _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    poll = select.poll()  # the parent may have gone before; in here its pid is 0 either way
    poll.register(gone, select.POLLIN)
    if poll.poll(0):
        os._exit(1)
    os.close(gone)


def _stand_by(pid: int, alive: int) -> NoReturn:
    """Whoever waits for us waits for the fork."""
    close_all_but([alive])
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
