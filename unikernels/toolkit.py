"""Building unikernels: a C program and the parts of the library that it uses, linked to one small image.

Theory of operation. Each function and object has a section of its own, and the linker keeps what can be reached from the start and collects
the rest: so the driver groups of a profile are only offered, and an image has what its program uses, as an application-specific kernel of
OSv has. What was kept and what was collected is the linker's own account. For comparison two more images are linked: `base`, of the library
and an empty program, and `all`, from which nothing was collected.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import nodes
from unikernels.errors import BuildError
from unikernels.images import Target

LIBRARY: Final = Path(__file__).with_name("lib")
RING: Final = Path(nodes.__file__).parent  # ring.h, ring.c: the same as nodes have
OWN: Final = ("pci", "serial")  # groups that the platform itself uses
DRIVERS: Final = {path.stem: path for path in sorted((LIBRARY / "drivers").glob("*.c")) if path.stem not in OWN}
NOTHING: Final = "void uk_main(void) {}\n"

COMMON: Final = (
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror=implicit-function-declaration",
    "-ffreestanding",
    "-fno-builtin",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
)
GCC: Final = (
    *COMMON, "-Os", "-DBL_SMALL", "-fno-ident", "-fno-pic", "-no-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none", "-nostdlib", "-static", "-Wl,--build-id=none,-z,noseparate-code,-z,norelro",
)  # fmt: skip


class Recipe(NamedTuple):
    """How a target is built: compilers, of which the first that there is; what they are told; sources of the library."""

    compilers: tuple[str, ...]
    flags: tuple[str, ...]
    sources: tuple[Path, ...]
    suffix: str
    install: str


def _library(*names: str) -> tuple[Path, ...]:
    return tuple(LIBRARY / name for name in names)


RECIPES: Final[dict[str, Recipe]] = {
    "linux": Recipe(
        ("gcc",),
        GCC,
        (*_library("mailbox.c", "inbox.c", "msgpack.c", "libc.c", "plat_linux.c"), RING / "ring.c"),
        ".elf",
        "apt-get install gcc",
    ),
    "bare": Recipe(
        ("gcc",),
        (*GCC, f"-T{LIBRARY / 'bare.ld'}"),
        (
            *_library("start.S", "plat_bare.c", "mailbox.c", "inbox.c", "msgpack.c", "libc.c"),
            *(LIBRARY / "drivers" / f"{name}.c" for name in OWN),
            RING / "ring.c",
        ),
        ".bare",
        "apt-get install gcc",
    ),
    "wasm": Recipe(
        ("clang", "clang-14", "clang-16", "clang-19"),
        ("--target=wasm32", *COMMON, "-Os", "-nostdlib", "-Wl,--no-entry"),
        _library("msgpack.c", "libc.c", "plat_wasm.c"),
        ".wasm",
        "apt-get install clang lld",
    ),
}

REMOVED: Final = re.compile(
    r"removing unused section '?(?:[^']*?\(?\.(?:text|rodata|data|bss)\.)([\w.]+)|removing unused section .*:\(([\w.]+)\)"
)
UNDEFINED: Final = re.compile(r"undefined (?:reference to `|symbol: )([\w.]+)")


class Linked(NamedTuple):
    """A function or object of an image, and how many bytes it has there."""

    name: str
    size: int


class Built(NamedTuple):
    """What came of it. `sizes` in bytes: `base`, `profile` (this), `all`; see the module."""

    path: Path
    target: str
    linked: list[Linked]
    collected: list[str]
    sizes: dict[str, int]


def build(
    sources: str | Path | Sequence[str | Path],
    target: Target = "linux",
    output: str | Path | None = None,
    *,
    profile: Iterable[str] | None = None,
    flags: Iterable[str] = (),
    symbols: bool = False,
) -> Built:
    """Build a unikernel.

    Args:
        sources: C files; one of them has `void uk_main(void)`.
        target: `linux`, an OS process; `bare`, a machine of its own (QEMU); `wasm`, a cell of WebAssembly.
        output: the file to write; None: that of the first source, with the target's suffix, beside it.
        profile: for `bare`, the driver groups that it may use, by the names of the files in lib/drivers; None: all. Not what it has, which
            is what it uses.
        flags: more for the compiler.
        symbols: leave the names in the file, for a debugger.

    Raises:
        BuildError: with the compiler's or linker's own words; or no compiler is there.
        FileNotFoundError: a source is not there.
        ValueError, TypeError: an argument is not what it should be.
    """
    if target not in RECIPES:
        raise ValueError(f"build: target is one of {', '.join(RECIPES)}, not {target!r}")
    files = [Path(each) for each in ([sources] if isinstance(sources, str | Path) else sources)]
    if not files:
        raise ValueError("build: there are no sources")
    for each in files:
        if not each.is_file():
            raise FileNotFoundError(f"build: there is no file {each}")
    groups = None if profile is None else {*profile}
    for group in groups or ():
        if group not in DRIVERS:
            raise ValueError(f"build: there is no driver group {group!r}, but {', '.join(sorted(DRIVERS))}")
    recipe = RECIPES[target]
    path = files[0].with_suffix(recipe.suffix) if output is None else Path(output)
    with tempfile.TemporaryDirectory(prefix="beamlike-") as folder:
        stripping = ("-Wl,--strip-all",) if target == "wasm" and not symbols else ()  # strip does not know WebAssembly
        linker = _Linker(recipe, Path(folder), (*flags, *stripping))
        offered = [path for name, path in DRIVERS.items() if groups is None or name in groups] if target == "bare" else []
        image, collected = linker.link("image", [*files, *offered])
        linked = _linked(image)
        named = image.with_name("named")
        shutil.copyfile(image, named)
        sizes = {"profile": _stripped(image, target).stat().st_size}
        (nothing := Path(folder, "nothing.c")).write_text(NOTHING)
        sizes["base"] = _stripped(linker.link("base", [nothing])[0], target).stat().st_size
        sizes["all"] = (
            _stripped(linker.link("all", [*files, *(DRIVERS.values() if target == "bare" else ())], collect=False)[0], target)
            .stat()
            .st_size
        )
        shutil.copyfile(named if symbols else image, path)  # at the end: what could not be built overwrites nothing
        path.chmod(0o755)
    return Built(path, target, linked, collected, sizes)


class _Linker:
    """Compiles and links into a folder."""

    def __init__(self, recipe: Recipe, folder: Path, flags: tuple[str, ...]) -> None:
        compiler = next((found for each in recipe.compilers if (found := shutil.which(each))), None)
        if compiler is None:
            raise BuildError(f"there is no {recipe.compilers[0]} on the path: {recipe.install}")
        self.command = [compiler, *recipe.flags, f"-I{LIBRARY}", f"-I{RING}", *flags]
        self.sources = recipe.sources
        self.folder = folder

    def link(self, name: str, files: Sequence[Path], *, collect: bool = True) -> tuple[Path, list[str]]:
        """The image, with its symbols, and the names of what was collected."""
        path = self.folder / name
        collecting = "-Wl,--gc-sections,--print-gc-sections" if collect else "-Wl,--no-gc-sections"
        done = subprocess.run(
            [*self.command, collecting, *map(str, (*files, *self.sources)), "-o", str(path)], capture_output=True, text=True
        )
        said = done.stderr + done.stdout
        if done.returncode:
            missing = sorted(set(UNDEFINED.findall(said)))
            hint = f"\nundefined: {', '.join(missing)}. A unikernel has no C library: uk.h says what there is" if missing else ""
            raise BuildError("\n".join(line for line in said.splitlines() if "removing unused section" not in line) + hint)
        return path, sorted({one or other for one, other in REMOVED.findall(said)})


def _linked(image: Path) -> list[Linked]:
    """The largest first; nothing where there is no nm for it."""
    if shutil.which("nm") is None:
        return []
    done = subprocess.run(["nm", "--print-size", "--size-sort", "--reverse-sort", str(image)], capture_output=True, text=True)
    return [
        Linked(name, int(size, 16)) for _, size, _, name in (line.split() for line in done.stdout.splitlines() if len(line.split()) == 4)
    ]


def _stripped(image: Path, target: str) -> Path:
    """The image, without its symbols from now on. That of WebAssembly was linked without them."""
    if target != "wasm":
        subprocess.run(["strip", str(image)], check=True)
    return image
