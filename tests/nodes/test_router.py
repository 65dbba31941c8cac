"""Which lives a router takes for over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from beamlike import abroad
from beamlike.hot.ids import NodeId
from nodes.router import Router

ME = NodeId("me@here", 1)


@pytest.fixture
def router() -> Iterator[Router]:
    reach: Any = lambda peer: None  # noqa: E731
    yield Router(ME, reach, lambda: False)
    abroad.clear()


def test_lives_before_the_last_that_is_over_are_over_too_and_nothing_grows(router: Router) -> None:
    for incarnation in range(2, 100):
        router.lose(router.up("other@here", incarnation))
    assert router.lost == {"other@here": 99}
    assert router.peer(NodeId("other@here", 50)) is None
    assert router.peer(NodeId("other@here", 99)) is None
    up = router.up("other@here", 100)
    assert router.peer(up) is not None


def test_life_that_was_held_for_too_long_is_there_when_it_is_announced(router: Router) -> None:
    router.lose(NodeId("other@here", 5))
    assert router.peer(NodeId("other@here", 5)) is None
    assert router.peer(router.up("other@here", 5)) is not None


def test_life_that_never_was_does_not_hide_the_one_that_is_up(router: Router) -> None:
    up = router.up("other@here", 2)
    router.lose(NodeId("other@here", 1000))
    assert router.peer(up) is not None


def test_peer_that_is_cut_by_a_copy_of_its_id_is_a_new_one_next_time(router: Router) -> None:
    up = router.up("other@here", 2)
    peer = router.peer(up)
    router.cut(NodeId("other@here", 2))
    assert router.peer(up) not in (None, peer)
