"""PCI: configuration space, and what the functions on the buses are.

Source: PCI Local Bus Specification 3.0, section 3.2.2.3.2 (configuration mechanism #1) and chapter 6; PCI-to-PCI Bridge Architecture
Specification 1.2, chapter 3.

Covers: configuration space by mechanism #1, enumeration through bridges, base addresses (I/O, memory of 32 and 64 bits), the command
register, capabilities, interrupt pin and line. `pci_setup` gives out buses, addresses and interrupts where no firmware has.
Not: PCI Express's memory-mapped configuration space beyond 256 bytes, expansion ROMs, MSI.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from drivers.devices.pci_names import capability_name, class_name
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

ADDRESS, DATA = 0xCF8, 0xCFC
ENABLE: Final = 0x8000_0000
COMMAND, STATUS, CLASS, HEADER, BARS, POINTER, LINE, PIN = 0x04, 0x06, 0x08, 0x0E, 0x10, 0x34, 0x3C, 0x3D
SECONDARY: Final = 0x19
HAS_CAPABILITIES: Final = 0x10
MULTIPLE: Final = 0x80
FIRST_CAPABILITY: Final = 0x40
BAR_COUNTS: Final = {0: 6, 1: 2, 2: 1}  # by the kind of header: a device, a bridge, a CardBus bridge
ONES: Final = 0xFFFF_FFFF


class Command(IntFlag):
    """The bits of the command register that a driver has a use for."""

    IO = 0x001
    """It answers at its ports."""
    MEMORY = 0x002
    """It answers at its addresses."""
    MASTER = 0x004
    """It may read and write memory by itself."""
    NO_INTERRUPT = 0x400
    """Its interrupt pin is silent."""


class Space(IntEnum):
    """What a base address is in."""

    MEMORY = 0
    IO = 1


class Address(NamedTuple):
    """Where a function is."""

    bus: int
    device: int
    function: int

    def __str__(self) -> str:
        return f"{self.bus:02x}:{self.device:02x}.{self.function}"


class Function(NamedTuple):
    """What a function is."""

    address: Address
    vendor: int
    device: int
    base_class: int
    subclass: int
    interface: int
    revision: int
    header: int
    """0: a device, 1: a bridge to another bus, 2: a CardBus bridge."""

    @property
    def name(self) -> str:
        """Of its class: "network: Ethernet"."""
        return class_name(self.base_class, self.subclass)

    @property
    def is_bridge(self) -> bool:
        """Is it one from bus to bus?"""
        return self.header == 1


class Bar(NamedTuple):
    """A base address register: where some ports or registers of a function are."""

    number: int
    space: Space
    address: int
    """0: it has none yet."""
    size: int
    is_64: bool = False
    is_prefetchable: bool = False

    @property
    def end(self) -> int:
        """Of the first byte after it."""
        return self.address + self.size


class Capability(NamedTuple):
    """A block of registers in configuration space, by its ID."""

    id: int
    offset: int

    @property
    def name(self) -> str:
        """Such as "MSI-X"."""
        return capability_name(self.id)


class Pci:
    """The buses. Functions are given by their `Address`, or by the `Function` that `scan` has found. Nothing here waits.

    Configuration space is accessed by two ports, one after the other: let one process do it.
    """

    def __init__(self, io: IoSpace) -> None:
        self.io = io

    # --- configuration space ---

    def read(self, at: Address | Function, offset: int, width: int) -> int:
        """Read `width` bytes, 1, 2 or 4, aligned; all ones where no function is. Raises: ValueError."""
        return self.io.port_in(self._select(at, offset, width), width)

    def write(self, at: Address | Function, offset: int, width: int, value: int) -> None:
        """Write `width` bytes, 1, 2 or 4, aligned. Raises: ValueError."""
        self.io.port_out(self._select(at, offset, width), width, value)

    def read8(self, at: Address | Function, offset: int) -> int:
        """Read 8 bits."""
        return self.read(at, offset, 1)

    def read16(self, at: Address | Function, offset: int) -> int:
        """Read 16 bits."""
        return self.read(at, offset, 2)

    def read32(self, at: Address | Function, offset: int) -> int:
        """Read 32 bits."""
        return self.read(at, offset, 4)

    def write8(self, at: Address | Function, offset: int, value: int) -> None:
        """Write 8 bits."""
        self.write(at, offset, 1, value)

    def write16(self, at: Address | Function, offset: int, value: int) -> None:
        """Write 16 bits."""
        self.write(at, offset, 2, value)

    def write32(self, at: Address | Function, offset: int, value: int) -> None:
        """Write 32 bits."""
        self.write(at, offset, 4, value)

    def _select(self, at: Address | Function, offset: int, width: int) -> int:
        bus, device, function = at.address if isinstance(at, Function) else at
        if not (0 <= bus < 256 and 0 <= device < 32 and 0 <= function < 8):
            raise ValueError(f"{bus:#x}, {device:#x}, {function:#x} is no function: expected a bus < 256, a device < 32, a function < 8")
        if width not in (1, 2, 4) or offset % width or not 0 <= offset < 256:
            raise ValueError(f"{width} bytes at {offset:#x} of configuration space: expected 1, 2 or 4 at a multiple of that, below 0x100")
        self.io.outl(ADDRESS, ENABLE | bus << 16 | device << 11 | function << 8 | offset & 0xFC)
        return DATA + (offset & 3)

    # --- what there is ---

    def require(self) -> None:
        """Raises: DeviceAbsentError: there is no configuration mechanism #1."""
        self.io.outl(ADDRESS, ENABLE)
        if (shown := self.io.inl(ADDRESS)) != ENABLE:
            raise DeviceAbsentError(
                f"PCI: port {ADDRESS:#x} shows {shown:#x}, not {ENABLE:#x} that was written: no configuration mechanism #1"
            )

    def scan(self) -> list[Function]:
        """All functions that can be reached, bus by bus: of bus 0, and of what is behind bridges that have bus numbers.

        Each bus is looked at once, whatever bridges claim. A vendor of 0 or all ones is nobody.

        Raises: DeviceAbsentError as `require`.
        """
        self.require()
        found: list[Function] = []
        buses = [0]
        for bus in buses:  # it grows
            here = self.on_bus(bus)
            found += here
            for each in here:
                if each.is_bridge and (behind := self.read8(each, SECONDARY)) not in buses:
                    buses.append(behind)
        return found

    def on_bus(self, bus: int) -> list[Function]:
        """The functions of one bus."""
        found = []
        for device in range(32):
            first = self.function(Address(bus, device, 0))
            if first is None:
                continue
            found.append(first)
            if self.read8(first, HEADER) & MULTIPLE:
                others = (self.function(Address(bus, device, each)) for each in range(1, 8))
                found += [each for each in others if each is not None]
        return found

    def function(self, address: Address) -> Function | None:
        """What is there, or None."""
        ids = self.read32(address, 0)
        vendor, device = ids & 0xFFFF, ids >> 16
        if vendor in (0, 0xFFFF):
            return None
        classes = self.read32(address, CLASS)
        header = self.read8(address, HEADER) & ~MULTIPLE
        return Function(address, vendor, device, classes >> 24, classes >> 16 & 0xFF, classes >> 8 & 0xFF, classes & 0xFF, header)

    def find(self, vendor: int, device: int) -> list[Function]:
        """Those of `scan` with these IDs."""
        return [each for each in self.scan() if (each.vendor, each.device) == (vendor, device)]

    # --- one function ---

    def bars(self, function: Function) -> list[Bar]:
        """Its base addresses. To find their sizes it does not answer for a moment: not while somebody uses it.

        Raises: DeviceError: its header is of no known kind, or a register shows what none can; DeviceAbsentError: nobody is there any more.
        """
        if self.read16(function, 0) == 0xFFFF:
            raise DeviceAbsentError(f"PCI {function.address}: nobody is there any more")
        count = BAR_COUNTS.get(function.header)
        if count is None:
            raise DeviceError(f"PCI {function.address}: a header of kind {function.header:#x}, expected 0, 1 or 2")
        before = self.read16(function, COMMAND)
        self.write16(function, COMMAND, before & ~(Command.IO | Command.MEMORY))
        try:
            found = []
            index = 0
            while index < count:
                bar = self._bar(function, index, count)
                found.append(bar)
                index += 2 if bar.is_64 else 1
            return [each for each in found if each.size]
        finally:
            self.write16(function, COMMAND, before)

    def _bar(self, function: Function, index: int, count: int) -> Bar:
        shown, ones = self._probe(function, index)
        if shown & 1:
            size = _size(function, index, (ones | 0xFFFF_0000 if ones & ~3 else ones) & ~3, 32)
            return Bar(index, Space.IO, shown & ~3, size)
        kind = shown >> 1 & 3
        if kind == 3:
            raise DeviceError(f"PCI {function.address}: base address {index} shows {shown:#x}, whose type 3 is reserved")
        if kind != 2:
            return Bar(index, Space.MEMORY, shown & ~15, _size(function, index, ones & ~15, 32), is_prefetchable=bool(shown & 8))
        if index + 1 == count:
            raise DeviceError(f"PCI {function.address}: base address {index}, the last one, claims to have 64 bits")
        high, high_ones = self._probe(function, index + 1)
        size = _size(function, index, (high_ones << 32 | ones) & ~15, 64)
        return Bar(index, Space.MEMORY, high << 32 | shown & ~15, size, True, bool(shown & 8))

    def _probe(self, function: Function, index: int) -> tuple[int, int]:
        """What is in the register, and which bits are when ones were written; it is as before then."""
        offset = BARS + 4 * index
        shown = self.read32(function, offset)
        self.write32(function, offset, ONES)
        ones = self.read32(function, offset)
        self.write32(function, offset, shown)
        return shown, ones

    def place(self, function: Function, bar: Bar, address: int) -> Bar:
        """Let it answer there, once `enable` lets it. As it is then.

        Raises: ValueError: not a multiple of its size, or beyond what it can be set to; DeviceError: the register has not taken it.
        """
        last = 0xFFFF if bar.space is Space.IO else 2**64 - 1 if bar.is_64 else ONES
        if address % bar.size or not 0 <= address <= last - bar.size + 1:
            raise ValueError(f"base address {address:#x}: expected a multiple of {bar.size:#x}, with all of it up to {last:#x}")
        flags = 3 if bar.space is Space.IO else 15
        offset = BARS + 4 * bar.number
        self.write32(function, offset, address & ONES)
        if bar.is_64:
            self.write32(function, offset + 4, address >> 32)
        shown = self.read32(function, offset) & ~flags | (self.read32(function, offset + 4) << 32 if bar.is_64 else 0)
        if shown != address:
            raise DeviceError(f"PCI {function.address}: base address {bar.number} shows {shown:#x}, not {address:#x} that was written")
        return bar._replace(address=address)

    def command(self, function: Function) -> Command:
        """What it may do."""
        return Command(self.read16(function, COMMAND) & (Command.IO | Command.MEMORY | Command.MASTER | Command.NO_INTERRUPT))

    def enable(self, function: Function, what: Command = Command.IO | Command.MEMORY | Command.MASTER) -> None:
        """Let it do this, besides what it may do already."""
        self.write16(function, COMMAND, self.read16(function, COMMAND) | what)

    def disable(self, function: Function, what: Command = Command.IO | Command.MEMORY | Command.MASTER) -> None:
        """Let it do this no more."""
        self.write16(function, COMMAND, self.read16(function, COMMAND) & ~what)

    def capabilities(self, function: Function) -> list[Capability]:
        """In the order of their list.

        Raises: DeviceError: the list comes back to where it was, or leads to where no capability can be.
        """
        if not self.read16(function, STATUS) & HAS_CAPABILITIES:
            return []
        found: dict[int, Capability] = {}
        offset = self.read8(function, POINTER if function.header != 2 else 0x14) & 0xFC
        while offset:
            if offset < FIRST_CAPABILITY or offset in found:
                raise DeviceError(f"PCI {function.address}: its list of capabilities leads to {offset:#x}, after {list(found.values())}")
            found[offset] = Capability(self.read8(function, offset), offset)
            offset = self.read8(function, offset + 1) & 0xFC
        return list(found.values())

    def interrupt_pin(self, function: Function) -> int:
        """1 to 4: INTA# to INTD#; 0: it makes no interrupts. Raises: DeviceError: anything else."""
        pin = self.read8(function, PIN)
        if pin > 4:
            raise DeviceError(f"PCI {function.address}: interrupt pin {pin}, expected 0 to 4")
        return pin

    def interrupt_line(self, function: Function) -> int | None:
        """What the firmware, or `Piix3.route`, has noted as its line; None: nobody has. After a reset, 0 can mean that, too."""
        line = self.read8(function, LINE)
        return None if line == 0xFF else line


def _size(function: Function, index: int, ones: int, bits: int) -> int:
    """Of the bits that can be set, the lowest is the size, and all above are there. 0: there is no such register."""
    if ones == 0:
        return 0
    size = (1 << bits) - ones
    if size & (size - 1):
        raise DeviceError(f"PCI {function.address}: base address {index} keeps {ones:#x} of all ones, which is no size")
    return size
