"""Devices in Python, and the worked example of drivers/README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from machines import Play, needs_qemu

from beamlike import receive, run
from drivers import DeviceAbsentError, DeviceData, DeviceManager, Interrupt, IoSpace, PortBus, open_device
from drivers.models.custom import CustomModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "drivers" / "test_device.py"
sys.path.append(str(EXAMPLE.parent))
from test_device import LINE, STORAGE, TestDevice, TestDeviceModel, as_device  # noqa: E402

for each in (TestDevice, TestDeviceModel):
    setattr(each, "__test__", False)  # noqa: B010 - pytest would collect them; mypy knows no such attribute
QEMU = ["-device", "pc-testdev"]


def test_it_keeps_what_it_is_given(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        device = TestDevice(io)
        device.probe()
        device.store(0x12345678)
        assert device.load() == 0x12345678
        io.outb(STORAGE + 1, 0xFF)
        assert (device.load(), io.inw(STORAGE + 2)) == (0x1234FF78, 0x1234)

    play(check, [TestDeviceModel], qemu=QEMU)


def test_it_interrupts_until_it_is_acknowledged(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        device = TestDevice(io)
        io.lines.attach(LINE)
        for number in range(1, 4):
            device.interrupt()
            await io.pause(0.001)
            assert (await receive(Interrupt, timeout=5)).number == number
            device.interrupt()
            device.acknowledge()

    play(check, [TestDeviceModel], qemu=QEMU)


def test_where_there_is_none(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="no test device at 0xe0: it shows 0xffffffff for 0x12345678"):
            TestDevice(io).probe()

    play(check, [])


def test_an_owner_is_told(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await DeviceManager.start_link([as_device(io)])
        handle = await open_device(manager, "test")
        for _ in range(3):
            await handle.do("interrupt")
            await io.pause(0.001)
            assert await receive(DeviceData, timeout=5) == DeviceData("test", "rang")

    play(check, [TestDeviceModel], qemu=QEMU)


@pytest.mark.parametrize("option", [[], pytest.param(["--qemu"], marks=needs_qemu)])
def test_the_example_as_a_program(option: list[str]) -> None:
    ended = subprocess.run([sys.executable, EXAMPLE, *option], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "it keeps 42\nit rang\n", ended.stderr


class Clockwork(CustomModel):
    """Interrupts so often."""

    def __init__(self, bus: PortBus) -> None:
        super().__init__(bus, range(0x300, 0x302))
        self.runs = 0
        self.after(0.001)

    def read(self, port: int, width: int) -> int:
        return -1 if port == 0x300 else self.runs

    def run(self) -> None:
        self.runs += 1
        self.set_line(3, self.runs % 2 == 1)
        self.after(None if self.runs == 10 else 0.001)


def test_a_model_does_something_by_itself() -> None:
    async def main() -> None:
        bus = PortBus()
        model = Clockwork(bus)
        bus.lines.attach(3)
        bus.advance(1)
        assert model.runs == 10
        assert [(await receive(Interrupt, timeout=0)).at for _ in range(5)] == pytest.approx([0.001, 0.003, 0.005, 0.007, 0.009])
        assert (bus.inb(0x300), bus.inb(0x301), bus.inw(0x300)) == (0xFF, 10, 0xFFFF)
        del model
        assert bus.inb(0x301) == 10  # the bus has it

    run(main)


def test_a_model_without_ports() -> None:
    with pytest.raises(ValueError, match="cannot be plugged in"):
        CustomModel(PortBus(), range(0x10000, 0x10001))
    for wrong in (range(5, 5), range(0x700, 0x720, 8)):
        with pytest.raises(ValueError, match="are no ports of a device"):
            CustomModel(PortBus(), wrong)


def test_two_devices_at_one_port() -> None:
    bus = PortBus()
    bus.plug("pit")
    bus.outb(0x61, 3)
    with pytest.raises(ValueError, match="pit cannot be plugged in: another device has port 0x"):
        bus.plug("pit")
    first = CustomModel(bus, range(0x300, 0x310))
    first.read = lambda port, width: 0x5A  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="custom cannot be plugged in: another device has port 0x30"):
        CustomModel(bus, range(0x2F8, 0x308))
    assert (bus.inb(0x61) & 3, bus.inb(0x307), bus.inb(0x2F8)) == (3, 0x5A, 0xFF)
    CustomModel(bus, range(0x2F8, 0x300))


def test_arguments_of_a_model_that_are_wrong() -> None:
    with pytest.raises(TypeError, match="rtc is plugged in with the arguments of bl_plug_rtc in drivers/models: "):
        PortBus().plug("rtc")


@pytest.mark.parametrize("line", [99, 24, -1, "5", None])
def test_a_line_that_there_is_not(line: Any) -> None:
    with pytest.raises(ValueError, match="is no interrupt line: expected 0 to 23"):
        CustomModel(PortBus(), range(0x300, 0x301)).set_line(line, True)


class Relay(CustomModel):
    """Uses the bus that it is on, and is run for ever."""

    def __init__(self, bus: PortBus) -> None:
        super().__init__(bus, range(0x300, 0x302))
        self.after(0)
        self.runs = 0

    def read(self, port: int, width: int) -> int:
        return self.bus.inb(0x301) if port == 0x300 else 7

    def run(self) -> None:
        self.runs += 1
        if self.runs < 1000:
            self.after(0)


def test_a_model_may_use_its_bus_and_is_not_run_for_ever_at_one_time() -> None:
    bus = PortBus()
    model = Relay(bus)
    assert bus.inb(0x300) == 7
    bus.advance(1e-6)
    assert model.runs == 1000
    assert bus.now() == 1e-6
    model.after(1e300)
    bus.advance(1e9)
    assert model.runs == 1000
