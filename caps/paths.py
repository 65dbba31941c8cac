"""Files: a path covers itself and all that is below it, to read, to write or both.

Paths are compared by components, so "/tmp" covers "/tmp/x" and not "/tmpx". They are normalised *lexically*: "//",
"." and ".." are resolved in the text, so "/tmp/../etc" is "/etc". Symbolic links are not looked at, for that needs the
disk and changes under one's feet: whoever opens files resolves the path first (`os.path.realpath`), checks the
result and opens the result (C5).
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from posixpath import normpath
from typing import TypeAlias

from caps.matching import EVERYTHING, Cover, Matching, Operands, text

FileAccess: TypeAlias = tuple[str, str]
"""(canonical path with a "/" at its end, mode)"""

MODES = ("r", "w", "rw")


class PathCover(Cover[FileAccess]):
    """For each mode, directories none of which is inside another, ascending.

    Each ends with "/", so that components and not characters are compared. The only one that can be a prefix of a
    path is then the greatest that is not greater than the path.
    """

    __slots__ = ("_directories",)

    def __init__(self, directories: dict[str, list[str]], operands: frozenset[Operands]) -> None:
        super().__init__(operands)
        self._directories = directories

    def overlaps(self, access: FileAccess) -> Operands | None:
        path, mode = access
        for letter in mode:
            directory = self._covering(path, letter)
            if directory is not None:
                # The mode of the canonical term: "rw" where the same directory is covered for both.
                return next(term for term in self.operands if as_directory(term[0]) == directory and letter in term[1])
        return None

    def contains(self, access: FileAccess) -> bool:
        path, mode = access
        return all(self._covering(path, letter) is not None for letter in mode)

    def _covering(self, path: str, letter: str) -> str | None:
        directories = self._directories[letter]
        i = bisect_right(directories, path)
        return directories[i - 1] if i and path.startswith(directories[i - 1]) else None


class Paths(Matching[FileAccess]):
    """A term and an access are `(path, mode)`: an absolute path and "r", "w" or "rw"."""

    expected_term = expected_access = "absolute path, 'r' | 'w' | 'rw'"

    def term(self, operands: Operands) -> Operands:
        if len(operands) != 2:
            raise ValueError(f"{len(operands)} operands instead of 2")
        path, mode = text(operands[0], "path"), text(operands[1], "mode")
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}")
        return canonical_path(path), mode

    def access(self, what: Operands) -> FileAccess:
        path, mode = self.term(what)
        return as_directory(path), mode

    def cover(self, operands: frozenset[Operands]) -> Cover[FileAccess]:
        directories = {letter: outermost([path for path, mode in operands if letter in mode]) for letter in "rw"}
        reads, writes = set(directories["r"]), set(directories["w"])
        canonical = frozenset(
            (directory[:-1] or "/", ("r" if directory in reads else "") + ("w" if directory in writes else ""))
            for directory in reads | writes
        )
        return EVERYTHING if ("/", "rw") in canonical else PathCover(directories, canonical)


@lru_cache(maxsize=1024)
def canonical_path(path: str) -> str:
    """The path without "//", "." and "..". Raises ValueError if it is not absolute or no path at all."""
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} is not absolute")
    if "\0" in path:
        raise ValueError(f"the path {path!r} contains a NUL")
    return "/" + normpath(path).lstrip("/")  # normpath keeps two leading slashes, which mean nothing special here


def as_directory(path: str) -> str:
    return path if path == "/" else path + "/"


def outermost(paths: list[str]) -> list[str]:
    """The paths as directories, ascending, without those inside another."""
    kept: list[str] = []
    for directory in sorted(map(as_directory, paths)):
        if not kept or not directory.startswith(kept[-1]):
            kept.append(directory)
    return kept
