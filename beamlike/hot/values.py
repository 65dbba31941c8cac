# cython: annotation_typing=False
# (C types are in values.pxd; the annotations are for checkers.)
"""Messages are values: what may be sent, and the copy that the receiver gets (rules M7, M8).

The walker decides by *exact* type, never by `isinstance`, so a subclass with state or behaviour of its own is refused:

- atoms pass as they are: None, bool, int, float, complex, str, bytes, Pid, Ref, Decimal, date, time, datetime, timedelta
  (in no time zone, in a `datetime.timezone` or in a `zoneinfo.ZoneInfo` that has a key), members of registered enums,
  functions and classes that other nodes can import;
- list, dict, set, bytearray and mutable registered records are copied, with all that is in them;
- tuple, frozenset and frozen registered records pass as they are when nothing inside had to be copied, else they are
  rebuilt around the copies;
- everything else is refused with a TypeError that says where in the message it is.

As in Erlang the copy is a tree: a part that is reached twice becomes two parts, so a message built of n levels that each
hold the next one twice costs 2**n. Nesting is bounded by `MAX_DEPTH`; this also finds a part that contains itself.

A record is taken apart and put together by its fields alone: `__init__`, `__post_init__` and `__setattr__` do not run again,
what they checked or counted when the sender built it stays as it is. Attributes that are not fields (a `cached_property`)
do not travel.

Code of the user runs in these places only, and a caller that must not be pre-empted guards the whole call: `__hash__` and
`__eq__` of records that are rebuilt inside a set, a frozenset or a dict key; descriptors and `__getattribute__` of records
and of classes along a qualified name; `__repr__` of a part that is refused.
"""

from __future__ import annotations

import os.path
import reprlib
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from zoneinfo import ZoneInfo

from beamlike.hot.ids import Pid, Ref

# Containers inside one another. msgpack packs 511 levels; CPython allows 1000 frames, and uncompiled a level costs two.
MAX_DEPTH = 200

# Containers that the runtime may put around a message of the deepest kind: a Call, an Exit, a Down.
WRAPPING = 8

# What `size_of` counts for a part: near what CPython takes for a small object and the pointer to it.
PART_SIZE = 48

_max_depth, _sized_depth, _part_size, _Pid = MAX_DEPTH, MAX_DEPTH + WRAPPING, PART_SIZE, Pid  # the same as C globals
_MISSING = object()
_repr = reprlib.Repr()
_repr.maxother = _repr.maxstring = 80


class Shape:
    """How the records of one class are taken apart and put together.

    Attributes:
        kind: the class.
        name: `module:qualname`, its name on the wire.
        fields: the names of its fields, in order.
        frozen: whether an instance with immutable fields may be shared.
        slotted: whether an instance can have no attributes but its fields.
    """

    __slots__ = ("fields", "frozen", "kind", "name", "slotted")

    def __init__(self, kind: type, name: str, fields: tuple[str, ...], frozen: bool, slotted: bool) -> None:
        self.kind = kind
        self.name = name
        self.fields = fields
        self.frozen = frozen
        self.slotted = slotted

    def build(self, parts: list[Any]) -> Any:
        """A new instance with `parts` as its fields. No code of the class runs."""
        # Compiled classes of ours have a __new__ of their own, without code; `object` refuses to make them.
        made: Any = object.__new__(self.kind) if self.kind.__flags__ & HEAP_TYPE else self.kind.__new__(self.kind)  # type: ignore[call-overload]
        for index in range(len(self.fields)):
            object.__setattr__(made, self.fields[index], parts[index])
        return made


HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class made by a `class` statement that Python ran

_atoms: set[type] = {type(None), bool, int, float, complex, str, bytes, Pid, Ref, Decimal, date, timedelta}
_shapes: dict[type, Shape] = {}
_named: dict[str, type] = {}


# --- the registry -----------------------------------------------------------------------------------------------------


def register_record(kind: type, fields: tuple[str, ...], frozen: bool, slotted: bool) -> None:
    """Let instances of `kind` be sent. Again under the same name (a module was reloaded), the new class is what arrives.

    Raises:
        TypeError: another module's class has the name already.
    """
    _shapes[kind] = Shape(kind, _claim(kind), fields, frozen, slotted)


