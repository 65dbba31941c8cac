"""Global names: unique over all nodes, free when their holder ends or its node is lost (D5).

Theory of operation. The truth of a name is at its holder's node. Whoever wants one asks the leader (see `leading`), who reserves it; then
the holder's node has it, tells all others, and answers when all have heard. Every node keeps a copy of all names, so a look-up is one look
into a dict. A leader that knows another holder asks the node of that, for its death may be known there and not here; only then it refuses.
Nothing needs to be rebuilt by a new leader: each fellow's answer to it comes after all that this one told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beamlike import (
    NOREPLY,
    BadNameError,
    Caller,
    CallError,
    CallTimeoutError,
    Continue,
    Down,
    Pid,
    Ref,
    demonitor,
    make_ref,
    monitor,
    record,
    reply,
    self_pid,
    send,
)
from beamlike.seam import (
    NodeId,
    ask_service,
    check_access,
    check_name,
    check_timeout,
    current_node,
    current_process,
    known_as,
    now,
    permit,
    send_by,
)
from nodes.here import joined
from nodes.leading import Asked, Led

SERVICE = "beamlike.global_names"

_holders: dict[str, Pid] = {}  # of every name, as this node knows it


async def register_global(name: str, pid: Pid | None = None) -> None:
    """Give a process, the caller, a name that nobody else has on any node. When this returns, every node that is up knows it.

    A process may have several. If two ask for one name at the same time, one of them gets it. To give it again to its holder does
    nothing. A checkpoint; if it is cancelled, or the caller's node is lost, the name may have been given.

    Unlike Erlang there is no resolve function: what cannot happen on one machine, that two parts of a system were separated and come
    together with two holders, needs none.

    Raises:
        BadNameError: it is taken, and the error says by whom; or the process is not alive.
        CapabilityError: an exclusion refuses the caller this name.
        TypeError, ValueError: it is no name, or no Pid.
        RuntimeError: this node is alone.
    """
    check_access("register", check_name(name))
    holder = self_pid() if pid is None else pid
    if type(holder) is not Pid:
        raise TypeError(f"register_global expects a Pid, not {pid!r}")
    try:
        answer = await ask_service(_service(holder), ("register", name, holder), None)
    except CallError as error:
        if error.reason not in ("noconnection", "noproc"):
            raise
        answer = ("dead",)
    match answer:
        case ("taken", other):
            raise BadNameError(f"the global name {name!r} is taken by {other}: unregister it, or choose another")
        case ("dead",):
            raise BadNameError(f"{holder} is not alive: it gets no global name")


async def unregister_global(name: str) -> None:
    """Free a name. When this returns, no node that is up knows it any more. BadNameError if nobody has it; CapabilityError."""
    check_access("register", check_name(name))
    holder = whereis_global(name)
    if holder is None:
        raise BadNameError(f"nobody has the global name {name!r}")
    try:
        await ask_service(_service(holder), ("unregister", name, holder), None)
    except CallError as error:
        if error.reason not in ("noconnection", "noproc"):  # its node is lost, and it is free by that
            raise


def whereis_global(name: str) -> Pid | None:
    """Who has the name, by what this node knows: no other is asked. The end of a holder elsewhere is known a moment later."""
    holder = _holders.get(check_name(name))
    return None if holder is not None and holder.process is None and holder.origin == current_node() else holder


def registered_global() -> list[str]:
    """All global names, sorted, as this node knows them."""
    return sorted(_holders)


def send_global(name: str, message: Any) -> None:
    """`send` to who has the name. BadNameError if nobody has it; a message to who has just ended is lost (M2).

    Raises: CapabilityError if an exclusion refuses the caller to send to him, or to this name.
    """
    holder = whereis_global(name)
    if holder is None:
        _permit_send(name, None)
        raise BadNameError(f"nobody has the global name {name!r}")
    send_by(name, holder, message)


async def call_global(name: str, request: Any, timeout: float | None = 5.0) -> Any:
    """`call` to who has the name; if nobody has, wait until somebody does.

    So a call made while a service is moved to another node waits for it. A request that may have reached its server is not sent again: what
    ends then is raised, as by `call`.

    Raises: as `call`; CallTimeoutError also if nobody had the name in time.
    """
    life = joined()
    check_name(name)
    seconds = check_timeout(timeout)
    deadline = None if seconds is None else now() + seconds
    while True:
        rest = None if deadline is None else max(0.0, deadline - now())
        holder = whereis_global(name)
        if holder is None:
            _permit_send(name, None)
        if holder is None or not life.router.is_reachable(holder.origin):
            try:
                holder = await ask_service(SERVICE, ("await", name, holder), rest)
            except CallTimeoutError as error:
                raise CallTimeoutError(f"call to the global name {name!r}: nobody had it in {timeout} s", "timeout") from error
            continue
        try:
            _permit_send(name, holder)
            return await ask_service(holder, request, rest)
        except CallError as error:
            if error.reason != "noproc":  # what was not alive has not seen it
                raise
            if whereis_global(name) == holder:
                await ask_service(_service(holder), ("settle",), rest)


def _permit_send(name: str, holder: Pid | None) -> None:
    permit(current_process(), "send", name, *(() if holder is None else known_as(holder)))


def _lives() -> list[NodeId]:
    return [member.id for member in joined().membership.members.values()]


def _service(pid: Pid) -> Any:
    joined()  # or it says that this node is alone
    return SERVICE if pid.origin == current_node() else (SERVICE, pid.node)


# --- the process on each node -------------------------------------------------------------------------------------------------------


@record
class Owned:
    """What is held on a node, told to who comes."""

    fellow: Pid
    names: tuple[tuple[str, Pid], ...]


@record
class Held:
    """A holder's node: this name is given."""

    name: str
    holder: Pid
    heard: Ref | None  # to be answered by `Heard`, if anybody waits


