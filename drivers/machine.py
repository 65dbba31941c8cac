"""The ports of this very machine. Off unless it is asked for twice: by a flag in the environment, and by a list of the ports.

Real devices have real owners: the kernel drives most of them. To read from a UART or a keyboard takes what the kernel was to get, the
clock's index register is shared with it, and 0xfe to port 0x64 is a reset. Give ports that nothing drives (see `/proc/ioports`).

Two ways, the first that the kernel permits: `ioperm` or `iopl`, and then the processor's instructions; the file `/dev/port`, which takes
some microseconds more, and does 8 bits only: of more bytes the kernel makes accesses of one each (Linux, drivers/char/mem.c), which is not
what a register of 16 or 32 bits wants, so they are refused. Both want root (CAP_SYS_RAWIO); a kernel in lockdown permits neither. There are
no interrupts and no memory here: the kernel gives them to its own drivers.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable
from typing import Final, Self

from beamlike.seam import check_access
from drivers._portbus import ffi, lib
from drivers.space import IoSpace

FLAG: Final = "BEAMLIKE_REAL_IO"
PORT_FILE: Final = "/dev/port"
PORTS: Final = 1 << 16


class MachineSpace(IoSpace):
    """See the module. Made by `open`. Of the node's own thread only: what the kernel permits, it permits to a thread."""

    name = "machine"

    @classmethod
    def open(cls, ports: Iterable[tuple[int, int]], port_file: str = PORT_FILE) -> Self:
        """Ask the kernel for ports.

        Args:
            ports: half-open ranges. Nothing but these is ever accessed.

        Raises:
            PermissionError: BEAMLIKE_REAL_IO is not 1, or the kernel refuses, by both ways; with the reasons.
            ValueError: a range is none.
            CapabilityError: `("device", "machine")` is excluded.
        """
        check_access("device", "machine")
        wanted = tuple(ports)
        for each in wanted:
            if type(each) is not tuple or [type(end) for end in each] != [int, int] or not 0 <= each[0] < each[1] <= PORTS:
                raise ValueError(f"{each!r} is no range of ports: expected a tuple (start, end), 0 <= start < end <= 0x10000")
        if not wanted:
            raise ValueError("no ports were given: MachineSpace.open expects half-open ranges, such as [(0x80, 0x81)]")
        if os.environ.get(FLAG) != "1":
            raise PermissionError(f"the ports of this machine are off: set {FLAG}=1 if you mean it")
        refused = [error for start, end in wanted if (error := -lib.bl_machine_permit(start, end - start))]
        if not refused:
            return cls(wanted, None)
        instructions = f"ioperm and iopl: {os.strerror(refused[0])} ({errno.errorcode[refused[0]]})"
        try:
            return cls(wanted, os.open(port_file, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise PermissionError(f"the kernel gives no ports: {instructions}; {port_file}: {error.strerror}") from None

    def __init__(self, ports: tuple[tuple[int, int], ...], file: int | None) -> None:
        super().__init__()
        self.ports = ports
        self._file = file
        self._thread = threading.get_ident()

    def close(self) -> None:
        """Access nothing any more."""
        self.ports = ()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def now(self) -> float:
        """Seconds, of the system's clock."""
        return time.monotonic()

    def _check(self, port: int, width: int) -> None:
        """Raises: PermissionError: it is not in the list, or too wide for the file; RuntimeError: another thread."""
        if not any(start <= port and port + width <= end for start, end in self.ports):
            raise PermissionError(f"port {port:#x} with {width} bytes is not in the list of MachineSpace.open: {self.ports!r}")
        if self._file is not None and width > 1:
            raise PermissionError(
                f"port {port:#x} with {width} bytes: {PORT_FILE} has accesses of 1 byte only; the kernel must permit ioperm or iopl"
            )
        if threading.get_ident() != self._thread:
            raise RuntimeError("the kernel permits ports to one thread, and this is another: use MachineSpace in its node's own thread")

    def _in(self, port: int, width: int) -> int:
        self._check(port, width)
        if self._file is None:
            return int(lib.bl_machine_in(port, width))
        return int.from_bytes(os.pread(self._file, width, port), "little")

    def _out(self, port: int, width: int, value: int) -> None:
        self._check(port, width)
        if self._file is None:
            lib.bl_machine_out(port, width, value)
        else:
            os.pwrite(self._file, value.to_bytes(width, "little"), port)

    def _in_block(self, port: int, width: int, count: int) -> bytes:
        self._check(port, width)
        if self._file is not None:
            return super()._in_block(port, width, count)
        block = ffi.new("uint8_t[]", width * count)
        lib.bl_machine_in_block(port, width, block, count)
        return bytes(ffi.buffer(block))

    def _out_block(self, port: int, width: int, data: bytes) -> None:
        self._check(port, width)
        if self._file is not None:
            super()._out_block(port, width, data)
        else:
            lib.bl_machine_out_block(port, width, ffi.from_buffer(data), len(data) // width)

    def may_memory(self, address: int, length: int) -> None:
        """See `IoSpace`; and PermissionError: this backend has no memory."""
        super().may_memory(address, length)
        raise PermissionError("the memory of this machine is the kernel's: MachineSpace has ports only")

    def _read(self, address: int, width: int) -> int:
        raise AssertionError("may_memory refuses it")

    def _write(self, address: int, width: int, value: int) -> None:
        raise AssertionError("may_memory refuses it")

    def _load(self, address: int, size: int) -> bytes:
        raise AssertionError("may_memory refuses it")

    def _store(self, address: int, data: bytes) -> None:
        raise AssertionError("may_memory refuses it")
