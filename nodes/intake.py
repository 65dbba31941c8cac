"""What a node reads: rings, looked at together between its slices, and when to poll and when to sleep.

Theory of operation. The loop drains all rings between slices. A node that has nothing to do looks at them for a while after the last record
that came, if it is alone on its core; then it says in each ring that it sleeps, and who writes rings its bell. A writer without room says
so in the ring too, and is rung for when there is some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nodes.hot.ends import Inlet, Looks
from nodes.rings import BrokenRingError, PairEnd, ReaderSet

MOST_READ = 1024


class Writer(Protocol):
    """Who writes a ring that this node reads, besides other nodes: a guest."""

    end: PairEnd

    def ring(self) -> None:
        """Wake it: there is room."""

    def broke(self, fault: BrokenRingError) -> None:
        """Its ring cannot be used any more."""


class Intake:
    """What `Node.join` takes. `polls`: whether to look for a while before this node sleeps."""

    def __init__(self, *, polls: bool, waiting: set[Any] | None = None, flush: Callable[[], None] = lambda: None) -> None:
        self.readers = ReaderSet(MOST_READ)
        self.looks = Looks(self.readers, polls, set() if waiting is None else waiting, flush)
        self.drain, self.fetch = self.looks.drain, self.looks.fetch
        self.guests: dict[Writer, int] = {}  # with their places

    def read(self, end: PairEnd, inlet: Inlet) -> int:
        """Look at this ring too. Returns its place, for `read_no_longer`. Raises: RuntimeError if it is one too many."""
        place = self.readers.add(end)
        self.looks.inlets[place] = inlet
        return place

    def read_no_longer(self, place: int) -> None:
        """The place is free again."""
        self.readers.remove(place)
        del self.looks.inlets[place]

    def welcome(self, guest: Writer, inlet: Inlet) -> None:
        """Read what a guest writes. Raises: as `read`."""
        self.guests[guest] = self.read(guest.end, inlet)

    def part_with(self, guest: Writer) -> None:
        """Read it no longer. A guest that is none does no harm."""
        place = self.guests.pop(guest, None)
        if place is not None:
            self.read_no_longer(place)

    def sleep(self) -> bool:
        """Say in every ring that this node sleeps. False: something has come, or there is room for what waits."""
        if self.readers.sleep() < 0 and not self.is_room() and self.ring_for_room():
            return True
        self.readers.wake()
        return False

    def is_room(self) -> bool:
        """Is there room for what waits?"""
        return False

    def ring_for_room(self) -> bool:
        """Wake who waits for room that this node has made. False: a ring was found broken, by which something has come."""
        for guest in list(self.guests):
            try:
                if guest.end.room_wanted():
                    guest.ring()
            except BrokenRingError as fault:
                guest.broke(fault)
                return False
        return True

    def woken(self) -> None:
        """This node does not sleep any more."""
        self.readers.wake()
