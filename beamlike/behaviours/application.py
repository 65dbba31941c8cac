"""Applications: a file with an async function, loaded and run until it ends, with an exit status for the shell.

The one convention. The function (`main`, unless another is named) is run as the first process. It is the whole program, or, as the `start`
of an OTP application, it starts a supervision tree, linked, and returns its pid:

    async def main():
        return await Supervisor.start_link([Counter, Printer])

Then the application runs until that process ends.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from beamlike import signals
from beamlike.exits import Down, Exit, ExitError, Stop, format_reason
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.ids import Pid
from beamlike.processes import process_flag
from beamlike.records import record
from beamlike.running import run as run_alone

log = logging.getLogger("beamlike.application")

STANDARD = {*sys.stdlib_module_names, "test"}  # what a file's module may not be called

INTERRUPTED = 130  # what shells give for a program that Ctrl-C ended: 128 + SIGINT


class LoadError(ImportError):
    """There is no such application; the text says what is missing and where."""


@record
class Application:
    """What `load` found. Can be sent: a node that gets it loads the file itself."""

    path: str
    function: str


def load(path: str | Path, function: str = "main") -> Application:
    """Load the file at `path` as a module, and check that it can be run.

    The module is entered in `sys.modules` and its folder put first in `sys.path`, as Python does for scripts; a file that is loaded
    already is not loaded again.

    Unlike a script, which is `__main__`, the module is called after the file (`program.py` is `program`, `my-app.py` is `my_app`), because
    functions and records are sent by name. A file called as a module of the standard library has an underscore added: `test.py` is `test_`.

    Raises:
        LoadError: there is no such file or function, it is no async function without parameters, or the module's name belongs to
            another module. The text names the file as it was given.
        SyntaxError: it is not Python.
        Exception: whatever the file itself raises.
    """
    application = Application(str(Path(path).resolve()), function)
    _find(application, str(path))
    return application


def load_module(path: str | os.PathLike[str]) -> ModuleType:
    """Load a file as `load` does, for what it defines. Raises as `load`."""
    return _module(Path(path).resolve(), str(path))


def run_application(application: Application, run: Callable[..., Any] = run_alone) -> int:
    """Run it to its end and return the exit status.

    An int that the function returned is the status, and so is what it gives to `sys.exit`; any other value but a pid: 0. A pid: 0 if
    that process ended with `normal`, else 1, as OTP judges a transient application: `shutdown` may be a supervisor that gave up.
    What the function raised is printed with its traceback: 1. Ctrl-C: 130.

    Args:
        run: what runs an async function on a node and returns its result: `beamlike.run`, or what calls it and tells of failures in its
            own way.
    """
    try:
        status = run(execute, application)
        return 0 if status is None else int(status)  # None: it ended by Stop("normal")
    except KeyboardInterrupt:
        return INTERRUPTED
    except ExitError as error:
        print(f"{application.path}: {error}", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - the application's, whatever it is
        traceback.print_exception(error)
    return 1


async def execute(application: Application) -> int:
    """The first process of an application: run its function, and the tree it started. Returns the exit status."""
    function = _find(application, application.path)
    extra(scheduler.current_process()).initial_call = f"{function.__module__}:{application.function}"
    try:
        result = await function()
    except SystemExit as exit_:
        return _exit_status(exit_.code)
    if type(result) is Pid:
        return await _outlive(result)
    return result if type(result) is int else 0


async def _outlive(top: Pid) -> int:
    """Wait for the end of the tree; its exit status."""
    process_flag("trap_exit", True)  # a tree that shuts down in order must not take this process, which is linked to it, along
    ref = signals.monitor(top)
    while True:
        match await scheduler.receive():
            case Down(ended, _, reason) if ended == ref:
                break
            case Exit(sender, reason) if sender != top and reason != "normal":
                raise Stop(reason)
    if reason == "normal":
        return 0
    log.critical("the application's top process %s ended: %s", top, format_reason(reason))
    return 1


def _exit_status(code: Any) -> int:
    """As the interpreter does at `sys.exit(code)`."""
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code)
    log.critical("%s", code)
    return 1


def _find(application: Application, file: str) -> Callable[[], Any]:
    """The application's function. `file` is what errors call the file."""
    module = _module(Path(application.path), file)
    function = getattr(module, application.function, None)
    if function is None:
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
        there = sorted(value.__name__ for value in own if inspect.iscoroutinefunction(value))
        raise LoadError(
            f"{file} has no function {application.function!r}"
            + (f"; its async functions are: {', '.join(there)}" if there else f": write `async def {application.function}():`")
        )
    if inspect.isasyncgenfunction(function):
        raise LoadError(f"{application.function!r} in {file} is an async generator function: it has a `yield` in it")
    if not inspect.iscoroutinefunction(function):
        raise LoadError(f"{application.function!r} in {file} is {function!r}: write `async def {application.function}():`")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise LoadError(f"{application.function!r} in {file} cannot be called without arguments ({error}): they are in sys.argv") from None
    return function  # type: ignore[no-any-return]


def _module(path: Path, file: str) -> ModuleType:
    """The module of the file, loaded if it was not."""
    if not path.is_file():
        raise LoadError(f"there is no file {file}")
    name = re.sub(r"\W", "_", path.stem)
    if name in STANDARD:
        name += "_"
    loaded = sys.modules.get(name)
    spec = importlib.util.find_spec(name) if loaded is None else loaded.__spec__
    neighbour = path.with_name(f"{name}.py")
    if loaded is None and spec is None and (name == path.stem or not neighbour.exists()):
        return _import(name, path, file)
    origin = neighbour if spec is None else spec.origin
    if origin is None or Path(origin).resolve() != path:
        raise LoadError(f"{file} cannot be loaded as {name!r}: that is the name of the module at {origin}; rename the file")
    return _import(name, path, file) if loaded is None else loaded


def _import(name: str, path: Path, file: str) -> ModuleType:
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    try:
        code: Any = loader.get_code(name)
    except OSError as error:
        raise LoadError(f"{file} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        if getattr(error, "filename", None) is not None:
            raise
        raise SyntaxError(str(error), (str(path), None, None, None)) from None  # null bytes: Python does not say where
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
