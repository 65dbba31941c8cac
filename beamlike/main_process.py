"""The main process of `run`: how it went."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import trio

from beamlike import reports
from beamlike.exits import ExitError, ProcessExit, Stop, format_reason, unwrapped
from beamlike.hot import scheduler
from beamlike.hot.process import PREEMPTED, Process

MOST_SHOWN = 50  # processes in an error


class MainProcess:
    """What is known of it. `over` is set when it has ended."""

    def __init__(self) -> None:
        self.value: Any = None
        self.failure: BaseException | None = None
        self.reason: Any = None
        self.was_told = False  # ended by an exit signal; what it raises after that does not count
        self.over = trio.Event()
        self.process: Process | None = None

    async def body(self, main: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        try:
            self.value = await scheduler.start_coroutine(main, args)
        except BaseException as failure:
            self.failure = failure
            raise

    def raise_stuck(self) -> None:
        """Raise in main, where it waits, that everybody waits."""
        assert self.process is not None
        lines = "".join(f"\n  {reports.situation(process)}" for process in scheduler.all_processes()[:MOST_SHOWN])
        more = scheduler.process_count() - MOST_SHOWN
        text = f"every process waits, no timer is set, and so it would be for ever:{lines}" + (f"\n  and {more} more" if more > 0 else "")
        for wait in list((self.process.calls or {}).values()):  # what is raised ends what it waits for
            wait.end()
        self.process.greenlet = RuntimeError(text)
        self.process.state = PREEMPTED
        scheduler.enqueue(self.process)

    def released(self, process: Process, reason: Any) -> None:
        if process is self.process:
            self.reason = reason
            self.was_told = self.failure is None and reason != "normal"
            self.over.set()

    def result(self) -> Any:
        if self.was_told or (self.failure is not None and isinstance(unwrapped(self.failure), (Stop, ProcessExit))):
            if self.reason == "normal":
                return None
            raise ExitError(f"main ended: {format_reason(self.reason)}", self.reason)
        if self.failure is not None:
            raise self.failure
        return self.value
