"""The gateway: the process that a cell is to everybody else.

Theory of operation. Whoever sends to, links, monitors, kills or supervises a cell does it to its gateway, a process like any other; when
that ends the cell is killed, and when the cell ends it ends with a reason that says why. Each further process of the cell whose pid gets
out has a process here too, a *proxy*, so it is a pid like any other as well.

What comes from the cell is one of its `acts`. Of what it sends so much is taken in a turn, and so many records in a second; the rest waits
in its own ring, and whoever sends in the cell with it.
"""

from __future__ import annotations

import logging
import signal
from functools import cache
from typing import Any, Final, Protocol

import caps
from beamlike import Pid, Stop, pack, receive, reply
from beamlike.seam import (
    Call,
    Caller,
    Process,
    Refused,
    count_dead_letter,
    deliver,
    end,
    error_reason,
    extra,
    format_reason,
    log,
    on_release,
    release_caller,
    start,
)
from cells import seccomp
from cells.acts import ACTS, MOST_PENDING, ViolationError
from cells.connection import Connection
from cells.handles import NOBODY, Handles, TooManyError
from cells.kinds import OUT_OF_MEMORY, CellKind
from cells.limits import Limits
from cells.maker import Ended
from cells.served import Served
from cells.translation import ForgedError, to_cell
from nodes.seam import BrokenRingError, Kind

SEND, CALL = int(Kind.SEND), int(Kind.CALL)  # plain: a member costs a look-up
act_of: Final = ACTS.get  # bound once: of a name that is imported CPython binds a method at each call
MOST_CALLS: Final = 100_000  # to a cell that it has not answered
MOST_UNREAD: Final = 1024 * 1024  # bytes of answers that wait for a cell to read any
OVERHEAD: Final = 100  # bytes that one costs besides what is in it
CLOSED: Final = frozenset(kind for kind, _ in caps.all_but("send"))  # to a cell, unless it is opened


logger = logging.getLogger("beamlike.cells")


class Listener(Protocol):
    """Who is told what a program writes, and how it ended."""

    def wrote(self, stream: str, data: bytes) -> None:
        """To `stdout` or `stderr`."""

    def ended(self, reason: Any, ended: Ended) -> None:
        """Its OS process has ended."""


