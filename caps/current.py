"""Checks on behalf of whoever is running now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from caps.decisions import decisions
from caps.kinds import kind_named, kinds
from caps.layers import Layers, require


def unrestricted() -> Layers:
    return ()


_current_layers: Callable[[], Layers] = unrestricted


def set_current_layers(current_layers: Callable[[], Layers]) -> None:
    """Install the function that says whose layers count now. For the core; without it everybody is unrestricted.

    It is called by each `check`, in the thread of the caller. Raises TypeError if it is not callable.
    """
    global _current_layers
    if not callable(current_layers):
        raise TypeError(f"set_current_layers() expects a function that returns the current layers, got {current_layers!r}")
    _current_layers = current_layers


def check(kind: str, *what: Any) -> None:
    """Raise CapabilityError unless the running process may do this; call it first thing in every privileged call.

    For an unrestricted process nothing but the kind's name is looked at; otherwise as `require` with its layers.
    No process is asked and nothing is waited for (C9). What was permitted is kept (decisions.py): made again, a check of a built-in kind
    costs the same however many layers and terms there are. Measured with CPython 3.11, in calls of an empty function: 2 without layers,
    4 for what is kept, 23 to 45 the first time, 55 for what is refused.

    Raises:
        CapabilityError: an exclusion refuses the access.
        TypeError, ValueError: there is no such kind, or no such access.
    """
    layers = _current_layers()
    if layers:
        try:
            if decisions(layers, kind)(*what):
                return
        except TypeError:  # it cannot be hashed
            pass
        require(layers, kind, *what)
    elif kind not in kinds:
        kind_named(kind)
