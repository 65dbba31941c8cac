"""DistributedSupervisor: children that are spread over the nodes, are placed elsewhere when theirs is lost, and outlive any node."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from beamlike import Backoff, CallError, ChildError, ChildInfo, ChildStartError, Pid, pack
from beamlike.seam import Options, ask_service, caller, check_access, check_name, layers_of, spec_of
from nodes.here import joined
from nodes.placement import list_nodes
from nodes.placing import EVERYWHERE, PLACEMENTS, SERVICE, Entry, Group, table


class DistributedSupervisor:
    """The face: what to ask of one, by its name, from every node.

    Its children are independent (one_for_one) and have different ids. One that crashes is restarted on its node by the rules of a
    Supervisor, by the same specs (S4, S5, S10). One that was restarted too often stays down, `held`, until `clear_hold`: who outlives
    every node has no parent that could be told (unlike Erlang). One that has ended and is not restarted, was terminated, or declined is
    forgotten.

    When a node is lost its children are started on the others at once, or on that node again if `ChildSpec.node` names it. When it is back
    nothing moves back; new children go there first.

    What holds around deaths: at most one of a child runs, for a node that is lost runs nothing, and one process decides. It is
    started at least once as long as one node lives on; a start that failed while a node died is tried again as a restart is. What a child
    did, sent or kept on the lost node is as far as it had come: its state is its own matter (a process pair's, a table's). The one
    exception to at most one: if the connection between two nodes that live is lost, or the process that places children is killed, a child
    may be stopped on one while it starts on another; and so may one of the same id that is started just when the node that decides has died
    while the first was being stopped. If all nodes are lost in the same moment nothing is left.
    """

    @staticmethod
    async def start(
        name: str,
        children: Iterable[Any] = (),
        *,
        placement: str = "spread",
        intensity: int = 1,
        period: float = 5.0,
        backoff: Backoff | None = None,
    ) -> None:
        """Start one, and its children one after the other. It has no parent, and runs until `stop`, or until the system ends.

        Args:
            name: how it is known, on every node. It is no process's name.
            children: as those of a Supervisor; `node` in a spec keeps the child on that one.
            placement: where other children go: where the fewest of its own are (`spread`), to each node in turn (`any`), or where least
                is to do (`least_loaded`).
            intensity, period, backoff: as for `Supervisor.start_link`, counted on each node by itself.

        Raises: ChildError `already_started` if there is one of that name; ChildStartError if a child did not start: those before it are
            stopped; TypeError, ValueError for a wrong argument.
        """
        if placement not in PLACEMENTS:
            raise ValueError(f"placement is {placement!r}, expected {', '.join(map(repr, PLACEMENTS))}")
        await start_group(name, children, placement, intensity=intensity, period=period, backoff=backoff)

    @staticmethod
    async def stop(name: str) -> None:
        """Stop all its children, and forget it. Raises: ChildError `noproc` if there is none of that name."""
        check_access("register", check_name(name))
        if not await ask_service(_placing(), ("stop", name), None):
            raise _unknown(name)

    @staticmethod
    async def start_child(name: str, child: Any) -> Pid:
        """Add a child and start it. Returns its pid, or IGNORE if it declined. It has the caller's exclusions as well as its spec's (C8).

        If its node is lost meanwhile it is started on another; if the caller's is, it may have been started.

        Raises: ChildError if there is one of this id (`("already_started", pid)`), no such supervisor (`noproc`), or the node that its
            spec names is not up (`noconnection`). ChildStartError: it did not start, and is not kept. TypeError, ValueError: it is no
            child.
        """
        check_access("send", check_name(name))
        return await add(name, child)

    @staticmethod
    async def terminate_child(name: str, id: Any) -> None:
        """Stop a child, and forget it. Unlike a Supervisor's, which keeps the spec. Raises: ChildError `not_found`."""
        check_access("send", check_name(name))
        if not await ask_service(_placing(), ("terminate", name, id), None):
            raise ChildError(f"the distributed supervisor {name!r} has no child {id!r}", "not_found")

    @staticmethod
    def whereis_child(name: str, id: Any) -> Pid | None:
        """The pid of a child, by what this node knows; None if it does not run. No other node is asked."""
        entry = table.get((check_name(name), id))
        return entry.pid if type(entry) is Entry and entry.pid is not None and joined().router.is_reachable(entry.pid.origin) else None

    @staticmethod
    async def which_children(name: str) -> list[ChildInfo]:
        """All children that are on nodes that are up, by node; `id` is the child's id. ChildError `noproc` if there is no such
        supervisor."""
        check_access("send", check_name(name))
        if type(table.get(name)) is not Group:
            raise _unknown(name)
        found: list[ChildInfo] = []
        for children in await _children(name):
            with suppress(CallError):  # its node was lost: they are being placed elsewhere
                found += (await ask_service(children, ("which_children",), None))[1]
        return found

    @staticmethod
    async def clear_hold(name: str) -> None:
        """Restart what is held, on all nodes (S10)."""
        check_access("send", check_name(name))
        if type(table.get(name)) is not Group:
            raise _unknown(name)
        for children in await _children(name):
            with suppress(CallError):
                await ask_service(children, ("clear_hold",), None)


async def start_group(name: str, children: Iterable[Any], placement: str, **options: Any) -> None:
    """Start what all nodes know as `name`: a distributed supervisor or a partitioned service. Raises: as `DistributedSupervisor.start`."""
    check_access("register", check_name(name))
    specs = [spec_of(child) for child in children]
    if not await ask_service(_placing(), ("start", name, Group(Options(**options, hold=True), placement)), None):
        raise ChildError(f"there is a distributed supervisor or a partitioned service {name!r} already", "already_started")
    try:
        for spec in specs:
            await add(name, spec)
    except BaseException:
        await ask_service(SERVICE, ("stop", name), None)
        raise


async def add(name: str, child: Any) -> Pid:
    """See `DistributedSupervisor.start_child`."""
    spec = spec_of(child)
    terms = tuple(layer.terms for layer in layers_of(caller("start_child")))
    match await ask_service(_placing(), ("add", check_name(name), spec.id, pack(spec), terms, spec.node), None):
        case ("ok", pid):
            return pid  # type: ignore[no-any-return]
        case ("start_error", id_, reason):
            raise ChildStartError(id_, reason)
        case ("error", text, reason):
            raise ChildError(text, reason)
        case other:
            raise AssertionError(other)


async def _children(name: str) -> list[Pid]:
    """Those who supervise them on each node."""
    found = []
    for node in list_nodes():
        try:
            pid = await ask_service((SERVICE, node), ("children", name), None)
        except CallError:
            continue
        if pid is not None:
            found.append(pid)
    return found


def _placing() -> str:
    joined()  # or it says that this node is alone
    return SERVICE


def _unknown(name: str) -> ChildError:
    known = ", ".join(sorted(key for key, value in table.items() if type(value) is Group and value.placement != EVERYWHERE)) or "none"
    return ChildError(f"there is no distributed supervisor {name!r}; there are: {known}", "noproc")
