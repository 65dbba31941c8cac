"""Messages as bytes: what crosses from one interpreter, cell or machine to another. The one module that knows msgpack.

Format. None, bool, float (64 bit), str (UTF-8, lone surrogates passed through), bytes and ints of 64 bits are msgpack's own; a tuple is an
array; a dict whose keys are all of these is a map. The rest are msgpack extensions, by `Code`. A *scalar* has its bytes in
the extension. A *container* is an array that starts with an empty extension, its head: the list `[1, 2]` is
`[ext(LIST), 1, 2]`; so the message stays flat, and size and time stay linear in it.

What is refused, and with which error, is as in `beamlike.hot.values.copy_value` (rule M8); what arrives is equal to what that would
give, types included (M7). Nothing is pickled. Bytes are not trusted: `unpack` makes plain values and instances of classes registered
here, calls no constructor of theirs, and imports only when asked to.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from functools import partial
from types import NoneType
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgpack

import caps
from beamlike import abroad
from beamlike.hot import codec, scheduler, values
from beamlike.hot.ids import NodeId, Pid, Ref

InternPid = Callable[[str, int, int], Pid]


class Code(IntEnum):
    """Extension codes. Never renumbered: programs in C know them."""

    LIST = 1  # head; the items
    SET = 2  # head; the items
    FROZENSET = 3  # head; the items
    DICT = 4  # head; key, value, key, value …
    RECORD = 5  # head; `module:qualname`, the fields in order
    BIG_INT = 16  # two's complement, big endian
    BYTEARRAY = 17  # its bytes
    COMPLEX = 18  # real, imaginary: two big-endian doubles
    PID = 19  # incarnation, serial: two big-endian signed 64-bit numbers; the node's name
    REF = 20  # as PID
    ENUM = 21  # `module:qualname:member`; of a Flag the number instead of the member
    FUNCTION = 22  # `module:qualname`
    DECIMAL = 23  # its str
    DATETIME = 24  # packed (year, month, day, hour, minute, second, microsecond, fold, zone)
    DATE = 25  # packed (year, month, day)
    TIME = 26  # packed (hour, minute, second, microsecond, fold, zone)
    TIMEDELTA = 27  # packed (days, seconds, microseconds)
    LAYER = 28  # packed terms: a `caps.Layer`, in a call or a cast of a limited process
    # A zone is nil, the key of a ZoneInfo, or (days, seconds, microseconds[, name]) of a timezone.


NONE: Final[frozenset[Code]] = frozenset()


class WireError(ValueError):
    """Bytes that are no message, or one that this node cannot make: an unknown record, a function that is not here."""


_ID: Final = struct.Struct(">qq")
_COMPLEX: Final = struct.Struct(">dd")
_NATIVE: Final = frozenset({NoneType, bool, float, str, bytes})
_packer = msgpack.Packer(unicode_errors="surrogatepass")  # one for all: a pack runs no Python code, so none starts inside another


# --- packing ----------------------------------------------------------------------------------------------------------


def pack(value: Any) -> bytes:
    """`value` as bytes.

    Raises:
        TypeError: a part cannot be sent, as in `copy_value`.
        ValueError: a str, bytes or container of 4 GiB or more.
    """
    packed = codec.pack(value)
    if packed is not None:
        return packed
    return _packer.pack(_lower(value, value, 0))  # type: ignore[no-any-return]


def _lower(value: Any, root: Any, depth: int) -> Any:
    """`value` in what msgpack has: its scalars, extensions, tuples and dicts."""
    kind = type(value)
    if kind in _NATIVE or (kind is int and -(2**63) <= value < 2**64):
        return value
    if kind is Pid:
        abroad.leaves(value)
        return msgpack.ExtType(Code.PID, _id_bytes(value))
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        code, encode = scalar
        return msgpack.ExtType(code, encode(value))
    head = _HEADS.get(kind)
    shape = values.shape_of(kind)
    if head is None and shape is None and kind is not tuple and kind is not dict:
        return _lower_rare(value, root)
    if depth == values.MAX_DEPTH:
        raise values.refusal(root)
    depth += 1
    if shape is not None:
        return (_RECORD_HEAD, shape.name, *[_lower(part, root, depth) for part in _fields_of(value, shape, root)])
    if kind is dict:
        return _lower_dict(value, root, depth)
    parts = [part if type(part) in _NATIVE else _lower(part, root, depth) for part in value]
    return tuple(parts) if head is None else (head, *parts)


def _lower_dict(value: dict[Any, Any], root: Any, depth: int) -> Any:
    # An extension is a tuple to Python: among the keys of a map it could meet an equal tuple of the sender's.
    if all(type(key) in _NATIVE or (type(key) is int and -(2**63) <= key < 2**64) for key in value):
        return {key: _lower(part, root, depth) for key, part in value.items()}
    return (_DICT_HEAD, *[_lower(part, root, depth) for item in value.items() for part in item])


def _fields_of(value: Any, shape: values.Shape, root: Any) -> list[Any]:
    try:
        return [getattr(value, field) for field in shape.fields]
    except AttributeError:
        raise values.refusal(root) from None


def _lower_rare(value: Any, root: Any) -> Any:
    kind = type(value)
    if kind is datetime:
        day, clock = (value.year, value.month, value.day), (value.hour, value.minute, value.second, value.microsecond)
        return msgpack.ExtType(Code.DATETIME, _packer.pack((*day, *clock, value.fold, _zone_parts(value.tzinfo, root))))
    if kind is time:
        clock = (value.hour, value.minute, value.second, value.microsecond)
        return msgpack.ExtType(Code.TIME, _packer.pack((*clock, value.fold, _zone_parts(value.tzinfo, root))))
    if values.is_registered_enum(kind):
        member = value.value if issubclass(kind, Flag) else value.name
        return msgpack.ExtType(Code.ENUM, _text_bytes(f"{values.type_name(kind)}:{member}"))
    if kind is caps.Layer:
        return msgpack.ExtType(Code.LAYER, pack(value.terms))
    name = values.importable_name(value)
    if name is None:
        raise values.refusal(root)
    return msgpack.ExtType(Code.FUNCTION, _text_bytes(name))


def _zone_parts(zone: tzinfo | None, root: Any) -> Any:
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return (offset.days, offset.seconds, offset.microseconds, *name)
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if zone is None:
        return None
    raise values.refusal(root)


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _text_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _id_bytes(value: Any) -> bytes:
    return _ID.pack(value.origin.incarnation, value.serial) + _text_bytes(value.origin.name)


def _is_settled(pid: Pid) -> bool:
    """Will nothing change about it but that its process ends? Not if it may turn out to be the pid of a process of this node."""
    return pid.process is not None or pid.origin != scheduler.current_node()


def _pid_bytes(pid: Pid) -> bytes:
    """Its whole extension, for the codec."""
    abroad.leaves(pid)
    raw: bytes = _packer.pack(msgpack.ExtType(Code.PID, _id_bytes(pid)))
    if _is_settled(pid):
        codec.remember_packed(pid, raw)
    return raw


def _pid_of(raw: bytes) -> Pid:
    """What is in its extension, the other way round."""
    incarnation, serial = _ID.unpack_from(raw)
    pid = abroad.arrives(_text(raw[_ID.size :]), incarnation, serial)
    if _is_settled(pid):
        codec.remember_arrived(raw, pid)
    return pid


codec.install(_pid_bytes, _pid_of)
values.register_atom(caps.Layer)

_SCALARS: Final[dict[type, tuple[Code, Callable[[Any], bytes]]]] = {
    Ref: (Code.REF, _id_bytes),
    int: (Code.BIG_INT, _int_bytes),
    bytearray: (Code.BYTEARRAY, bytes),
    complex: (Code.COMPLEX, lambda value: _COMPLEX.pack(value.real, value.imag)),
    Decimal: (Code.DECIMAL, lambda value: str(value).encode()),
    date: (Code.DATE, lambda value: _packer.pack((value.year, value.month, value.day))),
    timedelta: (Code.TIMEDELTA, lambda value: _packer.pack((value.days, value.seconds, value.microseconds))),
}
_HEADS: Final[dict[type, Any]] = {
    list: msgpack.ExtType(Code.LIST, b""),
    set: msgpack.ExtType(Code.SET, b""),
    frozenset: msgpack.ExtType(Code.FROZENSET, b""),
}
_DICT_HEAD: Final = msgpack.ExtType(Code.DICT, b"")
_RECORD_HEAD: Final = msgpack.ExtType(Code.RECORD, b"")


# --- unpacking --------------------------------------------------------------------------------------------------------


def unpack(
    data: bytes | bytearray | memoryview, *, intern_pid: InternPid | None = None, functions: bool = False, refused: frozenset[Code] = NONE
) -> Any:
    """The message in `data`, which need not be trusted.

    Of the user's code only `__hash__` and `__eq__` of records in sets and dict keys run, `_missing_` of a Flag, and with
    `functions` what importing runs.

    Args:
        intern_pid: called with a node's name, its incarnation and a serial, gives the Pid for them; `abroad.arrives` unless given, by
            which the pid of a live process of this node, packed here, is that pid again.
        functions: allow functions and classes, and import the modules that they are named after. For peers that are trusted to
            choose what this node imports and calls; otherwise a message with a function in it is refused.
        refused: extensions that are not accepted, if the sender is a stranger. Such a one also has only so many keys and members of sets
            that are no scalars, MOST_UNHASHED, as others can be chosen to collide, and zones of time without a name, as those with one are
            files. Only with `intern_pid`.

    Raises:
        WireError: not exactly one message; cut off; an unknown extension; a record or enum that is not registered here or has
            other fields here; a function that is not allowed or not found; nesting deeper than `values.MAX_DEPTH`.
    """
    if intern_pid is None and type(data) is bytes and len(data) <= codec.LONGEST:
        value = codec.unpack(data)
        if value is not codec.ELSEWHERE:
            return value
    decoder = _Decoder(intern_pid, functions, refused)
    try:
        value = msgpack.unpackb(
            data,
            use_list=False,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            timestamp=1,
            ext_hook=decoder.decode,
            object_pairs_hook=decoder.make_dict if refused else None,
        )
        if decoder.has_heads:
            return _raise(value, 0, decoder)
        if len(data) > values.MAX_DEPTH:  # shorter ones cannot be nested too deeply
            values.copy_value(value)
    except WireError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError, RecursionError, struct.error) as error:
        raise WireError(f"not a message: {str(error) or type(error).__name__}") from error
    return value


class _Head:
    """The head of a container, while the message is taken apart."""

    __slots__ = ("code",)

    def __init__(self, code: Code) -> None:
        self.code = code


_PID: Final = int(Code.PID)  # a plain global: looking a member up costs as much as the rest of the comparison
_HEAD_OF: Final[dict[int, _Head]] = {code: _Head(code) for code in (Code.LIST, Code.SET, Code.FROZENSET, Code.DICT, Code.RECORD)}


class _Decoder:
    """What msgpack calls for each extension of one message."""

    __slots__ = ("functions", "has_heads", "intern_pid", "refused", "unhashed")

    def __init__(self, intern_pid: InternPid | None, functions: bool, refused: frozenset[Code]) -> None:
        self.refused = refused
        self.unhashed = 0
        self.intern_pid = intern_pid or abroad.arrives
        self.functions = functions
        self.has_heads = False

    def decode(self, code: int, data: bytes) -> Any:
        if code == _PID:
            incarnation, serial = _ID.unpack_from(data)
            return self.intern_pid(str(data[_ID.size :], "utf-8", "surrogatepass"), incarnation, serial)
        if self.refused:
            if code in self.refused:
                raise WireError(f"the extension {Code(code).name} is not accepted from this sender")
            if code in (Code.DATETIME, Code.TIME) and type(msgpack.unpackb(data, use_list=False)[-1]) is str:
                raise WireError("a zone of time by its name is not accepted from this sender")
        head = _HEAD_OF.get(code)
        if head is not None and not data:
            self.has_heads = True
            return head
        decode = _DECODERS.get(code)
        if decode is None:
            if code == Code.FUNCTION:
                return self._function(_text(data))
            if code == Code.LAYER:
                return self._layer(data)
            raise WireError(f"unknown extension {code} of {len(data)} bytes")
        return decode(data)

    def make_dict(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        """A map of a stranger's."""
        self.count([key for key, _ in pairs])
        return dict(pairs)

    def count(self, keys: list[Any]) -> None:
        """A stranger's message is to be hashed in here."""
        for key in keys:
            if type(key) not in _SPREAD and not (type(key) is int and -(1 << 63) <= key < 1 << 64):
                self.unhashed += 1
        if self.unhashed > MOST_UNHASHED:
            raise WireError(f"more than {MOST_UNHASHED} keys and members of sets that are no scalars are not accepted from this sender")

    def _layer(self, data: bytes) -> caps.Layer:
        is_plain = self.intern_pid is abroad.arrives
        if is_plain and data in _layers:
            return _layers[data]
        terms = unpack(data, intern_pid=self.intern_pid)
        is_built_in = all(":" not in kind for kind in _kinds_in(terms))
        if not (self.functions or is_built_in):
            raise WireError("an exclusion of an application's kind is not accepted from this sender: its module would be imported")
        layer = caps.layer(terms)
        if is_plain and is_built_in:
            if len(_layers) == MOST_LAYERS:
                _layers.clear()
            _layers[data] = layer
        return layer

    def _function(self, name: str) -> Any:
        if not self.functions:
            raise WireError(f"function {name!r} is not accepted from this sender")
        module, _, path = name.partition(":")
        try:
            found: Any = importlib.import_module("__main__" if module == values.module_name("__main__") else module)
            for step in path.split("."):
                found = getattr(found, step)
        except Exception as error:  # importing runs the module
            raise WireError(f"function {name!r} is not to be had on this node: {error!r}") from error
        if values.importable_name(found) != name:
            raise WireError(f"{name!r} is no function or class of that name on this node")
        return found


