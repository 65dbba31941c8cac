"""ACPI tables: where they are, and what some of them say. It parses bytes; nothing here runs AML.

Source: ACPI Specification 6.5, 5.2 (5.2.5 finding, 5.2.6 header, 5.2.9 FADT, 5.2.12 MADT); PCI Firmware Specification 3.3, 4.1.2 (MCFG);
IA-PC HPET Specification 1.0a, 3.2.4.

Covers: the root pointer in the EBDA and in 0xe0000 to 0xfffff, RSDT and XSDT, headers and checksums of all tables, MADT, FADT, MCFG, HPET.
Not: UEFI's configuration table, AML, the other tables' contents.

A table that makes no sense is left out of the result, which has a warning then. Nothing that memory contains leads to anything but that or
a DeviceError.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final, NamedTuple

from drivers.devices.acpi_madt import Madt, parse_madt
from drivers.devices.acpi_table import HEADER, LARGEST, Address, Space, Table, address_of, checked, integer, parse_table, text_of
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

EBDA_POINTER: Final = 0x40E
EBDA: Final = range(0x80000, 0xA0000)
BIOS: Final = range(0xE0000, 0x100000)
ROOT, ROOT_SIZE, ROOT_SIZE_2 = b"RSD PTR ", 20, 36
MOST_TABLES: Final = 256


class Root(NamedTuple):
    """The root system description pointer."""

    address: int
    revision: int
    """0: ACPI 1.0."""
    oem_id: str
    rsdt: int
    xsdt: int
    """0: there is none."""


class FadtFlags(IntFlag):
    """Some of the fixed features."""

    WBINVD = 1 << 0
    POWER_BUTTON_IS_NO_FIXED_ONE = 1 << 4
    SLEEP_BUTTON_IS_NO_FIXED_ONE = 1 << 5
    TIMER_HAS_32_BITS = 1 << 8
    CAN_RESET = 1 << 10
    HARDWARE_REDUCED = 1 << 20


@dataclass(frozen=True, slots=True)
class Fadt:
    """Fixed ACPI description table: "FACP". Of a register that there is in two fields, it is the 64-bit one if that is not 0; None: the
    machine has no such register."""

    facs: int
    dsdt: int
    sci: int
    """The system control interrupt."""
    smi_command: int
    """A port; 0: ACPI is always on."""
    acpi_enable: int
    acpi_disable: int
    pm1a_event: Address | None
    pm1b_event: Address | None
    pm1a_control: Address | None
    pm1b_control: Address | None
    pm2_control: Address | None
    pm_timer: Address | None
    gpe0: Address | None
    gpe1: Address | None
    gpe1_base: int
    century: int
    """The register of the RTC that has it; 0: none."""
    boot_flags: int
    flags: FadtFlags
    reset: Address | None
    reset_value: int


class Ecam(NamedTuple):
    """Where PCI Express configuration space is in memory, of some buses."""

    base: int
    segment: int
    first_bus: int
    last_bus: int


class HpetTable(NamedTuple):
    """The table of a high precision event timer."""

    address: Address
    number: int
    event_timer_block: int
    least_ticks: int
    """Of a periodic timer, without losing interrupts."""

    @property
    def vendor(self) -> int:
        """PCI's number."""
        return self.event_timer_block >> 16


class Acpi:
    """A machine's tables."""

    def __init__(self, root: Root, tables: list[Table], warnings: list[str]) -> None:
        self.root = root
        self.tables = tables
        """In the order of the root table; the DSDT comes last."""
        self.warnings = warnings
        """Of each thing that was left out: what, and why."""

    def table(self, signature: str) -> Table | None:
        """The first one of this signature."""
        return next((each for each in self.tables if each.header.signature == signature), None)

    def madt(self) -> Madt | None:
        """None: there is none. Raises: DeviceError as `parse_madt`; so do the others."""
        table = self.table("APIC")
        return None if table is None else parse_madt(table.data)

    def fadt(self) -> Fadt | None:
        """None: there is none."""
        table = self.table("FACP")
        return None if table is None else parse_fadt(table.data)

    def mcfg(self) -> list[Ecam]:
        """Nothing: there is no such table, and so no memory-mapped configuration."""
        table = self.table("MCFG")
        return [] if table is None else parse_mcfg(table.data)

    def hpets(self) -> list[HpetTable]:
        """One for each timer block."""
        return [parse_hpet(each.data) for each in self.tables if each.header.signature == "HPET"]


# --- finding ---


def find(io: IoSpace) -> Acpi:
    """The tables of a machine, found as on a PC with a BIOS.

    Raises: DeviceAbsentError: no root pointer. DeviceError: neither of the root tables makes sense.
    """
    root = find_root(io)
    warnings: list[str] = []
    tables: list[Table] = []
    for address in _addresses(io, root, warnings):
        _add(io, address, tables, warnings)
    for each in tables:
        if each.header.signature == "FACP":
            try:
                dsdt = parse_fadt(each.data).dsdt
            except DeviceError as error:
                warnings.append(str(error))
            else:
                if dsdt:
                    _add(io, dsdt, tables, warnings)
            break
    return Acpi(root, tables, warnings)


