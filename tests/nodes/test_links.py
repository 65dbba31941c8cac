"""Links of two nodes whose records cross: a model of both nodes, every interleaving that hypothesis finds."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from beamlike.hot.ids import NodeId, Pid
from nodes.hot.peer import Peer

ONE, OTHER = NodeId("one@here", 1), NodeId("other@here", 2)


class Side:
    """A node with one process: what `signals` and `arrivals` do around a Peer."""

    def __init__(self, me: Pid, other: Pid) -> None:
        self.me = me
        self.other = other
        router: Any = None
        self.peer = Peer(other.origin, router)
        self.is_linked = False
        self.sent: deque[tuple[str, int]] = deque()
        self.numbers = count(1)

    def link(self) -> None:
        if not self.is_linked:
            self.is_linked = True
            number = next(self.numbers)
            self.peer.linked_from_here(self.me, self.other, number)
            self.sent.append(("link", number))

    def unlink(self) -> None:
        if self.is_linked:
            self.is_linked = False
            self.sent.append(("unlink", self.peer.unlinked_from_here(self.me, self.other)))

    def take_from(self, other: Side) -> None:
        if other.sent:
            match other.sent.popleft():
                case ("link", number):
                    self.peer.linked_from_there(self.me, self.other, number)
                    self.is_linked = True
                case ("unlink", number):
                    if self.peer.unlinked_from_there(self.me, self.other, number):
                        self.is_linked = False


steps = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["link", "unlink", "take"])), max_size=40)


@given(steps)
def test_when_all_records_have_come_both_halves_are_there_or_none(steps: list[tuple[int, str]]) -> None:
    pids = Pid(ONE, 1), Pid(OTHER, 1)
    sides = Side(*pids), Side(*reversed(pids))
    for which, step in steps:
        side, other = sides[which], sides[1 - which]
        if step == "take":
            side.take_from(other)
        elif step == "link":
            side.link()
        else:
            side.unlink()
            assert not side.is_linked
    last = {which: step for which, step in steps if step != "take"}
    for side, other in (sides, sides[::-1]):
        while other.sent:
            side.take_from(other)
    assert sides[0].is_linked == sides[1].is_linked
    for side in sides:
        assert bool(side.peer.links) == side.is_linked
    if set(last.values()) == {"unlink"} and len(last) == 2:
        assert not sides[0].is_linked  # both wanted it away
