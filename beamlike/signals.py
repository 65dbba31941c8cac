"""Signals: links, monitors and exits, after Erlang's rules (E1–E19 of docs/semantics.md).

Theory of operation. On one node a signal takes effect at once, in the sender's step, so the order of all signals between two processes
is the order in which they were sent (M1). What an exit signal does to its receiver is the table `EXIT_SIGNALS`; the first row that fits
decides. Ending a process: it is marked dead, what it holds is released (its name first, E19), its links and monitors are told;
then its coroutine is unwound. Deaths that follow from deaths are worked off one after the other, not by recursion: a chain of 10^5
links may fall.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from beamlike import names, privileged, routing, unwinding
from beamlike.exits import Down, Exit, ProcessExit
from beamlike.hot import scheduler
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.mailboxes import take_matching
from beamlike.hot.process import DEAD, EMPTY, EXITING, Process
from beamlike.hot.values import copy_value


class Effect(Enum):
    """What an exit signal does to its receiver."""

    DROPPED = "nothing"
    MESSAGE = "the message Exit(sender, reason)"
    END = "it ends with the signal's reason"
    END_KILLED = "it ends with reason killed"


class Row(NamedTuple):
    """One case. None fits anything; `reason` "other" is what the rows above do not name."""

    rule: str
    link: bool | None  # has the signal the link flag: did it come because a linked process ended?
    active: bool | None  # is that link active?
    reason: str | None
    itself: bool | None  # did the receiver send it to itself?
    traps: bool | None
    effect: Effect


EXIT_SIGNALS = (
    Row("E1", True, False, None, None, None, Effect.DROPPED),
    Row("E4", False, None, "kill", None, None, Effect.END_KILLED),
    Row("E8", None, None, None, None, True, Effect.MESSAGE),  # with the link flag and reason kill: E5
    Row("E3", False, None, "normal", True, False, Effect.END),
    Row("E2", None, None, "normal", False, False, Effect.DROPPED),
    Row("E9", None, None, None, None, False, Effect.END),  # with the link flag and reason kill: E6
)


def effect(*, link: bool, active: bool, reason: Any, itself: bool, traps: bool) -> Effect:
    """What the table says."""
    for row in EXIT_SIGNALS:
        if (
            row.link in (None, link)
            and row.active in (None, active)
            and (row.reason is None or (type(reason) is str and row.reason == reason))
            and row.itself in (None, itself)
            and row.traps in (None, traps)
        ):
            return row.effect
    raise AssertionError("the table has a row for every signal")


def send_exit(sender: Pid, receiver: Process, reason: Any, *, link: bool) -> None:
    """An exit signal arrives at a process of this node. `link`: `sender` ended and the two are linked."""
    active = receiver.links is not None and sender in receiver.links
    if link and active and receiver.links is not None:
        receiver.links.discard(sender)
    match effect(link=link, active=active, reason=reason, itself=sender == receiver.pid, traps=receiver.trap_exit):
        case Effect.DROPPED:
            pass
        case Effect.MESSAGE:
            scheduler.deliver(receiver, Exit(sender, reason))
        case Effect.END:
            end(receiver, reason)
        case Effect.END_KILLED:
            end(receiver, "killed")


# --- death ----------------------------------------------------------------------------------------------------------------

_falling: deque[tuple[Process, Any]] = deque()
_is_felling = False
on_release: list[Callable[[Process, Any], None]] = []  # what else a process may hold: each is called with
# (process, reason) when one ends that has an Extra; others end on a quicker way


def clear() -> None:
    """A node opens or closes."""
    _falling.clear()


def end(process: Process, reason: Any) -> None:
    """End a process of this node from outside, or the calling one (whose caller then raises: `raise_if_ended`)."""
    if process.state in (EXITING, DEAD) or process.pid.process is None:
        return
    _let_go(process, reason)
    unwinding.begin(process, reason)
    _fell()


def ended(process: Process, reason: Any) -> None:
    """The coroutine of a process is through, by itself."""
    _let_go(process, reason)
    scheduler.bury(process)
    _fell()


def _let_go(process: Process, reason: Any) -> None:
    process.pid.process = None
    names.release(process)
    process.first, process.mailbox = EMPTY, None
    for release in on_release:
        release(process, reason)
    _falling.append((process, reason))


def _fell() -> None:
    """Tell links and monitors of all that fell, and of what falls by that."""
    global _is_felling
    if _is_felling:
        return
    _is_felling = True
    try:
        while _falling:
            _tell(*_falling.popleft())
    finally:
        _is_felling = False


def _tell(process: Process, reason: Any) -> None:
    pid = process.pid
    links, process.links = process.links, None
    monitors, process.monitors = process.monitors, None
    watchers, process.monitored_by = process.monitored_by, None
    for wait in list((process.calls or {}).values()):
        wait.end()
    for ref, target in (monitors or {}).items():
        _unwatch(pid, ref, target)
    for peer in links or ():
        if peer.process is not None:
            send_exit(pid, peer.process, copied_again(reason), link=True)
        elif peer.origin is not pid.origin:
            routing.router.exit_linked(pid, peer, reason)
    for ref, watcher in (watchers or {}).items():
        if watcher.process is not None:
            deliver_down(watcher.process, ref, copied_again(reason))
        elif watcher.origin is not pid.origin:
            routing.router.down(watcher, ref, pid, reason)


def copied_again(value: Any) -> Any:
    """To each receiver a value of its own (M7). One that has become impossible to copy (a module was reloaded) is shared: who sent it is
    not there to be told."""
    try:
        return copy_value(value)
    except BaseException:  # noqa: BLE001 - copying may run code of the program, and this is nobody's step
        return value


def deliver_down(watcher: Process, ref: Ref, reason: Any) -> None:
    """What `watcher` watches under `ref` has ended: a waiting call fails, or a `Down` message comes. Dropped if it watches no longer."""
    if watcher.calls is not None and ref in watcher.calls:
        watcher.calls[ref].fail(reason)
    elif watcher.monitors is not None and ref in watcher.monitors:
        target = watcher.monitors.pop(ref)
        scheduler.deliver(watcher, Down(ref, shown(target), reason))


def shown(target: Any) -> Any:
    """What a Down names: a pid, or `(name, node)` (E17)."""
    return target.object if type(target) is NamedTarget else target


class NamedTarget(NamedTuple):
    """A monitor that was set by name: the pid that had it then, and what its Down names."""

    pid: Pid
    object: tuple[str, str]


def _unwatch(watcher: Pid, ref: Ref, target: Any) -> None:
    if type(target) is NamedTarget and target.object[1] != watcher.node:
        routing.router.demonitor(watcher, ref, target.object)
        return
    pid = target.pid if type(target) is NamedTarget else target
    if type(pid) is Pid and pid.origin is watcher.origin:
        if pid.process is not None and pid.process.monitored_by is not None:
            pid.process.monitored_by.pop(ref, None)
    else:
        routing.router.demonitor(watcher, ref, target)


def raise_if_ended(process: Process, reason: Any) -> None:
    """The calling process may have ended by what it just did: then it goes no further."""
    if process.state in (EXITING, DEAD) or process.pid.process is None:
        raise ProcessExit(reason)


# --- what the router brings -----------------------------------------------------------------------------------------------


def exit_from_afar(sender: Pid, receiver: Pid, reason: Any, *, link: bool = True) -> None:
    """An exit signal from another node, or about it (`noconnection`)."""
    if receiver.process is not None:
        send_exit(sender, receiver.process, reason, link=link)


def down_from_afar(watcher: Pid, ref: Ref, reason: Any) -> None:
    """What was watched on another node has ended, or that node has."""
    if watcher.process is not None:
        deliver_down(watcher.process, ref, reason)


def link_from_afar(sender: Pid, receiver: Process) -> None:
    """A process of another node has linked itself to one of this node."""
    receiver.links = receiver.links or set()
    receiver.links.add(sender)


def unlink_from_afar(sender: Pid, receiver: Process) -> None:
    """It has taken the link away."""
    if receiver.links is not None:
        receiver.links.discard(sender)


def ignore(ref: Ref, process: Process) -> None:
    """Who watched a local process under this ref watches no longer."""
    if process.monitored_by is not None:
        process.monitored_by.pop(ref, None)


# --- the public face ------------------------------------------------------------------------------------------------------


def exit(pid: Pid, reason: Any) -> None:  # noqa: A001 - the field's word
    """Send an exit signal. `kill` cannot be trapped; `normal` does nothing to another process that does not trap exits (E2–E9).

    Raises: TypeError if `pid` is no Pid or the reason cannot be sent; CapabilityError. ProcessExit in a caller that ended itself.
    """
    me = scheduler.caller("exit")
    names.local(pid, "exit")
    reason = copy_value(reason)
    privileged.permit_target(me, "exit", pid)
    exit_own(me, pid, reason)


def exit_own(me: Process, pid: Pid, reason: Any) -> None:
    """`exit`, as the calling process and unchecked: to a process that is its own to end."""
    receiver = pid.process
    if receiver is not None:
        send_exit(me.pid, receiver, reason, link=False)
        raise_if_ended(me, "killed" if reason == "kill" else reason)
    elif pid.origin is not me.pid.origin:
        routing.router.exit(me.pid, pid, reason)


def link(pid: Pid) -> None:
    """Link the calling process with another: when one ends, the other gets an exit signal. At most one link a pair (E15).

    If `pid` does not exist, the exit signal `noproc` comes at once (E10). It is an access of the kind `exit`, for whoever is linked can
    end the other by its own end.

    Raises: TypeError if it is no Pid; CapabilityError.
    """
    me = scheduler.caller("link")
    names.local(pid, "link")
    privileged.permit_target(me, "exit", pid)
    link_own(me, pid)


def link_own(me: Process, pid: Pid) -> None:
    """`link`, as the calling process and unchecked."""
    other = pid.process
    if pid == me.pid or (me.links is not None and pid in me.links):
        return
    if other is not None:
        join(me, other)
        return
    me.links = me.links or set()
    me.links.add(pid)
    if pid.origin is me.pid.origin or pid.origin == me.pid.origin:
        send_exit(pid, me, "noproc", link=True)
        raise_if_ended(me, "noproc")
    else:
        routing.router.link(me.pid, pid)
        raise_if_ended(me, "noconnection")


def join(one: Process, other: Process) -> None:
    """Link two live processes of this node."""
    if one.links is None:
        one.links = set()
    if other.links is None:
        other.links = set()
    one.links.add(other.pid)
    other.links.add(one.pid)


def unlink(pid: Pid) -> None:
    """Take the link away, if there is one. After it returned the link has no effect any more; an `Exit` already queued stays (E15)."""
    me = scheduler.caller("unlink")
    other = names.local(pid, "unlink")
    if me.links is None or pid not in me.links:
        return
    me.links.discard(pid)
    if other is not None:
        if other.links is not None:
            other.links.discard(me.pid)
    elif pid.origin is not me.pid.origin:
        routing.router.unlink(me.pid, pid)


def monitor(target: Any) -> Ref:
    """Watch a pid, a name of this node, or a `(name, node)`: one `Down(ref, object, reason)` comes when it ends.

    At once with `noproc` if it does not exist (E12). Any number a pair, each with its own Ref (E16). A monitor by name watches who
    has the name now, and its Down names `(name, node)` (E17).

    Raises: TypeError if `target` is none of these.
    """
    me = scheduler.caller("monitor")
    ref = scheduler.make_ref()
    watch(me, ref, target)
    return ref


def watch(me: Process, ref: Ref, target: Any) -> None:
    """As `monitor`, under a ref that is given."""
    if me.monitors is None:
        me.monitors = {}
    if type(target) is Pid:
        pid, me.monitors[ref] = target, target
    else:
        name, node = resolve_name(target, "monitor")
        if node != me.pid.node:
            me.monitors[ref] = NamedTarget(me.pid, (name, node))
            routing.router.monitor(me.pid, ref, (name, node))
            return
        holder = names.holder(name)
        pid = me.pid if holder is None else holder.pid
        me.monitors[ref] = NamedTarget(pid, (name, node))
        if holder is None:
            deliver_down(me, ref, "noproc")
            return
    if pid.process is not None:
        observe(pid.process, ref, me.pid)
    elif pid.origin == me.pid.origin:
        deliver_down(me, ref, "noproc")
    else:
        routing.router.monitor(me.pid, ref, pid)


def observe(process: Process, ref: Ref, watcher: Pid) -> None:
    """`watcher` is to be told when the local process ends."""
    if process.monitored_by is None:
        process.monitored_by = {}
    process.monitored_by[ref] = watcher


def demonitor(ref: Ref, flush: bool = False) -> bool:
    """Watch no longer. With `flush` a `Down` of it that is queued already is removed, too (E16).

    Returns: whether the monitor was still there. Raises: TypeError if `ref` is no Ref, or `flush` no bool.
    """
    if type(ref) is not Ref:
        raise TypeError(f"demonitor expects the Ref that monitor() gave, not {ref!r}")
    if type(flush) is not bool:
        raise TypeError(f"demonitor: flush is True or False, not {flush!r}")
    me = scheduler.caller("demonitor")
    target = None if me.monitors is None else me.monitors.pop(ref, None)
    if target is not None:
        _unwatch(me.pid, ref, target)
    elif flush:
        take_matching(me, lambda message: type(message) is Down and message.ref == ref, 0)
    return target is not None


def resolve_name(target: Any, what: str) -> tuple[str, str]:
    """`(name, node)` of a name, or of `(name, node)`. TypeError if it is neither."""
    if type(target) is str:
        return names.check_name(target), scheduler.current_process().pid.node
    if names.is_of_a_node(target):
        return names.check_name(target[0]), target[1]
    raise TypeError(f"{what} expects a Pid, a registered name or (name, node), not {target!r}")


def _as_message(message: Any, layers: Any, destination: Any) -> Any:
    """A process with exclusions sends what a signal becomes, by hand."""
    privileged.permit_target(scheduler.current_process(), "exit", destination)
    return message


for kind in (Exit, Down):
    scheduler.stamp_by(kind, _as_message)
