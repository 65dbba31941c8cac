"""Boot images: built of a payload, and read back with everything checked.

An image is what a disk begins with: the MBR, stage 2 with its checksum, the manifest, the chunk table, the manifest's copy, the payload
(`guest/layout.inc`). The table has for each chunk the checksum of the payload up to that chunk's end: so one pass over the payload gives
the checksums of all chunks and of the whole. The same payload gives the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from boot.errors import ChunkTableError, ImageTruncatedError, ManifestError, MbrError, PayloadCorruptError, Stage2Error
from boot.guest import code, layout
from boot.guest.layout import (
    CHUNK_SECTORS,
    COPY_LBA,
    LOWEST,
    MANIFEST,
    MANIFEST_LBA,
    MANIFEST_MAGIC,
    PAYLOAD_LBA,
    PAYLOAD_MOST,
    SECTOR,
    TABLE_LBA,
)

SMALLEST: Final = 1 << 20  # bytes: SeaBIOS 1.16.2 does not boot AHCI and virtio disks of up to 64 KiB
CHUNK: Final = CHUNK_SECTORS * SECTOR
LOAD_ADDRESS: Final = layout.LOWEST


@dataclass(frozen=True)
class Manifest:
    """What the manifest says."""

    payload_lba: int
    payload_bytes: int
    load_address: int
    payload_crc: int
    table_crc: int
    table_lba: int
    chunk_sectors: int
    chunks: int
    image_sectors: int

    def pack(self) -> bytes:
        """As it is in the image."""
        fields = (self.payload_lba, self.payload_bytes, self.load_address, self.payload_crc, self.table_crc, self.table_lba)
        plain = MANIFEST.pack(MANIFEST_MAGIC, layout.M_VERSION_NOW, *fields, self.chunk_sectors, self.chunks, self.image_sectors, 0)[
            : layout.M_OWN_CRC
        ]
        return plain + struct.pack("<I", crc32(plain))


@dataclass(frozen=True)
class Image:
    """An image in which all is good, or was made good: `has_bad_manifest` says that the manifest was, and its copy was taken."""

    manifest: Manifest
    payload: bytes
    has_bad_manifest: bool


def build_image(payload: bytes, load_address: int = LOAD_ADDRESS) -> bytes:
    """An image that brings a payload to an address.

    Raises: ValueError: the payload is empty, or larger than the chunk table has room for (60 MiB); or the address is below 2 MiB.
    """
    if not 0 < len(payload) <= PAYLOAD_MOST:
        raise ValueError(f"the payload has {len(payload)} bytes, expected 1 to {PAYLOAD_MOST}")
    if load_address < LOWEST:
        raise ValueError(f"the load address is {load_address:#x}, expected {LOWEST:#x} or above")
    table = _table(payload)
    sectors = max(PAYLOAD_LBA + -(-len(payload) // SECTOR), SMALLEST // SECTOR)
    manifest = Manifest(
        payload_lba=PAYLOAD_LBA,
        payload_bytes=len(payload),
        load_address=load_address,
        payload_crc=crc32(payload),
        table_crc=crc32(table),
        table_lba=TABLE_LBA,
        chunk_sectors=CHUNK_SECTORS,
        chunks=len(table) // 4,
        image_sectors=sectors,
    ).pack()
    image = bytearray(sectors * SECTOR)
    for lba, part in (
        (0, code.mbr()),
        (layout.STAGE2_LBA, _stage2()),
        (MANIFEST_LBA, manifest),
        (TABLE_LBA, table),
        (COPY_LBA, manifest),
        (PAYLOAD_LBA, payload),
    ):
        image[lba * SECTOR : lba * SECTOR + len(part)] = part
    return bytes(image)


def read_image(image: bytes) -> Image:
    """The payload of an image, all of which is checked.

    Raises: ImageError: of the kind that says what is damaged; what else may be damaged behind it, it does not say.
    """
    check_mbr(image)
    _check_stage2(image)
    try:
        manifest, has_bad_manifest = read_manifest(image, MANIFEST_LBA), False
    except ManifestError as first:
        try:
            manifest, has_bad_manifest = read_manifest(image, COPY_LBA), True
        except ManifestError as second:
            raise ManifestError(f"{first}; and {second}", lba=MANIFEST_LBA) from None
    if len(image) < manifest.image_sectors * SECTOR:
        raise ImageTruncatedError(f"the image has {len(image)} bytes, expected {manifest.image_sectors * SECTOR}", lba=len(image) // SECTOR)
    table = _part(image, manifest.table_lba, manifest.chunks * 4)
    if crc32(table) != manifest.table_crc:
        raise ChunkTableError(
            f"the chunk table has the checksum {crc32(table):08x}, expected {manifest.table_crc:08x}", lba=manifest.table_lba
        )
    payload = _part(image, manifest.payload_lba, manifest.payload_bytes)
    size = manifest.chunk_sectors * SECTOR
    for chunk, (found, expected) in enumerate(zip(_running(payload, size), struct.unpack(f"<{manifest.chunks}I", table), strict=True)):
        if found != expected:
            raise PayloadCorruptError(
                f"chunk {chunk} gives the checksum {found:08x}, expected {expected:08x}",
                lba=manifest.payload_lba + chunk * manifest.chunk_sectors,
            )
    return Image(manifest, payload, has_bad_manifest)


def check_mbr(image: bytes) -> None:
    """Raises: MbrError: the first sector is not as it was built."""
    found, expected = image[:SECTOR].ljust(SECTOR, b"\0"), code.mbr()
    for at in range(SECTOR):
        if found[at] != expected[at]:
            raise MbrError(f"byte {at} of the first sector is {found[at]:#04x}, expected {expected[at]:#04x}", lba=0)


def read_manifest(image: bytes, lba: int) -> Manifest:
    """The manifest in that sector. Raises: ManifestError: there is none, a damaged one, or one that makes no sense."""
    data = _part(image, lba, MANIFEST.size)
    magic, version, *fields, found = MANIFEST.unpack(data)
    expected = crc32(data[: layout.M_OWN_CRC])
    if found != expected:
        raise ManifestError(f"the manifest at LBA {lba} has the checksum {found:08x}, expected {expected:08x}", lba=lba)
    if (magic, version) != (MANIFEST_MAGIC, layout.M_VERSION_NOW):
        raise ManifestError(
            f"the manifest at LBA {lba} is {magic!r} of version {version}, expected {MANIFEST_MAGIC!r} of {layout.M_VERSION_NOW}", lba=lba
        )
    manifest = Manifest(*fields)
    chunks = -(-manifest.payload_bytes // CHUNK)
    for field, makes_sense, wanted in (  # as `primary.inc` does
        ("load_address", manifest.load_address >= LOWEST, f"{LOWEST} or above"),
        ("payload_bytes", 0 < manifest.payload_bytes <= PAYLOAD_MOST, f"1 to {PAYLOAD_MOST}"),
        ("chunk_sectors", manifest.chunk_sectors == CHUNK_SECTORS, str(CHUNK_SECTORS)),
        ("chunks", manifest.chunks == chunks, str(chunks)),
    ):
        if not makes_sense:
            raise ManifestError(f"the manifest at LBA {lba} has {getattr(manifest, field)} as {field}, expected {wanted}", lba=lba)
    return manifest


def _stage2() -> bytes:
    plain = code.stage2()[: layout.STAGE2_CRC]
    return plain + struct.pack("<I", crc32(plain))


def _check_stage2(image: bytes) -> None:
    found, expected = _part(image, layout.STAGE2_LBA, layout.STAGE2_SECTORS * SECTOR), _stage2()
    if found != expected:
        at = next(at for at in range(len(expected)) if found[at] != expected[at])
        raise Stage2Error(f"byte {at} of stage 2 is {found[at]:#04x}, expected {expected[at]:#04x}", lba=layout.STAGE2_LBA + at // SECTOR)


def _part(image: bytes, lba: int, size: int) -> bytes:
    """Its bytes; zeroes where the image ends before."""
    return image[lba * SECTOR : lba * SECTOR + size].ljust(size, b"\0")


def _running(payload: bytes, size: int) -> list[int]:
    """The checksums of the payload up to the end of each chunk."""
    sums, running = [], 0
    for at in range(0, len(payload), size):
        running = crc32(payload[at : at + size], running)
        sums.append(running)
    return sums


def _table(payload: bytes) -> bytes:
    sums = _running(payload, CHUNK)
    return struct.pack(f"<{len(sums)}I", *sums)
