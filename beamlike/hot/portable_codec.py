"""What the codec uses while it is not compiled: the same by msgpack. Compiled, codec.h is in its place."""

from __future__ import annotations

from typing import Any

import msgpack

ROOM = 1 << 16
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})


def new_room() -> bytearray:
    return bytearray(ROOM)


def put_raw(out: bytearray, at: int, room: int, raw: bytes) -> int:
    end = at + len(raw)
    if end > room:
        return -1
    out[at:end] = raw
    return end


def put_scalar(out: bytearray, at: int, room: int, value: Any) -> int:
    if type(value) not in _SCALARS:
        return -1
    try:
        return put_raw(out, at, room, msgpack.packb(value))
    except (OverflowError, UnicodeEncodeError):
        return -1


def put_count(out: bytearray, at: int, room: int, small: int, head16: int, count: int) -> int:
    if count > 0xFFFF:
        return -1
    return put_raw(out, at, room, bytes([small | count]) if count < 16 else bytes([head16, count >> 8, count & 0xFF]))


def make_raw(data: Any, at: int, length: int) -> bytes:
    return bytes(data[at : at + length])


def data_of(data: bytes) -> bytes:
    return data


NO_DATA = b""


def is_same(data: bytes, at: int, length: int, raw: bytes) -> bool:
    return data[at : at + length] == raw


def new_tuple(count: int) -> list[Any]:
    return [None] * count


def set_part(parts: list[Any], index: int, part: Any) -> None:
    parts[index] = part


def whole_tuple(parts: list[Any]) -> tuple[Any, ...]:
    return tuple(parts)


_LENGTHS = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCC: 2, 0xD0: 2, 0xCD: 3, 0xD1: 3, 0xCE: 5, 0xD2: 5, 0xCB: 9, 0xCF: 9, 0xD3: 9}


def scalar_length(data: bytes, at: int, end: int) -> int:
    if at >= end:
        return 0
    head = data[at]
    if head < 0x80 or head >= 0xE0:
        return 1
    if 0xA0 <= head < 0xC0:
        length = 1 + (head & 31)
    elif head in (0xC4, 0xD9):
        length = 2 + data[at + 1] if end - at > 1 else 2
    elif head in (0xC5, 0xDA):
        length = 3 + int.from_bytes(data[at + 1 : at + 3], "big") if end - at > 2 else 3
    else:
        length = _LENGTHS.get(head, 0)
    return length if length <= end - at else 0


def make_scalar(data: bytes, at: int, length: int) -> Any:
    return msgpack.unpackb(data[at : at + length], unicode_errors="surrogatepass")
