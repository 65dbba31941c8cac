"""A bare machine whose processor makes the accesses, as on a board: in and out instructions, memory, CPUID, the time stamp counter.

Theory of operation. The firmware is a server (io_server.S) that polls a block of the machine's memory, which is this OS process's, too: an
access is written there and the answer looked for, which takes some microseconds. When nobody has asked for a millisecond the processor
sleeps, and QEMU's monitor wakes it. What is of QEMU's own, interrupts as messages and the host's side, is as of `Qemu`.

What only this one has: the local APIC, which answers nobody but its processor, and the processor itself.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from pathlib import Path
from typing import Final

from drivers._portbus import ffi, lib
from drivers.errors import MachineStoppedError
from drivers.qemu import ANSWER_TIMEOUT, Qemu

IN, OUT, READ, WRITE, CPUID, RDTSC, INS, OUTS = range(1, 9)
WRITES: Final = {OUT, WRITE, OUTS}
BLOCK, RESULT, DATA, DATA_SIZE = 0x500, 0x520, 0x800, 4096
RESERVED: Final = (BLOCK, DATA + DATA_SIZE)
"""The memory that the server has for itself: an access is a PermissionError."""
HOLE: Final = (0xA0000, 0x100000)
"""Where the chipset decides whether RAM answers, or the VGA, or a ROM."""
PLAIN: Final = 0x8000_0000  # below this all else is RAM, if there is so much; above there may be the chipset's own
LOOKS: Final = 4_000  # some 0.1 ms: longer than most accesses take, if the processor is awake


class IoServer(Qemu):
    """See the module. Made by `start`, as a `Qemu`."""

    name = "io_server"
    firmware = (Path(__file__).parent / "io_server.bin").read_bytes()
    machine_options = ",memory-backend=ram"

    def _more_options(self, memory: int) -> list[str]:
        self._memory_fd = os.memfd_create("beamlike-machine", os.MFD_CLOEXEC)
        self._undo.callback(os.close, self._memory_fd)  # the mapping ends with this object: somebody may hold a view of it
        os.ftruncate(self._memory_fd, memory << 20)
        self._ram = mmap.mmap(self._memory_fd, memory << 20)
        self._words = memoryview(self._ram).cast("I")
        self._block = ffi.cast("volatile uint32_t *", ffi.from_buffer(self._ram)) + BLOCK // 4
        path = f"/proc/self/fd/{self._memory_fd}"
        return ["-object", f"memory-backend-file,id=ram,size={memory}M,share=on,mem-path={path}", "-cpu", "max"]

    def _more_descriptors(self) -> list[int]:
        return [self._memory_fd]

    def _do(self, command: int, width: int = 0, at: int = 0, value: int = 0) -> int:
        """Have the processor do something. The first word of the result."""
        if self._stopped is not None:
            raise self.gone()
        with self._lock:
            try:
                is_done = lib.bl_io_ask(self._block, command, width, at, value, LOOKS) != -errno.EAGAIN or self._wake()
            except BaseException:
                self._break_off()
                raise
            if not is_done and not (command in WRITES and self._has_stopped_itself()):
                raise self.gone()
            return self._words[RESULT // 4]

    def _wake(self) -> bool:
        """Wake the processor, which sleeps, and wait for the answer. False: the machine has stopped, perhaps by this very access."""
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while True:
            try:
                self.qmp("inject-nmi")
            except MachineStoppedError:
                return False
            if lib.bl_io_ask(self._block, 0, 0, 0, 0, LOOKS) == 0:
                return True
            if time.monotonic() > deadline:
                self.close()
                raise MachineStoppedError(f"the I/O server did not answer within {ANSWER_TIMEOUT:g} s, and was ended")

    def _in(self, port: int, width: int) -> int:
        return self._do(IN, width, port)

    def _out(self, port: int, width: int, value: int) -> None:
        self._do(OUT, width, port, value)

    def _in_block(self, port: int, width: int, count: int) -> bytes:
        most = DATA_SIZE // width
        pieces = []
        for done in range(0, count, most):
            units = min(most, count - done)
            with self._lock:
                self._do(INS, width, port, units)
                pieces.append(self._ram[DATA : DATA + units * width])
        return b"".join(pieces)

    def _out_block(self, port: int, width: int, data: bytes) -> None:
        for at in range(0, len(data), DATA_SIZE):
            piece = data[at : at + DATA_SIZE]
            with self._lock:
                self._ram[DATA : DATA + len(piece)] = piece
                self._do(OUTS, width, port, len(piece) // width)

    def _read(self, address: int, width: int) -> int:
        self._keep_out(address, width)
        return self._do(READ, width, self._reachable(address, width))

    def _write(self, address: int, width: int, value: int) -> None:
        self._keep_out(address, width)
        self._do(WRITE, width, self._reachable(address, width), value)

    def _load(self, address: int, size: int) -> bytes:
        self._keep_out(address, size)
        if self._is_plain(address, size):
            return self._ram[address : address + size]
        return super()._load(address, size)

    def _store(self, address: int, data: bytes) -> None:
        self._keep_out(address, len(data))
        if self._is_plain(address, len(data)):
            self._ram[address : address + len(data)] = data
        else:
            super()._store(address, data)

    def _is_plain(self, address: int, size: int) -> bool:
        """Is it RAM, of which this process has the same, whatever the chipset is set to?"""
        self._may_go_on()
        end = address + size
        return end <= min(len(self._ram), PLAIN) and (end <= HOLE[0] or address >= HOLE[1])

    def _keep_out(self, address: int, size: int) -> None:
        """Raises: PermissionError: that is the server's own, by which anybody could have it make accesses that are not checked."""
        if address < RESERVED[1] and address + size > RESERVED[0]:
            raise PermissionError(f"{size} bytes at {address:#x} touch the I/O server's own memory, {RESERVED[0]:#x} to {RESERVED[1]:#x}")

    def _reachable(self, address: int, width: int) -> int:
        if address + width > 1 << 32:
            raise ValueError(f"{address:#x} is beyond 4 GiB, which the I/O server's processor does not reach")
        return address

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """See `IoSpace`."""
        with self._lock:
            self._do(CPUID, 0, leaf, subleaf)
            eax, ebx, ecx, edx = self._words[RESULT // 4 : RESULT // 4 + 4]
        return eax, ebx, ecx, edx

    def rdtsc(self) -> int:
        """See `IoSpace`."""
        with self._lock:
            low = self._do(RDTSC)
            return self._words[RESULT // 4 + 1] << 32 | low
