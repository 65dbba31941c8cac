"""A forgotten `async`, told of where it was forgotten.

Only what is surely wrong is refused: a function that was written `def` and is what it is called by. What else can be called may well return
something to await, and is taken as it is: a partial, a callable object, a lambda, what a decorator made.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

ASYNC = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE  # the second: by `types.coroutine`


def check_method(owner: type, name: str, method: Any) -> None:
    """TypeError if this method of a class was written `def name(…)`."""
    fn = getattr(method, "__func__", method)
    if _is_plain(fn) and fn.__code__.co_name == name:
        raise TypeError(f"{owner.__qualname__}.{name} is not async: write `async def {name}`")


def check_function(what: str, fn: Any) -> None:
    """TypeError if `fn` is no async function. `what` was given it."""
    if not callable(fn):
        raise TypeError(f"{what} expects an async function, and its arguments apart, not {fn!r}")
    if _is_plain(fn) and fn.__closure__ is None and fn.__name__ == fn.__code__.co_name != "<lambda>":
        raise TypeError(f"{what}: {fn.__qualname__} is not async: write `async def {fn.__name__}`")


def _is_plain(fn: Any) -> bool:
    return type(fn) is FunctionType and not fn.__code__.co_flags & ASYNC and not inspect.iscoroutinefunction(fn)  # it may be marked as one
