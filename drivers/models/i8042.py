"""The host's side of the keyboard controller's model: fingers on the keys, a hand at the mouse."""

from __future__ import annotations

from drivers._portbus import lib
from drivers.devices.i8042 import Port
from drivers.devices.scancodes import Key
from drivers.portbus import PortBus

ABSENT, PRESENT, FAILING, DEAF = range(4)


class I8042Model:
    """A controller with a keyboard and a mouse.

    Args:
        ports: 1: it has none for a mouse.
    """

    def __init__(self, bus: PortBus, ports: int = 2) -> None:
        self._device = bus.plug("i8042", ports)

    def press(self, key: Key) -> None:
        """Hold a key down: it repeats, until it is released."""
        lib.bl_i8042_key(self._device, key.set_2, 1)

    def release(self, key: Key) -> None:
        """Let a key go."""
        lib.bl_i8042_key(self._device, key.set_2, 0)

    def move(self, dx: int = 0, dy: int = 0, wheel: int = 0, buttons: int = 0) -> None:
        """Move the mouse, dx to the right and dy upwards, turn its wheel towards the user, and hold these buttons.

        Args:
            buttons: 1 left, 2 right, 4 middle, 8 and 16 at the side; added.
        """
        lib.bl_i8042_move(self._device, dx, dy, wheel, buttons)

    def unplug(self, port: Port) -> None:
        """Pull the cable out."""
        lib.bl_i8042_attach(self._device, port, ABSENT)

    def attach(self, port: Port, *, fails: bool = False, is_deaf: bool = False) -> None:
        """Plug the device in again: one that fails its self-test, or one that asks for every byte again."""
        lib.bl_i8042_attach(self._device, port, FAILING if fails else DEAF if is_deaf else PRESENT)

    @property
    def leds(self) -> int:
        """Those that shine: 1 Scroll Lock, 2 Num Lock, 4 Caps Lock; added."""
        return int(lib.bl_i8042_leds(self._device))
