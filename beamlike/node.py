"""One node: the scheduler, run inside trio's loop.

Theory of operation. trio calls an Instrument's `before_io_wait` once in each pass of its loop, between tasks; there we step
processes for about
SLICE seconds. The timeout of the wait that follows was computed before, so a *ticker* task keeps itself runnable (timeout 0) as
long as there is something to
step, and we step only then; when there is nothing it sleeps until the next timer, and `became_ready` wakes it. trio drops an
instrument that raises: the hook catches everything, and the ticker raises it, and checks that the hook still runs.
"""

from __future__ import annotations

import itertools
import os
import platform
import random
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import trio

import caps
from beamlike import (
    alone,
    clock,
    dead_letters,
    garbage,
    limits,
    names,
    preemption,
    processes,
    reports,
    routing,
    signals,
    table,
    trio_mode,
    unwinding,
)
from beamlike.exits import (
    CallError,
    CallTimeoutError,
    ExitError,
    InternalError,
    ProcessExit,
    Stop,
    error_reason,
    format_reason,
    reason_of,
)
from beamlike.hot import scheduler
from beamlike.hot.calls import ANSWERED, FAILED, Call, Caller, Wait
from beamlike.hot.ids import NodeId, Pid
from beamlike.hot.process import EXITING, IN_TRIO, INFINITY, PREEMPTED, RUNNABLE, Process
from beamlike.hot.values import copy_value

T = TypeVar("T")
SLICE = 0.001  # seconds of stepping before trio has its turn
GRACE = 1.0  # seconds that processes without a supervisor have to end when the node stops

_incarnations = itertools.count(1)


