"""The keyboard controller, on both machines."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from hands import Hands
from machines import Play

from beamlike import receive, run
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, MachineStoppedError, PortBus, Stopped
from drivers.devices.i8042 import I8042, LINES, Config, Port, Status
from drivers.devices.keyboard import Keyboard
from drivers.devices.mouse import Buttons, Kind, Mouse
from drivers.devices.scancodes import Key
from drivers.models.i8042 import I8042Model

MODELS = [I8042Model]
PORTS = range(0x60, 0x65)
DATA, STATUS = 0x60, 0x64


@pytest.mark.parametrize("translate", [True, False])
@pytest.mark.parametrize("interrupts", [True, False])
def test_start_finds_both_ports_and_configures_as_told(play: Play, translate: bool, interrupts: bool) -> None:
    async def check(io: IoSpace) -> None:
        controller = I8042(io)
        assert await controller.start(translate=translate, interrupts=interrupts) == (Port.KEYBOARD, Port.AUX)
        config = await controller.read_config()
        assert bool(config & Config.TRANSLATE) is controller.translates is translate
        assert bool(config & Config.INTERRUPT_1) is bool(config & Config.INTERRUPT_2) is interrupts
        assert not config & (Config.DISABLE_1 | Config.DISABLE_2)
        assert controller.status() & Status.SYSTEM

    play(check, MODELS)


def test_both_interfaces_pass_their_tests(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start()
        for port in Port:
            await controller.test_port(port)

    play(check, MODELS)


def test_what_was_configured_is_read_back(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start()
        for config in (Config.SYSTEM | Config.DISABLE_2, Config.INTERRUPT_2 | Config.DISABLE_1 | Config.TRANSLATE):
            await controller.write_config(config)
            assert await controller.read_config() == config
        await controller.enable(Port.KEYBOARD)
        await controller.disable(Port.AUX)
        assert await controller.read_config() == Config.INTERRUPT_2 | Config.DISABLE_2 | Config.TRANSLATE

    play(check, MODELS)


@pytest.mark.parametrize("port", list(Port))
def test_a_byte_of_a_device_is_an_interrupt_of_its_line(play: Play, port: Port) -> None:
    async def check(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start()
        await controller.command(Port.AUX, 0xF4)
        io.lines.attach(LINES[port])
        if port is Port.KEYBOARD:
            Hands(io).press(Key.A)
        else:
            Hands(io).move(dx=1)
        await io.pause(0.002)
        assert (await receive(Interrupt, timeout=5)).line == LINES[port]
        assert controller.take(port) is not None
        assert controller.take(Port(1 - port)) is None

    play(check, MODELS)


def test_without_interrupts_there_are_bytes_all_the_same(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start(interrupts=False)
        io.lines.attach(1)
        Hands(io).press(Key.A)
        await io.until(lambda: controller.take(Port.KEYBOARD) == Key.A.set_1, 1, "the key")
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0.02)

    play(check, MODELS)


def test_a_port_that_is_off_keeps_what_its_device_says(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start()
        await controller.disable(Port.KEYBOARD)
        Hands(io).press(Key.A)
        await io.pause(0.01)
        assert controller.take(Port.KEYBOARD) is None
        await controller.enable(Port.KEYBOARD)
        assert await io.until(lambda: controller.take(Port.KEYBOARD), 1, "the key") == Key.A.set_1

    play(check, MODELS)


def test_questions_to_the_controller_and_to_a_device_lose_no_key(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller, hands, found = I8042(io), Hands(io), []
        await controller.start()
        for key in (Key.A, Key.B, Key.C):
            hands.press(key)
            await controller.read_config()
            await controller.command(Port.AUX, 0xF2, answers=1)
            assert await controller.command(Port.KEYBOARD, 0xF2, answers=2) == b"\xab\x41"
            found.append(await io.until(lambda: controller.take(Port.KEYBOARD), 1, "the key"))
        assert found == [Key.A.set_1, Key.B.set_1, Key.C.set_1]

    play(check, MODELS)


def test_reading_for_one_device_keeps_the_bytes_of_the_other(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller, hands = I8042(io), Hands(io)
        await controller.start()
        await controller.command(Port.AUX, 0xF4)
        hands.press(Key.A)
        hands.move(dx=3)
        report = []
        for _ in range(100):
            await io.pause(0.001)
            if (byte := controller.take(Port.AUX)) is not None:
                report.append(byte)
        assert report == [0x08, 3, 0]
        assert controller.take(Port.KEYBOARD) == Key.A.set_1

    play(check, MODELS)


def test_what_nobody_reads_is_lost_and_counted(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller, hands = I8042(io), Hands(io)
        await controller.start()
        for _ in range(150):
            hands.strike(Key.A)
            for _ in range(3):
                await io.pause(0.001)
                controller.poll()
        assert controller.lost == 2 * 150 - 256
        assert [controller.take(Port.KEYBOARD) for _ in range(256)] == [Key.A.set_1, Key.A.set_1 | 0x80] * 128

    play(check, MODELS)


def test_a_pulse_resets_the_machine(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start()
        await controller.reset_machine()

        def is_over() -> bool:  # QEMU ends a little later
            try:
                controller.status()
            except MachineStoppedError:
                return True
            return False

        await io.until(is_over, 5, "the end of the machine")
        assert io.stopped == (Stopped.RESET, 0)

    play(check, MODELS)


def test_no_controller(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match=r"no keyboard controller at 0x64: its status reads as 0xff"):
            await I8042(io).start()

    play(check, [], machine="pc,i8042=off")


# What follows is for the port bus only: QEMU's controller has both ports, its devices are always there, and nothing of it fails.


def on_portbus(check: Any, *ports: int) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.models[I8042Model] = I8042Model(bus, *ports)
        await check(bus)

    run(main)


def test_a_controller_with_one_port() -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        assert await controller.start() == (Port.KEYBOARD,)
        assert await controller.read_config() == Config.INTERRUPT_1 | Config.SYSTEM | Config.TRANSLATE | Config.DISABLE_2
        with pytest.raises(DeviceTimeoutError, match="answer to 0xa9"):
            await controller.test_port(Port.AUX)

    on_portbus(check, 1)


def test_a_self_test_that_fails() -> None:
    async def check(io: PortBus) -> None:
        io.fault(Fault.ZEROS, DATA, mask=0x01)
        with pytest.raises(DeviceError, match="self-test answers 0x54: expected 0x55"):
            await I8042(io).start()

    on_portbus(check)


def test_a_port_with_a_stuck_line_is_left_out() -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        io.fault(
            Fault.ONES, DATA, mask=0x03, skip=4, count=1
        )  # the self-test, the configuration twice, and the test of the first port are fine
        assert await controller.start() == (Port.KEYBOARD,)
        io.fault(Fault.ONES, DATA, mask=0x01, count=1)
        with pytest.raises(DeviceError, match="port AUX: the clock line is stuck low"):
            await controller.test_port(Port.AUX)

    on_portbus(check)


def test_a_controller_that_takes_nothing() -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        await controller.start()
        io.fault(Fault.ONES, STATUS, mask=int(Status.INPUT_FULL))
        before = io.now()
        with pytest.raises(DeviceTimeoutError, match=r"input buffer before command 0xad: not within 0\.25 s"):
            await controller.read_config()
        assert io.now() - before < 0.26

    on_portbus(check)


def test_a_controller_that_does_not_answer() -> None:
    async def check(io: PortBus) -> None:
        io.fault(Fault.LOSE, PORTS)
        with pytest.raises(DeviceTimeoutError, match="answer to 0xaa: not within 1 s"):
            await I8042(io).start()

    on_portbus(check)


def test_a_controller_that_goes_away() -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        await controller.start()
        io.fault(Fault.MISSING, PORTS)
        with pytest.raises(DeviceAbsentError):
            await controller.read_config()
        with pytest.raises(DeviceAbsentError):
            controller.poll()

    on_portbus(check)


def test_an_output_buffer_that_does_not_become_empty() -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        io.fault(Fault.ONES, STATUS, mask=int(Status.OUTPUT_FULL))
        with pytest.raises(DeviceError, match="still full after 64 bytes"):
            await controller.start()
        with pytest.raises(DeviceError, match="says 64 bytes, and none is an acknowledgement of 0xf4"):
            await controller._deliver(Port.KEYBOARD, 0xF4)

    on_portbus(check)


@pytest.mark.parametrize("port", list(Port))
def test_a_port_without_a_device(port: Port) -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        io.models[I8042Model].unplug(port)
        assert await controller.start() == (Port.KEYBOARD, Port.AUX)
        with pytest.raises(DeviceAbsentError, match=f"no device on port {port.name}: the controller says .*TIMEOUT"):
            await controller.command(port, 0xF4)
        io.models[I8042Model].attach(port)
        await controller.command(port, 0xF4)

    on_portbus(check)


@pytest.mark.parametrize("port", list(Port))
def test_a_byte_is_sent_again_when_the_device_asks_for_it(port: Port) -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        await controller.start()
        io.fault(Fault.ONES, DATA, mask=0x04, count=2)  # 0xfa becomes 0xfe
        await controller.command(port, 0xF4)
        io.models[I8042Model].attach(port, is_deaf=True)
        with pytest.raises(DeviceError, match=f"port {port.name} wants 0xf4 again after 3 times"):
            await controller.command(port, 0xF4)

    on_portbus(check)


@pytest.mark.parametrize("port", list(Port))
def test_a_device_that_does_not_acknowledge(port: Port) -> None:
    async def check(io: PortBus) -> None:
        controller = I8042(io)
        await controller.start()
        io.fault(Fault.LOSE, DATA)
        with pytest.raises(DeviceTimeoutError, match=rf"acknowledgement of 0xf4 from port {port.name}: not within 0\.25 s"):
            await controller.command(port, 0xF4)

    on_portbus(check)


@pytest.mark.parametrize("seed", range(4))
def test_no_accesses_harm_the_model(seed: int) -> None:
    async def check(io: PortBus) -> None:
        chance, hands = random.Random(seed), Hands(io)
        for _ in range(5000):
            match chance.randrange(6):
                case 0:
                    io.outb(DATA, chance.randrange(256))
                case 1:
                    io.outb(STATUS, chance.randrange(0xD1))  # without those that reset the machine
                case 2:
                    io.outb(STATUS, chance.choice((0xD3, 0xD4)))
                case 3:
                    io.inb(chance.choice((DATA, STATUS)))
                case 4:
                    io.advance(chance.choice((1e-5, 1e-3, 0.1)))
                case _:
                    hands.press(chance.choice(list(Key)))
                    hands.move(chance.randrange(-(2**31), 2**31), chance.randrange(-999, 999), chance.randrange(-99, 99))
        io.advance(1)
        controller = I8042(io)
        assert await controller.start() == (Port.KEYBOARD, Port.AUX)
        await controller.self_test_of(Port.AUX, b"\xaa\x00", 1)

    on_portbus(check)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_ports_say_the_drivers_come_to_an_end(seed: int) -> None:
    # Each access may be wrong, for a while; nothing but errors of devices comes of it, and afterwards all is well.
    async def check(io: PortBus) -> None:
        chance, hands = random.Random(seed), Hands(io)
        for _ in range(8):
            kind = chance.choice((Fault.ONES, Fault.ZEROS, Fault.MISSING, Fault.LOSE))
            io.fault(
                kind, chance.choice((DATA, STATUS)), mask=chance.randrange(256), skip=chance.randrange(200), count=chance.randrange(1, 50)
            )
        controller = I8042(io)
        keyboard, mouse = Keyboard(controller), Mouse(controller)
        for _ in range(4):
            with suppress(DeviceError):
                await controller.start()
                await keyboard.reset()
                await keyboard.use_set(2)
                await mouse.start()
                await mouse.state()
                for _ in range(5):
                    hands.strike(Key.PAUSE, Key.A)
                    hands.move(chance.randrange(-200, 200), wheel=1, buttons=Buttons.LEFT)
                    await keyboard.read(0.1)
                    await mouse.read(0.1)
        io.repair()
        await io.pause(1)  # a self-test may still run
        await controller.start()
        await keyboard.reset()
        assert await mouse.start() is Kind.EXPLORER
        hands.strike(Key.A)
        assert (await keyboard.read(1)).key is Key.A

    on_portbus(check)
