"""Pre-emption: a process that computes in pure Python does not stop the others (P1).

Theory of operation. Processes are stepped inside a greenlet. A timer signal, every TICK of CPU time, finds a step that has lasted
most of a tick, because hardly any other began since the last; if every Python frame from where it is down to the process's first
one may be left in the middle, the signal's handler switches to the *hub*, the greenlet of trio's loop. The hub goes on with another
greenlet; the one that was left waits in the run queue, inside its process, and is switched to when that has its turn. Nothing is
added to the path of a message.

What may not be left: this runtime, the standard library, installed packages (they hold locks and half-changed state), `__del__`,
and whatever compiled code called (`hot.uninterrupted` counts that, for compiled code has no Python frame). What cannot be left
at all: a long C call, and tasks that trio steps: those a process starts in a nursery, and the block of `async with node():`.
"""

from __future__ import annotations

import gc
import os
import signal
import site
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenlet import getcurrent, greenlet

from beamlike import unwinding
from beamlike.exits import ProcessExit
from beamlike.hot import scheduler
from beamlike.hot.process import EXITING, Process
from beamlike.hot.uninterrupted import forbid_preemption, may_preempt

TICK = 0.002  # seconds of CPU time; kernels round it up to their own tick, often 4 ms
FEW_STEPS = 8  # a tick that finds fewer new steps than this found a long one
MOST_LOOPERS = 8  # kept; each process that was pre-empted brings one along
REDUCTIONS_A_TICK = 4000  # what a tick of computation counts: a time slice of the BEAM

PREEMPTED: Any = object()  # what a stepper answers for a step that was left in the middle
SUSPENDED: Any = object()  # the same for one in trio mode that has left itself, to wait


class Cooperative:
    """No pre-emption: a step lasts until it awaits."""

    is_on = False

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def run_slice(self, seconds: float) -> None:
        """Step runnable processes for about `seconds`."""
        while (process := scheduler.run_slice(seconds)) is not None:
            _throw_kept(process)

    def step(self, process: Process, resume: Callable[..., Any], value: Any) -> Any:
        """A step of a process in trio mode."""
        return process.context.run(resume, value)

    def resume(self, process: Process) -> Any:
        """Go on with a step of a process in trio mode that was left."""
        raise AssertionError("nothing is left in the middle without pre-emption")

    def suspend(self) -> bool:
        """No step can be left in the middle."""
        return False


class Preemptive:
    """See the module."""

    is_on = True

    def __init__(self) -> None:
        self.hub: greenlet | None = None  # where slices are asked for: trio's greenlet
        self.loopers: list[greenlet] = []  # greenlets parked between two slices
        self.seconds = 0.0
        self.pumped: Process | None = None  # whose step in trio mode is on
        self.pump_steps = 0
        self.steps_at_tick = 0
        self.old_handler: Any = None

    def start(self) -> None:
        """Start the ticks. Only in the main thread, where Python handles signals."""
        global _armed
        self.old_handler = signal.signal(signal.SIGVTALRM, self._tick)
        signal.siginterrupt(signal.SIGVTALRM, False)
        signal.setitimer(signal.ITIMER_VIRTUAL, TICK, TICK)
        gc.callbacks.append(_in_collection)
        _armed = True

    def stop(self) -> None:
        """Stop the ticks, before anything else of the node goes: the signal would kill a program without handler."""
        global _armed
        _armed = False
        disarm()
        signal.signal(signal.SIGVTALRM, signal.SIG_IGN)  # one may be on its way
        if self.old_handler is not None and self.old_handler is not signal.SIG_DFL:
            signal.signal(signal.SIGVTALRM, self.old_handler)
        if _in_collection in gc.callbacks:
            gc.callbacks.remove(_in_collection)
        self.loopers.clear()

    # --- slices ---

    def run_slice(self, seconds: float) -> None:
        """Step runnable processes for about `seconds`. Called in trio's greenlet."""
        self.hub = getcurrent()
        self.seconds = seconds
        end = scheduler.now() + seconds
        looper = self._looper()
        outcome = looper.switch()
        while True:
            if outcome is PREEMPTED:  # `looper` is left in the middle; it is kept by its process
                if scheduler.now() >= end:
                    return
                looper = self._looper()
                outcome = looper.switch()
            elif outcome is None:
                self._keep(looper)
                return
            else:  # the turn of a process that was left: its own greenlet goes on, and after the step it is the looper
                process: Process = outcome
                if isinstance(process.greenlet, BaseException):
                    outcome = looper.switch(process)
                else:
                    self._keep(looper)
                    outcome, looper = self._go_on(process)

    def _keep(self, looper: greenlet) -> None:
        if len(self.loopers) < MOST_LOOPERS:
            self.loopers.append(looper)

    def _looper(self) -> greenlet:
        return self.loopers.pop() if self.loopers else greenlet(self._loop)

    def _loop(self) -> None:
        while True:
            outcome = scheduler.run_slice(self.seconds)
            assert self.hub is not None
            kept = self.hub.switch(outcome)
            if isinstance(kept, Process):
                _throw_kept(kept)

    def _go_on(self, process: Process) -> tuple[Any, greenlet]:
        looper: greenlet = process.greenlet
        if process.state != EXITING or unwinding.goes_on(process):
            scheduler.resume_preempted(process)
            return looper.switch(), looper
        exit_ = unwinding.next_turn(process)
        if exit_ is None:
            unwinding.give_up(process)
            return PREEMPTED, looper
        scheduler.resume_preempted(process)
        return looper.throw(exit_), looper

    # --- trio mode ---

    def step(self, process: Process, resume: Callable[..., Any], value: Any) -> Any:
        """A step of a process in trio mode, in a greenlet that can be left. Returns what it yielded, or PREEMPTED: then `resume`."""
        stepper = greenlet(_step_once)
        return self._within(process, stepper.switch, process, resume, value)

    def resume(self, process: Process) -> Any:
        """Go on with a step that was left."""
        stepper: greenlet = process.greenlet
        process.greenlet = None
        if process.state == EXITING and not unwinding.goes_on(process):
            return self._within(process, stepper.throw, unwinding.next_turn(process) or ProcessExit("killed"))
        return self._within(process, stepper.switch)

    def _within(self, process: Process, switch: Callable[..., Any], *args: Any) -> Any:
        self.pumped = process
        self.pump_steps += 1
        try:
            return switch(*args)
        finally:
            self.pumped = None

    # --- a step that is to wait in the middle ---

    def suspend(self) -> bool:
        """Leave the step that calls, in the middle, until its process is enqueued. False: here it cannot be left.

        A process in trio mode goes on at the next `trio_mode.let_go_on`, whomever that is for: who calls looks again.
        """
        process, here = scheduler.stepped() or self.pumped, getcurrent()
        if process is None or here.parent is None or not may_preempt() or not _may_be_left(_outside_of_runtime(sys._getframe(1)), process):
            return False
        if process is self.pumped:
            process.greenlet = here
            here.parent.switch(SUSPENDED)
        else:
            scheduler.suspend(process, here)
            assert self.hub is not None
            self.hub.switch(PREEMPTED)
        return True

    # --- the tick ---

    def _tick(self, signum: int, frame: FrameType | None) -> None:
        process = scheduler.stepped()
        is_pumped = process is None
        if process is None:
            process = self.pumped
        here = getcurrent()
        if process is None or here.parent is None:
            return
        steps = scheduler.step_count() + self.pump_steps
        before, self.steps_at_tick = self.steps_at_tick, steps
        if steps - before > FEW_STEPS:
            return
        process.reductions += REDUCTIONS_A_TICK
        if not may_preempt() or not _may_be_left(frame, process):
            return
        if is_pumped:
            process.greenlet = here
            here.parent.switch(PREEMPTED)
        else:
            scheduler.preempt(process, here)
            assert self.hub is not None
            self.hub.switch(PREEMPTED)


