"""What Init can be asked: the functions that ask, and what it does upon that.

`init` is everywhere the pid of Init, its name, or `(name, node)`. Besides what is said of each, all functions raise CallError if Init is
not there or ends meanwhile, BadNameError if nobody has the name, and CapabilityError: all are an access of the kind `send` to Init, and
`stop` and `restart` also one of the kind `exit`, for they end what it has started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import caps
from beamlike import NOREPLY, Caller, ChildInfo, call, caller_layers, reply, self_pid
from beamlike.seam import known_as, now
from boot.board import Board, Phase, Standing
from boot.goals import GoalStatus, State

NAME = "init"


class InitError(RuntimeError):
    """Init refused what it was asked for. `reason`: `not_found`, `maintenance`, `unknown_request`."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


async def status(init: Any = NAME) -> list[GoalStatus]:
    """How all goals are, in an order in which each is behind what it needs."""
    return await _ask(init, "init", "status")  # type: ignore[no-any-return]


async def start(init: Any, name: str | None) -> list[str]:
    """Have a goal that was stopped by hand run again, and what it requires; None: all. It comes up meanwhile.

    Returns: what was started besides, since the goal requires it. Raises: InitError `not_found`; `maintenance`: it is to be cleared.
    """
    return await _ask(init, "init", "start", name)  # type: ignore[no-any-return]


async def stop(init: Any, name: str | None) -> list[str]:
    """Stop a goal until `start`, and what requires it; None: all. Returns when they have stopped.

    Returns: what was stopped besides; it comes again when the goal does. Raises: InitError `not_found`.
    """
    return await _ask(init, "init", "stop", name)  # type: ignore[no-any-return]


async def restart(init: Any, name: str | None) -> list[str]:
    """`stop` and `start`. Returns when it has stopped; it comes up meanwhile, as does what requires it, which is returned.

    Raises: InitError `not_found`; `maintenance`: it is to be cleared.
    """
    return await _ask(init, "init", "restart", name)  # type: ignore[no-any-return]


async def clear(init: Any, name: str | None) -> list[str]:
    """Forget a goal's failures, so that one in MAINTENANCE is tried again; None: of all. Returns: those that were.

    Raises: InitError `not_found`.
    """
    return await _ask(init, "init", "clear", name)  # type: ignore[no-any-return]


async def _ask(init: Any, *request: Any) -> Any:
    match await call(init, request, timeout=None):
        case ("ok", value):
            return value
        case ("error", str(text), str(reason)):
            raise InitError(text, reason)
        case ("refused", str(kind), tuple(what), tuple(exclusion), str(text)):
            raise caps.CapabilityError(kind, what, exclusion, text)
        case other:
            raise TypeError(f"{init!r} is no Init: it answered {other!r:.100}")


def as_plain(told: GoalStatus) -> dict[str, Any]:
    """The same for programs that are no part of the system: text and numbers."""
    pids = {node: pid and str(pid) for node, pid in told.pids.items()}
    return {**{field: getattr(told, field) for field in GoalStatus.__dataclass_fields__}, "state": told.state.value, "pids": pids}


# --- what Init does upon that ---


@dataclass
class Waiter:
    """Who has asked for something that takes its time."""

    caller: Caller
    is_over: Callable[[], bool]
    answer: Any


class Requests:
    """Answers them. `settle` has done what follows from a change."""

    def __init__(self, board: Board, settle: Callable[[], None]) -> None:
        self.board = board
        self.settle = settle
        self.waiters: list[Waiter] = []

    def answer(self, request: Any, caller: Caller) -> Any:
        """What a request is answered; NOREPLY: it will be. Nothing that can be asked raises."""
        try:
            match request:
                case ("which_children",):
                    return ("ok", list(self._children()))
                case ("init", "plain status"):
                    return ("ok", [as_plain(self.board.status(standing, now())) for standing in self.board.standings.values()])
                case ("init", "status"):
                    return ("ok", [self.board.status(standing, now()) for standing in self.board.standings.values()])
                case ("init", "start" | "stop" | "restart" | "clear" as verb, None | str() as name):
                    if verb in ("stop", "restart"):
                        caps.require(caller_layers(), "exit", *known_as(self_pid()))
                    return self._act(verb, name, caller)
            raise InitError(f"Init does not know what it is asked: {request!r:.100}", "unknown_request")
        except InitError as error:
            return ("error", str(error), error.reason)
        except caps.CapabilityError as error:
            return ("refused", error.kind, error.what, error.exclusion, error.strerror)

    def answer_waiters(self) -> None:
        """Those for whom all has been done."""
        over = [waiter for waiter in self.waiters if waiter.is_over()]
        self.waiters = [waiter for waiter in self.waiters if waiter not in over]
        for waiter in over:
            reply(waiter.caller, waiter.answer)

    def _act(self, verb: str, name: str | None, caller: Caller) -> Any:
        """Do it; None: of all goals. The answer names what it is done to besides."""
        standings = self.board.standings
        if name is not None and name not in standings:
            raise InitError(f"there is no goal {name!r}: there are {', '.join(standings) or 'none'}", "not_found")
        chosen = list(standings.values()) if name is None else [standings[name]]
        stopped = [] if name is None else [each for each in self.board.requiring(name) if standings[each].any_active()]
        is_over = None
        match verb:
            case "start":
                others = self._release(name, chosen)
            case "stop":
                others = stopped
                for standing in chosen:
                    standing.is_held = True
                is_over = lambda: not any(standing.is_held and standing.any_active() for standing in chosen)  # noqa: E731
            case "restart":
                others = stopped
                self._release(name, chosen)
                for standing in chosen:
                    standing.is_restarting = standing.any_active()
                is_over = lambda: not any(standing.is_restarting for standing in chosen)  # noqa: E731
            case _:
                others = [standing.goal.name for standing in chosen if self._clear(standing)]
        if is_over is not None:
            self.waiters.append(Waiter(caller, is_over, ("ok", others)))
        self.settle()
        return ("ok", others) if is_over is None else NOREPLY

    def _release(self, name: str | None, chosen: list[Standing]) -> list[str]:
        """Hold them by hand no longer, nor what one requires; of the latter those that were held. Raises: InitError."""
        required = []
        if name is not None:
            (standing,) = chosen
            if standing.state is State.MAINTENANCE:
                raise InitError(f"goal {name!r} is in maintenance, and is not tried until it is cleared: {standing.why}", "maintenance")
            required = [each for each in self.board.required_by(name) if self.board.standings[each].is_held]
        for standing in [*chosen, *(self.board.standings[each] for each in required)]:
            standing.is_held = False
        return required

    def _clear(self, standing: Standing) -> bool:
        """Forget its failures. Were they too many?"""
        units = list(standing.units.values())
        has_failed = any(unit.phase is Phase.FAILED for unit in units)
        for unit in units:
            unit.clear()
        return has_failed

    def _children(self) -> Iterator[ChildInfo]:
        """As a supervisor tells of its own, for `beamlike tree`."""
        for unit in self.board.units():
            name = f"{unit.goal.name} on {unit.node}" if unit.goal.each_node else unit.goal.name
            if unit.phase is Phase.RUNNING and unit.pid is not None:
                yield ChildInfo(name, unit.pid, "running", "worker", "permanent")
            else:
                yield ChildInfo(name, None, "held" if unit.phase is Phase.FAILED else "stopped", "worker", "permanent")
