"""Switching the machine off, and resetting it.

Source: ACPI 6.5, 4.8.3.2.1 (PM1 control), 7.4.2.6 (S5); Intel 82371SB (PIIX3) data sheet (290550-002), reset control register; IBM PC AT
Technical Reference (6280070), keyboard controller, command 0xfe.

Covers: power-off by PM1a control, reset by port 0xcf9 and by the keyboard controller. Not: other sleep states, the PM1b block, the change
to ACPI mode (by a port of the firmware's), the FADT's reset register.
"""

from __future__ import annotations

from typing import Final

from drivers.errors import DeviceAbsentError
from drivers.space import IoSpace

PM1A_CONTROL: Final = 0x604
"""Where the firmware of QEMU's machine `pc` puts it."""
SLEEP_TYPE, SLEEP, SLEEP_TYPE_SHIFT = 0x1C00, 0x2000, 10
RESET_CONTROL: Final = 0xCF9
HARD, RESET = 0x02, 0x04
KEYBOARD: Final = 0x64
INPUT_FULL: Final = 0x02
PULSE_RESET: Final = 0xFE
TIMEOUT: Final = 5.0
"""For the machine to stop, in seconds; QEMU takes a few milliseconds."""
KEYBOARD_TIMEOUT: Final = 1.0


class Power:
    """The machine's end. On a real machine nothing after it is ever executed; elsewhere `io.stopped` tells of it.

    Args:
        pm1a_control: the port of that register: the FADT's PM1a_CNT_BLK.
        off: the sleep type of S5, 0 to 7: the first number of the DSDT's `\\_S5`. It is 0 on QEMU, and often 5 or 7 on boards.
    """

    def __init__(self, io: IoSpace, pm1a_control: int = PM1A_CONTROL, off: int = 0) -> None:
        if not 0 <= off <= 7:
            raise ValueError(f"{off!r} is no sleep type: expected 0 to 7")
        self.io = io
        self.pm1a_control = pm1a_control
        self.off = off

    async def power_off(self) -> None:
        """Switch it off. Flush disks before.

        Raises: DeviceAbsentError: nobody answers; DeviceTimeoutError: it runs on.
        """
        found = self.io.inw(self.pm1a_control)
        if found == 0xFFFF:
            raise DeviceAbsentError(f"no PM1a control register at port {self.pm1a_control:#x}: it shows {found:#x}")
        value = found & ~(SLEEP_TYPE | SLEEP) | self.off << SLEEP_TYPE_SHIFT
        self.io.outw(self.pm1a_control, value)
        self.io.outw(self.pm1a_control, value | SLEEP)
        await self._stop(f"power-off with sleep type {self.off}")

    async def reset(self) -> None:
        """Reset it by port 0xcf9, all of it. Raises as `power_off`."""
        found = self.io.inb(RESET_CONTROL)
        if found == 0xFF:
            raise DeviceAbsentError(f"no reset control register at port {RESET_CONTROL:#x}: it shows {found:#x}")
        value = found & ~(HARD | RESET) | HARD
        self.io.outb(RESET_CONTROL, value)
        self.io.outb(RESET_CONTROL, value | RESET)
        await self._stop(f"reset by port {RESET_CONTROL:#x}")

    async def reset_by_keyboard(self) -> None:
        """Reset it by the keyboard controller, as the PC AT did. Whoever has the keyboard should not write to it meanwhile.

        Raises: DeviceAbsentError; DeviceTimeoutError: the controller takes no command, or the machine runs on.
        """
        if (found := self.io.inb(KEYBOARD)) == 0xFF:
            raise DeviceAbsentError(f"no keyboard controller at port {KEYBOARD:#x}: its status is {found:#x}")
        await self.io.until(
            lambda: not self.io.inb(KEYBOARD) & INPUT_FULL, KEYBOARD_TIMEOUT, "keyboard controller: its input stays full (status, bit 1)"
        )
        self.io.outb(KEYBOARD, PULSE_RESET)
        await self._stop("reset by the keyboard controller")

    async def _stop(self, what: str) -> None:
        await self.io.until(lambda: self.io.stopped, TIMEOUT, f"{what}: the machine has not stopped")
