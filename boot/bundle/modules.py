"""The Python files that a bundle has, what they define, and what else lies beside them."""

from __future__ import annotations

import ast
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

OURS = frozenset(("beamlike", "boot", "caps", "cells", "drivers", "nodes", "unikernels"))
EXTENSIONS = (".so", ".pyd")
LEFT_OUT = ("__pycache__",)  # and what begins with a dot


@dataclass(frozen=True)
class Module:
    """A module of a bundle: what is bound at its top level; `is_open` if more may be, by `from … import *` or `__getattr__`."""

    names: frozenset[str]
    is_open: bool


def read_files(folder: Path, entries: list[str], problems: list[str]) -> dict[str, bytes]:
    """What is in these files and folders, by where they are in the bundle: a file's last name, a folder's with all that is below it."""
    files: dict[str, bytes] = {}
    for entry in entries:
        path = folder / entry
        try:
            kind = path.stat().st_mode
            if stat.S_ISDIR(kind):
                found = dict(_walk(path))
            elif stat.S_ISREG(kind):
                found = {path.name: path.read_bytes()}
            else:
                problems.append(f"modules: {path} is neither a file nor a folder")
                continue
        except OSError as error:
            problems.append(f"modules: {error.filename or path} cannot be read: {error.strerror}")
            continue
        top = next(iter(found), path.name).split("/")[0].removesuffix(".py")
        if not found:
            problems.append(f"modules: {path} is an empty folder")
        elif path.is_file() and path.suffix != ".py":
            problems.append(f"modules: {path} is no Python file; what else a program reads is in the folder of its package")
        elif not top.isidentifier():
            problems.append(f"modules: {path} cannot be imported: {top!r} is no name in Python; rename it")
        elif top in OURS or top in sys.stdlib_module_names:
            problems.append(f"modules: {path} would hide {'beamlike' if top in OURS else 'Python'}'s own {top!r}; rename it")
        elif duplicates := sorted(files.keys() & found.keys()):
            problems.append(f"modules: {path}: {duplicates[0]} is there already, from another entry")
        files |= found
    for name in files:
        if name.endswith(EXTENSIONS):
            problems.append(f"modules: {name} is compiled, and is not loaded from memory: install it on the machine instead")
    return files


def _walk(top: Path) -> Iterator[tuple[str, bytes]]:
    """In an order that is always the same."""
    for folder, folders, names in os.walk(top, onerror=_raise):
        folders[:] = sorted(each for each in folders if each not in LEFT_OUT and not each.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield f"{top.name}/{path.relative_to(top).as_posix()}", path.read_bytes()


def _raise(error: OSError) -> None:
    raise error


def read_modules(files: Mapping[str, bytes], problems: list[str]) -> dict[str, Module]:
    """The modules in these files, by their names, none of which is run."""
    modules = {}
    for path, source in files.items():
        if not path.endswith(".py"):
            continue
        try:
            tree = ast.parse(source, path)
        except (SyntaxError, ValueError) as error:  # ValueError: null bytes, in 3.11
            line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            problems.append(f"modules: {path}{line} is no Python: {error.msg if isinstance(error, SyntaxError) else error}")
            continue
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        modules[name] = _module(tree)
    return modules


def _module(tree: ast.Module) -> Module:
    names: set[str] = set()
    for node in _top_level(tree.body):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return Module(frozenset(names), is_open=bool(names & {"*", "__getattr__"}))


def _top_level(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """What is run when the module is; not what is in its functions and classes."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def check_start(where: str, start: str, modules: Mapping[str, Module], problems: list[str]) -> None:
    """That `module:name` is in the bundle, or of ours."""
    module, colon, name = start.partition(":")
    if not colon or not module or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        problems.append(f"{where}: start is {start!r}, expected 'module:name' of a function or class")
    elif module.partition(".")[0] in OURS:
        return
    elif module not in modules:
        problems.append(f"{where}: there is no module {module!r} in the bundle: there are {', '.join(sorted(modules)) or 'none'}")
    elif name.partition(".")[0] not in modules[module].names and not modules[module].is_open:
        there = ", ".join(sorted(each for each in modules[module].names if not each.startswith("_")))
        problems.append(f"{where}: there is no {name!r} in the module {module}: there are {there or 'none'}")
