"""What a WebAssembly module can call: the functions of the namespace `beamlike`; docs/wasm-cells.md describes them.

All values are packed, as they cross the ring. Pids are handles, 1, 2, …; SELF is the module's own. Addresses are of its memory, which it
exports as `memory`; if one is not in there the module is ended, as by a trap.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable
from typing import Any, Final

from wasmtime import Func, Instance, Linker, Memory, Module, Store, Trap, WasmtimeError

from cells.inside.linking import Functions
from cells.inside.mail import Mail, Record
from nodes.seam import Kind

NAMESPACE: Final = "beamlike"
PAGE: Final = 65536  # bytes
SELF: Final = -1
TIMED_OUT, TOO_SMALL, TOO_LONG = -1, -2, -3  # results
HEADER: Final = struct.Struct("<IIqQ")  # kind, length, from, call
MOST_TEXT: Final = 1000  # characters of a reason, in which there may be names of the module's
UNKNOWN: Final = 0  # who sent a message: as in Erlang it says so itself


class Exit(Exception):  # noqa: N818 - no error
    """The program ends, with this reason."""

    def __init__(self, reason: Any) -> None:
        super().__init__(reason)
        self.reason = reason


def exit_with(status: int) -> Exit:
    """The end of a program that gives a status."""
    return Exit(("exit", status) if status else "normal")


class Imports:
    """The functions of one module. `store`, and `memory` once there is one, are its own."""

    def __init__(self, store: Store, mail: Mail) -> None:
        self.store = store
        self.mail = mail
        self.memory: Memory | None = None
        self._base = self._size = 0  # of the memory, which grows and never moves

    # --- its memory ---

    def _at(self, address: int, length: int) -> int:
        """Where these bytes are in ours. Lengths and addresses come with a sign that they do not have there."""
        address, length = address & 0xFFFFFFFF, length & 0xFFFFFFFF
        if address + length > self._size:
            if self.memory is not None:
                self._base = ctypes.addressof(self.memory.data_ptr(self.store).contents)
                self._size = self.memory.data_len(self.store)
            if address + length > self._size:
                raise Exit(("trap", "out of bounds memory access"))
        return self._base + address

    def _read(self, address: int, length: int) -> bytes:
        return ctypes.string_at(self._at(address, length), length & 0xFFFFFFFF)

    def _write(self, address: int, data: bytes) -> None:
        ctypes.memmove(self._at(address, len(data)), data, len(data))

    def _give(self, record: Record | None, header: int, buffer: int, capacity: int) -> int:
        """Write a record into the module's memory; what it has no room for is the next to be received."""
        if record is None:
            return TIMED_OUT
        kind, number, payload = record
        self._write(header, HEADER.pack(kind, len(payload), UNKNOWN, number))
        if len(payload) > capacity & 0xFFFFFFFF:
            self.mail.keep(record)
            return TOO_SMALL
        self._write(buffer, payload)
        return len(payload)

    # --- the functions ---

    def receive(self, header: int, buffer: int, capacity: int, timeout_ms: int) -> int:
        return self._give(self.mail.receive(_seconds(timeout_ms)), header, buffer, capacity)

    def send(self, to: int, buffer: int, length: int) -> int:
        payload = self._read(buffer, length)
        if len(payload) > self.mail.longest:
            return TOO_LONG
        if to == SELF:
            self.mail.waiting.append((Kind.SEND, 0, payload))
        else:
            self.mail.send(handle(to), payload)
        return 0

    def reply(self, number: int, buffer: int, length: int) -> int:
        payload = self._read(buffer, length)
        if len(payload) > self.mail.longest:
            return TOO_LONG
        self.mail.reply(number & 0xFFFFFFFFFFFFFFFF, payload)
        return 0

    def call(self, to: int, buffer: int, length: int, header: int, answer: int, capacity: int, timeout_ms: int) -> int:
        payload = self._read(buffer, length)
        if len(payload) > self.mail.longest:
            return TOO_LONG
        return self._give(self.mail.call(handle(to), payload, _seconds(timeout_ms)), header, answer, capacity)

    def own_pid(self) -> int:
        return SELF

    def log(self, buffer: int, length: int) -> None:
        self.mail.log(self._read(buffer, length))

    def now(self) -> int:
        return time.monotonic_ns()

    def exit(self, status: int) -> None:
        raise exit_with(status)


def _seconds(timeout_ms: int) -> float | None:
    return None if timeout_ms < 0 else timeout_ms / 1000


def handle(to: int) -> int:
    """A handle as it crosses the ring; the gateway ends the cell for one that it was not given."""
    return to & 0xFFFFFFFFFFFFFFFF


# name: the function, its parameters and its result, as in `Functions.define`.
FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], str, str]]] = {
    "receive": (Imports.receive, "iiii", "i"),
    "send": (Imports.send, "lii", "i"),
    "reply": (Imports.reply, "lii", "i"),
    "call": (Imports.call, "liiiiii", "i"),
    "self": (Imports.own_pid, "", "l"),
    "log": (Imports.log, "ii", ""),
    "now": (Imports.now, "", "l"),
    "exit": (Imports.exit, "i", ""),
}


def run_module(store: Store, module: Module, name: str, mail: Mail) -> None:
    """Link the module and call the function of this name, to its end.

    Raises: Exit, WasmtimeError, Trap.
    """
    for wanted in module.imports:
        if wanted.module != NAMESPACE or wanted.name not in FUNCTIONS:
            raise Exit(("capability_violation", "import", f"{wanted.module}::{wanted.name}"[:MOST_TEXT]))
    imports = Imports(store, mail)
    linker = Linker(store.engine)
    functions = Functions(linker)
    for known, (function, parameters, result) in FUNCTIONS.items():
        functions.define(NAMESPACE, known, function.__get__(imports), parameters, result)
    try:
        status = _call(linker.instantiate(store, module), store, imports, name)
    except (Trap, WasmtimeError):
        if functions.raised is not None:
            raise functions.raised from None
        raise
    raise exit_with(status if type(status) is int else 0)


def _call(instance: Instance, store: Store, imports: Imports, name: str) -> Any:
    exports = instance.exports(store)
    main, memory = exports.get(name), exports.get("memory")
    if not isinstance(main, Func) or main.type(store).params:
        raise Exit(("invalid", f"it exports no function {name!r} without parameters"))
    if not isinstance(memory, Memory):
        raise Exit(("invalid", "it exports no memory with the name 'memory'"))
    imports.memory = memory
    return main(store)
