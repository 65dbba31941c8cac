"""PCI on a machine whose firmware has not set it up: bus numbers, base addresses, and ISA interrupts.

Source: PCI Local Bus Specification 3.0, chapter 6; PCI-to-PCI Bridge Architecture Specification 1.2, chapters 3 and 9.1 (interrupts behind
bridges); Intel 82371SB (PIIX3) data sheet (290550-002), PIRQRC, ELCR.

Covers: numbers for bridges, addresses for what has none, with the windows of bridges, and the PIIX3's routing of INTA# to INTD#, with the
wiring of the PC's that Bochs and QEMU emulate: slot 1's INTA# is PIRQA#, and each next slot one further. Not: other interrupt routers.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from drivers.devices.pci import LINE, SECONDARY, Address, Bar, Command, Function, Pci, Space
from drivers.errors import DeviceAbsentError, DeviceError

PRIMARY: Final = 0x18
IO_BASE, IO_LIMIT, IO_UPPER = 0x1C, 0x1D, 0x30
MEMORY_BASE, MEMORY_LIMIT, PREFETCHABLE_BASE = 0x20, 0x22, 0x24
CLOSED: Final = 0x0000_FFF0  # a window that begins behind its end
LAST_BUS: Final = 255
GRANULE: Final = {Space.IO: 0x1000, Space.MEMORY: 0x10_0000}  # of bridges' windows

PORTS: Final = range(0xC000, 0x1_0000)
ADDRESSES: Final = range(0xE000_0000, 0xFEC0_0000)  # up to the I/O APIC

PIIX3: Final = (0x8086, 0x7000)
ROUTES: Final = 0x60
NOT_ROUTED: Final = 0x80
LEVEL_TRIGGERED: Final = 0x4D0  # ELCR: a bit an interrupt
LINES: Final = (3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15)


def number_buses(pci: Pci) -> int:
    """Give all bridges their bus numbers, anew. How many buses there are then.

    Raises: DeviceError: there would be more than 256.
    """
    last = 0

    def number(bus: int) -> None:
        nonlocal last
        bridges = [each for each in pci.on_bus(bus) if each.is_bridge]
        for each in bridges:
            pci.write8(each, SECONDARY, 0)  # numbers of before, which others may get now
            pci.write8(each, SECONDARY + 1, 0)
        for each in bridges:
            if last == LAST_BUS:
                raise DeviceError(f"PCI {each.address}: there is no number left for the bus behind it")
            last += 1
            own = last
            pci.write8(each, PRIMARY, bus)
            pci.write8(each, SECONDARY, own)
            pci.write8(each, SECONDARY + 1, LAST_BUS)  # all, until it is known
            number(own)
            pci.write8(each, SECONDARY + 1, last)

    pci.require()
    number(0)
    return last + 1


class _Free:
    """What is free of ports or of addresses."""

    def __init__(self, space: Space, room: range, taken: Iterable[Bar]) -> None:
        self.room = room
        self.taken = [each for each in taken if each.space is space and each.address]
        self.next = room.start

    def align(self, to: int) -> None:
        self.next += -self.next % to

    def take(self, size: int) -> int | None:
        """None: there is no room."""
        address = self.next + -self.next % size
        while clash := next((each for each in self.taken if each.address < address + size and address < each.end), None):
            address = clash.end + -clash.end % size
        if address + size > self.room.stop:
            return None
        self.next = address + size
        return address


def assign(pci: Pci, ports: range = PORTS, addresses: range = ADDRESSES) -> dict[Address, list[Bar]]:
    """Give addresses to all base address registers that have none, and set the windows of bridges that have such behind them.

    Returns those of every function, as they are then.

    Functions are not enabled by this, but bridges are. What has an address keeps it. What there is no room for stays without, and a
    function whose registers make no sense is left out: the others are not to suffer from one.

    Args:
        ports, addresses: what is free, but for what has been given out.

    Raises: DeviceError: a register does not take its address, or what is behind a bridge has one that no window reaches; DeviceAbsentError.
    """
    functions = pci.scan()
    bars: dict[Address, list[Bar]] = {}
    for function in functions:
        with suppress(DeviceError):  # who opens it is told
            bars[function.address] = pci.bars(function)
    every = [each for those in bars.values() for each in those]
    free = {Space.IO: _Free(Space.IO, ports, every), Space.MEMORY: _Free(Space.MEMORY, addresses, every)}
    seen = {0}

    def give(bus: int) -> tuple[list[Bar], bool]:
        """What is on this bus and behind it; and is any of that new?"""
        found: list[Bar] = []
        is_any_new = False
        for each in (each for each in functions if each.address.bus == bus):
            for i, bar in enumerate(bars.get(each.address, ())):
                if bar.address == 0 and (address := free[bar.space].take(bar.size)) is not None:
                    bars[each.address][i] = pci.place(each, bar, address)
                    is_any_new = True
            found += (bar for bar in bars.get(each.address, ()) if bar.address)
            behind = pci.read8(each, SECONDARY) if each.is_bridge else 0
            if behind in seen:  # it has no number, or leads back
                continue
            seen.add(behind)
            for space in Space:
                free[space].align(GRANULE[space])
            inner, is_new = give(behind)
            for space in Space:
                free[space].align(GRANULE[space])
            if is_new:
                _open(pci, each, inner)
            found += inner
            is_any_new |= is_new
        return found, is_any_new

    give(0)
    return bars


def _open(pci: Pci, bridge: Function, bars: list[Bar]) -> None:
    """Let a bridge pass what these need. Prefetchable memory goes through the window of the other."""
    first, last = _extent(bars, Space.IO)
    if last > 0xFFFF:
        raise DeviceError(f"PCI {bridge.address}: ports up to {last:#x} are behind it")
    pci.write8(bridge, IO_BASE, first >> 8 & 0xF0)
    pci.write8(bridge, IO_LIMIT, last >> 8 & 0xF0)
    pci.write32(bridge, IO_UPPER, 0)
    first, last = _extent(bars, Space.MEMORY)
    if last > 0xFFFF_FFFF:
        raise DeviceError(f"PCI {bridge.address}: addresses up to {last:#x} are behind it, and its window ends at 4 GiB")
    pci.write16(bridge, MEMORY_BASE, first >> 16 & 0xFFF0)
    pci.write16(bridge, MEMORY_LIMIT, last >> 16 & 0xFFF0)
    pci.write32(bridge, PREFETCHABLE_BASE, CLOSED)
    pci.enable(bridge, Command.IO | Command.MEMORY | Command.MASTER)


def _extent(bars: list[Bar], space: Space) -> tuple[int, int]:
    """The first and last of them; of none: what closes a window."""
    here = [each for each in bars if each.space is space]
    if not here:
        return (0xF000, 0) if space is Space.IO else (0xFFF0_0000, 0)
    return min(each.address for each in here), max(each.end for each in here) - 1


class Piix3:
    """The router of interrupts, in the ISA bridge. Raises: DeviceAbsentError: there is none."""

    def __init__(self, pci: Pci) -> None:
        found = pci.find(*PIIX3)
        if not found:
            raise DeviceAbsentError(f"PCI: no PIIX3 ({PIIX3[0]:04x}:{PIIX3[1]:04x}) is there, which would route interrupts")
        self.pci = pci
        self.bridge = found[0]

    def route_of(self, function: Function) -> int:
        """Which of PIRQA# to PIRQD#, 0 to 3, its interrupt pin is wired to.

        Raises: ValueError: it has no interrupt pin; DeviceError: no bridge leads to it.
        """
        pin = self.pci.interrupt_pin(function)
        if pin == 0:
            raise ValueError(f"PCI {function.address} makes no interrupts: it has no interrupt pin")
        bridges = {self.pci.read8(each, SECONDARY): each for each in self.pci.scan() if each.is_bridge}
        at = function.address
        for _ in range(LAST_BUS + 1):
            if at.bus == 0:
                return (at.device + pin - 2) % 4
            if at.bus not in bridges:
                break
            pin = (at.device + pin - 1) % 4 + 1
            at = bridges[at.bus].address
        raise DeviceError(f"PCI {function.address}: no way from bus 0 leads there")

    def route(self, function: Function, line: int) -> None:
        """Let its interrupts, and those of all that share its wire, be this ISA line, level-triggered; it is noted as its interrupt line.

        Raises: ValueError: no line for PCI; or as `route_of`.
        """
        if line not in LINES:
            raise ValueError(f"line {line!r}: PCI interrupts can be {', '.join(map(str, LINES))}")
        wire = self.route_of(function)
        register = LEVEL_TRIGGERED + line // 8
        self.pci.io.outb(register, self.pci.io.inb(register) | 1 << line % 8)
        self.pci.write8(self.bridge, ROUTES + wire, line)
        self.pci.write8(function, LINE, line)

    def line_of(self, function: Function) -> int | None:
        """Where its interrupts go now; None: nowhere."""
        shown = self.pci.read8(self.bridge, ROUTES + self.route_of(function))
        return None if shown & NOT_ROUTED else shown & 15