def register_atom(kind: type) -> None:
    """Let values of `kind`, which are immutable, be sent as they are. For the runtime's own types."""
    _atoms.add(kind)


def register_enum(kind: type[Enum]) -> None:
    """Let members of `kind` be sent. Reloading and errors are as for `register_record`."""
    _claim(kind)
    _atoms.add(kind)


def _claim(kind: type) -> str:
    name = type_name(kind)
    holder = _named.get(name)
    if holder is not None and holder.__module__ != kind.__module__:
        raise TypeError(
            f"{kind!r} and {holder!r} would both be {name} to other nodes; "
            f"a script that other modules import is loaded twice: move {kind.__qualname__} to a module of its own"
        )
    _named[name] = kind
    return name


def registered(name: str) -> type | None:
    """The record or enum class that `name` (`module:qualname`) stands for here, or None."""
    return _named.get(name)


def shape_of(kind: type) -> Shape | None:
    """How records of `kind` are taken apart, or None when it is not a registered record class."""
    return _shapes.get(kind)


def is_registered_enum(kind: type) -> bool:
    """Whether members of `kind` may be sent as members of an enum."""
    return kind in _atoms and issubclass(kind, Enum)


def type_name(kind: type) -> str:
    """`module:qualname`, the same on every node."""
    return f"{module_name(kind.__module__)}:{kind.__qualname__}"


def module_name(name: str) -> str:
    """What other nodes import module `name` by: the program's script has its file's name there, not `__main__`.

    Without a file (a prompt, `python -c`) it stays `__main__`, and what is defined there is known to this node only.
    """
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    stem, extension = os.path.splitext(os.path.basename(getattr(main, "__file__", None) or ""))
    return stem if extension == ".py" else name


def importable_name(value: Any) -> str | None:
    """`module:qualname` of a function, a class or a classmethod bound to its class, if that name leads back to `value`.

    None for everything else: lambdas, functions inside functions, methods bound to an instance, other objects.
    """
    kind = type(value)
    if kind is MethodType and issubclass(type(value.__self__), type):
        module, path = value.__self__.__module__, f"{value.__self__.__qualname__}.{value.__name__}"
    elif kind is FunctionType or kind is BuiltinFunctionType or issubclass(kind, type):
        module, path = value.__module__, value.__qualname__
    else:
        return None
    if type(module) is not str or type(path) is not str:
        return None
    found: Any = sys.modules.get(module)
    for step in path.split("."):
        found = getattr(found, step, None)
    if found is value or (kind is MethodType and type(found) is MethodType and found == value):
        return f"{module_name(module)}:{path}"
    return None


# --- the walker -------------------------------------------------------------------------------------------------------


def copy_value(value: Any) -> Any:
    """`value` as the receiver must get it, sharing nothing mutable with the sender.

    Raises:
        TypeError: a part cannot be sent (the error says which and why), contains itself, or is nested too deeply.
    """
    if type(value) is tuple:  # the commonest message: a flat tuple of atoms
        for part in value:
            kind = type(part)
            if kind is not int and kind is not str and kind is not _Pid and kind not in _atoms:
                break
        else:
            return value
    return _copy(value, value, 0, False)


def copy_argument(value: Any) -> Any:
    """As `copy_value`, for the arguments of a process that is spawned on the same node.

    What cannot be sent (a socket, a stream, a lambda, any object) passes as it is, also from inside a container: the spawner
    gives it away and should not use it any more.

    Raises:
        TypeError: a part contains itself or is nested too deeply.
    """
    return _copy(value, value, 0, True)


