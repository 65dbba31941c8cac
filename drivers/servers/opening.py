"""Having a device: what programs call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Self

from beamlike import CallError, Pid, call, self_pid, sleep
from beamlike.seam import now
from drivers.errors import DeviceAbsentError, DeviceError, DeviceTimeoutError, MachineStoppedError
from drivers.servers import grants
from drivers.servers.device import DeviceInfo
from drivers.servers.grants import DeviceBusyError, DeviceLostError, GrantRevokedError, Want
from drivers.servers.manager import Close, List, Open, Opened, Revoke, Where
from drivers.servers.server import Command, Failed

LOOK: Final = 0.005  # seconds between two looks whether a driver is up
CALL_TIMEOUT: Final = 60.0  # seconds for a command from another node: drivers have deadlines of their own

_ERRORS: Final[dict[str, type[Exception]]] = {
    each.__name__: each
    for each in (
        TypeError,
        ValueError,
        PermissionError,
        DeviceBusyError,
        DeviceLostError,
        GrantRevokedError,
        DeviceError,
        DeviceAbsentError,
        DeviceTimeoutError,
        MachineStoppedError,
    )
}


class Handle:
    """A device, or a part of one, that the calling process has opened. Not for others: it counts who uses it.

    `await handle.do("read", 0, 8)` runs a method of the driver, on its node in this very process, from elsewhere in the device's server.
    """

    def __init__(self, manager: Any, name: str, opened: Opened) -> None:
        self.name = name
        self.number = opened.grant
        self._manager = manager
        self._server = opened.server
        self._grant = grants.grant_of(opened.grant) if _is_here(manager) else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} of {self.name}>"

    async def do(self, command: str, *args: Any, **options: Any) -> Any:
        """Run a method of the driver.

        Raises:
            ValueError: there is no such command, or it is not within what was granted. TypeError: it takes other arguments.
            GrantRevokedError, DeviceLostError: see there.
            PermissionError: the caller has got exclusions since, that refuse the device.
            DeviceError: what the driver says.
        """
        if self._grant is not None:
            self._check_owner(self._grant)
            return await self._grant.perform(command, args, options)
        return await self._ask(Command(self.number, command, args, options))

    def _check_owner(self, grant: grants.Grant) -> None:
        if grant.owner != self_pid():
            raise GrantRevokedError(f"{self.name} was opened by {grant.owner}, not by {self_pid()}")

    def lend(self, owner: Pid, blocks: tuple[int, int], check_access: Callable[[], None]) -> Opened:
        """Let another process have some of the blocks that this one has, until this grant ends, or it gives them back, or they are taken
        (`end_grant`). On the machine's node only.

        Args:
            check_access: raises CapabilityError unless the running process may have them. It is asked for nothing else, such as ports.

        Raises: RuntimeError: it is another node's; DeviceBusyError: some of them are lent; GrantRevokedError; ValueError: they are not in
            this grant.
        """
        if self._grant is None:
            raise RuntimeError(f"{self.name} is on another node, and parts of it are lent there")
        self._check_owner(self._grant)
        self._grant.check()
        start, _ = self._grant.want.blocks or (0, 0)
        if not 0 <= blocks[0] < blocks[1] <= self.sectors:
            raise ValueError(f"blocks {blocks[0]} to {blocks[1] - 1} are not in the {self.sectors} of {self.name} that can be lent")
        want = Want(blocks=(start + blocks[0], start + blocks[1]))
        part = grants.give(self._grant.device, owner, want, check_access, self._grant)
        return Opened(part.number, self._grant.device.server)

    async def _ask(self, command: Command, is_again: bool = False) -> Any:
        if self._server is None:
            self._server = await _call(self._manager, Where(self.number))
        if self._server is None:
            raise DeviceLostError(f"the driver of {self.name} is being started again: wait for DeviceBack")
        try:
            return checked(await call(self._server, command, timeout=CALL_TIMEOUT))
        except CallError as error:
            if type(error.reason) is tuple and error.reason[:1] == ("refused",):
                raise PermissionError(error.reason[1]) from None
            self._server = None
            if error.reason == "noproc" and not is_again:
                return await self._ask(command, True)
            raise DeviceLostError(f"the driver of {self.name} has ended: {error}") from error

    @property
    def is_good(self) -> bool:
        """Is it the owner's still? Raises: RuntimeError: the machine is another node's."""
        if self._grant is None:
            raise RuntimeError(f"{self.name} is on another node, which knows")
        return self._grant.is_good

    @property
    def sectors(self) -> int:
        """How many blocks it has. On the machine's node."""
        if self._grant is None:
            raise RuntimeError(f"{self.name} is on another node")
        start, end = self._grant.want.blocks or (0, self._grant.device.sectors)
        return end - start

    async def close(self) -> None:
        """Give it back. Does nothing if it is no good any more. Raises: GrantRevokedError: another process has opened it."""
        if self._grant is not None:
            self._check_owner(self._grant)
        try:
            await _call(self._manager, Close(self.number))
        except GrantRevokedError:
            return
        except CallError as error:
            if error.reason != "noproc":  # with the manager all its grants are gone
                raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def _is_here(manager: Any) -> bool:
    return type(manager) is str or (type(manager) is Pid and manager.node == self_pid().node)


