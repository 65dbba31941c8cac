"""The ring to the gateway for a program that is not Python: records as they are, without an actor core."""

from __future__ import annotations

import os
from collections import deque
from time import monotonic
from typing import Final, NoReturn

from cells.inside.bell import Bell
from cells.inside.door import GATEWAY_GONE
from cells.inside.program import MOST_OUTPUT, STDERR
from cells.kinds import CellKind
from nodes.seam import BrokenRingError, Kind, PairEnd, Written

ME: Final = 1  # the serial of the one process of such a cell
POLL: Final = 0.0002  # seconds in which the next record is looked for before the cell sleeps, if it is alone on its core
NOBODY: Final = 0

Record = tuple[int, int, bytes]
"""What a program gets: `Kind.SEND`, `CALL`, `REPLY` or `DOWN`; the number of the call; the packed value."""


class Mail:
    """What a program receives and sends. Handles are those of the pids that it was given; all values are packed.

    Args:
        longest: bytes of a message.
        polls: whether to look for a while before sleeping.
    """

    def __init__(self, end: PairEnd, bell: int, their_bell: int, longest: int, *, polls: bool) -> None:
        self.end = end
        self.bell = Bell(bell)
        self.their_bell = their_bell
        self.longest = longest
        self.polls = polls
        self.waiting: deque[Record] = deque()  # came before it was asked for
        self.calls = 0

    def receive(self, timeout: float | None) -> Record | None:
        """The next message or call; None after `timeout` seconds, None: never."""
        return self.waiting.popleft() if self.waiting else self._await((Kind.SEND, Kind.CALL), timeout)

    def keep(self, record: Record) -> None:
        """It is the next to be received."""
        self.waiting.appendleft(record)

    def send(self, to: int, payload: bytes) -> None:
        """Send a message. A handle that it was not given ends the cell."""
        self.put(Kind.SEND, to, ME, 0, payload)

    def reply(self, number: int, payload: bytes) -> None:
        """Answer the call with this number. One that is answered or was none does nothing."""
        self.put(Kind.REPLY, NOBODY, ME, number, payload)

    def call(self, to: int, payload: bytes, timeout: float | None) -> Record | None:
        """Ask, and wait for the answer, `REPLY`, or the reason that there will be none, `DOWN`. Messages that come meanwhile wait."""
        self.calls += 1
        self.put(Kind.CALL, to, ME, self.calls, payload)
        answer = self._await((Kind.REPLY, Kind.DOWN), timeout)
        if answer is None:
            self.put(Kind.DEMONITOR, NOBODY, ME, self.calls, b"")
        return answer

    def _await(self, kinds: tuple[int, ...], timeout: float | None) -> Record | None:
        """The next record of these kinds; of answers only that to the last call."""
        until = None if timeout is None else monotonic() + timeout
        while (record := self._next(until)) is not None:
            kind, to, number, payload = record
            if kind in kinds and (kind in (Kind.SEND, Kind.CALL) or number == self.calls):
                return kind, number, payload
            if kind in (Kind.SEND, Kind.CALL) and to == ME:
                self.waiting.append((kind, number, payload))
        return None

    def _next(self, until: float | None) -> tuple[int, int, int, bytes] | None:
        """The next record, of any kind."""
        end = self.end
        try:
            awake = monotonic() + POLL if self.polls else 0.0
            while (record := end.read()) is None:
                time = monotonic()
                if until is not None and time >= until:
                    return None
                if time >= awake:
                    self._sleep(None if until is None else until - time)
        except BrokenRingError:
            _gone()
        kind, _, to, _, number, payload = record
        return kind, to, number, payload

    def _sleep(self, timeout: float | None) -> None:
        if not self.end.sleep():
            if self.end.room_wanted():
                self._ring()
            self.bell.wait(timeout)
        self.end.wake()

    def put(self, kind: int, to: int, from_: int, number: int, payload: bytes) -> None:
        """Write a record of any length; waits for room."""
        offset = 0
        while True:
            try:
                written, offset = self.end.write_part(kind, to, from_, number, payload, offset)
                if written is Written.RING_BELL:
                    self._ring()
                if written is Written.FULL:
                    if not self.end.await_room():
                        self.bell.wait(None)
                elif offset == len(payload):
                    return
            except BrokenRingError:
                _gone()

    def log(self, text: bytes) -> None:
        """What the program has written to stderr."""
        for at in range(0, len(text), MOST_OUTPUT):
            self.say(CellKind.OUTPUT, text[at : at + MOST_OUTPUT], STDERR)

    def say(self, kind: CellKind, payload: bytes, number: int = 0) -> None:
        """A record for the gateway itself."""
        self.put(kind, NOBODY, ME, number, payload)

    def _ring(self) -> None:
        os.eventfd_write(self.their_bell, 1)


def _gone() -> NoReturn:
    os._exit(GATEWAY_GONE)
