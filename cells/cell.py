"""Cells: untrusted programs as processes like any other."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, Literal

from beamlike import Pid, call, pack
from beamlike.seam import end, start_behaviour
from cells.compiled import MOST_CODE, Compiled
from cells.inside.program import Start
from cells.kinds import COMPILE, COMPILED
from cells.limits import Limits
from cells.process import be_cell

KINDS = ("process", "wasm")
OPENED = frozenset({"device", "exit", "file", "net", "port_io", "raw_memory"})  # what may be opened to a cell
DEFAULT_LIMITS = Limits()
COMPILER = Limits(memory=1024 * 1024 * 1024, cpu=300.0)


class Cell:
    """Starts cells; never made. For a supervisor: `ChildSpec.of(Cell, source, "main", id="guest", limits=…)`."""

    child_type = "worker"

    @staticmethod
    async def start(source: str | ModuleType | bytes | Compiled, fn: str | None = None, *args: Any, **options: Any) -> Pid:
        """`spawn_cell`."""
        return await _start(False, source, fn, args, **options)

    @staticmethod
    async def start_link(source: str | ModuleType | bytes | Compiled, fn: str | None = None, *args: Any, **options: Any) -> Pid:
        """`spawn_cell`, linked to the caller from the start."""
        return await _start(True, source, fn, args, **options)


async def spawn_cell(source: str | ModuleType | bytes | Compiled, fn: str | None = None, *args: Any, **options: Any) -> Pid:
    """Run an untrusted program in an OS process of its own, behind walls, and return its pid when it is locked in.

    The pid is one like any other: send, call, link, monitor, kill it. It ends with the reason its first process has, or one that says what
    happened: `("limit", "memory" | "cpu" | "output" | "pids" | "unread")`, `("capability_violation", "os", system call)`,
    `("capability_violation", "mailbox")`, `("signal", name)`, `("exit", status)`, `killed`; of `wasm` also `("trap", cause)`,
    `("capability_violation", "import", name)` and `("invalid", text)`.

    Inside there is the same face: `from beamlike import receive, send, self_pid, spawn, call, GenServer, …`. It reaches the pids that it is
    handed, in arguments and messages, and no others. Values pass in both directions, instances of the program's own classes only inwards
    and if the cell has their class.

    Args:
        source: Python source, or a module whose source is taken; for `wasm` the bytes of a module or a component, or a component that is
            `Compiled`.
        fn: the function to call, async or not, as its first process; None: it is a script, and its `main`, if that is async, is run too.
            What a script raises is shown on its stderr as well, and `sys.exit(status)` ends it with `("exit", status)`, or `normal` for 0.
        args: values for the function; for a script the rest of its `sys.argv`.
        exclude: added to the caller's exclusions.
        opens: of `file`, `net`, `exit`, `device`, `port_io` and `raw_memory`, the kinds that the exclusions decide upon. The others are
            closed to the cell altogether. To let it read one folder: `opens=["file"], exclude=[("only", ("file", "/srv/data", "r"))]`. The
            last three it can only use by asking a guarded server.
        limits: a `Limits`.
        kind: `process` or `wasm`.
        strict: every wall that is optional is required.
        name: a local name.
        modules: sources that it may import, by name.
        stdin: bytes.
        output: who gets what it writes to stdout and stderr, as `CellOutput`, and at last `CellEnded`. None: it is dropped.
        timeout: seconds until it must be locked in.

    Raises:
        CellUnavailable: this machine lacks a wall, and never is a program run without; or there is no room for a further cell.
        TypeError, ValueError: an argument is not what it should be.
        BadNameError: the name is taken.
    """
    return await _start(False, source, fn, args, **options)


async def compile_component(
    component: bytes, *, metered: bool = False, limits: Limits = COMPILER, timeout: float | None = 300.0
) -> Compiled:
    """Compile a component in a cell, for many cells to run: each starts in a fraction of the time. See docs/wasm-cells.md.

    The cell ends with the call, also if that is cancelled or takes too long.

    Args:
        metered: for cells with a limit of fuel.
        limits: of the cell that compiles; of fuel it needs none.
        timeout: seconds until it must have compiled it.

    Raises:
        CellUnavailable: as `spawn_cell`.
        TypeError: a component is bytes.
        TimeoutError: it took longer.
        CallError: the component cannot be compiled; the reason is that with which a cell would end that was to run it.
    """
    if type(component) is not bytes:
        raise TypeError(f"compile_component: a component is bytes, not {component!r:.80}")
    begin = Start("compiler", (COMPILE, component), None, (), {}, b"")
    limits = replace(limits, fuel=1 if metered else None)  # which says that it is to be metered
    cell = await start_behaviour(
        be_cell, "wasm", False, begin, limits, frozenset(), None, link=False, timeout=timeout, initial_call="cell:compiler"
    )
    code = bytearray()
    try:
        while len(code) < MOST_CODE and (part := await call(cell, len(code), timeout=timeout)):
            code += part
    finally:
        if cell.process is not None:
            end(cell.process, "killed")
    return Compiled(bytes(code), metered)


async def _start(
    link: bool,
    source: str | ModuleType | bytes | Compiled,
    fn: str | None,
    args: tuple[Any, ...],
    *,
    exclude: Iterable[Any] = (),
    opens: Iterable[str] = (),
    limits: Limits = DEFAULT_LIMITS,
    kind: Literal["process", "wasm"] = "process",
    strict: bool = False,
    name: str | None = None,
    modules: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    output: Pid | None = None,
    timeout: float | None = 30.0,
) -> Pid:
    if callable(source):
        raise TypeError(f"spawn_cell: {source!r:.80} cannot go into a cell: give its source or its module, and its name as fn")
    if type(limits) is not Limits:
        raise TypeError(f"spawn_cell: limits is a cells.Limits, not {limits!r}")
    limits.check()
    if kind not in KINDS:
        raise ValueError(f"spawn_cell: kind is 'process' or 'wasm', not {kind!r}")
    if (kind == "wasm") is not (type(source) in (bytes, Compiled)):
        expected = "the bytes of a module or a component" if kind == "wasm" else "Python source or a module"
        raise TypeError(f"spawn_cell: the source of a cell of the kind {kind} is {expected}, not {source!r:.80}")
    if type(source) is Compiled and source.is_metered is (limits.fuel is None):
        compiled = "metered" if source.is_metered else "not metered"
        raise ValueError(f"spawn_cell: the component was compiled {compiled}, and limits.fuel is {limits.fuel}")
    if type(strict) is not bool:
        raise TypeError(f"spawn_cell: strict is True or False, not {strict!r}")
    if type(stdin) is not bytes:
        raise TypeError(f"spawn_cell: stdin is bytes, not {stdin!r:.80}")
    if modules is not None and not (isinstance(modules, Mapping) and all(type(each) is str for item in modules.items() for each in item)):
        raise TypeError(f"spawn_cell: modules are sources by name, a dict of str, not {modules!r:.80}")
    if fn is not None and type(fn) is not str:
        raise TypeError(f"spawn_cell: fn is the name of a function, or None for a script, not {fn!r}")
    if output is not None and type(output) is not Pid:
        raise TypeError(f"spawn_cell: output is a Pid or None, not {output!r}")
    if kind == "process" and fn is None and not all(type(each) is str for each in args):
        raise TypeError(f"spawn_cell: the arguments of a script are str, not {args!r}")
    kinds = None if isinstance(opens, str) or not isinstance(opens, Iterable) else tuple(opens)
    if kinds is None or not all(type(each) is str and each in OPENED for each in kinds):
        wanted = (
            f"some of the kinds {', '.join(sorted(OPENED))}; what of a kind is for exclude to say: ('only', ('file', '/srv/data', 'r'))"
        )
        raise ValueError(f"spawn_cell: opens is {opens!r}, expected {wanted}")
    opened = frozenset(kinds)
    if kind == "wasm" and (stdin or modules or opened):
        raise ValueError("spawn_cell: a cell of the kind wasm has no stdin, no modules, and nothing that could be opened to it")
    title, text = _source(source, name)
    begin = Start(title, text, fn, args, dict(modules or {}), stdin)
    pack(tuple(begin))  # what cannot be sent is refused here and now
    return await start_behaviour(
        be_cell,
        kind,
        strict,
        begin,
        limits,
        opened,
        output,
        name=name,
        link=link,
        exclude=exclude,
        timeout=timeout,
        initial_call=f"cell:{title}",
    )


def _source(source: Any, name: str | None) -> tuple[str, Any]:
    if isinstance(source, ModuleType):
        return source.__name__, inspect.getsource(source)
    if type(source) in (str, bytes):
        return name or "program", source
    if type(source) is Compiled:
        return name or "program", (COMPILED, source.code)
    raise TypeError(f"spawn_cell: source is Python source, a module, or the bytes of a wasm module, not {source!r:.80}")