class Gateway:
    """One cell, from this side.

    Args:
        process: who stands for its first process: the caller.
        what: it is called in `ps`.
        opened: kinds of access that its exclusions decide upon.
    """

    def __init__(
        self, process: Process, what: str, connection: Connection, limits: Limits, opened: frozenset[str], listener: Listener | None
    ) -> None:
        self.process = process
        self.what = what
        self.limits = limits
        self.room = limits.message_bytes  # of a message to it
        self.listener = listener
        self.output_left = limits.output_bytes
        self.reason: Any = None  # why the cell ended, once that is known
        self.is_started = False  # who starts it has been told that it is there
        self.handles = Handles(process.pid.origin)
        self.opened = opened
        self.closed = _layers_of(opened)
        self.served = Served(opened, limits.file_bytes)
        self.proxies: dict[int, Pid] = {}  # the cell's processes that are known here, by their serials there
        self.own: dict[Pid, int] = {}  # the other way round
        self.calls: dict[int, Caller] = {}  # to the cell, which it has not answered
        self.last_call = 0
        self.pending: dict[int, Process] = {}  # who calls or monitors for the cell, by its number there,
        self.requests: dict[int, Process] = {}  # and who opens, reads or writes
        self.unread = 0  # bytes of answers since it read the last one
        self.connection = connection
        inlet = self.connection.inlet
        inlet.process, inlet.handed, inlet.calls = process, self.handles.pids, self.calls
        _gateways[process] = self
        self.connection.belong_to(self, limits)

    async def settled(self) -> tuple[Any] | None:
        """Wait until it is locked. None; if it has ended, with what reason."""
        await receive(lambda message: message is SETTLED)
        self.is_started = self.reason is None
        return self.reason  # type: ignore[no-any-return]

    # --- to the cell ---

    async def relay(self, serial: int) -> None:
        """The body of a gateway or a proxy: pass on all that comes."""
        peer, calls, most = self.connection.peer, self.calls, self.room
        pass_call, pass_message = peer.pass_call, peer.pass_message
        while True:
            message = await receive()
            if type(message) is Call:
                number = self.last_call = self.last_call + 1
                if len(calls) >= MOST_CALLS or not pass_call(message, serial, most, number, calls):
                    self._pass_call(serial, message)
            elif not pass_message(message, serial, most):
                self._pass(serial, message)

    def _pass(self, serial: int, message: Any) -> None:
        payload = self.packed(message)
        if payload is None:
            count_dead_letter(self.process.pid, message, "undeliverable")
        else:
            self.connection.peer.put_for_caller(Kind.SEND, serial, 0, 0, payload)

    def _pass_call(self, serial: int, message: Call) -> None:
        payload = self.packed(message.request)
        if payload is None:
            self._refuse(message, self._lack(message.request))
            return
        if len(self.calls) >= MOST_CALLS:
            self._forget_calls()
            if len(self.calls) >= MOST_CALLS:
                self._refuse(message, f"{len(self.calls)} calls are unanswered already")
                return
        caller = message.caller
        number = self.last_call = self.last_call + 1
        self.calls[number] = caller
        release_caller(caller)
        self.connection.peer.put_for_caller(CALL, serial, NOBODY, number, payload)

    def _refuse(self, message: Call, why: str) -> None:
        reply(message.caller, Refused(f"the {self.what} does not take this request: {why}"))

    def _lack(self, value: Any) -> str:
        """Why the cell cannot have it."""
        try:
            return f"it has {len(self.to_cell(value))} bytes, and there is room for {self.room}"
        except (TypeError, ValueError) as error:
            return str(error)

    def _forget_calls(self) -> None:
        """Of those who wait no longer. Of who is on another node that is not known."""
        for number, caller in list(self.calls.items()):
            process = caller.pid.process
            is_here = caller.pid.origin is self.process.pid.origin
            if is_here and (process is None or process.calls is None or caller.ref not in process.calls):
                del self.calls[number]

    def packed(self, message: Any) -> bytes | None:
        """The bytes of a message to the cell; None if it cannot have it: too long, or no value. Raises: Stop: it has too many pids."""
        try:
            payload = self.to_cell(message)
        except (TypeError, ValueError):
            return None
        except TooManyError:
            raise Stop(("limit", "pids")) from None
        return payload if len(payload) <= self.room else None

    def send_first(self, message: Any) -> None:
        """A message before all others. The cell is read no sooner, so it is not in its way."""
        self.connection.peer.put(Kind.SEND, self.own[self.process.pid], 0, 0, self.to_cell(message))

    def to_cell(self, message: Any) -> bytes:
        """The bytes of a message. Raises: as `translation.to_cell`."""
        return to_cell(message, self.handles.number, self.own)

    def put(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        """Answer a record at once. A cell that asks and does not read is ended: nobody can be suspended for it."""
        peer = self.connection.peer
        peer.put(kind, to, from_, ref, payload)
        self.unread = self.unread + len(payload) + OVERHEAD if peer.backlog_bytes else 0
        if self.unread > MOST_UNREAD:
            self.give_up(("limit", "unread"))

    # --- from the cell ---

    def arrived(self, kind: int, flags: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        act = act_of(kind)
        if act is None or flags:
            raise ViolationError(f"a record of the kind {kind}")
        if len(payload) > self.limits.message_bytes and kind < CellKind.START:
            raise ViolationError(f"a message of {len(payload)} bytes")
        try:
            act(self, to, from_, ref, payload)
        except ForgedError as error:
            raise ViolationError("a pid that it was not given") from error
        except BrokenRingError:
            raise
        except Exception as error:  # whatever it found in here, it costs the cell and nobody else
            log(logger, logging.ERROR, "a record of the kind %s of a cell: %s", kind, format_reason(error_reason(error)))
            raise ViolationError(repr(error)) from error

    def proxy(self, serial: int) -> Pid:
        """The pid here of a process of the cell, by its serial there. Raises: ForgedError: there is none; ViolationError: one too many."""
        if serial < 1:
            raise ForgedError
        pid = self.proxies.get(serial)
        if pid is None:
            if len(self.proxies) >= MOST_PENDING:
                self._forget_ended()
            if len(self.proxies) >= MOST_PENDING:
                self.give_up(("limit", "pids"))
                raise ViolationError("more of its own pids than a cell may hand out")
            proxy = start(self.relay, (serial,), parent=self.process, runs="")
            extra(proxy).label = "process of a cell"
            pid = self._is_known(serial, proxy.pid)
            _gateways[proxy] = self
            self.put(Kind.MONITOR, serial, 0, serial, b"")
        return pid

    def forget(self, proxy: Process) -> None:
        """Whom this proxy stands for has ended, and need not be told of its end."""
        _gateways.pop(proxy, None)

    def _forget_ended(self) -> None:
        for serial, pid in list(self.proxies.items()):
            if pid.process is None:
                del self.proxies[serial], self.own[pid]

    def _is_known(self, serial: int, pid: Pid) -> Pid:
        self.proxies[serial] = pid
        self.own[pid] = serial
        return pid

    def ready(self, first: int) -> None:
        if self.connection.room:
            self.room = min(self.room, self.connection.room)
        self._is_known(first, self.process.pid)
        more = extra(self.process)
        more.closed = CLOSED - self.opened
        more.label = f"{self.what}, OS process {self.connection.os_pid()}"
        deliver(self.process, SETTLED)

    # --- the end ---

    def broke(self, fault: BrokenRingError) -> None:
        log(logger, logging.INFO, "the cell %s is ended, for what it wrote: %s", self.process.pid, fault)
        self.give_up(("capability_violation", "mailbox"))

    def give_up(self, reason: Any) -> None:
        """End it. The first reason is the one."""
        if self.reason is None:
            self.reason = (reason,)
        self.connection.mute()
        self.connection.kill()

    def ended(self, ended: Ended) -> None:
        """The OS process has ended, and all that it wrote was taken."""
        if self.reason is None:
            self.reason = (self._reason_of(ended),)
        (reason,) = self.reason
        self.served.close()
        if self.listener is not None and self.connection.is_of_open_node():
            self.listener.ended(reason, ended)
        for helper in [*self.pending.values(), *self.requests.values()]:
            end(helper, "killed")
        for pid in list(self.proxies.values()):
            if pid.process is not None and (self.is_started or pid is not self.process.pid):
                end(pid.process, reason)
        if not self.is_started:
            deliver(self.process, SETTLED)

    def _reason_of(self, ended: Ended) -> Any:
        status = ended.status
        if (reason := self.connection.maker.reason_of(ended)) is not None:
            return reason
        if self.connection.is_over_cpu or status == -signal.SIGXCPU:
            return ("limit", "cpu")
        if status is None:
            return ("cell_lost", ended.why)
        if status == OUT_OF_MEMORY:
            return ("limit", "memory")
        if status == -signal.SIGSYS:
            return ("capability_violation", "os")
        if status == -signal.SIGKILL:
            return "killed"
        if status < 0:
            return ("signal", name_of(-status))
        violation = seccomp.violation_of(status)
        return ("exit", status) if violation is None else ("capability_violation", "os", violation)


@cache
def _layers_of(opened: frozenset[str]) -> caps.Layers:
    """Of whom nothing but this is open to."""
    return caps.extend((), sorted((kind, "all") for kind in CLOSED - opened))


def name_of(signum: int) -> str:
    """Of a signal; those of real time have numbers only."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"SIG{signum}"


SETTLED: Final = object()  # to a gateway: the cell is locked, or has ended, perhaps both

_gateways: dict[Process, Gateway] = {}  # whose processes these are: those of cells, and their proxies


def _released(process: Process, reason: Any) -> None:
    """A process has ended: if it was a cell, its OS process does, too; if a proxy, whom it stood for."""
    gateway = _gateways.pop(process, None)
    if gateway is None:
        return
    if process is gateway.process:
        gateway.give_up(reason)
    elif (serial := gateway.own.get(process.pid, 0)) and not gateway.connection.is_doomed:
        gateway.put(Kind.EXIT, serial, 0, 0, pack("kill"))


on_release.append(_released)
