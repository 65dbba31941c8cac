"""The host's side of the port bus's local APIC: the processor that it belongs to."""

from __future__ import annotations

from drivers._portbus import lib
from drivers.portbus import PortBus


class LapicModel:
    """A local APIC that is plugged in."""

    def __init__(self, bus: PortBus) -> None:
        self.device = bus.plug("lapic")

    def take(self) -> int | None:
        """What a processor does that lets interrupts through: the vector of the next one, which is in service then; None: there is none."""
        vector: int = lib.bl_lapic_take(self.device)
        return None if vector < 0 else vector