def find_root(io: IoSpace) -> Root:
    """Raises: DeviceAbsentError: there is none with a right checksum."""
    ebda = int.from_bytes(io.load(EBDA_POINTER, 2), "little") << 4
    places = [range(ebda, min(ebda + 1024, EBDA.stop))] if ebda in EBDA else []
    for place in (*places, BIOS):
        memory = io.load(place.start, len(place))
        at = memory.find(ROOT)
        while at >= 0:
            if at % 16 == 0 and (root := parse_root(memory[at:], place.start + at)) is not None:
                return root
            at = memory.find(ROOT, at + 1)
    raise DeviceAbsentError(f"ACPI: no root pointer in the EBDA ({ebda:#x}) nor in {BIOS.start:#x} to {BIOS.stop - 1:#x}")


def parse_root(data: bytes, address: int = 0) -> Root | None:
    """None: its checksums, or its length, are wrong."""
    if len(data) < ROOT_SIZE or not data.startswith(ROOT) or sum(data[:ROOT_SIZE]) & 0xFF:
        return None
    revision, xsdt = data[15], 0
    if revision >= 2:
        length = integer(data, 20, 4)
        if not ROOT_SIZE_2 <= length <= len(data) or sum(data[:length]) & 0xFF:
            return None
        xsdt = integer(data, 24, 8)
    return Root(address, revision, text_of(data[9:15]), integer(data, 16, 4), xsdt)


def _addresses(io: IoSpace, root: Root, warnings: list[str]) -> list[int]:
    """What the root table has, each once."""
    for signature, at, width in (("XSDT", root.xsdt, 8), ("RSDT", root.rsdt, 4)):
        if not at:
            continue
        try:
            table = load_table(io, at)
            if table.header.signature != signature:
                raise DeviceError(f"ACPI: the table at {at:#x} is {table.header.signature!r}: expected {signature!r}")
        except DeviceError as error:
            warnings.append(str(error))
            continue
        found = [integer(table.data, each, width) for each in range(HEADER, len(table.data) - width + 1, width)]
        addresses = list(dict.fromkeys(each for each in found if each))
        if len(addresses) > MOST_TABLES:
            warnings.append(f"ACPI: the {signature} has {len(addresses)} tables: only the first {MOST_TABLES} were looked at")
        return addresses[:MOST_TABLES]
    raise DeviceError(f"ACPI: neither an XSDT nor an RSDT: {'; '.join(warnings) or 'both addresses are 0'}")


def _add(io: IoSpace, address: int, tables: list[Table], warnings: list[str]) -> None:
    try:
        tables.append(load_table(io, address))
    except DeviceError as error:
        warnings.append(str(error))


def load_table(io: IoSpace, address: int) -> Table:
    """The table that is there. Raises: DeviceError as `parse_table`, or it would be beyond the end of all addresses."""
    if address >= (1 << 64) - LARGEST:
        raise DeviceError(f"ACPI: no table can be at {address:#x}")
    length = integer(io.load(address, HEADER), 4, 4)
    return parse_table(io.load(address, length if HEADER <= length <= LARGEST else HEADER), address)


# --- parsing; each one gets a whole table ---


def parse_fadt(data: bytes) -> Fadt:
    """Raises: DeviceError: it is none, or shorter than that of ACPI 1.0."""
    data = checked(data, "FACP", 116).ljust(276, b"\0")  # what an older one does not have is 0

    def block(at: int, length: int, wide: int) -> Address | None:
        """A port and its length in bytes, or the generic address of later versions."""
        found = address_of(data, wide)
        if found.at:
            return found
        port = integer(data, at, 4)
        return Address(Space.PORTS, 8 * data[length], 0, 0, port) if port else None

    flags = FadtFlags(integer(data, 112, 4))
    return Fadt(
        facs=integer(data, 132, 8) or integer(data, 36, 4),
        dsdt=integer(data, 140, 8) or integer(data, 40, 4),
        sci=integer(data, 46, 2),
        smi_command=integer(data, 48, 4),
        acpi_enable=data[52],
        acpi_disable=data[53],
        pm1a_event=block(56, 88, 148),
        pm1b_event=block(60, 88, 160),
        pm1a_control=block(64, 89, 172),
        pm1b_control=block(68, 89, 184),
        pm2_control=block(72, 90, 196),
        pm_timer=block(76, 91, 208),
        gpe0=block(80, 92, 220),
        gpe1=block(84, 93, 232),
        gpe1_base=data[94],
        century=data[108],
        boot_flags=integer(data, 109, 2),
        flags=flags,
        reset=address_of(data, 116) if flags & FadtFlags.CAN_RESET else None,
        reset_value=data[128],
    )


def parse_mcfg(data: bytes) -> list[Ecam]:
    """Raises: DeviceError: it is none, or an entry is not whole, or its buses are in the wrong order."""
    data = checked(data, "MCFG", 44)
    if (len(data) - 44) % 16:
        raise DeviceError(f"ACPI: an MCFG of {len(data)} bytes: expected 44 and a multiple of 16")
    found = [Ecam(integer(data, at, 8), integer(data, at + 8, 2), data[at + 10], data[at + 11]) for at in range(44, len(data), 16)]
    for each in found:
        if each.first_bus > each.last_bus:
            raise DeviceError(f"ACPI: the MCFG has the buses {each.first_bus} to {each.last_bus}")
    return found


def parse_hpet(data: bytes) -> HpetTable:
    """Raises: DeviceError: it is none."""
    data = checked(data, "HPET", 56)
    return HpetTable(address_of(data, 40), data[52], integer(data, 36, 4), integer(data, 53, 2))
