"""What the two ends use while they are not compiled: ring.h by way of cffi. Compiled, ends.h is in its place."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from time import perf_counter as seconds_now
from typing import Any

from nodes._ring import ffi, lib

BL_EAGAIN = lib.BL_EAGAIN
HEADER_ROOM = 64
_extension = re.compile(rb"[\xc7-\xc9\xd4-\xd8]").search

bl_write = lib.bl_write
bl_read = lib.bl_read
bl_room_wanted = lib.bl_room_wanted
bl_set_poll = lib.bl_set_poll


def writer_at(address: int) -> Any:
    return ffi.cast("bl_writer *", address)


def reader_at(address: int) -> Any:
    return ffi.cast("bl_reader *", address)


def set_at(address: int) -> Any:
    return ffi.cast("bl_set *", address)


def new_room(length: int) -> bytearray:
    return bytearray(HEADER_ROOM + length)


def record_in(room: bytearray) -> Any:
    return ffi.cast("bl_record *", ffi.from_buffer(room))


def payload_in(room: bytearray) -> Any:
    return ffi.cast("uint8_t *", ffi.from_buffer(room)) + HEADER_ROOM


def from_of(record: Any) -> int:
    return getattr(record, "from")  # type: ignore[no-any-return]


def bytes_at(data: bytes) -> bytes:
    return data


def make_bytes(data: Any, length: int) -> bytes:
    return bytes(ffi.buffer(data, length))


def may_extend(data: bytes, length: int) -> bool:
    return _extension(data) is not None


def ring_bell(bell: int) -> None:
    with suppress(BlockingIOError):  # it was rung 2**64 - 2 times: it will ring
        os.eventfd_write(bell, 1)


__all__ = [
    "BL_EAGAIN",
    "bl_read",
    "bl_room_wanted",
    "bl_set_poll",
    "bl_write",
    "bytes_at",
    "from_of",
    "make_bytes",
    "may_extend",
    "new_room",
    "payload_in",
    "reader_at",
    "record_in",
    "ring_bell",
    "seconds_now",
    "set_at",
    "writer_at",
]
