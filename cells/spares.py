"""Cells that are locked and have no program yet: the next one to start takes one, and has not to wait for its fork.

One of each sort that was asked for lately, made when the one before was taken. A sort is what a cell is forked with, which cannot be
changed afterwards; all else about it comes with its owner.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cells.connection import Connection, forked_with
from cells.errors import CellUnavailable
from cells.limits import Limits
from cells.maker import Maker

MOST_SORTS = 4

_spares: dict[tuple[Any, ...], Connection] = {}  # the sort that was asked for last is last


def take(zygote: Maker, limits: Limits) -> Connection:
    """A cell without an owner, made now if there is no spare one. Raises: as Connection."""
    sort = zygote, *forked_with(limits, polls=False).values()
    spare = _spares.pop(sort, None)
    if spare is None or spare.is_doomed:
        spare = Connection(zygote, limits)
    _restock(sort, zygote, limits)
    return spare


def _restock(sort: tuple[Any, ...], zygote: Maker, limits: Limits) -> None:
    """Make the next spare one, and let go of what has not been asked for."""
    for old, spare in list(_spares.items()):
        if spare.is_doomed or len(_spares) >= MOST_SORTS:
            spare.kill()
            del _spares[old]
    with suppress(CellUnavailable, OSError):  # whoever needs one is told
        _spares[sort] = Connection(zygote, limits)
