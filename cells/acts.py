"""The acts of a cell: all that it may ask for.

Theory of operation. Nothing that comes from the cell is believed: a record has a kind of the table `ACTS`, names whom it is for by a handle
that the cell was given (`handles`), and carries plain values. Exclusions are asked here, on the trusted side, for each request that leaves
the cell. A cell that writes what its runtime never would is killed: `("capability_violation", "mailbox")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import caps
from beamlike import CallError, Pid, WireError, call, monitor, pack, receive, reply, send
from beamlike.seam import (
    Refused,
    Under,
    count_dead_letter,
    current_process,
    current_router,
    deliver,
    end,
    exit_from_afar,
    extra,
    known_as,
    start,
)
from cells.handles import NOBODY
from cells.kinds import CellKind
from cells.translation import ForgedError, from_cell
from nodes.seam import MOST_BACKLOG, BrokenRingError, Kind

if TYPE_CHECKING:
    from cells.gateway import Gateway

MOST_PENDING: Final = 1000  # of calls and monitors of a cell that are not answered, and of its proxies
MOST_REQUESTS: Final = 64  # for files and connections that it waits for
STREAMS: Final = {1: "stdout", 2: "stderr"}


class ViolationError(BrokenRingError):
    """The cell has written what its runtime never would."""


def _target(gateway: Gateway, handle: int) -> Pid:
    pid = gateway.handles.pid(handle)
    if pid is None:
        raise ForgedError
    return pid


def _value(gateway: Gateway, payload: bytes) -> Any:
    return from_cell(payload, gateway.handles.pid, gateway.proxy)


def _do(gateway: Gateway, ref: int, fn: Callable[..., Any], *args: Any, io: bool = False) -> None:
    """Let a process of its own do what the cell has asked for under this number. `io`: it opens, reads or writes."""
    pending, most = (gateway.requests, MOST_REQUESTS) if io else (gateway.pending, MOST_PENDING)
    if ref in pending:
        raise ViolationError("two requests under one number")
    if len(pending) >= most:
        gateway.give_up(("limit", "requests"))
        return
    helper = start(_done, (gateway, ref, io, fn, args), parent=gateway.process, io=io, runs="")
    extra(helper).label = "request of a cell"
    pending[ref] = helper


async def _done(gateway: Gateway, ref: int, io: bool, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        await fn(gateway, ref, *args)
    finally:
        pending = gateway.requests if io else gateway.pending
        if pending.get(ref) is current_process():  # else it was ended, and the number is another's
            del pending[ref]


def _send(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    if to == NOBODY:
        return
    pid = _target(gateway, to)
    try:
        message = _value(gateway, payload)
    except WireError:
        count_dead_letter(pid, None, "undecodable")
        return
    layers = gateway.process.layers
    if any(term[0] in ("send", "only") for layer in layers for term in layer.terms):
        if not caps.permits(layers, "send", *known_as(pid)):
            count_dead_letter(pid, message, "excluded")
            return
    else:
        gateway.connection.inlet.free = layers  # as long as they are the same, plain messages need not come this way
    if pid.process is not None:
        deliver(pid.process, message)
    else:
        send(pid, message)
        _hold_back(gateway, pid)


def _hold_back(gateway: Gateway, pid: Pid) -> None:
    """Take no more of the cell while too much waits on the way to another node, for there is nobody who could be suspended (M10)."""
    peer = pid.origin.peer
    if peer is not None and peer.backlog_bytes > MOST_BACKLOG:
        gateway.connection.await_room(peer)


def _call(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    pid = _target(gateway, to)
    try:
        request = _value(gateway, payload)
    except WireError as error:
        _put_down(gateway, from_, ref, ("undecodable", str(error)))
    else:
        _do(gateway, ref, _answer_call, pid, from_, request)


def _call_limited(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    """A process of the cell that has exclusions of its own calls: these are the cell's business."""
    match _reason(gateway, payload):
        case (None, request, _):
            _do(gateway, ref, _answer_call, _target(gateway, to), from_, request)
        case _:
            _put_down(gateway, from_, ref, "noproc")


