"""What the primary of a process pair has committed and may not leave yet, because the commit is not in the ring to the backup's node."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Final

from beamlike import Pid, reply, send_after
from beamlike.seam import current_router, log, tell
from nodes.hot.peer import Peer
from nodes.pair_ledger import Ledger

ROOM_PERIOD: Final = 0.001  # seconds between two looks whether there was room in the ring
IN_RING: Final = None
LOST: Final = "lost"  # the way to the backup's node: that the backup is, we are about to be told
Place = tuple[Peer, Any] | str | None  # of a record: in the ring, in the peer's backlog, nowhere
Output = tuple[Any, ...]  # ("send", destination, message) or ("reply", caller, value)

logger = logging.getLogger("beamlike.nodes")


class Held:
    """Outputs, in order. `release` is to be called upon `("$room",)`, and when there is a new backup."""

    def __init__(self, name: str, me: Pid, ledger: Ledger) -> None:
        self.name = name
        self.me = me
        self.ledger = ledger
        self.waiting: deque[tuple[int, Place, list[Output]]] = deque()  # commit, its record, what is to leave
        self.is_looking = False  # a "$room" will come

    def ship(self, backup: Pid, message: Any) -> Place:
        """Send the backup a record. Returns where it is: a ring may be full, or not there yet."""
        tell(backup, message)
        peer = backup.origin.peer
        if peer is None:
            return LOST
        return (peer, peer.backlog[-1]) if peer.backlog else IN_RING

    def is_in_ring(self, place: Place, backup: Pid | None) -> bool:
        """Is it there now? Never, if this way to the backup is lost."""
        if place is None:
            return True
        if backup is None or isinstance(place, str):
            return False
        peer, record = place
        return backup.origin.peer is peer and not any(waiting is record for waiting in peer.backlog)

    def may_come(self, place: Place, backup: Pid) -> bool:
        """Is it not in the ring, but may be as soon as there is room?"""
        return isinstance(place, tuple) and backup.origin.peer is place[0] and not self.is_in_ring(place, backup)

    def leave(self, sequence: int, place: Place, outputs: list[Output], backup: Pid | None) -> None:
        """Let outputs leave after all before them, as soon as their commit is in the ring."""
        if place is IN_RING and not self.waiting:
            self._let_leave(sequence, outputs, backup)
        elif outputs or place is not IN_RING:
            self.waiting.append((sequence, place, outputs))
            self.release(backup)

    def release(self, backup: Pid | None) -> None:
        """Let leave what may."""
        while self.waiting and self.is_in_ring(self.waiting[0][1], backup):
            sequence, _, outputs = self.waiting.popleft()
            self._let_leave(sequence, outputs, backup)
        if self.waiting and backup is not None and not self.is_looking:
            self.is_looking = True
            send_after(ROOM_PERIOD, self.me, ("$room",))

    def _let_leave(self, sequence: int, outputs: list[Output], backup: Pid | None) -> None:
        """The sends, then the replies: to who is answered no send of that handler comes twice."""
        has_sent = False
        for kind, destination, message in outputs:
            if kind == "send":
                self._send(destination, message)
                has_sent = True
        if has_sent:
            self.ledger.left(sequence)
            if backup is not None:
                tell(backup, ("$left", sequence))
        for kind, caller, value in outputs:
            if kind == "reply":
                reply(caller, value)

    def release_all(self, backup: Pid | None) -> None:
        """Whatever waits is with a new backup, or there is none to wait for."""
        self.waiting = deque((sequence, IN_RING, outputs) for sequence, _, outputs in self.waiting)
        self.release(backup)

    def _send(self, destination: Any, message: Any) -> None:
        """As from who has exclusions, for they are not known any more: no handler has business with a service of the runtime's."""
        if type(destination) is Pid and destination.origin != self.me.origin:
            current_router().send_limited(destination, message)
            return
        try:
            tell(destination, message)
        except LookupError:
            log(logger, logging.WARNING, "pair %s: a message to %r was dropped: nobody has that name (any more)", self.name, destination)
