"""A unikernel as an OS process: started by vfork and execveat behind its filter, pinned, and reaped by its node.

Theory of operation. The program is static and has nothing to look for, so it is locked before its first instruction, unlike a cell. The one
call that is allowed for that is `execveat` with a number as its sixth argument, which the kernel ignores and nobody knows: it is drawn for
each start, registers are cleared as the image is executed, and a filter cannot be read. Then it may do what `lib/plat_linux.c` does. A
program that is not built with the library is locked all the same.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any, Final

from cells.seam import ALLOW, TRAP, Check, Ended, Ways, assemble, call_named, duplicate, eventfd, machine, name_of, number_of
from nodes.seam import leads_group
from unikernels._launch import ffi, lib
from unikernels.platform import Platform

NOBODY: Final = 65534
AT_EMPTY_PATH: Final = 0x1000
PROT_EXEC: Final = 4
REFUSED: Final = 128 + signal.SIGSYS  # its exit status when a call was

# What a program of the library does. All else ends it, and it notes which call it was.
ALLOWED: Final = ("read", "write", "lseek", "ppoll", "clock_gettime", "exit_group", "rt_sigaction", "rt_sigreturn", "sigaltstack")


LOW, HIGH = 0x51C0FFEE, 0x52C0FFEE  # stand in the filter for the two halves of the nonce
BROKEN: Final = 96  # its exit status when the mailbox is not what it was


@cache
def _filter() -> bytes:
    rules: dict[Any, Any] = {number_of(name): ALLOW for name in ALLOWED}
    rules[number_of("mmap")] = (Check(2, (0,), mask=PROT_EXEC),)
    rules[number_of("execveat")] = (Check(0, (lib.BL_IMAGE,)), Check(4, (AT_EMPTY_PATH,)), Check(5, (LOW,)), Check(5, (HIGH,), high=True))
    return assemble(machine().audit, rules, otherwise=TRAP)


def _with(nonce: bytes) -> bytes:
    """The filter for one start."""
    assembled = _filter().replace(LOW.to_bytes(4, "little"), nonce[:4]).replace(HIGH.to_bytes(4, "little"), nonce[4:])
    assert len(assembled) == len(_filter())
    return assembled


class Linux(Platform):
    """See the module, and `Maker`."""

    def ways(self) -> Ways:
        """The memory, and an eventfd each."""
        memory = self._make_memory()
        with ExitStack() as undo:
            undo.callback(self.close)
            undo.callback(memory.end.close)
            bell, their_bell = eventfd(undo), eventfd(undo)
            theirs = [duplicate(undo, fd) for fd in (memory.descriptor, their_bell, bell)]
            undo.pop_all()
        return Ways(memory.end, self.longest, bell, their_bell, theirs)

    def fork(self, settings: dict[str, Any], fds: list[int], forked: Callable[[int], None], ended: Callable[[Ended], None]) -> None:
        """See `Maker`. Raises: OSError that says which step has failed."""
        with ExitStack() as undo:
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            undo.callback(os.close, nothing)
            image = os.memfd_create(self.plain_name(), os.MFD_CLOEXEC)
            undo.callback(os.close, image)
            os.write(image, self.image.data)
            pid = self._start([nothing, nothing, nothing, *fds], image, settings)
        self._watch(pid, forked, ended)

    def _start(self, descriptors: list[int], image: int, settings: dict[str, Any]) -> int:
        assert self.memory is not None
        nonce = secrets.token_bytes(8)
        code = ffi.new("uint8_t[]", _with(nonce))
        name = ffi.new("char[]", self.plain_name().encode())
        how = ffi.new("bl_launch *")
        how.descriptors, how.image, how.name = descriptors, image, name
        bits = sum(1 << core for core in self.placed_on())
        how.cores = [bits >> at & 0xFFFFFFFFFFFFFFFF for at in range(0, 1024, 64)]
        how.user, how.parent, how.leaves_group = NOBODY, os.getpid(), not leads_group()
        how.memory, how.cpu = self.room + self.memory.size + self.image.memory, settings["cpu"]
        how.nonce = int.from_bytes(nonce, "little")
        how.filter.len, how.filter.filter = len(code) // 8, ffi.cast("struct sock_filter *", code)
        step = ffi.new("const char **")
        pid: int = lib.bl_start(how, step)
        if pid < 0:
            what = ffi.string(step[0]).decode()
            raise OSError(-pid, f"the unikernel {self.name} could not be started: {what}: {os.strerror(-pid)}")
        return pid

    def reason_of(self, ended: Ended) -> Any:
        """It notes the address of what ended it, and where that was."""
        if ended.status == BROKEN:
            return ("capability_violation", "mailbox")
        crash = None if self.memory is None else self.memory.crash()
        if crash is None:
            return None
        if ended.status == REFUSED and crash.number == signal.SIGSYS:
            return ("capability_violation", "os", call_named(crash.code))
        if ended.status == -crash.number:
            return ("signal", name_of(crash.number), f"address {crash.address:#x}", f"at {crash.at:#x}")
        return None
