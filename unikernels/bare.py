"""A unikernel on a machine of its own, which QEMU plays: its memory is that of an ivshmem device, its bell a serial port.

What it says on the other serial port, when it cannot say it by its mailbox, is logged. QEMU is not locked, for it is a program of the
system's, and the program in the machine reaches nothing but what these devices give.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

import trio

from cells.seam import Ended, Ways, duplicate
from nodes.seam import leads_group
from unikernels.errors import ImageError
from unikernels.log import say
from unikernels.platform import Platform

QEMU: Final = "qemu-system-x86_64"
# Nothing but what it has. `max`: the processor's own instructions for checksums. qboot starts a kernel in half of SeaBIOS's time.
MACHINE: Final = (
    "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "pc,acpi=off,hpet=off", "-cpu", "max", "-accel", "tcg",
    "-bios", "qboot.rom", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-device", "ivshmem-plain,memdev=shm", "-serial", "stdio",
)  # fmt: skip
MEGABYTE: Final = 1024 * 1024
MEMORY, BELL, IMAGE, FIRST_SPARE = 3, 4, 5, 16  # QEMU's descriptors; from where on copies are
FIRMWARE: Final = 8 * MEGABYTE  # of the machine's memory, for what is there besides the program

# QEMU's statuses: see lib/plat_bare.c.
NO_MEMORY, BROKEN, CRASHED = 193, 195, 197
SAYS: Final = {
    NO_MEMORY: ("machine", "it has too little memory"),
    0: ("machine", "it was reset"),
    1: ("machine", "QEMU could not start it: see the log"),
    3: ("exit", 0),  # it has said why before
}

# Intel SDM 3A, table 6-1.
EXCEPTIONS: Final = {
    0: "divide error", 1: "debug", 3: "breakpoint", 4: "overflow", 5: "bound range", 6: "invalid opcode", 7: "no device", 8: "double fault",
    10: "invalid TSS", 11: "segment not present", 12: "stack fault", 13: "general protection", 14: "page fault", 16: "floating point",
    17: "alignment", 18: "machine check", 19: "SIMD floating point",
}  # fmt: skip


class Bare(Platform):
    """See the module, and `Maker`."""

    def ways(self) -> Ways:
        """The memory, and a pair of sockets: a byte either way is a ring."""
        if shutil.which(QEMU) is None:
            raise ImageError(f"an image for the bare machine needs {QEMU}, which is not on the path: apt-get install qemu-system-x86")
        memory = self._make_memory()
        with ExitStack() as undo:
            undo.callback(self.close)
            undo.callback(memory.end.close)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            bell, their_end = ours.detach(), theirs.detach()
            undo.callback(os.close, bell)
            undo.callback(os.close, their_end)
            their_bell, descriptor = duplicate(undo, bell), duplicate(undo, memory.descriptor)
            undo.pop_all()
        return Ways(memory.end, self.longest, bell, their_bell, [descriptor, their_end])

    def fork(self, settings: dict[str, Any], fds: list[int], forked: Callable[[int], None], ended: Callable[[Ended], None]) -> None:
        """See `Maker`."""
        assert self.memory is not None
        megabytes = (self.room + self.image.memory + FIRMWARE) // MEGABYTE + 1
        command = [
            *("setpriv", "--pdeathsig=KILL", QEMU, *MACHINE, "-m", f"{megabytes}M", "-kernel", f"/proc/self/fd/{IMAGE}"),
            *("-chardev", f"socket,id=bell,fd={BELL}", "-serial", "chardev:bell"),
            *("-object", f"memory-backend-file,id=shm,share=on,mem-path=/proc/self/fd/{MEMORY},size={self.memory.size}"),
        ]
        with ExitStack() as unheard, ExitStack() as undo:
            said, says = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            unheard.callback(os.close, said)
            undo.callback(os.close, says)
            image = os.memfd_create(self.plain_name(), os.MFD_CLOEXEC)
            undo.callback(os.close, image)
            os.write(image, self.image.data)
            places = {1: says, 2: says, MEMORY: fds[0], BELL: fds[1], IMAGE: image}
            actions: list[tuple[int, ...]] = []
            for place, fd in places.items():  # copies that are in nobody's place
                copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_SPARE)
                undo.callback(os.close, copy)
                actions.append((os.POSIX_SPAWN_DUP2, copy, place))
            nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
            environment = {"PATH": os.environ.get("PATH", os.defpath)}
            pid = os.posix_spawnp(command[0], command, environment, file_actions=[nothing, *actions], setsid=not leads_group())
            unheard.pop_all()
        trio.lowlevel.spawn_system_task(self._log, said)
        self._watch(pid, forked, ended)
        with suppress(OSError):  # it runs elsewhere, then
            os.sched_setaffinity(pid, self.placed_on())

    async def _log(self, said: int) -> None:
        """A system task: what it says on its serial port, and QEMU on its stderr."""
        rest = b""
        try:
            while True:
                await trio.lowlevel.wait_readable(said)
                part = os.read(said, 4096)
                *lines, rest = (rest + part).split(b"\n") if part else (rest, b"")
                for line in lines:
                    say(self.name, line)
                if not part:
                    return
                rest = rest[-4096:]
        finally:
            os.close(said)

    def reason_of(self, ended: Ended) -> Any:
        """What QEMU's status stands for, and what the program notes of its end."""
        crash = None if self.memory is None else self.memory.crash()
        if ended.status == CRASHED and crash is not None:
            name = EXCEPTIONS.get(crash.number - 0x100, f"exception {crash.number - 0x100}")
            return ("exception", name, f"address {crash.address:#x}", f"at {crash.at:#x}")
        if ended.status == BROKEN:
            return ("capability_violation", "mailbox")
        return SAYS.get(ended.status)  # type: ignore[arg-type]
