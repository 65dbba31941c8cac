"""The one way out of a cell: the ring to its gateway, which is a node to the cell, called OUTSIDE, whose pids are handles.

What arrives is acted upon as between nodes. Nothing in here protects anybody: whatever the cell's program makes of it, the gateway checks
each record.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

from beamlike import pack, unpack
from beamlike.seam import NodeId, install, leaves
from cells.inside.bell import Bell
from cells.kinds import LIFE, OUTSIDE, CellKind
from nodes.seam import ARRIVALS, BrokenRingError, Inlet, Intake, Outlet, PairEnd, Peer, Router, Written

GATEWAY_GONE = 1  # exit status


class Door(Intake):
    """See the module. It is made by a zygote, opened, and joined to the ring by its fork.

    Args:
        polls: whether to look for a while before sleeping.
    """

    end: PairEnd
    bell: Bell

    def __init__(self, *, polls: bool) -> None:
        super().__init__(polls=polls)
        self.their_bell = -1
        self.longest = 0  # bytes of a message
        self.answers: dict[int, Any] = {}  # to requests, by their numbers
        self.requests = 0

    def open(self, me: NodeId) -> None:
        """The core is open: OUTSIDE is a node to it."""
        router = Router(me, self._reach, lambda: False)
        install(router)
        peer = router.peer(router.up(OUTSIDE, LIFE))
        assert peer is not None
        self.me, self.peer = me, peer

    def join(self, end: PairEnd, bell: int, their_bell: int, longest: int) -> None:
        """Join it to this ring.

        Args:
            bell: this cell's.
            their_bell: the node's.
            longest: bytes of a message.
        """
        self.end = end
        end.largest = min(end.largest, longest)  # beyond that `_write_long` decides
        self.bell = Bell(bell)
        self.their_bell = their_bell
        self.longest = longest
        self.peer.way = Outlet(end, their_bell, self._write_long, self._broke)
        self.read(end, Inlet(end, their_bell, self.peer, self._arrived, self._refuse))

    # --- out ---

    def _reach(self, peer: Peer) -> None:
        """A record waits for room: nobody else in this OS process has anything to do."""
        while not peer.flush():
            self._await_room()

    def _await_room(self) -> None:
        if not self.end.await_room():
            self.bell.wait(None)

    def _write_long(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        """See `Outlet`: of what does not fit into one record."""
        if len(payload) > self.longest and kind < CellKind.START:
            raise ValueError(f"the message has {len(payload)} bytes: a cell sends at most {self.longest}, see Limits.message_bytes")
        offset = 0
        while offset < len(payload):
            written, offset = self.end.write_part(kind, to, from_, ref, payload, offset)
            if written is Written.RING_BELL:
                self.ring()
            if written is Written.FULL:
                self._await_room()
        return True

    def put(self, kind: CellKind, ref: int, payload: bytes, from_: int = 0) -> None:
        """A record of the cell's own, of any length."""
        self.peer.put(kind, 0, from_, ref, payload)

    def request(self, *request: Any) -> Any:
        """Ask the trusted side for something, and wait for the answer; messages that come meanwhile are put into their mailboxes.

        Raises: OSError as the trusted side says.
        """
        self.requests += 1
        ref = self.requests
        self.put(CellKind.REQUEST, ref, pack(request))
        while ref not in self.answers:
            self.drain()
            if ref not in self.answers and self.sleep():
                self.wait(None)
        match self.answers.pop(ref):
            case ("ok", value):
                return value
            case ("error", int(number), str(text)):
                raise OSError(number, text)
        raise AssertionError("the gateway answers so or so")

    def ring(self) -> None:
        """Wake the node."""
        os.eventfd_write(self.their_bell, 1)

    def wait(self, seconds: float | None) -> None:
        """Until the bell is rung; `sleep` was said before."""
        self.bell.wait(seconds)
        self.woken()

    def close(self) -> None:
        """Let go of the ring, which is not used any more."""
        self.bell.close()
        self.end.close()

    # --- in ---

    def ring_for_room(self) -> bool:
        if self.end.room_wanted():
            self.ring()
        return True

    def _arrived(self, kind: int, flags: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        if kind == CellKind.ANSWER:
            self.answers[ref] = unpack(payload)
            return
        act: Callable[[NodeId, Peer, int, int, int, bytes], None] = ARRIVALS[kind]
        act(self.me, self.peer, to, from_, ref, payload)

    def known(self, pid: Any) -> None:
        """The gateway knows this process by its serial."""
        leaves(pid)

    def _broke(self, outcome: int) -> NoReturn:
        os._exit(GATEWAY_GONE)

    def _refuse(self, fault: BrokenRingError) -> NoReturn:
        os._exit(GATEWAY_GONE)
