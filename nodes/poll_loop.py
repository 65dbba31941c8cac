"""The loop of the owner: descriptors that are readable, control channels that have room, and times that have come.

Nothing here waits for anybody but in `turn`, and what is called must not either.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from nodes.control import Channel

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class PollLoop:
    """Open while it is entered."""

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._selector.close()

    def register(self, source: Any, act: Callable[[int], None]) -> None:
        """Have `act` called with READ, WRITE or both when this descriptor, or object with a `fileno`, is ready."""
        self._selector.register(source, READ, act)

    def unregister(self, source: Any) -> None:
        """No longer. Before it is closed."""
        self._selector.unregister(source)

    def watch(self, channel: Channel) -> None:
        """Something was sent by this registered channel, or flushed: have it told when there is room, as long as packets wait."""
        key = self._selector.get_key(channel)
        events = READ | WRITE if channel.wants_write else READ
        if key.events != events:
            self._selector.modify(channel, events, key.data)

    def close(self, channel: Channel) -> None:
        """Unregister a channel and close it. Twice does nothing."""
        if not channel.is_closed:
            self._selector.unregister(channel)
            channel.close()

    def after(self, delay: float, act: Callable[[], None]) -> None:
        """Have it called in so many seconds."""
        self._timers.append((time.monotonic() + delay, act))

    def turn(self, longest: float | None) -> None:
        """Wait until something is ready or due, at most so many seconds, and act on all that is."""
        times = [when for when, _ in self._timers]
        soonest = [max(0.0, min(times) - time.monotonic())] if times else []
        for key, mask in self._selector.select(min([*soonest, *([] if longest is None else [longest])], default=None)):
            key.data(mask)
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, act in due:
            act()
