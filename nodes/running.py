"""`nodes.run`: a system of many nodes on this machine, from the program that wants it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from beamlike import ExitError, pack, unpack
from beamlike.seam import format_reason, importable_name
from nodes.owner import Owner

T = TypeVar("T")


def run(
    main: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    nodes: int | None = None,
    preempt: bool = True,
    on_main_lost: Literal["stop", "restart"] = "stop",
    hang_timeout: float = 5.0,
    file: str | None = None,
    setup: tuple[str, tuple[Any, ...]] | None = None,
) -> T:
    """Run `main(*args)` as the first process of a system of nodes, each an OS process on a core of its own; return what it returned.

    As `beamlike.run`, and the same program runs unchanged: `spawn` stays on its node, `spawn_at` chooses one. Each node imports the
    program under its own name; a script is loaded as its file's name, and what is below `if __name__ == "__main__":` runs only here. The
    nodes are called `n1`, `n2` …, `main` runs on `n1`. A node that dies is started again; its processes are gone, and who depends on them
    is told.

    Args:
        nodes: how many; one for each core that this program may use, unless given.
        preempt: as in `beamlike.run`.
        on_main_lost: what happens when the node of `main` dies: the system stops and NodeLost is raised, or `main` starts again.
        hang_timeout: seconds without a sign of life after which a node is killed and started again (D2).
        file: the program's file, loaded in each node as `beamlike run FILE` does.
        setup: a function, `module:qualname`, called with these arguments in each node before anything else: to set up logging, say.

    Raises: ExitError if main raised, with its traceback as text, or was ended; NodeLost; StartError if a node could not be started;
        TypeError or ValueError for an argument; KeyboardInterrupt and SystemExit(143) as `beamlike.run`.
    """
    cores = sorted(os.sched_getaffinity(0))
    count = len(cores) if nodes is None else nodes
    if type(count) is not int:
        raise TypeError(f"nodes is how many there are to be, an int, not {nodes!r}")
    if count < 1:
        raise ValueError(f"nodes is at least 1, not {nodes}")
    name = importable_name(main)
    if name is None:
        raise TypeError(f"main is imported by each node, so it is an async function of a module, not {main!r}")
    machine = platform.node() or "localhost"
    names = [f"n{number}@{machine}" for number in range(1, count + 1)]
    module = sys.modules.get(main.__module__)
    settings = {
        "body": "nodes.life:live",
        "path": tuple(path for path in sys.path if path),
        "roster": tuple(names),
        "main": names[0],
        "start": (name, pack(args)),
        "argv": tuple(sys.argv),
        "file": file or (getattr(module, "__file__", None) if main.__module__ == "__main__" else None),
        "preempt": preempt,
        "hang_timeout": float(hang_timeout),
        "polls": count <= len(cores),
        "setup": setup,
    }
    owner = Owner(names, [cores[number % len(cores)] for number in range(count)], settings, main=names[0], on_main_lost=on_main_lost)
    match unpack(owner.run()):
        case ("ok", value):
            return value  # type: ignore[no-any-return]
        case ("exit", text, reason):
            raise ExitError(text, reason)
        case ("error", reason):
            error = ExitError(f"main failed: {format_reason(reason)}", reason)
            error.add_note("".join(f'\n  File "{file}", line {line}, in {function}' for file, line, function in reason[1]))
            raise error
        case other:
            raise AssertionError(other)
