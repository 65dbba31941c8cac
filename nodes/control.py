"""The control channel: packets between the owner and the forge, and between the owner and each node.

A packet is one msgpack array, of which the first item is its kind, with descriptors by SCM_RIGHTS; a SEQPACKET socket keeps packets whole
and in order. Nothing here waits: it serves a poll loop and trio alike.

owner → forge
    fork, name, incarnation, core, settings     + the node's end of its channel, its page
forge → owner
    ready                                       it has imported what nodes need
    error, text                                 it cannot
    forked, name, incarnation, pid              + pidfd
    fork_failed, name, incarnation, text
owner → node
    up, name, incarnation, core, pid            + pidfd, page. About itself, as the first packet; about each other life once that is ready
    down, name, incarnation, reason             a life has ended
    relay, from_name, from_incarnation, *body   + descriptors. From another node
    interrupt, at_once                          Ctrl-C or SIGTERM came; to the node of main
    stop                                        end in order: the run is over
node → owner
    ready                                       it may be announced
    relay, to_name, to_incarnation, *body       + descriptors. Dropped if that life is not there
    start, name                                 unless that is alive or being started
    kill, name, incarnation, reason             by SIGKILL; `down` will carry this reason
    result, packed                              main has ended
    error, text                                 the node could not start, or its body raised
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgpack

LONGEST = 1 << 16  # bytes of a packet
LONGEST_RELAYED = LONGEST + 1024  # the owner puts the sender's name, of at most 255 bytes, where the receiver's was
MOST_DESCRIPTORS = 16  # of a packet
Packet = tuple[tuple[Any, ...], list[int]]  # the items, of which the first is a str; the descriptors, which are the receiver's to close

_ANCILLARY = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
# Too many descriptors are in flight from this user, or the kernel is short of memory: as with a full socket, readers make room.
_NO_ROOM = (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


class ChannelClosed(Exception):  # noqa: N818 - it says what happened, as trio's do
    """The other end is closed, and everything that it had sent is received."""


class PacketError(ValueError):
    """A packet that was received is not one of ours, or has lost descriptors because this OS process may open no more."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel to be."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """One end. What the kernel does not take at once waits here, in order, with duplicates of its descriptors."""

    def __init__(self, end: socket.socket, longest: int = LONGEST) -> None:
        end.setblocking(False)
        self._socket = end
        self._longest = longest
        self._waiting: deque[tuple[bytes, list[int]]] = deque()

    def fileno(self) -> int:
        """-1 once it is closed."""
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether packets wait: call `flush` when the socket is writable."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many packets wait."""
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        return self._socket.fileno() < 0

    def send(self, kind: str, *items: Any, fds: Sequence[int] = ()) -> None:
        """Send a packet, or keep it until there is room. It goes nowhere if the other end is closed: `receive` says so.

        Args:
            items: plain values: None, bool, int, float, str, bytes, and tuples, lists and dicts of them.
            fds: stay the caller's, who may close them when this returns.

        Raises: TypeError for an item that is no plain value; ValueError for too long a packet or too many descriptors; OSError if
            descriptors could not be kept because this OS process may open no more.
        """
        packet = msgpack.packb((kind, *items))
        if len(packet) > self._longest:
            raise ValueError(f"a control packet has at most {self._longest} bytes, not {len(packet)}: {kind!r} needs a segment of its own")
        if len(fds) > MOST_DESCRIPTORS:
            raise ValueError(f"a control packet carries at most {MOST_DESCRIPTORS} descriptors, not {len(fds)}: {kind!r}")
        if self._waiting or not self._is_sent(packet, fds):
            self._waiting.append((packet, _duplicates(fds)))

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting and self._is_sent(*self._waiting[0]):
            close_all(self._waiting.popleft()[1])

    def receive(self) -> Packet | None:
        """The next packet; None if there is none now. Its arrays are tuples.

        Raises: ChannelClosed; PacketError.
        """
        fds = array.array("i")
        try:
            packet, ancillary, flags, _ = self._socket.recvmsg(LONGEST_RELAYED, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            # It was closed with packets of ours unread. The kernel says that once, before the packets that came from there.
            return self.receive()
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if not packet:
            close_all(fds)
            raise ChannelClosed
        try:
            if flags & socket.MSG_CTRUNC:
                raise PacketError("descriptors of a control packet were lost: this OS process may open no more (ulimit -n)")
            return _unpacked(packet), list(fds)
        except PacketError:
            close_all(fds)
            raise

    def close(self) -> None:
        """Close this end, and forget what waits. Closing twice does nothing."""
        self._socket.close()
        while self._waiting:
            close_all(self._waiting.popleft()[1])

    def _is_sent(self, packet: bytes, fds: Sequence[int]) -> bool:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([packet], ancillary, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            if error.errno not in _GONE:
                raise
        return True


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def _duplicates(fds: Sequence[int]) -> list[int]:
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))
    except OSError:
        close_all(made)
        raise
    return made


def _unpacked(packet: bytes) -> tuple[Any, ...]:
    try:
        items = msgpack.unpackb(packet, use_list=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise PacketError(f"a control packet is no msgpack: {error}") from error
    match items:
        case (str(), *_):
            return items  # type: ignore[no-any-return]
    raise PacketError(f"a control packet is an array that starts with its kind, not {items!r:.100}")
