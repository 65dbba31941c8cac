"""Partitioned services: one instance of a server on each node, and a key that says which of them is meant."""

from __future__ import annotations

from typing import Any

from beamlike import Backoff, BadNameError, CallError, CallTimeoutError, ChildSpec, call, pack, sleep
from beamlike.seam import check_access, check_name, check_timeout, now
from nodes.distributed_supervisor import DistributedSupervisor, start_group
from nodes.placement import list_nodes
from nodes.placing import EVERYWHERE, Group, table
from nodes.rendezvous import rendezvous

RETRY = 0.005  # seconds: an instance that is not there is being (re)started
_RESTARTS = 1_000_000  # as often as it crashes
_BACKOFF = Backoff(first=0.005, most=1.0)


async def start_partitioned(server: Any, *args: Any, name: str, **options: Any) -> None:
    """Start one instance on each node, also on those that come (back) later; return when all that are up have theirs.

    An instance has the local name `name` on its node. One that ends is started again, after a back-off if it does so often. Its
    state is its own: it begins empty after each start.

    Args:
        server: a behaviour's class, such as a GenServer; `options` go to its `start_link`.

    Raises: ChildError `already_started` if there is a service of that name; ChildStartError if an instance did not start: then there is
    none.
    """
    spec = ChildSpec.of(server, *args, id="instance", name=check_name(name), **options)
    await start_group(name, [spec], EVERYWHERE, intensity=_RESTARTS, period=5.0, backoff=_BACKOFF)


async def stop_partitioned(name: str) -> None:
    """Stop all instances. Raises: BadNameError if there is no such service."""
    check_access("register", check_name(name))
    _expect(name)
    await DistributedSupervisor.stop(name)


def partition_of(name: str, key: Any) -> str:
    """The node whose instance has this key, of the nodes that are up: by rendezvous hashing of the packed key, on each node the same.

    Keys that are equal in Python and not in type (1, 1.0, True) may be different; a dict or a set has an order, and should be no key.

    Raises: BadNameError if there is no such service; TypeError if the key cannot be sent.
    """
    _expect(name)
    return rendezvous(pack(key), list_nodes())


async def call_partition(name: str, key: Any, request: Any, timeout: float | None = 5.0) -> Any:
    """`call` to the instance that has the key.

    While that is being started the call waits. When a node is lost its keys belong to other instances, and when it is back they are its own
    again; whoever keeps something under keys must be ready for that. A request that may have reached an instance is not sent again.

    Raises: as `call`; BadNameError if there is no such service.
    """
    seconds = check_timeout(timeout)
    deadline = None if seconds is None else now() + seconds
    while True:
        node = partition_of(name, key)
        rest = None if deadline is None else deadline - now()
        if rest is not None and rest <= 0.0:
            raise CallTimeoutError(f"call to the partitioned service {name!r}: there was no instance on {node} in {timeout} s", "timeout")
        try:
            return await call((name, node), request, rest)
        except BadNameError:  # here, and not started (again) yet
            await sleep(RETRY)
        except CallError as error:
            if error.reason != "noproc":  # what was not alive has not seen it
                raise
            await sleep(RETRY)


def _expect(name: str) -> None:
    group = table.get(check_name(name))
    if type(group) is not Group or group.placement != EVERYWHERE:
        known = ", ".join(sorted(key for key, value in table.items() if type(value) is Group and value.placement == EVERYWHERE)) or "none"
        raise BadNameError(f"there is no partitioned service {name!r}; there are: {known}")
