"""A driver of one's own, from the data sheet to an owner: QEMU's pc-testdev, a device for tests of virtual machines.

Its "data sheet" is QEMU's hw/misc/pc-testdev.c: four bytes of storage at ports 0xe0 to 0xe3, and from port 0x2000 on one port for each
interrupt line, to which its level is written.

    python examples/drivers/test_device.py            # on a model in Python
    python examples/drivers/test_device.py --qemu     # on QEMU's
"""

from __future__ import annotations

import sys

from beamlike import receive, run
from drivers import Device, DeviceAbsentError, DeviceData, DeviceManager, IoSpace, Kind, Narrowed, PortBus, Qemu, open_device
from drivers.models.custom import CustomModel

STORAGE, LINES = 0xE0, 0x2000
LINE = 5  # the one that this program uses
PORTS = ((STORAGE, STORAGE + 4), (LINES, LINES + 24))


# --- the driver: a class over an I/O space, with no process of its own ---


class TestDevice:
    """Raises: DeviceAbsentError: it is not there."""

    def __init__(self, io: IoSpace) -> None:
        self.io = io

    def store(self, value: int) -> None:
        """Keep 32 bits."""
        self.io.outl(STORAGE, value)

    def load(self) -> int:
        """What was kept."""
        return self.io.inl(STORAGE)

    def interrupt(self) -> None:
        """Interrupt, on line 5."""
        self.io.outl(LINES + LINE, 1)

    def acknowledge(self) -> None:
        """The line goes down again."""
        self.io.outl(LINES + LINE, 0)

    def probe(self) -> None:
        """Is it there? Nothing else keeps two numbers, one after the other."""
        for value in (0x12345678, 0):
            self.store(value)
            if self.load() != value:
                raise DeviceAbsentError(f"no test device at {STORAGE:#x}: it shows {self.load():#x} for {value:#x}")


# --- a model of it, for tests, and where there is no such device ---


class TestDeviceModel(CustomModel):
    """The port bus's."""

    def __init__(self, bus: PortBus) -> None:
        super().__init__(bus, range(STORAGE, STORAGE + 4))
        self.kept = bytearray(4)
        self.lines = TestDeviceLines(bus)

    def read(self, port: int, width: int) -> int:
        at = port - STORAGE
        return int.from_bytes(self.kept[at : at + width], "little")

    def write(self, port: int, width: int, value: int) -> None:
        at = port - STORAGE
        self.kept[at : at + width] = value.to_bytes(width, "little")


class TestDeviceLines(CustomModel):
    """Its other ports."""

    def __init__(self, bus: PortBus) -> None:
        super().__init__(bus, range(LINES, LINES + 24))

    def write(self, port: int, width: int, value: int) -> None:
        self.set_line(port - LINES, value != 0)


# --- as a device that is handed out ---


async def interrupted(device: TestDevice) -> list[str]:
    """What its owner is told when it interrupts."""
    device.acknowledge()
    return ["rang"]


KIND = Kind("test device", frozenset({"store", "load", "interrupt"}), interrupted)


def as_device(io: IoSpace) -> Device:
    """For a device manager."""
    narrowed = Narrowed(io, PORTS, ())

    async def make() -> TestDevice:
        device = TestDevice(narrowed)
        device.probe()
        return device

    return Device(narrowed, "test", KIND, "pc-testdev", make, ports=PORTS, lines=(LINE,))


async def main(on_qemu: bool) -> None:
    """Have it, and be told of an interrupt."""
    if on_qemu:
        io: IoSpace = await Qemu.start("-device", "pc-testdev")
    else:
        io = bus = PortBus()
        bus.models["test device"] = TestDeviceModel(bus)
    manager = await DeviceManager.start_link([as_device(io)])
    async with await open_device(manager, "test") as handle:
        await handle.do("store", 42)
        print("it keeps", await handle.do("load"))
        await handle.do("interrupt")
        print("it", (await receive(DeviceData, timeout=5)).data)


if __name__ == "__main__":
    run(main, "--qemu" in sys.argv[1:])
