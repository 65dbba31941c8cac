"""Waiting messages, oldest first, with the methods of a deque that the scheduler uses.

Compiled, appending to a list costs nothing where a deque costs a call into its module; uncompiled it is the other way round, and
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

MOST_GONE = 32  # places of messages that were taken, before the list is moved up


@cython.final
@cython.freelist(64)
@cython.cclass
class MessageQueue:
    """First in, first out. `items[head:]` is what waits."""

    __slots__ = ("head", "items")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.head = 0

    def __len__(self) -> int:
        return len(self.items) - self.head

    def __getitem__(self, index: Any) -> Any:
        return self.items[self.head + index]

    def __delitem__(self, index: Any) -> None:
        """Moves the shorter side."""
        place = self.head + index
        if index > len(self.items) - place:
            del self.items[place]
            return
        self.items[self.head + 1 : place + 1] = self.items[self.head : place]
        self.popleft()

    def append(self, message: Any) -> None:
        """Add a message at the end."""
        self.items.append(message)

    def popleft(self) -> Any:
        """Take the first one out. There must be one."""
        message = self.items[self.head]
        self.items[self.head] = None
        self.head += 1
        if self.head > MOST_GONE and self.head * 2 > len(self.items):
            del self.items[: self.head]
            self.head = 0
        return message
