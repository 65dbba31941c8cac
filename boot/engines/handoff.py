"""The hand-off block: what the primary says about how it went."""

from __future__ import annotations

from dataclasses import dataclass

from boot.engines.memory import GuestMemory
from boot.guest.layout import CORES_MOST, HANDOFF, HANDOFF_MAGIC, INFO


@dataclass(frozen=True)
class HandOff:
    """The fields of `layout.inc` called I_…, there explained. `reason` is 0 while it runs; what is of a failure is 0 if it went well."""

    version: int
    reason: int
    payload_bytes: int
    load_address: int
    payload_crc: int
    chunks: int
    retries: int
    rereads: int
    failovers: int
    dead: int
    slave: int
    ticks: int
    copy: int
    lba: int
    chunk: int
    wanted: int
    got: int
    status: int
    vector: int
    error: int
    rip: int
    cr2: int

    @property
    def dead_cores(self) -> list[int]:
        """Their APIC ids."""
        return [core for core in range(CORES_MOST) if self.dead >> core & 1]


def read_handoff(memory: GuestMemory) -> HandOff | None:
    """None if stage 2 has not begun."""
    magic, *fields = HANDOFF.unpack(memory.read(INFO, HANDOFF.size))
    return HandOff(*fields) if magic == HANDOFF_MAGIC else None
