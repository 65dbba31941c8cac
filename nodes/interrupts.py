"""Ctrl-C and SIGTERM at the owner, for a loop that sleeps in `select` and not in trio (there: beamlike's `run`)."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any, ClassVar


class Interrupts:
    """Ctrl-C and SIGTERM, while the owner has the main thread: they are counted, and wake its loop.

    By the wakeup descriptor, for a Python handler alone does not run while the loop sleeps, if the signal came just before that or to
    another thread. Who had set one finds in it the signals that came meanwhile.
    """

    DEFAULTS: ClassVar[dict[int, Any]] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def __enter__(self) -> Interrupts:
        self.came: list[int] = []
        self.bell, self._ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._installed: list[int] = []
        self._wakeup_before = -1
        if threading.current_thread() is threading.main_thread():
            self._installed = [signum for signum, default in self.DEFAULTS.items() if signal.getsignal(signum) is default]
        if self._installed:
            self._wakeup_before = signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
            for signum in self._installed:
                signal.signal(signum, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for signum in self._installed:
            if signal.getsignal(signum) == self._on_signal:  # the program may have set one of its own meanwhile
                signal.signal(signum, self.DEFAULTS[signum])
        if self._installed:
            signal.set_wakeup_fd(self._wakeup_before)
            self.clear_bell()
        os.close(self.bell)
        os.close(self._ring)

    def clear_bell(self) -> None:
        """It was heard."""
        with suppress(BlockingIOError):  # nothing has come, or nobody empties the other descriptor
            rung = os.read(self.bell, 1 << 16)
            others = bytes(signum for signum in rung if signum not in self._installed)
            if others and self._wakeup_before != -1:
                os.write(self._wakeup_before, others)

    def raise_if_came(self) -> None:
        """The end of a program that was told to end: what it returned does not count."""
        if self.came:
            raise KeyboardInterrupt if self.came[0] == signal.SIGINT else SystemExit(128 + signal.SIGTERM)

    def _on_signal(self, signum: int, frame: Any) -> None:
        self.came.append(signum)
