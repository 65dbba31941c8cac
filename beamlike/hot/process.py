"""The record of one process: what the scheduler, the mailbox and the signals know of it. Slots and little else, for a node
holds a million of them; what few processes have lives in `extra`, made on demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import deque
    from contextvars import Context

    from beamlike.hot.ids import Pid, Ref

# The states. A record is in the run queue exactly while it is RUNNABLE, PREEMPTED or EXITING (and not yet unwound).
RUNNABLE = 0  # in the run queue, or being stepped
RECEIVING = 1  # parked; any message, or its deadline, makes it runnable
WAITING = 2  # parked; only its deadline or who holds the wake-up makes it runnable (sleep, call, blocking)
PREEMPTED = 3  # in the run queue; its next step is a switch to `greenlet`
IN_TRIO = 4  # a trio task steps it
EXITING = 5  # dead for everybody else; its coroutine is being unwound
DEAD = 6

STATUS = ("runnable", "receiving", "waiting", "preempted", "in_trio", "exiting", "dead")

INFINITY = float("inf")
_infinity = INFINITY  # for this module; a C double when compiled
MOST_ANCESTORS = 8


class Empty:
    """The type of `EMPTY`, which stands for "no message": None is a message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "EMPTY"


EMPTY: Any = Empty()


class Process:
    """See the module. Only the node's own thread touches a record."""

    __slots__ = (
        "ancestors",
        "bounds",
        "calls",
        "calling",
        "context",
        "coro",
        "deadline",
        "extra",
        "first",
        "greenlet",
        "layers",
        "lineage",
        "links",
        "mailbox",
        "monitored_by",
        "monitors",
        "name",
        "pid",
        "reductions",
        "state",
        "task",
        "timer_at",
        "trap_exit",
    )

    def __init__(self, pid: Pid, coro: Any, context: Context, layers: tuple[Any, ...], parent: Process | None) -> None:
        self.pid = pid
        self.coro: Any = coro
        self.context: Any = context
        self.layers = layers  # caps.Layers, outermost first; append-only (C1)
        self.state = RUNNABLE
        self.trap_exit = False
        self.reductions = 0
        # The mailbox, oldest message first: `first`, then `mailbox`. Most processes never hold two messages at a time, and
        # an empty deque costs 0.6 KB: `mailbox` is made for the second and dropped when it runs empty.
        self.first: Any = EMPTY
        self.mailbox: deque[Any] | None = None
        self.bounds: Any = None  # limits.Bounds, of the mailbox and of reductions, where there are any
        # One timer a process, whatever it waits for (sleep, receive, call): a wait sets `deadline`, and the heap holds at most
        # one live entry, at `timer_at` <= deadline, which moves itself on. So 10^6 calls a second push nothing.
        self.deadline = _infinity
        self.timer_at = _infinity
        self.task: Any = None  # trio_mode.Host while in trio mode, or the wait of a scheduler-mode process elsewhere
        self.greenlet: Any = None  # where it was pre-empted
        self.calls: dict[Ref, Any] | None = None  # calls in flight: ref -> calls.Wait (M5: the reply address)
        self.calling: Process | None = None  # the local process whose answer this one waits for (G7)
        self.links: set[Pid] | None = None
        self.monitors: dict[Ref, Any] | None = None  # ref -> what is monitored
        self.monitored_by: dict[Ref, Pid] | None = None
        self.name: str | None = None
        # Parent first. Kept to MOST_ANCESTORS: a process that starts its successor for ever must not grow.
        self.lineage: tuple[Pid, ...] | None = None  # the ancestors of its children, made for the first
        self.ancestors: tuple[Pid, ...] = ()
        if parent is not None:
            if parent.lineage is None:
                parent.lineage = (parent.pid, *parent.ancestors[: MOST_ANCESTORS - 1])
            self.ancestors = parent.lineage
        self.extra: Any = None  # processes.Extra: label, ancestors, callers, initial call, last messages
