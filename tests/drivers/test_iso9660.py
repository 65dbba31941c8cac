"""ISO 9660 file systems, as genisoimage makes them, from a disk in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import (
    BIG,
    TREE,
    Images,
    MemoryDisk,
    damaged,
    damages,
    everything,
    finish,
    iso_image,
    needs_iso,
    spots_of,
    try_everything,
)

from drivers.errors import FileSystemError
from drivers.services import iso9660
from drivers.services.iso9660 import Iso9660

pytestmark = needs_iso

LONG = "n" * 200  # and so the Rock Ridge entries go on elsewhere
KINDS = {"Rock Ridge": ["-R"], "Joliet": ["-J", "-joliet-long"], "Rock Ridge and Joliet": ["-R", "-J"], "plain": ["-iso-level", "1"]}
FEW = {"FIRST.A": b"1", "FIRST.B": b"22", "A longer name.text": b"22", "sub/deeper/leaf": b"333", "1/2/3/4/5/6/7/8/deep": b"4444"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("iso")
    made = Images()
    for name, options in KINDS.items():
        files = {**TREE, "big.bin": BIG}
        if name.startswith("Rock"):
            files[LONG] = b"goes on"
        made[name] = files, iso_image(folder / f"{name}.iso", files, *options).read_bytes()
    made["few"] = iso_image(folder / "few.iso", {**FEW, LONG: b"5"}, "-R", "-J", "-joliet-long").read_bytes()
    return made


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def few(images: Images) -> bytearray:
    return bytearray(images["few"])


def mounted(data: bytes | bytearray, sector_size: int = 512) -> Iso9660:
    return finish(Iso9660.mount(MemoryDisk(data, sector_size)))


def record_of(data: bytearray, name: bytes) -> int:
    """Where the one of a name is, in the tree of the primary descriptor."""
    return data.index(bytes([len(name)]) + name) - 32


@pytest.mark.parametrize("sector_size", [512, 2048])
def test_all_files_are_what_was_written_whatever_sectors_the_disk_has(images: Images, kind: str, sector_size: int) -> None:
    files, image = images[kind]
    fs = mounted(image, sector_size)
    assert fs.label == "BEAMLIKE"
    assert fs.names == kind.removesuffix(" and Joliet")
    found = finish(everything(fs))
    if fs.names == "plain":  # and so in other names
        assert sorted(found.values()) == sorted(files.values())
        assert found["HELLO.TXT"] == files["HELLO.TXT"]
        assert found["SUB/DEEPER/DEEPEST/LEAF.BIN"] == files["sub/deeper/deepest/leaf.bin"]
        assert "NOTHING" in found
    else:
        assert found == files


def test_reads_from_any_offset(images: Images, kind: str) -> None:
    fs = mounted(images[kind][1])
    name = "BIG.BIN" if kind == "plain" else "big.bin"
    for offset in (0, 1, 2047, 2048, 50000, 50001, 1 << 40):
        for size in (0, 1, 2049, 1 << 40, None):
            assert finish(fs.read(name, offset, size)) == BIG[offset : None if size is None else offset + size]


def test_capitals_count_only_in_rock_ridge_names(images: Images, kind: str) -> None:
    fs = mounted(images[kind][1])
    for path in ("hello.txt", "SUB/EXACTLY"):
        if fs.names == "Rock Ridge":
            with pytest.raises(FileNotFoundError):
                finish(fs.stat(path))
        else:
            assert not finish(fs.stat(path)).is_directory


def test_names_that_differ_in_capitals_only_are_those_of_two_files(tmp_path: Path) -> None:
    files = {"README": b"1", "readme": b"22", "Straße": b"333", "Strasse": b"4444"}
    fs = mounted(iso_image(tmp_path / "image.iso", files, "-J").read_bytes())
    assert fs.names == "Joliet"
    assert finish(everything(fs)) == files
    assert finish(fs.read("ReadMe")) in (b"1", b"22")
    assert finish(fs.read("STRAßE")) == b"333"


def test_what_is_known_of_files_and_directories(images: Images) -> None:
    fs = mounted(images["Joliet"][1])
    entry = finish(fs.stat("big.bin"))
    assert (entry.name, entry.is_directory, entry.size) == ("big.bin", False, 50001)
    assert entry.modified == datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    entry = finish(fs.stat("sub"))
    assert (entry.name, entry.is_directory, entry.size) == ("sub", True, 0)
    with pytest.raises(NotADirectoryError):
        finish(fs.stat("big.bin/x"))
    with pytest.raises(NotADirectoryError):
        finish(fs.listdir("big.bin"))
    with pytest.raises(IsADirectoryError):
        finish(fs.read("sub"))
    with pytest.raises(FileNotFoundError):
        finish(fs.read("sub/none"))


def test_time_zones_and_dates_that_there_are_not(few: bytearray) -> None:
    at = record_of(few, b"FIRST.A;1") + 18
    few[at : at + 7] = bytes([99, 12, 31, 23, 59, 58, 256 - 20])
    assert finish(mounted(few).stat("FIRST.A")).modified == datetime(1999, 12, 31, 23, 59, 58, tzinfo=timezone(timedelta(hours=-5)))
    for wrong in (bytes([99, 13, 31, 23, 59, 58, 0]), bytes([99, 12, 31, 23, 59, 58, 127]), bytes(7)):
        few[at : at + 7] = wrong
        assert finish(mounted(few).stat("FIRST.A")).modified is None


def test_a_directory_that_rock_ridge_has_moved_is_where_it_was(few: bytearray) -> None:
    fs = mounted(few)
    assert finish(fs.read("1/2/3/4/5/6/7/8/deep")) == b"4444"
    assert finish(fs.stat("1/2/3/4/5/6/7/8")).is_directory
    assert finish(fs.listdir("rr_moved")) == []
    at = few.index(b"CL\x0c\x01")
    for block in (0, 20, 1 << 31):
        few[at + 4 : at + 8] = block.to_bytes(4, "little")
        with pytest.raises(FileSystemError):
            finish(mounted(few).stat("1/2/3/4/5/6/7/8"))


def test_a_file_of_several_extents(few: bytearray) -> None:
    first, second = record_of(few, b"FIRST.A;1"), record_of(few, b"FIRST.B;1")
    assert second == first + few[first]
    few[first + 25] |= 0x80
    few[second + 33 : second + 42] = b"FIRST.A;1"
    name = few.index(b"FIRST.B", second + 42)
    few[name : name + 7] = b"FIRST.A"
    fs = mounted(few)
    assert finish(fs.stat("FIRST.A")).size == 3
    assert finish(fs.read("FIRST.A")) == b"122"
    assert finish(fs.read("FIRST.A", 1)) == b"22"
    assert finish(fs.read("FIRST.A", 0, 2)) == b"12"


def test_files_and_directories_that_are_not_on_the_disk(few: bytearray) -> None:
    at = record_of(few, b"FIRST.A;1")
    few[at + 2 : at + 6] = (len(few) // 2048).to_bytes(4, "little")
    with pytest.raises(FileSystemError, match=rf"bytes {len(few)} to {len(few)} are needed, and the disk has {len(few)}"):
        finish(mounted(few).read("FIRST.A"))
    at = record_of(few, b"SUB")
    for size in (0, 1 << 20, (16 << 20) + 1, 0xFFFFFFFF):
        few[at + 10 : at + 14] = size.to_bytes(4, "little")
        with pytest.raises(FileSystemError, match=r"are needed|has 1 extents"):
            finish(mounted(few).listdir("sub"))
    assert finish(mounted(few).read("1/2/3/4/5/6/7/8/deep")) == b"4444"


def test_an_image_that_is_cut_off_has_what_is_left_of_it(images: Images) -> None:
    _, image = images["plain"]
    fs = mounted(image)
    at, _ = finish(fs.stat("BIG.BIN")).start[0]
    fs = mounted(image[: at + 2048])
    assert finish(fs.read("BIG.BIN", 0, 2048)) == BIG[:2048]
    with pytest.raises(FileSystemError, match="are needed"):
        finish(fs.read("BIG.BIN", 0, 2049))
    for length in (0, 512, 16 * 2048, 17 * 2048):
        with pytest.raises(FileSystemError):
            mounted(image[:length])


def test_a_directory_that_is_in_itself(few: bytearray) -> None:
    sub, deeper = record_of(few, b"SUB"), record_of(few, b"DEEPER")
    few[deeper + 2 : deeper + 6] = few[sub + 2 : sub + 6]
    few[deeper + 10 : deeper + 14] = few[sub + 10 : sub + 14]
    fs = mounted(few)
    assert finish(fs.listdir("sub")) == ["deeper"]
    with pytest.raises(FileSystemError, match="deeper is a directory that it is in"):
        finish(fs.listdir("sub/deeper"))


def test_records_that_cannot_be_true(few: bytearray) -> None:
    at = record_of(few, b"FIRST.A;1")
    for place, value, what in (
        (0, 33, "no record"),
        (0, 255, "no record"),
        (32, 200, "no record"),
    ):
        before, few[at + place] = few[at + place], value
        if value != 255:
            with pytest.raises(FileSystemError, match=what):
                finish(mounted(few).listdir())
        few[at + place] = before
    assert "FIRST.A" in finish(mounted(few).listdir())


@pytest.mark.parametrize("place", [26, 27])
def test_an_interleaved_file_is_the_only_one_that_cannot_be_read(few: bytearray, place: int) -> None:
    few[record_of(few, b"FIRST.A;1") + place] = 1
    fs = mounted(few)
    with pytest.raises(FileSystemError, match=r"FIRST\.A is interleaved"):
        finish(fs.read("FIRST.A"))
    assert finish(fs.read("FIRST.B")) == b"22"
    few[record_of(few, b"SUB") + place] = 1
    fs = mounted(few)
    with pytest.raises(FileSystemError, match="directory 'sub' has 1 extents, the first one of 2048 bytes at -1"):
        finish(fs.listdir("sub"))
    assert finish(fs.read("FIRST.B")) == b"22"


def test_system_use_areas_that_go_on_and_on(few: bytearray, monkeypatch: pytest.MonkeyPatch) -> None:
    at = few.index(b"CE\x1c\x01", record_of(few, b"FIRST.A;1"))
    block, offset = int.from_bytes(few[at + 4 : at + 8], "little"), int.from_bytes(few[at + 12 : at + 16], "little")
    goes_on = block * 2048 + offset
    original = few[goes_on : goes_on + 28]
    few[goes_on : goes_on + 28] = few[at : at + 28]
    few[at + 20] = few[goes_on + 20] = 28
    with pytest.raises(FileSystemError, match="goes on in more than 16 places"):
        finish(mounted(few).listdir())
    few[goes_on : goes_on + 28] = original
    for place, value, what in ((12, 0xFFFF, "into a sector"), (20, 0xFFFFFF, "into a sector"), (4, 0xFFFFFFFF, "are needed")):
        data = few.copy()
        data[at + place : at + place + 4] = value.to_bytes(4, "little")
        with pytest.raises(FileSystemError, match=what):
            finish(mounted(data).listdir())


def test_a_directory_larger_than_a_bound(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = mounted(images["Joliet"][1])
    monkeypatch.setattr(iso9660, "MOST_DIRECTORY", 2048)
    with pytest.raises(FileSystemError, match="directory 'many' has 1 extents"):
        finish(fs.listdir("many"))


@pytest.mark.parametrize(("at", "value"), [
    (1, b"X"), (128, b"\0\0"), (128, b"\0\x10"), (156, b"\0"), (156 + 25, b"\0"), (156 + 10, b"\0\0\0\0"), (0, b"\2"), (0, b"\xff"),
])  # fmt: skip
def test_descriptors_that_cannot_be_true(few: bytearray, at: int, value: bytes) -> None:
    few[16 * 2048 + at : 16 * 2048 + at + len(value)] = value
    with pytest.raises(FileSystemError, match="ISO 9660: "):
        finish(mounted(few).listdir())


def test_descriptors_without_end(few: bytearray) -> None:
    for number in range(17, 80):
        few[number * 2048 : number * 2048 + 6] = b"\0CD001"
    with pytest.raises(FileSystemError, match="more than 64 volume descriptors"):
        mounted(few)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_of_any_kind_is_told_as_such(data: st.DataObject, images: Images) -> None:
    if "to be damaged" not in images:
        image = bytearray(images["few"])
        images["to be damaged"] = image, spots_of(image)
        assert finish(try_everything(Iso9660.mount(MemoryDisk(image)))) == 18
    image, spots = images["to be damaged"]
    with damaged(image, data.draw(damages(spots))):
        disk = MemoryDisk(image)
        finish(try_everything(Iso9660.mount(disk)))
        disk.sectors = data.draw(st.integers(0, disk.sectors))
        finish(try_everything(Iso9660.mount(disk)))
