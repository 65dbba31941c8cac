"""The host's side of the clock's model."""

from __future__ import annotations

from drivers._portbus import lib
from drivers.portbus import PortBus

START = 1_767_225_600
"""The beginning of 2026."""


class RtcModel:
    """A clock with its memory, which shows the time `seconds` after 1970 at first."""

    def __init__(self, bus: PortBus, seconds: int = START) -> None:
        self._device = bus.plug("rtc", seconds)

    def fail_battery(self) -> None:
        """The battery was empty for a moment: the contents are not to be trusted."""
        lib.bl_rtc_set_battery(self._device, 0)

    @property
    def is_nmi_masked(self) -> bool:
        """Is the bit set that keeps NMIs from the processor?"""
        return bool(lib.bl_rtc_is_nmi_masked(self._device))
