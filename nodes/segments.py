"""Large payloads: each in a sealed memfd of its own, whose descriptor goes by the direct socket before its record is published.

So the receiver finds it there, and parses what nobody can change any more; the ring carries where to look: number, length, CRC32C.
Records and descriptors come in the same order. At most MOST_HELD descriptors that were not fetched are held, others wait in the socket.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections import deque
from typing import Final

import trio

from nodes.control import close_all, receive_fds
from nodes.rings import BrokenRingError, UnusableError, crc32c

LARGE: Final = 64 * 1024  # bytes
SEGMENT: Final = 0x02  # flag of a record: its payload says where the payload is
MOST_HELD: Final = 32
SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_PLACE: Final = struct.Struct("<QQI")  # number, length, CRC32C
_NUMBER: Final = struct.Struct("<Q")


class Sending:
    """The segments that one end of a mailbox sends."""

    def __init__(self, direct: socket.socket) -> None:
        self.direct = direct
        self.number = 0
        self.announced: bytes | None = None  # the record's payload, while its descriptor is sent and the record is not
        self.memfd = -1  # filled, and not sent
        self.is_blocked = False  # nothing can be sent now: call again when the socket is writable,
        self.is_starved = False  # or, if this is set, later: no descriptor or memory is left, and nobody says when there is

    def announce(self, payload: bytes) -> bytes | None:
        """Send the descriptor of a segment with this payload. Returns what its record carries; None if that cannot be now: call again."""
        if self.announced is not None:
            return self.announced
        try:
            if self.memfd < 0:
                self.memfd = _filled(payload)
            socket.send_fds(self.direct, [_NUMBER.pack(self.number)], [self.memfd])
        except OSError as error:  # or the other node has ended, of which who watches it hears
            self.is_blocked, self.is_starved = True, not isinstance(error, BlockingIOError)
            return None
        self.is_blocked = False
        self.close()
        self.announced = _PLACE.pack(self.number, len(payload), crc32c(payload))
        self.number += 1
        return self.announced

    def close(self) -> None:
        """Let go of what was not sent."""
        if self.memfd >= 0:
            os.close(self.memfd)
            self.memfd = -1


def _filled(payload: bytes) -> int:
    memfd = os.memfd_create("beamlike-segment", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(payload)
        while rest:
            rest = rest[os.write(memfd, rest) :]
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(memfd)
        raise
    return memfd


class Receiving:
    """The segments that come to one end."""

    def __init__(self, direct: socket.socket) -> None:
        self.direct = direct
        self.came: deque[int] = deque()  # descriptors
        self.number = 0  # of the first of them, or of the next to come
        self.is_over = False  # the other end is closed
        self.room = trio.Event()  # set when there is room in `came`, and then replaced

    def fetch(self, place: bytes) -> bytes:
        """The payload that a record speaks of. BrokenRingError if it is not what it should be."""
        if len(place) != _PLACE.size:
            raise BrokenRingError(f"a record with {len(place)} bytes does not say where its segment is")
        number, length, crc = _PLACE.unpack(place)
        if not self.came:
            self.receive()
        if number != self.number or not self.came:
            raise BrokenRingError(f"segment {number} was not sent before its record: {len(self.came)} from {self.number} on were")
        if len(self.came) == MOST_HELD:
            self._tell_room()
        memfd = self.came.popleft()
        self.number += 1
        try:
            if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & SEALS != SEALS or os.fstat(memfd).st_size != length:
                raise BrokenRingError(f"segment {number} is not sealed, or not of {length} bytes")
            payload = os.pread(memfd, length, 0)
            while len(payload) < length:  # one call reads 2 GiB
                payload += os.pread(memfd, length - len(payload), len(payload))
        except OSError as error:
            raise UnusableError(f"segment {number} cannot be read: {error.strerror}") from error
        finally:
            os.close(memfd)
        if crc32c(payload) != crc:
            raise BrokenRingError(f"segment {number} has a wrong checksum: memory changed behind our back")
        return payload

    def receive(self) -> None:
        """Take the descriptors that have come, as far as there is room. BrokenRingError if there is anything else."""
        while not self.is_over and len(self.came) < MOST_HELD:
            try:
                data, fds, is_whole = receive_fds(self.direct, _NUMBER.size, 1)
            except BlockingIOError:
                return
            except OSError:  # its other end is closed, with something unread
                data = b""
            if not data:
                self.is_over = True
            elif data != _NUMBER.pack(self.number + len(self.came)) or (is_whole and len(fds) != 1):
                close_all(fds)
                raise BrokenRingError(f"{data!r} with {len(fds)} descriptors is not segment {self.number + len(self.came)}")
            elif not is_whole:
                raise UnusableError("the descriptor of a segment was lost: this OS process may open no more (ulimit -n)")
            else:
                self.came += fds

    async def until_room(self) -> None:
        """Wait until `receive` would take one more, or this is closed."""
        if len(self.came) >= MOST_HELD:
            await self.room.wait()

    def _tell_room(self) -> None:
        self.room.set()
        self.room = trio.Event()

    def close(self) -> None:
        """Let go of what was not fetched."""
        close_all(self.came)
        self.came.clear()
        self._tell_room()
