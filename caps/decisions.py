"""Which decisions may be kept, for a process makes the same few checks again and again (C9).

A decision about a built-in kind depends on nothing but the layers and the access, and both are values: so it may be kept for as long as
one likes. Not one of an application's kind, whose matcher may look at what it likes, nor one about operands of a class of their own, which
may say that they equal any other.
"""

from __future__ import annotations

from typing import Any

from caps.kinds import BUILT_IN_NAMES
from caps.names import plain


def is_lasting(kind: Any, what: tuple[Any, ...]) -> bool:
    """May it be kept that some layers permit this access? It is one, and they do."""
    try:
        plain(what)
    except TypeError:  # of a subclass, or it cannot be hashed
        return False
    return type(kind) is str and kind in BUILT_IN_NAMES
