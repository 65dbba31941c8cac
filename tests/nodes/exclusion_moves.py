"""Moves that might enlarge what a process is permitted, and the model that none does: for the state machine on one node, and on several.

A move is four numbers; whatever they are, it is a move. After every few, what each living process is permitted, of a fixed list of
accesses, is compared with what it may be at most: what it was permitted before, what those are from whom it comes, and what it has been
forbidden since. It is imported in nodes: nothing slow is imported here.

On each node is a *house*: a guarded server, a supervisor, and one more below that. Whoever is poor in permissions is replaced now and then:
a population that is permitted nothing any more finds nothing. The *collector* gets what the actors' timers and calls send.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

import beamlike
import caps
from beamlike import (
    ChildSpec,
    DynamicSupervisor,
    GenServer,
    Pid,
    call,
    exit,
    io,
    process_flag,
    receive,
    self_pid,
    send,
    send_after,
    sleep,
    spawn_at,
    system,
    tighten,
    unlink,
)

COLLECTOR = "the collector"  # in PROBES and TERMS it stands for the pid

PROBES: tuple[tuple[Any, ...], ...] = (
    ("spawn", "exclusion_moves:actor"),
    ("send", COLLECTOR),
    *[("register", name) for name in ("it", "that")],
    *[("port_io", port, width) for port in (0x5F, 0x60, 0x62, 0x64, 0x70, 0x71) for width in (1, 2)],
    *[("raw_memory", address, 4) for address in (0, 0xFFE, 0x1000, 0x1FFE)],
    *[("file", path, mode) for path in ("/etc/passwd", "/tmp/x", "/home") for mode in ("r", "w", "rw")],
    *[("net", host, port) for host in ("a.org", "10.0.0.1") for port in (80, 443)],
    ("spawn", "exclusion_moves:other"),
    *[("send", name) for name in ("bank", "clerk")],
    ("exit", "bank"),
    ("process_info", "bank"),
    ("node", "n7@m"),
    ("device", "disk0"),
    ("system", "halt"),
    ("ffi",),
    ("blocking",),
)
MAY_SPAWN, MAY_SEND, MAY_REGISTER = 1, 2, 4  # the bits of the first three: whether they are right is seen by calls, too

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
    (("send", COLLECTOR),),
    (("spawn", "exclusion_moves:actor"),),
)
NO_SPAWN = TERMS[-1]  # not for supervisors: they could start nobody again

MOST = 12  # actors at a time
FREE = range(8)  # kinds of moves that take nothing away from anybody: several may be under way at once
PATIENCE = 10.0
DELAY = 0.02  # seconds of a timer

_masks: dict[Any, int] = {}


def probe(bit: int, collector: Pid) -> Any:
    """What the bit is about."""
    return [collector if each is COLLECTOR else each for each in PROBES[bit]]


def mask_of(layers: caps.Layers, collector: Pid) -> int:
    """Which of the probes are permitted, a bit each: those that each layer permits (C1)."""
    mask = -1
    for layer in layers:
        permitted = _masks.get((collector, layer))
        if permitted is None:
            permitted = sum(1 << bit for bit in range(len(PROBES)) if caps.permits((layer,), *probe(bit, collector)))
            _masks[collector, layer] = permitted
        mask &= permitted
    return mask


class Looker:
    """Looks what processes of its node are permitted."""

    def __init__(self, collector: Pid) -> None:
        self.collector = collector
        self.seen: dict[Pid, tuple[caps.Layers, int]] = {}  # layers are values: the same are permitted the same

    def look(self, pid: Pid) -> int | None:
        """The mask; None of who has ended."""
        if pid.process is None:
            return None
        layers, mask = self.seen.get(pid, (None, 0))
        if layers is not pid.process.layers:
            mask = mask_of(pid.process.layers, self.collector)
            self.seen[pid] = pid.process.layers, mask
        return mask


# --- the processes ------------------------------------------------------------------------------------------------------------


async def actor() -> None:
    """Makes moves when told, and answers what came of it."""
    while True:
        match await receive():
            case ("move", Pid() as boss, int(number), str(name), tuple(args)):
                try:
                    outcome: Any = await DEEDS[name](*args)
                except caps.CapabilityError:
                    outcome = "refused"
                except (beamlike.ChildStartError, beamlike.BadNameError) as error:
                    outcome = type(error).__name__
                except Exception as error:  # noqa: BLE001 - told to the boss
                    outcome = ("unexpected", repr(error))
                send(boss, ("made", number, outcome))


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


async def _ask(server: Pid, request: Any) -> Any:
    return await call(server, request, None)


async def _ask_late(server: Pid, request: Any, terms: tuple[Any, ...]) -> Any:
    """Make the call, be tightened, and then await it."""
    made = call(server, request, None)
    await tighten(self_pid(), terms)
    try:
        return await made
    except caps.CapabilityError:
        return "refused late"


async def _start_timer(collector: Pid, token: int) -> None:
    send_after(DELAY, collector, token)


async def _touch(collector: Pid, first: int, is_io: bool) -> int:
    """Try some of the accesses of the probes, perhaps in a task of trio's: a bit for each that is permitted."""
    touched = 0

    async def touch() -> None:
        nonlocal touched
        for bit in (first % len(PROBES), (first + 7) % len(PROBES), (first + 17) % len(PROBES)):
            with suppress(caps.CapabilityError):
                caps.check(*probe(bit, collector))
                touched |= 1 << bit

    if not is_io:
        await touch()
        return touched
    async with io(), trio.open_nursery() as nursery:
        nursery.start_soon(touch)
    return touched


