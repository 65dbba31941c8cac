"""One node: the scheduler, run inside trio's loop.

Theory of operation. trio calls an Instrument's `before_io_wait` once in each pass of its loop, between tasks; there we step processes
for about SLICE seconds. The timeout of the wait that follows was computed before, so a *ticker* task keeps itself runnable (timeout 0)
as long as there is something to step, and we step only then; when there is nothing it sleeps until the next timer, and `became_ready`
wakes it. trio drops an instrument that raises: the hook catches everything, and the ticker raises it, and checks that the hook still
runs.
"""

from __future__ import annotations

import itertools
import logging
import os
import platform
import random
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import trio

import caps
from beamlike import (
    abroad,
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
    error_text,
    format_reason,
    reason_of,
    unwrapped,
)
from beamlike.hot import scheduler
from beamlike.hot.calls import ANSWERED, FAILED, Call, Caller, Wait
from beamlike.hot.ids import NodeId, Pid
from beamlike.hot.process import EXITING, IN_TRIO, INFINITY, PREEMPTED, RECEIVING, RUNNABLE, WAITING, Process
from beamlike.hot.values import copy_value
from beamlike.logs import log

T = TypeVar("T")
SLICE = 0.001  # seconds of stepping before trio has its turn
GRACE = 1.0  # seconds that processes without a supervisor have to end when the node stops
MOST_SHOWN = 50  # processes in an error
TERMINATED = 128 + signal.SIGTERM  # the exit status, as shells give it

_incarnations = itertools.count(1)


class Node(trio.abc.Instrument):
    """What `run` and `node` open. One an interpreter; its parts are modules, this joins them to trio and to each other."""

    def __init__(self, name: str, *, preempt: bool, seed: int | None) -> None:
        if not all(names.check_name(name).split("@", 1)):
            raise ValueError(f"the name of a node is `name` or `name@machine`, not {name!r}")
        if type(preempt) is not bool:
            raise TypeError(f"preempt is True or False, not {preempt!r}")
        if seed is not None and type(seed) is not int:
            raise TypeError(f"seed is None or an int, not {seed!r}")
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
        self.threads = threading.enumerate()  # those that came later may be the program's, and send
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
        if self.rng is not None and self._is_stuck():
            self.main.raise_stuck()
            return
        with trio.CancelScope(
            deadline=INFINITY if self.deadline == INFINITY else trio.current_time() + max(0.0, self.deadline - scheduler.now())
        ):
            scheduler.set_idle(True)
            if scheduler.is_ready():  # by what a finalizer did since the look that led here
                scheduler.set_idle(False)
                return
            await trio.lowlevel.wait_task_rescheduled(abort)

    def _is_stuck(self) -> bool:
        """Nobody can run, for ever, while `run` waits for main. Outside, in trio mode or in a thread, nobody is, who could change it."""
        return (
            self.main.process is not None
            and self.main.process.state in (RECEIVING, WAITING)
            and self.deadline == INFINITY
            and not scheduler.is_ready()
            and not self.inbox
            and scheduler.process_count() == sum(process.task is None for process in scheduler.all_processes())
            and trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            and not any(thread not in self.threads and not thread.name.startswith("Trio thread") for thread in threading.enumerate())
        )

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
        signals.ended(process, "normal" if failure is None else _examined(process, failure))

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
        while self.inbox and scheduler.current_node() is self.id:  # what comes too late is dropped like a message to a dead pid (M2)
            destination, message = self.inbox.popleft()
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
        caps.set_current_layers(processes.current_layers)  # for ever: a thread of a process may outlive the node
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
                function = getattr(main, "func", main)  # of a partial
                more.initial_call = f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', function)}"
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
            _kill_all()

    def discard(self) -> None:
        """Nothing is left of the node, even if trio itself failed and `open` was never left."""
        if scheduler.current_node() is self.id:
            garbage.stop()
            self.stepper.stop()
            scheduler.close_node()

    async def _stop(self) -> None:
        """Supervisors first, the last started first, each in its own time; then whoever is left, for GRACE seconds together.

        Not a process, so that nothing processes send or kill can keep it from its work.
        """
        everybody = scheduler.all_processes()
        supervisors = {process.pid for process in everybody if processes.is_supervisor(process)}
        for process in reversed(everybody):
            if process.pid in supervisors and not supervisors.intersection(process.ancestors):
                await _shut_down([process])
        with trio.move_on_after(GRACE):
            while others := scheduler.all_processes():
                await _shut_down(others)
        _kill_all()
        with trio.move_on_after(GRACE):
            while scheduler.process_count() and not self.is_aborted:  # those being unwound  # noqa: ASYNC110 - nobody says when
                await trio.sleep(0.002)
        await trio_mode.wait_none()

    is_aborted = False  # do not wait for anybody any more


def _clear() -> None:
    for module in (names, limits, dead_letters, clock, unwinding, signals, table, abroad):
        module.clear()


def _clock() -> Callable[[], float] | None:
    """trio's clock where that is virtual; None where it is the machine's: it is read without a detour through trio."""
    is_system = hasattr(trio.lowlevel.current_clock(), "offset")
    return None if is_system else trio.current_time


async def _shut_down(asked: list[Process]) -> None:
    """Tell processes to end, as their parents would, and wait until they have."""
    left = set(asked)
    all_ended = trio.Event()

    def released(process: Process, reason: Any) -> None:
        left.discard(process)
        if not left:
            all_ended.set()

    signals.on_release.append(released)
    try:
        for process in asked:
            if process.pid.process is None:
                left.discard(process)
                continue
            processes.extra(process)  # so that its end is told to `on_release`
            sender = process.ancestors[0] if process.ancestors else process.pid
            signals.send_exit(sender, process, "shutdown", link=False)
        if left:
            await all_ended.wait()
    finally:
        signals.on_release.remove(released)


