"""FAT file systems, as mkfs.fat and mtools make them, from a disk in memory."""

from __future__ import annotations

from datetime import datetime
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
    fat_image,
    finish,
    needs_fat,
    spots_of,
    tool,
    try_everything,
)

from drivers import DeviceError
from drivers.errors import FileSystemError
from drivers.services import fat, filesystem
from drivers.services.blocks import Blocks
from drivers.services.fat import Fat

pytestmark = needs_fat

KINDS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "12": (12, 1440 << 10, ()),
    "16": (16, 6 << 20, ()),
    "32": (32, 36 << 20, ()),
    "16, sectors of 4096": (16, 24 << 20, ("-S", "4096")),
}
FEW = {"first": b"1", "A longer name.text": b"22", "sub/deeper/leaf": b"333", "sub/other.txt": b"4444"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """By name: the bytes of an image, and of one with few files whose bytes are nearly all about files."""
    folder = tmp_path_factory.mktemp("fat")
    made = Images()
    for name, (bits, size, options) in KINDS.items():
        full = fat_image(folder / f"full{name}", bits, size, TREE, BIG, *options)
        few = fat_image(folder / f"few{name}", bits, size, FEW, bytes(12288), *options)
        made[name] = full.read_bytes(), few.read_bytes()
    return made


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def full(images: Images, kind: str) -> bytes:
    image: bytes = images[kind][0]
    return image


@pytest.fixture
def few(images: Images, kind: str) -> bytearray:
    return bytearray(images[kind][1])


def mounted(data: bytes | bytearray, sector_size: int = 512) -> Fat:
    return finish(Fat.mount(MemoryDisk(data, sector_size)))


def set_next(fs: Fat, data: bytearray, cluster: int, value: int) -> None:
    """In the table that is used."""
    at = fs._table + cluster * fs.bits // 8
    width = fat.BYTES[fs.bits]
    if fs.bits == 12:
        both = int.from_bytes(data[at : at + 2], "little")
        value = value << 4 | both & 0xF if cluster & 1 else value | both & 0xF000
    data[at : at + width] = value.to_bytes(width, "little")


def record_of(data: bytearray, short: bytes) -> int:
    """Where the one of a short name is."""
    at = data.index(short.ljust(11))
    assert at % 32 == 0
    return at


@pytest.mark.parametrize("sector_size", [512, 2048, 4096])
def test_all_files_are_what_was_written_whatever_sectors_the_disk_has(full: bytes, kind: str, sector_size: int) -> None:
    fs = mounted(full, sector_size)
    assert fs.bits == KINDS[kind][0]
    assert fs.label == "BEAMLIKE"
    assert finish(everything(fs)) == {**TREE, "big.bin": BIG}


def test_a_file_in_many_pieces_is_read_from_any_offset(full: bytes) -> None:
    fs = mounted(full)
    entry = finish(fs.stat("big.bin"))
    assert len(finish(fs._pieces(entry))) > 10
    for offset in (0, 1, 511, 512, 4095, 4096, 20000, 50000, 50001, 50002, 1 << 40):
        for size in (0, 1, 511, 512, 513, 30000, 1 << 40, None):
            end = None if size is None else offset + size
            assert finish(fs.read("/big.bin", offset, size)) == BIG[offset:end]


def test_what_is_known_of_files_and_directories(full: bytes) -> None:
    fs = mounted(full)
    entry = finish(fs.stat("/big.bin"))
    assert (entry.name, entry.is_directory, entry.size, entry.modified) == ("big.bin", False, 50001, datetime(2001, 2, 3, 4, 5, 6))
    entry = finish(fs.stat("/sub/deeper"))
    assert (entry.name, entry.is_directory, entry.size) == ("deeper", True, 0)
    for root in ("", "/", "//", "/./"):
        assert finish(fs.stat(root)).is_directory
        assert "sub" in finish(fs.listdir(root))


def test_names_are_found_in_capitals_or_not_and_by_their_short_form(full: bytes) -> None:
    fs = mounted(full)
    long = "a NAME that is long, WITH spaces, Ä and ☃.TEXT"
    for path in ("hello.txt", "HELLO.TXT", "/Hello.Txt", "//hello.txt", "./HELLO.txt"):
        assert finish(fs.read(path)) == b"Hello!\n"
    assert finish(fs.read(long)) == b"long"
    assert [finish(fs.read(f"ANOTHE~{number}.TEX")) for number in (1, 2)] == [b"2", b"1"]
    assert finish(fs.stat("anothe~1.tex")).name == "another name that begins as one after.text"
    assert finish(fs.read("SUB/Deeper/DEEPEST/leaf.BIN")) == TREE["sub/deeper/deepest/leaf.bin"]


def test_a_sharp_s_is_not_two_of_them(tmp_path: Path) -> None:
    files = {"Strasse": b"ss", "Straße": "ß".encode()}
    for order in (sorted(files), sorted(files, reverse=True)):
        path = tmp_path / f"{order[0]}.img"
        path.write_bytes(bytes(1440 << 10))
        tool("mkfs.fat", path)
        for name in order:
            (tmp_path / name).write_bytes(files[name])
            tool("mcopy", "-i", path, tmp_path / name, "::")
        fs = mounted(path.read_bytes())
        assert finish(everything(fs)) == files
        assert [finish(fs.read(name)) for name in ("STRASSE", "STRAßE")] == [b"ss", "ß".encode()]


def test_paths_of_nothing_and_of_the_wrong_kind(full: bytes) -> None:
    fs = mounted(full)
    for path in ("none", "/sub/none", "none/HELLO.TXT", "..", "sub/../HELLO.TXT", "HELLO", "hole000"):
        for call in (fs.read, fs.stat, fs.listdir):
            with pytest.raises(FileNotFoundError, match=f"No such file or directory: '{path}'"):
                finish(call(path))
    for path in ("HELLO.TXT/x", "sub/exactly/x/y"):
        for call in (fs.read, fs.stat, fs.listdir):
            with pytest.raises(NotADirectoryError, match=path):
                finish(call(path))
    with pytest.raises(NotADirectoryError, match=r"HELLO\.TXT"):
        finish(fs.listdir("HELLO.TXT"))
    for path in ("/", "sub", "sub/deeper/"):
        with pytest.raises(IsADirectoryError, match=path):
            finish(fs.read(path))
    for offset, size in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="no negative"):
            finish(fs.read("HELLO.TXT", offset, size))


