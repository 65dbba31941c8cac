"""`nodes.run`: a system of many nodes on this machine, from the program that wants it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar

from beamlike import ExitError, pack, unpack
from beamlike.seam import format_reason, importable_name
from nodes import here
from nodes.owner import Owner
from nodes.requirements import check_descriptors, check_fault_limit, check_seconds, check_setup

T = TypeVar("T")
MOST_CORES = 1 << 16  # more than Linux can have; sched_setaffinity(2) refuses a node that goes to a larger one in other ways than by EINVAL


def run(
    main: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    nodes: int | Mapping[str, int] | None = None,
    preempt: bool = True,
    on_main_lost: Literal["stop", "restart"] = "stop",
    hang_timeout: float = 5.0,
    start_timeout: float = 30.0,
    fault_limit: tuple[int, float] = (3, 3600.0),
    file: str | None = None,
    setup: tuple[str, tuple[Any, ...]] | None = None,
    descriptors: Sequence[int] = (),
) -> T:
    """Run `main(*args)` as the first process of a system of nodes, each an OS process on a core of its own; return what it returned.

    As `beamlike.run`, and the same program runs unchanged: `spawn` stays on its node, `spawn_at` chooses one. Each node imports the
    program under its own name; a script is loaded as its file's name, and what is below `if __name__ == "__main__":` runs only here. The
    nodes are called `n1`, `n2` …, `main` runs on `n1`. A node that dies is started again; its processes are gone, and who depends on them
    is told. When `main` has ended, the processes of its node are stopped as `beamlike.run` does, each supervisor's children in their own
    time; then the other nodes do the same, but what has not ended there after 5 seconds is killed, whatever its child spec says.

    Args:
        nodes: how many; one for each core that this program may use, unless given. Or the names of nodes, and the number of the core of
            each, which is another one if that is not there; `main` runs on the first.
        preempt: as in `beamlike.run`.
        on_main_lost: what happens when the node of `main` dies: the system stops and NodeLost is raised, or `main` starts again.
        hang_timeout: seconds without a sign of life after which a node is killed and started again (D2).
        start_timeout: seconds that a node has to import the program and be ready, then it is killed: at the beginning that is a StartError,
            later it is started again.
        fault_limit: so many faults in so many seconds of memory between a node and others retire it: it is killed and not started again,
            for its core is suspected. The last node that is up is kept; that of `main`, too, unless `on_main_lost` is "restart": then it is
            started again on another core.
        file: the program's file, loaded in each node as `beamlike run FILE` does.
        setup: a function, `module:qualname`, called with these arguments in each node before anything else: to set up logging, say.
        descriptors: of this OS process, at most MOST_GIVEN: each node, also one that is started later, has duplicates of them in
            `nodes.seam.given()`.

    Raises: ExitError if main raised, with its traceback as text, or was ended; NodeLost; StartError if a node could not be started;
        TypeError or ValueError for an argument; KeyboardInterrupt and SystemExit(143) as `beamlike.run`.
    """
    if here.is_node:
        raise RuntimeError('nodes.run() is called where a node loads the program: put it below `if __name__ == "__main__":`')
    cores = sorted(os.sched_getaffinity(0))
    places = _places(nodes, cores)
    if type(preempt) is not bool:
        raise TypeError(f"preempt is True or False, not {preempt!r}")
    name = importable_name(main)
    if name is None:
        raise TypeError(f"main is imported by each node, so it is an async function of a module, not {main!r}")
    module = sys.modules.get(main.__module__)
    script = getattr(module, "__file__", None) if main.__module__ == "__main__" else None
    if main.__module__ == "__main__" and file is None and not os.path.exists(script or ""):
        raise TypeError(f"main is imported by each node, so it is in a file, not in {script or 'python -c or a prompt'}")
    names = list(places)
    settings = {
        "body": "nodes.life:live",
        "path": tuple(path or os.getcwd() for path in sys.path),
        "roster": tuple(names),
        "cores": tuple(cores),
        "main": names[0],
        "on_main_lost": on_main_lost,
        "start": (name, pack(args)),
        "argv": tuple(sys.argv),
        "file": file or script,
        "preempt": preempt,
        "hang_timeout": check_seconds("hang_timeout", hang_timeout),
        "fault_limit": check_fault_limit(fault_limit),
        "polls": len(set(places.values())) == len(names) <= len(cores),
        "setup": check_setup(setup),
    }
    owner = Owner(
        names,
        list(places.values()),
        settings,
        main=names[0],
        start_timeout=check_seconds("start_timeout", start_timeout),
        on_main_lost=on_main_lost,
        given=check_descriptors(descriptors),
    )
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


def _places(nodes: int | Mapping[str, int] | None, cores: Sequence[int]) -> dict[str, int]:
    """The core of each node, by its full name."""
    machine = platform.node() or "localhost"
    if isinstance(nodes, Mapping):
        if not nodes:
            raise ValueError("nodes is at least one name with its core, not none")
        for core in nodes.values():
            if type(core) is not int or not 0 <= core < MOST_CORES:
                raise ValueError(f"nodes has the number of a core for each name, 0 to {MOST_CORES - 1}, not {core!r}")
        places = {name if "@" in name else f"{name}@{machine}": core for name, core in nodes.items()}
        if len(places) < len(nodes):
            raise ValueError(f"nodes have different names, not {', '.join(nodes)}: without one, a machine's is {machine}")
        return places
    count = len(cores) if nodes is None else nodes
    if type(count) is not int:
        raise TypeError(f"nodes is how many there are to be, an int, or their names and cores, not {nodes!r}")
    if count < 1:
        raise ValueError(f"nodes is at least 1, not {nodes}")
    return {f"n{number}@{machine}": cores[(number - 1) % len(cores)] for number in range(1, count + 1)}
