"""The assembled code. A test assembles it again, and compares."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def mbr() -> bytes:
    """The first sector."""
    return (FOLDER / "mbr.bin").read_bytes()


@cache
def stage2() -> bytes:
    """Stage 2, with room for its checksum at `layout.STAGE2_CRC`."""
    return (FOLDER / "stage2.bin").read_bytes()
