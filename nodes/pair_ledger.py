"""What both halves of a process pair know besides the state of the server: who was answered what, which timers run, which sends may not
have left.

Theory of operation. Whatever happens to a ledger is an *operation*, a plain tuple; the primary applies it and ships it, the backup applies
it, so that both are the same. A request is known by its id, the `Ref` that its client made: a client's outcomes are kept by the serial of
that. Each request says which of the client's requests are still open (`floor`, the serial of the oldest); the outcomes of all before are
dropped, and all of a client that has ended. So there is one outcome for each client that lives, and one more for each call it has open.

    ("done", client, serial, floor, outcome)        a request was handled; OPEN if the answer comes later
    ("reply", client, serial, value)                that answer
    ("forget", client)                              it has ended
    ("timer", ref, left, destination, message, period)    due in `left` seconds; to the server itself if destination is None
    ("no_timer", ref)                               it was cancelled, or has fired
    ("send", destination, message)                  leaves when the commit it belongs to is at the backup
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from beamlike import Pid, Ref, record
from beamlike.seam import now

OPEN: Final = ("open",)
Operation = tuple[Any, ...]


@record
class Failed:
    """The answer to a request upon which the server crashed, or which nobody can answer any more."""

    reason: Any


@record
class StopPair:
    """The request that ends a pair."""

    reason: Any


@record
class KindOfPair:
    """The request that is answered by the name of the server's class."""


@record
class WatchPair:
    """The request that is answered by the end of the pair alone."""


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self.sequence = 0  # of the last commit
        self.outcomes: dict[Pid, dict[int, tuple[Any, ...]]] = {}  # by client, by the serial of its request: OPEN, or ("ok", answer)
        self.timers: dict[Ref, tuple[float, Any, Any, float]] = {}  # when (clock of this node), destination, message, period
        self.unsent: deque[tuple[int, tuple[Operation, ...]]] = deque()  # by commit: sends that may not have left

    def known(self, client: Pid, serial: int) -> tuple[Any, ...] | None:
        """What came of a request; None if it is new."""
        outcomes = self.outcomes.get(client)
        return None if outcomes is None else outcomes.get(serial)

    def commit(self, sequence: int, operations: tuple[Operation, ...]) -> None:
        """Apply the operations of one commit."""
        self.sequence = sequence
        sends = []
        for operation in operations:
            if operation[0] == "send":
                sends.append(operation)
            else:
                self._apply(operation)
        if sends:
            self.unsent.append((sequence, tuple(sends)))

    def left(self, sequence: int) -> None:
        """All sends up to this commit have left."""
        while self.unsent and self.unsent[0][0] <= sequence:
            self.unsent.popleft()

    def _apply(self, operation: Operation) -> None:
        match operation:
            case ("done", client, serial, floor, outcome):
                outcomes = self.outcomes.setdefault(client, {})
                for old in [old for old in outcomes if old < floor]:
                    del outcomes[old]
                outcomes[serial] = outcome
            case ("reply", client, serial, value):
                outcomes = self.outcomes.get(client, {})
                if outcomes.get(serial) == OPEN:
                    outcomes[serial] = ("ok", value)
            case ("forget", client):
                self.outcomes.pop(client, None)
            case ("timer", ref, left, destination, message, period):
                self.timers[ref] = (now() + left, destination, message, period)
            case ("no_timer", ref):
                self.timers.pop(ref, None)
            case _:
                raise AssertionError(operation)

    def snapshot(self) -> tuple[Any, ...]:
        """All of it, for a new backup."""
        time = now()
        timers = tuple((ref, due - time, *rest) for ref, (due, *rest) in self.timers.items())
        return self.sequence, {client: dict(outcomes) for client, outcomes in self.outcomes.items()}, timers, tuple(self.unsent)

    @classmethod
    def restored(cls, snapshot: tuple[Any, ...]) -> Ledger:
        """What `snapshot` gave, on another node."""
        ledger = cls()
        ledger.sequence, ledger.outcomes, timers, unsent = snapshot
        time = now()
        ledger.timers = {ref: (time + left, destination, message, period) for ref, left, destination, message, period in timers}
        ledger.unsent = deque(unsent)
        return ledger
