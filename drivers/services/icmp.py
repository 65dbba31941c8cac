"""ICMP: echo. Source: RFC 792; RFC 1122, section 3.2.2.6."""

from __future__ import annotations

from typing import Final

from drivers.services.drops import Drop
from drivers.services.ipv4 import checksum

ECHO, ECHO_REPLY = 8, 0
HEADER: Final = 8


def echo(data: bytes, type: int = ECHO) -> bytes:
    """A message with this identifier, sequence number and data: what is behind type, code and checksum."""
    check = checksum(bytes([type, 0, 0, 0]) + data)
    return bytes([type, 0]) + check.to_bytes(2, "big") + data


def answer(message: bytes) -> bytes | Drop:
    """The answer to a message that came in. NOT_OURS: it wants none."""
    if len(message) < HEADER:
        return Drop.SHORT
    if checksum(message):
        return Drop.CHECKSUM
    if message[:2] != bytes([ECHO, 0]):
        return Drop.NOT_OURS
    return echo(message[4:], ECHO_REPLY)
