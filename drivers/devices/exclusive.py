"""One transfer at a time: what a driver of a device holds that cannot do two things at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from beamlike import Pid
from beamlike.seam import current_process


class Exclusive:
    """A lock that nobody waits for: a second use is a mistake of whoever makes it.

    Who is killed leaves it free at once, before its `finally` blocks have their turn.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._holder: _Holder | None = None

    @contextmanager
    def use(self) -> Iterator[None]:
        """Hold it, as the calling process, until the end of the block. Raises: RuntimeError: it is held by one that lives."""
        if self._holder is not None and self._holder.pid.process is not None:
            raise RuntimeError(f"{self._what} is in use: one transfer at a time")
        holder = self._holder = _Holder(current_process().pid)
        try:
            yield
        finally:
            if self._holder is holder:  # else somebody else has it since the end of this process
                self._holder = None


class _Holder:
    """One object a use: a process may have several, one after the other."""

    def __init__(self, pid: Pid) -> None:
        self.pid = pid
