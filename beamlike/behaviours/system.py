"""System messages: what any live GenServer, StateMachine or Supervisor answers whatever it is made for (G6; OTP's `sys`).

Theory of operation. A system message is a call whose request is a `SystemRequest`; so it comes in its turn, from any node, and fails like
any call. A behaviour's loop hands it to its `Control`, which holds what is common to all behaviours. A suspended behaviour stays in
`Control.handle`, where it takes system messages and the exit of its parent only; everything else waits in its mailbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import caps
from beamlike.exclusions import Under
from beamlike.exits import NOREPLY, CallError, Exit, Stop, error_text, reason_of, unwrapped
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.calls import DEFAULT_TIMEOUT, Call, Caller, call, release_caller, reply
from beamlike.hot.guards import known_as
from beamlike.hot.ids import Pid
from beamlike.hot.process import EXITING, Process
from beamlike.hot.values import copy_value
from beamlike.privileged import check_target
from beamlike.records import record
from beamlike.reports import shown

trace_log = logging.getLogger("beamlike.trace")


@record
class SystemRequest:
    """The request of a system message: one of the functions below, by name."""

    name: str
    argument: Any = None


@record
class Status:
    """What `get_status` tells. `behaviour` is the class, as `module:qualname`."""

    pid: Pid
    name: str | None
    behaviour: str
    parent: Pid | None
    is_suspended: bool
    is_traced: bool
    has_statistics: bool
    state: Any


@record
class Statistics:
    """What was counted since `statistics(server, True)`. `seconds`: since then, by the node's clock."""

    seconds: float
    reductions: int
    messages: int
    replies: int


class Described(Protocol):
    """What a behaviour offers to its Control; see `behaviour.Behaviour`."""

    def get_state(self) -> Any: ...
    def replace_state(self, fn: Callable[[Any], Any]) -> Any: ...
    async def terminate(self, reason: Any) -> None: ...


class Control:
    """What is common to all behaviours, of one of them."""

    __slots__ = (
        "behaviour",
        "extra",
        "is_suspended",
        "is_traced",
        "is_watched",
        "messages",
        "parent",
        "process",
        "reductions",
        "replies",
        "since",
    )

    def __init__(self, behaviour: Described, process: Process, parent: Pid | None) -> None:
        self.behaviour = behaviour
        self.process = process
        self.extra = extra(process)  # its `last_message` is the one being handled
        self.parent = parent
        self.is_suspended = False
        self.is_traced = False
        self.is_watched = False  # traced or counted: messages and replies are to be told to `saw` and `replied`
        self.since: float | None = None  # when statistics began
        self.messages = self.replies = self.reductions = 0

    def saw(self, message: Any) -> None:
        """The behaviour took a message."""
        self.messages += 1
        if self.is_traced:
            trace_log.info("%s got %s", self.process.pid, shown(message), extra={"pid": self.process.pid, "got": message})

    def reply(self, caller: Caller, value: Any) -> None:
        """Answer a call, or do not yet."""
        if value is NOREPLY:
            release_caller(caller)
            return
        reply(caller, value)
        self.replies += 1
        if self.is_traced:
            trace_log.info("%s replied %s", self.process.pid, shown(value), extra={"pid": self.process.pid, "replied": value})

    async def ended(self, failure: BaseException) -> None:
        """The behaviour raised this: let it clean up, unless it was ended from outside. The caller raises it on."""
        if self.process.state == EXITING:
            return
        try:
            await self.behaviour.terminate(reason_of(failure))
        finally:
            message, stop = self.extra.last_message, unwrapped(failure)
            if isinstance(stop, Stop) and type(message) is Call:
                self.reply(message.caller, stop.reply)

    async def handle(self, message: Call) -> None:
        """Do what a system message asks. Returns when the behaviour may go on. Raises: Stop, to end it."""
        self._answer(message)
        while self.is_suspended:
            urgent = self.extra.last_message = await scheduler.receive(self._is_urgent)
            if type(urgent) is Exit:
                raise Stop(urgent.reason)
            self._answer(urgent)

    def _is_urgent(self, message: Any) -> bool:
        if isinstance(message, Call):
            return type(message.request) is SystemRequest
        return isinstance(message, Exit) and message.sender == self.parent

    def _answer(self, message: Call) -> None:
        request: SystemRequest = message.request
        is_end = request.name == "terminate"
        try:
            if message.layers:  # once more than in the functions below, for a request can be made by hand
                caps.require(message.layers, *(("exit", *known_as(self.process.pid)) if is_end else ("system", request.name)))
            if is_end:
                raise Stop(request.argument)
            with Under(self.process, message.layers):  # `fn` is the asker's
                answer = _OPERATIONS[request.name](self, request.argument)
            reply(message.caller, ("ok", answer))
        except Stop:
            raise
        except Exception as error:  # noqa: BLE001 - the asker's `fn`, or a state of whatever kind: it fails him, not the server
            reply(message.caller, ("error", f"{type(error).__qualname__}: {error_text(error)}"))

    # --- what can be asked ---

    def _suspend(self, _: None) -> None:
        self.is_suspended = True

    def _resume(self, _: None) -> None:
        self.is_suspended = False

    def _get_state(self, _: None) -> Any:
        return sendable(self.behaviour.get_state())

    def _replace_state(self, fn: Callable[[Any], Any]) -> Any:
        return sendable(self.behaviour.replace_state(fn))

    def _get_status(self, _: None) -> Status:
        kind = type(self.behaviour)
        return Status(
            pid=self.process.pid,
            name=self.process.name,
            behaviour=f"{kind.__module__}:{kind.__qualname__}",
            parent=self.parent,
            is_suspended=self.is_suspended,
            is_traced=self.is_traced,
            has_statistics=self.since is not None,
            state=self._get_state(None),
        )

    def _trace(self, on: bool) -> None:
        self.is_traced = on
        self.is_watched = on or self.since is not None

    def _statistics(self, on: bool | None) -> Statistics | None:
        if on is None:
            if self.since is None:
                return None
            return Statistics(scheduler.now() - self.since, self.process.reductions - self.reductions, self.messages, self.replies)
        self.since = scheduler.now() if on else None
        self.is_watched = on or self.is_traced
        self.messages = self.replies = 0
        self.reductions = self.process.reductions
        return None


