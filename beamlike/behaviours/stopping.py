"""Stopping children (S5): an exit signal `shutdown`, the time their specs give them, then `kill`; and the wait until they are gone.

They are watched by monitors meanwhile, not by their links: a child may have unlinked itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beamlike import signals
from beamlike.exits import Down, Exit
from beamlike.hot import scheduler
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.mailboxes import take_matching
from beamlike.hot.process import INFINITY


async def stop(pid: Pid, grace: float) -> Any:
    """Stop one child of the calling process, and take its `Exit` out of the mailbox. Returns the reason it ended with.

    Args:
        grace: seconds between `shutdown` and `kill`; 0: `kill` at once; INFINITY.
    """
    ref = signals.monitor(pid)
    _end(pid, "shutdown" if grace else "kill")
    try:
        down = await _down(ref, grace or None)
    except TimeoutError:
        _end(pid, "kill")
        down = await _down(ref, None)
    return flush_exit(pid, down.reason)


def _end(pid: Pid, reason: str) -> None:
    """A child is its supervisor's to end, whatever that is forbidden."""
    signals.exit_own(scheduler.caller("exit"), pid, reason)


async def _down(ref: Ref, timeout: float | None) -> Down:
    message: Down = await scheduler.receive(lambda message: type(message) is Down and message.ref == ref, timeout)
    return message


def flush_exit(pid: Pid, default: Any) -> Any:
    """Unlink; the reason of the `Exit` that is queued, which is what the child ended with if it did so before it was watched."""
    signals.unlink(pid)
    left = take_matching(scheduler.current_process(), lambda message: type(message) is Exit and message.sender == pid, 0)
    return left.reason if type(left) is Exit else default


async def stop_all(children: Iterable[tuple[Pid, float]]) -> list[tuple[Pid, Any]]:
    """Stop many at the same time, for a process that is about to end: every other message that comes meanwhile is thrown away.

    Args:
        children: (pid, grace) of each, as for `stop`.

    Returns: (pid, reason) of each, in the order in which they ended.
    """
    waiting: dict[Ref, Pid] = {}
    deadlines: dict[float, list[Ref]] = {}
    now = scheduler.now()
    for pid, grace in children:
        ref = signals.monitor(pid)
        waiting[ref] = pid
        if 0 < grace < INFINITY:
            deadlines.setdefault(now + grace, []).append(ref)
        _end(pid, "shutdown" if grace else "kill")
    own: dict[Pid, Any] = {}  # reasons of those that ended before they were watched
    ended: list[tuple[Pid, Any]] = []
    while waiting:
        deadline = min(deadlines, default=INFINITY)
        try:
            message = await scheduler.receive(timeout=None if deadline == INFINITY else max(0.0, deadline - scheduler.now()))
        except TimeoutError:
            for ref in deadlines.pop(deadline):
                if ref in waiting:
                    _end(waiting[ref], "kill")
            continue
        if type(message) is Exit:
            own[message.sender] = message.reason
        elif type(message) is Down and message.ref in waiting:
            pid = waiting.pop(message.ref)
            ended.append((pid, own.pop(pid, message.reason)))
    return ended
