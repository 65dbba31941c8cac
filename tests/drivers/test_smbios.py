"""SMBIOS. The structures of QEMU are in memory on QEMU, and the like of them on the port bus, as firmware would have placed them; how they
are parsed is tested with bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Play
from tables import COUNT, Q35, STRUCTURES, numbers, smbios_3_files, structure, with_smbios, with_sum

from drivers import DeviceAbsentError, DeviceError, IoSpace, PortBus
from drivers.devices.smbios import (
    LARGEST,
    Bios,
    Board,
    BootInformation,
    Chassis,
    EndOfTable,
    EntryPoint,
    MappedMemory,
    MemoryArray,
    MemoryDevice,
    Processor,
    Structure,
    System,
    find,
    find_entry_point,
    parse,
    parse_entry_point,
)
from drivers.models.fw_cfg import FwCfgModel

LOW = 0xF0000
MACHINE = "pc-q35-7.2"


def of_32_bits() -> tuple[dict[str, Any], dict[str, bytes] | None]:
    return Q35, None


def of_64_bits() -> tuple[dict[str, Any], dict[str, bytes] | None]:
    return {**Q35, "machine": "q35,smbios-entry-point-type=64"}, smbios_3_files()


@pytest.fixture(params=[of_32_bits, of_64_bits])
def machine(request: pytest.FixtureRequest, play: Play) -> Callable[[Callable[[Any], Any]], None]:
    """A machine whose firmware has placed its structures, with either entry point."""
    options, files = request.param()

    def placed(check: Callable[[Any], Any]) -> None:
        async def main(io: Any) -> None:
            assert await with_smbios(io, files) == LOW
            await check(io)

        play(main, [FwCfgModel], **options)

    return placed


Machine = Callable[[Callable[[IoSpace], Any]], None]


def test_the_entry_point_is_found(machine: Machine) -> None:
    async def check(io: IoSpace) -> None:
        entry = find_entry_point(io)
        assert entry.address == LOW
        assert entry.structures == LOW + 0x20
        assert (entry.version, entry.count) in (((2, 8), COUNT), ((3, 0), None))

    machine(check)


def test_the_machine_and_its_parts(machine: Machine) -> None:
    async def check(io: IoSpace) -> None:
        found = find(io)
        assert found.warnings == ()
        assert found.of(System) == [
            System(
                handle=0x100,
                manufacturer="beam",
                product="Standard PC (Q35 + ICH9, 2009)",
                version=MACHINE,
                serial="123",
                uuid=UUID("01234567-89ab-cdef-0123-456789abcdef"),
                wake_up=6,
                sku=None,
                family=None,
            )
        ]
        (board,), (chassis,), (processor,) = found.of(Board), found.of(Chassis), found.of(Processor)
        assert (board.manufacturer, board.product, board.version, board.serial) == ("QEMU", "board", MACHINE, None)
        assert (board.chassis, board.kind) == (chassis.handle, 10)
        assert (chassis.manufacturer, chassis.kind, chassis.has_lock, chassis.sku) == ("QEMU", 1, False, None)
        assert (processor.socket, processor.manufacturer, processor.version) == ("CPU 0", "QEMU", MACHINE)
        assert (processor.is_populated, processor.caches) == (True, (None, None, None))
        assert (processor.cores, processor.enabled_cores, processor.threads) == (2, 2, 2)
        assert (processor.most_speed, processor.speed, processor.external_clock) == (2000, 2000, None)

    machine(check)


def test_the_memory(machine: Machine) -> None:
    async def check(io: IoSpace) -> None:
        found = find(io)
        (array,), (device,), (mapped,) = found.of(MemoryArray), found.of(MemoryDevice), found.of(MappedMemory)
        assert (array.capacity, array.devices, array.error_correction) == (16 << 20, 1, 6)
        assert (device.array, device.size, device.locator, device.bank) == (array.handle, 16 << 20, "DIMM 0", None)
        assert (device.total_width, device.data_width, device.speed) == (None, None, None)
        assert (mapped.array, mapped.first, mapped.last) == (array.handle, 0, (16 << 20) - 1)

    machine(check)


def test_what_is_not_known_stays_as_it_is_and_the_end_comes_last(machine: Machine) -> None:
    async def check(io: IoSpace) -> None:
        found = find(io)
        assert found.of(Structure) == [Structure(11, 0xE00, bytes([11, 5, 0, 0x0E, 1]), ("oem",))]
        assert found.of(BootInformation) == [BootInformation(0x2000, 0, b"")]
        assert found.contents[-1] == EndOfTable(0x7F00)

    machine(check)


def test_an_entry_point_with_a_wrong_sum_is_none(machine: Machine) -> None:
    async def check(io: IoSpace) -> None:
        good = io.load(LOW, 32)
        io.store(LOW + 8, b"x")
        with pytest.raises(DeviceAbsentError, match="no entry point in 0xf0000 to 0xfffff"):
            find(io)
        io.store(LOW + 0xFFE0, good)
        assert find(io).of(System)[0].serial == "123"

    machine(check)


def test_structures_that_are_garbage_are_a_warning(machine: Machine) -> None:
    async def check(io: IoSpace) -> None:
        entry = find_entry_point(io)
        io.store(entry.structures, b"\xff" * entry.size)
        found = find(io)
        assert found.contents == ()
        assert "the rest was left out" in found.warnings[0]

    machine(check)


def test_without_an_entry_point_there_is_no_smbios(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="no entry point"):
            find(io)

    play(check, [])


# --- from here on bytes are parsed, and nothing of a machine is needed but its memory, which is the port bus's ---


def entry_3(structures: int, size: int) -> bytes:
    return with_sum(b"_SM3_\0\x18\3\7\0\1\0" + numbers((size, 4), (structures, 8)), 5)


def entry_2(structures: int, size: int, count: int) -> bytes:
    inner = with_sum(b"_DMI_\0" + numbers((size, 2), (structures, 4), (count, 2), (0x28, 1)), 5)
    return with_sum(b"_SM_\0\x1f\2\x08\0\0" + bytes(6) + inner, 4)


def test_of_two_entry_points_the_64_bit_one_is_taken() -> None:
    bus = PortBus()
    bus.store(0xF0000, entry_2(0x1000, 100, 5))
    assert find_entry_point(bus) == EntryPoint(0xF0000, (2, 8), 0x1000, 100, 5)
    bus.store(0xFFFE0, entry_3(0x2000, 200))
    assert find_entry_point(bus) == EntryPoint(0xFFFE0, (3, 7), 0x2000, 200, None)


@pytest.mark.parametrize("good", [entry_2(0x1000, 100, 5), entry_3(0x2000, 200)])
def test_each_byte_of_an_entry_point_counts(good: bytes) -> None:
    assert parse_entry_point(good) is not None
    for at in range(len(good)):
        assert parse_entry_point(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]) is None
        assert parse_entry_point(good[:at]) is None


def test_an_entry_point_that_wants_too_much() -> None:
    for wrong in (entry_3(0x2000, LARGEST + 1), entry_3(2**64 - 1, 100)):
        bus = PortBus()
        bus.store(0xF0000, wrong)
        with pytest.raises(DeviceError, match="expected at most 1048576"):
            find(bus)


BIOS_FIELDS = bytes([1, 2]) + numbers((0xE800, 2)) + bytes([3, 0xFF]) + numbers((8, 8), (3, 2)) + bytes([1, 5, 0xFF, 0xFF])


def test_the_bios() -> None:
    expected = Bios(0, "SeaBIOS", "rel", "04/01/2014", 16 << 20, 8, (1, 5))
    assert parse(structure(0, 0, BIOS_FIELDS, "SeaBIOS", "rel", "04/01/2014")).contents == (expected,)
    (large,) = parse(structure(0, 0, BIOS_FIELDS + numbers((0x4001, 2)), "SeaBIOS", "rel", "04/01/2014")).of(Bios)
    assert large.rom_size == 1 << 30
    (old,) = parse(structure(0, 0, BIOS_FIELDS[:5] + b"\3", "SeaBIOS", "rel", "04/01/2014")).of(Bios)
    assert (old.rom_size, old.characteristics, old.release) == (256 << 10, None, None)


def test_sizes_of_memory() -> None:
    for size, extended, expected in (
        (0, 0, 0),
        (0xFFFF, 0, None),
        (0x8010, 0, 16 << 10),
        (1024, 0, 1 << 30),
        (0x7FFF, 0x20000, 128 << 30),
    ):
        fields = bytes(8) + numbers((size, 2)) + bytes(14) + numbers((extended, 4)) + bytes(4)
        (found,) = parse(structure(17, 1, fields)).of(MemoryDevice)
        assert found.size == expected
    (array,) = parse(structure(16, 1, bytes(3) + numbers((0x80000000, 4)) + bytes(4) + numbers((1 << 42, 8)))).of(MemoryArray)
    assert array.capacity == 1 << 42
    mapped = numbers((0xFFFFFFFF, 4), (0xFFFFFFFF, 4), (7, 2), (1, 1), (1 << 42, 8), ((1 << 43) - 1, 8))
    assert parse(structure(19, 1, mapped)).of(MappedMemory) == [MappedMemory(1, 1 << 42, (1 << 43) - 1, 7, 1)]


def test_processors_with_many_cores_say_so_in_wider_fields() -> None:
    fields = bytearray(0x30 - 4)
    fields[2] = 0xFE
    fields[0x1F:0x22] = b"\xff\xff\xff"
    fields[0x24:0x2C] = numbers((0x118, 2), (300, 2), (299, 2), (600, 2))
    (found,) = parse(structure(4, 4, bytes(fields))).of(Processor)
    assert (found.family, found.cores, found.enabled_cores, found.threads) == (0x118, 300, 299, 600)
    (old,) = parse(structure(4, 4, bytes(fields[:0x22]))).of(Processor)
    assert (old.family, old.cores, old.threads) == (None, 255, 255)


def test_a_chassis_that_contains_others() -> None:
    fields = bytes([1, 0x83]) + bytes(13) + bytes([2, 3]) + b"abcdef" + bytes([2])
    (found,) = parse(structure(3, 3, fields, "maker", "sku")).of(Chassis)
    assert (found.manufacturer, found.kind, found.has_lock, found.sku) == ("maker", 3, True, "sku")


def test_a_machine_without_a_number_has_none() -> None:
    for uuid in (bytes(16), b"\xff" * 16):
        assert parse(structure(1, 1, bytes(4) + uuid + bytes(3))).of(System)[0].uuid is None
    assert parse(structure(1, 1, bytes(4))).of(System)[0].uuid is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((1, bytes([1, 0, 0, 3]), "a", "b"), "names its string 3 of 2"),
        ((32, bytes(6)), "has 10 bytes: expected 11"),
        ((19, bytes(7)), "expected 12 or more"),
        ((19, b"\xff" * 8), "expected 23 or more"),
        ((17, bytes(8) + b"\xff\x7f"), "expected 32 or more"),
    ],
)
def test_a_structure_that_makes_no_sense_stays_as_it_is_with_a_warning(fields: Any, message: str) -> None:
    kind, data, *strings = fields
    found = parse(structure(kind, 5, data, *strings) + structure(127, 6, b""))
    assert found.contents == (Structure(kind, 5, bytes([kind, 4 + len(data), 5, 0]) + data, tuple(strings)), EndOfTable(6))
    assert len(found.warnings) == 1
    assert message in found.warnings[0]


def test_fewer_structures_than_were_said_and_what_is_behind_the_end() -> None:
    two = structure(11, 1, b"\0") + structure(127, 2, b"")
    assert parse(two, 2).warnings == ()
    assert parse(two, 1).contents == parse(two).contents[:1]
    assert parse(two, 3).warnings == ("SMBIOS: 2 structures: expected 3",)
    assert parse(two + two).contents == parse(two).contents
    assert parse(b"").contents == ()


@pytest.mark.parametrize(
    "end", [b"\x0b", b"\x0b\x04", b"\x0b\x03\0\0\0\0", b"\x0b\0\0\0\0\0", b"\x0b\x05\0\0\1text\0", b"\x0b\xff\0\0\0\0"]
)
def test_a_structure_without_an_end_ends_it_all(end: bytes) -> None:
    found = parse(structure(11, 1, b"\0") + end)
    assert len(found.contents) == 1
    assert "the rest was left out" in found.warnings[0]


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, len(STRUCTURES) - 1), st.integers(0, 255) | st.sampled_from([0, 1, 4, 255]), max_size=10),
    st.integers(0, len(STRUCTURES)),
    st.binary(max_size=20),
    st.none() | st.integers(0, 65535),
)
def test_whatever_the_structures_are_they_are_parsed(changes: dict[int, int], size: int, more: bytes, count: int | None) -> None:
    data = bytearray(STRUCTURES)
    for at, value in changes.items():
        data[at] = value
    found = parse(bytes(data[:size]) + more, count)
    assert len(found.contents) <= (size + len(more)) // 6


@settings(deadline=None)
@given(st.binary(max_size=300), st.none() | st.integers(0, 65535))
def test_so_are_bytes_of_any_kind(data: bytes, count: int | None) -> None:
    assert len(parse(data, count).contents) <= len(data) // 6


@settings(deadline=None, max_examples=50)
@given(
    st.booleans(),
    st.integers(0, 2**64 - 1) | st.integers(0, 2**25),
    st.integers(0, 2**32 - 1) | st.integers(0, 2**21),
    st.integers(0, 65535),
)
def test_wherever_the_structures_are_to_be_they_are_parsed_or_it_is_a_device_error(is_wide: bool, at: int, size: int, count: int) -> None:
    bus = PortBus()
    bus.store(0xF0000, entry_3(at, size) if is_wide else entry_2(at & 0xFFFFFFFF, size & 0xFFFF, count))
    try:
        find(bus)
    except DeviceError:
        return
