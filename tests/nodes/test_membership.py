"""Who is up, who was lost and why, and who restarts it, on real nodes that are killed, stopped and stuck."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from system import LostNodeError, System

from beamlike import receive, run, self_pid
from beamlike.hot.ids import NodeId
from nodes.membership import REASON_PATIENCE, Membership, NodeDown, NodeUp

MODULE = "membership_checks"


class NoRouter:
    """A router that nobody depends on."""

    def up(self, name: str, incarnation: int) -> NodeId:
        return NodeId(name, incarnation)

    def lose(self, id: NodeId) -> None:
        """Nobody is told."""


async def test_start_is_asked_for_again_when_the_owner_has_reaped_what_the_kernel_told_of_first() -> None:
    """The owner ignores a `start` while it takes the dead life for a live one."""
    asked: list[tuple[str, ...]] = []
    router: Any = NoRouter()
    membership = Membership(NodeId("a@h", 1), ("a@h", "b@h"), router, lambda id: None, lambda *packet: asked.append(packet))
    with subprocess.Popen(["true"]) as other:  # noqa: ASYNC220
        membership.up("b@h", 2, other.pid, 0.0, 0, os.pidfd_open(other.pid), mmap.mmap(-1, 4096))
        with trio.fail_after(10):
            while membership.members:
                await trio.lowlevel.checkpoint()
        assert asked == [("start", "b@h")]
        membership.down("b@h", 2, ("status", 0))
        assert asked == [("start", "b@h")] * 2
        membership.up("b@h", 3, os.getpid(), 0.0, 1, os.pidfd_open(os.getpid()), mmap.mmap(-1, 4096))
        assert asked == [("start", "b@h")] * 2
        membership.members["b@h"].scope.cancel()
        await trio.testing.wait_all_tasks_blocked()


async def test_reason_that_comes_too_late_is_no_death_before_the_node_was_up(autojump_clock: trio.testing.MockClock) -> None:
    router: Any = NoRouter()
    asked: list[tuple[str, ...]] = []
    membership = Membership(NodeId("a@h", 1), ("a@h", "b@h"), router, lambda id: None, lambda *packet: asked.append(packet))
    membership.up("b@h", 2, os.getpid(), 0.0, 0, os.pidfd_open(os.getpid()), mmap.mmap(-1, 4096))
    membership._lose(membership.members["b@h"])
    await trio.sleep(2 * REASON_PATIENCE)
    membership.down("b@h", 2, ("signal", "SIGKILL"))
    assert membership.stillborn == {}
    assert asked == [("start", "b@h")] * 2
    membership.down("b@h", 3, ("status", 1))
    assert membership.stillborn == {"b@h": 1}


async def test_reason_that_came_while_this_node_had_no_turn_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """The clock jumps as that of a node that gets no core: then the patience is over and the packet is there, in one turn of the loop."""
    told: list[NodeUp | NodeDown] = []
    router: Any = NoRouter()
    membership = Membership(NodeId("a@h", 1), ("a@h",), router, lambda id: None, lambda *packet: None)
    membership._tell = lambda name, message: told.append(message)  # type: ignore[method-assign]
    owner, here = socket.socketpair()

    async def listen(incarnation: int) -> None:
        await trio.lowlevel.wait_readable(here)
        here.recv(1)
        membership.down("b@h", incarnation, ("status", incarnation))

    with owner, here:
        for incarnation in range(2, 22):  # which of two tasks goes first in a turn is left to chance
            membership.up("b@h", incarnation, os.getpid(), 0.0, 0, os.pidfd_open(os.getpid()), mmap.mmap(-1, 4096))
            membership._lose(membership.members["b@h"])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, incarnation)
                await trio.testing.wait_all_tasks_blocked()
                owner.send(b"x")
                autojump_clock.jump(2 * REASON_PATIENCE)
    assert [message.reason for message in told if isinstance(message, NodeDown)] == [("status", number) for number in range(2, 22)]


@pytest.mark.parametrize(("late", "reason"), [(0.5, ("status", 3)), (2 * REASON_PATIENCE, ("lost",))])
async def test_reason_that_is_late_is_waited_for_but_not_for_ever(
    autojump_clock: trio.testing.MockClock, late: float, reason: tuple[object, ...]
) -> None:
    told: list[NodeUp | NodeDown] = []
    router: Any = NoRouter()
    membership = Membership(NodeId("a@h", 1), ("a@h",), router, lambda id: None, lambda *packet: None)
    membership._tell = lambda name, message: told.append(message)  # type: ignore[method-assign]
    membership.up("b@h", 2, os.getpid(), 0.0, 0, os.pidfd_open(os.getpid()), mmap.mmap(-1, 4096))
    membership._lose(membership.members["b@h"])
    await trio.sleep(late)
    membership.down("b@h", 2, ("status", 3))
    assert told == [NodeUp("b@h"), NodeDown("b@h", reason)]


def test_who_begins_to_watch_before_the_reason_is_known_is_told_of_the_loss_once() -> None:
    router: Any = NoRouter()

    async def main() -> list[NodeDown]:
        membership = Membership(NodeId("a@h", 1), ("a@h",), router, lambda id: None, lambda *packet: None)
        membership.up("b@h", 2, os.getpid(), 0.0, 0, os.pidfd_open(os.getpid()), mmap.mmap(-1, 4096))
        membership._lose(membership.members["b@h"])
        membership.monitor(self_pid(), "b@h")
        membership.down("b@h", 2, ("status", 3))
        told = [await receive(timeout=0)]
        with suppress(TimeoutError):
            told.append(await receive(timeout=0))
        return told

    assert run(main) == [NodeDown("b@h", ("status", 3))]


@pytest.mark.parametrize("number", [2, 3])
def test_d1_reasons_of_node_down(system: System, number: int) -> None:
    system.run(MODULE, "check_d1_reasons_of_node_down", number)


@pytest.mark.parametrize(
    ("check", "number"),
    [
        ("check_d2_node_that_is_stuck_is_killed_and_its_stack_kept", 2),
        ("check_d2_node_that_is_stopped_is_killed_and_restarted", 3),
    ],
)
def test_d2_hung_nodes(system: System, check: str, number: int) -> None:
    system.run(MODULE, check, number)


@pytest.mark.parametrize(
    "check",
    [
        "check_node_monitors_of_what_is_not_there",
        "check_node_up_and_down_alternate_whatever_happens",
        "check_nothing_is_kept_of_watchers_that_have_ended",
        "check_node_that_cannot_take_what_the_owner_says_ends_with_an_error",
        "check_d7_forge_that_is_killed_is_replaced",
        "check_d7_node_that_is_killed_before_it_is_up_is_started_again",
    ],
)
def test_membership(system: System, check: str) -> None:
    system.run(MODULE, check)


def test_mailboxes_that_both_open_at_once_are_one(system: System) -> None:
    system.run(MODULE, "check_mailboxes_that_both_open_at_once_are_one", 10)


def test_d7_every_node_may_be_killed_in_turn_conductor_and_main_included(system: System) -> None:
    conductors = []
    for _ in range(6):
        name = system.run(MODULE, "check_who_is_conductor")
        conductors.append(name)
        number = int(name[1 : name.index("@")])
        system.run(MODULE, "check_d7_conductor_that_is_killed_is_restarted_by_the_next_eldest", at=number % 3 + 1)
    assert sorted(conductors[:3]) == sorted(conductors[3:]) == sorted(set(conductors))


def test_d2_conductor_that_is_stopped_is_found_by_the_second_eldest(system: System) -> None:
    name = system.run(MODULE, "check_who_is_conductor")
    number = int(name[1 : name.index("@")])
    system.run(MODULE, "check_d2_conductor_that_is_stopped_is_found_by_the_second_eldest", at=number % 3 + 1)


def test_node_that_kills_itself_is_back_for_the_next_test(system: System) -> None:
    with pytest.raises(LostNodeError):
        system.run(MODULE, "exits", 3, at=2)
    system.run(MODULE, "check_who_is_conductor", at=2)
