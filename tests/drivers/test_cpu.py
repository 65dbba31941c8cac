"""CPUID and the time stamp counter. Of QEMU there are only the clocks to measure with: by qtest there is no processor that could execute an
instruction. So it is the port bus's table of leaves, and this very processor's instructions."""

from __future__ import annotations

import platform
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Play
from tables import Q35, begin

from beamlike import run
from drivers import DeviceError, Fault, IoSpace, MachineStoppedError, PortBus
from drivers._portbus import ffi, lib
from drivers.devices.cpu import FEATURES, Cache, CacheKind, Clock, Cpu, Hypervisor, Level, LevelKind, PitClock, PmClock, Signature
from drivers.models.cpu import CpuModel, Registers
from drivers.models.fw_cfg import FwCfgModel

PIT: Final = [("pit",)]


def words(text: str) -> list[int]:
    data = text.encode().ljust(-(-len(text) // 4) * 4, b"\0")
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


BRAND: Final = words("  Intel(R) Core(TM) i7-6600U CPU @ 2.60GHz".ljust(48, "\0"))
EBX_GENU, EDX_INEI, ECX_NTEL = words("GenuineIntel")
KVM: Final = words("KVMKVMKVM\0\0\0")

# Intel Core i7-6600U (Skylake), under KVM.
SKYLAKE: Final[Mapping[tuple[int, int], Registers]] = {
    (0, 0): (0x16, EBX_GENU, ECX_NTEL, EDX_INEI),
    (1, 0): (0x000406E3, 0x00100800, 0x80000001 | 1 << 20, 1 << 4 | 1 << 25),
    (4, 0): (0x1C004121, 0x01C0003F, 63, 0),
    (4, 1): (0x1C004122, 0x01C0003F, 63, 0),
    (4, 2): (0x1C004143, 0x00C0003F, 1023, 0),
    (4, 3): (0x1C03C163, 0x03C0003F, 4095, 6),
    (7, 0): (0, 1 << 5, 0, 0),
    (0xB, 0): (1, 2, 0x100, 0),
    (0xB, 1): (4, 4, 0x201, 0),
    (0xB, 2): (0, 0, 2, 0),
    (0x15, 0): (2, 216, 24_000_000, 0),
    (0x16, 0): (2600, 3400, 100, 0),
    (0x40000000, 0): (0x40000010, KVM[0], KVM[1], KVM[2]),
    (0x40000010, 0): (2_592_001, 0, 0, 0),
    (0x80000000, 0): (0x80000008, 0, 0, 0),
    (0x80000001, 0): (0, 0, 1, 1 << 20 | 1 << 29),
    (0x80000002, 0): (BRAND[0], BRAND[1], BRAND[2], BRAND[3]),
    (0x80000003, 0): (BRAND[4], BRAND[5], BRAND[6], BRAND[7]),
    (0x80000004, 0): (BRAND[8], BRAND[9], BRAND[10], BRAND[11]),
    (0x80000007, 0): (0, 0, 0, 1 << 8),
}


def on_processor(check: Callable[[Any, Cpu], Coroutine[Any, Any, Any]], changes: Mapping[tuple[int, int], Registers] | None = None) -> None:
    async def main() -> None:
        bus = PortBus()
        CpuModel(bus, {**SKYLAKE, **(changes or {})})
        bus.plug("pit")
        await check(bus, Cpu(bus))

    run(main)


def test_what_sort_of_processor_it_is() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.vendor == "GenuineIntel"
        assert cpu.brand == "Intel(R) Core(TM) i7-6600U CPU @ 2.60GHz"
        assert cpu.signature == Signature(6, 0x4E, 3)
        assert cpu.hypervisor() == Hypervisor("KVMKVMKVM", 0x40000010)

    on_processor(check)


@pytest.mark.parametrize(
    ("eax", "expected"),
    [
        (0x00A00F11, Signature(25, 1, 1)),  # AMD EPYC 7003
        (0x00000F29, Signature(15, 2, 9)),  # Pentium 4
        (0x00000633, Signature(6, 3, 3)),  # Pentium II
        (0x00A30543, Signature(5, 4, 3)),  # the extended fields do not count in the family 5
    ],
)
def test_family_and_model_have_extended_fields(eax: int, expected: Signature) -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.signature == expected

    on_processor(check, {(1, 0): (eax, 0, 0, 0)})


def test_features_have_names() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.features() == {"pni", "sse4_2", "hypervisor", "tsc", "sse", "avx2", "lahf_lm", "nx", "lm", "invariant_tsc"}
        assert cpu.has_invariant_tsc

    on_processor(check)


def test_each_register_of_features_has_32_bits_and_no_name_is_twice() -> None:
    names = [name for each in FEATURES.values() for name in each.split() if name != "-"]
    assert {len(each.split()) for each in FEATURES.values()} == {32}
    assert len(names) == len(set(names))


def test_a_leaf_beyond_the_largest_is_not_asked() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.leaf(0x16) == (2600, 3400, 100, 0)
        assert cpu.leaf(0x17) == (0, 0, 0, 0)
        assert cpu.leaf(0x80000009) == (0, 0, 0, 0)
        for leaf, subleaf in ((-1, 0), (1 << 32, 0), (0, -1), (0, 1 << 32)):
            with pytest.raises(ValueError, match="expected two numbers of 32 bits"):
                cpu.leaf(leaf, subleaf)

    on_processor(check, {(0x17, 0): (1, 2, 3, 4), (0x80000009, 0): (1, 2, 3, 4)})


def test_a_processor_that_says_little() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.vendor == "GenuineIntel"
        assert cpu.brand is None
        assert cpu.features() == set()
        assert cpu.hypervisor() is None
        assert cpu.caches() == []
        assert cpu.topology() == []
        assert cpu.tsc_hertz() is None
        assert not cpu.has_invariant_tsc

    on_processor(check, {(0, 0): (0, EBX_GENU, ECX_NTEL, EDX_INEI), (0x80000000, 0): (0, 0, 0, 0)})


def test_caches() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.caches() == [
            Cache(1, CacheKind.DATA, 32 << 10, 64, 8, 2),
            Cache(1, CacheKind.CODE, 32 << 10, 64, 8, 2),
            Cache(2, CacheKind.UNIFIED, 256 << 10, 64, 4, 2),
            Cache(3, CacheKind.UNIFIED, 4 << 20, 64, 16, 16),
        ]

    on_processor(check)


def test_caches_of_amd_are_in_another_leaf() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.caches() == [Cache(1, CacheKind.DATA, 32 << 10, 64, 8, 1)]

    leaves = {(0x80000000, 0): (0x8000001D, 0, 0, 0), (0x80000001, 0): (0, 0, 1 << 22, 0), (0x8000001D, 0): (0x121, 0x1C0003F, 63, 0)}
    on_processor(check, leaves)


def test_topology() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.topology() == [Level(LevelKind.THREADS, 1, 2), Level(LevelKind.CORES, 4, 4)]

    on_processor(check)

    async def newer(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.topology() == [Level(LevelKind.THREADS, 1, 2), Level(LevelKind.DIES, 5, 32)]

    changes = {(0, 0): (0x1F, 0, 0, 0), (0x1F, 0): (1, 2, 0x100, 0), (0x1F, 1): (5, 32, 0x501, 0)}
    on_processor(newer, changes)


def test_lists_without_an_end_are_an_error() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        with pytest.raises(DeviceError, match="the leaf 0x4 has 32 caches and no end"):
            cpu.caches()
        with pytest.raises(DeviceError, match="the leaf 0xb has 32 levels and no end"):
            cpu.topology()

    on_leaf = {(4, each): (0x1F, 0, 0, 0) for each in range(16)} | {(4, each): (0x121, 0, 0, 0) for each in range(16, 32)}

    class Endless(PortBus):
        def cpuid(self, leaf: int, subleaf: int = 0) -> Registers:
            return on_leaf[4, subleaf] if leaf == 4 else (1, 1, 0x100, 0) if leaf == 0xB else super().cpuid(leaf, subleaf)

    async def main() -> None:
        bus = Endless()
        CpuModel(bus, SKYLAKE)
        await check(bus, Cpu(bus))

    run(main)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2_592_000_000),
        ({(0x15, 0): (2, 216, 0, 0)}, 2_600_000_000),
        ({(0x15, 0): (0, 0, 0, 0)}, 2_592_001_000),
        ({(0x15, 0): (2, 216, 0, 0), (0x16, 0): (0, 0, 0, 0)}, 2_592_001_000),
        ({(0x15, 0): (0, 0, 0, 0), (0x40000000, 0): (0x40000001, 0, 0, 0)}, None),
        ({(0x15, 0): (0, 0, 0, 0), (1, 0): (0, 0, 0, 0)}, None),
    ],
)
def test_the_frequency_that_it_says(changes: Mapping[tuple[int, int], Registers], expected: float | None) -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        assert cpu.tsc_hertz() == expected

    on_processor(check, changes)


