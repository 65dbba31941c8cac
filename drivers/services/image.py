"""Whichever file system there is."""

from __future__ import annotations

from drivers.errors import FileSystemError
from drivers.services.blocks import Blocks, Source
from drivers.services.fat import Fat
from drivers.services.filesystem import FileSystem
from drivers.services.iso9660 import Iso9660
from drivers.services.partitions import list_partitions


async def open_image(source: Source, partition: int | None = None) -> FileSystem:
    """The file system of a disk, or of a partition.

    Args:
        partition: its number; unless given, the file system is that of all of the disk, or of the first partition that has one.

    Raises: FileSystemError: there is none that can be read; the message says why not. DeviceError.
    """
    blocks = source if isinstance(source, Blocks) else Blocks(source)
    reasons = []
    try:
        if partition is None:
            return await _mount(blocks)
    except FileSystemError as error:
        reasons.append(str(error))
    try:
        parts = [each for each in await list_partitions(blocks) if partition in (None, each.number)]
    except FileSystemError as error:
        raise FileSystemError("; ".join([*reasons, str(error)])) from error
    for each in parts:
        try:
            return await _mount(blocks.part(*each.blocks))
        except FileSystemError as error:
            reasons.append(f"partition {each.number}: {error}")
    raise FileSystemError("; ".join(reasons) or f"there is no partition {partition}")


async def _mount(blocks: Blocks) -> FileSystem:
    try:
        return await Iso9660.mount(blocks)
    except FileSystemError as no_iso:
        try:
            return await Fat.mount(blocks)
        except FileSystemError as no_fat:
            raise FileSystemError(f"{no_iso}; {no_fat}") from None
