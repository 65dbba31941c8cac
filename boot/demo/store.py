"""The key-value service: process pairs, keys spread over them by their hash.

Every key has one client, who writes 1, 2, 3 … under it. So a pair can tell in a few bytes which writes of a key it has executed: the
last, those left out before that, and how many came twice.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from beamlike import Caller, GenServer, record
from nodes import change

KEYS = 8  # of each client


@record
class Written:
    """What was written under a key. `missing`: numbers below `last` that never came; `doubled`: how often one came again."""

    last: int = 0
    value: str = ""
    missing: tuple[int, ...] = ()
    doubled: int = 0

    def after(self, number: int, value: str) -> Written:
        """What is there when this is written, too."""
        if number > self.last:
            return Written(number, value, (*self.missing, *range(self.last + 1, number)), self.doubled)
        if number in self.missing:  # of a client that has died since, and late
            return Written(self.last, self.value, tuple(each for each in self.missing if each != number), self.doubled)
        return Written(self.last, self.value, self.missing, self.doubled + 1)

    def has(self, number: int) -> bool:
        """Was it executed?"""
        return number <= self.last and number not in self.missing


NOTHING = Written()


class Store(GenServer):
    """One of the pairs: what its backup is told is each write."""

    async def init(self) -> None:
        self.written: dict[str, Written] = {}

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ("put", str(key), int(number), str(value)):
                change(self, (key, number, value))
                return number
            case "all":
                return dict(self.written)
        raise ValueError(f"the store takes put and all, not {request!r}")

    def apply_change(self, put: tuple[str, int, str]) -> None:
        key, number, value = put
        self.written[key] = self.written.get(key, NOTHING).after(number, value)


def name_of(pair: int) -> str:
    """Of the pair of that number, from 0."""
    return f"store-{pair + 1}"


def key_of(slot: int, number: int) -> str:
    """The key under which a client puts its write of that number."""
    return f"{slot}.{number % KEYS}"


def place_of(slot: int, number: int, pairs: int) -> tuple[str, str, int]:
    """Where the write `number` of a client goes: the pair, the key, and its number there, which counts from 1."""
    key = key_of(slot, number)
    return name_of(crc32(key.encode()) % pairs), key, (number - 1) // KEYS + 1
