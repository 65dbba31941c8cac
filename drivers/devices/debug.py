"""Emulators' ports for programs that are being tested: one that takes text, and one that ends the emulator.

Source: Bochs user manual, "port e9 hack"; QEMU's devices isa-debugcon and isa-debug-exit (QEMU 7.2). Real machines have neither.

Covers: writing; ending with a status. Not: anything else, for there is nothing.
"""

from __future__ import annotations

from typing import Final

from drivers.errors import DeviceAbsentError
from drivers.space import IoSpace

CONSOLE_PORT: Final = 0xE9
SHOWN: Final = 0xE9
EXIT_PORT: Final = 0x501
MOST: Final = 127
EXIT_TIMEOUT: Final = 5.0


class DebugConsole:
    """The port that takes text."""

    def __init__(self, io: IoSpace, port: int = CONSOLE_PORT) -> None:
        self.io = io
        self.port = port

    def write(self, data: bytes) -> None:
        """Write all of it; it never has to wait. Raises: DeviceAbsentError."""
        if (found := self.io.inb(self.port)) != SHOWN:
            raise DeviceAbsentError(f"no debug console at port {self.port:#x}: it shows {found:#x}, expected {SHOWN:#x}")
        self.io.outsb(self.port, data)


class DebugExit:
    """The port that ends the emulator."""

    def __init__(self, io: IoSpace, port: int = EXIT_PORT) -> None:
        self.io = io
        self.port = port

    async def exit(self, status: int) -> None:
        """End the machine: `io.stopped` is `DEBUG_EXIT` with this status then.

        Args:
            status: 1 to 127. QEMU's own exit status is twice that and one more; of 0 it would be 1, as of any of its errors.

        Raises: ValueError; DeviceAbsentError: nobody answers; DeviceTimeoutError: it runs on.
        """
        if not 1 <= status <= MOST:
            raise ValueError(f"{status!r} as the status of an exit: expected 1 to {MOST}")
        if (found := self.io.inb(self.port)) != 0:
            raise DeviceAbsentError(f"no debug exit at port {self.port:#x}: it shows {found:#x}, expected 0")
        self.io.outb(self.port, status)
        await self.io.until(lambda: self.io.stopped, EXIT_TIMEOUT, f"debug exit at port {self.port:#x}: the machine has not stopped")
