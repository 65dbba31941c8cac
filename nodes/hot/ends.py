# cython: annotation_typing=False
# (C types are in ends.pxd; the annotations are for checkers.)
"""The two ends of a mailbox: `Outlet` for what this node writes, `Inlet` for what it reads; and `Looks` at all that it reads.

A message to a live process takes the shortest way, from the ring into the process's mailbox; every other record is handed to who knows
what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamlike.seam import ELSEWHERE, left
from nodes.rings import BrokenRingError, PairEnd, ReaderSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from beamlike.seam import nocython as cython
    from nodes.hot.peer import Peer
else:
    try:
        import cython
    except ImportError:
        from beamlike.seam import nocython as cython

if not cython.compiled:
    from beamlike.seam import answer, deliver, has_runnable, unpack_quickly
    from nodes.hot.portable import (
        BL_EAGAIN,
        bl_read,
        bl_room_wanted,
        bl_set_poll,
        bl_write,
        bytes_at,
        from_of,
        make_bytes,
        may_extend,
        new_room,
        payload_in,
        reader_at,
        record_in,
        ring_bell,
        seconds_now,
        set_at,
        writer_at,
    )

POLL = 0.0002  # seconds: a few times what it costs to be woken
SPINS = 200  # looks between two at the clock
BATCH = 256  # records of a node's mailbox before the others have their turn
SEND, CALL, REPLY = 1, 3, 5  # nodes.kinds.Kind
LARGEST = 64 * 1024  # bytes of a payload: larger ones have a segment
_left = left


def may_hold_pid(payload: bytes) -> bool:
    """Whether a packed message may hold a pid, or anything else that msgpack has no word for."""
    return may_extend(bytes_at(payload), len(payload))


@cython.final
@cython.cclass
class Outlet:
    """The writing end.

    Args:
        bell: the reader's.
        write_large: called as `write` for what does not fit into one record.
        broke: called with what a function of ring.h answered that is an error.
    """

    def __init__(
        self, end: PairEnd, bell: int, write_large: Callable[[int, int, int, int, bytes], bool], broke: Callable[[int], None]
    ) -> None:
        self.end = end  # which keeps the memory
        self.bell = bell
        self.largest = end.largest
        self.write_large = write_large
        self.broke = broke
        self.writer = writer_at(end.writer_address)

    def write(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        """Commit a record. False: there is no room now; to be called again with the same before any other."""
        if len(payload) > self.largest:
            return self.write_large(kind, to, from_, ref, payload)
        outcome = bl_write(self.writer, kind, 0, to, from_, ref, bytes_at(payload), len(payload))
        if outcome == 0:
            return True
        if outcome == 1:
            ring_bell(self.bell)
            return True
        if outcome != -BL_EAGAIN:
            self.broke(outcome)
        return False


@cython.final
@cython.cclass
class Inlet:
    """The reading end.

    Args:
        bell: the writer's.
        peer: the writer; None: a stranger, see `take_handed`.
        arrived: called with (kind, flags, to, from, ref, payload) of what is more than a message to a live process.
        broke: called with the BrokenRingError that it raises or that reading does.
        batch: records that are taken before the others have their turn.
        largest: bytes of a payload, at most.
    """

    def __init__(
        self,
        end: PairEnd,
        bell: int,
        peer: Peer | None,
        arrived: Callable[[int, int, int, int, int, bytes], None],
        broke: Callable[[BrokenRingError], None],
        batch: int = BATCH,
        largest: int = LARGEST,
    ) -> None:
        self.batch = batch
        self.largest = largest
        self.end = end  # which keeps the memory
        self.bell = bell
        self.peer: Any = peer
        self.arrived = arrived
        self.broke = broke
        self.reader = reader_at(end.reader_address)
        self.room = new_room(largest)  # not touched before it is used
        self.record = record_in(self.room)
        self.payload = payload_in(self.room)
        self.handed: dict[int, Any] = {}  # of a stranger: the pids that it may write to, by their numbers
        self.calls: dict[int, Any] = {}  # to a stranger, by their numbers: the Caller of each
        self.process: Any = None  # that stands for it here
        self.free: Any = None  # its layers, as long as they exclude nobody from what it sends
        self.quota = 0  # messages that go the shorter way,
        self.longest = 0  # and bytes of such a one
        self.is_held = False  # said while a record was acted upon: no more is to be read now

    def take(self) -> bool:
        """Act upon at most `batch` records. False: there are no more, or never will be."""
        try:
            return self.take_batch()
        except BrokenRingError as fault:
            self.broke(fault)
            return False

    def take_batch(self) -> bool:
        for _ in range(self.batch):
            length = bl_read(self.reader, self.record, self.payload, self.largest)
            if length < 0:
                if length != -BL_EAGAIN:
                    self.end.refuse(length)
                if bl_room_wanted(self.reader) == 1:
                    ring_bell(self.bell)
                return False
            payload = make_bytes(self.payload, length)
            if self.record.flags == 0 and (self.take_handed(payload) if self.peer is None else self.take_quickly(payload)):
                continue
            is_large = self.record.flags != 0
            self.arrived(self.record.kind, self.record.flags, self.record.to, from_of(self.record), self.record.ref, payload)
            if (
                is_large or self.is_held
            ):  # whom it is for has a turn before the next comes: so its memory is used again, and not as much at a time
                return True
        return True

    def take_handed(self, payload: bytes) -> bool:
        """Act upon the record of a stranger if it is one of the commonest: a message without extensions to a live process that it was
        given, or such an answer."""
        if self.record.kind == REPLY:
            return self.take_answer(payload)
        if self.record.kind != SEND or self.quota <= 0 or self.process.layers is not self.free:
            return False
        pid = self.handed.get(self.record.to)
        if pid is None or pid.process is None or len(payload) > self.longest or may_extend(bytes_at(payload), len(payload)):
            return False
        value = unpack_quickly(payload)
        if value is ELSEWHERE:
            return False
        self.quota -= 1
        deliver(pid.process, value)
        return True

    def take_answer(self, payload: bytes) -> bool:
        caller = self.calls.get(self.record.ref)
        if caller is None or caller.pid.process is None or self.quota <= 0:
            return False
        if len(payload) > self.longest or may_extend(bytes_at(payload), len(payload)):
            return False
        value = unpack_quickly(payload)
        if value is ELSEWHERE:
            return False
        self.quota -= 1
        del self.calls[self.record.ref]
        answer(caller.pid.process, caller.ref, value)
        return True

    def take_quickly(self, payload: bytes) -> bool:
        """Act upon the record if it is one of the commonest: of a kind, for a live process, made of what the codec has."""
        kind = self.record.kind
        if (kind != SEND and kind != CALL and kind != REPLY) or (from_of(self.record) | self.record.ref) >> 63:  # no serial of ours
            return False
        pid = _left.get(self.record.to)
        if pid is None:
            return bool(kind == SEND)  # M2
        value = unpack_quickly(payload)
        if value is ELSEWHERE:
            return False
        if kind == SEND:
            deliver(pid.process, value)
        elif kind == CALL:
            self.peer.call_came(pid.process, from_of(self.record), self.record.ref, value)
        else:
            if from_of(self.record):
                self.peer.stop_watching(self.record.ref)
            self.peer.reply_came(pid.process, self.record.ref, value)
        return True


@cython.final
@cython.cclass
class Looks:
    """Looks at all that this node reads.

    Args:
        polls: whether to look for a while before this node sleeps, because it is alone on its core.
        flush: called after records were taken, and in each slice, if `waiting` is not empty: to send what waits for room.
    """

    def __init__(self, readers: ReaderSet, polls: bool, waiting: set[Any], flush: Callable[[], None]) -> None:
        self.readers = readers  # which keeps the memory
        self.set = set_at(readers.address)
        self.inlets: dict[int, Inlet] = {}  # by their places in the set
        self.polls = polls
        self.waiting = waiting
        self.flush = flush
        self.last = 0.0  # when something came

    def drain(self) -> None:
        """Act upon what has come, and send what waited for room."""
        for _ in range(len(self.inlets)):
            place = bl_set_poll(self.set, 0)
            if place < 0:
                break
            self.last = seconds_now()
            inlet: Inlet = self.inlets[place]
            inlet.take()
        if self.waiting:
            self.flush()

    def fetch(self, end: float) -> bool:
        """Drain until a process can run (True); or until `end` on the machine's clock, or POLL seconds after something came."""
        while True:
            if self.polls:
                until = min(end, self.last + POLL)
                while bl_set_poll(self.set, SPINS) < 0:
                    if seconds_now() >= until:
                        return False
            elif bl_set_poll(self.set, 0) < 0 or seconds_now() >= end:
                return False
            self.drain()
            if has_runnable():
                return True
            if seconds_now() >= end:  # whatever comes
                return False
