"""The sampler of the Python sides: how often to run, what to time, what to print.

A side is started as `python -m benchmarks.SIDE CASE SIZE RUNS SECONDS`. It prints one JSON line for each value it
measured, `{"case": name, "unit": "seconds", "bytes" or "ratio", "runs": [...]}`, and nothing else on stdout. The Erlang side does the same.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self


def emit(case: str, unit: str, runs: list[float]) -> None:
    """Print one measured value. The unit is "seconds" (an operation, if the case has many), "bytes" or "ratio"."""
    print(json.dumps({"case": case, "unit": unit, "runs": runs}), flush=True)


class Bench:
    """Iterates over operation counts; `with` times what is done for one count.

    The count doubles until one run lasts `seconds`: that is the warm-up. Then come `runs` runs at that count.

        for count in bench:
            with bench:
                ...                       # count operations
        bench.report(operations=2)        # where each of the count is really two
    """

    def __init__(self, case: str, size: int, runs: int, seconds: float) -> None:
        self.case = case
        self.size = size
        self.runs = runs
        self._seconds = seconds
        self._started = 0.0
        self.lasted = 0.0
        self._per_count: list[float] = []

    def __iter__(self) -> Iterator[int]:
        self._per_count = []
        count = 1
        yield count
        while self.lasted < self._seconds:
            count *= 2
            yield count
        for _ in range(self.runs):
            yield count
            self._per_count.append(self.lasted / count)

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(self, *failure: object) -> None:
        self.lasted = time.perf_counter() - self._started

    def report(self, operations: int = 1, suffix: str = "") -> None:
        """Print seconds per operation, as the case's row or as one more of its rows."""
        emit(self.case + suffix, "seconds", [seconds / operations for seconds in self._per_count])


def resident_bytes() -> int:
    """The memory of this OS process that is in RAM now. Linux only."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no line VmRSS: the memory cases need Linux")


def proportional_bytes(pid: int) -> int:
    """The memory of an OS process; what is shared counts in proportion (PSS). 0 if it has ended. Raises: PermissionError."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def of_command_line() -> Bench:
    """What this OS process was asked for."""
    case, size, runs, seconds = sys.argv[1:]
    return Bench(case, int(size), int(runs), float(seconds))


def main(about: str, cases: Mapping[str, Callable[[Bench], None]]) -> None:
    """Run the case that the command line asks for, or say which version of what this side measures."""
    if sys.argv[1:] == ["about"]:
        print(json.dumps({"about": about}))
        return
    bench = of_command_line()
    cases[bench.case](bench)
