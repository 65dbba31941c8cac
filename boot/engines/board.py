"""What is around the cores of a machine with Unicorn: memory, disk, COM1, and the wires by which a core starts another one.

The engines differ in what a core runs in, and so in `_start`, `_stop` and `_wait`.
"""

from __future__ import annotations

import struct
import threading
import time
from abc import ABC, abstractmethod
from typing import Final

from boot.engines.bus import FIRST_BOOT, CoreDiedError, real_ticks
from boot.engines.disk import Disk, FaultPlan, Moment
from boot.engines.events import Event, guest_seconds
from boot.engines.firmware import MBR, is_bootable, write_tables
from boot.engines.memory import GuestMemory
from boot.engines.outcome import Ending, How
from boot.guest.layout import I_CR2, I_REASON, I_RIP, I_VECTOR, INFO, Kind, Reason

INIT, STARTUP = 5, 6  # delivery modes (Intel SDM volume 3, 11.6.1)
LOOK: Final = 0.02  # seconds between two looks whether it is to stop
PRIMARY: Final = 0


class Board(ABC):
    """One attempt to boot. Its calls come from the cores, one at a time for each."""

    def __init__(self, medium: int, memory: GuestMemory, cores: int, plan: FaultPlan) -> None:
        self.memory = memory
        self.cores = cores
        self.plan = plan
        self.serial = bytearray()
        self.events: list[Event] = []
        self.status: int | None = None
        self.why = ""
        self.has_ended = threading.Event()
        self._disk = Disk(medium, plan)
        self._reads = [0] * cores
        self._tells_idle = {death.core for death in plan.deaths if death.moment is Moment.BETWEEN}

    def run(self, timeout: float, stopping: threading.Event) -> Ending:
        """Switch it on, until the primary has ended, it takes too long, or nobody wants it any more."""
        deadline = time.monotonic() + timeout
        status, _ = self._disk.read(0, 1, self.memory, MBR)
        if status or not is_bootable(self.memory):
            return Ending(How.NOT_BOOTABLE)
        write_tables(self.memory, self.cores)
        how = How.ENDED
        try:
            self._start(PRIMARY, FIRST_BOOT)
            while not self.has_ended.is_set():
                if stopping.is_set():
                    how = How.STOPPED
                    break
                if time.monotonic() > deadline:
                    how = How.TIMEOUT
                    break
                self._wait(min(LOOK, max(deadline - time.monotonic(), 0)))
        finally:
            self._stop_all()
        return Ending(how, self.status, bytes(self.serial), self.events, self.why)

    # --- for the engine ---

    @abstractmethod
    def _start(self, core: int, start: int) -> None:
        """Let a core begin there. It is stopped."""

    @abstractmethod
    def _stop(self, core: int) -> None:
        """Stop a core; it has stopped afterwards. It may have stopped before."""

    @abstractmethod
    def _is_started(self, core: int) -> bool:
        """Whether it has been started since it was stopped last."""

    def _wait(self, seconds: float) -> None:
        """Let the cores run, at most so long."""
        self.has_ended.wait(seconds)

    def _stop_all(self) -> None:
        for core in range(self.cores):
            self._stop(core)

    def tells_idle(self, core: int) -> bool:
        """Whether the core is to call `idle`."""
        return core in self._tells_idle

    # --- for the cores ---

    def read(self, core: int, lba: int, count: int, address: int) -> tuple[int, int]:
        """See `Bus`."""
        self._reads[core] += 1
        number = self._reads[core]
        if self.plan.latency:
            self._pause(self.plan.latency)
        if self.plan.dies(core, number, Moment.BEFORE):
            self._kill(core, lba)
        if self.plan.dies(core, number, Moment.INSIDE):
            self._disk.read(lba, count // 2, self.memory, address)
            self._kill(core, lba)
        return self._disk.read(lba, count, self.memory, address)

    def idle(self, core: int) -> None:
        """See `Bus`."""
        if self.plan.dies(core, self._reads[core], Moment.BETWEEN):
            self._kill(core, 0)

    def command(self, core: int, target: int, command: int) -> None:
        """See `Bus`."""
        mode = command >> 8 & 7
        if target >= self.cores or target == core:
            return
        if mode == INIT:
            self._stop(target)
        elif mode == STARTUP and not self._is_started(target) and target not in self.plan.absent:
            self._start(target, (command & 0xFF) << 12)

    def say(self, core: int, letter: int) -> None:
        """See `Bus`."""
        self.serial.append(letter)

    def finish(self, core: int, status: int) -> None:
        """See `Bus`."""
        if core == PRIMARY:
            self.status = status
            self.has_ended.set()

    def fault(self, core: int, vector: int, rip: int, cr2: int) -> None:
        """See `Bus`. The primary's stubs would write this (`faults.inc`)."""
        if core != PRIMARY:
            return
        for field, width, value in ((I_VECTOR, "<I", vector), (I_RIP, "<Q", rip), (I_CR2, "<Q", cr2), (I_REASON, "<I", Reason.FAULT)):
            struct.pack_into(width, self.memory.map, INFO + field, value)
        self.serial += f"FAULT: vector {vector:08x} rip {rip:016x} cr2 {cr2:016x}\r\n".encode()
        self.finish(core, Reason.FAULT)

    def ended(self, core: int, why: str) -> None:
        """A core has stopped by itself; `why` if that is not how it should be."""
        if core == PRIMARY:
            self.why = why
            self.has_ended.set()

    def ticks(self) -> int:
        """See `Bus`."""
        return real_ticks()

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def _kill(self, core: int, lba: int) -> None:
        self.events.append(Event(guest_seconds(self.memory, self.ticks()), Kind.KILLED, core, lba))
        raise CoreDiedError
