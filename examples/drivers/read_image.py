"""Read a file out of the image of a disk, by all that is in between: a driver, the device manager, a grant, a file system.

    python examples/drivers/read_image.py IMAGE [PATH] [--partition NUMBER] [--qemu]

The image is in an ATA disk of a machine: of the port bus, or with --qemu of QEMU. PATH is a directory, which is listed, or a file, which
goes to standard output. The image has a FAT or an ISO 9660 file system, or partitions with such; nothing is written to it.
"""

import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path

from beamlike import run
from drivers import DeviceError, IoSpace, PortBus, Qemu
from drivers.models.ata import AtaModel
from drivers.servers.finding import find_ata, find_devices
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import open_device
from drivers.services.blocks import Blocks
from drivers.services.filesystem import FileSystem
from drivers.services.image import open_image

DISK = "ata0.0"
PART = 1 << 20  # bytes of a file that are read at a time


async def show(io: IoSpace, options: Namespace) -> None:
    """Print what is there."""
    manager = await DeviceManager.start_link(await find_devices(io, (find_ata,)))
    async with await open_device(manager, DISK) as disk:
        fs = await open_image(await Blocks.of(disk), options.partition)
        entry = await fs.stat(options.path)
        if entry.is_directory:
            await list_directory(fs, options.path)
        else:
            for offset in range(0, entry.size, PART):
                sys.stdout.buffer.write(await fs.read(options.path, offset, PART))
            sys.stdout.buffer.flush()


async def list_directory(fs: FileSystem, path: str) -> None:
    """A line for each entry. Control characters of a name, which the terminal would obey, are question marks, as `ls` has them."""
    for name in await fs.listdir(path):
        entry = await fs.stat(f"{path}/{name}")
        when = f"{entry.modified:%Y-%m-%d %H:%M}" if entry.modified else "-"
        shown = "".join(each if each.isprintable() else "?" for each in name)
        print(f"{'' if entry.is_directory else entry.size:>12} {when:16} {shown}{'/' * entry.is_directory}")


async def main(options: Namespace) -> str | None:
    """What went wrong, if anything."""
    try:
        if options.qemu:
            drive = f"file={str(options.image).replace(',', ',,')},if=none,id=disk,format=raw,snapshot=on"
            with closing(await Qemu.start("-drive", drive, "-device", "ide-hd,drive=disk,bus=ide.0")) as machine:
                await show(machine, options)
        else:
            bus = PortBus()
            AtaModel(bus, options.image, read_only=True)
            await show(bus, options)
    except (DeviceError, OSError, ValueError) as error:
        return f"{options.image}: {error}"
    return None


def arguments() -> Namespace:
    parser = ArgumentParser(description="Lists a directory, or prints a file, of the image of a disk.")
    parser.add_argument("image", type=Path, help="with a FAT or an ISO 9660 file system, or with partitions")
    parser.add_argument("path", nargs="?", default="/", help="of a directory or file in it; the root unless given")
    parser.add_argument(
        "--partition", type=int, metavar="NUMBER", help="of this one; else all of the disk, or the first one that can be read"
    )
    parser.add_argument("--qemu", action="store_true", help="read it by QEMU's disk, and not by the port bus's")
    return parser.parse_args()


def problem_of(image: Path) -> str | None:
    """Why it cannot be one of a disk."""
    if not image.exists():
        return f"{image}: there is no such file"
    return None if image.is_file() and image.stat().st_size >= 512 else f"{image}: expected a file of 512 bytes or more"


if __name__ == "__main__":
    options = arguments()
    sys.exit(problem_of(options.image) or run(main, options))
