"""The router: what the primitives of the core ask for a pid of another node, and what is done with what other nodes send.

Theory of operation. Everything between two nodes goes through one mailbox each way, in order, so M1 holds for all signals together. A
call is one record: the node that gets it watches the server on the caller's behalf, and no longer when it answers. Nothing here waits, but
for a process that sends more than is to wait (M10), in the middle of its own primitive; so what that counts on is noted before. The
`async` functions ask, and wait as a call does, which the loss of the node ends. A life that this node was not told of yet is held
for HOLD seconds; then, or when it is lost, whoever depends on it gets `noconnection`, after what it had committed has been taken (M4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import caps
from beamlike import BadNameError, Pid, ProcessInfo, Ref, WireError, make_ref, pack, unpack
from beamlike.seam import (
    ANSWERED,
    BEGUN,
    FAILED,
    INFINITY,
    NodeId,
    Process,
    Timer,
    Wait,
    caller,
    check_name,
    down_from_afar,
    enqueue,
    exit_from_afar,
    ignore,
    inherited_from,
    layers_of,
    leaves,
    let_go_on,
    life,
    living_above,
    make_ref_of,
    make_wait,
    now,
    permit,
    permit_name,
    permit_spawn,
    push_timer,
    start,
    tighten_here,
    until_one_is_over,
)
from nodes.cycles import Cycles
from nodes.hot.peer import Peer
from nodes.kinds import Kind

HOLD = 1.0  # seconds; who learned of a life before this node did got there by the same broadcast, which is on its way
NOTHING: Final = b""
_ERRORS: Final = {kind.__name__: kind for kind in (TypeError, ValueError, BadNameError, WireError)}


class SpawnError(RuntimeError):
    """`spawn_at`: the other node could not start the process, or was lost. `reason`: `noconnection`, or the error's type and text."""

    def __init__(self, text: str, reason: Any) -> None:
        super().__init__(text)
        self.reason = reason