_OPERATIONS: dict[str, Callable[[Control, Any], Any]] = {
    "suspend": Control._suspend,
    "resume": Control._resume,
    "get_state": Control._get_state,
    "replace_state": Control._replace_state,
    "get_status": Control._get_status,
    "trace": Control._trace,
    "statistics": Control._statistics,
}


def sendable(state: Any) -> Any:
    """The state as others can have it: of a dict or tuple, what cannot be sent is shown as text."""
    try:
        return copy_value(state)
    except TypeError:
        if type(state) is dict:
            return {sendable(key): sendable(value) for key, value in state.items()}
        if type(state) is tuple:
            return tuple(sendable(value) for value in state)
        return shown(state)


# --- the public face ------------------------------------------------------------------------------------------------------


async def _ask(server: Any, name: str, argument: Any, timeout: float | None) -> Any:
    caps.check("system", name)
    outcome, value = await call(server, SystemRequest(name, argument), timeout)
    if outcome == "error":
        raise RuntimeError(f"{name} of {server} failed: {value}")
    return value


async def suspend(server: Any, timeout: float | None = DEFAULT_TIMEOUT) -> None:
    """Let a behaviour take no messages but system messages, and its parent's exit, until `resume`.

    Raises, as all of these: as `call`; CapabilityError also for an exclusion `("system", "suspend")`, and so on.
    """
    await _ask(server, "suspend", None, timeout)


async def resume(server: Any, timeout: float | None = DEFAULT_TIMEOUT) -> None:
    """Let a suspended behaviour go on, with what has come meanwhile."""
    await _ask(server, "resume", None, timeout)


async def get_state(server: Any, timeout: float | None = DEFAULT_TIMEOUT) -> Any:
    """The state: of a GenServer and a Supervisor a dict of its attributes, of a StateMachine `(state, attributes)`.

    For debugging. What cannot be sent is shown as text.
    """
    return await _ask(server, "get_state", None, timeout)


async def replace_state(server: Any, fn: Callable[[Any], Any], timeout: float | None = DEFAULT_TIMEOUT) -> Any:
    """Let a behaviour go on with `fn(state)`, computed in its process, and return that. State as in `get_state`, but complete.

    Raises: RuntimeError if `fn` raised, or returned no state; the state is then what it was. TypeError if `fn` cannot be sent: it must be
    a function that other nodes can import.
    """
    return await _ask(server, "replace_state", fn, timeout)


async def get_status(server: Any, timeout: float | None = DEFAULT_TIMEOUT) -> Status:
    """What is known of a behaviour, its state included."""
    return await _ask(server, "get_status", None, timeout)  # type: ignore[no-any-return]


async def trace(server: Any, on: bool, timeout: float | None = DEFAULT_TIMEOUT) -> None:
    """Log each message that a behaviour takes and each answer it gives, to the logger `beamlike.trace` at level INFO; or no longer."""
    await _ask(server, "trace", _checked(on, "trace"), timeout)


async def statistics(server: Any, on: bool | None = None, timeout: float | None = DEFAULT_TIMEOUT) -> Statistics | None:
    """Begin to count from zero (True), stop (False), or tell what was counted (None given): None if nothing is counted."""
    return await _ask(server, "statistics", None if on is None else _checked(on, "statistics"), timeout)  # type: ignore[no-any-return]


def _checked(on: Any, what: str) -> bool:
    if type(on) is not bool:
        raise TypeError(f"{what}: `on` is True or False, not {on!r}")
    return on


async def stop(server: Any, reason: Any = "normal", timeout: float | None = None) -> None:
    """Stop a behaviour, and wait until it has ended: `terminate` has run, its name is free. As `gen_server:stop`.

    Args:
        timeout: seconds; None waits for ever. After a timeout it may still stop.

    Raises: CallError if it ended with another reason, or is not there (`noproc`); CallTimeoutError; CapabilityError, if an exclusion
    refuses the caller to send to it, or to end it.
    """
    check_target("exit", server, "stop")
    try:
        await call(server, SystemRequest("terminate", reason), timeout)
    except CallError as error:
        if error.reason != reason:
            raise
