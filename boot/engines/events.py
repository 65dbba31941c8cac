"""What happened in a boot, as the cores write it down: two traces in memory, one of the primary and one of the slaves.

They are written by the guest's own code, and so are the same on every engine. Times are the primary's, by the ACPI PM timer.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import merge
from operator import attrgetter

from boot.engines.memory import GuestMemory
from boot.guest.layout import (
    MB_CLOCK,
    MB_LAST,
    MB_PRIMARY_TRACED,
    MB_SLAVE_TRACED,
    PRIMARY_TRACE,
    RECORD,
    SLAVE_TRACE,
    TICKS_PER_SECOND,
    TRACE_MOST,
    Kind,
)

HALF = 1 << 23


@dataclass(frozen=True)
class Event:
    """One thing that happened; see `Kind` for what the fields mean there.

    Args:
        seconds: since the primary's start.
        core: the one that it is about.
    """

    seconds: float
    kind: Kind
    core: int
    lba: int = 0
    count: int = 0
    more: int = 0


def read_events(memory: GuestMemory, others: list[Event]) -> tuple[Event, ...]:
    """What the cores have written so far, and the engine has seen, in the order of time.

    A trace has room for 4096 events, which is more than a boot without faults has; later ones are left out.
    """
    primary = _trace(memory, PRIMARY_TRACE, MB_PRIMARY_TRACED)
    slave = _trace(memory, SLAVE_TRACE, MB_SLAVE_TRACED)
    return tuple(merge(primary, slave, others, key=attrgetter("seconds")))


def _trace(memory: GuestMemory, address: int, counter: int) -> list[Event]:
    count = min(int.from_bytes(memory.map[counter : counter + 4], "little"), TRACE_MOST)
    events, last = [], 0.0
    for ticks, kind, core, sectors, lba, more in RECORD.iter_unpack(memory.map[address : address + count * RECORD.size]):
        if kind not in Kind._value2member_map_:
            continue  # a core has died before it has written all of it
        last = max(last, ticks / TICKS_PER_SECOND)  # a slave's time may be some microseconds off
        events.append(Event(last, Kind(kind), core, lba, sectors, more))
    return events


def guest_seconds(memory: GuestMemory, ticks: int) -> float:
    """The primary's time, when the timer shows so many ticks: at most half of its 24 bits from its last look, which may be later."""
    clock, last = (int.from_bytes(memory.map[at : at + 4], "little") for at in (MB_CLOCK, MB_LAST))
    return (clock + (ticks - last + HALF & 0xFFFFFF) - HALF) / TICKS_PER_SECOND
