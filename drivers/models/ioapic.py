"""The port bus's I/O APIC, and the processor's end of it."""

from __future__ import annotations

from drivers.models.lapic import LapicModel
from drivers.portbus import PortBus


class IoApicModel:
    """An I/O APIC that is plugged in.

    Args:
        lapic: the local APIC that it sends to; None: one is plugged in, too.
        version: 0x20, or 0x11, which has no EOI register.
    """

    def __init__(self, bus: PortBus, lapic: LapicModel | None = None, version: int = 0x20) -> None:
        self.lapic = lapic or LapicModel(bus)
        bus.plug("ioapic", self.lapic.device, version)
