"""Ethernet frames, without check sequence, as network drivers take and give them. Source: IEEE 802.3-2018, clause 3; RFC 894."""

from __future__ import annotations

from typing import Final, NamedTuple

from drivers.services.drops import Drop

HEADER: Final = 14
LARGEST: Final = 1500  # bytes of data
EVERYBODY: Final = b"\xff" * 6
IPV4, ARP = 0x0800, 0x0806


class Frame(NamedTuple):
    """One frame. Data of less than 46 bytes come with padding, which is not told apart here."""

    to: bytes
    source: bytes
    type: int
    data: bytes


def encode(frame: Frame) -> bytes:
    """As it is sent; the driver fills it up."""
    return frame.to + frame.source + frame.type.to_bytes(2, "big") + frame.data


def decode(data: bytes) -> Frame | Drop:
    """What came in. SOURCE: it is not from a station."""
    if len(data) < HEADER:
        return Drop.SHORT
    found = Frame(data[:6], data[6:12], int.from_bytes(data[12:14], "big"), data[HEADER:])
    return found if is_station(found.source) else Drop.SOURCE


def is_station(address: bytes) -> bool:
    """Can it be the address of one, rather than of a group?"""
    return len(address) == 6 and not address[0] & 1 and any(address)
