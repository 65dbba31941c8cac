"""A machine with Unicorn whose cores run one after the other, some thousands of instructions each: the same seed gives the same boot.

Whatever happens, a death of a core included, happens again: the same events, and the same bytes in all of memory. Time is none but what the
cores' own looks at the timer make of it: each look takes 0.56 ms. It is 10 to 20 times slower than the other engines.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from typing import TYPE_CHECKING, Final

from boot.engines.board import PRIMARY, Board
from boot.engines.bus import CoreDiedError
from boot.engines.disk import NO_FAULTS, FaultPlan
from boot.engines.machine import BootMachine
from boot.engines.memory import GuestMemory
from boot.engines.outcome import Ending
from boot.engines.unicorns import unicorn_folder
from boot.guest.layout import TICKS_PER_SECOND

if TYPE_CHECKING:
    from boot.engines.core import Core

LOOK_TICKS: Final = 2000  # the patience of the primary is some 900 looks: less than a second of work for Unicorn
LEAST, MOST = 2000, 40000  # instructions in a turn


class LockstepMachine(BootMachine):
    """See `BootMachine`.

    Args:
        faults: what is to go wrong.
        seed: of the lengths of the turns.
    """

    name = "unicorn"

    def __init__(self, cores: int = 2, memory: int = 64, timeout: float = 30.0, faults: FaultPlan = NO_FAULTS, seed: int = 0) -> None:
        super().__init__(cores, memory, timeout)
        self.faults = faults
        self.seed = seed

    def _run(self, medium: int, memory: GuestMemory, stopping: threading.Event) -> Ending:
        unicorn_folder()
        try:
            return LockstepBoard(medium, memory, self.cores, self.faults, self.seed).run(self.timeout, stopping)
        finally:
            gc.collect()  # each Unicorn is in a cycle with its hooks: 3 MB a boot


class LockstepBoard(Board):
    """See `Board`."""

    def __init__(self, medium: int, memory: GuestMemory, cores: int, plan: FaultPlan, seed: int) -> None:
        super().__init__(medium, memory, cores, plan)
        self._random = random.Random(seed)
        self._ticks = 0
        self._running: dict[int, Core] = {}
        self._started: set[int] = set()

    def _start(self, core: int, start: int) -> None:
        from boot.engines.core import Core

        self._running[core] = Core(core, start, self.memory, self, self.tells_idle(core))
        self._started.add(core)

    def _is_started(self, core: int) -> bool:
        return core in self._started

    def _stop(self, core: int) -> None:
        self._started.discard(core)
        self._running.pop(core, None)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.has_ended.is_set() and time.monotonic() < deadline:
            for core in list(self._running.values()):
                if self._running.get(core.number) is core and not self.has_ended.is_set():
                    self._step(core)

    def _step(self, core: Core) -> None:
        try:
            why = core.step(self._random.randint(LEAST, MOST))
        except CoreDiedError:
            del self._running[core.number]
            if core.number == PRIMARY:
                self.ended(PRIMARY, "")
        else:
            if why:
                self.ended(core.number, why)

    def ticks(self) -> int:
        """See `Bus`."""
        self._ticks += LOOK_TICKS
        return self._ticks & 0xFFFFFF

    def _pause(self, seconds: float) -> None:
        self._ticks += int(seconds * TICKS_PER_SECOND)
