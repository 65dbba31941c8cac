"""Virtual storage areas: a disk divided into named ranges of blocks, each of which is a capability of its own, `("device", "DISK/AREA")`.

The service has the disk, and lends areas. To have an area takes no permission for the disk, its ports or its interrupts: whoever may open
`ata0.0/home` and may do no port I/O reads and writes its home, and nothing else. As with other grants, its data go from its own process to
the driver, and nobody stands in between; from another node they go through the disk's server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import caps
from beamlike import Caller, Down, GenServer, Pid, Stop, call, caller_layers, monitor, record, whereis
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.servers.grants import GrantTaken, grant_of
from drivers.servers.manager import Opened
from drivers.servers.opening import Handle, checked, end_grant, open_device
from drivers.servers.server import Failed


@record
class OpenArea:
    """Asked by `open_area`."""

    name: str


@record
class OpenedArea:
    """The answer."""

    disk: str
    manager: Any
    opened: Opened


@record
class ListAreas:
    """Asked by `list_areas`; the answer is a dict, name to range."""


class AreaService(GenServer):
    """One for each disk: `AreaService.start_link(manager, "ata0.0", {"boot": (0, 2048), "home": (2048, 8192)})`.

    Areas are half-open ranges of blocks. Raises: ValueError: two of them overlap, one is no range on the disk, or a name has a slash; and
    what `open_device` raises.
    """

    async def init(self, manager: Any, disk: str, areas: Mapping[str, tuple[int, int]]) -> None:
        _check_areas(disk, areas)
        in_order = sorted(areas.items(), key=lambda item: item[1])
        for (name, (_, end)), (other, (start, _)) in pairwise(in_order):
            if start < end:
                raise ValueError(f"the areas {name!r} and {other!r} of {disk} overlap")
        self.manager = whereis(manager) if type(manager) is str else manager  # who opens an area may be on another node
        self.areas = dict(areas)
        self.handle = await open_device(manager, disk)
        self.lent: dict[Pid, set[int]] = {}
        self.monitors: dict[Pid, Any] = {}
        for name, (start, end) in in_order:
            if end > self.handle.sectors:
                raise ValueError(f"the area {name!r}, blocks {start} to {end - 1}, is not on {disk}, which has {self.handle.sectors}")

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ListAreas():
                return self.areas
            case OpenArea(name) if type(name) is str:
                try:
                    return self._open(name, caller.pid)
                except (DeviceError, PermissionError, ValueError) as error:
                    return Failed(PermissionError.__name__ if isinstance(error, PermissionError) else type(error).__name__, str(error))
        return Failed("ValueError", f"the areas of {self.handle.name} are asked for by open_area(), not with {request!r:.80}")

    async def handle_info(self, message: Any) -> None:
        match message:
            case Down(ref=ref, object=pid) if self.monitors.get(pid) == ref:
                del self.monitors[pid]
                for number in self.lent.pop(pid):
                    end_grant(number, "its owner has ended")
            case GrantTaken(grant=number) if number == self.handle.number and not self.handle.is_good:
                raise Stop(("revoked", self.handle.name))  # its supervisor decides whether it asks for the disk again

    def _open(self, name: str, owner: Pid) -> OpenedArea:
        blocks = self.areas.get(name)
        if blocks is None:
            raise DeviceAbsentError(f"{self.handle.name} has no area {name!r}: expected one of {', '.join(self.areas) or 'none'}")
        title = f"{self.handle.name}/{name}"
        layers = caller_layers()
        if layers:
            caps.require(layers, "device", title)
        opened = self.handle.lend(owner, blocks, _check_of(title))
        if owner not in self.monitors:
            self.monitors[owner] = monitor(owner)
        numbers = self.lent.setdefault(owner, set())
        numbers -= {number for number in numbers if grant_of(number) is None}  # that were given back
        numbers.add(opened.grant)
        return OpenedArea(title, self.manager, opened)


def _check_areas(disk: str, areas: Any) -> None:
    if not isinstance(areas, Mapping):
        raise ValueError(f"the areas of {disk} are {areas!r:.80}, expected a mapping of names to ranges of blocks")
    for name, blocks in areas.items():
        if type(name) is not str or not name or "/" in name:
            raise ValueError(f"{name!r:.80} is no name of an area of {disk}: expected a string, not empty and without a slash")
        if type(blocks) is not tuple or [type(each) for each in blocks] != [int, int] or not 0 <= blocks[0] < blocks[1]:
            raise ValueError(f"the area {name!r} of {disk} is {blocks!r:.80}, expected a range of blocks, (start, end), half-open")


def _check_of(title: str) -> Callable[[], None]:
    return partial(caps.check, "device", title)


async def open_area(service: Any, name: str) -> Handle:
    """Have an area, until `close`, or the end of this process. Its blocks count from 0.

    Raises: DeviceAbsentError: there is no such area; DeviceBusyError: somebody has it; PermissionError: `("device", "DISK/AREA")` is
        excluded; ValueError: the disk came back smaller than it was, and has not all of it.
    """
    answer: OpenedArea = checked(await call(service, OpenArea(name)))
    return Handle(answer.manager, answer.disk, answer.opened)


async def list_areas(service: Any) -> dict[str, tuple[int, int]]:
    """All areas, by their names."""
    found: dict[str, tuple[int, int]] = await call(service, ListAreas())
    return found
