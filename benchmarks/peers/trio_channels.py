"""trio: a process is a task, a mailbox is an unbounded memory channel."""

import math
import platform
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing
from trio import MemoryReceiveChannel, MemorySendChannel, open_memory_channel

from benchmarks import bench
from benchmarks.bench import Bench, emit, resident_bytes

SENDERS = 100


async def pong(inbox: MemoryReceiveChannel[Any], own: MemorySendChannel[Any]) -> None:
    async for sender, x in inbox:
        sender.send_nowait((own, x))


async def ping_pong(bench: Bench) -> None:
    to_ping, ping_inbox = open_memory_channel[Any](math.inf)
    to_pong, pong_inbox = open_memory_channel[Any](math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pong, pong_inbox, to_pong)
        for count in bench:
            with bench:
                for x in range(count):
                    to_pong.send_nowait((to_ping, x))
                    await ping_inbox.receive()
        nursery.cancel_scope.cancel()
    bench.report(operations=2)


async def serve(inbox: MemoryReceiveChannel[Any]) -> None:
    async for request, reply in inbox:
        reply.send_nowait(request)


async def call(bench: Bench) -> None:
    """A request carries a channel of its own for the reply."""
    to_server, inbox = open_memory_channel[Any](math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, inbox)
        for count in bench:
            with bench:
                for request in range(count):
                    reply_here, replies = open_memory_channel[Any](1)
                    to_server.send_nowait((request, reply_here))
                    await replies.receive()
        nursery.cancel_scope.cancel()
    bench.report()


async def nothing() -> None:
    pass


async def spawn_exit(bench: Bench) -> None:
    for count in bench:
        with bench:
            for _ in range(count):
                async with trio.open_nursery() as nursery:
                    for _ in range(bench.size):
                        nursery.start_soon(nothing)
    bench.report(operations=bench.size)


async def flood(sink: MemorySendChannel[Any], count: int) -> None:
    for x in range(count):
        sink.send_nowait((sink, x))


async def fan_in(bench: Bench) -> None:
    messages = SENDERS * bench.size
    for count in bench:
        with bench:
            for _ in range(count):
                to_sink, inbox = open_memory_channel[Any](math.inf)
                async with trio.open_nursery() as nursery:
                    for _ in range(SENDERS):
                        nursery.start_soon(flood, to_sink, bench.size)
                    for _ in range(messages):
                        await inbox.receive()
    bench.report(operations=messages)


async def idle(bench: Bench) -> None:
    before = resident_bytes()
    channels = []
    async with trio.open_nursery() as nursery:
        with bench:
            for _ in range(bench.size):
                to_task, inbox = open_memory_channel[Any](math.inf)
                channels.append(to_task)
                nursery.start_soon(inbox.receive)
            await trio.testing.wait_all_tasks_blocked()
        total = resident_bytes()
        emit("idle", "bytes", [(total - before) / bench.size])
        emit("idle_rss", "bytes", [total])
        emit("idle_spawn", "seconds", [bench.lasted])
        nursery.cancel_scope.cancel()


def in_trio(case: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], None]:
    return lambda bench: trio.run(case, bench)


if __name__ == "__main__":
    cases = {"ping_pong": ping_pong, "call": call, "spawn_exit": spawn_exit, "fan_in": fan_in, "idle": idle}
    bench.main(
        f"trio {trio.__version__} on {platform.python_implementation()} {platform.python_version()}",
        {name: in_trio(case) for name, case in cases.items()},
    )
