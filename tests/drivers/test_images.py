"""File systems on disks of machines: by the driver, by the device manager, and by the example that does all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from images import MemoryDisk, everything, fat_image, finish, iso_image, needs, needs_fat, needs_iso, tool
from machines import Play, needs_qemu
from test_ata import content, drive, model
from test_disk_servers import DISK, quiet, start
from test_floppy import on_drive
from test_virtio_blk import started

from beamlike import Pid, run
from drivers import DeviceError, IoSpace, PortBus
from drivers.devices.ata import AtaChannel, AtaDisk
from drivers.devices.floppy import Floppy
from drivers.errors import FileSystemError
from drivers.models.ata import AtaModel
from drivers.servers.grants import GrantRevokedError
from drivers.servers.opening import Handle, open_device, revoke_device
from drivers.services.blocks import Blocks
from drivers.services.fat import Fat
from drivers.services.image import open_image
from drivers.services.iso9660 import Iso9660
from drivers.services.partitions import list_partitions

__all__ = ["quiet"]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "drivers" / "read_image.py"
FILES = {"hello.txt": b"Hello!\n", "A long name.text": b"long", "sub/deeper/leaf": bytes(range(256)) * 5}
BIG = bytes(range(251)) * 80
ALL = {**FILES, "big.bin": BIG}
FIRST = 64  # sector of the partition


@pytest.fixture
def fat(tmp_path: Path) -> Path:
    return fat_image(tmp_path / "fat", 12, 1440 << 10, FILES, BIG)


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    return iso_image(tmp_path / "iso", ALL, "-R", "-J")


@pytest.fixture
def divided(fat: Path, tmp_path: Path) -> Path:
    """With two partitions, of which the second one has a file system."""
    path = tmp_path / "divided"
    path.write_bytes(bytes(2 << 20))
    tool("sfdisk", "--quiet", path, given=f"label: dos\nstart=10, size=20, type=83\nstart={FIRST}, size=2880, type=1\n")
    with path.open("r+b") as file:
        file.seek(FIRST * 512)
        file.write(fat.read_bytes())
    return path


def on_disk(play: Play, image: Path, check: Any) -> None:
    async def with_disk(io: IoSpace) -> None:
        await check(await AtaChannel(io).disk(0))

    play(with_disk, [model(image)], qemu=drive(image))


def with_manager(play: Play, image: Path, check: Any) -> None:
    async def begin(io: IoSpace) -> None:
        await check(await start(io))

    play(begin, [model(image)], qemu=drive(image))


@needs_fat
def test_a_fat_on_an_ata_disk(play: Play, fat: Path) -> None:
    async def check(disk: AtaDisk) -> None:
        fs = await Fat.mount(disk)
        assert len(await fs._pieces(await fs.stat("big.bin"))) > 10
        assert await everything(fs) == ALL

    on_disk(play, fat, check)


@needs_iso
def test_an_iso_9660_on_an_ata_disk(play: Play, iso: Path) -> None:
    async def check(disk: AtaDisk) -> None:
        fs = await Iso9660.mount(disk)
        assert fs.names == "Rock Ridge"
        assert await everything(fs) == ALL

    on_disk(play, iso, check)


@needs_fat
def test_a_fat_on_a_floppy_disk(play: Play, fat: Path) -> None:
    async def check(io: IoSpace, disk: Floppy) -> None:
        fs = await Fat.mount(disk)
        assert await fs.read("sub/deeper/leaf") == FILES["sub/deeper/leaf"]
        assert await fs.read("big.bin", 5000, 3000) == BIG[5000:8000]

    on_drive(play, fat, check)


@needs_iso
def test_an_iso_9660_on_a_virtio_disk(play: Play, iso: Path) -> None:
    async def check(io: IoSpace) -> None:
        assert await everything(await Iso9660.mount(await started(io))) == ALL

    descriptor = os.open(iso, os.O_RDWR)
    try:
        play(check, [("pci",), ("virtio_blk", descriptor, False, b"", 512)], virtio_drive(iso))
    finally:
        os.close(descriptor)


def virtio_drive(path: Path) -> list[str]:
    return ["-drive", f"file={path},if=none,id=d,format=raw", "-device", "virtio-blk-pci,drive=d,disable-modern=on"]


@needs("mkfs.fat", "mcopy", "mdel", "sfdisk")
def test_a_partition_that_one_process_has(play: Play, divided: Path) -> None:
    async def check(manager: Pid) -> None:
        async with await open_device(manager, DISK) as disk:
            parts = await list_partitions(await Blocks.of(disk))
            assert [each.blocks for each in parts] == [(10, 30), (FIRST, FIRST + 2880)]
        for is_remote in (False, True):
            async with await open_device(manager, DISK, blocks=parts[1].blocks) as disk:
                if is_remote:
                    disk._grant = None  # as from another node
                fs = await open_image(await Blocks.of(disk))
                assert fs.blocks.sectors == 2880
                assert await everything(fs) == ALL
        async with await open_device(manager, DISK, blocks=parts[0].blocks) as disk:
            with pytest.raises(
                FileSystemError, match="ISO 9660: bytes 32768 to 34815 are needed, and the disk has 10240; FAT: no boot sector"
            ):
                await open_image(await Blocks.of(disk))

    with_manager(play, divided, check)


async def mount_again_and_again(disk: Handle) -> NoReturn:
    while True:
        assert await (await Fat.mount(await Blocks.of(disk))).read("big.bin") == BIG


@needs_fat
def test_a_grant_that_is_taken_while_a_file_system_is_mounted(play: Play, fat: Path) -> None:
    async def check(manager: Pid) -> None:
        disk = await open_device(manager, DISK)
        fs = await Fat.mount(await Blocks.of(disk))
        assert await fs.read("hello.txt") == FILES["hello.txt"]
        assert await revoke_device(manager, DISK, 0) == 1
        with pytest.raises(GrantRevokedError):
            await mount_again_and_again(disk)

    with_manager(play, fat, check)


@needs_iso
def test_an_image_that_shrinks_while_its_file_system_is_mounted(iso: Path) -> None:
    # On the port bus only: QEMU keeps the size, and gives zeros.
    async def main() -> None:
        bus = PortBus()
        AtaModel(bus, iso)
        manager = await start(bus)
        disk = await open_device(manager, DISK)
        fs = await Iso9660.mount(Blocks(await Blocks.of(disk), cache=4096))
        assert await fs.read("big.bin") == BIG
        at, _ = (await fs.stat("big.bin")).start[0]
        whole = len(content(iso))
        os.truncate(iso, at + 4096)
        for _ in range(3):
            again = await Iso9660.mount(await Blocks.of(disk))
            with pytest.raises(DeviceError, match=r"ATA channel 0x1f0 unit 0: READ"):
                await again.read("big.bin")
            assert await again.read("big.bin", 0, 4096) == BIG[:4096]
            assert await again.stat("sub/deeper/leaf")
        os.truncate(iso, whole)
        assert await again.read("big.bin", 0, 6000) == BIG[:4096] + bytes(1904)

    run(main)


@needs_iso
@needs("mkfs.fat", "mcopy", "mdel", "sfdisk")
def test_the_file_system_that_there_is(fat: Path, iso: Path, divided: Path) -> None:
    for path, name, size in ((fat, "FAT", 1440 << 10), (iso, "ISO 9660", None), (divided, "FAT", 1440 << 10)):
        disk = MemoryDisk(path.read_bytes())
        fs = finish(open_image(disk))
        assert fs.name == name
        assert size is None or fs.blocks.size == size
        assert finish(everything(fs)) == ALL
    assert finish(everything(finish(open_image(disk, 2)))) == ALL
    with pytest.raises(FileSystemError, match="there is no partition 3"):
        finish(open_image(disk, 3))
    with pytest.raises(FileSystemError, match=r"^partition 1: ISO 9660: .*; FAT: no boot sector$"):
        finish(open_image(disk, 1))
    with pytest.raises(FileSystemError, match=r"^no partition table in sector 0$"):
        finish(open_image(MemoryDisk(bytes(1 << 20)), 1))
    with pytest.raises(FileSystemError, match=r"^ISO 9660: .*; FAT: .*; no partition table in sector 0$"):
        finish(open_image(MemoryDisk(bytes(1 << 20))))
    disk.broken = True
    with pytest.raises(DeviceError, match=r"^broken$"):
        finish(open_image(disk))


# --- the example ---


def example(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, EXAMPLE, *map(str, arguments)], env=environment, capture_output=True, timeout=60)


@needs("mkfs.fat", "mcopy", "mdel", "sfdisk")
@pytest.mark.parametrize("options", [[], pytest.param(["--qemu"], marks=needs_qemu)])
def test_the_example_lists_directories_and_prints_files(divided: Path, options: list[str]) -> None:
    before = divided.read_bytes()
    done = example(divided, *options)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert "           7 2001-02-03 04:05 hello.txt" in lines
    assert "             2001-02-03 04:05 sub/" in lines
    assert len(lines) == 4
    done = example(divided, "/Sub/Deeper/LEAF", "--partition", "2", *options)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", FILES["sub/deeper/leaf"])
    assert divided.read_bytes() == before


@needs_fat
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{fat}", "none"], "{fat}: [Errno 2] No such file or directory: 'none'"),
        (["{fat}", "hello.txt/x"], "{fat}: [Errno 20] Not a directory: 'hello.txt/x'"),
        (["{fat}", "--partition", "1"], "{fat}: there is no partition 1"),
        (["{fat}.none"], "{fat}.none: there is no such file"),
        (["{fat}.files"], "{fat}.files: expected a file of 512 bytes or more"),
        (["/dev/null"], "/dev/null: expected a file of 512 bytes or more"),
        (["{fat}", "--partition", "x"], "read_image.py: error: argument --partition: invalid int value: 'x'"),
        ([], "read_image.py: error: the following arguments are required: image"),
    ],
)
def test_the_example_says_what_is_wrong(fat: Path, arguments: list[str], said: str) -> None:
    done = example(*(each.format(fat=fat) for each in arguments))
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert said.format(fat=fat) in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


@needs_iso
def test_the_example_sends_no_control_characters_of_names_to_the_terminal(tmp_path: Path) -> None:
    image = iso_image(tmp_path / "iso", {"a\x1b[2Jb": b"1", "ä": b"2"}, "-R")
    done = example(image)
    assert sorted(line.split()[-1] for line in done.stdout.decode().splitlines()) == ["a?[2Jb", "ä"]


def test_the_example_has_help() -> None:
    done = example("--help")
    assert done.returncode == 0
    assert b"IMAGE" in done.stdout.upper()
    assert b"--partition NUMBER" in done.stdout