def _kill_all() -> None:
    for process in scheduler.all_processes():
        signals.end(process, "killed")


def _examined(process: Process, failure: BaseException) -> Any:
    """The reason of a process that raised; a crash is reported. Whatever the exception's own code does, nothing is raised here."""
    reason: Any = (("Exception", "what was raised cannot be looked at: its own code raises"), ())
    try:
        BaseException.with_traceback(failure, _own_part(process, failure))
        _note_misuse(failure)
        reason, failure = _sendable(reason_of(failure), failure)
        if not isinstance(failure, ProcessExit):
            reports.crash(process, failure, reason)
    except BaseException as fault:  # noqa: BLE001 - it would end the node
        log(reports.crash_log, logging.ERROR, "%s crashed, and its exception cannot be reported: %s", process.pid, error_text(fault))
    return reason


def _sendable(reason: Any, failure: BaseException) -> tuple[Any, BaseException]:
    """A reason is a plain value that every node can read: what `Stop` was given may not be one."""
    try:
        return copy_value(reason), failure
    except Exception as error:  # noqa: BLE001 - copying may run code of the program
        with suppress(Exception):
            error.add_note(f"It was to be the exit reason: {reports.shown(reason)}")
        BaseException.with_traceback(error, failure.__traceback__)  # where it was raised, rather than where it was copied
        return error_reason(error), error


def _own_part(process: Process, failure: BaseException) -> TracebackType | None:
    """The traceback from the process's first frame on: those of the step loop say nothing about it."""
    code = getattr(process.coro, "cr_code", None)
    trace = failure.__traceback__
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    if trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:  # the body that calls main
        trace = trace.tb_next
    return trace or failure.__traceback__


def _note_misuse(failure: BaseException) -> None:
    if isinstance(failure, RuntimeError) and "must be called from async context" in error_text(failure):
        with suppress(Exception):
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

    def raise_stuck(self) -> None:
        """Raise in main, where it waits, that everybody waits."""
        assert self.process is not None
        lines = "".join(f"\n  {reports.situation(process)}" for process in scheduler.all_processes()[:MOST_SHOWN])
        more = scheduler.process_count() - MOST_SHOWN
        text = f"every process waits, no timer is set, and so it would be for ever:{lines}" + (f"\n  and {more} more" if more > 0 else "")
        self.process.greenlet = RuntimeError(text)
        self.process.state = PREEMPTED
        scheduler.enqueue(self.process)

    def released(self, process: Process, reason: Any) -> None:
        if process is self.process:
            self.reason = reason
            self.was_told = self.failure is None and reason != "normal"
            self.over.set()

    def result(self) -> Any:
        if self.was_told or (self.failure is not None and isinstance(unwrapped(self.failure), (Stop, ProcessExit))):
            if self.reason == "normal":
                return None
            raise ExitError(f"main ended: {format_reason(self.reason)}", self.reason)
        if self.failure is not None:
            raise self.failure
        return self.value


class _Interrupt:
    """Ctrl-C and SIGTERM while `run` owns the interpreter: the first one stops the tree in order, the second one does not wait, the
    third one leaves. A handler of the program's own is left alone."""

    DEFAULTS: ClassVar[dict[int, Any]] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def __init__(self, node: Node) -> None:
        self.node = node
        self.came: list[int] = []
        self.installed: list[int] = []

    def __enter__(self) -> _Interrupt:
        if threading.current_thread() is threading.main_thread():
            for signum, default in self.DEFAULTS.items():
                if signal.getsignal(signum) is default:
                    signal.signal(signum, self._on_signal)
                    self.installed.append(signum)
        return self

    def __exit__(self, *error: object) -> None:
        for signum in self.installed:
            signal.signal(signum, self.DEFAULTS[signum])

    def raise_if_came(self) -> None:
        """The end of a program that was told to end: what it returned does not count."""
        if self.came:
            raise KeyboardInterrupt if self.came[0] == signal.SIGINT else SystemExit(TERMINATED)

    def _on_signal(self, signum: int, frame: Any) -> None:
        self.came.append(signum)
        if self.node.token is None:
            self.raise_if_came()
        elif len(self.came) > 2:
            os._exit(128 + signum)
        else:
            with suppress(trio.RunFinishedError):  # the node is through
                self.node.token.run_sync_soon(self._stop)

    def _stop(self) -> None:
        self.node.interrupt(at_once=len(self.came) > 1)


def run(
    main: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    name: str = "main",
    preempt: bool = True,
    seed: int | None = None,
) -> T:
    """Run a node in this interpreter, with `main(*args)` as its first process, until that ends; return what it returned.

    Then the node's supervisors are shut down, the last started first, other processes get an exit signal `shutdown`, and what has
    not ended in a second is killed. Ctrl-C and SIGTERM do the same, and raise KeyboardInterrupt or SystemExit(143) at the end; a second
    one does not wait. A program that has a handler of its own for one of the two keeps it.

    A thread that a process waits for by `trio.to_thread.run_sync` without `abandon_on_cancel` is waited for, however long it takes:
    use `blocking`.

    Args:
        name: of the node; `@machine` is added unless it has one.
        preempt: whether a process that computes in pure Python is interrupted for others (P1). Off the main thread it never is.
        seed: deterministic mode, for tests: who runs next is drawn from this seed, time is virtual and jumps to the next timer when
            nobody can run, and pre-emption is off. Same seed, same program, same order; what happens in trio mode and in threads is
            outside of that. When everybody waits for somebody else, for ever, `main` gets a RuntimeError that says who waits where.

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
    interrupt.raise_if_came()
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
                    signals.ended(process, _examined(process, failure))
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