async def _take_name() -> None:
    beamlike.register("it")
    beamlike.unregister("it")


DEEDS: dict[str, Any] = {
    "spawn": _spawn,
    "spawn_at": _spawn_at,
    "start_child": _start_child,
    "ask": _ask,
    "ask_late": _ask_late,
    "start_timer": _start_timer,
    "take_name": _take_name,
    "touch": _touch,
    "tighten": tighten,
}


class Agent(GenServer, guarded=True):
    """Spawns an actor for who asks, and says what it was permitted meanwhile; it may be told to forbid itself something first."""

    async def init(self, collector: Pid) -> None:
        self.collector = collector

    async def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case ("spawn", terms):
                pass
            case ("tighten", terms):
                await tighten(self_pid(), terms)
        assert self_pid().process is not None
        mask = mask_of(self_pid().process.layers, self.collector)
        try:
            return mask, beamlike.spawn(actor, exclude=terms)
        except caps.CapabilityError:
            return mask, None


class Collector(GenServer):
    """Keeps what it was sent."""

    async def init(self) -> None:
        self.tokens: list[Any] = []

    async def handle_call(self, request: Any, caller: Any) -> Any:
        if request == "tokens":
            return self.tokens
        self.tokens.append(request)

    async def handle_info(self, message: Any) -> None:
        match message:
            case ("flushed", Pid() as boss):
                send(boss, "flushed")
            case _:
                self.tokens.append(message)


async def collect(boss: Pid) -> None:
    send(boss, await Collector.start_link())
    await receive(lambda _: False)


async def keep_house(boss: Pid, collector: Pid) -> None:
    """Of its node: opens what is in the house, and looks what processes are permitted."""
    process_flag("trap_exit", True)
    looker = Looker(collector)
    while True:
        match await receive():
            case "open":
                supervisor = await DynamicSupervisor.start_link(intensity=1_000_000)
                nested = await DynamicSupervisor.start_child(supervisor, ChildSpec.of(DynamicSupervisor, id="nested", intensity=1_000_000))
                send(boss, ("opened", supervisor, nested, await Agent.start_link(collector)))
            case ("look", tuple(pids)):
                send(boss, ("seen", tuple([(pid, looker.look(pid)) for pid in pids])))
            case "flush":
                send_after(DELAY, collector, ("flushed", boss))
            case "close":
                break


# --- the model ----------------------------------------------------------------------------------------------------------------


class House:
    """What is in it."""

    def __init__(self, keeper: Pid) -> None:
        self.keeper = keeper

    def set(self, supervisor: Pid, nested: Pid, agent: Pid) -> None:
        self.supervisor, self.nested, self.agent = supervisor, nested, agent

    def services(self) -> tuple[Pid, Pid, Pid]:
        return self.supervisor, self.nested, self.agent


