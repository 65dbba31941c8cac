"""Who may run: how all goals are, and what follows from that. Plain values; who asks acts upon it.

Theory of operation. A goal has a *unit* on the node of Init, or on each node. `look` works out, needs before those who need them, which
units are *wanted*: nobody has stopped the goal, and all that it requires is up and wanted. `to_stop` are those that run and are not
wanted, but for those that others lean on which do not want to run either: so ends begin at the leaves. `to_start` are those that are
wanted and do not run, once what ran on their last life has stopped, and what they want has come or will not. Each action changes what
follows, so one looks again after it, until there is nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum

from beamlike import Pid, Ref
from boot.goals import Goal, GoalStatus, State
from caps import Layers


class Phase(Enum):
    """Of a unit."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"  # or done
    STOPPING = "stopping"
    ENDING = "ending"  # by itself; what is linked to it is not gone yet
    FAILED = "failed"  # too often


ACTIVE = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.ENDING)


class Unit:
    """A goal on a node, in a life of that."""

    def __init__(self, goal: Goal, node: str, life: int) -> None:
        self.goal = goal
        self.node = node
        self.life = life
        self.phase = Phase.IDLE
        self.guard: Pid | None = None
        self.tag: Ref | None = None  # of what its guard says, or of the timer of its next attempt
        self.is_paused = False  # until that timer
        self.pid: Pid | None = None
        self.layers: Layers = ()  # what its process was forbidden, it is when it is started again
        self.failures: list[float] = []  # their times, of those in the period
        self.why = ""  # the last one's reason, until it is up again
        self.is_wanted = False
        self.is_hopeless = False  # it does not come without an operator
        self.is_settled = False  # it runs, or has failed, or what it requires has: who waits for the whole goal does not wait for it

    @property
    def is_active(self) -> bool:
        return self.phase in ACTIVE

    def failed(self, now: float, why: str) -> None:
        """One failure more, which may be the one too many."""
        self.failures = [each for each in self.failures if each > now - self.goal.period] + [now]
        self.why = why
        self.phase = Phase.FAILED if len(self.failures) >= self.goal.attempts else Phase.IDLE

    def clear(self) -> None:
        """Forget the failures; it may be tried at once."""
        self.failures, self.is_paused = [], False
        if self.phase is Phase.FAILED:
            self.phase = Phase.IDLE


