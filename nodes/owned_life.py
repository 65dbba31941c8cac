"""One life of a node, as its owner knows it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from nodes import kernel
from nodes.control import Channel


class Life:
    """From the request to the forge until it is reaped."""

    def __init__(self, name: str, incarnation: int, core: int, channel: Channel, page: int, restarts: int) -> None:
        self.name = name
        self.incarnation = incarnation
        self.core = core
        self.channel = channel
        self.page = page
        self.started = time.time()
        self.restarts = restarts
        self.pid = 0  # 0, and no pidfd, until the forge has told
        self.pidfd = -1
        self.is_ready = False
        self.asked_reason: Any = None  # of a kill that was asked for
        self.error: str | None = None

    def kill(self, reason: Any = None) -> None:
        """Kill it, as soon as it is known. `reason`: why; None if its exit status is to say so."""
        if self.asked_reason is None:
            self.asked_reason = reason
        if self.pid:
            kernel.kill(self.pidfd)

    def why_it_ended(self, status: int | None) -> Any:
        """The reason that all are told, by its wait status."""
        if status is None:
            return ("lost",)
        if os.WIFSIGNALED(status):
            by_us = os.WTERMSIG(status) == signal.SIGKILL and self.asked_reason is not None
            return self.asked_reason if by_us else ("signal", kernel.signal_name(os.WTERMSIG(status)))
        if self.error is not None:
            return ("error", self.error)
        return ("status", os.WEXITSTATUS(status))
