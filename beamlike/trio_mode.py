"""Trio mode: a process whose coroutine a trio task steps, so that every trio API works in it (P4, P6).

Theory of operation. `async with io():` yields ENTER to the scheduler, which hands the process to a `Host`: a trio system task with
a nursery of the process's own, in which `_pump` steps the coroutine, forwarding trio's traps, until it yields LEAVE. Our primitives
wait with trio's own means there, so cancel scopes work around them. Who the process is, its child tasks and threads know by a context
variable.

Ending one cancels the nursery. A process that is killed loses its shields and has MOST_TURNS steps to be through; then the pump leaves
the coroutine where it is for good. Scopes and nurseries it left open are trio's "stack corrupted" error, which the Host expects.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import trio

import caps
from beamlike import unwinding
from beamlike.exits import ProcessExit
from beamlike.hot import scheduler
from beamlike.hot.mailboxes import take, take_matching
from beamlike.hot.process import DEAD, EMPTY, EXITING, IN_TRIO, RECEIVING, RUNNABLE, WAITING, Process
from beamlike.logs import log
from beamlike.preemption import PREEMPTED, SUSPENDED, Cooperative, Preemptive

GRACE = 5.0  # seconds that a process has for what it shields from its cancellation, unless it was killed
GRACE_OF_KILLED = 0.25  # seconds that tasks started by a killed process have to be through

ENTER: Any = object()
LEAVE: Any = object()
current_in_trio: ContextVar[Process | None] = ContextVar("beamlike_process", default=None)

_stepper: Cooperative | Preemptive = Cooperative()
_hosts: set[Host] = set()
_held: list[trio.lowlevel.Task] = []  # pumps of processes that are suspended in the middle of a step
_on_end: Callable[[Process, BaseException | None], None]


def open_node(stepper: Cooperative | Preemptive, on_end: Callable[[Process, BaseException | None], None]) -> None:
    """A node opens: how coroutines are stepped, and whom to tell of one that is through."""
    global _stepper, _on_end
    _stepper, _on_end = stepper, on_end
    _held.clear()


def let_go_on() -> None:
    """Processes in trio mode that are suspended in the middle of a step look again whether they may go on."""
    for pump in _held:
        trio.lowlevel.reschedule(pump)
    _held.clear()


async def wait_none() -> None:
    """Wait until no process is in trio mode any more. They have been ended before; nothing they shield is waited for."""
    for host in list(_hosts):
        await host.force_through()


class Host:
    """One process in trio mode, and the trio task that steps it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.nursery: trio.Nursery | None = None
        self.receiver: trio.lowlevel.Task | None = None  # the task of it that waits in `receive`
        self.turns = 0  # steps it has had since it was killed

    def wake(self) -> None:
        """A message has come while `receiver` waits."""
        self.process.state = IN_TRIO
        task, self.receiver = self.receiver, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def abandon(self) -> None:
        """The process has ended: cancel what it does. What it shields has GRACE, or nothing if it was killed."""
        if self.nursery is None:
            return  # `run` looks
        self.nursery.cancel_scope.cancel()
        let_go_on()
        if unwinding.is_killed(self.process):
            self.force()
        trio.lowlevel.spawn_system_task(self._force_in_time)

    async def _force_in_time(self) -> None:
        if self.turns == 0:
            end = trio.current_time() + GRACE
            while self in _hosts and trio.current_time() < end:  # noqa: ASYNC110 - nobody says when
                await trio.sleep(GRACE / 100)
        await self.force_through()

    async def force_through(self) -> None:
        """Force it again and again, for it may shield itself anew; in the end what it started vanishes."""
        end = trio.current_time() + GRACE_OF_KILLED
        while self in _hosts:
            self.force()
            if trio.current_time() > end:
                self.vanish()
            await trio.sleep(GRACE_OF_KILLED / 100)

    def force(self) -> None:
        """No shield protects it, nor any task it started, any longer; and its turns are counted."""
        if self.nursery is not None and self in _hosts:
            self.turns = max(self.turns, 1)
            self.nursery.cancel_scope.cancel()
            for task in _descendants_of(self.nursery):
                _unshield(task)

    def vanish(self) -> None:
        """Whatever it started and still is there is never stepped again."""
        if self.nursery is not None and self in _hosts:
            for pump in self.nursery.child_tasks:
                for task in _descendants(pump):
                    _vanish(task)

    async def run(self) -> None:
        """The system task."""
        process = self.process
        left = False
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                if process.state == EXITING:
                    self.abandon()
                left = await _in_child(nursery, self._pump)
        except BaseException as failure:
            if process.state not in (EXITING, DEAD):
                raise
            log(unwinding.logger, logging.DEBUG, "%s left trio mode in disorder", process.pid, exc_info=failure)
        finally:
            _hosts.discard(self)
        if left:
            process.context.run(current_in_trio.set, None)
            process.task = None
            if process.state != EXITING:
                process.state = RUNNABLE
            scheduler.enqueue(process)

    @types.coroutine
    def _pump(self) -> Generator[Any, Any, bool]:
        """Step the coroutine, forwarding trio's traps, until it is through (False) or leaves trio mode (True)."""
        process = self.process
        task = trio.lowlevel.current_task()
        outside: Any = task._cancel_status
        resume: Any = process.coro.send
        value: Any = None
        while True:
            try:
                yielded = _stepper.step(process, resume, value)
                while yielded is PREEMPTED or yielded is SUSPENDED:
                    if self._is_given_up(task):
                        return False
                    if yielded is SUSPENDED and process.state != EXITING:
                        yield from _until_let_go_on(task)
                    else:
                        yield from _checkpoint()
                    yielded = _stepper.resume(process)
            except StopIteration:
                _on_end(process, None)
                return False
            except BaseException as failure:  # noqa: BLE001 - whatever it is, it ends the process and is its exit reason
                _on_end(process, failure)
                return False
            if yielded is LEAVE:
                if not task.child_nurseries and task._cancel_status is outside:
                    return True
                resume = process.coro.throw
                value = RuntimeError("a cancel scope or nursery is still open at the end of `async with io():`: close it inside the block")
                continue
            if self._is_given_up(task):
                yield from _wait_out(task, yielded)
                return False
            try:
                value = yield yielded
                resume = process.coro.send
            except BaseException as error:  # noqa: BLE001 - a Cancelled, mostly: it belongs to the coroutine
                resume, value = process.coro.throw, error

    def _is_given_up(self, task: trio.lowlevel.Task) -> bool:
        """Count a step of a process that was killed; True when it has had enough of them."""
        if self.turns == 0 or self.process.state != EXITING:
            return False
        self.turns += 1
        if self.turns <= unwinding.MOST_TURNS:
            return False
        _unshield(task)
        for child in _descendants(task):
            _vanish(child)
        unwinding.give_up(self.process)
        return True