def _copy(value: Any, root: Any, depth: int, lenient: bool) -> Any:
    kind = type(value)
    # The commonest first: a comparison of pointers is cheaper than a look-up.
    if kind is str or kind is int or kind is _Pid or (kind is not tuple and kind in _atoms):
        return value
    if kind is tuple:
        return _copy_tuple(value, root, depth + 1, lenient)
    if kind is dict:
        return _copy_dict(value, root, depth + 1, lenient)
    if kind is list:
        return _copy_list(value, root, depth + 1, lenient)
    shape = _shapes.get(kind)
    if shape is not None:
        return _copy_record(value, shape, root, depth + 1, lenient)
    if kind is set or kind is frozenset:
        return _copy_set(value, root, depth + 1, lenient)
    if kind is bytearray:
        return bytearray(value)
    if lenient or _is_rare_atom(value):
        return value
    raise refusal(root, lenient)


def _copy_tuple(value: tuple[Any, ...], root: Any, depth: int, lenient: bool) -> tuple[Any, ...]:
    if depth > _max_depth:
        raise refusal(root, lenient)
    parts: list[Any] | None = None
    for index in range(len(value)):
        old = value[index]
        kind = type(old)
        if kind is str or kind is int or kind is _Pid or kind in _atoms:
            continue  # as _copy would find: the call is most of what an atom costs
        new = _copy(old, root, depth, lenient)
        if new is not old:
            if parts is None:
                parts = list(value)
            parts[index] = new
    return value if parts is None else tuple(parts)


def _copy_list(value: list[Any], root: Any, depth: int, lenient: bool) -> list[Any]:
    if depth > _max_depth:
        raise refusal(root, lenient)
    made = value[:]  # walked instead of `value`, which code of the user may change meanwhile
    for index in range(len(made)):
        old = made[index]
        new = _copy(old, root, depth, lenient)
        if new is not old:
            made[index] = new
    return made


def _copy_dict(value: dict[Any, Any], root: Any, depth: int, lenient: bool) -> dict[Any, Any]:
    if depth > _max_depth:
        raise refusal(root, lenient)
    made = value.copy()  # keeps the hashes, so nothing of the user's runs
    same_keys = True
    for key, old in made.items():
        if _copy(key, root, depth, lenient) is not key:
            same_keys = False
            break
        new = _copy(old, root, depth, lenient)
        if new is not old:
            made[key] = new  # a key that is there already: the size stays, and so the iteration is sound
    if same_keys:
        return made
    made = value.copy()
    return {_copy(key, root, depth, lenient): _copy(old, root, depth, lenient) for key, old in made.items()}


def _copy_set(value: Any, root: Any, depth: int, lenient: bool) -> Any:
    if depth > _max_depth:
        raise refusal(root, lenient)
    made = value.copy()  # a frozenset is its own copy
    parts = []
    same = True
    for old in made:
        new = _copy(old, root, depth, lenient)
        if new is not old:
            same = False
        parts.append(new)
    return made if same else type(value)(parts)


def _copy_record(value: Any, shape: Shape, root: Any, depth: int, lenient: bool) -> Any:
    if depth > _max_depth:
        raise refusal(root, lenient)
    # An attribute that is not a field could be mutable: an instance that has some is not shared.
    same = shape.frozen and (shape.slotted or len(value.__dict__) == len(shape.fields))
    parts = []
    for field in shape.fields:
        old = getattr(value, field, _MISSING)
        if old is _MISSING:
            raise refusal(root, lenient)
        new = _copy(old, root, depth, lenient)
        if new is not old:
            same = False
        parts.append(new)
    return value if same else shape.build(parts)


def _is_rare_atom(value: Any) -> bool:
    kind = type(value)
    if kind is datetime or kind is time:
        zone = value.tzinfo
        return zone is None or type(zone) is timezone or (type(zone) is ZoneInfo and zone.key is not None)
    return importable_name(value) is not None


def size_of(value: Any) -> int:
    """About how many bytes a message takes in a mailbox.

    `PART_SIZE` for each part (the message itself, every item, key, value and field), one more for each character of a str and each
    byte of a bytes, bytearray or int. A part that is reached twice counts twice, as it is copied twice.

    Raises:
        TypeError: `value` contains itself or is nested too deeply. It is not looked at otherwise: see `copy_value`.
    """
    return _size(value, value, 0)