class Node(trio.abc.Instrument):
    """What `run` and `node` open. One an interpreter; its parts are modules, this joins them to trio and to each other."""

    def __init__(self, name: str, *, preempt: bool, seed: int | None) -> None:
        self.id = NodeId(name if "@" in name else f"{name}@{platform.node() or 'localhost'}", next(_incarnations))
        self.rng = None if seed is None else random.Random(seed)
        self.stepper = preemption.make(preempt and seed is None)
        self.failure: BaseException | None = None
        self.ticker: trio.lowlevel.Task | None = None
        self.is_armed = False  # the ticker is runnable: trio will not wait, so the hook may step
        self.hook_passes = 0
        self.deadline = INFINITY  # until when the ticker sleeps
        self.inbox: deque[tuple[Any, Any]] = deque()  # from other threads
        self.token: trio.lowlevel.TrioToken | None = None
        self.main = _Main()
        self.scope = trio.CancelScope()  # of the block that has the node open
        self.stop_scope = trio.CancelScope(shield=True)
        self.ticker_scope = trio.CancelScope()
        self.ticker_ended = trio.Event()

    # --- in trio's loop ---

    def before_io_wait(self, timeout: float) -> None:
        """trio's hook: step processes."""
        self.hook_passes += 1
        if not self.is_armed:
            return
        try:
            self.stepper.run_slice(SLICE)
            garbage.after_slice()
        except BaseException as failure:  # noqa: BLE001 - trio would drop us; the ticker raises it
            self.failure = InternalError("the scheduler of this node failed")
            self.failure.__cause__ = failure

    async def _run_ticker(self) -> None:
        try:
            with self.ticker_scope:
                await self._tick()
        except BaseException as failure:
            self.failure = failure if isinstance(failure, InternalError) else InternalError("trio ended the task of the scheduler")
            self.scope.cancel()
            self.stop_scope.cancel()  # nobody steps what it waits for
            if not isinstance(failure, InternalError):
                raise
        finally:
            self.ticker_ended.set()

    async def _tick(self) -> None:
        self.ticker = trio.lowlevel.current_task()
        while True:
            passes = self.hook_passes
            if scheduler.is_ready():
                self.is_armed = True
                await trio.lowlevel.cancel_shielded_checkpoint()
                if self.hook_passes == passes:
                    raise InternalError("trio does not call the scheduler any more (was its instrument removed?)")
            else:
                self.is_armed = False
                await self._idle()
            if self.failure is not None:
                raise self.failure
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _idle(self) -> None:
        def abort(_: Any) -> trio.lowlevel.Abort:
            scheduler.set_idle(False)
            return trio.lowlevel.Abort.SUCCEEDED

        garbage.before_idle()  # first: finalizers may arm timers
        self.deadline = scheduler.next_timer()
        with trio.CancelScope(
            deadline=INFINITY if self.deadline == INFINITY else trio.current_time() + max(0.0, self.deadline - scheduler.now())
        ):
            scheduler.set_idle(True)
            if scheduler.is_ready():  # by what a finalizer did since the look that led here
                scheduler.set_idle(False)
                return
            await trio.lowlevel.wait_task_rescheduled(abort)

    def became_ready(self) -> None:
        """Hook: wake the ticker, unless the new timer is later than it wakes anyway."""
        if scheduler.has_runnable() or scheduler.next_timer() < self.deadline:
            scheduler.set_idle(False)
            assert self.ticker is not None
            trio.lowlevel.reschedule(self.ticker)

    # --- the scheduler's hooks ---

    def process_ended(self, process: Process, failure: BaseException | None) -> None:
        """Hook."""
        if process.state == EXITING or process.pid.process is None:
            unwinding.done(process, failure)
            return
        if failure is not None:
            _strip_runtime(failure)
            _note_misuse(failure)
        reason, failure = _sendable(reason_of(failure), failure)
        if failure is not None and not isinstance(failure, ProcessExit):
            reports.crash(process, failure, reason)
        signals.ended(process, reason)

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
            if destination.origin != self.id:
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

    def send_from_thread(self, destination: Any, message: Any) -> None:
        """Hook."""
        names.check_destination(destination, "send")
        if type(destination) is str and names.holder(destination) is None:
            raise names.BadNameError(f"nobody has the name {destination!r} on {self.id.name}")
        self.inbox.append((destination, copy_value(message)))
        if self.token is not None:
            try:
                self.token.run_sync_soon(self._empty_inbox, idempotent=True)
            except trio.RunFinishedError:
                raise RuntimeError("the node has stopped: the message was not sent") from None

    def _empty_inbox(self) -> None:
        while self.inbox:
            destination, message = self.inbox.popleft()
            with suppress(names.BadNameError):  # it had a holder when it was sent: dropped like a message to a dead pid (M2)
                scheduler.send(destination, message)

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
        me = wait.process.pid
        if type(wait.server) is Pid:
            if wait.server.origin == self.id:
                wait.fail("noproc")
                return
            routing.router.monitor(me, wait.ref, wait.server)
            routing.router.send(wait.server, Call(Caller(me, wait.ref), wait.request))
        else:
            routing.router.monitor(me, wait.ref, wait.server)
            name, node = wait.server
            routing.router.send_named(name, node, Call(Caller(me, wait.ref), wait.request))

    def call_ended_elsewhere(self, wait: Wait) -> None:
        """Hook: it is no longer watched."""
        if type(wait.server) is not Pid or wait.server.origin != self.id:
            routing.router.demonitor(wait.process.pid, wait.ref, wait.server)

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

    # --- opening and closing ---

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The node, from here to the end of the block; there its processes are stopped."""
        scheduler.open_node(self.id, self, _clock(), self.rng)
        _clear()
        routing.install(alone.NoOtherNodes())
        caps.set_current_layers(processes.current_layers)
        trio_mode.open_node(self.stepper, self.process_ended)
        self.token = trio.lowlevel.current_trio_token()
        trio.lowlevel.add_instrument(self)
        self.stepper.start()
        garbage.start()
        error: BaseException | None = None
        trio.lowlevel.spawn_system_task(self._run_ticker)  # not a child of the caller: what cancels that must not stop the node first
        try:
            with self.scope:
                try:
                    yield
                except BaseException as raised:
                    if self.failure is not None:
                        raise
                    error = raised  # raised again below, when the node has stopped
            with self.stop_scope:
                if self.failure is None:
                    await self._stop()
            with trio.CancelScope(shield=True):
                self.ticker_scope.cancel()
                await self.ticker_ended.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            garbage.stop()
            self.stepper.stop()
            trio.lowlevel.remove_instrument(self)
            caps.set_current_layers(tuple)
            _clear()
            scheduler.close_node()
        if error is not None:
            raise error

    async def run_main(self, main: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        """Open the node with `main(*args)` as its first process, and wait for its end. `self.main` then has the result."""
        first = self.main
        async with self.open():
            signals.on_release.append(first.released)
            try:
                first.process = processes.start(first.body, (main, args), parent=None)
                more = processes.extra(first.process)
                more.initial_call = f"{getattr(main, '__module__', '?')}:{getattr(main, '__qualname__', main)}"
                more.is_main = True
                await first.over.wait()
            finally:
                signals.on_release.remove(first.released)

    def interrupt(self, *, at_once: bool) -> None:
        """End main, after which everybody is stopped in order; or end everybody now. Called in trio's loop, by its token."""
        if scheduler.current_node() is not self.id:
            return
        if self.main.process is not None:
            signals.end(self.main.process, "shutdown")
        if at_once:
            self.is_aborted = True
            for process in scheduler.all_processes():
                signals.end(process, "killed")

    def discard(self) -> None:
        """Nothing is left of the node, even if trio itself failed and `open` was never left."""
        if scheduler.current_node() is self.id:
            garbage.stop()
            self.stepper.stop()
            scheduler.close_node()

    async def _stop(self) -> None:
        """Supervisors first, the last started first; then whoever is left."""
        done = trio.Event()
        stopper = processes.start(_stop_processes, (self,), parent=None)
        processes.extra(stopper).label = "stops the node"  # with an Extra its end is told to `on_release`

        def released(process: Process, reason: Any) -> None:
            if process is stopper:
                done.set()

        signals.on_release.append(released)
        try:
            await done.wait()
        finally:
            signals.on_release.remove(released)
        end = trio.current_time() + GRACE
        while scheduler.process_count() and not self.is_aborted and trio.current_time() < end:  # those being unwound  # noqa: ASYNC110 - nobody says when
            await trio.sleep(0.002)
        await trio_mode.wait_none()

    is_aborted = False  # do not wait for anybody any more


