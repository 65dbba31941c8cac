"""A cell, from its fork to its end.

Of a life whose program is Python the zygote makes all that is the same for each, before it forks: then it is in memory that they share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from beamlike import pack, receive, unpack
from beamlike.seam import Process, close_core, extra, is_error, on_release, start
from cells.inside import files, program
from cells.inside.door import Door
from cells.inside.mail import Mail
from cells.inside.node import CellNode
from cells.kinds import LONGEST, OUT_OF_MEMORY, CellKind
from cells.lockdown import Lock, close_all_but
from nodes.seam import attach

MOST_TEXT = 10_000  # characters of a reason that is no value, or too long


def begin(fds: list[int], nothing: int, lock: Lock, limits: dict[str, Any], parent: int, life: Life | None) -> NoReturn:
    """Be a cell: what the zygote's fork runs.

    Args:
        fds: of the ring, this cell's bell, the node's.
        nothing: what takes the place of stdin, stdout and stderr.
        parent: becomes readable when the zygote is gone.
        life: if its program is Python.
    """
    rings, bell, their_bell = fds
    run: Callable[[], None]
    end = attach(rings, LONGEST)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    close_all_but([0, 1, 2, bell, their_bell, parent])
    if life is None:
        from cells.inside import wasm  # which no other zygote has

        run = partial(wasm.run, Mail(end, bell, their_bell, limits["message_bytes"], polls=limits["polls"]), limits)
        room = wasm.ROOM
    else:
        life.door.join(end, bell, their_bell, limits["message_bytes"])
        run, room = life.run, 0
    lock.apply(limits["memory"] + room, limits["cpu"], parent)
    try:
        run()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    os._exit(0)


class Life:
    """All of a cell's life but its walls, if its program is Python. The core of this OS process is open, and the first process waits.

    Args:
        polls: whether the cell looks at its ring for a while before it sleeps.
    """

    def __init__(self, *, polls: bool) -> None:
        self.door = Door(polls=polls)
        self.node = CellNode(self.door)
        self.main = start(_main, (self.door,), parent=None)
        extra(self.main).is_main = True  # whoever started the cell is told what it raised: no report of it in here
        self.door.known(self.main.pid)
        self.over: list[Any] = []  # the reason
        on_release.append(self._released)

    def discard(self) -> None:
        """The core is not open any more."""
        on_release.remove(self._released)
        close_core()

    def run(self) -> None:
        """To its end. The door has been joined."""
        files.install(self.door)
        self.door.put(CellKind.READY, 0, b"", self.main.pid.serial)
        self.node.run_until(lambda: bool(self.over))
        (reason,) = self.over
        if is_error(reason):
            what, stack = reason
            reason = what, tuple(frame for frame in stack if frame[0].startswith(program.FILE))
        try:
            payload = pack(reason)
        except (TypeError, ValueError):
            payload = pack(repr(reason)[:MOST_TEXT])
        if len(payload) > LONGEST:
            payload = pack(repr(reason)[:MOST_TEXT])
        self.door.put(CellKind.ENDED, 0, payload, self.main.pid.serial)

    def _released(self, process: Process, reason: Any) -> None:
        if process is self.main:
            self.over.append(reason)


async def _main(door: Door) -> None:
    program.get_ready(door)
    count = await receive()  # the first messages of all are the gateway's: the parts of the start
    payload = b"".join([await receive() for _ in range(count)])
    await program.run(program.Start(*unpack(payload)))
