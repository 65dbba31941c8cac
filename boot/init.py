"""Init: has the goals of a system started in parallel as soon as their needs are up, and stopped in reverse order.

Inside: `boot.goals` has the goals, `boot.board` works out who may run, and `boot.keeping` runs them. What this process does is to act upon
what the board says, and to tell of it. It never waits for anything that a goal does.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beamlike import (
    Backoff,
    Call,
    Caller,
    Cast,
    Exit,
    GenServer,
    Pid,
    make_ref,
    process_flag,
    receive,
    self_pid,
    send_after,
    spawn_link,
)
from beamlike.seam import current_process, exit_own, extra, joined, log, now
from boot.board import Board, Phase, Standing, Unit
from boot.first_boot import read_done
from boot.goals import Goal, State, plan
from boot.init_requests import NAME, InitError, Requests, clear, restart, start, status, stop
from boot.keeping import LOST, guard, in_a_line
from caps import CapabilityError
from nodes import NodeDown, NodeUp, monitor_node
from nodes.seam import joined_or_none, topology

FIRST_PAUSE = 0.1  # seconds between the first failure and the next attempt, as in `Backoff`
LEAST_PAUSE = 0.01  # seconds: who allows of so many attempts that it would be less has it tried for ever
LEVELS = {State.MAINTENANCE: logging.ERROR, State.DEGRADED: logging.WARNING}  # of the line that tells of a state; else INFO

__all__ = ["Init", "InitError", "clear", "restart", "start", "status", "stop"]

logger = logging.getLogger("beamlike.init")


class Init(GenServer):
    """The process. `await Init.start_link(goals, store=…, name="init")` returns at once: the goals come up meanwhile.

    A goal starts as soon as all that it requires is up, and all that it wants is up or known not to come: it is in MAINTENANCE, was
    stopped by hand, or requires such a goal. One that fails is tried again after a pause, that grows, until it has failed `attempts` times
    in `period` seconds. When a goal ends that others require these are stopped, and start again when it is back.

    When Init is told to exit it stops all in reverse order, each goal in its time. When it is killed all are stopped at the same time.

    A step that is `only_first_boot` is done until it has succeeded once, which is noted in the folder `store`; without that, once for
    each Init. See `boot.first_boot` for what a damaged note means.

    Goals on each node come to nodes that come later, and are gone with a node that is lost. Init itself is on one node.
    """

    child_type = "supervisor"  # it has for ever to stop

    @classmethod
    async def start_link(  # type: ignore[override]
        cls, goals: Iterable[Goal], *, store: str | os.PathLike[str] | None = None, name: str | None = NAME, exclude: Iterable[Any] = ()
    ) -> Pid:
        """Start it, linked to the caller.

        Raises: GoalError if the goals cannot be; OSError if the store cannot be used; BadNameError if the name is taken; TypeError,
            ValueError for a wrong argument.
        """
        folder = None if store is None else os.fspath(store)
        return await super().start_link(tuple(plan(goals).values()), folder, name=name, exclude=exclude)

    async def init(self, goals: tuple[Goal, ...], store: str | None) -> None:
        """Have started what needs nothing."""
        process_flag("trap_exit", True)
        extra(current_process()).is_supervisor = True
        self.store = store
        self.done = set() if store is None else read_done(Path(store))
        self.board = Board(plan(goals), self_pid().node)
        self.guards: dict[Pid, Unit] = {}
        self.requests = Requests(self.board, self.settle)
        self.is_joined = joined_or_none() is not None and any(goal.each_node for goal in goals)
        if self.is_joined:
            for state in topology():
                monitor_node(state.name)
            self.board.set_nodes(_lives())
        self.settle()

    async def terminate(self, reason: Any) -> None:
        """Stop all."""
        self.board.is_ending = True
        self.settle()
        while any(standing.any_active() for standing in self.board.standings.values()):
            message = await receive()
            if not isinstance(message, (Call, Cast)):  # who calls learns of the end
                await self.handle_info(message)

    # --- what happens ---

    async def handle_info(self, message: Any) -> None:
        """What guards tell, timers, and nodes."""
        match message:
            case ("up", tag, pid):
                for unit in self.guards.values():
                    if unit.tag == tag:
                        self._came_up(unit, pid)
            case ("down", tag):
                for unit in self.guards.values():
                    if unit.tag == tag and unit.phase in (Phase.STARTING, Phase.RUNNING):
                        unit.phase, unit.pid = Phase.ENDING, None
            case ("tightened", tag, layers):
                for unit in self.guards.values():
                    if unit.tag == tag:
                        unit.layers = joined(unit.layers, layers)
            case Exit(sender, reason) if sender in self.guards:
                self._ended(self.guards.pop(sender), reason)
            case Exit():
                return
            case ("again", tag):
                for unit in self.board.units():
                    if unit.tag == tag and unit.is_paused:
                        unit.is_paused = False
            case NodeUp() | NodeDown():
                self._look_for_nodes()
            case _:
                await super().handle_info(message)
                return
        self.settle()

    def settle(self) -> None:
        """Do what there is to do now, and tell."""
        board = self.board
        while True:
            board.look()
            if stops := board.to_stop():
                for unit in stops:
                    self._end(unit)
            elif starts := board.to_start():
                for unit in starts:
                    self._run(unit)
            else:
                break
        for standing in board.standings.values():
            self._tell(standing)
        self.requests.answer_waiters()

    def _run(self, unit: Unit) -> None:
        goal = unit.goal
        if goal.only_first_boot and goal.name in self.done:
            unit.phase, unit.why = Phase.RUNNING, ""
            return
        unit.phase, unit.tag = Phase.STARTING, make_ref()
        try:
            unit.guard = spawn_link(guard, self_pid(), unit.tag, goal, unit.node, unit.layers, self.store if goal.only_first_boot else None)
        except CapabilityError as error:
            self._failed(unit, in_a_line(str(error)))
        else:
            self.guards[unit.guard] = unit

    def _end(self, unit: Unit) -> None:
        if unit.guard is None:  # a step that is done
            unit.phase = Phase.IDLE
            return
        unit.phase = Phase.STOPPING
        exit_own(current_process(), unit.guard, "shutdown")

    def _came_up(self, unit: Unit, pid: Pid | None) -> None:
        if unit.goal.only_first_boot:
            self.done.add(unit.goal.name)
        if unit.phase is Phase.STARTING:  # or it has been told to stop meanwhile
            unit.phase, unit.pid, unit.why = Phase.RUNNING, pid, ""

    def _ended(self, unit: Unit, reason: Any) -> None:
        """Its guard has ended, and with it all that there was."""
        unit.guard = None
        if unit.phase is Phase.RUNNING and reason == "normal":
            return  # a step that is done
        phase, unit.phase, unit.pid = unit.phase, Phase.IDLE, None
        if phase is Phase.STOPPING:
            return
        if reason == LOST:
            self._look_for_nodes()
            self._pause(unit)  # for it may be there again
            return
        match reason:
            case ("shutdown", ("failed", text)):
                self._failed(unit, text)
            case _:
                self._failed(unit, f"its guard ended: {in_a_line(reason)}")

    def _failed(self, unit: Unit, why: str) -> None:
        unit.failed(now(), why)
        if unit.phase is Phase.IDLE:
            self._pause(unit)

    def _pause(self, unit: Unit) -> None:
        """Before the next attempt. All pauses together are shorter than the period, so that they do not keep it out of MAINTENANCE."""
        goal = unit.goal
        most = max(LEAST_PAUSE, goal.period / (2 * goal.attempts))
        unit.is_paused, unit.tag = True, make_ref()
        delay = Backoff(min(FIRST_PAUSE, most), most=most).delay(max(1, len(unit.failures)), random.random())
        send_after(delay, self_pid(), ("again", unit.tag))

    def _look_for_nodes(self) -> None:
        if self.is_joined:
            for unit in self.board.set_nodes(_lives()):
                if unit.guard is not None:
                    self.guards.pop(unit.guard, None)  # it learns of it by itself

    def _tell(self, standing: Standing) -> None:
        state, why = self.board.state(standing)
        if state is not standing.state:
            standing.since = time.time()
            level = LEVELS.get(state, logging.INFO)
            log(logger, level, "goal %s is %s%s", standing.goal.name, state.value, f": {why}" if why else "")
        standing.state, standing.why = state, why

    # --- what is asked ---

    async def handle_cast(self, request: Any) -> None:
        """Nothing is asked by casts: it is logged."""
        await super().handle_info(Cast(request))

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        """See `Requests`."""
        return self.requests.answer(request, caller)


def _lives() -> dict[str, int]:
    """The nodes that are up, and in which life: one may be lost and back before its `NodeDown` comes."""
    return {state.name: state.incarnation for state in topology() if state.state == "up"}
