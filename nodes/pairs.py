"""Process pairs, after Tandem: a GenServer whose state, answers and sends are on a second node before any of them leaves.

    class Store(GenServer):
        async def init(self) -> None:
            self.values: dict[str, int] = {}

        def apply_change(self, change: tuple[str, int]) -> None:
            key, value = change
            self.values[key] = value

        async def handle_call(self, request: tuple[str, int], caller: Caller) -> int | None:
            old = self.values.get(request[0])
            change(self, request)
            return old

    store = await start_pair(Store, name="store")
    await call_pair(store, ("x", 1))

What is promised, as long as one of the two nodes lives: what a call has answered is not lost; a call is executed once, though its client
asks again when the primary dies; no call hangs. The nodes of both dying at the same moment, before a new backup is made, lose the pair.

What the backup is sent after each handler is the whole state, all attributes, if the class has no `apply_change`; they must be values that
can be sent. With `apply_change(change)` it is what the handlers declared by `change(self, …)`, and attributes changed otherwise
are lost with the primary. It runs on both nodes, does the same on both, and sends nothing.

Of what a handler does, these leave when the backup has the commit: the answer, `reply`, `send`, `cast`, `send_after`, `send_interval`,
`cancel_timer`. Timers, and messages to the server itself, belong to the pair and survive. All else takes place at once and may happen
twice, or for nothing, around a death: calls of other servers, spawns, files. A send may arrive twice if the primary dies in the
microseconds between it and the note of it. Links, monitors and names are those of the process, not of the pair. A cast, or a message to the
primary's pid, that the primary had not handled when it died is lost. Around a death messages of one handler keep their order; they come
from another pid.

The state's modules must be imported by the module of the server's class, so that every node can make it.
"""

from __future__ import annotations

from typing import Any, Protocol

from beamlike import (
    CallError,
    CallTimeoutError,
    Cast,
    Pid,
    make_ref,
    record,
)
from beamlike.seam import (
    ANSWERED,
    BEGUN,
    INFINITY,
    begin_call,
    caller,
    check_access,
    check_timeout,
    copy_value,
    current_process,
    format_reason,
    layers_of,
    make_wait,
    now,
    permit,
    start,
    tell,
    until_one_is_over,
)
from nodes import pair_directory
from nodes.here import joined
from nodes.pair_ledger import Failed, StopPair

LOST = 1.0  # seconds without news of a pair of which both halves are dead, until it is given up
UNKNOWN = 0.25  # seconds for the other nodes to say where a pair is that this node never heard of
ASK = 0.05  # seconds between two questions to all nodes
DEFAULT_TIMEOUT = 5.0  # seconds, as `call`


@record
class Pair:
    """A process pair, wherever it is. Can be kept and sent."""

    name: str


class Applies(Protocol):
    """A server that says how its state changes."""

    def apply_change(self, change: Any) -> None: ...


def change(server: Applies, change: Any) -> None:
    """Change the state of the server whose handler this is called by, here and on the backup: `server.apply_change(change)`.

    In a server that is no pair it is just that. Raises: TypeError if the change cannot be sent; what `apply_change` raises.
    """
    change = copy_value(change)
    server.apply_change(change)
    outbox = current_process().outbox
    if outbox is not None:
        outbox.changes.append(change)


# --- asking -----------------------------------------------------------------------------------------------------------

_open: dict[Pid, set[int]] = {}  # serials of the requests that each process of this node waits for


async def stop_pair(pair: Pair | str, reason: Any = "normal", timeout: float | None = DEFAULT_TIMEOUT) -> None:
    """End a pair; its `terminate` runs. Raises: as `call_pair`."""
    check_access("exit", _name(pair))
    await ask_pair(pair, StopPair(reason), timeout)


async def call_pair(pair: Pair | str, request: Any, timeout: float | None = DEFAULT_TIMEOUT) -> Any:
    """Await the answer of a pair, as `call`; but the death of its primary is no end of it: the backup is asked again, and executes it once.

    After a timeout it may have been executed, or be executed later. A request upon which the server crashes fails with that, and is not
    executed again. One whose answer was to come later (NOREPLY), and not from the pair, for its state does not have the Caller, fails with
    `noconnection` when the primary dies.

    Raises: CallError: `noproc` if there is no such pair (any more), what it ended with, or what it crashed with upon this request;
        CallTimeoutError; CapabilityError, if an exclusion refuses the caller to send to a process of that name; TypeError, ValueError: as
        `call`.
    """
    check_access("send", _name(pair))
    return await ask_pair(pair, request, timeout)


