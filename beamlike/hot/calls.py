"""Calls: a request to a server and the wait for its answer.

A call watches the server while it waits, so it cannot hang on one that dies (G1). The answer does not go through the mailbox: it is
put into the `Wait` that the caller's record holds under the call's ref, and where there is none (any more) it is dropped (M5). So
a call costs the same however many messages wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamlike.hot import scheduler
from beamlike.hot.guards import acts_as_service, require_target
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.portable import PARK
from beamlike.hot.process import INFINITY, RUNNABLE, WAITING, Process
from beamlike.hot.scheduler import check_timeout, deliver, make_ref, now, wake
from beamlike.hot.values import copy_value, register_record

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython

DEFAULT_TIMEOUT = 5.0  # seconds, as gen_server:call
NEW, BEGUN, ANSWERED, FAILED = 0, 1, 2, 3


@cython.final
@cython.no_gc
@cython.freelist(64)
@cython.cclass
class Caller:
    """Whom to answer: what `handle_call` gets, and `reply` takes. Can be kept and sent."""

    __slots__ = ("pid", "ref")
    __match_args__ = ("pid", "ref")

    def __init__(self, pid: Pid, ref: Ref) -> None:
        self.pid = pid
        self.ref = ref

    def __eq__(self, other: object) -> bool:
        return type(other) is Caller and self.ref == other.ref and self.pid == other.pid

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"Caller({self.pid}, {self.ref})"


@cython.final
@cython.no_gc
@cython.freelist(64)
@cython.cclass
class Call:
    """The message of a call. A process that is no GenServer may receive it, too, and `reply(call.caller, …)`."""

    # `layers` are those under which the caller acted (`caller_layers`): `()` of most. A process cannot send a call without its own.
    __slots__ = ("caller", "layers", "request")
    __match_args__ = ("caller", "request")

    def __init__(self, caller: Caller, request: Any, layers: tuple[Any, ...] = ()) -> None:
        self.caller = caller
        self.request = request
        self.layers = layers

    def __eq__(self, other: object) -> bool:
        return type(other) is Call and self.caller == other.caller and bool(self.request == other.request)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Call({self.caller}, {self.request!r})"


@cython.final
@cython.no_gc
@cython.freelist(64)
@cython.cclass
class Cast:
    """The message of a cast."""

    __slots__ = ("layers", "request")  # as those of Call
    __match_args__ = ("request",)

    def __init__(self, request: Any, layers: tuple[Any, ...] = ()) -> None:
        self.request = request
        self.layers = layers

    def __eq__(self, other: object) -> bool:
        return type(other) is Cast and bool(self.request == other.request)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Cast({self.request!r})"


register_record(Caller, ("pid", "ref"), frozen=True, slotted=True)
register_record(Call, ("caller", "request", "layers"), frozen=True, slotted=True)
register_record(Cast, ("request", "layers"), frozen=True, slotted=True)


def joined(layers: tuple[Any, ...], more: tuple[Any, ...]) -> tuple[Any, ...]:
    """Both, none twice; the same object if `more` adds nothing."""
    added = [layer for layer in more if layer not in layers]
    return (*layers, *added) if added else layers


def _limited_call(call: Call, layers: tuple[Any, ...], destination: Any) -> Call:
    return Call(call.caller, call.request, joined(call.layers, layers))


def _limited_cast(cast: Cast, layers: tuple[Any, ...], destination: Any) -> Cast:
    return Cast(cast.request, joined(cast.layers, layers))


_refusal: Any = None


def refuse_by(kind: type) -> None:
    """An answer of this type is none: its `text` says why the request was refused."""
    global _refusal
    _refusal = kind


scheduler.stamp_by(Call, _limited_call)
scheduler.stamp_by(Cast, _limited_cast)


@cython.final
@cython.freelist(64)
@cython.cclass
class Wait:
    """One call in flight: what `call` gives to await. The request leaves when it is first awaited."""

    __slots__ = ("event", "is_over", "is_permitted", "layers", "process", "ref", "request", "server", "state", "timeout", "value")

    process: Process
    server: Any  # a Pid, or (name, node) of another node
    request: Any
    timeout: float
    state: int
    ref: Ref
    value: Any  # the answer, or the reason
    event: Any  # trio.Event in trio mode
    layers: tuple[Any, ...]  # under which the caller acted when it made it
    is_over: bool  # it was awaited to its end
    is_permitted: bool  # whoever made it had it checked otherwise

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        outcome = _poll_wait(self)
        if outcome is PARK:
            return PARK
        raise StopIteration(outcome)

    def begin(self) -> None:
        """Send the request and watch the server."""
        me = self.process
        self.ref = make_ref()
        if me.is_restrained and not self.is_permitted:
            self.check_again()
        if me.calls is None:
            me.calls = {}
        me.calls[self.ref] = self
        self.state = BEGUN
        server = self.local_server()
        if server is None:
            peer = self.peer()
            if peer is not None:
                peer.call(self)
            else:
                scheduler.hooks_or_error().call_elsewhere(self)
            return
        if server is me or (self.event is None and (server.calling is not None or server.calls is not None)):
            self.refuse_cycle(server)
            if self.state == FAILED:
                return
        if server.monitored_by is None:
            server.monitored_by = {}
        server.monitored_by[self.ref] = me.pid
        if self.event is None:
            me.calling = server
        caller: Caller = Caller.__new__(Caller)
        caller.pid = me.pid
        caller.ref = self.ref
        message: Call = Call.__new__(Call)
        message.caller = caller
        message.request = self.request
        message.layers = self.layers
        deliver(server, message)

    def check_again(self) -> None:
        """The caller may have been tightened since it made the call."""
        layers = scheduler.layers_of(self.process)
        if layers is not self.layers:
            permit_call(self.process, layers, self.server)
            self.layers = layers

    def local_server(self) -> Process | None:
        """The server's record, if it lives here."""
        if type(self.server) is not Pid:
            return None
        pid: Pid = self.server
        return pid.process  # type: ignore[no-any-return]

    def peer(self) -> Any:
        """What leads to the server if it is a process of another node that is reached (`routing.Peer`), else None."""
        if type(self.server) is not Pid:
            return None
        pid: Pid = self.server
        return pid.origin.peer

    def refuse_cycle(self, server: Process) -> None:
        """Fail at once if the server waits, through calls, for this caller (G7)."""
        chain = [self.process.pid]
        last: Process = server
        other: Process | None = server
        while other is not None:
            chain.append(other.pid)
            if other is self.process:
                self.fail(("calling_itself", tuple(chain)))
                return
            last = other
            other = other.calling
        if last.calls is not None:
            scheduler.hooks_or_error().call_may_lead_elsewhere(self)

    def answer(self, value: Any) -> None:
        """The reply has come. Only the first thing that happens to a call counts."""
        if self.state == BEGUN:
            if type(value) is _refusal:
                self.fail(("refused", value.text))
                return
            self.value = value
            self.state = ANSWERED
            self.go_on()

    def fail(self, reason: Any) -> None:
        """There will be no reply."""
        if self.state == BEGUN:
            self.value = reason
            self.state = FAILED
            self.go_on()

    def go_on(self) -> None:
        """Let the caller look."""
        me = self.process
        if self.event is not None:
            self.event.set()
        elif me.state == WAITING and me.task is None:
            wake(me)

    def end(self) -> None:
        """Switch the reply address off (M5) and watch the server no longer."""
        me = self.process
        me.calling = None
        if me.calls is not None:
            me.calls.pop(self.ref, None)
            if not me.calls:
                me.calls = None
        server = self.local_server()
        if server is not None:
            if server.monitored_by is not None:
                server.monitored_by.pop(self.ref, None)
        elif self.state != FAILED:
            peer = self.peer()
            if peer is not None:
                peer.call_over(self)
            else:
                scheduler.hooks_or_error().call_ended_elsewhere(self)


