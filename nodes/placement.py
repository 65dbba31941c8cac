"""Where processes are, and where they are to be: the nodes there are, and starting a process on one of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from beamlike import Pid, Ref, self_pid, spawn_link, spawn_monitor
from beamlike.seam import caller, check_access, check_options, permit
from nodes.here import joined
from nodes.load import Load, load_of

ANY = "any"
LEAST_LOADED = "least_loaded"
_STEP = 0.25  # of a core: smaller differences in what nodes compute do not count, those in the number of their processes do

AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]

_last: str | None = None  # the node that was chosen last
_chosen: dict[str, tuple[Load, int]] = {}  # its figures then, and how often it was chosen since they changed


def list_nodes() -> list[str]:
    """The names of the nodes that are up, this one included, sorted."""
    return joined().membership.names()


def monitor_node(name: str) -> None:
    """Have the calling process told of every end of this node, `NodeDown(name, reason)`, and every return, `NodeUp(name)`.

    If it is not there now, a `NodeDown` comes at once; if it was lost just now, when its reason is known.

    Raises: TypeError if it is no name.
    """
    _check(name)
    joined().membership.monitor(self_pid(), name)


def demonitor_node(name: str) -> None:
    """No longer. What has come stays in the mailbox."""
    _check(name)
    joined().membership.demonitor(self_pid(), name)


def kill_node(name: str) -> None:
    """End a node at once, as a failure would: SIGKILL. It is started again.

    Raises: ValueError if there is none of that name; CapabilityError if an exclusion refuses the caller to touch it."""
    _check(name)
    check_access("node", name)
    life = joined()
    if name == life.node.id.name:
        life.channel.send("kill", name, life.node.id.incarnation, ("signal", "SIGKILL"))
        return
    member = life.membership.members.get(name)
    if member is None:
        raise ValueError(f"there is no node {name!r}: there are {', '.join(list_nodes())}")
    life.channel.send("kill", name, member.id.incarnation, ("signal", "SIGKILL"))


def _check(name: Any) -> None:
    if type(name) is not str:
        raise TypeError(f"the name of a node is a str, not {name!r}")


async def spawn_link_at(node: str, fn: AsyncFunction, *args: Any, **options: Any) -> Pid:
    """`spawn_at` and `link` in one step: the child cannot die unseen (E18). Raises: as `spawn_at`."""
    me = caller("spawn_link_at")
    check_options("spawn_link_at", options)
    name = place(node)
    permit(me, "node", name)
    if name == me.pid.node:
        return spawn_link(fn, *args, **options)
    pid, _ = await joined().router.spawn_there(me, name, fn, args, options, link=True, monitor=False)
    return pid


async def spawn_monitor_at(node: str, fn: AsyncFunction, *args: Any, **options: Any) -> tuple[Pid, Ref]:
    """`spawn_at` and `monitor` in one step (E18). Raises: as `spawn_at`."""
    me = caller("spawn_monitor_at")
    check_options("spawn_monitor_at", options)
    name = place(node)
    permit(me, "node", name)
    if name == me.pid.node:
        return spawn_monitor(fn, *args, **options)
    return await joined().router.spawn_there(me, name, fn, args, options, link=False, monitor=True)


def place(node: str) -> str:
    """The node that is meant: for `"any"` each in turn, for `"least_loaded"` who has least to do; else the one of that name."""
    _check(node)
    if node == ANY:
        return next_of(list_nodes())
    if node == LEAST_LOADED:
        return least_loaded(list_nodes())
    return node


def next_of(names: Sequence[str]) -> str:
    """Each of these nodes in turn, the one after this very node first. `names` are sorted and not empty."""
    global _last
    after = joined().node.id.name if _last is None else _last
    _last = next((name for name in names if name > after), names[0])
    return _last


def least_loaded(names: Sequence[str]) -> str:
    """Who of these has least to do: computes least, in quarters of a core, or else has the fewest processes; the first of those that are
    equal.

    The figures are up to 0.25 s old (`load.PERIOD`), so what was placed from here since then counts as well; what others placed does not.
    """
    rated = []
    for name in names:
        figures = load_of(name)
        before, placed = _chosen.get(name, (figures, 0))
        if before != figures:
            placed = 0
        rated.append(((round(max(figures.queue, figures.busy) / _STEP), figures.processes + placed), name, figures, placed))
    _, name, figures, placed = min(rated, key=lambda each: each[0])
    _chosen[name] = figures, placed + 1
    return name
