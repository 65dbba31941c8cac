"""C1, C8: acting under the exclusions of who asks, and forbidding more to processes that live."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import trio

import caps
from beamlike import (
    NOREPLY,
    Call,
    Caller,
    CallError,
    Cast,
    ChildSpec,
    ChildStartError,
    Continue,
    DynamicSupervisor,
    GenServer,
    Pid,
    StateMachine,
    Stop,
    Supervisor,
    blocking,
    call,
    caller_layers,
    cast,
    exit,
    io,
    make_ref,
    process_flag,
    process_info,
    receive,
    register,
    reply,
    run,
    self_pid,
    send,
    send_after,
    send_interval,
    sleep,
    spawn,
    system,
    tighten,
    whereis,
)
from beamlike.hot.scheduler import current_process

KEYBOARD = ("port_io", 0x60, 0x65)
CLOCK = ("port_io", 0x70, 0x72)
PORTS = (0x60, 0x70, 0x80)


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


def terms_of(layers: caps.Layers) -> list[Any]:
    return [layer.terms for layer in layers]


async def tell(boss: Pid) -> None:
    send(boss, refused())


class Server(GenServer):
    """Says what is refused to it, in each of its handlers; its callers are strong or not."""

    async def init(self) -> None:
        self.seen: list[Any] = []

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case "look":
                return refused(), terms_of(caller_layers())
            case "seen":
                return self.seen
            case "spawn":
                spawn(tell, caller.pid)
                return refused()
            case "wait":
                await sleep(1)
                return refused()
            case "in io":
                async with io():
                    return refused(), await blocking(refused)
            case "fail":
                raise LookupError(request)
            case "stop":
                raise Stop("normal", refused())
            case "go on":
                return Continue("x", reply=refused())
            case "later":
                reply(caller, refused())
                return NOREPLY
        return None

    async def handle_cast(self, request: Any) -> Any:
        self.seen.append((request, refused(), terms_of(caller_layers())))
        return Continue("cast") if request == "go on" else None

    async def handle_continue(self, value: Any) -> None:
        self.seen.append((value, refused()))

    async def handle_info(self, message: Any) -> None:
        self.seen.append((message, refused(), terms_of(caller_layers())))


class Guarded(Server, guarded=True):
    """The same under its caller's exclusions."""


class StillGuarded(Guarded):
    """So is a subclass."""


async def asking(boss: Pid, server: Pid, request: Any) -> None:
    send(boss, await call(server, request))


# --- C8: the caller's exclusions ------------------------------------------------------------------------------------------


def test_c8_a_server_is_told_the_layers_of_its_caller_and_is_not_limited_by_them() -> None:
    async def main() -> None:
        server = await Server.start_link()
        assert await call(server, "look") == ([], [])
        spawn(asking, self_pid(), server, "look", exclude=[KEYBOARD])
        assert await receive(tuple, timeout=1) == ([], [(KEYBOARD,)])
        assert await call(server, "look") == ([], [])

    run(main, seed=1)


@pytest.mark.parametrize("kind", [Guarded, StillGuarded])
@pytest.mark.parametrize("in_trio", [False, True])
def test_c8_a_guarded_server_acts_under_its_own_layers_and_its_callers(kind: type[Server], in_trio: bool) -> None:
    async def main() -> None:
        server = await kind.start_link(exclude=[CLOCK])
        assert await call(server, "look") == ([0x70], [])
        for request, expected in (
            ("look", ([0x60, 0x70], [(KEYBOARD,)])),
            ("wait", [0x60, 0x70]),
            ("in io", ([0x60, 0x70], [0x60, 0x70])),
            ("go on", [0x60, 0x70]),
            ("later", [0x60, 0x70]),
        ):
            spawn(asking, self_pid(), server, request, exclude=[KEYBOARD], io=in_trio)
            assert await receive(timeout=5) == expected
            assert await call(server, "look") == ([0x70], [])
        assert await call(server, "seen") == [("x", [0x60, 0x70])]

    run(main)


def test_c8_what_a_guarded_server_spawns_upon_a_request_has_the_callers_layers_for_ever() -> None:
    async def limited(boss: Pid, server: Pid) -> None:
        await call(server, "spawn")
        send(boss, await receive(list, timeout=1))

    async def main() -> None:
        server = await Guarded.start_link()
        spawn(limited, self_pid(), server, exclude=[KEYBOARD])
        assert await receive(list, timeout=1) == [0x60]

    run(main, seed=1)


