"""A processor of the port bus, for `PortBus.cpuid` and `PortBus.rdtsc`."""

from __future__ import annotations

from collections.abc import Mapping

from drivers._portbus import lib
from drivers.portbus import PortBus

Registers = tuple[int, int, int, int]


class CpuModel:
    """What CPUID says, leaf by leaf, and a time stamp counter.

    Args:
        leaves: EAX, EBX, ECX, EDX by leaf and subleaf.
        hertz: of the time stamp counter, by the virtual clock.
    """

    def __init__(self, bus: PortBus, leaves: Mapping[tuple[int, int], Registers] | None = None, hertz: int = 2_000_000_000) -> None:
        self._device = bus.plug("cpu", hertz)
        for (leaf, subleaf), registers in (leaves or {}).items():
            self.set(leaf, subleaf, registers)

    def set(self, leaf: int, subleaf: int, registers: Registers) -> None:
        """Say this from now on. Raises: ValueError: there are 64 leaves already."""
        if lib.bl_cpu_set(self._device, leaf, subleaf, *registers):
            raise ValueError(f"no room for the leaf {leaf:#x}, {subleaf}: there are 64 of them already")
