"""The children that are placed on this node: a supervisor that is told by the node's `Placing` what to run, and tells it what came of
it."""

from __future__ import annotations

from typing import Any

import caps
from beamlike import IGNORE, ChildSpec, ChildStartError, Pid, record, send, unpack
from beamlike.seam import RESTARTING, STOPPED, Child, Options, StaticSupervising, current_process, error_reason, extra


@record
class Place:
    """Cast: run this child. `first`: a start that fails is told, else it is tried again as a restart is."""

    key: Any
    number: int
    spec: bytes
    terms: tuple[Any, ...]
    first: bool


@record
class Remove:
    """Cast: stop it. It has been told to run with this number."""

    key: Any
    number: int


@record
class Placed:
    """The answer, and after each restart: it runs as `pid`; or the start failed, with a reason."""

    key: Any
    number: int
    pid: Pid | None
    reason: Any


@record
class Removed:
    """It does not run any more: it was removed, or ended by itself and is not restarted."""

    key: Any
    number: int


class LocalChildren(StaticSupervising):
    """Children by id, each on its own (one_for_one). One that ends and is not restarted is forgotten, as by a DynamicSupervisor."""

    async def init(self, options: Options, placing: Pid) -> None:  # type: ignore[override]
        """Without children."""
        extra(current_process()).is_service = True
        self.placing = placing
        self.numbers: dict[Any, int] = {}  # of the children, by key
        await super().init(options)

    async def handle_cast(self, request: Any) -> None:
        """What `Placing` says."""
        match request:
            case Place():
                await self._place(request)
            case Remove(key, number):
                child = self.children.get(key)
                if child is None:
                    send(self.placing, Removed(key, number))
                else:
                    await self.stop(child)
            case _:
                await super().handle_cast(request)

    async def _place(self, place: Place) -> None:
        try:
            spec: ChildSpec = unpack(place.spec, functions=True)
            layers: caps.Layers = ()
            for each in place.terms:
                layers = caps.extend(layers, each)
        except Exception as error:  # noqa: BLE001 - importing runs the program's code
            send(self.placing, Placed(place.key, place.number, None, error_reason(error)))
            return
        child = self.children[place.key] = Child(place.key, spec, layers)
        self.numbers[place.key] = place.number
        if not place.first:
            child.status = RESTARTING
            await self.start_group(child)
            return
        try:
            await self.start_one(child)
        except ChildStartError as error:
            self.report("start_error", error.reason, child)
            self._forget(child)
            send(self.placing, Placed(place.key, place.number, None, error.reason))
            return
        if child.pid is None:
            self.leave(child)

    async def start_one(self, child: Child) -> None:
        """Start it, and tell."""
        await super().start_one(child)
        pid = IGNORE if child.pid is None else child.pid
        send(self.placing, Placed(child.key, self.numbers[child.key], pid, None))

    def leave(self, child: Child) -> None:
        """It does not run, and is not to."""
        child.status = STOPPED
        number = self._forget(child)
        send(self.placing, Removed(child.key, number))

    def _forget(self, child: Child) -> int:
        self.children.pop(child.key, None)
        return self.numbers.pop(child.key, 0)
