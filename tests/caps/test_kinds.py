"""C6: every row of the table of kinds can say no, as an exclusion and as an only entry, and yes to what it does not mean."""

from __future__ import annotations

import copy
import errno
import pickle
from typing import Any, NamedTuple

import pytest

import caps
from caps.kinds import ALIASES, BUILT_IN, kinds


class Row(NamedTuple):
    term: tuple[Any, ...]
    inside: tuple[Any, ...]  # operands of an access that the term covers
    outside: tuple[Any, ...] | None  # of one that it does not touch; None: there is none
    malformed_terms: tuple[tuple[Any, ...], ...]  # operands
    malformed_accesses: tuple[tuple[Any, ...], ...]


class Pid(NamedTuple):
    """Unlike a real one, a tuple: refused."""

    serial: int


PID, OTHER_PID = object(), object()

RANGE_TERMS = ((), (1,), (1, 2, 3), (5, 5), (6, 5), (-1, 5), (0, 2**64 + 1), ("a", "b"), (True, 5), (0.0, 5), (None, 5), ("none",))
RANGE_ACCESSES = ((), (1,), (1, 2, 3), (5, 0), (5, -1), (-1, 1), (2**64, 1), ("a", 1), (True, 1), (1.0, 1), ("all",))
NAMES = ((), ("",), ("a", "b"), (1,), (None,), (b"a",))
TARGETS = Row((PID,), (PID,), (OTHER_PID,), ((), (PID, PID), (True,), (1.0,), ([],), ((1, True),), (Pid(1),)), ((), ([],)))

ROWS = {
    "port_io": Row((0x60, 0x65), (0x60, 1), (0x65, 1), (*RANGE_TERMS, (0, 65537)), (*RANGE_ACCESSES, (65535, 2))),
    "raw_memory": Row((0, 0x200000), (0x1FFFFF, 4), (0x200000, 4), RANGE_TERMS, (*RANGE_ACCESSES, (2**64 - 1, 2))),
    "spawn": Row(("shop:clerk",), ("shop:clerk",), ("shop:cook",), (*NAMES, ("shop",), ("shop:",), (":clerk",)), (*NAMES, ("shop",))),
    "send": TARGETS,
    "exit": TARGETS,
    "process_info": TARGETS,
    "register": Row(("logger",), ("logger",), ("log",), NAMES, NAMES),
    "file": Row(
        ("/tmp", "w"),
        ("/tmp/x", "rw"),
        ("/tmpx", "w"),
        ((), ("/tmp",), ("tmp", "r"), ("", "r"), ("/a\0", "r"), ("/tmp", "wr"), ("/tmp", ""), (b"/tmp", "r"), ("/tmp", None)),
        ((), ("/tmp",), ("tmp/../..", "r"), ("/a\0", "r"), ("/tmp", "a"), (1, "r")),
    ),
    "net": Row(
        ("example.org", None),
        ("example.org", 80),
        ("example.com", 80),
        (
            (),
            ("a",),
            ("a", 65536),
            ("a", -1),
            ("a", "80"),
            ("a", True),
            (1, 80),
            ("", 80),
            (".", 80),
            (b"a", 80),
            ("10.0.0.0/8", 80),
            ("http://a", 80),
            ("a b", 80),
        ),
        ((), ("a",), ("a", 65536), ("a", "80"), (1, 80), ("a", 80, 1), ("a", 80, "")),
    ),
    "device": Row(("disk0",), ("disk0",), ("disk1",), NAMES, NAMES),
    "node": Row(("n1@here",), ("n1@here",), ("n2@here",), NAMES, NAMES),
    "system": Row(("halt",), ("halt",), ("reboot",), NAMES, NAMES),
    "ffi": Row(("all",), (), None, ((), ("libc",), (None,)), (("all",), ("libc",))),
    "blocking": Row(("all",), (), None, ((), ("print",)), (("all",),)),
}

every_kind = pytest.mark.parametrize("kind", ROWS)


def test_the_examples_have_a_row_for_every_row_of_the_table() -> None:
    assert list(ROWS) == [kind.name for kind in BUILT_IN]


@every_kind
def test_c6_an_excluded_access_is_refused_and_others_are_not(kind: str) -> None:
    row = ROWS[kind]
    layers = caps.extend((), [(kind, *row.term)])
    assert not caps.permits(layers, kind, *row.inside)
    with pytest.raises(caps.CapabilityError):
        caps.require(layers, kind, *row.inside)
    if row.outside is not None:
        assert caps.permits(layers, kind, *row.outside)
        caps.require(layers, kind, *row.outside)


@every_kind
def test_c6_check_refuses_it_to_whoever_has_the_exclusion(kind: str, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: caps.set_current_layers(lambda: ()))
    row = ROWS[kind]
    caps.check(kind, *row.inside)
    caps.set_current_layers(lambda: caps.extend((), [(kind, *row.term)]))
    with pytest.raises(caps.CapabilityError):
        caps.check(kind, *row.inside)
    if row.outside is not None:
        caps.check(kind, *row.outside)


@every_kind
def test_c6_an_only_entry_refuses_everything_else_of_its_kind(kind: str) -> None:
    row = ROWS[kind]
    layers = caps.extend((), [("only", (kind, *row.term))])
    if row.outside is not None:
        assert not caps.permits(layers, kind, *row.outside)
        with pytest.raises(caps.CapabilityError):
            caps.require(layers, kind, *row.outside)


@every_kind
def test_an_only_entry_leaves_other_kinds_untouched(kind: str) -> None:
    layers = caps.extend((), [("only", (kind, *ROWS[kind].term))])
    for other, row in ROWS.items():
        if other != kind:
            assert caps.permits(layers, other, *row.inside)


