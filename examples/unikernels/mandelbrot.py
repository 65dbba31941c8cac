"""A picture of the Mandelbrot set: its rows are computed by Python processes on all nodes, by unikernels, and by both; and how much faster.

python examples/unikernels/mandelbrot.py [--width 320] [--unikernels 2] [--png set.png]
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beamlike import GenServer, Pid, call, exit, io, receive, self_pid, send, spawn, spawn_at
from nodes import list_nodes, run
from unikernels import UnikernelPool, build

LEFT, TOP, WIDTH = -2.2, -1.2, 3.2  # of the part that is drawn
DEPTH = 200
SHADES = " .:-=+*#%@"
Plan = tuple[int, int, float]  # width and height in points, the size of one


def row_of(number: int, plan: Plan) -> bytes:
    """The same as mandelbrot.c does, in Python."""
    width, _, step = plan
    row = bytearray(width)
    cy = TOP + number * step
    for i in range(width):
        cx, x, y = LEFT + i * step, 0.0, 0.0
        for steps in range(1, DEPTH + 1):
            x2, y2 = x * x, y * y
            if x2 + y2 > 4:
                row[i] = steps
                break
            y = 2 * x * y + cy
            x = x2 - y2 + cx
    return bytes(row)


class Rows(GenServer):
    """Gives out the numbers of rows to whoever has time, and sends the picture to `whom` when all are in."""

    async def init(self, numbers: Sequence[int], whom: Pid) -> None:
        self.left = list(reversed(numbers))
        self.count = len(numbers)
        self.rows: dict[int, bytes] = {}
        self.whom = whom

    async def handle_call(self, request: Any, caller: Any) -> int | None:
        """The next number; None: there is no more."""
        return self.left.pop() if self.left else None

    async def handle_info(self, message: tuple[int, bytes]) -> None:
        """A row."""
        number, row = message
        self.rows[number] = row
        if len(self.rows) == self.count:
            send(self.whom, self.rows)


async def python_worker(rows: Pid, plan: Plan) -> None:
    """Computes rows itself."""
    while (number := await call(rows, "next")) is not None:
        send(rows, (number, row_of(number, plan)))


async def asker(rows: Pid, plan: Plan, pool: Pid) -> None:
    """Has them computed."""
    width, height, step = plan
    while (number := await call(rows, "next")) is not None:
        send(rows, (number, await call(pool, (number, width, height, LEFT, TOP, step, DEPTH), timeout=60)))


async def seconds_for(numbers: Sequence[int], plan: Plan, nodes: Sequence[str], pool: Pid | None, members: int) -> tuple[float, Any]:
    """One Python process on each of the nodes, and two askers for each member of the pool: what that took, and the rows."""
    begun = time.monotonic()
    rows = await Rows.start_link(numbers, self_pid())
    for node in nodes:
        await spawn_at(node, python_worker, rows, plan)
    if pool is not None:
        for _ in range(2 * members):
            spawn(asker, rows, plan, pool)
    picture = await receive(match=dict)
    return time.monotonic() - begun, picture


async def main(width: int, members: int, image: str, png: str | None) -> None:
    plan = width, width * 3 // 4, WIDTH / width
    height, nodes = plan[1], list_nodes()
    sample = range(0, height, max(1, height // 24))  # Python alone computes a part, or one would wait for minutes
    scale = height / len(sample)
    print(f"{width} × {height} points, {len(nodes)} nodes, {members} unikernels; Python alone computes {len(sample)} of {height} rows")
    one, drawn = await seconds_for(sample, plan, nodes[:1], None, 0)
    told("one Python process", one * scale, one * scale)
    many, _ = await seconds_for(sample, plan, nodes, None, 0)
    told(f"{len(nodes)} Python processes, one on each node", many * scale, one * scale)
    cores = sorted(os.sched_getaffinity(os.getppid()))
    pool = await UnikernelPool.start(image, cores=[cores[-1 - number % len(cores)] for number in range(members)])
    in_c, rows = await seconds_for(range(height), plan, (), pool, members)
    told(f"{members} unikernels", in_c, one * scale)
    helpers = nodes[1:]  # a process that computes on this node would let the others here wait for its slices of time
    both, again = await seconds_for(range(height), plan, helpers, pool, members)
    told(f"{members} unikernels and {len(helpers)} Python processes", both, one * scale)
    exit(pool, "shutdown")
    assert rows == again == {**rows, **drawn}, "the pictures differ"
    for number in range(0, height, max(1, height // 30)):
        print("".join(shade(steps) for steps in rows[number][:: max(1, width // 78)]))
    if png is not None:
        async with io():
            write_png(png, plan, [rows[number] for number in range(height)])
        print(f"drawn in {png}")


def told(what: str, seconds: float, one: float) -> None:
    print(f"{what:<40} {seconds:8.3f} s {one / seconds:8.1f} times as fast")


def shade(steps: int) -> str:
    """A character of the picture in the terminal."""
    return SHADES[min(steps * len(SHADES) // 40, len(SHADES) - 1)] if steps else " "


def write_png(path: str, plan: Plan, rows: list[bytes]) -> None:
    """A grey PNG: see https://www.w3.org/TR/png-3/."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", plan[0], plan[1], 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(min(255, value * 5) for value in row) for row in rows))
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=320, help="points; three quarters of that high")
    parser.add_argument("--unikernels", type=int, default=2)
    parser.add_argument("--png", help="a file to write")
    options = parser.parse_args()
    if not 16 <= options.width <= 60_000 or options.unikernels < 1:
        sys.exit("width is from 16 to 60000 points, and there is at least one unikernel")
    built = build(Path(__file__).with_suffix(".c"))
    run(main, options.width, options.unikernels, str(built.path), options.png)
