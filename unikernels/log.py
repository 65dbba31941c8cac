"""What is heard of unikernels: in the logger `beamlike.unikernels`."""

from __future__ import annotations

import logging
from typing import Any, Final

from beamlike.seam import format_reason, log
from cells.seam import Ended

QUIET: Final = ("normal", "shutdown", "killed")  # reasons that somebody wanted

logger = logging.getLogger("beamlike.unikernels")


def say(name: str, text: bytes) -> None:
    """Log what one has written, a record for each line, in which nothing can move a terminal's cursor."""
    for line in text.decode(errors="backslashreplace").splitlines():
        if line.strip():
            shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in line.strip())
            log(logger, logging.INFO, "%s: %s", name, shown)


class Log:
    """A `Listener` that logs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def wrote(self, stream: str, data: bytes) -> None:
        say(self.name, data)

    def ended(self, reason: Any, ended: Ended | None = None) -> None:
        """A crash is said here, whether somebody watches or not, as that of any process is."""
        if reason not in QUIET:
            log(logger, logging.ERROR, "the unikernel %s ended: %s", self.name, format_reason(reason))
