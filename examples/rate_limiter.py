"""A rate limiter: a bucket that gets a token every so often, and clients that take one before they act.

It shows a server with timers: `send_interval` fills the bucket, `send_after` ends a client's patience, and a call is answered
later (NOREPLY).

    beamlike run examples/rate_limiter.py
"""

from collections import deque
from typing import Any

from trio import current_time  # the node's clock, too

from beamlike import (
    NOREPLY,
    Caller,
    GenServer,
    Pid,
    Ref,
    call,
    cancel_timer,
    receive,
    reply,
    self_pid,
    send,
    send_after,
    send_interval,
    spawn,
)

Served = tuple[str, float, bool]  # a client, when (seconds), whether it got a token


class TokenBucket(GenServer):
    """At most `burst` tokens at once, and `rate` new ones a second.

    `await call(bucket, ("take", patience))` answers True when there is a token for the caller, first come, first served; False after
    `patience` seconds.
    """

    async def init(self, rate: float, burst: int) -> None:
        self.tokens = burst
        self.burst = burst
        self.waiting: deque[tuple[Caller, Ref]] = deque()
        send_interval(1 / rate, self_pid(), "token")

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ("take", _) if self.tokens:
                self.tokens -= 1
                return True
            case ("take", float() as patience):
                self.waiting.append((caller, send_after(patience, self_pid(), ("give up", caller.ref))))
                return NOREPLY
        raise ValueError(f"TokenBucket takes ('take', seconds), not {request!r}")

    async def handle_info(self, message: Any) -> None:
        match message:
            case "token" if self.waiting:
                caller, timer = self.waiting.popleft()
                cancel_timer(timer)
                reply(caller, True)
            case "token":
                self.tokens = min(self.tokens + 1, self.burst)
            case ("give up", ref):
                for waiting in self.waiting:
                    if waiting[0].ref == ref:
                        self.waiting.remove(waiting)
                        reply(waiting[0], False)
                        break


async def client(name: str, bucket: Pid, patience: float, times: int, audience: Pid) -> None:
    """Take a token `times` times, and tell the audience how it went each time."""
    for _ in range(times):
        served = await call(bucket, ("take", patience), timeout=None)
        send(audience, (name, served))


async def serve(clients: dict[str, float], times: int, rate: float = 4.0, burst: int = 2) -> list[Served]:
    """Let clients, each with its patience in seconds, ask `times` times. Returns what became of it, in order."""
    bucket = await TokenBucket.start_link(rate, burst)
    start = current_time()
    for name, patience in clients.items():
        spawn(client, name, bucket, patience, times, self_pid())
    served: list[Served] = []
    while len(served) < times * len(clients):
        name, is_served = await receive()
        served.append((name, round(current_time() - start, 3), is_served))
    return served


async def main() -> None:
    """Two patient clients and a hasty one; two tokens to begin with, then four a second."""
    for name, seconds, is_served in await serve({"ada": 5.0, "bob": 5.0, "eve": 0.1}, times=4):
        print(f"{seconds:5.2f} s  {name}  {'has a token' if is_served else 'gives up'}")
