"""Moves that might enlarge what a process is permitted, and the model that none does: for the state machine on one node, and on several.

A move is four numbers; whatever they are, it is a move. After each, what every living process is permitted, of a fixed list of accesses,
is compared with what it was, and with what those are permitted from whom it comes. It is imported in nodes: nothing slow is imported here.
"""

from __future__ import annotations

from typing import Any

import beamlike
import caps
from beamlike import (
    ChildSpec,
    DynamicSupervisor,
    GenServer,
    Pid,
    call,
    exit,
    monitor,
    process_info_at,
    receive,
    self_pid,
    send,
    sleep,
    spawn_at,
    tighten,
    unlink,
)

PROBES: tuple[tuple[Any, ...], ...] = (
    *[("port_io", port, width) for port in (0x5F, 0x60, 0x62, 0x64, 0x70, 0x71) for width in (1, 2)],
    *[("raw_memory", address, 4) for address in (0, 0xFFE, 0x1000, 0x1FFE)],
    *[("file", path, mode) for path in ("/etc/passwd", "/tmp/x", "/home") for mode in ("r", "w", "rw")],
    *[("net", host, port) for host in ("a.org", "10.0.0.1") for port in (80, 443)],
    *[("spawn", f"exclusion_moves:{name}") for name in ("actor", "other")],
    *[("send", name) for name in ("bank", "clerk")],
    *[("register", name) for name in ("it", "that")],
    ("exit", "bank"),
    ("process_info", "bank"),
    ("node", "n7@m"),
    ("device", "disk0"),
    ("system", "halt"),
    ("ffi",),
    ("blocking",),
)

TERMS: tuple[tuple[Any, ...], ...] = (
    (),
    (("port_io", 0x60, 0x65),),
    (("port_io", 0x61, 0x62), ("port_io", 0x70, 0x71)),
    (("only", ("port_io", 0x60, 0x72)),),
    (("only", ("port_io", 0x60, 0x64), ("file", "/tmp", "rw")),),
    (("raw_memory", 0, 0x1000),),
    (("file", "/etc", "rw"), ("net", None, 80)),
    (("file", "/tmp", "w"),),
    (("only", ("net", "a.org", None)),),
    (("spawn", "exclusion_moves:other"), ("send", "bank"), ("exit", "bank")),
    (("register", "it"), ("device", "all")),
    (("ffi", "all"), ("blocking", "all"), ("system", "halt")),
    (("node", "n7@m"), ("process_info", "bank"), ("send", "clerk")),
    (("spawn", "exclusion_moves:actor"),),
)

MOST = 16  # actors at a time
PATIENCE = 10.0

_masks: dict[caps.Layers, int] = {}


def mask_of(layers: caps.Layers) -> int:
    """Which of the probes are permitted, a bit each."""
    mask = _masks.get(layers)
    if mask is None:
        mask = _masks[layers] = sum(caps.permits(layers, *probe) << bit for bit, probe in enumerate(PROBES))
    return mask


async def actor() -> None:
    """Makes moves when told, and answers what came of it."""
    while True:
        match await receive():
            case ("move", Pid() as boss, str(name), tuple(args)):
                try:
                    outcome: Any = await MOVES[name](*args)
                except caps.CapabilityError:
                    outcome = "refused"
                except (beamlike.ChildStartError, beamlike.BadNameError) as error:
                    outcome = type(error).__name__
                send(boss, ("made", name, outcome))


async def _spawn(way: int, terms: tuple[Any, ...]) -> Pid:
    match way % 4:
        case 0:
            return beamlike.spawn(actor, exclude=terms)
        case 1:
            pid = beamlike.spawn_link(actor, exclude=terms)
            unlink(pid)
            return pid
        case 2:
            return beamlike.spawn_monitor(actor, exclude=terms)[0]
    return beamlike.spawn(actor, io=True, exclude=terms)


async def _spawn_at(node: str, terms: tuple[Any, ...]) -> Pid:
    return await spawn_at(node, actor, exclude=terms)


async def _start_child(supervisor: Pid, terms: tuple[Any, ...]) -> Pid:
    return await DynamicSupervisor.start_child(supervisor, ChildSpec.of(actor, exclude=terms))


async def _ask(server: Pid, terms: tuple[Any, ...]) -> Any:
    return await call(server, terms, None)


async def _take_name() -> None:
    beamlike.register("it")
    beamlike.unregister("it")


MOVES: dict[str, Any] = {
    "spawn": _spawn,
    "spawn_at": _spawn_at,
    "start_child": _start_child,
    "ask": _ask,
    "take_name": _take_name,
    "tighten": tighten,
}


class Agent(GenServer, guarded=True):
    """Spawns an actor for who asks, and says what it was permitted meanwhile."""

    async def handle_call(self, request: Any, caller: Any) -> Any:
        mask = mask_of(tuple(caps.layer(terms) for terms in _own_exclusions()))
        try:
            return mask, beamlike.spawn(actor, exclude=request)
        except caps.CapabilityError:
            return mask, None


def _own_exclusions() -> Any:
    info = beamlike.process_info(self_pid())
    assert info is not None
    return info.exclusions


