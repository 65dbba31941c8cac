"""Promises: answers that somebody will send, and that are waited for later than they are asked for.

A promise is a `calls.Wait` that is entered in the record of its owner before anybody awaits it: `reply` keeps it, and so does the death
of who gave it. Here and not among the behaviours, for code there may be pre-empted between a look and the wait, and would miss what
comes in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from beamlike import routing, signals
from beamlike.hot import scheduler
from beamlike.hot.calls import BEGUN, Call, Caller, Wait, make_wait
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.process import INFINITY, Process
from beamlike.hot.values import copy_value


def promise(pid: Pid, ref: Ref) -> Wait:
    """Expect an answer of `pid` under `ref`, as the calling process. It fails when `pid` ends (`noproc` if it has)."""
    me = scheduler.current_process()
    wait = make_wait(me, pid, None, INFINITY)
    wait.ref, wait.state = ref, BEGUN
    if me.calls is None:
        me.calls = {}
    me.calls[ref] = wait
    if pid.process is not None:
        signals.observe(pid.process, ref, me.pid)
    elif pid.origin == me.pid.origin:
        wait.fail("noproc")
    else:
        routing.router.monitor(me.pid, ref, pid)
    return wait


def promised(ref: Ref) -> Wait | None:
    """What the calling process expects under this ref."""
    calls = scheduler.current_process().calls
    return None if calls is None else calls.get(ref)


def begin_call(wait: Wait) -> None:
    """Begin a call as the calling process, under the ref that `wait` has been given: who is asked twice under one ref can tell. After it,
    `wait.end()` in any case."""
    me, server = wait.process, wait.server
    wait.state = BEGUN
    if me.calls is None:
        me.calls = {}
    me.calls[wait.ref] = wait
    if server.process is not None:
        signals.observe(server.process, wait.ref, me.pid)
        scheduler.deliver(server.process, Call(Caller(me.pid, wait.ref), copy_value(wait.request), wait.layers))
    elif server.origin == me.pid.origin:
        wait.fail("noproc")
    else:
        routing.router.call(wait)


async def until_one_is_over(waits: Sequence[Wait], timeout: float | None) -> None:
    """Wait until one of the caller's promises is kept or broken, for at most `timeout` seconds, and look at their `state` then.

    A checkpoint.
    """
    me = scheduler.current_process()
    seconds = scheduler.check_timeout(timeout)
    if me is scheduler.stepped():
        await _wait_stepped(me, waits, INFINITY if seconds is None else scheduler.now() + seconds)
        return
    event = trio.Event()
    for wait in waits:
        wait.event = event
    try:
        with trio.move_on_after(INFINITY if seconds is None else seconds):
            while not _is_one_over(waits):
                await event.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
    finally:
        for wait in waits:
            wait.event = None


async def _wait_stepped(me: Process, waits: Sequence[Wait], deadline: float) -> None:
    if deadline != INFINITY:
        scheduler.arm(me, deadline)
    try:
        while not _is_one_over(waits) and scheduler.now() < deadline:
            await scheduler.wait_stepped(me)
    finally:
        me.deadline = INFINITY


def _is_one_over(waits: Sequence[Wait]) -> bool:
    return any(wait.state != BEGUN for wait in waits)
