"""A device of a machine: what it takes up, its driver while that runs, and who has it.

Theory of operation. There is one Device for each, on the node that has the machine, for as long as its manager lives. Its server comes and
goes: it puts its driver into `driver` when the device is ready, and its death takes it out again (`on_release`: before anybody is told of
the death). Whoever holds a grant uses the driver from its own process, under `lock`, without a message to anybody. A process that dies in
the midst of a transfer leaves `is_busy` behind: the next one brings the device up anew first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import caps
from beamlike import Lock, Pid, record
from beamlike.seam import Process, extra, on_release, tell
from drivers.interrupts import LINES
from drivers.space import IoSpace

if TYPE_CHECKING:
    from drivers.servers.grants import Grant


Ranges = tuple[tuple[int, int], ...]
"""Half-open."""


@dataclass(frozen=True)
class Kind:
    """What the servers of such devices have in common."""

    name: str
    commands: frozenset[str]
    """The driver's methods that an owner may ask for."""
    interrupted: Callable[[Any], Awaitable[list[Any]]] | None = None
    """Handle an interrupt, with the driver; what the owner is told."""
    has_blocks: bool = False
    """It is divided by blocks: an owner may have some of them."""
    has_frames: bool = False
    """It is divided by whose frames they are: an owner may have those for an address, or a UDP port."""


@record
class DeviceLost:
    """To who has a grant: the driver has ended, and calls fail until `DeviceBack` comes. What was under way may or may not be done."""

    device: str
    reason: Any


@record
class DeviceBack:
    """To who has a grant: the device is ready again, as it is after a reset. `server` is its new server."""

    device: str
    server: Pid


@record
class DeviceData:
    """To the owner: what the device has received."""

    device: str
    data: Any


@record
class DeviceInfo:
    """What is told of a device."""

    name: str
    kind: str
    """`serial`, `disk`, `network`, `keyboard` …"""
    about: str
    ports: tuple[tuple[int, int], ...]
    """Half-open."""
    memory: tuple[tuple[int, int], ...]
    lines: tuple[int, ...]
    state: str
    """`ready`, or `down`: its driver is being started."""
    owners: tuple[Pid, ...]


class Device:
    """See the module.

    Args:
        io: an I/O space that has what the device takes up, and what its driver needs besides for transfers.
        make: brings the device into its first state, whatever was done to it before, and returns its driver. Raises: DeviceError.
        ports, memory: half-open ranges, which opening it is an access to.
        lock: one that several devices have together, which are behind one controller.
    """

    def __init__(
        self,
        io: IoSpace,
        name: str,
        kind: Kind,
        about: str,
        make: Callable[[], Awaitable[Any]],
        *,
        ports: Ranges = (),
        memory: Ranges = (),
        lines: tuple[int, ...] = (),
        lock: Lock | None = None,
    ) -> None:
        self.io = io
        for each in (*ports, *memory):
            if type(each) is not tuple or [type(end) for end in each] != [int, int] or not 0 <= each[0] < each[1]:
                raise ValueError(f"{name}: {each!r} is no range of ports or memory: expected a tuple (start, end), half-open")
        for line in lines:
            if type(line) is not int or not 0 <= line < LINES:
                raise ValueError(f"{name}: {line!r} is no interrupt line: expected 0 to {LINES - 1}")
        self.name = name
        self.kind = kind
        self.about = about
        self.make = make
        self.ports = ports
        self.memory = memory
        self.lines = lines
        self.lock = Lock() if lock is None else lock
        self.is_busy = False
        self.driver: Any = None
        self.sectors = 0
        """Of one that has blocks, as of when it was ready last."""
        self.server: Pid | None = None
        self.grants: list[Grant] = []

    def check_access(self) -> None:
        """CapabilityError unless the running process may have the device: its name, and all that it takes up."""
        caps.check("device", self.name)
        for start, end in self.ports:
            caps.check("port_io", start, end - start)
        for start, end in self.memory:
            caps.check("raw_memory", start, end - start)
        for line in self.lines:
            caps.check("device", f"irq {line}")

    def info(self) -> DeviceInfo:
        """What is told of it."""
        owners = tuple(dict.fromkeys(grant.owner for grant in self.grants))
        state = "down" if self.driver is None else "ready"
        return DeviceInfo(self.name, self.kind.name, self.about, self.ports, self.memory, self.lines, state, owners)

    def tell_owners(self, message: Any) -> None:
        """Each process that has a grant, once."""
        for owner in dict.fromkeys(grant.owner for grant in self.grants):
            tell(owner, message)

    # --- its server ---

    def serve(self, process: Process) -> None:
        """The process is the server from now on; the driver is not there yet."""
        extra(process)  # so that its end is told to `on_release`
        _served[process] = self
        self.server = process.pid

    def up(self, driver: Any) -> None:
        """The device is ready."""
        assert self.server is not None
        self.driver = driver
        if self.kind.has_blocks:
            self.sectors = driver.sectors
        self.is_busy = False
        self.tell_owners(DeviceBack(self.name, self.server))

    def down(self, reason: Any) -> None:
        """Its server has ended."""
        self.server = None
        if self.driver is not None:
            self.driver = None
            self.tell_owners(DeviceLost(self.name, reason))


_served: dict[Process, Device] = {}


def _released(process: Process, reason: Any) -> None:
    device = _served.pop(process, None)
    if device is not None:
        device.down(reason)


on_release.append(_released)
