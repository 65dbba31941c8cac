"""The memory that a unikernel shares with its node: a pair of rings, and one page behind them (lib/plat.h, `uk_boot`)."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final, NamedTuple

from nodes.seam import PairEnd, create

PAGE: Final = 4096
BOOT: Final = struct.Struct("<QIIQII")  # magic, version, flags, bytes of the rings, of the longest message
MAGIC: Final = 0x544F4F424B554C42
VERSION: Final = 1
POLLS: Final = 1
BUSY: Final = BOOT.size  # where what follows is
CRASH: Final = struct.Struct("<IIQQ")  # number, code, address, at
CRASHED: Final = BUSY + 8


class Crash(NamedTuple):
    """What ended a program, as it noted it itself. `number` is of a signal; from 0x100 on of an exception of the processor."""

    number: int
    code: int
    address: int
    at: int


class Memory:
    """Of one unikernel. `descriptor` is a sealed memfd, as long as this is open."""

    def __init__(self, capacity: int, longest: int, *, polls: bool) -> None:
        rings = 3 * PAGE + 2 * capacity
        size = 1 << (rings + PAGE - 1).bit_length()  # a power of two: a device's memory is one
        self.descriptor, self.end = create(capacity, longest, size)
        try:
            self._page = mmap.mmap(self.descriptor, PAGE, offset=size - PAGE)
        except BaseException:
            self.end.close()
            os.close(self.descriptor)
            raise
        BOOT.pack_into(self._page, 0, MAGIC, VERSION, POLLS if polls else 0, rings, longest, 0)
        self.size = size

    def busy(self) -> int:
        """0 while it waits for a message, another number after each that it got."""
        return 0 if self._page.closed else int.from_bytes(self._page[BUSY : BUSY + 8], "little")

    def crash(self) -> Crash | None:
        """What it says that ended it. None: nothing."""
        crash = Crash(*CRASH.unpack_from(self._page, CRASHED))
        return crash if crash.number else None

    def close(self) -> None:
        """Let go of the page and the descriptor; the end of the rings is its owner's."""
        self._page.close()
        os.close(self.descriptor)


__all__ = ["Crash", "Memory", "PairEnd"]
