"""What a cell runs: source code that came over the ring, as a module of its own.

Nothing can be imported from files any more: what programs import is what the zygote imported before it forked, and the modules that came
with the source.
"""

from __future__ import annotations

import inspect
import io
import linecache
import os
import random
import sys
import traceback
from contextlib import suppress
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from beamlike import Stop
from cells.inside.door import Door
from cells.kinds import CellKind

STDIN, STDOUT, STDERR = 0, 1, 2
MOST_OUTPUT = 4096  # bytes of a record
FIRST = "from beamlike import receive\nasync def main(parent):\n    return await receive()\n"  # a program like any
FILE = "<cell "  # with what the names of files begin, in tracebacks


class Start(NamedTuple):
    """What is to be run, as it crosses the ring.

    `source` is that of a script or a module; for a wasm cell see `cells.kinds`.
    `fn` is the function to call with `args`; None: the source is a script, `args` are the rest of its `sys.argv`, and its `main`, if it has
    one that is async, is run as well.
    `modules` are sources that it may import, by name.
    """

    name: str
    source: Any
    fn: str | None
    args: tuple[Any, ...]
    modules: dict[str, str]
    stdin: bytes


class Shipped(MetaPathFinder, InspectLoader):
    """Imports the modules that came with the program."""

    def __init__(self, modules: dict[str, str]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self, origin=_file(fullname)) if fullname in self.modules else None

    def get_source(self, fullname: str) -> str:
        return self.modules[fullname]

    def get_code(self, fullname: str) -> CodeType:
        return _compiled(fullname, self.modules[fullname])


class Output(io.RawIOBase):
    """stdout or stderr: what is written goes to the trusted side."""

    def __init__(self, door: Door, fd: int) -> None:
        self.door = door
        self.fd = fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(data[:MOST_OUTPUT])
        self.door.put(CellKind.OUTPUT, self.fd, part)
        return len(part)


def get_ready(door: Door) -> None:
    """Do what needs no program: a cell that waits for one has done it already."""
    random.seed(os.urandom(16))  # all children of a zygote would draw the same
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.BufferedWriter(Output(door, fd), MOST_OUTPUT), "utf-8", "backslashreplace", line_buffering=True)
        for fd in (STDOUT, STDERR)
    )
    compile(FIRST, _file("first"), "exec")  # the memory that this takes has to be copied from the zygote's: not while somebody waits


async def run(start: Start) -> None:
    """The first process of a cell that is ready."""
    sys.stdin = io.TextIOWrapper(io.BytesIO(start.stdin), "utf-8")
    sys.meta_path.insert(0, Shipped(start.modules))
    module = ModuleType("__main__" if start.fn is None else start.name)
    module.__file__ = _file(start.name)
    sys.modules[module.__name__] = module
    try:
        if start.fn is None:
            await _run_script(module, start)
        else:
            await _call(module, start)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


async def _call(module: ModuleType, start: Start) -> None:
    exec(_compiled(start.name, start.source), vars(module))
    fn = vars(module).get(str(start.fn))
    if not callable(fn):
        raise AttributeError(f"the program {start.name} has no function {start.fn!r}")
    result = fn(*start.args)
    if inspect.iscoroutine(result):
        await result


async def _run_script(module: ModuleType, start: Start) -> None:
    """As Python runs one: with a traceback on stderr for what it raises, and `sys.exit` gives a status."""
    sys.argv = [_file(start.name), *start.args]
    try:
        exec(_compiled(start.name, start.source), vars(module))
        main = vars(module).get("main")
        if inspect.iscoroutinefunction(main):
            await main()
    except SystemExit as ending:
        status = ending.code
        if status is not None and not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
        if status:
            raise Stop(("exit", status & 0xFF)) from None
    except (Exception, KeyboardInterrupt) as error:
        with suppress(MemoryError):  # of which there may be too little
            _show(error)
        raise


def _show(error: BaseException) -> None:
    """Its traceback, from where it enters the program on."""
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(FILE):
        trace = trace.tb_next
    traceback.print_exception(error.with_traceback(trace))


def _file(name: str) -> str:
    return f"{FILE}{name}>"


def _compiled(name: str, source: str) -> CodeType:
    linecache.cache[_file(name)] = len(source), None, source.splitlines(keepends=True), _file(name)  # for tracebacks
    return compile(source, _file(name), "exec")
