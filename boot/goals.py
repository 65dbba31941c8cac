"""Init goals as plain values: what is to run, what each needs, and the check that it can come up at all."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from enum import Enum
from typing import Any

import caps
from beamlike import Pid, record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}")  # a goal's name is also that of a file


@record
class State(Enum):
    """How a goal is."""

    OFFLINE = "offline"  # it does not run: it waits for what it needs, or for its next attempt, or was stopped
    STARTING = "starting"
    ONLINE = "online"
    DEGRADED = "degraded"  # it runs, but something that it wants does not, or it is missing on a node
    STOPPING = "stopping"  # or about to: those that need it stop first; or it has ended, and what it had started does yet
    MAINTENANCE = "maintenance"  # it failed too often, and is not tried again until it is cleared


class GoalError(ValueError):
    """These goals cannot be. `problems` has all that is wrong with them, a text each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@record
class Goal:
    """Something that a system is to have: a service that runs, or a step that is done.

    `start` is an async function. A service's returns the Pid of what it has started by `start_link` or `spawn_link`, which is linked to
    the process that called it, and is the goal; what else it is linked to ends with it. A step's returns None when it is done. What it
    raises is why it failed. It is called again for each attempt, and whenever a goal that it requires has been away.

    Args:
        name: letters, digits and `_.:@-`, at most 100.
        start, args: it is started by `await start(*args)`, on the node where it is to be: an importable function, values that can be sent.
        requires: goals without which it does not run: it starts when they are up, and is stopped when one goes.
        wants: goals that it waits for when it starts, unless they are known not to come, and goes on without.
        each_node: it runs on each node instead of on that of Init alone. Of two such goals, one on a node needs the other one there.
        only_first_boot: a step that is done once, ever: see `Init`.
        start_timeout: seconds for `start`; that it takes longer is a failure.
        stop_timeout: seconds from the exit signal `shutdown` to `kill`.
        attempts, period: so many failures in so many seconds put it into MAINTENANCE. That a service ends by itself is a failure,
            whatever the reason.
        exclude: capability exclusions, added to those of Init, for all that `start` starts.

    Raises: TypeError or ValueError that names the goal and the field.
    """

    name: str
    start: Callable[..., Coroutine[Any, Any, Pid | None]]
    args: tuple[Any, ...] = ()
    requires: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    each_node: bool = False
    only_first_boot: bool = False
    start_timeout: float = 10.0
    stop_timeout: float = 5.0
    attempts: int = 3
    period: float = 60.0
    exclude: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check every field. A receiver does it once more: records arrive without being checked."""
        is_name = type(self.name) is str and NAME.fullmatch(self.name) is not None
        self._expect("name", is_name, "letters, digits and _.:@-, a letter or digit first, at most 100")
        self._expect("start", inspect.iscoroutinefunction(self.start), "an async function")
        self._expect("args", type(self.args) is tuple, "a tuple")
        for field in ("requires", "wants"):
            names = getattr(self, field)
            self._expect(field, type(names) is tuple and all(type(name) is str for name in names), "a tuple of names of goals")
            self._expect(field, len(set(names)) == len(names), "each name once", ValueError)
            self._expect(field, self.name not in names, "other goals than itself", ValueError)
        self._expect("wants", not set(self.requires) & set(self.wants), "other goals than it requires", ValueError)
        self._expect("each_node", type(self.each_node) is bool, "True or False")
        self._expect("only_first_boot", type(self.only_first_boot) is bool, "True or False")
        self._expect("only_first_boot", not (self.only_first_boot and self.each_node), "False with each_node: it is done once, not on each")
        self._expect("start_timeout", _is_seconds(self.start_timeout) and self.start_timeout > 0, "seconds > 0")
        self._expect("stop_timeout", _is_seconds(self.stop_timeout), "seconds >= 0")
        self._expect("attempts", type(self.attempts) is int and self.attempts > 0, "an int > 0")
        self._expect("period", _is_seconds(self.period) and self.period > 0, "seconds > 0")
        self._expect("exclude", type(self.exclude) is tuple, "a tuple of exclusions")
        try:
            caps.extend((), self.exclude)
        except (TypeError, ValueError) as error:
            raise type(error)(f"goal {self.name!r}: exclude: {error}") from None

    @property
    def needs(self) -> tuple[str, ...]:
        """All goals that it requires or wants."""
        return self.requires + self.wants

    def _expect(self, name: str, holds: bool, expected: str, kind: type[Exception] | None = None) -> None:
        if not holds:
            given = getattr(self, name)
            kind = kind or (ValueError if isinstance(given, (str, int, float)) else TypeError)
            raise kind(f"goal {self.name!r}: {name} is {given!r}, expected {expected}")


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


@record
class GoalStatus:
    """What there is to know of a goal.

    Args:
        since: Unix time of when it came to this state.
        why: one line: of a goal that failed, the last failure's reason; else what it lacks; `""` if nothing.
        waits_for: the goals that it waits for, or lacks.
        pids: by the nodes where it is up, what runs there; None for a step.
        attempts: its failures that count yet; of those on each node the most.
    """

    name: str
    state: State
    since: float
    why: str
    waits_for: tuple[str, ...]
    pids: dict[str, Pid | None]
    attempts: int


def plan(goals: Iterable[Goal]) -> dict[str, Goal]:
    """The goals by their names, each behind all that it needs; else in the order in which they were given.

    Raises: GoalError with all that is wrong: two goals of one name, needs that no goal has the name of, and cycles, of `wants` as well.
        TypeError for what is no goal.
    """
    if not isinstance(goals, Iterable):
        raise TypeError(f"plan expects an iterable of Goals, not {goals!r}")
    given = list(goals)
    for goal in given:
        if type(goal) is not Goal:
            raise TypeError(f"plan expects Goals, not {goal!r}")
        goal.check()
    by_name = {goal.name: goal for goal in given}
    problems = [f"{count} goals are called {name!r}" for name in by_name if (count := [goal.name for goal in given].count(name)) > 1]
    problems += _missing(by_name)
    ordered, left = _order(by_name)
    while cycle := _cycle(left):
        problems.append("a cycle: " + ", ".join(f"{a} {'requires' if b in by_name[a].requires else 'wants'} {b}" for a, b in cycle))
        _leave_out(left, {name for name, _ in cycle})
    if problems:
        raise GoalError(problems)
    return ordered


def _missing(by_name: dict[str, Goal]) -> Iterator[str]:
    for verb in ("requires", "wants"):
        lacking: dict[str, list[str]] = {}
        for goal in by_name.values():
            for need in getattr(goal, verb):
                if need not in by_name:
                    lacking.setdefault(need, []).append(goal.name)
        for need, names in lacking.items():
            yield f"there is no goal {need!r}, which {' and '.join(names)} {verb if len(names) == 1 else verb[:-1]}"


def _order(by_name: dict[str, Goal]) -> tuple[dict[str, Goal], dict[str, list[str]]]:
    """Those that can be ordered; and of the others, which are on a cycle or behind one, what they need of each other."""
    ordered: dict[str, Goal] = {}
    waiting = {name: {need for need in goal.needs if need in by_name} for name, goal in by_name.items()}
    while (name := next((name for name, needs in waiting.items() if needs <= ordered.keys()), None)) is not None:
        ordered[name] = by_name[name]
        del waiting[name]
    return ordered, {name: [need for need in by_name[name].needs if need in waiting] for name in waiting}


def _leave_out(needs: dict[str, list[str]], names: set[str]) -> None:
    """Without these, and without who is on no cycle then: all that are left need one that is left."""
    while names:
        for name in names:
            del needs[name]
        names = {name for name, others in needs.items() if needs.keys().isdisjoint(others)}


def _cycle(needs: dict[str, list[str]]) -> list[tuple[str, str]]:
    """One cycle, as pairs of who needs whom; an empty list if nobody is left. All need one that is left, so following that ends in one."""
    path: list[str] = []
    name = next(iter(needs), None)
    while name is not None and name not in path:
        path.append(name)
        name = next(need for need in needs[name] if need in needs)
    path = path[path.index(name) :] if name is not None else []
    return list(zip(path, [*path[1:], *path[:1]], strict=True))
