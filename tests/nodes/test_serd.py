"""Whose core is to be suspected of the faults that were found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.serd import MOST, Fault, Serd


def serd_of(faults: str, limit: int = 3, period: float = 100.0) -> Serd:
    """`"ab cd"`: a wrote what b found at 0 s, c what d found at 10 s."""
    serd = Serd(limit, period)
    for number, ends in enumerate(faults.split()):
        serd.add(Fault(10.0 * number, ends[0], ends[1]))
    return serd


@pytest.mark.parametrize(
    ("faults", "now", "suspects"),
    [
        ("", 0.0, []),
        ("ab ab", 10.0, []),
        ("ab ab ab", 20.0, ["a"]),  # both are at the limit, with as many: who wrote
        ("ab ba ab", 20.0, ["a"]),
        ("ab ba ca", 20.0, ["a"]),  # one bad core is told from its partners
        ("ba ca da", 20.0, ["a"]),
        ("ba ca bd ab", 30.0, ["a"]),  # a and b are at the limit, a with more
        ("ab ab ab cd cd dc", 50.0, ["d", "a"]),  # each by faults of its own
        ("ab ab ab ab cb cb cd", 60.0, ["b"]),  # a and c are at the limit by faults with b
        ("ab ab ab ab cb cb cd cd cd", 80.0, ["b", "c"]),
        ("ab ab ab", 99.0, ["a"]),
        ("ab ab ab", 100.0, []),  # the first is over
        ("ab ab cd ab", 30.0, ["a"]),
        ("ab ab ab ab", 115.0, []),
    ],
)
def test_who_is_suspected(faults: str, now: float, suspects: list[str]) -> None:
    assert serd_of(faults).suspects(now) == suspects


def test_faults_count_for_both_ends_within_the_window() -> None:
    serd = serd_of("ab ca ab")
    assert [serd.count(name, 20.0) for name in "abcd"] == [3, 2, 1, 0]
    assert [serd.count(name, 105.0) for name in "abcd"] == [2, 1, 1, 0]


def test_what_one_explains_does_not_count_for_its_partners() -> None:
    serd = serd_of("ab ab ab cb")
    assert serd.suspects(30.0) == ["b"]
    serd.forget("b")
    assert serd.suspects(30.0) == []
    assert [serd.count(name, 30.0) for name in "abc"] == [0, 0, 0]


def test_one_fault_is_enough_where_the_limit_is_one() -> None:
    assert serd_of("ab", limit=1).suspects(0.0) == ["a"]


def test_memory_is_bounded() -> None:
    serd = serd_of("ab " * 2 * MOST)
    assert len(serd.faults) == MOST
    serd.forget("nobody")
    serd.add(Fault(0.0, "a", "b"))
    assert len(serd.faults) == MOST


@given(
    limit=st.integers(1, 6),
    partners=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=12),
)
def test_one_bad_core_is_found_by_the_limit_and_nobody_else_ever(limit: int, partners: list[tuple[str, bool]]) -> None:
    """x is an end of each fault; unless they are all with one other, and that wrote last, it is told from them."""
    serd = Serd(limit, 1000.0)
    for number, (partner, x_wrote) in enumerate(partners, 1):
        serd.add(Fault(float(number), *(("x", partner) if x_wrote else (partner, "x"))))
        suspects = serd.suspects(float(number))
        if len({each for each, _ in partners[:number]}) > 1 or all(wrote for _, wrote in partners[:number]):
            assert suspects == (["x"] if number >= limit else [])
        else:
            assert bool(suspects) == (number >= limit)
