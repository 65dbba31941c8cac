"""CPython in a wasm cell: this becomes a component by build.sh, and runs the source that it is given.

The source defines what it wants of these; each is called as messages come, one at a time:

    def init(*args): ...                     the arguments of spawn_cell, once
    def handle_call(request, caller): ...    answers by what it returns; after NOREPLY `reply(caller, answer)` does
    def handle_info(message): ...            takes any other message

It finds `send(pid, message)`, `reply`, `NOREPLY`, `SELF`, `Pid`, `exit(status)` and `log(text)`; what it prints is logged, too. What it
raises ends it, with a traceback on stderr and the status 1.

Nothing here protects anything: it makes Python say so when something is not there, where otherwise the engine would end the cell.
"""

from __future__ import annotations

import io
import linecache
import struct
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import wit_world
from msgpack import ExtType, Packer, unpackb

# What the source can import besides what these import: it is in the component. Nothing can be read from files.
MODULES: Final = """
    abc array base64 bisect calendar cmath collections.abc contextlib copy csv dataclasses datetime decimal difflib enum fractions functools
    graphlib hashlib heapq html itertools json keyword math numbers operator pprint queue random re statistics string textwrap types typing
    unicodedata zlib
"""
FILE: Final = "<program>"
CALL: Final = 3  # the kind of a call; all else are messages
LIST, SET, FROZENSET, DICT, BIG_INT, BYTEARRAY, COMPLEX, PID = 1, 2, 3, 4, 16, 17, 18, 19  # extensions: beamlike/wire.py
CONTAINERS: Final[dict[int, type]] = {LIST: list, SET: set, FROZENSET: frozenset}
HEADS: Final = {kind: ExtType(code, b"") for code, kind in CONTAINERS.items()}
NATIVE: Final = (type(None), bool, float, str, bytes, ExtType)
ID: Final = struct.Struct(">qq")
NUMBERS: Final = struct.Struct(">dd")


class Pid(NamedTuple):
    """Whom a message can be sent to: one that came in arguments or a message, or SELF."""

    node: str
    incarnation: int
    serial: int


SELF: Final = Pid("cell", 1, 1)
NOREPLY: Final = object()


# --- values: those of Python itself, and what is not stays an ExtType, which can be passed on ---


def pack(value: Any) -> bytes:
    """Raises: TypeError: a part cannot be sent."""
    return Packer(unicode_errors="surrogatepass").pack(_lower(value))  # type: ignore[no-any-return]


