"""A node inside asyncio: one thread, two loops, and the end of either."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from trio._core._run import GLOBAL_RUN_CONTEXT

from beamlike import (
    CallError,
    CallTimeoutError,
    ChildSpec,
    ExitError,
    Pid,
    Stop,
    Supervisor,
    blocking,
    call_from_asyncio,
    exit,
    io,
    process_flag,
    receive,
    register,
    reply,
    run_in_asyncio,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    whereis,
)
from beamlike.hot.calls import Call
from beamlike.hot.scheduler import current_node
from beamlike.testing import assistant

PATIENCE = 20.0  # seconds after which a test hangs


def in_asyncio(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The test is the main task of an asyncio loop."""

    def run() -> None:
        async def limited() -> None:
            async with asyncio.timeout(PATIENCE):
                await test()

        asyncio.run(limited())
        assert current_node() is None

    run.__name__ = test.__name__
    return run


async def until(condition: Callable[[], Any]) -> None:
    """Let both loops run until it holds."""
    while not condition():  # noqa: ASYNC110 - conditions of another loop
        await asyncio.sleep(0)


def trio_waits_in_its_thread() -> bool:
    return hasattr(GLOBAL_RUN_CONTEXT, "runner") and not GLOBAL_RUN_CONTEXT.runner.guest_tick_scheduled


async def wait_for_message() -> Any:
    register("main")
    return await receive()


async def echo() -> None:
    register("echo")
    while True:
        match await receive():
            case Call(caller, "die"):
                raise Stop("died")
            case Call(caller, "never"):
                send("main", caller)
            case Call(caller, request):
                reply(caller, request)


async def serve() -> Any:
    register("main")
    spawn(echo)
    return await receive(lambda message: message == "stop")


# --- results --------------------------------------------------------------------------------------------------------------


@in_asyncio
async def test_it_returns_what_main_returned() -> None:
    async def main(number: int) -> Any:
        return number + 1, self_pid().node.split("@")[0]

    assert await run_in_asyncio(main, 1, name="guest") == (2, "guest")
    assert await run_in_asyncio(main, 2) == (3, "main")


@in_asyncio
async def test_it_raises_what_main_raised() -> None:
    async def main() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError, match="k"):
        await run_in_asyncio(main)


@in_asyncio
async def test_it_raises_what_ended_main() -> None:
    async def murderer(main: Pid) -> None:
        exit(main, "kill")

    async def main() -> None:
        spawn(murderer, self_pid())
        await receive()

    with pytest.raises(ExitError, match="killed"):
        await run_in_asyncio(main)


@in_asyncio
async def test_what_is_no_function_is_named() -> None:
    with pytest.raises(TypeError, match=r"run_in_asyncio expects an async function .* not 5"):
        await run_in_asyncio(5)  # type: ignore[arg-type]


@in_asyncio
async def test_there_is_one_node_in_a_loop() -> None:
    async def main() -> Any:
        return await receive()

    async def first() -> Any:
        register("first")
        return await receive()

    task = asyncio.create_task(run_in_asyncio(first))
    await until(lambda: current_node() is not None and whereis("first"))
    with pytest.raises(RuntimeError):
        await run_in_asyncio(main)
    send("first", "still there")
    assert await task == "still there"


# --- two loops ------------------------------------------------------------------------------------------------------------


@in_asyncio
async def test_a_message_of_a_callback_wakes_a_node_that_is_idle() -> None:
    task = asyncio.create_task(run_in_asyncio(wait_for_message))
    await until(trio_waits_in_its_thread)
    asyncio.get_running_loop().call_soon(send, "main", ["x"])
    assert await task == ["x"]


@in_asyncio
async def test_a_message_of_a_callback_wakes_a_process_in_trio_mode() -> None:
    async def main() -> Any:
        register("main")
        async with io():
            return await receive()

    task = asyncio.create_task(run_in_asyncio(main))
    await until(trio_waits_in_its_thread)
    send("main", "x")
    assert await task == "x"


