"""The faults in what this node sends to another: records that are dropped, held up, corrupted, or torn.

Theory of operation. While a fault lasts, the way to a peer is a `FaultyWay`, also that of a connection opened meanwhile. It asks each
fault, in the order they were begun, whether it strikes the record that is offered; the first that does has it. What waits for room is not
judged: so a record is judged once, and what is held up stays where records wait for room, with all that comes after it, in order.

Only messages, calls and answers are struck, and none that the runtime's own services send or are sent: for what is left a program has its
time-outs. Nobody has one for a link, a monitor or a spawn, nor the services among themselves.
"""

from __future__ import annotations

import os
import signal
from random import Random

from beamlike import unpack
from beamlike.seam import Process, Timer, current_process, holder, now, push_timer
from nodes.here import joined
from nodes.hot.peer import Fields, Peer, Way
from nodes.kinds import Kind
from nodes.mailboxes import Mailbox
from nodes.rings import BrokenRingError
from nodes.services import SUPERVISOR

STRUCK = {
    "message": (Kind.SEND, Kind.SEND_NAMED),
    "call": (Kind.CALL, Kind.CALL_NAMED),
    "answer": (Kind.REPLY,),
}

_faults: dict[str, list[Fault]] = {}  # by the name of the node that is written to, in the order they were begun


class Fault:
    """One, of the records from this node to `target`. `kinds`: keys of STRUCK."""

    def __init__(self, target: str, rate: float, kinds: tuple[str, ...], seed: int) -> None:
        self.target = target
        self.rate = rate
        self.kinds = {kind for each in kinds for kind in STRUCK[each]}
        self.random = Random(seed)
        self.count = 0  # of the records that were struck

    def begin(self) -> None:
        """From now on."""
        _faults.setdefault(self.target, []).append(self)
        joined().mailboxes.way = _way
        _change_ways(self.target)

    def end(self) -> None:
        """No longer."""
        _faults[self.target].remove(self)
        _change_ways(self.target)

    def turn(self) -> None:
        """See `chaos_lasting.Lasting`: there is nothing to do meanwhile."""

    def strikes(self, way: FaultyWay, fields: Fields) -> bool:
        """This record?"""
        return fields[0] in self.kinds and self.random.random() < self.rate

    def write(self, way: FaultyWay, fields: Fields) -> bool:
        """Do what becomes of a record that is struck. False: it is to be offered again."""
        raise NotImplementedError  # a fault of some kind has it


class Drop(Fault):
    """It is said to be written, and is not."""

    def write(self, way: FaultyWay, fields: Fields) -> bool:
        self.count += 1
        return True


class Delay(Fault):
    """It is held up for `seconds`, with all that comes after it."""

    def __init__(self, target: str, rate: float, kinds: tuple[str, ...], seed: int, seconds: float) -> None:
        super().__init__(target, rate, kinds, seed)
        self.seconds = seconds

    def write(self, way: FaultyWay, fields: Fields) -> bool:
        self.count += 1
        way.hold_up(self.seconds)
        return False


class OfOneRecord(Fault):
    """What is done in the ring's memory: only to what fits in one record there."""

    def strikes(self, way: FaultyWay, fields: Fields) -> bool:
        return len(fields[4]) <= way.box.end.largest and super().strikes(way, fields)


class Corrupt(OfOneRecord):
    """One of its bits is changed when its checksum is made already."""

    def write(self, way: FaultyWay, fields: Fields) -> bool:
        written = way.box.end.write_damaged(*fields, bit=self.random.getrandbits(32))
        if written:
            self.count += 1
            way.box.ring()
        return written


class Tear(OfOneRecord):
    """This OS process is killed when `at` bytes of the record are in the ring."""

    def __init__(self, target: str, rate: float, kinds: tuple[str, ...], seed: int, at: int) -> None:
        super().__init__(target, rate, kinds, seed)
        self.at = at

    def write(self, way: FaultyWay, fields: Fields) -> bool:
        if way.box.end.write_damaged(*fields, torn_at=self.at):
            os.kill(os.getpid(), signal.SIGKILL)
        return False


class FaultyWay:
    """The `peer.Way` to a node while there are faults in it."""

    def __init__(self, peer: Peer, box: Mailbox, faults: list[Fault]) -> None:
        self.peer = peer
        self.box = box
        self.faults = faults
        self.striking: Fault | None = None  # the record that is offered, and was before
        self.hold: object = None  # that is on

    def write(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        """See `peer.Way`."""
        fields = kind, to, from_, ref, payload
        if not self.peer.backlog:
            self.striking = self._judge(fields)
        written = self._write(fields)
        if written:
            self.striking = None
        return written

    def _judge(self, fields: Fields) -> Fault | None:
        if _is_of_services(fields[0], fields[4]):
            return None
        return next((fault for fault in self.faults if fault.strikes(self, fields)), None)

    def _write(self, fields: Fields) -> bool:
        if self.striking is not None:
            try:
                return self.striking.write(self, fields)
            except BrokenRingError:
                pass  # the outlet finds that, too, and says so
        return self.box.outlet.write(*fields)

    def hold_up(self, seconds: float) -> None:
        """Write nothing for so long."""
        hold = self.hold = object()
        self.peer.is_held_up = True
        push_timer(Timer(None, None, lambda: self._is_over(hold), 0.0, None), now() + seconds)

    def _is_over(self, hold: object) -> bool:
        if self.hold is hold:
            self.go_on()
        return False

    def go_on(self) -> None:
        """What waits may go now."""
        self.hold = None
        self.peer.is_held_up = False
        self.striking = None


def _is_of_services(kind: int, payload: bytes) -> bool:
    """Is this said by one of the runtime's services, or to one by its name, which it has on each node?"""
    if kind in (Kind.SEND_NAMED, Kind.CALL_NAMED) and _is_service(holder(unpack(payload, functions=True)[0])):
        return True
    try:
        return _is_service(current_process())
    except RuntimeError:  # a timer's
        return False


def _is_service(process: Process | None) -> bool:
    services = holder(SUPERVISOR)
    return process is not None and services is not None and process.ancestors[:1] == (services.pid,)


def _way(peer: Peer, box: Mailbox) -> Way:
    """See `Mailboxes.way`."""
    faults = _faults.get(peer.id.name)
    return FaultyWay(peer, box, faults) if faults else box.outlet


def _change_ways(target: str) -> None:
    for id_, box in joined().mailboxes.open.items():
        if id_.name == target and id_.peer is not None:
            if isinstance(id_.peer.way, FaultyWay):
                id_.peer.way.go_on()
            id_.peer.way = _way(id_.peer, box)
