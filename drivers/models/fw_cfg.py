"""The files of a firmware configuration device on the port bus."""

from __future__ import annotations

import os

from drivers._portbus import ffi, lib
from drivers.portbus import PortBus


class FwCfgModel:
    """The device; `add` gives it files."""

    def __init__(self, bus: PortBus) -> None:
        self._device = bus.plug("fw_cfg")

    def add(self, name: str, data: bytes) -> None:
        """Raises: ValueError: there is such a file already, its name has more than 55 bytes, or there are 128 files."""
        refused = lib.bl_fw_cfg_add(self._device, name.encode(), ffi.from_buffer(data), len(data))
        if refused:
            raise ValueError(f"no file {name!r} of {len(data)} bytes: {os.strerror(-refused)}")
