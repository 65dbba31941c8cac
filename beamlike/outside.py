"""Programs outside of the interpreter, each an OS process that one of ours stands for: what is told of them, how one is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from beamlike import signals

if TYPE_CHECKING:
    from typing import Any

    from beamlike.hot.process import Process


class Program(Protocol):
    """One of them."""

    title: str
    core: int | None  # to which it is pinned
    started: float  # Unix time

    def os_pid(self) -> int:
        """0: it has ended."""

    def cpu_seconds(self) -> float:
        """That it has used."""

    def kill(self) -> None:
        """End it at once, as a failure would."""


outside: dict[Process, Program] = {}  # of the processes that stand for one


def _released(process: Process, reason: Any) -> None:
    outside.pop(process, None)


signals.on_release.append(_released)
