"""Decisions that are kept, for a process makes the same few checks again and again (C9).

A decision about a built-in kind depends on nothing but the layers and the access, and both are values: so it may be kept for as long as
one likes. Only a permit is believed. For whatever else, a refusal, what is no access, or a kind of an application's, whose matcher may look
at what it likes, the answer here is no, and `require` decides and finds the words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from caps.kinds import BUILT_IN_NAMES
from caps.layers import Layers, refusal
from caps.names import plain

MOST_STACKS = 128  # (layers, kind) whose decisions are kept
MOST_ACCESSES = 128  # of each that are kept


@lru_cache(maxsize=MOST_STACKS)
def decisions(layers: Layers, kind: str) -> Callable[..., bool]:
    """A function of the operands of an access: True if the layers permit it, False if `require` is to be asked.

    Both raise TypeError for what cannot be hashed.
    """
    if kind not in BUILT_IN_NAMES:
        return undecided

    @lru_cache(maxsize=MOST_ACCESSES, typed=True)  # typed: port True, which is no access, equals port 1
    def decided(*what: Any) -> bool:
        try:
            plain(what)  # a str of a class of its own may say that it equals any other
            return refusal(layers, kind, what) is None
        except (TypeError, ValueError):
            return False

    return decided


def undecided(*what: Any) -> bool:
    """Ask `require`."""
    return False
