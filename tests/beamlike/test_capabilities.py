"""C1, C2 and P6 with real processes: exclusions go wherever a process goes, children inherit them, nothing takes one away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import trio

import caps
from beamlike import (
    ChildSpec,
    Down,
    DynamicSupervisor,
    GenServer,
    Pid,
    Supervisor,
    Task,
    blocking,
    call,
    exit,
    io,
    link,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    register,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
    unlink,
    whereis,
)
from beamlike.processes import ProcessInfo

KEYBOARD = ("port_io", 0x60, 0x65)
CLOCK = ("port_io", 0x70, 0x72)
PORTS = (0x60, 0x70, 0x80)  # of the keyboard, of the clock, of neither

STARTS: dict[str, Callable[..., Any]] = {"spawn": spawn, "spawn_link": spawn_link, "spawn_monitor": spawn_monitor}
every_start = pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
each_mode = pytest.mark.parametrize("in_trio", [False, True], ids=["scheduler", "trio"])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


def refused() -> list[int]:
    """Which ports `caps.check` refuses to whoever calls this."""
    ports = []
    for port in PORTS:
        try:
            caps.check("port_io", port, 1)
        except caps.CapabilityError:
            ports.append(port)
    return ports


async def tell(boss: Pid) -> None:
    send(boss, refused())


async def sleeper() -> None:
    await receive(lambda message: bool(message == "end"))


def info(pid: Pid) -> ProcessInfo:
    found = process_info(pid)
    assert found is not None
    return found


class Server(GenServer):
    """Says what is refused to it, and what was in its init."""

    async def init(self) -> Any:
        self.in_init = refused()

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return self.in_init, refused()


# --- C1: given at spawn, and every layer counts ---------------------------------------------------------------------------


@every_start
@each_mode
def test_c1_exclusion_given_at_spawn_is_refused_in_the_child_and_only_there(start: Any, in_trio: bool) -> None:
    async def main() -> None:
        start(tell, self_pid(), exclude=[KEYBOARD], io=in_trio)
        assert await receive(list, timeout=1) == [0x60]
        assert refused() == []
        start(tell, self_pid(), io=in_trio)
        assert await receive(list, timeout=1) == []

    run(main, seed=1)


def test_c1_an_error_in_the_child_names_the_exclusion() -> None:
    async def child(boss: Pid) -> None:
        with pytest.raises(caps.CapabilityError) as caught:
            caps.check("port_io", 0x5E, 4)
        send(boss, caught.value.exclusion)

    async def main() -> Any:
        spawn(child, self_pid(), exclude=[KEYBOARD])
        return await receive(timeout=1)

    assert run(main, seed=1) == KEYBOARD


def test_c1_process_info_shows_a_layer_a_generation() -> None:
    async def parent(boss: Pid) -> None:
        send(boss, spawn(sleeper, exclude=[CLOCK]))
        send(boss, spawn(sleeper))
        await sleeper()

    async def main() -> None:
        pid = spawn(parent, self_pid(), exclude=[KEYBOARD])
        tighter, same = await receive(Pid, timeout=1), await receive(Pid, timeout=1)
        assert info(self_pid()).exclusions == ()
        assert info(pid).exclusions == info(same).exclusions == ((KEYBOARD,),)
        assert info(tighter).exclusions == ((KEYBOARD,), (CLOCK,))

    run(main, seed=1)


@every_start
@each_mode
@pytest.mark.parametrize(
    "bad", [[5], 5, 0, None, "", KEYBOARD, [("no_such_kind", 1)], [("port_io", 5, 5)], [("only",)], [KEYBOARD, ("port_io",)]], ids=repr
)
def test_c1_bad_term_raises_and_starts_nothing(start: Any, in_trio: bool, bad: Any) -> None:
    async def main() -> None:
        with pytest.raises((TypeError, ValueError)):
            start(tell, self_pid(), name="name", exclude=bad, io=in_trio)
        with pytest.raises((TypeError, ValueError)):
            await Server.start_link(name="name", exclude=bad)
        assert processes() == [self_pid()]
        assert whereis("name") is None
        assert info(self_pid()).links == ()
        await sleep(1)
        with pytest.raises(TimeoutError):
            await receive(timeout=0)

    run(main, seed=1)


# --- C2: inherited, and only ever more ------------------------------------------------------------------------------------


@every_start
@each_mode
def test_c2_grandchildren_inherit_all_layers_and_may_only_add(start: Any, in_trio: bool) -> None:
    async def child(boss: Pid) -> None:
        start(grandchild, boss, io=in_trio)

    async def grandchild(boss: Pid) -> None:
        for exclude in ([], [CLOCK], [KEYBOARD], [("only", KEYBOARD)], [("only", ("port_io", "all"))]):
            start(tell, boss, exclude=exclude, io=in_trio)
            await receive(lambda message: bool(message == "next"))

    async def main() -> None:
        start(child, self_pid(), exclude=[KEYBOARD], io=in_trio)
        for expected in ([0x60], [0x60, 0x70], [0x60], [0x60, 0x70, 0x80], [0x60]):
            assert await receive(list, timeout=1) == expected
            for pid in processes():
                if pid != self_pid():
                    send(pid, "next")

    run(main, seed=1)


async def by_task(boss: Pid) -> None:
    async def compute() -> list[int]:
        return refused()

    send(boss, await Task.await_(Task.async_(compute)))


async def by_stream(boss: Pid) -> None:
    async def compute(_: int) -> list[int]:
        return refused()

    async for _, seen in Task.stream(compute, [1]):
        send(boss, seen)


async def by_server(boss: Pid) -> None:
    in_init, now = await call(await Server.start_link(), 1)
    assert in_init == now
    send(boss, now)


async def by_unlinked_server(boss: Pid) -> None:
    in_init, now = await call(await Server.start(), 1)
    assert in_init == now
    send(boss, now)


async def by_supervisor(boss: Pid) -> None:
    await Supervisor.start_link([ChildSpec.of(tell, boss, restart="temporary")])
    await sleeper()  # it would take the supervisor along


async def by_dynamic_supervisor(boss: Pid) -> None:
    await DynamicSupervisor.start_child(await DynamicSupervisor.start_link(), ChildSpec.of(tell, boss, restart="temporary"))
    await sleeper()


@pytest.mark.parametrize("way", [by_task, by_stream, by_server, by_unlinked_server, by_supervisor, by_dynamic_supervisor])
@each_mode
def test_c2_whatever_a_process_starts_inherits_its_layers(way: Callable[[Pid], Coroutine[Any, Any, None]], in_trio: bool) -> None:
    async def main() -> Any:
        spawn(way, self_pid(), exclude=[KEYBOARD], io=in_trio)
        return await receive(list, timeout=1)

    assert run(main, seed=1) == [0x60]


def test_c2_server_started_with_an_exclusion_has_it_from_its_init_on() -> None:
    async def main() -> None:
        for start in (Server.start_link, Server.start):
            assert await call(await start(exclude=[KEYBOARD]), 1) == ([0x60], [0x60])

    run(main, seed=1)


@pytest.mark.parametrize("dynamic", [False, True], ids=["Supervisor", "DynamicSupervisor"])
def test_c2_restart_by_a_supervisor_carries_the_supervisors_layers_and_the_childs(dynamic: bool) -> None:
    async def main() -> None:
        spec = ChildSpec.of(Server, exclude=[KEYBOARD], name="server")
        if dynamic:
            await DynamicSupervisor.start_child(await DynamicSupervisor.start_link(intensity=3, exclude=[CLOCK]), spec)
        else:
            await Supervisor.start_link([spec], intensity=3, exclude=[CLOCK])
        seen = set()
        for _ in range(3):
            pid = whereis("server")
            assert pid is not None
            seen.add(pid)
            assert await call(pid, 1) == ([0x60, 0x70], [0x60, 0x70])
            exit(pid, "kill")
            await sleep(1)
        assert len(seen) == 3

    run(main, seed=1)


@pytest.mark.parametrize("dynamic", [False, True], ids=["Supervisor", "DynamicSupervisor"])
def test_c2_childs_exclusion_is_not_its_supervisors_nor_its_siblings(dynamic: bool) -> None:
    async def main() -> None:
        face: Any = DynamicSupervisor if dynamic else Supervisor
        supervisor = await face.start_link()
        await face.start_child(supervisor, ChildSpec.of(Server, id="limited", exclude=[KEYBOARD]))
        free = await face.start_child(supervisor, ChildSpec.of(Server, id="free"))
        assert info(supervisor).exclusions == ()
        assert await call(free, 1) == ([], [])

    run(main, seed=1)


def test_c2_nothing_a_process_does_or_is_sent_removes_a_layer() -> None:
    async def strong(boss: Pid) -> None:
        while True:
            send(await receive(Pid), ("layers", ()))

    async def limited(boss: Pid, friend: Pid, server: Pid) -> None:
        after: dict[str, list[int]] = {}

        def look(what: str) -> None:
            after[what] = refused()

        look("nothing")
        send(friend, self_pid())
        await receive(("layers", tuple), timeout=10)
        look("a message")
        await call(server, 1)
        look("a call")
        await sleep(0.01)
        look("a sleep")
        link(friend)
        unlink(friend)
        monitor(friend)
        register("limited")
        process_flag("trap_exit", True)
        look("links, monitors, names and flags")
        spawn(tell, friend, exclude=[("only", ("port_io", "all"))])
        look("a spawn")
        async with io():
            look("in io()")
        look("after io()")
        await blocking(int, 5)
        look("a thread")
        with pytest.raises(caps.CapabilityError):
            caps.check("port_io", 0x60, 1)
        look("a refusal")
        with pytest.raises(ValueError, match="no flag"):
            process_flag("layers", ())
        look("a flag that there is not")
        send(boss, after)

    async def main() -> None:
        friend = spawn(strong, self_pid())
        spawn(limited, self_pid(), friend, await Server.start_link(), exclude=[KEYBOARD])
        after = await receive(dict, timeout=10)
        assert {what: ports for what, ports in after.items() if ports != [0x60]} == {}
        assert len(after) == 11

    run(main)


def test_c2_name_that_passes_to_another_process_carries_no_layer_with_it() -> None:
    async def main() -> None:
        _, ref = spawn_monitor(tell, self_pid(), name="name", exclude=[KEYBOARD])
        assert await receive(list, timeout=1) == [0x60]
        assert (await receive(Down, timeout=1)).ref == ref
        spawn(tell, self_pid(), name="name")
        assert await receive(list, timeout=1) == []

    run(main, seed=1)


def test_c2_layers_do_not_leak_to_who_runs_next() -> None:
    async def turns(boss: Pid, rounds: int) -> None:
        seen = []
        for _ in range(rounds):
            seen.append(refused())
            await sleep(0)
        send(boss, seen)

    async def main() -> None:
        for exclude in ([], [KEYBOARD], [CLOCK]):
            spawn(turns, self_pid(), 20, exclude=exclude)
        seen = sorted([await receive(list, timeout=1) for _ in range(3)])
        assert seen == [[[]] * 20, [[0x60]] * 20, [[0x70]] * 20]

    run(main, seed=1)


# --- P6: who acts for a process has its layers ----------------------------------------------------------------------------


@each_mode
def test_p6_child_tasks_in_trio_mode_have_the_layers_of_their_process(in_trio: bool) -> None:
    async def limited(boss: Pid) -> None:
        seen = []

        async def look() -> None:
            await trio.lowlevel.checkpoint()
            seen.append(refused())

        async def look_below() -> None:
            async with trio.open_nursery() as below:
                below.start_soon(look)

        async with io(), trio.open_nursery() as nursery:
            nursery.start_soon(look)
            nursery.start_soon(look_below)
        send(boss, seen)

    async def main() -> Any:
        spawn(limited, self_pid(), exclude=[KEYBOARD], io=in_trio)
        return await receive(list, timeout=1)

    assert run(main, seed=1) == [[0x60], [0x60]]


@each_mode
def test_p6_threads_have_the_layers_of_their_process(in_trio: bool) -> None:
    async def limited(boss: Pid) -> None:
        seen = [await blocking(refused)]
        async with io():
            seen.append(await blocking(refused))
            seen.append(await trio.to_thread.run_sync(refused))
            seen.append(await blocking(trio.from_thread.run_sync, refused))
        send(boss, seen)

    async def main() -> None:
        spawn(limited, self_pid(), exclude=[KEYBOARD], io=in_trio)
        assert await receive(list, timeout=10) == [[0x60]] * 4
        assert await blocking(refused) == []

    run(main)


def test_p6_a_thread_that_outlives_its_node_keeps_the_layers_of_its_process() -> None:
    stopped, over = threading.Event(), threading.Event()
    seen: list[Any] = []

    def work() -> None:
        started.set()
        stopped.wait(10)
        seen.append(refused())
        over.set()

    async def limited() -> None:
        await blocking(work)

    async def main() -> None:
        spawn(limited, exclude=[KEYBOARD])
        await blocking(started.wait)

    started = threading.Event()
    run(main)
    stopped.set()
    assert over.wait(10)
    assert seen == [[0x60]]
    assert refused() == []


def test_p6_process_spawned_by_a_task_in_trio_mode_inherits_too() -> None:
    async def limited(boss: Pid) -> None:
        async def start() -> None:
            spawn(tell, boss, exclude=[CLOCK])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)

    async def main() -> Any:
        spawn(limited, self_pid(), exclude=[KEYBOARD], io=True)
        return await receive(list, timeout=1)

    assert run(main, seed=1) == [0x60, 0x70]