def test_one_read_gives_no_more_than_a_bound(full: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "MOST", 50000)
    fs = mounted(full)
    with pytest.raises(FileSystemError, match="50001 bytes are more than the 50000 of one read"):
        finish(fs.read("big.bin"))
    assert finish(fs.read("big.bin", 1)) == BIG[1:]


def test_a_disk_that_fails_while_it_is_read_and_works_again(full: bytes) -> None:
    disk = MemoryDisk(full)
    fs = finish(Fat.mount(Blocks(disk, cache=4096)))
    for _ in range(3):
        assert finish(fs.read("big.bin")) == BIG
        disk.broken = True
        for call in (fs.read, fs.listdir):
            with pytest.raises(DeviceError, match="broken"):
                finish(call("/sub" if call == fs.listdir else "/big.bin"))
        disk.broken = False
        assert finish(everything(fs)) == {**TREE, "big.bin": BIG}


@pytest.mark.parametrize(("layout", "at", "value"), [
    ("jump", 0, b"\0"), ("signature", 510, b"\0\0"), ("sector size", 11, b"\1\2"), ("sector size", 11, b"\0\0"), ("cluster", 13, b"\3"),
    ("cluster", 13, b"\0"), ("reserved", 14, b"\0\0"), ("FATs", 16, b"\0"), ("media", 21, b"\1"), ("root", 17, b""),
    ("sectors", 19, b"\1\0"), ("sectors of FAT16 and FAT32", 32, b"\xff\xff\xff\xff"),
    ("sectors of a FAT", 22, b"\1\0"),
])  # fmt: skip
def test_boot_sectors_that_cannot_be_true(few: bytearray, kind: str, layout: str, at: int, value: bytes) -> None:
    if at == 32:
        few[19:21] = b"\0\0"
    if at == 17:  # has FAT32 only in its data
        value = b"\0\2" if KINDS[kind][0] == 32 else b"\0\0"
    few[at : at + len(value)] = value
    with pytest.raises(FileSystemError, match="FAT: "):
        mounted(few)


