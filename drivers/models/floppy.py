"""The floppy controller of the port bus, and what the host does with its drives. It needs the DMA controllers."""

from __future__ import annotations

import os

from drivers._portbus import lib
from drivers.portbus import PortBus


class FloppyModel:
    """A controller with 0 to 4 drives for 1.44 MB disks.

    Args:
        medium: a path, or a file descriptor, of the disk in the first drive.
    """

    def __init__(
        self, bus: PortBus, medium: int | str | os.PathLike[str] | None = None, *, drives: int = 1, is_protected: bool = False
    ) -> None:
        self._device = bus.plug("floppy", drives)
        self._bus = bus  # the device is its
        if medium is not None:
            self.insert(medium, is_protected=is_protected)

    def insert(self, medium: int | str | os.PathLike[str], *, drive: int = 0, is_protected: bool = False) -> None:
        """Put a disk into a drive; one that is there comes out. ValueError: no such drive, or no file; OSError: it cannot be opened."""
        descriptor = medium if isinstance(medium, int) else os.open(medium, os.O_RDONLY if is_protected else os.O_RDWR)
        try:
            if descriptor < 0 or lib.bl_floppy_insert(self._device, drive, descriptor, is_protected):
                raise ValueError(f"{medium!r} cannot be put into drive {drive}: no such drive, or no file")
        finally:
            if not isinstance(medium, int):
                os.close(descriptor)

    def eject(self, drive: int = 0) -> None:
        """Take the disk out. ValueError: no such drive."""
        if lib.bl_floppy_insert(self._device, drive, -1, False):
            raise ValueError(f"there is no drive {drive}")

    def is_turning(self, drive: int = 0) -> bool:
        """Is the motor on?"""
        return bool(lib.bl_floppy_motor(self._device, drive))
