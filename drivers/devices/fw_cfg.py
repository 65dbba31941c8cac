"""QEMU's firmware configuration device: files that the host has put together for the firmware, such as ACPI tables.

Source: QEMU, docs/specs/fw_cfg.rst.

Covers: signature, features, the directory, files and items by the data port or, if there is RAM to do it through, by DMA. Not: writing,
the memory-mapped registers of machines without ports.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final, NamedTuple

from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

BASE: Final = 0x510
DATA, DMA = 1, 4
SIGNATURE, ID, DIRECTORY, FIRST_FILE, LAST_FILE = 0, 1, 0x19, 0x20, 0x3FFF
ENTRY: Final = 64
MOST_FILES: Final = LAST_FILE - FIRST_FILE + 1
LARGEST: Final = 16 << 20  # bytes of a file; no real one is nearly as large
PIECE: Final = 1024  # bytes that are read at once: a backend may queue them
FAILED, READ, SELECT = 1, 2, 8  # of a DMA access
DMA_TIMEOUT: Final = 1.0


class Features(IntFlag):
    """What the device can do."""

    TRADITIONAL = 1
    """The selector and the data port."""
    DMA = 2


class File(NamedTuple):
    """An entry of the directory."""

    name: str
    size: int
    select: int


class FwCfg:
    """The device.

    Args:
        buffer: an address of RAM that nobody uses, for what is read by DMA: 16 bytes, and behind them the largest file. Without it, bytes
            are read one by one.
    """

    def __init__(self, io: IoSpace, base: int = BASE, buffer: int | None = None) -> None:
        self.io = io
        self.base = base
        self.buffer = buffer

    def probe(self) -> Features:
        """Raises: DeviceAbsentError: the signature is not there."""
        found = self._by_port(SIGNATURE, 4)
        if found != b"QEMU":
            raise DeviceAbsentError(f"fw_cfg at {self.base:#x}: its signature is {found!r}: expected b'QEMU'")
        return Features(int.from_bytes(self._by_port(ID, 4), "little") & 3)

    async def files(self) -> dict[str, File]:
        """The directory.

        Raises: DeviceAbsentError as `probe`. DeviceError: it makes no sense. DeviceTimeoutError as `item`.
        """
        self.probe()
        count = int.from_bytes(await self.item(DIRECTORY, 4), "big")
        if count > MOST_FILES:
            raise DeviceError(f"fw_cfg at {self.base:#x}: a directory of {count} files: expected at most {MOST_FILES}")
        directory = await self.item(DIRECTORY, 4 + count * ENTRY)
        found: dict[str, File] = {}
        for at in range(4, len(directory), ENTRY):
            entry = directory[at : at + ENTRY]
            size, select = int.from_bytes(entry[:4], "big"), int.from_bytes(entry[4:6], "big")
            name, end, _ = entry[8:].partition(b"\0")
            if not name or not end or not name.isascii() or not FIRST_FILE <= select <= LAST_FILE or name.decode() in found:
                raise DeviceError(f"fw_cfg at {self.base:#x}: the entry {at // ENTRY} of the directory makes no sense: {entry.hex()}")
            found[name.decode()] = File(name.decode(), size, select)
        return found

    async def read(self, name: str) -> bytes:
        """A file.

        Raises: KeyError: there is none of this name. DeviceError: it is larger than 16 MiB, or as `files`. DeviceTimeoutError as `item`.
        """
        file = (await self.files())[name]
        if file.size > LARGEST:
            raise DeviceError(f"fw_cfg at {self.base:#x}: {name} has {file.size} bytes: expected at most {LARGEST}")
        return await self.item(file.select, file.size)

    async def item(self, select: int, size: int) -> bytes:
        """The first bytes of what is selected so; zeros after its end.

        Raises: ValueError: no selector, or no size. CapabilityError: the caller may not access the buffer. DeviceError: DMA to
        the buffer fails. DeviceTimeoutError: it does not come to an end.
        """
        if not 0 <= select <= 0xFFFF or not 0 <= size <= LARGEST:
            raise ValueError(f"{size} bytes of the item {select:#x}: expected up to {LARGEST} of 0 to 0xffff")
        if self.buffer is None or size <= 16 or self._dma_signature() != b"QEMU CFG":
            return self._by_port(select, size)
        return await self._by_dma(self.buffer, select, size)

    def _dma_signature(self) -> bytes:
        return b"".join(self.io.inl(self.base + at).to_bytes(4, "little") for at in (DMA, DMA + 4))

    def _by_port(self, select: int, size: int) -> bytes:
        self.io.outw(self.base, select)
        return b"".join(self.io.insb(self.base + DATA, min(PIECE, size - at)) for at in range(0, size, PIECE))

    async def _by_dma(self, access: int, select: int, size: int) -> bytes:
        self.io.may_memory(access, 16 + size)  # the device asks nobody
        control = select << 16 | SELECT | READ
        self.io.store(access, control.to_bytes(4, "big") + size.to_bytes(4, "big") + (access + 16).to_bytes(8, "big"))
        for at, half in ((DMA, access >> 32), (DMA + 4, access & 0xFFFFFFFF)):  # the second one starts it
            self.io.outl(self.base + at, int.from_bytes(half.to_bytes(4, "big"), "little"))

        def left() -> int:
            return int.from_bytes(self.io.load(access, 4), "big")

        await self.io.until(lambda: left() & ~FAILED == 0, DMA_TIMEOUT, lambda: f"fw_cfg at {self.base:#x}: DMA (control {left():#x})")
        if left() & FAILED:
            raise DeviceError(f"fw_cfg at {self.base:#x}: DMA of {size} bytes of the item {select:#x} to {access + 16:#x} has failed")
        return self.io.load(access + 16, size)
