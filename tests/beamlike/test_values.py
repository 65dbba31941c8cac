"""M7, M8 on one node: what the walker copies, passes and refuses. The law for arbitrary messages is in test_wire.py."""

from __future__ import annotations

import collections
import dataclasses
import functools
import io
import math
import socket
import sys
import types
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from beamlike.hot import values
from beamlike.hot.ids import NodeId, Pid, Ref
from beamlike.hot.values import MAX_DEPTH, PART_SIZE, WRAPPING, copy_argument, copy_value, size_of
from beamlike.records import record

NODE = NodeId("a@here", 1)


@record
class Point:
    x: Any
    y: Any


@record(frozen=False)
class Account:
    owner: str
    entries: list[int]


@record
@dataclasses.dataclass(frozen=True)
class Circle:
    radius: float

    @functools.cached_property
    def notes(self) -> list[str]:
        return []


@record
class Colour(Enum):
    RED = 1


class Unregistered(Enum):
    ONE = 1


@dataclasses.dataclass
class Plain:
    x: int


class Pair(NamedTuple):
    x: int
    y: int


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class LongRepr:
    def __repr__(self) -> str:
        return "x" * 100_000


class OddZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    tzname = dst = utcoffset  # type: ignore[assignment]


class Tools:
    @staticmethod
    def double(x: int) -> int:
        return 2 * x

    @classmethod
    def make(cls) -> Tools:
        return cls()

    def act(self) -> None: ...


class SharperTools(Tools):
    pass


def outer() -> Any:
    def inner() -> None: ...

    return inner


def nested(levels: int, wrap: Any = lambda part: (part,)) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = wrap(value)
    return value


ATOMS = [
    None, True, 0, 2**70, -1, 1.5, math.inf, 1j, "text", b"bytes",
    Pid(NODE, 1), Ref(NODE, 2), Decimal("1.50"), date(2024, 2, 29), timedelta(1),
    datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Paris")),
    time(1, 2, tzinfo=timezone(timedelta(hours=1), "X")), Colour.RED,
    len, math.sin, nested, Tools, Tools.double, int, dict, Colour,
]  # fmt: skip


@pytest.mark.parametrize("atom", ATOMS, ids=repr)
def test_atom_passes_as_it_is(atom: Any) -> None:
    assert copy_value(atom) is atom


@pytest.mark.parametrize("wrap", [lambda x: (x, 1), lambda x: frozenset([x]), lambda x: Point(x, (x,))])
@pytest.mark.parametrize("atom", ATOMS, ids=repr)
def test_immutable_container_of_atoms_passes_as_it_is(atom: Any, wrap: Any) -> None:
    message = wrap(atom)
    assert copy_value(message) is message


@pytest.mark.parametrize("mutable", [[1], {1: 2}, {1}, bytearray(b"x"), Account("me", [1])], ids=repr)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: [x], lambda x: {"k": x}, lambda x: Point(1, x)])
def test_mutable_part_is_copied_and_what_holds_it_is_rebuilt(mutable: Any, wrap: Any) -> None:
    message = wrap(mutable)
    copy = copy_value(message)
    assert copy == message
    assert type(copy) is type(message)
    assert copy is not message
    unwrap = {tuple: lambda m: m[0], list: lambda m: m[0], dict: lambda m: m["k"], Point: lambda m: m.y}
    if type(message) is not type(mutable):
        assert unwrap[type(message)](copy) is not mutable


def test_copy_shares_no_depth_with_the_original() -> None:
    message = {"a": [({1}, [Account("me", [1])])]}
    copy = copy_value(message)
    message["a"][0][0].add(2)
    message["a"][0][1][0].entries.append(2)
    assert copy == {"a": [({1}, [Account("me", [1])])]}


def test_only_the_changed_part_of_a_tuple_is_rebuilt() -> None:
    kept = ("kept",)
    copy = copy_value((kept, [1]))
    assert copy[0] is kept


def test_key_that_holds_something_mutable_is_copied() -> None:
    circle = Circle(1.0)
    circle.notes.append("mine")
    for copy in (copy_value({circle: [1]}), copy_value({circle}), copy_value(frozenset([circle]))):
        (key,) = copy
        assert key == circle
        assert key is not circle
    assert copy_value({1: "a", circle: [2]}) == {1: "a", circle: [2]}


def test_attributes_that_are_not_fields_do_not_travel() -> None:
    circle = Circle(1.0)
    assert copy_value(circle) is circle
    circle.notes.append("mine")
    copy = copy_value(circle)
    assert copy == circle
    assert copy.notes == []


def test_part_reached_twice_becomes_two_parts() -> None:
    part = [1]
    copy = copy_value([part, part])
    assert copy[0] is not copy[1]


def test_order_of_a_dict_is_kept() -> None:
    assert list(copy_value({"b": [], "a": 1, (): 2})) == ["b", "a", ()]


