"""Fingers on the keys and a hand at the mouse, of whichever machine it is."""

from __future__ import annotations

from typing import Any

from drivers.devices.mouse import Buttons
from drivers.devices.scancodes import Key
from drivers.models.i8042 import I8042Model

BUTTONS = {Buttons.LEFT: "left", Buttons.RIGHT: "right", Buttons.MIDDLE: "middle", Buttons.SIDE: "side", Buttons.EXTRA: "extra"}


class Hands:
    """On a machine of `play` with `I8042Model`, or QEMU's."""

    def __init__(self, io: Any) -> None:
        self.io = io
        self.model: I8042Model | None = io.models[I8042Model] if io.name == "portbus" else None
        self._buttons = Buttons(0)

    def press(self, *keys: Key) -> None:
        for key in keys:
            self._key(key, True)

    def release(self, *keys: Key) -> None:
        for key in keys:
            self._key(key, False)

    def strike(self, *keys: Key) -> None:
        """Press them in this order, and release them in the other one."""
        self.press(*keys)
        self.release(*reversed(keys))

    def _key(self, key: Key, is_pressed: bool) -> None:
        if self.model is not None:
            (self.model.press if is_pressed else self.model.release)(key)
            return
        number = 0xC6 if key is Key.PAUSE else key.set_1 & 0x7F | (0x80 if key.set_1 > 0xFF else 0)  # as QEMU counts keys
        self._qmp([("key", {"down": is_pressed, "key": {"type": "number", "data": number}})])

    def move(self, dx: int = 0, dy: int = 0, wheel: int = 0, buttons: Buttons = Buttons(0)) -> None:  # noqa: B008 - a value
        if self.model is not None:
            self.model.move(dx, dy, wheel, buttons)
            return
        events: list[tuple[str, dict[str, object]]] = [("rel", {"axis": "x", "value": dx}), ("rel", {"axis": "y", "value": -dy})]
        for button in Buttons:
            if (button & buttons) != (button & self._buttons):
                events.append(("btn", {"button": BUTTONS[button], "down": bool(button & buttons)}))
        for _ in range(abs(wheel)):
            name = "wheel-down" if wheel > 0 else "wheel-up"
            events += [("btn", {"button": name, "down": True}), ("btn", {"button": name, "down": False})]
        self._buttons = buttons
        self._qmp(events)

    def _qmp(self, events: list[tuple[str, dict[str, object]]]) -> None:
        self.io.qmp("input-send-event", events=[{"type": kind, "data": data} for kind, data in events])
