"""One node: the scheduler, run inside trio's loop.

Theory of operation. trio calls an Instrument's `before_io_wait` once in each pass of its loop, between tasks; there we step processes
for about SLICE seconds. The timeout of the wait that follows was computed before, so a *ticker* task keeps itself runnable (timeout 0)
as long as there is something to step, and we step only then; when there is nothing it sleeps until the next timer, and `became_ready`
wakes it. trio drops an instrument that raises: the hook catches everything, and the ticker raises it, and checks that the hook still
runs.
"""

from __future__ import annotations

import itertools
import platform
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

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
    routing,
    signals,
    table,
    trio_mode,
    unwinding,
)
from beamlike.exits import (
    InternalError,
)
from beamlike.extras import extra
from beamlike.hooks import Hooks
from beamlike.hot import scheduler
from beamlike.hot.ids import NodeId
from beamlike.hot.process import INFINITY, RECEIVING, WAITING, Process
from beamlike.main_process import MainProcess

SLICE = 0.001  # seconds of stepping before trio has its turn
GRACE = 1.0  # seconds that processes without a supervisor have to end when the node stops

_incarnations = itertools.count(1)


class Intake(Protocol):
    """What brings the signals of other nodes into the loop. Called in it, between tasks and outside of any step."""

    def drain(self) -> None:
        """Act upon what has come, and send what waited for room."""

    def fetch(self, end: float) -> bool:
        """No process can run: look for a while whether something comes by which one can (True), if that is worth it, and at most
        until `end` on the machine's clock."""

    def sleep(self) -> bool:
        """This node is about to sleep: whoever sends must wake it by `Node.wake`. False: it must not, something has come."""

    def woken(self) -> None:
        """It does not sleep any more."""


class Node(Hooks, trio.abc.Instrument):
    """What `run` and `node` open. One an interpreter; its parts are modules, this joins them to trio and to each other."""

    def __init__(self, name: str, *, preempt: bool, seed: int | None, incarnation: int | None = None) -> None:
        if not all(names.check_name(name).split("@", 1)):
            raise ValueError(f"the name of a node is `name` or `name@machine`, not {name!r}")
        if type(preempt) is not bool:
            raise TypeError(f"preempt is True or False, not {preempt!r}")
        if seed is not None and type(seed) is not int:
            raise TypeError(f"seed is None or an int, not {seed!r}")
        super().__init__(NodeId(full_name(name), next(_incarnations) if incarnation is None else incarnation))
        self.intake: Intake | None = None
        self.rng = None if seed is None else random.Random(seed)
        self.stepper = preemption.make(preempt and seed is None)
        self.failure: BaseException | None = None
        self.ticker: trio.lowlevel.Task | None = None
        self.is_armed = False  # the ticker is runnable: trio will not wait, so the hook may step
        self.hook_passes = 0
        self.deadline = INFINITY  # until when the ticker sleeps
        self.main = MainProcess()
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
            if self.intake is not None:
                self.intake.drain()
            self.stepper.run_slice(SLICE)
            garbage.after_slice()
        except BaseException as failure:  # noqa: BLE001 - trio would drop us; the ticker raises it
            self.failure = InternalError("the scheduler of this node failed")
            self.failure.__cause__ = failure

    def join(self, intake: Intake) -> None:
        """This node, which is open, is one of many from now on."""
        self.intake = intake
        scheduler.set_intake(intake)

    def wake(self) -> None:
        """Something has come for the intake while the node slept. Called in trio's loop."""
        if scheduler.is_asleep():
            scheduler.set_idle(False)
            assert self.ticker is not None
            trio.lowlevel.reschedule(self.ticker)

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
            if scheduler.is_ready() or (self.intake is not None and not self.intake.sleep()):
                self.is_armed = True
                await trio.lowlevel.cancel_shielded_checkpoint()
                if self.hook_passes == passes:
                    raise InternalError("trio does not call the scheduler any more (was its instrument removed?)")
            else:
                self.is_armed = False
                await self._idle()
                if self.intake is not None:
                    self.intake.woken()
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
            and all(thread is threading.current_thread() or thread.name.startswith("Trio thread") for thread in threading.enumerate())
        )

    def became_ready(self) -> None:
        """Hook: wake the ticker, unless the new timer is later than it wakes anyway."""
        if scheduler.has_runnable() or scheduler.next_timer() < self.deadline:
            scheduler.set_idle(False)
            assert self.ticker is not None
            trio.lowlevel.reschedule(self.ticker)

    # --- opening and closing ---

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The node, from here to the end of the block; there its processes are stopped."""
        open_core(self, _clock(), self.rng)
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
            _close()
        if error is not None:
            raise error

    async def run_main(self, main: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        """Open the node with `main(*args)` as its first process, and wait for its end. `self.main` then has the result."""
        async with self.open():
            await self.until_main_ends(main, args)

    async def until_main_ends(self, main: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        """The same on the node that is open."""
        first = self.main
        signals.on_release.append(first.released)
        try:
            first.process = processes.start(first.body, (main, args), parent=None)
            more = extra(first.process)
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
            _close()

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


def full_name(name: str) -> str:
    """`name@machine` of a node that is given a name."""
    return name if "@" in name else f"{name}@{platform.node() or 'localhost'}"


def open_core(hooks: Hooks, clock: Callable[[], float] | None = None, rng: random.Random | None = None) -> None:
    """The scheduler, and all that processes of a node share, without a loop. RuntimeError if a node is open in this interpreter."""
    scheduler.open_node(hooks.id, hooks, clock, rng)
    _clear()
    routing.install(alone.NoOtherNodes())
    caps.set_current_layers(scheduler.current_layers, scheduler.check)  # for ever: a thread of a process may outlive the node


def close_core() -> None:
    """Nothing is left of it, and another node may be opened."""
    _clear()
    _close()


def _close() -> None:
    for process in scheduler.close_node():
        unwinding.bury_alive(process)


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
            extra(process)  # so that its end is told to `on_release`
            sender = process.ancestors[0] if process.ancestors else process.pid
            signals.send_exit(sender, process, "shutdown", link=False)
        if left:
            await all_ended.wait()
    finally:
        signals.on_release.remove(released)


def _kill_all() -> None:
    for process in scheduler.all_processes():
        signals.end(process, "killed")
