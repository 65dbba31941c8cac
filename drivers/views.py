"""What each actor may not touch of ports and memory, made of its exclusions once, for C to ask before each access (C3, C9)."""

from __future__ import annotations

import errno
from typing import Final, NoReturn

import caps
from drivers._portbus import ffi, lib

MOST: Final = 256  # views that are kept, of 8 KiB and more each: a system has few different limits


class View:
    """What layers leave. `at` is a `bl_view *`, valid as long as this lives."""

    __slots__ = ("_ranges", "at", "layers")

    def __init__(self, layers: caps.Layers) -> None:
        ports, memory = caps.refused_ranges(layers, "port_io"), caps.refused_ranges(layers, "raw_memory")
        self.layers = layers
        self._ranges = ffi.new("bl_range[]", [(start, end - 1) for start, end in memory])
        self.at = ffi.new("bl_view *", {"count": len(memory), "memory": self._ranges})
        for start, end in ports:
            lib.bl_refuse_ports(self.at, start, end - 1)

    def may_port(self, port: int, width: int) -> int:
        """0, -EACCES or -ERANGE."""
        if not 0 <= port < 1 << 16 or width not in (1, 2, 4):
            return -errno.ERANGE
        return int(lib.bl_may_port(self.at, port, width))

    def may_memory(self, address: int, length: int) -> int:
        """0, -EACCES or -ERANGE."""
        if not 0 <= address < 1 << 64 or not 0 <= length < 1 << 64:
            return -errno.ERANGE
        return int(lib.bl_may_memory(self.at, address, length))


_made: dict[caps.Layers, View] = {}


def view_of(layers: caps.Layers) -> View:
    """The view of these layers."""
    view = _made.get(layers)
    if view is None:
        if len(_made) >= MOST:
            _made.clear()  # who uses one has it
        view = _made[layers] = View(layers)
    return view


def refuse_port(layers: caps.Layers, error: int, port: int, width: int, value: int | None = None) -> NoReturn:
    """Raise what -EACCES, -ERANGE or -EINVAL of an access to a port stands for.

    Raises: CapabilityError, naming the exclusion; ValueError.
    """
    if error == -errno.EACCES:
        caps.require(layers, "port_io", port, width)
    if error == -errno.EINVAL:
        raise ValueError(f"{value!r} does not fit {width * 8} bits: expected 0 to {(1 << width * 8) - 1:#x}")
    raise ValueError(f"port {port:#x} with {width} bytes is not in the I/O space: expected 0 <= port, port + width <= 0x10000")


def refuse_memory(layers: caps.Layers, error: int, address: int, length: int, value: int | None = None) -> NoReturn:
    """The same of memory."""
    if error == -errno.EACCES:
        caps.require(layers, "raw_memory", address, length)
    if error == -errno.EINVAL:
        raise ValueError(f"{value!r} does not fit {length * 8} bits: expected 0 to {(1 << length * 8) - 1:#x}")
    raise ValueError(f"{length} bytes at {address:#x} are no access: expected an aligned address of less than 2^64, and at least one byte")
