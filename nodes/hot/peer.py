# cython: annotation_typing=False
# (C types are in peer.pxd; the annotations are for checkers.)
"""One life of another node, as this node knows it: the way there, and what the two nodes hold of each other.

What is held matters when that life ends: who here is linked to a process there, who watches one there, and who is watched from there.

Links. Each node has its half of a link, and both may link and unlink at once, so that their records cross. Therefore a `LINK` has a number,
and a half remembers by which of the other's and of its own it came about. An `UNLINK` takes away all that its sender made, for records
come in order, and of the receiver's only the one that the sender had seen: what was made anew meanwhile stays. So, when all records have
come, both halves are there or none is (as OTP's unlink ids do, but without an acknowledgement).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from beamlike import pack
from beamlike.seam import enqueue, leaves, left, stepped
from nodes.kinds import Kind

if TYPE_CHECKING:
    from beamlike.seam import nocython as cython
    from nodes.router import Router
else:
    try:
        import cython
    except ImportError:
        from beamlike.seam import nocython as cython

if not cython.compiled:
    from beamlike import Pid
    from beamlike.seam import Call, Caller, NodeId, Process, Ref, Wait, answer, deliver, make_pid, make_ref_of, pack_quickly, release_caller
    from nodes.hot.ends import Outlet, may_hold_pid

MOST_BACKLOG = 1 << 20  # bytes that wait for one node before who sends more is suspended
RECORD = 256  # bytes that a waiting record takes besides its payload
SEND, CALL, REPLY, DEMONITOR = int(Kind.SEND), int(Kind.CALL), int(Kind.REPLY), int(Kind.DEMONITOR)  # plain: a member costs a look-up

_most_backlog, _record, _left, _nothing = MOST_BACKLOG, RECORD, left, b""  # as C globals

Fields = tuple[int, int, int, int, bytes]  # kind, to, from, ref, payload


class Way(Protocol):
    """The sending end of a mailbox."""

    def write(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        """Commit a record. False: there is no room. Never raises: what is broken is found by who flushes."""


class Half:
    """This node's half of a link: the numbers by which it is in force, 0 for none."""

    __slots__ = ("ours", "theirs")

    def __init__(self) -> None:
        self.ours = 0
        self.theirs = 0


