# cython: annotation_typing=False
# (C types are in codec.pxd; the annotations are for checkers.)
"""The quick way through the wire format, for what most messages are made of. `beamlike.wire` defines the format and has the rest.

Scalars that msgpack has, pids, tuples, lists, dicts and records, up to LONGEST bytes and `_deepest` levels. For all else, and for anything
that is wrong, the answer is that the message is not for here: `wire` then does it, and says what is wrong.

Packing fills a room that all share. A record's field may be code of the program's, which may be left in the middle: then the room is
busy, and others go the long way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beamlike.hot.ids import Pid
from beamlike.hot.values import registered, shape_of

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython

if not cython.compiled:
    from beamlike.hot.portable_codec import ROOM, data_of, make_raw, make_scalar, new_room, put_count, put_raw, put_scalar, scalar_length

MOST_PIDS = 10_000  # of each kind that are remembered
PID, LIST, DICT, RECORD = 19, 1, 4, 5  # wire.Code
LONGEST = ROOM  # bytes of a message
ELSEWHERE: Any = object()  # what `unpack` answers for a message that is not for here

_deepest = 32
_most = MOST_PIDS
_list_head, _dict_head, _record_head = b"\xc7\0\1", b"\xc7\0\4", b"\xc7\0\5"  # msgpack extensions of no bytes
_registered = registered
_packed_pids: dict[Pid, bytes] = {}  # those that were packed lately
_arrived: dict[bytes, Pid] = {}  # and those that have come
_is_busy = False
_out: Any = new_room()
_pid_bytes: Callable[[Pid], bytes]
_pid_of: Callable[[bytes], Pid]


def install(pid_bytes: Callable[[Pid], bytes], pid_of: Callable[[bytes], Pid]) -> None:
    """Say how a pid becomes the bytes of its extension, and these the pid; what is answered is remembered if it stays right."""
    global _pid_bytes, _pid_of
    _pid_bytes, _pid_of = pid_bytes, pid_of


def remember_packed(pid: Pid, raw: bytes) -> None:
    """`raw` is the whole msgpack extension."""
    if len(_packed_pids) >= _most:
        _packed_pids.clear()
    _packed_pids[pid] = raw


def remember_arrived(raw: bytes, pid: Pid) -> None:
    """`raw` is what is in the extension."""
    if len(_arrived) >= _most:
        _arrived.clear()
    _arrived[raw] = pid


def forget() -> None:
    """A node opens or closes: its pids are others."""
    _packed_pids.clear()
    _arrived.clear()


# --- packing ----------------------------------------------------------------------------------------------------------


def pack(value: Any) -> bytes | None:
    """`value` as `wire.pack` gives it; None if it is not for here. Raises what code of the program's raises."""
    global _is_busy
    if _is_busy:
        return None
    _is_busy = True
    try:
        end = _put(value, 0, 0)
    finally:
        _is_busy = False
    return None if end < 0 else make_raw(_out, 0, end)


def _put(value: Any, at: int, depth: int) -> int:
    """Write a value at `at`. Where it ends; -1 if it is not for here."""
    end = put_scalar(_out, at, ROOM, value)
    if end >= 0:
        return end
    kind = type(value)
    if kind is Pid:
        raw = _packed_pids.get(value)
        if raw is None:
            raw = _pid_bytes(value)
        return put_raw(_out, at, ROOM, raw)
    if depth == _deepest:
        return -1
    depth += 1
    if kind is tuple:
        end = put_count(_out, at, ROOM, 0x90, 0xDC, len(value))
    elif kind is list:
        end = put_count(_out, at, ROOM, 0x90, 0xDC, len(value) + 1)
        if end >= 0:
            end = put_raw(_out, end, ROOM, _list_head)
    elif kind is dict:
        return _put_dict(value, at, depth)
    else:
        shape = shape_of(kind)
        if shape is None:
            return -1
        end = put_count(_out, at, ROOM, 0x90, 0xDC, len(shape.fields) + 2)
        if end >= 0:
            end = put_raw(_out, end, ROOM, _record_head)
        if end >= 0:
            end = put_scalar(_out, end, ROOM, shape.name)
        for field in shape.fields:
            if end < 0:
                return -1
            try:
                part = getattr(value, field)
            except AttributeError:
                return -1
            end = _put(part, end, depth)
        return end
    count = len(value)
    for part in value:
        if end < 0:
            return -1
        end = _put(part, end, depth)
        count -= 1
    return end if count == 0 else -1


