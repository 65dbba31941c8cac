"""The pool of workers, which a DistributedSupervisor keeps over the nodes: one that is lost with its node is started on another at once."""

from __future__ import annotations

import random
from hashlib import sha256
from time import monotonic
from typing import Any

import caps
from beamlike import Caller, CallError, CallTimeoutError, ChildSpec, GenServer, call, sleep
from nodes import DistributedSupervisor, join, members

GROUP = "demo.pool"
ROUNDS = 50
PATIENCE = 0.005  # seconds until another one is asked


class Worker(GenServer):
    """Hashes texts."""

    async def init(self) -> None:
        await join(GROUP)

    async def handle_call(self, request: Any, caller: Caller) -> str:
        return digest(request)


def digest(text: str) -> str:
    """What a worker answers."""
    hashed = text.encode()
    for _ in range(ROUNDS):
        hashed = sha256(hashed).digest()
    return hashed.hex()[:16]


async def start_pool(workers: int) -> None:
    """Spread them over the nodes."""
    may = caps.all_but("register")
    specs = [ChildSpec.of(Worker, id=f"worker-{number}", exclude=may) for number in range(1, workers + 1)]
    await DistributedSupervisor.start("demo.pool", specs, intensity=1000, period=1.0)


async def work(text: str, patience: float) -> tuple[str, int]:
    """Have a worker hash it, another one if that dies. Returns the answer, and how many died.

    Raises: CallTimeoutError after `patience` seconds.
    """
    lost = 0
    end = monotonic() + patience
    while monotonic() < end:
        workers = members(GROUP)
        try:
            if workers:
                return await call(random.choice(workers), text, timeout=patience), lost
        except CallTimeoutError:
            raise
        except CallError:
            lost += 1
        await sleep(PATIENCE)
    raise CallTimeoutError(f"no worker has answered in {patience} s: {lost} died, and there are {len(members(GROUP))}", "timeout")
