"""The DMA controllers of the port bus, with the host as a device that requests."""

from __future__ import annotations

from drivers._portbus import ffi, lib
from drivers.portbus import PortBus


class DmaModel:
    """Both controllers. Models of devices find them by themselves."""

    def __init__(self, bus: PortBus) -> None:
        bus.plug("dma")
        self._bus = bus

    def to_memory(self, channel: int, data: bytes) -> int:
        """A device has data. How many bytes of it the channel takes."""
        return int(lib.bl_dma_transfer(self._bus._bus, channel, ffi.from_buffer(bytearray(data)), len(data), 1))

    def from_memory(self, channel: int, size: int) -> bytes:
        """A device wants so many bytes. What the channel gives."""
        block = ffi.new("uint8_t[]", size)
        moved = lib.bl_dma_transfer(self._bus._bus, channel, block, size, 2)
        return bytes(ffi.buffer(block, moved))

    def is_over(self, channel: int) -> bool:
        """Did the last transfer reach the terminal count?"""
        return bool(lib.bl_dma_is_over(self._bus._bus, channel))
