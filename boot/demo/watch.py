"""What the system costs the machine, looked at from outside: descriptors and memory of the owner and of its nodes; who is left over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGESIZE")
MEGABYTE = 1 << 20
FEWEST = 9  # samples, from which it can be told whether something grows
MORE_MEMORY = 4 * MEGABYTE  # that something may grow without being a leak: the interpreter's own arenas
MORE_FDS = 8
SLACK = {"owner_fds": MORE_FDS, "owner_memory": MORE_MEMORY, "node_fds": MORE_FDS, "node_memory": MORE_MEMORY}


@dataclass(frozen=True)
class Sample:
    """`nodes`: how many children there are; `node_fds`, `node_memory`: of the child that has most."""

    nodes: int
    owner_fds: int
    owner_memory: int
    node_fds: int
    node_memory: int


def children() -> list[int]:
    """The OS processes whose parent is this one."""
    found = []
    for entry in Path("/proc").glob("[1-9]*/stat"):
        with suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found


def look() -> Sample:
    """How it is now."""
    figures = [(fds_of(pid), memory_of(pid)) for pid in children()]
    return Sample(
        len(figures),
        fds_of(os.getpid()),
        memory_of(os.getpid()),
        max((fds for fds, _ in figures), default=0),
        max((memory for _, memory in figures), default=0),
    )


def fds_of(pid: int) -> int:
    """How many descriptors are open; 0 if it has ended."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def memory_of(pid: int) -> int:
    """Bytes that are resident and its own; 0 if it has ended."""
    with suppress(OSError):
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
        return (resident - shared) * PAGE
    return 0


def thirds(samples: Sequence[Sample]) -> dict[str, tuple[int, int]]:
    """Of each figure the most in the second third and in the last; the first is how it warms up. Nothing of too few samples."""
    if len(samples) < FEWEST:
        return {}
    third = len(samples) // 3
    parts = samples[third : 2 * third], samples[-third:]
    return {what: tuple(max(getattr(sample, what) for sample in part) for part in parts) for what in SLACK}


def grown(samples: Sequence[Sample]) -> dict[str, int]:
    """What is not flat: has grown by more than a tenth and by more than an interpreter takes now and then."""
    return {what: after - before for what, (before, after) in thirds(samples).items() if after > before * 1.1 + SLACK[what]}