async def ask_pair(pair: Pair | str, request: Any, timeout: float | None) -> Any:
    """`call_pair`, unchecked: by the runtime, or by who has checked it."""
    me = caller("call_pair")
    name = _name(pair)
    request = copy_value(request)
    seconds = check_timeout(timeout)
    end = INFINITY if seconds is None else now() + seconds
    ref = make_ref()
    mine = _open.setdefault(me.pid, set())
    mine.add(ref.serial)
    tried: set[Pid] = set()
    try:
        while True:
            pid = await find(name, tried, end)
            wait = make_wait(me, pid, ("$pair", min(mine), request), INFINITY)
            wait.ref = ref
            try:
                begin_call(wait)
                await until_one_is_over([wait], None if end == INFINITY else max(0.0, end - now()))
            finally:
                wait.end()
            if wait.state == ANSWERED:
                if type(wait.value) is Failed:
                    raise CallError(f"call to pair {name!r}: it failed: {format_reason(wait.value.reason)}", wait.value.reason)
                return wait.value
            if wait.state == BEGUN:
                raise _late(name, timeout)
            if type(wait.value) is tuple and wait.value[:1] == ("calling_itself",):
                raise CallError(f"call to pair {name!r}: it would wait for itself", wait.value)
            if wait.value != "noconnection" or not _is_up(pid):  # else a connection was lost, and no node: there is another one
                tried.add(pid)
    finally:
        mine.discard(ref.serial)
        if not mine:
            _open.pop(me.pid, None)


async def find(name: str, tried: set[Pid], end: float, *, is_alive: bool = False) -> Pid:
    """The primary of a pair; or the backup, if the primary is among `tried`, which are dead. It waits for news if both are.

    `is_alive`: look at the halves, and not only at `tried`.
    """
    begun = now()
    while True:
        entry = pair_directory.table.get(name)
        if entry is not None:
            if entry.primary is None:
                raise CallError(f"call to pair {name!r}: it has ended: {format_reason(entry.reason)}", entry.reason)
            for half in (entry.primary, entry.backup):
                if half is not None and half not in tried and not (is_alive and not _is_up(half)):
                    return half
        time = now()
        if time >= end:
            raise _late(name, end - begun)
        if time - begun >= (UNKNOWN if entry is None else LOST):
            raise CallError(f"call to pair {name!r}: there is no such pair{'' if entry is None else ' any more'}", "noproc")
        pair_directory.ask_all(name)
        await pair_directory.newer(name, 0 if entry is None else entry.epoch, min(ASK, end - time))


def _is_up(pid: Pid) -> bool:
    """Is the life of its node up; and the process, if that is this node?"""
    life = joined()
    if pid.origin == life.node.id:
        return pid.process is not None
    return life.router.members.get(pid.node) == pid.origin


def _late(name: str, timeout: Any) -> CallTimeoutError:
    return CallTimeoutError(f"call to pair {name!r}: no answer in {timeout} s", "timeout")


def cast_pair(pair: Pair | str, request: Any) -> None:
    """Send a request that wants no answer to whoever is the primary. Returns at once.

    Lost if there is no such pair, or if the primary dies before it has handled it: what must happen is a `call_pair`.
    Raises: TypeError if it cannot be sent.
    """
    name = _name(pair)
    permit(caller("cast_pair"), "send", name)
    tell_pair(name, request)


def tell_pair(name: str, request: Any) -> None:
    """`cast_pair`, unchecked: as `ask_pair`."""
    me = caller("cast_pair")
    entry = pair_directory.table.get(name)
    message = Cast(copy_value(request), layers_of(me))
    if entry is None:
        start(_cast_later, (name, message), parent=me, runs="")
    elif entry.primary is not None:
        tell(entry.primary if entry.backup is None or _is_up(entry.primary) else entry.backup, message)


async def _cast_later(name: str, message: Cast) -> None:
    """A cast to a pair that this node never heard of."""
    try:
        tell(await find(name, set(), INFINITY), message)
    except CallError:
        return  # there is none: dropped, as a message to nobody


def where_is_pair(pair: Pair | str) -> tuple[Pid, Pid | None] | None:
    """The pids of primary and backup, as this node knows it; None if it knows of no such pair, or it has ended."""
    entry = pair_directory.table.get(_name(pair))
    return None if entry is None or entry.primary is None else (entry.primary, entry.backup)


def _name(pair: Any) -> str:
    if type(pair) is Pair:
        return pair.name
    if type(pair) is str:
        return pair
    raise TypeError(f"a pair is given as a Pair or by its name, not {pair!r}")


__all__ = ["Applies", "Pair", "call_pair", "cast_pair", "change", "stop_pair", "where_is_pair"]
