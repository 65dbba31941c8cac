"""A node inside asyncio: trio as the guest of the running loop, so that asyncio's tasks and our processes share one thread.

Theory of operation. trio's guest mode hands each pass of trio's loop to asyncio as a callback, and our scheduler is part of that pass (see
`node`): about SLICE of stepping, then asyncio has its turn. What asyncio's code does to processes (`send`, mostly) makes trio's task for
the scheduler runnable, and that wakes the guest. Nothing here crosses a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from beamlike import signals
from beamlike.exits import CallError, ProcessExit
from beamlike.hot.calls import DEFAULT_TIMEOUT, call
from beamlike.node import Node
from beamlike.processes import start

if TYPE_CHECKING:
    import asyncio  # imported by who uses it: it takes as long as a good part of beamlike

    from outcome import Outcome

T = TypeVar("T")

_loop: asyncio.AbstractEventLoop | None = None  # in which the node is a guest


async def run_in_asyncio(
    main: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    name: str = "main",
    preempt: bool = True,
) -> T:
    """`run`, inside a running asyncio loop: a node with `main(*args)` as its first process; return what that returned.

    asyncio's tasks go on meanwhile, in the same thread: they `send` to pids and names as processes do, and have answers by
    `call_from_asyncio`. A process can start things of asyncio (`loop.create_task`, `loop.call_later`) and be told of their end by a
    message; it cannot await them. Cancelling the task that awaits this stops the processes in order, as Ctrl-C does in `run`, before
    the CancelledError leaves; cancelling it again does not wait for them.

    Args: as `run`. Raises: as `run`.
    """
    global _loop
    if not callable(main):
        raise TypeError(f"run_in_asyncio expects an async function (and its arguments apart), not {main!r}")
    import asyncio

    loop = asyncio.get_running_loop()
    over: asyncio.Future[Outcome[None]] = loop.create_future()
    node = Node(name, preempt=preempt, seed=None)
    trio.lowlevel.start_guest_run(
        node.run_main,
        main,
        args,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        run_sync_soon_not_threadsafe=loop.call_soon,
        done_callback=over.set_result,
        host_uses_signal_set_wakeup_fd=True,
        restrict_keyboard_interrupt_to_checkpoints=True,
    )
    _loop = loop
    cancelled: list[asyncio.CancelledError] = []

    def stop() -> None:
        if over.done():
            return
        if node.token is None:
            loop.call_soon(stop)  # the node's first pass is still to come
            return
        with suppress(trio.RunFinishedError):  # it is over already, but for trio's last pass
            node.token.run_sync_soon(partial(node.interrupt, at_once=len(cancelled) > 1))

    try:
        while not over.done():
            try:
                await asyncio.wait((over,))
            except asyncio.CancelledError as error:
                cancelled.append(error)
                stop()
    finally:
        _loop = None
        node.discard()
    over.result().unwrap()
    if cancelled:
        raise cancelled[0]
    return node.main.result()  # type: ignore[no-any-return]


async def call_from_asyncio(server: Any, request: Any, timeout: float | None = DEFAULT_TIMEOUT) -> Any:
    """`call`, awaited by asyncio's code beside `run_in_asyncio`. If it is cancelled, a late answer is dropped.

    Raises: as `call`; CallError, too, if the node stops meanwhile; RuntimeError where no node is the guest of the running loop.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    if loop is not _loop:
        raise RuntimeError("call_from_asyncio: no node is a guest of this asyncio loop: start one with run_in_asyncio(main)")
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(outcome: Callable[[Any], None], value: Any) -> None:
        if not answer.done():
            outcome(value)

    async def ask() -> None:
        try:
            value = await call(server, request, timeout)
        except Exception as error:  # noqa: BLE001 - raised in asyncio's task
            settle(answer.set_exception, error)
        except ProcessExit as ended:
            settle(answer.set_exception, CallError(f"call to {server}: its caller was ended, for the node stops", ended.reason))
            raise
        else:
            settle(answer.set_result, value)

    asker = start(ask, (), parent=None)
    try:
        return await answer
    finally:
        signals.end(asker, "normal")
