"""The server of a device: it brings the device up, takes its interrupts, and works for owners on other nodes.

Erlang's port contract, with a device for the port: one owner for what is granted to it; its commands are calls, what comes from the device
are messages to it (`DeviceData`), its end gives the device back, and the crash of the driver is told to it (`DeviceLost`, `DeviceBack`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from beamlike import Caller, Continue, GenServer, record
from beamlike.seam import copy_value, current_process, tell
from drivers.errors import DeviceError, MachineStoppedError
from drivers.interrupts import Interrupt
from drivers.servers.device import Device, DeviceData, DeviceIdle
from drivers.servers.grants import GrantRevokedError, grant_of


@record
class Command:
    """A call to a device's server, by the owner of a grant."""

    grant: int
    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]


@record
class Failed:
    """The answer to a command that failed: the name of the exception, and its text."""

    kind: str
    text: str


class DeviceServer(GenServer, guarded=True):
    """One for each device. A driver that fails ends it, and its supervisor starts it again, from a reset of the device on."""

    async def init(self, device: Device) -> Continue:
        self.device = device
        device.serve(current_process())
        return Continue("begin")

    async def handle_continue(self, value: Any) -> None:
        device = self.device
        async with device.lock:  # an owner may be in the midst of something
            for line in device.lines:
                device.io.lines.attach(line)
            self.seen = {line: device.io.lines.last[line] for line in device.lines}
            device.up(await device.make())

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        if type(request) is not Command or type(request.args) is not tuple or type(request.options) is not dict:
            return Failed("ValueError", f"{self.device.name} is asked by the handle that open_device() gave, not with {request!r:.80}")
        grant = grant_of(request.grant)
        if grant is None or grant.device is not self.device or grant.owner != caller.pid:
            return Failed(GrantRevokedError.__name__, f"{caller.pid} has no grant {request.grant} for {self.device.name}")
        try:
            result = await grant.perform(request.name, request.args, request.options)
        except (DeviceError, TypeError, ValueError) as error:  # the owner's affair
            return Failed(type(error).__name__, str(error))
        except (AttributeError, LookupError, ArithmeticError) as error:
            # Perhaps of its arguments, which it must not be able to end this by. The device is brought up anew before its next use.
            return Failed(ValueError.__name__, f"{request.name}: {type(error).__name__}: {error}")
        try:
            return copy_value(result)
        except TypeError as error:
            return Failed(TypeError.__name__, f"{request.name}: {error}")

    async def handle_info(self, message: Any) -> None:
        if type(message) is DeviceIdle:
            await self._rest()
        if type(message) is Interrupt and type(message.line) is int and message.line in self.seen:
            last = self.device.io.lines.last[message.line]
            if type(message.number) is int and self.seen[message.line] < message.number <= last:  # else somebody has made it up
                self.seen[message.line] = message.number
                await self._handle_interrupt()

    async def _rest(self) -> None:
        device = self.device
        async with device.lock:
            if device.kind.idle is not None and device.driver is not None and not device.grants:  # nobody has opened it meanwhile
                with suppress(MachineStoppedError):
                    device.kind.idle(device.driver)

    async def _handle_interrupt(self) -> None:
        device = self.device
        async with device.lock:
            if device.is_busy:  # an owner has died in the midst of something
                device.up(await device.make())
            if device.driver is None:
                return  # it comes up yet
            found = await device.kind.data_of(device.driver)
        for data in found:
            owners = dict.fromkeys(grant.owner for grant in device.grants if not device.kind.has_frames or grant.takes(data))
            for owner in owners:
                tell(owner, DeviceData(device.name, data))
