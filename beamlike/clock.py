"""Time: sleeping, and messages sent later."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

import caps
from beamlike import exclusions, names, privileged, signals
from beamlike.hot import scheduler
from beamlike.hot.calls import joined
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.timers import Timer
from beamlike.hot.values import copy_value

_armed: dict[Ref, Timer] = {}


async def sleep(seconds: float) -> None:
    """Wait. Messages stay in the mailbox. 0 gives the other processes a turn.

    Raises: TypeError or ValueError unless `seconds` is a number >= 0.
    """
    _check("sleep", seconds, "a number >= 0 (math.inf waits for ever)", lambda number: number >= 0)
    process = scheduler.caller("sleep")
    if scheduler.is_stepping():
        await scheduler.sleep_stepped(process, seconds)
    else:
        await trio.sleep(seconds)


def send_after(seconds: float, destination: Any, message: Any) -> Ref:
    """Send a message in `seconds`. It goes even if the caller has ended; a name is looked up then, and nobody there drops it.

    Returns: a Ref for `cancel_timer`. Raises: TypeError or ValueError at once for a wrong time, destination or message; CapabilityError,
    if the caller may not send there. A timer is limited as its owner is, also by what that is forbidden later: then it sends nothing.
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
    scheduler.check_thread("cancel_timer")
    timer = _armed.pop(ref, None)
    if timer is None:
        held = scheduler.outbox()
        return None if held is None else held.cancel_timer(ref)
    left = max(0.0, timer.when - scheduler.now())
    scheduler.drop_timer(timer)
    return left


def _start(what: str, seconds: Any, destination: Any, message: Any, *, periodic: bool) -> Ref:
    if periodic:
        _check(what, seconds, "a finite number > 0", lambda number: 0 < number < math.inf)
    else:
        _check(what, seconds, "a finite number >= 0", lambda number: 0 <= number < math.inf)
    if type(destination) is not Pid:
        names.check_destination(destination, what)
    owner = scheduler.caller(what)
    layers = exclusions.layers_of(owner)
    if layers:
        privileged.permit_target(owner, "send", destination)
        message = scheduler.stamped(message, layers, destination)
    if owner.outbox is not None:
        held: Ref = owner.outbox.start_timer(float(seconds), destination, copy_value(message), float(seconds) if periodic else 0.0)
        return held
    ref = scheduler.make_ref()
    timer = Timer(ref, destination, copy_value(message), float(seconds) if periodic else 0.0, owner.pid)
    timer.layers = layers
    _armed[ref] = timer
    scheduler.push_timer(timer, scheduler.now() + seconds)
    return ref


def _check(what: str, seconds: Any, expected: str, is_right: Callable[[float], bool]) -> None:
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{what}: seconds is {expected}, not {seconds!r}")
    if not is_right(seconds):
        raise ValueError(f"{what}: seconds is {expected}, not {seconds!r}")


def fire(timer: Timer) -> None:
    """A timer is due: send, and arm it again if it is periodic. One of the node's own, without owner, calls its message; True: again."""
    if timer.owner is None:
        if timer.message():
            scheduler.push_timer(timer, scheduler.now() + timer.period)
        return
    _armed.pop(timer.ref, None)
    target, message = timer.destination, timer.message
    if timer.period:
        if timer.owner.process is None or (type(target) is Pid and target.origin is timer.owner.origin and target.process is None):
            return
        _armed[timer.ref] = timer
        missed = max(0.0, scheduler.now() - timer.when) // timer.period
        scheduler.push_timer(timer, timer.when + (missed + 1) * timer.period)
        message = signals.copied_again(message)
    if timer.layers and not _is_permitted(timer.layers, timer.owner, target):
        if timer.period:
            scheduler.drop_timer(timer)
            del _armed[timer.ref]
        return
    hooks = scheduler.hooks_or_error()
    if timer.layers and type(target) is Pid and target.process is None:
        hooks.send_limited(target, message)
        return
    with suppress(names.BadNameError):
        hooks.destination_elsewhere(target, message)


def _is_permitted(layers: caps.Layers, owner: Pid, target: Any) -> bool:
    """May the timer send now? Its owner may have been tightened meanwhile, and a name have passed to somebody else."""
    target, what = privileged.aliases(owner.node, target)
    return target == owner or caps.permits(layers, "send", *what)


def tighten(owner: Pid, layers: caps.Layers) -> None:
    """The timers of a process that is tightened are, too."""
    for timer in _armed.values():
        if timer.owner == owner:
            timer.layers = joined(timer.layers, layers)
            timer.message = exclusions.limited_request(timer.message, layers, timer.destination)


def clear() -> None:
    """A node opens or closes."""
    _armed.clear()
