"""What the hot path needs of the `cython` module where Cython is not installed, as it need not be at run time."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
compiled = False


def annotation_typing(on: bool) -> Callable[[T], T]:
    """Compiled: whether annotations are C types. They are not where users' arguments are checked by us, with our words."""
    return lambda fn: fn
