"""Rendezvous hashing: the same everywhere, even, and nothing moves without need."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.rendezvous import rendezvous

EXPECTED = ["n1@h", "n4@h", "n1@h", "n8@h", "n8@h", "n8@h", "n3@h", "n4@h"]
NAMES = [f"n{number}@h" for number in range(1, 9)]


def test_it_is_the_same_in_every_run() -> None:
    assert [rendezvous(f"key{number}", NAMES) for number in range(8)] == EXPECTED


@given(st.binary(), st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_only_the_keys_of_who_is_gone_move(key: bytes, names: list[str]) -> None:
    holder = rendezvous(key, names)
    for gone in names:
        now = rendezvous(key, [name for name in reversed(names) if name != gone])
        assert now == holder if gone != holder else now in names


def test_keys_are_spread_evenly() -> None:
    counts = Counter(rendezvous(f"key{number}", NAMES) for number in range(8000))
    assert all(850 < count < 1150 for count in counts.values()), counts


def test_there_must_be_names() -> None:
    with pytest.raises(ValueError, match="names"):
        rendezvous("key", [])
