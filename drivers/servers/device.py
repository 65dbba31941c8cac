"""A device of a machine: what it takes up, its driver while that runs, and who has it.

Theory of operation. There is one Device for each, on the node that has the machine, for as long as its manager lives. Its server comes and
goes: it puts its driver into `driver` when the device is ready, and its death takes it out again (`on_release`: before anybody is told of
the death). Whoever holds a grant uses the driver from its own process, under `lock`, without a message to anybody. A process that dies in
the midst of a transfer leaves `is_busy` behind: the next one brings the device up anew first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import caps
from beamlike import Lock, Pid, record
from beamlike.seam import Process, extra, format_reason, on_release, tell
from drivers.interrupts import check_line
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
    """The driver's methods that an owner may ask for; `size` of one that has blocks is not the driver's."""
    interrupted: Callable[[Any], Awaitable[list[Any]]] | None = None
    """Handle an interrupt, with the driver; what the owner is told, a message each. ValueError unless it is an `async` function."""
    has_blocks: bool = False
    """It is divided by blocks: an owner may have some of them."""
    has_frames: bool = False
    """It is divided by whose frames they are: an owner may have those for an address, or a UDP port."""
    idle: Callable[[Any], None] | None = None
    """Done with the driver once nobody has the device any more."""

    def __post_init__(self) -> None:
        if not isinstance(self.commands, frozenset) or not all(type(each) is str for each in self.commands):
            raise ValueError(f"Kind {self.name!r}: commands is {self.commands!r:.80}, expected a frozenset of names of methods")
        if self.interrupted is not None and not iscoroutinefunction(self.interrupted):
            raise ValueError(f"Kind {self.name!r}: interrupted is {self.interrupted!r}, expected an async function of the driver")

    def check(self, driver: Any) -> None:
        """TypeError if it has no such method as an owner may ask for."""
        missing = sorted(each for each in self.commands if not (hasattr(driver, each) or (each == "size" and self.has_blocks)))
        if missing:
            raise TypeError(f"the driver {type(driver).__name__} has no {', '.join(missing)}, which are commands of the kind {self.name!r}")

    async def data_of(self, driver: Any) -> list[Any]:
        """What an interrupt has brought. Raises: TypeError: it is no list; what the driver raises."""
        if self.interrupted is None:
            return []
        found = await self.interrupted(driver)
        if type(found) is not list:
            raise TypeError(f"`interrupted` of the kind {self.name!r} returned {found!r:.80}, expected a list of what the owner is told")
        return found


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
class DeviceIdle:
    """To the server: nobody has the device any more."""


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
    """`ready`; `down`: its driver is being started, or held; `stopped`: its machine has stopped."""
    owners: tuple[Pid, ...]
    commands: tuple[str, ...]
    """What `do` may be asked for."""
    why: str
    """The reason why its driver went down last; empty: it did not."""


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
            check_line(line)
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
        self.why = ""
        """The reason why its driver went down last, for people."""
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
        state = "stopped" if self.io.stopped is not None else "down" if self.driver is None else "ready"
        commands = tuple(sorted(self.kind.commands))
        return DeviceInfo(self.name, self.kind.name, self.about, self.ports, self.memory, self.lines, state, owners, commands, self.why)

    def overlaps(self, other: Device) -> bool:
        """Do both take up some of the same machine?"""
        if self.io.lines is not other.io.lines:  # all I/O spaces of a machine have its lines
            return False
        pairs = ((self.ports, other.ports), (self.memory, other.memory))
        return any(start < last and first < end for mine, its in pairs for start, end in mine for first, last in its)

    def gone(self) -> None:
        """Its machine has stopped."""
        if self.driver is not None:
            self.driver = None
            self.why = str(self.io.gone())
            self.tell_owners(DeviceLost(self.name, self.why))

    def lost(self) -> str:
        """That it has no driver, and why."""
        cause = f" ({self.why})" if self.why else ""
        return f"the driver of {self.name} is down{cause}; DeviceBack tells when it is up"

    def left(self) -> None:
        """Somebody has it no more."""
        if not self.grants and self.server is not None and self.kind.idle is not None:
            tell(self.server, DeviceIdle())

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
        self.kind.check(driver)
        self.driver = driver
        if self.kind.has_blocks:
            self.sectors = driver.sectors
        self.is_busy = False
        self.tell_owners(DeviceBack(self.name, self.server))

    def down(self, reason: Any) -> None:
        """Its server has ended."""
        self.server = None
        self.why = format_reason(reason)
        if self.driver is not None:
            self.driver = None
            self.tell_owners(DeviceLost(self.name, reason))


_served: dict[Process, Device] = {}


def _released(process: Process, reason: Any) -> None:
    device = _served.pop(process, None)
    if device is not None:
        device.down(reason)


on_release.append(_released)
