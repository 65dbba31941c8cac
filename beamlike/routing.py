"""The seam to other nodes: what every primitive asks for a pid that is not here.

A pid knows the life of its node (`Pid.origin`). A primitive that is given one of another node, or of an earlier life of this one, calls the
router; `nodes` installs its own, a node that is alone has `alone.NoOtherNodes`. All calls return at once and never raise for a node
that is gone (D3): what went wrong comes back as a signal (`noconnection`), through `signals`.
"""

from __future__ import annotations

from typing import Any, Protocol

from beamlike.hot.calls import Wait
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.process import Process


class Peer(Protocol):
    """What `NodeId.peer` leads to, of the life of another node that is reached: the short way for what is frequent."""

    def send(self, serial: int, message: Any) -> None:
        """As `Router.send`."""

    def call(self, wait: Wait) -> None:
        """As `Router.call`, to a pid."""

    def call_over(self, wait: Wait) -> None:
        """As `Router.call_over`."""

    def reply(self, caller: Pid, ref: Ref, value: Any) -> None:
        """As `Router.reply`."""


class Router(Protocol):
    """What another package must offer to join nodes. `sender` is always the local process on whose behalf it happens."""

    def send(self, destination: Pid, message: Any) -> None:
        """A message; a value already."""

    def send_limited(self, destination: Pid, message: Any) -> None:
        """The same, of a process that has exclusions: a service of the runtime's does not take it."""

    def send_named(self, name: str, node: str, message: Any) -> None:
        """A message to whoever has the name there."""

    def call(self, wait: Wait) -> None:
        """A call begins: watch `wait.server`, a pid or `(name, node)`, and send it the request."""

    def call_over(self, wait: Wait) -> None:
        """It is answered, or nobody waits for it any more: watch no longer."""

    def call_begun_here(self, wait: Wait) -> None:
        """A call to a server of this node begins that may be the last of a cycle of calls over several nodes (G7)."""

    def answer_later(self, caller: Pid, ref: Ref) -> None:
        """Who handles this call answers it later, or somebody else does: it is no part of a cycle."""

    def reply(self, caller: Pid, ref: Ref, value: Any) -> None:
        """The answer to a call that `caller` waits for under `ref`."""

    def exit(self, sender: Pid, destination: Pid, reason: Any) -> None:
        """An exit signal without link flag."""

    def exit_linked(self, sender: Pid, destination: Pid, reason: Any) -> None:
        """`sender` has ended; `destination` is linked to it."""

    def link(self, sender: Pid, destination: Pid) -> None:
        """Half a link is set here; set the other."""

    def unlink(self, sender: Pid, destination: Pid) -> None:
        """The half here is gone; take the other away."""

    def monitor(self, sender: Pid, ref: Ref, target: Any) -> None:
        """Watch a pid or a `(name, node)`."""

    def demonitor(self, sender: Pid, ref: Ref, target: Any) -> None:
        """Watch no longer."""

    def down(self, watcher: Pid, ref: Ref, target: Any, reason: Any) -> None:
        """What the remote `watcher` watched has ended here."""

    async def process_info(self, pid: Pid) -> Any:
        """As `process_info`, from there."""

    async def spawn(self, parent: Process, node: Any, fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Pid:
        """`spawn_at`, not of this node by name: the spawn message carries `parent.layers` (C4)."""

    async def tighten(self, sender: Process, pid: Pid, layers: Any) -> int:
        """`tighten` of a process of another node, and all that descend from it. Raises as that."""

    async def tighten_others(self, root: Pid, layers: Any) -> int:
        """Have the other nodes tighten those of theirs that descend from `root`, a process of this one. How many?"""


router: Router  # installed when the node opens


def install(new: Router) -> None:
    """Say who reaches the other nodes."""
    global router
    router = new


def current() -> Router:
    """Who reaches them now."""
    return router