@in_asyncio
async def test_a_message_of_another_thread_wakes_a_node_that_is_idle() -> None:
    task = asyncio.create_task(run_in_asyncio(wait_for_message))
    await until(trio_waits_in_its_thread)
    await asyncio.to_thread(send, "main", "from a thread")
    assert await task == "from a thread"


@in_asyncio
async def test_timers_and_threads_of_processes_work() -> None:
    async def main() -> Any:
        send_after(0.02, self_pid(), "second")
        send_after(0.01, self_pid(), "first")
        await sleep(0.001)
        with pytest.raises(TimeoutError):
            await receive(lambda message: message == "never", timeout=0.001)
        thread = await blocking(threading.current_thread)
        assert thread is not threading.current_thread()
        return await receive(), await receive()

    assert await run_in_asyncio(main) == ("first", "second")


@in_asyncio
async def test_a_new_timer_shortens_the_sleep_of_an_idle_node() -> None:
    async def main() -> Any:
        register("main")
        send_after(1000, self_pid(), "late")
        await receive(lambda message: message == "go")
        send_after(0.001, self_pid(), "soon")
        return await receive()

    task = asyncio.create_task(run_in_asyncio(main))
    await until(trio_waits_in_its_thread)
    send("main", "go")
    assert await task == "soon"


@in_asyncio
async def test_both_loops_go_on_while_processes_never_rest() -> None:
    hops = 0

    async def player(to: Any) -> None:
        nonlocal hops
        while True:
            send(await receive(Pid), self_pid())
            hops += 1

    async def main() -> Any:
        register("main")
        send(spawn(player, None), spawn(player, None))
        return await receive()

    task = asyncio.create_task(run_in_asyncio(main))
    for _ in range(20):
        before = hops
        await until(lambda before=before: hops > before)  # type: ignore[misc]
        await asyncio.sleep(0.0001)
    send("main", "stop")
    assert await task == "stop"


@in_asyncio
async def test_asyncio_goes_on_while_a_process_computes_for_ever() -> None:
    turns = 0

    async def compute() -> None:
        nonlocal turns
        while True:
            turns += 1

    async def main() -> Any:
        register("main")
        spawn(compute)
        return await receive()

    task = asyncio.create_task(run_in_asyncio(main))
    for _ in range(5):
        before = turns
        await until(lambda before=before: turns > before)  # type: ignore[misc]
        await asyncio.sleep(0.0001)
    send("main", "stop")
    assert await task == "stop"


@in_asyncio
async def test_a_process_starts_things_of_asyncio_and_is_told_of_their_end() -> None:
    async def fetch(to: Pid) -> None:
        await asyncio.sleep(0.001)
        send(to, ("fetched", 1))

    async def main() -> Any:
        task = asyncio.get_running_loop().create_task(fetch(self_pid()))
        message = await receive()
        del task
        return message

    assert await run_in_asyncio(main) == ("fetched", 1)


@in_asyncio
async def test_a_process_that_awaits_asyncio_is_told_that_it_cannot() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="another event loop"):
        await run_in_asyncio(main)


def test_it_works_in_a_loop_of_another_thread_without_preemption() -> None:
    outcome: list[Any] = []

    async def main() -> Any:
        await sleep(0.001)
        return threading.current_thread().name

    thread = threading.Thread(target=lambda: outcome.append(asyncio.run(run_in_asyncio(main, preempt=False))), name="elsewhere")
    thread.start()
    thread.join(PATIENCE)
    assert outcome == ["elsewhere"]


# --- cancellation ---------------------------------------------------------------------------------------------------------


@in_asyncio
async def test_cancellation_stops_the_processes_in_order_before_it_is_raised() -> None:
    ended: list[str] = []

    async def worker(name: str) -> None:
        register(name)
        process_flag("trap_exit", True)
        try:
            await receive()
        finally:
            ended.append(name)

    async def main() -> None:
        await Supervisor.start_link([ChildSpec.of(worker, name, id=name) for name in ("first", "second")])
        spawn(worker, "loner")
        try:
            await receive()
        finally:
            ended.append("main")

    task = asyncio.create_task(run_in_asyncio(main))
    await until(trio_waits_in_its_thread)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended[0] == "main"
    assert ended[1:] in (["second", "first", "loner"], ["loner", "second", "first"])
    assert current_node() is None