async def _call(manager: Any, request: Any) -> Any:
    try:
        return checked(await call(manager, request))
    except CallError as error:
        if type(error.reason) is tuple and error.reason[:1] == ("refused",):
            raise PermissionError(error.reason[1]) from None
        raise


def checked(answer: Any) -> Any:
    """Raises what an answer stands for."""
    if type(answer) is Failed:
        raise _ERRORS.get(answer.kind, DeviceError)(answer.text)
    return answer


async def open_device(
    manager: Any,
    name: str,
    *,
    blocks: tuple[int, int] | None = None,
    address: bytes | None = None,
    udp_port: int | None = None,
    rate: float | None = None,
    timeout: float = 10.0,
) -> Handle:
    """Have a device, or a part of it, until `close`, or the end of this process. See `Want`.

    `timeout`: seconds to wait until its driver is up, which it is not yet just after the start, or after a crash.

    While it lasts, the process gets `DeviceData`, `DeviceLost`, `DeviceBack`, `GrantAsked` and `GrantTaken` messages.

    Raises:
        DeviceAbsentError: there is no such device.
        DeviceBusyError: somebody has it, or some of it.
        DeviceLostError: its driver did not come up in that time. MachineStoppedError: its machine has stopped.
        ValueError: it cannot be divided like that.
        PermissionError: an exclusion refuses the device, its ports, memory or interrupts.
        CallError: there is no such manager.
    """
    if type(timeout) not in (int, float) or not timeout >= 0:
        raise ValueError(f"open_device: timeout is {timeout!r:.40}, expected a number of seconds >= 0")
    deadline = now() + timeout
    while True:
        try:
            return Handle(manager, name, await _call(manager, Open(name, Want(blocks, address, udp_port, rate))))
        except DeviceLostError:
            if now() >= deadline:
                raise
        await sleep(LOOK)


def end_grant(number: int, reason: str) -> None:
    """Take what was lent. Nothing, if it has ended."""
    grant = grants.grant_of(number)
    if grant is not None:
        grant.end(reason)


async def list_devices(manager: Any) -> list[DeviceInfo]:
    """All devices, and who has them."""
    found: list[DeviceInfo] = await _call(manager, List())
    return found


async def revoke_device(manager: Any, name: str, timeout: float = 5.0) -> int:
    """Ask all who have a grant for a device to give it back, and take it after `timeout` seconds. To how many it was said.

    Raises: DeviceAbsentError; PermissionError: `("device", name)` is excluded.
    """
    told: int = await _call(manager, Revoke(name, timeout))
    return told
