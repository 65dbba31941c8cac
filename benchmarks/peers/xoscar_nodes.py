"""xoscar between two OS processes of one pool: the caller is in the main one, the server in a sub pool."""

import asyncio
from importlib.metadata import version

import xoscar

from benchmarks import bench
from benchmarks.bench import Bench


class Echo(xoscar.Actor):
    """Answers a call with its argument."""

    async def echo(self, request: int) -> int:
        return request


async def call(bench: Bench) -> None:
    async with await xoscar.create_actor_pool("127.0.0.1", n_process=1) as pool:
        server = await xoscar.create_actor(Echo, address=pool.external_address, allocate_strategy=xoscar.allocate_strategy.ProcessIndex(1))
        for count in bench:
            with bench:
                for request in range(count):
                    await server.echo(request)
        bench.report()


if __name__ == "__main__":
    bench.main(f"xoscar {version('xoscar')}", {"call": lambda bench: asyncio.run(call(bench))})
