"""What a file is: an image for Linux, for the bare machine, or for WebAssembly. See elf(5); the numbers are from there.

An image that is none is refused before anything is started: the kernel says no more than "exec format error", and a processor nothing.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from beamlike import open_file
from beamlike.seam import check_access
from unikernels.errors import ImageError

Target = Literal["linux", "bare", "wasm"]

HEADER: Final = struct.Struct("<4s5B7xHHIQQQIHHHHHH")
PROGRAM: Final = struct.Struct("<IIQQQQQQ")
SECTIONS_AT, SECTIONS_SIZE_AT = 0x28, 0x3A  # in the header: e_shoff; from e_shentsize to its end
NOTE: Final = struct.Struct("<III")
X86_64: Final = 62
LOAD, DYNAMIC, INTERPRETER, NOTES = 1, 2, 3, 4
PVH_ENTRY: Final = (b"Xen\0", 18)  # XEN_ELFNOTE_PHYS32_ENTRY: by which QEMU starts a kernel
MACHINES: Final = {3: "x86 (32 bits)", 40: "ARM (32 bits)", 62: "x86-64", 183: "aarch64", 243: "RISC-V", 247: "BPF"}
MOST_MEMORY: Final = 1 << 40
LARGEST: Final = 64 * 1024 * 1024  # bytes of a file, which is read at once
WASM: Final = b"\0asm"


class Image(NamedTuple):
    """The bytes of a unikernel, what they are for, and how many bytes of memory the program itself has."""

    target: Target
    data: bytes
    memory: int


class Program(NamedTuple):
    """A program header."""

    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int


def load(path: str | Path) -> Image:
    """The image in a file. Raises: ImageError that names the file; OSError; CapabilityError, if the caller may not read it."""
    try:
        size = _size_of(path)
        with open_file(path, "rb") as file:
            return image_of(file.read(size))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def image_of(data: bytes) -> Image:
    """The image that these bytes are. Raises: ImageError."""
    target = target_of(data)
    memory = 0 if target == "wasm" else sum(each.memory_size for each in programs_of(data) if each.kind == LOAD)
    if memory > MOST_MEMORY:
        raise ImageError(f"it says that it needs {memory} bytes of memory")
    return Image(target, data, memory)


def _size_of(path: str | Path) -> int:
    """Of a file that will not let the node wait. Asked only by who may read it."""
    check_access("file", os.path.realpath(path), "r")
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("it is no regular file")
    if found.st_size > LARGEST:
        raise ImageError(f"it has {found.st_size} bytes, and an image at most {LARGEST}")
    return found.st_size


def target_of(data: bytes) -> Target:
    """What these bytes are for. Raises: ImageError."""
    if data.startswith(WASM):
        return "wasm"
    if not data.startswith(b"\x7fELF"):
        begin = f"it begins with {data[:4]!r}" if data else "it is empty"
        raise ImageError(f"no image of a unikernel: {begin}, expected ELF or WebAssembly, as `beamlike build-unikernel` makes it")
    programs = programs_of(data)
    for each in programs:
        if each.kind == LOAD and each.offset + each.file_size > len(data):
            raise ImageError(f"it is cut off: {each.offset + each.file_size} bytes are to be loaded, and it has {len(data)}")
    if any(each.kind in (INTERPRETER, DYNAMIC) for each in programs):
        raise ImageError("a dynamic program or a library, expected a static one, as `beamlike build-unikernel` makes it")
    notes = [note for each in programs if each.kind == NOTES for note in _notes(data[each.offset : each.offset + each.file_size])]
    return "bare" if PVH_ENTRY in notes else "linux"


def without_sections(data: bytes) -> bytes:
    """A program without its section headers, which nobody needs to run it."""
    end = max(each.offset + each.file_size for each in programs_of(data))
    return data[:SECTIONS_AT] + bytes(8) + data[SECTIONS_AT + 8 : SECTIONS_SIZE_AT] + bytes(6) + data[HEADER.size : end]


def programs_of(data: bytes) -> list[Program]:
    """Its program headers. Raises: ImageError."""
    if len(data) < HEADER.size:
        raise ImageError(f"it is cut off: an ELF header has {HEADER.size} bytes, and it has {len(data)}")
    _, bits, order, _, _, _, kind, machine, _, entry, offset, *_, size, count, _, _, _ = HEADER.unpack_from(data)
    if (bits, order, machine) != (2, 1, X86_64):
        raise ImageError(
            f"an image for {MACHINES.get(machine, f'the machine {machine}')}{'' if bits == 2 else ' of 32 bits'}, expected x86-64"
        )
    if kind not in (2, 3):
        raise ImageError("an object file, or a core dump; expected a program: `beamlike build-unikernel` links one")
    if size != PROGRAM.size or offset + count * size > len(data):
        raise ImageError(f"it is cut off: its table of segments ends at {offset + count * size}, and it has {len(data)} bytes")
    programs = [Program(*PROGRAM.unpack_from(data, offset + at * size)) for at in range(count)]
    if not any(each.kind == LOAD and each.address <= entry < each.address + each.memory_size for each in programs):
        raise ImageError(f"it begins at {entry:#x}, where nothing is loaded")
    return programs


def _notes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """(name, type) of each; see elf(5)."""
    at = 0
    while at + NOTE.size <= len(data):
        name_size, size, kind = NOTE.unpack_from(data, at)
        yield data[at + NOTE.size : at + NOTE.size + name_size], kind
        at += NOTE.size + _padded(name_size) + _padded(size)


def _padded(size: int) -> int:
    return (size + 3) & ~3
