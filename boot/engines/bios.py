"""The calls of a BIOS that the image makes, done by Python: INT 13h for a disk, INT 10h for a screen that is not there.

After the Enhanced Disk Drive Specification 3.0 (Phoenix, 1998): chapters 3 and 5. A call with carry has failed, with its status in AH.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from unicorn import x86_const as x86

from boot.engines.bus import Bus
from boot.engines.memory import GuestMemory

DISK, SCREEN = 0x13, 0x10
RESET, EXTENDED_READ, CHECK_EXTENSIONS = 0x00, 0x42, 0x41
BAD_COMMAND: Final = 0x01
VERSION, PACKETS = 0x30, 0x01  # EDD 3.0; reads by disk address packets
CARRY: Final = 1
PACKET: Final = struct.Struct("<BBHHHQ")  # size, 0, sectors, offset, segment, LBA


class Bios:
    """What a core calls."""

    def __init__(self, core: int, memory: GuestMemory, bus: Bus) -> None:
        self._core = core
        self._memory = memory
        self._bus = bus

    def call(self, uc: Any, vector: int) -> bool:
        """False if it is no call that there is."""
        if vector == DISK:
            self._disk(uc)
        return vector in (DISK, SCREEN)

    def _disk(self, uc: Any) -> None:
        function = uc.reg_read(x86.UC_X86_REG_AH)
        status = BAD_COMMAND
        if function == EXTENDED_READ:
            status = self._read(uc)
        elif function == RESET:
            status = 0
        elif function == CHECK_EXTENSIONS:
            uc.reg_write(x86.UC_X86_REG_BX, 0xAA55)
            uc.reg_write(x86.UC_X86_REG_CX, PACKETS)
            status = 0
        flags = uc.reg_read(x86.UC_X86_REG_EFLAGS)
        uc.reg_write(x86.UC_X86_REG_EFLAGS, flags | CARRY if status else flags & ~CARRY)
        uc.reg_write(x86.UC_X86_REG_AH, VERSION if function == CHECK_EXTENSIONS else status)

    def _read(self, uc: Any) -> int:
        packet = uc.reg_read(x86.UC_X86_REG_DS) * 16 + uc.reg_read(x86.UC_X86_REG_SI)
        _, _, count, offset, segment, lba = PACKET.unpack(self._memory.read(packet, PACKET.size))
        status, done = self._bus.read(self._core, lba, count, segment * 16 + offset)
        self._memory.map[packet + 2 : packet + 4] = struct.pack("<H", done)
        return status
