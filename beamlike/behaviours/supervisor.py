"""Supervisor: starts its children in order, restarts them by a strategy, stops them in reverse order (S1–S9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beamlike.behaviours.asking import RESTARTING, RUNNING, ChildError, ChildStartError, Face, ask
from beamlike.behaviours.child import ChildSpec, spec_of
from beamlike.behaviours.options import AutoShutdown, Options, Strategy
from beamlike.behaviours.restarts import Backoff
from beamlike.behaviours.starting import IGNORE
from beamlike.behaviours.supervising import Child, Supervising
from beamlike.hot.calls import Caller
from beamlike.hot.ids import Pid
from beamlike.hot.values import copy_value
from beamlike.limits import Limits


class Supervisor(Face):
    """The face of a supervisor: `start_link`, and what to ask one. A child that was added, and declined, is kept, and so is its spec."""

    @staticmethod
    async def start_link(
        children: Iterable[Any] = (),
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period: float = 5.0,
        *,
        auto_shutdown: AutoShutdown = "never",
        backoff: Backoff | None = None,
        hold: bool = False,
        name: str | None = None,
        exclude: Iterable[Any] = (),
        limits: Limits | None = None,
    ) -> Pid:
        """Start a supervisor, linked to the caller, and its children one after the other; return when all are ready (S6).

        It ends with its parent, and when it is told to; then, and when its start fails, it stops its children, the last one first (S7).
        What goes wrong with children is told to the logger `beamlike.supervisor`, each start of one to `beamlike.progress`.

        Args:
            children: ChildSpecs with different ids; a behaviour's class or an async function stands for `ChildSpec.of` of it.
            strategy: who is restarted with a child: nobody (`one_for_one`), all (`one_for_all`), those started after it (`rest_for_one`).
            intensity, period: more than `intensity` restarts, of all children together, in `period` seconds end the supervisor with reason
                `shutdown` (S2, S3).
            auto_shutdown: end, with reason `shutdown`, when one (`any_significant`) or the last (`all_significant`) of the significant
                children has ended by itself and is not restarted (S8).
            backoff: wait before a restart, the longer the more there were in a row (S10). None: restart at once, as OTP.
            hold: instead of ending as `intensity` says, leave the child, and who would be restarted with it, down until `clear_hold` (S10).

        Raises:
            ChildStartError: a child did not start; those before it have been stopped. It names the child and its reason.
            BadNameError: the name is taken.
            TypeError, ValueError: an option or a child is not what it should be.
        """
        options = Options(strategy, intensity, period, auto_shutdown, backoff, hold)
        if not isinstance(children, Iterable):
            raise TypeError(f"Supervisor.start_link: children is an iterable of ChildSpecs, classes or functions, not {children!r}")
        specs = [spec_of(child) for child in children]
        ids = set()
        for spec in specs:
            options.check_child(spec)
            if spec.id in ids:
                raise ValueError(f"two children have the id {spec.id!r}: give each an id of its own")
            ids.add(spec.id)
        return await StaticSupervising.start_link(options, specs, name=name, exclude=exclude, limits=limits)

    @staticmethod
    async def terminate_child(supervisor: Any, id: Any) -> None:
        """Stop a child, which is not restarted then; its spec is kept unless it is temporary. One that does not run is left as it is.

        Raises: ChildError `not_found`.
        """
        await ask(supervisor, "terminate_child", id)

    @staticmethod
    async def restart_child(supervisor: Any, id: Any) -> Pid:
        """Start a child that is stopped or held. Raises: ChildError `not_found`, `running`, `restarting`; ChildStartError."""
        return await ask(supervisor, "restart_child", id)  # type: ignore[no-any-return]

    @staticmethod
    async def delete_child(supervisor: Any, id: Any) -> None:
        """Forget the spec of a child that is stopped or held. Raises: ChildError `not_found`, `running`, `restarting`."""
        await ask(supervisor, "delete_child", id)

    @staticmethod
    async def get_childspec(supervisor: Any, id: Any) -> ChildSpec:
        """The spec of a child. Raises: ChildError `not_found`, `cannot_be_sent`."""
        return await ask(supervisor, "get_childspec", id)  # type: ignore[no-any-return]


class StaticSupervising(Supervising):
    """The process: its children are kept by their ids."""

    async def answer(self, request: Any, caller: Caller) -> Any:
        """What a request is answered. Raises: ChildError."""
        match request:
            case ("terminate_child", id_):
                await self.stop(self.find(id_))
            case ("restart_child", id_):
                return await self.restart_by_hand(self.find_stopped(id_))
            case ("delete_child", id_):
                del self.children[self.find_stopped(id_).key]
            case ("get_childspec", id_):
                try:
                    return copy_value(self.find(id_).spec)
                except TypeError as error:
                    raise ChildError(f"the spec of child {id_!r} cannot be sent: {error}", "cannot_be_sent") from error
            case _:
                return await super().answer(request, caller)
        return None

    async def restart_by_hand(self, child: Child) -> Pid:
        """Start it. Raises: ChildStartError; it stays as it was then."""
        try:
            await self.start_one(child)
        except ChildStartError as error:
            self.report("start_error", error.reason, child)
            raise
        return IGNORE if child.pid is None else child.pid

    def find(self, id: Any) -> Child:
        """The child with this id. Raises: ChildError."""
        for child in self.children.values():  # not a look-up, for `id` may be anything
            if child.key == id:
                return child
        raise ChildError(f"there is no child {id!r}; there are {list(self.children)}", "not_found")

    def find_stopped(self, id: Any) -> Child:
        """The child with this id, which neither runs nor is about to. Raises: ChildError."""
        child = self.find(id)
        if child.status in (RUNNING, RESTARTING):
            raise ChildError(f"child {id!r} is {child.status}: terminate_child() stops it", child.status)
        return child

    def key_of(self, spec: ChildSpec) -> Any:
        """Its id. Raises: ChildError if it is taken."""
        child = self.children.get(spec.id)
        if child is None:
            return spec.id
        if child.pid is not None:
            raise ChildError(f"child {spec.id!r} is there already, as {child.pid}", ("already_started", child.pid))
        text = f"child {spec.id!r} is there already and is {child.status}: use restart_child(), or delete_child() before"
        raise ChildError(text, "already_present")
