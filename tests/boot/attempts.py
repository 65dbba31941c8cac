"""What the tests of booting share: images, the engines, and an attempt with any of them."""

from __future__ import annotations

import dataclasses
import os
import random
import struct
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from zlib import crc32

import pytest
from machines import needs_qemu

from beamlike import run
from boot.engines.disk import NO_FAULTS, FaultPlan
from boot.engines.events import Event
from boot.engines.handoff import HandOff
from boot.engines.lockstep import LockstepMachine
from boot.engines.machine import BootMachine
from boot.engines.processes import ProcessMachine
from boot.engines.qemu import QemuMachine
from boot.engines.threads import ThreadMachine
from boot.guest import code
from boot.guest.layout import COPY_LBA, CRC_TABLES, MANIFEST_LBA, PAYLOAD_LBA, SECTOR, STAGE2_CRC, STAGE2_LBA, Kind
from boot.image import CHUNK, build_image, read_manifest

CHUNKS = 12
PAYLOAD = random.Random(7).randbytes((CHUNKS - 1) * CHUNK + 1000)
FIRST = PAYLOAD_LBA
FIFTH = PAYLOAD_LBA + 5 * CHUNK // SECTOR

needs_unicorn = pytest.mark.skipif(find_spec("unicorn") is None, reason="Unicorn is not installed: pip install 'beamlike[boot]'")
ENGINES: dict[str, type[BootMachine]] = {
    "processes": ProcessMachine,
    "threads": ThreadMachine,
    "lockstep": LockstepMachine,
    "qemu": QemuMachine,
}
MARKS = {name: needs_qemu if name == "qemu" else needs_unicorn for name in ENGINES}


def engines(*names: str) -> list[Any]:
    """Parameters: these engines, or all, each skipped where it is missing."""
    return [pytest.param(name, marks=MARKS[name]) for name in names or ENGINES]


@dataclass(frozen=True)
class Booted:
    """What is left of a boot that went well."""

    payload: bytes
    info: HandOff
    serial: str
    events: tuple[Event, ...]
    memory: bytes
    seconds: float

    def of(self, kind: Kind) -> list[Event]:
        """The events of a kind."""
        return [event for event in self.events if event.kind is kind]


def boot(machine: BootMachine, image: bytes, keeps_memory: bool = False) -> Booted:
    """Boot once, in a node of its own. Raises: BootError."""

    async def main() -> Booted:
        with tempfile.NamedTemporaryFile() as file:
            file.write(image)
            file.flush()
            with await machine.boot(file.name) as result:
                memory = bytes(result.memory.map) if keeps_memory else b""
                return Booted(result.payload(), result.info, result.serial, result.events, memory, result.seconds)

    booted: Booted = run(main)
    return booted


def machine(engine: str, cores: int = 2, faults: FaultPlan = NO_FAULTS, timeout: float = 20.0) -> BootMachine:
    """One of `ENGINES`."""
    kind: Any = ENGINES[engine]
    made: BootMachine = kind(cores=cores, memory=16, timeout=timeout, faults=faults)
    return made


def plain_image() -> bytes:
    """With `PAYLOAD`."""
    return build_image(PAYLOAD)


def flipped(*lbas: int, at: int = 5) -> bytes:
    """The same with a flipped bit in these sectors."""
    image = bytearray(plain_image())
    for lba in lbas:
        image[lba * SECTOR + at] ^= 1
    return bytes(image)


def faulting(address: int) -> bytes:
    """The same with a stage 2, of a good checksum, in which the primary writes to this address."""
    return doing(b"\x48\xb8" + struct.pack("<Q", address) + b"\x89\x00")  # mov rax, address; mov [rax], eax


def doing(instructions: bytes) -> bytes:
    """The same with a stage 2, of a good checksum, in which the primary does this, before it has called a slave."""
    stage2 = bytearray(code.stage2()[:STAGE2_CRC])
    at = stage2.index(b"\xbf" + struct.pack("<I", CRC_TABLES))  # mov edi, CRC_TABLES: the IDT is there
    stage2[at : at + len(instructions)] = instructions
    image = bytearray(plain_image())
    image[STAGE2_LBA * SECTOR : STAGE2_LBA * SECTOR + STAGE2_CRC + 4] = stage2 + struct.pack("<I", crc32(stage2))
    return bytes(image)


def crafted(**fields: int) -> bytes:
    """The same with a manifest, and a copy, of good checksums that say this instead."""
    image = bytearray(plain_image())
    manifest = dataclasses.replace(read_manifest(bytes(image), MANIFEST_LBA), **fields).pack()
    for lba in (MANIFEST_LBA, COPY_LBA):
        image[lba * SECTOR : lba * SECTOR + len(manifest)] = manifest
    return bytes(image)


NONSENSE = [
    ({"load_address": 0}, "has 0 as load_address, expected 2097152 or above"),
    ({"load_address": 0x1FFFFF}, "has 2097151 as load_address, expected 2097152 or above"),
    ({"payload_bytes": 0, "chunks": 0}, "has 0 as payload_bytes, expected 1 to 62914560"),
    ({"payload_bytes": 62914561, "chunks": 1921}, "has 62914561 as payload_bytes, expected 1 to 62914560"),
    ({"payload_bytes": 1 << 41}, "has 2199023255552 as payload_bytes, expected 1 to 62914560"),
    ({"chunk_sectors": 0}, "has 0 as chunk_sectors, expected 64"),
    ({"chunk_sectors": 65535}, "has 65535 as chunk_sectors, expected 64"),
    ({"chunks": CHUNKS - 1}, f"has {CHUNKS - 1} as chunks, expected {CHUNKS}"),
    ({"chunks": 65535}, f"has 65535 as chunks, expected {CHUNKS}"),
]
"""What no manifest says, and what is said of it."""


def open_descriptors() -> int:
    """Of this OS process."""
    return len(os.listdir("/proc/self/fd"))
