"""What the numbers were taken on."""

import os
import platform
import time
from pathlib import Path


def pin_to_one_core() -> int:
    """Keep this OS process, and all it starts from now on, on one core; return its number."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def describe() -> dict[str, str]:
    """The machine and the interpreter, each as a line of text. Call it before pinning: it counts the usable cores."""
    return {
        "machine": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores, {_memory_gib():.0f} GiB, Linux {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.2f} runnable on average in the minute before",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    pages: int = os.sysconf("SC_PHYS_PAGES")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def loop_nanoseconds() -> float:
    """A yardstick: one turn of a plain loop now. Builds of one version differ by a factor of two, and so may one machine's moments."""
    turns = 20_000
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        total = 0
        for turn in range(turns):
            total += turn
        best = min(best, time.perf_counter() - start)
    return best / turns * 1e9