def _poll_wait(awaitable: Any) -> Any:
    """The answer, or PARK."""
    wait: Wait = awaitable
    me = wait.process
    if me is not scheduler.stepped():
        raise RuntimeError("this call() was made by another process, or in the other mode: await it where it is made")
    if wait.is_over:
        raise RuntimeError("this call() was awaited before: make another one")
    if wait.state == NEW:
        if me.pid.process is None:
            raise scheduler.hooks_or_error().exit_of(me)  # a dead process watches nobody
        try:
            wait.begin()
        except BaseException:
            wait.end()
            wait.is_over = True
            raise
        if wait.state == BEGUN:
            if wait.timeout != INFINITY:
                scheduler.arm(me, now() + wait.timeout)
            if me.state == RUNNABLE:
                me.state = WAITING
            return PARK
    elif wait.state == BEGUN:
        if now() < me.deadline:
            if me.state == RUNNABLE:
                me.state = WAITING
            return PARK
    me.deadline = INFINITY
    wait.end()
    wait.is_over = True
    if wait.state == ANSWERED:
        return wait.value
    raise scheduler.hooks_or_error().call_error(wait)


def make_wait(process: Process, server: Any, request: Any, timeout: Any) -> Wait:
    """A call that has not begun. `timeout`: seconds, INFINITY for ever."""
    wait: Wait = Wait.__new__(Wait)
    wait.process = process
    wait.server = server
    wait.request = request
    wait.timeout = timeout
    wait.layers = process.layers if process is scheduler.stepped() else scheduler.layers_of(process)
    wait.state = 0
    wait.is_over = wait.is_permitted = False
    wait.ref = wait.value = wait.event = None  # type: ignore[assignment]  # `begin` makes the ref
    return wait


