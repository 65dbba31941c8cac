"""The RAM of a machine that boots: a file without a name that all of its cores map, and we."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Self


class GuestMemory:
    """Physical memory from address 0. To be closed by who has it last; else it is as with a file: ResourceWarning, when it is collected."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._file = open(os.memfd_create("beamlike-ram", os.MFD_CLOEXEC), "r+b", buffering=0)  # noqa: SIM115 - until close
        try:
            self._file.truncate(size)
            self.map = mmap.mmap(self.descriptor, size)
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """The same memory in another OS process, which has the descriptor now."""
        memory = cls.__new__(cls)
        memory.size = os.fstat(descriptor).st_size
        memory._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - until close
        memory.map = mmap.mmap(descriptor, memory.size)
        return memory

    @property
    def descriptor(self) -> int:
        """Of the file."""
        return self._file.fileno()

    def address(self) -> int:
        """Where it is mapped in this OS process, until it is closed."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.map))

    def read(self, address: int, size: int) -> bytes:
        """A copy of some of it. Raises: ValueError: it is not all there."""
        if not 0 <= address <= address + size <= self.size:
            raise ValueError(f"{size} bytes at {address:#x}, expected within {self.size:#x}")
        return self.map[address : address + size]

    def close(self) -> None:
        """Twice is as good as once."""
        self._file.close()
        self.map.close()
