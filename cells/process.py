"""The process of a cell: what `spawn_cell` starts."""

from __future__ import annotations

from typing import Any, Final

from beamlike import Pid, record, send
from beamlike.seam import Failed, Started, current_process
from cells import spares
from cells.errors import CellUnavailable
from cells.gateway import Gateway
from cells.inside.program import Start
from cells.limits import Limits
from cells.maker import Ended
from cells.zygotes import zygote

PART: Final = 32 * 1024  # bytes of the start that are sent at a time


@record
class CellOutput:
    """What the program of a cell has written to `stream`, `stdout` or `stderr`: the message to who was given as `output`."""

    cell: Pid
    stream: str
    data: bytes


@record
class CellEnded:
    """The last message to who was given as `output`: the OS process of a cell has ended. `cpu` in seconds, `memory` the most bytes that
    were resident, the interpreter's own included."""

    cell: Pid
    reason: Any
    cpu: float
    memory: int


class _Told:
    """A `Listener` that tells a process."""

    def __init__(self, cell: Pid, output: Pid) -> None:
        self.cell = cell
        self.output = output

    def wrote(self, stream: str, data: bytes) -> None:
        send(self.output, CellOutput(self.cell, stream, data))

    def ended(self, reason: Any, ended: Ended) -> None:
        send(self.output, CellEnded(self.cell, reason, ended.cpu, ended.memory))


async def be_cell(
    started: Started, kind: str, strict: bool, begin: Start, limits: Limits, opened: frozenset[str], output: Pid | None
) -> None:
    """The body."""
    me = current_process()
    try:
        source = zygote(kind, strict=strict)
        connection = spares.take(source, limits)
    except OSError as lack:  # of descriptors or memory
        raise Failed(CellUnavailable(f"no further cell on this node: {lack}"), "unavailable") from lack
    gateway = Gateway(me, "cell", connection, limits, opened, None if output is None else _Told(me.pid, output))
    ended = await gateway.settled()
    if ended is not None:
        error = CellUnavailable(source.error or f"the cell could not be locked: it ended with {ended[0]!r}")
        raise Failed(error, "unavailable")  # whoever starts it is told
    started.ok()
    payload = gateway.to_cell(tuple(begin))
    parts = [payload[at : at + PART] for at in range(0, len(payload), PART)]
    for part in (len(parts), *parts):
        gateway.send_first(part)
    await gateway.relay(gateway.own[me.pid])
