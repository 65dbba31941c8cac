"""What a handler of a process pair does to the world, held back until the backup has it: the output commit.

While a handler runs, its process's record names the outbox, and `send`, `cast`, `reply`, `send_after`, `send_interval` and `cancel_timer`
put operations here (see `nodes.pair_ledger`), also in trio mode and in `blocking` threads. Everything else takes place at once."""

from __future__ import annotations

from typing import Any

from beamlike import Caller, Pid, Ref, make_ref
from beamlike.seam import now
from nodes.pair_ledger import Ledger, Operation


class Outbox:
    """See the module. `beamlike.hot.scheduler.Outbox` for the process `me`."""

    def __init__(self, me: Pid, ledger: Ledger) -> None:
        self.me = me
        self.ledger = ledger
        self.operations: list[Operation] = []
        self.replies: list[tuple[Caller, Any]] = []  # of calls; who is asked again looks at the outcome that is known
        self.changes: list[Any] = []

    def send(self, destination: Any, message: Any) -> None:
        """To the server itself it is a timer that is due at once: what has not been handled is not lost with this node."""
        if destination == self.me:
            self.operations.append(("timer", make_ref(), 0.0, None, message, 0.0))
        else:
            self.operations.append(("send", destination, message))

    def reply(self, caller: Caller, value: Any) -> None:
        """Of an earlier request, or of the one that is handled."""
        self.operations.append(("reply", caller.pid, caller.ref.serial, value))
        self.replies.append((caller, value))

    def start_timer(self, seconds: float, destination: Any, message: Any, period: float) -> Ref:
        """It runs when the handler is committed, and is of the pair."""
        ref = make_ref()
        self.operations.append(("timer", ref, seconds, None if destination == self.me else destination, message, period))
        return ref

    def cancel_timer(self, ref: Ref) -> float | None:
        """One of the pair, also one that was started by a primary that is dead."""
        for index, operation in enumerate(self.operations):
            if operation[:2] == ("timer", ref):
                del self.operations[index]
                return float(operation[2])
        timer = self.ledger.timers.get(ref)
        if timer is None or ("no_timer", ref) in self.operations:
            return None
        self.operations.append(("no_timer", ref))
        return max(0.0, timer[0] - now())

    def take(self) -> tuple[list[Operation], list[tuple[Caller, Any]], list[Any]]:
        """Operations, replies and changes, which are here no longer."""
        taken = self.operations, self.replies, self.changes
        self.operations, self.replies, self.changes = [], [], []
        return taken
