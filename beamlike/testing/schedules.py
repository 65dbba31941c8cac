"""Who runs when: a test under many schedules, and waiting until nobody can run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import trio.testing

from beamlike.running import run
from beamlike.trio_mode import io


async def settle() -> None:
    """Wait until no process can run and no timer is due: everybody but the caller waits for a message, an answer, or a later time.

    Time does not pass meanwhile where it is virtual. Threads, and I/O under way, are not waited for; a process that is never idle keeps
    this from returning. Call it in a test's process, or in any trio task beside an embedded node.
    """
    if trio.lowlevel.in_trio_task():
        await trio.testing.wait_all_tasks_blocked()
    else:
        async with io():
            await trio.testing.wait_all_tasks_blocked()


def seeds(number: int) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """Decorator: the async test is the main process of `run(test, seed=seed)`, once for each of that many seeds.

    From seed to seed it differs who runs next; time is virtual. Each is a test of its own, `test_name[seed-7]`, and the same again whenever
    it is run again. Fixtures that are not async are passed on.

    Raises: ValueError if `number` is no int > 0; TypeError if the test is not async.
    """
    import pytest

    if type(number) is not int or number < 1:
        raise ValueError(f"seeds expects how many there are, an int > 0, not {number!r}")

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        if not inspect.iscoroutinefunction(test):
            raise TypeError(f"@seeds({number}) expects an async test function, not {test!r}")

        @functools.wraps(test)
        def in_node(_beamlike_seed: int, **fixtures: Any) -> None:
            run(functools.partial(test, **fixtures), seed=_beamlike_seed)

        signature = inspect.signature(test)
        given = inspect.Parameter("_beamlike_seed", inspect.Parameter.KEYWORD_ONLY)
        in_node.__signature__ = signature.replace(parameters=[*signature.parameters.values(), given])  # type: ignore[attr-defined]
        each_seed = pytest.mark.parametrize("_beamlike_seed", [pytest.param(seed, id=f"seed-{seed}") for seed in range(number)])
        decorated: Callable[..., None] = each_seed(in_node)
        return decorated

    return decorate