class Moves:
    """The processes, and the model."""

    def __init__(self, nodes: list[str]) -> None:
        self.nodes = nodes
        self.masks: dict[Pid, int] = {}
        self.above: dict[Pid, Pid] = {}  # who spawned whom
        self.supervised: list[Pid] = []
        self.refused = 0

    async def open(self) -> None:
        """Its processes descend from the caller."""
        self.boss = self_pid()
        self.supervisor = await DynamicSupervisor.start_link(intensity=1_000_000)
        self.agent = await Agent.start_link()
        self.masks[self.supervisor] = self.masks[self.agent] = mask_of(())
        await self._came(beamlike.spawn(actor), self.boss, mask_of(()))

    def actors(self) -> list[Pid]:
        return [pid for pid in self.masks if pid not in (self.supervisor, self.agent)]

    async def make(self, kind: int, who: int, whom: int, what: int) -> None:
        """A move, and the look at what has become of it."""
        actors = self.actors()
        one, other, terms = actors[who % len(actors)], actors[whom % len(actors)], TERMS[what % len(TERMS)]
        before = self.masks[one]
        match kind % 9:
            case 0 | 1:
                made = await self._told(one, "spawn", whom, terms)
                await self._came(made, one, before & mask_of(caps.extend((), terms)))
            case 2:
                made = await self._told(one, "spawn_at", self.nodes[whom % len(self.nodes)], terms)
                await self._came(made, one, before & mask_of(caps.extend((), terms)))
            case 3:
                limit = before & self.masks[self.supervisor] & mask_of(caps.extend((), terms))
                made = await self._told(one, "start_child", self.supervisor, terms)
                if type(made) is Pid:
                    self.supervised.append(made)
                await self._came(made, self.supervisor, limit)
            case 4 if self.supervised:
                await self._restart(self.supervised[whom % len(self.supervised)])
            case 5:
                limit = before & self.masks[self.agent]
                outcome = await self._told(one, "ask", self.agent, terms)
                if outcome != "refused":
                    assert outcome[0] & ~limit == 0, "the server was permitted more than who asked"
                    await self._came(outcome[1], self.agent, limit & mask_of(caps.extend((), terms)))
            case 6:
                await self._told(one, "take_name")
                await self._told(other, "take_name")
            case 7:
                while self._living_above(other) != self.boss and other != one:
                    other = self._living_above(other)
                if other == self.supervisor and ("spawn", "exclusion_moves:actor") in terms:
                    terms = ()
                by = one if other == one else self.boss  # if it is above, it may; the boss is above all
                await (tighten(other, terms) if by == self.boss else self._told(one, "tighten", one, terms))
                self._tightened(other, mask_of(caps.extend((), terms)))
            case 8:
                target = (self.supervisor, self.agent)[whom % 2]
                if what % 5 == 0 and ("spawn", "exclusion_moves:actor") not in terms:  # it could restart nobody
                    await tighten(target, terms)
                    self._tightened(target, mask_of(caps.extend((), terms)))
        if len(self.masks) > MOST:
            await self._end(next(pid for pid in self.actors() if pid not in self.supervised or len(self.supervised) == len(self.actors())))
        await self.look()

    def _living_above(self, pid: Pid) -> Pid:
        above = self.above.get(pid, self.boss)
        return above if above in self.masks or above == self.boss else self._living_above(above)

    async def look(self) -> None:
        """Nobody is permitted more than before, and whoever was tightened less."""
        for pid, limit in self.masks.items():
            mask = await self._mask(pid)
            assert mask & ~limit == 0, f"{pid} was permitted more than it should be"
            self.masks[pid] = mask

    async def _mask(self, pid: Pid) -> int:
        if pid.process is not None:
            return mask_of(pid.process.layers)
        info = await process_info_at(pid)
        assert info is not None, f"{pid} has ended"
        return mask_of(tuple(caps.layer(terms) for terms in info.exclusions))

    async def _told(self, pid: Pid, name: str, *args: Any) -> Any:
        send(pid, ("move", self.boss, name, args))
        _, _, outcome = await receive(("made", name), PATIENCE)
        self.refused += outcome == "refused"
        return outcome

    async def _came(self, pid: Any, above: Pid, limit: int) -> None:
        if type(pid) is Pid:
            self.masks[pid] = limit
            self.above[pid] = above

    async def _restart(self, child: Pid) -> None:
        there = {each.pid for each in await DynamicSupervisor.which_children(self.supervisor)}
        limit = self.masks.pop(child)
        self.supervised.remove(child)
        ref = monitor(child)
        exit(child, "kill")
        await receive(lambda message: getattr(message, "ref", None) == ref, PATIENCE)
        for _ in range(1000):
            now = {each.pid for each in await DynamicSupervisor.which_children(self.supervisor)}
            new = now - there - {None}
            if new:
                break
            await sleep(0)
        assert new, "it was not started again"
        for pid in new:
            assert pid is not None
            self.supervised.append(pid)
            await self._came(pid, self.supervisor, limit)

    def _tightened(self, top: Pid, mask: int) -> None:
        for pid in self.masks:
            above: Pid | None = pid
            while above is not None and above != top:
                above = self.above.get(above)
            if above == top:
                self.masks[pid] &= mask

    async def _end(self, pid: Pid) -> None:
        if pid in self.supervised:
            self.supervised.remove(pid)
            await DynamicSupervisor.terminate_child(self.supervisor, pid)
        else:
            ref = monitor(pid)
            exit(pid, "kill")
            await receive(lambda message: getattr(message, "ref", None) == ref, PATIENCE)
        self.masks.pop(pid)