@pytest.mark.parametrize("hertz", [1_000_000, 33_333_333, 2_592_000_000, 5_000_000_000])
def test_the_frequency_that_is_measured_by_the_pit(hertz: int) -> None:
    async def main() -> None:
        bus = PortBus()
        CpuModel(bus, SKYLAKE, hertz)
        bus.plug("pit")
        bus.outb(0x61, 0x02)
        for seconds in (0.001, 0.01, 0.02):
            assert await Cpu(bus).measure_tsc(seconds=seconds) == pytest.approx(hertz, rel=2 / 1_193_182 / seconds)
        assert bus.inb(0x61) & 3 == 2

    run(main)


class PowerManagement(PortBus):
    """A machine with a PM timer at 0x608, of 24 bits."""

    def inl(self, port: int) -> int:
        return (int(self.now_ns() * 3_579_545 // 10**9) + 0xFFFF00) & 0xFFFFFF if port == 0x608 else super().inl(port)


def test_the_frequency_that_is_measured_by_the_pm_timer_although_it_wraps() -> None:
    async def main() -> None:
        bus = PowerManagement()
        CpuModel(bus, SKYLAKE, 2_000_000_000)
        assert await Cpu(bus).measure_tsc(PmClock(bus, 0x608)) == pytest.approx(2e9, rel=1e-4)
        assert await Cpu(bus).measure_tsc(PmClock(bus, 0x608), 2) == pytest.approx(2e9, rel=1e-6)
        with pytest.raises(ValueError, match=r"less than 2\.34"):
            await Cpu(bus).measure_tsc(PmClock(bus, 0x608), 2.4)

    run(main)


def test_measuring_takes_a_time_that_the_clock_can_count() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        for wrong in (0, -1, 0.03):
            with pytest.raises(ValueError, match=r"expected more than 0, and less than 0\.0274"):
                await cpu.measure_tsc(seconds=wrong)

    on_processor(check)


def test_clocks_that_do_not_run() -> None:
    async def check(bus: PortBus, cpu: Cpu) -> None:
        bus.fault(Fault.MISSING, range(0x40, 0x44))
        with pytest.raises(DeviceError, match="counter 2 shows 0xffff"):
            await cpu.measure_tsc()
        bus.repair()
        bus.rdtsc = lambda: 5  # type: ignore[method-assign]
        with pytest.raises(DeviceError, match="from 5 to 5"):
            await cpu.measure_tsc()

    on_processor(check)


def test_a_measurement_that_takes_too_long_is_an_error() -> None:
    class Slow(PortBus):
        async def pause(self, seconds: float) -> None:
            await super().pause(seconds + 0.06)

    async def main() -> None:
        bus = Slow()
        CpuModel(bus, SKYLAKE)
        bus.plug("pit")
        with pytest.raises(DeviceError, match="when the other clock wraps"):
            await Cpu(bus).measure_tsc()

    run(main)


async def clock_is_right(io: IoSpace, clock: Clock) -> None:
    clock.begin()
    before = io.now()
    first = clock.ticks()
    begun = io.now()
    await io.pause(0.005)
    ended = io.now()
    last = clock.ticks()
    took = io.now() - before
    clock.end()
    most = took * clock.hertz + 2
    wraps = (most - (last - first)) // (1 << clock.bits)  # under load it may have taken that long
    assert (ended - begun) * clock.hertz - 2 <= last - first + wraps * (1 << clock.bits) <= most


def test_the_pit_s_clock_is_as_fast_as_it_says(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        await clock_is_right(io, PitClock(io))

    play(check, PIT)


def test_the_pm_timer_is_as_fast_as_it_says(play: Play) -> None:
    """QEMU's; the port bus has one made of a formula here."""

    async def check(io: Any) -> None:
        if io.name == "portbus":
            io = PowerManagement()
        else:
            await begin(io, {})
        await clock_is_right(io, PmClock(io, 0x608))

    play(check, [FwCfgModel], **Q35)


def test_a_machine_without_a_processor_says_so(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        for ask in (lambda: Cpu(io).vendor, Cpu(io).features, lambda: Cpu(io).leaf(0), io.rdtsc):
            with pytest.raises(NotImplementedError, match=f"{io.name} has no processor"):
                ask()
        with pytest.raises(NotImplementedError):
            await Cpu(io).measure_tsc()

    play(check, PIT)


def test_a_machine_that_has_stopped_is_not_asked() -> None:
    async def check(bus: Any, cpu: Cpu) -> None:
        bus._bus.stopped = 1
        for ask in (lambda: cpu.vendor, bus.rdtsc):
            with pytest.raises(MachineStoppedError):
                ask()

    on_processor(check)


def test_a_model_has_64_leaves_and_a_frequency() -> None:
    bus = PortBus()
    model = CpuModel(bus, {(0x80000000, each): (1, 2, 3, each) for each in range(64)})
    model.set(0x80000000, 5, (4, 3, 2, 1))
    assert [bus.cpuid(0x80000000, each)[3] for each in (4, 5, 63, 64)] == [4, 1, 63, 0]
    with pytest.raises(ValueError, match="64 of them already"):
        model.set(1, 0, (0, 0, 0, 0))
    with pytest.raises(ValueError, match="wrong arguments"):
        CpuModel(bus, hertz=0)


def test_the_counter_goes_with_the_virtual_time() -> None:
    bus = PortBus()
    CpuModel(bus, hertz=1_000_000_000)
    assert bus.rdtsc() == 0
    bus.advance(0.5)
    assert bus.rdtsc() == 500_000_000


NUMBER = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**32 - 1])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(SKYLAKE)), st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), max_size=10))
def test_whatever_the_leaves_say_there_is_an_answer_or_a_device_error(changes: dict[tuple[int, int], Registers]) -> None:
    bus = PortBus(memory=4096)
    CpuModel(bus, {**SKYLAKE, **changes})
    cpu = Cpu(bus)
    for ask in (lambda: cpu.vendor, lambda: cpu.brand, lambda: cpu.signature, cpu.features, cpu.hypervisor, cpu.tsc_hertz):
        ask()  # no exception
    for ask_list in (cpu.caches, cpu.topology):
        try:
            assert len(ask_list()) < 32
        except DeviceError as error:
            assert "no end" in str(error)  # noqa: PT017 - it may also answer


