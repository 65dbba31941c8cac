# cython: annotation_typing=False
# (C types are in codec.pxd; the annotations are for checkers.)
"""The quick way through the wire format, for what most messages are made of. `beamlike.wire` defines the format and has the rest.

Scalars that msgpack has, pids, tuples, lists, dicts and records, up to LONGEST bytes and `_deepest` levels. For all else, and for anything
that is wrong, the answer is that the message is not for here: `wire` then does it, and says what is wrong.

Packing fills a room that all share. A record's field may be code of the program's, which may be left in the middle: then the room is
busy, and others go the long way. So is where the reading stands, for another thread may have its turn when a new pid is looked up.
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
    from beamlike.hot.portable_codec import (
        NO_DATA,
        ROOM,
        data_of,
        is_same,
        make_raw,
        make_scalar,
        new_room,
        new_tuple,
        put_count,
        put_raw,
        put_scalar,
        scalar_length,
        set_part,
        whole_tuple,
    )

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
_recent = 64
_sent: list[Any] = [None] * _recent  # of `_packed_pids`, those that were looked for last, by serial,
_sent_raws = [b""] * _recent
_pids: list[Any] = [None] * _recent  # and of `_arrived`
_raws = [b""] * _recent
_is_busy = False
_out: Any = new_room()
_is_reading = False
_data: Any = NO_DATA
_at = _end = 0
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
    for pids, raws in ((_sent, _sent_raws), (_pids, _raws)):
        pids[:], raws[:] = [None] * _recent, [b""] * _recent


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
        return put_raw(_out, at, ROOM, _raw_of(value))
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


def _raw_of(pid: Pid) -> bytes:
    place = pid.serial % _recent
    if _sent[place] is pid:
        return _sent_raws[place]
    raw = _packed_pids.get(pid)
    if raw is None:
        raw = _pid_bytes(pid)
        if pid not in _packed_pids:
            return raw
    _sent[place], _sent_raws[place] = pid, raw
    return raw


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
# Each function reads what is at `_at` and leaves `_at` behind it, or answers ELSEWHERE.


def unpack(data: bytes) -> Any:
    """The message in `data`, as `wire.unpack` gives it; ELSEWHERE if it is not for here, or is none."""
    global _data, _at, _end, _is_reading
    if _is_reading:
        return ELSEWHERE
    _is_reading = True
    _data, _at, _end = data_of(data), 0, len(data)
    try:
        value = _value(0)
    except Exception:  # noqa: BLE001 - whatever is wrong, `wire` finds it and says it
        return ELSEWHERE
    finally:
        _is_reading = False
    return value if _at == _end else ELSEWHERE


def _value(depth: int) -> Any:
    global _at
    length = scalar_length(_data, _at, _end)
    if length > 0:
        _at += length
        return make_scalar(_data, _at - length, length)
    if _at >= _end or depth == _deepest:
        return ELSEWHERE
    length = _count(0x90, 0xDC)
    if length >= 0:
        return _array(length, depth + 1)
    length = _count(0x80, 0xDE)
    if length >= 0:
        return _map(length, depth + 1)
    return _extension()


def _count(small: int, head16: int) -> int:
    """Of the items of an array or a map, if one is here that can be as long; else -1."""
    global _at
    head: int = _data[_at]
    if head & 0xF0 == small:
        _at += 1
        return head & 0x0F
    if head != head16 or _end - _at < 3:
        return -1
    count: int = _data[_at + 1] << 8 | _data[_at + 2]
    if count > _end - _at - 3:
        return -1
    _at += 3
    return count


def _array(count: int, depth: int) -> Any:
    global _at
    if count and _end - _at >= 3 and _data[_at] == 0xC7 and _data[_at + 1] == 0:
        code = _data[_at + 2]
        _at += 3
        if code == LIST:
            return _list(count - 1, depth)
        if code == RECORD:
            return _record(count - 1, depth)
        return ELSEWHERE
    parts = new_tuple(count)
    for index in range(count):
        part = _value(depth)
        if part is ELSEWHERE:
            return ELSEWHERE
        set_part(parts, index, part)
    return whole_tuple(parts)


def _list(count: int, depth: int) -> Any:
    parts = []
    for _ in range(count):
        part = _value(depth)
        if part is ELSEWHERE:
            return ELSEWHERE
        parts.append(part)
    return parts


def _record(count: int, depth: int) -> Any:
    name = _value(depth)
    kind = _registered(name) if type(name) is str else None
    if kind is None:
        return ELSEWHERE
    shape = shape_of(kind)
    if shape is None or len(shape.fields) != count - 1:
        return ELSEWHERE
    parts = _list(count - 1, depth)
    return parts if parts is ELSEWHERE else shape.build(parts)


def _map(count: int, depth: int) -> Any:
    global _at
    made = {}
    for _ in range(count):
        length = scalar_length(_data, _at, _end)
        if length == 0:
            return ELSEWHERE
        _at += length
        key = make_scalar(_data, _at - length, length)
        part = _value(depth)
        if part is ELSEWHERE:
            return ELSEWHERE
        made[key] = part
    return made


def _extension() -> Any:
    """A pid: an extension with one byte of length."""
    global _at
    if _end - _at < 3 or _data[_at] != 0xC7 or _data[_at + 2] != PID:
        return ELSEWHERE
    length = _data[_at + 1]
    if length < 16 or length > _end - _at - 3:
        return ELSEWHERE
    start = _at + 3
    _at = start + length
    place = _data[start + 15] % _recent  # by the last byte of the serial
    if is_same(_data, start, length, _raws[place]):
        return _pids[place]
    raw = make_raw(_data, start, length)
    pid = _arrived.get(raw)
    if pid is None:
        pid = _pid_of(raw)
        if raw not in _arrived:
            return pid
    _raws[place], _pids[place] = raw, pid
    return pid
