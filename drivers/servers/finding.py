"""Which devices a machine has: those of the ISA bus where a PC has them, if they answer, and those on PCI by what they say they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Final

from beamlike import Lock
from drivers.devices import uart
from drivers.devices.ata import AtaChannel, AtaDisk
from drivers.devices.ata import Kind as AtaKind
from drivers.devices.cmos import Cmos
from drivers.devices.floppy import BUFFER, CYLINDER_SIZE, Floppy
from drivers.devices.i8042 import I8042, Port
from drivers.devices.keyboard import Keyboard
from drivers.devices.mouse import Mouse
from drivers.devices.ne2000 import Ne2000
from drivers.devices.pit import Mode, Pit, Speaker
from drivers.devices.rtc import Rtc
from drivers.devices.uart import Source, Uart
from drivers.devices.vga import Vga
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.narrowed import narrowed
from drivers.servers import kinds
from drivers.servers.device import Device, Ranges
from drivers.servers.finding_virtio import find_virtio
from drivers.space import IoSpace

SERIAL_RATE: Final = 115200
LEAST_PERIOD: Final = 119  # pulses of the timer, 10 kHz: at 50 kHz of QEMU's an uncompiled node did not keep up on a busy machine
CMOS: Final = (0x70, 0x72)
ATA: Final = (("ata0", 0x1F0, 0x3F6, 14), ("ata1", 0x170, 0x376, 15))
NE2000: Final = ((0x300, 9), (0x320, 10))

Finder = Callable[[IoSpace], Awaitable[list[Device]]]


async def find_devices(io: IoSpace, finders: tuple[Finder, ...] | None = None) -> list[Device]:
    """All devices that there are drivers for. What answers wrongly is left out: it is nobody's.

    Each is looked for by accesses to its ports; who has exclusions finds only what they leave: nothing else is accessed.

    Args:
        finders: functions that look for some; all that come with this package, unless given.
    """
    if not isinstance(io, IoSpace):
        raise TypeError(f"find_devices looks in an I/O space, such as a PortBus, not in {io!r:.80}")
    found: list[Device] = []
    for finder in FINDERS if finders is None else finders:
        try:
            some = await finder(io)
        except (DeviceError, PermissionError):
            continue
        for each in some:
            each.name = _free_name(each.name, {other.name for other in found})
            found.append(each)
    return found


def _free_name(name: str, taken: set[str]) -> str:
    """Finders number their devices from 0, and two may find network interfaces: the next number that is free."""
    kind = name.rstrip("0123456789")
    return name if name not in taken else next(f"{kind}{i}" for i in count() if f"{kind}{i}" not in taken)


async def find_timer(io: IoSpace) -> list[Device]:
    """The 8254, and the speaker, which has its third counter."""
    ports, sound = ((0x40, 0x42), (0x43, 0x44)), ((0x42, 0x44), (0x61, 0x62))
    pit = Pit(io)
    pit.start(2, Mode.RATE, 1000)
    if pit.status(2).mode is not Mode.RATE:
        raise DeviceAbsentError("no timer")
    lock = Lock()

    async def make_timer() -> Pit:
        timer = Pit(narrowed(io, ports), counters=2, least=LEAST_PERIOD)
        timer.status(0)
        return timer

    async def make_speaker() -> Speaker:
        speaker = Speaker(narrowed(io, sound))
        speaker.pit.status(2)
        speaker.stop()
        return speaker

    return [
        Device(io, "timer", kinds.TIMER, "8254, counters 0 and 1", make_timer, ports=ports, lines=(0,), lock=lock),
        Device(io, "speaker", kinds.SPEAKER, "PC speaker", make_speaker, ports=sound, lock=lock),
    ]


async def find_clock(io: IoSpace) -> list[Device]:
    """The MC146818."""
    ports = ((0x70, 0x72),)
    Cmos(io).probe()

    async def make() -> Rtc:
        rtc = Rtc(narrowed(io, ports))
        rtc.disable()
        rtc.happened()
        return rtc

    return [Device(io, "clock", kinds.CLOCK, "MC146818", make, ports=ports, lines=(8,))]


async def find_serial(io: IoSpace) -> list[Device]:
    """The UARTs."""

    async def make(base: int, ports: Ranges) -> Uart:
        port = Uart(narrowed(io, ports), base)
        port.detect()
        port.configure(SERIAL_RATE)
        port.use_fifo()
        port.set_lines(dtr=True, rts=True)
        port.interrupt()
        port.enable(Source.RECEIVED | Source.LINE | Source.MODEM)
        return port

    found = []
    for number, (port, line, kind) in enumerate(uart.find(io), 1):
        ports = ((port.base, port.base + 8),)
        about = f"{kind.value} at {port.base:#x}"
        found.append(Device(io, f"com{number}", kinds.SERIAL, about, partial(make, port.base, ports), ports=ports, lines=(line,)))
    return found


async def find_ps2(io: IoSpace) -> list[Device]:
    """Keyboard and mouse, which share their controller."""
    ports = ((0x60, 0x61), (0x64, 0x65))
    controller = I8042(narrowed(io, ports))
    working = await controller.start()
    lock = Lock()

    async def make_keyboard() -> Keyboard:
        keyboard = Keyboard(controller)
        await keyboard.reset()
        await keyboard.use_set(2)
        return keyboard

    async def make_mouse() -> Mouse:
        mouse = Mouse(controller)
        await mouse.start()
        return mouse

    rows = ((Port.KEYBOARD, "keyboard", kinds.KEYBOARD, make_keyboard, 1), (Port.AUX, "mouse", kinds.MOUSE, make_mouse, 12))
    return [
        Device(io, name, kind, f"PS/2 {name}", make, ports=ports, lines=(line,), lock=lock)
        for port, name, kind, make, line in rows
        if port in working
    ]


async def find_vga(io: IoSpace) -> list[Device]:
    """The VGA, in text mode, with an empty screen."""
    ports, memory = ((0x3C0, 0x3D0), (0x3D4, 0x3D6), (0x3DA, 0x3DB)), ((0xA0000, 0xB0000), (0xB8000, 0xC0000))

    async def make() -> Vga:
        vga = Vga(narrowed(io, ports, memory))
        vga.set_text_mode()
        vga.clear()
        return vga

    await make()
    return [Device(io, "vga", kinds.VGA, "VGA, text of 80 by 25", make, ports=ports, memory=memory)]


async def find_ata(io: IoSpace) -> list[Device]:
    """The disks on the two channels."""
    found: list[Device] = []
    for name, base, control, _ in ATA:
        ports = ((base, base + 8), (control, control + 1))
        channel = AtaChannel(narrowed(io, ports), base, control)
        try:
            units = await channel.detect()
        except DeviceError:
            continue
        lock = Lock()

        async def make(channel: AtaChannel, unit: int) -> AtaDisk:
            await channel.detect()
            return await channel.disk(unit)

        for unit, kind in enumerate(units):
            if kind is AtaKind.DISK:
                about = f"ATA disk, unit {unit} at {base:#x}"
                found.append(Device(io, f"{name}.{unit}", kinds.DISK, about, partial(make, channel, unit), ports=ports, lock=lock))
    return found


async def find_ne2000(io: IoSpace) -> list[Device]:
    """NE2000 boards at their usual ports."""

    async def make(base: int, ports: Ranges) -> Ne2000:
        board = Ne2000(narrowed(io, ports), base)
        await board.reset()
        return board

    found: list[Device] = []
    for base, line in NE2000:
        ports = ((base, base + 0x20),)
        try:
            mac = (await make(base, ports)).mac
        except DeviceError:
            continue
        about = f"NE2000 at {base:#x}, {mac.hex(':')}"
        found.append(Device(io, f"eth{len(found)}", kinds.NETWORK, about, partial(make, base, ports), ports=ports, lines=(line,)))
    return found


async def find_floppy(io: IoSpace) -> list[Device]:
    """The first floppy drive. Its data go through memory that firmware leaves alone, below 16 MiB."""
    ports = ((0x3F2, 0x3F6), (0x3F7, 0x3F8), (0x00, 0x10), (0x81, 0x82), (0xC0, 0xE0))  # and of the DMA controllers
    memory = ((BUFFER, BUFFER + CYLINDER_SIZE),)
    space = narrowed(io, (*ports, CMOS), memory)  # the CMOS memory says whether there is a drive

    async def make() -> Floppy:
        floppy = Floppy(space)
        await floppy.start()
        return floppy

    await make()
    return [Device(io, "fd0", kinds.FLOPPY, "1.44 MB floppy at 0x3f0", make, ports=ports, memory=memory)]


FINDERS: Final[tuple[Finder, ...]] = (
    find_timer,
    find_clock,
    find_serial,
    find_ps2,
    find_vga,
    find_ata,
    find_floppy,
    find_ne2000,
    find_virtio,
)
