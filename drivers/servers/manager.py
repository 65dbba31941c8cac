"""The device manager: the control plane of a machine's devices. It supervises their servers, and hands them out.

A device whose driver cannot come up is tried again, with growing pauses, and held after too many times: the others do not notice.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import caps
from beamlike import Backoff, Caller, ChildSpec, Down, GenServer, Pid, Supervisor, monitor, record
from beamlike.seam import Process, Timer, current_process, extra, now, on_release, push_timer, tell
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.interrupts import MachineStopped
from drivers.servers import grants
from drivers.servers.device import Device
from drivers.servers.grants import DeviceLostError, Grant, GrantAsked, GrantRevokedError, Want
from drivers.servers.server import DeviceServer, Failed

INTENSITY, PERIOD = 10, 5.0  # restarts of a driver in so many seconds, before it is held
MOST_SECONDS: Final = 1_000_000  # that an owner may be given to give something back
BACKOFF: Final = Backoff(first=0.001, most=0.05)


@record
class Open:
    """Asked by `open_device`; the answer is Opened."""

    name: str
    want: Want


@record
class Opened:
    grant: int
    server: Pid | None


@record
class Close:
    grant: int


@record
class Revoke:
    name: str
    seconds: float


@record
class List:
    pass


@record
class Where:
    grant: int


class DeviceManager(GenServer, guarded=True):
    """See the module. `DeviceManager.start_link(devices)`; it is asked by the functions in opening.py.

    Raises: ValueError: two of them have one name, or one is another manager's, which would use it at the same time.
    """

    child_type = "supervisor"

    async def init(self, devices: list[Device], intensity: int = INTENSITY, period: float = PERIOD) -> None:
        if not isinstance(devices, list) or not all(isinstance(each, Device) for each in devices):
            raise ValueError(f"a device manager is started with a list of devices, as of find_devices(), not with {devices!r:.80}")
        self.devices = {each.name: each for each in devices}
        if len(self.devices) != len(devices):
            raise ValueError(f"two devices have one name: {', '.join(sorted(each.name for each in devices))}")
        _claim(current_process(), devices)
        for grant in self._grants():
            grant.end("the device manager was started again")
        for lines in {device.io.lines for device in devices}:
            lines.watch()
        self.owners: dict[Pid, Any] = {}  # and the refs of our monitors
        specs = [ChildSpec.of(DeviceServer, each, id=each.name) for each in devices]
        self.supervisor = await Supervisor.start_link(specs, intensity=intensity, period=period, backoff=BACKOFF, hold=True)

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        try:
            return self._answer(request, caller)
        except (DeviceError, ValueError) as error:
            return Failed(type(error).__name__, str(error))

    def _answer(self, request: Any, caller: Caller) -> Any:
        match request:
            case List():
                return [each.info() for each in self.devices.values()]
            case Open(name, want) if type(want) is Want:
                return self._open(name, want, caller.pid)
            case Close(number):
                self._grant(number, caller.pid).end("closed", is_told=False)
                return None
            case Where(number):
                return self._grant(number, caller.pid).device.server
            case Revoke(name, seconds):
                return self._revoke(self._device(name), seconds)
        raise ValueError(f"the device manager is asked by its functions, not with {request!r:.80}")

    async def handle_info(self, message: Any) -> None:
        match message:
            case MachineStopped():
                for device in self.devices.values():
                    if device.io.stopped is not None:
                        device.gone()
            case Down(ref=ref, object=pid) if self.owners.get(pid) == ref:  # nobody else knows the ref
                del self.owners[pid]
                for grant in self._grants():
                    if grant.owner == pid:
                        grant.end("its owner has ended")

    def _open(self, name: str, want: Want, owner: Pid) -> Opened:
        device = self._device(name)
        device.check_access()
        _check_want(device, want)
        grant = grants.give(device, owner, want, device.check_access)
        if owner not in self.owners:
            self.owners[owner] = monitor(owner)
        return Opened(grant.number, device.server)

    def _revoke(self, device: Device, seconds: float) -> int:
        caps.check("device", device.name)
        if type(seconds) not in (int, float) or not 0 <= seconds <= MOST_SECONDS:
            raise ValueError(f"revoke_device: timeout is {seconds!r:.40}, expected a number of seconds from 0 to {MOST_SECONDS}")
        for grant in device.grants:
            tell(grant.owner, GrantAsked(device.name, grant.number, seconds))
            push_timer(Timer(None, None, partial(_take, grant), seconds, None), now() + seconds)
        return len(device.grants)

    def _device(self, name: str) -> Device:
        device = self.devices.get(name) if type(name) is str else None
        if device is None:
            raise DeviceAbsentError(f"there is no device {name!r:.80}: expected one of {', '.join(self.devices) or 'none'}")
        return device

    def _grants(self) -> list[Grant]:
        return [grant for device in self.devices.values() for grant in device.grants]

    def _grant(self, number: int, owner: Pid) -> Grant:
        grant = grants.grant_of(number)
        if grant is None or grant.owner != owner or grant.device not in self.devices.values():
            raise GrantRevokedError(f"{owner} has no grant {number} any more")
        return grant


_managed: dict[Process, list[Device]] = {}  # by whom, on this node


def _claim(manager: Process, devices: list[Device]) -> None:
    for other, theirs in _managed.items():
        taken = [each.name for each in devices if any(each is its or each.overlaps(its) for its in theirs)]
        if taken:
            raise ValueError(f"another device manager, {other.pid}, has what these take up: {', '.join(taken)}")
    extra(manager)  # so that its end is told to `on_release`
    _managed[manager] = devices


def _released(process: Process, reason: Any) -> None:
    _managed.pop(process, None)


on_release.append(_released)


def _take(grant: Grant) -> bool:
    """The time to give it back is over."""
    grant.end("it was not given back in time")
    return False


def _check_want(device: Device, want: Want) -> None:
    if device.io.stopped is not None:
        raise device.io.gone()
    if device.driver is None:
        raise DeviceLostError(device.lost())
    if want.blocks is not None:
        if not device.kind.has_blocks:
            raise ValueError(f"{device.name} is a {device.kind.name}, and has no blocks")
        if type(want.blocks) is not tuple or [type(each) for each in want.blocks] != [int, int]:
            raise ValueError(f"blocks is {want.blocks!r:.80}, expected a half-open range of two ints")
        start, end = want.blocks
        if not 0 <= start < end:
            raise ValueError(f"blocks is {want.blocks!r}, expected (start, end), half-open, with 0 <= start < end")
        if end > device.sectors:
            raise ValueError(f"blocks {start} to {end - 1} are not on {device.name}, which has {device.sectors}")
    if (want.address is not None or want.udp_port is not None) and not device.kind.has_frames:
        raise ValueError(f"{device.name} is a {device.kind.name}, and has no frames")
    if want.address is not None and (type(want.address) is not bytes or len(want.address) != 6):
        raise ValueError(f"{want.address!r} is no network address: expected 6 bytes")
    if want.udp_port is not None and want.address is None:
        raise ValueError("udp_port divides the frames of an address, which is missing")
    if want.udp_port is not None and (type(want.udp_port) is not int or not 0 < want.udp_port < 65536):
        raise ValueError(f"{want.udp_port!r:.40} is no UDP port: expected 1 to 65535")
    if want.rate is not None and (type(want.rate) not in (int, float) or not 0 < want.rate < float("inf")):
        raise ValueError(f"{want.rate!r:.40} is no rate: expected a number > 0")
