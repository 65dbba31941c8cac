"""What is done with each record that another node sent: the table `ARRIVALS`, by kind.

The sender need not be well: a payload that this node cannot make (a record that is not registered here) harms only what it was part of.
A message is dropped and counted, a call fails, a reason is replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import caps
from beamlike import Pid, WireError, pack, unpack
from beamlike.seam import (
    NodeId,
    Process,
    answer,
    check_right,
    count_dead_letter,
    deliver,
    describe,
    down_from_afar,
    error_reason,
    exit_from_afar,
    here,
    holder,
    ignore,
    is_service,
    joined,
    leaves,
    link_from_afar,
    log,
    make_ref_of,
    observe,
    set_layers,
    start,
    tighten_here,
    told_of,
    unlink_from_afar,
)
from nodes.hot.peer import Peer
from nodes.kinds import Kind
from nodes.router import layers_from

logger = logging.getLogger("beamlike.nodes")
NOTHING: Final = b""
Arrival = Callable[[NodeId, Peer, int, int, int, bytes], None]  # this node, whose record, to, from, ref, payload


def _value(payload: bytes) -> Any:
    """What a payload says. Functions and classes are allowed: all nodes of a system run one program. They are rare, and tried second."""
    try:
        return unpack(payload)
    except WireError:
        pass
    try:
        return unpack(payload, functions=True)
    except SystemExit as end:
        raise WireError("a module that it names ended the program, by sys.exit, while it was imported") from end


def _send(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = here(to)
    if process is None:
        return  # M2
    try:
        message = _value(payload)
    except WireError as error:
        _undecodable(process.pid, error)
    else:
        deliver(process, message)


def _send_limited(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = here(to)
    if process is not None and is_service(process):
        count_dead_letter(process.pid, None, "excluded")
    else:
        _send(me, peer, to, from_, ref, payload)


def _send_named(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    try:
        name, message = _value(payload)
    except WireError as error:
        _undecodable(Pid(me, 0), error)
        return
    process = holder(name)
    if process is not None:
        deliver(process, message)


def _undecodable(receiver: Pid, error: WireError) -> None:
    log(logger, logging.WARNING, "a message to %s was dropped: %s", receiver, error)
    count_dead_letter(receiver, None, "undecodable")


def _call(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = here(to)
    if process is None:
        _down(peer, from_, ref, "noproc")
        return
    try:
        request = _value(payload)
    except WireError as error:
        _down(peer, from_, ref, ("undecodable", str(error)))
    else:
        peer.call_came(process, from_, ref, request)


def _call_named(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    try:
        name, request = _value(payload)
    except WireError as error:
        _down(peer, from_, ref, ("undecodable", str(error)))
        return
    process = holder(name)
    if process is None:
        _down(peer, from_, ref, "noproc")
    else:
        peer.call_came(process, from_, ref, request)


def _call_limited(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    try:
        name, request, packed = _value(payload)
        layers = layers_from(packed)
    except (WireError, TypeError, ValueError) as error:
        _down(peer, from_, ref, ("undecodable", str(error)))
        return
    process = here(to) if name is None else holder(name)
    if process is None:
        _down(peer, from_, ref, "noproc")
    elif is_service(process):
        _down(peer, from_, ref, ("excluded", "this is one of the runtime's own"))
    else:
        peer.call_came(process, from_, ref, request, layers)


def _watch(peer: Peer, process: Process, watcher: Pid, ref: int) -> None:
    peer.watched[ref] = process
    observe(process, make_ref_of(peer.id, ref), watcher)


def _reply(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    if from_:
        peer.stop_watching(ref)
    process = here(to)
    if process is None:
        return
    try:
        value = _value(payload)
    except WireError as error:
        wait = (process.calls or {}).get(make_ref_of(me, ref))
        down_from_afar(process.pid, make_ref_of(me, ref), ("undecodable", str(error)))
        if wait is not None and not from_:  # somebody else answered than is watched
            peer.router.call_over(wait)
    else:
        answer(process, make_ref_of(me, ref), value)


def _exit(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = here(to)
    if process is not None:
        exit_from_afar(Pid(peer.id, from_), process.pid, _reason(payload), link=False)


def _exit_linked(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process, sender = here(to), Pid(peer.id, from_)
    if process is not None:
        peer.unlinked_from_here(process.pid, sender)
        exit_from_afar(sender, process.pid, _reason(payload))


def _link(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process, sender = here(to), Pid(peer.id, from_)
    if process is None:
        peer.put(Kind.EXIT_LINKED, from_, to, 0, pack("noproc"))
    else:
        peer.linked_from_there(process.pid, sender, ref)
        link_from_afar(sender, process)


def _unlink(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process, sender = here(to), Pid(peer.id, from_)
    if process is not None and peer.unlinked_from_there(process.pid, sender, ref):
        unlink_from_afar(sender, process)


def _monitor(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = here(to)
    if process is None:
        _down(peer, from_, ref, "noproc")
    else:
        _watch(peer, process, Pid(peer.id, from_), ref)


def _monitor_named(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = holder(_value(payload))
    if process is None:
        _down(peer, from_, ref, "noproc")
    else:
        _watch(peer, process, Pid(peer.id, from_), ref)


def _demonitor(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = peer.not_watched(ref)
    if process is not None:
        ignore(make_ref_of(peer.id, ref), process)


def _down_arrived(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    peer.stop_watching(ref)
    process = here(to)
    if process is not None:
        down_from_afar(process.pid, make_ref_of(me, ref), _reason(payload))


def _down(peer: Peer, watcher: int, ref: int, reason: Any) -> None:
    peer.put(Kind.DOWN, watcher, 0, ref, pack(reason))


def _reason(payload: bytes) -> Any:
    try:
        return _value(payload)
    except WireError as error:
        return ("undecodable", str(error))


def _spawn(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    try:
        fn, args, options, layers, ancestors, above, is_linked, is_monitored = unpack(payload, functions=True)
        process = _start(fn, args, options, joined(layers_from(layers), told_of(above)), ancestors)
        process.parent = above
    except (Exception, SystemExit) as error:  # noqa: BLE001 - importing and calling run the program's code; who asked is told
        answered: tuple[Any, ...] = (False, False, ("error", type(error).__name__, error_reason(error)[0][1]))
    else:
        leaves(process.pid)
        parent = Pid(peer.id, from_)
        if is_linked:
            peer.linked_from_there(process.pid, parent, ref)
            link_from_afar(parent, process)
        if is_monitored:
            _watch(peer, process, parent, ref)
        answered = (is_linked, is_monitored, ("ok", process.pid))
    peer.put(Kind.SPAWNED, from_, 0, ref, pack(answered))


def _start(fn: Any, args: tuple[Any, ...], options: dict[str, Any], layers: caps.Layers, ancestors: tuple[Pid, ...]) -> Process:
    layers = caps.extend(layers, options.get("exclude", ()))  # before it starts: they may be wrong
    process = start(fn, args, parent=None, **{**options, "exclude": ()})
    set_layers(process, layers)
    process.ancestors = ancestors
    return process


def _spawned(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    is_linked, is_monitored, outcome = _value(payload)
    process, own = here(to), make_ref_of(me, ref)
    peer.stop_watching(ref)
    if process is None or process.calls is None or own not in process.calls:
        _nobody_waits_for(peer, outcome, to, ref, is_dead=process is None)
        return
    if is_linked:
        peer.linked_from_here(process.pid, outcome[1], ref)
        link_from_afar(outcome[1], process)
    if is_monitored:
        process.monitors = process.monitors or {}
        process.monitors[own] = outcome[1]
        peer.watching[ref] = process.pid
    answer(process, own, outcome)
    process.calls.pop(own)  # before the `Down` comes, which under this Ref is a message from now on (E18)


def _nobody_waits_for(peer: Peer, outcome: Any, to: int, ref: int, *, is_dead: bool) -> None:
    """A process was started there, and who asked has ended, or has been cancelled: then nobody knows of it, and it is ended."""
    peer.put(Kind.DEMONITOR, 0, 0, ref, NOTHING)
    if outcome[0] != "ok":
        return
    if is_dead:
        peer.put(Kind.EXIT_LINKED, outcome[1].serial, to, 0, pack("noproc"))  # no effect if it is not linked (E1)
    else:
        peer.put(Kind.EXIT, outcome[1].serial, to, 0, pack("kill"))


def _info(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    process = here(to)
    peer.put(Kind.REPLY, from_, 1, ref, pack(None if process is None else describe(process)))


def _tighten(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    root, packed, who = unpack(payload)
    try:
        answered = _tightened(peer, root, layers_from(packed), who, is_asked=ref != 0)
    except (PermissionError, TypeError, ValueError) as error:  # the last two: an application's kind that this node cannot import
        answered = ("error", f"{error} (on {me.name})")
        log(logger, logging.ERROR, "%s and what descends from it were not tightened: %s", root, error)
    if ref:
        peer.put(Kind.REPLY, from_, 1, ref, pack(answered))


def _tightened(peer: Peer, root: Pid, layers: caps.Layers, who: Pid | None, *, is_asked: bool) -> tuple[Any, ...]:
    if who is not None:
        if root.process is None:
            return ("dead",)
        check_right(who, root.process)
    count, added = tighten_here(root, layers)
    if is_asked or added:
        peer.router.tighten_on(root, layers)
    return ("ok", count)


def _probe(me: NodeId, peer: Peer, to: int, from_: int, ref: int, payload: bytes) -> None:
    peer.router.cycles.came(peer, ref, *_value(payload))


ARRIVALS: dict[int, Arrival] = {
    Kind.SEND: _send,
    Kind.SEND_NAMED: _send_named,
    Kind.CALL: _call,
    Kind.CALL_NAMED: _call_named,
    Kind.REPLY: _reply,
    Kind.EXIT: _exit,
    Kind.EXIT_LINKED: _exit_linked,
    Kind.LINK: _link,
    Kind.UNLINK: _unlink,
    Kind.MONITOR: _monitor,
    Kind.MONITOR_NAMED: _monitor_named,
    Kind.DEMONITOR: _demonitor,
    Kind.DOWN: _down_arrived,
    Kind.SPAWN: _spawn,
    Kind.SPAWNED: _spawned,
    Kind.INFO: _info,
    Kind.PROBE: _probe,
    Kind.CALL_LIMITED: _call_limited,
    Kind.SEND_LIMITED: _send_limited,
    Kind.TIGHTEN: _tighten,
}
