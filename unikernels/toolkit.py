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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import nodes
from unikernels.errors import BuildError
from unikernels.images import Target, without_sections

LIBRARY: Final = Path(__file__).with_name("lib")
RING: Final = Path(nodes.__file__).parent  # ring.h, ring.c: the same as nodes have
OWN: Final = ("pci", "serial")  # groups that the platform itself uses
DRIVERS: Final = {path.stem: path for path in sorted((LIBRARY / "drivers").glob("*.c")) if path.stem not in OWN}
SUFFIXES: Final = (".c", ".S")
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
    *COMMON, "-Os", "-DBL_SMALL", "-fno-ident", "-fno-pic", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
)  # fmt: skip
LD: Final = ("-no-pie", "-nostdlib", "-static", "-Wl,--build-id=none,-z,noseparate-code,-z,norelro")


class Recipe(NamedTuple):
    """How a target is built: compilers, of which the first that there is; what they are told; sources of the library."""

    compilers: tuple[str, ...]
    compiling: tuple[str, ...]
    linking: tuple[str, ...]
    sources: tuple[Path, ...]
    suffix: str
    install: str


def _library(*names: str) -> tuple[Path, ...]:
    return tuple(LIBRARY / name for name in names)


RECIPES: Final[dict[str, Recipe]] = {
    "linux": Recipe(
        ("gcc",),
        GCC,
        LD,
        (*_library("mailbox.c", "inbox.c", "msgpack.c", "libc.c", "plat_linux.c"), RING / "ring.c"),
        ".elf",
        "apt-get install gcc",
    ),
    "bare": Recipe(
        ("gcc",),
        (*GCC, "-DUK_BARE"),
        (*LD, f"-T{LIBRARY / 'bare.ld'}"),
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
        ("--target=wasm32", *COMMON, "-Os"),
        ("--target=wasm32", "-nostdlib", "-Wl,--no-entry"),
        _library("msgpack.c", "libc.c", "plat_wasm.c"),
        ".wasm",
        "apt-get install clang lld",
    ),
}

REMOVED: Final = re.compile(
    r"removing unused section '?(?:[^']*?\(?\.(?:text|rodata|data|bss)\.)([\w.]+)|removing unused section .*:\(([\w.]+)\)"
)
DEFINED: Final = re.compile(r"^\w[\w *]*?\b(uk_\w+)\(", re.MULTILINE)
UNDEFINED: Final = re.compile(r"undefined (?:reference to `|symbol: )([\w.]+)")


class Linked(NamedTuple):
    """A function or object of an image, and how many bytes it has there."""

    name: str
    size: int


class Built(NamedTuple):
    """What came of it.

    Fields:
        sizes: in bytes: `base`, `profile` (this), `all`; see the module.
        warnings: what the compiler said of the program, which it has compiled.
    """

    path: Path
    target: str
    linked: list[Linked]
    collected: list[str]
    sizes: dict[str, int]
    warnings: str