def _throw_kept(process: Process) -> None:
    """The turn of a process into which an error is to be raised."""
    error = process.greenlet
    if process.state == EXITING:  # it ended meanwhile: it is thrown something else
        process.greenlet = None
        scheduler.enqueue(process)
    else:
        scheduler.throw_into(process, error)


def _step_once(process: Process, resume: Callable[..., Any], value: Any) -> Any:
    return process.context.run(resume, value)


def make(wanted: bool) -> Cooperative | Preemptive:
    """Pre-emption as far as it can be had here."""
    if not wanted:
        return Cooperative()
    if threading.current_thread() is not threading.main_thread():
        warnings.warn(
            "beamlike: this node runs outside the main thread, where Python handles no signals: its processes are not pre-empted",
            RuntimeWarning,
            stacklevel=3,
        )
        return Cooperative()
    return Preemptive()


_armed = False


def disarm() -> None:
    """No more ticks."""
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _before_exec(event: str, args: Any) -> None:
    """The timer outlives exec, the handler does not: the tick would kill the program that follows."""
    if event == "os.exec" and _armed:
        disarm()


sys.addaudithook(_before_exec)


def _in_collection(phase: str, info: dict[str, int]) -> None:
    """Finalizers run in the middle of anything: no pre-emption meanwhile."""
    forbid_preemption(phase == "start")


# --- which code may be left ---

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_RUNTIME = (
    _PACKAGE,
    *(
        os.path.join(os.path.dirname(os.path.dirname(_PACKAGE)), name) + os.sep
        for name in ("caps", "nodes", "cells", "unikernels", "drivers")
    ),
)
_ORDINARY = (  # ordinary process code
    *(os.path.join(_PACKAGE, name) + os.sep for name in ("behaviours", "testing")),
    *(os.path.join(os.path.dirname(os.path.dirname(_PACKAGE)), "drivers", name) + os.sep for name in ("devices", "services")),
    *(  # they call handlers, as GenServer does
        os.path.join(os.path.dirname(os.path.dirname(_PACKAGE)), "nodes", name) for name in ("pair_primary.py", "pair_starting.py")
    ),
)
_INSTALLED = tuple(
    {
        os.path.join(path, "")
        for path in (
            *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *site.getsitepackages(),
            site.getusersitepackages(),
        )
        if path
    }
)
_known: dict[str, bool] = {}


def may_be_left(filename: str) -> bool:
    """May code of this file be left in the middle?"""
    if filename not in _known:
        path = os.path.abspath(filename)
        _known[filename] = not filename.startswith("<frozen") and (
            path.startswith(_ORDINARY) or not (path.startswith(_RUNTIME) or path.startswith(_INSTALLED))
        )
    return _known[filename]


def _outside_of_runtime(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is none of the runtime's."""
    while (
        frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_RUNTIME) and not may_be_left(frame.f_code.co_filename)
    ):
        frame = frame.f_back
    return frame


def _may_be_left(frame: FrameType | None, process: Process) -> bool:
    root = getattr(process.coro, "cr_frame", None)
    while frame is not None:
        if frame is root:  # perhaps ours, that awaits the program's
            return True
        code = frame.f_code
        if code.co_name == "__del__" or not may_be_left(code.co_filename):
            return False
        frame = frame.f_back
    return False
