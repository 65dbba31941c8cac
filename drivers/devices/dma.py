"""8237 DMA controllers of the ISA bus: channels 0 to 3 move bytes, 5 to 7 words, between a device and the first 16 MiB of memory.

Source: Intel 8237A data sheet (231466-005), "Register Description"; IBM PC AT Technical Reference, DMA page registers.

Covers: programming a channel, once or again and again, its mask, what is left of its count, terminal count. Not: memory to memory,
software requests, rotating priority, addresses that go down. Channel 4 is the way of the channels 0 to 3 to the bus.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from drivers.errors import DeviceAbsentError
from drivers.space import IoSpace

PAGES: Final = (0x87, 0x83, 0x81, 0x82, 0x8F, 0x8B, 0x89, 0x8A)
BASES: Final = (0x00, 0xC0)  # of the controllers; the ports of the second one are two apart
STATUS, MASK, MODE, CLEAR_FLIP_FLOP = 8, 10, 11, 12
MASKED: Final = 0x04
CASCADE, SINGLE, AUTO = 0xC0, 0x40, 0x10
LIMIT: Final = 1 << 24
MOST: Final = 65536  # units


class Direction(IntEnum):
    """Whereto a channel moves."""

    VERIFY = 0
    """Nowhere: it only counts."""
    TO_MEMORY = 1
    """What the device has read."""
    FROM_MEMORY = 2
    """What the device is to write."""


class Dma:
    """Both controllers. Whose a channel is, is for the devices' drivers to know: nobody has the floppy's, 2, by chance."""

    def __init__(self, io: IoSpace) -> None:
        self.io = io
        self._sizes = [0] * 8  # units, as programmed
        self._reached = [0, 0]  # terminal counts by controller: reading them clears those of all its channels

    def detect(self) -> None:
        """Raises: DeviceAbsentError: there are no controllers. Channel 4's address, which nobody uses, must hold what is written."""
        for pattern in (0x55AA, 0xAA55):
            self._write(4, 0, pattern)
            found = self._read(4, 0)
            if found != pattern:
                raise DeviceAbsentError(f"DMA controller at {BASES[1]:#x}: its register holds {found:#06x}: expected {pattern:#06x}")

    def program(self, channel: int, address: int, size: int, direction: Direction, *, again: bool = False) -> None:
        """Set a channel up, and let it go. The device says when something moves.

        Args:
            address: physical, below 16 MiB; of the channels 5 to 7 even.
            size: bytes, up to 64 KiB; of the channels 5 to 7 even, up to 128 KiB.
            again: begin anew when the count is through (auto-initialization); else the channel masks itself.

        Raises: ValueError: no channel for that, or memory that it cannot reach in one go: it must not cross a multiple of 64 KiB, of the
            channels 5 to 7 of 128 KiB.
        """
        _check(channel)
        unit = 1 if channel < 4 else 2
        reach = MOST * unit
        if not 0 < size <= reach or size % unit or address % unit:
            raise ValueError(f"DMA channel {channel}: {size} bytes at {address:#x}: expected 1 to {reach}, in units of {unit}")
        if address < 0 or address + size > LIMIT:
            raise ValueError(f"DMA channel {channel}: {size} bytes at {address:#x} are not all in the first 16 MiB")
        if address // reach != (address + size - 1) // reach:
            raise ValueError(f"DMA channel {channel}: {size} bytes at {address:#x} cross a multiple of {reach // 1024} KiB")
        self.mask(channel)
        if channel < 4:
            self._control(4, MODE, CASCADE)
            self._control(4, MASK, 0)
        self._control(channel, MODE, SINGLE | AUTO * again | direction << 2 | channel & 3)
        self._write(channel, 0, address // unit & 0xFFFF)
        self._write(channel, 1, size // unit - 1)
        self.io.outb(PAGES[channel], address >> 16)
        self._sizes[channel] = size // unit
        self._look(channel)
        self._reached[channel >> 2] &= ~(1 << (channel & 3))
        self._control(channel, MASK, channel & 3)

    def mask(self, channel: int) -> None:
        """Let nothing move, until `program`. ValueError: no channel."""
        _check(channel)
        self._control(channel, MASK, MASKED | channel & 3)

    def left(self, channel: int) -> int:
        """Bytes of the count that are not through. Right only while nothing moves. ValueError: no channel."""
        _check(channel)
        units = self._read(channel, 1) + 1
        if units == MOST and (self._sizes[channel] < MOST or self.is_over(channel)):
            units = 0  # the counter has passed 0
        return units if channel < 4 else 2 * units

    def is_over(self, channel: int) -> bool:
        """Was the terminal count reached since `program`? ValueError: no channel."""
        _check(channel)
        self._look(channel)
        return bool(self._reached[channel >> 2] >> (channel & 3) & 1)

    def _look(self, channel: int) -> None:
        self._reached[channel >> 2] |= self.io.inb(self._port(channel, STATUS)) & 15

    def _port(self, channel: int, register: int) -> int:
        return BASES[0] + register if channel < 4 else BASES[1] + 2 * register

    def _control(self, channel: int, register: int, value: int) -> None:
        self.io.outb(self._port(channel, register), value)

    def _read(self, channel: int, which: int) -> int:
        port = self._port(channel, 2 * (channel & 3) + which)
        self._control(channel, CLEAR_FLIP_FLOP, 0)
        return self.io.inb(port) | self.io.inb(port) << 8

    def _write(self, channel: int, which: int, value: int) -> None:
        port = self._port(channel, 2 * (channel & 3) + which)
        self._control(channel, CLEAR_FLIP_FLOP, 0)
        self.io.outb(port, value & 0xFF)
        self.io.outb(port, value >> 8)


def _check(channel: int) -> None:
    if channel not in (0, 1, 2, 3, 5, 6, 7):
        raise ValueError(f"{channel!r} is no DMA channel: expected 0 to 3 or 5 to 7")
