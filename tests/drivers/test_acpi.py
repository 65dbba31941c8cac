"""ACPI tables. Those of QEMU are in memory on QEMU, and the like of them on the port bus, as firmware would have placed them; how they are
parsed is tested with bytes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Play
from tables import DSDT, HIGH, HPET, MADT, MCFG, Q35, fadt, numbers, register, table, with_acpi, with_sum

from drivers import DeviceAbsentError, DeviceError, IoSpace, PortBus
from drivers.devices.acpi import (
    MOST_TABLES,
    Acpi,
    Ecam,
    FadtFlags,
    HpetTable,
    Root,
    find,
    parse_fadt,
    parse_hpet,
    parse_mcfg,
    parse_root,
)
from drivers.devices.acpi_madt import (
    IoApic,
    LocalApic,
    LocalApicAddress,
    LocalApicNmi,
    LocalX2Apic,
    LocalX2ApicNmi,
    NmiSource,
    OtherEntry,
    Polarity,
    SourceOverride,
    Trigger,
    parse_madt,
)
from drivers.devices.acpi_table import HEADER, LARGEST, Address, Space, parse_table
from drivers.models.fw_cfg import FwCfgModel

LOW = 0xF0000
OF_LINUX: Final = Path("/sys/firmware/acpi/tables")


def test_the_tables_are_found_where_firmware_has_placed_them(play: Play) -> None:
    async def check(io: Any) -> None:
        placed = await with_acpi(io)
        found = find(io)
        assert found.warnings == []
        assert found.root == Root(placed["etc/acpi/rsdp"], 0, "BOCHS", found.root.rsdt, 0)
        assert found.root.address == LOW
        assert {"FACP", "APIC", "HPET", "MCFG", "DSDT"} <= {each.header.signature for each in found.tables}
        for each in found.tables:
            assert each.address in HIGH
            assert each.header.oem_id == "BOCHS"
            assert each.header.length == len(each.data)
            assert io.load(each.address, len(each.data)) == each.data
        assert found.table("NONE") is None

    play(check, [FwCfgModel], **Q35)


def test_the_madt_says_which_interrupts_come_where(play: Play) -> None:
    async def check(io: Any) -> None:
        await with_acpi(io)
        madt = find(io).madt()
        assert madt is not None
        assert madt.local_apic == 0xFEE00000
        assert madt.has_8259s
        assert madt.of(LocalApic) == [LocalApic(0, 0, True, False), LocalApic(1, 1, True, False)]
        assert madt.of(IoApic) == [IoApic(0, 0xFEC00000, 0)]
        assert madt.of(SourceOverride) == [
            SourceOverride(0, 0, 2, Polarity.AS_OF_BUS, Trigger.AS_OF_BUS),
            *(SourceOverride(0, line, line, Polarity.HIGH, Trigger.LEVEL) for line in (5, 9, 10, 11)),
        ]
        assert madt.of(LocalApicNmi) == [LocalApicNmi(255, Polarity.AS_OF_BUS, Trigger.AS_OF_BUS, 1)]

    play(check, [FwCfgModel], **Q35)


def test_the_fadt_says_where_power_management_is(play: Play) -> None:
    async def check(io: Any) -> None:
        await with_acpi(io)
        found = find(io)
        fadt, dsdt = found.fadt(), found.table("DSDT")
        assert fadt is not None
        assert dsdt is not None
        assert fadt.dsdt == dsdt.address
        assert io.load(fadt.facs, 4) == b"FACS"
        assert (fadt.sci, fadt.smi_command, fadt.acpi_enable, fadt.acpi_disable, fadt.century) == (9, 0xB2, 2, 3, 0x32)
        assert fadt.pm1a_event == Address(Space.PORTS, 32, 0, 0, 0x600)
        assert fadt.pm1a_control == Address(Space.PORTS, 16, 0, 0, 0x604)
        assert fadt.pm_timer == Address(Space.PORTS, 32, 0, 0, 0x608)
        assert fadt.gpe0 == Address(Space.PORTS, 128, 0, 0, 0x620)
        assert [fadt.pm1b_event, fadt.pm1b_control, fadt.pm2_control, fadt.gpe1] == [None] * 4
        assert fadt.flags & FadtFlags.CAN_RESET
        assert (fadt.reset, fadt.reset_value) == (Address(Space.PORTS, 8, 0, 0, 0xCF9), 0xF)

    play(check, [FwCfgModel], **Q35)


def test_memory_mapped_configuration_and_the_event_timer(play: Play) -> None:
    async def check(io: Any) -> None:
        await with_acpi(io)
        found = find(io)
        assert found.mcfg() == [Ecam(0xB0000000, 0, 0, 255)]
        assert found.hpets() == [HpetTable(Address(Space.MEMORY, 0, 0, 0, 0xFED00000), 0, 0x8086A201, 0)]
        assert found.hpets()[0].vendor == 0x8086

    play(check, [FwCfgModel], **Q35)


def test_the_ebda_is_searched_first(play: Play) -> None:
    async def check(io: Any) -> None:
        await with_acpi(io)
        root = io.load(LOW, 20)
        io.store(0x40E, numbers((0x9FC0, 2)))
        io.store(0x9FFF0, root)
        assert find(io).root.address == LOW  # only its first KiB is
        io.store(0x9FC18, root)
        assert find(io).root.address == LOW  # not at a multiple of 16
        io.store(0x9FC10, root)
        assert find(io).root.address == 0x9FC10
        io.store(0x40E, numbers((0x1234, 2)))  # below 512 KiB there is no EBDA
        assert find(io).root.address == LOW

    play(check, [FwCfgModel], **Q35)


def test_without_a_root_pointer_there_is_no_acpi(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="no root pointer in the EBDA"):
            find(io)

    play(check, [])


def test_a_root_pointer_with_a_wrong_sum_is_none(play: Play) -> None:
    async def check(io: Any) -> None:
        await with_acpi(io)
        root = io.load(LOW, 20)
        io.store(LOW, root[:9] + b"x" + root[10:])
        with pytest.raises(DeviceAbsentError):
            find(io)
        io.store(LOW + 0x500, root)
        assert find(io).root.address == LOW + 0x500

    play(check, [FwCfgModel], **Q35)


def test_a_table_that_makes_no_sense_is_left_out_with_a_warning(play: Play) -> None:
    async def check(io: Any) -> None:
        await with_acpi(io)
        before = find(io)
        hpet = before.table("HPET")
        assert hpet is not None
        for wrong in (hpet.data[:20] + b"x" + hpet.data[21:], b"\xff" * 56, bytes(56), b"HPET" + numbers((35, 4)) + hpet.data[8:]):
            io.store(hpet.address, wrong)
            found = find(io)
            assert found.hpets() == []
            assert [each.header.signature for each in found.tables if each.header.signature != "HPET"] == [
                each.header.signature for each in before.tables if each.header.signature != "HPET"
            ]
            assert len(found.warnings) == 1
            assert f"at {hpet.address:#x}" in found.warnings[0]

    play(check, [FwCfgModel], **Q35)


def test_without_a_right_root_table_there_is_nothing(play: Play) -> None:
    async def check(io: Any) -> None:
        await with_acpi(io)
        at = find(io).root.rsdt
        io.store(at + 20, b"?")
        with pytest.raises(DeviceError, match="neither an XSDT nor an RSDT: ACPI: the bytes of b'RSDT'"):
            find(io)

    play(check, [FwCfgModel], **Q35)


# --- from here on bytes are parsed, and nothing of a machine is needed but its memory, which is the port bus's ---


def root_2(rsdt: int, xsdt: int) -> bytes:
    first = with_sum(b"RSD PTR \0BOCHS \2" + numbers((rsdt, 4)), 8)
    return with_sum(first + numbers((36, 4), (xsdt, 8), (0, 4)), 32)


def memory(root: bytes, tables: dict[int, bytes]) -> PortBus:
    bus = PortBus(memory=0x200000)
    bus.store(0xE0000, root)
    for at, each in tables.items():
        bus.store(at, each)
    return bus


def test_the_table_of_64_bit_addresses_is_preferred_while_it_makes_sense() -> None:
    tables = {
        0x100000: table(b"XSDT", numbers((0x120000, 8))),
        0x110000: table(b"RSDT", numbers((0x130000, 4))),
        0x120000: MADT,
        0x130000: HPET,
    }
    found = find(memory(root_2(0x110000, 0x100000), tables))
    assert [each.header.signature for each in found.tables] == ["APIC"]
    assert found.root == Root(0xE0000, 2, "BOCHS", 0x110000, 0x100000)
    for wrong in (table(b"RSDT", b""), b"\xff" * 64):
        found = find(memory(root_2(0x110000, 0x100000), {**tables, 0x100000: wrong}))
        assert [each.header.signature for each in found.tables] == ["HPET"]
        assert len(found.warnings) == 1
    with pytest.raises(DeviceError, match="both addresses are 0"):
        find(memory(root_2(0, 0), tables))


def test_a_table_is_taken_once_and_not_more_than_256_are() -> None:
    found = find(memory(root_2(0x110000, 0), {0x110000: table(b"RSDT", numbers(*[(0x130000, 4), (0, 4)] * 500)), 0x130000: HPET}))
    assert len(found.tables) == 1
    many = table(b"RSDT", numbers(*((0x130000 + 64 * each, 4) for each in range(1000))))
    found = find(memory(root_2(0x110000, 0), {0x110000: many, **{0x130000 + 64 * each: HPET for each in range(1000)}}))
    assert len(found.tables) == MOST_TABLES
    assert found.warnings == [f"ACPI: the RSDT has 1000 tables: only the first {MOST_TABLES} were looked at"]


def test_addresses_that_cannot_be() -> None:
    found = find(memory(root_2(0, 0x100000), {0x100000: table(b"XSDT", numbers((2**64 - 1, 8), (2**63, 8), (0x1FFFF0, 8)))}))
    assert found.tables == []
    assert len(found.warnings) == 3


def test_a_root_pointer_of_version_2_has_a_second_sum() -> None:
    good = root_2(0x1000, 0x2000)
    assert parse_root(good, 16) == Root(16, 2, "BOCHS", 0x1000, 0x2000)
    for at in range(36):
        assert parse_root(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]) is None
    for size in range(36):
        assert parse_root(good[:size]) is None


def test_all_kinds_of_entries_of_the_madt() -> None:
    entries = (
        bytes([1, 12, 7, 0]) + numbers((0xFEC01000, 4), (24, 4)),
        bytes([3, 8]) + numbers((0xF, 2), (20, 4)),
        bytes([5, 12, 0, 0]) + numbers((0x1234567890, 8)),
        bytes([6, 16]) + bytes(range(14)),
        bytes([9, 16, 0, 0]) + numbers((300, 4), (2, 4), (301, 4)),
        bytes([10, 12]) + numbers((5, 2), (0xFFFFFFFF, 4), (1, 1), (0, 3)),
        bytes([0x80, 2]),
    )
    madt = parse_madt(table(b"APIC", numbers((0xFEE00000, 4), (0, 4)) + b"".join(entries)))
    assert madt.local_apic == 0x1234567890
    assert not madt.has_8259s
    assert madt.entries == (
        IoApic(7, 0xFEC01000, 24),
        NmiSource(20, Polarity.LOW, Trigger.LEVEL),
        LocalApicAddress(0x1234567890),
        OtherEntry(6, bytes(range(14))),
        LocalX2Apic(301, 300, False, True),
        LocalX2ApicNmi(0xFFFFFFFF, Polarity.HIGH, Trigger.EDGE, 1),
        OtherEntry(0x80, b""),
    )


@pytest.mark.parametrize(
    "entry", [b"\0", bytes([0, 0]), bytes([0, 1]), bytes([0, 7]) + bytes(5), bytes([0, 9]) + bytes(6), bytes([255, 255])]
)
def test_entries_of_the_madt_that_end_too_early_or_too_late(entry: bytes) -> None:
    with pytest.raises(DeviceError, match="the MADT"):
        parse_madt(table(b"APIC", bytes(8) + entry))


def test_an_old_fadt_has_no_reset_and_only_ports() -> None:
    new = fadt(0x800040)
    old = parse_fadt(table(b"FACP", new[36:116], 1))
    assert old.pm_timer == Address(Space.PORTS, 32, 0, 0, 0x608)
    assert old.dsdt == 0x800040
    assert old.pm2_control is None
    unset = table(b"FACP", new[36:112] + bytes(4) + new[116:])
    assert parse_fadt(unset).reset is None


def test_the_wider_fields_of_the_fadt_win() -> None:
    data = bytearray(fadt(0x800040))
    data[140:148] = numbers((0x1_0000_0000, 8))
    data[208:220] = register(0, 32, 0xFED80808)
    found = parse_fadt(table(b"FACP", bytes(data[36:])))
    assert found.dsdt == 0x1_0000_0000
    assert found.pm_timer == Address(Space.MEMORY, 32, 0, 0, 0xFED80808)


def test_a_configuration_space_that_makes_no_sense() -> None:
    with pytest.raises(DeviceError, match="a multiple of 16"):
        parse_mcfg(table(b"MCFG", bytes(9)))
    with pytest.raises(DeviceError, match="the buses 5 to 4"):
        parse_mcfg(table(b"MCFG", bytes(8) + numbers((0, 8), (0, 2), (5, 1), (4, 1), (0, 4))))


def test_another_table_than_the_one_that_is_parsed() -> None:
    for parse in (parse_madt, parse_fadt, parse_mcfg, parse_hpet):
        with pytest.raises(DeviceError, match=r"expected '(APIC|FACP|MCFG|HPET)' of"):
            parse(DSDT)


def test_the_length_and_the_sum_must_be_right() -> None:
    for wrong in (HPET[:35], HPET + b"\0", HPET[:-1], b""):
        with pytest.raises(DeviceError):
            parse_table(wrong)
    with pytest.raises(DeviceError, match=f"expected {HEADER} to {LARGEST}"):
        parse_table(table(b"HUGE", bytes(LARGEST)))
    with pytest.raises(DeviceError, match="add up to 0x1"):
        parse_table(HPET[:-1] + bytes([HPET[-1] + 1]))


@pytest.mark.skipif(not (OF_LINUX / "FACP").exists(), reason="no tables of this machine to be read")
def test_the_tables_of_this_very_machine() -> None:
    tables = []
    for path in sorted(OF_LINUX.iterdir()):
        try:
            tables.append(parse_table(path.read_bytes()))
        except IsADirectoryError:
            continue
        except PermissionError:
            pytest.skip("the tables of this machine are not for everybody")
        except DeviceError:
            assert path.name == "FACS"  # it has no header of that kind
    found = Acpi(Root(0, 2, "", 0, 0), tables, [])
    madt = found.madt()
    assert madt is not None
    assert found.fadt() is not None
    assert len(madt.of(LocalApic)) + len(madt.of(LocalX2Apic)) >= 1
    assert all(each.first_bus <= each.last_bus for each in found.mcfg())
    found.hpets()


# --- garbage ---


def mutations(good: bytes) -> st.SearchStrategy[bytes]:
    """Bytes are changed, and the end is cut off or something is added. With luck the length and the sum are right."""

    def mutated(changes: dict[int, int], size: int, more: bytes, has_length: bool, has_sum: bool) -> bytes:
        data = bytearray(good)
        for at, value in changes.items():
            data[at] = value
        data = data[:size] + more
        if has_length and len(data) >= 8:
            data[4:8] = len(data).to_bytes(4, "little")
        return with_sum(bytes(data), 9) if has_sum and len(data) > 9 else bytes(data)

    most = st.sampled_from([True, True, True, False])
    changes = st.dictionaries(st.integers(0, len(good) - 1), st.integers(0, 255) | st.sampled_from([0, 1, 255]), max_size=6)
    return st.builds(mutated, changes, st.integers(0, len(good)) | st.just(len(good)), st.binary(max_size=20), most, most)


PARSERS: Final = [(parse_madt, MADT), (parse_fadt, fadt(64)), (parse_mcfg, MCFG), (parse_hpet, HPET)]


@pytest.mark.parametrize(("parse", "good"), PARSERS, ids=["MADT", "FADT", "MCFG", "HPET"])
def test_a_mutated_table_is_parsed_or_is_a_device_error(parse: Any, good: bytes) -> None:
    assert parse(good)

    @settings(deadline=None)
    @given(mutations(good))
    def any_of_them(data: bytes) -> None:
        with suppress(DeviceError):
            parse(data)

    any_of_them()


TABLES: Final = {
    0x100000: table(b"XSDT", numbers((0x110000, 8), (0x120000, 8), (0x130000, 8), (0x140000, 8))),
    0x110000: fadt(0x150000),
    0x120000: MADT,
    0x130000: HPET,
    0x140000: MCFG,
    0x150000: DSDT,
}


@settings(deadline=None)
@given(st.sampled_from(sorted(TABLES)).flatmap(lambda at: st.tuples(st.just(at), mutations(TABLES[at]))), st.binary(max_size=40))
def test_whatever_is_in_memory_the_tables_are_found_or_it_is_a_device_error(changed: tuple[int, bytes], root: bytes) -> None:
    at, data = changed
    bus = memory(b"RSD PTR " + root, {**TABLES, at: data, 0xF0000: root_2(0, 0x100000)})
    try:
        found = find(bus)
    except DeviceError:
        return
    for each in (found.madt, found.fadt, found.mcfg, found.hpets):
        with suppress(DeviceError):
            each()
    if at not in (0x100000, 0x110000):  # these two name others
        assert len(found.tables) + len(found.warnings) == 5
