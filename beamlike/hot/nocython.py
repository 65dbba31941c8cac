"""What the hot path needs of the `cython` module where Cython is not installed, as it need not be at run time."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
compiled = False


def cclass(kind: T) -> T:
    """Compiled: a C struct. Its fields are in the .pxd; only with this beside them do the next three work."""
    return kind


def final(kind: T) -> T:
    """Compiled: nobody subclasses it, so its methods are called directly."""
    return kind


def no_gc(kind: T) -> T:
    """Compiled: the garbage collector does not look at it. For what can be in no cycle, or in none that outlives a process."""
    return kind


def freelist(size: int) -> Callable[[T], T]:
    """Compiled: how much memory of instances that are gone is kept for the next ones."""
    return lambda kind: kind


def annotation_typing(on: bool) -> Callable[[T], T]:
    """Compiled: whether annotations are C types. They are not where users' arguments are checked by us, with our words."""
    return lambda fn: fn
