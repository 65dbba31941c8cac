"""Grants: what opening a device gives. Rights to all or a part of it, that overlap nobody's, and that can be taken back (after Arrakis:
Peter et al., "Arrakis: The Operating System is the Control Plane", OSDI 2014).

Theory of operation. Opening asks the manager once (the control plane): it checks the exclusions of who opens, and that the part is nobody
else's. From then on (the data plane) the owner, if it is on the machine's node, uses the driver from its own process, and nobody else runs
in between; from another node it asks the device's server. Each use looks at three things and no more: is it still the owner, is the grant
still good, are the caller's exclusions still those that were checked. If these have grown, they are checked anew (C1).
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from beamlike import Pid, record, sleep
from beamlike.seam import current_layers, now, tell
from drivers.errors import DeviceError

if TYPE_CHECKING:
    from drivers.servers.device import Device

BROADCAST: Final = b"\xff" * 6
ARP: Final = b"\x08\x06"


class GrantRevokedError(DeviceError):
    """The grant is no good any more: it was revoked, given back, or somebody who is not its owner uses it."""


class DeviceBusyError(DeviceError):
    """Somebody else has the device, or the part of it that was asked for. The message says who."""


class DeviceLostError(DeviceError):
    """The driver has crashed and is being started again, or is held: the grant stays, and works again after `DeviceBack`."""


@record
class Want:
    """What part of a device somebody wants, and how fast; as it is, all of it.

    blocks: half-open range of the disk's blocks, which then count from 0.
    address: a network address of six bytes: frames to it, and to all, are its own, and it sends from no other.
    udp_port: of these the datagrams to this port only, and it sends from no other; and ARP, without which there are no datagrams.
    rate: bytes a second, of a disk, or frames a second; more wait.
    """

    blocks: tuple[int, int] | None = None
    address: bytes | None = None
    udp_port: int | None = None
    rate: float | None = None


@record
class GrantAsked:
    """To the owner: give this back within so many seconds, by `close`, or it is taken."""

    device: str
    grant: int
    seconds: float


@record
class GrantTaken:
    """To the owner: this is no good any more."""

    device: str
    grant: int
    reason: str


_numbers = itertools.count(1)


class Grant:
    """Of one owner, at one device. On the machine's node; what a program has is a `Handle`.

    Args:
        check_access: raises CapabilityError unless the running process may (still) have it.
        parent: the one of which it is a part, and with which it ends.
    """

    def __init__(self, device: Device, owner: Pid, want: Want, check_access: Callable[[], None], parent: Grant | None = None) -> None:
        self.number = next(_numbers)
        self.device = device
        self.owner = owner
        self.want = want
        self.check_access = check_access
        self.parent = parent
        self.ended = ""
        """Why it is no good any more; empty: it is."""
        self.checked = current_layers()
        self._free_at = now()  # of the rate: when what was done so far is paid for

    @property
    def is_good(self) -> bool:
        """Is it the owner's still?"""
        return not self.ended

    def overlaps(self, want: Want) -> bool:
        """Would both be somebody's at the same time?"""
        mine = self.want
        if mine.blocks is not None and want.blocks is not None:
            return mine.blocks[0] < want.blocks[1] and want.blocks[0] < mine.blocks[1]
        if mine.address is not None and want.address is not None:
            return mine.address == want.address and (mine.udp_port is None or want.udp_port is None or mine.udp_port == want.udp_port)
        return True

    def check(self) -> None:
        """Raises: GrantRevokedError; CapabilityError: the caller has got exclusions meanwhile that refuse it."""
        self.check_good()
        layers = current_layers()
        if layers is not self.checked:
            self.check_access()
            self.checked = layers

    def check_good(self) -> None:
        """Raises: GrantRevokedError."""
        if not self.is_good:
            raise GrantRevokedError(f"the grant {self.number} for {self.device.name} has ended: {self.ended}")

    def line(self) -> list[Grant]:
        """This one, and those that it is a part of."""
        return [self] if self.parent is None else [self, *self.parent.line()]

    async def perform(self, command: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Run one of the driver's methods, for the owner, in the process that calls this.

        Raises: as `check`; ValueError: it is no command, or not within what was granted; DeviceLostError; DeviceError as the driver does.
        """
        self.check()
        device = self.device
        if type(command) is not str or command not in device.kind.commands:
            raise ValueError(f"{device.name} has no command {command!r}: expected one of {', '.join(sorted(device.kind.commands))}")
        args, cost = self._restricted(command, args, options)
        await sleep(0)  # a device that is always ready would let nobody else have a turn
        for each in self.line():
            if each.want.rate is not None and cost:
                await each._pay(cost, each.want.rate)
        async with device.lock:
            self.check()  # it may have been taken while this waited
            if device.io.stopped is not None:
                raise device.io.gone()
            driver = device.driver
            if driver is None:
                raise DeviceLostError(device.lost())
            if device.is_busy:  # somebody has died in the midst of something
                server = device.server
                driver = await device.make()
                if device.server != server:
                    raise DeviceLostError(device.lost())
                device.up(driver)
                self.check()
            device.is_busy = True
            try:
                result = self._size(driver, *args, **options) if command == "size" else getattr(driver, command)(*args, **options)
                if inspect.isawaitable(result):
                    result = await result
            except (DeviceError, ValueError):
                device.is_busy = False  # a driver that reports something has put the device in order
                raise
            except TypeError as error:
                if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # it was not called at all
                    device.is_busy = False
                raise TypeError(f"{command}{_parameters(driver, command)} was given {_shown(args, options)}: {error}") from error
            device.is_busy = False
            return result

    def _restricted(self, command: str, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], int]:
        """The arguments as the driver gets them, and what that costs of the rate."""
        device = self.device
        if device.kind.has_blocks and command in ("read", "write"):
            what = "a number of blocks" if command == "read" else "bytes"
            if len(args) != 2 or options:
                raise ValueError(f"{command} expects the first block, and {what}; got {_shown(args, options)}")
            size = device.driver.sector_size if device.driver is not None else 512
            first, rest = args
            if command == "write":
                rest = _copied(rest)
            count = rest if command == "read" else -(-len(rest) // size)
            if type(first) is not int or type(count) is not int:
                raise ValueError(f"{command} expects the first block, and {what}; got {_shown(args, options)}")
            if self.want.blocks is not None:
                start, end = self.want.blocks
                if first < 0 or count < 0 or first + count > end - start:
                    raise ValueError(f"blocks {first} to {first + count - 1} are not in the {end - start} that were granted, from 0")
                first += start
            return (first, rest), count * size
        if device.kind.has_frames and command == "send":
            if len(args) != 1 or options:
                raise ValueError(f"send expects a frame; got {_shown(args, options)}")
            frame = _copied(args[0])
            if self.want.address is not None:
                self._check_frame(frame, self.want.address)
            return (frame,), 1
        return args, 0

    def _check_frame(self, frame: bytes, address: bytes) -> None:
        if frame[6:12] != address:
            raise ValueError(f"the frame is from {frame[6:12].hex(':')}, and what was granted is {address.hex(':')}")
        is_asking = frame[12:14] == ARP and frame[22:28] == address  # it may say nothing of other addresses
        if self.want.udp_port is not None and not is_asking and udp_ports(frame)[:1] != (self.want.udp_port,):
            raise ValueError(f"the frame is no datagram from port {self.want.udp_port}, which is what was granted")

    def _size(self, driver: Any) -> tuple[int, int]:
        """So many blocks are granted, of so many bytes."""
        start, end = self.want.blocks or (0, driver.sectors)
        return end - start, driver.sector_size

    async def _pay(self, cost: int, rate: float) -> None:
        """Wait until what was done before is paid for."""
        self._free_at = max(self._free_at, now())
        wait = self._free_at - now()
        self._free_at += cost / rate
        if wait > 0:
            await sleep(wait)

    def takes(self, frame: bytes) -> bool:
        """Is it for its owner? Broadcasts are for all of them."""
        want = self.want
        if want.address is None:
            return True
        to = frame[:6]
        if to == BROADCAST:
            return want.udp_port is None or frame[12:14] != b"\x08\x00" or want.udp_port in udp_ports(frame)[1:]
        return to == want.address and (want.udp_port is None or frame[12:14] == ARP or want.udp_port in udp_ports(frame)[1:])

    def end(self, reason: str, *, is_told: bool = True) -> None:
        """It is no good any more. Its owner is told, unless it knows."""
        if self.is_good:
            self.ended = reason
            self.device.grants.remove(self)
            _grants.pop(self.number, None)
            for part in [each for each in self.device.grants if each.parent is self]:
                part.end(reason)
            if is_told:
                tell(self.owner, GrantTaken(self.device.name, self.number, reason))
            self.device.left()


def _shown(args: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Arguments, for a message."""
    return ", ".join([*(f"{each!r:.40}" for each in args), *(f"{name}={value!r:.40}" for name, value in options.items())]) or "nothing"


def _parameters(driver: Any, command: str) -> str:
    """Of a command, for a message."""
    return (
        "()" if command == "size" else str(inspect.signature(getattr(driver, command)).replace(return_annotation=inspect.Signature.empty))
    )


def _copied(data: Any) -> bytes:
    """What somebody else could change while this waits."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ValueError(f"expected bytes, got {data!r:.40}")
    return bytes(data)


_grants: WeakValueDictionary[int, Grant] = WeakValueDictionary()  # good ones, which their devices have: a node may end with some


def give(device: Device, owner: Pid, want: Want, check_access: Callable[[], None], parent: Grant | None = None) -> Grant:
    """Give a part of a device to a process; of a grant, its owner may give parts away.

    Raises: DeviceBusyError: it is somebody else's; GrantRevokedError: of what it is a part is no good any more.
    """
    above = [] if parent is None else parent.line()
    for each in above:
        each.check_good()
    for other in device.grants:
        if other not in above and other.overlaps(want):
            has = "this process has" if other.owner == owner else f"{other.owner} has"
            raise DeviceBusyError(f"{device.name}: {_part(want)} cannot be had: {has} {_part(other.want)} already")
    grant = Grant(device, owner, want, check_access, parent)
    device.grants.append(grant)
    _grants[grant.number] = grant
    return grant


def grant_of(number: Any) -> Grant | None:
    """The good grant of this number."""
    return _grants.get(number) if type(number) is int else None


def _part(want: Want) -> str:
    if want.blocks is not None:
        return f"blocks {want.blocks[0]} to {want.blocks[1] - 1}"
    if want.address is not None:
        return want.address.hex(":") + ("" if want.udp_port is None else f", port {want.udp_port}")
    return "all of it"


def udp_ports(frame: bytes) -> tuple[int, ...]:
    """Source and destination of a frame that is a UDP datagram in IPv4, whole and the first fragment; else nothing."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4 or frame[23] != 17:
        return ()
    at = 14 + (frame[14] & 15) * 4
    if frame[14] & 15 < 5 or len(frame) < at + 8 or int.from_bytes(frame[20:22], "big") & 0x1FFF:
        return ()
    return int.from_bytes(frame[at : at + 2], "big"), int.from_bytes(frame[at + 2 : at + 4], "big")
