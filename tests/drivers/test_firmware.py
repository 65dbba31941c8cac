"""Placing firmware's tables: on both machines what is there then is tested with ACPI and SMBIOS. Here are scripts that make no sense."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Play
from tables import (
    HIGH,
    Q35,
    TABLES_FILE,
    acpi_files,
    add_checksum,
    add_pointer,
    allocate,
    begin,
    numbers,
    smbios_files,
)

from beamlike import run
from drivers import DeviceAbsentError, DeviceError, IoSpace, PortBus
from drivers.devices.firmware import LOW, SCRIPT, place_acpi, place_smbios, shadow
from drivers.devices.fw_cfg import FwCfg
from drivers.models.fw_cfg import FwCfgModel


def test_pointers_are_addresses_then_and_the_sums_are_right(play: Play) -> None:
    async def check(io: Any) -> None:
        fw = await begin(io, acpi_files())
        before = await fw.read(TABLES_FILE)
        placed = await place_acpi(fw, HIGH)
        assert placed == {"etc/acpi/rsdp": LOW.start, TABLES_FILE: HIGH.start}
        root = io.load(LOW.start, 20)
        assert sum(root) & 0xFF == 0
        offset = int.from_bytes((await fw.read("etc/acpi/rsdp"))[16:20], "little")
        assert int.from_bytes(root[16:20], "little") == HIGH.start + offset
        after = io.load(HIGH.start, len(before))
        length = int.from_bytes(after[offset + 4 : offset + 8], "little")
        assert sum(after[offset : offset + length]) & 0xFF == 0
        changed = [at for at in range(len(before)) if before[at] != after[at]]
        assert changed
        assert after.startswith(before[: changed[0]])

    play(check, [FwCfgModel], **Q35)


def test_in_the_segment_of_the_bios_is_ram_then(play: Play) -> None:
    """The port bus has no chipset, and RAM is there all the time."""

    async def check(io: Any) -> None:
        if io.name == "portbus":
            with pytest.raises(DeviceAbsentError, match="host bridge: 0xffffffff"):
                shadow(io)
        else:
            before = io.read32(LOW.start)
            io.write32(LOW.start, 0x12345678)
            assert io.read32(LOW.start) == before != 0x12345678
            shadow(io)
        io.write32(LOW.start, 0x12345678)
        assert io.read32(LOW.start) == 0x12345678

    play(check, [])
    play(check, [], machine="q35")


# From here on it is the port bus alone: QEMU's files make sense.


def with_files(files: dict[str, bytes], check: Callable[[PortBus, FwCfg], Coroutine[Any, Any, Any]]) -> None:
    async def main() -> None:
        bus = PortBus()
        model = FwCfgModel(bus)
        for name, data in files.items():
            model.add(name, data)
        await check(bus, FwCfg(bus))

    run(main)


ONE = allocate("one", 16, 1)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (numbers((4, 4)).ljust(128, b"\0"), r"the command 0x4 at 0x0 is not known"),
        (b"\xff" * 128, r"the command 0xffffffff"),
        (ONE + ONE, r"'one' at 0x80: allocated twice"),
        (allocate("one", 16, 3), r"in the zone 3: expected 1 or 2"),
        (allocate("one", 3, 1), r"an alignment to 3"),
        (allocate("one", 0, 1), r"an alignment to 0"),
        (allocate("one", 1 << 31, 1), r"no room for 100 bytes"),
        (allocate("large", 1, 2), r"no room for 70000 bytes"),
        (add_pointer("one", "one", 0, 4), r"'one' at 0x4 was not allocated"),
        (ONE + add_pointer("one", "large", 0, 4), r"'large' at 0xbc was not allocated"),
        (ONE + add_pointer("one", "one", 97, 4), r"a pointer of 4 bytes at 0x61 of 'one', which has 100"),
        (ONE + add_pointer("one", "one", 0, 3), r"a pointer of 3 bytes"),
        (ONE + add_pointer("one", "one", 0, 2), r"does not fit the 2 bytes at 0x0 of 'one'"),
        (add_checksum("one", 0, 0, 4), r"was not allocated"),
        (ONE + add_checksum("one", 100, 0, 4), r"the sum of 4 bytes at 0x0 to 0x64 of 'one'"),
        (ONE + add_checksum("one", 0, 97, 4), r"the sum of 4 bytes at 0x61"),
        (ONE + add_checksum("one", 0, 0, 0xFFFFFFFF), r"the sum of 4294967295 bytes"),
    ],
)
def test_a_script_that_makes_no_sense_is_an_error_and_changes_nothing(script: bytes, message: str) -> None:
    async def check(bus: PortBus, fw: FwCfg) -> None:
        before = bus.load(0, 16 << 20)
        with pytest.raises(DeviceError, match=message):
            await place_acpi(fw, HIGH)
        assert bus.load(0, 16 << 20) == before

    with_files({SCRIPT: script, "one": b"1" * 100, "large": bytes(70000)}, check)


def test_files_that_there_are_not() -> None:
    async def check(bus: PortBus, fw: FwCfg) -> None:
        with pytest.raises(KeyError, match="none"):
            await place_acpi(fw, HIGH)
        with pytest.raises(KeyError, match="smbios-anchor"):
            await place_smbios(fw, LOW)

    with_files({SCRIPT: allocate("none", 1, 1)}, check)


def test_an_entry_point_that_is_none_or_has_no_room() -> None:
    async def wrong(bus: PortBus, fw: FwCfg) -> None:
        with pytest.raises(DeviceError, match="is no entry point"):
            await place_smbios(fw, LOW)

    async def right(bus: PortBus, fw: FwCfg) -> None:
        with pytest.raises(DeviceError, match="no room for"):
            await place_smbios(fw, range(0xF0000, 0xF0020))

    files = smbios_files()
    for anchor in (b"", files["etc/smbios/smbios-anchor"][:-1], b"_SM3_" + bytes(26)):
        with_files({**files, "etc/smbios/smbios-anchor": anchor}, wrong)
    with_files(files, right)


class Files(FwCfg):
    """A device that has these files, for no machine at all."""

    def __init__(self, io: IoSpace, contents: dict[str, bytes]) -> None:
        super().__init__(io)
        self.contents = contents

    async def read(self, name: str) -> bytes:
        return self.contents[name]


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.integers(0, len(acpi_files()[SCRIPT]) - 1), st.integers(0, 255), min_size=1, max_size=8))
def test_any_script_places_the_tables_or_is_an_error(changes: dict[int, int]) -> None:
    files = acpi_files()
    script = bytearray(files[SCRIPT])
    for at, value in changes.items():
        script[at] = value

    async def main() -> None:
        try:
            await place_acpi(Files(PortBus(), {**files, SCRIPT: bytes(script)}), HIGH)
        except (DeviceError, KeyError):
            return

    run(main)
