"""What carries frames: a network driver, or the handle of a network device."""

from __future__ import annotations

from math import inf
from typing import Any, Protocol

from beamlike import receive, sleep
from beamlike.seam import now
from drivers.servers.device import DeviceBack, DeviceData, DeviceLost
from drivers.servers.grants import GrantRevokedError, GrantTaken
from drivers.servers.opening import Handle
from drivers.space import IoSpace


class NetworkDriver(Protocol):
    """`Ne2000`, `VirtioNet`."""

    io: IoSpace

    async def send(self, frame: bytes) -> None:
        """Send one."""

    async def receive(self, timeout: float) -> bytes:
        """The next one. Raises: DeviceTimeoutError."""


class Link(Protocol):
    """Either of them."""

    async def send(self, frame: bytes) -> None:
        """Send one. Raises: DeviceError."""

    async def next(self, timeout: float) -> bytes:
        """The next that comes in. Raises: TimeoutError; DeviceError."""

    def now(self) -> float:
        """Seconds."""


class DriverLink:
    """A driver that nobody else uses."""

    def __init__(self, driver: NetworkDriver) -> None:
        self._driver = driver
        self.send = driver.send
        self.now = driver.io.now

    async def next(self, timeout: float) -> bytes:
        """See `Link`."""
        await sleep(0)  # while one frame comes after the other, a driver would let nobody else have a turn
        return await self._driver.receive(timeout)


class HandleLink:
    """A handle, and the messages that its owner gets. `GrantAsked` is left to the owner."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.now = now

    async def send(self, frame: bytes) -> None:
        """See `Link`."""
        await self._handle.do("send", frame)

    async def next(self, timeout: float) -> bytes:
        """See `Link`. While the driver is being started again nothing comes."""
        deadline = now() + timeout
        while True:
            match await receive(self._is_ours, None if deadline == inf else max(deadline - now(), 0)):
                case DeviceData(data=frame):
                    return bytes(frame)
                case GrantTaken(reason=reason):
                    raise GrantRevokedError(f"{self._handle.name}: its grant was taken: {reason}")

    def _is_ours(self, message: Any) -> bool:
        match message:
            case DeviceData(device=name) | DeviceLost(device=name) | DeviceBack(device=name):
                return bool(name == self._handle.name)
            case GrantTaken(grant=number):
                return bool(number == self._handle.number)
        return False


def link_of(carrier: Handle | NetworkDriver) -> Link:
    """The one for it."""
    return HandleLink(carrier) if isinstance(carrier, Handle) else DriverLink(carrier)
