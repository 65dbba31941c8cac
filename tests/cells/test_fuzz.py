"""Cells that scribble over the memory of their ring, and write random records, for a minute: the node lives on, and each of them ends."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import Any

from hosting import Host, cell
from test_gateway import DOOR, MAILBOX

from beamlike import Down, exit, monitor, receive, self_pid, send, spawn

SECONDS = float(os.environ.get("BEAMLIKE_FUZZ_SECONDS", "60"))
LONGEST = 2.0  # seconds of CPU time of each cell

SCRIBBLE = (
    DOOR
    + """
import random
from _cffi_backend import buffer

async def main(parent, seed):
    draw = random.Random(seed)
    size = 3 * 4096 + 2 * 65536
    view = buffer(door.end._memory, size)
    send(parent, "begun")
    lines = [0, 8, 16, 4096, 4104, 4096 + 65536, 4096 + 65536 + 4096]
    while True:
        for _ in range(draw.randrange(1, 20)):
            send(parent, draw.randrange(10))
        at = draw.choice(lines) + draw.randrange(64) if draw.random() < 0.5 else draw.randrange(size - 8)
        view[at : at + 8] = draw.choice([draw.randbytes(8), b"\\xff" * 8, bytes(8), draw.randrange(200_000).to_bytes(8, "little")])
        door.ring()
"""
)

RECORDS = (
    DOOR
    + """
import random
KINDS = [*range(0, 20), *range(62, 72), 255]
async def main(parent, seed):
    draw = random.Random(seed)
    send(parent, "begun")
    words = [pack(v) for v in (None, 1, (1, 2), [1], {1: 2}, pid("outside", 1, 1), pid("outside", 1, 2), pid("cell", 1, 1), "x" * 100)]
    while True:
        payload = draw.choice(words) if draw.random() < 0.7 else draw.randbytes(draw.randrange(200))
        put(draw.choice(KINDS), draw.choice([0, 1, 2, 3, draw.getrandbits(64)]), draw.choice([0, 1, 2, draw.getrandbits(64)]),
            draw.choice([0, 1, 2, draw.getrandbits(64)]), payload)
"""
)


def test_scribbling_cells_end_and_harm_nobody(host: Host) -> None:
    async def check() -> Counter[Any]:
        witness = spawn(_witness)
        ends: Counter[Any] = Counter()
        over = time.monotonic() + SECONDS
        draw = random.Random(0)
        while time.monotonic() < over:
            seed = draw.getrandbits(32)
            sink = spawn(_sink, self_pid())
            program = draw.choice([SCRIBBLE, RECORDS])
            pid = await cell(program.replace("main(parent, seed)", "main(_, parent, seed)"), sink, seed)
            ref = monitor(pid)
            deadline = time.monotonic() + LONGEST
            while True:
                try:
                    down = await receive(Down, timeout=0.02)
                    break
                except TimeoutError:
                    if time.monotonic() > deadline:
                        exit(pid, "kill")
                send(witness, (self_pid(), seed))
                await receive(("well", seed), timeout=5)
            assert down.ref == ref
            ends[down.reason if down.reason == MAILBOX else type(down.reason).__name__] += 1
        return ends

    ends = host.run(check, timeout=SECONDS + 60)
    print(ends)
    assert ends[MAILBOX] > 0


async def _witness() -> None:
    while True:
        pid, seed = await receive()
        send(pid, ("well", seed))


async def _sink(owner: Any) -> None:
    while True:
        await receive()
