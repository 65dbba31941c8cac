"""The gateway: the process that a cell is to everybody else, and all that a cell can reach.

Theory of operation. Whoever sends to, links, monitors, kills or supervises a cell does it to its gateway, a process like any other; when
that ends the cell is killed, and when the cell ends it ends with a reason that says why. Each further process of the cell whose pid gets
out has a process here too, a *proxy*, so it is a pid like any other as well.

Nothing that comes from the cell is believed: a record has a kind of the table `ACTS`, names whom it is for by a handle that the cell was
given (`handles`), and carries plain values. Exclusions are asked here, on the trusted side, for each request that leaves the cell. A cell
that writes what its runtime never would is killed: `("capability_violation", "mailbox")`. Of what it sends so much is taken in a turn, and
so many records in a second; the rest waits in its own ring, and whoever sends in the cell with it.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any, Final, Protocol

import caps
from beamlike import CallError, Pid, Stop, WireError, call, monitor, pack, receive, reply, send
from beamlike.seam import (
    Call,
    Caller,
    Process,
    Refused,
    Under,
    count_dead_letter,
    current_process,
    current_router,
    deliver,
    end,
    error_reason,
    exit_from_afar,
    extra,
    format_reason,
    known_as,
    log,
    on_release,
    pack_quickly,
    release_caller,
    start,
)
from cells import seccomp
from cells.connection import Connection
from cells.handles import Handles, TooManyError
from cells.kinds import OUT_OF_MEMORY, CellKind
from cells.limits import Limits
from cells.maker import Ended
from cells.served import Served
from cells.translation import ForgedError, from_cell, to_cell
from nodes.seam import MOST_BACKLOG, BrokenRingError, Kind, may_hold_pid

SEND: Final = int(Kind.SEND)  # plain: a member costs a look-up
NOBODY: Final = 0  # the handle of who calls: a cell learns of nobody but those whom it is handed
MOST_PENDING: Final = 1000  # of calls and monitors of a cell that are not answered, and of its proxies
MOST_CALLS: Final = 100_000  # to a cell that it has not answered
MOST_REQUESTS: Final = 64  # for files and connections that it waits for
MOST_UNREAD: Final = 1024 * 1024  # bytes of answers that wait for a cell to read any
OVERHEAD: Final = 100  # bytes that one costs besides what is in it
CLOSED: Final = frozenset(kind for kind, _ in caps.all_but("send"))  # to a cell, unless it is opened
STREAMS: Final = {1: "stdout", 2: "stderr"}


logger = logging.getLogger("beamlike.cells")


class Listener(Protocol):
    """Who is told what a program writes, and how it ended."""

    def wrote(self, stream: str, data: bytes) -> None:
        """To `stdout` or `stderr`."""

    def ended(self, reason: Any, ended: Ended) -> None:
        """Its OS process has ended."""


class ViolationError(BrokenRingError):
    """The cell has written what its runtime never would."""


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
        self.closed: caps.Layers = caps.extend((), sorted((kind, "all") for kind in CLOSED - opened))
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
        put, most = self.connection.peer.put_for_caller, self.room
        while True:
            message = await receive()
            if type(message) is Call:
                self._pass_call(serial, message)
                continue
            payload = pack_quickly(message)  # the commonest: plain, and short
            if payload is None or may_hold_pid(payload) or len(payload) > most:
                self._pass(serial, message)
            else:
                put(SEND, serial, 0, 0, payload)

    def _pass(self, serial: int, message: Any) -> None:
        payload = self._packed(message)
        if payload is None:
            count_dead_letter(self.process.pid, message, "undeliverable")
        else:
            self.connection.peer.put_for_caller(Kind.SEND, serial, 0, 0, payload)

    def _pass_call(self, serial: int, message: Call) -> None:
        payload = pack_quickly(message.request)
        if payload is None or may_hold_pid(payload) or len(payload) > self.room:
            payload = self._packed(message.request)
        if payload is None:
            count_dead_letter(self.process.pid, message, "undeliverable")
            self._refuse(message, f"the request is no value, or has more than {self.room} bytes")
            return
        if len(self.calls) >= MOST_CALLS:
            self._forget_calls()
        if len(self.calls) >= MOST_CALLS:
            self._refuse(message, f"{len(self.calls)} calls are unanswered already")
            return
        self.last_call += 1
        self.calls[self.last_call] = message.caller
        release_caller(message.caller)
        self.connection.peer.put_for_caller(Kind.CALL, serial, NOBODY, self.last_call, payload)

    def _refuse(self, message: Call, why: str) -> None:
        reply(message.caller, Refused(f"the {self.what} does not take this request: {why}"))

    def _forget_calls(self) -> None:
        """Of those who wait no longer. Of who is on another node that is not known."""
        for number, caller in list(self.calls.items()):
            process = caller.pid.process
            is_here = caller.pid.origin is self.process.pid.origin
            if is_here and (process is None or process.calls is None or caller.ref not in process.calls):
                del self.calls[number]

    def _packed(self, message: Any) -> bytes | None:
        """The bytes of a message to the cell; None if it cannot have it: too long, or no value."""
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
        act = ACTS.get(kind)
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

    def _target(self, handle: int) -> Pid:
        pid = self.handles.pid(handle)
        if pid is None:
            raise ForgedError
        return pid

    def _value(self, payload: bytes) -> Any:
        return from_cell(payload, self.handles.pid, self._proxy)

    def _proxy(self, serial: int) -> Pid:
        """The pid here of a process of the cell."""
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

    def _forget_ended(self) -> None:
        for serial, pid in list(self.proxies.items()):
            if pid.process is None:
                del self.proxies[serial], self.own[pid]

    def _is_known(self, serial: int, pid: Pid) -> Pid:
        self.proxies[serial] = pid
        self.own[pid] = serial
        return pid

    def _do(self, ref: int, fn: Callable[..., Any], *args: Any, io: bool = False) -> None:
        """Let a process of its own do what the cell has asked for under this number. `io`: it opens, reads or writes."""
        pending, most = (self.requests, MOST_REQUESTS) if io else (self.pending, MOST_PENDING)
        if ref in pending:
            raise ViolationError("two requests under one number")
        if len(pending) >= most:
            raise ViolationError("more requests than a cell may have unanswered")
        helper = start(self._done, (ref, io, fn, args), parent=self.process, io=io, runs="")
        extra(helper).label = "request of a cell"
        pending[ref] = helper

    async def _done(self, ref: int, io: bool, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            await fn(ref, *args)
        finally:
            pending = self.requests if io else self.pending
            if pending.get(ref) is current_process():  # else it was ended, and the number is another's
                del pending[ref]

    def ready(self, first: int) -> None:
        if self.connection.room:
            self.room = min(self.room, self.connection.room)
        self._is_known(first, self.process.pid)
        more = extra(self.process)
        more.closed = CLOSED - self.opened
        more.label = f"{self.what}, OS process {self.connection.os_pid()}"
        deliver(self.process, SETTLED)

    def _send(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        if to == NOBODY:
            return
        pid = self._target(to)
        try:
            message = self._value(payload)
        except WireError:
            count_dead_letter(pid, None, "undecodable")
            return
        layers = self.process.layers
        if any(term[0] in ("send", "only") for layer in layers for term in layer.terms):
            if not caps.permits(layers, "send", *known_as(pid)):
                count_dead_letter(pid, message, "excluded")
                return
        else:
            self.connection.inlet.free = layers  # as long as they are the same, plain messages need not come this way
        if pid.process is not None:
            deliver(pid.process, message)
        else:
            send(pid, message)
            self._hold_back(pid)

    def _hold_back(self, pid: Pid) -> None:
        """Take no more of the cell while too much waits on the way to another node, for there is nobody who could be suspended (M10)."""
        peer = pid.origin.peer
        if peer is not None and peer.backlog_bytes > MOST_BACKLOG:
            self.connection.await_room(peer)

    def _call(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        pid = self._target(to)
        try:
            request = self._value(payload)
        except WireError as error:
            self._put_down(from_, ref, ("undecodable", str(error)))
        else:
            self._do(ref, self._answer_call, pid, from_, request)

    def _call_limited(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        """A process of the cell that has exclusions of its own calls: these are the cell's business."""
        match self._reason(payload):
            case (None, request, _):
                self._do(ref, self._answer_call, self._target(to), from_, request)
            case _:
                self._put_down(from_, ref, "noproc")

    def _tighten(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        """Nothing out here descends from its processes."""
        if ref:
            self.put(Kind.REPLY, from_, 1, ref, pack(("ok", 0)))

    async def _answer_call(self, ref: int, pid: Pid, from_: int, request: Any) -> None:
        try:
            with Under(current_process(), self.closed):
                value = await call(pid, request, timeout=None)
        except (CallError, PermissionError) as error:
            self._tell_down(from_, ref, getattr(error, "reason", str(error)))
            return
        payload = self._packed(value)
        if payload is None:
            self._tell_down(from_, ref, ("undeliverable", "the answer"))
        else:
            self.connection.peer.put_for_caller(Kind.REPLY, from_, 1, ref, payload)

    def _put_down(self, watcher: int, ref: int, reason: Any) -> None:
        self.put(Kind.DOWN, watcher, 0, ref, self._packed_reason(reason))

    def _tell_down(self, watcher: int, ref: int, reason: Any) -> None:
        """The same by a process of its own, which waits while the cell does not read."""
        self.connection.peer.put_for_caller(Kind.DOWN, watcher, 0, ref, self._packed_reason(reason))

    def _packed_reason(self, reason: Any) -> bytes:
        return self._packed(reason) or pack(repr(reason)[: min(1000, max(self.room // 4 - 2, 0))])

    def _reply(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        caller = self.calls.pop(ref, None)
        if caller is not None:
            try:
                reply(caller, self._value(payload))
                self._hold_back(caller.pid)
            except WireError:
                self.calls[ref] = caller  # whoever asked waits on, as for one that never answers
                count_dead_letter(caller.pid, None, "undecodable")

    def _monitor(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        self._do(ref, self._answer_monitor, self._target(to), from_)

    async def _answer_monitor(self, ref: int, pid: Pid, from_: int) -> None:
        monitor(pid)
        self._tell_down(from_, ref, (await receive()).reason)

    def _demonitor(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        helper = self.pending.pop(ref, None)
        if helper is not None:
            end(helper, "normal")

    def _down(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        """A process of the cell has ended: we watch those that have a proxy, under their serials."""
        proxy = self.proxies.get(ref)
        if proxy is not None and proxy.process is not None and proxy.process is not self.process:
            _gateways.pop(proxy.process, None)  # it need not be told
            end(proxy.process, self._reason(payload))

    def _exit(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        pid, reason = self._target(to), self._reason(payload)
        if "exit" in self.opened and caps.permits(self.process.layers, "exit", *known_as(pid)):
            if pid.process is not None:
                exit_from_afar(self.process.pid, pid, reason, link=False)
            else:
                current_router().exit(self.process.pid, pid, reason)
                self._hold_back(pid)

    def _link(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        """A cell is linked from outside only: it could not be told apart who of it has ended."""
        self.put(Kind.EXIT_LINKED, from_, to, 0, pack("noconnection"))

    def _nothing(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        """It asks for nothing that there is."""

    def _nobody(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        """It asks for somebody by a name, and was given none."""
        self._put_down(from_, ref, "noproc")

    def _no_info(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        self.put(Kind.REPLY, from_, 1, ref, pack(None))

    def _no_spawn(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        refused = ("error", "PermissionError", "a cell starts processes in itself only")
        self.put(Kind.SPAWNED, from_, 0, ref, pack((False, False, refused)))

    def _wrote(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        stream = STREAMS.get(ref)
        if stream is None:
            raise ViolationError("output to another stream")
        self.output_left -= len(payload)
        if self.output_left < 0:
            self.give_up(("limit", "output"))
            payload = payload[: self.output_left]
        if self.listener is not None and payload:
            self.listener.wrote(stream, payload)

    def _request(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        self._do(ref, self._answer_request, self._reason(payload), io=True)

    async def _answer_request(self, ref: int, request: Any) -> None:
        answer = await self.served.answer(request)
        self.connection.peer.put_for_caller(CellKind.ANSWER, 0, 0, ref, pack(answer))

    def _program_ended(self, to: int, from_: int, ref: int, payload: bytes) -> None:
        if self.proxies.get(from_) is not self.process.pid:
            raise ViolationError("the end of a process that was none")
        match self._reason(payload):
            case (("MemoryError", _), _):
                self.give_up(("limit", "memory"))
            case reason:
                self.give_up(reason)

    def _reason(self, payload: bytes) -> Any:
        """A value that is to be shown, as reasons are: an int may have more digits than Python prints."""
        try:
            reason = self._value(payload)
            repr(reason)
        except (WireError, ValueError) as error:
            return ("undecodable", str(error))
        return reason

    # --- the end ---

    def broke(self, fault: BrokenRingError) -> None:
        log(logger, logging.INFO, "the cell %s is ended, for what it wrote: %s", self.process.pid, fault)
        self.give_up(("capability_violation", "mailbox"))

    def give_up(self, reason: Any) -> None:
        """End it. The first reason is the one."""
        if self.reason is None:
            self.reason = (reason,)
        self.connection.is_mute = True
        self.connection.kill()

    def ended(self, ended: Ended) -> None:
        """The OS process has ended, and all that it wrote was taken."""
        if self.reason is None:
            self.reason = (self._reason_of(ended),)
        (reason,) = self.reason
        self.served.close()
        if self.listener is not None:
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


def name_of(signum: int) -> str:
    """Of a signal; those of real time have numbers only."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"SIG{signum}"


SETTLED: Final = object()  # to a gateway: the cell is locked, or has ended, perhaps both
Act = Callable[[Gateway, int, int, int, bytes], None]  # to, from, ref, payload

ACTS: Final[dict[int, Act]] = {
    Kind.SEND: Gateway._send,
    Kind.SEND_NAMED: Gateway._nothing,
    Kind.CALL: Gateway._call,
    Kind.CALL_NAMED: Gateway._nobody,
    Kind.REPLY: Gateway._reply,
    Kind.EXIT: Gateway._exit,
    Kind.EXIT_LINKED: Gateway._nothing,
    Kind.LINK: Gateway._link,
    Kind.UNLINK: Gateway._nothing,
    Kind.MONITOR: Gateway._monitor,
    Kind.MONITOR_NAMED: Gateway._nobody,
    Kind.DEMONITOR: Gateway._demonitor,
    Kind.DOWN: Gateway._down,
    Kind.SPAWN: Gateway._no_spawn,
    Kind.INFO: Gateway._no_info,
    Kind.PROBE: Gateway._nothing,
    Kind.CALL_LIMITED: Gateway._call_limited,
    Kind.SEND_LIMITED: Gateway._send,
    Kind.TIGHTEN: Gateway._tighten,
    CellKind.ENDED: Gateway._program_ended,
    CellKind.OUTPUT: Gateway._wrote,
    CellKind.REQUEST: Gateway._request,
}

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
