"""Dead letters: messages that a bounded mailbox refused, counted by receiver and reason, the last ones kept to look at (M9)."""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import Any, NamedTuple

import caps
from beamlike.hot.ids import Pid
from beamlike.logs import log

MOST_KEPT = 100
MOST_RECEIVERS = 1000  # whose counts are kept; the oldest go first

logger = logging.getLogger("beamlike.dead_letters")


class DeadLetter(NamedTuple):
    """One of them."""

    receiver: Pid
    message: Any
    reason: str


_last: deque[DeadLetter] = deque(maxlen=MOST_KEPT)
_counts: Counter[tuple[Pid, str]] = Counter()


def count(receiver: Pid, message: Any, reason: str) -> None:
    """One more. The first of a receiver and reason is logged, and then each time their number doubles."""
    _last.append(DeadLetter(receiver, message, reason))
    _counts[receiver, reason] += 1
    if len(_counts) > MOST_RECEIVERS:
        del _counts[next(iter(_counts))]
    number = _counts[receiver, reason]
    if number & (number - 1) == 0:
        log(
            logger,
            logging.WARNING,
            "%s: %d message(s) to it were dropped (%s)",
            receiver,
            number,
            reason,
            extra={"pid": receiver, "reason": reason},
        )


def dead_letters() -> list[DeadLetter]:
    """The last ones of this node, oldest first. Raises: CapabilityError, for they show the messages of others."""
    caps.check("system", "dead_letters")
    return list(_last)


def dead_letter_counts() -> dict[tuple[Pid, str], int]:
    """How many there were, by receiver and reason (`drop_new`, `drop_old`, `exit`)."""
    return dict(_counts)


def clear() -> None:
    """A node opens or closes."""
    _last.clear()
    _counts.clear()