def build(
    sources: str | Path | Sequence[str | Path],
    target: Target = "linux",
    output: str | Path | None = None,
    *,
    profile: Iterable[str] | None = None,
    flags: Iterable[str] = (),
    symbols: bool = False,
) -> Built:
    """Build a unikernel, in a second or so: in a process that others wait for by `await blocking(build, …)`.

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
    files = [Path(each) for each in ([sources] if isinstance(sources, str | Path) else _several("sources", sources, str | Path))]
    if not files:
        raise ValueError("build: there are no sources")
    for each in files:
        if not each.is_file():
            raise FileNotFoundError(f"build: there is no file {each}")
        if each.suffix not in SUFFIXES:
            raise ValueError(f"build: {each} is no source in C or assembly, which ends in {' or '.join(SUFFIXES)}")
    groups = None if profile is None else {*_several("profile", profile, str)}
    if groups is not None and target != "bare":
        raise ValueError(f"build: a profile is for the target bare, {target} has no drivers")
    for group in groups or ():
        if group not in DRIVERS:
            raise ValueError(f"build: there is no driver group {group!r}, but {', '.join(sorted(DRIVERS))}")
    more = _several("flags", flags, str)
    recipe = RECIPES[target]
    path = files[0].with_suffix(recipe.suffix) if output is None else Path(output)
    if any(path.resolve() == each.resolve() for each in files):
        raise ValueError(f"build: the output, {path}, is one of the sources")
    with tempfile.TemporaryDirectory(prefix="beamlike-") as folder:
        (nothing := Path(folder, "nothing.c")).write_text(NOTHING)
        drivers = [*DRIVERS.values()] if target == "bare" else []
        offered = [path for name, path in DRIVERS.items() if groups is None or name in groups] if target == "bare" else []
        linker = _Linker(recipe, Path(folder), more)
        linker.compile([*files, nothing, *drivers, *recipe.sources])
        named, collected = linker.link("named", [*files, *offered], "-Wl,--gc-sections,--print-gc-sections")
        image, _ = linker.link("image", [*files, *offered], "-Wl,--gc-sections,--strip-all")
        base, _ = linker.link("base", [nothing], "-Wl,--gc-sections,--strip-all")
        all_, _ = linker.link("all", [*files, *drivers], "-Wl,--no-gc-sections,--strip-all")
        if target != "wasm":
            for each in (image, base, all_):
                each.write_bytes(without_sections(each.read_bytes()))
        sizes = {"base": base.stat().st_size, "profile": image.stat().st_size, "all": all_.stat().st_size}
        shutil.copyfile(named if symbols else image, path)  # at the end: what could not be built overwrites nothing
        path.chmod(0o755)
        return Built(path, target, _linked(named), collected, sizes, "".join(linker.said[each] for each in files))


def _several(what: str, given: Any, kind: Any) -> tuple[Any, ...]:
    """What may be given several times, which a str is not meant to be."""
    several = None if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if several is None or not all(isinstance(each, kind) for each in several):
        raise TypeError(f"build: {what} is a list of str, not {given!r:.80}")
    return several


class _Linker:
    """Compiles and links into a folder."""

    def __init__(self, recipe: Recipe, folder: Path, flags: tuple[str, ...]) -> None:
        compiler = next((found for each in recipe.compilers if (found := shutil.which(each))), None)
        if compiler is None:
            raise BuildError(f"there is no {recipe.compilers[0]} on the path: {recipe.install}")
        self.compiling = [compiler, *recipe.compiling, f"-I{LIBRARY}", f"-I{RING}", *flags, "-c"]
        self.linking = [compiler, *recipe.linking, *flags]
        self.library = recipe.sources
        self.folder = folder
        self.objects: dict[Path, str] = {}
        self.said: dict[Path, str] = {}  # by the compiler

    def compile(self, sources: Sequence[Path]) -> None:
        """Each once, all at the same time. Raises: BuildError with what the compiler says of those that do not compile."""
        running = {}
        for source in dict.fromkeys(sources):
            self.objects[source] = str(self.folder / f"{len(self.objects)}-{source.stem}.o")
            command = [*self.compiling, str(source), "-o", self.objects[source]]
            running[source] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.said = {source: process.communicate()[0] for source, process in running.items()}
        if failed := [source for source, process in running.items() if process.returncode]:
            lines = "".join(self.said[source] for source in failed).splitlines()
            raise BuildError("\n".join(dict.fromkeys(lines)))  # of an unknown flag the same is said for each

    def link(self, name: str, sources: Sequence[Path], *flags: str) -> tuple[Path, list[str]]:
        """The image, and the names of what the linker says that it has collected."""
        path = self.folder / name
        objects = [self.objects[source] for source in (*sources, *self.library)]
        done = subprocess.run([*self.linking, *flags, *objects, "-o", str(path)], capture_output=True, text=True, errors="replace")
        said = done.stderr + done.stdout
        if done.returncode:
            lines = [line for line in said.splitlines() if "removing unused section" not in line]
            raise BuildError("\n".join([*lines, *_hints(sorted(set(UNDEFINED.findall(said))))]))
        return path, sorted({one or other for one, other in REMOVED.findall(said)})


def _hints(undefined: list[str]) -> Iterator[str]:
    """What to do about these names."""
    groups = {name: group for group, path in DRIVERS.items() for name in DEFINED.findall(path.read_text())}
    for name in undefined:
        if name == "uk_main":
            yield "undefined: uk_main. A unikernel begins there: void uk_main(void)"
        elif name in groups:
            yield f"undefined: {name}. It is of the driver group {groups[name]}, which the profile does not have"
    if others := [name for name in undefined if name != "uk_main" and name not in groups]:
        yield f"undefined: {', '.join(others)}. A unikernel has no C library: uk.h says what there is"


def _linked(image: Path) -> list[Linked]:
    """The largest first; nothing where there is no nm for it."""
    if shutil.which("nm") is None:
        return []
    done = subprocess.run(["nm", "--print-size", "--size-sort", "--reverse-sort", str(image)], capture_output=True, text=True)
    return [
        Linked(name, int(size, 16)) for _, size, _, name in (line.split() for line in done.stdout.splitlines() if len(line.split()) == 4)
    ]
