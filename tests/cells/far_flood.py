"""A cell that floods a process on another node, which is stopped: run by test_gateway.py, and imported in nodes."""

from __future__ import annotations

import time

from beamlike import Pid, exit, receive, self_pid, sleep, spawn_at
from cells import Limits, spawn_cell
from nodes import chaos, list_nodes

FLOOD = """
from beamlike import send
async def main(far):
    while True: send(far, b"x" * 60000)
"""


async def _sink() -> None:
    while True:
        await receive()


async def main() -> tuple[int, int]:
    """How many bytes waited for the other node at most, and when that went on."""
    other = next(name for name in list_nodes() if name != self_pid().node)
    far: Pid = await spawn_at(other, _sink)
    peer = far.origin.peer
    chaos.stop(other)
    cell = await spawn_cell(FLOOD, "main", far, limits=Limits(messages_per_s=1_000_000_000))
    most = least = 0
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        await sleep(0.01)
        most = max(most, peer.backlog_bytes)
    chaos.go_on(other)
    least = most
    end = time.monotonic() + 5
    while least > most // 2 and time.monotonic() < end:
        await sleep(0.001)
        least = min(least, peer.backlog_bytes)
    exit(cell, "kill")
    return most, least
