"""M7: the same message arrives equal, types included, whether it crossed a node or not. And: bytes are not trusted."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from dataclasses import fields as fields_of
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prints import print_of

from beamlike import Down, abroad, receive, run, self_pid, send, sleep, spawn, spawn_monitor, wire
from beamlike.hot import codec, values
from beamlike.hot.ids import NodeId, Pid, Ref
from beamlike.hot.values import MAX_DEPTH, copy_argument, copy_value
from beamlike.records import record
from beamlike.wire import Code, WireError, pack, unpack

HERE = __name__


@record
class Point:
    x: Any
    y: Any


@record(frozen=False)
class Account:
    owner: Any
    entries: Any


@record
class Empty:
    pass


@record
class Colour(Enum):
    RED = "r"
    GREEN = "g"


@record
class Level(IntEnum):
    LOW = 1


@record
class Access(Flag):
    READ = 1
    WRITE = 2


class Tools:
    @classmethod
    def make(cls) -> None: ...

    @staticmethod
    def use() -> None: ...


class OddZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    tzname = dst = utcoffset  # type: ignore[assignment]


@dataclass
class Plain:
    x: int


def over_the_wire(value: Any) -> Any:
    return unpack(pack(value), functions=True)


def mutable_parts(value: Any) -> set[int]:
    """The identities of all that could be changed in a message."""
    kind = type(value)
    found = {id(value)} if kind in (list, dict, set, bytearray, Account) else set()
    if kind is dict:
        parts = [part for item in value.items() for part in item]
    elif kind in (tuple, list, set, frozenset):
        parts = list(value)
    elif kind in (Point, Account):
        parts = [getattr(value, field.name) for field in fields_of(kind)]
    else:
        parts = []
    return found.union(*[mutable_parts(part) for part in parts])


texts = st.text(st.characters(exclude_categories=()), max_size=20)
numbers64 = st.integers(-(2**63), 2**63 - 1)
nodes = st.builds(NodeId, texts.filter(lambda text: text.isprintable()), numbers64)
zones = st.none() | st.sampled_from([UTC, timezone(timedelta(0), "Z"), ZoneInfo("Europe/Paris"), ZoneInfo("UTC")])
offsets = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))) | zones
keys = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, -1, 0, 127, 128, -128, -129]),
    st.floats(),
    st.complex_numbers(),
    texts,
    st.binary(max_size=20),
    st.builds(Pid, nodes, numbers64),
    st.builds(Ref, nodes, numbers64),
    st.decimals(allow_nan=False),
    st.sampled_from([Decimal("-0"), Decimal("1.50"), Decimal("NaN"), Decimal("-Infinity")]),
    st.builds(lambda moment, fold: moment.replace(fold=fold), st.datetimes(timezones=offsets), st.integers(0, 1)),
    st.times(timezones=zones),
    st.dates(),
    st.timedeltas(),
    st.sampled_from([*Colour, *Level, *Access, Access(0), Access.READ | Access.WRITE]),
    st.sampled_from([len, math.sin, print_of, Tools, Tools.use, Tools.make, int, Colour, Point]),
)
atoms = keys | st.just(Decimal("sNaN7"))  # which has no hash
hashable = st.recursive(
    keys,
    lambda parts: st.lists(parts, max_size=3).map(tuple) | st.frozensets(parts, max_size=3) | st.builds(Point, parts, parts),
    max_leaves=5,
)
messages = st.recursive(
    atoms | hashable | st.binary(max_size=9).map(bytearray) | st.just(Empty()),
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.lists(parts, max_size=4).map(tuple),
        st.dictionaries(hashable, parts, max_size=4),
        st.sets(hashable, max_size=4),
        st.frozensets(hashable, max_size=4),
        st.builds(Point, parts, parts),
        st.builds(Account, parts, parts),
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("way", [copy_value, copy_argument, over_the_wire])
@given(message=messages)
def test_message_arrives_equal_types_included_and_shares_nothing_mutable(way: Any, message: Any) -> None:
    before = print_of(message)
    arrived = way(message)
    assert print_of(arrived) == before
    assert print_of(message) == before
    assert not mutable_parts(arrived) & mutable_parts(message)


def the_long_way(value: Any) -> Any:
    return wire._packer.pack(wire._lower(value, value, 0))


@given(message=messages)
def test_codec_packs_to_the_same_bytes_as_the_long_way_and_unpacks_to_the_same_message(message: Any) -> None:
    quick = codec.pack(message)
    assert quick in (None, the_long_way(message))
    if quick is not None:
        arrived = codec.unpack(quick)
        assert arrived is codec.ELSEWHERE or print_of(arrived) == print_of(message)


@pytest.mark.parametrize(
    "message",
    [
        5, -33, 2**64 - 1, -(2**63), 1.5, None, True, "", "é€", "a" * 31, "a" * 32, "a" * 255, "a" * 256, "a" * 60_000,
        b"", b"x" * 255, b"x" * 256, (), tuple(range(15)), tuple(range(16)), tuple(range(1000)), [], [1, [2, (3,)]],
        {}, {1: "a", "b": [None], None: {}}, {n: n for n in range(16)}, Point(1, Point("a", [])), Account("me", [1, 2]), Empty(),
        Pid(NodeId("n1@there", 3), 7), (Pid(NodeId("é@there", -1), 2**40), "x"),
    ],
    ids=lambda message: repr(message)[:20],
)  # fmt: skip
def test_codec_has_what_most_messages_are_made_of(message: Any) -> None:
    packed = codec.pack(message)
    assert packed is not None
    assert packed == the_long_way(message)
    assert print_of(codec.unpack(packed)) == print_of(message)


@pytest.mark.parametrize(
    "message", [2**64, "\ud800", {1}, {(1,): 2}, Colour.RED, print_of, b"x" * 70_000, tuple(range(70_000)), Decimal(1)]
)
def test_codec_leaves_the_rest_to_the_long_way(message: Any) -> None:
    assert codec.pack(message) is None
    assert codec.pack(("before", message)) is None
    assert print_of(over_the_wire(message)) == print_of(message)


def test_codec_leaves_what_is_nested_deeply_to_the_long_way() -> None:
    message: Any = ()
    for _ in range(40):
        message = (message,)
    assert codec.pack(message) is None
    assert codec.unpack(pack(message)) is codec.ELSEWHERE
    assert unpack(pack(message)) == message


@given(data=st.binary(max_size=40) | st.tuples(messages, st.integers(0, 60), st.binary(min_size=1, max_size=2)).map(
    lambda drawn: (whole := pack(drawn[0]))[: drawn[1] % (len(whole) + 1)] + drawn[2] + whole[drawn[1] % (len(whole) + 1) + 1 :]
))  # fmt: skip
def test_codec_unpacks_bytes_that_are_not_trusted_to_what_the_long_way_makes_of_them(data: bytes) -> None:
    quick = codec.unpack(data)
    if quick is not codec.ELSEWHERE:
        assert print_of(quick) == print_of(unpack(bytearray(data)))


@pytest.mark.parametrize("data", [b"\xdc\xed\xa0\x80", b"\xdc\x00\x05\x81\x01\x02", b"\xde\x00\x09\x01\x02", b"\x9f", b"\xdc\x00"])
def test_codec_unpacks_nothing_that_claims_to_be_longer_than_it_is(data: bytes) -> None:
    assert codec.unpack(data) is codec.ELSEWHERE
    with pytest.raises(WireError):
        unpack(data)


@record
class Nosy:
    """A record whose field is code that packs."""

    x: Any

    def __getattribute__(self, name: str) -> Any:
        if name == "x":
            return pack(("inner", 1))
        return object.__getattribute__(self, name)


def test_pack_inside_a_pack_spoils_neither() -> None:
    assert pack(("before", Nosy(0), "after")) == the_long_way(("before", Point(0, 0), "after")).replace(pack(Point(0, 0)), pack(Nosy(0)))


EXACT = [
    -0.0, math.nan, math.inf, -math.inf, complex(-0.0, math.nan), 2**70, -(2**70), 2**64, 2**64 - 1, -(2**63), -(2**63) - 1,
    "\ud800", "\udcff", "", b"", (), [], {}, set(), frozenset(), bytearray(), {"a": [[], [()], {}]}, {"a": {"b": [1, (2, [3])]}},
    {True: "bool"}, {1: "int"}, {1.0: "float"}, {None: 1, b"": 2, "": 3}, {(1, (2,)): 3}, {2**70: 1, Level.LOW: 2}, [True, 1, 1.0],
    {frozenset([1]): [2]}, {(int(Code.DECIMAL), b"1"): "tuple", Decimal(1): "decimal"}, Point([1], Point((), None)), Empty(),
    {Point(1, 2): {3}}, datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")), Colour.GREEN, Access(0),
]  # fmt: skip


@pytest.mark.parametrize("way", [copy_value, over_the_wire])
@pytest.mark.parametrize("message", EXACT, ids=repr)
def test_corner_of_a_type_is_kept_exactly(message: Any, way: Any) -> None:
    assert print_of(way(message)) == print_of(message)


@pytest.mark.parametrize(
    "message",
    [
        lambda: object(), lambda: [1, lambda: 1], lambda: {"k": Plain(1)}, lambda: {object(): 1}, lambda: Point(object(), 1),
        lambda: datetime(2024, 1, 1, tzinfo=OddZone()), lambda: type("Sub", (list,), {})(),
        lambda: ([],) * 2 + ({(1, object())},),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_with_the_same_error_on_one_node_as_on_two(message: Any) -> None:
    value = message()
    with pytest.raises(TypeError) as near:
        copy_value(value)
    with pytest.raises(TypeError) as far:
        pack(value)
    assert str(near.value) == str(far.value)


def test_unset_field_is_refused_with_the_same_error_on_one_node_as_on_two() -> None:
    account = Account(1, 2)
    del account.owner
    with pytest.raises(TypeError, match=r"message\.owner: the field has no value"):
        pack(account)


def nested(levels: int, wrap: Any) -> Any:
    value: Any = len
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda x: (x,), lambda x: [x], lambda x: {1: x}, lambda x: {2**70: x}, lambda x: Point(x, 1)])
def test_nesting_is_bounded_alike_on_one_node_as_on_two(wrap: Any) -> None:
    deep = nested(MAX_DEPTH, wrap)
    assert print_of(over_the_wire(deep)) == print_of(deep)
    with pytest.raises(TypeError, match="levels deep"):
        pack(nested(MAX_DEPTH + 1, wrap))


def test_pid_is_the_one_that_the_node_gives() -> None:
    known = Pid(NodeId("a@here", 3), 7)
    asked = []

    def intern(name: str, incarnation: int, serial: int) -> Pid:
        asked.append((name, incarnation, serial))
        return known

    arrived = unpack(pack((Pid(NodeId("a@here", 3), 7), [])), intern_pid=intern)
    assert arrived[0] is known
    assert asked == [("a@here", 3, 7)]


def test_record_is_made_without_running_its_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack(Point(1, 2))
    monkeypatch.setattr(Point, "__init__", lambda *_: pytest.fail("was called"))
    assert unpack(data).y == 2


# --- bytes are not trusted --------------------------------------------------------------------------------------------


def ext(code: int, data: bytes = b"") -> Any:
    return msgpack.ExtType(code, data)


HOSTILE = {
    "nothing": b"",
    "two messages": pack(1) + pack(2),
    "reserved byte": b"\xc1",
    "unknown extension": msgpack.packb(ext(99, b"x")),
    "unknown empty extension": msgpack.packb(ext(0)),
    "head alone": msgpack.packb(ext(Code.LIST)),
    "head not at the start": msgpack.packb((1, ext(Code.LIST))),
    "head as key": msgpack.packb({ext(Code.LIST): 1}),
    "head as value": msgpack.packb({1: ext(Code.SET)}),
    "head with bytes": msgpack.packb((ext(Code.LIST, b"x"), 1)),
    "dict of one and a half items": msgpack.packb((ext(Code.DICT), 1, 2, 3)),
    "list in a set": msgpack.packb((ext(Code.SET), (ext(Code.LIST),))),
    "dict as key": msgpack.packb((ext(Code.DICT), {}, 1)),
    "map as key of a map": b"\x81\x80\x01",
    "record without a name": msgpack.packb((ext(Code.RECORD),)),
    "record with a number for a name": msgpack.packb((ext(Code.RECORD), 1)),
    "record with a list for a name": msgpack.packb((ext(Code.RECORD), (ext(Code.LIST),))),
    "unregistered record": msgpack.packb((ext(Code.RECORD), f"{HERE}:Plain", 1)),
    "record of an enum": msgpack.packb((ext(Code.RECORD), f"{HERE}:Colour", 1)),
    "record with a field too few": msgpack.packb((ext(Code.RECORD), f"{HERE}:Point", 1)),
    "record with a field too many": msgpack.packb((ext(Code.RECORD), f"{HERE}:Point", 1, 2, 3)),
    "enum of a record": msgpack.packb(ext(Code.ENUM, f"{HERE}:Point:x".encode())),
    "unregistered enum": msgpack.packb(ext(Code.ENUM, b"http:HTTPStatus:OK")),
    "enum without such a member": msgpack.packb(ext(Code.ENUM, f"{HERE}:Colour:BLUE".encode())),
    "flag out of range": msgpack.packb(ext(Code.ENUM, f"{HERE}:Access:64".encode())),
    "flag that is no number": msgpack.packb(ext(Code.ENUM, f"{HERE}:Access:READ".encode())),
    "enum without colons": msgpack.packb(ext(Code.ENUM, b"x")),
    "short pid": msgpack.packb(ext(Code.PID, b"123")),
    "pid of a name that is no text": msgpack.packb(ext(Code.PID, b"1" * 16 + b"\xff")),
    "short ref": msgpack.packb(ext(Code.REF, b"")),
    "short complex": msgpack.packb(ext(Code.COMPLEX, b"1")),
    "decimal that is none": msgpack.packb(ext(Code.DECIMAL, b"one")),
    "decimal that is too large": msgpack.packb(ext(Code.DECIMAL, b"1e" + b"9" * 40)),
    "date that is none": msgpack.packb(ext(Code.DATE, msgpack.packb((2023, 2, 29)))),
    "date of two numbers": msgpack.packb(ext(Code.DATE, msgpack.packb((2023, 2)))),
    "date of pickled bytes": msgpack.packb(ext(Code.DATE, msgpack.packb((b"\x07\xe7\x01\x01", 1, 1)))),
    "datetime in no known zone": msgpack.packb(ext(Code.DATETIME, msgpack.packb((2023, 2, 1, 0, 0, 0, 0, 0, "Nowhere/At_All")))),
    "datetime in a zone above the folder": msgpack.packb(ext(Code.DATETIME, msgpack.packb((2023, 2, 1, 0, 0, 0, 0, 0, "../x")))),
    "datetime in a zone that is a folder": msgpack.packb(ext(Code.DATETIME, msgpack.packb((2023, 2, 1, 0, 0, 0, 0, 0, "Europe")))),
    "datetime in a number": msgpack.packb(ext(Code.DATETIME, msgpack.packb((2023, 2, 1, 0, 0, 0, 0, 0, 5)))),
    "timedelta that is too long": msgpack.packb(ext(Code.TIMEDELTA, msgpack.packb((2**62, 0, 0)))),
    "time that is a map": msgpack.packb(ext(Code.TIME, msgpack.packb({}))),
    "array longer than the message": b"\xdd\xff\xff\xff\xff\x01",
    "text that is not UTF-8": b"\xa1\xff",
    "tuples nested too deeply": b"\x91" * (MAX_DEPTH + 1) + b"\x01",
    "tuples nested far too deeply": b"\x91" * 100_000 + b"\x01",
    "lists nested too deeply": b"\x92\xc7\x00\x01" * (MAX_DEPTH + 1) + b"\x01",
    "lists nested far too deeply": b"\x92\xc7\x00\x01" * 100_000 + b"\x01",
}


@pytest.mark.parametrize("functions", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_bytes_that_are_no_message_raise_wire_error(name: str, functions: bool) -> None:
    with pytest.raises(WireError):
        unpack(HOSTILE[name], functions=functions)


@given(st.data())
def test_message_cut_off_anywhere_raises_wire_error(data: st.DataObject) -> None:
    packed = pack(data.draw(messages))
    with pytest.raises(WireError):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))], functions=True)


def check_only_messages_or_wire_errors(data: bytes) -> None:
    try:
        arrived = unpack(data)
    except WireError:
        return
    copy_value(arrived)  # what arrives can be sent on


@given(st.binary(max_size=300))
def test_random_bytes_give_a_message_or_a_wire_error(data: bytes) -> None:
    check_only_messages_or_wire_errors(data)


scraps = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda parts: st.one_of(
        st.lists(parts, max_size=9).map(tuple),
        st.dictionaries(st.integers(0, 9), parts, max_size=3),
        st.builds(lambda code, part: ext(code, msgpack.packb(part)), st.sampled_from(Code), parts),
        st.builds(lambda code, part: ext(code, part), st.sampled_from(Code), st.binary(max_size=40)),
        st.builds(lambda code, body: (ext(code), *body), st.sampled_from(Code), st.lists(parts, max_size=4)),
        st.builds(lambda body: (ext(Code.RECORD), f"{HERE}:Point", *body), st.lists(parts, max_size=3)),
        st.builds(lambda parts: ext(Code.DATETIME, msgpack.packb(parts)), st.tuples(*[parts] * 9)),
        st.builds(
            lambda text: ext(Code.ENUM, f"{HERE}:{text}".encode()), st.sampled_from(["Access:3", "Access:-1", "Level:LOW", "Point:x"])
        ),
    ),
    max_leaves=20,
)


@given(scraps)
def test_well_formed_nonsense_gives_a_message_or_a_wire_error(scrap: Any) -> None:
    check_only_messages_or_wire_errors(msgpack.packb(scrap))


@given(messages, st.data())
def test_message_with_a_changed_byte_gives_a_message_or_a_wire_error(message: Any, data: st.DataObject) -> None:
    packed = bytearray(pack(message))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    check_only_messages_or_wire_errors(bytes(packed))


def test_functions_are_refused_unless_the_caller_allows_them() -> None:
    with pytest.raises(WireError, match=r"function 'builtins:len' is not accepted from this sender"):
        unpack(pack([len]))
    assert unpack(pack([len]), functions=True) == [len]


@pytest.mark.parametrize("name", ["no_such_module_at_all:f", "math:no_such", "math", ":", "", "math:pi", "os:path.join", ".math:sin"])
def test_name_that_leads_to_no_function_raises_wire_error(name: str) -> None:
    with pytest.raises(WireError, match="function"):
        unpack(msgpack.packb(ext(Code.FUNCTION, name.encode())), functions=True)


def test_arriving_names_import_nothing_unless_functions_are_allowed() -> None:
    name = "this"  # of the standard library; prints when it is imported
    sys.modules.pop(name, None)
    for data in (ext(Code.FUNCTION, b"this:s"), ext(Code.ENUM, b"this:s:X"), (ext(Code.RECORD), "this:s", 1)):
        with pytest.raises(WireError):
            unpack(msgpack.packb(data))
    assert name not in sys.modules


def test_module_that_fails_while_it_is_imported_raises_wire_error(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module_of_test_wire.py").write_text("raise KeyError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WireError, match="broken"):
        unpack(msgpack.packb(ext(Code.FUNCTION, b"broken_module_of_test_wire:f")), functions=True)


def test_script_function_is_found_in_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    main = type(sys)("__main__")
    main.__file__ = "/somewhere/shop_of_test_wire.py"
    exec("def work(): pass", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    data = pack(main.work)
    assert b"shop_of_test_wire:work" in data
    assert unpack(data, functions=True) is main.work


def test_dates_need_no_hidden_import() -> None:
    assert unpack(pack(date(2024, 2, 29))) == date(2024, 2, 29)
    assert values.registered("datetime:date") is None


# --- pids that come home --------------------------------------------------------------------------------------------------


def test_pid_of_a_live_process_that_comes_back_is_that_pid() -> None:
    async def echo() -> None:
        await receive()
        send(await receive(), "hello")

    async def main() -> None:
        child, ref = spawn_monitor(echo)
        back = unpack(pack({"reply to": [child]}))["reply to"][0]
        assert back is child
        send(back, 1)
        send(back, unpack(pack(self_pid())))
        assert await receive(str, timeout=1) == "hello"
        assert await receive(Down, timeout=1) == Down(ref, child, "normal")
        gone = unpack(pack(child))
        assert (gone, gone.process) == (child, None)
        assert gone.origin is child.origin  # or it would be taken for one of another node
        assert unpack(pack(Pid(NodeId("other@machine", 1), child.serial))) != child

    run(main, seed=1)


def test_pids_that_left_are_forgotten_with_their_process() -> None:
    async def main() -> None:
        for _ in range(100):
            pack(spawn(sleep, 1))
        assert len(abroad.left) == 100
        await sleep(2)
        assert not abroad.left

    run(main, seed=1)


def test_pid_of_an_earlier_run_is_none_of_this_one() -> None:
    async def first() -> bytes:
        return pack(self_pid())

    async def second() -> None:
        old = unpack(data)
        assert (old.serial, old.process) == (self_pid().serial, None)

    data = run(first)
    run(second)