def test_what_is_no_file_system_at_all_and_what_is_shorter_than_it_says(few: bytearray) -> None:
    for nothing in (b"", bytes(512), bytes(1 << 16), b"\xff" * 4096, b"\xeb" * 510 + b"\x55\xaa"):
        with pytest.raises(FileSystemError):
            mounted(nothing)
    with pytest.raises(FileSystemError, match=rf"says that it has .* sectors .* the disk has {len(few) - 512} bytes"):
        mounted(few[:-512])


def test_chains_that_cannot_be_true(few: bytearray) -> None:
    fs = mounted(few)
    pieces = finish(fs._pieces(finish(fs.stat("big.bin"))))
    clusters = [(at - fs._data) // fs._cluster + 2 for begin, size in pieces for at in range(begin, begin + size, fs._cluster)]
    entry = record_of(few, b"BIG     BIN")
    few[entry + 28 : entry + 32] = (100 * fs._cluster).to_bytes(4, "little")  # longer than any of these chains
    for following, what in (
        (clusters[1], "again and again"),
        (clusters[0], "again and again"),
        (0, "goes to cluster 0,"),
        (1, "goes to cluster 1,"),
        (fs._last + 1, f"goes to cluster {fs._last + 1},"),
        (fs._end - 1, "goes to cluster"),
        (fs._end, f"has {100 * fs._cluster} bytes, and clusters for"),
    ):
        set_next(fs, few, clusters[1], following)
        again = mounted(few)
        with pytest.raises(FileSystemError, match=what):
            finish(again.read("big.bin", 0, 1))
        assert finish(again.read("sub/other.txt")) == b"4444"


def test_a_loop_of_any_length_with_any_beginning_is_found(images: Images) -> None:
    original = images["16"][1]
    fs = mounted(original)
    for before in (0, 1, 2, 7, 64):
        for length in (1, 2, 3, 31, 32, 33, 1000):
            data = bytearray(original)
            for cluster in range(1000, 1000 + before + length):
                set_next(fs, data, cluster, cluster + 1)
            set_next(fs, data, 1000 + before + length - 1, 1000 + before)
            entry = record_of(data, b"BIG     BIN")
            data[entry + 26 : entry + 28] = (1000).to_bytes(2, "little")
            with pytest.raises(FileSystemError, match="again and again"):
                finish(mounted(data).read("big.bin"))


def test_a_file_may_have_more_clusters_than_bytes(few: bytearray) -> None:
    entry = record_of(few, b"BIG     BIN")
    few[entry + 28 : entry + 32] = (7).to_bytes(4, "little")
    assert finish(mounted(few).read("big.bin")) == bytes(7)


def test_a_file_in_more_pieces_than_a_bound(full: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fat, "MOST_PIECES", 5)
    with pytest.raises(FileSystemError, match="or 5 pieces"):
        finish(mounted(full).read("big.bin"))


def test_a_directory_that_is_in_itself(few: bytearray) -> None:
    fs = mounted(few)
    deeper = record_of(few, b"DEEPER")
    sub = finish(fs.stat("sub")).start
    for first, path in ((sub, "sub/deeper"), (finish(fs.stat("sub/deeper")).start, "sub/deeper/leaf")):
        few[deeper + 26 : deeper + 28] = first.to_bytes(2, "little")
        again = mounted(few)
        assert sorted(finish(again.listdir("sub"))) == ["deeper", "other.txt"]
        if first == sub:
            with pytest.raises(FileSystemError, match="deeper is a directory that it is in"):
                finish(again.stat(path))
        else:
            assert finish(again.read(path)) == b"333"


def test_directories_that_cannot_be_true(few: bytearray, monkeypatch: pytest.MonkeyPatch) -> None:
    sub = record_of(few, b"SUB")
    for first in (0, 1, mounted(few)._last + 1, mounted(few)._end & 0xFFFF):
        data = few.copy()
        data[sub + 26 : sub + 28] = (first & 0xFFFF).to_bytes(2, "little")
        data[sub + 20 : sub + 22] = (first >> 16).to_bytes(2, "little")
        with pytest.raises(FileSystemError, match=r"a directory that it is in|goes to cluster"):
            finish(mounted(data).listdir("sub"))


def test_directories_larger_than_a_bound(full: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = mounted(full)
    monkeypatch.setattr(fat, "MOST_DIRECTORY", 4096)
    with pytest.raises(FileSystemError, match="more than 4096 bytes"):
        finish(fs.listdir("many"))


def test_a_long_name_that_is_not_the_short_ones_is_not_used(few: bytearray) -> None:
    short = record_of(few, b"ALONGE~1TEX")
    assert few[short - 32] == 1  # the end of the long name that is before it
    for at, value in ((short - 32 + 13, 0), (short - 32, 2), (short - 64, 2), (short - 64, 0xE5), (short - 32 + 1, 0x2F), (short, 0x42)):
        before, few[at] = few[at], value
        if at == short - 32 + 1:
            few[at + 1] = 0
        names = finish(mounted(few).listdir())
        assert ("BLONGE~1.TEX" if at == short else "ALONGE~1.TEX") in names
        assert not any(name.startswith("A longer") for name in names)
        few[at] = before
    assert "A longer name.text" in finish(mounted(few).listdir())


def test_names_that_no_path_can_have_are_left_out(few: bytearray) -> None:
    at = record_of(few, b"FIRST")
    few[at + 12] = 0
    few[at - 32] = 0xE5  # a long name, if it has one
    for name in (b"A/B        ", b"..         ", b"           "):
        few[at : at + 11] = name
        names = finish(mounted(few).listdir())
        assert sorted(each for each in names if each != "first") == ["A longer name.text", "big.bin", "sub"]


def test_a_label_that_was_deleted_is_none(few: bytearray) -> None:
    at = mounted(few)._root[0] if mounted(few)._root[1] else mounted(few)._data
    assert few[at : at + 12] == b"BEAMLIKE   \x08"
    few[at] = 0xE5
    assert mounted(few).label == ""


def test_the_fat_that_is_active(images: Images) -> None:
    data = bytearray(images["32"][0])
    fs = mounted(data)
    second = fs._table + int.from_bytes(data[36:40], "little") * 512
    data[fs._table : second] = bytes(second - fs._table)
    with pytest.raises(FileSystemError):
        mounted(data)
    data[40] = 0x81
    assert finish(everything(mounted(data))) == {**TREE, "big.bin": BIG}
    data[40] = 0x82
    with pytest.raises(FileSystemError, match="FAT 2 of 2"):
        mounted(data)


def test_dates_that_there_are_not(few: bytearray) -> None:
    at = record_of(few, b"BIG     BIN")
    for date, time in ((0, 0), (0xFFFF, 0), (0x21, 0xFFFF), (0x21, 31)):
        few[at + 22 : at + 26] = time.to_bytes(2, "little") + date.to_bytes(2, "little")
        assert finish(mounted(few).stat("big.bin")).modified is None


def test_clusters_of_many_sectors(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(70 << 20))
    tool("mkfs.fat", "-F", "12", "-s", "128", path)
    source = tmp_path / "data"
    source.write_bytes(BIG * 20)
    tool("mcopy", "-i", path, source, "::")
    assert finish(mounted(path.read_bytes()).read("data")) == BIG * 20


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_of_any_kind_is_told_as_such(data: st.DataObject, images: Images, kind: str) -> None:
    key = f"{kind} to be damaged"
    if key not in images:
        image = bytearray(images[kind][1])
        images[key] = image, spots_of(image)
        assert finish(try_everything(Fat.mount(MemoryDisk(image)))) == 8
    image, spots = images[key]
    with damaged(image, data.draw(damages(spots))):
        disk = MemoryDisk(image)
        finish(try_everything(Fat.mount(disk)))
        disk.sectors = data.draw(st.integers(0, disk.sectors))
        finish(try_everything(Fat.mount(disk)))
