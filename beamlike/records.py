"""`@record`: classes and enums whose instances may be sent.

A message may cross to another interpreter, so what it is made of must be known there under a name, `module:qualname`, and must
be nothing but its fields. `@record` says that both hold; see `beamlike.hot.values` for how records are copied.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, dataclass_transform, overload

from beamlike.hot import values

_T = TypeVar("_T")


@overload
def record(kind: type[_T], /) -> type[_T]: ...
@overload
def record(*, frozen: bool = True) -> Callable[[type[_T]], type[_T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def record(kind: type[_T] | None = None, /, *, frozen: bool = True) -> type[_T] | Callable[[type[_T]], type[_T]]:
    """Class decorator: let instances of this class be sent.

    On a plain class with annotations it makes a dataclass with slots. A dataclass and an `Enum` are registered as they are
    (`frozen` then says nothing). Frozen records are shared between processes of a node as long as all their fields are
    immutable; others are copied at each send. Subclasses are records only if they are decorated too. Decorating a class
    again under the same module and name, as reloading a module does, replaces it for messages that arrive.

    The receiver's record is made from the fields without calling `__init__` or `__post_init__`: a process that
    does not trust the sender checks the fields itself. Every node must have imported the module; arriving records import nothing.

    Args:
        frozen: False makes instances mutable.

    Raises:
        TypeError: not a class; not at module level; state that is not in fields (a base such as Exception or list, slots,
            a field with `init=False`, an `InitVar`, a `__new__`, an `__init__` of its own on a class that is not a dataclass); or
            another module's class has the name already.
    """
    if type(frozen) is not bool:
        raise TypeError(f"@record: frozen is True or False, not {frozen!r}")
    if kind is None:
        return lambda decorated: _register(decorated, frozen)
    return _register(kind, frozen)


def _register(kind: type[_T], frozen: bool) -> type[_T]:
    if not isinstance(kind, type):
        raise TypeError(f"@record takes a class, not {kind!r}")
    if "<locals>" in kind.__qualname__:
        raise TypeError(f"{_name(kind)} is defined in a function; a record is defined at module level, where other nodes find it")
    if issubclass(kind, Enum):
        values.register_enum(kind)
        return kind
    if kind.__new__ is not object.__new__:
        raise TypeError(f"{_name(kind)} is made by a __new__ of its own or of a base; a record is made from its fields alone")
    if "__dataclass_fields__" not in vars(kind):
        kind = _as_dataclass(kind, frozen)
    fields = _checked_fields(kind)
    slots = {slot for base in kind.__mro__ for slot in _slots(base)}
    stray = slots - set(fields) - {"__dict__", "__weakref__"}
    if stray:
        raise TypeError(f"{_name(kind)} has slots that are no fields: {', '.join(sorted(stray))}; a record is its fields alone")
    values.register_record(kind, fields, kind.__dataclass_params__.frozen, kind.__dictoffset__ == 0)  # type: ignore[attr-defined]
    return kind


def _as_dataclass(kind: type[_T], frozen: bool) -> type[_T]:
    for own in ("__init__", "__slots__"):
        if own in vars(kind):
            raise TypeError(f"{_name(kind)} has {own} of its own; annotate the fields and leave {own} to @record")
    return dataclasses.dataclass(frozen=frozen, slots=True)(kind)


def _checked_fields(kind: type) -> tuple[str, ...]:
    fields = dataclasses.fields(kind)
    for field in fields:
        if not field.init:
            raise TypeError(f"field {field.name!r} of {_name(kind)} has init=False; a record is made from fields that are all given")
    names = tuple(field.name for field in fields)
    # Of what `fields` leaves out, ClassVar and InitVar, only an InitVar is a parameter.
    given_only = (set(vars(kind)["__dataclass_fields__"]) - set(names)) & set(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
    if given_only:
        raise TypeError(f"{_name(kind)} has InitVar {', '.join(sorted(given_only))}; a record keeps all it is made from: use a field")
    return names


def _slots(kind: type) -> tuple[str, ...]:
    slots: Any = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
