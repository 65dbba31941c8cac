"""A WebAssembly module as the program of a cell: two walls around it, wasmtime's and the cell's.

Theory of operation. The zygote has imported wasmtime; a cell locks itself, and only then gets the bytes, compiles them and calls the function.
All that they can reach is what they import from the namespace `beamlike` (`imports`); if they import anything else they are not run.
There is no actor core in such a cell and no second process: a program that waits makes its OS process wait.

A memory is reserved as a whole when it is made, so it never moves, and `memory.grow` fails when nothing is left of it. What the compiler needs
comes on top, ROOM. A component (`component`), which is what Python becomes, is run in the same way.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any, Final

from beamlike import pack, unpack
from cells.inside.mail import Mail
from cells.inside.program import Start
from cells.kinds import OUT_OF_MEMORY, CellKind
from nodes.seam import Kind

try:
    from wasmtime import Config, Engine, Module, Store, Trap, TrapCode, WasmtimeError, wat2wasm
except ImportError as error:
    raise ImportError("a cell of the kind wasm needs wasmtime: pip install 'beamlike[wasm]'") from error

from cells.inside.component import run_component
from cells.inside.imports import PAGE, Exit, run_module

ROOM: Final = 64 * 1024 * 1024  # bytes of address space for the compiler, which takes about 90 for each of a module
STACK: Final = (
    512 * 1024
)  # bytes of the stack, of which the OS process has megabytes. wasmtime would abort if this were more than it supports
MOST_ELEMENTS: Final = 65536  # of each table
COMPONENT: Final = b"\0asm\x0d\0\x01\0"  # what the bytes of a component begin with
CAUSE: Final = "wasm trap: "  # what wasmtime writes before it


def run(mail: Mail, limits: dict[str, Any]) -> None:
    """All of such a cell's life but its walls."""
    mail.say(CellKind.READY, b"")
    (count,) = _parts(mail, 1)
    start = Start(*unpack(b"".join(_parts(mail, count))))
    _catch_abort()
    mail.say(CellKind.ENDED, pack(_ended(mail, start, limits)))


def _parts(mail: Mail, count: int) -> list[Any]:
    """The first messages of all are the gateway's: the parts of the start."""
    return [unpack(record[-1]) for _ in range(count) if (record := mail.receive(None)) is not None]


def _ended(mail: Mail, start: Start, limits: dict[str, Any]) -> Any:
    """Run the program. Returns why it ended."""
    source: Any = start.source
    memory = limits["memory"] // PAGE * PAGE
    try:
        engine = make_engine(memory, is_metered=limits["fuel"] is not None)
        store = Store(engine)
        store.set_limits(memory_size=memory, table_elements=MOST_ELEMENTS)
        if limits["fuel"] is not None:
            store.set_fuel(limits["fuel"])
        if source.startswith(COMPONENT):
            run_component(engine, store, mail, source, start.args)
        else:
            mail.keep((Kind.SEND, 0, pack(start.args)))
            run_module(store, Module(engine, source), start.fn or "main", mail, memory)
    except Exit as ended:
        return ended.reason
    except Trap as trap:
        return ("limit", "cpu") if trap.trap_code is TrapCode.OUT_OF_FUEL else ("trap", str(trap).rpartition(CAUSE)[2].strip())
    except WasmtimeError as invalid:
        return ("invalid", str(invalid))
    return "normal"


def make_engine(memory: int, *, is_metered: bool) -> Engine:
    """An engine that works behind the lock, where there are neither threads nor memfds. `memory`: bytes that are reserved for each memory."""
    config = Config()
    config.parallel_compilation = False
    config.memory_init_cow = False
    config.memory_reservation = memory
    config.memory_may_move = False
    config.memory_guard_size = PAGE
    config.max_wasm_stack = STACK
    config.consume_fuel = is_metered
    config.wasm_threads = config.wasm_memory64 = config.wasm_gc = False
    return Engine(config)


def _catch_abort() -> None:
    """wasmtime aborts when the compiler gets no memory."""
    ctypes.CDLL(None).signal(signal.SIGABRT, _out_of_memory)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _out_of_memory(_: int) -> None:
    os._exit(OUT_OF_MEMORY)


# What the compiler touches first is then in the memory that all cells share. No thread stays, and nothing that anybody else wrote is compiled.
Module(make_engine(PAGE, is_metered=False), wat2wasm("(module (func (param i32) (result i32) local.get 0))"))
