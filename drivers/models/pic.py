"""The host's side of the interrupt controllers' model: the processor, and lines for tests."""

from __future__ import annotations

from drivers._portbus import lib
from drivers.portbus import PortBus


class PicModel:
    """The two controllers, plugged in after the devices or before them."""

    def __init__(self, bus: PortBus) -> None:
        self._device = bus.plug("pic")

    @property
    def asks(self) -> bool:
        """Do they ask the processor for an interrupt?"""
        return bool(lib.bl_pic_asks(self._device))

    def acknowledge(self) -> int:
        """Do as the processor does then. The vector."""
        return int(lib.bl_pic_acknowledge(self._device))

    def set_line(self, line: int, high: bool) -> None:
        """Move a line that no device has. Who listens is told with the next access."""
        lib.bl_pic_set_line(self._device, line, high)