MOST_LAYERS: Final = 256
_layers: Final[dict[bytes, caps.Layer]] = {}  # of built-in kinds, as they came: a cast of a limited process has them


def _kinds_in(terms: Any) -> list[str]:
    """Of all terms of a layer, those in only entries too."""
    inner = [part for term in terms for part in (term[1:] if term[0] == "only" else (term,))]
    return [str(term[0]) for term in inner]


# Whose hashes nobody outside can choose, or only few of which are equal: of ints of 64 bits at most 8.
_SPREAD: Final = frozenset({type(None), bool, float, str, bytes, Pid})
MOST_UNHASHED: Final = 64  # in one message


def _raise(value: Any, depth: int, decoder: _Decoder) -> Any:
    """The opposite of `_lower`, extensions being decoded already."""
    kind = type(value)
    if kind is not tuple and kind is not dict:
        if kind is _Head:
            raise WireError(f"the head of a {value.code.name} where there is no container")
        return value
    if depth == values.MAX_DEPTH:
        raise WireError(f"nested deeper than {values.MAX_DEPTH} levels")
    depth += 1
    if kind is dict:
        return {_raise(key, depth, decoder): _raise(part, depth, decoder) for key, part in value.items()}
    if not value or type(value[0]) is not _Head:
        return tuple([_raise(part, depth, decoder) for part in value])
    parts = [_raise(part, depth, decoder) for part in value[1:]]
    if decoder.refused and value[0].code in _HASHED:
        decoder.count(parts)
    return _CONTAINERS[value[0].code](parts)


