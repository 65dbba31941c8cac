"""Memory of the machine for devices that are bus masters: queues, and buffers of DMA."""

from __future__ import annotations

from bisect import insort
from typing import Final

from drivers.space import IoSpace

START: Final = 0x10_0000
SIZE: Final = 0x40_0000


class Memory:
    """A range of the machine's memory, of which drivers take pieces. Who has made it says that nobody else uses the range.

    A device writes where it was told to, and asks no exclusion. So a piece is given out only to who may access all of it (`raw_memory`).

    Args:
        start: its first address; by default 1 MiB, for nothing else is there on a machine without firmware.
        size: bytes.
    """

    def __init__(self, io: IoSpace, start: int = START, size: int = SIZE) -> None:
        self.io = io
        self.start = start
        self.size = size
        self._taken: list[tuple[int, int]] = []  # address and end, ascending
        """Of what was given out, and not given back."""

    def take(self, size: int, align: int = 16, boundary: int = 0) -> int:
        """The address of a free piece. What is in it is not said.

        Args:
            align: the address is a multiple of this; a power of 2.
            boundary: it does not cross a multiple of this, if not 0: 0x10000 for ISA DMA.

        Raises: MemoryError: there is no such piece; ValueError; CapabilityError: the caller may not access it.
        """
        if size <= 0 or align <= 0 or align & (align - 1) or 0 < boundary < size:
            raise ValueError(
                f"{size} bytes, alignment {align}, boundary {boundary}: expected some bytes, a power of 2, 0 or no less than them"
            )
        at = self.start
        for start, end in [*self._taken, (self.start + self.size, 0)]:
            at += -at % align
            if boundary and at // boundary != (at + size - 1) // boundary:
                at += -at % boundary
                at += -at % align
            if at + size <= start:
                self.io.may_memory(at, size)
                insort(self._taken, (at, at + size))
                return at
            at = max(at, end)
        raise MemoryError(f"no {size} bytes are free, of {self.size} at {self.start:#x}, {self.free} of which nobody has")

    def give_back(self, address: int) -> None:
        """Let others have the piece at this address. Raises: ValueError: nobody has taken one there."""
        for i, (start, _) in enumerate(self._taken):
            if start == address:
                del self._taken[i]
                return
        raise ValueError(f"{address:#x} is no piece that was taken")

    @property
    def free(self) -> int:
        """Bytes that nobody has, in one piece or several."""
        return self.size - sum(end - start for start, end in self._taken)
