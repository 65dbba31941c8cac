"""Devices as processes: servers, owners, grants. With the timer, whose commands are done at once and which interrupts."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from machines import Play, on
from test_space import as_limited

import caps
from beamlike import (
    Down,
    Pid,
    call,
    exit,
    make_ref,
    monitor,
    process_flag,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_monitor,
    tighten,
)
from drivers import DeviceAbsentError, DeviceError, Fault, Interrupt, IoSpace, MachineStoppedError, PortBus, Qemu, find_devices
from drivers.devices.pit import Mode, Pit
from drivers.models.custom import CustomModel
from drivers.narrowed import Narrowed
from drivers.servers import kinds
from drivers.servers.device import Device, DeviceBack, DeviceData, DeviceLost, Kind
from drivers.servers.finding import find_clock, find_timer
from drivers.servers.grants import DeviceBusyError, DeviceLostError, GrantAsked, GrantRevokedError, GrantTaken, Want
from drivers.servers.kinds import TIMER
from drivers.servers.manager import Close, DeviceManager, Open, Revoke, Where
from drivers.servers.opening import list_devices, open_device, revoke_device
from drivers.servers.server import Command, Failed

PIT = [("pit",)]
ODD = [("port_io", 0x41, 0x42), ("device", "irq 0"), ("device", "timer"), ("only", ("port_io", 0x43, 0x44))]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


def timer(io: IoSpace, name: str = "timer", kind: Kind = TIMER, make: Any = None) -> Device:
    narrowed = Narrowed(io, ((0x40, 0x44),), ())

    async def make_pit() -> Pit:
        pit = Pit(narrowed)
        pit.start(0, Mode.TERMINAL_COUNT, 65536)
        return pit

    return Device(narrowed, name, kind, "8254", make or make_pit, ports=((0x40, 0x44),), lines=(0,))


async def start(*devices: Device, **options: Any) -> Pid:
    manager = await DeviceManager.start_link(list(devices), *options.values())
    for each in devices:
        await ready(manager, each.name)
    return manager


async def ready(manager: Pid, name: str) -> Pid:
    """Its server, when it is up."""
    handle = await open_device(manager, name)
    server = handle._server
    await handle.close()
    assert server is not None
    return server


def test_an_owner_has_commands_and_what_the_device_tells(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        async with await open_device(manager, "timer") as handle:
            await handle.do("start", 2, Mode.SQUARE_WAVE, 5000)
            assert (await handle.do("status", 2)).mode is Mode.SQUARE_WAVE
            await handle.do("start", 0, Mode.TERMINAL_COUNT, 1000)
            await io.pause(0.002)
            assert await receive(DeviceData, timeout=5) == DeviceData("timer", "tick")
            with pytest.raises(ValueError, match=r"no command 'inb': expected one of read, start, start_periodic, status"):
                await handle.do("inb", 0x40)
        with pytest.raises(GrantRevokedError):
            await handle.do("read", 0)
        await handle.close()  # once more: nothing

    play(check, PIT)


def test_a_device_has_one_owner_and_the_next_one_when_that_has_ended(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))

        async def owner(boss: Pid) -> None:
            await open_device(manager, "timer")
            send(boss, "mine")
            await receive(str)

        pid, ref = spawn_monitor(owner, self_pid())
        await receive(str, timeout=5)
        with pytest.raises(DeviceBusyError, match=r"timer: all of it cannot be had: .* has all of it already"):
            await open_device(manager, "timer")
        (info,) = await list_devices(manager)
        assert info.owners == (pid,)
        exit(pid, "kill")
        await receive(lambda message: getattr(message, "ref", None) == ref, timeout=5)
        handle = await open_device(manager, "timer")
        assert 0 <= await handle.do("read", 0) < 65536

        async def other(boss: Pid) -> None:
            with pytest.raises(GrantRevokedError, match="was opened by"):
                await handle.do("read", 0)
            send(boss, "refused")

        spawn(other, self_pid())
        await receive(str, timeout=5)

    play(check, PIT)


def test_a_driver_that_crashes_is_restarted_and_its_owner_is_told(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io), timer(io, "other"), most=1000)
        server = await ready(manager, "timer")
        handle = await open_device(manager, "timer")
        for _ in range(20):
            exit(server, "kill")
            assert await receive(DeviceLost, timeout=5) == DeviceLost("timer", "killed")
            with pytest.raises(DeviceLostError, match=r"the driver of timer is down \(killed\); DeviceBack tells"):
                await handle.do("read", 0)
            back = await receive(DeviceBack, timeout=5)
            assert back.device == "timer"
            assert back.server != server
            server = back.server
            assert (await handle.do("status", 0)).mode is Mode.TERMINAL_COUNT
        states = {each.name: each.state for each in await list_devices(manager)}
        assert states == {"timer": "ready", "other": "ready"}

    play(check, PIT)


def test_a_driver_that_cannot_come_up_is_held_and_the_others_do_not_notice(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        tries = []

        async def fail() -> None:
            tries.append(1)
            raise DeviceError("it does not answer")

        broken = timer(io, "broken", make=fail)
        manager = await DeviceManager.start_link([broken, timer(io)], 3)
        watched = monitor(manager)
        await ready(manager, "timer")
        with pytest.raises(DeviceLostError, match=r"the driver of broken is down \(.*DeviceError: it does not answer"):
            await open_device(manager, "broken", timeout=0.1)
        while len(tries) < 4:
            await io.pause(0.001)
        good = await open_device(manager, "timer")
        assert 0 <= await good.do("read", 0) < 65536
        assert {each.name: each.state for each in await list_devices(manager)} == {"broken": "down", "timer": "ready"}
        with pytest.raises(TimeoutError):
            await receive(lambda message: getattr(message, "ref", None) == watched, timeout=0)

    play(check, PIT)


@pytest.mark.parametrize("exclusion", ODD, ids=repr)
def test_who_may_not_have_all_that_a_device_takes_up_does_not_get_it(play: Play, exclusion: Any) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))

        async def limited() -> None:
            with pytest.raises(PermissionError, match="refused by"):
                await open_device(manager, "timer")

        await as_limited([exclusion], limited)
        (info,) = await list_devices(manager)
        assert info.owners == ()
        await as_limited([("port_io", 0x44, 0x50)], open_device, manager, "timer")

    play(check, PIT)


def test_c1_an_owner_that_is_tightened_loses_what_it_may_not_have_any_more(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))

        async def owner(boss: Pid) -> None:
            handle = await open_device(manager, "timer")
            for _ in range(3):
                await receive(str)
                try:
                    send(boss, await handle.do("read", 0))
                except caps.CapabilityError:
                    send(boss, "refused")

        pid = spawn(owner, self_pid())
        send(pid, "go")
        assert type(await receive(timeout=5)) is int
        await tighten(pid, [("port_io", 0x60, 0x61)])
        send(pid, "go")
        assert type(await receive(timeout=5)) is int
        await tighten(pid, [("port_io", 0x43, 0x44)])
        send(pid, "go")
        assert await receive(timeout=5) == "refused"

    play(check, PIT)


def test_a_grant_is_asked_for_first_and_taken_after_the_deadline(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        handle = await open_device(manager, "timer")
        assert await revoke_device(manager, "timer", 0.05) == 1
        asked = await receive(timeout=5)
        assert asked == GrantAsked("timer", handle.number, 0.05)
        await handle.do("read", 0)  # it is good until then
        taken = await receive(timeout=5)
        assert taken == GrantTaken("timer", handle.number, "it was not given back in time")
        with pytest.raises(GrantRevokedError, match="has ended: it was not given back in time"):
            await handle.do("read", 0)
        handle = await open_device(manager, "timer")
        await revoke_device(manager, "timer", 0.05)
        assert type(await receive(timeout=5)) is GrantAsked
        await handle.close()
        with pytest.raises(TimeoutError):
            await receive(timeout=0)  # who gives it back knows
        assert await revoke_device(manager, "timer") == 0

        async def limited() -> None:
            with pytest.raises(PermissionError, match="refused by"):
                await revoke_device(manager, "timer")

        await as_limited([("device", "timer")], limited)

    play(check, PIT)


def test_what_cannot_be_opened(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        with pytest.raises(DeviceAbsentError, match="no device 'disk': expected one of timer"):
            await open_device(manager, "disk")
        with pytest.raises(ValueError, match="is a timer, and has no blocks"):
            await open_device(manager, "timer", blocks=(0, 1))
        with pytest.raises(ValueError, match="is a timer, and has no frames"):
            await open_device(manager, "timer", address=bytes(6))
        with pytest.raises(ValueError, match="expected a number > 0"):
            await open_device(manager, "timer", rate=0)
        (info,) = await list_devices(manager)
        assert info.owners == ()
        process_flag("trap_exit", True)
        with pytest.raises(ValueError, match="two devices have one name"):
            await DeviceManager.start_link([timer(io), timer(io)])

    play(check, PIT)


def test_a_manager_that_is_started_again_takes_what_was_given(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        process_flag("trap_exit", True)
        devices = [timer(io)]
        manager = await start(*devices)
        handle = await open_device(manager, "timer")
        exit(manager, "kill")
        assert type(await receive(DeviceLost, timeout=5)) is DeviceLost
        manager = await DeviceManager.start_link(devices)
        assert (await receive(GrantTaken, timeout=5)).reason == "the device manager was started again"
        with pytest.raises(GrantRevokedError):
            await handle.do("read", 0)
        await ready(manager, "timer")

    play(check, PIT)


def test_a_driver_reaches_nothing_but_its_device(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        device = timer(io)
        assert device.io.inb(0x40) in range(256)
        for port, width in ((0x3F, 1), (0x3F, 2), (0x43, 2), (0x44, 1)):
            with pytest.raises(caps.CapabilityError):
                device.io.port_in(port, width)
        with pytest.raises(caps.CapabilityError):
            device.io.load(0, 1)

    play(check, PIT)


def test_nobody_takes_a_grant_by_a_message_that_says_its_owner_has_ended(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        handle = await open_device(manager, "timer")
        send(manager, Down(make_ref(), self_pid(), "x"))
        await list_devices(manager)  # it has read that
        assert 0 <= await handle.do("read", 0) <= 65536

    play(check, PIT)


OPEN: Any = Open  # records arrive without being checked, and so they are made here
WANT: Any = Want
CLOSE: Any = Close
WHERE: Any = Where
REVOKE: Any = Revoke
COMMAND: Any = Command
NONSENSE: list[Any] = [
    *(OPEN(["x"], WANT()), OPEN("timer", None), OPEN("timer", WANT(rate="fast")), OPEN("timer", WANT(blocks=5))),
    *(OPEN("timer", WANT(address=5)), OPEN("timer", WANT(address=bytes(6), udp_port="x")), OPEN("timer", WANT(rate=float("nan")))),
    *(CLOSE([]), CLOSE("x"), CLOSE(None), WHERE([]), REVOKE("timer", None), REVOKE("timer", float("nan")), REVOKE("timer", 10**400)),
    *(REVOKE("timer", -1), REVOKE(["x"], 1.0), "hello", 5, ("a", "b")),
]


@pytest.mark.parametrize("request_", NONSENSE, ids=lambda each: repr(each)[:40])
def test_nonsense_is_answered_and_harms_nobody(request_: Any) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        handle = await open_device(manager, "timer")
        answer = await call(manager, request_)
        assert type(answer) is Failed, answer
        assert 0 <= await handle.do("read", 0) <= 65536
        begun = io.now()
        await io.pause(0.001)  # timers go on
        assert io.now() > begun

    on_portbus_only(check)


def on_portbus_only(check: Any) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.plug("pit")
        await check(bus)

    run(main)


@pytest.mark.parametrize(
    "command",
    [
        *(
            COMMAND([], "read", (0,), {}),
            COMMAND(None, "read", (0,), {}),
            COMMAND(1, "read", (0,), {}),
            COMMAND(1, "read", (0,), ()),
            "hello",
        ),
        *(COMMAND(0, "read", ("x",), {}), COMMAND(0, ["read"], (0,), {}), COMMAND(0, "read", (1, 2, 3, 4), {}), COMMAND(0, "read", 5, {})),
        COMMAND(0, "read", (0,), "x"),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_a_command_that_makes_no_sense_does_not_end_the_server(command: Any) -> None:
    """A grant of 0 stands for the asker's own."""

    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        handle = await open_device(manager, "timer")
        assert handle._server is not None
        if type(command) is Command and command.grant == 0:
            request: Any = Command(handle.number, command.name, command.args, command.options)
        else:
            request = command
        for _ in range(20):
            assert type(await call(handle._server, request)) is Failed
        assert 0 <= await handle.do("read", 0) <= 65536
        with pytest.raises(TimeoutError):
            await receive(DeviceLost, timeout=0)

    on_portbus_only(check)


