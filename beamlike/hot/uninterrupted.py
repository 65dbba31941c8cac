"""Code that must not be left in the middle: compiled code that calls out into Python, which has no frame that pre-emption would see,
and the few places elsewhere that look first and then act.
"""

from __future__ import annotations

depth = 0


def forbid_preemption(forbid: bool) -> None:
    """Bracket code that must not be left half done (`True` before, `False` after)."""
    global depth
    depth += 1 if forbid else -1


def may_preempt() -> bool:
    """Is nobody inside such a bracket?"""
    return depth == 0
