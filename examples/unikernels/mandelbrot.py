"""A picture of the Mandelbrot set, row by row by unikernels and Python processes; how long each kind took, and the speed-up.

python examples/unikernels/mandelbrot.py [--width 320] [--unikernels 2] [--png set.png]
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
import zlib
from pathlib import Path

from beamlike import Pid, call, exit, io, receive, run, self_pid, send, spawn
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


async def python_worker(boss: Pid, plan: Plan, rows: range) -> None:
    """Computes some rows itself."""
    for number in rows:
        send(boss, (number, row_of(number, plan)))


async def asker(boss: Pid, pool: Pid, plan: Plan, rows: range) -> None:
    """Has them computed."""
    width, height, step = plan
    for number in rows:
        send(boss, (number, await call(pool, (number, width, height, LEFT, TOP, step, DEPTH), timeout=60)))


async def drawn(plan: Plan) -> list[bytes]:
    """The rows, as they come."""
    rows = dict([await receive(match=(int, bytes)) for _ in range(plan[1])])
    return [rows[number] for number in range(plan[1])]


async def main(width: int, members: int, png: str | None) -> None:
    plan = width, width * 3 // 4, WIDTH / width
    image = build(Path(__file__).with_suffix(".c"), output=Path(__file__).with_suffix(".elf"))
    cores = sorted(os.sched_getaffinity(0))
    pool = await UnikernelPool.start(image, cores=[cores[-1 - number % len(cores)] for number in range(members)])
    begun = time.monotonic()
    for number in range(2 * members):
        spawn(asker, self_pid(), pool, plan, range(number, plan[1], 2 * members))
    rows = await drawn(plan)
    in_c = time.monotonic() - begun
    exit(pool, "shutdown")
    share = max(1, plan[1] // 20)  # Python gets a part of the rows, or one would wait for minutes
    begun = time.monotonic()
    spawn(python_worker, self_pid(), plan, range(0, plan[1], plan[1] // share))
    count = len(range(0, plan[1], plan[1] // share))
    for _ in range(count):
        number, row = await receive(match=(int, bytes))
        assert row == rows[number], f"row {number} differs"
    in_python = (time.monotonic() - begun) / count * plan[1]
    for row in rows[:: max(1, plan[1] // 30)]:
        print("".join(shade(steps) for steps in row[:: max(1, width // 78)]))
    print(f"{plan[0]} × {plan[1]} points: {in_c:.3f} s by {members} unikernels, {in_python:.2f} s by one Python process")
    print(f"{in_python / in_c:.0f} times as fast")
    if png is not None:
        async with io():
            write_png(png, plan, rows)
        print(f"drawn in {png}")


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
    run(main, options.width, options.unikernels, options.png)
