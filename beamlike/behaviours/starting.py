"""How every behaviour starts: the starter waits until the child's init is done, and learns what came of it (OTP's `proc_lib:start_link`).

Theory of operation. The child is spawned, and linked, before anybody else runs. Until it says `ok` its `_Start` is in `_starting`;
whatever ends it in that time (its init raised, it declined, an exit signal, a kill) passes through `_released`, which is called when the
child's name is free already (G3) and before its links are told. There the link is taken away and the starter goes on. Nothing of this
passes through the starter's mailbox, so a start costs the same however many messages wait there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any

import trio

from beamlike import signals
from beamlike.behaviours.asyncness import check_function
from beamlike.exits import CallError, ExitError, Stop, format_reason, unwrapped
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.calls import ANSWERED, BEGUN, make_wait
from beamlike.hot.ids import Pid
from beamlike.hot.process import INFINITY, Process
from beamlike.hot.uninterrupted import forbid_preemption
from beamlike.limits import Limits, Mailbox
from beamlike.privileged import function_name
from beamlike.processes import initial_call as initial_call_of
from beamlike.processes import start
from beamlike.records import record

Body = Callable[..., Coroutine[Any, Any, None]]  # (started, *args)


if TYPE_CHECKING:

    class Ignored(Pid):
        """As type checkers see it, so that a start returns a Pid: few look for `IGNORE`, and all would have to."""

    IGNORE: Ignored
else:

    @record
    class Ignored(Enum):
        """The type of `IGNORE`, which a start returns instead of a pid: init declined, all is well, there is no process (S7)."""

        IGNORE = "ignore"

    IGNORE = Ignored.IGNORE


class Failed(Stop):
    """Raised by an init whose failure has been reported already: the starter gets `error`, and there is no crash report of it.

    The process ends with the quiet reason `(shutdown, reason)`, as OTP's supervisors do.
    """

    def __init__(self, error: Exception, reason: Any) -> None:
        super().__init__(("shutdown", reason))
        self.error = error


class Started:
    """What a behaviour's body answers its starter by. `parent` is the starter if it is linked to it, and None if not (G4)."""

    __slots__ = ("parent",)

    def __init__(self, parent: Pid | None) -> None:
        self.parent = parent

    def ok(self) -> None:
        """Init is done: the starter gets the pid. A second time it does nothing."""
        forbid_preemption(True)
        try:
            start = _starting.pop(scheduler.self_pid(), None)
            if start is not None:
                start.wait.answer(start.child.pid)
        finally:
            forbid_preemption(False)

    def ignore(self) -> None:
        """Init declines. Return from the body then: the starter gets `IGNORE` when the process has ended."""
        _starting[scheduler.self_pid()].is_ignored = True


class _Start:
    """One start that is waited for. The wait is that of a call whose answer is ours to give: atomic to park, and mailboxes play no part."""

    __slots__ = ("child", "failure", "is_ignored", "starter", "wait")

    def __init__(self, starter: Process, child: Process, timeout: float) -> None:
        self.starter = starter
        self.child = child
        self.is_ignored = False
        self.failure: Exception | None = None  # what init raised
        wait = self.wait = make_wait(starter, child.pid, None, timeout)
        wait.ref, wait.state = scheduler.make_ref(), BEGUN


_starting: dict[Pid, _Start] = {}


def _released(process: Process, reason: Any) -> None:
    """A process ended. If it was starting, its starter is told, and not by the link."""
    start = _starting.pop(process.pid, None)
    if start is not None:
        _separate(process, start.starter)
        if start.is_ignored:
            start.wait.answer(IGNORE)
        else:
            start.wait.fail(reason)


signals.on_release.append(_released)


def _separate(child: Process, starter: Process) -> None:
    if child.links is not None:
        child.links.discard(starter.pid)
    if starter.links is not None:
        starter.links.discard(child.pid)


StartPair = Callable[[type[Any], tuple[Any, ...], bool, dict[str, Any]], Coroutine[Any, Any, Pid]]  # (class, args, link, options)


async def _no_pair(kind: type[Any], args: tuple[Any, ...], link: bool, options: dict[str, Any]) -> Pid:
    raise RuntimeError(f"{kind.__qualname__} with backup=True needs more than one node: start the program by nodes.run(main, nodes=…)")


