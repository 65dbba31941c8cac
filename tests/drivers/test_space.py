"""The I/O space: what it refuses, and what it gives, on both machines."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from machines import Play, everywhere, needs_qemu

import caps
from beamlike import CallError, GenServer, blocking, call, receive, run, self_pid, send, spawn, spawn_monitor, tighten
from drivers import DeviceTimeoutError, Fault, Interrupt, IoServer, IoSpace, MachineStoppedError, PortBus, Qemu, Stopped
from drivers.views import View

LIMIT = 1 << 16
PIT = [("pit",)]

bounds = st.tuples(st.integers(0, LIMIT), st.integers(0, LIMIT)).filter(lambda ends: ends[0] < ends[1])
terms = bounds.map(lambda ends: ("port_io", *ends))
memory_bounds = st.tuples(st.integers(0, 1 << 64), st.integers(0, 1 << 64)).filter(lambda ends: ends[0] < ends[1])
memory_terms = memory_bounds.map(lambda ends: ("raw_memory", *ends))


def stacks(term: Any) -> Any:
    only = st.lists(term, min_size=1, max_size=3).map(lambda inner: ("only", *inner))
    return st.lists(st.lists(st.one_of(term, only), max_size=3), max_size=3)


def layers_of(stack: Any) -> caps.Layers:
    layers: caps.Layers = ()
    for each in stack:
        layers = caps.extend(layers, each)
    return layers


async def as_limited(exclude: Any, check: Any, *args: Any) -> Any:
    """What the check returns in a process with these exclusions; it raises what the check raises."""

    async def limited(boss: Any) -> None:
        try:
            answer: tuple[Any, Exception | None] = (await check(*args), None)
        except Exception as error:  # noqa: BLE001 - raised by who asked
            answer = (None, error)
        outcome.append(answer)
        send(boss, "done")

    outcome: list[Any] = []
    spawn(limited, self_pid(), exclude=exclude)
    await receive(str, timeout=60)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


# --- exclusions ---


@given(stacks(terms), st.integers(-5, LIMIT + 5), st.sampled_from([1, 2, 4]))
def test_c_permits_what_the_layers_permit(stack: Any, port: int, width: int) -> None:
    layers = layers_of(stack)
    view = View(layers)
    if not 0 <= port <= LIMIT - width:
        assert view.may_port(port, width) == -34
    else:
        assert (view.may_port(port, width) == 0) == caps.permits(layers, "port_io", port, width)


@given(stacks(memory_terms), st.integers(0, (1 << 64) - 1), st.integers(1, 1 << 20))
def test_c_permits_the_memory_that_the_layers_permit(stack: Any, address: int, length: int) -> None:
    layers = layers_of(stack)
    view = View(layers)
    interesting = [address] + [each for layer in layers for term in layer.terms for each in edges(term)]
    for at in interesting:
        if at >= 0 and at + length <= 1 << 64:
            assert (view.may_memory(at, length) == 0) == caps.permits(layers, "raw_memory", at, length)


def edges(term: Any) -> list[int]:
    """Addresses next to the ends of a term's ranges."""
    if term[0] == "only":
        return [each for inner in term[1:] for each in edges(inner)]
    return [at for end in term[1:] if isinstance(end, int) for at in (end - 2, end - 1, end)]


@pytest.mark.parametrize(
    "exclude",
    [
        [("port_io", 0x40, 0x44)],
        [("port_io", 0, 1), ("port_io", 0xFFFF, 0x10000)],
        [("port_io", 0x1F3, 0x1F4), ("port_io", 0x1F5, 0x1F6)],
        [("only", ("port_io", 0x60, 0x61), ("port_io", 0x64, 0x65), ("port_io", 0x3F8, 0x400))],
        [("port_io", "all")],
    ],
)
def test_all_ports_with_every_width_are_refused_exactly_where_one_byte_is_excluded(exclude: Any) -> None:
    layers = caps.extend((), exclude)
    one = [caps.permits(layers, "port_io", port, 1) for port in range(LIMIT)]

    view = View(layers)
    for width in (1, 2, 4):
        refused = {port for port in range(LIMIT - width + 1) if view.may_port(port, width)}
        assert refused == {port for port in range(LIMIT - width + 1) if not all(one[port : port + width])}

    async def sweep(bus: PortBus) -> None:
        """The same by accesses: all that are next to an end of a range, or wholly in the first ones."""
        ends = [port for port in range(1, LIMIT) if one[port] != one[port - 1]]
        ports = {port for end in [0, LIMIT, *ends] for port in range(end - 5, end + 5)} | set(range(0x1000))
        for width in (1, 2, 4):
            for port in sorted(ports & set(range(LIMIT - width + 1))):
                if all(one[port : port + width]):
                    bus.port_in(port, width)
                else:
                    with pytest.raises(caps.CapabilityError):
                        bus.port_in(port, width)

    run(lambda: as_limited(exclude, sweep, PortBus()))


