"""What a processor says of itself, by CPUID, and its time stamp counter.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, "CPUID" (325383-081), volume 3, 18.17 "Time-Stamp Counter";
AMD64 Architecture Programmer's Manual, volume 3 (24594), appendix E; VMware, "Mechanisms to determine if software is running in a VMware
virtual machine" (leaf 0x40000010, which KVM has, too); ACPI Specification 6.5, 4.8.3.3 (the PM timer).

Covers: vendor, brand, family, model and stepping, features by their names in Linux, caches (leaves 4 and 0x8000001d), topology (0x1f and
0xb), the hypervisor, the invariant counter, its frequency by the leaves 0x15, 0x16 and 0x40000010, or measured with the PIT or the PM
timer. Not: leaf 2, AMD's older leaves for caches, XSAVE's areas.

A backend without a processor, as QEMU by qtest, raises NotImplementedError.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from drivers.devices.pit import DATA, GATE, SPEAKER_PORT, Mode, Pit
from drivers.devices.pit import HERTZ as PIT_HERTZ
from drivers.errors import DeviceError
from drivers.space import IoSpace

EXTENDED, HYPERVISOR = 0x80000000, 0x40000000
MOST_LEVELS: Final = 32  # of subleaves: whoever has more has no end
EAX, EBX, ECX, EDX = range(4)

FEATURES: Final = {
    (1, EDX): "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm "
    "ia64 pbe",
    (1, ECX): "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe "
    "popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor",
    (
        7,
        EBX,
    ): "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a avx512f avx512dq "
    "rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
    (7, ECX): "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme "
    "avx512_vpopcntdq - la57 - - - - - rdpid kl bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks",
    (7, EDX): "- - avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort - tsx_force_abort "
    "serialize hybrid_cpu tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl intel_stibp flush_l1d "
    "arch_capabilities core_capabilities spec_ctrl_ssbd",
    (0x80000001, EDX): "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    (
        0x80000001,
        ECX,
    ): "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce "
    "- nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -",
    (0x80000007, EDX): "- - - - - - - - invariant_tsc - - - - - - - - - - - - - - - - - - - - - - -",
}
"""Names by leaf and register, from bit 0 on; `-`: no name."""

TRIES: Final = 20  # of a measurement that others held up


class Signature(NamedTuple):
    """What sort of processor it is, with the extended fields."""

    family: int
    model: int
    stepping: int


class CacheKind(IntEnum):
    """What is in a cache."""

    DATA = 1
    CODE = 2
    UNIFIED = 3


class Cache(NamedTuple):
    """One of the levels, as a core sees it."""

    level: int
    kind: CacheKind
    size: int
    """In bytes."""
    line: int
    ways: int
    shared_by: int
    """Logical processors, at most."""


class LevelKind(IntEnum):
    """What a level of the topology consists of; there are other numbers, too."""

    THREADS = 1
    CORES = 2
    MODULES = 3
    TILES = 4
    DIES = 5


class Level(NamedTuple):
    """A level of the topology."""

    kind: int
    """A `LevelKind`, or another number."""
    shift: int
    """So many low bits of the x2APIC number are below the next level."""
    processors: int
    """Logical ones, at this level."""


class Hypervisor(NamedTuple):
    """Who plays the processor."""

    vendor: str
    """12 characters: `KVMKVMKVM`, `Microsoft Hv`, `TCGTCGTCGTCG`."""
    most_leaf: int


class Cpu:
    """The processor that executes the instruction."""

    def __init__(self, io: IoSpace) -> None:
        self.io = io

    def leaf(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX; zeros if the processor has no such leaf, of which the instruction would say something else.

        Raises: ValueError: a number that does not fit 32 bits. NotImplementedError: there is no processor; so do all the others.
        """
        if not 0 <= leaf < 1 << 32 or not 0 <= subleaf < 1 << 32:
            raise ValueError(f"leaf {leaf:#x}, {subleaf}: expected two numbers of 32 bits")
        base = leaf & 0xFFFF0000
        most = self.io.cpuid(base)[EAX]
        return self.io.cpuid(leaf, subleaf) if base <= leaf <= most else (0, 0, 0, 0)

    @property
    def vendor(self) -> str:
        """12 characters: `GenuineIntel`, `AuthenticAMD`."""
        _, ebx, ecx, edx = self.io.cpuid(0)
        return _text(ebx, edx, ecx)

    @property
    def brand(self) -> str | None:
        """What it is sold as. None: it does not say."""
        return _text(*(each for leaf in range(2, 5) for each in self.leaf(EXTENDED + leaf))).strip() or None

    @property
    def signature(self) -> Signature:
        """Family, model, stepping."""
        eax = self.leaf(1)[EAX]
        family, model = eax >> 8 & 15, eax >> 4 & 15
        if family in (6, 15):
            model |= eax >> 12 & 0xF0
        return Signature(family + (eax >> 20 & 0xFF) * (family == 15), model, eax & 15)

    def features(self) -> frozenset[str]:
        """The names of what it can do, as far as this module has one; unlike Linux, also what an operating system has not enabled."""
        found = set()
        for (leaf, register), names in FEATURES.items():
            bits = self.leaf(leaf)[register]
            found |= {name for bit, name in enumerate(names.split()) if bits >> bit & 1}
        return frozenset(found - {"-"})

    def caches(self) -> list[Cache]:
        """The caches, in the processor's order. Nothing: it does not say.

        Raises: DeviceError: there is no end of them.
        """
        leaf = 0x8000001D if "topoext" in self.features() else 4
        found: list[Cache] = []
        for subleaf in range(MOST_LEVELS):
            eax, ebx, ecx, _ = self.leaf(leaf, subleaf)
            if eax & 31 == 0:
                return found
            if eax & 31 > CacheKind.UNIFIED:
                continue
            line, partitions, ways = (ebx & 0xFFF) + 1, (ebx >> 12 & 0x3FF) + 1, (ebx >> 22) + 1
            size = line * partitions * ways * (ecx + 1)
            found.append(Cache(eax >> 5 & 7, CacheKind(eax & 31), size, line, ways, (eax >> 14 & 0xFFF) + 1))
        raise DeviceError(f"CPUID: the leaf {leaf:#x} has {MOST_LEVELS} caches and no end")

    def topology(self) -> list[Level]:
        """The levels from the threads of a core upwards. Nothing: it does not say.

        Raises: DeviceError: there is no end of them.
        """
        leaf = 0x1F if self.leaf(0x1F)[EBX] else 0xB
        found: list[Level] = []
        for subleaf in range(MOST_LEVELS):
            eax, ebx, ecx, _ = self.leaf(leaf, subleaf)
            if ecx >> 8 & 0xFF == 0:
                return found
            found.append(Level(ecx >> 8 & 0xFF, eax & 31, ebx & 0xFFFF))
        raise DeviceError(f"CPUID: the leaf {leaf:#x} has {MOST_LEVELS} levels and no end")

    def hypervisor(self) -> Hypervisor | None:
        """None: it says that it is none's."""
        if "hypervisor" not in self.features():
            return None
        eax, ebx, ecx, edx = self.io.cpuid(HYPERVISOR)
        return Hypervisor(_text(ebx, ecx, edx), eax)

    # --- the time stamp counter ---

    @property
    def has_invariant_tsc(self) -> bool:
        """Does it count at one rate, whatever the processor does?"""
        return "invariant_tsc" in self.features()

    def tsc_hertz(self) -> float | None:
        """How fast the processor says that its time stamp counter is. None: it does not say; `measure_tsc` it."""
        denominator, numerator, crystal, _ = self.leaf(0x15)
        if denominator and numerator and crystal:
            return crystal * numerator / denominator
        if denominator and numerator and (megahertz := self.leaf(0x16)[EAX] & 0xFFFF):
            return megahertz * 1e6
        kilohertz = self.leaf(HYPERVISOR + 0x10)[EAX] if self.hypervisor() else 0
        return kilohertz * 1e3 or None

    async def measure_tsc(self, clock: Clock | None = None, seconds: float = 0.01) -> float:
        """How many hertz it has, by another clock: the PIT's counter 2, or one that is given. Others have their turn meanwhile.

        Raises: ValueError: the other clock wraps within this time. DeviceError: it does not run, or the time stamp counter does not, or
        it has wrapped because this took too long.
        """
        clock = PitClock(self.io) if clock is None else clock
        wrap = (1 << clock.bits) / clock.hertz
        if not 0 < seconds < wrap / 2:
            raise ValueError(f"{seconds!r} s: expected more than 0, and less than {wrap / 2:g}, half of what the clock can count")
        for _ in range(TRIES):
            clock.begin()
            try:
                began = self.io.now()
                first, first_tick = self.io.rdtsc(), clock.ticks()
                await self.io.pause(seconds)
                last, last_tick = self.io.rdtsc(), clock.ticks()
                took = self.io.now() - began
            finally:
                clock.end()
            ticks = (last_tick - first_tick) % (1 << clock.bits)
            if took >= wrap:
                continue  # this was held up
            if ticks == 0 or last <= first:
                raise DeviceError(
                    f"time stamp counter: from {first} to {last} within {ticks} ticks of the other clock: one of them does not run"
                )
            return (last - first) * clock.hertz / ticks
        raise DeviceError(f"time stamp counter: {took:g} s have passed: expected less than {wrap:g}, when the other clock wraps")