def test_c8_casts_carry_the_layers_and_other_messages_do_not() -> None:
    async def limited(boss: Pid, server: Pid) -> None:
        cast(server, "look")
        cast(server, "go on")
        send(server, "info")
        send(boss, "done")

    async def main() -> None:
        server = await Guarded.start_link()
        spawn(limited, self_pid(), server, exclude=[KEYBOARD])
        await receive("done".__eq__, timeout=1)
        cast(server, "free")
        assert await call(server, "seen") == [
            ("look", [0x60], [(KEYBOARD,)]),
            ("go on", [0x60], [(KEYBOARD,)]),
            ("cast", [0x60]),
            ("info", [], []),
            ("free", [], []),
        ]

    run(main, seed=1)


@pytest.mark.parametrize("request_", ["fail", "stop"])
def test_c8_a_guarded_server_is_itself_again_in_terminate(request_: str) -> None:
    seen = []

    class Ends(Guarded):
        async def terminate(self, reason: Any) -> None:
            seen.append(refused())

    async def limited(server: Pid) -> None:
        with pytest.raises(CallError) if request_ == "fail" else nullcontext():
            await call(server, request_)

    async def main() -> None:
        server = await Ends.start()
        spawn(limited, server, exclude=[KEYBOARD])
        await sleep(1)
        assert server.process is None

    run(main, seed=1)
    assert seen == [[]]


def test_c8_a_task_that_outlives_its_request_keeps_the_callers_layers() -> None:
    nursery: Any = None
    boss: Any = None
    go, done = trio.Event(), trio.Event()

    class Nursery(GenServer, guarded=True):
        async def handle_call(self, request: Any, caller: Caller) -> Any:
            match request:
                case "start":
                    nursery.start_soon(look)
                case "go":
                    go.set()
                    await done.wait()
            return refused()

    seen: list[Any] = []

    async def look() -> None:
        await go.wait()
        seen.append(refused())
        spawn(tell, boss)
        done.set()

    async def limited(server: Pid) -> None:
        send(boss, ("asked", await call(server, "start")))

    async def serve() -> None:
        nonlocal nursery
        async with trio.open_nursery() as nursery:
            server = Nursery()
            await server._serve(system.Control(server, current_process(), None), None)

    async def main() -> None:
        nonlocal boss
        boss = self_pid()
        process_flag("trap_exit", True)
        server = spawn(serve, io=True)
        spawn(limited, server, exclude=[KEYBOARD])
        assert await receive(("asked", list), timeout=5) == ("asked", [0x60])
        assert await call(server, "go") == []
        assert seen == [[0x60]]
        assert await receive(list, timeout=5) == [0x60]
        exit(server, "kill")

    run(main)


def test_c8_a_call_made_by_hand_carries_the_layers_of_who_sends_it() -> None:
    async def limited(boss: Pid, server: Pid) -> None:
        send(server, Call(Caller(boss, make_ref()), "look"))
        send(server, Call(Caller(boss, make_ref()), "spawn", ()))
        send(server, Cast("look"))
        send_after(0, server, Cast("timer"))
        await sleep(1)
        send(boss, "done")

    async def main() -> None:
        server = await Guarded.start_link()
        spawn(limited, self_pid(), server, exclude=[KEYBOARD])
        assert await receive(list, timeout=2) == [0x60]
        await receive("done".__eq__, timeout=5)
        assert await call(server, "seen") == [("look", [0x60], [(KEYBOARD,)]), ("timer", [0x60], [(KEYBOARD,)])]

    run(main, seed=1)


def test_c8_a_forwarded_call_keeps_the_layers_of_its_caller() -> None:
    async def forward(server: Pid) -> None:
        while True:
            send(server, await receive())

    async def main() -> None:
        server = await Guarded.start_link()
        forwarder = spawn(forward, server, exclude=[CLOCK])
        spawn(asking, self_pid(), forwarder, "look", exclude=[KEYBOARD])
        assert await receive(tuple, timeout=1) == ([0x60, 0x70], [(KEYBOARD,), (CLOCK,)])

    run(main, seed=1)


def test_c8_layers_go_through_a_chain_of_guarded_servers() -> None:
    class Middle(GenServer, guarded=True):
        async def init(self, server: Pid) -> None:
            self.server = server

        async def handle_call(self, request: Any, caller: Caller) -> Any:
            return await call(self.server, request)

    async def main() -> None:
        middle = await Middle.start_link(await Guarded.start_link(), exclude=[CLOCK])
        spawn(asking, self_pid(), middle, "look", exclude=[KEYBOARD])
        assert (await receive(tuple, timeout=1))[0] == [0x60, 0x70]

    run(main, seed=1)


