"""Taking the coroutine of a dead process down: its `finally` blocks run, and nothing it does keeps it alive (P5).

By the time this module is asked, the process is dead for everybody else: no pid leads to it, its name is free, its links know. What
is left is a coroutine somewhere in the middle. Where it is decides how it comes back into the run queue; there it is thrown `ProcessExit`
each time it has a turn. If it is pre-empted in a `finally` block it goes on there, MOST_SLICES times. One that has had MOST_TURNS turns
and still is not through goes to the graveyard: never resumed, and never dropped either, for dropping a coroutine throws GeneratorExit
into it, and one that swallows everything would hang the interpreter.
"""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import trio

from beamlike.exits import ProcessExit
from beamlike.hot import scheduler
from beamlike.hot.process import EXITING, IN_TRIO, PREEMPTED, RECEIVING, RUNNABLE, WAITING, Process
from beamlike.logs import log

MOST_TURNS = 8  # `finally` blocks that wait: each await in one costs a turn
MOST_SLICES = 64  # `finally` blocks that compute: how often one is pre-empted, each time after about 4 ms, before it is cut short

logger = logging.getLogger("beamlike.unwinding")
_turns: dict[int, tuple[Any, int, int]] = {}  # serial -> (reason, turns had, slices had)
_NONE_LEFT = ("killed", MOST_TURNS, MOST_SLICES)
_graveyard = 0


def graveyard_size() -> int:
    """How many processes of this interpreter refused to end and are never run again."""
    return _graveyard


def bury_alive(keep: Any) -> None:
    """Keep a coroutine, a greenlet or a record with both for ever, so that nobody throws anything into it any more."""
    global _graveyard
    _graveyard += 1
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(keep))


def begin(process: Process, reason: Any) -> None:
    """The process, alive until now and marked dead by the caller, is to be unwound."""
    state, process.state = process.state, EXITING
    is_told = process is scheduler.stepped()  # what it called raises it
    _turns[process.pid.serial] = (reason, int(is_told), 0)
    _TO_THE_QUEUE[state](process)


def _is_queued(process: Process) -> None:
    """In the queue already; or it is stepped, and the scheduler puts it there if it yields after its end."""


def _is_parked(process: Process) -> None:
    if process.task is not None:  # in a thread, or parked in trio mode
        process.task.abandon()
    else:
        scheduler.enqueue(process)


def _stays_queued(process: Process) -> None:
    """Pre-empted: its turn comes, and `ProcessExit` is thrown into its greenlet."""


def _is_in_trio(process: Process) -> None:
    process.task.abandon()


# Where a live process can be × what brings it to its unwinding. Each row is a test.
_TO_THE_QUEUE = {
    RUNNABLE: _is_queued,
    RECEIVING: _is_parked,
    WAITING: _is_parked,
    PREEMPTED: _stays_queued,
    IN_TRIO: _is_in_trio,
}


def next_turn(process: Process) -> ProcessExit | None:
    """What to throw into the process now; None when it has had its turns: give it up."""
    reason, turns, slices = _turns.get(process.pid.serial, _NONE_LEFT)
    if turns >= MOST_TURNS:
        return None
    _turns[process.pid.serial] = (reason, turns + 1, slices)
    return ProcessExit(reason)


def goes_on(process: Process) -> bool:
    """Was a dead process pre-empted in its unwinding, and may it go on where it was? Each time counts."""
    reason, turns, slices = _turns.get(process.pid.serial, _NONE_LEFT)
    if turns == 0 or slices >= MOST_SLICES:
        return False
    _turns[process.pid.serial] = (reason, turns, slices + 1)
    return True


def is_killed(process: Process) -> bool:
    """Was it killed, rather than told to exit?"""
    return bool(reason_for(process) == "killed")


def reason_for(process: Process) -> Any:
    """What a process that is being unwound ended with."""
    return _turns.get(process.pid.serial, _NONE_LEFT)[0]


def step(process: Process) -> None:
    """A turn of a process that is exiting, in scheduler mode."""
    exit_ = next_turn(process)
    if exit_ is None:
        give_up(process)
        return
    scheduler.set_current(process)
    try:
        process.context.run(process.coro.throw, exit_)
    except StopIteration:
        done(process, None)
    except BaseException as failure:  # noqa: BLE001 - every way out of a dead process is an end
        done(process, failure)
    else:
        scheduler.set_current(None)
        if process.state == EXITING and process.greenlet is None:
            scheduler.enqueue(process)
    finally:
        scheduler.set_current(None)


def done(process: Process, failure: BaseException | None) -> None:
    """The coroutine of a dead process is through."""
    scheduler.set_current(None)
    _turns.pop(process.pid.serial, None)
    if failure is not None and not _is_the_way_out(failure):
        log(logger, logging.WARNING, "%s raised while it was unwound after its end", process.pid, exc_info=failure)
    scheduler.bury(process)


def _is_the_way_out(failure: BaseException) -> bool:
    """Is it nothing but what the process was ended with?"""
    if isinstance(failure, BaseExceptionGroup):
        return all(_is_the_way_out(part) for part in failure.exceptions)
    return isinstance(failure, (ProcessExit, GeneratorExit, trio.Cancelled))


def give_up(process: Process) -> None:
    """Never run it again."""
    reason, *_ = _turns.pop(process.pid.serial, _NONE_LEFT)
    bury_alive(process.coro)
    if process.greenlet is not None:
        bury_alive(process.greenlet)
    process.greenlet = None
    log(logger, logging.ERROR, "%s refused to end (%r) %d times: it is never run again", process.pid, reason, MOST_TURNS)
    scheduler.bury(process)


def clear() -> None:
    """A node opens or closes."""
    _turns.clear()
