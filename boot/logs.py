"""What the commands show of the log: reports for people on stderr (in colours on a terminal), or JSON lines for machines.

What Python itself would print there goes through the log as well: warnings, exceptions of threads and of finalizers, faults in logging.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    from rich.console import Console

LEVELS = ("debug", "info", "warning", "error", "critical")
FAULTS = "py.logging"  # the logger's name in records of what could not be logged
MOST_SHOWN = 200  # characters of a value that JSON has no word for
COLOURS = {logging.CRITICAL: "bold red", logging.ERROR: "bold red", logging.WARNING: "yellow", logging.INFO: "cyan", logging.DEBUG: "dim"}

log = logging.getLogger("py.exceptions")  # as Python's own `py.warnings`


def show_logs(level: str, as_json: bool) -> None:
    """Send all log records from `level` (one of LEVELS) on to stderr, and what Python would print there by itself.

    In colours on a terminal, unless NO_COLOR is set (https://no-color.org).
    """
    handler: logging.Handler
    if as_json:
        handler = Stderr()
        handler.setFormatter(JSONLines())
    elif sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        from rich.console import Console  # 0.05 s, which each node would take

        handler = Terminal(Console(stderr=True))
    else:
        handler = Stderr()
        handler.setFormatter(Reports())
    logging.captureWarnings(True)
    sys.excepthook = _tell_of_uncaught
    threading.excepthook = _tell_of_thread
    sys.unraisablehook = _tell_of_unraisable
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _tell_of_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("uncaught exception", exc_info=error)


def _tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is not SystemExit:  # as Python: that ends a thread in silence
        name = "" if failed.thread is None else f" {failed.thread.name}"
        log.error("thread%s failed", name, exc_info=failed.exc_value)


def _tell_of_unraisable(ignored: UnraisableHookArgs) -> None:
    log.error("%s: %s", ignored.err_msg or "Exception ignored in", _text(ignored.object), exc_info=ignored.exc_value)


class Stderr(logging.StreamHandler[Any]):
    """Writes to stderr. Of a record that cannot be formatted another tells, instead of logging's own lines."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by `emit` in its `except`."""
        if record.name == FAULTS:
            return  # stderr itself cannot be written to
        text = "this cannot be logged: %s (%s, line %d)"
        args = (_text(record.msg), record.pathname, record.lineno)
        self.emit(logging.LogRecord(FAULTS, logging.ERROR, record.pathname, record.lineno, text, args, sys.exc_info()))


class Reports(logging.Formatter):
    """A blank line, a line that says when and how bad, then the report."""

    def __init__(self) -> None:
        super().__init__("\n%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%H:%M:%S")


class Terminal(Stderr):
    """As Reports, with colours: the first line by its level, what follows dim."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.setFormatter(Reports())

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        from rich.text import Text

        try:
            blank, head, *rest = self.format(record).split("\n")
            text = Text("\n".join((blank, head)), COLOURS.get(record.levelno, ""))
            text.append("".join("\n" + line for line in rest), "dim")
            self.console.print(text, soft_wrap=True)
        except Exception:  # noqa: BLE001 - logging's rule: a handler does not raise
            self.handleError(record)


class JSONLines(logging.Formatter):
    """One JSON object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, and where there are any `report` and `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "report"):
            line["report"] = plain(record.report)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def plain(value: Any) -> Any:
    """What of a value JSON can say; a pid, and all else, as its text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case dict():
            return {key if type(key) is str else _text(key): plain(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(part) for part in value]
    return _text(value)


def _text(value: Any) -> str:
    try:
        text = str(value)
    except Exception as fault:  # noqa: BLE001 - the value's own code may raise anything
        text = f"<{type(value).__qualname__}, whose str() raised {type(fault).__qualname__}>"
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"
