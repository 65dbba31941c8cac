"""The first wall: which system calls a cell may make.

An allow-list: what a trio loop in CPython makes once it runs, with only those descriptors that it was left. All else is answered EPERM, as
CPython probes files all the time (source lines of a traceback, late imports) and copes. What no program makes by accident, FORBIDDEN,
ends the cell with an exit status that says which call it was.

No rule follows a pointer, so no other thread can change what was checked. Of threads there are none, besides: glibc's clone3 is
answered ENOSYS, as its flags are behind a pointer, and its clone EPERM.
"""

from __future__ import annotations

import errno
import os
import signal
from functools import cache

from cells import bpf
from cells._walls import ffi, lib
from cells.bpf import ALLOW, OWN_PID, TRAP, Check, Rule, is_null, refuse
from cells.syscalls import Call, machine, number_of

FORBIDDEN: tuple[str, ...] = (
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "bpf",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "mount",
    "umount2",
    "pivot_root",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "perf_event_open",
    "keyctl",
    "add_key",
    "request_key",
    "iopl",
    "ioperm",
    "pidfd_getfd",
    "execve",
    "execveat",
)
FIRST_STATUS = 100  # the exit status that stands for FORBIDDEN[0]

# fmt: off
_ALLOWED = (
    "munmap", "mremap", "brk", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "sched_yield", "nanosleep", "clock_nanosleep",
    "clock_gettime", "clock_getres", "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "exit", "exit_group",
    "restart_syscall", "getrandom", "rseq", "set_robust_list", "epoll_wait", "epoll_pwait", "epoll_ctl", "read", "write", "readv",
    "writev", "lseek", "close", "fstat",
)
# fmt: on

_PROT_WRITE, _PROT_EXEC = 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_NORESERVE, _MAP_STACK, _MAP_POPULATE = 0x02, 0x20, 0x4000, 0x20000, 0x8000
_HARMLESS = 0xFFFFFFFF & ~(_MAP_NORESERVE | _MAP_STACK | _MAP_POPULATE)
_MADV_DONTNEED, _MADV_FREE = 4, 8
_FUTEX_OPERATION = 0x7F  # without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET = 0, 1, 9, 10  # none of the operations that lend a priority
_DESCRIPTORS = 64

_anonymous = Check(3, (_MAP_PRIVATE | _MAP_ANONYMOUS,), mask=_HARMLESS)  # no descriptor, no fixed address, no huge pages
_not_executable = Check(2, (0,), mask=_PROT_EXEC)
_without_address = (Check(0, (0,), mask=0xFFFFFFFF & ~(_DESCRIPTORS - 1)), *is_null(4))  # a pair of sockets is trio's own doorbell

_TESTED: dict[str, tuple[Check, ...]] = {
    "rt_sigaction": (Check(0, (signal.SIGSYS, signal.SIGXCPU), is_one=False),),  # they tell why a cell ended
    "madvise": (Check(2, (_MADV_DONTNEED, _MADV_FREE)),),
    "mmap": (_anonymous, _not_executable),
    "mprotect": (_not_executable,),
    "futex": (Check(1, (_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET), mask=_FUTEX_OPERATION),),
    "sendto": _without_address,
    "recvfrom": (*_without_address, *is_null(5)),
    "setitimer": (Check(0, (signal.ITIMER_VIRTUAL,)),),  # beamlike's preemption
    "tgkill": (Check(0, (OWN_PID,)),),  # abort() and raise()
}

_WASM = {"mprotect": (Check(2, (_PROT_WRITE | _PROT_EXEC,), mask=_PROT_WRITE | _PROT_EXEC, is_one=False),)}  # write first, then execute


_SET_MODE_FILTER, _TSYNC = 1, 1  # from linux/seccomp.h
_NEVER = 0xFFFFFFFF  # the number of no call


@cache
def assemble(executable: bool) -> bytes:
    """The filter, but for the pid of the cell, which `Filter.name_pid` puts in. `executable` allows memory that a compiler fills with
    code, and makes executable and read-only when it is done; wasmtime compiles and runs with that.

    Raises: CellUnavailable on a machine whose system calls have no table.
    """
    by_name: dict[str, Rule] = dict.fromkeys(_ALLOWED, ALLOW)
    by_name |= dict.fromkeys(FORBIDDEN, TRAP) | _TESTED | {"clone3": refuse(errno.ENOSYS)} | (_WASM if executable else {})
    rules = {number: rule for name, rule in by_name.items() if (number := number_of(name)) is not None}
    return bpf.assemble(machine().audit, rules, otherwise=refuse(errno.EPERM))


class Filter:
    """A filter in memory, for a zygote and all its forks.

    Raises: OSError if SIGSYS cannot be handled; see `assemble`.
    """

    def __init__(self, executable: bool) -> None:
        assembled = assemble(executable)
        self._code = ffi.new("uint8_t[]", assembled)
        self._pid = assembled.index(OWN_PID.to_bytes(4, "little"))
        program = {"len": len(assembled) // bpf.INSTRUCTION.size, "filter": ffi.cast("struct sock_filter *", self._code)}
        self._program = ffi.new("struct sock_fprog *", program)
        numbers = [_NEVER if (number := number_of(name)) is None else number for name in FORBIDDEN]
        if (refused := lib.bl_trap(numbers, len(numbers), FIRST_STATUS)) < 0:
            raise OSError(-refused, "the handler of SIGSYS")

    def name_pid(self) -> None:
        """The filter is for this OS process from now on."""
        ffi.buffer(self._code)[self._pid : self._pid + 4] = os.getpid().to_bytes(4, "little")

    def install(self) -> Call:
        """What restricts all threads of the OS process for ever. It needs no privilege, but NO_NEW_PRIVS."""
        return Call("seccomp", "seccomp", (_SET_MODE_FILTER, _TSYNC, self._program))


def violation_of(status: int) -> str | None:
    """The forbidden system call that ended a cell with this exit status (`os.waitstatus_to_exitcode`); None if it was none.

    A cell can end with any status on purpose, so it can lie; about itself.
    """
    index = status - FIRST_STATUS
    return FORBIDDEN[index] if 0 <= index < len(FORBIDDEN) else None
