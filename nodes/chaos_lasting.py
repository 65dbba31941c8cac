"""Faults that last as long as an `async with` block.

Theory of operation. A process on the node of the fault's choice begins it and ends it. It watches who asked for it, so the fault is over
when that ends, in whatever way, also by the loss of its node; and it goes on when only a connection was cut, by another fault, say. It is
told to end by an exit signal, and answers by its own end: no fault strikes the records of these. It is not linked to who asked, for the
loss of the node that it is on is often the very thing that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from beamlike import Down, Exit, Pid, Ref, Stop, demonitor, exit, monitor, process_flag, receive, self_pid, send, spawn_monitor
from beamlike.seam import format_reason
from nodes.here import joined
from nodes.placement import spawn_monitor_at

OVER = "over"


class Doing(Protocol):
    """What such a process does. All in one place: nothing here waits."""

    count: int
    """How often the fault has struck."""

    def begin(self) -> None:
        """The fault begins."""

    def turn(self) -> float | None:
        """Called from then on each time when so many seconds as it has returned are over. None: not again."""

    def end(self) -> None:
        """The fault is over."""


class Lasting:
    """A fault for `async with`.

    `count`, after the block: how many records were struck, how often a node was stopped; None if that is not known, for the node of the
    fault was lost.
    """

    def __init__(self, node: str, make: Callable[..., Doing], *args: Any) -> None:
        self.node = node
        self.make = make
        self.args = args
        self.count: int | None = None
        self._pid: Pid | None = None

    async def __aenter__(self) -> Lasting:
        """Begin. Raises: SpawnError if the node is not up."""
        _, ref = await spawn_monitor_at(self.node, _begin, self_pid(), self.make, self.args)
        match await _reason(ref):
            case ("shutdown", Pid() as pid):
                self._pid = pid
            case reason:
                raise RuntimeError(f"the fault did not begin on {self.node}, which has to go on until then: {format_reason(reason)}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """End it, and wait for that."""
        assert self._pid is not None
        while True:
            ref = monitor(self._pid)
            exit(self._pid, OVER)
            match await _reason(ref):
                case ("shutdown", int(count)):
                    self.count = count
                case "noconnection" if _is_up(self._pid):
                    continue  # only the connection was lost
            return


async def _reason(ref: Ref) -> Any:
    return (await receive(lambda message: type(message) is Down and message.ref == ref)).reason


def _is_up(pid: Pid) -> bool:
    """Is this life of a node there?"""
    life = joined()
    member = life.membership.members.get(pid.node)
    return pid.origin == (life.node.id if member is None else member.id)


async def _begin(asker: Pid, make: Callable[..., Doing], args: tuple[Any, ...]) -> None:
    """Ends when the fault has begun."""
    pid, ref = spawn_monitor(_keep, self_pid(), asker, make, args)
    match await receive():
        case Down(_, _, reason):
            raise Stop(reason)
    demonitor(ref)
    raise Stop(("shutdown", pid))


async def _keep(beginner: Pid, asker: Pid, make: Callable[..., Doing], args: tuple[Any, ...]) -> None:
    process_flag("trap_exit", True)
    doing = make(*args)
    ref = monitor(asker)
    doing.begin()
    try:
        send(beginner, "begun")
        while True:
            try:
                message = await receive(timeout=doing.turn())
            except TimeoutError:
                continue
            match message:
                case Exit(_, reason) if reason == OVER:
                    break
                case Down(gone) if gone == ref:
                    if message.reason != "noconnection" or not _is_up(asker):
                        break
                    ref = monitor(asker)
    finally:
        doing.end()
    raise Stop(("shutdown", doing.count))
