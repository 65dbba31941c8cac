"""Process groups, after OTP's `pg`: named sets of processes of all nodes (D5).

Theory of operation. Each node has the truth about its own processes: it tells the others who joins and leaves, and who comes up
everything. So no node asks another, all agree as soon as nothing changes any more, and who is dead or was on a lost node leaves by itself.
"""

from __future__ import annotations

from typing import Any

from beamlike import Caller, Continue, Down, Pid, Ref, demonitor, make_ref, monitor, record, self_pid, send
from beamlike.seam import ask_service, check_access, current_node
from nodes.fellows import Fellow
from nodes.here import joined

SERVICE = "beamlike.groups"

_members: dict[Any, list[Pid]] = {}  # of every group, as this node knows it, in the order in which it learned of them
_monitors: dict[Ref, tuple[Any, Pid, Ref]] = {}  # group, who is told, the service's watch of that


@record
class GroupJoined:
    """To who monitors a group: these have joined; one that joined twice is there twice."""

    ref: Ref
    group: Any
    pids: tuple[Pid, ...]


@record
class GroupLeft:
    """To who monitors a group: these have left, ended, or are lost."""

    ref: Ref
    group: Any
    pids: tuple[Pid, ...]


async def join(group: Any, pid: Pid | None = None) -> None:
    """Add a process of this node, the caller, to a group, which exists as long as it has members. It may join several times.

    When this returns, it is a member on this node; on the others it soon is. A process that is not alive does not join, and that is no
    error.

    Args:
        group: any hashable value that can be sent.

    Raises: TypeError for no Pid, or a group that cannot be one; ValueError for a pid of another node: each node joins its own;
        RuntimeError if this node is alone; CapabilityError if an exclusion refuses the caller the group as a name to register.
    """
    check_access("register", _named(_group(group)))
    await ask_service(SERVICE, ("join", group, _local(pid, "join")), None)


async def leave(group: Any, pid: Pid | None = None) -> bool:
    """Take a process of this node, the caller, out of a group, once. False if it was no member. Raises: as `join`."""
    check_access("register", _named(_group(group)))
    return await ask_service(SERVICE, ("leave", group, _local(pid, "leave")), None)  # type: ignore[no-any-return]


def members(group: Any) -> list[Pid]:
    """The members on all nodes, by what this node knows; no other is asked."""
    return [pid for pid in _members.get(group, ()) if pid.process is not None or pid.origin != current_node()]


def local_members(group: Any) -> list[Pid]:
    """The members on this node."""
    return [pid for pid in _members.get(group, ()) if pid.process is not None]


def list_groups() -> list[Any]:
    """All groups that have members."""
    return list(_members)


async def monitor_group(group: Any) -> tuple[Ref, list[Pid]]:
    """Have the calling process told by `GroupJoined` and `GroupLeft` who joins and leaves from now on; and who is a member now."""
    ref, pids = await ask_service(SERVICE, ("monitor", _group(group), self_pid()), None)
    return ref, pids


async def demonitor_group(ref: Ref) -> None:
    """No longer. What has come stays in the mailbox. TypeError if it is no Ref."""
    if type(ref) is not Ref:
        raise TypeError(f"demonitor_group expects the Ref that monitor_group() gave, not {ref!r}")
    await ask_service(SERVICE, ("demonitor", ref), None)


def _group(group: Any) -> Any:
    joined()  # or it says that this node is alone
    try:
        hash(group)
    except TypeError:
        raise TypeError(f"a group is a hashable value that can be sent, not {group!r}") from None
    return group


def _named(group: Any) -> str:
    """What exclusions call it."""
    return group if type(group) is str and group else repr(group)


def _local(pid: Pid | None, what: str) -> Pid:
    if pid is None:
        return self_pid()
    if type(pid) is not Pid:
        raise TypeError(f"{what} expects a Pid, not {pid!r}")
    if pid.origin != current_node():
        raise ValueError(f"{what}: {pid} belongs to another node: a process joins groups on its own")
    return pid


# --- the process on each node -------------------------------------------------------------------------------------------------------


@record
class Joined:
    """A node tells of its processes: these have joined."""

    fellow: Pid
    pids: tuple[tuple[Any, tuple[Pid, ...]], ...]  # by group


