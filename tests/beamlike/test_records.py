"""What @record makes of a class, and what it refuses (M7, M8)."""

from __future__ import annotations

import abc
import dataclasses
import sys
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from beamlike.hot.values import copy_value, registered
from beamlike.records import record
from beamlike.wire import pack, unpack

T = TypeVar("T")


@record
class Point:
    x: int
    y: int = 0
    origin: ClassVar[str] = "zero"


@record
class Point3(Point):
    z: int = 0


class Point2(Point):
    pass


@record(frozen=False)
class Account:
    owner: str
    entries: list[int] = dataclasses.field(default_factory=list)


@record
class Box(Generic[T]):
    content: T


@record
class Shape(abc.ABC):
    size: int


@record
@dataclasses.dataclass
class Counted:
    """Counts how often it is made, and can be set only upwards."""

    count: int
    made: ClassVar[int] = 0

    def __post_init__(self) -> None:
        Counted.made += 1

    def __setattr__(self, name: str, value: Any) -> None:
        if value < getattr(self, name, 0):
            raise ValueError(f"{name} only grows")
        object.__setattr__(self, name, value)


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module whose classes the test defines with `define`."""
    made = types.ModuleType("module_of_test_records")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def define(module: types.ModuleType, source: str) -> None:
    text = f"from beamlike.records import record\nimport dataclasses, enum, typing\n{source}"
    exec(compile(text, module.__name__, "exec", dont_inherit=True), vars(module))  # without this file's __future__


def test_frozen_is_a_bool() -> None:
    with pytest.raises(TypeError, match="frozen is True or False, not 'x'"):
        record(frozen="x")  # type: ignore[call-overload]


def test_record_is_a_frozen_dataclass_with_slots() -> None:
    point = Point(1, 2)
    assert point == Point(1, y=2)
    assert repr(point) == "Point(x=1, y=2)"
    assert not hasattr(point, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 3  # type: ignore[misc]
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_mutable_record_is_copied_when_sent() -> None:
    account = Account("me", [1])
    copy = copy_value(account)
    account.owner = "you"
    account.entries.append(2)
    assert copy == Account("me", [1])


def test_derived_record_arrives_with_the_fields_of_its_base() -> None:
    assert copy_value((Point3(1, 2, 3), [])) == (Point3(1, 2, 3), [])


def test_generic_record_is_sent() -> None:
    box: Box[list[int]] = Box([1])
    assert copy_value(box) == box


def test_record_with_a_metaclass_is_sent() -> None:
    assert copy_value([Shape(1)]) == [Shape(1)]
    assert unpack(pack([Shape(1)])) == [Shape(1)]


def test_subclass_of_a_record_is_refused_until_it_is_registered() -> None:
    with pytest.raises(TypeError, match=r"Point2.*registered ones"):
        copy_value(Point2(1, 2))


def test_copying_runs_neither_post_init_nor_setattr_again() -> None:
    counted = Counted(5)
    before = Counted.made
    copy = copy_value(counted)
    assert copy == counted
    assert copy is not counted
    assert Counted.made == before


def test_enum_is_registered_as_it_is(module: types.ModuleType) -> None:
    define(module, "@record\nclass Colour(enum.Enum):\n  RED = 1")
    assert issubclass(module.Colour, Enum)
    assert copy_value(module.Colour.RED) is module.Colour.RED
    assert registered("module_of_test_records:Colour") is module.Colour


def test_reloaded_class_takes_the_place_of_the_old_one(module: types.ModuleType) -> None:
    source = "@record\nclass Thing:\n  x: int"
    define(module, source)
    old = module.Thing
    define(module, source)
    assert registered("module_of_test_records:Thing") is module.Thing
    assert module.Thing is not old
    assert copy_value(old(1)) == old(1)


def test_name_that_another_modules_class_has_is_refused(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    define(module, "@record\nclass Thing:\n  x: int")
    main = types.ModuleType("__main__")
    main.__file__ = "/somewhere/module_of_test_records.py"
    main.__spec__ = None
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(TypeError, match="would both be module_of_test_records:Thing to other nodes"):
        define(main, "@record\nclass Thing:\n  x: int")


MISUSE = [
    ("record(3)", "takes a class, not 3"),
    ("@record\ndef function(): pass", "takes a class, not <function"),
    ("def f():\n  @record\n  class A:\n    x: int\nf()", "is defined in a function"),
    ("@record\nclass A(Exception):\n  x: int", "made by a __new__"),
    ("@record\nclass A(list):\n  x: int", "made by a __new__"),
    ("@record\nclass A(typing.NamedTuple):\n  x: int", "made by a __new__"),
    ("@record\nclass A:\n  x: int\n  def __new__(cls, *a): return object.__new__(cls)", "made by a __new__"),
    ("@record\nclass A:\n  x: int\n  def __init__(self): self.z = 1", "__init__ of its own"),
    ("@record\nclass A:\n  __slots__ = ('x',)\n  x: int", "__slots__ of its own"),
    ("class B:\n  __slots__ = ('hidden',)\n@record\nclass A(B):\n  x: int", "slots that are no fields: hidden"),
    ("@record\nclass A:\n  x: int = dataclasses.field(init=False, default=1)", "field 'x' of .* has init=False"),
    ("@record\nclass A:\n  x: int\n  y: dataclasses.InitVar[int]", "has InitVar y"),
    ("@record\nclass A:\n  x: int\n  y: 'dataclasses.InitVar[int]'", "has InitVar y"),
]


@pytest.mark.parametrize(("source", "message"), MISUSE)
def test_misuse_raises_type_error(source: str, message: str, module: types.ModuleType) -> None:
    define(module, "pass")
    with pytest.raises(TypeError, match=message):
        define(module, source)
