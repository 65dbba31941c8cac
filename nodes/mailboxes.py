"""The mailboxes of this node: one for each other node it is in contact with, the doorbell, and when to poll and when to sleep.

Theory of operation. At first contact one of two nodes makes a pair of rings and a direct socket, and offers them through the owner, with
its doorbell; the other maps the rings and answers on the socket with its own. If both offer at once, the offer of the elder counts, and
the younger says in its answer that it took one back, which may still be on its way. The socket then carries the descriptors of segments;
its end is that of the mailbox.

The loop drains all rings between slices. A node that has nothing to do looks at them for a while after the last record that came, if it is
alone on its core; then it says in each ring that it sleeps, and who writes rings its bell. A writer without room says so in the
ring too, and is rung for when there is some.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from beamlike.seam import Node, NodeId, life, log
from nodes.arrivals import ARRIVALS
from nodes.control import Channel
from nodes.hot.ends import Inlet, Looks, Outlet
from nodes.peer import Peer
from nodes.rings import BrokenRingError, PairEnd, ReaderSet, Written, attach, create
from nodes.segments import LARGE, SEGMENT, Receiving, Sending

if TYPE_CHECKING:
    from nodes.router import Router

TAKEN, TAKEN_AND_TAKEN_BACK = b"taken", b"taken and taken back"  # answers to an offer
DIRECT_BUFFER = 16384  # bytes that may wait in a direct socket, some forty descriptors: so many segments are held if nobody fetches them
MOST_NODES = 1024

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

    def __init__(self, end: PairEnd, direct: socket.socket) -> None:
        self.end = end
        self.direct = direct
        self.is_crossed = False  # the other's has come, and does not count


class Mailboxes:
    """See the module. `router` is set before anything comes."""

    router: Router

    def __init__(self, node: Node, channel: Channel, *, polls: bool) -> None:
        self.node = node
        self.channel = channel
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.open: dict[NodeId, Mailbox] = {}
        self.offers: dict[NodeId, Offer] = {}
        self.stale: set[NodeId] = set()  # who took back an offer that has not come yet
        self.waiting: set[Peer] = set()  # their records wait for room, or for an answer to our offer
        self.readers = ReaderSet(MOST_NODES)
        self.looks = Looks(self.readers, polls, self.waiting, self._flush_all)
        self.faults: dict[str, int] = {}  # mailboxes found broken, by the name of the other node

    # --- contact ---

    def reach(self, peer: Peer) -> None:
        """Records wait for this peer."""
        self.waiting.add(peer)
        if peer.way is None and peer.id not in self.offers and self.router.members.get(peer.id.name) == peer.id:
            self._offer(peer.id)

    def _offer(self, id: NodeId) -> None:
        memfd, end = create()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (ours, theirs):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DIRECT_BUFFER)
        self.offers[id] = Offer(end, ours)
        self.channel.send("relay", id.name, id.incarnation, "mailbox", fds=[memfd, self.bell, theirs.fileno()])
        os.close(memfd)
        theirs.close()
        trio.lowlevel.spawn_system_task(self._await_answer, id, ours)

    async def _await_answer(self, id: NodeId, direct: socket.socket) -> None:
        """A system task: the first packet of the direct socket of an offer of ours brings their doorbell."""
        while not self._answered(id, direct):
            try:
                await trio.lowlevel.wait_readable(direct)
            except trio.ClosedResourceError:
                return

    def _answered(self, id: NodeId, direct: socket.socket) -> bool:
        """Act upon the answer to an offer of ours. False if it has not come."""
        offer = self.offers.get(id)
        if offer is None or offer.direct is not direct:
            return True
        try:
            answer, fds, _, _ = socket.recv_fds(direct, len(TAKEN_AND_TAKEN_BACK), 4)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if len(fds) != 1:  # it was not taken: the other offered too and counts, or is lost, which the pidfd tells
            _close_all(fds)
            return True
        if answer == TAKEN_AND_TAKEN_BACK and not offer.is_crossed:
            self.stale.add(id)
        del self.offers[id]
        self._opened(id, Mailbox(offer.end, direct, fds[0]))
        return True

    def offered(self, name: str, incarnation: int, fds: list[int]) -> None:
        """Another node offers a mailbox."""
        id_ = life(name, incarnation)
        memfd, bell, direct = fds
        sock = socket.socket(fileno=direct)
        mine = self.offers.get(id_)
        if id_ in self.stale or (mine is not None and self.node.id.incarnation < incarnation):
            self.stale.discard(id_)
            if mine is not None:
                mine.is_crossed = True
            _close_all([memfd, bell])
            sock.close()
            return
        self.cut(id_)  # if there is a mailbox to it, it does not use that any more
        if mine is not None:
            self._take_back(id_)
        end = attach(memfd)
        os.close(memfd)
        box = Mailbox(end, sock, bell)
        try:
            socket.send_fds(sock, [TAKEN if mine is None else TAKEN_AND_TAKEN_BACK], [self.bell])
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
        box.inlet = Inlet(box.end, box.bell, partial(self._arrived, id, box), partial(self._broke, id, box))
        self.looks.inlets[self.readers.add(box.end)] = box.inlet
        peer.way = box.outlet
        trio.lowlevel.spawn_system_task(self._listen, id, box)
        self._flush(peer)
        self.node.wake()

    async def _listen(self, id: NodeId, box: Mailbox) -> None:
        """A system task: descriptors of segments come; the end of the socket is that of the mailbox."""
        while not box.receiving.is_over and box.direct.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(box.direct)
            except trio.ClosedResourceError:
                return
            try:
                box.receiving.receive()
            except BrokenRingError as fault:
                self._broke(id, box, fault)
                return
        if self.open.get(id) is box:
            self.cut(id)

    def _broke(self, id: NodeId, box: Mailbox, fault: BrokenRingError) -> None:
        """The mailbox cannot be used any more: that costs this connection and nothing else."""
        if self.open.get(id) is not box:
            return
        self.faults[id.name] = self.faults.get(id.name, 0) + 1
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
        if offer is not None and not self._answered(id, offer.direct):
            self._take_back(id)
        self.stale.discard(id)
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
        for place, inlet in list(self.looks.inlets.items()):
            if inlet is box.inlet:
                self.readers.remove(place)
                del self.looks.inlets[place]
        trio.lowlevel.notify_closing(box.direct)
        box.close()

    # --- the loop ---

    def drain(self) -> None:
        """Act upon what has come, and send what waited for room."""
        self.looks.drain()

    def fetch(self, end: float) -> bool:
        """See `Looks.fetch`."""
        return self.looks.fetch(end)

    def _arrived(self, id: NodeId, box: Mailbox, kind: int, flags: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        """A record that is more than a message to a live process."""
        peer = self.router.peer(id)
        act = ARRIVALS.get(kind)
        if act is None:
            raise BrokenRingError(f"a record of the kind {kind}, which there is not")
        if flags & SEGMENT:
            payload = box.receiving.fetch(payload)
        if peer is not None:
            act(self.node.id, peer, to, from_, ref, payload)

    def _flush_all(self) -> None:
        for peer in list(self.waiting):
            self._flush(peer)

    def _flush(self, peer: Peer) -> None:
        if peer.flush():
            self.waiting.discard(peer)
            return
        box = self.open.get(peer.id)
        if box is not None and box.fault is not None:
            self._broke(peer.id, box, box.fault)

    def sleep(self) -> bool:
        """Say in every ring that this node sleeps. False: something has come, or there is room for what waits."""
        if self.readers.sleep() < 0 and not any(self._is_room(peer) for peer in self.waiting):
            for box in self.open.values():
                if box.end.room_wanted():
                    box.ring()
            return True
        self.readers.wake()
        return False

    def _is_room(self, peer: Peer) -> bool:
        box = self.open.get(peer.id)
        if box is None:
            return False
        if box.sending.is_blocked:
            if not box.is_waited_for:
                box.is_waited_for = True
                trio.lowlevel.spawn_system_task(self._await_direct, box)
            return False
        return box.fault is not None or box.end.await_room()

    async def _await_direct(self, box: Mailbox) -> None:
        """A system task: until the direct socket takes more."""
        try:
            if box.direct.fileno() >= 0:
                await trio.lowlevel.wait_writable(box.direct)
        except trio.ClosedResourceError:
            return
        box.is_waited_for = box.sending.is_blocked = False
        self.node.wake()

    def woken(self) -> None:
        self.readers.wake()

    async def answer_bell(self) -> None:
        """A system task: wake the node when its bell is rung."""
        while True:
            await trio.lowlevel.wait_readable(self.bell)
            try:
                os.eventfd_read(self.bell)
            except BlockingIOError:
                continue
            self.node.wake()


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