def _clear() -> None:
    for module in (names, limits, dead_letters, clock, unwinding, signals, table):
        module.clear()


def _clock() -> Callable[[], float] | None:
    """trio's clock where that is virtual; None where it is the machine's: it is read without a detour through trio."""
    is_system = hasattr(trio.lowlevel.current_clock(), "offset")
    return None if is_system else trio.current_time


async def _stop_processes(node: Node) -> None:
    me = scheduler.current_process()
    others = [process for process in scheduler.all_processes() if process is not me]
    supervisors = {process.pid for process in others if processes.is_supervisor(process)}
    for process in reversed(others):
        if process.pid in supervisors and not supervisors.intersection(process.ancestors):
            await _ask_to_stop([process], None if not node.is_aborted else 0)
    while others := [process for process in scheduler.all_processes() if process is not me]:
        await _ask_to_stop(others, 0 if node.is_aborted else GRACE)


async def _ask_to_stop(others: list[Process], timeout: float | None) -> None:
    """Tell processes to shut down, as their parents would; kill those that have not ended in time."""
    refs = {signals.monitor(process.pid): process for process in others}
    for process in others:
        sender = process.ancestors[0] if process.ancestors else process.pid
        signals.send_exit(sender, process, "shutdown", link=False)
    end = INFINITY if timeout is None else scheduler.now() + timeout
    try:
        while refs:
            down = await scheduler.receive(timeout=None if end == INFINITY else max(0.0, end - scheduler.now()))
            refs.pop(down.ref, None)
    except TimeoutError:
        for process in refs.values():
            signals.end(process, "killed")


