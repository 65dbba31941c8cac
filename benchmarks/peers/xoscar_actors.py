"""xoscar: actors in the main pool of one OS process, on asyncio.

`create_actor` gives a reference that goes through the pool's channel, also inside one OS process; `actor_ref` makes of it a
local one, which calls the method directly under the actor's lock. `call` measures both; the other cases use local ones.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import xoscar

from benchmarks import bench
from benchmarks.bench import Bench

SENDERS = 100


class Echo(xoscar.Actor):
    """Answers a call with its argument."""

    async def echo(self, request: int) -> int:
        return request


class Caller(xoscar.Actor):
    """Calls an Echo."""

    async def calls(self, server: Any, count: int) -> None:
        for request in range(count):
            await server.echo(request)


class Player(xoscar.Actor):
    """Sends what it receives back to its sender until the count that comes with it is used up."""

    async def __post_create__(self) -> None:
        self.own = await xoscar.actor_ref(self.ref())

    async def hit(self, sender: Any, left: int) -> None:
        if left:
            await sender.hit.tell(self.own, left - 1)
        else:
            finished.set()


class Sink(xoscar.Actor):
    """Counts messages."""

    async def expect(self, messages: int) -> None:
        self.left = messages

    async def take(self, message: tuple[int, int]) -> None:
        self.left -= 1
        if not self.left:
            finished.set()


class Flooder(xoscar.Actor):
    """Sends so many messages to the sink."""

    async def flood(self, sink: Any, count: int) -> None:
        for x in range(count):
            await sink.take.tell((0, x))


finished = asyncio.Event()  # set by the actor that saw the last message


async def start(kind: type[xoscar.Actor], address: str) -> Any:
    return await xoscar.actor_ref(await xoscar.create_actor(kind, address=address))


async def ping_pong(bench: Bench, address: str) -> None:
    ping, pong = await start(Player, address), await start(Player, address)
    for count in bench:
        with bench:
            await ping.hit.tell(pong, 2 * count)
            await finished.wait()
            finished.clear()
    bench.report(operations=2)


async def call(bench: Bench, address: str) -> None:
    server = await xoscar.create_actor(Echo, address=address)
    caller = await start(Caller, address)
    for reference, suffix in ((server, ""), (await xoscar.actor_ref(server), "_local")):
        for count in bench:
            with bench:
                await caller.calls(reference, count)
        bench.report(suffix=suffix)


async def spawn_exit(bench: Bench, address: str) -> None:
    for count in bench:
        with bench:
            for _ in range(count):
                actors = [await xoscar.create_actor(Echo, address=address) for _ in range(bench.size)]
                for actor in actors:
                    await xoscar.destroy_actor(actor)
    bench.report(operations=bench.size)


async def fan_in(bench: Bench, address: str) -> None:
    sink = await start(Sink, address)
    flooders = [await start(Flooder, address) for _ in range(SENDERS)]
    for count in bench:
        with bench:
            for _ in range(count):
                await sink.expect(SENDERS * bench.size)
                for flooder in flooders:
                    await flooder.flood.tell(sink, bench.size)
                await finished.wait()
                finished.clear()
    bench.report(operations=SENDERS * bench.size)


def in_pool(case: Callable[[Bench, str], Awaitable[None]]) -> Callable[[Bench], None]:
    async def main(bench: Bench) -> None:
        pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        async with pool:
            await case(bench, pool.external_address)

    return lambda bench: asyncio.run(main(bench))


if __name__ == "__main__":
    cases = {"ping_pong": ping_pong, "call": call, "spawn_exit": spawn_exit, "fan_in": fan_in}
    bench.main(f"xoscar {version('xoscar')}", {name: in_pool(case) for name, case in cases.items()})
