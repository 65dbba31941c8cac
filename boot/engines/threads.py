"""A machine with Unicorn whose cores are threads of this OS process: Unicorn runs without the interpreter's lock.

The quickest to start, if Unicorn is imported already. But what goes wrong inside of Unicorn ends this OS process; take `processes` instead
where that matters.
"""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Final

from boot.engines.board import Board
from boot.engines.disk import NO_FAULTS, FaultPlan
from boot.engines.machine import BootMachine
from boot.engines.memory import GuestMemory
from boot.engines.outcome import Ending
from boot.engines.unicorns import unicorn_folder

if TYPE_CHECKING:
    from boot.engines.core import Core

STOP_AGAIN: Final = 0.002  # seconds: a stop that comes before the core has begun is lost (Unicorn 2.1.4)


class ThreadMachine(BootMachine):
    """See `BootMachine`; `faults`: what is to go wrong."""

    name = "unicorn"

    def __init__(self, cores: int = 2, memory: int = 64, timeout: float = 30.0, faults: FaultPlan = NO_FAULTS) -> None:
        super().__init__(cores, memory, timeout)
        self.faults = faults

    def _run(self, medium: int, memory: GuestMemory, stopping: threading.Event) -> Ending:
        unicorn_folder()
        board = ThreadBoard(medium, memory, self.cores, self.faults)
        try:
            ending = board.run(self.timeout, stopping)
        finally:
            gc.collect()  # each Unicorn is in a cycle with its hooks: 3 MB a boot
        if board.failure is not None:
            raise board.failure
        return ending


class ThreadBoard(Board):
    """See `Board`. A core is started and stopped by the primary's thread, or by ours, when the primary's does not run."""

    failure: BaseException | None = None
    """Ours, in a thread of a core."""

    def __init__(self, medium: int, memory: GuestMemory, cores: int, plan: FaultPlan) -> None:
        super().__init__(medium, memory, cores, plan)
        self._threads: dict[int, tuple[Core, threading.Thread]] = {}

    def _start(self, core: int, start: int) -> None:
        from boot.engines.core import Core

        made = Core(core, start, self.memory, self, self.tells_idle(core))
        thread = threading.Thread(target=self._be_core, args=(made,), name=f"core {core}", daemon=True)
        self._threads[core] = made, thread
        thread.start()

    def _be_core(self, core: Core) -> None:
        try:
            why = core.run()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the boot
            self.failure = error
            self.has_ended.set()
        else:
            self.ended(core.number, why)

    def _is_started(self, core: int) -> bool:
        return core in self._threads

    def _stop(self, core: int) -> None:
        if core in self._threads:
            made, thread = self._threads.pop(core)
            while thread.is_alive():
                made.stop()
                thread.join(STOP_AGAIN)
