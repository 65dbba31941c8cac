"""Dining philosophers: five of them, five forks, and each needs two forks to eat.

It shows processes as shared things: a fork is a server, and taking it is a call that is answered when the fork is free. Nobody
starves, since a fork serves in the order of asking; nobody waits in a circle, since everybody takes the fork with the lower
number first; and a fork whose philosopher dies is free again, since it monitors who holds it.

    beamlike run examples/dining_philosophers.py
"""

import random
from collections import Counter, deque
from typing import Any

from beamlike import (
    NOREPLY,
    Caller,
    Down,
    GenServer,
    Pid,
    Ref,
    call,
    cast,
    demonitor,
    monitor,
    receive,
    reply,
    self_pid,
    send,
    sleep,
    spawn,
)

PHILOSOPHERS = ("Aristotle", "Hypatia", "Kant", "Confucius", "Simone")
THINKING, EATING = 0.02, 0.01  # seconds, on average


class Fork(GenServer):
    """`await call(fork, "take")` returns when the caller holds it; `cast(fork, ("put", pid))` puts it back."""

    async def init(self) -> None:
        self.holder: Pid | None = None
        self.watch: Ref | None = None
        self.waiting: deque[Caller] = deque()

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        self.waiting.append(caller)
        self.serve_next()
        return NOREPLY

    async def handle_cast(self, request: Any) -> None:
        match request:
            case ("put", pid) if pid == self.holder and self.watch is not None:
                demonitor(self.watch, flush=True)
                self.holder = None
                self.serve_next()

    async def handle_info(self, message: Any) -> None:
        match message:
            case Down(ref, _, _) if ref == self.watch:
                self.holder = None
                self.serve_next()

    def serve_next(self) -> None:
        """Give it to who has waited longest, unless somebody holds it."""
        if self.holder is None and self.waiting:
            caller = self.waiting.popleft()
            self.holder = caller.pid
            self.watch = monitor(caller.pid)
            reply(caller, "yours")


async def philosopher(name: str, forks: tuple[Pid, Pid], meals: int, audience: Pid) -> None:
    """Think and eat, `meals` times."""
    rng = random.Random(name)
    for _ in range(meals):
        await sleep(rng.uniform(0, 2 * THINKING))
        for fork in forks:
            await call(fork, "take", timeout=None)
        send(audience, (name, "eats"))
        await sleep(rng.uniform(0, 2 * EATING))
        send(audience, (name, "thinks"))
        for fork in forks:
            cast(fork, ("put", self_pid()))


async def dine(meals: int) -> list[tuple[str, str]]:
    """Let all of them eat `meals` times. Returns who began to eat, and to think again, in order."""
    forks = [await Fork.start_link() for _ in PHILOSOPHERS]
    for seat, name in enumerate(PHILOSOPHERS):
        low, high = sorted((seat, (seat + 1) % len(forks)))
        spawn(philosopher, name, (forks[low], forks[high]), meals, self_pid())
    return [await receive() for _ in range(2 * meals * len(PHILOSOPHERS))]


async def main() -> None:
    """Let them eat ten times each."""
    meals = Counter(name for name, what in await dine(10) if what == "eats")
    for name, count in meals.items():
        print(f"{name:10} ate {count} times")
