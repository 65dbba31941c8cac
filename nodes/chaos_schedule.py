"""Schedules of faults: random, and the same each time.

Theory of operation. A schedule is drawn from its seed and the names it is given, never from what happens in the system; so the same
arguments give the same steps in every run. What a step does then depends on who is up when its time comes, which its `outcome` says. A
failing test prints the steps that were done, as JSON; `replay` does these again, without the seed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from itertools import takewhile
from random import Random
from typing import Any, Final

from beamlike import Down, Pid, Ref, Stop, monitor, receive, record, self_pid, sleep, spawn_monitor
from beamlike.seam import format_reason, now
from nodes.chaos_lasting import Lasting
from nodes.chaos_links import corrupting, delaying, dropping, tearing
from nodes.chaos_nodes import check_name, check_number, conductor, kill, kill_forge, slowing_down, stopping
from nodes.placement import list_nodes
from nodes.router import SpawnError

CONDUCTOR: Final = "conductor"
FORGE: Final = "forge"
_DIGITS: Final = 3  # of seconds and shares: milliseconds, and what is easily read


@record
class Step:
    """One fault of a schedule.

    `at`: seconds after the beginning. `fault`: one of FAULTS. `victim`: a node's name, `conductor`: who that is then, or `forge`.
    `details`: the arguments of the function of that fault, by name; `seconds`: how long it lasts, where it lasts. `outcome`, when it was
    done: `done`, `not up`, `7 struck`, or what else there is to say.
    """

    at: float
    fault: str
    victim: str
    details: dict[str, Any]
    outcome: str = ""


# --- what there is to draw, and to do -----------------------------------------------------------------------------------------------


async def _kill(victim: str) -> str:
    kill(victim)
    return "done"


async def _kill_forge(victim: str) -> str:
    kill_forge()
    return "done"


async def _stop(victim: str, seconds: float) -> str:
    await _last(stopping(victim, seconds), seconds)
    return "done"


async def _slow_down(victim: str, seconds: float, share: float) -> str:
    await _last(slowing_down(victim, share), seconds)
    return "done"


async def _drop(victim: str, seconds: float, target: str, rate: float, seed: int) -> str:
    return await _strike(dropping(victim, _resolved(target), rate=rate, seed=seed), seconds)


async def _delay(victim: str, seconds: float, target: str, rate: float, seed: int, delay: float) -> str:
    return await _strike(delaying(victim, _resolved(target), rate=rate, seed=seed, seconds=delay), seconds)


async def _corrupt(victim: str, seconds: float, target: str, rate: float, seed: int) -> str:
    return await _strike(corrupting(victim, _resolved(target), rate=rate, seed=seed), seconds)


async def _tear(victim: str, seconds: float, target: str, at: int) -> str:
    return await _strike(tearing(victim, _resolved(target), at=at), seconds)


async def _strike(fault: Lasting, seconds: float) -> str:
    await _last(fault, seconds)
    return "its node was lost" if fault.count is None else f"{fault.count} struck"


async def _last(fault: Lasting, seconds: float) -> None:
    """As long as whoever runs the schedule is there."""
    async with fault:
        with suppress(TimeoutError):
            await receive(lambda message: type(message) is Down, seconds)


def _resolved(name: str) -> str:
    return conductor() if name == CONDUCTOR else name


FAULTS: Final[dict[str, tuple[Callable[..., Coroutine[Any, Any, str]], tuple[str, ...]]]] = {
    "kill": (_kill, ()),
    "kill_forge": (_kill_forge, ()),
    "stop": (_stop, ("seconds",)),
    "slow_down": (_slow_down, ("seconds", "share")),
    "drop": (_drop, ("seconds", "target", "rate", "seed")),
    "delay": (_delay, ("seconds", "target", "rate", "seed", "delay")),
    "corrupt": (_corrupt, ("seconds", "target", "rate", "seed")),
    "tear": (_tear, ("seconds", "target", "at")),
}
"""What is done, and the names of its details. `kill_forge` has the victim `forge`, all others have those of the schedule."""

_DRAW: Final[dict[str, Callable[[Random, Schedule, str], Any]]] = {
    "seconds": lambda random, schedule, victim: round(random.uniform(0.001, 2 * schedule.lasting), _DIGITS),
    "share": lambda random, schedule, victim: round(random.uniform(0.1, 0.9), _DIGITS),
    "target": lambda random, schedule, victim: random.choice([name for name in schedule.victims if name != victim]),
    "rate": lambda random, schedule, victim: round(random.uniform(0, 0.5), _DIGITS),
    "seed": lambda random, schedule, victim: random.getrandbits(32),
    "delay": lambda random, schedule, victim: round(random.uniform(0.001, 0.1), _DIGITS),
    "at": lambda random, schedule, victim: random.randrange(200),  # bytes: the header, and some of the payload
}


# --- schedules ----------------------------------------------------------------------------------------------------------------------


class Schedule:
    """An endless sequence of steps, the same each time it is iterated over.

    Args:
        seed: of all random numbers.
        victims: names of nodes, of which each step takes one; `conductor` among them is who that is at the time. Leave out the node of the
            process that runs the schedule, for that is over with it.
        every: seconds from one step to the next, on average; it is between none and twice as many.
        faults: keys of FAULTS, of which each step takes one. Those between two nodes need two victims.
        lasting: seconds that a fault lasts, if it does, on average; `every` unless given. A node that is stopped for as long as the
            `hang_timeout` of the system is killed.

    Raises: TypeError or ValueError, which say what is wrong.
    """

    def __init__(
        self,
        seed: int,
        victims: Iterable[str],
        *,
        every: float,
        faults: Iterable[str] = ("kill", "stop", "slow_down"),
        lasting: float | None = None,
    ) -> None:
        if type(seed) is not int:
            raise TypeError(f"Schedule: seed is an int, not {seed!r}")
        self.seed = seed
        self.victims: tuple[str, ...] = _names("victims", victims)
        self.faults = _names("faults", faults)
        self.every = _seconds("every", every)
        self.lasting: float = self.every if lasting is None else _seconds("lasting", lasting)
        for fault in self.faults:
            if fault not in FAULTS:
                raise ValueError(f"Schedule: faults are of {', '.join(FAULTS)}, not {fault!r}")
            if "target" in FAULTS[fault][1] and len(self.victims) < 2:
                raise ValueError(f"Schedule: {fault!r} is between two nodes, so it needs two victims, not only {self.victims[0]!r}")

    def __iter__(self) -> Iterator[Step]:
        random = Random(self.seed)
        at = 0.0
        while True:
            at = round(at + random.uniform(0, 2 * self.every), _DIGITS)
            fault = random.choice(self.faults)
            victim = random.choice(self.victims) if fault != "kill_forge" else FORGE
            yield Step(at, fault, victim, {word: _DRAW[word](random, self, victim) for word in FAULTS[fault][1]})


async def run(schedule: Schedule, *, seconds: float) -> list[Step]:
    """Do the steps of a schedule that come in its first `seconds`, each at its time, and wait until those that last are over.

    Return them with their outcomes. A fault that lasts is over when the calling process ends, too.

    Raises: TypeError, ValueError, before anything is done.
    """
    if type(schedule) is not Schedule:
        raise TypeError(f"run expects a chaos.Schedule, not {schedule!r}: chaos.replay does a list of steps")
    _seconds("seconds", seconds)
    return await replay(takewhile(lambda step: step.at < seconds, schedule))


async def replay(steps: Iterable[Step]) -> list[Step]:
    """Do these steps, each at its time, whatever their outcome was before; as `run`."""
    steps = [_checked(step) for step in steps]
    for step in steps:
        for name in (step.victim, step.details.get("target", CONDUCTOR)):
            if name not in (CONDUCTOR, FORGE):
                check_name("replay", name)
    begun = now()
    refs: list[Ref] = []
    for step in steps:
        await sleep(max(0.0, begun + step.at - now()))
        refs.append(spawn_monitor(_do, self_pid(), step)[1])
    return [dataclasses.replace(step, outcome=await _outcome(ref)) for step, ref in zip(steps, refs, strict=True)]


async def _outcome(ref: Ref) -> str:
    match (await receive(lambda message: type(message) is Down and message.ref == ref)).reason:
        case ("shutdown", str(outcome)):
            return outcome
        case reason:
            return format_reason(reason)


async def _do(asker: Pid, step: Step) -> None:
    monitor(asker)
    victim = _resolved(step.victim)
    if victim != FORGE and victim not in list_nodes():
        raise Stop(("shutdown", "not up"))
    try:
        outcome = await FAULTS[step.fault][0](victim, **step.details)
    except (SpawnError, ValueError) as error:  # it was lost in this moment; the conductor is the other node, too; there is no forge
        outcome = str(error)
    raise Stop(("shutdown", outcome))


# --- as text ------------------------------------------------------------------------------------------------------------------------


def to_json(steps: Iterable[Step]) -> str:
    """One step a line, to be printed by a test that fails, and kept."""
    return "[\n" + ",\n".join(f"  {json.dumps(dataclasses.asdict(_checked(step)))}" for step in steps) + "\n]"


def from_json(text: str) -> list[Step]:
    """The steps that `to_json` wrote. Raises: ValueError if it is not such a text, which says where it is wrong."""
    found = json.loads(text)  # whose error is a ValueError
    if not isinstance(found, list):
        raise ValueError(f"from_json expects a list of steps, not {type(found).__name__}")
    return [_from(each) for each in found]


def _from(found: Any) -> Step:
    try:
        return _checked(Step(**found))
    except TypeError as error:
        raise ValueError(f"from_json: {found!r} is no step: {error}") from error


def _checked(step: Any) -> Step:
    """TypeError or ValueError unless this is a step that can be done."""
    if type(step) is not Step:
        raise TypeError(f"expected a chaos.Step, not {step!r}")
    if type(step.victim) is not str or type(step.details) is not dict:
        raise TypeError(f"the victim of a step is a str and its details are a dict, not {step.victim!r} and {step.details!r}")
    check_number("Step", "at", step.at)
    if step.fault not in FAULTS:
        raise ValueError(f"the fault of a step is one of {', '.join(FAULTS)}, not {step.fault!r}")
    if (step.victim == FORGE) != (step.fault == "kill_forge"):
        raise ValueError(f"the victim of 'kill_forge', and of no other fault, is {FORGE!r}; this is {step.fault!r} of {step.victim!r}")
    words = FAULTS[step.fault][1]
    if set(step.details) != set(words):
        raise ValueError(f"the details of {step.fault!r} are {', '.join(words) or 'none'}, not {', '.join(step.details) or 'none'}")
    return step


def _names(word: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"Schedule: {word} are several, [{names!r}] for example, not {names!r}")
    found = tuple(names)
    if not found:
        raise ValueError(f"Schedule: there are no {word} to choose from")
    for name in found:
        if type(name) is not str:
            raise TypeError(f"Schedule: {word} are str, not {name!r}")
    return found


def _seconds(word: str, seconds: float) -> float:
    check_number("Schedule", word, seconds)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"Schedule: {word} is a number of seconds more than 0, not {seconds}")
    return seconds
