"""What a core has outside of itself: the seam between a core and the board, which may be in another OS process."""

from __future__ import annotations

import time
from typing import Final, Protocol

from boot.guest.layout import TICKS_PER_SECOND

FIRST_BOOT: Final = 0x7C00  # where the BIOS puts the MBR, and goes to it


class CoreDiedError(Exception):
    """The core has died, as planned. Raised in a hook of its Unicorn, it ends the core."""


class Bus(Protocol):
    """All calls name the core that makes them."""

    def read(self, core: int, lba: int, count: int, address: int) -> tuple[int, int]:
        """Sectors into memory: the BIOS's status, and how many. Raises: CoreDiedError."""

    def command(self, core: int, target: int, command: int) -> None:
        """The local APIC is told something for another core; over when that has happened."""

    def say(self, core: int, letter: int) -> None:
        """A byte for COM1."""

    def finish(self, core: int, status: int) -> None:
        """A byte for the exit port; the core stops by itself."""

    def fault(self, core: int, vector: int, rip: int, cr2: int) -> None:
        """An exception; the core stops by itself."""

    def idle(self, core: int) -> None:
        """The slave waits for a request; told only if somebody wants to know. Raises: CoreDiedError."""

    def ticks(self) -> int:
        """What the PM timer shows: 24 bits."""


def real_ticks() -> int:
    """The PM timer of a machine that runs in real time. All OS processes see the same."""
    return time.monotonic_ns() * TICKS_PER_SECOND // 1_000_000_000 & 0xFFFFFF
