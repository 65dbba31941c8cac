"""A cell, from its fork to its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from beamlike import pack, receive, unpack
from beamlike.seam import Process, extra, is_error, on_release, start
from cells.inside import files, program
from cells.inside.door import Door
from cells.inside.mail import Mail
from cells.inside.node import CellNode
from cells.kinds import LONGEST, OUT_OF_MEMORY, CellKind
from cells.lockdown import Lock, close_all_but
from nodes.seam import attach


MOST_TEXT = 10_000  # characters of a reason that is no value, or too long


def begin(fds: list[int], nothing: int, lock: Lock, limits: dict[str, Any], parent: int) -> NoReturn:
    """Be a cell: what the zygote's fork runs.

    Args:
        fds: of the ring, this cell's bell, the node's.
        nothing: what takes the place of stdin, stdout and stderr.
        parent: becomes readable when the zygote is gone.
    """
    rings, bell, their_bell = fds
    end = attach(rings, LONGEST)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    close_all_but([0, 1, 2, bell, their_bell, parent])
    program: Callable[[], None]
    if lock.executable:
        from cells.inside import wasm  # which no other zygote has

        program = partial(wasm.run, Mail(end, bell, their_bell, limits["message_bytes"], polls=limits["polls"]), limits)
        room = wasm.ROOM
    else:
        program = partial(run, Door(end, bell, their_bell, limits["message_bytes"], polls=limits["polls"]))
        room = 0
    lock.apply(limits["memory"] + room, limits["cpu"], parent)
    try:
        program()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    os._exit(0)


def run(door: Door) -> None:
    """All of a cell's life but its walls, if its program is Python."""
    node = CellNode(door)
    files.install(door)
    over: list[Any] = []

    def released(process: Process, reason: Any) -> None:
        if process is main:
            over.append(reason)

    main = start(_main, (door,), parent=None)
    extra(main).is_main = True  # whoever started the cell is told what it raised: no report of it in here
    door.known(main.pid)
    on_release.append(released)
    door.put(CellKind.READY, 0, b"", main.pid.serial)
    node.run_until(lambda: bool(over))
    (reason,) = over
    if is_error(reason):
        what, stack = reason
        reason = what, tuple(frame for frame in stack if frame[0].startswith(program.FILE))
    try:
        payload = pack(reason)
    except (TypeError, ValueError):
        payload = pack(repr(reason)[:MOST_TEXT])
    if len(payload) > LONGEST:
        payload = pack(repr(reason)[:MOST_TEXT])
    door.put(CellKind.ENDED, 0, payload, main.pid.serial)


async def _main(door: Door) -> None:
    count = await receive()  # the first messages of all are the gateway's: the parts of the start
    payload = b"".join([await receive() for _ in range(count)])
    await program.run(door, program.Start(*unpack(payload)))