start_pair: StartPair = _no_pair


def start_pairs_by(starter: StartPair) -> None:
    """Say who starts the pairs that `backup=True` asks for."""
    global start_pair
    start_pair = starter


async def start_behaviour(
    body: Body,
    *args: Any,
    name: str | None = None,
    link: bool = True,
    timeout: float | None = None,
    exclude: Iterable[Any] = (),
    limits: Limits | None = None,
    mailbox: Mailbox | None = None,
    initial_call: str | None = None,
) -> Pid:
    """Spawn a process that runs `body(started, *args)`, and wait until it calls `started.ok()`.

    It is linked to the caller, its parent, from the start. If it ends before it is ready, by its init or otherwise, its name is free
    (G3) and the link gone by the time the caller is told. The caller's mailbox is not touched. A checkpoint; a start that is cancelled
    or timed out, or whose starter ends, kills the child.

    Unlike Erlang, where the exit signal of an init that failed arrives as well, the caller gets the exception and nothing else: no exit
    signal, and no `Exit` message if it traps exits. A child whose init calls its starter fails at once (G7) instead of waiting for ever.

    Args:
        link: False starts it without a link, and so without a parent.
        timeout: seconds for its init; None waits for ever, as OTP does.
        initial_call: what reports and exclusions say it was started as, `module:qualname`; the default is the body's name.

    Returns: the pid, or `IGNORE` if the body called `started.ignore()` and returned.

    Raises:
        Exception: the very one that init raised.
        ExitError: it ended otherwise before it was ready, by `Stop` or an exit signal; `reason` says with what.
        TimeoutError: init took longer than `timeout`; the child has been killed.
        BadNameError: the name is taken.
        CapabilityError: an exclusion of the caller's refuses it to start this (by `initial_call`), or to give the name.
        TypeError, ValueError: an argument is not what it should be.
    """
    check_function("start_behaviour", body)
    me = scheduler.caller("start")
    seconds = scheduler.check_timeout(timeout)
    runs = initial_call or function_name(body)
    forbid_preemption(True)
    try:
        child = start(
            _run,
            (body, Started(me.pid if link else None), args),
            parent=me,
            name=name,
            exclude=exclude,
            limits=limits,
            mailbox=mailbox,
            runs=runs,
        )
        extra(child).initial_call = runs
        if link:
            signals.join(me, child)
        begun = _starting[child.pid] = _Start(me, child, INFINITY if seconds is None else seconds)
    finally:
        forbid_preemption(False)
    try:
        await (_wait_stepped(begun) if me is scheduler.stepped() else _wait_in_trio(begun))
    finally:
        forbid_preemption(True)  # or it could be ready between the look and its end
        is_late = child.pid in _starting
        if is_late:
            signals.end(child, "killed")
        forbid_preemption(False)
    if begun.wait.state == ANSWERED:  # perhaps after the wait was over, and before the look
        return begun.wait.value  # type: ignore[no-any-return]
    what = f"{initial_call_of(child)} ({child.pid})"
    if is_late:
        raise TimeoutError(f"{what} was not ready in {timeout} s and has been killed: give it more time, or less to do before it is ready")
    if begun.failure is not None:
        raise begun.failure
    raise ExitError(f"{what} ended before it was ready: {format_reason(begun.wait.value)}", begun.wait.value)


async def _wait_stepped(start: _Start) -> None:
    """Until the child has said something, or time is up."""
    if start.wait.timeout != INFINITY:
        scheduler.arm(start.starter, scheduler.now() + start.wait.timeout)
    start.starter.calling = start.child  # a call of the child to its starter is a cycle
    with suppress(CallError):
        await start.wait


async def _wait_in_trio(start: _Start) -> None:
    """Until the child has said something, or time is up."""
    start.wait.event = event = trio.Event()
    if start.child.pid not in _starting:
        event.set()
    with trio.move_on_after(start.wait.timeout):
        await event.wait()


async def _run(body: Body, started: Started, args: tuple[Any, ...]) -> None:
    """The child."""
    try:
        await body(started, *args)
    except Exception as failure:
        start, stop = _starting.get(scheduler.self_pid()), unwrapped(failure)
        if start is not None:
            start.failure = stop.error if isinstance(stop, Failed) else None if isinstance(stop, Stop) else failure
        raise
