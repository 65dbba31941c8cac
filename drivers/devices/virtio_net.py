"""Virtio network interface, legacy interface.

Source: Virtual I/O Device 1.2 (OASIS), section 5.1.

Covers: MAC address, link status, sending and receiving Ethernet frames, each in a buffer of its own. Not: checksums and segmentation by the
device, merged receive buffers, the control queue (filters, promiscuous mode, VLANs), several pairs of queues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from enum import IntFlag
from typing import Final

from beamlike import record
from drivers.devices.virtio import NOTIFY, Buffer, Queue, Virtio
from drivers.errors import DeviceError
from drivers.memory import Memory
from drivers.space import IoSpace

DEVICE: Final = 0x1000
"""Its PCI device ID, of virtio.VENDOR."""
RECEIVE, SEND = 0, 1
MAC_SIZE: Final = 6
LINK: Final = 6
LINK_UP: Final = 1
HEADER: Final = 10  # what comes before a frame; all 0: nothing is asked of the device
SHORTEST, LONGEST = 14, 1514  # bytes of a frame, without its check sequence
BUFFERS: Final = 16
TIMEOUT: Final = 5.0


class Feature(IntFlag):
    """What an interface can do."""

    MAC = 1 << 5
    STATUS = 1 << 16


@record(frozen=False)
class Statistics:
    """Frames since the driver was made."""

    sent: int = 0
    received: int = 0
    too_short: int = 0
    """That came in with less than 14 bytes, and were passed over."""


class VirtioNet:
    """An interface. `start` it first; several processes may send then.

    Frames that come in while all buffers are full are lost: it is Ethernet.

    Args:
        base: of its ports: `virtio.open_function`.
        memory: for queues and buffers, of 1.5 KiB each.
        buffers: for frames that come in.
        timeout: seconds that sending may take.
    """

    def __init__(self, io: IoSpace, base: int, memory: Memory, buffers: int = BUFFERS, timeout: float = TIMEOUT) -> None:
        if buffers < 1:
            raise ValueError(f"{buffers} buffers for frames that come in: expected at least 1")
        self.io = io
        self.virtio = Virtio(io, base, memory, f"virtio network interface at port {base:#x}")
        self.buffers = buffers
        self.timeout = timeout
        self.mac = b""
        """Its address, 6 bytes; b"": it does not say."""
        self._counted = Statistics()
        self._receive: Queue | None = None
        self._send: Queue | None = None

    async def start(self) -> None:
        """Reset it, and set it up.

        Raises: DeviceAbsentError, DeviceTimeoutError as `Virtio.begin`; DeviceError: what it says of itself makes no sense; MemoryError.
        It may have memory for its queues then, which `stop` gives back.
        """
        self._receive = self._send = None
        virtio = self.virtio
        async with virtio.setting_up(Feature.MAC | Feature.STATUS):
            self.mac = bytes(virtio.config(each, 1) for each in range(MAC_SIZE)) if virtio.features & Feature.MAC else b""
            receive, send = virtio.queue(RECEIVE), virtio.queue(SEND)
            for _ in range(min(self.buffers, receive.size // 2)):
                self._offer(receive, virtio.memory.take(HEADER + LONGEST))
        receive.notify()
        self._receive, self._send = receive, send

    async def stop(self) -> None:
        """Reset it: it has no memory of ours any more, and who waits gets a DeviceError. Raises: DeviceTimeoutError."""
        self._receive = self._send = None
        await self.virtio.reset()

    @property
    def is_link_up(self) -> bool:
        """Is there a cable? One that cannot tell says yes."""
        return not self.virtio.features & Feature.STATUS or bool(self.virtio.config(LINK, 2) & LINK_UP)

    async def send(self, frame: bytes) -> None:
        """Send a frame: destination, source, type and data, without check sequence. When this returns, the device has taken it.

        Raises: ValueError: not 14 to 1514 bytes; DeviceTimeoutError; DeviceError: it was not started, or makes no sense; MemoryError.
        """
        if not SHORTEST <= len(frame) <= LONGEST:
            raise ValueError(f"a frame of {len(frame)} bytes: expected {SHORTEST} to {LONGEST}")
        await _started(self._send, self.virtio).room(2, self.timeout)
        queue = _started(self._send, self.virtio)
        at = self.virtio.memory.take(HEADER + len(frame))
        try:
            self.io.store(at, bytes(HEADER) + frame)
            chain = queue.add([Buffer(at, HEADER), Buffer(at + HEADER, len(frame))], [], [at])
        except BaseException:
            self.virtio.memory.give_back(at)
            raise
        queue.notify()
        await queue.finish(chain, self.timeout)
        queue.release(chain)
        self._counted.sent += 1

    async def receive(self, timeout: float) -> bytes:
        """Wait for the next frame.

        Raises: DeviceTimeoutError: none has come; or as `try_receive`.
        """
        found: deque[bytes] = deque()

        def has_one() -> bool:
            frame = self.try_receive()
            if frame is not None:
                found.append(frame)
            return bool(found)

        await self.io.until(has_one, timeout, f"{self.virtio.name}: a frame")
        return found.popleft()

    def try_receive(self) -> bytes | None:
        """The next frame, or None: there is none now. Those that are too short are passed over.

        Raises: DeviceError: it was not started, or says that it has written what cannot be: then `start` it again.
        """
        return next(self._waiting(), None)

    def _waiting(self) -> Iterator[bytes]:
        """Of as many frames as there can be now: whatever comes meanwhile, it comes to an end."""
        for _ in range(self.buffers):
            frame = self._take()
            if frame is None:
                return
            if frame:
                yield frame

    def _take(self) -> bytes | None:
        """The next frame; b"": it was too short; None: there is none."""
        queue = _started(self._receive, self.virtio)
        self.io.may_port(self.virtio.base + NOTIFY, 2)  # else the buffer could not go back
        chain = queue.take()
        if chain is None:
            return None
        (at,) = chain.owned
        size = (chain.written or 0) - HEADER
        try:
            frame = self.io.load(at + HEADER, size) if size > 0 else b""
        finally:
            self._offer(queue, at)
            queue.notify()
        if size < 0:
            raise DeviceError(f"{self.virtio.name}: {chain.written} bytes came in, expected a header of {HEADER} and a frame")
        if size < SHORTEST:
            self._counted.too_short += 1
            return b""
        self._counted.received += 1
        return frame

    async def frames(self) -> list[bytes]:
        """After an interrupt: all frames that have come; its line is down then. Raises: DeviceError as `try_receive`."""
        self.virtio.take_interrupts()  # first: what comes from here on interrupts again
        return list(self._waiting())

    def statistics(self) -> Statistics:
        """As of now."""
        return replace(self._counted)

    def _offer(self, queue: Queue, at: int) -> None:
        queue.add([], [Buffer(at, HEADER), Buffer(at + HEADER, LONGEST)], [at])


def _started(queue: Queue | None, virtio: Virtio) -> Queue:
    if queue is None:
        raise DeviceError(f"{virtio.name} was not started, or has been stopped")
    return queue
