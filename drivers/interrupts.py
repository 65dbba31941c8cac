"""Interrupts as messages: who gets those of which line."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

import trio

import caps
from beamlike import record
from beamlike.seam import Process, check_access, check_thread, current_process, extra, on_release, tell

LINES: Final = 24  # 0 to 15 of the ISA bus, 16 to 23 of PCI


def check_line(line: Any) -> None:
    """Raises: ValueError: there is no such interrupt line."""
    if type(line) is not int or not 0 <= line < LINES:
        raise ValueError(f"{line!r} is no interrupt line: expected 0 to {LINES - 1}")


@record
class Interrupt:
    """A line has gone up.

    `number` counts those of the line, from 1: they come in order, and none is left out, so a gap means that somebody else lost one. `at`
    is when, in seconds of the I/O space's clock.
    """

    line: int
    number: int
    at: float


@record
class MachineStopped:
    """To who watches the lines: the machine is no more. Its I/O space says why."""


class Lines:
    """The interrupt lines of one machine, and the processes that listen to them."""

    def __init__(self) -> None:
        self.telling = threading.RLock()
        """Of who calls `rise`: what came first is told first."""
        self.last = [0] * LINES
        """Of each line the number of the interrupt that was told last."""
        self._listeners: list[list[Process]] = [[] for _ in range(LINES)]
        self._watchers: list[Process] = []
        self._posted: deque[tuple[int, int, float]] = deque()  # by threads
        self._thread = 0
        self._token: trio.lowlevel.TrioToken | None = None
        _all.add(self)

    def attach(self, line: int) -> None:
        """Let the calling process get the interrupts of a line from now on: `Interrupt` messages. Several processes may share one.

        Raises: ValueError if there is no such line; CapabilityError: `("device", "irq N")` is excluded. Who is tightened so later gets no
        more of them.
        """
        check_line(line)
        check_access("device", f"irq {line}")
        self._add(self._listeners[line])

    def watch(self) -> None:
        """Let the calling process get `MachineStopped` when the machine is no more, once."""
        self._add(self._watchers)

    def _add(self, processes: list[Process]) -> None:
        process = current_process()
        check_thread("lines.attach")
        self._thread, self._token = threading.get_ident(), trio.lowlevel.current_trio_token()
        extra(process)  # so that its end is told to `on_release`
        if process not in processes:
            processes.append(process)

    def detach(self, line: int) -> None:
        """The calling process gets no more of these; what is in its mailbox stays there."""
        check_line(line)
        process = current_process()
        if process in self._listeners[line]:
            self._listeners[line].remove(process)

    def rise(self, line: int, number: int, at: float) -> None:
        """Tell who listens. With `telling`; an access in a thread has the node's own thread do it."""
        if threading.get_ident() == self._thread and not self._posted:
            self._tell(line, number, at)
        elif self._token is not None:
            self._posted.append((line, number, at))
            try:
                self._token.run_sync_soon(self._tell_posted)
            except trio.RunFinishedError:  # nobody listens any more
                self._posted.clear()

    def stop(self) -> None:
        """The machine is no more."""
        if threading.get_ident() == self._thread:
            while self._watchers:
                tell(self._watchers.pop().pid, MachineStopped())
        elif self._token is not None:
            with suppress(trio.RunFinishedError):  # nobody watches any more
                self._token.run_sync_soon(self.stop)

    def _tell_posted(self) -> None:
        with self.telling:
            while self._posted:
                self._tell(*self._posted.popleft())

    def _tell(self, line: int, number: int, at: float) -> None:
        self.last[line] = number
        for process in list(self._listeners[line]):
            if process.layers and not caps.permits(process.layers, "device", f"irq {line}"):
                self._listeners[line].remove(process)
            else:
                tell(process.pid, Interrupt(line, number, at))

    def forget(self, process: Process) -> None:
        """It has ended."""
        for listeners in (*self._listeners, self._watchers):
            if process in listeners:
                listeners.remove(process)


_all: WeakSet[Lines] = WeakSet()


def _released(process: Process, reason: object) -> None:
    for lines in _all:
        lines.forget(process)


on_release.append(_released)
