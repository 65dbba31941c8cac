"""How much each node has to do, as every other can read: figures in the node's page of shared memory (see `heartbeat`).

So telling costs a write of a few bytes in each PERIOD, however many nodes there are, and reading wakes nobody.
"""

from __future__ import annotations

import struct
import time
from typing import Final

from beamlike import process_flag, record, sleep
from beamlike.seam import process_count, run_queue_length
from nodes.here import joined

PERIOD = 0.25  # seconds
_FIGURES: Final = struct.Struct("<ddQ")
_AT: Final = 16  # offset in the page, see `heartbeat`


@record
class Load:
    """`queue`: processes that wait for their turn; `busy`: the part of a core that it used, 0.0 to 1.0 and more with threads; both of the
    last period. `processes`: how many there are."""

    queue: float
    busy: float
    processes: int


def load_of(node: str) -> Load:
    """The figures of a node. ValueError if it is not up."""
    life = joined()
    if life.membership.life_of(node) is None:
        raise ValueError(f"there is no node {node!r}: there are {', '.join(life.membership.names())}")
    return Load(*_FIGURES.unpack_from(life.page_of(node), _AT))


async def tell_load() -> None:
    """The process that writes this node's figures. It takes part in the queue as all others, so it sees how long that is."""
    process_flag("label", "load")
    life = joined()
    page = memoryview(life.page_of(life.node.id.name))[_AT : _AT + _FIGURES.size]
    shares, counts = page[:16].cast("d"), page[16:].cast("Q")  # each by one store: `struct` would write zeros first
    cpu, wall = time.process_time(), time.monotonic()
    counts[0] = process_count()
    while True:
        await sleep(PERIOD)
        now_cpu, now_wall = time.process_time(), time.monotonic()
        shares[0], shares[1], counts[0] = run_queue_length(), (now_cpu - cpu) / (now_wall - wall), process_count()
        cpu, wall = now_cpu, now_wall
