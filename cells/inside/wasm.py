"""A WebAssembly module as the program of a cell: two walls around it, wasmtime's and the cell's.

Theory of operation. The zygote has imported wasmtime; a cell locks itself, and only then gets the bytes, compiles them and calls the
function. All that they can reach is what they import from the namespace `beamlike` (`imports`); if they import anything else they are not
run. There is no actor core in such a cell and no second process: a program that waits makes its OS process wait.

A memory is reserved as a whole when it is made, so it never moves, and `memory.grow` fails when nothing is left of it. What the compiler
needs comes on top, ROOM.

A component (`component`), which is what Python becomes, is large: its compiler takes from the limit what it needs, and a memory what is
left as it grows. It may have been compiled before, in a cell that did nothing else. Machine code is nothing to believe: it is run behind
these walls and nowhere else, and only if whoever started the cell said that it is some. Bytes that claim to be are refused.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from typing import Any, Final

from beamlike import pack, unpack
from cells.inside.mail import Mail
from cells.inside.program import Start
from cells.kinds import COMPILE, COMPILED, OUT_OF_MEMORY, CellKind
from nodes.seam import Kind

try:
    from wasmtime import Config, Engine, Module, Store, Trap, WasmtimeError, wat2wasm
    from wasmtime.component import Component
except ImportError as error:
    raise ImportError("a cell of the kind wasm needs wasmtime: pip install 'beamlike[wasm]'") from error

from cells.inside.component import hand_out, run_component
from cells.inside.imports import MOST_TEXT, PAGE, Exit, run_module

ROOM: Final = 64 * 1024 * 1024  # bytes of address space for the compiler, which takes about 90 for each of a module
# Bytes of the stack, of which the OS process has megabytes. wasmtime would abort if this were more than it supports.
STACK: Final = 512 * 1024
MOST_ELEMENTS: Final = 65536  # of each table
GROWTH: Final = 16 * 1024 * 1024  # bytes by which the memory of a component becomes larger when it has to move
COMPONENT: Final = b"\0asm\x0d\0\x01\0"  # what the bytes of a component begin with

# What wasmtime writes: of what ran; before the cause; if that is a trap; of the fuel; when there is no memory, or more was asked for than
# is permitted.
RAN: Final = "error while executing at wasm backtrace:"
CAUSE: Final = "Caused by:"
TRAP: Final = "wasm trap: "
OUT_OF_FUEL: Final = "all fuel consumed by WebAssembly"
TOO_MUCH: Final = ("Cannot allocate memory (os error 12)", "exceeds memory limits")


def run(mail: Mail, limits: dict[str, Any]) -> None:
    """All of such a cell's life but its walls."""
    mail.say(CellKind.READY, b"")
    (count,) = _parts(mail, 1)
    payload = bytearray()
    for part in _parts(mail, count):
        payload += part
    start = Start(*unpack(payload))
    del payload, part
    source = [*start.source] if type(start.source) is tuple else [None, start.source]
    start = start._replace(source="")
    _catch_abort()
    mail.say(CellKind.ENDED, pack(_ended(mail, source, start, limits)))


def _parts(mail: Mail, count: int) -> Iterator[Any]:
    """The first messages of all are the gateway's: the parts of the start."""
    return (unpack(record[-1]) for _ in range(count) if (record := mail.receive(None)) is not None)


def _ended(mail: Mail, source: list[Any], start: Start, limits: dict[str, Any]) -> Any:
    """Run the program. Returns why it ended.

    Args:
        source: COMPILE, COMPILED or None, and the bytes, which are taken from it: they may be many, and are not needed twice.
    """
    try:
        if source[0] is not None or source[1].startswith(COMPONENT):
            _run_component(mail, source, start.args, limits)
        else:
            engine = make_engine(_memory(limits), is_metered=limits["fuel"] is not None)
            mail.keep((Kind.SEND, 0, pack(start.args)))
            run_module(_store(engine, limits), Module(engine, source.pop()), start.fn or "main", mail)
    except Exit as ended:
        return ended.reason
    except (Trap, WasmtimeError) as error:
        return _reason(str(error))
    return "normal"


def _run_component(mail: Mail, source: list[Any], args: tuple[Any, ...], limits: dict[str, Any]) -> None:
    engine = make_engine(None, is_metered=limits["fuel"] is not None)
    what = source[0]
    component = Component.deserialize(engine, source.pop()) if what == COMPILED else Component(engine, source.pop())
    if what == COMPILE:
        hand_out(mail, bytes(component.serialize()))
    else:
        run_component(engine, _store(engine, limits), mail, component, args)


def _store(engine: Engine, limits: dict[str, Any]) -> Store:
    store = Store(engine)
    store.set_limits(memory_size=_memory(limits), table_elements=MOST_ELEMENTS)
    if limits["fuel"] is not None:
        store.set_fuel(limits["fuel"])
    return store


def _memory(limits: dict[str, Any]) -> int:
    return limits["memory"] // PAGE * PAGE  # type: ignore[no-any-return]


def _reason(text: str) -> Any:
    """What an error of wasmtime's is to who watches the cell. Of a component's there is the text and nothing else."""
    _, is_trap, cause = text.rpartition(TRAP)
    if is_trap:
        return ("limit", "cpu") if cause.strip() == OUT_OF_FUEL else ("trap", cause.strip()[:MOST_TEXT])
    if any(each in text for each in TOO_MUCH):
        return ("limit", "memory")
    return ("trap", text.rpartition(CAUSE)[2].strip()[:MOST_TEXT]) if RAN in text else ("invalid", text[:MOST_TEXT])


def make_engine(memory: int | None, *, is_metered: bool) -> Engine:
    """An engine that works behind the lock, where there are neither threads nor memfds.

    Args:
        memory: bytes that are reserved for each memory, which never moves; None: it moves when it grows.
    """
    config = Config()
    config.parallel_compilation = False
    config.memory_init_cow = False
    config.memory_reservation = memory or 0
    config.memory_reservation_for_growth = GROWTH if memory is None else 0
    config.memory_may_move = memory is None
    config.memory_guard_size = PAGE
    config.max_wasm_stack = STACK
    config.consume_fuel = is_metered
    config.wasm_threads = config.wasm_memory64 = config.wasm_gc = config.wasm_exceptions = False
    return Engine(config)


def _catch_abort() -> None:
    """wasmtime aborts when the compiler gets no memory."""
    ctypes.CDLL(None).signal(signal.SIGABRT, _out_of_memory)


@ctypes.CFUNCTYPE(None, ctypes.c_int)  # type: ignore[untyped-decorator]
def _out_of_memory(_: int) -> None:
    os._exit(OUT_OF_MEMORY)


# What the compiler touches first is then in the memory that all cells share. No thread stays, and what is compiled is ours.
Module(make_engine(PAGE, is_metered=False), bytes(wat2wasm("(module (func (param i32) (result i32) local.get 0))")))
