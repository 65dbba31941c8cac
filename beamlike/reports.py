"""Reports: what the node tells people through `logging` when something ends that should not have, or starts.

Loggers: `beamlike.crash`, `beamlike.supervisor`, `beamlike.progress`. Each record has its facts in `extra` (`record.report`, a
dict) and a text for people. Quiet reasons make no crash report.
"""

from __future__ import annotations

import logging
import os
import traceback
from types import TracebackType
from typing import Any

from beamlike import processes
from beamlike.exits import error_text, format_reason, is_quiet
from beamlike.hot.ids import Pid
from beamlike.hot.mailboxes import mailbox_length, mailbox_messages
from beamlike.hot.process import Process
from beamlike.logs import log

MOST_MESSAGES = 10
MOST_SHOWN = 200  # characters of a value
OWN_FILES = (os.path.dirname(os.path.abspath(__file__)) + os.sep, "beamlike/hot/")  # the second: as compiled code names its files

crash_log = logging.getLogger("beamlike.crash")
supervisor_log = logging.getLogger("beamlike.supervisor")
progress_log = logging.getLogger("beamlike.progress")


def crash(process: Process, failure: BaseException, reason: Any) -> None:
    """A process ended by an exception. Nothing is reported for a quiet reason, nor of main, whose exception `run` raises."""
    more = process.extra
    if is_quiet(reason) or (more is not None and more.is_main) or not crash_log.isEnabledFor(logging.ERROR):
        return
    report: dict[str, Any] = {
        "pid": process.pid,
        "registered_name": process.name,
        "label": None if more is None else more.label,
        "initial_call": processes.initial_call(process, None if failure.__traceback__ is None else failure.__traceback__.tb_frame),
        "reason": reason,
        "ancestors": process.ancestors,
        "callers": () if more is None else more.callers,
        "last_message": None if more is None else more.last_message,
        "messages": tuple(mailbox_messages(process, MOST_MESSAGES)),
        "mailbox_length": mailbox_length(process),
        "links": tuple(process.links or ()),
        "traceback": _traceback(failure),
    }
    log(crash_log, logging.ERROR, "%s", CrashText(report), extra={"report": report})


def _traceback(failure: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(failure), failure, program_part(failure.__traceback__))).rstrip()
    except Exception:  # noqa: BLE001 - the value's own code may raise anything
        frames = "".join(traceback.format_tb(program_part(failure.__traceback__)))
        return f"Traceback (most recent call last):\n{frames}{type(failure).__qualname__}: {error_text(failure)}"


def program_part(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the first frame on that is none of beamlike's; all of it if there is none."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(OWN_FILES):
        inner = inner.tb_next
    return inner or trace


class CrashText:
    """The text of a crash report, made when a handler wants it."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report

    def __str__(self) -> str:
        report = self.report
        name = f" {report['registered_name']!r}" if report["registered_name"] else ""
        label = f" [{shown(report['label'])}]" if report["label"] is not None else ""
        lines = [f"process {report['pid']}{name}{label} crashed, started as {report['initial_call']}"]
        for key in ("ancestors", "callers", "links"):
            if report[key]:
                lines.append(f"  {key}: {', '.join(map(str, report[key]))}")
        if report["last_message"] is not None:
            lines.append(f"  handling: {shown(report['last_message'])}")
        lines.append(f"  mailbox: {report['mailbox_length']} message(s)" + "".join(f"\n    {shown(m)}" for m in report["messages"]))
        lines += ["  " + line for line in report["traceback"].splitlines()]
        return "\n".join(lines)


def supervisor(pid: Pid, name: str | None, error: str, reason: Any, child: dict[str, Any]) -> None:
    """Something went wrong with a child. That one ended for a quiet reason is not reported.

    Args:
        error: `child_terminated`, `start_error`, `slow_start` (its start goes on), `shutdown_error` (it did not end as told), or
            `intensity` (it was the restart too many).
        child: `id`, `pid`, `restart`, `shutdown`, `type`.
    """
    if (error == "child_terminated" and is_quiet(reason)) or not supervisor_log.isEnabledFor(logging.ERROR):
        return
    report = {"supervisor": pid, "registered_name": name, "error": error, "reason": reason, "child": child}
    log(supervisor_log, logging.ERROR, "%s", SupervisorText(report), extra={"report": report})


def progress(pid: Pid, name: str | None, child: dict[str, Any]) -> None:
    """A supervisor started a child."""
    if progress_log.isEnabledFor(logging.INFO):
        report = {"supervisor": pid, "registered_name": name, "child": child}
        text = "supervisor %s started child %s as %s"
        log(progress_log, logging.INFO, text, name or pid, shown(child["id"]), child["pid"], extra={"report": report})


SUPERVISOR_ERRORS = {
    "child_terminated": "ended",
    "start_error": "could not be started",
    "slow_start": "is not started yet",
    "shutdown_error": "did not end as it was told to",
    "intensity": "is not restarted any more: too many restarts in the period",
}


class SupervisorText:
    """The text of a supervisor report, made when a handler wants it."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report

    def __str__(self) -> str:
        report = self.report
        child = report["child"]
        pid = f" {child['pid']}" if child["pid"] is not None else ""
        return (
            f"supervisor {report['registered_name'] or report['supervisor']}: {child['restart']} child {shown(child['id'])}{pid} "
            f"{SUPERVISOR_ERRORS[report['error']]}: {cut(format_reason(report['reason']))}"
        )


def situation(process: Process) -> str:
    """What a live process is, and does."""
    info = processes.describe(process)
    name = f" {info.registered_name!r}" if info.registered_name else ""
    label = f" [{shown(info.label)}]" if info.label is not None else ""
    where = f" in {info.current_function}, line {info.current_line}" if info.current_function else ""
    return f"{info.pid}{name}{label}, started as {info.initial_call}: {info.status}{where}, {info.mailbox_length} message(s) in its mailbox"


def shown(value: Any) -> str:
    """`repr`, cut, whatever the value's own code does."""
    try:
        text = repr(value)
    except Exception as fault:  # noqa: BLE001 - the value's own code may raise anything
        text = f"<{type(value).__qualname__}, whose repr() raised {type(fault).__qualname__}>"
    return cut(text)


def cut(text: str) -> str:
    """At most MOST_SHOWN characters of it."""
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"
