"""The port bus: devices as models in C, on a virtual clock, with faults at will. What happens depends on nothing but what is done."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final

from beamlike import InternalError, sleep
from beamlike.seam import current_layers
from drivers._portbus import ffi, lib
from drivers.space import IoSpace, Stopped, _checked_count, _whole
from drivers.views import View, refuse_memory, refuse_port, view_of

MEBIBYTE: Final = 1 << 20
PORTS: Final = 1 << 16
MOST_SECONDS: Final = 1e9  # that pass at once
AT_ONCE: Final = 512  # accesses of a block, before their interrupts are told: the bus has room for 4096
FOREVER: Final = (1 << 63) - 1
NEWS: Final = lib.BL_NEWS
VALUE: Final = NEWS - 1
OPEN: Final = view_of(())  # of what is checked already

_in, _out, _in_block, _out_block = lib.bl_in, lib.bl_out, lib.bl_in_block, lib.bl_out_block


class Fault(IntEnum):
    """What may be wrong with ports, or with interrupt lines."""

    ONES = lib.BL_ONES
    """Bits of the mask read as 1."""
    ZEROS = lib.BL_ZEROS
    """Bits of the mask read as 0."""
    LOSE = lib.BL_LOSE
    """Writes are lost."""
    MISSING = lib.BL_MISSING
    """Nobody answers: reads give all ones, and writes are lost."""
    DEAF = lib.BL_DEAF
    """Interrupts are lost; the range is one of lines."""


class PortBus(IoSpace):
    """A machine without devices: `plug` some, or make those of `drivers/models` that have a class: `UartModel(bus)`.

    The clock moves when a process pauses, or by `advance`, and never otherwise. Interrupts come when the accesses and the time that cause
    them are through, as messages.

    Args:
        memory: bytes of RAM, from address 0.
    """

    name = "portbus"

    def __init__(self, memory: int = 16 * MEBIBYTE) -> None:
        super().__init__()
        if type(memory) is not int or memory < 0:
            raise ValueError(f"memory is {memory!r}, expected bytes")
        made = lib.bl_new(memory)
        if made == ffi.NULL:
            raise MemoryError(f"no {memory} bytes for the port bus")
        self._bus = ffi.gc(made, lib.bl_free)
        self._kept: list[Any] = []  # what models have pointers to
        self.models: dict[Any, Any] = {}
        """For whoever builds a machine: the host's sides of its models, by whatever names."""

    # --- ports: as in IoSpace, with the check and the access in one call into C ---

    def inb(self, port: int) -> int:
        """Read 8 bits."""
        view = self._view
        if view.layers is not current_layers():
            view = self._view_now()
        try:
            value: int = _in(self._bus, view.at, port, 1)
        except OverflowError:
            value = -errno.ERANGE
        return value if 0 <= value <= 0xFF else self._settle_port(value, port, 1)

    def outb(self, port: int, value: int) -> None:
        """Write 8 bits."""
        try:
            refused = _out(self._bus, self._view_now().at, port, 1, value)
        except OverflowError:
            refused = self._what_overflows(port, 1)
        if refused:
            self._settle_port(refused, port, 1, value)

    def port_in(self, port: int, width: int) -> int:
        """Read `width` bytes: 1, 2 or 4."""
        try:
            value: int = _in(self._bus, self._view_now().at, port, width)
        except OverflowError:
            value = -errno.ERANGE
        return value if 0 <= value < NEWS else self._settle_port(value, port, width)

    def port_out(self, port: int, width: int, value: int) -> None:
        """Write `width` bytes: 1, 2 or 4."""
        try:
            refused = _out(self._bus, self._view_now().at, port, width, value)
        except OverflowError:
            refused = self._what_overflows(port, width)
        if refused:
            self._settle_port(refused, port, width, value)

    def block_in(self, port: int, width: int, count: int) -> bytes:
        """Read `width` bytes `count` times."""
        return self._block_in(self._view_now(), port, width, _checked_count(count))

    def block_out(self, port: int, width: int, data: bytes) -> None:
        """Write `width` bytes, and again, until `data` is through."""
        view = self._view_now()
        refused = view.may_port(port, width)
        if refused:
            self._settle_port(refused, port, width)
        self._block_out(view, port, width, _whole(data, width))

    def _what_overflows(self, port: int, width: int) -> int:
        """A number that has more bits than C takes is the port, or else the value."""
        return self._view_now().may_port(port, width) or -errno.EINVAL

    def _block_in(self, view: View, port: int, width: int, count: int) -> bytes:
        refused = view.may_port(port, width)
        if refused:
            self._settle_port(refused, port, width)
        block = ffi.new("uint8_t[]", count * width)
        for first in range(0, count, AT_ONCE):
            refused = _in_block(self._bus, view.at, port, width, block + first * width, min(AT_ONCE, count - first))
            if refused:
                self._settle_port(refused, port, width)
        return bytes(ffi.buffer(block))

    def _block_out(self, view: View, port: int, width: int, data: bytes) -> None:
        block, count = ffi.from_buffer(data), len(data) // width
        for first in range(0, count, AT_ONCE):
            refused = _out_block(self._bus, view.at, port, width, block + first * width, min(AT_ONCE, count - first))
            if refused:
                self._settle_port(refused, port, width)

    def _settle_port(self, result: int, port: int, width: int, value: int | None = None) -> int:
        """An access that was refused, or has caused an interrupt."""
        if result == -errno.ENODEV:
            raise self.gone()
        if result < 0:
            refuse_port(current_layers(), result, port, width, value)
        self._tell_events()
        return int(result & VALUE)

    # --- memory ---

    def _in(self, port: int, width: int) -> int:
        return self._settle_port(_in(self._bus, OPEN.at, port, width), port, width)

    def _out(self, port: int, width: int, value: int) -> None:
        self._settle_port(_out(self._bus, OPEN.at, port, width, value), port, width, value)

    def _in_block(self, port: int, width: int, count: int) -> bytes:
        return self._block_in(OPEN, port, width, count)

    def _out_block(self, port: int, width: int, data: bytes) -> None:
        self._block_out(OPEN, port, width, data)

    def _read(self, address: int, width: int) -> int:
        return self._settle_memory(lib.bl_read(self._bus, OPEN.at, address, width), address, width)

    def _write(self, address: int, width: int, value: int) -> None:
        self._settle_memory(lib.bl_write(self._bus, OPEN.at, address, width, value), address, width)

    def _load(self, address: int, size: int) -> bytes:
        block = ffi.new("uint8_t[]", size)
        self._settle_memory(lib.bl_load(self._bus, OPEN.at, address, block, size), address, size)
        return bytes(ffi.buffer(block))

    def _store(self, address: int, data: bytes) -> None:
        self._settle_memory(lib.bl_store(self._bus, OPEN.at, address, ffi.from_buffer(data), len(data)), address, len(data))

    def _settle_memory(self, result: int, address: int, length: int) -> int:
        if result == -errno.ENODEV:
            raise self.gone()
        if result < 0:
            refuse_memory(current_layers(), result, address, length)
        if result & NEWS:
            self._tell_events()
        return int(result & VALUE)

    # --- time ---

    def now(self) -> float:
        """Seconds since the machine was switched on, virtual."""
        return float(self._bus.now / 1e9)

    def now_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self._bus.now)

    async def pause(self, seconds: float) -> None:
        """Move the clock. At each interrupt on the way, and at the end, the other processes have a turn."""
        end = self._end_of(seconds)
        while True:
            lib.bl_advance(self._bus, end)
            self._tell_events()
            await sleep(0)
            if self._bus.now >= end:
                return

    def advance(self, seconds: float) -> None:
        """Move the clock, at once: who gets an interrupt sees the time after that. For tests, and programs without processes."""
        end = self._end_of(seconds)
        while self._bus.now < end:
            lib.bl_advance(self._bus, end)
            self._tell_events()

    def _end_of(self, seconds: float) -> int:
        if not 0 <= seconds <= MOST_SECONDS:
            raise ValueError(f"{seconds!r} is no time to pass: expected 0 to {MOST_SECONDS:g} seconds")
        return int(self._bus.now) + round(seconds * 1e9)

    def _tell_events(self) -> None:
        event = ffi.new("bl_event *")
        with self.lines.telling:  # threads make accesses, too, and what comes first is told first
            while lib.bl_event_next(self._bus, event):
                self.lines.rise(event.line, event.number, event.at / 1e9)
            if self._bus.lost_events:
                raise InternalError(f"{self._bus.lost_events} interrupts of the port bus were lost: one access caused too many")
        if self._bus.stopped:
            self.lines.stop()

    # --- the processor's own ---

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """See `IoSpace`; of a `CpuModel`, if one was plugged in."""
        self._may_ask()
        registers = ffi.new("uint32_t[4]")
        if lib.bl_cpu_cpuid(self._bus, leaf, subleaf, registers):
            return super().cpuid(leaf, subleaf)
        return registers[0], registers[1], registers[2], registers[3]

    def rdtsc(self) -> int:
        """The same."""
        self._may_ask()
        value = ffi.new("uint64_t *")
        return super().rdtsc() if lib.bl_cpu_rdtsc(self._bus, value) else int(value[0])

    def _may_ask(self) -> None:
        if self._bus.stopped:
            raise self.gone()

    # --- the machine ---

    def plug(self, model: str, *args: Any) -> Any:
        """Add a device of `drivers/models`, after `bl_plug_MODEL` there. The `bl_device *` of it.

        Raises: ValueError: there is no such model, no room for more, or another device at its ports, which stays; TypeError: it takes other
            arguments.
        """
        found = getattr(lib, f"bl_plug_{model}", None)
        if found is None:
            raise ValueError(f"there is no model {model!r}: expected one of {', '.join(models())}")
        self._kept.extend(args)
        before = self._bus.device_count
        self._bus.clash = -1
        try:
            device = found(self._bus, *args)
        except TypeError as error:
            raise TypeError(f"{model} is plugged in with the arguments of bl_plug_{model} in drivers/models: {error}") from None
        if device == ffi.NULL:
            raise ValueError(f"{model} cannot be plugged in: no room for more devices, or wrong arguments")
        if self._bus.clash >= 0:
            lib.bl_withdraw(self._bus, before)
            raise ValueError(f"{model} cannot be plugged in: another device has port {self._bus.clash:#x}")
        return device

    def fault(self, kind: Fault, ports: int | Iterable[int], *, mask: int = 0xFF, skip: int = 0, count: int = FOREVER) -> None:
        """Break something.

        Args:
            ports: one, or a range; of `Fault.DEAF`: lines.
            mask: the bits of each byte, of `ONES` and `ZEROS`.
            skip: so many accesses are all right before.
            count: so many are wrong, and then all is well.
        """
        each = [ports] if isinstance(ports, int) else sorted(ports)
        if not each or each[-1] - each[0] != len(each) - 1 or not 0 <= each[0] <= each[-1] < PORTS:
            raise ValueError(f"fault: ports is a port or a range of them, not {ports!r}")
        if not 0 <= mask <= 0xFF or skip < 0 or count < 1:
            raise ValueError(f"fault: mask {mask!r}, skip {skip!r}, count {count!r}: expected 0 to 0xff, >= 0 and >= 1")
        kind = Fault(kind)
        if lib.bl_fault_add(self._bus, (int(kind), each[0], each[-1], mask, skip, count)):
            raise ValueError("fault: there are too many faults already; repair() takes them away")

    def repair(self) -> None:
        """No faults any more."""
        lib.bl_fault_clear(self._bus)

    @property
    def stopped(self) -> tuple[Stopped, int] | None:
        """See `IoSpace`."""
        return (Stopped(self._bus.stopped), int(self._bus.stop_status)) if self._bus.stopped else None


def models() -> list[str]:
    """The models that there are."""
    return sorted(name.removeprefix("bl_plug_") for name in dir(lib) if name.startswith("bl_plug_"))
