"""What is to run where: the process on each node that keeps the children of distributed supervisors and partitioned services.

Theory of operation. All of them have a copy of one table (see `replicated`): the supervisors, and each child with its spec and its
*home*, a process of this kind. The leader decides on the homes; each runs, by one `LocalChildren` a supervisor, the children whose home
it is. When a node is lost the leader gives its children new homes, and a new leader those that have none; so nobody needs to ask, and a
supervisor is gone only with all nodes. No other decides, so a child runs twice at no time, unless this very process was killed on a node
that lives: then its children are being stopped there while they start elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from beamlike import NOREPLY, Caller, Continue, Exit, Pid, Ref, cast, exit, process_flag, record, reply, self_pid
from beamlike.seam import Options
from nodes.here import joined
from nodes.leading import Asked
from nodes.local_children import LocalChildren, Place, Placed, Remove, Removed
from nodes.placement import least_loaded, next_of
from nodes.rendezvous import rendezvous
from nodes.replicated import Replicated

SERVICE = "beamlike.placing"
PLACEMENTS = ("spread", "least_loaded", "any")
EVERYWHERE = "everywhere"

Key = tuple[str, Any]  # the supervisor's name, the child's id
Run = tuple[Key, int, Pid]  # of a child: the number that gave it this home


@record
class Group:
    """A supervisor: its options, and how homes are chosen."""

    options: Options
    placement: str


@record
class Entry:
    """A child."""

    number: int  # of the change that gave it its home
    home: Pid | None  # None: its node is not up; or it is everywhere
    spec: bytes  # packed, for it has a function
    terms: tuple[Any, ...]  # exclusions of who asked for it
    node: str | None  # where it must be
    first: bool  # who asked for it waits for its start
    pid: Pid | None  # as it was told last


table: dict[Any, Any] = {}  # of this node: Group by name, Entry by Key


class Placing(Replicated):
    """See the module."""

    async def init(self) -> None:
        """Begin, with what the process of the same kind before this one left. Its children have been stopped, and get new homes."""
        process_flag("trap_exit", True)
        self.table = table
        self.locals: dict[str, Pid] = {}  # LocalChildren by supervisor
        self.here: dict[Key, int] = {}  # what they have been told to run: the number of its entry
        self.dirty: dict[Any, Any] = dict.fromkeys(table)  # keys that have changed, with what was there before
        self.starting: dict[Key, tuple[Asked, set[Pid]]] = {}  # of the leader: who has not told yet
        self.stopping: dict[Ref, tuple[Asked, set[Run], Any]] = {}  # of the leader: with what is answered
        self.later: dict[Key, list[Asked]] = {}  # of the leader: wants to add what is being stopped
        self.meet(SERVICE)

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        """`children`: who supervises a supervisor's children here. All else the leader decides."""
        match request:
            case ("children", name):
                return self.locals.get(name)
        self.ask_leader(request, lambda value: reply(caller, value))
        return NOREPLY

    async def handle_info(self, message: Any) -> Continue | None:
        """What others say; then make this node as the table says."""
        outcome = await super().handle_info(message)
        dirty, self.dirty = self.dirty, {}
        for key in sorted(dirty, key=lambda key: type(key) is str):  # children are removed before their supervisor ends
            await self._make_so(key, dirty[key])
        return outcome

    async def handle_rest(self, message: Any) -> Continue | None:
        """What the children's supervisors here say."""
        match message:
            case Placed() | Removed():
                is_over = isinstance(message, Removed) or message.pid is None
                if is_over and self.here.get(message.key) == message.number:
                    del self.here[message.key]
                self.ask_leader((message, self_pid()), lambda value: None)
            case Exit(pid) if pid in self.locals.values():
                name = next(name for name, each in self.locals.items() if each == pid)
                del self.locals[name]
                for key in [key for key in self.here if key[0] == name]:
                    del self.here[key]
                    self.dirty[key] = self.table.get(key)
            case Exit():
                pass  # of one that was told to end
            case _:
                return await super().handle_rest(message)
        return None

    # --- this node ---

    def table_changed(self, key: Any, before: Any, value: Any) -> None:
        """It is looked at after this message."""
        self.dirty.setdefault(key, before)

    async def _make_so(self, key: Any, before: Any) -> None:
        value: Any = self.table.get(key)
        if type(key) is str:
            if value is None and key in self.locals:
                exit(self.locals.pop(key), "shutdown")  # after what it was told before: its children are removed
            return
        is_mine = value is not None and (value.home == self_pid() or self._is_everywhere(key))
        number = self.here.get(key)
        if number is not None and (not is_mine or number != value.number):
            del self.here[key]
            cast(self.locals[key[0]], Remove(key, number))
        if is_mine and number != value.number:
            self.here[key] = value.number
            cast(await self._local(key[0]), Place(key, value.number, value.spec, value.terms, value.first))
        if value is None and number is None and before is not None and before.home in (None, self_pid()):
            self.ask_leader((Removed(key, before.number), self_pid()), lambda value: None)  # as it may have told one that did not live on

    async def _local(self, name: str) -> Pid:
        if name not in self.locals:
            group: Group = self.table[name]
            self.locals[name] = await LocalChildren.start_link(group.options, self_pid())
        return self.locals[name]

    # --- the leader ---

    def _is_everywhere(self, key: Key) -> bool:
        group = self.table.get(key[0])
        return group is not None and group.placement == EVERYWHERE

    def _homes(self) -> list[Pid]:
        return [self_pid(), *self.fellows.values()]

    def _choose(self, key: Key, node: str | None) -> Pid | None:
        membership = joined().membership
        homes = {pid.node: pid for pid in self._homes() if membership.life_of(pid.node) == pid.origin}  # some may just have died
        if node is not None:
            return homes.get(node)
        placement = self.table[key[0]].placement
        if placement == EVERYWHERE:
            return None
        names = sorted(homes)
        if placement == "any":
            return homes[next_of(names)]
        if placement == "least_loaded":
            return homes[least_loaded(names)]
        counts = dict.fromkeys(names, 0)
        for (name, _), entry in self._entries():
            if name == key[0] and entry.home is not None and entry.home.node in counts:
                counts[entry.home.node] += 1
        least = min(counts.values())
        return homes[rendezvous(repr(key), [name for name in names if counts[name] == least])]

    def _entries(self) -> list[tuple[Key, Entry]]:
        return [(key, value) for key, value in self.table.items() if type(value) is Entry]

    def decide(self, asked: Asked) -> None:
        """Act on what a node wants or tells."""
        if not self.leads or not self.is_there(asked):
            return
        match asked.request:
            case ("start", name, Group() as group):
                there = self.table.get(name)
                if there is None:
                    self.change(name, group)
                self.decided(asked, there is None or (asked.again and there == group))
            case ("stop", name):
                gone = [key for key, _ in self._entries() if key[0] == name]
                found = self.table.get(name) is not None
                is_everywhere = self._is_everywhere((name, None))
                waited = {
                    (key, self.table[key].number, home)
                    for key in gone
                    for home in (self._homes() if is_everywhere else [self.table[key].home])
                    if home is not None
                }
                for key in gone:
                    self._drop(key)
                self.change(name, None)
                self._when_gone(asked, waited, found or asked.again)
            case ("add", name, id_, bytes() as spec, terms, node):
                self._add(asked, (name, id_), Entry(0, None, spec, terms, node, True, None))
            case ("terminate", name, id_):
                entry = self.table.get((name, id_))
                if entry is None:
                    self.decided(asked, asked.again)
                    return
                waited = {((name, id_), entry.number, entry.home)} if entry.home is not None else set()
                self._drop((name, id_))
                self._when_gone(asked, waited, True)
            case (Placed() as placed, home):
                self._placed(placed, home)
                self.decided(asked, None)  # the last: until then it is asked of the next leader if this one dies
            case (Removed(key, number), home):
                entry = self.table.get(key)
                if entry is not None and entry.number == number and entry.home == home:
                    self._drop(key)
                self._gone((key, number, home))
                self.decided(asked, None)

    def _add(self, asked: Asked, key: Key, entry: Entry) -> None:
        if self.table.get(key[0]) is None:
            self.decided(asked, ("error", f"there is no distributed supervisor {key[0]!r}", "noproc"))
            return
        if self._is_being_stopped(key):
            self.later.setdefault(key, []).append(asked)
            return
        there = self.table.get(key)
        if there is None:
            self.starting[key] = asked, set()
            self._give_home(key, entry)
            if self.table[key].home is None and not self._is_everywhere(key):
                del self.starting[key]
                self._drop(key)
                self.decided(asked, ("error", f"child {key[1]!r} is to be on {entry.node!r}, which is not up", "noconnection"))
        elif not asked.again:
            self.decided(asked, ("error", f"child {key[1]!r} is there already, as {there.pid}", ("already_started", there.pid)))
        elif there.pid is not None or self._is_everywhere(key):
            self.decided(asked, ("ok", there.pid))
        else:
            self.starting[key] = asked, {there.home}

    def _give_home(self, key: Key, entry: Entry) -> None:
        home = self._choose(key, entry.node)
        first = key in self.starting
        if first:
            asked, _ = self.starting[key]
            self.starting[key] = asked, set(self._homes()) if self._is_everywhere(key) else {home} if home is not None else set()
        self.change(key, replace(entry, number=self.number + 1, home=home, first=first, pid=None))

    def _drop(self, key: Key) -> None:
        asked, _ = self.starting.pop(key, (None, None))
        self.change(key, None)
        if asked is not None:
            self.decided(asked, ("error", f"child {key[1]!r} was terminated while it started", "shutdown"))

    def _placed(self, placed: Placed, home: Pid) -> None:
        key = placed.key
        entry = self.table.get(key)
        if entry is None or entry.number != placed.number:
            return
        is_everywhere = self._is_everywhere(key)
        asked, waited = self.starting.get(key, (None, set()))
        if placed.pid is None:
            self.starting.pop(key, None)
            if asked is not None or not is_everywhere:
                self._drop(key)
            if asked is not None:
                others = {(key, entry.number, each) for each in self._homes() if is_everywhere and each != home}
                self._when_gone(asked, others, ("start_error", key[1], placed.reason))
            return
        waited.discard(home)
        first = asked is not None and bool(waited)
        if not first:
            self.starting.pop(key, None)
        if not is_everywhere or entry.first != first:
            self.change(key, replace(entry, pid=None if is_everywhere else placed.pid, first=first))
        if asked is not None and not first:
            self.decided(asked, ("ok", placed.pid))

    def _when_gone(self, asked: Asked, waited: set[Run], value: Any) -> None:
        there = self._homes()
        waited = {run for run in waited if run[2] in there}
        if waited:
            self.stopping[asked.ref] = asked, waited, value
        else:
            self.decided(asked, value)

    def _is_being_stopped(self, key: Key) -> bool:
        return any(run[0] == key for _, waited, _ in self.stopping.values() for run in waited)

    def _gone(self, run: Run) -> None:
        for ref, (asked, waited, value) in list(self.stopping.items()):
            waited.discard(run)
            if not waited:
                del self.stopping[ref]
                self.decided(asked, value)
        if run[0] in self.later and not self._is_being_stopped(run[0]):
            for asked in self.later.pop(run[0]):
                self.decide(asked)

    def begin_to_lead(self, reports: dict[Pid, Any]) -> None:
        """Whoever waits will ask again."""
        self.starting.clear()
        self.stopping.clear()
        self.later.clear()
        super().begin_to_lead(reports)

    def take_up(self) -> None:
        """Give homes to the children that have none."""
        self._place_lost()

    def nodes_changed(self) -> None:
        """Some children may have lost their home, others wait for one that has come."""
        super().nodes_changed()
        if self.leads and not joined().stopped.is_set():  # else the system ends: all nodes do
            self._place_lost()

    def fellow_reported(self, pid: Pid, report: Any) -> None:
        """A node is there (again)."""
        super().fellow_reported(pid, report)
        self._place_lost()

    def _place_lost(self) -> None:
        for key, entry in self._entries():
            if not self._is_everywhere(key) and self._is_lost(entry.home):
                home = self._choose(key, entry.node)
                if home is not None or entry.home is not None:
                    self._give_home(key, entry)

    def _is_lost(self, home: Pid | None) -> bool:
        """Does what has this home run nowhere? While its node lives and only the connection to it is lost, it does."""
        if home is None:
            return True
        homes = self._homes()
        if home in homes:
            return False
        lives = {member.id for member in joined().membership.members.values()}
        return home.origin not in lives or any(each.origin == home.origin for each in homes)

    def fellow_left(self, pid: Pid) -> None:
        """Nothing is waited for of a node that is lost."""
        super().fellow_left(pid)
        for run in {run for _, waited, _ in self.stopping.values() for run in waited if run[2] == pid}:
            self._gone(run)
        for key, (asked, waited) in list(self.starting.items()):
            if pid in waited and self._is_everywhere(key):
                waited.discard(pid)
                if not waited:
                    del self.starting[key]
                    self.decided(asked, ("ok", None))
