"""A unikernel as an OS process: started by vfork and execveat behind its filter, pinned, and reaped by its node.

Theory of operation. The program is static and has nothing to look for, so it is locked before its first instruction, unlike a cell. The one
call that is allowed for that, `execveat` of the image by its descriptor, cannot be made again: the descriptor closes as the image is
executed, and no other can be opened. Then it may do what `lib/plat_linux.c` does. A program that is not built with the library is locked
all the same.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any, Final

import trio

from cells.seam import ALLOW, TRAP, Check, Ended, Ways, assemble, call_named, duplicate, eventfd, machine, name_of, number_of, tell_safely
from unikernels._launch import ffi, lib
from unikernels.memory import Memory

NOBODY: Final = 65534
AT_EMPTY_PATH: Final = 0x1000
PROT_EXEC: Final = 4
NO_LIMIT: Final = 1_000_000_000  # seconds
REFUSED: Final = 128 + signal.SIGSYS  # its exit status when a call was

# What a program of the library does. All else ends it, and it notes which call it was.
ALLOWED: Final = ("read", "write", "lseek", "ppoll", "clock_gettime", "exit_group", "rt_sigaction", "rt_sigreturn", "sigaltstack")


@cache
def _filter() -> Any:
    rules: dict[Any, Any] = {number_of(name): ALLOW for name in ALLOWED}
    rules[number_of("mmap")] = (Check(2, (0,), mask=PROT_EXEC),)
    rules[number_of("execveat")] = (Check(0, (lib.BL_IMAGE,)), Check(4, (AT_EMPTY_PATH,)))
    return ffi.new("uint8_t[]", assemble(machine().audit, rules, otherwise=TRAP))


class Linux:
    """The `Maker` of one.

    Args:
        image: an ELF program that `images.target_of` has found good.
        core: the only one that it runs on; None: any.
        memory: bytes of address space, besides the rings and the program itself.
    """

    def __init__(self, name: str, image: bytes, capacity: int, longest: int, *, core: int | None, memory: int) -> None:
        self.name = name
        self.image = image
        self.capacity = capacity
        self.longest = longest
        self.core = core
        self.room = memory
        self.memory: Memory | None = None

    def ways(self) -> Ways:
        """See `Maker`."""
        self.memory = Memory(self.capacity, self.longest, polls=self.core is not None and os.sched_getaffinity(0) != {self.core})
        with ExitStack() as undo:
            undo.callback(self.memory.close)
            undo.callback(self.memory.end.close)
            bell, their_bell = eventfd(undo), eventfd(undo)
            theirs = [duplicate(undo, fd) for fd in (self.memory.descriptor, their_bell, bell)]
            undo.pop_all()
        return Ways(self.memory.end, self.longest, bell, their_bell, theirs)

    def fork(self, settings: dict[str, Any], fds: list[int], forked: Callable[[int], None], ended: Callable[[Ended], None]) -> None:
        """See `Maker`. Raises: OSError that says which step has failed."""
        assert self.memory is not None
        with ExitStack() as undo:
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            undo.callback(os.close, nothing)
            image = os.memfd_create(self.name, os.MFD_CLOEXEC)
            undo.callback(os.close, image)
            os.write(image, self.image)
            pid = self._start([nothing, nothing, nothing, *fds], image, settings)
        try:
            pidfd = os.pidfd_open(pid)
            mine = os.dup(pidfd)
        except OSError:  # no descriptor is left
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is the one
            os.waitpid(pid, 0)
            raise
        forked(mine)
        trio.lowlevel.spawn_system_task(self._watch, pid, pidfd, ended)

    def _start(self, descriptors: list[int], image: int, settings: dict[str, Any]) -> int:
        code = _filter()
        assert self.memory is not None
        how = ffi.new("bl_launch *")
        name = ffi.new("char[]", self.name.encode())
        how.descriptors, how.image, how.name = descriptors, image, name
        how.core = -1 if self.core is None else self.core
        how.user, how.parent = NOBODY, os.getpid()
        how.memory, how.cpu = self.room + self.memory.size + len(self.image), settings["cpu"]
        how.filter.len, how.filter.filter = len(code) // 8, ffi.cast("struct sock_filter *", code)
        step = ffi.new("const char **")
        pid: int = lib.bl_start(how, step)
        if pid < 0:
            what = ffi.string(step[0]).decode()
            raise OSError(-pid, f"the unikernel {self.name} could not be started: {what}: {os.strerror(-pid)}")
        return pid

    async def _watch(self, pid: int, pidfd: int, ended: Callable[[Ended], None]) -> None:
        """A system task: tell of its end."""
        try:
            await trio.lowlevel.wait_readable(pidfd)
        except trio.Cancelled:  # the node ends
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            raise
        finally:
            os.close(pidfd)
            _, status, usage = os.wait4(pid, 0)  # noqa: ASYNC222 - it has ended
            tell_safely(ended, Ended(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024))
            self.close()

    def close(self) -> None:
        """Let go of the memory, if there is any."""
        if self.memory is not None:
            self.memory.close()
            self.memory = None

    def reason_of(self, ended: Ended) -> Any:
        """See `Maker`: it notes the address of what ended it."""
        crash = None if self.memory is None else self.memory.crash()
        if crash is None:
            return None
        if ended.status == REFUSED and crash.number == signal.SIGSYS:
            return ("capability_violation", "os", call_named(crash.code))
        if ended.status == -crash.number:
            return ("signal", name_of(crash.number), f"address {crash.address:#x}", f"at {crash.at:#x}")
        return None