@record
class Left:
    """These have left."""

    fellow: Pid
    pids: tuple[tuple[Any, tuple[Pid, ...]], ...]


class Groups(Fellow):
    """See the module."""

    async def init(self) -> None:
        """Begin, with what the process of the same kind before this one left."""
        self.local: dict[Pid, tuple[Ref, list[Any]]] = {}  # who is watched, and its groups
        for ref, (group, pid, _) in list(_monitors.items()):
            _monitors[ref] = group, pid, monitor(pid)
        for group, pids in list(_members.items()):
            for pid in pids:
                if pid.process is not None:
                    self._watch(group, pid)
            lost = tuple(pid for pid in pids if pid.process is None)  # those of other nodes will be told anew
            if lost:
                self._gone(((group, lost),))
        self.meet(SERVICE)

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        """Of the functions above."""
        match request:
            case ("join", group, pid):
                if pid.process is not None:
                    self._join(group, pid)
                    self.tell_all(Joined(self_pid(), ((group, (pid,)),)))
                return None
            case ("leave", group, pid):
                watched = self.local.get(pid)
                if watched is None or group not in watched[1]:
                    return False
                watched[1].remove(group)
                if not watched[1]:
                    demonitor(watched[0], flush=True)
                    del self.local[pid]
                self._gone(((group, (pid,)),))
                self.tell_all(Left(self_pid(), ((group, (pid,)),)))
                return True
            case ("monitor", group, pid):
                ref = make_ref()
                _monitors[ref] = group, pid, monitor(pid)
                return ref, members(group)
            case ("demonitor", ref):
                if ref in _monitors:
                    demonitor(_monitors.pop(ref)[2], flush=True)
                return None
        return await super().handle_call(request, caller)

    def _join(self, group: Any, pid: Pid) -> None:
        self._watch(group, pid)
        self._came(((group, (pid,)),))

    def _watch(self, group: Any, pid: Pid) -> None:
        if pid not in self.local:
            self.local[pid] = monitor(pid), []
        self.local[pid][1].append(group)

    def fellow_joined(self, pid: Pid) -> None:
        """Tell it of everybody here."""
        by_group: dict[Any, list[Pid]] = {}
        for member, (_, its_groups) in self.local.items():
            for group in its_groups:
                by_group.setdefault(group, []).append(member)
        if by_group:
            send(pid, Joined(self_pid(), tuple((group, tuple(pids)) for group, pids in by_group.items())))

    def fellow_left(self, pid: Pid) -> None:
        """All of its node have left."""
        lost = tuple((group, tuple(each for each in pids if each.origin == pid.origin)) for group, pids in _members.items())
        self._gone(tuple((group, pids) for group, pids in lost if pids))

    async def handle_rest(self, message: Any) -> Continue | None:
        """What the others tell, and the ends of processes here."""
        match message:
            case Joined(fellow, changes):
                if fellow in self.fellows.values():
                    self._came(changes)
            case Left(fellow, changes):
                if fellow in self.fellows.values():
                    self._gone(changes)
            case Down(ref, Pid() as pid) if pid in self.local and self.local[pid][0] == ref:
                by_group: dict[Any, list[Pid]] = {}
                for group in self.local.pop(pid)[1]:
                    by_group.setdefault(group, []).append(pid)
                changes = tuple((group, tuple(pids)) for group, pids in by_group.items())
                self._gone(changes)
                self.tell_all(Left(self_pid(), changes))
            case Down(ref):
                for ours in [ours for ours, (_, _, watch) in _monitors.items() if watch == ref]:
                    del _monitors[ours]
            case _:
                return await super().handle_rest(message)
        return None

    # --- what this node knows ---

    def _came(self, changes: tuple[tuple[Any, tuple[Pid, ...]], ...]) -> None:
        for group, pids in changes:
            _members.setdefault(group, []).extend(pids)
            for ref, (monitored, who, _) in _monitors.items():
                if monitored == group:
                    send(who, GroupJoined(ref, group, pids))

    def _gone(self, changes: tuple[tuple[Any, tuple[Pid, ...]], ...]) -> None:
        for group, pids in changes:
            there = _members[group]
            for pid in pids:
                there.remove(pid)
            if not there:
                del _members[group]
            for ref, (monitored, who, _) in _monitors.items():
                if monitored == group:
                    send(who, GroupLeft(ref, group, pids))