def test_an_interrupt_of_another_line_is_not_the_devices(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        handle = await open_device(manager, "timer")
        send(handle._server, Interrupt(7, 1, 0.0))
        assert handle._server is not None
        await call(handle._server, "hello")  # it has read that
        with pytest.raises(TimeoutError):
            await receive(DeviceData, timeout=0)

    play(check, PIT)


def test_to_close_when_the_manager_has_ended_is_nothing(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        process_flag("trap_exit", True)
        manager = await start(timer(io))
        async with await open_device(manager, "timer"):
            exit(manager, "kill")
            await receive(timeout=5)

    play(check, PIT)


def test_who_may_not_have_a_device_is_told_so_also_by_its_server(play: Play) -> None:
    async def owner(boss: Pid, manager: Pid) -> None:
        handle = await open_device(manager, "timer")
        handle._grant = None  # as from another node
        send(boss, "ready")
        await receive(str)
        try:
            await handle.do("read", 0)
        except PermissionError as error:
            send(boss, str(error))

    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        pid = spawn(owner, self_pid(), manager)
        await receive(str, timeout=5)
        await tighten(pid, [("port_io", 0x43, 0x44)])
        send(pid, "go")
        assert "excl" in await receive(str, timeout=5)

    play(check, PIT)


def test_finding_accesses_nothing_that_is_excluded() -> None:
    """Whoever looks, and whatever finder it is: one that narrows first must not do what its caller may not."""

    class Everything(CustomModel):
        def __init__(self, bus: PortBus) -> None:
            super().__init__(bus, range(0x10000))
            self.seen: set[int] = set()

        def read(self, port: int, width: int) -> int:
            self.seen |= {*range(port, port + width)}
            return 0xFFFFFFFF

        def write(self, port: int, width: int, value: int) -> None:
            self.seen |= {*range(port, port + width)}

    async def main() -> None:
        bus = PortBus()
        model = Everything(bus)
        assert await as_limited([("port_io", "all")], find_devices, bus) == []
        assert model.seen == set()
        await as_limited([("port_io", 0x1F0, 0x1F1), ("port_io", 0x64, 0x65), ("port_io", 0x310, 0x320)], find_devices, bus)
        assert model.seen & {0x1F0, 0x64, *range(0x310, 0x320)} == set()
        await find_devices(bus)
        assert {0x43, 0x64, 0x3F6, 0x300, 0xCF8} <= model.seen

    run(main)


def test_a_kind_whose_interrupts_cannot_be_handled() -> None:
    wrong: Any = lambda driver: []  # noqa: E731
    with pytest.raises(ValueError, match=r"Kind 'wrong': interrupted is .*, expected an async function"):
        Kind("wrong", frozenset(), wrong)


def test_a_driver_that_has_not_all_commands_does_not_come_up() -> None:
    async def check(io: IoSpace) -> None:
        manager = await DeviceManager.start_link([timer(io, kind=Kind("timer", frozenset({"read", "dance"})))])
        with pytest.raises(DeviceLostError, match="the driver Pit has no dance, which are commands of the kind 'timer'"):
            await open_device(manager, "timer", timeout=0.1)

    on_portbus_only(check)


def test_an_interrupt_that_is_handled_to_no_list_crashes_the_driver_and_says_why() -> None:
    async def tick(pit: Pit) -> Any:
        return "tick"

    async def check(io: IoSpace) -> None:
        manager = await start(timer(io, kind=Kind("timer", frozenset({"start_periodic"}), tick)))
        async with await open_device(manager, "timer") as handle:
            await handle.do("start_periodic", 1000)
            await io.pause(0.001)
            assert "returned 'tick', expected a list" in str((await receive(DeviceLost, timeout=5)).reason)
            await receive(DeviceBack, timeout=5)
            (info,) = await list_devices(manager)
            assert (info.state, info.commands) == ("ready", ("start_periodic",))
            assert "expected a list" in info.why

    on_portbus_only(check)


def test_a_device_has_one_manager() -> None:
    """Another one could use it at the same time, and would not know who owns it."""

    async def check(io: IoSpace) -> None:
        process_flag("trap_exit", True)
        devices = await find_devices(io)
        manager = await DeviceManager.start_link(devices)
        handle = await open_device(manager, "timer")
        for again in (devices, await find_devices(io), [timer(io, "mine")]):
            with pytest.raises(ValueError, match=rf"another device manager, {manager}, has what these take up: (timer|mine)"):
                await DeviceManager.start_link(again)
        assert handle.is_good
        other = PortBus()
        other.plug("pit")
        await start(*await find_devices(other))
        exit(manager, "kill")
        await receive(lambda message: getattr(message, "sender", None) == manager, timeout=5)
        await start(*devices)

    on_portbus_only(check)


def test_a_device_whose_machine_has_stopped_says_so(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        assert [each.state for each in await list_devices(manager)] == ["ready"]
        io.outb(0xCF9, 6) if io.name == "portbus" else io.close()  # type: ignore[attr-defined]
        assert [each.state for each in await list_devices(manager)] == ["stopped"]

    play(check, [*PIT, ("reset",)])


def test_commands_with_keywords(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        async with await open_device(manager, "timer") as handle:
            await handle.do("start", counter=0, mode=Mode.RATE, count=100, bcd=True)
            assert (await handle.do("status", counter=0)).is_bcd
            with pytest.raises(TypeError, match="colour"):
                await handle.do("read", 0, colour=1)

    play(check, PIT)


def test_the_table_of_kinds_is_true() -> None:
    rows = (Path(__file__).parents[2] / "drivers" / "README.md").read_text().split("| kind | of |")[1].split("\n\n")[0].splitlines()[2:]
    table = {cells[1].strip(): set(re.findall(r"`(\w+)\(", cells[3])) for cells in (row.split("|") for row in rows)}
    assert table == {each.name: each.commands for each in vars(kinds).values() if isinstance(each, Kind)}


def test_an_interrupt_that_somebody_makes_up_is_none() -> None:
    async def check(io: IoSpace) -> None:
        server = await ready(await start(timer(io)), "timer")
        made_up: Any = Interrupt
        manager = await start(timer(other := PortBus()))
        other.plug("pit")
        async with await open_device(manager, "timer") as handle:
            assert handle._server is not None
            for number in (1, 0, -1, 10**30, "1", None):
                send(handle._server, made_up(0, number, 0.0))
                send(server, made_up([], number, 0.0))
            await handle.do("start_periodic", 1000)
            other.advance(0.0025)
            last = other.lines.last[0]
            send(handle._server, made_up(0, last, 0.0))
            assert [(await receive(DeviceData, timeout=5)).data for _ in range(last)] == ["tick"] * last
            with pytest.raises(TimeoutError):
                await receive(DeviceData, timeout=0.05)

    on_portbus_only(check)


def test_a_result_that_cannot_be_sent_does_not_end_the_server() -> None:
    class Odd(Pit):
        def odd(self) -> Any:
            return self

    async def check(io: IoSpace) -> None:
        async def make() -> Odd:
            return Odd(io)

        manager = await start(timer(io, kind=Kind("timer", frozenset({"odd", "read"})), make=make))
        handle = await open_device(manager, "timer")
        assert handle._server is not None
        for _ in range(20):
            answer = await call(handle._server, COMMAND(handle.number, "odd", (), {}))
            assert type(answer) is Failed
            assert "odd: cannot send message" in answer.text
        assert type(await call(handle._server, COMMAND(handle.number, "read", (0,), {}))) is int

    on_portbus_only(check)


def test_the_timer_and_the_speaker_have_their_own_counters(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(*await find_devices(io, (find_timer,)))
        async with await open_device(manager, "timer") as clock, await open_device(manager, "speaker") as speaker:
            await speaker.do("play", 440)
            await clock.do("start", 0, Mode.RATE, 5000)
            for command in ("start", "read", "status"):
                with pytest.raises(ValueError, match="2 is no counter of this driver"):
                    await clock.do(command, 2, *((Mode.RATE, 100) if command == "start" else ()))
            assert Pit(io).status(2).mode is Mode.SQUARE_WAVE

    play(check, PIT)


def test_a_timer_that_is_gone_does_not_come_up() -> None:
    async def check(io: IoSpace) -> None:
        bus = PortBus()
        bus.plug("pit")
        manager = await start(*await find_devices(bus, (find_timer,)))
        bus.fault(Fault.MISSING, range(0x40, 0x44))
        async with await open_device(manager, "timer") as clock:
            with pytest.raises(DeviceAbsentError, match="nothing answers"):
                await clock.do("status", 0)
            assert clock._server is not None
            exit(clock._server, "kill")
            await receive(DeviceLost, timeout=5)
            while "nothing answers" not in (await list_devices(manager))[0].why:
                await sleep(0.001)
            with pytest.raises(DeviceLostError, match="nothing answers"):
                await clock.do("read", 0)

    on_portbus_only(check)


def test_owners_are_told_that_their_machine_has_stopped_and_nobody_else_gets_a_device_of_it(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(*await find_devices(io, (find_timer,)))
        handle = await open_device(manager, "timer")
        io.outb(0xCF9, 6) if io.name == "portbus" else io.close()  # type: ignore[attr-defined]
        says = "it was reset" if io.name == "portbus" else "it was closed"
        lost = await receive(DeviceLost, timeout=5)
        assert (lost.device, lost.reason) == ("timer", f"the machine has stopped: {says}")
        for act in (lambda: handle.do("read", 0), lambda: open_device(manager, "speaker")):
            with pytest.raises(MachineStoppedError, match=f"the machine has stopped: {says}"):
                await act()
        assert ("stopped", lost.reason) in [(each.state, each.why) for each in await list_devices(manager)]
        await handle.close()

    play(check, [*PIT, ("reset",)])


@on("qemu")
def test_the_end_of_qemu_itself_is_told(play: Play) -> None:
    async def check(io: Any) -> None:
        manager = await start(*await find_devices(io, (find_timer,)))
        await open_device(manager, "timer")
        io._process.kill()
        assert (await receive(DeviceLost, timeout=5)).reason == "the machine has stopped: its emulator has ended by itself, with signal 9"

    play(check, PIT)


def test_a_wrong_call_changes_nothing_and_a_driver_that_fails_is_told_of(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        handle = await open_device(manager, "timer")
        await handle.do("start", 0, Mode.RATE, 5000)
        with pytest.raises(TypeError, match=r"start\(counter: .*\) was given 0: .* missing 2 required"):
            await handle.do("start", 0)
        assert (await handle.do("status", 0)).mode is Mode.RATE
        with pytest.raises(TimeoutError):
            await receive(DeviceBack, timeout=0)
        with pytest.raises(TypeError, match=r"start_periodic\(hertz: .*\) was given 'x': '>' not supported"):
            await handle.do("start_periodic", "x")
        assert (await handle.do("status", 0)).mode is Mode.TERMINAL_COUNT
        await receive(DeviceBack, timeout=5)  # the device was reset

    play(check, PIT)


@pytest.mark.parametrize("wrong", [(0, 0x41, 5), (0, 6, 5), (0, -1, 5), (0, "RATE", 5), (0, 2, 5.5), (True, 2, 5), ("0", 2, 5)])
def test_what_a_counter_is_told_stays_within_its_own_bits(wrong: Any) -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(*await find_devices(io, (find_timer,)))
        async with await open_device(manager, "timer") as clock, await open_device(manager, "speaker") as speaker:
            await speaker.do("play", 440)
            with pytest.raises(ValueError, match=r"expected TERMINAL_COUNT, ONE_SHOT, RATE|is no counter"):
                await clock.do("start", *wrong)
            assert Pit(io).status(2).mode is Mode.SQUARE_WAVE

    on_portbus_only(check)


def test_who_gives_back_what_is_his_own_hears_nothing_of_it() -> None:
    async def check(io: IoSpace) -> None:
        manager = await start(timer(io))
        for _ in range(10):
            async with await open_device(manager, "timer") as handle:
                assert repr(handle) == f"<Handle {handle.number} of timer>"
        with pytest.raises(TimeoutError):
            await receive(timeout=0.01)
        handle = await open_device(manager, "timer")

        async def other() -> None:
            with pytest.raises(GrantRevokedError, match="was opened by"):
                await handle.close()

        _, ref = spawn_monitor(other)
        assert (await receive(lambda message: getattr(message, "ref", None) == ref, timeout=5)).reason == "normal"
        assert handle.is_good

    on_portbus_only(check)


@on("qemu")
def test_a_timer_that_is_faster_than_anybody_can_follow_stops_nobody(play: Play) -> None:
    async def check(io: Any) -> None:
        manager = await start(*await find_devices(io, (find_timer, find_clock)))
        async with await open_device(manager, "timer") as fast, await open_device(manager, "clock") as clock:
            for hertz in (60_000, 600_000, 10**9):
                with pytest.raises(ValueError, match=r"the timer can do 18.21 to 10027 Hz"):
                    await fast.do("start_periodic", hertz)
            with pytest.raises(ValueError, match="a count of 118: expected 119 to 65536"):
                await fast.do("start", 0, Mode.RATE, 118)
            for count in (1193, 119):
                await fast.do("start", 0, Mode.RATE, count)
                for _ in range(3):
                    await sleep(0.1)
                    begun = time.monotonic()
                    await clock.do("read")
                    assert time.monotonic() - begun < 5, count
            await fast.do("start", 0, Mode.TERMINAL_COUNT, 65536)
            await clock.do("read")

    play(check, PIT)


WRONG: Any = "x"  # what a type checker would not let through


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: find_devices(WRONG), "find_devices looks in an I/O space"),
        (lambda: DeviceManager.start_link([5]), r"with a list of devices, as of find_devices\(\), not with \[5\]"),
        (lambda: open_device("devices", "x", timeout=WRONG), "timeout is 'x', expected a number of seconds"),
        (lambda: sync(lambda: Kind("x", WRONG)), "commands is 'x', expected a frozenset"),
        (lambda: sync(lambda: PortBus(-1)), "memory is -1, expected bytes"),
        (lambda: sync(lambda: PortBus().fault(Fault.ONES, 0x99999)), "ports is a port or a range"),
        (lambda: sync(lambda: PortBus().fault(Fault.ONES, 5, mask=999)), "mask 999"),
        (lambda: Qemu.start(*[5, WRONG]), "expected strings"),
        (lambda: Qemu.start(channels="com1"), "the channels 'com1'"),
    ],
)
def test_nonsense_is_refused_where_it_is_given(act: Any, says: str) -> None:
    async def check(io: IoSpace) -> None:
        process_flag("trap_exit", True)
        with pytest.raises((TypeError, ValueError), match=says):
            await act()

    on_portbus_only(check)


async def sync(act: Any) -> Any:
    return act()
