"""Ray: an actor in a worker process, called from the driver one call after the other."""

import os
from importlib.metadata import version

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}

import ray

from benchmarks import bench
from benchmarks.bench import Bench


@ray.remote
class Echo:
    """Answers a call with its argument."""

    def echo(self, request: int) -> int:
        return request


def call(bench: Bench) -> None:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False, _node_ip_address="127.0.0.1")
    server = Echo.remote()
    for count in bench:
        with bench:
            for request in range(count):
                ray.get(server.echo.remote(request))
    bench.report()
    ray.shutdown()


if __name__ == "__main__":
    bench.main(f"Ray {version('ray')}", {"call": call})
