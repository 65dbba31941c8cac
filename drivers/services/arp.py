"""ARP: which station has an IPv4 address. Source: RFC 826; RFC 1122, section 2.3.2; RFC 5227 (announcements, probes)."""

from __future__ import annotations

import struct
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from drivers.services.drops import Drop
from drivers.services.ethernet import is_station

FORMAT: Final = struct.Struct(">HHBBH6s4s6s4s")
KINDS: Final = (1, 0x0800, 6, 4)  # Ethernet and IPv4, and the lengths of their addresses
SIZE: Final = 64
LIFETIME: Final = 60.0  # seconds: "of the order of a minute" (RFC 1122, section 2.3.2.1)


class Operation(IntEnum):
    """What a packet is."""

    REQUEST = 1
    REPLY = 2


class Packet(NamedTuple):
    """One packet."""

    operation: Operation
    mac: bytes
    """Of who sends it, as is `address`."""
    address: IPv4Address
    """0.0.0.0 in a probe."""
    target_mac: bytes
    """Zeros in a request."""
    target: IPv4Address


def encode(packet: Packet) -> bytes:
    """Its bytes."""
    return FORMAT.pack(*KINDS, packet.operation, packet.mac, packet.address.packed, packet.target_mac, packet.target.packed)


def decode(data: bytes) -> Packet | Drop:
    """What came in, perhaps with padding. NOT_OURS: it is about other kinds of addresses, or another operation."""
    if len(data) < FORMAT.size:
        return Drop.SHORT
    *kinds, operation, mac, address, target_mac, target = FORMAT.unpack(data[: FORMAT.size])
    if tuple(kinds) != KINDS or operation not in (Operation.REQUEST, Operation.REPLY):
        return Drop.NOT_OURS
    if not is_station(mac):
        return Drop.SOURCE
    return Packet(Operation(operation), mac, IPv4Address(address), target_mac, IPv4Address(target))


class Cache:
    """Who has which address: of no more than `size`, the one learned first makes room, and for no more than `lifetime` seconds."""

    def __init__(self, size: int = SIZE, lifetime: float = LIFETIME) -> None:
        self.size = size
        self.lifetime = lifetime
        self._known: dict[IPv4Address, tuple[bytes, float]] = {}  # until when; those that end first come first

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, address: object) -> bool:
        return address in self._known

    def learn(self, address: IPv4Address, mac: bytes, now: float) -> None:
        """From now on it is this station."""
        self._known.pop(address, None)
        if len(self._known) >= self.size:
            del self._known[next(iter(self._known))]
        self._known[address] = mac, now + self.lifetime

    def find(self, address: IPv4Address, now: float) -> bytes | None:
        """Its station, if that is known."""
        mac, end = self._known.get(address, (None, 0.0))
        if mac is not None and now >= end:
            del self._known[address]
            return None
        return mac
