"""The mailboxes of this node: one for each other node it is in contact with, the doorbell, and when to poll and when to sleep.

Theory of operation. At first contact one of two nodes makes a pair of rings and a direct socket, and offers them through the owner, with
its doorbell and a number; the other maps the rings and answers on the socket with its own. If both offer at once, the offer of the elder
counts, and the younger says in its answer which one it took back, for that may still be on its way. An offer whose socket ends without an
answer was not taken: it is made again, if records wait. The socket then carries the descriptors of segments; its end is that of the
mailbox.

When they are read, and when this node sleeps, is `nodes.intake`.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import trio

from beamlike.seam import Node, NodeId, error_reason, format_reason, let_go_on, life, log
from nodes.arrivals import ARRIVALS
from nodes.control import Channel, close_all, receive_fds
from nodes.hot.ends import Inlet, Outlet
from nodes.hot.peer import MOST_BACKLOG, Peer, Way
from nodes.intake import Intake
from nodes.rings import BrokenRingError, PairEnd, UnusableError, Written, attach, create
from nodes.segments import LARGE, SEGMENT, Receiving, Sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodes.router import Router

ANSWER: Final = struct.Struct("<Q")  # to an offer that is taken: the number of one that was taken back for it, 0: none
RETRY = 0.1  # seconds before what nobody says when to try is tried again: an offer that was not taken, or could not be made
DIRECT_BUFFER = 16384  # bytes that may wait in a direct socket, some forty descriptors: so many segments are held if nobody fetches them

logger = logging.getLogger("beamlike.nodes")


class Mailbox:
    """The end of a pair of rings here, to one other life. Its `outlet` is the `peer.Way`."""

    def __init__(self, end: PairEnd, direct: socket.socket, bell: int) -> None:
        self.end = end
        self.outlet = Outlet(end, bell, self._write_large, self._broke)
        self.direct = direct
        self.bell = bell  # of the other node
        self.offset = 0  # of a message of several records that is begun
        self.sending = Sending(direct)
        self.receiving = Receiving(direct)
        self.inlet: Inlet
        self.place: int  # among what this node reads
        self.fault: BrokenRingError | None = None  # found in a write, and acted upon by the loop: nobody who sends is to blame
        self.is_waited_for = False  # a task waits until the direct socket takes more descriptors

    def _broke(self, outcome: int) -> None:
        try:
            self.end.refuse(outcome)
        except BrokenRingError as fault:
            self.fault = fault

    def _write_large(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        """See `Outlet.write`."""
        try:
            return self.fault is None and self._write(kind, to, from_, ref, payload)
        except BrokenRingError as fault:
            self.fault = fault
            return False

    def _write(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        flags = 0
        if len(payload) >= LARGE:
            announced = self.sending.announce(payload)
            if announced is None:
                return False
            flags, payload = SEGMENT, announced
        if len(payload) <= self.end.largest:
            written = self.end.write(kind, to, from_, ref, payload, flags)
        else:
            written, self.offset = self.end.write_part(kind, to, from_, ref, payload, self.offset)
            if self.offset < len(payload):
                if written is Written.RING_BELL:
                    self.ring()
                return False
            self.offset = 0
        if written is Written.FULL:
            return False
        self.sending.announced = None
        if written is Written.RING_BELL:
            self.ring()
        return True

    def ring(self) -> None:
        """Wake the other node."""
        with suppress(BlockingIOError):  # it was rung 2**64 - 2 times: it will wake
            os.eventfd_write(self.bell, 1)

    def close(self) -> None:
        """Let go of everything."""
        self.end.close()
        self.direct.close()
        os.close(self.bell)
        self.sending.close()
        self.receiving.close()


class Offer:
    """An offer of this node that is not answered."""

    def __init__(self, number: int, end: PairEnd, direct: socket.socket) -> None:
        self.number = number
        self.end = end
        self.direct = direct


class Mailboxes(Intake):
    """See the module. `router` is set before anything comes."""

    router: Router

    def __init__(self, node: Node, channel: Channel, *, polls: bool) -> None:
        self.waiting: set[Peer] = set()  # their records wait for room, or for an answer to our offer
        super().__init__(polls=polls, waiting=self.waiting, flush=self._flush_all)
        self.node = node
        self.channel = channel
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.open: dict[NodeId, Mailbox] = {}
        self.offers: dict[NodeId, Offer] = {}
        self.numbers = count(1)  # of offers
        self.taken_back: dict[str, tuple[int, int]] = {}  # incarnation and number of the last offer that each took back
        self.put_off: set[NodeId] = set()  # an offer to them is made in a moment
        self.way: Callable[[Peer, Mailbox], Way] = lambda peer, box: box.outlet  # replaced by who puts faults in between

    # --- contact ---

    def reach(self, peer: Peer) -> None:
        """Records wait for this peer."""
        self.waiting.add(peer)
        if self._needs_offer(peer):
            try:
                self._offer(peer.id)
            except OSError as error:  # no descriptor is left, or no memory
                log(logger, logging.WARNING, "%s cannot be reached now: %s", peer.id, error)
                self._put_off(peer.id)
        self.node.wake()  # a process in trio mode may have sent while the node slept: then it says in the ring that it waits for room

    def _needs_offer(self, peer: Peer) -> bool:
        is_up = self.router.members.get(peer.id.name) == peer.id
        return is_up and peer.way is None and peer.id not in self.offers and peer.id not in self.put_off

    def _offer(self, id: NodeId) -> None:
        with ExitStack() as sent, ExitStack() as kept:
            memfd, end = create()
            sent.callback(os.close, memfd)
            kept.callback(end.close)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sent.callback(theirs.close)
            kept.callback(ours.close)
            for each in (ours, theirs):
                each.setblocking(False)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DIRECT_BUFFER)
            offer = Offer(next(self.numbers), end, ours)
            fds = [memfd, self.bell, theirs.fileno()]
            self.channel.send("relay", id.name, id.incarnation, "mailbox", offer.number, fds=fds)
            kept.pop_all()
        self.offers[id] = offer
        trio.lowlevel.spawn_system_task(self._await_answer, id, offer)

    def _put_off(self, id: NodeId) -> None:
        """Make another offer later, if records wait."""
        if id not in self.put_off:
            self.put_off.add(id)
            trio.lowlevel.spawn_system_task(self._offer_later, id)

    async def _offer_later(self, id: NodeId) -> None:
        await trio.sleep(RETRY)
        self.put_off.discard(id)
        peer = self.router.peers.get(id)
        if peer is not None and peer.backlog:
            self.reach(peer)

    async def _await_answer(self, id: NodeId, offer: Offer) -> None:
        """A system task: the first packet of the direct socket of an offer of ours brings their doorbell."""
        while not self._is_answered(id, offer):
            try:
                await trio.lowlevel.wait_readable(offer.direct)
            except trio.ClosedResourceError:
                return

    def _is_answered(self, id: NodeId, offer: Offer) -> bool:
        """Act upon the answer to an offer of ours. False if it has not come."""
        if self.offers.get(id) is not offer:
            return True
        try:
            answer, fds, _ = receive_fds(offer.direct, ANSWER.size, 1)
        except BlockingIOError:
            return False
        except OSError:  # its other end is closed, with something unread
            answer, fds = b"", []
        if len(answer) != ANSWER.size or len(fds) != 1:  # it was not taken, or no descriptor is left for their doorbell
            close_all(fds)
            self._take_back(id)
            self._put_off(id)
            return True
        (taken_back,) = ANSWER.unpack(answer)
        if taken_back:
            self.taken_back[id.name] = id.incarnation, taken_back
        del self.offers[id]
        self._opened(id, Mailbox(offer.end, offer.direct, fds[0]))
        return True

    def offered(self, name: str, incarnation: int, number: int, fds: list[int]) -> None:
        """Another node offers a mailbox."""
        id_ = life(name, incarnation)
        memfd, bell, direct = fds
        mine = self.offers.get(id_)
        is_stale = (incarnation, number) <= self.taken_back.get(name, (0, 0))
        if is_stale or (mine is not None and self.node.id.incarnation < incarnation):
            close_all(fds)
            return
        self.cut(id_)  # if there is a mailbox to it, it does not use that any more
        if mine is not None:
            self._take_back(id_)
        try:
            end = attach(memfd)
        except (OSError, ValueError) as error:
            log(logger, logging.ERROR, "a mailbox that %s offers cannot be used: %s", id_, error)
            close_all(fds)
            return
        os.close(memfd)
        box = Mailbox(end, socket.socket(fileno=direct), bell)
        try:
            socket.send_fds(box.direct, [ANSWER.pack(0 if mine is None else mine.number)], [self.bell])
        except OSError:  # who offered has ended
            box.close()
        else:
            self._opened(id_, box)

    def _take_back(self, id: NodeId) -> None:
        offer = self.offers.pop(id, None)
        if offer is not None:
            offer.end.close()
            trio.lowlevel.notify_closing(offer.direct)
            offer.direct.close()

    def _opened(self, id: NodeId, box: Mailbox) -> None:
        peer = self.router.peer(id)
        if peer is None:  # it is lost
            box.close()
            return
        self.open[id] = box
        box.inlet = Inlet(box.end, box.bell, peer, partial(self._arrived, id, box), partial(self._broke, id, box))
        box.place = self.read(box.end, box.inlet)
        peer.way = self.way(peer, box)
        trio.lowlevel.spawn_system_task(self._listen, id, box)
        self._flush(peer)
        self.node.wake()

    async def _listen(self, id: NodeId, box: Mailbox) -> None:
        """A system task: descriptors of segments come; the end of the socket is that of the mailbox."""
        while self.open.get(id) is box:
            try:
                await trio.lowlevel.wait_readable(box.direct)
            except trio.ClosedResourceError:
                return
            try:
                box.receiving.receive()
            except BrokenRingError as fault:
                self._broke(id, box, fault)
            if box.receiving.is_over and self.open.get(id) is box:
                self.cut(id)
            await box.receiving.until_room()

    def _broke(self, id: NodeId, box: Mailbox, fault: BrokenRingError) -> None:
        """The mailbox cannot be used any more: that costs this connection and nothing else. If memory may be to blame, it counts as a fault
        of what the other node wrote and this one read: see `serd`."""
        if self.open.get(id) is not box:
            return
        if not isinstance(fault, UnusableError):
            self.channel.send("fault", id.name, id.incarnation)
        log(logger, logging.ERROR, "the connection to %s is lost: %s", id, fault)
        self._forget(id, box)
        self.router.cut(id)

    def cut(self, id: NodeId) -> None:
        """The other node does not use this mailbox any more."""
        if id in self.open:
            self.close(id)
            self.router.cut(id)

    def close(self, id: NodeId) -> None:
        """Take all that this life has committed (M4), then let go of the mailbox."""
        offer = self.offers.get(id)
        if offer is not None and not self._is_answered(id, offer):
            self._take_back(id)
        box = self.open.get(id)
        while box is not None and box.inlet.take():
            pass
        if box is not None and self.open.get(id) is box:  # it may have been found broken
            self._forget(id, box)

    def _forget(self, id: NodeId, box: Mailbox) -> None:
        del self.open[id]
        if id.peer is not None:
            id.peer.way = None
            self.waiting.discard(id.peer)
        self.read_no_longer(box.place)
        trio.lowlevel.notify_closing(box.direct)
        box.close()

    # --- the loop ---

    def _arrived(self, id: NodeId, box: Mailbox, kind: int, flags: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        """A record that is more than a message to a live process."""
        peer = self.router.peer(id)
        act = ARRIVALS.get(kind)
        if act is None:
            raise BrokenRingError(f"a record of the kind {kind}, which there is not")
        if flags & SEGMENT:
            payload = box.receiving.fetch(payload)
        if peer is None:
            return
        try:
            act(self.node.id, peer, to, from_, ref, payload)
        except Exception as error:
            raise UnusableError(f"a record of the kind {kind} cannot be acted upon: {format_reason(error_reason(error))}") from error

    def _flush_all(self) -> None:
        for peer in list(self.waiting):
            self._flush(peer)

    def _flush(self, peer: Peer) -> None:
        is_over = peer.is_lost or peer.flush()
        if peer.backlog_bytes < MOST_BACKLOG // 2:
            let_go_on()
        if is_over:
            self.waiting.discard(peer)
            return
        box = self.open.get(peer.id)
        if box is not None and box.fault is not None:
            self._broke(peer.id, box, box.fault)

    def is_room(self) -> bool:
        return any(self._is_room(peer) for peer in self.waiting)

    def ring_for_room(self) -> bool:
        for id_, box in self.open.items():
            try:
                if box.end.room_wanted():
                    box.ring()
            except BrokenRingError as fault:
                self._broke(id_, box, fault)
                return False
        return super().ring_for_room()

    def _is_room(self, peer: Peer) -> bool:
        box = self.open.get(peer.id)
        if box is None or peer.is_held_up:
            return False
        if box.sending.is_blocked:
            if not box.is_waited_for:
                box.is_waited_for = True
                trio.lowlevel.spawn_system_task(self._await_direct, box)
            return False
        try:
            return box.fault is not None or box.end.await_room()
        except BrokenRingError as fault:
            box.fault = fault
            return True

    async def _await_direct(self, box: Mailbox) -> None:
        """A system task: until the direct socket takes more."""
        try:
            if box.sending.is_starved:
                await trio.sleep(RETRY)
            elif box.direct.fileno() >= 0:
                await trio.lowlevel.wait_writable(box.direct)
        except trio.ClosedResourceError:
            return
        box.is_waited_for = box.sending.is_blocked = False
        self.node.wake()

    async def answer_bell(self) -> None:
        """A system task: wake the node when its bell is rung."""
        while True:
            await trio.lowlevel.wait_readable(self.bell)
            try:
                os.eventfd_read(self.bell)
            except BlockingIOError:
                continue
            self.node.wake()
