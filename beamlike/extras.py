"""What few processes have: in the record's `extra`, made on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import caps
    from beamlike.exclusions import Under
    from beamlike.hot.ids import Pid
    from beamlike.hot.process import Process


class Extra:
    """See the module."""

    __slots__ = (
        "bequest",
        "callers",
        "closed",
        "initial_call",
        "is_main",
        "is_service",
        "is_supervisor",
        "label",
        "last_message",
        "own_layers",
        "tightened",
        "under",
    )

    def __init__(self) -> None:
        self.closed: frozenset[str] = frozenset()  # kinds of access that it has not, whatever its layers: of what stands for a cell
        self.callers: tuple[Pid, ...] = ()  # on whose behalf a task works, nearest first
        self.initial_call: str | None = None
        self.label: Any = None
        self.is_service = False  # one of the runtime's own, see `hot.guards.is_service`
        self.is_supervisor = False
        self.is_main = False  # `run` and `node` raise what it raised, so no report of it is made
        self.last_message: Any = None  # what a behaviour was handling, for its crash report
        self.under: tuple[Under, ...] = ()  # under what it acts besides its own layers, which are
        self.own_layers: caps.Layers = ()
        self.bequest: caps.Layers = ()  # what it spawns gets these, too
        self.tightened: dict[Pid, caps.Layers] | None = None  # of who starts children again: what they were given since they were started


def extra(process: Process) -> Extra:
    """The process's Extra, made if it has none."""
    if process.extra is None:
        process.extra = Extra()
    return process.extra  # type: ignore[no-any-return]