@pytest.mark.parametrize("turns", range(4))
def test_cancellation_at_once_stops_it_too(turns: int) -> None:
    @in_asyncio
    async def body() -> None:
        task = asyncio.create_task(run_in_asyncio(wait_for_message))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    body()


@in_asyncio
async def test_a_second_cancellation_does_not_wait() -> None:
    async def main() -> None:
        await Supervisor.start_link([ChildSpec.of(assistant, shutdown="infinity", name="stubborn")])
        send("stubborn", ("ignore_exits",))
        await receive()

    task = asyncio.create_task(run_in_asyncio(main))
    await until(lambda: current_node() is not None and whereis("stubborn"))
    await until(trio_waits_in_its_thread)
    task.cancel()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@in_asyncio
async def test_a_timeout_of_asyncio_stops_it() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run_in_asyncio(wait_for_message)


def test_ctrl_c_stops_the_processes_in_order(program: Any) -> None:
    ran = program("""
        import asyncio, os
        async def child():
            try:
                await receive()
            finally:
                print("child ended", flush=True)
        async def main():
            spawn_link(child)
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            try:
                await receive()
            finally:
                print("main ended", flush=True)
        try:
            asyncio.run(run_in_asyncio(main))
        except KeyboardInterrupt:
            print("interrupted")
    """)
    *ends, last = ran.stdout.splitlines()
    assert (sorted(ends), last) == (["child ended", "main ended"], "interrupted")  # either may be pre-empted in its `finally`
    assert ran.stderr == ""
    assert ran.returncode == 0


# --- calls from asyncio ---------------------------------------------------------------------------------------------------


def with_server(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """As `in_asyncio`, beside a node whose process `echo` answers calls."""

    async def body() -> None:
        task = asyncio.create_task(run_in_asyncio(serve))
        await until(lambda: current_node() is not None and whereis("echo"))
        await test()
        if current_node() is not None:
            send("main", "stop")
        assert await task == "stop"

    body.__name__ = test.__name__
    return in_asyncio(body)


@with_server
async def test_a_call_from_asyncio_has_its_answer() -> None:
    request = [1, (2,)]
    answer = await call_from_asyncio("echo", request)
    assert answer == request
    assert answer is not request
    assert await asyncio.gather(*(call_from_asyncio(whereis("echo"), number) for number in range(10))) == list(range(10))


@with_server
async def test_a_call_from_asyncio_fails_as_a_call_does() -> None:
    with pytest.raises(LookupError, match="nobody has the name 'nobody'"):
        await call_from_asyncio("nobody", 1)
    with pytest.raises(TypeError, match="cannot send"):
        await call_from_asyncio("echo", object())
    with pytest.raises(CallTimeoutError):
        await call_from_asyncio("echo", "never", timeout=0.001)
    echo_pid = whereis("echo")
    with pytest.raises(CallError, match="it ended: died"):
        await call_from_asyncio("echo", "die")
    with pytest.raises(CallError, match="no such process"):
        await call_from_asyncio(echo_pid, 1)


@with_server
async def test_a_cancelled_call_from_asyncio_leaves_no_process_behind() -> None:
    from beamlike import processes

    before = processes()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await call_from_asyncio("echo", "never", timeout=None)
    await until(lambda: processes() == before)


@in_asyncio
async def test_a_call_from_asyncio_ends_with_the_node() -> None:
    task = asyncio.create_task(run_in_asyncio(serve))
    await until(lambda: current_node() is not None and whereis("echo"))
    waiting = asyncio.create_task(call_from_asyncio("echo", "never", timeout=None))
    await until(trio_waits_in_its_thread)
    send("main", "stop")
    await task
    with pytest.raises(CallError):
        await waiting


@in_asyncio
async def test_without_a_guest_a_call_from_asyncio_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="run_in_asyncio"):
        await call_from_asyncio("echo", 1)