def _size(value: Any, root: Any, depth: int) -> int:
    kind = type(value)
    if kind is str or kind is bytes or kind is bytearray:
        return _part_size + len(value)
    if kind is int:
        bits: int = value.bit_length()
        return _part_size + (bits + 7 >> 3)
    total = _part_size
    if kind is tuple or kind is list or kind is set or kind is frozenset:
        if depth >= _sized_depth:
            raise refusal(root, True)
        for part in value:
            total += _size(part, root, depth + 1)
    elif kind is dict:
        if depth >= _sized_depth:
            raise refusal(root, True)
        for key, part in value.items():
            total += _size(key, root, depth + 1) + _size(part, root, depth + 1)
    else:
        shape = _shapes.get(kind)
        if shape is not None:
            if depth >= _sized_depth:
                raise refusal(root, True)
            for field in shape.fields:
                total += _size(getattr(value, field, None), root, depth + 1)
    return total


# --- the error, found by a second walk --------------------------------------------------------------------------------


def refusal(message: Any, lenient: bool = False) -> TypeError:
    """The error for the first part of `message` that the walker refuses, with the path to it.

    In the path `[2]` is an item, `['k']` a dict's value, `.f` a record's field, `<key>` a key and `<item>` a set's element.

    Args:
        lenient: only nesting is refused, as `copy_argument` does.
    """
    found = _find(message, "message", [], lenient)
    path, reason = found if found is not None else ("message", "it was changed while it was being sent")
    if len(path) > 200:
        path = f"{path[:100]}…{path[-99:]}"
    return TypeError(f"cannot send {path}: {reason}")


def _find(value: Any, path: str, around: list[Any], lenient: bool) -> tuple[str, str] | None:
    kind = type(value)
    parts: list[tuple[str, Any]]
    if kind is tuple or kind is list:
        parts = [(f"{path}[{index}]", part) for index, part in enumerate(value)]
    elif kind is dict:
        parts = []
        for key, part in value.items():
            parts.append((f"{path}<key>", key))
            parts.append((f"{path}[{_repr.repr(key)}]", part))
    elif kind is set or kind is frozenset:
        parts = [(f"{path}<item>", part) for part in value]
    elif kind in _shapes:
        parts = [(f"{path}.{field}", getattr(value, field, _MISSING)) for field in _shapes[kind].fields]
    elif value is _MISSING:
        return path, "the field has no value"
    elif lenient or kind in _atoms or kind is bytearray or _is_rare_atom(value):
        return None
    else:
        return path, _reason(value)
    for container in around:
        if container is value:
            return path, "it contains itself"
    if len(around) >= MAX_DEPTH:
        return path, f"a message may be nested {MAX_DEPTH} levels deep, and this is one more"
    around.append(value)
    for label, part in parts:
        found = _find(part, label, around, lenient)
        if found is not None:
            return found
    around.pop()
    return None


def _reason(value: Any) -> str:
    kind = type(value)
    what = f"{_repr.repr(value)} is a {kind.__module__}.{kind.__qualname__}"
    if kind is FunctionType or kind is MethodType or kind is BuiltinFunctionType or issubclass(kind, type):
        return (
            f"{_repr.repr(value)} cannot be imported by its name; only importable functions travel: "
            "module-level functions, classes, and static and class methods reached through their class"
        )
    if kind is datetime or kind is time:
        return f"{what} whose tzinfo is neither None, a datetime.timezone nor a zoneinfo.ZoneInfo with a key"
    if issubclass(kind, Enum):
        return f"{what}, an enum that is not registered; register it with @record"
    if "__dataclass_fields__" in kind.__dict__:
        return f"{what}, a dataclass that is not registered; register it with @record"
    for base in kind.__mro__[1:]:
        if base in _atoms or base in (tuple, list, dict, set, frozenset, bytearray) or base in _shapes:
            return f"{what}, and of {base.__qualname__}'s subclasses only registered ones can be sent; send a {base.__qualname__}"
    return (
        f"{what}; a message may hold None, bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset, Pid, "
        "Ref, Decimal, dates and times, importable functions, and registered records and enums; "
        "register a dataclass or enum with @record"
    )
