"""DynamicSupervisor: any number of children that come and go, each started when somebody asks for it (OTP's `simple_one_for_one`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beamlike.behaviours import stopping
from beamlike.behaviours.asking import STOPPED, ChildError, Face, ask
from beamlike.behaviours.child import ChildSpec
from beamlike.behaviours.options import Options
from beamlike.behaviours.restarts import Backoff
from beamlike.behaviours.supervising import Child, Supervising
from beamlike.hot import scheduler
from beamlike.hot.calls import Caller
from beamlike.hot.ids import Pid
from beamlike.limits import Limits


class DynamicSupervisor(Face):
    """The face of a dynamic supervisor: `start_link`, and what to ask one.

    Its children are independent (one_for_one), in no order, and known by their pids: ids may repeat. A child that has ended and is not
    restarted, was terminated, or declined is forgotten. They are stopped all at the same time.
    """

    @staticmethod
    async def start_link(
        intensity: int = 1,
        period: float = 5.0,
        *,
        max_children: int | None = None,
        backoff: Backoff | None = None,
        hold: bool = False,
        name: str | None = None,
        exclude: Iterable[Any] = (),
        limits: Limits | None = None,
    ) -> Pid:
        """Start one, without children, linked to the caller. Options as `Supervisor.start_link`.

        Args:
            max_children: how many there may be at a time, those that wait for their restart included.

        Raises: BadNameError if the name is taken; TypeError, ValueError for a wrong option.
        """
        options = Options(intensity=intensity, period=period, backoff=backoff, hold=hold, max_children=max_children)
        return await DynamicSupervising.start_link(options, name=name, exclude=exclude, limits=limits)

    @staticmethod
    async def terminate_child(supervisor: Any, pid: Pid) -> None:
        """Stop the child that runs as `pid`; it is not restarted. Raises: ChildError `not_found`."""
        await ask(supervisor, "terminate_child", pid)


class DynamicSupervising(Supervising):
    """The process: its children are kept by a ref of each."""

    async def answer(self, request: Any, caller: Caller) -> Any:
        """What a request is answered. Raises: ChildError."""
        match request:
            case ("terminate_child", pid):
                if type(pid) is not Pid or pid not in self.running:
                    raise ChildError(f"no child runs as {pid!r}", "not_found")
                await self.stop(self.running[pid])
                return None
        return await super().answer(request, caller)

    def key_of(self, spec: ChildSpec) -> Any:
        """A new ref. Raises: ChildError if there are too many children."""
        most = self.options.max_children
        if most is not None and len(self.children) >= most:
            raise ChildError(f"there are {len(self.children)} children already, and max_children is {most}", "max_children")
        return scheduler.make_ref()

    def leave(self, child: Child) -> None:
        """A child that does not run is forgotten."""
        child.status = STOPPED
        del self.children[child.key]

    async def stop_children(self) -> None:
        """Stop them all at the same time."""
        for pid, reason in await stopping.stop_all([(pid, child.spec.grace) for pid, child in self.running.items()]):
            self.stopped(self.running[pid], reason)
        self.children.clear()
