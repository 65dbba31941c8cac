"""Who watches whom, and what is done about who stands still: pages in memory, OS processes that are stopped, virtual time."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from beamlike.hot.ids import NodeId
from nodes.heartbeat import LOOK, SIZE, Watch
from nodes.membership import Member, Membership

HANG_TIMEOUT = 1.0
STACK = 64  # offset in the page


class NoRouter:
    """A router that nobody depends on."""

    def up(self, name: str, incarnation: int) -> NodeId:
        return NodeId(name, incarnation)

    def lose(self, id: NodeId) -> None:
        """Nobody is told."""


class Scene:
    """A node of incarnation `me`, which watches, and others."""

    def __init__(self, me: int) -> None:
        router: Any = NoRouter()
        self.membership = Membership(NodeId(str(me), me), (), router, lambda id: None, lambda *packet: None)
        self.killed: list[int] = []
        self.watch = Watch(self.membership, HANG_TIMEOUT, self._kill)
        self.processes: list[subprocess.Popen[bytes]] = []

    def _kill(self, member: Member, reason: tuple[object, ...]) -> None:
        assert reason[0] == "hung"
        self.killed.append(member.id.incarnation)

    def up(self, incarnation: int, *, is_stopped: bool = True) -> Member:
        process = subprocess.Popen(["sleep", "1000"])
        self.processes.append(process)
        if is_stopped:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        self.membership.up(str(incarnation), incarnation, process.pid, 0.0, 0, os.pidfd_open(process.pid), mmap.mmap(-1, SIZE))
        return self.membership.members[str(incarnation)]

    async def run(self, *others: Callable[[], Any]) -> list[int]:
        """Watch for two and a half time-outs. Who was killed, in order."""
        async with trio.open_nursery() as nursery:
            for each in (self.watch.keep, *others):
                nursery.start_soon(each)
            await trio.sleep(2.5 * HANG_TIMEOUT)
            nursery.cancel_scope.cancel()
        for member in self.membership.members.values():
            member.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        return self.killed


async def beats(member: Member) -> None:
    count = 0
    while True:
        count += 1
        struct.pack_into("<Q", member.page, 0, count)
        await trio.sleep(LOOK)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(request.param)
    yield scene
    for process in scene.processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("scene", [1], indirect=True)
async def test_conductor_kills_who_stands_still_and_no_other(scene: Scene, autojump_clock: trio.testing.MockClock) -> None:
    scene.up(2)
    moving = scene.up(3)
    assert set(await scene.run(lambda: beats(moving))) == {2}


@pytest.mark.parametrize("scene", [3], indirect=True)
async def test_two_eldest_that_stand_still_together_are_killed_by_the_next(scene: Scene, autojump_clock: trio.testing.MockClock) -> None:
    for incarnation in (1, 2, 4):
        scene.up(incarnation)
    assert set(await scene.run()) == {1, 2}


@pytest.mark.parametrize("scene", [3], indirect=True)
@pytest.mark.parametrize("moving", [1, 2])
async def test_while_one_elder_moves_the_others_are_left_to_it(scene: Scene, moving: int, autojump_clock: trio.testing.MockClock) -> None:
    members = {incarnation: scene.up(incarnation) for incarnation in (1, 2)}
    assert await scene.run(lambda: beats(members[moving])) == []


@pytest.mark.parametrize("scene", [1], indirect=True)
async def test_who_ends_while_its_stack_is_waited_for_is_left_alone(scene: Scene, autojump_clock: trio.testing.MockClock) -> None:
    hung = scene.up(2, is_stopped=False)
    hung.page[STACK] = 1

    async def ends() -> None:
        while "2" in scene.membership.members and hung.page[STACK]:  # until room was made for the stack  # noqa: ASYNC110 - nobody says when
            await trio.sleep(LOOK / 10)  # the signal may end it in this very moment
        scene.membership.down("2", 2, ("signal", "SIGKILL"))

    assert await scene.run(ends) == []
    assert hung.page.closed
