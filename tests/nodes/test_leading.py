"""Who leads, in orders of events that real nodes have rarely: fellows whose messages and knowledge of the nodes the test delivers."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from beamlike import Down, Pid, Ref
from beamlike.hot.ids import NodeId
from nodes import fellows, leading
from nodes.leading import Asked, Led
from nodes.membership import NodeDown, NodeUp

SERVICE = "led"


class Decider(Led):
    """Decides at once, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Any] = []

    def decide(self, asked: Asked) -> None:
        self.decided(asked, ("decided", asked.request))


class Net:
    """Fellows on nodes of which each knows what the test has told it; nobody does anything but in `run`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current: Pid
        self.refs = 0
        self.processes: dict[Pid, Decider] = {}
        self.known: dict[Pid, dict[str, NodeId]] = {}  # the other lives that each knows
        self.watched: dict[Pid, dict[Ref, Any]] = {}
        self.mail: deque[tuple[Pid, Any]] = deque()
        for module in (fellows, leading):
            monkeypatch.setattr(module, "joined", lambda: SimpleNamespace(membership=self))
            monkeypatch.setattr(module, "self_pid", lambda: self.current)
            monkeypatch.setattr(module, "send", self.send)
        monkeypatch.setattr(fellows, "monitor", self.watch)
        monkeypatch.setattr(fellows, "demonitor", lambda ref, flush: self.watched[self.current].pop(ref))
        monkeypatch.setattr(leading, "make_ref", self.make_ref)

    # --- what fellows ask of their membership and of the runtime ---

    is_settled = True
    roster = ()

    @property
    def members(self) -> dict[str, Any]:
        return {name: SimpleNamespace(id=life) for name, life in self.known[self.current].items()}

    def conductor(self) -> NodeId:
        return min([self.current.origin, *self.known[self.current].values()], key=lambda life: life.incarnation)

    def make_ref(self) -> Ref:
        self.refs += 1
        return Ref(self.current.origin, self.refs)

    def watch(self, target: Any) -> Ref:
        ref = self.make_ref()
        self.watched[self.current][ref] = target
        return ref

    def send(self, to: Any, message: Any) -> None:
        if isinstance(to, tuple):
            life = self.known[self.current].get(to[1])
            to = next((pid for pid in self.processes if pid.origin == life), None)
        if to is not None:
            self.mail.append((to, message))

    # --- what the test does ---

    def start(self, incarnation: int) -> Pid:
        """A fellow on a node of its own, which knows nobody."""
        pid = self.current = Pid(NodeId(f"n{incarnation}@h", incarnation), 1)
        self.processes[pid] = Decider()
        self.known[pid], self.watched[pid] = {}, {}
        self.processes[pid].meet(SERVICE)
        return pid

    async def knows(self, who: Pid, other: Pid) -> None:
        """`who` is told that the other's node is up."""
        self.known[who][other.node] = other.origin
        await self.tell(who, NodeUp(other.node))

    async def loses(self, who: Pid, lost: Pid) -> None:
        """`who` is told that it is not any more, if it knew it."""
        if self.known[who].pop(lost.node, None) is not None:
            for ref, target in list(self.watched[who].items()):
                if target == lost:
                    await self.tell(who, Down(ref, lost, "noconnection"))
            await self.tell(who, NodeDown(lost.node, ("lost",)))

    async def tell(self, who: Pid, message: Any) -> None:
        self.current = who
        await self.processes[who].handle_info(message)

    async def run(self) -> None:
        """Deliver all that was sent to those that live, and what they send then."""
        while self.mail:
            to, message = self.mail.popleft()
            if to in self.processes:
                await self.tell(to, message)

    def ask(self, who: Pid, request: Any) -> None:
        self.current = who
        self.processes[who].ask_leader(request, self.processes[who].answers.append)


async def test_a_fellow_that_deserted_to_an_elder_that_died_goes_back_to_who_led_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`led` never hears of the elder: that comes up, asks the fellow first, and dies."""
    net = Net(monkeypatch)
    elder, led = Pid(NodeId("n1@h", 1), 1), net.start(2)
    fellow = net.start(3)
    await net.knows(led, fellow)
    await net.knows(fellow, led)
    await net.run()
    assert net.processes[led].leads
    assert net.processes[fellow].obeys == led

    net.start(1)
    await net.knows(fellow, elder)
    await net.knows(elder, fellow)
    await net.run()
    assert net.processes[fellow].obeys == elder
    assert net.processes[led].leads, "it does not know"

    del net.processes[elder]
    await net.loses(fellow, elder)
    net.ask(fellow, "where is it?")
    await net.run()
    assert net.processes[fellow].obeys == led
    assert net.processes[fellow].answers == [("decided", "where is it?")]


async def test_who_is_asked_by_an_elder_answers_only_when_it_knows_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(monkeypatch)
    led, fellow = net.start(2), net.start(3)
    await net.knows(led, fellow)
    await net.knows(fellow, led)
    await net.run()
    elder = net.start(1)
    await net.knows(elder, fellow)
    await net.run()
    assert net.processes[fellow].obeys == led
    await net.knows(fellow, elder)
    await net.run()
    assert net.processes[fellow].obeys == elder
