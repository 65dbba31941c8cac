"""The memory that a unikernel shares with its node: a pair of rings, and one page behind them (`uk_boot` of lib/plat.h)."""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

from nodes.seam import create

PAGE: Final = 4096
BOOT: Final = struct.Struct("<QIIQII")  # magic, version, flags, bytes of the rings, of the longest message, nothing
MAGIC: Final = 0x544F4F424B554C42
VERSION: Final = 1
FLAGS, POLLS = 12, 1  # where in it flags are
WAITS: Final = (1 << 64) - 1  # in place of `busy`
WRITTEN, TAKEN = PAGE, PAGE + 128  # positions in the ring to it, see nodes/ring.h: `tail` and `head` of direction 0
CRASH: Final = struct.Struct("<IIQQ")  # number, code, address, at: behind the word `busy`


class Crash(NamedTuple):
    """What ended a program, as it noted it itself. `number` is of a signal; from 0x100 on of an exception of the processor."""

    number: int
    code: int
    address: int
    at: int


class Memory:
    """Of one unikernel. The end of the rings is its owner's, `descriptor`, a sealed memfd, is ours. Raises: OSError."""

    def __init__(self, capacity: int, longest: int) -> None:
        rings = 3 * PAGE + 2 * capacity
        self.size = 1 << (rings + PAGE - 1).bit_length()  # a power of two: a device's memory is one
        self.descriptor, self.end = create(capacity, longest, self.size)
        self._page = self.size - PAGE
        os.pwrite(self.descriptor, BOOT.pack(MAGIC, VERSION, 0, rings, longest, 0), self._page)

    def poll(self, polls: bool) -> None:
        """Whether it is to look for a while before it sleeps, from now on."""
        os.pwrite(self.descriptor, (POLLS if polls else 0).to_bytes(4, "little"), self._page + FLAGS)

    def at_work(self) -> tuple[int, int] | None:
        """Two numbers: one changes when it takes a message or says that it lives. None: it has nothing to do, or no room to write."""
        busy, written, taken = (self._word(at) for at in (self._page + BOOT.size, WRITTEN, TAKEN))
        return None if busy == WAITS or (busy == 0 and written == taken) else (busy, taken)

    def _word(self, at: int) -> int:
        return int.from_bytes(os.pread(self.descriptor, 8, at), "little")

    def crash(self) -> Crash | None:
        """What it says that ended it. None: nothing."""
        crash = Crash(*CRASH.unpack(os.pread(self.descriptor, CRASH.size, self._page + BOOT.size + 8)))
        return crash if crash.number else None

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.descriptor)
