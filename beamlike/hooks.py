"""What a node decides for the scheduler: the hooks that `hot.scheduler` calls for what is rare (its `Hooks` says when).

A pid that is not here goes to the router, a name to its holder, what a thread sends through an inbox.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

import trio

import caps
from beamlike import clock, exclusions, limits, names, privileged, processes, routing, signals, trio_mode, unwinding
from beamlike.exits import CallError, CallTimeoutError, ProcessExit, format_reason
from beamlike.failures import examined
from beamlike.hot import scheduler
from beamlike.hot.calls import ANSWERED, FAILED, Caller, Wait
from beamlike.hot.ids import NodeId, Pid
from beamlike.hot.process import EXITING, PREEMPTED, RUNNABLE, Process
from beamlike.hot.values import copy_value


class Hooks:
    """All of them but `became_ready`, which belongs to the loop."""

    def __init__(self, id: NodeId) -> None:
        self.id = id
        self.inbox: deque[tuple[Any, Any, bool]] = deque()  # from other threads
        self.token: trio.lowlevel.TrioToken | None = None

    def process_ended(self, process: Process, failure: BaseException | None) -> None:
        """Hook."""
        if process.state == EXITING or process.pid.process is None:
            unwinding.done(process, failure)
            return
        signals.ended(process, "normal" if failure is None else examined(process, failure))

    def foreign_yield(self, process: Process, yielded: Any) -> None:
        """Hook."""
        if yielded is trio_mode.ENTER:
            if process.state == EXITING:
                scheduler.enqueue(process)
            else:
                trio_mode.enter(process)
            return
        what = type(yielded).__name__
        error = RuntimeError(
            f"this process awaited something of another event loop ({what}): trio is used inside `async with io():`, "
            "asyncio and others cannot be awaited in a process"
        )
        process.greenlet = error
        if process.state == RUNNABLE:
            process.state = PREEMPTED
        scheduler.enqueue(process)

    def step_exiting(self, process: Process) -> None:
        """Hook."""
        unwinding.step(process)

    def timer_fired(self, timer: Any) -> None:
        """Hook."""
        clock.fire(timer)

    def destination_elsewhere(self, destination: Any, message: Any) -> None:
        """Hook."""
        if type(destination) is Pid:
            if destination.process is not None:
                scheduler.deliver(destination.process, message)
            elif destination.origin != self.id:
                routing.router.send(destination, message)
            return
        names.check_destination(destination, "send")
        if type(destination) is tuple:
            name, node = destination
            if node != self.id.name:
                routing.router.send_named(name, node, message)
                return
            holder = names.holder(name)  # as to another node: nobody there is no error
        else:
            holder = names.holder(destination)
            if holder is None:
                raise names.BadNameError(f"nobody has the name {destination!r} on {self.id.name}")
        if holder is not None:
            scheduler.deliver(holder, message)

    def send_limited(self, destination: Pid, message: Any) -> None:
        """Hook."""
        if destination.origin != self.id:
            routing.router.send_limited(destination, message)

    def layers_of(self, process: Process) -> caps.Layers:
        """Hook."""
        return exclusions.layers_of(process)

    def permit_send(self, process: Process, layers: caps.Layers, destination: Any) -> Any:
        """Hook."""
        self.check_destination(destination)
        return privileged.permit_send(process, layers, destination)

    def check_destination(self, destination: Any) -> None:
        """Hook."""
        names.check_destination(destination, "send")
        if type(destination) is str and names.holder(destination) is None:
            raise names.BadNameError(f"nobody has the name {destination!r} on {self.id.name}")

    def send_from_thread(self, destination: Any, message: Any, is_limited: bool) -> None:
        """Hook."""
        self.check_destination(destination)
        self.inbox.append((destination, copy_value(message), is_limited))
        if self.token is not None:
            try:
                self.token.run_sync_soon(self._empty_inbox, idempotent=True)
            except trio.RunFinishedError:
                raise RuntimeError("the node has stopped: the message was not sent") from None

    def _empty_inbox(self) -> None:
        while self.inbox and scheduler.current_node() is self.id:  # what comes too late is dropped like a message to a dead pid (M2)
            destination, message, is_limited = self.inbox.popleft()
            if is_limited:
                self.send_limited(destination, message)
                continue
            with suppress(names.BadNameError):  # it had a holder when it was sent
                self.destination_elsewhere(destination, message)

    def current_elsewhere(self) -> Process | None:
        """Hook."""
        return trio_mode.current_in_trio.get()

    def receive_in_trio(self, matches: Any, timeout: float | None) -> Any:
        """Hook."""
        return trio_mode.receive(matches, timeout)

    def exit_of(self, process: Process) -> BaseException:
        """Hook."""
        return ProcessExit(unwinding.reason_for(process))

    def admit(self, process: Process, message: Any) -> bool:
        """Hook."""
        return limits.admit(process, message)

    def spawn(self, parent: Process, fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Pid:
        """Hook."""
        return processes.start(fn, args, parent=parent, **options).pid

    # --- calls ---

    def resolve(self, server: Any) -> Any:
        """Hook: the pid that a call's name stands for, or `(name, node)` of another node."""
        names.check_destination(server, "call")
        if type(server) is tuple:
            name, node = server
            if node != self.id.name:
                return server
        else:
            name = server
        holder = names.holder(name)
        if holder is None:
            raise names.BadNameError(f"nobody has the name {name!r} on {self.id.name}")
        return holder.pid

    def call_elsewhere(self, wait: Wait) -> None:
        """Hook: the server is not alive here."""
        if self._was_here(wait.server):
            wait.fail("noproc")
        else:
            routing.router.call(wait)

    def call_ended_elsewhere(self, wait: Wait) -> None:
        """Hook: it is no longer watched."""
        if not self._was_here(wait.server):
            routing.router.call_over(wait)

    def call_may_lead_elsewhere(self, wait: Wait) -> None:
        """Hook: a call to a server of this node which, through others maybe, waits for an answer from another node."""
        routing.router.call_begun_here(wait)

    def released_elsewhere(self, caller: Caller) -> None:
        """Hook: a caller that is not alive here is answered later."""
        if caller.pid.origin != self.id:
            routing.router.answer_later(caller.pid, caller.ref)

    def _was_here(self, server: Any) -> bool:
        return type(server) is Pid and server.origin == self.id

    def reply_elsewhere(self, caller: Caller, value: Any) -> None:
        """Hook: the caller is not alive here."""
        if caller.pid.origin != self.id:
            routing.router.reply(caller.pid, caller.ref, value)

    def call_error(self, wait: Wait) -> CallError:
        """Hook: what the caller of a call without answer is told."""
        if wait.state != FAILED:
            return CallTimeoutError(f"call to {wait.server}: no answer in {wait.timeout} s", "timeout")
        reason = wait.value
        match reason:
            case ("calling_itself", chain):
                text = "the call would wait for itself: " + " → ".join(str(pid) for pid in chain)
            case "noproc":
                text = "there is no such process"
            case "noconnection":
                text = "its node is lost"
            case _:
                text = f"it ended: {format_reason(reason)}"
        return CallError(f"call to {wait.server}: {text}", reason)

    async def call_in_trio(self, wait: Wait) -> Any:
        """Hook."""
        await trio_mode.wait_answer(wait)
        if wait.state == ANSWERED:
            return wait.value
        raise self.call_error(wait)
