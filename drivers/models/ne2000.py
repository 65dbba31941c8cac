"""The wire of an NE2000 on the port bus."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from drivers._portbus import ffi, lib
from drivers.portbus import PortBus

MAC: Final = bytes.fromhex("525400123456")
LARGEST: Final = 2048


class Damage(IntEnum):
    """What happened to a frame on its way."""

    NONE = 0
    CHECK_SEQUENCE = 1
    ALIGNMENT = 2


class Ne2000Model:
    """A board, and what is at the other end of its cable."""

    def __init__(self, bus: PortBus, base: int = 0x300, irq: int = 9, mac: bytes = MAC) -> None:
        if len(mac) != 6:
            raise ValueError(f"{mac!r} is no Ethernet address: expected 6 bytes")
        self.bus = bus
        self._device = bus.plug("ne2000", base, irq, ffi.new("uint8_t[]", mac))

    def feed(self, frame: bytes, damage: Damage = Damage.NONE) -> bool:
        """Let a frame arrive, without its check sequence. Is it in the board's memory now?"""
        is_in = lib.bl_ne2000_feed(self._device, frame, len(frame), damage)
        self.bus.advance(1e-9)  # who listens to the interrupt is told
        return bool(is_in)

    def taken(self) -> bytes | None:
        """The oldest frame that was sent and not taken yet."""
        to = ffi.new("uint8_t[]", LARGEST)
        size = lib.bl_ne2000_taken(self._device, to, LARGEST)
        return bytes(ffi.buffer(to, size)) if size else None

    def jam(self, frames: int) -> None:
        """Let the next frames that it sends collide until it gives them up."""
        lib.bl_ne2000_jam(self._device, frames)
