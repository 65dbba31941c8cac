"""A node, in a thread of the tests' own, in which checks are run: its zygote is started once for all of them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from queue import Queue
from threading import Thread
from typing import Any

import trio

from beamlike import Pid, io, receive, run, self_pid, spawn
from cells import spawn_cell

PATIENCE = 60.0  # seconds for a check

Check = Callable[..., Coroutine[Any, Any, Any]]


class Host:
    """Runs checks in processes of one node."""

    def __init__(self) -> None:
        self._checks: Queue[tuple[Check, tuple[Any, ...], Future[Any]] | None] = Queue()
        self._thread = Thread(target=run, args=(self._serve,), kwargs={"preempt": False})
        self._thread.start()

    def run(self, check: Check, *args: Any, timeout: float = PATIENCE) -> Any:
        """What the check returns, or raises."""
        future: Future[Any] = Future()
        self._checks.put((check, args, future))
        return future.result(timeout)

    def close(self) -> None:
        self._checks.put(None)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        while True:
            async with io():
                job = await trio.to_thread.run_sync(self._checks.get)
            if job is None:
                return
            spawn(_checked, *job)


async def _checked(check: Check, args: tuple[Any, ...], future: Future[Any]) -> None:
    try:
        future.set_result(await check(*args))
    except BaseException as error:  # noqa: BLE001 - the test raises it
        future.set_exception(error)


FACE = "from beamlike import *\n"


async def cell(program: Callable[..., Any] | str, *args: Any, **options: Any) -> Pid:
    """A cell that runs this function, whose source is shipped; of a str the function `main`. Its first argument is the caller's pid."""
    if isinstance(program, str):
        return await spawn_cell(FACE + textwrap.dedent(program), "main", self_pid(), *args, **options)
    source = FACE + textwrap.dedent(inspect.getsource(program))
    return await spawn_cell(source, program.__name__, self_pid(), *args, **options)


async def answer(timeout: float = 10.0) -> Any:
    """The next message."""
    return await receive(timeout=timeout)
