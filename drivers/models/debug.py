"""The host's side of the debug port's model."""

from __future__ import annotations

from typing import Final

from drivers._portbus import ffi, lib
from drivers.portbus import PortBus

ROOM: Final = 65536
"""Bytes that it keeps: of more, the last."""


class DebugconModel:
    """A debug port."""

    def __init__(self, bus: PortBus, port: int = 0xE9) -> None:
        self._device = bus.plug("debugcon", port)

    def take(self) -> bytes:
        """What has been written since the last call."""
        found = ffi.new("uint8_t[]", ROOM)
        return bytes(ffi.buffer(found, lib.bl_debugcon_take(self._device, found, ROOM)))