def _make_dict(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _make_record(parts: list[Any]) -> Any:
    name, *fields = parts
    kind = values.registered(name)
    shape = None if kind is None else values.shape_of(kind)
    if shape is None:
        raise WireError(f"record {name!r} is not registered on this node; import its module before messages arrive")
    if len(fields) != len(shape.fields):
        raise WireError(f"a {name} of {len(fields)} fields has come, here it has {len(shape.fields)}: {', '.join(shape.fields)}")
    return shape.build(fields)


_CONTAINERS: Final[dict[Code, Callable[[list[Any]], Any]]] = {
    Code.LIST: list,
    Code.SET: set,
    Code.FROZENSET: frozenset,
    Code.DICT: _make_dict,
    Code.RECORD: _make_record,
}


_HASHED: Final = frozenset({Code.SET, Code.FROZENSET, Code.DICT})


def _text(data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


def _make_ref(data: bytes) -> Ref:
    incarnation, serial = _ID.unpack_from(data)
    return Ref(NodeId(_text(data[_ID.size :]), incarnation), serial)


def _make_enum(data: bytes) -> Enum:
    module, qualname, member = _text(data).split(":", 2)
    kind = values.registered(f"{module}:{qualname}")
    if kind is None or not issubclass(kind, Enum):
        raise WireError(f"enum {module}:{qualname} is not registered on this node; import its module before messages arrive")
    return kind(int(member)) if issubclass(kind, Flag) else kind[member]


def _make_datetime(data: bytes) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = _packed(data, 9)
    return datetime(year, month, day, hour, minute, second, microsecond, _make_zone(zone), fold=fold)


def _make_time(data: bytes) -> time:
    hour, minute, second, microsecond, fold, zone = _packed(data, 6)
    return time(hour, minute, second, microsecond, _make_zone(zone), fold=fold)


def _make_zone(parts: Any) -> tzinfo | None:
    if type(parts) is str:
        return ZoneInfo(parts)
    if parts is None:
        return None
    days, seconds, microseconds, *name = parts
    return timezone(timedelta(days, seconds, microseconds), *name)


def _packed(data: bytes, count: int) -> tuple[Any, ...]:
    parts = msgpack.unpackb(data, use_list=False)
    if type(parts) is not tuple or len(parts) != count:
        raise WireError(f"{count} numbers expected, not {parts!r}")
    return parts


_DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    Code.REF: _make_ref,
    Code.BIG_INT: partial(int.from_bytes, byteorder="big", signed=True),
    Code.BYTEARRAY: bytearray,
    Code.COMPLEX: lambda data: complex(*_COMPLEX.unpack(data)),
    Code.ENUM: _make_enum,
    Code.DECIMAL: lambda data: Decimal(data.decode()),
    Code.DATETIME: _make_datetime,
    Code.DATE: lambda data: date(*_packed(data, 3)),
    Code.TIME: _make_time,
    Code.TIMEDELTA: lambda data: timedelta(*_packed(data, 3)),
}
