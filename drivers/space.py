"""The I/O space: ports, memory-mapped registers, interrupt lines and time of one machine, which is the same whatever plays it.

A driver is written against this and nothing else. Who plays the machine: `PortBus`, models in C with a virtual clock; `Qemu`, an emulator;
`IoServer`, an emulated processor's own instructions; `MachineSpace`, this very machine.

Every access is checked against the exclusions of whoever makes it (`port_io`, `raw_memory`), at that time and over its whole width, in
C: also while a guarded server acts for somebody else, and after the process was tightened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, TypeVar

from beamlike import sleep
from beamlike.seam import current_layers
from drivers._portbus import lib
from drivers.errors import DeviceTimeoutError, MachineStoppedError
from drivers.interrupts import Lines
from drivers.views import View, refuse_memory, refuse_port, view_of

FIRST_PAUSE: Final = 2e-6  # seconds between two looks at a register; each pause is twice the one before
LONGEST_PAUSE: Final = 1e-3
MOST_AT_ONCE: Final = 1 << 28  # accesses, or bytes, of a block

T = TypeVar("T")


class Stopped(IntEnum):
    """Why a machine does not run any more."""

    POWER_OFF = lib.BL_POWER_OFF
    RESET = lib.BL_RESET
    DEBUG_EXIT = lib.BL_DEBUG_EXIT
    CLOSED = 4
    """By `close`."""
    FAILED = 5
    """Its emulator has ended by itself."""


class IoSpace(ABC):
    """Accesses raise CapabilityError if an exclusion refuses any byte of them, ValueError for what is no port, address or value, and
    MachineStoppedError if there is no machine any more. Nothing is done then. Where no device answers, reads give all ones.

    Accesses do not wait: they are plain calls. `pause` and `until` do.
    """

    name: str
    """Of the backend."""

    def __init__(self) -> None:
        self.lines = Lines()
        self._view: View = view_of(())  # of who made the last access

    # --- ports ---

    def inb(self, port: int) -> int:
        """Read 8 bits."""
        return self.port_in(port, 1)

    def inw(self, port: int) -> int:
        """Read 16 bits."""
        return self.port_in(port, 2)

    def inl(self, port: int) -> int:
        """Read 32 bits."""
        return self.port_in(port, 4)

    def outb(self, port: int, value: int) -> None:
        """Write 8 bits."""
        self.port_out(port, 1, value)

    def outw(self, port: int, value: int) -> None:
        """Write 16 bits."""
        self.port_out(port, 2, value)

    def outl(self, port: int, value: int) -> None:
        """Write 32 bits."""
        self.port_out(port, 4, value)

    def port_in(self, port: int, width: int) -> int:
        """Read `width` bytes: 1, 2 or 4."""
        self.may_port(port, width)
        return self._in(port, width)

    def port_out(self, port: int, width: int, value: int) -> None:
        """Write `width` bytes: 1, 2 or 4."""
        self.may_port(port, width)
        if not 0 <= value < 1 << width * 8:
            raise ValueError(f"{value!r} does not fit {width * 8} bits")
        self._out(port, width, value)

    def insb(self, port: int, count: int) -> bytes:
        """Read 8 bits `count` times: `rep insb`."""
        return self.block_in(port, 1, count)

    def insw(self, port: int, count: int) -> bytes:
        """Read 16 bits `count` times; little-endian: `rep insw`."""
        return self.block_in(port, 2, count)

    def insl(self, port: int, count: int) -> bytes:
        """Read 32 bits `count` times; little-endian: `rep insd`."""
        return self.block_in(port, 4, count)

    def outsb(self, port: int, data: bytes) -> None:
        """Write bytes one after the other: `rep outsb`."""
        self.block_out(port, 1, data)

    def outsw(self, port: int, data: bytes) -> None:
        """Write words, little-endian, one after the other: `rep outsw`. ValueError if the last one is not whole."""
        self.block_out(port, 2, data)

    def outsl(self, port: int, data: bytes) -> None:
        """Write double words: `rep outsd`. As `outsw`."""
        self.block_out(port, 4, data)

    def block_in(self, port: int, width: int, count: int) -> bytes:
        """Read `width` bytes `count` times."""
        self.may_port(port, width)
        return self._in_block(port, width, _checked_count(count))

    def block_out(self, port: int, width: int, data: bytes) -> None:
        """Write `width` bytes, and again, until `data` is through."""
        self.may_port(port, width)
        self._out_block(port, width, _whole(data, width))

    # --- memory ---

    def read8(self, address: int) -> int:
        """Read an 8-bit register."""
        return self.memory_in(address, 1)

    def read16(self, address: int) -> int:
        """Read a 16-bit register, at an even address."""
        return self.memory_in(address, 2)

    def read32(self, address: int) -> int:
        """Read a 32-bit register, at a multiple of 4."""
        return self.memory_in(address, 4)

    def write8(self, address: int, value: int) -> None:
        """Write an 8-bit register."""
        self.memory_out(address, 1, value)

    def write16(self, address: int, value: int) -> None:
        """Write a 16-bit register, at an even address."""
        self.memory_out(address, 2, value)

    def write32(self, address: int, value: int) -> None:
        """Write a 32-bit register, at a multiple of 4."""
        self.memory_out(address, 4, value)

    def memory_in(self, address: int, width: int) -> int:
        """Read a register of `width` bytes: 1, 2 or 4."""
        self._may_register(address, width)
        return self._read(address, width)

    def memory_out(self, address: int, width: int, value: int) -> None:
        """Write a register of `width` bytes: 1, 2 or 4."""
        self._may_register(address, width)
        if not 0 <= value < 1 << width * 8:
            raise ValueError(f"{value!r} does not fit {width * 8} bits")
        self._write(address, width, value)

    def load(self, address: int, size: int) -> bytes:
        """Read memory. Of registers it is not said in which pieces."""
        if _checked_count(size) == 0:
            return b""
        self.may_memory(address, size)
        return self._load(address, size)

    def store(self, address: int, data: bytes) -> None:
        """Write memory. Of registers it is not said in which pieces."""
        if len(data):
            data = _bytes(data)
            self.may_memory(address, len(data))
            self._store(address, data)

    # --- what may be ---

    def may_port(self, port: int, width: int) -> None:
        """Raise what an access to these ports would, without one."""
        view = self._view_now()
        refused = view.may_port(port, width)
        if refused:
            refuse_port(view.layers, refused, port, width)

    def may_memory(self, address: int, length: int) -> None:
        """The same of memory."""
        view = self._view_now()
        refused = view.may_memory(address, length)
        if refused:
            refuse_memory(view.layers, refused, address, length)

    def _may_register(self, address: int, width: int) -> None:
        if type(address) is not int or width not in (1, 2, 4) or address % width:
            shown = hex(address) if type(address) is int else repr(address)
            raise ValueError(f"{width} bytes at {shown} are no register: expected 1, 2 or 4 at a multiple of that")
        self.may_memory(address, width)

    def _view_now(self) -> View:
        """Of whoever makes an access now."""
        layers = current_layers()
        view = self._view  # read once: threads make accesses, too
        if view.layers is not layers:
            view = self._view = view_of(layers)
        return view

    # --- time ---

    @abstractmethod
    def now(self) -> float:
        """Seconds of the machine's clock, from some beginning."""

    async def pause(self, seconds: float) -> None:
        """Wait until the machine's clock is so much further. Others have their turn, and interrupts come."""
        await sleep(seconds)

    async def until(self, ready: Callable[[], T], timeout: float, what: str | Callable[[], str]) -> T:
        """Look again and again until `ready()` is true, and return that. The first look is at once, and no checkpoint if it is true.

        Raises: DeviceTimeoutError after `timeout` seconds of the machine's clock; `what` says what was waited for.
        """
        if not timeout >= 0:
            raise ValueError(f"until: timeout is {timeout!r}, expected a number of seconds >= 0")
        if found := ready():
            return found
        deadline = self.now() + timeout
        step = FIRST_PAUSE
        while True:
            await self.pause(step)
            step = min(2 * step, LONGEST_PAUSE)
            is_over = self.now() >= deadline
            if found := ready():
                return found
            if is_over:
                raise DeviceTimeoutError(f"{what if isinstance(what, str) else what()}: not within {timeout:g} s")

    @property
    def stopped(self) -> tuple[Stopped, int] | None:
        """Why the machine has stopped, and the status that it gave (of `DEBUG_EXIT`, and of the process of one that has `FAILED`; else 0).
        None: it runs, as far as is known."""
        return None

    def gone(self) -> MachineStoppedError:
        """The error of who uses a machine that has stopped."""
        why, status = self.stopped or (Stopped.CLOSED, 0)
        return MachineStoppedError(f"the machine has stopped: {REASONS[why].format(status=_status_text(status))}")

    # --- what a backend does, when it may be done; the arguments are checked ---

    @abstractmethod
    def _in(self, port: int, width: int) -> int: ...

    @abstractmethod
    def _out(self, port: int, width: int, value: int) -> None: ...

    def _in_block(self, port: int, width: int, count: int) -> bytes:
        return b"".join(self._in(port, width).to_bytes(width, "little") for _ in range(count))

    def _out_block(self, port: int, width: int, data: bytes) -> None:
        for at in range(0, len(data), width):
            self._out(port, width, int.from_bytes(data[at : at + width], "little"))

    @abstractmethod
    def _read(self, address: int, width: int) -> int: ...

    @abstractmethod
    def _write(self, address: int, width: int, value: int) -> None: ...

    @abstractmethod
    def _load(self, address: int, size: int) -> bytes: ...

    @abstractmethod
    def _store(self, address: int, data: bytes) -> None: ...

    # --- the processor's own ---

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX of the instruction. Raises: NotImplementedError: the backend has no processor to ask."""
        raise NotImplementedError(f"{self.name} has no processor that could be asked")

    def rdtsc(self) -> int:
        """The time stamp counter. Raises as `cpuid`."""
        raise NotImplementedError(f"{self.name} has no processor that could be asked")


REASONS: Final = {
    Stopped.POWER_OFF: "it was switched off",
    Stopped.RESET: "it was reset",
    Stopped.DEBUG_EXIT: "a program on it has ended it, with the status {status}",
    Stopped.CLOSED: "it was closed",
    Stopped.FAILED: "its emulator has ended by itself, with {status}",
}


def _status_text(status: int) -> str:
    """A signal is negative, as in `subprocess`."""
    return f"signal {-status}" if status < 0 else str(status)


def _checked_count(count: Any) -> int:
    if type(count) is not int or not 0 <= count <= MOST_AT_ONCE:
        raise ValueError(f"{count!r} is no number of accesses or bytes: expected an int from 0 to {MOST_AT_ONCE}")
    return count


def _bytes(data: Any) -> bytes:
    """Bytes, whatever the items of a view are."""
    return data if type(data) is bytes else bytes(data)


def _whole(data: bytes, width: int) -> bytes:
    data = _bytes(data)
    if len(data) % width:
        raise ValueError(f"{len(data)} bytes are no whole number of accesses of {width} bytes")
    return data
