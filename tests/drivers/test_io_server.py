"""The machine whose processor makes the accesses."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from machines import needs_qemu

import drivers
from beamlike import blocking, run
from drivers import IoServer, MachineStoppedError, Stopped
from drivers.devices.cpu import Cpu

SOURCE = Path(drivers.__file__).parent / "io_server.S"
pytestmark = needs_qemu


def on_it(check: Callable[[IoServer], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        with closing(await IoServer.start()) as machine:
            return await check(machine)

    return run(main)


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("objcopy") is None, reason="no gcc to assemble with")
def test_the_firmware_is_what_its_source_says(tmp_path: Path) -> None:
    made, flat = tmp_path / "made.o", tmp_path / "flat"
    subprocess.run(["gcc", "-m32", "-c", SOURCE, "-o", made], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, flat], check=True)
    assert flat.read_bytes() == SOURCE.with_suffix(".bin").read_bytes()


def test_it_has_a_processor() -> None:
    async def check(machine: IoServer) -> None:
        _, *letters = machine.cpuid(0)
        vendor = b"".join(letters[i].to_bytes(4, "little") for i in (0, 2, 1))
        assert vendor in (b"AuthenticAMD", b"GenuineIntel")
        stamps = [machine.rdtsc() for _ in range(100)]
        assert stamps == sorted(set(stamps))
        assert machine.read32(0xFEE00030) & 0xFF == 0x14  # the local APIC's version: it answers a processor only

    on_it(check)


def test_a_processor_that_sleeps_is_woken() -> None:
    async def check(machine: IoServer) -> None:
        asleep = 0
        for _ in range(50):
            await machine.pause(0.004)
            asleep += machine._words[0x510 // 4]
            assert machine.inb(0x64) != 0xFF
        assert asleep > 0

    on_it(check)


def test_blocks_that_do_not_fit_its_buffer() -> None:
    async def check(machine: IoServer) -> None:
        machine.outsb(0x80, bytes(10_001))
        machine.outsl(0x80, bytes(8196))
        assert len(machine.insw(0x80, 5_000)) == 10_000
        machine.store(0x3000, bytes(range(256)) * 64)
        assert machine.load(0x3000, 256 * 64) == bytes(range(256)) * 64
        assert machine.load(0xFFFF0000, 478) == SOURCE.with_suffix(".bin").read_bytes()

    on_it(check)


def test_a_machine_that_is_reset_has_stopped() -> None:
    async def check(machine: IoServer) -> None:
        with pytest.raises(ValueError, match="beyond 4 GiB"):
            machine.read32(1 << 32)
        machine.outb(0x64, 0xFE)  # reset
        await machine.until(lambda: machine.stopped, 5, "the reset")
        assert machine.stopped == (Stopped.RESET, 0)
        with pytest.raises(MachineStoppedError):
            machine.inb(0x64)

    on_it(check)


def test_threads_ask_at_the_same_time() -> None:
    async def check(machine: IoServer) -> None:
        def hammer() -> bool:
            return all(machine.cpuid(leaf)[0] == first[leaf] for _ in range(300) for leaf in (0, 1))

        first = {leaf: machine.cpuid(leaf)[0] for leaf in (0, 1)}
        machine.outb(0x43, 0x34)
        machine.outb(0x40, 0xA9)
        machine.outb(0x40, 0x04)
        machine.lines.attach(0)
        assert all([await blocking(hammer), hammer(), await blocking(hammer)])

    on_it(check)


def test_the_driver_of_processors_on_its_processor() -> None:
    async def check(machine: IoServer) -> None:
        cpu = Cpu(machine)
        assert cpu.vendor in ("AuthenticAMD", "GenuineIntel")
        assert {"tsc", "apic", "lm"} <= cpu.features()
        assert await cpu.measure_tsc() > 1e6

    on_it(check)


def test_the_servers_own_memory_is_nobodys() -> None:
    """Whoever could write there would have it make accesses that nobody checks."""

    async def check(machine: IoServer) -> None:
        for act in (
            lambda: machine.store(0x500, bytes(4)),
            lambda: machine.store(0x4FF, b"ab"),
            lambda: machine.write32(0x510, 1),
            lambda: machine.load(0, 0x1000),
            lambda: machine.read8(0x17FF),
        ):
            with pytest.raises(PermissionError, match="the I/O server's own memory"):
                act()
        machine.store(0x1800, b"free")
        assert machine.load(0x1800, 4) == b"free"

    on_it(check)


def test_memory_is_what_the_processor_sees_where_no_ram_answers() -> None:
    async def check(machine: IoServer) -> None:
        rom = machine.load(0xF0000, 8)
        assert int.from_bytes(rom, "little") == machine.read32(0xF0000) | machine.read32(0xF0004) << 32 != 0
        machine.store(0xF0000, bytes(8))
        assert machine.load(0xF0000, 8) == rom
        assert machine.load(0xEFFFE, 4)[2:] == rom[:2]

    on_it(check)


def test_a_machine_that_is_no_more_has_no_memory() -> None:
    async def check(machine: IoServer) -> None:
        machine.store(0x1800, b"here")
        machine.close()
        for act in (lambda: machine.load(0x1800, 4), lambda: machine.store(0x1800, b"gone")):
            with pytest.raises(MachineStoppedError):
                act()

    on_it(check)
