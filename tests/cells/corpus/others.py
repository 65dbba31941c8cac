"""Reaching into other OS processes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from walled import Prey, attack, checked, libc, syscall

from corpus.proc import MARK

PTRACE, TGKILL, SETNS, PROCESS_VM_READV, PROCESS_VM_WRITEV, PIDFD_GETFD = 101, 234, 308, 310, 311, 438
PTRACE_TRACEME, PTRACE_SEIZE, CLONE_NEWUTS = 0, 0x4206, 0x4000000


class Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def read_victim(prey: Prey, number: int) -> bytes:
    buffer = ctypes.create_string_buffer(256)
    ours, theirs = Vector(ctypes.addressof(buffer), 256), Vector(id(MARK), 256)
    syscall(number, prey.victim, ctypes.addressof(ours), 1, ctypes.addressof(theirs), 1, 0)
    return buffer.raw


@attack("EPERM")
def kill_another(prey: Prey) -> object:
    os.kill(prey.victim, signal.SIGTERM)
    return True


@attack("EPERM")
def kill_another_by_tgkill(prey: Prey) -> object:
    return syscall(TGKILL, prey.victim, prey.victim, signal.SIGTERM) == 0


@attack("EPERM")
def kill_another_by_an_inherited_pidfd(prey: Prey) -> object:
    signal.pidfd_send_signal(prey.pidfd, signal.SIGTERM)
    return True


@attack("EPERM")
def look_whether_another_lives(prey: Prey) -> object:
    os.kill(prey.victim, 0)
    return True


@attack("EPERM")
def kill_all(prey: Prey) -> object:
    """All that it may; with no signal, as the stage must go on."""
    os.kill(-1, 0)
    return True


@attack("ends: ptrace")
def trace_another(prey: Prey) -> object:
    return syscall(PTRACE, PTRACE_SEIZE, prey.victim, 0, 0) == 0


@attack("ends: ptrace")
def ask_to_be_traced(prey: Prey) -> object:
    return syscall(PTRACE, PTRACE_TRACEME, 0, 0, 0) == 0


@attack("ends: process_vm_readv")
def read_the_memory_of_another_at_once(prey: Prey) -> object:
    return MARK in read_victim(prey, PROCESS_VM_READV)


@attack("ends: process_vm_writev")
def write_the_memory_of_another(prey: Prey) -> object:
    return read_victim(prey, PROCESS_VM_WRITEV)


@attack("ends: pidfd_getfd")
def steal_a_descriptor(prey: Prey) -> object:
    return os.pread(syscall(PIDFD_GETFD, prey.pidfd, prey.memfd, 0), 5, 0) == b"memfd"


@attack("EPERM")
def take_the_memory_of_another_away(prey: Prey) -> object:
    resource.prlimit(prey.victim, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    return True


@attack("ends: setns", needs="root")
def enter_the_namespace_of_another(prey: Prey) -> object:
    return syscall(SETNS, prey.pidfd, CLONE_NEWUTS) == 0


@attack("EPERM")
def set_the_priority_of_another(prey: Prey) -> object:
    os.setpriority(os.PRIO_PROCESS, prey.victim, 19)
    return os.getpriority(os.PRIO_PROCESS, prey.victim) == 19


@attack("EPERM")
def tell_the_session_of_another(prey: Prey) -> object:
    return checked(libc.getsid(prey.victim)) >= 0