def test_c8_what_the_last_of_a_chain_refuses_ends_none_in_the_middle() -> None:
    class Opener(GenServer, guarded=True):
        async def init(self, next_: Pid | None = None) -> None:
            self.next = next_

        async def handle_call(self, request: Any, caller: Caller) -> Any:
            if self.next is not None:
                return await call(self.next, request)
            caps.check("port_io", 0x60, 1)
            return "done"

    async def limited(boss: Pid, server: Pid) -> None:
        try:
            await call(server, "open")
        except CallError as error:
            send(boss, error.reason)

    async def main() -> None:
        first = await Opener.start(await Opener.start(await Opener.start()))
        spawn(limited, self_pid(), first, exclude=[KEYBOARD])
        kind, text = await receive(tuple, timeout=5)
        assert (kind, text.count("refused")) == ("refused", 1), text
        assert await call(first, "open") == "done"

    run(main)


def test_caller_layers_in_a_state_machine() -> None:
    class Machine(StateMachine):
        async def init(self) -> str:
            return "only"

        async def only(self, event: Any) -> None:
            reply(event.caller, terms_of(caller_layers()))

    async def main() -> None:
        machine = await Machine.start_link()
        spawn(asking, self_pid(), machine, 1, exclude=[KEYBOARD])
        assert await receive(list, timeout=1) == [(KEYBOARD,)]
        assert await call(machine, 1) == []

    run(main, seed=1)


def test_caller_layers_outside_of_a_request_are_none() -> None:
    async def main() -> None:
        assert caller_layers() == ()

    run(main, seed=1)
    with pytest.raises(RuntimeError, match="not called by a process"):
        caller_layers()


@pytest.mark.parametrize("value", [False, 1, "yes"])
def test_guarded_cannot_be_taken_back(value: Any) -> None:
    with pytest.raises(TypeError, match="guarded is True"):
        type("Free", (Guarded,), {}, guarded=value)


def replacing(state: Any) -> Any:
    """Sent to a server to be computed there."""
    state["seen"] = refused()
    return state


def test_c8_replace_state_computes_under_the_askers_layers() -> None:
    async def limited(boss: Pid, server: Pid) -> None:
        await system.replace_state(server, replacing)
        send(boss, "done")

    async def main() -> None:
        server = await Server.start_link()
        spawn(limited, self_pid(), server, exclude=[KEYBOARD])
        await receive("done".__eq__, timeout=1)
        assert await call(server, "seen") == [0x60]
        assert await call(server, "look") == ([], [])

    run(main, seed=1)


@pytest.mark.parametrize(("term", "name"), [(("exit", "all"), "terminate"), (("system", "suspend"), "suspend")])
def test_c5_a_system_request_made_by_hand_is_refused_too(term: Any, name: str) -> None:
    async def limited(boss: Pid, server: Pid) -> None:
        send(boss, await call(server, system.SystemRequest(name)))

    async def main() -> None:
        server = await Server.start_link()
        spawn(limited, self_pid(), server, exclude=[term])
        assert (await receive(tuple, timeout=1))[0] == "error"
        assert await call(server, "look") == ([], [])

    run(main, seed=1)


# --- C1: tightening -------------------------------------------------------------------------------------------------------


async def tree(boss: Pid, depth: int) -> None:
    """Looks when told, and its children do."""
    children = [spawn(tree, boss, depth - 1) for _ in range(2)] if depth else []
    while True:
        match await receive():
            case "look":
                send(boss, (depth, refused()))
                for child in children:
                    send(child, "look")
            case "end":
                for child in children:
                    send(child, "end without yours")
                return
            case "end without yours":
                return


def test_c1_a_process_tightens_itself_and_all_below_at_once() -> None:
    async def main() -> None:
        top, other = spawn(tree, self_pid(), 3), spawn(tree, self_pid(), 1)
        await sleep(1)
        assert await tighten(top, [KEYBOARD]) == 15
        send(top, "look")
        send(other, "look")
        seen = [await receive(tuple, timeout=1) for _ in range(18)]
        assert sorted(seen) == sorted([(3, [0x60]), *[(2, [0x60])] * 2, *[(1, [0x60])] * 4, *[(0, [0x60])] * 8, (1, []), (0, []), (0, [])])
        assert await tighten(top, [KEYBOARD]) == 15
        info = process_info(top)
        assert info is not None
        assert info.exclusions == ((KEYBOARD,),)
        assert await tighten(self_pid(), [CLOCK]) == 19
        assert refused() == [0x70]

    run(main, seed=1)


