"""Boot images: built, and read back with everything checked."""

from __future__ import annotations

import random

import pytest
from attempts import NONSENSE, crafted

from boot.errors import ChunkTableError, ImageError, ImageTruncatedError, ManifestError, MbrError, PayloadCorruptError, Stage2Error
from boot.guest.layout import COPY_LBA, MANIFEST_LBA, PAYLOAD_LBA, PAYLOAD_MOST, SECTOR, STAGE2_LBA, TABLE_LBA
from boot.image import CHUNK, SMALLEST, build_image, read_image

PAYLOAD = random.Random(7).randbytes(3 * CHUNK + 100)


def flipped(lba: int, at: int = 5, bit: int = 1) -> bytes:
    image = bytearray(build_image(PAYLOAD))
    image[lba * SECTOR + at] ^= bit
    return bytes(image)


@pytest.mark.parametrize("size", [1, SECTOR, CHUNK - 1, CHUNK, CHUNK + 1, SMALLEST, SMALLEST + 1])
def test_what_is_built_is_read_back(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    image = build_image(payload)
    read = read_image(image)
    assert read.payload == payload
    assert (read.manifest.load_address, read.has_bad_manifest) == (0x200000, False)
    assert len(image) == read.manifest.image_sectors * SECTOR >= SMALLEST


def test_the_same_payload_gives_the_same_bytes() -> None:
    assert build_image(PAYLOAD) == build_image(PAYLOAD)


@pytest.mark.parametrize("size", [0, PAYLOAD_MOST + 1])
def test_a_payload_of_no_bytes_or_too_many_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"the payload has {size} bytes, expected 1 to {PAYLOAD_MOST}"):
        build_image(bytes(size))


@pytest.mark.parametrize(
    ("lba", "at", "error", "message"),
    [
        (0, 0, MbrError, "byte 0 of the first sector is 0xeb, expected 0xea"),
        (0, 511, MbrError, "byte 511 of the first sector is 0xab, expected 0xaa"),
        (STAGE2_LBA + 3, 9, Stage2Error, "byte 1545 of stage 2 is"),
        (STAGE2_LBA + 14, 511, Stage2Error, "byte 7679 of stage 2 is"),
        (TABLE_LBA, 15, ChunkTableError, "the chunk table has the checksum"),
        (PAYLOAD_LBA, 0, PayloadCorruptError, "chunk 0 gives the checksum"),
        (PAYLOAD_LBA + 3 * 64, 99, PayloadCorruptError, "chunk 3 gives the checksum"),
    ],
)
def test_a_flipped_bit_is_found_and_told_where(lba: int, at: int, error: type[ImageError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        read_image(flipped(lba, at))
    assert raised.value.lba == lba


def test_a_bad_manifest_is_cured_by_its_copy() -> None:
    read = read_image(flipped(MANIFEST_LBA))
    assert (read.payload, read.has_bad_manifest) == (PAYLOAD, True)
    assert read_image(flipped(COPY_LBA)).has_bad_manifest is False


def test_a_manifest_that_is_bad_twice_is_told_with_both() -> None:
    image = bytearray(flipped(MANIFEST_LBA))
    image[COPY_LBA * SECTOR] ^= 1
    with pytest.raises(ManifestError, match=r"at LBA 16 has the checksum .* and the manifest at LBA 63 has"):
        read_image(bytes(image))


@pytest.mark.parametrize(("fields", "message"), NONSENSE)
def test_a_manifest_that_makes_no_sense_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ManifestError, match=f"the manifest at LBA 16 {message}; and the manifest at LBA 63 {message}"):
        read_image(crafted(**fields))


def test_a_load_address_where_the_code_is_is_refused() -> None:
    with pytest.raises(ValueError, match="the load address is 0x8000, expected 0x200000 or above"):
        build_image(PAYLOAD, load_address=0x8000)


@pytest.mark.parametrize("size", [0, SECTOR, 20 * SECTOR, SMALLEST - SECTOR])
def test_an_image_that_ends_too_early_is_told(size: int) -> None:
    error = {0: MbrError, SECTOR: Stage2Error}.get(size, ImageTruncatedError)
    with pytest.raises(error, match="expected"):
        read_image(build_image(PAYLOAD)[:size])
