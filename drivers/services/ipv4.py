"""IPv4 packets, whole ones. Source: RFC 791; RFC 1071 (checksum); RFC 6864 (identification)."""

from __future__ import annotations

import struct
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from drivers.services.drops import Drop

HEADER: Final = struct.Struct(">BBHHHBBH4s4s")
VERSION: Final = 0x45  # 4, with a header of 5 words
DONT_FRAGMENT, FRAGMENT = 0x4000, 0x3FFF  # the latter: more come, or it is not the first one
LIFETIME: Final = 64  # routers


class Protocol(IntEnum):
    """What a packet has in it."""

    ICMP = 1
    UDP = 17


class Packet(NamedTuple):
    """One packet, without options."""

    source: IPv4Address
    to: IPv4Address
    protocol: int
    data: bytes


def checksum(data: bytes) -> int:
    """That of RFC 1071: 0 of what has its own checksum in it and is right."""
    if len(data) % 2:
        data += b"\0"
    number = int.from_bytes(data, "big")
    # 0x10000 is 1 modulo 0xFFFF, so this is the sum of the words, with the carries; it is 0 only if all words are
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def encode(packet: Packet) -> bytes:
    """Its bytes. It is not to be fragmented, and so needs no identification."""
    size = HEADER.size + len(packet.data)
    fields = (VERSION, 0, size, 0, DONT_FRAGMENT, LIFETIME, packet.protocol)
    addresses = (packet.source.packed, packet.to.packed)
    check = checksum(HEADER.pack(*fields, 0, *addresses))
    return HEADER.pack(*fields, check, *addresses) + packet.data


def decode(data: bytes) -> Packet | Drop:
    """What came in, perhaps with padding. Options are passed over."""
    if len(data) < HEADER.size:
        return Drop.SHORT
    version, _, total, _, part, _, protocol, _, source, to = HEADER.unpack(data[: HEADER.size])
    header = (version & 15) * 4
    if version >> 4 != 4 or not HEADER.size <= header <= total:
        return Drop.MALFORMED
    if total > len(data):
        return Drop.SHORT
    if checksum(data[:header]):
        return Drop.CHECKSUM
    if part & FRAGMENT:
        return Drop.FRAGMENT
    return Packet(IPv4Address(source), IPv4Address(to), protocol, data[header:total])
