"""Exit reasons and what carries them: the messages `Exit` and `Down`, the exceptions that end a process or a call.

A reason is a plain value that every node can read. `normal`, `shutdown` and `(shutdown, term)` are the quiet ones: they are an end as
planned. An uncaught exception becomes `((type, text), stack)` (E14).
"""

from __future__ import annotations

import traceback
from enum import Enum
from typing import Any, Final

from beamlike.hot.ids import Pid, Ref
from beamlike.records import record

MOST_FRAMES = 50  # of a traceback in an exit reason: reasons travel to every linked process


@record
class Exit:
    """The message that an exit signal is to a process that traps exits (E5, E8)."""

    sender: Pid
    reason: Any


@record
class Down:
    """The message of a monitor: what it watched has ended, or never was there (E12). `object` is what was given to `monitor`."""

    ref: Ref
    object: Any
    reason: Any


class ProcessExit(BaseException):
    """Raised inside a process that was told to exit, where it waits or runs. Let it pass; the process is dead already."""

    def __init__(self, reason: Any) -> None:
        super().__init__(reason)
        self.reason = reason


class NoReply(Enum):
    """The type of `NOREPLY`: the answer to a call comes later, by `reply`, or from somebody else, or never."""

    NOREPLY = "noreply"


NOREPLY: Final = NoReply.NOREPLY


class Stop(Exception):  # noqa: N818 - OTP's word
    """Raise it to end the calling process with `reason`. In a handler of a behaviour it stops the server, after `reply` was sent.

    Unlike Erlang, where `exit(Reason)` and `{stop, …}` are two things.
    """

    def __init__(self, reason: Any = "normal", reply: Any = NOREPLY) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply


class ExitError(RuntimeError):
    """A process that had to answer has ended without. `reason` is what it ended with."""

    def __init__(self, text: str, reason: Any) -> None:
        super().__init__(text)
        self.reason = reason


class CallError(ExitError):
    """A call has no answer. `reason`: `timeout`, `noproc`, `noconnection`, `(calling_itself, …)`, or what the server ended with (G1)."""


class CallTimeoutError(CallError, TimeoutError):
    """The answer did not come in time; if it comes later it is dropped (M5)."""


class InternalError(RuntimeError):
    """beamlike itself erred. Please report it with the traceback."""


def is_quiet(reason: Any) -> bool:
    """Is this end as planned? The one place that decides it: reports, transient restarts and links all ask here."""
    return reason in ("normal", "shutdown") if type(reason) is str else _is_shutdown(reason)


def _is_shutdown(reason: Any) -> bool:
    return type(reason) is tuple and len(reason) == 2 and type(reason[0]) is str and reason[0] == "shutdown"


def unwrapped(failure: BaseException) -> BaseException:
    """What a nursery raised where a single thing went wrong, without the exception groups around it."""
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


def reason_of(failure: BaseException | None) -> Any:
    """The exit reason of a process whose coroutine raised `failure`, or returned (None)."""
    if failure is None:
        return "normal"
    failure = unwrapped(failure)
    if isinstance(failure, (ProcessExit, Stop)):
        return failure.reason
    if isinstance(failure, BaseExceptionGroup):
        exits, _ = failure.split(ProcessExit)
        while exits is not None:
            first = exits.exceptions[0]
            if isinstance(first, ProcessExit):
                return first.reason
            exits = first if isinstance(first, BaseExceptionGroup) else None
    return error_reason(failure)


def error_reason(error: BaseException) -> tuple[tuple[str, str], tuple[tuple[str, int, str], ...]]:
    """`((type, text), stack)`: the stack is of `(file, line, function)`, innermost last, as plain terms (E14)."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    return (name, error_text(error)), tuple((frame.filename, frame.lineno or 0, frame.name) for frame in frames)


def error_text(error: BaseException) -> str:
    """`str(error)` with its notes, whatever the exception's own code does."""
    try:
        return "\n".join([str(error), *getattr(error, "__notes__", ())])
    except BaseException as fault:  # noqa: BLE001 - the exception's own code may raise anything
        return f"<{type(error).__qualname__}, whose str() raised {type(fault).__qualname__}>"


def is_error(reason: Any) -> bool:
    """Is this the reason of an uncaught exception (E14)?"""
    match reason:
        case ((str(), str()), tuple()):
            return True
    return False


def format_reason(reason: Any) -> str:
    """One line for people: an exception as Python would show it, anything else as it is."""
    if is_error(reason):
        (kind, text), stack = reason
        where = f" at {stack[-1][0]}:{stack[-1][1]} in {stack[-1][2]}" if stack else ""
        return f"{kind}: {text}{where}"
    try:
        return reason if type(reason) is str else repr(reason)
    except Exception as fault:  # noqa: BLE001 - the exception's own code may raise anything
        return f"<{type(reason).__qualname__}, whose repr() raised {type(fault).__qualname__}>"
