"""A zygote lives a cell's life once, without walls and with a program of its own.

What the interpreter finds out about the code, and what is made when it is first used, is then in the memory that all cells share, instead
of being found out and made by each.
"""

from __future__ import annotations

import builtins
import io
import os
import sys

from beamlike import pack
from cells.inside import program
from cells.inside.life import Life
from cells.kinds import LONGEST
from nodes.seam import Kind, attach, create

TURNS = 10  # from the eighth on the interpreter knows a function
PROGRAM = """
from beamlike import receive, self_pid, send, sleep, spawn
async def main(value):
    await sleep(0)
    send(self_pid(), value)
    await receive()
    print(value)
"""


def up() -> None:
    """Live it TURNS times, and leave nothing of it."""
    kept = sys.stdin, sys.stdout, sys.stderr, sys.meta_path[:], builtins.open
    for _ in range(TURNS):
        _live()
    sys.stdin, sys.stdout, sys.stderr, sys.meta_path[:], builtins.open = kept
    io.open = builtins.open
    del sys.modules["warm"]


def _live() -> None:
    memfd, gateway = create(1 << 16, LONGEST)
    bell, their_bell = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
    life = Life(polls=False)
    life.door.join(attach(memfd, LONGEST), bell, their_bell, 1 << 16)
    start = pack(tuple(program.Start("warm", PROGRAM, "main", (1,), {}, b"")))
    for part in (1, start):
        gateway.write(Kind.SEND, life.main.pid.serial, 0, 0, pack(part))
    life.run()
    life.discard()
    gateway.close()
    life.door.close()
    for fd in (memfd, bell, their_bell):
        os.close(fd)
