"""C3: an exclusion refuses what it overlaps, an only entry permits what it contains, in each way of matching."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

import caps


def refused(term: tuple[Any, ...], *access: Any) -> bool:
    return not caps.permits(caps.extend((), [term]), *access)


def contained(terms: list[tuple[Any, ...]], *access: Any) -> bool:
    return caps.permits(caps.extend((), [("only", *terms)]), *access)


@pytest.mark.parametrize(
    ("port", "width", "overlaps", "contains"),
    [
        (0x3E, 1, False, False),
        (0x3E, 2, False, False),
        (0x3E, 4, True, False),  # straddles the start
        (0x40, 1, True, True),
        (0x40, 4, True, True),
        (0x43, 1, True, True),
        (0x42, 4, True, False),  # straddles the end
        (0x3F, 6, True, False),  # encloses it
        (0x44, 1, False, False),
    ],
)
def test_c3_a_range_is_held_against_the_whole_width_of_the_access(port: int, width: int, overlaps: bool, contains: bool) -> None:
    term = ("port_io", 0x40, 0x44)
    assert refused(term, "port_io", port, width) == overlaps
    assert contained([term], "port_io", port, width) == contains


def test_c3_adjacent_only_ranges_contain_an_access_together_and_ranges_with_a_gap_do_not() -> None:
    assert contained([("port_io", 0x42, 0x44), ("port_io", 0x40, 0x42)], "port_io", 0x40, 4)
    assert not contained([("port_io", 0x40, 0x42), ("port_io", 0x43, 0x44)], "port_io", 0x40, 4)
    assert not contained([("port_io", 0x40, 0x42), ("port_io", 0x43, 0x44)], "port_io", 0x42, 1)


def test_a_register_of_an_int_enum_is_a_port() -> None:
    class Register(IntEnum):
        DATA = 0x60

    assert refused(("port_io", Register.DATA, 0x65), "port_io", Register.DATA, 1)
    assert caps.layer([("port_io", Register.DATA, 0x65)]) is caps.layer([("port_io", 0x60, 0x65)])


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/tmp", True),
        ("/tmp/", True),
        ("/tmp/x/y", True),
        ("//tmp/x", True),
        ("///tmp//x", True),
        ("/./tmp/./x", True),
        ("/etc/../tmp/x", True),
        ("/../../tmp", True),
        ("/tmp/x/../y", True),
        ("/", False),
        ("/tmpx", False),
        ("/tmp-x/y", False),
        ("/tm", False),
        ("/x/tmp", False),
        ("/tmp/..", False),
        ("/tmp/../etc", False),
        ("/tmp/x/../../etc/passwd", False),
        ("/TMP/x", False),
    ],
)
def test_c3_a_directory_covers_what_is_below_it_by_components_after_lexical_normalisation(path: str, below: bool) -> None:
    assert refused(("file", "/tmp", "rw"), "file", path, "r") == below
    assert contained([("file", "/tmp", "rw")], "file", path, "r") == below


@pytest.mark.parametrize(
    ("term", "access", "overlaps", "contains"),
    [
        ("r", "r", True, True),
        ("r", "w", False, False),
        ("r", "rw", True, False),
        ("w", "r", False, False),
        ("w", "w", True, True),
        ("w", "rw", True, False),
        ("rw", "r", True, True),
        ("rw", "w", True, True),
        ("rw", "rw", True, True),
    ],
)
def test_c3_a_mode_overlaps_if_one_of_its_letters_is_shared_and_contains_if_all_are(
    term: str, access: str, overlaps: bool, contains: bool
) -> None:
    assert refused(("file", "/tmp", term), "file", "/tmp/x", access) == overlaps
    assert contained([("file", "/tmp", term)], "file", "/tmp/x", access) == contains


def test_read_and_write_may_be_contained_in_two_only_terms() -> None:
    assert contained([("file", "/a", "r"), ("file", "/a/b", "w")], "file", "/a/b/c", "rw")
    assert not contained([("file", "/a", "r"), ("file", "/a/b", "w")], "file", "/a/c", "rw")


def test_the_exclusion_named_is_the_directory_that_covers() -> None:
    layers = caps.extend((), [("file", "/a", "r"), ("file", "/a/b", "w"), ("file", "/a!", "rw"), ("file", "/ab", "rw")])
    for access, exclusion in [
        (("/a/b/c", "w"), ("file", "/a/b", "w")),
        (("/a/b/c", "r"), ("file", "/a", "r")),
        (("/ab/c", "w"), ("file", "/ab", "rw")),
    ]:
        with pytest.raises(caps.CapabilityError) as caught:
            caps.require(layers, "file", *access)
        assert caught.value.exclusion == exclusion


@pytest.mark.parametrize(
    ("term", "access", "overlaps", "contains"),
    [
        (("a.org", 80), ("a.org", 80), True, True),
        (("a.org", 80), ("A.ORG.", 80), True, True),
        (("a.org", 80), ("a.org", 81), False, False),
        (("a.org", 80), ("b.a.org", 80), False, False),
        (("a.org", None), ("a.org", 81), True, True),
        (("a.org", "all"), ("b.org", 81), False, False),
        ((None, 25), ("a.org", 25), True, True),
        (("all", 25), ("a.org", 26), False, False),
        ((None, None), ("a.org", 26), True, True),
        (("a.org", 80), (None, 80), True, False),  # bound to all addresses, this one among them
        (("a.org", 80), (None, 81), False, False),
        (("a.org", 80), ("a.org", None), True, False),
        (("a.org", 80), (None, None), True, False),
        (("a.org", None), ("b.org", None), False, False),
        ((None, 25), (None, 25), True, True),
        ((None, 25), ("all", "all"), True, False),
        ((None, None), (None, None), True, True),
        (("::1", 80), ("0:0:0:0:0:0:0:1", 80), True, True),
        (("127.0.0.1", 80), ("::ffff:127.0.0.1", 80), True, True),
        (("127.0.0.1", 80), ("::ffff:7f00:2", 80), False, False),
        (("127.0.0.1", 80), ("localhost", 80), False, False),  # no name is looked up
    ],
)
def test_c3_endpoints_match_by_host_and_port_either_of_which_may_be_any(
    term: tuple[Any, Any], access: tuple[Any, Any], overlaps: bool, contains: bool
) -> None:
    assert refused(("net", *term), "net", *access) == overlaps
    assert contained([("net", *term)], "net", *access) == contains


def test_a_message_is_refused_under_each_name_of_its_target_and_permitted_under_any_only_one() -> None:
    pid, other = object(), object()
    for name in (pid, "logger", "n1@here", ("logger", "n1@here")):
        known_as = (pid, "logger", "n1@here", ("logger", "n1@here"))
        assert refused(("send", name), "send", *known_as)
        assert contained([("send", name)], "send", *known_as)
        assert not refused(("send", name), "send", other, "clerk", "n2@here")
        assert not contained([("send", name)], "send", other, "clerk", "n2@here")


def test_a_name_that_reads_all_is_not_everything_when_it_is_accessed() -> None:
    assert not contained([("register", "logger")], "register", "all")
    assert refused(("register", "all"), "register", "logger")


def test_a_function_inside_a_function_has_a_name_to_check() -> None:
    assert refused(("spawn", "shop:main.<locals>.clerk"), "spawn", "shop:main.<locals>.clerk")
