"""What the hot path uses while it is not compiled, and the marks that both share. Compiled, native.h, runqueue.py and
messagequeue.py are in its place."""

from __future__ import annotations

from collections import deque
from threading import get_ident as get_ident
from time import perf_counter as monotonic
from typing import Any


class Finished:
    """The type of `FINISHED`, what native `resume` answers when the coroutine has returned."""

    __slots__ = ()


class Park:
    """The type of `PARK`, what a process yields when it waits and has said in its record for what."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PARK"


FINISHED: Any = Finished()
PARK: Any = Park()

RunQueue: Any = deque
MessageQueue: Any = deque

__all__ = ["FINISHED", "PARK", "MessageQueue", "RunQueue", "get_ident", "monotonic"]
