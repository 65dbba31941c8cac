"""Fellows: the processes that do the same on each node, which find each other, and learn when one is lost.

Theory of operation. Each has the same local name, its *service*. It greets that name on every node that comes up, and whoever it is greeted
by; both then watch each other, so the end of a fellow comes as `Down` after all that it had sent (M4). A greeting by name is watched too:
who is not there yet greets by itself when it starts. So of every node that is up it is known at some time that it has a fellow, or none.
"""

from __future__ import annotations

from typing import Any

from beamlike import Continue, Down, GenServer, Pid, Ref, demonitor, monitor, record, self_pid, send
from beamlike.seam import NodeId
from nodes.here import joined
from nodes.membership import NodeDown, NodeUp


@record
class Hello:
    """A fellow says that it is there."""

    pid: Pid


class Fellow(GenServer):
    """A process that has one fellow on each other node. `meet` makes it known; what comes by `handle_info` belongs to this class first."""

    def __init__(self) -> None:
        self.service = ""
        self.fellows: dict[NodeId, Pid] = {}  # by the life of their node
        self.watches: dict[Ref, Pid] = {}
        self.greeted: dict[Ref, NodeId] = {}  # by name, and not answered yet
        self.absent: set[NodeId] = set()  # lives that have no fellow yet

    def meet(self, service: str) -> None:
        """Begin. The calling process has this local name already."""
        self.service = service
        membership = joined().membership
        for name in membership.roster:
            membership.monitor(self_pid(), name)
        for name in list(membership.members):
            self._greet(name)
        self.nodes_changed()

    def knows_all(self) -> bool:
        """Is of each node that is up known whether it has a fellow?"""
        membership = joined().membership
        return membership.is_settled and all(
            member.id in self.fellows or member.id in self.absent for member in membership.members.values()
        )

    def tell_all(self, message: Any) -> None:
        """Send to all fellows."""
        for pid in self.fellows.values():
            send(pid, message)

    def fellow_joined(self, pid: Pid) -> None:
        """Hook: a fellow is there. What is sent to it from now on comes after our greeting."""

    def fellow_left(self, pid: Pid) -> None:
        """Hook: a fellow has ended, or its node has."""

    def nodes_changed(self) -> None:
        """Hook: after whatever changed in who is there."""

    async def handle_info(self, message: Any) -> Continue | None:
        """What comes from fellows and nodes; the rest goes to `handle_rest`."""
        match message:
            case NodeUp(name):
                if name != self_pid().node:
                    self._greet(name)
            case NodeDown():
                self.absent.intersection_update({member.id for member in joined().membership.members.values()})
            case Hello(pid):
                self._met(pid)
            case Down(ref, _, reason) if ref in self.greeted:
                life = self.greeted.pop(ref)
                if reason == "noconnection" and joined().membership.life_of(life.name) == life:
                    self._greet(life.name)  # only the connection is lost: it may have a fellow
                else:
                    self.absent.add(life)
            case Down(ref) if ref in self.watches:
                pid = self.watches.pop(ref)
                if self.fellows.get(pid.origin) == pid:
                    del self.fellows[pid.origin]
                    self.fellow_left(pid)
                    self._greet(pid.node)  # it may only have been started again, or the connection be lost
            case _:
                return await self.handle_rest(message)
        self.nodes_changed()
        return None

    async def handle_rest(self, message: Any) -> Continue | None:
        """Hook: another message."""
        return await super().handle_info(message)

    def _greet(self, name: str) -> None:
        member = joined().membership.members.get(name)
        if member is None or member.id in self.fellows or member.id in self.greeted.values():
            return
        self.absent.discard(member.id)
        self.greeted[monitor((self.service, name))] = member.id
        send((self.service, name), Hello(self_pid()))

    def _met(self, pid: Pid) -> None:
        before = self.fellows.get(pid.origin)
        if before == pid:
            return
        for ref in [ref for ref, life in self.greeted.items() if life == pid.origin]:
            del self.greeted[ref]
            demonitor(ref, flush=True)
        self.absent.discard(pid.origin)
        self.fellows[pid.origin] = pid
        self.watches[monitor(pid)] = pid
        send(pid, Hello(self_pid()))
        if before is not None:  # it was started again, and its `Down` is on its way
            self.fellow_left(before)
        self.fellow_joined(pid)