def _tighten(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    """Nothing out here descends from its processes."""
    if ref:
        gateway.put(Kind.REPLY, from_, 1, ref, pack(("ok", 0)))


async def _answer_call(gateway: Gateway, ref: int, pid: Pid, from_: int, request: Any) -> None:
    try:
        with Under(current_process(), gateway.closed):
            value = await call(pid, request, timeout=None)
    except (CallError, PermissionError) as error:
        _tell_down(gateway, from_, ref, getattr(error, "reason", str(error)))
        return
    payload = gateway.packed(value)
    if payload is None:
        _tell_down(gateway, from_, ref, ("undeliverable", "the answer"))
    else:
        gateway.connection.peer.put_for_caller(Kind.REPLY, from_, 1, ref, payload)


def _put_down(gateway: Gateway, watcher: int, ref: int, reason: Any) -> None:
    gateway.put(Kind.DOWN, watcher, 0, ref, _packed_reason(gateway, reason))


def _tell_down(gateway: Gateway, watcher: int, ref: int, reason: Any) -> None:
    """The same by a process of its own, which waits while the cell does not read."""
    gateway.connection.peer.put_for_caller(Kind.DOWN, watcher, 0, ref, _packed_reason(gateway, reason))


def _packed_reason(gateway: Gateway, reason: Any) -> bytes:
    return gateway.packed(reason) or pack(repr(reason)[: min(1000, max(gateway.room // 4 - 2, 0))])


def _reply(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    caller = gateway.calls.pop(ref, None)
    if caller is not None:
        try:
            reply(caller, _value(gateway, payload))
        except WireError as error:
            reply(caller, Refused(f"the answer of the {gateway.what} is no value: {error}"))
        _hold_back(gateway, caller.pid)


def _monitor(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    _do(gateway, ref, _answer_monitor, _target(gateway, to), from_)


async def _answer_monitor(gateway: Gateway, ref: int, pid: Pid, from_: int) -> None:
    monitor(pid)
    _tell_down(gateway, from_, ref, (await receive()).reason)


def _demonitor(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    helper = gateway.pending.pop(ref, None)
    if helper is not None:
        end(helper, "normal")


def _down(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    """A process of the cell has ended: we watch those that have a proxy, under their serials."""
    proxy = gateway.proxies.get(ref)
    if proxy is not None and proxy.process is not None and proxy.process is not gateway.process:
        gateway.forget(proxy.process)
        end(proxy.process, _reason(gateway, payload))


def _exit(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    pid, reason = _target(gateway, to), _reason(gateway, payload)
    if "exit" in gateway.opened and caps.permits(gateway.process.layers, "exit", *known_as(pid)):
        if pid.process is not None:
            exit_from_afar(gateway.process.pid, pid, reason, link=False)
        else:
            current_router().exit(gateway.process.pid, pid, reason)
            _hold_back(gateway, pid)


def _link(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    """A cell is linked from outside only: it could not be told apart who of it has ended."""
    gateway.put(Kind.EXIT_LINKED, from_, to, 0, pack("noconnection"))


def _nothing(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    """It asks for nothing that there is."""


def _nobody(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    """It asks for somebody by a name, and was given none."""
    _put_down(gateway, from_, ref, "noproc")


def _no_info(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    gateway.put(Kind.REPLY, from_, 1, ref, pack(None))


def _no_spawn(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    refused = ("error", "PermissionError", "a cell starts processes in itself only")
    gateway.put(Kind.SPAWNED, from_, 0, ref, pack((False, False, refused)))


def _wrote(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    stream = STREAMS.get(ref)
    if stream is None:
        raise ViolationError("output to another stream")
    gateway.output_left -= len(payload)
    if gateway.output_left < 0:
        gateway.give_up(("limit", "output"))
        payload = payload[: gateway.output_left]
    if gateway.listener is not None and payload:
        gateway.listener.wrote(stream, payload)


def _request(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    _do(gateway, ref, _answer_request, _reason(gateway, payload), io=True)


async def _answer_request(gateway: Gateway, ref: int, request: Any) -> None:
    answer = await gateway.served.answer(request)
    gateway.connection.peer.put_for_caller(CellKind.ANSWER, 0, 0, ref, pack(answer))


def _program_ended(gateway: Gateway, to: int, from_: int, ref: int, payload: bytes) -> None:
    if gateway.proxies.get(from_) is not gateway.process.pid:
        raise ViolationError("the end of a process that was none")
    match _reason(gateway, payload):
        case (("MemoryError", _), _):
            gateway.give_up(("limit", "memory"))
        case reason:
            gateway.give_up(reason)


def _reason(gateway: Gateway, payload: bytes) -> Any:
    """A value that is to be shown, as reasons are: an int may have more digits than Python prints."""
    try:
        reason = _value(gateway, payload)
        repr(reason)
    except (WireError, ValueError) as error:
        return ("undecodable", str(error))
    return reason


Act = Callable[["Gateway", int, int, int, bytes], None]  # to, from, ref, payload

ACTS: Final[dict[int, Act]] = {
    Kind.SEND: _send,
    Kind.SEND_NAMED: _nothing,
    Kind.CALL: _call,
    Kind.CALL_NAMED: _nobody,
    Kind.REPLY: _reply,
    Kind.EXIT: _exit,
    Kind.EXIT_LINKED: _nothing,
    Kind.LINK: _link,
    Kind.UNLINK: _nothing,
    Kind.MONITOR: _monitor,
    Kind.MONITOR_NAMED: _nobody,
    Kind.DEMONITOR: _demonitor,
    Kind.DOWN: _down,
    Kind.SPAWN: _no_spawn,
    Kind.INFO: _no_info,
    Kind.PROBE: _nothing,
    Kind.CALL_LIMITED: _call_limited,
    Kind.SEND_LIMITED: _send,
    Kind.TIGHTEN: _tighten,
    CellKind.ENDED: _program_ended,
    CellKind.OUTPUT: _wrote,
    CellKind.REQUEST: _request,
}
