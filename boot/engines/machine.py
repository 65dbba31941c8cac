"""What boots an image: the interface of all engines."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import caps
from beamlike import blocking
from boot.engines.events import Event, read_events
from boot.engines.handoff import HandOff, read_handoff
from boot.engines.memory import GuestMemory
from boot.engines.outcome import Ending, check
from boot.errors import BootError
from boot.guest.layout import CORES_MOST, Reason

MEGABYTE = 1 << 20
LEAST_MEMORY, MOST_MEMORY = 4, 2048  # MiB: above, a PC's memory goes on behind the devices
PERIOD: Final = 0.05  # seconds between two looks at what has happened

Watch = Callable[[tuple[Event, ...]], None]
"""Called now and then with all that has happened so far, in a thread of its own."""


@dataclass(frozen=True)
class BootResult:
    """What has booted. Whoever has it closes it; what is not closed is told by ResourceWarning, when it is collected.

    Args:
        memory: all of the machine's, as it was left; the cores have ended.
        info: what the primary says about it.
        serial: what it said on COM1.
        status: of the exit port.
        seconds: from before the engine's start until after its end.
    """

    memory: GuestMemory
    info: HandOff
    serial: str
    events: tuple[Event, ...]
    status: int
    seconds: float

    def payload(self) -> bytes:
        """A copy of it."""
        return self.memory.read(self.info.load_address, self.info.payload_bytes)

    def close(self) -> None:
        """Twice is as good as once."""
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BootMachine(ABC):
    """A PC that is switched on for each boot, and off after it.

    Args:
        cores: of which the first is the primary.
        memory: MiB of RAM, 4 to 2048; the payload goes above 2 MiB.
        timeout: seconds within which a boot is done.
    """

    name: ClassVar[str]
    """The device of capabilities."""

    def __init__(self, cores: int = 2, memory: int = 64, timeout: float = 30.0) -> None:
        if not 1 <= cores <= CORES_MOST:
            raise ValueError(f"cores is {cores!r}, expected 1 to {CORES_MOST}")
        if not LEAST_MEMORY <= memory <= MOST_MEMORY:
            raise ValueError(f"memory is {memory!r}, expected {LEAST_MEMORY} to {MOST_MEMORY} MiB")
        self.cores = cores
        self.memory = memory
        self.timeout = timeout

    async def boot(self, image: str | os.PathLike[str], watch: Watch | None = None) -> BootResult:
        """Boot the image in this file; `watch` is told how it goes.

        It waits in a thread. Cancelled, or ended with its process, the machine is switched off a moment later, whatever it does.

        Raises:
            BootError: it has not booted: the kinds are in `boot.errors`.
            OSError: the file cannot be read, or is no regular one.
            CapabilityError: an exclusion refuses the caller threads, or the device.
        """
        caps.check("device", self.name)
        attempt = _Attempt(self, _open(image), watch)
        try:
            result: BootResult = await blocking(attempt.run)
        except BaseException:
            attempt.abandon()
            raise
        return result

    @abstractmethod
    def _run(self, medium: int, memory: GuestMemory, stopping: threading.Event) -> Ending:
        """Boot once, in this thread; nothing of the machine runs afterwards. Raises: BootError: it cannot be started."""


class _Attempt:
    """One boot, in its thread: it owns the medium and, until somebody takes the result, the memory."""

    def __init__(self, machine: BootMachine, medium: int, watch: Watch | None) -> None:
        self._machine = machine
        self._medium = medium
        self._watch = watch
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._has_begun = False
        self._result: BootResult | None = None

    def run(self) -> BootResult:
        begun = time.perf_counter()
        machine = self._machine
        with self._lock:
            if self._stopping.is_set():
                raise BootError("nobody wants it any more")
            self._has_begun = True
        try:
            memory = GuestMemory(machine.memory * MEGABYTE)
            try:
                result = self._boot(memory, begun)
                with self._lock:
                    self._result = result
                    if self._stopping.is_set():
                        raise BootError("nobody wants the result any more")
            except BaseException:
                memory.close()
                raise
        finally:
            os.close(self._medium)
        return result

    def _boot(self, memory: GuestMemory, begun: float) -> BootResult:
        with _watched(memory, self._watch):
            ending = self._machine._run(self._medium, memory, self._stopping)
        handoff, events = read_handoff(memory), read_events(memory, ending.events)
        check(ending, handoff, memory, self._medium, events, self._machine.timeout)
        assert handoff is not None  # else it has not booted
        serial = ending.serial.decode("ascii", "replace")
        return BootResult(memory, handoff, serial, events, Reason.OK, time.perf_counter() - begun)

    def abandon(self) -> None:
        """From another thread: the machine is switched off, and what it had is closed."""
        with self._lock:
            if not self._has_begun and not self._stopping.is_set():
                os.close(self._medium)
            self._stopping.set()
            if self._result is not None:
                self._result.close()


def _open(image: str | os.PathLike[str]) -> int:
    descriptor = os.open(image, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would wait for a writer
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(image))
    return descriptor


@contextmanager
def _watched(memory: GuestMemory, watch: Watch | None) -> Iterator[None]:
    if watch is None:
        yield
        return
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(PERIOD):
            watch(read_events(memory, []))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
