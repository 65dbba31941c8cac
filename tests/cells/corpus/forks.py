"""More OS processes, more threads, and other programs."""

from __future__ import annotations

import _thread
import ctypes
import os
import signal
import subprocess

from walled import Prey, attack, checked, libc, syscall

CLONE, CLONE3, EXECVEAT = 56, 435, 322


def ended_with(pid: int, status: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


@attack("EPERM")
def fork(prey: Prey) -> object:
    if (pid := os.fork()) == 0:
        os._exit(7)
    return ended_with(pid, 7)


@attack("EPERM")
def fork_through_ctypes(prey: Prey) -> object:
    if (pid := checked(libc.fork())) == 0:
        os._exit(7)
    return ended_with(pid, 7)


@attack("EPERM")
def fork_by_clone(prey: Prey) -> object:
    if (pid := syscall(CLONE, signal.SIGCHLD, 0, 0, 0, 0)) == 0:
        os._exit(7)
    return ended_with(pid, 7)


@attack("ENOSYS")
def fork_by_clone3(prey: Prey) -> object:
    arguments = bytes(32) + int(signal.SIGCHLD).to_bytes(8, "little") + bytes(24)
    if (pid := syscall(CLONE3, arguments, len(arguments))) == 0:
        os._exit(7)
    return ended_with(pid, 7)


@attack("EPERM")
def fork_bomb(prey: Prey) -> object:
    """The pid namespace of its stage ends it."""
    for _ in range(64):
        if os.fork() == 0:
            os.closerange(0, 1000)
            signal.pause()
    return True


@attack("RuntimeError")
def start_a_thread(prey: Prey) -> object:
    lock = _thread.allocate_lock()
    lock.acquire()
    _thread.start_new_thread(lock.release, ())
    return lock.acquire(timeout=5)


@attack("EPERM")
def start_a_program(prey: Prey) -> object:
    return ended_with(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {}), 7)


@attack("EPERM")
def start_a_program_by_subprocess(prey: Prey) -> object:
    return subprocess.run(["/bin/sh", "-c", "exit 7"], close_fds=False).returncode == 7


@attack("nothing")
def start_a_shell(prey: Prey) -> object:
    return os.system("exit 7") == 7 << 8


@attack("ends: execve", unlocked="status 7")
def become_another_program(prey: Prey) -> object:
    os.execv("/bin/sh", ["sh", "-c", "exit 7"])


@attack("ends: execve", unlocked="status 7")
def become_another_program_through_ctypes(prey: Prey) -> None:
    libc.execv(b"/bin/sh", (ctypes.c_char_p * 4)(b"sh", b"-c", b"exit 7", None))


@attack("ends: execveat", unlocked="status 7")
def become_another_program_by_execveat(prey: Prey) -> None:
    arguments = (ctypes.c_char_p * 4)(b"sh", b"-c", b"exit 7", None)
    syscall(EXECVEAT, (1 << 64) - 100, b"/bin/sh", ctypes.addressof(arguments), 0, 0)


@attack("OSError")
def load_a_library(prey: Prey) -> object:
    return ctypes.CDLL("libutil.so.1")
