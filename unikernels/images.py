"""What a file is: an image for Linux, for the bare machine, or for WebAssembly. See elf(5); the numbers are from there.

An image that is none is refused before anything is started: the kernel says no more than "exec format error", and a processor nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from beamlike import open_file
from unikernels.errors import ImageError

Target = Literal["linux", "bare", "wasm"]

HEADER: Final = struct.Struct("<4s5B7xHHIQQQIHHHHHH")
PROGRAM: Final = struct.Struct("<IIQQQQQQ")
NOTE: Final = struct.Struct("<III")
X86_64: Final = 62
LOAD, DYNAMIC, INTERPRETER, NOTES = 1, 2, 3, 4
PVH_ENTRY: Final = (b"Xen\0", 18)  # XEN_ELFNOTE_PHYS32_ENTRY: by which QEMU starts a kernel
MACHINES: Final = {3: "x86 (32 bits)", 40: "ARM (32 bits)", 62: "x86-64", 183: "aarch64", 243: "RISC-V", 247: "BPF"}
MOST_MEMORY: Final = 1 << 40
WASM: Final = b"\0asm"


class Image(NamedTuple):
    """The bytes of a unikernel, what they are for, and how many bytes of memory the program itself has."""

    target: Target
    data: bytes
    memory: int


class _Program(NamedTuple):
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
    with open_file(path, "rb") as file:
        data = file.read()
    try:
        target = target_of(data)
        memory = 0 if target == "wasm" else sum(each.memory_size for each in _programs(data) if each.kind == LOAD)
        if memory > MOST_MEMORY:
            raise ImageError(f"it says that it needs {memory} bytes of memory")
        return Image(target, data, memory)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def target_of(data: bytes) -> Target:
    """What these bytes are for. Raises: ImageError."""
    if data.startswith(WASM):
        return "wasm"
    if not data.startswith(b"\x7fELF"):
        begin = f"it begins with {data[:4]!r}" if data else "it is empty"
        raise ImageError(f"no image of a unikernel: {begin}, expected ELF or WebAssembly, as `beamlike build-unikernel` makes it")
    programs = _programs(data)
    for each in programs:
        if each.kind == LOAD and each.offset + each.file_size > len(data):
            raise ImageError(f"it is cut off: {each.offset + each.file_size} bytes are to be loaded, and it has {len(data)}")
    if any(each.kind in (INTERPRETER, DYNAMIC) for each in programs):
        raise ImageError("a dynamic program or a library, expected a static one, as `beamlike build-unikernel` makes it")
    notes = [note for each in programs if each.kind == NOTES for note in _notes(data[each.offset : each.offset + each.file_size])]
    return "bare" if PVH_ENTRY in notes else "linux"


def _programs(data: bytes) -> list[_Program]:
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
    programs = [_Program(*PROGRAM.unpack_from(data, offset + at * size)) for at in range(count)]
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
