"""C9: a check that was made before is looked up, and says what it said; only built-in kinds and only plain operands are kept."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import pytest

import caps
from beamlike.hot import guards
from beamlike.hot.guards import MOST_GUARDS, MOST_PERMITS, guard_of
from beamlike.hot.ids import NodeId, Pid
from beamlike.hot.process import Process, make_process
from caps.kinds import BUILT_IN, BUILT_IN_NAMES, kinds

Term = tuple[Any, ...]

asked: list[str] = []


def open_hours(term: Term, what: Term) -> bool:
    """A matcher that does not always say the same."""
    asked.append(what[0])
    return "closing time" in asked


OPEN_HOURS = caps.define(open_hours)

ONE_OF_EACH = {
    "port_io": ((0x60, 1), (0x70, 0x72)),
    "raw_memory": ((0x1000, 8), (0, 0x1000)),
    "spawn": (("shop:clerk",), ("shop:boss",)),
    "send": (("clerk", "n1@m"), ("boss",)),
    "exit": (("clerk", "n1@m"), ("boss",)),
    "process_info": (("clerk", "n1@m"), ("boss",)),
    "register": (("clerk",), ("boss",)),
    "file": (("/tmp/x", "rw"), ("/etc", "rw")),
    "net": (("a.org", 80), ("b.org", None)),
    "device": (("disk0",), ("disk1",)),
    "node": (("n1@m",), ("n2@m",)),
    "system": (("status",), ("halt",)),
    "ffi": ((), ("all",)),
    "blocking": ((), ("all",)),
}
"""An access of each built-in kind, and operands that do not touch it; a switch is all that there is of its kind."""


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    caps.set_current_layers(lambda: ())


def run_with(layers: caps.Layers) -> None:
    def check(kind: str, what: tuple[Any, ...]) -> bool:
        guards.require(layers, kind, what)
        return False

    caps.set_current_layers(lambda: layers, check)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[Term]:
    """The accesses that were looked at, and not looked up."""
    seen: list[Term] = []
    require = caps.require

    def counting(layers: caps.Layers, kind: str, *what: Any) -> None:
        seen.append((kind, *what))
        require(layers, kind, *what)

    monkeypatch.setattr("caps.require", counting)
    return seen


def test_the_examples_are_of_all_built_in_kinds() -> None:
    assert {kind.name for kind in BUILT_IN} == set(ONE_OF_EACH)
    assert {name for name in kinds if ":" not in name} == BUILT_IN_NAMES


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_what_was_permitted_is_looked_at_once(kind: str, decided: list[Term]) -> None:
    access, other = ONE_OF_EACH[kind]
    excluded = [("device", f"kept {kind}")] if other == ("all",) else [(kind, *other), ("device", f"kept {kind}")]
    run_with(caps.extend((), excluded))
    for _ in range(3):
        caps.check(kind, *access)
    assert decided == [(kind, *access)]


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_what_was_refused_is_refused_each_time_with_the_same_words(kind: str) -> None:
    access, _ = ONE_OF_EACH[kind]
    run_with(caps.extend((), [(kind, "all")]))
    words = set()
    for _ in range(3):
        with pytest.raises(caps.CapabilityError) as caught:
            caps.check(kind, *access)
        assert caught.value.__context__ is None
        words.add(str(caught.value))
    assert len(words) == 1


def test_a_layer_more_is_another_decision() -> None:
    layers = caps.extend((), [("device", "disk1")])
    run_with(layers)
    caps.check("port_io", 0x60, 1)
    run_with(caps.extend(layers, [("port_io", 0x60, 0x61)]))
    with pytest.raises(caps.CapabilityError):
        caps.check("port_io", 0x60, 1)
    run_with(layers)
    caps.check("port_io", 0x60, 1)


@pytest.mark.parametrize("what", [(True, 1), (1.0, 1), (1, True), (1 + 0j, 1)])
def test_what_is_no_access_is_none_either_where_it_equals_one_that_was_permitted(what: Any) -> None:
    run_with(caps.extend((), [("device", "disk1")]))
    caps.check("port_io", 1, 1)
    for _ in range(2):
        with pytest.raises(TypeError, match="is not an access") as caught:
            caps.check("port_io", *what)
        assert caught.value.__context__ is caught.value.__cause__


def test_an_operand_that_says_it_equals_another_gains_nothing() -> None:
    class Liar(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("/tmp/x")

    run_with(caps.extend((), [("file", "/etc", "rw")]))
    caps.check("file", "/tmp/x", "r")
    caps.check("file", Liar("/tmp/x"), "r")
    with pytest.raises(caps.CapabilityError):
        caps.check("file", Liar("/etc/passwd"), "r")


def test_an_int_enum_is_looked_at_each_time_and_permitted_as_its_int(decided: list[Term]) -> None:
    class Port(IntEnum):
        STATUS = 0x64

    run_with(caps.extend((), [("device", "of the enum")]))
    for _ in range(2):
        caps.check("port_io", Port.STATUS, 1)
    assert decided == [("port_io", Port.STATUS, 1)] * 2


def test_what_cannot_be_hashed_is_told_as_require_tells_it() -> None:
    layers = caps.extend((), [("device", "disk1")])
    run_with(layers)
    with pytest.raises(TypeError) as expected:
        caps.require(layers, "port_io", [], 1)
    for _ in range(2):
        with pytest.raises(TypeError) as caught:
            caps.check("port_io", [], 1)
        assert str(caught.value) == str(expected.value)


def test_an_applications_matcher_is_asked_each_time() -> None:
    run_with(caps.extend((), [(OPEN_HOURS, "desk")]))
    caps.check(OPEN_HOURS, "orders")
    caps.check(OPEN_HOURS, "orders")
    asked.append("closing time")
    with pytest.raises(caps.CapabilityError):
        caps.check(OPEN_HOURS, "orders")
    assert asked == ["orders", "orders", "closing time", "orders"]


def test_no_more_than_so_many_permits_are_kept() -> None:
    layers = caps.extend((), [("device", "of the bounds")])
    run_with(layers)
    for port in range(2 * MOST_PERMITS + 1):
        caps.check("port_io", port, 1)
        assert len(guard_of(layers).accesses) <= MOST_PERMITS
    for number in range(2 * MOST_GUARDS):
        run_with(caps.extend((), [("device", f"of the bounds {number}")]))
        caps.check("ffi")
    assert guard_of(layers).accesses == set()  # it was dropped meanwhile


def test_what_was_permitted_to_send_to_is_looked_at_once(decided: list[Term]) -> None:
    layers = caps.extend((), [("send", "of the targets")])
    pid, sender = Pid(NodeId("n1@m", 1), 5), named(Pid(NodeId("n1@m", 1), 7), None)
    for _ in range(3):
        guards.require_target(layers, pid, sender)
    assert decided == [("send", pid, "n1@m")]


def test_a_target_is_looked_at_anew_when_it_goes_by_another_name() -> None:
    layers = caps.extend((), [("send", "boss")])
    pid, sender = Pid(NodeId("n1@m", 1), 6), named(Pid(NodeId("n1@m", 1), 7), None)
    pid.process = process = named(pid, None)
    guards.require_target(layers, pid, sender)
    process.name = "boss"
    with pytest.raises(caps.CapabilityError):
        guards.require_target(layers, pid, sender)
    process.name = "clerk"
    guards.require_target(layers, pid, sender)


def named(pid: Pid, name: str | None) -> Process:
    process = make_process(pid, None, None, (), None)
    process.name = name
    return process


def test_an_unknown_kind_is_named_each_time() -> None:
    run_with(caps.extend((), [("device", "disk1")]))
    for _ in range(2):
        with pytest.raises(ValueError, match="unknown kind of capability 'prot_io'"):
            caps.check("prot_io", 0x60, 1)
        with pytest.raises(TypeError):
            caps.check(["port_io"], 0x60, 1)  # type: ignore[arg-type]