class Standing:
    """How a goal is."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.units: dict[str, Unit] = {}
        self.is_held = False  # stopped by hand
        self.is_restarting = False  # held until it has stopped
        self.is_up = False
        self.is_complete = False  # on all nodes
        self.state = State.OFFLINE
        self.since = time.time()
        self.why = ""

    def any_active(self) -> bool:
        """Does any of it run?"""
        return any(unit.is_active for unit in self.units.values())


class Board:
    """All goals, in an order in which each is behind what it needs."""

    def __init__(self, goals: dict[str, Goal], here: str) -> None:
        self.here = here
        self.standings = {name: Standing(goal) for name, goal in goals.items()}
        self.dependents: dict[str, list[Standing]] = {name: [] for name in goals}  # who requires or wants it
        for standing in self.standings.values():
            for need in standing.goal.needs:
                self.dependents[need].append(standing)
        self.is_ending = False
        self.set_nodes({here: 0})

    def set_nodes(self, lives: dict[str, int]) -> list[Unit]:
        """These nodes are up, in these lives. Returns the units that are gone with theirs."""
        gone = []
        for standing in self.standings.values():
            wanted = lives if standing.goal.each_node else {self.here: lives[self.here]}
            gone += [standing.units.pop(unit.node) for unit in [*standing.units.values()] if wanted.get(unit.node) != unit.life]
            for node, life in wanted.items():
                standing.units.setdefault(node, Unit(standing.goal, node, life))
        return gone

    def units(self) -> Iterator[Unit]:
        """All of them."""
        for standing in self.standings.values():
            yield from standing.units.values()

    # --- what follows ---

    def look(self) -> None:
        """Work out who is wanted, and who is up."""
        for standing in self.standings.values():
            if standing.is_restarting and not standing.any_active():
                standing.is_restarting = False
            is_held = self.is_ending or standing.is_held or standing.is_restarting
            units = standing.units.values()
            for unit in units:
                unit.is_wanted = not is_held and all(self._is_met(unit, need) for need in unit.goal.requires)
                required = [other for need in unit.goal.requires for other in self._needed(unit, need)]
                unit.is_hopeless = (
                    standing.is_held or unit.phase is Phase.FAILED or any(self._is_hopeless(unit, need) for need in unit.goal.requires)
                )
                unit.is_settled = (
                    unit.phase is Phase.RUNNING
                    or bool(unit.failures)
                    or unit.is_hopeless
                    or any(other.is_settled and other.phase is not Phase.RUNNING for other in required)
                )
            running = [unit for unit in units if unit.phase is Phase.RUNNING and unit.is_wanted]
            standing.is_up = bool(running) and (standing.is_up or all(unit.is_settled for unit in units))
            standing.is_complete = len(running) == len(units)

    def to_stop(self) -> list[Unit]:
        """Who is to stop now."""
        return [
            unit
            for unit in self.units()
            if unit.phase in (Phase.STARTING, Phase.RUNNING) and not unit.is_wanted and not any(self._leaning(unit))
        ]

    def to_start(self) -> list[Unit]:
        """Who is to start now."""
        return [
            unit
            for unit in self.units()
            if unit.phase is Phase.IDLE and unit.is_wanted and not unit.is_paused
            and all(self._is_met(unit, need) or self._is_hopeless(unit, need) for need in unit.goal.wants)
            and not any(unit.goal.name in other.goal.requires for other in self._leaning(unit))
        ]  # fmt: skip

    def _needed(self, unit: Unit, need: str) -> list[Unit]:
        """The units of a need that are meant: of goals on each node that of its node."""
        units = self.standings[need].units
        if unit.goal.each_node and self.standings[need].goal.each_node:
            return [units[unit.node]] if unit.node in units else []
        return list(units.values())

    def _is_met(self, unit: Unit, need: str) -> bool:
        if unit.goal.each_node and self.standings[need].goal.each_node:
            return any(other.phase is Phase.RUNNING and other.is_wanted for other in self._needed(unit, need))
        return self.standings[need].is_up

    def _is_hopeless(self, unit: Unit, need: str) -> bool:
        return all(other.is_hopeless for other in self._needed(unit, need))

    def _has_come(self, need: str) -> bool:
        return self.standings[need].is_up

    def _will_not_come(self, need: str) -> bool:
        return all(unit.is_hopeless for unit in self.standings[need].units.values())

    def _leaning(self, unit: Unit) -> Iterator[Unit]:
        """Who needs it, runs yet, and is to stop."""
        for standing in self.dependents[unit.goal.name]:
            for other in standing.units.values():
                if other.is_active and not other.is_wanted and unit in self._needed(other, unit.goal.name):
                    yield other

    def requiring(self, name: str) -> list[str]:
        """All that require it, or what requires it, in order."""
        found = {name}
        for other, standing in self.standings.items():
            if found.intersection(standing.goal.requires):
                found.add(other)
        return [other for other in self.standings if other in found and other != name]

    def required_by(self, name: str) -> list[str]:
        """All that it requires, and what that requires, in order."""
        found = {name}
        for other in reversed(self.standings):
            if other in found:
                found.update(self.standings[other].goal.requires)
        return [other for other in self.standings if other in found and other != name]

    # --- what is told ---

    def state(self, standing: Standing) -> tuple[State, str]:
        """The state of a goal, and in a line why. As of the last `look`."""
        units = list(standing.units.values())
        phases = {unit.phase for unit in units}
        if standing.is_up:
            is_whole = standing.is_complete and not self._lacking(standing)
            return (State.ONLINE, "") if is_whole else (State.DEGRADED, self._reason(standing))
        if any(unit.phase in (Phase.STOPPING, Phase.ENDING) or (unit.is_active and not unit.is_wanted) for unit in units):
            return State.STOPPING, self._reason(standing)
        if phases & {Phase.STARTING, Phase.RUNNING}:
            return State.STARTING, _failure(units)
        if Phase.FAILED in phases and all(unit.is_hopeless for unit in units):
            return State.MAINTENANCE, _failure(units)
        return State.OFFLINE, self._reason(standing)

    def _lacking(self, standing: Standing) -> tuple[str, ...]:
        """The goals that it needs and that are not up; while it does not run, not those that it does not wait for."""
        goal = standing.goal
        required = [need for need in goal.requires if not self._has_come(need)]
        wanted = [need for need in goal.wants if not self._has_come(need) and (standing.is_up or not self._will_not_come(need))]
        return (*required, *wanted)

    def _reason(self, standing: Standing) -> str:
        if self.is_ending:
            return "Init ends"
        if standing.is_held:
            return "stopped by hand"
        if standing.is_restarting:
            return "to be restarted"
        units = list(standing.units.values())
        if lacking := self._lacking(standing):
            return f"without {', '.join(lacking)}"
        missing = [unit.node for unit in units if unit.phase is not Phase.RUNNING]
        return _failure(units) or (f"not on {', '.join(missing)}" if standing.is_up else "")

    def status(self, standing: Standing, now: float) -> GoalStatus:
        """The same for others."""
        goal, units = standing.goal, standing.units.values()
        return GoalStatus(
            goal.name,
            standing.state,
            standing.since,
            standing.why,
            self._lacking(standing) if standing.state in (State.OFFLINE, State.DEGRADED) else (),
            {unit.node: unit.pid for unit in units if unit.phase is Phase.RUNNING},
            max(sum(each > now - goal.period for each in unit.failures) for unit in units),
        )


def _failure(units: list[Unit]) -> str:
    """The last failure of who is not up yet."""
    return next((unit.why for unit in units if unit.why), "")
