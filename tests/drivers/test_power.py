"""The end of a machine, on both."""

from __future__ import annotations

import pytest
from firmware import PM_BASE, set_pm_base
from machines import Play, needs_qemu

from beamlike import run
from drivers import DeviceAbsentError, DeviceTimeoutError, Fault, IoSpace, MachineStoppedError, PortBus, Qemu, Stopped
from drivers.devices.power import PM1A_CONTROL, Power

MODELS = [("acpi_pm", PM_BASE, 24), ("reset",)]


def stopped(io: IoSpace) -> Stopped:
    """Why; and it answers no more."""
    found = io.stopped
    assert found is not None
    assert found[1] == 0
    with pytest.raises(MachineStoppedError):
        io.inb(0x61)
    with pytest.raises(MachineStoppedError):
        io.outb(0x61, 0)
    return found[0]


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_power_off_stops_the_machine(play: Play, machine: str) -> None:
    async def check(io: IoSpace) -> None:
        set_pm_base(io, machine)
        assert io.stopped is None
        await Power(io).power_off()
        assert stopped(io) is Stopped.POWER_OFF

    play(check, MODELS, machine=machine)


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_a_reset_stops_the_machine(play: Play, machine: str) -> None:
    async def check(io: IoSpace) -> None:
        await Power(io).reset()
        assert stopped(io) is Stopped.RESET

    play(check, MODELS, machine=machine)


@needs_qemu
def test_the_keyboard_controller_resets_the_machine() -> None:
    """Only on QEMU: the port bus's keyboard controller has tests of its own."""

    async def check() -> None:
        machine = await Qemu.start()
        await Power(machine).reset_by_keyboard()
        assert stopped(machine) is Stopped.RESET

    run(check)


def test_other_bits_of_the_control_register_stay(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        set_pm_base(io)
        io.outw(PM1A_CONTROL, 0x0002 | 5 << 10)
        assert io.inw(PM1A_CONTROL) & ~1 == 0x0002 | 5 << 10
        await Power(io).power_off()
        assert stopped(io) is Stopped.POWER_OFF

    play(check, MODELS)


def test_sleep_types_that_there_are_not(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        for wrong in (-1, 8):
            with pytest.raises(ValueError, match="expected 0 to 7"):
                Power(io, off=wrong)

    play(check, MODELS)


# --- faults: QEMU's devices have none ---


def test_nothing_to_stop_it_with_is_told() -> None:
    async def check() -> None:
        power = Power(PortBus())
        with pytest.raises(DeviceAbsentError, match="no PM1a control register at port 0x604"):
            await power.power_off()
        with pytest.raises(DeviceAbsentError, match="no reset control register at port 0xcf9"):
            await power.reset()
        with pytest.raises(DeviceAbsentError, match="no keyboard controller at port 0x64"):
            await power.reset_by_keyboard()

    run(check)


def test_a_machine_that_runs_on_is_a_timeout() -> None:
    async def check() -> None:
        bus = PortBus()
        bus.plug("acpi_pm", PM_BASE, 24)
        bus.plug("reset")
        with pytest.raises(DeviceTimeoutError, match="sleep type 5: the machine has not stopped: not within 5 s"):
            await Power(bus, off=5).power_off()
        assert bus.now() == pytest.approx(5, abs=0.01)
        bus.fault(Fault.LOSE, range(PM1A_CONTROL, PM1A_CONTROL + 2))
        bus.fault(Fault.LOSE, 0xCF9)
        with pytest.raises(DeviceTimeoutError, match="power-off with sleep type 0"):
            await Power(bus).power_off()
        with pytest.raises(DeviceTimeoutError, match="reset by port 0xcf9: the machine has not stopped"):
            await Power(bus).reset()
        bus.repair()
        await Power(bus).reset()
        assert stopped(bus) is Stopped.RESET

    run(check)


def test_any_accesses_leave_the_model_whole() -> None:
    """All but those that stop it."""

    async def check() -> None:
        bus = PortBus()
        bus.plug("acpi_pm", 0xFFF4, 32)
        for step in range(3000):
            mixed = step * 2654435761 % 2**32
            width = (1, 2, 4)[mixed % 3]
            port = min(0xFFF0 + (mixed >> 4 & 15), 0x10000 - width)
            assert 0 <= bus.port_in(port, width) < 1 << 8 * width
            bus.port_out(port, width, (mixed >> 8 & 0xDFDFDFDF) % (1 << 8 * width))
        assert bus.stopped is None
        with pytest.raises(ValueError, match="cannot be plugged in"):
            bus.plug("acpi_pm", 0xFFF5, 24)
        with pytest.raises(ValueError, match="cannot be plugged in"):
            bus.plug("acpi_pm", PM_BASE, 16)

    run(check)
