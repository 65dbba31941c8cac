"""The record of one process: what the scheduler, the mailbox and the signals know of it. Slots and little else, for a node
holds a million of them; what few processes have lives in `extra`, made on demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
    from beamlike.hot.ids import Pid, Ref
    from beamlike.hot.messagequeue import MessageQueue
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython

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
_infinity, _dead = INFINITY, DEAD  # for this module; C numbers when compiled
MOST_ANCESTORS = 8


class Empty:
    """The type of `EMPTY`, which stands for "no message": None is a message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "EMPTY"


EMPTY: Any = Empty()


@cython.final
@cython.freelist(1024)
@cython.cclass
class Process:
    """See the module. Only the node's own thread touches a record. Made by `scheduler.new_process`.

    A record is also what `receive()` without arguments gives to await, so that the commonest wait of all allocates nothing:
    `poll_receive` of the scheduler answers for it.
    """

    __slots__ = (
        "ancestors",
        "bounds",
        "calling",
        "calls",
        "context",
        "coro",
        "deadline",
        "extra",
        "first",
        "greenlet",
        "is_restrained",
        "layers",
        "lineage",
        "links",
        "mailbox",
        "monitored_by",
        "monitors",
        "name",
        "newer",
        "next",
        "older",
        "outbox",
        "parent",
        "pid",
        "reductions",
        "state",
        "task",
        "timer_at",
        "trap_exit",
    )

    pid: Pid
    coro: Any
    context: Any
    layers: tuple[Any, ...]  # caps.Layers, outermost first; append-only (C1). Written by `set_layers`
    is_restrained: bool  # has it layers, also for its children alone, or an outbox? What it sends and spawns goes the long way
    state: int
    trap_exit: bool
    reductions: int
    next: Process | None  # in the run queue
    older: Process | None  # among all records of the node
    newer: Process | None
    # The mailbox, oldest message first: `first`, then `mailbox`. Most processes never hold two messages at a time, and
    # a queue costs as much again as the record: `mailbox` is made for the second and dropped when it runs empty.
    first: Any
    mailbox: MessageQueue | None
    bounds: Any  # limits.Bounds, of the mailbox and of reductions, where there are any
    # One timer a process, whatever it waits for (sleep, receive, call): a wait sets `deadline`, and the heap holds at most
    # one live entry, at `timer_at` <= deadline, which moves itself on. So 10^6 calls a second push nothing.
    deadline: float
    timer_at: float
    task: Any  # trio_mode.Host while in trio mode, or the wait of a scheduler-mode process elsewhere
    greenlet: Any  # where it was pre-empted, or the exception to raise at its turn
    outbox: Any  # scheduler.Outbox, while what it sends is held back. Written by `set_outbox`
    calls: dict[Ref, Any] | None  # calls in flight: ref -> calls.Wait (M5: the reply address)
    calling: Process | None  # the local process whose answer this one waits for (G7)
    links: set[Pid] | None
    monitors: dict[Ref, Any] | None  # ref -> what is monitored
    monitored_by: dict[Ref, Pid] | None
    name: str | None
    lineage: tuple[Pid, ...] | None  # the ancestors of its children, made for the first
    ancestors: tuple[Pid, ...]  # parent first, to MOST_ANCESTORS: a process that starts its successor for ever must not grow
    parent: Any  # the record of who spawned it, dead or not; pids of all who lived above it, if it was spawned from another node; or None
    extra: Any  # processes.Extra: label, callers, initial call, last message

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next_message(self)


next_message: Any = None  # installed by the scheduler: the record is at the bottom


def make_process(pid: Pid, coro: Any, context: Any, layers: tuple[Any, ...], parent: Process | None) -> Process:
    """A record, alive and runnable, in no queue."""
    process: Process = Process.__new__(Process)
    process.pid = pid
    process.coro = coro
    process.context = context
    process.layers = layers
    process.is_restrained = len(layers) > 0
    process.state = 0
    process.trap_exit = False
    process.reductions = 0
    process.first = EMPTY
    process.deadline = process.timer_at = _infinity
    if not cython.compiled:  # compiled they are None already
        process.next = process.older = process.newer = None
        process.mailbox = process.bounds = process.task = process.greenlet = process.calls = process.calling = None
        process.outbox = None
        process.links = process.monitors = process.monitored_by = process.name = process.lineage = process.extra = None
        process.parent = None
    if parent is None:
        process.ancestors = ()
    else:
        if parent.lineage is None:
            parent.lineage = (parent.pid, *parent.ancestors[: MOST_ANCESTORS - 1])
        process.ancestors = parent.lineage
        process.parent = parent
        if type(parent.parent) is Process and parent.parent.state == _dead:
            parent.parent = living(parent.parent)  # or the records of the dead would be kept for as long as their offspring lives
    return process


def living(parent: Any) -> Any:
    """What stands above a process whose `parent` this is, leaving out the records of the dead."""
    while type(parent) is Process and parent.state == _dead:
        parent = parent.parent
    return parent


def set_layers(process: Process, layers: tuple[Any, ...]) -> None:
    """These are the process's exclusions from here on."""
    process.layers = layers
    process.is_restrained = len(layers) > 0 or process.outbox is not None


def set_outbox(process: Process, outbox: Any) -> None:
    """What the process sends is held back there; None: no longer."""
    process.outbox = outbox
    process.is_restrained = outbox is not None or len(process.layers) > 0
