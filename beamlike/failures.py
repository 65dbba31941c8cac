"""What comes of an exception that ended a process: a reason that every node can read, and a report that begins in the program.

Whatever the exception's own code does (`__str__`, `__setattr__`, `__hash__` of what it holds), nothing is raised here.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from types import TracebackType
from typing import Any

from beamlike import reports
from beamlike.exits import ProcessExit, error_reason, error_text, reason_of
from beamlike.hot.process import Process
from beamlike.hot.values import copy_value
from beamlike.logs import log
from beamlike.main_process import MainProcess


def examined(process: Process, failure: BaseException) -> Any:
    """The reason of a process that raised; a crash is reported."""
    reason: Any = (("Exception", "what was raised cannot be looked at: its own code raises"), ())
    try:
        BaseException.with_traceback(failure, _own_part(process, failure))
        _note_misuse(failure)
        reason, failure = _sendable(reason_of(failure), failure)
        if not isinstance(failure, ProcessExit):
            reports.crash(process, failure, reason)
    except BaseException as fault:  # noqa: BLE001 - it would end the node
        log(reports.crash_log, logging.ERROR, "%s crashed, and its exception cannot be reported: %s", process.pid, error_text(fault))
    return reason


def _sendable(reason: Any, failure: BaseException) -> tuple[Any, BaseException]:
    """A reason is a plain value that every node can read: what `Stop` was given may not be one."""
    try:
        return copy_value(reason), failure
    except Exception as error:  # noqa: BLE001 - copying may run code of the program
        with suppress(Exception):
            error.add_note(f"It was to be the exit reason: {reports.shown(reason)}")
        BaseException.with_traceback(error, failure.__traceback__)  # where it was raised, rather than where it was copied
        return error_reason(error), error


def _own_part(process: Process, failure: BaseException) -> TracebackType | None:
    """The traceback from the process's first frame on: those of the step loop say nothing about it."""
    code = getattr(process.coro, "cr_code", None)
    trace = failure.__traceback__
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    if trace is not None and trace.tb_next is not None and trace.tb_frame.f_code is MainProcess.body.__code__:
        trace = trace.tb_next
    return trace or failure.__traceback__


def _note_misuse(failure: BaseException) -> None:
    if isinstance(failure, RuntimeError) and "must be called from async context" in error_text(failure):
        with suppress(Exception):
            failure.add_note("In a process, trio is used inside `async with io():`, or in a process spawned with io=True.")
