"""What two values have in common only if they are the same, also for nodes: nothing slow is imported here."""

from __future__ import annotations

import struct
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from datetime import datetime, time
from typing import Any


def print_of(value: Any) -> Any:
    """A value that is equal for two messages only if they are the same to the last bit and type."""
    kind = type(value)
    if kind in (tuple, list):
        return kind, [print_of(part) for part in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(print_of(part)) for part in value)
    if kind is dict:
        return kind, [(print_of(key), print_of(part)) for key, part in value.items()]
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind is complex:
        return kind, struct.pack(">dd", value.real, value.imag)
    if kind in (datetime, time):
        return kind, value.isoformat(), value.fold, type(value.tzinfo), repr(value.tzinfo)
    if is_dataclass(kind):
        return kind, [print_of(getattr(value, field.name)) for field in fields_of(kind)]
    return kind, repr(value)
