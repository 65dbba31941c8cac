"""The control channel: packets between the owner and the forge, and between the owner and each node.

A packet is one msgpack array, of which the first item is its kind, with descriptors by SCM_RIGHTS; a SEQPACKET socket keeps packets whole
and in order. One that is longer than LONGEST goes in a memfd, whose descriptor is the first of a packet IN_MEMORY. Nothing here waits: it
serves a poll loop and trio alike.

owner → forge
    fork, name, incarnation, core, settings     + the node's end of its channel, and what else it is given
forge → owner
    ready                                       it has imported what nodes need
    error, text                                 it cannot
    forked, name, incarnation, pid              + pidfd
    fork_failed, name, incarnation, text
owner → node
    up, name, incarnation, pid, started, restarts
                                                + pidfd, page. About itself, as the first packet; about each other life once that is ready.
                                                Since when (Unix time), and how many lives of that name have ended before
    down, name, incarnation, reason             a life has ended
    fault, time, writer, its incarnation, reader, its incarnation
                                                a mailbox was found broken (monotonic clock). The last `serd.MOST` also to who becomes ready
    retired, name, core, reason                 it will not be started again, and where it was. Also to who becomes ready
    moved, name                                 it is on another core, or will be: what was found of it before does not count any more
    relay, from_name, from_incarnation, *body   + descriptors. From another node
    interrupt, at_once                          Ctrl-C or SIGTERM came; to the node of main
    attach                                      + a connection of a program that looks into the system: answer what comes over it
    stop                                        end in order: the run is over
node → owner
    ready                                       it may be announced
    relay, to_name, to_incarnation, *body       + descriptors. Dropped if that life is not there
    start, name                                 unless that is alive or being started
    kill, name, incarnation, reason             by SIGKILL; `down` will carry this reason
    fault, name, incarnation                    memory that this life wrote for the sender was found changed: their mailbox is lost
    retire, name, reason                        kill it, whatever life that is, and do not start it again; `down` says ("retired", reason)
    rehome, name, incarnation, core, reason     kill it, and start the next one on this core; `down` says ("rehomed", reason)
    moved, core                                 the sender runs there now, and its next life is to start there
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

LONGEST = 1 << 16  # bytes of a packet in the socket
IN_MEMORY = "in memory"  # kind
MOST_DESCRIPTORS = 16  # of a packet, its own included
Packet = tuple[tuple[Any, ...], list[int]]  # the items, of which the first is a str; the descriptors, which are the receiver's to close

# Too many descriptors are in flight from this user, or the kernel is short of memory: as with a full socket, readers make room.
_NO_ROOM = (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


class ChannelClosed(Exception):  # noqa: N818 - it says what happened, as trio's do
    """The other end is closed, and everything that it had sent is received."""


class PacketError(ValueError):
    """A packet that was received is not one of ours."""


class LostDescriptorsError(PacketError):
    """A packet that was received has lost its descriptors, for this OS process may open no more. `items`: the rest of it."""

    def __init__(self, items: tuple[Any, ...]) -> None:
        super().__init__("descriptors of a control packet were lost: this OS process may open no more (ulimit -n)")
        self.items = items


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel to be."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """One end. What the kernel does not take at once waits here, in order, with duplicates of its descriptors."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
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

        Raises: TypeError for an item that is no plain value; ValueError for too many descriptors; OSError if this OS process may open no
            more, for descriptors that are to be kept or a memfd, or if there is no memory for that.
        """
        packet = msgpack.packb((kind, *items))
        if len(packet) > LONGEST:
            with os.fdopen(os.memfd_create("beamlike-packet"), "wb") as file:
                file.write(packet)
                file.flush()
                self.send(IN_MEMORY, fds=[file.fileno(), *fds])
            return
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

        Raises: ChannelClosed; PacketError; LostDescriptorsError.
        """
        try:
            packet, fds, is_whole = receive_fds(self._socket, LONGEST, MOST_DESCRIPTORS)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            # It was closed with packets of ours unread. The kernel says that once, before the packets that came from there.
            return self.receive()
        if not packet:
            close_all(fds)
            raise ChannelClosed
        try:
            items = _unpacked(packet)
            if not is_whole:
                raise LostDescriptorsError(items)
            if items == (IN_MEMORY,) and fds:
                items = _unpacked(_content(fds[0]))
                os.close(fds.pop(0))
            return items, fds
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


def receive_fds(end: socket.socket, length: int, most: int) -> tuple[bytes, list[int], bool]:
    """A packet of at most `length` bytes, empty if the other end is closed; its descriptors, at most `most`, which programs do not inherit;
    and whether they are all. Not as `socket.recv_fds`, which knows neither. Raises what recvmsg does."""
    fds = array.array("i")
    packet, ancillary, flags, _ = end.recvmsg(length, socket.CMSG_SPACE(most * fds.itemsize), socket.MSG_CMSG_CLOEXEC)
    for _, _, data in ancillary:
        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return packet, list(fds), not flags & socket.MSG_CTRUNC


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


def _content(memfd: int) -> bytes:
    try:
        return os.pread(memfd, os.fstat(memfd).st_size, 0)
    except (OSError, MemoryError) as error:
        raise PacketError(f"a control packet is in no memory that can be read: {error}") from error


def _unpacked(packet: bytes) -> tuple[Any, ...]:
    try:
        items = msgpack.unpackb(packet, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:  # TypeError: a map is the key of a map
        raise PacketError(f"a control packet is no msgpack: {error}") from error
    match items:
        case (str(), *_):
            return items  # type: ignore[no-any-return]
    raise PacketError(f"a control packet is an array that starts with its kind, not {items!r:.100}")