class Router:
    """See `beamlike.routing.Router`.

    `reach` is called with a peer whose records wait: to find the way there, or to send them when there is room; `suspend` leaves the step
    of the calling process in the middle, if it can be left.
    """

    def __init__(self, me: NodeId, reach: Callable[[Peer], None], suspend: Callable[[], bool]) -> None:
        self.me = me
        self.reach = reach
        self.suspend = suspend
        self.place: Callable[[Any], Any] = lambda node: node  # which node is meant by `spawn_at`'s first argument: set by who can tell
        self.members: dict[str, NodeId] = {}  # the other nodes that are up, by name
        self.lost: dict[str, int] = {}  # the highest incarnation that is over, by name: so are all before it
        self.peers: dict[NodeId, Peer] = {}
        self.cycles = Cycles(self)

    # --- who is there ---

    def up(self, name: str, incarnation: int) -> NodeId:
        """A node is there."""
        id_ = self.members[name] = life(name, incarnation)
        if self.lost.get(name, 0) >= incarnation:  # it was held for too long, on a machine that is very busy
            self.lost[name] = incarnation - 1
        if id_.peer is not None:  # it was held
            self.reach(id_.peer)
        return id_

    def lose(self, id_: NodeId) -> None:
        """A node is lost, and everything it had committed has been taken: `noconnection` to all who depend on it (E11, E13)."""
        self.lost[id_.name] = max(id_.incarnation, self.lost.get(id_.name, 0))
        if self.members.get(id_.name) == id_:
            del self.members[id_.name]
        self.cut(id_)

    def cut(self, id_: NodeId) -> None:
        """The connection to a node is lost: `noconnection` to all who depend on it. If the node is not, it can be reached anew."""
        peer = self.peers.pop(id_, None)
        id_.peer = None
        if peer is None:
            return
        peer.id.peer = None  # `id_` may be a copy
        peer.lost()
        let_go_on()
        for there, linked in list(peer.links.items()):
            for each in list(linked):
                exit_from_afar(there, each, "noconnection")
        watching, peer.watching = peer.watching, {}
        for serial, watcher in watching.items():
            down_from_afar(watcher if type(watcher) is Pid else watcher.process.pid, make_ref_of(self.me, serial), "noconnection")
        watched, peer.watched = peer.watched, {}
        for serial, process in watched.items():
            ignore(make_ref_of(id_, serial), process)

    def released(self, process: Process, reason: Any) -> None:
        """A process has ended: if it was suspended in a send, it is unwound there."""
        for peer in self.peers.values():
            if process in peer.held:
                peer.held.discard(process)
                enqueue(process)

    def peer(self, id_: NodeId) -> Peer | None:
        """The peer of a life; None if that is over, or is of this node."""
        if id_.peer is not None:
            return id_.peer  # type: ignore[no-any-return]
        if self._is_over(id_) or id_.name == self.me.name:
            return None
        known = life(id_.name, id_.incarnation)  # `id_` may be a copy
        if known.peer is None:
            member = self.members.get(id_.name)
            if member is not None and member.incarnation > id_.incarnation:
                return None
            self._new_peer(known)
            if member != known:
                push_timer(Timer(None, None, lambda: self._hold_no_longer(known), 0.0, None), now() + HOLD)
        return known.peer  # type: ignore[no-any-return]

    def _is_over(self, id_: NodeId) -> bool:
        return id_.incarnation <= self.lost.get(id_.name, 0) and self.members.get(id_.name) != id_  # a pid may name a life that never was

    def is_reachable(self, id_: NodeId) -> bool:
        """Is this life this node's, or would what is sent there now be written for it?"""
        return id_ == self.me or self.peer(id_) is not None

    def _new_peer(self, id_: NodeId) -> Peer:
        peer = id_.peer = self.peers[id_] = Peer(id_, self)
        return peer

    def _hold_no_longer(self, id_: NodeId) -> bool:
        if self.members.get(id_.name) != id_ and id_.peer is not None:
            self.lose(id_)
        return False

    def node(self, name: str) -> Peer | None:
        """The peer that has this name now; None if nobody has."""
        member = self.members.get(name)
        return None if member is None else self.peer(member)

    # --- what processes here ask ---

    def send(self, destination: Pid, message: Any) -> None:
        peer = destination.origin.peer or self.peer(destination.origin)
        if peer is not None:
            peer.send(destination.serial, message)

    def send_limited(self, destination: Pid, message: Any) -> None:
        peer = self.peer(destination.origin)
        if peer is not None:
            peer.put_for_caller(Kind.SEND_LIMITED, destination.serial, 0, 0, pack(message))

    def send_named(self, name: str, node: str, message: Any) -> None:
        peer = self.node(node)
        if peer is not None:
            peer.put_for_caller(Kind.SEND_NAMED, 0, 0, 0, pack((name, message)))

    def call(self, wait: Wait) -> None:
        me, server = wait.process.pid, wait.server
        if type(server) is Pid:
            peer = server.origin.peer or self.peer(server.origin)
        else:
            peer = self.node(server[1])
        if peer is None:
            wait.fail("noconnection")
            return
        if type(server) is Pid:
            peer.call(wait)
            return
        if wait.layers:
            self.call_limited(peer, wait)
            return
        payload = pack((server[0], wait.request))
        leaves(me)
        peer.watching[wait.ref.serial] = wait
        self.cycles.begun(wait)
        peer.put_for_caller(Kind.CALL_NAMED, 0, me.serial, wait.ref.serial, payload)

    def call_limited(self, peer: Peer, wait: Wait) -> None:
        """A call begins, of a process that has exclusions: they go with it (C8)."""
        me, server = wait.process.pid, wait.server
        to, name = (server.serial, None) if type(server) is Pid else (0, server[0])
        payload = pack((name, wait.request, packed_layers(wait.layers)))
        leaves(me)
        peer.watching[wait.ref.serial] = wait
        self.cycles.begun(wait)
        peer.put_for_caller(Kind.CALL_LIMITED, to, me.serial, wait.ref.serial, payload)

    def call_begun_here(self, wait: Wait) -> None:
        self.cycles.begun(wait)

    def call_over(self, wait: Wait) -> None:
        if wait.server is not None:  # else it is one of `_ask`, which looks after itself
            self._stop_watching(self.peer_of(wait.server), wait.ref)

    def peer_of(self, target: Any) -> Peer | None:
        """The peer that a pid or a `(name, node)` leads to."""
        return self.peer(target.origin) if type(target) is Pid else self.node(target[1])

    def answer_later(self, caller: Pid, ref: Ref) -> None:
        peer = self.peer(caller.origin)
        if peer is not None and ref.serial in peer.watched:
            peer.put_off.add(ref.serial)

    def reply(self, caller: Pid, ref: Ref, value: Any) -> None:
        peer = self.peer(caller.origin)
        if peer is not None:
            peer.reply(caller, ref, value)

    def exit(self, sender: Pid, destination: Pid, reason: Any) -> None:
        peer = self.peer(destination.origin)
        if peer is not None:
            leaves(sender)
            peer.put_for_caller(Kind.EXIT, destination.serial, sender.serial, 0, pack(reason))

    def exit_linked(self, sender: Pid, destination: Pid, reason: Any) -> None:
        peer = self.peer(destination.origin)
        if peer is not None:
            peer.unlinked_from_here(sender, destination)
            peer.put(Kind.EXIT_LINKED, destination.serial, sender.serial, 0, _packed(reason))

    def link(self, sender: Pid, destination: Pid) -> None:
        peer = self.peer(destination.origin)
        if peer is None:
            exit_from_afar(destination, sender, "noconnection")
        else:
            leaves(sender)
            number = make_ref().serial
            peer.linked_from_here(sender, destination, number)
            peer.put_for_caller(Kind.LINK, destination.serial, sender.serial, number, NOTHING)

    def unlink(self, sender: Pid, destination: Pid) -> None:
        peer = self.peer(destination.origin)
        if peer is not None:
            number = peer.unlinked_from_here(sender, destination)
            peer.put_for_caller(Kind.UNLINK, destination.serial, sender.serial, number, NOTHING)

    def monitor(self, sender: Pid, ref: Ref, target: Any) -> None:
        peer = self.peer_of(target)
        if peer is None:
            down_from_afar(sender, ref, "noconnection")
            return
        leaves(sender)
        peer.watching[ref.serial] = sender
        if type(target) is Pid:
            peer.put_for_caller(Kind.MONITOR, target.serial, sender.serial, ref.serial, NOTHING)
        else:
            peer.put_for_caller(Kind.MONITOR_NAMED, 0, sender.serial, ref.serial, pack(target[0]))

    def demonitor(self, sender: Pid, ref: Ref, target: Any) -> None:
        self._stop_watching(self.peer_of(target), ref)

    def _stop_watching(self, peer: Peer | None, ref: Ref) -> None:
        if peer is not None and peer.stop_watching(ref.serial):
            peer.put(Kind.DEMONITOR, 0, 0, ref.serial, NOTHING)

    def down(self, watcher: Pid, ref: Ref, target: Any, reason: Any) -> None:
        peer = self.peer(watcher.origin)
        if peer is not None:
            peer.not_watched(ref.serial)
            peer.put(Kind.DOWN, watcher.serial, 0, ref.serial, _packed(reason))

    # --- asking, and waiting for the answer ---

    async def process_info(self, pid: Pid) -> ProcessInfo | None:
        peer = self.peer(pid.origin)
        if peer is None:
            return None
        wait = await self._ask(peer, Kind.INFO, pid.serial, NOTHING)
        return wait.value if wait.state == ANSWERED else None

    async def spawn(self, parent: Process, node: Any, fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Pid:
        name = self.place(node)
        if name == self.me.name:
            permit(parent, "node", name)
            return start(fn, args, parent=parent, **options).pid
        return (await self.spawn_there(parent, name, fn, args, options, link=False, monitor=False))[0]

    async def spawn_there(
        self, parent: Process, node: str, fn: Any, args: tuple[Any, ...], options: dict[str, Any], *, link: bool, monitor: bool
    ) -> tuple[Pid, Ref]:
        """The new pid; and the Ref of this request, which is that of the monitor if one is wanted."""
        permit(parent, "node", node)
        permit_spawn(parent, fn)
        if options.get("name") is not None:
            permit_name(parent, layers_of(parent), check_name(options["name"]))
        return await self._spawn_there(parent, node, fn, args, options, link, monitor)

    async def spawn_unchecked(self, parent: Process, node: str, fn: Any, args: tuple[Any, ...]) -> Pid:
        """On another node a process of the runtime's own, which inherits as any."""
        return (await self._spawn_there(parent, node, fn, args, {}, False, False))[0]

    async def _spawn_there(
        self, parent: Process, node: str, fn: Any, args: tuple[Any, ...], options: dict[str, Any], link: bool, monitor: bool
    ) -> tuple[Pid, Ref]:
        peer = self.node(node)
        if peer is None:
            others = ", ".join(sorted(self.members)) or "no others"
            raise SpawnError(f"spawn_at: there is no node {node!r}; besides this one there are {others}", "noconnection")
        layers = packed_layers(inherited_from(parent))
        if parent.bounds is not None:
            options = {**options, "limits": parent.bounds.limits.tightened(options.get("limits"))}
        above = living_above(parent)
        for pid in above:
            leaves(pid)
        payload = pack((fn, args, options, layers, (parent.pid, *parent.ancestors), above, link, monitor))
        wait = await self._ask(peer, Kind.SPAWN, 0, payload)
        if wait.state == FAILED:
            what = f"the connection to {node}" if self.members.get(node) == peer.id else node
            raise SpawnError(f"spawn_at: {what} was lost", wait.value)
        match wait.value:
            case ("ok", pid):
                return pid, wait.ref
            case ("error", kind, text):
                known = _ERRORS.get(kind)
                if known is not None:
                    raise known(f"{text} (on {node})")
                raise SpawnError(f"spawn_at: {node} could not start {fn!r}: {kind}: {text}", (kind, text))
        raise AssertionError(wait.value)

    async def tighten(self, sender: Process, pid: Pid, layers: caps.Layers) -> int:
        peer = self.peer(pid.origin)
        wait = None if peer is None else await self._ask(peer, Kind.TIGHTEN, 0, pack((pid, packed_layers(layers), sender.pid)))
        if wait is None or wait.state == FAILED:
            raise ValueError(f"tighten: {pid} is not alive: its node is lost")
        match wait.value:
            case ("ok", count):
                return int(count) + tighten_here(pid, layers)[0] + await self.tighten_others(pid, layers)
            case ("dead",):
                raise ValueError(f"tighten: {pid} is not alive")
            case ("error", text):
                raise PermissionError(text)
        raise AssertionError(wait.value)

    async def tighten_others(self, root: Pid, layers: caps.Layers) -> int:
        payload = pack((root, packed_layers(layers), None))
        count, errors = 0, []
        for id_ in list(self.members.values()):
            peer = self.peer(id_)
            if peer is not None and id_ != root.origin:
                wait = await self._ask(peer, Kind.TIGHTEN, 0, payload)
                if wait.state == ANSWERED:
                    outcome, what = wait.value
                    if outcome == "ok":
                        count += what
                    else:
                        errors.append(what)
        if errors:  # all were asked
            raise RuntimeError("; ".join(errors))
        return count

    def tighten_on(self, root: Pid, layers: caps.Layers) -> None:
        """Tell all other nodes: what was spawned there from here may be there only now."""
        payload = pack((root, packed_layers(layers), None))
        for id_ in list(self.members.values()):
            peer = self.peer(id_)
            if peer is not None:
                peer.put(Kind.TIGHTEN, 0, 0, 0, payload)

    async def _ask(self, peer: Peer, kind: Kind, to: int, payload: bytes) -> Wait:
        me = caller(kind.name.lower())
        wait = make_wait(me, None, None, INFINITY)
        wait.ref, wait.state = make_ref(), BEGUN
        me.calls = me.calls or {}
        me.calls[wait.ref] = wait
        leaves(me.pid)
        peer.watching[wait.ref.serial] = me.pid
        try:
            peer.put_for_caller(kind, to, me.pid.serial, wait.ref.serial, payload)
            await until_one_is_over([wait], None)
        finally:
            if wait.state != ANSWERED:  # else it was taken out then, and may be a monitor's by now
                peer.watching.pop(wait.ref.serial, None)
            if me.calls is not None:
                me.calls.pop(wait.ref, None)
        return wait


def packed_layers(layers: caps.Layers) -> bytes:
    """Layers as they travel. They go with every call of a limited process, so what was packed is kept."""
    payload = _packed_layers.get(layers)
    if payload is None:
        if len(_packed_layers) == MOST_LAYERS:
            _packed_layers.clear()
        payload = _packed_layers[layers] = pack(tuple(layer.terms for layer in layers))
    return payload


def layers_from(payload: bytes) -> caps.Layers:
    """The other way round; of an application's kind the module is imported. Raises ValueError, TypeError, if they are none."""
    layers = _layers.get(payload)
    if layers is None:
        layers = ()
        for terms in unpack(payload):
            layers = caps.extend(layers, terms)
        if len(_layers) == MOST_LAYERS:
            _layers.clear()
        _layers[payload] = layers
    return layers


MOST_LAYERS: Final = 256  # stacks of them that are kept, of each direction
_packed_layers: Final[dict[caps.Layers, bytes]] = {}
_layers: Final[dict[bytes, caps.Layers]] = {}


def _packed(reason: Any) -> bytes:
    """What somebody ended with. One that cannot be sent any more (a module was reloaded) goes as text: its sender cannot be told."""
    try:
        return pack(reason)
    except (TypeError, ValueError):
        return pack(repr(reason))
