"""The host's side of the model of a network interface."""

from __future__ import annotations

from drivers._portbus import ffi, lib
from drivers.portbus import PortBus

MAC = bytes.fromhex("525400123456")
LARGEST = 2048


class VirtioNetModel:
    """A legacy virtio network interface on the bus, and what is outside of it."""

    def __init__(self, bus: PortBus, mac: bytes = MAC) -> None:
        self._bus = bus
        self._device = bus.plug("virtio_net", mac)
        self._frame = ffi.new("unsigned char[]", LARGEST)

    def feed(self, frame: bytes) -> bool:
        """A frame comes in. False: it was dropped, for there was no buffer for it, or no link."""
        is_in = bool(lib.bl_virtio_net_feed(self._device, frame, len(frame)))
        self._bus._tell_events()
        return is_in

    def taken(self) -> bytes | None:
        """The next frame that went out, or None."""
        size = lib.bl_virtio_net_taken(self._device, self._frame)
        return None if size < 0 else bytes(ffi.buffer(self._frame, size))

    def set_link(self, is_up: bool) -> None:
        """Plug the cable in, or pull it out."""
        lib.bl_virtio_net_set_link(self._device, is_up)
        self._bus._tell_events()

    def lie(self, head: int = -1, length: int = -1) -> None:
        """Of the next frame that comes in, say that it is in this buffer, or has this length."""
        lib.bl_virtio_net_lie(self._device, head, length)