@everywhere
def test_a_refused_access_names_the_exclusion_and_does_nothing(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        io.outb(0x43, 0x30)
        io.outb(0x40, 0x34)
        io.outb(0x40, 0x12)

        async def attempts() -> None:
            for attempt in (
                lambda: io.outb(0x40, 0),
                lambda: io.outw(0x3F, 0),
                lambda: io.outl(0x3D, 0),
                lambda: io.outsw(0x3F, b"\0\0"),
                lambda: io.insb(0x40, 2),
                lambda: io.inw(0x3F),
                lambda: io.inl(0x40),
            ):
                with pytest.raises(caps.CapabilityError, match=r"refused by the exclusion \('port_io', 0x40, 0x41\)"):
                    attempt()
            for attempt in (lambda: io.read32(0xB8000), lambda: io.load(0xB7FFF, 2), lambda: io.store(0xB8000, b"x")):
                with pytest.raises(caps.CapabilityError, match=r"refused by the exclusion \('raw_memory', 0xb8000, 0xb8001\)"):
                    attempt()

        before = io.load(0xB7FFF, 2)
        await as_limited([("port_io", 0x40, 0x41), ("raw_memory", 0xB8000, 0xB8001)], attempts)
        io.outb(0x43, 0xC2)  # status and count of counter 0
        assert io.inb(0x40) & 0x0F == 0
        count = io.inb(0x40) | io.inb(0x40) << 8
        assert count == 0x1234 or io.name != "portbus"  # elsewhere it has run on
        assert io.load(0xB7FFF, 2) == before

    play(check, PIT)


@everywhere
def test_what_counts_is_whose_access_it_is_and_when(play: Play) -> None:
    """One space, used by turns by processes with different exclusions, one of which is tightened meanwhile."""

    async def check(io: IoSpace) -> None:
        async def limited(boss: Any) -> None:
            for _ in range(3):
                await receive(str)
                try:
                    io.inb(0x40)
                    send(boss, "read")
                except caps.CapabilityError:
                    send(boss, "refused")

        pid = spawn(limited, self_pid())
        io.inb(0x40)
        send(pid, "go")
        assert await receive(str, timeout=5) == "read"
        await tighten(pid, [("port_io", 0x40, 0x41)])
        io.inb(0x40)
        for _ in range(2):
            send(pid, "go")
            assert await receive(str, timeout=5) == "refused"
            io.inb(0x40)

    play(check, PIT)


class PortServer(GenServer, guarded=True):
    async def init(self, io: IoSpace) -> None:
        self.io = io

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return self.io.port_in(*request)


@everywhere
def test_c8_a_guarded_server_does_not_touch_what_who_asks_may_not(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        server = await PortServer.start_link(io)

        async def ask() -> Any:
            with pytest.raises(CallError) as refused:
                await call(server, (0x3F, 2))
            assert refused.value.reason[0] == "refused"
            return await call(server, (0x42, 1))

        assert await as_limited([("port_io", 0x40, 0x41)], ask) in range(256)
        assert await call(server, (0x3F, 2)) in range(65536)

    play(check, PIT)


def test_a_thread_is_limited_as_its_process() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")

        async def threads() -> None:
            with pytest.raises(caps.CapabilityError):
                await blocking(bus.inb, 0x40)
            assert await blocking(bus.inb, 0x41) in range(256)

        await as_limited([("port_io", 0x40, 0x41)], threads)

    run(main)


def test_threads_with_different_exclusions_at_the_same_time() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        ready = threading.Barrier(2)

        def hammer(port: int) -> int:
            refused = 0
            ready.wait(10)
            for _ in range(20_000):
                try:
                    bus.inb(port)
                except caps.CapabilityError:
                    refused += 1
            return refused

        async def limited(boss: Any, port: int) -> None:
            send(boss, await blocking(hammer, port))

        for excluded in ([("port_io", 0x40, 0x41)], []):
            spawn(limited, self_pid(), 0x40, exclude=excluded)
        assert {await receive(int, timeout=60) for _ in range(2)} == {0, 20_000}

    run(main)


@everywhere
def test_what_is_no_access(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        for port, width in ((-1, 1), (0x10000, 1), (0xFFFF, 2), (0xFFFD, 4), (0, 3), (0, 0), (0, 8)):
            with pytest.raises(ValueError, match="not in the I/O space"):
                io.port_in(port, width)
            with pytest.raises(ValueError, match="not in the I/O space"):
                io.port_out(port, width, 0)
        for value in (-1, 256):
            with pytest.raises(ValueError, match="does not fit 8 bits"):
                io.outb(0x80, value)
        with pytest.raises(ValueError, match="does not fit 32 bits"):
            io.outl(0x80, 1 << 32)
        with pytest.raises(ValueError, match="no whole number"):
            io.outsw(0x80, b"abc")
        with pytest.raises(ValueError, match="no number of accesses"):
            io.insb(0x80, -1)
        for address, width in ((1, 2), (2, 4), (0, 3)):
            with pytest.raises(ValueError, match="are no register"):
                io.memory_in(address, width)
        for address in (-4, 1 << 64):
            with pytest.raises(ValueError, match="are no access"):
                io.read32(address)
        for line in (-1, 24, "4"):
            with pytest.raises(ValueError, match="no interrupt line"):
                io.lines.attach(line)  # type: ignore[arg-type]

    play(check, PIT)


@everywhere
def test_nobody_answers_with_ones_and_memory_keeps_what_is_written(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        assert (io.inb(0x2A0), io.inw(0x2A0), io.inl(0x2A0)) == (0xFF, 0xFFFF, 0xFFFFFFFF)
        assert io.insw(0x2A0, 3) == b"\xff" * 6
        io.store(0x8001, bytes(range(100)))
        assert io.load(0x8001, 100) == bytes(range(100))
        io.write32(0x9000, 0x12345678)
        assert (io.read8(0x9001), io.read16(0x9002), io.read32(0x9000)) == (0x56, 0x1234, 0x12345678)
        assert io.load(0x9000, 0) == b""
        assert io.insb(0x2A0, 0) == b""

    play(check, PIT)


# --- interrupts and time ---


@everywhere
def test_interrupts_come_to_each_who_listens_and_no_more_to_who_has_left_or_ended(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        async def listener(boss: Any) -> None:
            io.lines.attach(0)
            send(boss, "ready")
            send(boss, (await receive(Interrupt, timeout=10)).line)

        def listeners() -> int:
            return len(io.lines._listeners[0])

        _, ref = spawn_monitor(listener, self_pid())
        await receive(str, timeout=10)
        io.lines.attach(0)
        io.lines.attach(0)  # once is enough
        io.outb(0x43, 0x34)
        io.outb(0x40, 0xA9)
        io.outb(0x40, 0x04)
        await io.pause(0.01)
        assert await receive(int, timeout=10) == 0
        await receive(lambda message: getattr(message, "ref", None) == ref, timeout=10)
        assert listeners() == 1
        first, second = await receive(Interrupt, timeout=10), await receive(Interrupt, timeout=10)
        assert second.number == first.number + 1
        io.lines.detach(0)
        await io.pause(0.005)
        while True:
            try:
                await receive(Interrupt, timeout=0)
            except TimeoutError:
                break
        await io.pause(0.005)
        with pytest.raises(TimeoutError):
            await receive(Interrupt, timeout=0)

    play(check, PIT)


def test_a_line_that_is_excluded_is_not_listened_to() -> None:
    async def main() -> None:
        bus = PortBus()

        async def attach() -> None:
            bus.lines.attach(3)
            with pytest.raises(caps.CapabilityError, match="irq 4"):
                bus.lines.attach(4)

        await as_limited([("device", "irq 4")], attach)

    run(main)


@everywhere
def test_until_gives_up_at_its_deadline_of_the_machines_clock(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        before = io.now()
        with pytest.raises(DeviceTimeoutError, match=r"the disk: not within 0\.05 s"):
            await io.until(lambda: io.inb(0x2A0) == 0, 0.05, "the disk")
        assert io.now() - before == pytest.approx(0.05, abs=0.002 if io.name == "portbus" else 1.0)
        assert await io.until(lambda: io.inb(0x2A0), 0.0, "nothing") == 0xFF

    play(check, PIT)


def test_the_clock_of_the_port_bus_moves_only_when_it_is_told() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        bus.outb(0x43, 0x34)
        bus.outb(0x40, 0)
        bus.outb(0x40, 0)
        assert {bus.insb(0x40, 2) for _ in range(1000)} == {b"\0\0"}
        bus.advance(1.5)
        assert bus.now() == 1.5

    run(main)


def test_each_of_many_interrupts_arrives_in_order_however_far_the_clock_goes_at_once() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        bus.outb(0x43, 0x34)
        bus.outb(0x40, 0xA9)
        bus.outb(0x40, 0x04)
        bus.lines.attach(0)
        bus.advance(10)
        numbers = [(await receive(Interrupt, timeout=0)).number for _ in range(9990)]
        assert numbers == list(range(numbers[0], numbers[0] + 9990))

    run(main)


def test_a_block_may_cause_more_interrupts_than_the_bus_has_room_for() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        bus.lines.attach(0)
        bus.outsb(0x43, bytes([0x30, 0x36]) * 5000)  # low, and high
        numbers = [(await receive(Interrupt, timeout=0)).number for _ in range(5000)]
        assert numbers == list(range(1, 5001))

    run(main)


# --- faults ---


def test_faults_of_the_port_bus_begin_and_end_when_they_should() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        bus.outb(0x43, 0x30)
        bus.outb(0x40, 0x00)
        bus.outb(0x40, 0x55)
        bus.insb(0x40, 2)

        def high() -> int:
            return bus.insb(0x40, 2)[1]

        bus.fault(Fault.ONES, 0x40, mask=0x0F, skip=2, count=2)
        assert [high(), high(), high()] == [0x55, 0x5F, 0x55]
        bus.repair()
        bus.fault(Fault.ZEROS, range(0x40, 0x44), mask=0xF0)
        assert high() == 0x05
        bus.repair()
        bus.fault(Fault.MISSING, range(0x40, 0x44))
        assert high() == 0xFF
        bus.outb(0x43, 0x34)  # is lost
        bus.repair()
        assert high() == 0x55
        bus.fault(Fault.LOSE, 0x43, count=1)
        bus.outb(0x43, 0x34)
        assert high() == 0x55
        bus.fault(Fault.DEAF, 0, count=1)
        bus.lines.attach(0)
        bus.outb(0x43, 0x34)
        bus.outb(0x40, 0xA9)
        bus.outb(0x40, 0x04)
        bus.advance(0.0025)
        assert len([await receive(Interrupt, timeout=0) for _ in range(2)]) == 2
        for wrong in ([], [1, 3]):
            with pytest.raises(ValueError, match="a range of them"):
                bus.fault(Fault.ONES, wrong)

    run(main)


def test_a_model_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"no model 'warp': expected one of .*pit"):
        PortBus().plug("warp")


# --- QEMU ---


@needs_qemu
def test_qemu_that_does_not_start_says_why() -> None:
    async def main() -> None:
        with pytest.raises(MachineStoppedError, match="no-such-device"):
            await Qemu.start("-device", "no-such-device")

    run(main)


@needs_qemu
def test_qemu_ends_with_the_process_that_started_it_and_when_it_is_killed_who_asks_is_told() -> None:
    async def main() -> None:
        machines: list[Qemu] = []

        async def starter() -> None:
            machines.append(await Qemu.start())

        spawn_monitor(starter)
        await receive(timeout=20)
        (machine,) = machines
        assert machine.stopped == (Stopped.CLOSED, 0)
        with pytest.raises(MachineStoppedError):
            machine.inb(0x40)

        machine = await Qemu.start()
        machine._process.kill()
        machine._process.wait()
        with pytest.raises(MachineStoppedError):
            machine.inb(0x40)
        assert machine.stopped == (Stopped.FAILED, -9)
        for attempt in (lambda: machine.outb(0x80, 1), lambda: machine.load(0, 4), lambda: machine.qmp("query-status")):
            with pytest.raises(MachineStoppedError):
                attempt()
        machine.close()
        machine.close()

    run(main)


@needs_qemu
def test_to_start_qemu_can_be_excluded() -> None:
    async def main() -> None:
        with pytest.raises(caps.CapabilityError):
            await as_limited([("device", "qemu")], Qemu.start)

    run(main)


# --- what would go wrong in the corners ---


def test_numbers_that_c_does_not_have() -> None:
    bus = PortBus()
    for attempt in (
        lambda: bus.inb(1 << 63),
        lambda: bus.outb(1 << 63, 1),
        lambda: bus.inb((1 << 63) - 1),
        lambda: bus.outl((1 << 63) - 4, 1),
        lambda: bus.may_port((1 << 63) - 1, 1),
        lambda: bus.inw(1 << 70),
        lambda: bus.port_in(0x40, -1),
        lambda: bus.may_port(1 << 70, 1),
        lambda: bus.insb(-1, 1),
    ):
        with pytest.raises(ValueError, match="not in the I/O space"):
            attempt()
    for attempt in (lambda: bus.outb(0x80, 1 << 64), lambda: bus.outl(0x80, -(1 << 70))):
        with pytest.raises(ValueError, match="does not fit"):
            attempt()
    for attempt in (lambda: bus.load(0, 1 << 63), lambda: bus.block_in(1 << 15, 4, 1 << 33)):
        with pytest.raises(ValueError, match="no number of accesses"):
            attempt()
    with pytest.raises(ValueError, match="'x' are no register"):
        bus.read8("x")  # type: ignore[arg-type]
    bus.store(0, memoryview(bytes(range(8))).cast("I"))  # type: ignore[arg-type]
    assert bus.load(0, 8) == bytes(range(8))


def test_times_that_are_none() -> None:
    async def main() -> None:
        bus = PortBus()
        for wrong in (float("nan"), float("inf"), -1):
            with pytest.raises(ValueError, match="is no time to pass"):
                await bus.pause(wrong)
            with pytest.raises(ValueError, match="is no time to pass"):
                bus.advance(wrong)
        for wrong in (float("nan"), -1):
            with pytest.raises(ValueError, match="expected a number of seconds"):
                await bus.until(lambda: False, wrong, "nothing")

    run(main)


def test_to_pause_gives_the_others_a_turn_however_short_it_is() -> None:
    async def main() -> None:
        bus = PortBus()
        turns = []

        async def other() -> None:
            while True:
                turns.append(1)
                await bus.pause(0)

        spawn(other)
        for _ in range(10):
            await bus.pause(0)
        assert len(turns) >= 9
        assert bus.now() == 0

    run(main)


def test_who_is_tightened_gets_no_more_interrupts() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")

        async def listener(boss: Any) -> None:
            bus.lines.attach(0)
            send(boss, "ready")
            await receive(Interrupt)
            send(boss, "one")
            await receive(Interrupt)
            send(boss, "two")

        pid = spawn(listener, self_pid())
        await receive(str)
        bus.outb(0x43, 0x34)  # its output goes up
        assert await receive(str, timeout=5) == "one"
        await tighten(pid, [("device", "irq 0")])
        bus.outb(0x40, 0xA9)
        bus.outb(0x40, 0x04)
        await bus.pause(0.01)
        with pytest.raises(TimeoutError):
            await receive(str, timeout=0)
        assert bus.lines._listeners[0] == []

    run(main)


def test_each_interrupt_of_an_access_in_a_thread_arrives_once_in_order_and_wakes() -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        bus.lines.attach(0)

        def hammer() -> None:
            for _ in range(400):
                bus.outb(0x43, 0x30)  # low
                bus.outb(0x43, 0x34)  # and high

        async def thread() -> None:
            await blocking(hammer)

        for _ in range(4):
            spawn(thread)
        numbers = [(await receive(Interrupt, timeout=10)).number for _ in range(400)]  # more if no two threads did it at once
        while True:
            try:
                numbers.append((await receive(Interrupt, timeout=0.3)).number)
            except TimeoutError:
                break
        assert numbers == list(range(1, len(numbers) + 1))

    run(main)


@needs_qemu
def test_more_accesses_at_once_than_the_sockets_have_room_for() -> None:
    async def main() -> None:
        machine = await Qemu.start()
        assert machine.insb(0x2A0, 100_000) == b"\xff" * 100_000
        machine.outsb(0x80, bytes(100_000))
        machine.close()

    run(main)


@needs_qemu
def test_a_start_that_fails_leaves_nothing() -> None:
    async def main() -> None:
        def open_files() -> int:
            return len(os.listdir("/proc/self/fd"))

        (await IoServer.start()).close()
        before = open_files()
        for _ in range(3):
            with pytest.raises((OSError, MachineStoppedError)):
                await IoServer.start(descriptors=[999])
            for kind in (Qemu, IoServer):
                with pytest.raises(ValueError, match="expected MiB"):
                    await kind.start(memory=-1)
        assert open_files() <= before

    run(main)
    with pytest.raises(RuntimeError):
        trio.run(Qemu.start)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not any("qemu" in Path(f"/proc/{pid}/comm").read_text() for pid in children)