def test_c1_the_living_below_the_dead_are_tightened_however_many_generations_have_ended() -> None:
    async def successor(boss: Pid, left: int) -> None:
        if left:
            spawn(successor, boss, left - 1)
            return
        send(boss, self_pid())
        await receive("look".__eq__)
        send(boss, refused())

    async def first(boss: Pid) -> None:
        spawn(successor, boss, 30)
        await receive(lambda _: False)

    async def main() -> None:
        top = spawn(first, self_pid())
        last = await receive(Pid, timeout=1)
        info = process_info(last)
        assert info is not None
        assert top not in info.ancestors
        assert await tighten(top, [KEYBOARD]) == 2
        send(last, "look")
        assert await receive(list, timeout=1) == [0x60]

    run(main, seed=1)


def test_c1_only_who_is_above_may_tighten() -> None:
    async def sibling(boss: Pid, other: Pid) -> None:
        try:
            await tighten(other, [KEYBOARD])
        except PermissionError as error:
            send(boss, str(error))

    async def child(boss: Pid) -> None:
        try:
            await tighten(boss, [KEYBOARD])
        except PermissionError as error:
            send(boss, str(error))

    async def main() -> None:
        other = spawn(tree, self_pid(), 0)
        spawn(sibling, self_pid(), other)
        spawn(child, self_pid())
        for _ in range(2):
            assert "nor does it descend from it" in await receive(str, timeout=1)
        info = process_info(other)
        assert info is not None
        assert info.exclusions == ()
        assert refused() == []
        ended = spawn(tell, self_pid())
        await receive(list, timeout=1)
        with pytest.raises(ValueError, match="not alive"):
            await tighten(ended, [KEYBOARD])
        with pytest.raises(ValueError, match="no_such_kind"):
            await tighten(self_pid(), [("no_such_kind", 1)])
        with pytest.raises(TypeError):
            await tighten("name", [KEYBOARD])  # type: ignore[arg-type]
        assert await tighten(self_pid(), []) == 2

    run(main, seed=1)


@pytest.mark.parametrize("dynamic", [False, True], ids=["Supervisor", "DynamicSupervisor"])
@pytest.mark.parametrize("whom", ["child", "supervisor"])
def test_c2_a_child_that_was_tightened_is_started_again_so(dynamic: bool, whom: str) -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        spec = ChildSpec.of(Server, name="server", exclude=[CLOCK])
        if dynamic:
            supervisor = await DynamicSupervisor.start_link(intensity=5)
            await DynamicSupervisor.start_child(supervisor, spec)
        else:
            supervisor = await Supervisor.start_link([spec], intensity=5)
        child = whereis("server")
        assert child is not None
        await tighten(child if whom == "child" else supervisor, [KEYBOARD])
        for _ in range(3):
            assert await call("server", "look") == ([0x60, 0x70], [])
            pid = whereis("server")
            assert pid is not None
            exit(pid, "kill")
            await sleep(1)

    run(main, seed=1)


@pytest.mark.parametrize("dynamic", [False, True], ids=["Supervisor", "DynamicSupervisor"])
def test_c2_a_child_that_may_spawn_nothing_can_be_started_and_restarted_and_not_by_who_may_not_either(dynamic: bool) -> None:
    async def limited(boss: Pid, supervisor: Pid) -> None:
        try:
            await Supervisor.start_child(supervisor, ChildSpec.of(Server, id="by the limited"))
        except ChildStartError as error:
            send(boss, error.reason[0][0])

    async def main() -> None:
        process_flag("trap_exit", True)
        spec = ChildSpec.of(Server, name="server", exclude=[("spawn", "all")])
        supervisor = await (DynamicSupervisor.start_link(intensity=5) if dynamic else Supervisor.start_link(intensity=5))
        await Supervisor.start_child(supervisor, spec)
        server = whereis("server")
        assert server is not None
        await tighten(server, [("spawn", "all"), KEYBOARD])
        exit(server, "kill")
        await sleep(1)
        assert await call("server", "look") == ([0x60], [])
        with pytest.raises(CallError, match="CapabilityError"):
            await call("server", "spawn")
        spawn(limited, self_pid(), supervisor, exclude=[("spawn", "all")])
        assert await receive(str, timeout=1) == "caps.errors.CapabilityError"

    run(main, seed=1)