@record
class Freed:
    """A holder's node: it is free."""

    name: str
    holder: Pid
    heard: Ref | None


@record
class Heard:
    """The answer to either."""

    fellow: Pid
    ref: Ref


@record
class Verify:
    """The leader asks a holder's node whether it is true."""

    asked: Asked
    holder: Pid


@record
class Verified:
    """The answer."""

    asked: Asked
    holder: Pid
    is_held: bool


class GlobalNames(Led):
    """See the module."""

    async def init(self) -> None:
        """Begin, with what the process of the same kind before this one left."""
        self.owned: dict[str, Ref] = {}  # names of processes here, with the monitor of each
        self.claims: dict[tuple[str, Pid], int] = {}  # asked of the leader: how many ask for the same
        self.unheard: dict[Ref, tuple[set[Pid], Callable[[], None]]] = {}
        self.waiting: dict[str, list[Caller]] = {}  # for somebody to have the name
        self.reserved: dict[str, Pid] = {}  # of the leader: given, and its holder's node has not told yet
        self.verifying: dict[Ref, tuple[Asked, Pid]] = {}  # of the leader
        for name, holder in list(_holders.items()):
            if holder.process is None:
                del _holders[name]
            else:
                self.owned[name] = monitor(holder)
        self.meet(SERVICE)

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        """Of the functions above."""
        match request:
            case ("register", name, pid):
                return self._register(name, pid, caller)
            case ("unregister", name, pid):
                if name not in self.owned or _holders.get(name) != pid:
                    return None
                self._free(name, lambda: reply(caller, None))
                return NOREPLY
            case ("await", name, before):
                holder = _holders.get(name)
                if holder is not None and holder != before:
                    return holder
                others = [
                    each
                    for each in self.waiting.get(name, ())
                    if each.pid.process is not None and each.ref in (each.pid.process.calls or ())
                ]
                self.waiting[name] = [*others, caller]
                return NOREPLY
            case ("settle",):
                return None
        return await super().handle_call(request, caller)

    # --- the holder's node ---

    def _register(self, name: str, pid: Pid, caller: Caller) -> Any:
        if pid.process is None:
            return ("dead",)
        self._forget_dead(name)
        if name in self.owned:
            return ("ok",) if _holders[name] == pid else ("taken", _holders[name])
        self.claims[name, pid] = self.claims.get((name, pid), 0) + 1
        self.ask_leader(("claim", name, pid), lambda other: self._answered(name, pid, caller, other))
        return NOREPLY

    def _answered(self, name: str, pid: Pid, caller: Caller, other: Pid | None) -> None:
        """The leader has reserved the name, or says who else has it."""
        self.claims[name, pid] -= 1
        if not self.claims[name, pid]:
            del self.claims[name, pid]
        if other is not None:
            reply(caller, ("taken", other))
        elif pid.process is None:
            self._publish(Freed(name, pid, None), None)  # the leader has reserved it
            self._now_free(name, pid)
            reply(caller, ("dead",))
        else:
            if name not in self.owned:
                self.owned[name] = monitor(pid)
                self._now_held(name, pid)
            self._publish(Held(name, pid, make_ref()), lambda: reply(caller, ("ok",)))

    def _free(self, name: str, then: Callable[[], None] | None = None) -> None:
        demonitor(self.owned.pop(name), flush=True)
        holder = _holders[name]
        self._now_free(name, holder)
        self._publish(Freed(name, holder, make_ref()), then)

    def _forget_dead(self, name: str) -> None:
        """The holder may have ended, and its `Down` be on its way."""
        if name in self.owned and _holders[name].process is None:
            self._free(name)

    def _is_held(self, name: str, holder: Pid) -> bool:
        self._forget_dead(name)
        return holder.process is not None and ((name, holder) in self.claims or (name in self.owned and _holders[name] == holder))

    def _publish(self, message: Held | Freed, then: Callable[[], None] | None) -> None:
        """Tell all fellows; call `then` when all have heard."""
        self.tell_all(message)
        if then is None or message.heard is None:
            return
        if self.fellows:
            self.unheard[message.heard] = set(self.fellows.values()), then
        else:
            then()

    def _heard(self, ref: Ref, fellow: Pid) -> None:
        if ref in self.unheard:
            fellows, then = self.unheard[ref]
            fellows.discard(fellow)
            if not fellows:
                del self.unheard[ref]
                then()

    # --- every node ---

    def _now_held(self, name: str, holder: Pid) -> None:
        _holders[name] = holder
        if self.reserved.get(name) == holder:
            del self.reserved[name]
        for caller in self.waiting.pop(name, ()):
            reply(caller, holder)

    def _now_free(self, name: str, holder: Pid) -> None:
        if _holders.get(name) == holder:
            del _holders[name]
        if self.reserved.get(name) == holder:
            del self.reserved[name]

    def fellow_joined(self, pid: Pid) -> None:
        """Tell it what is held here."""
        send(pid, Owned(self_pid(), tuple((name, _holders[name]) for name in self.owned)))
        super().fellow_joined(pid)

    def fellow_left(self, pid: Pid) -> None:
        """It is not waited for."""
        super().fellow_left(pid)
        self._drop_lost()
        for ref in list(self.unheard):
            self._heard(ref, pid)
        for ref, (asked, holder) in list(self.verifying.items()):
            if holder.origin == pid.origin:
                del self.verifying[ref]
                self.decide(asked)

    def nodes_changed(self) -> None:
        """A node may be lost."""
        self._drop_lost()
        super().nodes_changed()

    def _drop_lost(self) -> None:
        """What was held on nodes that are lost is free. Where only the connection is lost it is held on."""
        lives = {self_pid().origin, *_lives()}
        for table in (_holders, self.reserved):
            for name in [name for name, holder in table.items() if holder.origin not in lives]:
                del table[name]

    async def handle_rest(self, message: Any) -> Continue | None:
        """What the others tell."""
        match message:
            case Owned(fellow, names):
                if fellow in self.fellows.values():
                    for name, holder in list(_holders.items()):
                        if holder.origin == fellow.origin and (name, holder) not in names:
                            self._now_free(name, holder)
                    for name, holder in names:
                        self._now_held(name, holder)
            case Held(name, holder, heard):
                if holder.origin in self.fellows:
                    self._now_held(name, holder)
                    if heard is not None:
                        send(self.fellows[holder.origin], Heard(self_pid(), heard))
            case Freed(name, holder, heard):
                self._now_free(name, holder)
                if heard is not None and holder.origin in self.fellows:
                    send(self.fellows[holder.origin], Heard(self_pid(), heard))
            case Heard(fellow, ref):
                self._heard(ref, fellow)
            case Verify(asked, holder):
                is_held = self._is_held(asked.request[1], holder)
                if self.obeys is not None:
                    send(self.obeys, Verified(asked, holder, is_held))
            case Verified(asked, holder, is_held):
                if self.verifying.pop(asked.ref, None) is not None:
                    self._verified(asked, holder, is_held)
            case Down(ref):
                for name in [name for name, held in self.owned.items() if held == ref]:
                    self._free(name)
            case _:
                return await super().handle_rest(message)
        return None

    # --- the leader ---

    def begin_to_lead(self, reports: dict[Pid, Any]) -> None:
        """What former leaders had reserved is held by now, or will be asked for again."""
        self.reserved.clear()
        self.verifying.clear()

    def decide(self, asked: Asked) -> None:
        """Reserve a name, or say who has it."""
        if not self.leads or not self.is_there(asked):
            return  # it will be asked of another; or nobody waits
        _, name, pid = asked.request
        other = self.reserved.get(name) or _holders.get(name)
        if other is None or other == pid:
            self.reserved[name] = pid
            self.decided(asked, None)
        elif other.origin == self_pid().origin:
            self._verified(asked, other, self._is_held(name, other))
        elif other.origin in self.fellows:
            self.verifying[asked.ref] = asked, other
            send(self.fellows[other.origin], Verify(asked, other))
        elif other.origin in _lives():
            self.early.append(asked)  # until it is a fellow again, or lost
        else:
            self._verified(asked, other, False)

    def _verified(self, asked: Asked, other: Pid, is_held: bool) -> None:
        if is_held:
            self.decided(asked, other)
        else:
            self._now_free(asked.request[1], other)
            self.decide(asked)