@every_kind
def test_c6_all_refuses_every_access_of_the_kind_and_no_other_kind(kind: str) -> None:
    layers = caps.extend((), [(kind, "all")])
    for other, row in ROWS.items():
        assert caps.permits(layers, other, *row.inside) == (other != kind)
        if row.outside is not None:
            assert caps.permits(layers, other, *row.outside) == (other != kind)


@every_kind
def test_c6_an_error_names_the_access_the_exclusion_and_the_layer(kind: str) -> None:
    row = ROWS[kind]
    [other] = {"device", "node"} - {kind} if kind in ("device", "node") else {"device"}
    layers = caps.extend(caps.extend((), [(other, "unrelated")]), [(kind, *row.term)])
    with pytest.raises(caps.CapabilityError) as caught:
        caps.require(layers, kind, *row.inside)
    error = caught.value
    assert (error.kind, error.what, error.exclusion) == (kind, row.inside, layers[1].terms[0])
    assert isinstance(error, PermissionError)
    assert error.errno == errno.EACCES
    assert "layer 2 of 2" in str(error)
    assert str(error).count(f"({kind!r}") == 2  # the access and the exclusion


def test_an_error_shows_ports_in_hexadecimal_and_an_only_entry_whole() -> None:
    layers = caps.extend((), [("only", ("port_io", 0x60, 0x65), ("port_io", 0x70, 0x72))])
    with pytest.raises(caps.CapabilityError) as caught:
        caps.require(layers, "ports", 0x64, 2)
    assert caught.value.strerror == (
        "('ports', 0x64, 0x2) is refused by the exclusion ('only', ('port_io', 0x60, 0x65), ('port_io', 0x70, 0x72)) "
        "in layer 1 of 1 (1 is the oldest)"
    )


def test_a_copied_error_is_the_same_error() -> None:
    with pytest.raises(caps.CapabilityError) as caught:
        caps.require(caps.extend((), [("ffi", "all")]), "ffi")
    for twin in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert (twin.kind, twin.what, twin.exclusion, str(twin)) == ("ffi", (), ("ffi", "all"), str(caught.value))


@pytest.mark.parametrize(("kind", "operands"), [(kind, bad) for kind, row in ROWS.items() for bad in row.malformed_terms])
@pytest.mark.parametrize("only", [False, True])
def test_a_malformed_term_is_named_with_what_was_expected(kind: str, operands: tuple[Any, ...], only: bool) -> None:
    term = (kind, *operands)
    with pytest.raises((TypeError, ValueError)) as caught:
        caps.layer([("only", term) if only else term])
    assert repr(term) in str(caught.value)
    assert f"expected ({kind!r}, " in str(caught.value)


@pytest.mark.parametrize(("kind", "what"), [(kind, bad) for kind, row in ROWS.items() for bad in row.malformed_accesses])
def test_a_malformed_access_is_named_with_what_was_expected(kind: str, what: tuple[Any, ...]) -> None:
    layers = caps.extend((), [("system", "halt")])  # any layer
    with pytest.raises((TypeError, ValueError)) as caught:
        caps.permits(layers, kind, *what)
    assert repr((kind, *what)) in str(caught.value)
    assert f"expected ({kind!r}" in str(caught.value)


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_another_spelling_of_its_kind(alias: str) -> None:
    kind = ALIASES[alias]
    layers = caps.extend((), [(alias, *ROWS[kind].term)])
    assert layers[0] is caps.layer([(kind, *ROWS[kind].term)])
    assert not caps.permits(layers, kind, *ROWS[kind].inside)
    assert not caps.permits(layers, alias, *ROWS[kind].inside)


@pytest.mark.parametrize("layers", [(), caps.extend((), [("ffi", "all")])])
def test_an_unknown_kind_is_an_error_that_lists_the_known_ones(layers: caps.Layers) -> None:
    calls = (
        lambda: caps.permits(layers, "prot_io", 1, 1),
        lambda: caps.require(layers, "prot_io", 1, 1),
        lambda: caps.check("prot_io", 1, 1),
        lambda: caps.layer([("prot_io", "all")]),
        lambda: caps.layer([("only", ("prot_io", "all"))]),
    )
    for call in calls:
        with pytest.raises(ValueError, match="'prot_io'") as caught:
            call()
        assert all(name in str(caught.value) for name in kinds if ":" not in name)


def test_a_kind_that_is_no_string_is_a_type_error() -> None:
    for kind in (1, None, b"ffi"):
        with pytest.raises(TypeError, match="a kind of capability is a str"):
            caps.layer([(kind, "all")])
        with pytest.raises(TypeError, match="a kind of capability is a str"):
            caps.check(kind)  # type: ignore[arg-type]


def test_all_but_leaves_these_kinds_and_no_others() -> None:
    layers = caps.extend((), caps.all_but("send", "ports"))
    for kind, row in ROWS.items():
        assert caps.permits(layers, kind, *row.inside) is (kind in ("send", "port_io"))
    assert [kind for kind, _ in caps.all_but()] == [kind.name for kind in BUILT_IN]
    with pytest.raises(ValueError, match="unknown kind of capability 'sned'"):
        caps.all_but("sned")
    with pytest.raises(ValueError, match="is an application's"):
        caps.all_but(caps.define(table_of_all_but))
    with pytest.raises(TypeError, match="a kind of capability is a str"):
        caps.all_but(1)  # type: ignore[arg-type]


def table_of_all_but(term: tuple[Any, ...], what: tuple[Any, ...]) -> bool:
    return term == what
