"""Virtio disks and network interfaces, which are on PCI.

Theory of operation. Nobody but the finder uses PCI's configuration space: it gives out bus numbers, addresses and interrupts, and lets each
device answer at its ports and be a bus master, before there is a driver. What a driver has then is the ports, and a range of memory for
queues and buffers, that nobody else has.

An interrupt message says that a line has gone up, and a line of PCI stays up until all who share its wire are quiet. So disks, whose
drivers look by themselves, have their interrupts switched off, and a network interface whose wire another one has already is left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from drivers.devices.pci import Command, Function, Pci
from drivers.devices.pci_setup import Piix3, assign, number_buses
from drivers.devices.virtio import VENDOR, open_function
from drivers.devices.virtio_blk import DEVICE as DISK
from drivers.devices.virtio_blk import VirtioBlk
from drivers.devices.virtio_net import DEVICE as NETWORK
from drivers.devices.virtio_net import VirtioNet
from drivers.errors import DeviceError
from drivers.memory import Memory
from drivers.narrowed import narrowed
from drivers.servers import kinds
from drivers.servers.device import Device, Ranges
from drivers.space import IoSpace

LINES: Final = (11, 5, 7, 10)  # that ISA devices have least use for, one a wire
SHARE: Final = 0x4_0000  # bytes for a device: of a disk the queue, 12 KiB, and requests, each 128 KiB
PAGE: Final = 4096


async def find_virtio(io: IoSpace) -> list[Device]:
    """All of them that come up, and for which there is memory. Raises: DeviceAbsentError: no PCI, or no router of interrupts."""
    pci = Pci(io)
    number_buses(pci)
    bars = assign(pci)
    router = Piix3(pci)
    memory = Memory(io)
    found: list[Device] = []
    for function in pci.scan():
        if function.vendor != VENDOR or function.device not in (DISK, NETWORK):
            continue
        try:
            base = open_function(pci, function)
            ports = tuple((bar.address, bar.end) for bar in bars[function.address] if bar.number == 0)
            start = memory.take(SHARE, PAGE)
            lines: tuple[int, ...] = ()
            if function.device == DISK:
                pci.enable(function, Command.NO_INTERRUPT)
            else:
                lines = (_line(router, function, found),)
            found.append(await _device(io, function.device, base, ports, ((start, start + SHARE),), lines, found))
        except (DeviceError, MemoryError, PermissionError):
            pci.disable(function)
    return found


def _line(router: Piix3, function: Function, found: list[Device]) -> int:
    taken = {line for each in found for line in each.lines}
    line = router.line_of(function)
    if line is None:
        line = next(each for each in LINES if each not in taken)  # four wires have four lines
        router.route(function, line)
    if line in taken:
        raise DeviceError(f"PCI {function.address}: another network interface has its interrupt line {line}")
    return line


async def _device(
    io: IoSpace, which: int, base: int, ports: Ranges, memory: Ranges, lines: tuple[int, ...], others: list[Device]
) -> Device:
    space = narrowed(io, ports, memory)
    ((start, _),) = memory

    async def make_disk() -> VirtioBlk:
        disk = VirtioBlk(space, base, Memory(space, start, SHARE))
        await disk.start()
        return disk

    async def make_network() -> VirtioNet:
        card = VirtioNet(space, base, Memory(space, start, SHARE))
        await card.start()
        return card

    make: Callable[[], Awaitable[Any]]
    if which == DISK:
        disk = await make_disk()
        about = f"virtio disk at {base:#x}, {disk.sectors} blocks of {disk.sector_size} bytes"
        kind, name, make = kinds.DISK, "vd", make_disk
    else:
        about = f"virtio network interface at {base:#x}, {(await make_network()).mac.hex(':')}"
        kind, name, make = kinds.NETWORK, "eth", make_network
    number = sum(each.kind is kind for each in others)
    return Device(io, f"{name}{number}", kind, about, make, ports=ports, memory=memory, lines=lines)
