"""An application's capability, which nodes import when a term names it."""

from __future__ import annotations

from typing import Any

import caps


def room(term: tuple[Any, ...], what: tuple[Any, ...]) -> bool:
    return term == what


ROOM = caps.define(room)
