"""The OS process of a cell and the ring to it, as its gateway holds them.

What is to be written waits for room as between nodes (`nodes.seam.Peer`): who sends too much is suspended. What is read goes to the gateway
a batch at a time, and so many records in a second.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import ExitStack, suppress
from math import ceil
from typing import Any, Final, Protocol

import trio

from beamlike.seam import Node, NodeId, Timer, current_hooks, error_reason, format_reason, let_go_on, log, now, push_timer
from cells.errors import CellUnavailable
from cells.kinds import CELL, LIFE, CellKind
from cells.limits import Limits
from cells.maker import Ended, Maker
from nodes.seam import MOST_BACKLOG, BrokenRingError, Inlet, Intake, Outlet, Peer, Written, joined_or_none

BATCH: Final = 32  # records that are taken before other rings and processes have their turn
WINDOW: Final = 0.05  # seconds in which records are counted
NO_LIMIT: Final = 1_000_000_000  # seconds of CPU time
ONE: Final = (1).to_bytes(8, "little")  # what rings a bell, be it an eventfd or a socket
MOST_RUNG: Final = 4096  # bytes that are taken of one that was rung
LATEST_LOOK: Final = 60.0  # seconds between two looks at the CPU time of a cell that has a limit

logger = logging.getLogger("beamlike.cells")


class Owner(Protocol):
    """Whose cell it is."""

    def ready(self, first: int) -> None:
        """It is locked; its first process has this serial."""

    def arrived(self, kind: int, flags: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        """A record came, besides the first, which says that it is ready. May raise BrokenRingError."""

    def broke(self, fault: BrokenRingError) -> None:
        """The ring cannot be used any more."""

    def ended(self, ended: Ended) -> None:
        """The OS process has ended, and all that it wrote was taken. Called once."""


def forked_with(limits: Limits, *, polls: bool) -> dict[str, Any]:
    """What of the limits a cell is made with. The rest is on this side."""
    return {
        "memory": limits.memory,
        "fuel": limits.fuel,
        "cpu": NO_LIMIT if limits.cpu is None else ceil(limits.cpu) + 1,
        "message_bytes": limits.message_bytes,
        "polls": polls,
    }


class Connection:
    """A cell that is being forked, or runs, or has ended. It has an owner from `belong_to` on; a spare one has none yet.

    Raises: CellUnavailable, also if this node has as many rings as it can look at; OSError for want of descriptors or memory.
    """

    def __init__(self, maker: Maker, limits: Limits) -> None:
        self.maker = maker
        self.limits = limits
        self.owner: Owner | None = None
        self.first = 0  # the serial of its first process; 0: it is not ready
        self.room = 0  # bytes of the longest message that it says it takes; 0: any
        self.node: Node = current_hooks()
        self.intake = _intake(self.node)
        self.me = self.node.id  # of a router, for `Peer`
        self.suspend = self.node.stepper.suspend
        self.pidfd = -1
        self.is_over_cpu = False
        self.is_closed = self.is_doomed = False
        self.is_mute = False  # what it writes from now on does not count
        self.window = now()
        self.full: Peer | None = None  # a way to another node on which too much waits
        with ExitStack() as undo:
            ways = maker.ways()
            undo.callback(ways.close)
            self.end, longest, self.bell, self.their_bell, theirs = ways
            self.inlet = Inlet(self.end, self.their_bell, None, self._count, self.broke, BATCH, longest)
            self.inlet.quota, self.inlet.longest = self._share(), limits.message_bytes
            try:
                self.intake.welcome(self, self.inlet)
            except RuntimeError as error:
                raise CellUnavailable(f"no further cell on this node: {error}") from error
            undo.callback(self.intake.part_with, self)
            settings = forked_with(limits, polls=self.intake.looks.polls)
            maker.fork(settings, theirs, self._forked, self._ended)
            undo.pop_all()
        for fd in theirs:
            os.close(fd)
        self.outlet = Outlet(self.end, self.their_bell, self._write_long, lambda outcome: None)  # what is broken is found by who reads
        self.offset = 0  # of a message of several records that is begun
        self.peer = Peer(NodeId(CELL, LIFE), self)  # type: ignore[arg-type]  # as much of a router as it needs
        self.peer.way = self.outlet
        trio.lowlevel.spawn_system_task(self._answer_bell)

    def belong_to(self, owner: Owner, limits: Limits) -> None:
        """The owner is told from now on, and has been told what it missed when this returns."""
        self.owner = owner
        self.limits = limits
        self.inlet.quota, self.inlet.longest = self._share(), limits.message_bytes
        if self.first:
            self._watch_cpu()
            owner.ready(self.first)

    # --- out ---

    def _write_long(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> bool:
        """See `Outlet`."""
        try:
            written, self.offset = self.end.write_part(kind, to, from_, ref, payload, self.offset)
        except BrokenRingError:
            return False
        if written is Written.RING_BELL:
            self.ring()
        if self.offset < len(payload):
            return False
        self.offset = 0
        return True

    def reach(self, peer: Peer) -> None:
        """Of a router: records wait."""
        self._flush()

    def _flush(self) -> None:
        with suppress(BrokenRingError):
            while not self.peer.flush() and not self.is_closed:
                if not self.end.await_room():
                    break  # the bell says when there is some
        let_go_on()

    def ring(self) -> None:
        """Wake the cell."""
        with suppress(BlockingIOError, ConnectionError):  # it was rung so often that it will wake
            os.write(self.their_bell, ONE)

    async def _answer_bell(self) -> None:
        """A system task: wake the node when the cell rings."""
        while not self.is_closed:
            try:
                await trio.lowlevel.wait_readable(self.bell)
            except trio.ClosedResourceError:
                return
            if self.is_closed:  # since it rang: the descriptor may be somebody else's by now
                return
            if not self._is_rung():
                return
            try:
                self._flush()
            except Exception as error:  # noqa: BLE001 - an exception in a system task would end the node
                log(logger, logging.ERROR, "InternalError, please report it: of a cell: %s", format_reason(error_reason(error)))
                self.kill()
            self.node.wake()

    def _is_rung(self) -> bool:
        """Take what rang the bell. False: it was a socket, and nobody has the other end any more."""
        try:
            return os.read(self.bell, MOST_RUNG) != b""
        except BlockingIOError:
            return True
        except ConnectionError:
            return False

    # --- in ---

    def _count(self, kind: int, flags: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        if self.is_mute:
            return
        self.inlet.quota -= 1
        if self.inlet.quota < 0:
            self._pause()
        if kind == CellKind.READY and not self.first and from_:
            self.first, self.room = from_, ref
            if self.owner is not None:
                self._watch_cpu()
                self.owner.ready(from_)
        elif self.owner is not None:
            self.owner.arrived(kind, flags, to, from_, ref, payload)

    def _pause(self) -> None:
        """Read no more of it before the window is over."""
        over = self.window + WINDOW
        self.inlet.quota = self._share()
        self.window = max(now(), over)
        if now() < over:
            self._stop_reading(over)

    def await_room(self, peer: Peer) -> None:
        """Read no more of it before less waits on this way to another node."""
        self.full = peer
        self._stop_reading(now() + WINDOW)

    def _stop_reading(self, until: float) -> None:
        if self in self.intake.guests:
            self.inlet.is_held = True
            self.intake.part_with(self)
            push_timer(Timer(None, None, self._go_on, WINDOW, None), until)

    def _share(self) -> int:
        """Records of one window."""
        return max(int(self.limits.messages_per_s * WINDOW), 1)

    def _go_on(self) -> bool:
        """It was not read for a while. Is that to go on?"""
        if self.full is not None and self.full.backlog_bytes > MOST_BACKLOG // 2 and not self.is_closed:
            return True
        self.full = None
        self.inlet.is_held = False
        if not self.is_closed and self not in self.intake.guests:
            try:
                self.intake.welcome(self, self.inlet)
            except RuntimeError:  # others have taken all places meanwhile
                self.kill()
        return False

    def broke(self, fault: BrokenRingError) -> None:
        """See `nodes.intake.Writer`."""
        self.intake.part_with(self)  # or who looks would find it there again and again
        if self.owner is None:
            self.kill()
        elif not self.is_mute:
            self.owner.broke(fault)

    # --- life and death ---

    def is_of_open_node(self) -> bool:
        """Or nobody is left who could be told anything: it ends with its node."""
        return current_hooks() is self.node

    def os_pid(self) -> int:
        """Of the OS process; 0: nobody has told yet, or it cannot be looked at."""
        try:
            return pid_of(self.pidfd) if self.pidfd >= 0 else 0
        except OSError:
            return 0

    def _forked(self, pidfd: int) -> None:
        self.pidfd = pidfd
        if self.is_doomed:
            self._send_kill()
        else:
            self._watch_cpu()

    def _watch_cpu(self) -> None:
        """From when it is ready, has an owner and a pidfd: what its start takes does not count."""
        limit = self.limits.cpu
        if limit is None or self.owner is None or not self.first or self.pidfd < 0:
            return
        try:
            clock = cpu_clock(self.pidfd)
            most = time.clock_gettime(clock) + limit
        except OSError:  # it has ended, or there is no descriptor left to look by: then nobody could say when it has had enough
            self.kill()
            return

        def look() -> bool:
            if self.pidfd < 0:
                return False
            try:
                left = most - time.clock_gettime(clock)
            except OSError:  # it has ended
                return False
            if left <= 0:
                self.is_over_cpu = True
                self.kill()
            else:
                push_timer(Timer(None, None, look, 0.0, None), now() + min(left, LATEST_LOOK))
            return False

        look()

    def mute(self) -> None:
        """What it writes, or has written and was not taken, does not count any more."""
        self.is_mute = True
        self.inlet.quota = 0  # so the short way asks `_count` as well

    def kill(self) -> None:
        """End the OS process. Nothing is written to it any more; `ended` is called when it has ended."""
        if self.is_doomed:
            return
        self.is_doomed = True
        if self.pidfd >= 0:
            self._send_kill()

    def _send_kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def _ended(self, ended: Ended) -> None:
        self.intake.part_with(self)
        while not self.is_mute and self.is_of_open_node() and self.inlet.take():
            pass
        self.close()
        if self.owner is not None:
            self.owner.ended(ended)

    def close(self) -> None:
        """Let go of everything. Closing twice does nothing."""
        if self.is_closed:
            return
        self.is_closed = self.is_doomed = True
        self.intake.part_with(self)
        self.peer.lost()
        let_go_on()
        self.end.close()
        trio.lowlevel.notify_closing(self.bell)
        for fd in (self.bell, self.their_bell, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.pidfd = -1


def cpu_clock(pidfd: int) -> int:
    """The clock of the CPU time of an OS process (see clock_getcpuclockid(3)). Raises: OSError: it has ended, or cannot be looked at."""
    pid = pid_of(pidfd)
    if pid < 1:  # of what has ended it is -1, which stands for ourselves in a clock's number
        raise ProcessLookupError(f"the OS process of the pidfd {pidfd} has ended")
    return (~pid << 3) | 2


def pid_of(pidfd: int) -> int:
    """Of the OS process, in our namespace; -1: it has ended. Raises: OSError."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))


def _intake(node: Node) -> Intake:
    """What this node reads; made if it has no others to read from."""
    joined = joined_or_none()
    if joined is not None and joined.node is node:
        return joined.mailboxes
    if not isinstance(node.intake, Intake):
        node.join(Intake(polls=len(os.sched_getaffinity(0)) > 1))
    assert isinstance(node.intake, Intake)
    return node.intake
