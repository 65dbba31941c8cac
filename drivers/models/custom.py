"""Devices of the port bus in Python: for a driver of your own, before there is a model in C, or instead of one."""

from __future__ import annotations

from itertools import count
from typing import Any, Final
from weakref import WeakValueDictionary

from drivers._portbus import ffi, lib
from drivers.interrupts import check_line
from drivers.portbus import PortBus

MOST_SECONDS: Final = 1e9  # later than that is never

_numbers = count(1)
_models: Final[WeakValueDictionary[int, CustomModel]] = WeakValueDictionary()


class CustomModel:
    """Subclass it, and override `read` and `write`; `run`, if it does something by itself.

    Args:
        ports: a range. Nobody else has any of them.

    Raises: ValueError: they are no ports, or another device on the bus has some.
    """

    def __init__(self, bus: PortBus, ports: range) -> None:
        self.bus = bus
        self.ports = ports
        number = next(_numbers)
        _models[number] = self
        if not ports or ports.step != 1:
            raise ValueError(f"{ports!r} are no ports of a device: expected a range of at least one, without a step")
        self._device: Any = bus.plug("custom", number, ports[0], ports[-1])
        bus.models[number] = self  # it is there as long as the bus

    def read(self, port: int, width: int) -> int:
        """What a read of so many bytes gives; too many bits are cut off."""
        return (1 << 8 * width) - 1

    def write(self, port: int, width: int, value: int) -> None:
        """Somebody writes."""

    def run(self) -> None:
        """The time of `after` has come."""

    def after(self, seconds: float | None) -> None:
        """Call `run` once, when the bus's clock is so much further; None: do not."""
        lib.bl_custom_after(self._device, -1 if seconds is None or seconds > MOST_SECONDS else round(seconds * 1e9))

    def set_line(self, line: int, high: bool) -> None:
        """Hold an interrupt line up, or let it go. Raises: ValueError: there is no such line."""
        check_line(line)
        lib.bl_custom_line(self._device, line, high)


# An exception in a model is printed by cffi, and the access gives 0.


@ffi.def_extern()  # type: ignore[untyped-decorator]
def bl_custom_in(handle: int, port: int, width: int) -> int:
    model = _models.get(handle)
    return 0xFFFFFFFF if model is None else model.read(port, width) & 0xFFFFFFFF


@ffi.def_extern()  # type: ignore[untyped-decorator]
def bl_custom_out(handle: int, port: int, width: int, value: int) -> None:
    model = _models.get(handle)
    if model is not None:
        model.write(port, width, value)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def bl_custom_run(handle: int) -> None:
    model = _models.get(handle)
    if model is not None:
        model.run()
