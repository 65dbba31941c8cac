"""Checks on behalf of whoever is running now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from caps.kinds import kind_named, kinds
from caps.layers import Layers, error, refusal


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
    No process is asked and nothing is waited for (C9). Measured with CPython 3.11, in calls of an empty function: 1.6
    without layers, 10 for a port and one layer, 20 for a file.

    Raises:
        CapabilityError: an exclusion refuses the access.
        TypeError, ValueError: there is no such kind, or no such access.
    """
    layers = _current_layers()
    if layers:
        refused = refusal(layers, kind, what)  # not through require(), a call that every check would pay for
        if refused is not None:
            raise error(layers, kind, what, *refused)
    elif kind not in kinds:
        kind_named(kind)
