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


class Failed:
    """What `resume` answers when the coroutine has raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def resume(coro: Any, context: Any) -> Any:
    """Step `coro` once inside `context`: what it yielded, FINISHED, or a `Failed`. Raises nothing."""
    try:
        return context.run(coro.send, None)
    except StopIteration:
        return FINISHED
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the process and is its exit reason
        return Failed(error)


def throw(coro: Any, context: Any, error: BaseException) -> Any:
    """As `resume`, by raising `error` where the coroutine waits. Not compiled either: it is rare."""
    try:
        return context.run(coro.throw, error)
    except StopIteration:
        return FINISHED
    except BaseException as raised:  # noqa: BLE001 - as in `resume`
        return Failed(raised)


def word_of(memory: Any) -> Any:
    """What writes to the first 8 bytes of a memoryview by `[0] =`; compiled, a pointer. Of None: nothing."""
    return memory


class Park:
    """The type of `PARK`, what a process yields when it waits and has said in its record for what."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PARK"


FINISHED: Any = Finished()
PARK: Any = Park()

RunQueue: Any = deque
MessageQueue: Any = deque

__all__ = ["FINISHED", "PARK", "Failed", "MessageQueue", "RunQueue", "get_ident", "monotonic", "resume", "throw", "word_of"]