async def _in_child(nursery: trio.Nursery, fn: Callable[[], Any]) -> bool:
    """Run `fn` in a task of its own, which trio lets end with scopes open, and wait for it."""
    result = False

    async def child() -> None:
        nonlocal result
        try:
            result = await fn()
        finally:
            through.set()

    through = trio.Event()
    nursery.start_soon(child)
    with trio.CancelScope(shield=True):
        await through.wait()
    return result


@types.coroutine
def _wait_out(task: trio.lowlevel.Task, trap: Any) -> Generator[Any, Any, None]:
    """The last wait of a coroutine that was given up is waited for, for trio counts on it (a nursery that waits for its tasks)."""
    with suppress(BaseException):  # a Cancelled, that nobody is there for any more
        yield trap
    while _descendants(task):
        yield from _checkpoint()


@types.coroutine
def _until_let_go_on(task: trio.lowlevel.Task) -> Generator[Any, Any, None]:
    _held.append(task)  # `abandon` lets it go on, too
    yield from trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED).__await__()  # noqa: ASYNC105 - it is stepped here


@types.coroutine
def _checkpoint() -> Generator[Any, Any, None]:
    yield from trio.lowlevel.cancel_shielded_checkpoint().__await__()  # noqa: ASYNC105 - it is stepped here


def enter(process: Process) -> None:
    """Hand a process that is in no queue to a trio task of its own."""
    host = Host(process)
    _hosts.add(host)
    process.state = IN_TRIO
    process.task = host
    process.context.run(current_in_trio.set, process)
    trio.lowlevel.spawn_system_task(host.run, name=f"beamlike {process.pid}")


# trio has no public way to end a task that shields itself. What follows reads its private cancel statuses and replaces the coroutines of
# tasks that refuse to end (docs/decisions/0007); test_death.py sees both at work, so a trio that changes them is found out.


def _descendants_of(nursery: trio.Nursery) -> list[trio.lowlevel.Task]:
    children = list(nursery.child_tasks)
    return children + [each for child in children for each in _descendants(child)]


def _descendants(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    return [each for nursery in task.child_nurseries for each in _descendants_of(nursery)]


def _unshield(task: trio.lowlevel.Task) -> None:
    """Let every cancellation around the task reach it."""
    status: Any = task._cancel_status
    while status is not None:
        scope, status = status._scope, status._parent
        if scope.shield:
            scope.shield = False


class _Vanished:
    """Stands in for the coroutine of a task that is never stepped again: the task ends at its next step."""

    cr_frame = None

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, *error: Any) -> Any:
        raise StopIteration


def _vanish(task: trio.lowlevel.Task) -> None:
    """End a task that a killed process started, wherever it is."""
    if not isinstance(task.coro, _Vanished):
        unwinding.bury_alive(task.coro)
        task.coro = _Vanished()  # type: ignore[assignment]
    _unshield(task)