@cython.annotation_typing(False)
def call(server: Any, request: Any, timeout: float | None = DEFAULT_TIMEOUT) -> Any:
    """Await the answer of a server to a request (G1).

    It never hangs on a server that is dead, dies, or is lost with its node; nor on one that waits for the caller (G7), unless one of
    them waits inside `io()`, where other tasks of it may yet answer. The server
    gets a value of its own, and so does the caller (M7). A checkpoint; after a timeout a late answer is dropped (M5), but the
    server may have done what was asked.

    Args:
        server: a pid, a registered name, or `(name, node)`.
        request: a `Request[R]` tells a type checker that the answer is an `R`.
        timeout: seconds; None waits for ever.

    Raises:
        CallError: no answer; `reason` says why: `noproc`, `noconnection`, `(calling_itself, …)`, what the server ended with.
        CallTimeoutError,
            which is also a TimeoutError: `timeout`.
        BadNameError: nobody has that name.
        CapabilityError: an exclusion of the caller's refuses it to send there.
        TypeError, ValueError: the request cannot be sent, or an argument is not what it should be.
        RuntimeError: outside a process.
    """
    return _call(scheduler.caller("call"), server, request, timeout, False)


@cython.annotation_typing(False)
def ask_service(service: Any, request: Any, timeout: float | None) -> Any:
    """`call` of a service of the runtime's, whose face has checked already what the caller asks for: that it is done by a message is
    not the caller's business."""
    return _call(scheduler.caller("call"), service, request, timeout, True)


def _call(process: Process, server: Any, request: Any, timeout: Any, is_permitted: bool) -> Any:
    seconds = check_timeout(timeout)
    if type(server) is not Pid:
        server = scheduler.hooks_or_error().resolve(server)
    wait = make_wait(process, server, copy_value(request), INFINITY if seconds is None else seconds)
    if is_permitted:
        wait.is_permitted = True
        wait.layers = ()  # the service is asked by its face: one that arrives with layers was made by hand
    elif len(wait.layers) > 0:
        permit_call(process, wait.layers, server)
        if acts_as_service(process):
            wait.layers = ()
            wait.is_permitted = True
    if process is scheduler.stepped():
        return wait
    return scheduler.hooks_or_error().call_in_trio(wait)


def permit_call(process: Process, layers: tuple[Any, ...], server: Any) -> None:
    """CapabilityError unless the process may call this server, a pid or `(name, node)`."""
    if type(server) is not Pid:
        scheduler.hooks_or_error().permit_send(process, layers, server)
    elif server.process is not process:
        require_target(layers, server, process)


def cast(server: Any, request: Any) -> None:
    """Send a request that wants no answer. As `send`; a GenServer gets it in `handle_cast`."""
    scheduler.send(server, Cast(request))


@cython.annotation_typing(False)
def reply(caller: Caller, value: Any) -> None:
    """Answer a call, from any process (G2). Dropped if the caller waits no longer (M5).

    Raises: TypeError if `caller` is no Caller, or the value cannot be sent; RuntimeError in a thread.
    """
    scheduler.check_thread("reply")
    if type(caller) is not Caller:
        raise TypeError(f"reply expects the Caller that handle_call() got, not {caller!r}")
    value = copy_value(value)
    held = scheduler.outbox()
    if held is not None:
        held.reply(caller, value)
        return
    process: Process | None = caller.pid.process
    if process is None and caller.pid.origin.peer is not None:
        caller.pid.origin.peer.reply(caller.pid, caller.ref, value)
    elif process is None:
        scheduler.hooks_or_error().reply_elsewhere(caller, value)
    else:
        answer(process, caller.ref, value)


def answer(process: Process, ref: Ref, value: Any) -> None:
    """The reply to a call of a live local process has come; dropped if it waits no longer."""
    if process.calls is not None:
        wait: Wait | None = process.calls.get(ref)
        if wait is not None:
            wait.answer(value)


def release_caller(caller: Caller) -> None:
    """The server answers later, or somebody else does: it is no part of a cycle of calls meanwhile (G7)."""
    process: Process | None = caller.pid.process
    if process is None:
        scheduler.hooks_or_error().released_elsewhere(caller)
    elif process.calls is not None and caller.ref in process.calls:
        process.calling = None


if cython.compiled:
    set_pending(PARK)  # type: ignore[name-defined]  # noqa: F821
    poll_type(Wait, 1, _poll_wait)  # type: ignore[name-defined]  # noqa: F821
