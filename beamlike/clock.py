"""Time: sleeping, and messages sent later."""

from __future__ import annotations

from typing import Any

import trio

from beamlike import names
from beamlike.hot import scheduler
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.process import INFINITY
from beamlike.hot.timers import Timer
from beamlike.hot.values import copy_value

_armed: dict[Ref, Timer] = {}


async def sleep(seconds: float) -> None:
    """Wait. Messages stay in the mailbox. 0 gives the other processes a turn.

    Raises: TypeError or ValueError unless `seconds` is a number >= 0.
    """
    if seconds is None:
        raise TypeError("sleep: seconds is a number >= 0, not None (to wait for ever: math.inf)")
    checked = scheduler.check_timeout(seconds)
    process = scheduler.caller("sleep")
    if scheduler.is_stepping():
        await scheduler.sleep_stepped(process, INFINITY if checked is None else checked)
    elif checked is None:
        await trio.sleep_forever()
    else:
        await trio.sleep(checked)


def send_after(seconds: float, destination: Any, message: Any) -> Ref:
    """Send a message in `seconds`. It goes even if the caller has ended; a name is looked up then, and nobody there drops it.

    Returns: a Ref for `cancel_timer`. Raises: TypeError or ValueError at once for a wrong time, destination or message.
    """
    return _start("send_after", seconds, destination, message, periodic=False)


def send_interval(seconds: float, destination: Any, message: Any) -> Ref:
    """Send a message every `seconds` until cancelled, or until the caller or the pid `destination` has ended.

    The times are start + n × seconds: they do not drift; what is missed while the node was busy is sent once.
    """
    return _start("send_interval", seconds, destination, message, periodic=True)


def cancel_timer(ref: Ref) -> float | None:
    """Stop a timer. Returns the seconds that were left, or None if it has fired, was cancelled, or never was."""
    if type(ref) is not Ref:
        raise TypeError(f"cancel_timer expects the Ref that send_after() or send_interval() gave, not {ref!r}")
    timer = _armed.pop(ref, None)
    if timer is None:
        return None
    left = max(0.0, timer.when - scheduler.now())
    scheduler.drop_timer(timer)
    return left


def _start(what: str, seconds: Any, destination: Any, message: Any, *, periodic: bool) -> Ref:
    wait = scheduler.check_timeout(seconds)
    if wait is None or (periodic and wait == 0):
        raise ValueError(f"{what}: seconds is a finite number {'> 0' if periodic else '>= 0'}, not {seconds!r}")
    if type(destination) is not Pid:
        names.check_destination(destination, what)
    owner = scheduler.caller(what)
    ref = scheduler.make_ref()
    timer = Timer(ref, destination, copy_value(message), wait if periodic else 0.0, owner.pid)
    _armed[ref] = timer
    scheduler.push_timer(timer, scheduler.now() + wait)
    return ref


def fire(timer: Timer) -> None:
    """A timer is due: send, and arm it again if it is periodic. One of the node's own, without owner, calls its message; True: again."""
    if timer.owner is None:
        if timer.message():
            scheduler.push_timer(timer, scheduler.now() + timer.period)
        return
    _armed.pop(timer.ref, None)
    target = timer.destination
    if timer.period:
        if timer.owner.process is None or (type(target) is Pid and target.origin is timer.owner.origin and target.process is None):
            return
        _armed[timer.ref] = timer
        missed = max(0.0, scheduler.now() - timer.when) // timer.period
        scheduler.push_timer(timer, timer.when + (missed + 1) * timer.period)
    if type(target) is str:
        holder = names.holder(target)
        if holder is None:
            return
        target = holder.pid
    scheduler.send(target, timer.message)


def clear() -> None:
    """A node opens or closes."""
    _armed.clear()