# --- the public face ------------------------------------------------------------------------------------------------------


class io:
    """Trio mode for a block: every trio API works in it, and `receive`, `sleep`, `call` as well.

    Other processes go on meanwhile, also while the block computes (P1); not while a *task* that it started in a nursery of trio's
    computes, for those are trio's. Nested, or in a process spawned with `io=True`, it does nothing.
    A cancel scope or nursery must not be open across its ends.

    Threads belong in `blocking`: one that is awaited by `trio.to_thread.run_sync` without `abandon_on_cancel=True` ends when it
    likes, even if the process was killed, and the program cannot end before.
    """

    def __init__(self) -> None:
        self.entered = False

    async def __aenter__(self) -> None:
        process = scheduler.caller("io")
        if process is scheduler.stepped():
            self.entered = True
            await _hop(ENTER)

    async def __aexit__(self, *error: object) -> None:
        if self.entered:
            self.entered = False
            await _hop(LEAVE)


@types.coroutine
def _hop(trap: Any) -> Generator[Any, Any, None]:
    yield trap


async def blocking(fn: Callable[..., Any], *args: Any) -> Any:
    """Run `fn(*args)` in a thread and await what it returns or raises. Other processes go on meanwhile.

    The thread acts for this process (P6): `self_pid` and `send` work in it. It cannot be interrupted: if the process is ended
    meanwhile, the thread runs on and its result is dropped. Raises: CapabilityError, if an exclusion refuses the caller threads.
    """
    process = scheduler.caller("blocking")
    if not callable(fn):
        raise TypeError(f"blocking expects a function (and its arguments apart), not {fn!r}")
    caps.check("blocking")
    if process is not scheduler.stepped():
        return await trio.to_thread.run_sync(fn, *args, abandon_on_cancel=True)
    wait = _ThreadWait(process)
    context = process.context.copy()
    context.run(current_in_trio.set, process)
    process.task = wait
    trio.lowlevel.spawn_system_task(wait.run, fn, args, context=context, name=f"beamlike blocking {process.pid}")
    try:
        while not wait.done:
            await scheduler.wait_stepped(process)
    finally:
        if process.task is wait:
            process.task = None
    if wait.error is not None:
        raise wait.error
    return wait.value


class _ThreadWait:
    """A process in scheduler mode that waits for a thread."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.scope = trio.CancelScope()

    async def run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            with self.scope:
                self.value = await trio.to_thread.run_sync(fn, *args, abandon_on_cancel=True)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the thread
            self.error = error
        self.done = True
        if self.process.task is self and self.process.state == WAITING:
            self.process.task = None
            scheduler.wake(self.process)

    def wake(self) -> None:
        """Its deadline, which it has none of."""

    def abandon(self) -> None:
        """The process has ended: the thread may run on."""
        self.scope.cancel()
        self.process.task = None
        scheduler.enqueue(self.process)


# --- primitives in trio mode ----------------------------------------------------------------------------------------------


async def receive(matches: Callable[[Any], bool] | None, timeout: float | None) -> Any:
    """`receive`, for a trio task that acts for a process. Cancelled, it has taken no message."""
    process = scheduler.current_process()
    host: Any = process.task
    if process.state in (EXITING, DEAD):
        raise ProcessExit(unwinding.reason_for(process))
    if getattr(host, "receiver", host) is host:
        raise RuntimeError(f"receive() is called by a task that acts for {process.pid}, which is not in trio mode (any more)")
    if host.receiver is not None:
        raise RuntimeError(f"another task of {process.pid} waits in receive(): one at a time")
    await trio.lowlevel.checkpoint_if_cancelled()
    with trio.CancelScope() as scope:
        if timeout is not None and timeout > 0:
            scope.deadline = trio.current_time() + timeout
        while True:
            message = take(process) if matches is None else take_matching(process, matches, 0)
            if message is not EMPTY:
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return message
            if timeout == 0:
                break
            await _wait_message(process, host)
    await trio.lowlevel.checkpoint_if_cancelled()
    raise TimeoutError(f"receive: no message{'' if matches is None else ' that matches'} in {timeout} s")


async def _wait_message(process: Process, host: Host) -> None:
    def abort(_: Any) -> trio.lowlevel.Abort:
        host.receiver = None
        if process.state == RECEIVING:
            process.state = IN_TRIO
        return trio.lowlevel.Abort.SUCCEEDED

    host.receiver = trio.lowlevel.current_task()
    if process.state == IN_TRIO:
        process.state = RECEIVING
    await trio.lowlevel.wait_task_rescheduled(abort)


async def wait_answer(wait: Any) -> Any:
    """A call, by a trio task that acts for a process: begin, wait, end."""
    wait.event = trio.Event()
    try:
        wait.begin()
        with trio.move_on_after(wait.timeout):
            await wait.event.wait()
    finally:
        wait.end()