REFUSED = [
    (lambda: (1, 2, {"sock": BadRepr()}), "message[2]['sock']", "BadRepr"),
    (lambda: [1, LongRepr()], "message[1]", "LongRepr"),
    (lambda: io.BytesIO(), "message", "is a _io.BytesIO"),
    (lambda: object, None, ""),
    (lambda: {"a": [object()]}, "message['a'][0]", "is a builtins.object"),
    (lambda: {(1, object()): 1}, "message<key>[1]", "is a builtins.object"),
    (lambda: {object()}, "message<item>", "is a builtins.object"),
    (lambda: frozenset([object()]), "message<item>", "is a builtins.object"),
    (lambda: Point(1, [object()]), "message.y[0]", "is a builtins.object"),
    (lambda: Account("me", object()), "message.entries", "is a builtins.object"),  # type: ignore[arg-type]
    (lambda: [lambda: 1], "message[0]", "only importable functions travel"),
    (lambda: outer(), "message", "only importable functions travel"),
    (lambda: Tools().act, "message", "only importable functions travel"),
    (lambda: [].append, "message", "only importable functions travel"),
    (lambda: type("Made", (), {}), "message", "only importable functions travel"),
    (lambda: functools.partial(nested, 1), "message", "is a functools.partial"),
    (lambda: Plain(1), "message", "register it with @record"),
    (lambda: Unregistered.ONE, "message", "register it with @record"),
    (lambda: Pair(1, 2), "message", "send a tuple"),
    (lambda: collections.defaultdict(list), "message", "send a dict"),
    (lambda: datetime(2024, 1, 1, tzinfo=OddZone()), "message", "tzinfo"),
    (lambda: (i for i in [1]), "message", "is a builtins.generator"),
    (lambda: ValueError("x"), "message", "is a builtins.ValueError"),
    (lambda: memoryview(b"x"), "message", "is a builtins.memoryview"),
    (lambda: math, "message", "is a builtins.module"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "path", "reason"), REFUSED)
def test_what_cannot_be_sent_raises_type_error_that_names_the_part(make: Any, path: str | None, reason: str) -> None:
    value = make()
    if path is None:
        assert copy_value(value) is value
        return
    with pytest.raises(TypeError) as caught:
        copy_value(value)
    text = str(caught.value)
    assert text.startswith(f"cannot send {path}: ")
    assert reason in text
    assert len(text) < 600


def test_socket_is_refused_with_its_path() -> None:
    with socket.socket() as sock, pytest.raises(TypeError, match=r"^cannot send message\[2\]\['sock'\]: .* is a socket.socket; .*@record$"):
        copy_value((1, 2, {"sock": sock}))


def test_unset_field_is_refused() -> None:
    account = Account("me", [])
    del account.entries
    with pytest.raises(TypeError, match=r"^cannot send message\[0\]\.entries: the field has no value$"):
        copy_value([account])


def test_classmethod_travels_bound_to_its_own_class() -> None:
    assert copy_value(Tools.make) == Tools.make
    assert copy_value(SharperTools.make).__self__ is SharperTools


def test_function_whose_name_leads_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original = nested
    monkeypatch.setattr(sys.modules[__name__], "nested", outer)
    with pytest.raises(TypeError, match="cannot be imported by its name"):
        copy_value(original)


@pytest.mark.parametrize(
    ("main", "name"),
    [
        ({"__file__": "/somewhere/shop.py", "__spec__": None}, "shop"),
        ({"__file__": "/somewhere/tool", "__spec__": None}, "__main__"),
        ({"__spec__": None}, "__main__"),
        ({"__file__": "/x/y.py", "__spec__": types.SimpleNamespace(name="shop.cli")}, "shop.cli"),
    ],
)
def test_functions_of_a_script_carry_its_name(main: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("__main__")
    vars(module).update(main)
    exec("def work(): pass", vars(module))
    monkeypatch.setitem(sys.modules, "__main__", module)
    assert values.importable_name(module.work) == f"{name}:work"


WRAPS = [lambda x: (x,), lambda x: [x], lambda x: {1: x}, lambda x: {(x,): 1}, lambda x: frozenset([x]), lambda x: Point(x, 1)]


@pytest.mark.parametrize("wrap", [WRAPS[i] for i in (0, 1, 2, 4, 5)])
@pytest.mark.parametrize(("walk", "most"), [(copy_value, MAX_DEPTH), (copy_argument, MAX_DEPTH), (size_of, MAX_DEPTH + WRAPPING)])
def test_nesting_is_bounded(walk: Any, most: int, wrap: Any) -> None:
    walk(nested(most, wrap))
    with pytest.raises(TypeError, match=f"a message may be nested {MAX_DEPTH} levels deep"):
        walk(nested(most + 1, wrap))


@pytest.mark.parametrize("walk", [copy_value, copy_argument, size_of])
def test_far_too_deep_message_is_refused_without_overflowing_the_stack(walk: Any) -> None:
    with pytest.raises(TypeError, match="nested"):
        walk(nested(100_000))


@pytest.mark.parametrize("walk", [copy_value, copy_argument, size_of])
def test_message_that_contains_itself_is_refused(walk: Any) -> None:
    cycle: list[Any] = [1, {}]
    cycle[1]["back"] = (cycle,)
    with pytest.raises(TypeError, match=r"^cannot send message\[1\]\['back'\]\[0\]: it contains itself$"):
        walk(cycle)
    account = Account("me", [])
    account.entries = [account]  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"message\.entries\[0\]: it contains itself"):
        walk(account)


def test_argument_that_cannot_be_sent_passes_as_it_is() -> None:
    given, mutable = object(), [1]
    inner = outer()
    copy = copy_argument((given, {"k": given}, mutable, inner))
    assert copy[0] is given
    assert copy[1]["k"] is given
    assert copy[2] == mutable
    assert copy[2] is not mutable
    assert copy[3] is inner


def test_size_counts_parts_and_lengths() -> None:
    assert size_of(None) == PART_SIZE
    assert size_of("abc") == PART_SIZE + 3
    assert size_of(bytearray(10)) == PART_SIZE + 10
    assert size_of(255) == PART_SIZE + 1
    assert size_of(("a", b"bc")) == 3 * PART_SIZE + 3
    assert size_of({"k": [1.0, set()]}) == 5 * PART_SIZE + 1
    assert size_of(Point("a", Account("me", []))) == 5 * PART_SIZE + 3