def _sendable(reason: Any, failure: BaseException | None) -> tuple[Any, BaseException | None]:
    """A reason is a plain value that every node can read: what `Stop` was given may not be one."""
    try:
        return copy_value(reason), failure
    except TypeError as error:
        error.add_note(f"It was to be the exit reason: {reports.shown(reason)}")
        return error_reason(error), error


def _strip_runtime(failure: BaseException) -> None:
    """The frames of the step loop say nothing about the process."""
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None and not preemption.may_be_left(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    failure.__traceback__ = trace


def _note_misuse(failure: BaseException) -> None:
    if isinstance(failure, RuntimeError) and "must be called from async context" in str(failure):
        failure.add_note("In a process, trio is used inside `async with io():`, or in a process spawned with io=True.")


class _Main:
    """The main process of `run`: how it went."""

    def __init__(self) -> None:
        self.value: Any = None
        self.failure: BaseException | None = None
        self.reason: Any = None
        self.was_told = False  # ended by an exit signal; what it raises after that does not count
        self.over = trio.Event()
        self.process: Process | None = None

    async def body(self, main: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        try:
            self.value = await scheduler.start_coroutine(main, args)
        except BaseException as failure:
            self.failure = failure
            raise

    def released(self, process: Process, reason: Any) -> None:
        if process is self.process:
            self.reason = reason
            self.was_told = self.failure is None and reason != "normal"
            self.over.set()

    def result(self) -> Any:
        if self.was_told or isinstance(self.failure, (Stop, ProcessExit)):
            if self.reason == "normal":
                return None
            raise ExitError(f"main ended: {format_reason(self.reason)}", self.reason)
        if self.failure is not None:
            raise self.failure
        return self.value


class _Interrupt:
    """Ctrl-C while `run` owns the interpreter: the first one stops the tree in order, the second one does not wait, the third one
    leaves."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.count = 0

    def __enter__(self) -> _Interrupt:
        self.is_installed = (
            threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self.is_installed:
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        if self.is_installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_signal(self, signum: int, frame: Any) -> None:
        self.count += 1
        if self.node.token is None:
            raise KeyboardInterrupt
        if self.count > 2:
            os._exit(130)
        with suppress(trio.RunFinishedError):  # the node is through; `run` raises KeyboardInterrupt
            self.node.token.run_sync_soon(self._stop)

    def _stop(self) -> None:
        self.node.interrupt(at_once=self.count > 1)


def run(
    main: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    name: str = "main",
    preempt: bool = True,
    seed: int | None = None,
) -> T:
    """Run a node in this interpreter, with `main(*args)` as its first process, until that ends; return what it returned.

    Then the node's supervisors are shut down, the last started first, other processes get an exit signal `shutdown`, and what does
    not end in a second is killed. Ctrl-C does the same and raises KeyboardInterrupt at the end; a second Ctrl-C does not wait.

    Args:
        name: of the node; `@machine` is added.
        preempt: whether a process that computes in pure Python is interrupted for others (P1). Off the main thread it never is.
        seed: deterministic mode, for tests: who runs next is drawn from this seed, time is virtual and jumps to the next timer
        when nobody can run, and
            pre-emption is off. Same seed, same program, same order; what happens in trio mode and in threads is outside of that.

    Raises: what `main` raised; ExitError if it was ended by an exit signal; RuntimeError if a node runs already.
    """
    if not callable(main):
        raise TypeError(f"run expects an async function (and its arguments apart), not {main!r}")
    opened = Node(name, preempt=preempt, seed=seed)
    if seed is None:
        clock_ = None
    else:
        from trio.testing import MockClock  # not above: where there is a pytest it imports that, which takes 0.2 s

        clock_ = MockClock(autojump_threshold=0)
    with _Interrupt(opened) as interrupt:  # trio leaves SIGINT alone if somebody has it
        try:
            trio.run(opened.run_main, main, args, clock=clock_, restrict_keyboard_interrupt_to_checkpoints=True)
        finally:
            opened.discard()
    if interrupt.count:
        raise KeyboardInterrupt
    return opened.main.result()  # type: ignore[no-any-return]


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
                    signals.ended(process, reason_of(failure))
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
