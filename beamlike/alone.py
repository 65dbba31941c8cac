"""The router of a node that has no others: each of them is unreachable, and says so by `noconnection`."""

from __future__ import annotations

from typing import Any

from beamlike import processes, signals
from beamlike.hot.calls import Wait
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.process import Process


class NoOtherNodes:
    """The router of a node that is alone: every other node is unreachable."""

    def send(self, destination: Pid, message: Any) -> None:
        """Dropped."""

    def send_limited(self, destination: Pid, message: Any) -> None:
        pass

    def send_named(self, name: str, node: str, message: Any) -> None:
        """Dropped."""

    def call(self, wait: Wait) -> None:
        """`noconnection` at once (G1)."""
        wait.fail("noconnection")

    def call_over(self, wait: Wait) -> None:
        """Nothing to undo."""

    def call_begun_here(self, wait: Wait) -> None:
        """There are none."""

    def answer_later(self, caller: Pid, ref: Ref) -> None:
        """Dropped."""

    def reply(self, caller: Pid, ref: Ref, value: Any) -> None:
        """Dropped."""

    def exit(self, sender: Pid, destination: Pid, reason: Any) -> None:
        """Dropped."""

    def exit_linked(self, sender: Pid, destination: Pid, reason: Any) -> None:
        """Dropped."""

    def link(self, sender: Pid, destination: Pid) -> None:
        """`noconnection` at once (E11)."""
        signals.exit_from_afar(destination, sender, "noconnection")

    def unlink(self, sender: Pid, destination: Pid) -> None:
        """Nothing to undo."""

    def monitor(self, sender: Pid, ref: Ref, target: Any) -> None:
        """`noconnection` at once (E13)."""
        signals.down_from_afar(sender, ref, "noconnection")

    def demonitor(self, sender: Pid, ref: Ref, target: Any) -> None:
        """Nothing to undo."""

    def down(self, watcher: Pid, ref: Ref, target: Any, reason: Any) -> None:
        """Dropped."""

    async def process_info(self, pid: Pid) -> Any:
        """Nobody can know."""
        return None

    async def tighten(self, sender: Process, pid: Pid, layers: Any) -> int:
        """Nobody there is alive."""
        raise ValueError(f"tighten: {pid} is not alive")

    async def tighten_others(self, root: Pid, layers: Any) -> int:
        """There are none."""
        return 0

    async def spawn(self, parent: Process, node: Any, fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Pid:
        """Here, where any node will do."""
        if node not in ("any", "least_loaded"):
            raise ValueError(f"spawn_at: there is no node {node!r}: {parent.pid.node} runs alone")
        return processes.start(fn, args, parent=parent, **options).pid
