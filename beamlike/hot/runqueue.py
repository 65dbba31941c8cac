"""The run queue: processes linked by their `next`, with the methods of a deque.

Compiled, a link costs nothing where a deque costs two calls into its module; uncompiled it is the other way round, and
portable.py gives the scheduler a deque instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython

from beamlike.hot.process import Process


@cython.final
@cython.cclass
class RunQueue:
    """First in, first out. A process is in it at most once."""

    __slots__ = ("head", "length", "tail")

    def __init__(self) -> None:
        self.head: Any = None
        self.tail: Any = None
        self.length = 0

    def __len__(self) -> int:
        return self.length

    def append(self, process: Process) -> None:
        """Add a process at the end."""
        if self.tail is None:
            self.head = process
        else:
            self.tail.next = process
        self.tail = process
        self.length += 1

    def popleft(self) -> Process:
        """Take the first one out. There must be one."""
        process: Process = self.head
        self.head = process.next
        if self.head is None:
            self.tail = None
        process.next = None
        self.length -= 1
        return process

    def rotate(self, steps: Any) -> None:
        """Move the first `-steps` to the end."""
        for _ in range(-steps):
            self.append(self.popleft())

    def clear(self) -> None:
        """Forget all."""
        while self.length:
            self.popleft()
