"""The cases of drivers. `BEAMLIKE_PURE=1` runs the uncompiled core."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any

from beamlike import Pid, exit, receive, self_pid, send, sleep, spawn
from beamlike.hot import is_compiled
from benchmarks import bench
from benchmarks.bench import Bench, emit
from benchmarks.ours import as_main
from drivers import DeviceBack, DeviceManager, Interrupt, IoServer, IoSpace, PortBus, Qemu, find_devices, list_devices, open_device
from drivers.devices.ata import AtaChannel
from drivers.devices.pit import Mode, Pit
from drivers.models.ata import AtaModel
from drivers.portbus import OPEN, _in

MEBIBYTE = 1 << 20
SECTORS = MEBIBYTE // 512
TIMER, RATE = 0x40, 1000
PATIENCE = 30.0


def machine() -> PortBus:
    bus = PortBus()
    bus.plug("pit")
    return bus


def run_inb(bench: Bench, inb: Callable[[int], Any], suffix: str) -> None:
    for count in bench:
        with bench:
            for _ in range(count):
                inb(TIMER)
    bench.report(suffix=suffix)


async def inb(bench: Bench) -> None:
    bus = machine()
    run_inb(bench, bus.inb, "")

    async def limited(boss: Pid) -> None:
        run_inb(bench, bus.inb, "_limited")
        send(boss, "done")

    spawn(limited, self_pid(), exclude=[("port_io", 0x1F0, 0x1F8), ("only", ("port_io", 0x40, 0x400))])
    await receive(str)
    bus_, view = bus._bus, OPEN.at
    run_inb(bench, lambda port: _in(bus_, view, port, 1), "_call")
    if shutil.which("qemu-system-x86_64"):
        with closing(await IoServer.start()) as real:
            run_inb(bench, real.inb, "_io_server")
        with closing(await Qemu.start()) as emulated:
            run_inb(bench, emulated.inb, "_qemu")


def disk(bus: PortBus) -> None:
    with tempfile.TemporaryFile() as medium:
        medium.write(bytes(MEBIBYTE))
        medium.flush()
        AtaModel(bus, medium.fileno())


async def manager_of(bus: IoSpace) -> Pid:
    manager = await DeviceManager.start_link(await find_devices(bus), 1000)
    while any(each.state != "ready" for each in await list_devices(manager)):
        await sleep(0)
    return manager


async def ata(bench: Bench) -> None:
    bus = machine()
    disk(bus)
    first = await AtaChannel(bus).disk(0)
    for count in bench:
        with bench:
            for _ in range(count):
                await first.read(0, SECTORS)
    bench.report(operations=MEBIBYTE)
    part = await open_device(await manager_of(bus), "ata0.0", blocks=(0, SECTORS))
    for count in bench:
        with bench:
            for _ in range(count):
                await part.do("read", 0, SECTORS)
    bench.report(operations=MEBIBYTE, suffix="_grant")


async def irq(bench: Bench) -> None:
    """The handler reads the clock when it has the message; the node is awake, as somebody computes."""
    bus = machine()
    taken: list[float] = []
    begun = 0.0

    async def handler(boss: Pid) -> None:
        bus.lines.attach(0)
        send(boss, "ready")
        while True:
            await receive(Interrupt)
            taken.append(time.perf_counter() - begun)

    spawn(handler, self_pid())
    await receive(str)
    Pit(bus).start_periodic(RATE)
    for _ in range(20_000):
        begun = time.perf_counter()
        bus.advance(1 / RATE)
        await sleep(0)
    emit("irq", "seconds", [statistics.median(taken[1000:])])


def out_of_order(numbers: Sequence[int]) -> float:
    """How many are not the one after the one before."""
    return float(sum(later != earlier + 1 for earlier, later in pairwise(numbers)))


async def ticks(bench: Bench) -> None:
    async def count(io: IoSpace) -> float:
        pit = Pit(io)
        io.lines.attach(0)
        pit.start(0, Mode.RATE, 1193)
        numbers = [(await receive(Interrupt, timeout=PATIENCE)).number]
        while numbers[-1] < numbers[0] + bench.size:
            await io.pause(0.5)
            while True:
                try:
                    numbers.append((await receive(Interrupt, timeout=0)).number)
                except TimeoutError:
                    break
        return out_of_order(numbers)

    async def on(io: IoSpace) -> float:
        async def counter(boss: Pid) -> None:
            send(boss, await count(io))

        spawn(counter, self_pid())
        while True:  # on the port bus time passes only if somebody says so
            try:
                return float(await receive(float, timeout=0))
            except TimeoutError:
                await io.pause(0.01)

    emit("ticks", "ratio", [await on(machine())])
    if shutil.which("qemu-system-x86_64"):
        with closing(await Qemu.start()) as emulated:
            emit("ticks_qemu", "ratio", [await on(emulated)])


async def killed(bench: Bench) -> None:
    bus = machine()
    disk(bus)
    part = await open_device(await manager_of(bus), "ata0.0")
    server = part._server
    taken = []
    for _ in range(bench.size):
        begun = time.perf_counter()
        assert server is not None
        exit(server, "kill")
        server = (await receive(DeviceBack, timeout=PATIENCE)).server
        await part.do("read", 0, 8)
        taken.append(time.perf_counter() - begun)
    emit("killed", "seconds", [statistics.median(taken)])
    emit("killed_worst", "seconds", [max(taken)])


if __name__ == "__main__":
    bench.main(
        "compiled core" if is_compiled() else "uncompiled core",
        {name: as_main(case) for name, case in {"inb": inb, "ata": ata, "irq": irq, "ticks": ticks, "killed": killed}.items()},
    )
