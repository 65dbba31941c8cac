"""Checks on behalf of whoever is running now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from caps.kinds import kind_named, kinds
from caps.layers import Layers, require


def unrestricted() -> Layers:
    return ()


def by_hook(kind: str, what: tuple[Any, ...]) -> bool:
    """Decide anew."""
    layers = _current_layers()
    if layers:
        require(layers, kind, *what)
    return not layers


_current_layers: Callable[[], Layers] = unrestricted
_check: Callable[[str, tuple[Any, ...]], bool] = by_hook


def set_current_layers(current_layers: Callable[[], Layers], check: Callable[[str, tuple[Any, ...]], bool] = by_hook) -> None:
    """Install the function that says whose layers count now. For the core; without it everybody is unrestricted.

    It is called by each `check`, in the thread of the caller.

    Args:
        check: asks for these layers and does what `caps.require` does, and may keep what it decided (`is_lasting`); operands come as a
            tuple. It returns whether there are none.

    Raises: TypeError if one of them is not callable.
    """
    global _current_layers, _check
    if not callable(current_layers):
        raise TypeError(f"set_current_layers() expects a function that returns the current layers, got {current_layers!r}")
    if not callable(check):
        raise TypeError(f"set_current_layers() expects a function that raises unless an access is permitted, got {check!r}")
    _current_layers, _check = current_layers, check


def check(kind: str, *what: Any) -> None:
    """Raise CapabilityError unless the running process may do this; call it first thing in every privileged call.

    For an unrestricted process nothing but the kind's name is looked at; otherwise as `require` with its layers.
    No process is asked and nothing is waited for (C9). What a process was permitted is kept: made again, a check of a built-in kind
    costs the same however many layers and terms there are.

    Raises:
        CapabilityError: an exclusion refuses the access.
        TypeError, ValueError: there is no such kind, or no such access.
    """
    if _check(kind, what) and kind not in kinds:
        kind_named(kind)
