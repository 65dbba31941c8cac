"""What the firmware does on a machine, before any driver, and QEMU's tests have to do themselves."""

from __future__ import annotations

from typing import Final

from drivers import IoSpace

PM_BASE: Final = 0x600
ADDRESS, DATA, ENABLE = 0xCF8, 0xCFC, 1 << 31
PIIX4_PM, ICH9_LPC = 1 << 11 | 3 << 8, 0x1F << 11
BASE_REGISTER: Final = 0x40
MACHINES: Final = {"pc": (PIIX4_PM, 0x80, 0x01), "q35": (ICH9_LPC, 0x44, 0x80)}
"""The function that has the base of power management, and its register and bit that switch it on."""


def set_pm_base(io: IoSpace, machine: str = "pc") -> None:
    """Let QEMU's power management have its ports at `PM_BASE`: by PCI's configuration. A model has them there at once."""
    if io.name == "qemu":
        function, register, on = MACHINES[machine]
        for at, value in ((BASE_REGISTER, PM_BASE | 1), (register, on)):
            io.outl(ADDRESS, ENABLE | function | at)
            io.outl(DATA, value)