def _put_dict(value: dict[Any, Any], at: int, depth: int) -> int:
    """A map, if all keys are scalars."""
    end = put_count(_out, at, ROOM, 0x80, 0xDE, len(value))
    for key, part in list(value.items()):  # a record's field may be code that changes it
        if end >= 0:
            end = put_scalar(_out, end, ROOM, key)
        if end < 0:
            return -1
        end = _put(part, end, depth)
    return end


# --- unpacking --------------------------------------------------------------------------------------------------------


def unpack(data: bytes) -> Any:
    """The message in `data`, as `wire.unpack` gives it; ELSEWHERE if it is not for here, or is none."""
    cursor = _Cursor(data)
    try:
        value = cursor.value(0)
    except Exception:  # noqa: BLE001 - whatever is wrong, `wire` finds it and says it
        return ELSEWHERE
    return value if cursor.at == cursor.end else ELSEWHERE


@cython.final
@cython.freelist(8)
@cython.cclass
class _Cursor:
    """Where in a message the reading is. Each method leaves `at` behind what it has read, or answers ELSEWHERE (`count`: -1)."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes) -> None:
        self.data = data_of(data)
        self.at = 0
        self.end = len(data)

    def value(self, depth: int) -> Any:
        length = scalar_length(self.data, self.at, self.end)
        if length > 0:
            self.at += length
            return make_scalar(self.data, self.at - length, length)
        if self.at >= self.end or depth == _deepest:
            return ELSEWHERE
        length = self.count(0x90, 0xDC)
        if length >= 0:
            return self.array(length, depth + 1)
        length = self.count(0x80, 0xDE)
        if length >= 0:
            return self.map(length, depth + 1)
        return self.extension()

    def count(self, small: int, head16: int) -> int:
        """Of the items of an array or a map, if one is here that can be as long."""
        head = self.data[self.at]
        if head & 0xF0 == small:
            self.at += 1
            return head & 0x0F
        if head != head16 or self.end - self.at < 3:
            return -1
        count: int = self.data[self.at + 1] << 8 | self.data[self.at + 2]
        self.at += 3
        return count if count <= self.end - self.at else -1

    def array(self, count: int, depth: int) -> Any:
        code = 0
        if count and self.end - self.at >= 3 and self.data[self.at] == 0xC7 and self.data[self.at + 1] == 0:
            code = self.data[self.at + 2]
            self.at += 3
            count -= 1
            if code != LIST and code != RECORD:
                return ELSEWHERE
        parts = []
        for _ in range(count):
            part = self.value(depth)
            if part is ELSEWHERE:
                return ELSEWHERE
            parts.append(part)
        if code == 0:
            return tuple(parts)
        if code == LIST:
            return parts
        if not parts or type(parts[0]) is not str:
            return ELSEWHERE
        kind = _registered(parts[0])
        if kind is None:
            return ELSEWHERE
        shape = shape_of(kind)
        if shape is None or len(parts) != len(shape.fields) + 1:
            return ELSEWHERE
        return shape.build(parts[1:])

    def map(self, count: int, depth: int) -> Any:
        made = {}
        for _ in range(count):
            length = scalar_length(self.data, self.at, self.end)
            if length == 0:
                return ELSEWHERE
            self.at += length
            key = make_scalar(self.data, self.at - length, length)
            part = self.value(depth)
            if part is ELSEWHERE:
                return ELSEWHERE
            made[key] = part
        return made

    def extension(self) -> Any:
        """A pid: an extension with one byte of length."""
        if self.end - self.at < 3 or self.data[self.at] != 0xC7 or self.data[self.at + 2] != PID:
            return ELSEWHERE
        length = self.data[self.at + 1]
        if length < 16 or length > self.end - self.at - 3:
            return ELSEWHERE
        raw = make_raw(self.data, self.at + 3, length)
        self.at += 3 + length
        return _arrived.get(raw) or _pid_of(raw)
