"""Large payloads: each in a sealed memfd of its own, whose descriptor goes by the direct socket before its record is published.

So the receiver finds it there, and parses what nobody can change any more; the ring carries where to look: number, length, CRC32C.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from typing import Final

from nodes.rings import BrokenRingError, crc32c

LARGE: Final = 64 * 1024  # bytes
SEGMENT: Final = 0x02  # flag of a record: its payload says where the payload is
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
        self.is_blocked = False  # the socket took none

    def announce(self, payload: bytes) -> bytes | None:
        """Send the descriptor of a segment with this payload. Returns what its record carries; None if the socket is full: call again."""
        if self.announced is not None:
            return self.announced
        if self.memfd < 0:
            self.memfd = _filled(payload)
        try:
            socket.send_fds(self.direct, [_NUMBER.pack(self.number)], [self.memfd])
        except OSError:  # full; or the other node has ended, of which who watches it hears
            self.is_blocked = True
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
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(memfd, rest) :]
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS)
    return memfd


class Receiving:
    """The segments that come to one end."""

    def __init__(self, direct: socket.socket) -> None:
        self.direct = direct
        self.came: dict[int, int] = {}  # number: descriptor
        self.is_over = False  # the other end is closed

    def fetch(self, place: bytes) -> bytes:
        """The payload that a record speaks of. BrokenRingError if it is not what it should be."""
        if len(place) != _PLACE.size:
            raise BrokenRingError(f"a record with {len(place)} bytes does not say where its segment is")
        number, length, crc = _PLACE.unpack(place)
        if number not in self.came:
            self.receive()
        memfd = self.came.pop(number, None)
        if memfd is None:
            raise BrokenRingError(f"segment {number} was not sent before its record")
        try:
            if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & SEALS != SEALS or os.fstat(memfd).st_size != length:
                raise BrokenRingError(f"segment {number} is not sealed, or not of {length} bytes")
            with mmap.mmap(memfd, length, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ) as memory:
                payload = memory[:]
        finally:
            os.close(memfd)
        if crc32c(payload) != crc:
            raise BrokenRingError(f"segment {number} has a wrong checksum: memory changed behind our back")
        return payload

    def receive(self) -> None:
        """Take the descriptors that have come. BrokenRingError if there is anything else."""
        while not self.is_over:
            try:
                data, fds, _, _ = socket.recv_fds(self.direct, _NUMBER.size, 1)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.is_over = True
            elif len(data) != _NUMBER.size or len(fds) != 1:
                raise BrokenRingError(f"{len(data)} bytes with {len(fds)} descriptors are no segment")
            else:
                self.came[_NUMBER.unpack(data)[0]] = fds[0]

    def close(self) -> None:
        """Let go of what was not fetched."""
        for fd in self.came.values():
            os.close(fd)
        self.came.clear()
