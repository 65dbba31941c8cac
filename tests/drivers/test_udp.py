"""UDP over network drivers and handles, on both machines: first what is in frames, then an endpoint, with a peer that is this test."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machines import Play, on
from network import Outside
from test_servers import ready

from beamlike import Down, Pid, exit, receive, run, self_pid, send, sleep, spawn, spawn_monitor
from drivers import IoSpace, PortBus
from drivers.models.ne2000 import MAC
from drivers.servers.device import Device
from drivers.servers.grants import DeviceLostError, GrantAsked, GrantRevokedError, udp_ports
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import open_device, revoke_device
from drivers.services import arp, ethernet, icmp, ipv4, udp
from drivers.services.drops import Drop
from drivers.services.udp import BACKLOG, LARGEST, Udp

PEER = bytes.fromhex("020000000001")
US, THEM, OTHER = "10.0.0.2", "10.0.0.1", "10.0.0.9"
ADDRESS = f"{US}/24"
PORT, THEIR_PORT = 7, 4000

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
stations = st.binary(min_size=6, max_size=6).filter(ethernet.is_station)
ports = st.integers(0, 65535)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


@pytest.fixture(params=["ne2000", "virtio"])
def outside(request: pytest.FixtureRequest, play: Play, tmp_path: Path) -> Iterator[Outside]:
    made = Outside(play, tmp_path, request.param)
    yield made
    made.socket.close()


# --- what is in a frame ---


def frame_of(packet: ipv4.Packet, to: bytes = MAC, source: bytes = PEER) -> bytes:
    return ethernet.encode(ethernet.Frame(to, source, ethernet.IPV4, ipv4.encode(packet)))


def datagram(data: bytes, *, source: str = THEM, to: str = US, port: int = PORT, their_port: int = THEIR_PORT) -> ipv4.Packet:
    return udp.encode(udp.Datagram(their_port, port, data), IPv4Address(source), IPv4Address(to))


def arp_frame(operation: arp.Operation, *, mac: bytes = PEER, address: str = THEM, target: str = US, to: bytes = MAC) -> bytes:
    target_mac = bytes(6) if operation is arp.Operation.REQUEST else MAC
    packet = arp.Packet(operation, mac, IPv4Address(address), target_mac, IPv4Address(target))
    return ethernet.encode(ethernet.Frame(to, mac, ethernet.ARP, arp.encode(packet)))


def test_the_checksum_of_rfc_1071() -> None:
    assert ipv4.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2  # its section 3
    assert ipv4.checksum(b"") == ipv4.checksum(bytes(20)) == 0xFFFF
    assert ipv4.checksum(b"\xff\xff") == ipv4.checksum(b"\xff\xff\xff\xff") == 0


@given(st.binary(max_size=300))
def test_the_checksum_is_the_sum_of_the_words_with_its_carries(data: bytes) -> None:
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    assert ipv4.checksum(data) == 0xFFFF - total


def test_a_datagram_is_as_the_rfcs_say() -> None:
    """Worked out by hand: without the checksums the sums are 0xd933 of the header, and 0x4139 of the datagram and its pseudo header."""
    made = frame_of(datagram(b"abc", their_port=0x1234, port=0x5678))
    header, rest = made[14:34], made[34:]
    assert made[:14] == MAC + PEER + b"\x08\x00"
    assert header.hex(" ") == "45 00 00 1f 00 00 40 00 40 11 26 cc 0a 00 00 01 0a 00 00 02"
    assert rest.hex(" ") == "12 34 56 78 00 0b be c6 61 62 63"


@given(ports, ports, st.binary(max_size=LARGEST), addresses, addresses, st.binary(max_size=30))
def test_datagrams_come_out_as_they_went_in(source: int, to: int, data: bytes, theirs: IPv4Address, ours: IPv4Address, more: bytes) -> None:
    sent = udp.Datagram(source, to, data)
    packet = ipv4.decode(ipv4.encode(udp.encode(sent, theirs, ours)) + more)  # padding
    assert isinstance(packet, ipv4.Packet)
    assert (packet.source, packet.to) == (theirs, ours)
    assert udp.decode(packet) == sent


@given(st.sampled_from(arp.Operation), stations, addresses, stations, addresses, st.binary(max_size=30))
def test_arp_packets_come_out_as_they_went_in(
    operation: arp.Operation, mac: bytes, address: IPv4Address, target_mac: bytes, target: IPv4Address, more: bytes
) -> None:
    packet = arp.Packet(operation, mac, address, target_mac, target)
    assert arp.decode(arp.encode(packet) + more) == packet


@given(st.binary(min_size=4, max_size=200))
def test_an_answer_to_an_echo_has_all_that_was_in_it(data: bytes) -> None:
    answer = icmp.answer(icmp.echo(data))
    assert answer == icmp.echo(data, icmp.ECHO_REPLY)
    assert icmp.answer(answer) is Drop.NOT_OURS


@given(st.binary(max_size=80), st.integers(0, 8 * 28 - 1))
def test_a_bit_that_was_changed_on_the_way_is_seen(data: bytes, bit: int) -> None:
    whole = bytearray(ipv4.encode(datagram(data)))
    whole[bit // 8] ^= 1 << bit % 8
    packet = ipv4.decode(bytes(whole))
    assert isinstance(packet, Drop) or isinstance(udp.decode(packet), Drop) or bytes(whole[26:28]) == bytes(2)  # "no checksum"
    if isinstance(packet, ipv4.Packet):
        assert bit >= 160  # the header's own checksum is for the others


WRONG: list[tuple[str, Any, Drop]] = [
    ("nothing", lambda made: b"", Drop.SHORT),
    ("no whole header", lambda made: made[:19], Drop.SHORT),
    ("version 6", lambda made: b"\x65" + made[1:], Drop.MALFORMED),
    ("a header of 16 bytes", lambda made: b"\x44" + made[1:], Drop.MALFORMED),
    ("a header that is longer than all", lambda made: fixed(b"\x4f" + made[1:]), Drop.MALFORMED),
    ("less than the header", lambda made: fixed(made[:2] + b"\x00\x13" + made[4:]), Drop.MALFORMED),
    ("more than has come", lambda made: made[:-1], Drop.SHORT),
    ("a wrong checksum", lambda made: made[:10] + b"\0\0" + made[12:], Drop.CHECKSUM),
    ("the first fragment", lambda made: fixed(made[:6] + b"\x20\x00" + made[8:]), Drop.FRAGMENT),
    ("the last fragment", lambda made: fixed(made[:6] + b"\x00\x01" + made[8:]), Drop.FRAGMENT),
    ("one in the middle", lambda made: fixed(made[:6] + b"\x3f\xff" + made[8:]), Drop.FRAGMENT),
    ("a datagram without a header", lambda made: fixed(made[:2] + b"\x00\x1b" + made[4:27]), Drop.SHORT),
    ("a datagram of 7 bytes", lambda made: made[:24] + b"\x00\x07" + made[26:], Drop.MALFORMED),
    ("a datagram that is longer than its packet", lambda made: made[:24] + b"\x00\x0c" + made[26:], Drop.SHORT),
    ("a datagram with a wrong checksum", lambda made: made[:26] + b"\x00\x01" + made[28:], Drop.CHECKSUM),
]


def fixed(packet: bytes) -> bytes:
    """With the right checksum of its header."""
    header = packet[:10] + b"\0\0" + packet[12:20]
    return packet[:10] + ipv4.checksum(header).to_bytes(2, "big") + packet[12:]


@pytest.mark.parametrize(("change", "drop"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_dropped_and_it_is_said_why(change: Callable[[bytes], bytes], drop: Drop) -> None:
    packet = ipv4.decode(change(ipv4.encode(datagram(b"abc"))))
    assert (packet if isinstance(packet, Drop) else udp.decode(packet)) is drop


def test_options_are_passed_over_and_a_datagram_need_have_no_checksum() -> None:
    made = ipv4.encode(datagram(b"abc"))
    with_options = fixed(b"\x46" + made[1:2] + (len(made) + 4).to_bytes(2, "big") + made[4:20])
    header = with_options[:10] + b"\0\0" + with_options[12:20] + b"\x01\x01\x01\x00"
    header = header[:10] + ipv4.checksum(header).to_bytes(2, "big") + header[12:]
    packet = ipv4.decode(header + made[20:26] + b"\0\0" + made[28:])
    assert isinstance(packet, ipv4.Packet)
    assert udp.decode(packet) == udp.Datagram(THEIR_PORT, PORT, b"abc")


def test_the_cache_is_bounded_and_forgets() -> None:
    cache = arp.Cache(size=3, lifetime=10)
    for number in range(5):
        cache.learn(IPv4Address(number), bytes([2, 0, 0, 0, 0, number]), now=number)
    assert len(cache) == 3
    assert [cache.find(IPv4Address(number), 4) is None for number in range(5)] == [True, True, False, False, False]
    cache.learn(IPv4Address(2), PEER, now=5)  # it is the newest now
    cache.learn(IPv4Address(9), PEER, now=6)
    assert cache.find(IPv4Address(3), 6) is None
    assert cache.find(IPv4Address(2), 14.9) == PEER
    assert cache.find(IPv4Address(2), 15) is None
    assert IPv4Address(2) not in cache


# --- what comes in may be anything ---

garbage = st.one_of(
    st.binary(max_size=100),
    st.tuples(
        st.sampled_from([MAC, ethernet.EVERYBODY]), stations, st.sampled_from([b"\x08\x00", b"\x08\x06"]), st.binary(max_size=80)
    ).map(b"".join),
)


@given(st.binary(max_size=100))
def test_parsers_and_the_filter_of_grants_take_anything(data: bytes) -> None:
    assert isinstance(ethernet.decode(data), ethernet.Frame | Drop)
    assert isinstance(arp.decode(data), arp.Packet | Drop)
    assert isinstance(ipv4.decode(data), ipv4.Packet | Drop)
    assert isinstance(icmp.answer(data), bytes | Drop)
    assert isinstance(udp.decode(ipv4.Packet(IPv4Address(THEM), IPv4Address(US), 17, data)), udp.Datagram | Drop)
    assert len(udp_ports(data)) in (0, 2)
    assert len(udp_ports(MAC + PEER + b"\x08\x00" + data)) in (0, 2)


@st.composite
def damaged(draw: Any) -> bytes:
    """A frame that is right but for some bytes, and perhaps its end, and whose checksum is mostly right."""
    packets = [datagram(b"some data"), ipv4.Packet(IPv4Address(THEM), IPv4Address(US), 1, icmp.echo(b"12345678"))]
    frames = [*map(frame_of, packets), *(arp_frame(each) for each in arp.Operation)]
    made = bytearray(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(1, 3))):
        made[draw(st.integers(0, len(made) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()) and made[12:14] == b"\x08\x00":
        made[14:34] = fixed(bytes(made[14:34]))
    return bytes(made[: draw(st.integers(0, len(made)))] if draw(st.booleans()) else made)


class Heap:
    """A driver whose frames are in a list."""

    def __init__(self, frames: list[bytes]) -> None:
        self.io: IoSpace = PortBus()
        self.frames = frames
        self.sent: list[bytes] = []

    async def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    async def receive(self, timeout: float) -> bytes:
        if not self.frames:
            raise TimeoutError
        return self.frames.pop(0)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(garbage | damaged(), max_size=30))
def test_whatever_comes_is_taken_answered_or_counted(frames: list[bytes]) -> None:
    async def main() -> None:
        heap = Heap(list(frames))
        endpoint = await Udp.open(heap, MAC, ADDRESS, PORT)
        del heap.sent[:]
        got = 0
        with suppress(TimeoutError):
            while True:
                await endpoint.receive(0)
                got += 1
        assert not heap.frames
        learned = len(frames) - got - len(heap.sent) - endpoint.dropped.total()
        assert 0 <= learned <= sum(each[12:14] == b"\x08\x06" for each in frames)  # replies to what nobody asked
        for each in heap.sent:
            assert each[6:12] == MAC
            assert len(each) <= 1514

    run(main)


class Flood(Heap):
    """A driver that always has a frame, for somebody else."""

    async def receive(self, timeout: float) -> bytes:
        assert len(self.frames) < 1000, "nobody else has a turn"
        self.frames.append(frame_of(datagram(b"", to=OTHER)))
        return self.frames[-1]


def test_while_one_frame_comes_after_the_other_others_have_their_turn() -> None:
    async def main() -> None:
        endpoint = await Udp.open(Flood([]), MAC, ADDRESS, PORT)
        pid, _ = spawn_monitor(endpoint.receive)
        for _ in range(100):
            await sleep(0)
        exit(pid, "enough")
        assert (await receive(Down, timeout=5)).reason == "enough"

    run(main)


# --- an endpoint ---


class Peer:
    """At the other end of the cable."""

    def __init__(self, outside: Outside, endpoint: Udp) -> None:
        self.outside = outside
        self.endpoint = endpoint

    async def next(self) -> bytes:
        """The next frame that comes out, without padding."""
        found = await self.outside.io.until(self.outside.taken, 5, "a frame that goes out")
        assert isinstance(found, bytes)
        size = 42 if found[12:14] == b"\x08\x06" else 14 + int.from_bytes(found[16:18], "big")
        assert not any(found[size:])
        return found[:size]

    async def introduce(self) -> None:
        """Be known."""
        self.outside.feed(arp_frame(arp.Operation.REQUEST, to=ethernet.EVERYBODY))
        self.outside.feed(frame_of(datagram(b"known")))
        assert await self.endpoint.receive(5) == (b"known", (THEM, THEIR_PORT))
        assert await self.next() == reply_of_us()

    async def sees(self, frame: bytes) -> None:
        """The endpoint gets a frame, and no datagram out of it."""
        before = self.endpoint.dropped.total()
        self.outside.feed(frame)
        self.outside.feed(frame_of(datagram(b"end")))
        assert await self.endpoint.receive(5) == (b"end", (THEM, THEIR_PORT))
        assert self.endpoint.dropped.total() <= before + 1


def reply_of_us() -> bytes:
    packet = arp.Packet(arp.Operation.REPLY, MAC, IPv4Address(US), PEER, IPv4Address(THEM))
    return ethernet.encode(ethernet.Frame(PEER, MAC, ethernet.ARP, arp.encode(packet)))


def request_of_us(target: str = THEM) -> bytes:
    packet = arp.Packet(arp.Operation.REQUEST, MAC, IPv4Address(US), bytes(6), IPv4Address(target))
    return ethernet.encode(ethernet.Frame(ethernet.EVERYBODY, MAC, ethernet.ARP, arp.encode(packet)))


def by_driver(outside: Outside, check: Callable[[Udp, Peer], Awaitable[None]]) -> None:
    async def with_driver(io: Any, device: Device) -> None:
        endpoint = await Udp.open(await device.make(), MAC, ADDRESS, PORT)
        peer = Peer(outside, endpoint)
        assert await peer.next() == request_of_us(US)  # the announcement
        await check(endpoint, peer)

    outside(with_driver)


def test_datagrams_of_all_sizes_come_and_go(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        await peer.introduce()
        for size in (0, 1, 2, 17, 18, 19, 100, 511, LARGEST - 1, LARGEST):
            data = bytes((size + i) % 251 for i in range(size))
            peer.outside.feed(frame_of(datagram(data)))
            assert await endpoint.receive(5) == (data, (THEM, THEIR_PORT))
            await endpoint.send(data, (THEM, THEIR_PORT))
            back = udp.encode(udp.Datagram(PORT, THEIR_PORT, data), IPv4Address(US), IPv4Address(THEM))
            assert await peer.next() == frame_of(back, PEER, MAC)
        assert not endpoint.dropped

    by_driver(outside, check)


def test_who_has_an_address_is_asked_once(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        outside.feed(frame_of(datagram(b"early")))  # what comes meanwhile is kept
        outside.feed(arp_frame(arp.Operation.REPLY, address=OTHER))
        await endpoint.send(b"1", (OTHER, 1))
        assert await peer.next() == request_of_us(OTHER)
        assert (await peer.next())[-1:] == b"1"
        await endpoint.send(b"2", (OTHER, 1))
        assert (await peer.next())[-1:] == b"2"
        assert await endpoint.receive(0) == (b"early", (THEM, THEIR_PORT))

    by_driver(outside, check)


def test_who_does_not_answer_is_asked_again_until_the_deadline(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        begun = outside.io.now()
        with pytest.raises(TimeoutError, match=r"nobody says within 1.9 s that he has 10.0.0.9"):
            await endpoint.send(b"1", (OTHER, 1), timeout=1.9)
        assert 1.9 <= outside.io.now() - begun < 5
        for _ in range(2):
            assert await peer.next() == request_of_us(OTHER)
        assert outside.taken() is None

    by_driver(outside, check)


@on("portbus")  # whose clock is virtual: a minute takes no time
def test_what_was_learned_is_asked_anew_after_a_minute(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        await peer.introduce()
        await endpoint.send(b"1", (THEM, 1))
        assert (await peer.next())[-1:] == b"1"
        await outside.io.pause(arp.LIFETIME)
        with pytest.raises(TimeoutError):
            await endpoint.send(b"2", (THEM, 1))
        for _ in range(3):
            assert await peer.next() == request_of_us()

    by_driver(outside, check)


def test_a_station_that_has_changed_is_learned_and_strangers_are_not(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        new = PEER[:-1] + b"\x77"
        await peer.introduce()
        await peer.sees(arp_frame(arp.Operation.REQUEST, mac=new, target=OTHER, to=ethernet.EVERYBODY))  # known: learned anew
        await peer.sees(arp_frame(arp.Operation.REQUEST, address="10.0.0.8", target=OTHER, to=ethernet.EVERYBODY))
        assert endpoint.dropped == {Drop.NOT_OURS: 2}
        await endpoint.send(b"x", (THEM, 1))
        assert (await peer.next())[:6] == new
        assert IPv4Address("10.0.0.8") not in endpoint.stations
        await peer.sees(arp_frame(arp.Operation.REQUEST, address=US, target=OTHER, to=ethernet.EVERYBODY))
        await peer.sees(arp_frame(arp.Operation.REPLY, address="10.0.1.1"))
        assert endpoint.dropped == {Drop.NOT_OURS: 2, Drop.CONFLICT: 1, Drop.SOURCE: 1}
        assert len(endpoint.stations) == 1

    by_driver(outside, check)


def test_who_probes_whether_the_address_is_free_is_told_that_it_is_not(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        await peer.sees(arp_frame(arp.Operation.REQUEST, address="0.0.0.0", to=ethernet.EVERYBODY))
        packet = arp.Packet(arp.Operation.REPLY, MAC, IPv4Address(US), PEER, IPv4Address("0.0.0.0"))
        assert await peer.next() == ethernet.encode(ethernet.Frame(PEER, MAC, ethernet.ARP, arp.encode(packet)))
        await peer.sees(arp_frame(arp.Operation.REQUEST, address="0.0.0.0", target=OTHER, to=ethernet.EVERYBODY))
        await peer.sees(arp_frame(arp.Operation.REPLY, address="0.0.0.0"))
        assert endpoint.dropped == {Drop.NOT_OURS: 1, Drop.SOURCE: 1}
        assert not len(endpoint.stations)

    by_driver(outside, check)


@pytest.mark.parametrize("size", [0, 1, 56, 1468])
def test_an_echo_is_answered(outside: Outside, size: int) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        message = icmp.echo(b"\x12\x34\x00\x01" + bytes(i % 251 for i in range(size)))
        await peer.sees(frame_of(ipv4.Packet(IPv4Address(THEM), IPv4Address(US), 1, message)))
        answer = icmp.echo(message[4:], icmp.ECHO_REPLY)
        assert await peer.next() == frame_of(ipv4.Packet(IPv4Address(US), IPv4Address(THEM), 1, answer), PEER, MAC)
        assert not endpoint.dropped

    by_driver(outside, check)


def of(protocol: int, data: bytes, source: str = THEM, to: str = US) -> bytes:
    return frame_of(ipv4.Packet(IPv4Address(source), IPv4Address(to), protocol, data))


STRANGE: list[tuple[str, bytes, Drop]] = [
    ("another protocol", of(6, bytes(20)), Drop.NOT_OURS),
    ("another type", ethernet.encode(ethernet.Frame(MAC, PEER, 0x86DD, bytes(46))), Drop.NOT_OURS),
    ("another port", frame_of(datagram(b"x", port=8)), Drop.NOT_OURS),
    ("another host", frame_of(datagram(b"x", to=OTHER)), Drop.NOT_OURS),
    ("a group", frame_of(datagram(b"x", to="224.0.0.1")), Drop.NOT_OURS),
    ("from a group", frame_of(datagram(b"x", source="224.0.0.1")), Drop.SOURCE),
    ("from everybody", frame_of(datagram(b"x", source="10.0.0.255")), Drop.SOURCE),
    ("from nobody", frame_of(datagram(b"x", source="0.0.0.0")), Drop.SOURCE),
    ("from us", frame_of(datagram(b"x", source=US)), Drop.SOURCE),
    ("from another network", frame_of(datagram(b"x", source="10.0.1.1")), Drop.SOURCE),
    ("from a group of stations", frame_of(datagram(b"x"), source=b"\x01" + PEER[1:]), Drop.SOURCE),
    ("to all stations, but one host", frame_of(datagram(b"x"), to=ethernet.EVERYBODY), Drop.NOT_OURS),
    ("an echo to all stations", ethernet.EVERYBODY + of(1, icmp.echo(b"1234"))[6:], Drop.NOT_OURS),
    ("an echo to all", of(1, icmp.echo(b"1234"), to="10.0.0.255"), Drop.NOT_OURS),
    ("an answer to an echo", of(1, icmp.echo(b"1234", 0)), Drop.NOT_OURS),
    ("a damaged echo", of(1, icmp.echo(b"1234")[:-1] + b"5"), Drop.CHECKSUM),
    ("a short echo", of(1, b"\x08\x00\xf7\xff"), Drop.SHORT),
    (
        "a fragment",
        frame_of(datagram(b"x"))[:14] + fixed(b"\x45\0\0\x1d\0\0\x20\0\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02") + bytes(26),
        Drop.FRAGMENT,
    ),
    ("ARP of a group", arp_frame(arp.Operation.REQUEST, mac=b"\x01" + PEER[1:]), Drop.SOURCE),
    ("ARP of another kind", arp_frame(arp.Operation.REQUEST)[:15] + b"\x06" + arp_frame(arp.Operation.REQUEST)[16:], Drop.NOT_OURS),
    ("ARP with another operation", arp_frame(arp.Operation.REQUEST)[:21] + b"\x03" + arp_frame(arp.Operation.REQUEST)[22:], Drop.NOT_OURS),
]


@on("portbus")  # nothing here depends on the machine
@pytest.mark.parametrize(("frame", "drop"), [row[1:] for row in STRANGE], ids=[row[0] for row in STRANGE])
def test_what_is_not_for_an_endpoint_is_counted_and_nothing_is_answered(outside: Outside, frame: bytes, drop: Drop) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        await peer.sees(frame.ljust(60, b"\0"))
        assert endpoint.dropped == {drop: 1}
        assert outside.taken() is None

    by_driver(outside, check)


def test_to_all_goes_without_asking_and_comes_in(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        for host in ("10.0.0.255", "255.255.255.255"):
            await endpoint.send(b"all", (host, 9))
            sent = await peer.next()
            assert (sent[:6], sent[30:34], sent[-3:]) == (ethernet.EVERYBODY, IPv4Address(host).packed, b"all")
            outside.feed(frame_of(datagram(b"hello", to=host), to=ethernet.EVERYBODY))
            assert await endpoint.receive(5) == (b"hello", (THEM, THEIR_PORT))

    by_driver(outside, check)


def test_what_nobody_receives_is_dropped(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        for number in range(BACKLOG + 5):
            host = f"10.0.0.{100 + number}"
            outside.feed(frame_of(datagram(bytes([number]))))
            outside.feed(arp_frame(arp.Operation.REPLY, address=host))
            await endpoint.send(b"", (host, 1))  # it waits for the answer, and so sees what came before
            assert await peer.next() == request_of_us(host)
            assert (await peer.next())[30:34] == IPv4Address(host).packed
        assert endpoint.dropped == {Drop.FULL: 5}
        for number in range(BACKLOG):
            assert await endpoint.receive(0) == (bytes([number]), (THEM, THEIR_PORT))
        with pytest.raises(TimeoutError, match=r"no datagram has come to 10.0.0.2, port 7, in 0 s"):
            await endpoint.receive(0)

    by_driver(outside, check)


@on("portbus")
def test_wrong_arguments_are_refused(outside: Outside) -> None:
    async def check(endpoint: Udp, peer: Peer) -> None:
        driver: Any = Heap([])
        with pytest.raises(ValueError, match="expected up to 1472"):
            await endpoint.send(bytes(LARGEST + 1), (THEM, 1))
        for host in ("10.0.1.1", "224.0.0.1", "10.0.0.0", US, "0.0.0.0", "127.0.0.1"):
            with pytest.raises(ValueError, match=r"is no other host of 10.0.0.0/24"):
                await endpoint.send(b"", (host, 1))
        for port in (-1, 65536):
            with pytest.raises(ValueError, match="is no UDP port"):
                await endpoint.send(b"", (THEM, port))
        for port in (0, 65536):
            with pytest.raises(ValueError, match="is no UDP port"):
                await Udp.open(driver, MAC, ADDRESS, port)
        for address in ("10.0.0.0/24", "10.0.0.255/24", "224.0.0.1/4", "127.0.0.1/8", "0.0.0.0/0"):
            with pytest.raises(ValueError, match="is no host's address"):
                await Udp.open(driver, MAC, address, PORT)
        for mac in (b"", MAC[:5], ethernet.EVERYBODY, bytes(6)):
            with pytest.raises(ValueError, match="no address of a station"):
                await Udp.open(driver, mac, ADDRESS, PORT)
        assert driver.sent == []

    by_driver(outside, check)


# --- over handles ---


def by_handle(outside: Outside, check: Callable[[Pid, str], Awaitable[None]]) -> None:
    async def with_manager(io: Any, device: Device) -> None:
        manager = await DeviceManager.start_link([device], 1000)
        await ready(manager, device.name)
        await check(manager, device.name)

    outside(with_manager)


def test_over_a_handle_for_the_port_or_the_whole_address(outside: Outside) -> None:
    async def check(manager: Pid, name: str) -> None:
        for port in (PORT, None):
            async with await open_device(manager, name, address=MAC, udp_port=port) as handle:
                endpoint = await Udp.open(handle, MAC, ADDRESS, PORT)
                peer = Peer(outside, endpoint)
                assert await peer.next() == request_of_us(US)
                await peer.introduce()
                for size in (0, 100, LARGEST):
                    outside.feed(frame_of(datagram(bytes(size))))
                    assert await endpoint.receive(5) == (bytes(size), (THEM, THEIR_PORT))
                    await endpoint.send(bytes(size), (THEM, THEIR_PORT))
                    assert (await peer.next())[42:] == bytes(size)
                outside.feed(arp_frame(arp.Operation.REPLY, address=OTHER))  # not broadcast
                await endpoint.send(b"x", (OTHER, 1))
                assert await peer.next() == request_of_us(OTHER)
                assert (await peer.next())[42:] == b"x"
                assert not endpoint.dropped
                await peer.sees(of(1, icmp.echo(b"1234")))
                if port is None:
                    assert (await peer.next())[34:] == icmp.echo(b"1234", icmp.ECHO_REPLY)
                assert outside.taken() is None

    by_handle(outside, check)


def test_a_port_of_an_address_says_nothing_of_other_stations_or_ports(outside: Outside) -> None:
    async def check(manager: Pid, name: str) -> None:
        handle = await open_device(manager, name, address=MAC, udp_port=PORT)
        ours = ethernet.Frame(ethernet.EVERYBODY, MAC, ethernet.ARP, request_of_us()[14:])
        await handle.do("send", ethernet.encode(ours))
        for frame in (
            ethernet.encode(ours._replace(data=arp_frame(arp.Operation.REQUEST)[14:])),
            ethernet.encode(ours._replace(type=ethernet.IPV4)),
            ethernet.encode(ours)[:20],
            frame_of(datagram(b"", their_port=8), PEER, MAC),
        ):
            with pytest.raises(ValueError, match="which is what was granted"):
                await handle.do("send", frame)

    by_handle(outside, check)


def test_two_processes_with_a_port_each(outside: Outside) -> None:
    async def echo(boss: Pid, manager: Pid, name: str, port: int) -> None:
        endpoint = await Udp.open(await open_device(manager, name, address=MAC, udp_port=port), MAC, ADDRESS, port)
        send(boss, "ready")
        while True:
            data, peer = await endpoint.receive()
            await endpoint.send(data, peer)

    async def check(manager: Pid, name: str) -> None:
        for port in (7, 8):
            spawn(echo, self_pid(), manager, name, port)
            await receive(str, timeout=5)
        peer = Peer(outside, None)  # type: ignore[arg-type]
        outside.feed(arp_frame(arp.Operation.REQUEST, to=ethernet.EVERYBODY))
        answers = Counter([await peer.next() for _ in range(4)])
        assert answers == {request_of_us(US): 2, reply_of_us(): 2}
        for number in range(20):
            outside.feed(frame_of(datagram(bytes([number]), port=7 + number % 2)))
            back = await peer.next()
            assert (back[35], back[42:]) == (7 + number % 2, bytes([number]))

    by_handle(outside, check)


def test_a_driver_that_is_killed_loses_datagrams_and_no_more(outside: Outside) -> None:
    async def check(manager: Pid, name: str) -> None:
        server = await ready(manager, name)
        handle = await open_device(manager, name, address=MAC, udp_port=PORT)
        endpoint = await Udp.open(handle, MAC, ADDRESS, PORT)
        peer = Peer(outside, endpoint)
        assert await peer.next() == request_of_us(US)
        await peer.introduce()
        for _ in range(5):
            exit(server, "kill")
            with pytest.raises(TimeoutError):
                await endpoint.receive(0.05)  # it takes what is said of the driver
            while True:
                try:
                    await endpoint.send(b"again", (THEM, THEIR_PORT))
                    break
                except DeviceLostError:
                    await outside.io.pause(0.001)
            assert (await peer.next())[42:] == b"again"
            outside.feed(frame_of(datagram(b"back")))
            assert await endpoint.receive(5) == (b"back", (THEM, THEIR_PORT))
            await handle.close()
            server = await ready(manager, name)
            handle = await open_device(manager, name, address=MAC, udp_port=PORT)
            endpoint = await Udp.open(handle, MAC, ADDRESS, PORT)
            assert await peer.next() == request_of_us(US)
            peer = Peer(outside, endpoint)
            await peer.introduce()

    by_handle(outside, check)


def test_who_waits_is_told_that_its_grant_was_taken(outside: Outside) -> None:
    async def check(manager: Pid, name: str) -> None:
        endpoint = await Udp.open(await open_device(manager, name, address=MAC, udp_port=PORT), MAC, ADDRESS, PORT)
        await revoke_device(manager, name, 0.02)
        with pytest.raises(GrantRevokedError, match="it was not given back in time"):
            await endpoint.receive(5)
        assert type(await receive(timeout=0)) is GrantAsked
        with pytest.raises(GrantRevokedError):
            await endpoint.send(b"", (THEM, 1))

    by_handle(outside, check)
