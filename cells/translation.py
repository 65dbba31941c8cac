"""Messages to and from a cell: the same values and bytes as between nodes, but every pid in them is one that the cell was given.

Most messages hold no pid. Whether bytes may hold one is seen by a look for the byte that msgpack begins an extension with: a false alarm
costs time and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from beamlike import Pid, pack, unpack
from beamlike.seam import ELSEWHERE, Code, NodeId, pack_quickly, shape_of, unpack_quickly
from cells.kinds import CELL, LIFE, OUTSIDE
from nodes.seam import may_hold_pid

_OUTSIDE: Final = NodeId(OUTSIDE, LIFE)
_CELL: Final = NodeId(CELL, LIFE)

_pid: Final = re.compile(rb"\xc7[\x00-\xff]\x13|\xc8[\x00-\xff]{2}\x13").search  # an extension PID
REFUSED: Final = frozenset({Code.RECORD, Code.ENUM, Code.REF, Code.FUNCTION, Code.LAYER})
"""What a cell cannot send: instances of this program's classes, whose fields it would choose, names of its functions, and exclusions."""


class ForgedError(Exception):
    """A pid in a message is none that the cell was given, or has."""


def to_cell(value: Any, number: Callable[[Pid], int], own: dict[Pid, int]) -> bytes:
    """The bytes of a message for a cell.

    Args:
        number: gives the handle of a pid.
        own: the cell's own processes: their pids here, and their serials there.

    Raises: as `beamlike.pack`.
    """
    payload = pack_quickly(value)
    if payload is None:
        payload = pack(value)
    if not may_hold_pid(payload) or not _pid(payload):
        return payload

    def handed(value: Any) -> Any:
        kind = type(value)
        if kind is Pid:
            return Pid(_CELL, own[value]) if value in own else Pid(_OUTSIDE, number(value))
        if kind in (tuple, list, set, frozenset):
            return kind([handed(part) for part in value])
        if kind is dict:
            return {handed(key): handed(part) for key, part in value.items()}
        shape = shape_of(kind)
        return value if shape is None else shape.build([handed(getattr(value, field)) for field in shape.fields])

    return pack(handed(value))


def from_cell(payload: bytes, pid: Callable[[int], Pid | None], own: Callable[[int], Pid]) -> Any:
    """The message in bytes that a cell wrote.

    Args:
        pid: whose handle a number is.
        own: the pid here of the cell's own process with this serial.

    Raises: WireError: it is none; ForgedError.
    """
    if not may_hold_pid(payload):
        value = unpack_quickly(payload)
        if value is not ELSEWHERE:
            return value

    def intern(node: str, incarnation: int, serial: int) -> Pid:
        if node == CELL and incarnation == LIFE:
            return own(serial)
        found = pid(serial) if node == OUTSIDE and incarnation == LIFE else None
        if found is None:
            raise ForgedError
        return found

    return unpack(payload, intern_pid=intern, refused=REFUSED)
