"""An ATA disk of the port bus, from the host's side."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from drivers._portbus import lib
from drivers.portbus import PortBus


class AtaModel:
    """A disk whose sectors are those of a file; it is as large as that is when it is plugged in.

    Args:
        medium: a path, or a file descriptor, which is duplicated.
        channel: 0 or 1.
        unit: 0 (master) or 1 (slave).
        read_only: a disk with a write protect, which it tells of (GET MEDIA STATUS).
        is_packet: no disk but a CD-ROM drive, of which there is nothing but how it is told apart.
        delay: seconds that each command takes.
        bad: sectors that cannot be read until they are written.

    Raises: ValueError: there is such a unit, or the medium is no file of a sector or more; OSError: it cannot be opened.
    """

    def __init__(
        self,
        bus: PortBus,
        medium: int | str | os.PathLike[str],
        *,
        channel: int = 0,
        unit: int = 0,
        read_only: bool = False,
        is_packet: bool = False,
        has_lba48: bool = True,
        has_multiple: bool = True,
        delay: float = 0,
        bad: Iterable[int] = (),
    ) -> None:
        flags = (
            lib.BL_ATA_READ_ONLY * read_only
            | lib.BL_ATA_PACKET * is_packet
            | lib.BL_ATA_NO_LBA48 * (not has_lba48)
            | lib.BL_ATA_NO_MULTIPLE * (not has_multiple)
        )
        descriptor = medium if isinstance(medium, int) else os.open(medium, os.O_RDONLY if read_only else os.O_RDWR)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_size < 512 and not is_packet):
                raise ValueError(f"{medium!r} is no medium of a disk: expected a file of one sector or more")
            self._device = bus.plug("ata", channel, unit, descriptor, flags, round(delay * 1e9))
        finally:
            if not isinstance(medium, int):
                os.close(descriptor)
        self._bus = bus  # the device is its
        self._unit = unit
        self.damage(bad)

    def damage(self, bad: Iterable[int]) -> None:
        """Let these sectors not be readable until they are written. ValueError: there are too many, 64."""
        for lba in bad:
            if lib.bl_ata_bad(self._device, self._unit, lba):
                raise ValueError("a disk with more than 64 bad sectors")

    def stick(self, commands: int = 1) -> None:
        """Let the next commands never end: BSY, until a reset."""
        lib.bl_ata_stick(self._device, self._unit, commands)
