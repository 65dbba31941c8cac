"""UDP over IPv4 on one network: an endpoint, which is one address and one port.

Source: RFC 768; RFC 1122, sections 3.2 and 4.1.

Covers: datagrams from and to hosts of the network, or all of them, with checksums; ARP, both sides; answers to ICMP echoes (ping).
Not: routers, fragments (either way), IP options, multicast, ICMP errors.

Theory of operation. There is no process behind an endpoint: frames are looked at while its process waits in `send` or `receive`, which is
when ARP and ICMP are answered, too. Datagrams that come while somebody's address is asked for are kept, up to `BACKLOG`, for `receive`.
Nothing that comes in raises an exception: it is counted in `dropped`, by why.

Over a handle that was opened for a UDP port only, echoes do not come in: they are for who has the whole address.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from ipaddress import IPv4Address, IPv4Interface
from math import inf
from typing import Final, NamedTuple, Self

from drivers.errors import DeviceError
from drivers.servers.opening import Handle
from drivers.services import arp, ethernet, icmp, ipv4
from drivers.services.drops import Drop
from drivers.services.ethernet import EVERYBODY, Frame
from drivers.services.links import Link, NetworkDriver, link_of

HEADER: Final = struct.Struct(">HHHH")
LARGEST: Final = ethernet.LARGEST - ipv4.HEADER.size - HEADER.size
"""Bytes of data of a datagram."""
BACKLOG: Final = 64  # datagrams
ASK_AGAIN: Final = 1.0  # seconds: not more often than this (RFC 1122, section 2.3.2.1)
SEND_TIMEOUT: Final = 3.0
LATE: Final = 64  # frames that are looked at after a deadline: of those that have come already, if it was no time at all
TO_ALL: Final = IPv4Address("255.255.255.255")


class Datagram(NamedTuple):
    """One datagram."""

    source: int
    to: int
    data: bytes


def encode(datagram: Datagram, source: IPv4Address, to: IPv4Address) -> ipv4.Packet:
    """The packet that it is in."""
    fields = (datagram.source, datagram.to, HEADER.size + len(datagram.data))
    check = ipv4.checksum(_pseudo(source, to, fields[2]) + HEADER.pack(*fields, 0) + datagram.data)
    return ipv4.Packet(source, to, ipv4.Protocol.UDP, HEADER.pack(*fields, check or 0xFFFF) + datagram.data)  # 0: there is none


def decode(packet: ipv4.Packet) -> Datagram | Drop:
    """What came in, in a packet of UDP."""
    if len(packet.data) < HEADER.size:
        return Drop.SHORT
    source, to, size, check = HEADER.unpack(packet.data[: HEADER.size])
    if size < HEADER.size:
        return Drop.MALFORMED
    if size > len(packet.data):
        return Drop.SHORT
    if check and ipv4.checksum(_pseudo(packet.source, packet.to, size) + packet.data[:size]):
        return Drop.CHECKSUM
    return Datagram(source, to, packet.data[HEADER.size : size])


def _pseudo(source: IPv4Address, to: IPv4Address, size: int) -> bytes:
    """The header that only the checksum knows."""
    return source.packed + to.packed + struct.pack(">HH", ipv4.Protocol.UDP, size)


class Udp:
    """An endpoint, for one process; made by `open`. Each needs a driver of its own, or a handle, the process's only one for the device."""

    @classmethod
    async def open(cls, carrier: Handle | NetworkDriver, mac: bytes, address: str, port: int) -> Self:
        """Have an address, and tell the network.

        Args:
            carrier: a driver that was started, or a handle for `mac`, or for it and `port`.
            mac: of the interface, for it must let frames to it through.
            address: with the network's prefix: `"10.0.0.2/24"`.

        Raises: ValueError: no station's address, no host's address or no port; DeviceError: the network was not told.
        """
        made = cls(link_of(carrier), mac, IPv4Interface(address), port)
        await made._ask(made.address)  # an announcement: whoever knows another station by this address learns this one
        return made

    def __init__(self, link: Link, mac: bytes, interface: IPv4Interface, port: int) -> None:
        if not ethernet.is_station(mac):
            raise ValueError(f"{mac!r} is no address of a station: expected 6 bytes, the first of them even")
        if not 0 < port < 65536:
            raise ValueError(f"{port!r} is no UDP port: expected 1 to 65535")
        self.mac = bytes(mac)
        self.address = interface.ip
        self.network = interface.network
        self.port = port
        if not self._is_host(self.address):
            raise ValueError(f"{interface} is no host's address: expected one such as 10.0.0.2/24")
        self.dropped: Counter[Drop] = Counter()
        """What came in and was of no use, by why."""
        self.stations = arp.Cache()
        self._link = link
        self._arrived: deque[tuple[bytes, tuple[str, int]]] = deque()

    # --- what programs call ---

    async def send(self, data: bytes, to: tuple[str, int], timeout: float = SEND_TIMEOUT) -> None:
        """Send a datagram, to a host of this network, or to all by its broadcast address or 255.255.255.255. It may be lost on the way.

        Args:
            timeout: seconds for finding out who has the address, once a minute or so. It is asked for once a second.

        Raises:
            ValueError: too many data, or no host of this network, or no port.
            TimeoutError: nobody says that he has the address.
            DeviceError: as the driver or the handle says; GrantRevokedError also of one that was taken.
        """
        host, port = IPv4Address(to[0]), to[1]
        if len(data) > LARGEST:
            raise ValueError(f"{len(data)} bytes are too many for a datagram: expected up to {LARGEST}")
        if not 0 <= port < 65536:
            raise ValueError(f"{port!r} is no UDP port: expected 0 to 65535")
        if self._is_broadcast(host):
            mac = EVERYBODY
        elif self._is_host(host) and host != self.address:
            mac = await self._find(host, timeout)
        else:
            raise ValueError(f"{host} is no other host of {self.network}")
        await self._send(mac, encode(Datagram(self.port, port, bytes(data)), self.address, host))

    async def receive(self, timeout: float | None = None) -> tuple[bytes, tuple[str, int]]:
        """The next datagram to this port, and who has sent it. A cancelled call loses none.

        Args:
            timeout: seconds; 0 looks at what has come; None waits for ever.

        Raises: TimeoutError: none has come; DeviceError as `send`.
        """
        deadline = inf if timeout is None else self._link.now() + timeout
        late = 0
        while not self._arrived:
            late += self._link.now() >= deadline
            if late > LATE or not await self._look(deadline):
                raise TimeoutError(f"no datagram has come to {self.address}, port {self.port}, in {timeout} s")
        return self._arrived.popleft()

    # --- whose is an address? ---

    def _is_broadcast(self, address: IPv4Address) -> bool:
        return address == TO_ALL or (self.network.prefixlen < 31 and address == self.network.broadcast_address)

    def _is_host(self, address: IPv4Address) -> bool:
        """Can it be one of this network?"""
        if address not in self.network or address.is_multicast or address.is_loopback or address.is_unspecified:
            return False
        return self.network.prefixlen >= 31 or address not in (self.network.network_address, self.network.broadcast_address)

    async def _find(self, host: IPv4Address, timeout: float) -> bytes:
        deadline = self._link.now() + timeout
        is_asked = False  # it is once, however late it is
        while (mac := self.stations.find(host, self._link.now())) is None:
            now = self._link.now()
            if is_asked and now >= deadline:
                raise TimeoutError(f"nobody says within {timeout:g} s that he has {host}")
            is_asked = True
            await self._ask(host)
            again = min(now + ASK_AGAIN, deadline)
            while self.stations.find(host, self._link.now()) is None and self._link.now() < again and await self._look(again):
                pass  # it was something else
        return mac

    async def _ask(self, host: IPv4Address) -> None:
        request = arp.Packet(arp.Operation.REQUEST, self.mac, self.address, bytes(6), host)
        await self._link.send(ethernet.encode(Frame(EVERYBODY, self.mac, ethernet.ARP, arp.encode(request))))

    async def _send(self, mac: bytes, packet: ipv4.Packet) -> None:
        await self._link.send(ethernet.encode(Frame(mac, self.mac, ethernet.IPV4, ipv4.encode(packet))))

    # --- what comes in ---

    async def _look(self, deadline: float) -> bool:
        """Handle the next frame. False: none has come until then."""
        try:
            frame = await self._link.next(max(deadline - self._link.now(), 0))
        except TimeoutError:
            return False
        try:
            dropped = await self._handle(frame)
        except DeviceError:  # an answer is sent once: who wants it asks again
            dropped = Drop.UNSENT
        if dropped is not None:
            self.dropped[dropped] += 1
        return True

    async def _handle(self, data: bytes) -> Drop | None:
        """What is in a frame, and why that was dropped."""
        frame = ethernet.decode(data)
        if isinstance(frame, Drop):
            return frame
        if frame.to not in (self.mac, EVERYBODY):
            return Drop.NOT_OURS
        if frame.type == ethernet.ARP:
            return await self._handle_arp(frame)
        if frame.type == ethernet.IPV4:
            return await self._handle_packet(frame)
        return Drop.NOT_OURS

    async def _handle_arp(self, frame: Frame) -> Drop | None:
        """In the order of RFC 826: who is known is learned anew, and others if they ask for, or answer, this host.

        Probes (RFC 5227, 2.1.1), by who has no address yet, are answered like other requests, else it would take this one.
        """
        packet = arp.decode(frame.data)
        if isinstance(packet, Drop):
            return packet
        if packet.mac == self.mac:
            return Drop.SOURCE
        if packet.address == self.address:
            return Drop.CONFLICT
        is_probe = packet.address.is_unspecified and packet.operation is arp.Operation.REQUEST  # "does anybody have the target?"
        if not is_probe and not self._is_host(packet.address):
            return Drop.SOURCE
        if not is_probe and (packet.address in self.stations or packet.target == self.address):
            self.stations.learn(packet.address, packet.mac, self._link.now())
        if packet.target != self.address:
            return Drop.NOT_OURS
        if packet.operation is arp.Operation.REQUEST:
            reply = arp.Packet(arp.Operation.REPLY, self.mac, self.address, packet.mac, packet.address)
            await self._link.send(ethernet.encode(Frame(packet.mac, self.mac, ethernet.ARP, arp.encode(reply))))
        return None

    async def _handle_packet(self, frame: Frame) -> Drop | None:
        packet = ipv4.decode(frame.data)
        if isinstance(packet, Drop):
            return packet
        if packet.source == self.address or not self._is_host(packet.source):
            return Drop.SOURCE
        # to all stations, but one host: nobody sends that who means well (RFC 1122, 3.3.6)
        if not self._is_broadcast(packet.to) and (packet.to != self.address or frame.to == EVERYBODY):
            return Drop.NOT_OURS
        if packet.protocol == ipv4.Protocol.UDP:
            return self._handle_datagram(packet)
        if packet.protocol != ipv4.Protocol.ICMP or packet.to != self.address:  # to all: it may be left unanswered
            return Drop.NOT_OURS
        answer = icmp.answer(packet.data)
        if isinstance(answer, Drop):
            return answer
        await self._send(frame.source, ipv4.Packet(self.address, packet.source, ipv4.Protocol.ICMP, answer))
        return None

    def _handle_datagram(self, packet: ipv4.Packet) -> Drop | None:
        datagram = decode(packet)
        if isinstance(datagram, Drop):
            return datagram
        if datagram.to != self.port:
            return Drop.NOT_OURS
        if len(self._arrived) >= BACKLOG:
            return Drop.FULL
        self._arrived.append((datagram.data, (str(packet.source), datagram.source)))
        return None
