"""When a child is restarted, how often that may be, and how long it waits: the parts of a supervisor that are pure values."""

from __future__ import annotations

from collections import deque
from typing import Any

from beamlike.exits import is_quiet
from beamlike.records import record

# Restart type -> whether a child is restarted after a quiet reason (`normal`, `shutdown`, `(shutdown, term)`), and after any other (S4).
RESTARTED = {
    "permanent": (True, True),
    "transient": (False, True),
    "temporary": (False, False),
}


def is_restarted(restart: str, reason: Any) -> bool:
    """Is a child of this restart type started again after it ended with `reason`?"""
    after_quiet, after_other = RESTARTED[restart]
    return after_quiet if is_quiet(reason) else after_other


class RestartWindow:
    """The times of the restarts in the last `period` seconds, of all children together (S2, S3)."""

    def __init__(self, intensity: int, period: float) -> None:
        if type(intensity) is not int or intensity < 0:
            raise ValueError(f"intensity is a number of restarts >= 0, not {intensity!r}")
        if not isinstance(period, (int, float)) or isinstance(period, bool) or not period > 0:
            raise ValueError(f"period is seconds > 0, not {period!r}")
        self.intensity = intensity
        self.period = period
        self.times: deque[float] = deque()

    def admits(self, now: float) -> bool:
        """Count one more restart. False if that is more than `intensity` of them in `period` seconds."""
        self.times.append(now)
        while self.times[0] < now - self.period:
            self.times.popleft()
        return len(self.times) <= self.intensity

    def clear(self) -> None:
        """Forget them."""
        self.times.clear()


@record
class Backoff:
    """How long a child waits for its restart. Beyond OTP (S10), which restarts at once.

    The n-th restart in a row waits `first` × `factor` ** (n-1) seconds, at most `most`; then up to `jitter` times that is taken off at
    random, so that children that fell together do not come back together. A child that then runs for the supervisor's `period` begins anew.
    """

    first: float = 0.1
    factor: float = 2.0
    most: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("first", 0.0), ("factor", 1.0), ("most", self.first), ("jitter", 0.0)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= least:
                raise ValueError(f"Backoff: {name} is a number >= {least}, not {value!r}")
        if self.jitter > 1:
            raise ValueError(f"Backoff: jitter is a part of the delay, 0 to 1, not {self.jitter!r}")

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds before restart number `attempt` (from 1) in a row. `chance`, from 0 to 1, is drawn by the caller."""
        delay = self.first
        for _ in range(attempt - 1):
            delay = min(delay * self.factor, self.most)  # not `**`, which overflows after long trouble
            if delay == self.most:
                break
        return delay * (1 - self.jitter * chance)
