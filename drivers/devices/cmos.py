"""The CMOS memory of a PC: the 128 bytes of its clock chip, some of which are the clock, and the firmware's settings with their checksum.

Source: IBM PC AT Technical Reference (6280070), "Real-time clock/CMOS RAM information"; Motorola MC146818A data sheet (1984).

Covers: reading, writing, the AT's checksum, the NMI mask, which shares the index port. Not: the second bank of later chips (ports 0x72 and
0x73), what the bytes mean.
"""

from __future__ import annotations

from typing import Final

from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

BASE: Final = 0x70
SIZE: Final = 128
NMI_MASK: Final = 0x80
STATUS_D: Final = 0x0D
VALID: Final = 0x80
SUMMED: Final = range(0x10, 0x2E)
SUM_HIGH, SUM_LOW = 0x2E, 0x2F


class Cmos:
    """The memory. Index and data are two ports: whoever else uses them between the two accesses spoils both, so one process has them.

    The index port cannot be read, and has the NMI mask in it. So it is `is_nmi_masked` that is written there with each index: set it
    before the first access, if NMIs are to be masked.
    """

    def __init__(self, io: IoSpace, base: int = BASE) -> None:
        self.io = io
        self.base = base
        self.was_without_power = False
        """The battery has failed, as some `probe` has found: the chip says it once."""
        self._nmi = 0

    def read(self, index: int) -> int:
        """A byte. Raises: ValueError: there is none with this index."""
        self._select(index)
        return self.io.inb(self.base + 1)

    def write(self, index: int, value: int) -> None:
        """Write a byte. It is not looked whether it arrived: `store` does. Raises: ValueError."""
        if not 0 <= value <= 0xFF:
            raise ValueError(f"{value!r} is no byte: expected 0 to 255")
        self._select(index)
        self.io.outb(self.base + 1, value)

    def load(self, index: int, count: int) -> bytes:
        """Bytes one after the other. Raises: ValueError; DeviceAbsentError."""
        _check(index, count)
        self.probe()
        return bytes(self.read(each) for each in range(index, index + count))

    def store(self, index: int, data: bytes) -> None:
        """Write bytes one after the other, and read them again. The checksum stays as it is: see `update_checksum`.

        Raises: ValueError; DeviceAbsentError; DeviceError: one is not what was written.
        """
        _check(index, len(data))
        self.probe()
        for at, value in enumerate(data, index):
            self.write(at, value)
            if (found := self.read(at)) != value:
                raise DeviceError(f"CMOS: byte {at:#04x} is {found:#04x} after {value:#04x} was written")

    @property
    def checksum(self) -> int:
        """What the firmware has left as the sum of the bytes 0x10 to 0x2d."""
        return int.from_bytes(self.load(SUM_HIGH, 2), "big")

    def sum(self) -> int:
        """What the sum is."""
        return sum(self.load(SUMMED.start, len(SUMMED))) & 0xFFFF

    def update_checksum(self) -> None:
        """Let the checksum be right. Raises as `store`."""
        self.store(SUM_HIGH, self.sum().to_bytes(2, "big"))

    @property
    def is_nmi_masked(self) -> bool:
        """Are NMIs kept from the processor? False, unless it was set here: the bit cannot be read."""
        return bool(self._nmi)

    @is_nmi_masked.setter
    def is_nmi_masked(self, masked: bool) -> None:
        self._nmi = NMI_MASK if masked else 0
        self.read(STATUS_D)  # the AT wants an access to the data after each index

    def probe(self) -> None:
        """Is there a chip? Seven bits of its register D are always 0. Raises: DeviceAbsentError."""
        if (found := self.read(STATUS_D)) & ~VALID:
            raise DeviceAbsentError(f"no clock chip at port {self.base:#x}: its register D is {found:#04x}, expected 0x00 or 0x80")
        if not found & VALID:
            self.was_without_power = True

    def _select(self, index: int) -> None:
        if not 0 <= index < SIZE:
            raise ValueError(f"{index!r} is no index of the CMOS memory: expected 0 to {SIZE - 1:#x}")
        self.io.outb(self.base, index | self._nmi)


def _check(index: int, count: int) -> None:
    if count < 0 or not 0 <= index <= SIZE - count:
        raise ValueError(f"{count} bytes at {index} are not in the CMOS memory: expected some of its {SIZE}")
