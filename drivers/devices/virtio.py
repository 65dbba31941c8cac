"""Virtio over PCI by the legacy interface: registers, features and queues, which virtio's devices share.

Source: Virtual I/O Device 1.2 (OASIS), sections 2 and 3, 2.7 (split virtqueues), 4.1.4.10 and what else it says of legacy interfaces, which
are those of Virtio PCI Card Specification 0.9.5.

Covers: finding devices, reset, negotiation of 32 feature bits, status, the interrupt status, the configuration, and queues whose used ring
is believed nothing. Not: the interface of 1.0 and later (QEMU: disable-modern=on leaves the legacy one), MSI-X, indirect descriptors, event
indices: `begin` never takes these features.

Theory of operation. A queue is three tables in memory: descriptors, which name buffers and are chained; the available ring, in which the
driver puts heads of chains; the used ring, in which the device puts them back, in any order. Descriptors are only written here: which are
free, which chain is whose, and how long it is, is known without memory that the device could have written. Who waits for a chain may
be cancelled or give up, but the buffers are the device's until it says otherwise: the chain's memory is given back when it comes back, or
when the device has been reset. The end of a process resets nothing: a device that nobody has stopped goes on writing into its buffers, so
its memory is for others only when it was reset, as it is by whoever starts it anew. A device manager sees to that.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import IntFlag
from typing import Final, NamedTuple

from drivers.devices.pci import Command, Function, Pci, Space
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.memory import Memory
from drivers.space import IoSpace

VENDOR: Final = 0x1AF4
OFFERED, TAKEN, PAGE, SIZE, SELECT, NOTIFY, STATUS, ISR, CONFIG = 0, 4, 8, 12, 14, 16, 18, 19, 20
PAGE_SIZE: Final = 4096
LARGEST_QUEUE: Final = 32768
NEXT, WRITABLE = 1, 2
NO_NOTIFY: Final = 1
DESCRIPTOR: Final = struct.Struct("<QIHH")
ELEMENT: Final = struct.Struct("<II")
RESET_TIMEOUT: Final = 1.0


class Status(IntFlag):
    """How far the driver is."""

    ACKNOWLEDGE = 0x01
    DRIVER = 0x02
    DRIVER_OK = 0x04
    NEEDS_RESET = 0x40
    """The device has met something that it cannot go on with."""
    FAILED = 0x80


class Isr(IntFlag):
    """Why it has interrupted."""

    QUEUE = 1
    CONFIG = 2
    """Its configuration has changed."""


class Buffer(NamedTuple):
    """Some memory of the machine."""

    address: int
    size: int


class Chain:
    """Buffers that the device has, or has had."""

    def __init__(self, descriptors: Sequence[int], size: int, writable: int, owned: Sequence[int]) -> None:
        self.descriptors = descriptors
        self.size = size
        """Bytes of all of them."""
        self.writable = writable
        """Bytes that the device may write."""
        self.owned = owned
        """Pieces of memory that are given back with it."""
        self.written: int | None = None
        """Bytes that it has written, or at most so many; None: it has not come back."""
        self.is_left = False
        """Nobody waits for it any more."""
        self.is_lost = False
        """The device was reset."""


class Queue:
    """One queue; made by `Virtio.queue`. Nothing that the device writes is believed."""

    def __init__(self, virtio: Virtio, number: int, size: int) -> None:
        self.io = virtio.io
        self.memory = virtio.memory
        self.virtio = virtio
        self.number = number
        self.size = size
        available = DESCRIPTOR.size * size
        used = _page(available + 6 + 2 * size)
        self.bytes = used + _page(6 + ELEMENT.size * size)
        self.address = self.memory.take(self.bytes, PAGE_SIZE)
        self.available = self.address + available
        self.used = self.address + used
        self.io.store(self.address, bytes(self.bytes))
        self._free = deque(range(size))
        self._with_device: dict[int, Chain] = {}  # by the heads
        self._added = 0  # the available ring's index
        self._seen = 0  # of the used ring's
        self._is_closed = False

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.virtio.name}: queue {self.number}"

    @property
    def free(self) -> int:
        """Descriptors that are free: how many buffers `add` could take now."""
        return len(self._free)

    @property
    def count(self) -> int:
        """Chains that the device has."""
        return len(self._with_device)

    def add(self, readable: Sequence[Buffer], writable: Sequence[Buffer], owned: Sequence[int] = ()) -> Chain:
        """Give the device buffers, of which it reads the first ones and writes the others; `notify` tells it.

        Args:
            owned: pieces of `memory` that go back when the chain comes back and nobody waits for it, or by `release`.

        Raises: ValueError: no buffers, or more than `free`; CapabilityError: the caller may not touch the queue.
        """
        self.io.may_memory(self.address, self.bytes)  # before anything has changed
        self.io.may_port(self.virtio.base + NOTIFY, 2)
        buffers = [*readable, *writable]
        if not 0 < len(buffers) <= len(self._free):
            raise ValueError(f"{self.name}: {len(buffers)} buffers, expected 1 to {len(self._free)}, which are free now")
        descriptors = [self._free.popleft() for _ in buffers]
        for i, (at, buffer) in enumerate(zip(descriptors, buffers, strict=True)):
            is_last = i == len(buffers) - 1
            flags = (0 if is_last else NEXT) | (WRITABLE if i >= len(readable) else 0)
            entry = DESCRIPTOR.pack(buffer.address, buffer.size, flags, 0 if is_last else descriptors[i + 1])
            self.io.store(self.address + DESCRIPTOR.size * at, entry)
        chain = Chain(descriptors, sum(each.size for each in buffers), sum(each.size for each in writable), owned)
        self._with_device[descriptors[0]] = chain
        self.io.write16(self.available + 4 + 2 * (self._added % self.size), descriptors[0])
        self._added = (self._added + 1) & 0xFFFF
        self.io.write16(self.available + 2, self._added)  # last: what it stands for is there
        return chain

    def notify(self) -> None:
        """Tell the device that there is something new, unless it does not want to know."""
        if not self.io.read16(self.used) & NO_NOTIFY:
            self.io.outw(self.virtio.base + NOTIFY, self.number)

    def take(self) -> Chain | None:
        """The next chain that came back, which is the caller's then; None: there is none now. Those that were left are not shown.

        Raises: DeviceError: the used ring makes no sense, and so it is until the device is reset; or that has happened.
        """
        if self._is_closed:
            raise DeviceError(f"{self.name}: the device was reset")
        while True:
            done = (self.io.read16(self.used + 2) - self._seen) & 0xFFFF
            if done == 0:
                return None
            if done > len(self._with_device):
                raise DeviceError(f"{self.name}: the used ring shows {done} chains that came back, of {len(self._with_device)} that it has")
            head, written = ELEMENT.unpack(self.io.load(self.used + 4 + ELEMENT.size * (self._seen % self.size), ELEMENT.size))
            chain = self._with_device.get(head)
            if chain is None:
                raise DeviceError(f"{self.name}: the used ring shows chain {head}, which it does not have")
            if written > chain.size:
                raise DeviceError(f"{self.name}: {written} bytes were written, it says, to a chain of {chain.size}")
            self._seen = (self._seen + 1) & 0xFFFF
            del self._with_device[head]
            self._free.extend(chain.descriptors)
            chain.written = min(written, chain.writable)  # some legacy devices count what they have read, too (2.7.8, 5.2.6)
            if not chain.is_left:
                return chain
            self.release(chain)

    async def room(self, count: int, timeout: float) -> None:
        """Wait until so many descriptors are free. Raises: DeviceTimeoutError, DeviceError as `take`."""

        def has_room() -> bool:
            self._collect()
            return self.free >= count

        await self.io.until(has_room, timeout, f"{self.name}: {count} free descriptors")

    async def finish(self, chain: Chain, timeout: float) -> int:
        """Wait until it has come back. How many bytes were written. What is `owned` is the caller's then, to `release`.

        A checkpoint if it has not yet. Whoever is cancelled or times out has left the chain, with all that is owned, to the device.

        Raises: DeviceTimeoutError; DeviceError as `take`, and if the device was reset meanwhile.
        """

        def is_done() -> bool:
            if chain.written is None and not chain.is_lost:
                self._collect()
            return chain.written is not None or chain.is_lost

        try:
            await self.io.until(is_done, timeout, lambda: f"{self.name}: an answer")
        except BaseException:
            if chain.written is None:
                chain.is_left = True
            else:  # somebody else has collected it, but now nobody will have it
                self.release(chain)
            raise
        if chain.is_lost:
            raise DeviceError(f"{self.name}: the device was reset before it answered")
        assert chain.written is not None
        return chain.written

    def _collect(self) -> None:
        """Those who wait for them see what came back."""
        while self.take() is not None:
            pass

    def release(self, chain: Chain) -> None:
        """Give back the memory of a chain that has come back."""
        for each in chain.owned:
            self.memory.give_back(each)
        chain.owned = ()

    def close(self) -> None:
        """The device was reset, and has nothing any more."""
        self._is_closed = True
        for chain in self._with_device.values():
            chain.is_lost = True
            self.release(chain)
        self._with_device.clear()
        self.memory.give_back(self.address)


class Virtio:
    """The registers of a device, at the ports from `base`.

    Args:
        memory: for queues and buffers.
        name: for messages.
    """

    def __init__(self, io: IoSpace, base: int, memory: Memory, name: str) -> None:
        self.io = io
        self.base = base
        self.memory = memory
        self.name = name
        self.features = 0
        """That both sides have."""
        self._queues: list[Queue] = []

    async def begin(self, wanted: int) -> None:
        """Reset it, and take of these features what it offers.

        Raises: DeviceAbsentError: nobody answers; DeviceTimeoutError: it does not become reset.
        """
        if self.io.inb(self.base + STATUS) == 0xFF:
            raise DeviceAbsentError(f"{self.name}: nobody answers at port {self.base + STATUS:#x}")
        await self.reset()
        self._set(Status.ACKNOWLEDGE)
        self._set(Status.DRIVER)
        self.features = self.io.inl(self.base + OFFERED) & wanted
        self.io.outl(self.base + TAKEN, self.features)

    @asynccontextmanager
    async def setting_up(self, wanted: int) -> AsyncIterator[None]:
        """`begin`; then the block, which sets up queues; then `go`. If that does not succeed, the device is told, and does nothing."""
        await self.begin(wanted)
        try:
            yield
            self.go()
        except BaseException:
            self._set(Status.FAILED)
            raise

    def queue(self, number: int) -> Queue:
        """Set one up, between `begin` and `go`. Raises: DeviceError: there is none, or of no size; MemoryError."""
        self.io.outw(self.base + SELECT, number)
        size = self.io.inw(self.base + SIZE)
        if not 0 < size <= LARGEST_QUEUE or size & (size - 1):
            raise DeviceError(f"{self.name}: queue {number} has a size of {size}, expected a power of 2 up to {LARGEST_QUEUE}")
        made = Queue(self, number, size)
        self._queues.append(made)
        self.io.outl(self.base + PAGE, made.address // PAGE_SIZE)
        if (shown := self.io.inl(self.base + PAGE)) != made.address // PAGE_SIZE:
            raise DeviceError(f"{self.name}: queue {number} shows page {shown:#x}, not {made.address // PAGE_SIZE:#x} that was written")
        return made

    def go(self) -> None:
        """All is set up: it may work. Raises: DeviceError: it does not take that."""
        self._set(Status.DRIVER_OK)
        self.check()

    def check(self) -> None:
        """Raises: DeviceError: it is not at work, or wants to be reset."""
        status = self.status
        if status & (Status.DRIVER_OK | Status.NEEDS_RESET | Status.FAILED) != Status.DRIVER_OK:
            raise DeviceError(f"{self.name} shows the status {status!r}, expected DRIVER_OK")

    @property
    def status(self) -> Status:
        """How far it says that the driver is."""
        return Status(self.io.inb(self.base + STATUS))

    def _set(self, bit: Status) -> None:
        self.io.outb(self.base + STATUS, self.status | bit)

    def take_interrupts(self) -> Isr:
        """Why it has interrupted since the last time; its line goes down."""
        return Isr(self.io.inb(self.base + ISR) & (Isr.QUEUE | Isr.CONFIG))

    async def reset(self) -> None:
        """Make it forget everything; all buffers are the driver's again. Raises: DeviceTimeoutError: it does not say that it has."""
        self.io.outb(self.base + STATUS, 0)
        await self.io.until(lambda: self.status == 0, RESET_TIMEOUT, f"{self.name}: reset")
        queues, self._queues = self._queues, []
        for each in queues:
            each.close()

    def config(self, offset: int, width: int) -> int:
        """What is in its configuration."""
        return self.io.port_in(self.base + CONFIG + offset, width)


def open_function(pci: Pci, function: Function) -> int:
    """Enable it, as a bus master, too. The base of its registers, a port.

    Raises: DeviceError: it has no legacy interface, or that has no address yet: `pci_setup.assign` gives it one.
    """
    ports = next((each for each in pci.bars(function) if each.number == 0 and each.space is Space.IO), None)
    if ports is None or ports.address == 0:
        raise DeviceError(f"PCI {function.address}: base address 0 is {ports}, expected ports with an address")
    pci.enable(function, Command.IO | Command.MASTER)
    return ports.address


def _page(size: int) -> int:
    return size + -size % PAGE_SIZE
