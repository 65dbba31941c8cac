"""The uncompiled twin of native.h."""

from __future__ import annotations

from contextvars import Context
from threading import get_ident as get_ident
from typing import Any


class Finished:
    """The type of `FINISHED`, what `resume` answers when the coroutine has returned."""

    __slots__ = ()


class Park:
    """The type of `PARK`, what a process yields when it waits and has said in its record for what."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PARK"


FINISHED: Any = Finished()
PARK: Any = Park()


def resume(coro: Any, context: Context) -> Any:
    """Step `coro` once inside `context`. Returns what it yielded, or FINISHED (its result is dropped)."""
    try:
        return context.run(coro.send, None)
    except StopIteration:
        return FINISHED
