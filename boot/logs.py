"""What the commands show of the log: reports for people on stderr (in colours on a terminal), or JSON lines for machines."""

from __future__ import annotations

import json
import logging
import math
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

LEVELS = ("debug", "info", "warning", "error", "critical")
MOST_SHOWN = 200  # characters of a value that JSON has no word for
COLOURS = {logging.CRITICAL: "bold red", logging.ERROR: "bold red", logging.WARNING: "yellow", logging.INFO: "cyan", logging.DEBUG: "dim"}


def show_logs(level: str, *, as_json: bool) -> None:
    """Send all log records from `level` (one of LEVELS) on to stderr, Python's warnings among them."""
    handler: logging.Handler
    if as_json:
        handler = logging.StreamHandler()
        handler.setFormatter(JSONLines())
    elif sys.stderr.isatty():
        handler = Terminal(Console(stderr=True))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(Reports())
    logging.captureWarnings(True)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Reports(logging.Formatter):
    """A blank line, a line that says when and how bad, then the report."""

    def __init__(self) -> None:
        super().__init__("\n%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%H:%M:%S")


class Terminal(logging.Handler):
    """As Reports, with colours: the first line by its level, what follows dim."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.setFormatter(Reports())

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
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
