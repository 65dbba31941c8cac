"""The virtio network interface, on both machines. What is outside: the model's host side; a socket, of which each datagram is a frame.

QEMU differs from the model in these: frames for which there is no buffer wait outside instead of being lost, and so do those that the
socket has no room for; and a change of the configuration sets both bits of the interrupt status, not the one for that alone.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import Play, on

import caps
from beamlike import receive, record, run, self_pid, send, spawn
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.pci import Pci
from drivers.devices.pci_setup import Piix3, assign, number_buses
from drivers.devices.virtio import CONFIG, NOTIFY, VENDOR, Isr, Queue, open_function
from drivers.devices.virtio_net import DEVICE, Statistics, VirtioNet
from drivers.memory import Memory
from drivers.models.virtio_net import MAC, VirtioNetModel

LINE = 10
MODELS: list[Any] = [("pci",), VirtioNetModel]
BRIDGED: list[Any] = [("pci",), ("pci_bridge",), ("pci_behind", 2), VirtioNetModel]


@record
class Sent:
    number: int


class Outside:
    """Of the interface, on either machine."""

    def __init__(self, folder: Path) -> None:
        self.theirs = folder / "qemu"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "test"))
        self.socket.setblocking(False)
        self.qemu = [
            *("-netdev", f"dgram,id=n,local.type=unix,local.path={self.theirs},remote.type=unix,remote.path={folder / 'test'}"),
            *("-device", f"virtio-net-pci,netdev=n,disable-modern=on,mac={MAC.hex(':')}"),
        ]

    def feed(self, io: Any, frame: bytes) -> None:
        if io.name == "portbus":
            assert io.models[VirtioNetModel].feed(frame)
        else:
            self.socket.sendto(frame, str(self.theirs))

    async def next(self, io: Any) -> bytes:
        """The next frame that goes out."""

        def look() -> bytes | None:
            if io.name == "portbus":
                found: bytes | None = io.models[VirtioNetModel].taken()
                return found
            try:
                return self.socket.recv(4096)
            except BlockingIOError:
                return None

        frame = await io.until(look, 5, "a frame that goes out")
        assert isinstance(frame, bytes)
        return frame

    def set_link(self, io: Any, is_up: bool) -> None:
        if io.name == "portbus":
            io.models[VirtioNetModel].set_link(is_up)
        else:
            io.qmp("set_link", name="n", up=is_up)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    made = Outside(tmp_path)
    yield made
    made.socket.close()


def frame(number: int, size: int = 60) -> bytes:
    return b"\xff" * 6 + MAC + b"\x88\xb5" + bytes((number + i) & 0xFF for i in range(size - 14))


def base_of(io: IoSpace) -> int:
    pci = Pci(io)
    number_buses(pci)
    assign(pci)
    (function,) = pci.find(VENDOR, DEVICE)
    Piix3(pci).route(function, LINE)
    return open_function(pci, function)


async def started(io: IoSpace, **options: Any) -> VirtioNet:
    net = VirtioNet(io, base_of(io), Memory(io), **options)
    await net.start()
    return net


def test_it_has_its_address_and_a_link(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        assert net.mac == MAC
        assert net.is_link_up

    play(check, MODELS, outside.qemu)


@pytest.mark.parametrize("size", [14, 60, 1000, 1514])
def test_frames_go_out_and_come_in_as_they_are(play: Play, outside: Outside, size: int) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        await net.send(frame(1, size))
        assert await outside.next(io) == frame(1, size)
        outside.feed(io, frame(2, size))
        assert await net.receive(5) == frame(2, size)
        assert net.try_receive() is None

    play(check, MODELS, outside.qemu)


def test_many_frames_keep_their_order_and_all_memory_comes_back(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io, buffers=4)
        free = net.virtio.memory.free
        for number in range(600):
            await net.send(frame(number))
            assert await outside.next(io) == frame(number)
            outside.feed(io, frame(number, 61))
            assert await net.receive(5) == frame(number, 61)
        assert net.virtio.memory.free == free

    play(check, MODELS, outside.qemu)


def test_as_many_frames_as_there_are_buffers_may_wait(play: Play, outside: Outside) -> None:
    async def check(io: Any) -> None:
        net = await started(io, buffers=8)
        for number in range(8):
            outside.feed(io, frame(number))
        if io.name == "portbus":
            assert not io.models[VirtioNetModel].feed(frame(8))
        assert [await net.receive(5) for _ in range(8)] == [frame(number) for number in range(8)]
        outside.feed(io, frame(9))
        assert await net.receive(5) == frame(9)

    play(check, MODELS, outside.qemu)


def test_processes_send_at_the_same_time(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        parent = self_pid()

        async def sender(number: int) -> None:
            await net.send(frame(number))
            send(parent, Sent(number))

        for number in range(40):
            spawn(sender, number)
        assert {await outside.next(io) for _ in range(40)} == {frame(number) for number in range(40)}
        assert {(await receive(Sent, timeout=5)).number for _ in range(40)} == set(range(40))

    play(check, MODELS, outside.qemu)


def test_a_frame_is_an_interrupt_until_it_is_taken(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        io.lines.attach(LINE)
        for number in (1, 2):
            outside.feed(io, frame(number))
            assert (await receive(Interrupt, timeout=5)).number == number
            assert net.virtio.take_interrupts() == Isr.QUEUE
            assert await net.receive(5) == frame(number)

    play(check, MODELS, outside.qemu)


@on("portbus")  # only there a frame comes at a moment that a test can name
def test_frames_that_come_as_fast_as_they_are_taken_are_taken_by_more_than_one_interrupt(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io, buffers=4)
        io.lines.attach(LINE)
        offer, fed = net._offer, 1

        def offer_and_feed(queue: Queue, at: int) -> None:
            nonlocal fed
            offer(queue, at)
            if fed < 1000:
                outside.feed(io, frame(fed))
                fed += 1

        net._offer = offer_and_feed  # type: ignore[method-assign]
        outside.feed(io, frame(0))
        found: list[bytes] = []
        while len(found) < 1000:
            await receive(Interrupt, timeout=5)
            some = await net.frames()
            assert len(some) <= 4
            found += some
        assert found == [frame(number) for number in range(1000)]

    play(check, MODELS, outside.qemu)


def test_frames_that_are_too_short_are_passed_over_and_those_around_them_come(play: Play, outside: Outside) -> None:
    """Anybody can send such, so they are no fault of the device, after which its driver would have to begin anew."""

    async def check(io: IoSpace) -> None:
        net = await started(io)
        for number in range(20):
            outside.feed(io, frame(number))
            outside.feed(io, frame(number)[:13])
            outside.feed(io, frame(number, 61))
            assert await net.receive(5) == frame(number)
            assert await net.receive(5) == frame(number, 61)
        assert net.statistics() == Statistics(received=40, too_short=20)

    play(check, MODELS, outside.qemu)


@pytest.mark.parametrize("what", ["port", "queues", "buffer"])
def test_who_may_not_touch_the_queues_or_a_buffer_takes_none_away(play: Play, outside: Outside, what: str) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io, buffers=1)
        free, parent = net.virtio.memory.free, self_pid()
        notify, buffer = net.virtio.base + NOTIFY, next(iter(net.virtio._queues[0]._with_device.values())).owned[0]
        queues = net.virtio._queues
        excluded: dict[str, list[Any]] = {
            "port": [("port_io", notify, notify + 2)],
            "queues": [("raw_memory", each.address, each.address + each.bytes) for each in queues],
            "buffer": [("raw_memory", buffer, buffer + 64)],
        }

        async def restricted() -> None:
            for call in (net.receive(5), net.send(frame(1))):
                try:
                    await call
                except caps.CapabilityError:
                    send(parent, "refused")
                else:
                    send(parent, "done")

        outside.feed(io, frame(0))
        spawn(restricted, exclude=excluded[what])
        assert await receive(str, timeout=5) == "refused"
        assert await receive(str, timeout=5) == ("done" if what == "buffer" else "refused")
        assert net.virtio.memory.free == free
        if what == "buffer":  # it had taken the frame
            outside.feed(io, frame(0))
        assert await net.receive(5) == frame(0)
        outside.feed(io, frame(2))
        assert await net.receive(5) == frame(2)

    play(check, MODELS, outside.qemu)


def test_behind_a_bridge_frames_and_interrupts_get_through(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        io.lines.attach(LINE)
        outside.feed(io, frame(1))
        await receive(Interrupt, timeout=5)
        assert await net.receive(5) == frame(1)
        await net.send(frame(2))
        assert await outside.next(io) == frame(2)

    play(check, BRIDGED, ["-device", "pci-bridge,id=b,chassis_nr=1", *outside.qemu[:-1], outside.qemu[-1] + ",bus=b,addr=0"])


def test_a_link_that_goes_down_is_told_with_an_interrupt(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        io.lines.attach(LINE)
        for is_up in (False, True):
            outside.set_link(io, is_up)
            await receive(Interrupt, timeout=5)
            assert Isr.CONFIG in net.virtio.take_interrupts()
            assert net.is_link_up is is_up
        outside.feed(io, frame(1))
        assert await net.receive(5) == frame(1)

    play(check, MODELS, outside.qemu)


def test_nothing_that_comes_is_a_timeout(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        with pytest.raises(DeviceTimeoutError, match=r"a frame: not within 0\.02 s"):
            await net.receive(0.02)
        outside.feed(io, frame(1))
        assert await net.receive(5) == frame(1)

    play(check, MODELS, outside.qemu)


def test_frames_and_buffers_that_cannot_be(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        for size in (13, 1515):
            with pytest.raises(ValueError, match=f"a frame of {size} bytes: expected 14 to 1514"):
                await net.send(bytes(size))
        with pytest.raises(ValueError, match="0 buffers"):
            VirtioNet(io, 0xC000, Memory(io), buffers=0)

    play(check, MODELS, outside.qemu)


def test_more_buffers_than_fit_the_queue_are_as_many_as_fit(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io, buffers=1000)
        outside.feed(io, frame(1))
        assert await net.receive(5) == frame(1)

    play(check, MODELS, outside.qemu)


def test_an_interface_that_was_stopped_can_be_started_again(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        net = await started(io)
        await net.send(frame(1))
        await net.stop()
        assert net.virtio.memory.free == net.virtio.memory.size
        with pytest.raises(DeviceError, match="was not started, or has been stopped"):
            await net.send(frame(1))
        with pytest.raises(DeviceError, match="was not started, or has been stopped"):
            net.try_receive()
        await net.start()
        outside.feed(io, frame(2))
        assert await net.receive(5) == frame(2)

    play(check, MODELS, outside.qemu)


def test_nobody_at_the_ports(play: Play, outside: Outside) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="nobody answers"):
            await VirtioNet(io, 0xC800, Memory(io)).start()

    play(check, MODELS, outside.qemu)


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        ({"length": 9}, "9 bytes came in, expected a header of 10"),
        ({"length": 0}, "0 bytes came in, expected a header of 10"),
    ],
)
def test_a_frame_that_is_none_is_an_error_and_the_next_one_comes(lie: dict[str, int], match: str) -> None:
    """On the port bus, whose device can lie."""

    async def check(io: PortBus, net: VirtioNet, model: VirtioNetModel) -> None:
        model.lie(**lie)
        model.feed(frame(1))
        with pytest.raises(DeviceError, match=match):
            await net.receive(5)
        model.feed(frame(2))
        assert await net.receive(5) == frame(2)

    _on_portbus(check)


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        ({"length": 1525}, "1525 bytes were written, it says, to a chain of 1524"),
        ({"length": 0xFFFF_FFFF}, "4294967295 bytes"),
        ({"head": 1}, "shows chain 1, which it does not have"),
        ({"head": 127}, "shows chain 127"),
        ({"head": 0xFFFF_FFFE}, "shows chain 4294967294"),
    ],
)
def test_a_ring_that_makes_no_sense_is_an_error_until_it_is_started_again(lie: dict[str, int], match: str) -> None:
    """On the port bus, as above; `test_virtio_blk` has such rings in QEMU, too."""

    async def check(io: PortBus, net: VirtioNet, model: VirtioNetModel) -> None:
        model.lie(**lie)
        model.feed(frame(1))
        for _ in range(2):
            with pytest.raises(DeviceError, match=match):
                await net.receive(5)
        await net.start()
        model.feed(frame(2))
        assert await net.receive(5) == frame(2)

    _on_portbus(check)


def test_frames_that_nobody_outside_takes_fill_the_queue_and_sending_times_out() -> None:
    """On the port bus: how many fit a socket is not said."""

    async def check(io: PortBus, net: VirtioNet, model: VirtioNetModel) -> None:
        for number in range(64):
            await net.send(frame(number))
        with pytest.raises(DeviceTimeoutError, match="queue 1: an answer"):
            await net.send(frame(64))
        assert [model.taken(), model.taken()] == [frame(0), frame(1)]
        await net.send(frame(65))
        assert [model.taken() for _ in range(65)] == [*(frame(number) for number in range(2, 66)), None]

    _on_portbus(check)


def test_a_lost_notification_is_a_timeout() -> None:
    """On the port bus, whose ports can be broken."""

    async def check(io: PortBus, net: VirtioNet, model: VirtioNetModel) -> None:
        io.fault(Fault.LOSE, net.virtio.base + NOTIFY, count=1)
        free = net.virtio.memory.free
        with pytest.raises(DeviceTimeoutError, match="queue 1: an answer: not within 5 s"):
            await net.send(frame(1))
        await net.send(frame(2))
        assert [model.taken(), model.taken()] == [frame(1), frame(2)]
        assert net.virtio.memory.free == free

    _on_portbus(check)


def test_what_it_does_not_offer_is_not_used() -> None:
    """On the port bus, where features can be hidden."""

    async def check(io: PortBus, net: VirtioNet, model: VirtioNetModel) -> None:
        io.fault(Fault.ZEROS, range(net.virtio.base, net.virtio.base + 4))
        await net.start()
        io.fault(Fault.ZEROS, net.virtio.base + CONFIG + 6)
        assert net.mac == b""
        assert net.is_link_up
        await net.send(frame(1))
        assert model.taken() == frame(1)

    _on_portbus(check)


def _on_portbus(check: Any) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pci")
        model = VirtioNetModel(bus)
        await check(bus, await started(bus), model)

    run(main)
