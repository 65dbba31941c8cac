"""How mailboxes are offered, taken, taken back and broken: both ends in one interpreter, with the test as their owner."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from descriptors import no_descriptors

from beamlike import abroad, pack
from beamlike.seam import life
from nodes import mailboxes
from nodes.control import close_all
from nodes.hot.peer import Peer
from nodes.kinds import Kind
from nodes.mailboxes import ANSWER, Mailboxes
from nodes.router import Router
from nodes.segments import MOST_HELD

PATIENCE = 10.0  # seconds
NOBODY = 999  # a serial that no process has
Offer = tuple[tuple[Any, ...], list[int]]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Side:
    """A node with its mailboxes: what `life` does around them. What it asks of the owner waits in `said` until the test acts on it."""

    def __init__(self, name: str, incarnation: int) -> None:
        self.id = life(name, incarnation)
        self.woken = 0
        self.said: deque[Offer] = deque()
        self.has_said = trio.Event()
        self.faults: list[str] = []
        node: Any = self
        self.mailboxes = Mailboxes(node, node, polls=False)
        self.router = self.mailboxes.router = Router(self.id, self.mailboxes.reach, lambda: False)

    def wake(self) -> None:
        self.woken += 1

    def send(self, kind: str, *items: Any, fds: list[int] | None = None) -> None:
        if kind == "fault":
            self.faults.append(items[0])
            return
        self.said.append(((kind, *items), [os.dup(fd) for fd in fds or []]))
        self.has_said.set()

    def meets(self, other: Side) -> Peer:
        self.router.up(other.id.name, other.id.incarnation)
        peer = self.router.peer(other.id)
        assert peer is not None
        return peer

    def to(self, other: Side) -> Peer:
        peer = self.router.peer(other.id)
        assert peer is not None
        return peer

    def box(self, other: Side) -> mailboxes.Mailbox:
        return self.mailboxes.open[other.id]

    async def offer(self) -> Offer:
        """The next that it makes."""
        with trio.fail_after(PATIENCE):
            while not self.said:
                self.has_said = trio.Event()
                await self.has_said.wait()
        return self.said.popleft()

    def takes(self, offer: Offer, sender: Side) -> None:
        (kind, to, incarnation, what, number), fds = offer
        assert (kind, to, incarnation, what) == ("relay", self.id.name, self.id.incarnation, "mailbox")
        self.mailboxes.offered(sender.id.name, sender.id.incarnation, number, fds)

    def close(self) -> None:
        for id_ in [*self.mailboxes.open, *self.mailboxes.offers]:
            self.mailboxes.close(id_)
        while self.said:
            close_all(self.said.popleft()[1])
        os.close(self.mailboxes.bell)


Pair = tuple[Side, Side]


@pytest.fixture
async def pair() -> Any:
    """The elder and the younger one. At the end nothing is left of both."""
    before = descriptors()
    both = Side("elder@here", 1), Side("younger@here", 2)
    for one, other in (both, both[::-1]):
        one.meets(other)
    yield both
    for side in both:
        side.close()
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert descriptors() == before
    abroad.clear()


def say(sender: Side, receiver: Side, size: int = 0) -> None:
    """A message that nobody gets."""
    sender.to(receiver).put(Kind.SEND, NOBODY, 0, 0, b"x" * size)


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - each case has another event
            await trio.sleep(0.001)


async def connected(one: Side, other: Side) -> None:
    say(one, other)
    other.takes(await one.offer(), one)
    await until(lambda: other.id in one.mailboxes.open)
    assert one.id in other.mailboxes.open
    assert one.to(other).backlog == deque()


def fill(sender: Side, receiver: Side) -> None:
    """Until records wait."""
    while not sender.to(receiver).backlog:
        say(sender, receiver, 1000)


async def test_offer_that_is_taken_opens_both_ends(pair: Pair) -> None:
    elder, younger = pair
    await connected(elder, younger)
    say(younger, elder)
    assert not younger.said
    assert not younger.to(elder).backlog


async def test_offer_to_a_life_that_ends_is_taken_back(pair: Pair) -> None:
    elder, younger = pair
    before = descriptors()
    say(elder, younger)
    close_all((await elder.offer())[1])  # which the owner does with what it holds for who has ended
    elder.mailboxes.close(younger.id)
    elder.router.lose(younger.id)
    assert elder.mailboxes.offers == {}
    elder.mailboxes.drain()
    assert elder.mailboxes.waiting == set()
    assert descriptors() == before


@pytest.mark.parametrize("how", ["dropped", "answered without a descriptor"])
async def test_offer_that_fails_is_made_again_while_records_wait(pair: Pair, how: str) -> None:
    elder, younger = pair
    say(elder, younger)
    _, fds = await elder.offer()
    if how != "dropped":
        os.write(fds[2], ANSWER.pack(0))
    close_all(fds)
    await until(lambda: not elder.mailboxes.offers)
    younger.takes(await elder.offer(), elder)
    await until(lambda: younger.id in elder.mailboxes.open)


async def test_offer_that_fails_is_not_made_again_when_nothing_waits(pair: Pair, autojump_clock: trio.testing.MockClock) -> None:
    elder, younger = pair
    say(elder, younger)
    close_all((await elder.offer())[1])
    await until(lambda: not elder.mailboxes.offers)
    elder.to(younger).backlog.clear()
    await trio.sleep(10 * mailboxes.RETRY)
    assert not elder.said
    assert not elder.mailboxes.put_off


@pytest.mark.parametrize("fails", ["create", "socket", "send"])
async def test_offer_that_cannot_be_made_is_no_error_of_who_sends_and_is_made_later(
    pair: Pair, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elder, younger = pair
    before = descriptors()

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        match fails:
            case "create":
                patch.setattr(mailboxes, "create", refuse)
            case "socket":
                patch.setattr("socket.socketpair", refuse)
            case "send":
                patch.setattr(elder, "send", refuse)
        say(elder, younger)
        assert elder.mailboxes.offers == {}
        assert descriptors() == before
    younger.takes(await elder.offer(), elder)
    await until(lambda: younger.id in elder.mailboxes.open)


@pytest.mark.parametrize("order", ["elder first", "younger first", "younger's is dropped"])
async def test_of_offers_that_cross_the_elders_counts_and_no_later_one_is_refused(pair: Pair, order: str) -> None:
    elder, younger = pair
    say(elder, younger)
    say(younger, elder)
    elders, youngers = await elder.offer(), await younger.offer()
    if order == "younger first":
        elder.takes(youngers, younger)
    younger.takes(elders, elder)
    await until(lambda: younger.id in elder.mailboxes.open)
    if order == "elder first":
        elder.takes(youngers, younger)
    if order == "younger's is dropped":
        close_all(youngers[1])
    assert (list(elder.mailboxes.open), list(younger.mailboxes.open)) == ([younger.id], [elder.id])
    assert elder.mailboxes.offers == younger.mailboxes.offers == {}
    younger.mailboxes.cut(elder.id)
    await until(lambda: not elder.mailboxes.open)
    say(younger, elder)
    elder.takes(await younger.offer(), younger)
    await until(lambda: elder.id in younger.mailboxes.open)


async def test_offer_that_cannot_be_mapped_is_not_taken(pair: Pair) -> None:
    elder, younger = pair
    say(elder, younger)
    what, (memfd, *rest) = await elder.offer()
    os.close(memfd)
    younger.takes((what, [os.dup(0), *rest]), elder)
    assert younger.mailboxes.open == {}
    await until(lambda: not elder.mailboxes.offers)


async def test_full_ring_wakes_the_node_so_that_it_says_that_it_waits(pair: Pair) -> None:
    """Who sends may be a process in trio mode, while the node sleeps."""
    elder, younger = pair
    await connected(elder, younger)
    before = elder.woken
    fill(elder, younger)
    assert elder.woken == before + 1


@pytest.mark.parametrize("end", ["_writer", "_reader"])
async def test_ring_that_is_found_broken_before_sleeping_costs_the_connection_only(pair: Pair, end: str) -> None:
    elder, younger = pair
    await connected(elder, younger)
    fill(elder, younger)
    getattr(elder.box(younger).end, end).broken = 1
    assert not elder.mailboxes.sleep()
    elder.mailboxes.drain()
    assert elder.mailboxes.open == {}
    assert elder.faults == [younger.id.name]
    assert elder.mailboxes.sleep()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.SEND_NAMED, pack(5)),
        (Kind.CALL_NAMED, pack((1, 2, 3))),
        (Kind.MONITOR_NAMED, b"\xc1"),
        (Kind.SPAWNED, pack(None)),
        (Kind.PROBE, pack(1)),
    ],
)
async def test_record_that_cannot_be_acted_upon_costs_the_connection_only_and_is_no_fault(pair: Pair, kind: Kind, payload: bytes) -> None:
    elder, younger = pair
    await connected(elder, younger)
    elder.to(younger).put(kind, NOBODY, NOBODY, 7, payload)
    younger.mailboxes.drain()
    assert younger.mailboxes.open == {}
    assert younger.faults == []
    await until(lambda: not elder.mailboxes.open)
    await connected(elder, younger)


async def test_large_message_without_a_descriptor_left_here_goes_later(pair: Pair) -> None:
    elder, younger = pair
    await connected(elder, younger)
    with no_descriptors():
        say(elder, younger, 100_000)
        elder.mailboxes.drain()
        assert len(elder.to(younger).backlog) == 1
        woken = elder.woken
        assert elder.mailboxes.sleep()
    await until(lambda: elder.woken > woken)
    elder.mailboxes.drain()
    assert not elder.to(younger).backlog


async def test_large_message_without_a_descriptor_left_there_costs_the_connection_only(pair: Pair) -> None:
    elder, younger = pair
    await connected(elder, younger)
    say(elder, younger, 100_000)
    with no_descriptors():
        younger.mailboxes.drain()
    assert younger.mailboxes.open == {}
    assert younger.faults == []
    await until(lambda: not elder.mailboxes.open)
    await connected(elder, younger)


async def test_no_more_descriptors_are_held_than_fit_while_nobody_fetches_and_all_messages_come(pair: Pair) -> None:
    elder, younger = pair
    await connected(elder, younger)
    for _ in range(200):
        say(elder, younger, 70_000)
    box = younger.box(elder)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert len(box.receiving.came) == MOST_HELD
    assert not any(map(os.get_inheritable, [*box.receiving.came, elder.box(younger).bell]))
    with trio.fail_after(PATIENCE):
        while box.receiving.number < 200:
            younger.mailboxes.drain()
            elder.mailboxes.sleep()
            elder.mailboxes.drain()
            await trio.lowlevel.checkpoint()
    assert younger.box(elder) is box