@cython.final
@cython.cclass
class Peer:
    """Not reached yet while `way` is None: what is put waits in `backlog`. Also where a mailbox is full; order holds (M1)."""

    def __init__(self, id: NodeId, router: Router) -> None:
        self.id = id
        self.router = router
        self.held: set[Process] = set()  # who sent more than is to wait, and is suspended until there is room (M10)
        self.way: Way | None = None
        self.is_lost = False
        self.is_held_up = False  # nothing is written until this is over: see `chaos_ways`
        self.backlog: deque[Fields] = deque()
        self.backlog_bytes = 0
        self.links: dict[Pid, dict[Pid, Half]] = {}  # of that node: to whom here each is linked
        self.watching: dict[int, Pid | Wait] = {}  # serial of our Ref: who here watches somebody there, or the call that waits
        self.watched: dict[int, Process] = {}  # serial of their Ref: who here is watched from there
        self.put_off: set[int] = set()  # those of them that are calls to be answered later, maybe by somebody else

    # --- what is said to that node ---

    def send(self, serial: int, message: Any) -> None:
        """A message to a process there, of the calling process."""
        self.put_for_caller(SEND, serial, 0, 0, _packed(message))

    def pass_message(self, message: Any, to: int, most: int) -> bool:
        """Send on a message that the calling process got. False: it is none of the commonest, of `most` bytes and without extensions."""
        payload = pack_quickly(message)
        if payload is None or len(payload) > most or may_hold_pid(payload):
            return False
        self.put_for_caller(SEND, to, 0, 0, payload)
        return True

    def pass_call(self, call: Call, to: int, most: int, number: int, calls: dict[int, Caller]) -> bool:
        """The same of a call. It is noted in `calls` under its number, and the calling process does not answer it."""
        payload = pack_quickly(call.request)
        if payload is None or len(payload) > most or may_hold_pid(payload):
            return False
        calls[number] = call.caller
        release_caller(call.caller)
        self.put_for_caller(CALL, to, 0, number, payload)
        return True

    def call(self, wait: Wait) -> None:
        """A call of the calling process to a process there begins."""
        caller, server = wait.process.pid, wait.server
        if len(wait.layers) > 0:
            self.router.call_limited(self, wait)
            return
        payload = _packed(wait.request)
        if caller.serial not in _left:
            leaves(caller)
        self.watching[wait.ref.serial] = wait
        self.router.cycles.begun(wait)
        self.put_for_caller(CALL, server.serial, caller.serial, wait.ref.serial, payload)

    def call_over(self, wait: Wait) -> None:
        """It is answered, or nobody waits for it any more."""
        if self.watching.pop(wait.ref.serial, None) is not None:
            self.put(DEMONITOR, 0, 0, wait.ref.serial, _nothing)

    def reply(self, caller: Pid, ref: Ref, value: Any) -> None:
        """The answer of the calling process to a call from there."""
        payload = _packed(value)
        server = self.not_watched(ref.serial)
        if server is not None and server.monitored_by is not None:
            server.monitored_by.pop(ref, None)
        self.put_for_caller(REPLY, caller.serial, server is not None, ref.serial, payload)

    def put(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        """Send a record of the runtime's, now or when there is room. It suspends nobody: it may be in the middle of something."""
        if not self.write(kind, to, from_, ref, payload):
            self._queue(kind, to, from_, ref, payload)

    def put_for_caller(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        """The same by the calling process, which is suspended if too much waits; what it counts on afterwards is to be noted before."""
        if not self.write(kind, to, from_, ref, payload):
            self._queue(kind, to, from_, ref, payload)
            self._hold_sender()

    def write(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        if self.way is None or self.backlog_bytes > 0:
            return False
        if type(self.way) is Outlet:
            outlet: Outlet = self.way
            return outlet.write(kind, to, from_, ref, payload)
        return self.way.write(kind, to, from_, ref, payload)

    def _queue(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        is_first = self.backlog_bytes == 0
        self.backlog.append((kind, to, from_, ref, payload))
        self.backlog_bytes += _record + len(payload)
        if is_first:
            self.router.reach(self)

    def _hold_sender(self) -> None:
        """Suspend the process that sends until there is room, or this life is over. Not where a step cannot be left in the middle."""
        if self.backlog_bytes <= _most_backlog:
            return
        sender = stepped()
        while self.backlog_bytes > _most_backlog and not self.is_lost:
            if sender is not None:
                self.held.add(sender)
            if not self.router.suspend():
                if sender is not None:
                    self.held.discard(sender)
                return

    # --- what comes from there ---

    def call_came(self, process: Process, from_: int, ref: int, request: Any, layers: tuple[Any, ...] = ()) -> None:
        """A call to a process here, which is watched on the caller's behalf."""
        watcher, name = make_pid(self.id, from_), make_ref_of(self.id, ref)
        self.watched[ref] = process
        if process.monitored_by is None:
            process.monitored_by = {}
        process.monitored_by[name] = watcher
        deliver(process, Call(Caller(watcher, name), request, layers))

    def reply_came(self, process: Process, ref: int, value: Any) -> None:
        """The answer to a call of a process here."""
        answer(process, make_ref_of(self.router.me, ref), value)

    def let_go_on(self) -> None:
        """Those who were suspended go on."""
        held, self.held = self.held, set()
        for process in held:
            enqueue(process)

    def lost(self) -> None:
        """This life is over: what waits goes nowhere."""
        self.is_lost = True
        self.way = None
        self.backlog.clear()
        self.backlog_bytes = 0
        self.let_go_on()

    def flush(self) -> bool:
        """Send what waits, as far as there is room. True if nothing waits any more."""
        if self.way is None or self.is_held_up:
            return False
        while self.backlog:
            fields = self.backlog[0]
            if not self.way.write(*fields):
                return False
            self.backlog_bytes -= _record + len(fields[4])
            self.backlog.popleft()
            if self.held and self.backlog_bytes < _most_backlog // 2:
                self.let_go_on()
        return True

    def stop_watching(self, ref: int) -> bool:
        """Somebody here watches no longer. Was it still noted?"""
        return self.watching.pop(ref, None) is not None

    def not_watched(self, ref: int) -> Process | None:
        """Nobody there watches under this Ref any more. Who was watched; None if nobody was."""
        self.put_off.discard(ref)
        return self.watched.pop(ref, None)

    # --- links ---

    def linked_from_here(self, here: Pid, there: Pid, number: int) -> None:
        """A process here has linked itself to one there, by a `LINK` of this number."""
        half = self._half(here, there)
        half.ours = half.ours or number

    def linked_from_there(self, here: Pid, there: Pid, number: int) -> None:
        """The other way round."""
        self._half(here, there).theirs = number

    def _half(self, here: Pid, there: Pid) -> Half:
        held = self.links.setdefault(there, {})
        half = held.get(here)
        if half is None:
            half = held[here] = Half()
        return half

    def unlinked_from_here(self, here: Pid, there: Pid) -> int:
        """Our half is taken away. Returns the number of theirs that it was in force by, which an `UNLINK` carries; 0 if none."""
        held = self.links.get(there, {})
        half = held.pop(here, None)
        if not held:
            self.links.pop(there, None)
        return 0 if half is None else half.theirs

    def unlinked_from_there(self, here: Pid, there: Pid, number: int) -> bool:
        """An `UNLINK` has come. Is our half gone by it? Not if it was made anew by a `LINK` that the other had not seen."""
        half = self.links.get(there, {}).get(here)
        if half is None:
            return False
        half.theirs = 0
        if half.ours == number:
            half.ours = 0
        if half.ours:
            return False
        self.unlinked_from_here(here, there)
        return True


def _packed(message: Any) -> bytes:
    packed = pack_quickly(message)
    return pack(message) if packed is None else packed
