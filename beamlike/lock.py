"""A lock for processes: what a `threading.Lock` cannot be here, for its holder may be pre-empted, and would stop its node.

Theory of operation. The lock knows its holder and a queue of waiters, and is passed from hand to hand: whoever releases it makes the
oldest waiter that still lives the holder, and wakes it. So there is no moment at which a third could overtake, and a process that holds
one is found in `_held` when it ends. A waiter waits as in `sleep`: parked in scheduler mode, by an event of trio's in trio mode. No
message is sent, and code of this runtime is not pre-empted: what is between two awaits here is atomic.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import trio

from beamlike import signals
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.process import INFINITY, WAITING, Process

_held: dict[Process, list[Lock]] = {}  # in the order in which they were acquired: what a death does is the same in each seeded run


class Lock:
    """Mutual exclusion of the processes of one node: `async with lock:`.

    Fair: first come, first served. It is held by a process, whichever of its tasks acquired it, and in scheduler mode as in trio mode.
    When the holder ends, for whatever reason and wherever it is, the lock is released before anybody is told of the end (E19), and the
    next waiter has it. **What the lock guards may then be half changed**, and nothing tells: where that matters, let a server own the
    state, which dies with it. What a dead process still runs, its `finally` blocks and its threads of `blocking`, runs without the lock.

    Processes share it as a global of a module, through closures, or as an argument of `spawn`, which hands it over as it is. It is of one
    node and cannot be sent; on another node the global of the module is another lock. Two processes that hold a lock each and acquire the
    other's wait for ever: use `timeout`, or one order for all.
    """

    __slots__ = ("_holder", "_waiters")

    def __init__(self) -> None:
        self._holder: Process | None = None
        self._waiters: OrderedDict[Process, trio.Event | None] = OrderedDict()  # oldest first; an event for who waits in trio mode

    async def acquire(self, timeout: float | None = None) -> None:
        """Hold the lock, when it is this process's turn.

        A checkpoint; who is cancelled or ends while it waits, or waits for longer than `timeout`, is out of the queue.

        Args:
            timeout: seconds; 0 takes it only if it is free; None waits for ever.

        Raises:
            TimeoutError: others held it all the time.
            RuntimeError: the process holds it already, or another task of it waits for it: it would wait for itself. Outside a process.
            TypeError, ValueError: `timeout` is none.
        """
        me = scheduler.caller("Lock.acquire")
        seconds = scheduler.check_timeout(timeout)
        is_stepped = me is scheduler.stepped()
        if not is_stepped:
            await trio.lowlevel.checkpoint_if_cancelled()
        self._forget_stopped_node(me)
        if self._holder is me or me in self._waiters:
            doing = "holds" if self._holder is me else "has another task that waits for"
            raise RuntimeError(f"Lock.acquire: {me.pid} {doing} this lock already, and would wait for itself: {self!r}")
        if self._holder is None:
            self._give_to(me)
            if not is_stepped:
                await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            try:
                if is_stepped:
                    await self._wait_stepped(me, INFINITY if seconds is None else scheduler.now() + seconds)
                else:
                    await self._wait_in_trio(me, INFINITY if seconds is None else seconds)
            finally:
                self._waiters.pop(me, None)  # it is there no more if it was given the lock, or ended
        scheduler.caller("Lock.acquire")  # in trio mode one that ended meanwhile comes here too, and must go no further
        if self._holder is not me:
            raise TimeoutError(f"Lock.acquire: others held it for {timeout} s: {self!r}")

    def release(self) -> None:
        """Let the next one have it. Does nothing in a process that has ended, for its end released the lock.

        Raises: RuntimeError if the calling process does not hold it, in a thread, and outside a process.
        """
        if scheduler.current_process().pid.process is None:
            return
        me = scheduler.caller("Lock.release")
        if self._holder is not me:
            raise RuntimeError(f"Lock.release: {me.pid} does not hold this lock: {self!r}")
        _held[me].remove(self)
        if not _held[me]:
            del _held[me]
        self._pass_on()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *error: object) -> None:
        self.release()

    def __repr__(self) -> str:
        if self._holder is None:
            return "<Lock, free>"
        waiting = [str(process.pid) for process in list(self._waiters) if process.pid.process is not None]
        return f"<Lock held by {self._holder.pid}, {'waiting: ' + ', '.join(waiting) if waiting else 'nobody waits'}>"

    async def _wait_stepped(self, me: Process, deadline: float) -> None:
        self._waiters[me] = None
        if deadline != INFINITY:
            scheduler.arm(me, deadline)
        try:
            while self._holder is not me and scheduler.now() < deadline:
                await scheduler.wait_stepped(me)
        finally:
            me.deadline = INFINITY

    async def _wait_in_trio(self, me: Process, seconds: float) -> None:
        event = self._waiters[me] = trio.Event()
        with trio.move_on_after(seconds):
            await event.wait()

    def _give_to(self, process: Process) -> None:
        extra(process)  # so that its end is told to `on_release`
        _held.setdefault(process, []).append(self)
        self._holder = process

    def _pass_on(self) -> None:
        self._holder = None
        while self._waiters:
            process, event = self._waiters.popitem(last=False)
            if process.pid.process is None:
                continue  # it has ended, and is not unwound yet
            self._give_to(process)
            if event is not None:
                event.set()
            elif process.state == WAITING:
                scheduler.wake(process)
            return

    def _forget_stopped_node(self, me: Process) -> None:
        """A node that stopped in disorder ended no processes: its holder is nobody's."""
        if self._holder is not None and self._holder.pid.origin is not me.pid.origin:
            _held.pop(self._holder, None)
            self._holder = None
            self._waiters.clear()


def _released(process: Process, reason: Any) -> None:
    for lock in _held.pop(process, ()):
        lock._pass_on()


signals.on_release.append(_released)
