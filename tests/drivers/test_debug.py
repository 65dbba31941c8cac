"""The debug ports, on both machines."""

from __future__ import annotations

import pytest
from machines import Play

from beamlike import run
from drivers import DeviceAbsentError, DeviceTimeoutError, Fault, IoSpace, MachineStoppedError, PortBus, Qemu, Stopped
from drivers.devices.debug import EXIT_PORT, DebugConsole, DebugExit
from drivers.models.debug import ROOM, DebugconModel

CONSOLE = ["-device", "isa-debugcon,iobase=0xe9,chardev=debug"]


def written(io: IoSpace, count: int) -> bytes:
    """What has come out at the host's side, `count` bytes."""
    if isinstance(io, PortBus):
        taken: bytes = io.models[DebugconModel].take()
        return taken
    assert isinstance(io, Qemu)
    channel = io.channels["debug"]
    channel.settimeout(5)
    found = b""
    while len(found) < count:
        found += channel.recv(count - len(found))
    return found


def test_what_is_written_comes_out_in_order(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        console = DebugConsole(io)
        for text in (b"a", bytes(range(256)), b"", b"last\n"):
            console.write(text)
            assert written(io, len(text)) == text
        console.write(b"one, ")
        console.write(b"two")
        assert written(io, 8) == b"one, two"

    play(check, [DebugconModel], qemu=CONSOLE, channels=["debug"])


def test_the_host_gets_the_last_bytes_of_too_many() -> None:
    """Only on the port bus: QEMU waits for who reads."""

    async def check() -> None:
        bus = PortBus()
        model = DebugconModel(bus)
        data = bytes(each % 251 for each in range(ROOM + 1000))
        DebugConsole(bus).write(data)
        assert model.take() == data[1000:]
        assert model.take() == b""

    run(check)


@pytest.mark.parametrize(("port", "size"), [(EXIT_PORT, 2), (0xF4, 4)])
@pytest.mark.parametrize("status", [1, 42, 127])
def test_an_exit_stops_the_machine_with_its_status(play: Play, port: int, size: int, status: int) -> None:
    async def check(io: IoSpace) -> None:
        await DebugExit(io, port).exit(status)
        assert io.stopped == (Stopped.DEBUG_EXIT, status)
        with pytest.raises(MachineStoppedError):
            io.inb(port)
        with pytest.raises(MachineStoppedError):
            await DebugExit(io, port).exit(status)

    play(check, [("debug_exit", port, size)], qemu=["-device", f"isa-debug-exit,iobase={port:#x},iosize={size}"])


def test_statuses_that_there_are_not(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        for wrong in (0, -1, 128):
            with pytest.raises(ValueError, match="expected 1 to 127"):
                await DebugExit(io).exit(wrong)
        assert io.stopped is None

    play(check, [("debug_exit", EXIT_PORT, 2)], qemu=["-device", "isa-debug-exit"])


def test_ports_that_nobody_has_are_told(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="no debug console at port 0xe9: it shows 0xff"):
            DebugConsole(io).write(b"a")
        with pytest.raises(DeviceAbsentError, match="no debug exit at port 0x501: it shows 0xff"):
            await DebugExit(io).exit(1)

    play(check, [])


def test_writes_that_are_lost_are_a_timeout() -> None:
    """Only on the port bus: QEMU's devices have no faults."""

    async def check() -> None:
        bus = PortBus()
        bus.plug("debug_exit", EXIT_PORT, 2)
        bus.fault(Fault.LOSE, EXIT_PORT)
        with pytest.raises(DeviceTimeoutError, match="the machine has not stopped: not within 5 s"):
            await DebugExit(bus).exit(1)

    run(check)


def test_ports_that_there_are_not_cannot_be_plugged_in() -> None:
    async def check() -> None:
        for model, *args in (("debugcon", 0x10000), ("debug_exit", 0xFFFF, 2), ("debug_exit", 0, 0), ("debug_exit", 0, 9)):
            with pytest.raises(ValueError, match="cannot be plugged in"):
                PortBus().plug(str(model), *args)

    run(check)
