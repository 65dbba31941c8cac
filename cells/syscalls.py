"""System calls by their names: the numbers on each machine that cells know, and the way to make one that Python has no function for.

The numbers are from asm/unistd_64.h and asm-generic/unistd.h; None where a machine has no such call. Those of aarch64 are untested.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from cells._walls import ffi, lib
from cells.errors import CellUnavailable


class Machine(NamedTuple):
    audit: int  # AUDIT_ARCH_*: how a filter sees which table a number is from
    column: int  # of _NUMBERS


MACHINES = {"x86_64": Machine(0xC000003E, 0), "aarch64": Machine(0xC00000B7, 1)}

_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "brk": (12, 214),
    "capset": (126, 91),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone3": (435, 435),
    "close": (3, 57),
    "close_range": (436, 436),
    "delete_module": (176, 106),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "read": (0, 63),
    "readv": (19, 65),
    "reboot": (169, 142),
    "recvfrom": (45, 207),
    "request_key": (249, 218),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "seccomp": (317, 277),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setgroups": (116, 159),
    "setitimer": (38, 103),
    "setns": (308, 268),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "sigaltstack": (131, 132),
    "tgkill": (234, 131),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "write": (1, 64),
    "writev": (20, 66),
}


@cache
def machine() -> Machine:
    """Raises: CellUnavailable on a machine whose numbers are not known."""
    name = os.uname().machine
    if name not in MACHINES:
        raise CellUnavailable(f"the numbers of system calls are known of {' and '.join(MACHINES)}, and this is {name}")
    return MACHINES[name]


def number_of(name: str) -> int | None:
    """The number here; None if this machine has no such call. Raises: KeyError for a name that is not in the table; see `machine`."""
    return _NUMBERS[name][machine().column]


def call_named(number: int) -> str:
    """The name of a system call; of one that is not in the table its number, as a text."""
    names = (name for name, numbers in _NUMBERS.items() if numbers[machine().column] == number)
    return next(names, f"system call {number}")


def call(name: str, *arguments: Any) -> int:
    """Make the system call, by its number, and return its result. An argument is an int, a C pointer, or bytes that the kernel may use.

    Raises: OSError, with the name; ENOSYS also where the machine has no such call.
    """
    held = [ffi.from_buffer(argument) if isinstance(argument, bytes) else argument for argument in arguments]
    words = [ffi.cast("uintptr_t", argument) for argument in held]
    number = number_of(name)
    result = lib.bl_syscall(-1 if number is None else number, *words, *[0] * (6 - len(words)))
    if result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}")
    return int(result)


class Call(NamedTuple):
    """A system call to be made later: an argument is an int, a C pointer, or RESULT."""

    wall: str  # what it is for
    name: str
    arguments: tuple[Any, ...]


RESULT: int = lib.BL_RESULT  # of the call before


class Calls:
    """Made ready once, in a zygote, to be made in its forks, where a page that is touched costs more than a system call."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._calls = list(calls)  # keeps what their arguments point to
        numbers = [number_of(call.name) for call in self._calls]
        words = [[ffi.cast("uintptr_t", argument) for argument in call.arguments] for call in self._calls]
        self._array = ffi.new("bl_call[]", [(-1 if n is None else n, w) for n, w in zip(numbers, words, strict=True)])
        self._error = ffi.new("int *")

    def make(self) -> None:
        """Make them, in their order. Raises: CellUnavailable, with the wall of the first that is refused; the later ones are not made."""
        made = lib.bl_make(self._array, len(self._calls), self._error)
        if made < len(self._calls):
            wall, name, _ = self._calls[made]
            raise CellUnavailable(
                f"the kernel refused a wall of a cell, {wall}: {name}: {os.strerror(self._error[0])}; "
                "`beamlike cell probe` tells what this machine gives"
            )