class Clock(Protocol):
    """A clock to measure with, which counts up and wraps."""

    hertz: int
    bits: int

    def begin(self) -> None:
        """Make it run."""

    def end(self) -> None:
        """Leave it as it was."""

    def ticks(self) -> int:
        """How far it is."""


class PitClock:
    """The PIT's counter 2, with the speaker silent. It wraps after 55 ms."""

    hertz = PIT_HERTZ
    bits = 16

    def __init__(self, io: IoSpace) -> None:
        self.io = io
        self.pit = Pit(io)
        self._port = 0

    def begin(self) -> None:
        """Let it count down from 65,536."""
        self._port = self.io.inb(SPEAKER_PORT) & 0x0F
        self.io.outb(SPEAKER_PORT, self._port & ~DATA | GATE)
        self.pit.start(2, Mode.RATE, 1 << self.bits)

    def end(self) -> None:
        """Gate and speaker as they were; the count is gone."""
        self.io.outb(SPEAKER_PORT, self._port)

    def ticks(self) -> int:
        """How far it is down."""
        return -self.pit.read(2) % (1 << self.bits)


class PmClock:
    """ACPI's power management timer, which always runs.

    Args:
        port: the FADT has it, `pm_timer`.
        bits: 32 if the FADT's flags say so.
    """

    hertz = 3_579_545

    def __init__(self, io: IoSpace, port: int, bits: int = 24) -> None:
        self.io = io
        self.port = port
        self.bits = bits

    def begin(self) -> None:
        """Nothing: it runs."""

    def end(self) -> None:
        """Nothing."""

    def ticks(self) -> int:
        """How far it is."""
        return self.io.inl(self.port) & (1 << self.bits) - 1


def _text(*registers: int) -> str:
    return b"".join(each.to_bytes(4, "little") for each in registers).rstrip(b"\0").decode("latin-1")
