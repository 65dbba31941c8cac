"""The medium of a machine with Unicorn, and what is planned to go wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from boot.engines.memory import GuestMemory
from boot.guest.layout import SECTOR

NOT_FOUND, UNCORRECTABLE = 0x04, 0x10  # status of INT 13h (PhoenixBIOS 4.0 user's manual, INT 13h error codes)


class Moment(Enum):
    """When a core dies, at one of its reads."""

    BEFORE = auto()
    """It has called the BIOS, which has read nothing."""
    INSIDE = auto()
    """Half of the sectors are read."""
    BETWEEN = auto()
    """The read is over, and the primary has been told; the core waits for the next request."""


@dataclass(frozen=True)
class Death:
    """A core dies at its n-th read, counted from 1. The MBR's is core 0's first."""

    core: int
    read: int
    moment: Moment


@dataclass(frozen=True)
class FaultPlan:
    """What goes wrong.

    Args:
        bad: sectors that cannot be read.
        flaky: sectors that cannot be read so many times.
        short: reads that begin there bring a sector too little, and no error, so many times.
        wrong: sectors that come with a flipped bit, and no error, so many times.
        latency: seconds that each read takes.
        deaths: of cores.
        absent: cores that do not start.
    """

    bad: frozenset[int] = frozenset()
    flaky: Mapping[int, int] = field(default_factory=dict)
    short: Mapping[int, int] = field(default_factory=dict)
    wrong: Mapping[int, int] = field(default_factory=dict)
    latency: float = 0.0
    deaths: tuple[Death, ...] = ()
    absent: frozenset[int] = frozenset()

    def dies(self, core: int, read: int, moment: Moment) -> bool:
        """Whether it does there."""
        return Death(core, read, moment) in self.deaths


NO_FAULTS = FaultPlan()


class Disk:
    """A file as a disk, with faults. It does not own the descriptor."""

    def __init__(self, descriptor: int, plan: FaultPlan = NO_FAULTS) -> None:
        self.descriptor = descriptor
        self.sectors = os.fstat(descriptor).st_size // SECTOR
        self._bad = plan.bad
        self._flaky = dict(plan.flaky)
        self._short = dict(plan.short)
        self._wrong = dict(plan.wrong)

    def read(self, lba: int, count: int, memory: GuestMemory, address: int) -> tuple[int, int]:
        """The BIOS's status, and how many sectors are in memory now."""
        status = self._status(lba, count)
        good = count
        if status:
            good = next((at for at in range(count) if self._is_bad(lba + at)), 0)
            if self._flaky.get(lba + good, 0):
                self._flaky[lba + good] -= 1
        elif self._short.get(lba, 0):
            self._short[lba] -= 1
            good = count - 1
        if good:
            came = self._transfer(lba, good, memory, address)
            if came < good:
                status, good = UNCORRECTABLE, came
        for at in range(good):
            if self._wrong.get(lba + at, 0):
                self._wrong[lba + at] -= 1
                memory.map[address + at * SECTOR] ^= 1
        return status, good

    def _transfer(self, lba: int, count: int, memory: GuestMemory, address: int) -> int:
        """How many sectors come: fewer if the file has become shorter, or its own medium fails."""
        with memoryview(memory.map) as view, view[address : address + count * SECTOR] as part:
            try:
                return os.preadv(self.descriptor, [part], lba * SECTOR) // SECTOR
            except OSError:
                return 0

    def _status(self, lba: int, count: int) -> int:
        if lba + count > self.sectors:
            return NOT_FOUND
        return UNCORRECTABLE if any(self._is_bad(lba + at) for at in range(count)) else 0

    def _is_bad(self, lba: int) -> bool:
        return lba >= self.sectors or lba in self._bad or self._flaky.get(lba, 0) > 0
