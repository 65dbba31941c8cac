"""`node`: a node inside a trio program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from beamlike import processes, signals, trio_mode, unwinding
from beamlike.exits import ExitError, format_reason
from beamlike.failures import examined
from beamlike.hot.ids import Pid
from beamlike.hot.process import IN_TRIO, Process
from beamlike.node import Node


class Body:
    """The block of `async with node():` as a process: trio steps it, so it is in trio mode from end to end."""

    def __init__(self, process: Process, scope: trio.CancelScope) -> None:
        self.process = process
        self.scope = scope
        self.receiver: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        """A message has come while `receiver` waits."""
        self.process.state = IN_TRIO
        task, self.receiver = self.receiver, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def abandon(self) -> None:
        """The process has ended."""
        self.scope.cancel()


@asynccontextmanager
async def node(name: str = "main", *, preempt: bool = True, seed: int | None = None) -> AsyncIterator[Pid]:
    """A node inside a trio program: `async with node():`. The block is a process of it, in trio mode; its pid is what `as` gives.

    In the block, and in tasks started there, `spawn`, `send`, `receive`, `call` … work beside trio's own functions. At its end the node's
    processes are stopped as `run` does. With `seed` the order is drawn from it; time is that of the run's clock: give trio a MockClock.

    Raises: ExitError if the block's process was ended by an exit signal; RuntimeError if a node runs already.
    """
    opened = Node(name, preempt=preempt, seed=seed)
    reason: list[Any] = []
    async with opened.open():
        process = processes.adopt()
        with trio.CancelScope() as scope:
            process.task = Body(process, scope)
            token = trio_mode.current_in_trio.set(process)
            try:
                yield process.pid
            except BaseException as failure:
                if process.pid.process is not None:
                    signals.ended(process, examined(process, failure))
                    raise
                reason.append(unwinding.reason_for(process))
                unwinding.done(process, None)
                raise
            finally:
                trio_mode.current_in_trio.reset(token)
        if process.pid.process is not None:
            signals.ended(process, "normal")
        elif not reason:
            reason.append(unwinding.reason_for(process))
            unwinding.done(process, None)
    if reason:
        raise ExitError(f"the process of this block was ended: {format_reason(reason[0])}", reason[0])