class Moves:
    """The processes, and the model: `masks` says what each is permitted at most.

    Args:
        every: it looks after so many moves.
        ahead: so many may be under way at once.
    """

    def __init__(self, nodes: list[str], every: int = 1, ahead: int = 1) -> None:
        self.nodes = nodes
        self.every = every
        self.ahead = ahead
        self.told = 0
        self.pending: dict[int, Callable[[Any], None]] = {}  # what actors were told, by number: whom to tell what came of it
        self.made = 0
        self.refused = 0
        self.masks: dict[Pid, int] = {}
        self.above: dict[Pid, Pid] = {}  # who spawned whom
        self.supervised: list[Pid] = []
        self.timers: dict[int, tuple[Pid, float]] = {}  # by token: its owner, and when it sends at the earliest
        self.forbidden: set[int] = set()  # tokens that must not come
        self.houses: dict[str, House] = {}
        self.services: set[Pid] = set()  # what is in them

    async def open(self) -> None:
        """Its processes descend from the caller."""
        self.boss = self_pid()
        await spawn_at(self.nodes[-1], collect, self.boss)
        self.collector = await receive(Pid, PATIENCE)
        self.looker = Looker(self.collector)
        self.terms = [tuple([tuple(self.collector if each is COLLECTOR else each for each in term) for term in terms]) for terms in TERMS]
        self.term_masks = {terms: mask_of(caps.extend((), terms), self.collector) for terms in self.terms}
        for node in self.nodes:
            self.houses[node] = House(await spawn_at(node, keep_house, self.boss, self.collector))
            await self._furnish(self.houses[node])
        self._came(beamlike.spawn(actor), self.boss, -1)

    async def close(self) -> list[Any]:
        """The last look, at what has been collected as well: all that was."""
        await self._settle()
        await self.look()
        for house in self.houses.values():
            send(house.keeper, "flush")
        for _ in self.houses:
            await receive("flushed".__eq__, PATIENCE)
        tokens: list[Any] = await call(self.collector, "tokens")
        assert self.forbidden.isdisjoint(tokens), "somebody sent what it was forbidden to send before"
        for house in self.houses.values():
            await self._empty(house)
            send(house.keeper, "close")
        return tokens

    def actors(self) -> list[Pid]:
        return [pid for pid in self.masks if pid not in self.services]

    async def make(self, kind: int, who: int, whom: int, what: int) -> None:
        """A move, and perhaps a look at what has become of it."""
        kind, chance = kind % 16, kind // 16
        if kind not in FREE:
            await self._settle()
        actors = self.actors()
        one, other, terms = actors[who % len(actors)], actors[whom % len(actors)], self.terms[what % len(TERMS)]
        node = self.nodes[whom % len(self.nodes)]
        house = self.houses[node]
        supervisor = (house.supervisor, house.nested)[what // len(TERMS) % 2]
        before, new = self.masks[one], self.term_masks[terms]
        limit = before & self.masks[house.agent]
        self.made += 1
        match kind:
            case 0:
                self._tell(one, "spawn", whom, terms, then=lambda pid: self._came(pid, one, before, new))
            case 1:
                self._tell(one, "spawn_at", node, terms, then=lambda pid: self._came(pid, one, before, new))
            case 3:
                both = before & self.masks[supervisor]
                self._tell(one, "start_child", supervisor, terms, then=lambda pid: self._came(pid, supervisor, both, new, supervised=True))
            case 4:
                self._tell(one, "ask", house.agent, ("spawn", terms), then=lambda outcome: self._served(outcome, house.agent, limit, new))
            case 5:
                self._tell(one, "take_name", then=lambda outcome: self._took(one, outcome))
            case 6:
                self._start_timer(one)
            case 8:
                self._start_timer(one)
                if chance % 4 == 0:
                    await self._tighten(one, one, (("send", self.collector),) if whom % 2 else terms)
            case 9 if self.supervised and chance % 2:
                await self._restart(self.supervised[whom % len(self.supervised)])
            case 10 if chance % 4 == 0:
                await self._restart_nested(house)
            case 11 if chance % 4 == 0:
                await self._ask_late(one, house.agent, terms, self.terms[whom % len(TERMS)])
            case 12 if chance % 2:
                await self._tighten(one if self._descends(other, one) else self.boss, other, terms)
            case 13 if chance % 4 == 0:
                outcome = await self._told(one, "ask", house.agent, ("tighten", terms))
                self._tightened(house.agent, new)
                self._served(outcome, house.agent, limit & new, new)
            case 13 if chance % 4 == 1 and terms != NO_SPAWN:
                await self._tighten(self.boss, house.services()[who % 3], terms)
            case 14 if chance % 8 == 0:
                await self._empty(house)
                await self._furnish(house)
            case 15:
                self._came(await spawn_at(node, actor, exclude=terms), self.boss, -1, new)
            case _:
                self._tell(one, "touch", self.collector, what, chance == 0, then=lambda mask: self._touched(one, before, mask))
        if len(self.pending) >= self.ahead:
            await self._settle()
        if self.made % self.every == 0:
            await self._settle()
            await self.look()

    async def look(self) -> None:
        """Nobody is permitted more than before, and whoever was tightened less."""
        away: dict[str, list[Pid]] = {}
        masks: dict[Pid, int | None] = {}
        for pid in self.masks:
            if pid.origin is self.boss.origin:
                masks[pid] = self.looker.look(pid)
            else:
                away.setdefault(pid.node, []).append(pid)
        for node, pids in away.items():
            send(self.houses[node].keeper, ("look", tuple(pids)))
        for _ in away:
            masks |= dict((await receive(("seen", tuple), PATIENCE))[1])
        for pid, limit in self.masks.items():
            mask = masks[pid]
            assert mask is not None, f"{pid} has ended"
            assert mask & ~limit == 0, f"{pid} was permitted more than it should be"
            self.masks[pid] = mask

    # --- parts of moves ---

    def _tell(self, pid: Pid, name: str, *args: Any, then: Callable[[Any], None]) -> None:
        """Have an actor do something, and `then` look at what came of it."""
        send(pid, ("move", self.boss, self.told, name, args))
        self.pending[self.told] = then
        self.told += 1

    async def _settle(self) -> None:
        """All have done what they were told, and there are not too many."""
        while self.pending:
            _, number, outcome = await receive(("made", int), PATIENCE)
            self.refused += outcome == "refused"
            assert type(outcome) is not tuple or outcome[0] != "unexpected", outcome[1]
            self.pending.pop(number)(outcome)
        while len(self.masks) - len(self.services) > MOST:
            actors = self.actors()
            await self._end(next((pid for pid in actors if pid not in self.supervised), actors[0]))

    async def _told(self, pid: Pid, name: str, *args: Any) -> Any:
        """What came of it."""
        outcomes: list[Any] = []
        self._tell(pid, name, *args, then=outcomes.append)
        while not outcomes:
            await self._settle()
        return outcomes[0]

    def _came(self, pid: Any, above: Pid, limit: int, new: int = -1, supervised: bool = False) -> None:
        """Somebody has been spawned, perhaps: by who is permitted no more than this, with these exclusions more."""
        if type(pid) is Pid:
            assert limit & MAY_SPAWN, f"{pid} was spawned"
            self.masks[pid] = limit & new
            self.above[pid] = above
            if supervised:
                self.supervised.append(pid)

    def _touched(self, pid: Pid, mask: int, touched: Any) -> None:
        assert touched & ~mask == 0, f"{pid} was permitted more than it should be, when it tried"

    def _took(self, pid: Pid, outcome: Any) -> None:
        assert outcome == "refused" or self.masks[pid] & MAY_REGISTER, f"{pid} has taken a name"

    def _served(self, outcome: Any, agent: Pid, limit: int, new: int) -> None:
        """What an agent has done for somebody."""
        if outcome not in ("refused", "refused late"):
            assert outcome[0] & ~limit == 0, "the server was permitted more than who asked"
            self._came(outcome[1], agent, limit, new)

    async def _ask_late(self, one: Pid, agent: Pid, terms: Any, more: Any) -> None:
        """A call that is made before the caller is forbidden more, and awaited after."""
        before, token = self.masks[one], self.made
        target, request = (agent, ("spawn", terms)) if token % 2 else (self.collector, token)
        outcome = await self._told(one, "ask_late", target, request, more)
        if outcome == "refused":
            assert target != agent
            assert not before & MAY_SEND
            return
        self._tightened(one, self.term_masks[more])
        if target == agent:
            self._served(outcome, agent, self.masks[one] & self.masks[agent], self.term_masks[terms])
        elif not self.masks[one] & MAY_SEND:
            assert outcome == "refused late", "a call was made that was forbidden before it was awaited"
            self.forbidden.add(token)

    def _start_timer(self, one: Pid) -> None:
        token, earliest = self.made, time.monotonic() + DELAY

        def started(outcome: Any) -> None:
            if outcome != "refused":
                assert self.masks[one] & MAY_SEND, "a timer was set that was forbidden"
                self.timers[token] = one, earliest

        self._tell(one, "start_timer", self.collector, token, then=started)

    async def _tighten(self, by: Pid, pid: Pid, terms: Any) -> None:
        await (tighten(pid, terms) if by == self.boss else self._told(by, "tighten", pid, terms))
        self._tightened(pid, self.term_masks[terms])

    def _tightened(self, top: Pid, mask: int) -> None:
        """It has been, and so all that descend from it. What their timers have not sent yet must not come, if they may not send it now."""
        for pid in self.masks:
            if self._descends(pid, top):
                self.masks[pid] &= mask
        if not mask & MAY_SEND:
            now = time.monotonic()
            self.timers = {token: timer for token, timer in self.timers.items() if timer[1] > now}
            self.forbidden |= {
                token for token, (owner, _) in self.timers.items() if owner in self.masks and not self.masks[owner] & MAY_SEND
            }

    async def _restart(self, child: Pid) -> None:
        """A child of a supervisor, by it."""
        supervisor, limit = self.above[child], self.masks.pop(child)
        self.supervised.remove(child)
        new = await self._started_again(supervisor, child)
        self.supervised.append(new)
        self.masks[new], self.above[new] = limit, supervisor

    async def _restart_nested(self, house: House) -> None:
        """A supervisor by the one above; its children end, and what they were forbidden is forgotten."""
        old, limit = house.nested, self.masks.pop(house.nested)
        for child in [each for each in self.supervised if self.above[each] == old]:
            self.supervised.remove(child)
            del self.masks[child]
        house.nested = await self._started_again(house.supervisor, old)
        self.services ^= {old, house.nested}
        self.masks[house.nested], self.above[house.nested] = limit, house.supervisor
        await self._not_empty()

    async def _started_again(self, supervisor: Pid, child: Pid) -> Pid:
        exit(child, "kill")
        for _ in range(1000):
            for each in await DynamicSupervisor.which_children(supervisor):
                if each.pid is not None and each.pid != child and each.pid not in self.masks:
                    return each.pid
            await sleep(0)
        raise AssertionError(f"{child} was not started again by {supervisor}")

    async def _furnish(self, house: House) -> None:
        send(house.keeper, "open")
        _, supervisor, nested, agent = await receive(("opened", Pid, Pid, Pid), PATIENCE)
        house.set(supervisor, nested, agent)
        for pid, above in ((supervisor, self.boss), (nested, supervisor), (agent, self.boss)):
            self.masks[pid], self.above[pid] = -1, above
            self.services.add(pid)

    async def _empty(self, house: House) -> None:
        for child in [each for each in self.supervised if self.above[each] in house.services()]:
            self.supervised.remove(child)
            del self.masks[child]
        for pid in house.services():
            del self.masks[pid]
            self.services.remove(pid)
        await system.stop(house.agent, "shutdown")
        await system.stop(house.supervisor, "shutdown")
        await self._not_empty()

    async def _not_empty(self) -> None:
        if not self.actors():
            self._came(beamlike.spawn(actor), self.boss, -1)

    async def _end(self, pid: Pid) -> None:
        if pid in self.supervised:
            self.supervised.remove(pid)
            await DynamicSupervisor.terminate_child(self.above[pid], pid)
        else:
            exit(pid, "kill")
        del self.masks[pid]

    def _descends(self, pid: Pid, top: Pid) -> bool:
        above: Pid | None = pid
        while above is not None and above != top:
            above = self.above.get(above)
        return above == top
