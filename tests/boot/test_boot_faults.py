"""The table of faults: what goes wrong with a boot, on each engine that can do it, and what comes of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from attempts import (
    CHUNKS,
    ENGINES,
    FIFTH,
    FIRST,
    MARKS,
    NONSENSE,
    PAYLOAD,
    Booted,
    boot,
    crafted,
    doing,
    faulting,
    flipped,
    machine,
    plain_image,
)

from boot.engines.disk import NO_FAULTS, Death, FaultPlan, Moment
from boot.engines.outcome import FIRMWARE
from boot.errors import (
    BootError,
    BootReadError,
    BootTimeoutError,
    ChunkTableError,
    ImageTruncatedError,
    ManifestError,
    MbrError,
    MemoryTooSmallError,
    NoSlaveCoreError,
    PayloadCorruptError,
    PrimaryDiedError,
    ShortReadError,
    Stage2Error,
)
from boot.guest.layout import COPY_LBA, MANIFEST_LBA, SECTOR, STAGE2_LBA, TABLE_LBA, Kind
from boot.image import build_image

OURS = ("processes", "threads", "lockstep")
ALL = (*OURS, "qemu")
FOR_EVER = 1000
USUAL = (Kind.CALLED, Kind.READING, Kind.READ, Kind.MOVED)


@dataclass(frozen=True)
class Row:
    """A fault.

    Args:
        why_not_qemu: why QEMU is left out.
        error: what is raised; else it has booted, and `cured` are the events that say how, with their cores and sectors.
        lba, core: of the error.
    """

    name: str
    faults: FaultPlan = NO_FAULTS
    image: Callable[[], bytes] = plain_image
    cores: int = 2
    timeout: float = 20.0
    why_not_qemu: str = ""
    error: type[BootError] | None = None
    message: str = ""
    lba: int | None = None
    core: int | None = None
    cured: list[tuple[Kind, int, int]] = field(default_factory=list)
    retries: int = 0
    rereads: int = 0
    dead: list[int] = field(default_factory=list)

    @property
    def engines(self) -> tuple[str, ...]:
        return OURS if self.why_not_qemu else ALL


def deaths(moment: Moment, *cores: int) -> FaultPlan:
    return FaultPlan(deaths=tuple(Death(core, 6, moment) for core in cores))


def truncated_with_a_bad_manifest() -> bytes:
    image = bytearray(build_image(2 * PAYLOAD)[:TRUNCATED])
    image[MANIFEST_LBA * SECTOR] ^= 1
    return bytes(image)


ONE_CORE_LIVES = "only its debugger stub can end one core of QEMU's, and not at a read that was planned: test_boot_qemu_deaths.py"
NO_SUCH_FAULT = "blkdebug has no such fault"
TRUNCATED = 1300 * SECTOR  # SeaBIOS does not boot AHCI disks that are much smaller
NOWHERE = (1 << 32) + 0x300000  # no page is there
MEMORY = 16 << 20
WHOLE = -(-len(PAYLOAD) // SECTOR) * SECTOR
BAD_FIFTH = FIFTH + 3

TABLE = [
    # The slave.
    Row(
        "slave dead before it starts",
        FaultPlan(absent=frozenset({1})),
        cores=3,
        why_not_qemu=ONE_CORE_LIVES,
        cured=[(Kind.DEAD, 1, 0), (Kind.CAME, 2, 0)],
        dead=[1],
    ),
    *(
        Row(
            f"slave dies {moment.name.lower()} a read",
            deaths(moment, 1),
            cores=3,
            why_not_qemu=ONE_CORE_LIVES,
            cured=[(Kind.KILLED, 1, lba), (Kind.DEAD, 1, found), (Kind.CAME, 2, 0)],
            dead=[1],
        )
        for moment, lba, found in (
            (Moment.BEFORE, FIRST + 3 * 64, FIRST + 3 * 64),
            (Moment.INSIDE, FIRST + 3 * 64, FIRST + 3 * 64),
            (Moment.BETWEEN, 0, FIRST + 4 * 64),
        )
    ),
    Row(
        "two slaves die, one after the other",
        deaths(Moment.INSIDE, 1, 2),
        cores=4,
        why_not_qemu=ONE_CORE_LIVES,
        cured=[
            *[(Kind.KILLED, 1, FIRST + 3 * 64), (Kind.DEAD, 1, FIRST + 3 * 64), (Kind.CAME, 2, 0)],
            *[(Kind.KILLED, 2, FIRST + 8 * 64), (Kind.DEAD, 2, FIRST + 8 * 64), (Kind.CAME, 3, 0)],
        ],
        dead=[1, 2],
    ),
    Row(
        "all slaves die",
        deaths(Moment.INSIDE, 1, 2),
        cores=3,
        why_not_qemu=ONE_CORE_LIVES,
        error=NoSlaveCoreError,
        message="no core is left that could read; dead are 1, 2",
        core=2,
    ),
    Row("no second core", cores=1, error=NoSlaveCoreError, message="there is no second core"),
    # The medium.
    Row("bad sector once", FaultPlan(flaky={BAD_FIFTH: 1}), cured=[(Kind.FAILED, 1, FIFTH)], retries=1),
    Row("bad sector no time", FaultPlan(flaky={BAD_FIFTH: 0})),
    Row("bad sector three times", FaultPlan(flaky={BAD_FIFTH: 3}), cured=[(Kind.FAILED, 1, FIFTH)] * 3, retries=3),
    Row("bad sector for ever", FaultPlan(bad=frozenset({FIFTH})), error=BootReadError, message=f"LBA {FIFTH} 0 came", lba=FIFTH, core=1),
    Row(
        "bad sector in the manifest",
        FaultPlan(bad=frozenset({MANIFEST_LBA})),
        cured=[*[(Kind.FAILED, 1, MANIFEST_LBA)] * 4, (Kind.COPY, 1, MANIFEST_LBA)],
        retries=3,
    ),
    Row(
        "bad sectors in the manifest and its copy",
        FaultPlan(bad=frozenset({MANIFEST_LBA, COPY_LBA})),
        error=ManifestError,
        message="was read with status",
        lba=MANIFEST_LBA,
        core=1,
    ),
    Row(
        "bad sector in stage 2",
        FaultPlan(bad=frozenset({STAGE2_LBA + 2})),
        error=Stage2Error,
        message="stage 2 cannot be read",
        lba=STAGE2_LBA,
        core=0,
    ),
    Row("bad sector in stage 2 once", FaultPlan(flaky={STAGE2_LBA + 2: 1})),
    Row(
        "short read once",
        FaultPlan(short={FIFTH: 1}),
        why_not_qemu=NO_SUCH_FAULT,
        cured=[(Kind.FAILED, 1, FIFTH)],
        retries=1,
    ),
    Row(
        "short read for ever",
        FaultPlan(short={FIFTH: FOR_EVER}),
        why_not_qemu=NO_SUCH_FAULT,
        error=ShortReadError,
        message=f"63 sectors came from LBA {FIFTH}, expected 64",
        lba=FIFTH,
        core=1,
    ),
    Row(
        "flipped bit in what is read, twice",
        FaultPlan(wrong={BAD_FIFTH: 2}),
        why_not_qemu=NO_SUCH_FAULT,
        cured=[(Kind.REREAD, 1, FIFTH)] * 2,
        rereads=2,
    ),
    # The image.
    Row(
        "truncated image",
        image=lambda: build_image(2 * PAYLOAD)[:TRUNCATED],
        error=ImageTruncatedError,
        message=f"the image has {TRUNCATED} bytes, expected 1048576",
        lba=1300,
        core=1,
    ),
    Row(
        "truncated image with a bad manifest",
        image=truncated_with_a_bad_manifest,
        error=ImageTruncatedError,
        message=f"the image has {TRUNCATED} bytes, expected 1048576",
        lba=1300,
        core=1,
    ),
    Row(
        "payload behind the end of a whole image",
        image=lambda: crafted(payload_lba=1 << 30),
        error=BootReadError,
        message=f"of 64 sectors from LBA {1 << 30} 0 came",
        lba=1 << 30,
        core=1,
    ),
    Row(
        "chunk table behind the end of a whole image",
        image=lambda: crafted(table_lba=1 << 30),
        error=BootReadError,
        message=f"of 1 sectors from LBA {1 << 30} 0 came",
        lba=1 << 30,
        core=1,
    ),
    Row(
        "flipped bit in the MBR",
        image=lambda: flipped(0, at=511),
        timeout=1.0,  # what a BIOS does then is nothing
        error=MbrError,
        message="byte 511 of the first sector is 0xab, expected 0xaa",
        lba=0,
    ),
    Row(
        "flipped bit in the MBR's code",
        image=lambda: flipped(0, at=86),  # so that it finds a wrong checksum in stage 2
        error=MbrError,
        message="byte 86 of the first sector is",
        lba=0,
    ),
    Row(
        "flipped bit in stage 2",
        image=lambda: flipped(STAGE2_LBA + 4),
        error=Stage2Error,
        message="stage 2 has a wrong checksum",
        lba=STAGE2_LBA,
        core=0,
    ),
    Row("flipped bit in the manifest", image=lambda: flipped(MANIFEST_LBA), cured=[(Kind.COPY, 1, MANIFEST_LBA)]),
    Row(
        "flipped bits in the manifest and its copy",
        image=lambda: flipped(MANIFEST_LBA, COPY_LBA),
        error=ManifestError,
        message=f"are bad: the manifest at LBA {COPY_LBA} has the checksum",
        lba=MANIFEST_LBA,
        core=1,
    ),
    *(
        Row(
            "nonsense in the manifest and its copy: " + " ".join(f"{name} {value}" for name, value in fields.items()),
            image=partial(crafted, **fields),
            error=ManifestError,
            message=f"are bad: the manifest at LBA {COPY_LBA} {message}",
            lba=MANIFEST_LBA,
            core=1,
        )
        for fields, message in NONSENSE
    ),
    Row("flipped bit in the manifest's copy alone", image=lambda: flipped(COPY_LBA)),
    Row(
        "flipped bit in the chunk table",
        image=lambda: flipped(TABLE_LBA),
        error=ChunkTableError,
        message="the chunk table has the checksum",
        lba=TABLE_LBA,
        core=1,
    ),
    Row(
        "flipped bit in the payload",
        image=lambda: flipped(BAD_FIFTH),
        error=PayloadCorruptError,
        message="chunk 5 gives the checksum",
        lba=FIFTH,
        core=1,
    ),
    *(
        Row(
            f"payload of {what} to {address:#x}, where there is no room",
            image=partial(build_image, payload, load_address=address),
            error=MemoryTooSmallError,
            message=f"the payload goes to {address:#x} to .*, and the machine has room for it up to 0xfc0000",
            core=0,
        )
        for what, payload, address in (
            ("random bytes", PAYLOAD, MEMORY - 4096),
            ("random bytes", PAYLOAD, NOWHERE),
            ("zeroes", bytes(70000), 0xC0000000),  # as which QEMU reads what is not there: so the checksums are good
            ("zeroes", bytes(100), MEMORY - FIRMWARE - 100),  # all of the last sector is moved
        )
    ),
    Row("payload of all the room that there is", image=lambda: build_image(PAYLOAD, load_address=MEMORY - FIRMWARE - WHOLE)),
    # The primary, and time.
    Row(
        "primary fault",
        image=lambda: faulting(NOWHERE),
        error=PrimaryDiedError,
        message=r"exception 14 at 0x[89].*, with 0x100300000 in CR2",
        core=0,
    ),
    Row(
        "primary fault without a stack",
        image=lambda: doing(b"\x48\xbc" + NOWHERE.to_bytes(8, "little") + b"\x50"),  # mov rsp, NOWHERE; push rax
        error=PrimaryDiedError,
        message="exception 14 at|the primary core has ended without a word: the machine was reset",
        core=0,
    ),
    Row(
        "primary dies",
        FaultPlan(deaths=(Death(0, 1, Moment.BEFORE),)),
        why_not_qemu=ONE_CORE_LIVES,
        error=PrimaryDiedError,
        message="the primary core has ended without a word",
        core=0,
    ),
    Row("time-out", timeout=0.01, error=BootTimeoutError, message="it has not booted within 0.01 s"),
]


@pytest.mark.parametrize(
    ("row", "engine"),
    [
        pytest.param(row, engine, marks=MARKS[engine], id=f"{row.name} - {engine}")
        for row in TABLE
        for engine in ENGINES
        if engine in row.engines
    ],
)
def test_what_comes_of_a_fault(row: Row, engine: str) -> None:
    pc = machine(engine, row.cores, row.faults, row.timeout)
    if row.error is None:
        check_cured(row, boot(pc, row.image()))
        return
    with pytest.raises(row.error, match=row.message) as raised:
        boot(pc, row.image())
    error = raised.value
    assert type(error) is row.error
    assert (error.lba, error.core) == (row.lba, row.core)
    assert ("slave: core 00000001" in error.serial) == any((event.kind, event.core) == (Kind.CAME, 1) for event in error.events)


def check_cured(row: Row, booted: Booted) -> None:
    found: list[Any] = [(event.kind, event.core, event.lba) for event in booted.events if event.kind not in USUAL]
    # Sorted: who reads a clock after it was held up writes down a later time.
    assert sorted(each for each in found if each != (Kind.CAME, 1, 0)) == sorted(row.cured)
    assert booted.payload == PAYLOAD
    info = booted.info
    assert (info.chunks, info.retries, info.rereads, info.dead_cores) == (CHUNKS, row.retries, row.rereads, row.dead)
    assert info.failovers == len([each for each in row.cured if each[0] is Kind.KILLED])
    assert "BOOT OK" in booted.serial
