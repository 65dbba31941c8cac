"""Frames: what goes over the connection of a program that looks into a running system. Length (32 bits, little-endian), then msgpack.

A connection begins with requests, each of which has one answer: `("ok", value)`, or `("error", text)`.

    processes, node or None, sort, limit        what every process does: `overview.Processes`
    busiest, seconds, limit                     the same of those that ran most in so many seconds from now
    tree, limit                                 the supervisors of each node with their children
    nodes                                       what `topology` says
    kill, name, incarnation                     kill this life of a node; answered when a later one is up
    unikernels                                  by node, those that belong to it
    kill unikernel, node, pid                   kill this one; answered when it has ended: whether there was one, None if the node is silent
    ask, name, question, node or None           by node, what the process of this name there answers to the call `question`; of nodes
                                                that have one
    shell, node or None                         from here on it is a shell's, on that node: see `nodes.shell`
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack

LONGEST = 1 << 24  # bytes of a frame
HEADER = struct.Struct("<I")


class FrameError(ValueError):
    """What came is no frame of ours."""


def packed(value: Any) -> bytes:
    """A frame, header included. ValueError if it is too long."""
    body = msgpack.packb(value, unicode_errors="surrogatepass")
    if len(body) > LONGEST:
        raise ValueError(f"a frame has at most {LONGEST} bytes, not {len(body)}")
    return HEADER.pack(len(body)) + body  # type: ignore[no-any-return]


def length(header: bytes) -> int:
    """How many bytes follow a header. FrameError."""
    (found,) = HEADER.unpack(header)
    if found > LONGEST:
        raise FrameError(f"a frame has at most {LONGEST} bytes, not {found}")
    return found  # type: ignore[no-any-return]


def unpacked(body: bytes) -> Any:
    """The value of a frame, with tuples for arrays. FrameError."""
    try:
        return msgpack.unpackb(body, use_list=False, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, msgpack.UnpackException) as error:  # TypeError: a map is the key of a map
        raise FrameError(f"a frame is no msgpack: {error}") from error
