"""Bounds of a process: of its mailbox (M9) and its limits, which its children inherit (P3).

A bounded *mailbox* is the process's own choice of what to do with what does not fit; passing a *limit* ends the process with a
reason that names it: `("limit", "messages")`, `("limit", "bytes")`, `("limit", "reductions")`. Memory is limited per node and per cell, by
the kernel.
"""

from __future__ import annotations

from typing import Any, Literal

from beamlike import dead_letters, signals
from beamlike.hot import scheduler
from beamlike.hot.mailboxes import mailbox_length, mailbox_messages, take
from beamlike.hot.process import Process
from beamlike.hot.timers import Timer
from beamlike.hot.values import size_of
from beamlike.records import record

PERIOD = 1.0  # seconds between two looks at the reductions


@record
class Mailbox:
    """A bounded mailbox: what becomes of a message that comes when `capacity` messages wait. It is counted as a dead letter.

    Args:
        full: `drop_new` (that message), `drop_old` (the oldest one), or `exit` (the receiver ends with `("mailbox", "full")`).
    """

    capacity: int
    full: Literal["drop_new", "drop_old", "exit"] = "drop_new"

    def __post_init__(self) -> None:
        if type(self.capacity) is not int or self.capacity < 1:
            raise ValueError(f"Mailbox: capacity is a number of messages >= 1, not {self.capacity!r}")
        if self.full not in ("drop_new", "drop_old", "exit"):
            raise ValueError(f"Mailbox: full is 'drop_new', 'drop_old' or 'exit', not {self.full!r}")


@record
class Limits:
    """Limits of a process and of all it spawns, each on its own. None: unlimited. A child may only tighten what it inherits.

    Args:
        messages: that may wait in the mailbox.
        bytes: that they may take together, by `size_of`.
        reductions: per second: a step, a message taken, and 1/4000 of 4 ms of pure computation are one each.
    """

    messages: int | None = None
    bytes: int | None = None
    reductions: int | None = None

    def __post_init__(self) -> None:
        for name in ("messages", "bytes", "reductions"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"Limits: {name} is None or a whole number >= 1, not {value!r}")

    def tightened(self, other: Limits | None) -> Limits:
        """The tighter of each."""
        if other is None:
            return self
        if type(other) is not Limits:
            raise TypeError(f"Limits.tightened: other is None or a Limits, not {other!r}")
        return Limits(*[_least(getattr(self, name), getattr(other, name)) for name in ("messages", "bytes", "reductions")])


def _least(one: int | None, other: int | None) -> int | None:
    return min((n for n in (one, other) if n is not None), default=None)


class Bounds:
    """What a process record holds where there are bounds."""

    __slots__ = ("bytes", "limits", "mailbox", "seen")

    def __init__(self, limits: Limits, mailbox: Mailbox | None) -> None:
        self.limits = limits
        self.mailbox = mailbox
        self.seen = 0  # reductions at the last look
        self.bytes = 0  # at most this much waits: what was added since it was last summed up, and what waited then


_counted: set[Process] = set()


def bind(process: Process, parent: Process | None, limits: Any, mailbox: Any) -> None:
    """Give a new process its bounds. TypeError if they are none."""
    if limits is not None and type(limits) is not Limits:
        raise TypeError(f"spawn: limits is a Limits(messages=…, bytes=…, reductions=…), not {limits!r}")
    if mailbox is not None and type(mailbox) is not Mailbox:
        raise TypeError(f"spawn: mailbox is a Mailbox(capacity, full=…), not {mailbox!r}")
    inherited = None if parent is None or parent.bounds is None else parent.bounds.limits
    if limits is None and inherited is None and mailbox is None:
        return
    total = (limits or Limits()).tightened(inherited)
    process.bounds = Bounds(total, mailbox)
    if total.reductions is not None:
        if not _counted:
            scheduler.push_timer(Timer(None, None, look_at_reductions, PERIOD, None), scheduler.now() + PERIOD)
        _counted.add(process)


def admit(process: Process, message: Any) -> bool:
    """May the message enter? If not, what is to happen has happened."""
    limits, mailbox = process.bounds.limits, process.bounds.mailbox
    waiting = mailbox_length(process)
    if mailbox is not None and waiting >= mailbox.capacity:
        if mailbox.full != "drop_old":
            dead_letters.count(process.pid, message, mailbox.full)
            if mailbox.full == "exit":
                signals.end(process, ("mailbox", "full"))
            return False
        dead_letters.count(process.pid, take(process), "drop_old")
        waiting -= 1
    if limits.messages is not None and waiting >= limits.messages:
        signals.end(process, ("limit", "messages"))
        return False
    if limits.bytes is not None:
        bounds, size = process.bounds, size_of(message)
        if bounds.bytes + size > limits.bytes:  # perhaps: much of it may be gone. Rare, so that a send stays cheap
            bounds.bytes = sum(size_of(held) for held in mailbox_messages(process, waiting))
        if bounds.bytes + size > limits.bytes:
            signals.end(process, ("limit", "bytes"))
            return False
        bounds.bytes += size
    return True


def look_at_reductions() -> bool:
    """Once a PERIOD: end who took more reductions than it may. True while there is anybody to look at."""
    for process in list(_counted):
        if process.pid.process is None:
            _counted.discard(process)
        elif process.reductions - process.bounds.seen > process.bounds.limits.reductions * PERIOD:
            _counted.discard(process)
            signals.end(process, ("limit", "reductions"))
        else:
            process.bounds.seen = process.reductions
    return bool(_counted)


def clear() -> None:
    """A node opens or closes."""
    _counted.clear()
