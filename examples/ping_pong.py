"""Ping-pong: two processes throw one message to and fro, and count how fast they are.

It shows `spawn`, `send` and `receive`: a process is an async function, what it is told comes out of its mailbox, and a pid is where
to answer.

    beamlike run examples/ping_pong.py [ROUNDS]
"""

import sys
from time import perf_counter

from beamlike import Pid, receive, self_pid, send, spawn


async def pong() -> None:
    """Answer every ping; end when told to."""
    while True:
        match await receive():
            case ("ping", Pid() as sender, int() as count):
                send(sender, ("pong", count))
            case "stop":
                return


async def ping(partner: Pid, rounds: int) -> int:
    """Throw `rounds` times. Returns how many came back."""
    returned = 0
    for count in range(rounds):
        send(partner, ("ping", self_pid(), count))
        if await receive() == ("pong", count):
            returned += 1
    return returned


async def main() -> None:
    """Play, and print the rate."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    partner = spawn(pong)
    start = perf_counter()
    returned = await ping(partner, rounds)
    seconds = perf_counter() - start
    send(partner, "stop")
    print(f"{returned:,} rounds in {seconds:.2f} s: {2 * returned / seconds:,.0f} messages a second")