# --- this very processor ---


class ThisProcessor(PortBus):
    """A machine that has it."""

    def cpuid(self, leaf: int, subleaf: int = 0) -> Registers:
        registers = ffi.new("uint32_t[4]")
        assert lib.bl_cpuid(leaf, subleaf, registers) == 0
        return registers[0], registers[1], registers[2], registers[3]

    def rdtsc(self) -> int:
        value = ffi.new("uint64_t *")
        assert lib.bl_rdtsc(value) == 0
        return int(value[0])


CPUINFO: Final = Path("/proc/cpuinfo")
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64" or not CPUINFO.exists(), reason="no x86-64 with /proc/cpuinfo")


@on_x86
def test_this_processor_says_what_the_kernel_says() -> None:
    first = CPUINFO.read_text().split("\n\n")[0]
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    cpu = Cpu(ThisProcessor())
    assert cpu.vendor == said["vendor_id"]
    assert cpu.brand == said["model name"]
    assert cpu.signature == Signature(int(said["cpu family"]), int(said["model"]), int(said["stepping"]))
    names = {name for each in FEATURES.values() for name in each.split()}
    assert set(said["flags"].split()) & names <= cpu.features()
    assert (cpu.hypervisor() is not None) == ("hypervisor" in said["flags"].split())
    cpu.caches()
    cpu.topology()
    cpu.tsc_hertz()


@on_x86
def test_this_processor_s_counter_goes_up() -> None:
    machine = ThisProcessor()
    found = [machine.rdtsc() for _ in range(100)]
    assert found == sorted(found)
    assert found[0] < found[-1]