def _lower(value: Any) -> Any:
    kind = type(value)
    if kind in NATIVE:
        return value
    if kind is int:
        if -(2**63) <= value < 2**64:
            return value
        return ExtType(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if kind is tuple:
        return tuple([_lower(part) for part in value])
    if kind in HEADS:
        return (HEADS[kind], *[_lower(part) for part in value])
    if kind is dict:
        if all(type(key) in (*NATIVE[:-1], int) for key in value):
            return {_lower(key): _lower(part) for key, part in value.items()}
        return (ExtType(DICT, b""), *[_lower(part) for item in value.items() for part in item])
    if kind is bytearray:
        return ExtType(BYTEARRAY, bytes(value))
    if kind is complex:
        return ExtType(COMPLEX, NUMBERS.pack(value.real, value.imag))
    if kind is Pid:
        return ExtType(PID, ID.pack(value.incarnation, value.serial) + value.node.encode())
    raise TypeError(f"{value!r:.200} cannot be sent")


def unpack(payload: bytes) -> Any:
    return _raise(unpackb(payload, use_list=False, strict_map_key=False, unicode_errors="surrogatepass"))


def _raise(value: Any) -> Any:
    match value:
        case ExtType(code=code, data=data) if code in SCALARS:
            return SCALARS[code](data)
        case ExtType():
            return value
        case (ExtType(code=code, data=b""), *parts) if code in CONTAINERS:
            return CONTAINERS[code](map(_raise, parts))
        case (ExtType(code=code, data=b""), *parts) if code == DICT:
            parts = list(map(_raise, parts))
            return dict(zip(parts[::2], parts[1::2], strict=True))
        case tuple():
            return tuple(map(_raise, value))
        case dict():
            return {key: _raise(part) for key, part in value.items()}
    return value


SCALARS: Final[dict[int, Callable[[bytes], Any]]] = {
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    BYTEARRAY: bytearray,
    COMPLEX: lambda data: complex(*NUMBERS.unpack(data)),
    PID: lambda data: Pid(data[ID.size :].decode(), *ID.unpack_from(data)),
}


# --- what the source finds ---


def send(pid: Pid, message: Any) -> None:
    """Raises: TypeError; ValueError: the message is too long."""
    if type(pid) is not Pid:
        raise TypeError(f"send: a Pid, not {pid!r:.200}")
    _sent(wit_world.send(-1 if pid == SELF else pid.serial, pack(message)))


def reply(caller: int, answer: Any) -> None:
    """Answer a call, once. Raises: TypeError; ValueError: the answer is too long."""
    _sent(wit_world.reply(caller, pack(answer)))


def _sent(status: int) -> None:
    if status:
        raise ValueError("it is longer than a message of this cell may be")


def log(text: str) -> None:
    wit_world.log(text.encode("utf-8", "backslashreplace").decode())


def exit(status: int = 0) -> NoReturn:  # noqa: A001
    """End the cell: `normal` for 0, otherwise `("exit", status)`."""
    wit_world.exit(status)
    raise AssertionError


class Output(io.TextIOBase):
    """stdout and stderr."""

    def write(self, text: str, /) -> int:
        log(text)
        return len(text)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Of what CPython announces: the parser opens a file for its error messages, and would be ended."""
    if event == "open" or event.startswith(("os.", "time.")):
        raise PermissionError(f"{event} is not there in a wasm cell")


# --- what the cell calls ---

program: dict[str, Any] = {}  # the names of the source; empty until it is loaded
has_begun = False  # has the first message come?


class WitWorld(wit_world.WitWorld):
    """The world of cell.wit. One is made for each call, so it keeps nothing."""

    def load(self, source: str) -> None:
        sys.addaudithook(_audit)
        program.update(__name__="__main__", send=send, reply=reply, log=log, exit=exit, Pid=Pid, SELF=SELF, NOREPLY=NOREPLY)
        linecache.cache[FILE] = len(source), None, source.splitlines(keepends=True), FILE
        _guarded(lambda: exec(compile(source, FILE, "exec"), program))

    def on_message(self, kind: int, number: int, payload: bytes) -> None:
        _guarded(_take, kind, number, payload)


def _take(kind: int, number: int, payload: bytes) -> None:
    global has_begun
    value = unpack(payload)
    if not has_begun:
        has_begun = True
        program.get("init", _nothing)(*value)
    elif kind == CALL:
        answer = program.get("handle_call", _unexpected)(value, number)
        if answer is not NOREPLY:
            reply(number, answer)
    else:
        program.get("handle_info", _unexpected)(value)


def _nothing(*_: Any) -> None:
    """Of what the source does not define."""


def _unexpected(value: Any, *_: Any) -> Any:
    log(f"a message that it does not expect: {value!r:.200}\n")
    return NOREPLY


def _guarded(do: Callable[..., None], *args: Any) -> None:
    """Run the program's code. What it raises ends it."""
    try:
        do(*args)
    except SystemExit as ending:
        status = 0 if ending.code is None else ending.code
        if not isinstance(status, int):
            log(f"{status}\n")
            status = 1
        exit(status & 0xFF)
    except BaseException as error:  # noqa: BLE001 - nobody else can tell
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
            trace = trace.tb_next
        log("".join(traceback.format_exception(error.with_traceback(trace))))
        exit(1)


# From here on it is as it will be in the cell: componentize-py keeps what this module leaves.
for name in MODULES.split():
    import_module(name)
sys.path.clear()
sys.path_hooks.clear()
sys.path_importer_cache.clear()
sys.stdout = sys.stderr = Output()
