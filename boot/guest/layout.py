"""What `layout.inc` says, for Python: a test compares the two. The comments are there."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

SECTOR: Final = 512

# The medium.
STAGE2_LBA: Final = 1
STAGE2_SECTORS: Final = 15
MANIFEST_LBA: Final = 16
TABLE_LBA: Final = 17
TABLE_SECTORS: Final = 15
COPY_LBA: Final = 63
PAYLOAD_LBA: Final = 64
CHUNK_SECTORS: Final = 64
PAYLOAD_MOST: Final = 0x3C00000

# The manifest.
M_MAGIC: Final = 0
M_VERSION: Final = 8
M_LBA: Final = 12
M_BYTES: Final = 16
M_ADDRESS: Final = 24
M_CRC: Final = 32
M_TABLE_CRC: Final = 36
M_TABLE_LBA: Final = 40
M_CHUNK: Final = 44
M_CHUNKS: Final = 46
M_SECTORS: Final = 48
M_OWN_CRC: Final = 60
M_SIZE: Final = 64
M_VERSION_NOW: Final = 1
MANIFEST: Final = Struct("<8sIIQQIIIHHI8xI")
MANIFEST_MAGIC: Final = b"BEAMBOOT"

# Stage 2.
STAGE2: Final = 0x8000
H_MAGIC: Final = 8
H_IDLE: Final = 12
STAGE2_CRC: Final = 7676
STAGE2_MAGIC: Final = b"BLS2"

# The mailbox, of which Python only reads.
MB_CLOCK: Final = 0x618
MB_LAST: Final = 0x61C
MB_PRIMARY_TRACED: Final = 0x624
MB_SLAVE_TRACED: Final = 0x628

# The hand-off block.
INFO: Final = 0x700
I_MAGIC: Final = 0
I_VERSION: Final = 8
I_REASON: Final = 12
I_BYTES: Final = 16
I_ADDRESS: Final = 24
I_CRC: Final = 32
I_CHUNKS: Final = 36
I_RETRIES: Final = 40
I_REREADS: Final = 44
I_FAILOVERS: Final = 48
I_DEAD: Final = 52
I_SLAVE: Final = 56
I_TICKS: Final = 60
I_COPY: Final = 64
I_LBA: Final = 72
I_CHUNK: Final = 80
I_WANTED: Final = 84
I_GOT: Final = 88
I_AH: Final = 92
I_VECTOR: Final = 96
I_ERROR: Final = 100
I_RIP: Final = 104
I_CR2: Final = 112
I_SIZE: Final = 120
I_VERSION_NOW: Final = 1
HANDOFF: Final = Struct("<8sIIQQ9I4xQ6IQQ")
HANDOFF_MAGIC: Final = b"BEAMINFO"

EXIT_PORT: Final = 0xF4


class Reason(IntEnum):
    """How it ended, as the primary says: what `layout.inc` calls R_…."""

    OK = 0x10
    MANIFEST = 0x21
    """The manifest and its copy are bad."""
    CHUNK = 0x22
    """A chunk's checksum is wrong, however often it is read."""
    READ = 0x23
    SHORT = 0x24
    """A read that fails with no status, but brings too little."""
    NO_SLAVE = 0x25
    """No core is left."""
    TABLE = 0x26
    """The chunk table's checksum is wrong."""
    NO_TIMER = 0x27
    """The firmware tells of no ACPI PM timer."""
    FAULT = 0x2E
    """An exception of the primary."""
    STAGE2_READ = 0x7D
    """The MBR cannot read stage 2."""
    STAGE2 = 0x7E
    """Stage 2's checksum is wrong."""


# Traces.
PRIMARY_TRACE: Final = 0x60000
SLAVE_TRACE: Final = 0x70000
TRACE_MOST: Final = 4096
T_TIME: Final = 0
T_KIND: Final = 4
T_CORE: Final = 5
T_COUNT: Final = 6
T_LBA: Final = 8
T_MORE: Final = 12
RECORD: Final = Struct("<IBBHII")


class Kind(IntEnum):
    """What has happened: what `layout.inc` calls K_…, as far as the cores write it."""

    CALLED = 1
    """A core is called, to be the slave."""
    CAME = 2
    """It has come, and has reset the drive."""
    DEAD = 3
    """The primary has not heard of it for too long. `lba`, `count`: what it leaves; 0: nothing."""
    MOVED = 4
    """Chunk `more` is where it belongs, and good: the hand-off from the slave to the primary."""
    REREAD = 5
    """Chunk `more` is damaged; it is read again."""
    COPY = 6
    """The manifest at `lba` is bad: its copy is read."""
    READING = 7
    """A read begins, its try `more`."""
    READ = 8
    """It has ended well."""
    FAILED = 9
    """It has not: `count` sectors came, and `more` is the BIOS's status."""
    KILLED = 128
    """The engine's: it has ended the core, as a fault."""


# Memory and time.
LOWEST: Final = 0x200000
CRC_TABLES: Final = 0x12000
BUFFER0: Final = 0x20000
BUFFER1: Final = 0x28000
CORES_MOST: Final = 32
TICKS_PER_SECOND: Final = 3579545
PATIENCE: Final = 1789772