def test_c1_tightening_a_server_in_the_middle_of_a_guarded_request_lasts() -> None:
    async def main() -> None:
        server = await Guarded.start_link()
        spawn(asking, self_pid(), server, "wait", exclude=[KEYBOARD])
        await sleep(0.5)
        assert await tighten(server, [CLOCK]) == 1
        assert await receive(list, timeout=5) == [0x60, 0x70]
        assert await call(server, "look") == ([0x70], [])

    run(main, seed=1)


class Slow(Server):
    async def init(self) -> None:
        await super().init()
        await sleep(1)
        self.in_init = refused()

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        return self.in_init


def test_c1_tightening_a_supervisor_in_the_middle_of_a_start_lasts() -> None:
    async def start(supervisor: Pid) -> None:
        await DynamicSupervisor.start_child(supervisor, ChildSpec.of(Slow, name="slow"))

    async def main() -> None:
        supervisor = await DynamicSupervisor.start_link()
        spawn(start, supervisor)
        await sleep(0.5)
        assert await tighten(supervisor, [KEYBOARD]) == 2
        await sleep(1)
        assert await call("slow", 1) == [0x60]
        info = process_info(supervisor)
        assert info is not None
        assert info.exclusions == ((KEYBOARD,),)

    run(main, seed=1)


def test_c1_timers_are_tightened_with_who_has_set_them() -> None:
    async def limited(boss: Pid) -> None:
        send_after(10, boss, "later")
        send_interval(1, "boss", "again")
        send_after(10, self_pid(), "to itself")
        await receive("to itself".__eq__)
        await receive(lambda _: False)

    async def main() -> None:
        register("boss")
        child = spawn(limited, self_pid())
        assert await receive(timeout=1.5) == "again"
        await tighten(child, [("send", "boss")])
        with pytest.raises(TimeoutError):
            await receive(timeout=20)

    run(main, seed=1)


def test_c1_the_request_of_a_timer_carries_what_its_owner_was_forbidden_since() -> None:
    async def limited(server: Pid) -> None:
        send_interval(1, server, Cast("look"))
        await receive(lambda _: False)

    async def main() -> None:
        server = await Guarded.start_link()
        child = spawn(limited, server)
        await sleep(1.5)
        await tighten(child, [KEYBOARD])
        await sleep(1)
        assert await call(server, "seen") == [("look", [], []), ("look", [0x60], [(KEYBOARD,)])]

    run(main, seed=1)


def test_c1_threads_and_tasks_are_tightened_with_their_process() -> None:
    async def limited(boss: Pid) -> None:
        async def look() -> None:
            await trio.sleep(0.05)
            send(boss, refused())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            send(boss, "ready")
            await receive("go".__eq__)
            send(boss, await blocking(refused))

    async def main() -> None:
        child = spawn(limited, self_pid(), io=True)
        await receive("ready".__eq__, timeout=5)
        await tighten(child, [KEYBOARD])
        send(child, "go")
        assert [await receive(list, timeout=5) for _ in range(2)] == [[0x60], [0x60]]

    run(main)


def test_c8_what_only_the_callers_exclusions_refuse_is_the_callers_affair_and_the_server_goes_on() -> None:
    class Opener(GenServer, guarded=True):
        async def init(self) -> None:
            pass

        async def handle_call(self, request: Any, caller: Caller) -> Any:
            if request == "bug":
                raise caps.CapabilityError("ffi", (), ("ffi", "all"), "its own")
            caps.check(*request)
            return "done"

        async def handle_cast(self, request: Any) -> None:
            caps.check(*request)

    async def asks(boss: Pid, server: Pid, request: Any) -> None:
        try:
            send(boss, ("outcome", await call(server, request)))
        except CallError as error:
            send(boss, ("outcome", error.reason))

    async def limited(server: Pid) -> None:
        send(server, Cast(("port_io", 0x60, 1)))

    async def main() -> None:
        server = await Opener.start(exclude=[("port_io", 0x70, 0x71)])
        spawn(limited, server, exclude=[KEYBOARD])
        spawn(asks, self_pid(), server, ("port_io", 0x60, 1), exclude=[KEYBOARD])
        _, (kind, text) = await receive(("outcome",), timeout=5)
        assert (kind, "is refused by the exclusion ('port_io', 0x60, " in text) == ("refused", True)
        spawn(asks, self_pid(), server, ("port_io", 0x60, 1))
        assert await receive(("outcome",), timeout=5) == ("outcome", "done")
        spawn(asks, self_pid(), server, ("port_io", 0x70, 1), exclude=[KEYBOARD])  # its own exclusions refuse that: a bug of its own
        _, (error, _) = await receive(("outcome",), timeout=5)
        assert error[0] == "caps.errors.CapabilityError"
        assert server.process is None

    run(main)
