"""An attempt at each privileged call, for the tests that walk the table: the exclusion that refuses it, and the call.

All that an attempt is about is in a `World`, which is made anew for each. It is imported in nodes: nothing slow is imported here.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

import beamlike
import caps
import nodes
from beamlike import (
    Call,
    ChildSpec,
    DynamicSupervisor,
    GenServer,
    Pid,
    StateMachine,
    Supervisor,
    Table,
    Task,
    TaskSupervisor,
    blocking,
    call,
    caller_layers,
    exit,
    io,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    registered,
    reply,
    self_pid,
    send,
    sleep,
    spawn,
    start_behaviour,
    system,
)
from nodes import chaos

HERE = "privileged_attempts"
NOWHERE = "n9@nowhere"
PATIENCE = 20.0


async def sleeper() -> None:
    await receive(lambda message: False)


async def target() -> None:
    """What attempts spawn."""


async def double(x: int = 1) -> int:
    return 2 * x


async def body(started: Any) -> None:
    started.ok()
    await sleeper()


class Echo(GenServer):
    async def handle_call(self, request: Any, caller: Any) -> Any:
        return request

    async def handle_cast(self, request: Any) -> None:
        pass

    async def handle_info(self, message: Any) -> None:
        pass


class Door(StateMachine):
    async def init(self) -> str:
        return "locked"

    async def locked(self, event: Any) -> str | None:
        return None


class World:
    """What attempts are made at, on this node."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.file = self.folder / "file"
        self.file.write_text("text")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    async def open(self) -> None:
        """Its processes belong to the caller."""
        self.node = self_pid().node
        self.victim = spawn(sleeper, name="victim")
        self.server = await Echo.start(name="server")
        self.static = await Supervisor.start_link([ChildSpec.of(Echo, id="kid"), ChildSpec.of(Echo, id="still")], name="static")
        await Supervisor.terminate_child("static", "still")
        self.dynamic = await DynamicSupervisor.start_link(name="dynamic")
        self.tasks = await TaskSupervisor.start_link(name="tasks")

    def shut(self) -> None:
        self.listener.close()
        shutil.rmtree(self.folder)

    async def close(self) -> None:
        self.shut()
        for pid in (self.victim, self.server):
            exit(pid, "kill")
        for pid in (self.static, self.dynamic, self.tasks):
            await system.stop(pid, "shutdown")

    def everything(self) -> Any:
        """What of this node an attempt could change, but for the processes that are about it."""
        infos = [process_info(pid) for pid in processes()]
        known = (self.victim, self.server, self.static, self.dynamic, self.tasks)
        return (
            sorted(registered()),
            sorted((i.initial_call, i.registered_name or "") for i in infos if i is not None),
            [(i.links, i.mailbox_length, i.monitored_by) for i in map(process_info, known) if i is not None],
            sorted(path.name for path in self.folder.iterdir()),
            self.file.read_text(),
        )


@dataclass
class Attempt:
    call: str
    kind: str
    term: Callable[[World], tuple[Any, ...]]
    do: Callable[[World], Any]
    is_harmless: bool = True  # may be made where it is permitted

    @property
    def name(self) -> str:
        return f"{self.call} {self.kind}"


ATTEMPTS: list[Attempt] = []


def attempt(call: str, kind: str, *operands: Any, is_harmless: bool = True) -> Callable[[Callable[[World], Any]], Callable[[World], Any]]:
    """The exclusion is `(kind, *operands)`; one that is callable is asked with the World."""

    def add(do: Callable[[World], Any]) -> Callable[[World], Any]:
        def term(world: World) -> tuple[Any, ...]:
            return (kind, *[each(world) if callable(each) else each for each in operands])

        ATTEMPTS.append(Attempt(call, kind, term, do, is_harmless))
        return do

    return add


def here(world: World) -> str:
    return world.node


def named(owner: Any, name: str, *args: Any) -> Callable[[World], Any]:
    return lambda world: getattr(owner, name)(*args)


def elsewhere(name: str) -> Callable[[World], Any]:
    return lambda world: getattr(nodes, name)(another(), target)


def tampering(name: str) -> Callable[[World], Any]:
    return lambda world: getattr(chaos, name)(world.node, NOWHERE, rate=0.5)


# --- spawn ----------------------------------------------------------------------------------------------------------------

for name in ("spawn", "spawn_link", "spawn_monitor"):
    attempt(name, "spawn", f"{HERE}:target")(named(beamlike, name, target))
attempt("spawn", "register", "new")(lambda world: spawn(sleeper, name="new"))
attempt("spawn_at", "spawn", f"{HERE}:target")(lambda world: beamlike.spawn_at(world.node, target))
attempt("spawn_at", "node", here)(lambda world: beamlike.spawn_at(world.node, target))
attempt("start_behaviour", "spawn", f"{HERE}:body")(lambda world: start_behaviour(body))
for kind in (Echo, Door):
    for way in ("start", "start_link"):
        base = "GenServer" if kind is Echo else "StateMachine"
        attempt(f"{base}.{way}", "spawn", f"{HERE}:{kind.__name__}")(named(kind, way))
attempt("GenServer.start_link", "register", "new")(lambda world: Echo.start_link(name="new"))
attempt("Supervisor.start_link", "spawn", "beamlike.behaviours.supervisor:StaticSupervising")(lambda world: Supervisor.start_link())
attempt("DynamicSupervisor.start_link", "spawn", "beamlike.behaviours.dynamic_supervisor:DynamicSupervising")(
    lambda world: DynamicSupervisor.start_link()
)


@attempt("Task.async_", "spawn", f"{HERE}:double")
async def _(world: World) -> None:
    assert await Task.async_(double) == 2


@attempt("Task.stream", "spawn", f"{HERE}:double")
async def _(world: World) -> None:
    assert [outcome async for outcome in Task.stream(double, [1])] == [("ok", 2)]


@attempt("TaskSupervisor.async_nolink", "spawn", f"{HERE}:double")
async def _(world: World) -> None:
    assert await (await TaskSupervisor.async_nolink(world.tasks, double)) == 2


attempt("TaskSupervisor.start_child", "spawn", f"{HERE}:double")(lambda world: TaskSupervisor.start_child(world.tasks, double))

# --- register, send, exit ---------------------------------------------------------------------------------------------------

attempt("register", "register", "new")(lambda world: beamlike.register("new"))
attempt("unregister", "register", "victim")(lambda world: beamlike.unregister("victim"))
attempt("send", "send", "victim")(lambda world: send(world.victim, 1))
attempt("send_after", "send", "victim")(lambda world: beamlike.send_after(0, world.victim, 1))


@attempt("send_interval", "send", "victim")
def _(world: World) -> None:
    beamlike.cancel_timer(beamlike.send_interval(1, "victim", 1))


attempt("call", "send", "server")(lambda world: call(world.server, 1))
attempt("cast", "send", "server")(lambda world: beamlike.cast(("server", world.node), 1))
attempt("Table", "send", "victim")(lambda world: Table("new", heir=world.victim).delete())


@attempt("Table.give_away", "send", "victim")
def _(world: World) -> None:
    table = Table("given")
    try:
        table.give_away(world.victim)
    except caps.CapabilityError:
        table.delete()
        raise


attempt("Supervisor.start_child", "send", "static")(lambda world: Supervisor.start_child(world.static, ChildSpec.of(Echo, id="new")))
attempt("Supervisor.terminate_child", "send", "static")(lambda world: Supervisor.terminate_child("static", "kid"))
attempt("Supervisor.restart_child", "send", "static")(lambda world: Supervisor.restart_child("static", "still"))
attempt("Supervisor.delete_child", "send", "static")(lambda world: Supervisor.delete_child("static", "still"))
attempt("Supervisor.get_childspec", "send", "static")(lambda world: Supervisor.get_childspec("static", "kid"))
for name in ("which_children", "count_children", "clear_hold"):
    attempt(f"Supervisor.{name}", "send", "static")(named(Supervisor, name, "static"))
attempt("DynamicSupervisor.terminate_child", "send", "dynamic")(lambda world: DynamicSupervisor.terminate_child("dynamic", world.victim))
attempt("exit", "exit", "victim")(lambda world: exit(world.victim, "kill"))
attempt("link", "exit", "victim")(lambda world: beamlike.link(world.victim))
attempt("system.stop", "exit", "server")(lambda world: system.stop("server"))
for name in ("suspend", "resume", "get_state", "get_status"):
    attempt(f"system.{name}", "system", name)(named(system, name, "server"))
attempt("system.replace_state", "system", "replace_state")(lambda world: system.replace_state("server", dict))
attempt("system.trace", "system", "trace")(lambda world: system.trace("server", False))
attempt("system.statistics", "system", "statistics")(lambda world: system.statistics("server", True))
attempt("process_info", "process_info", "victim")(lambda world: process_info(world.victim))
attempt("process_info_at", "process_info", here)(lambda world: beamlike.process_info_at(world.victim))
attempt("dead_letters", "system", "dead_letters")(lambda world: beamlike.dead_letters())
attempt("blocking", "blocking", "all")(lambda world: blocking(int))

# --- files and connections --------------------------------------------------------------------------------------------------


@attempt("open_file", "file", lambda world: str(world.folder), "w")
def _(world: World) -> None:
    beamlike.open_file(world.folder / "new", "w").close()


@attempt("open_tcp", "net", "127.0.0.1", lambda world: world.port)
async def _(world: World) -> None:
    async with io():
        await (await beamlike.open_tcp("127.0.0.1", world.port)).aclose()


@attempt("listen_tcp", "net", "127.0.0.1", None)
async def _(world: World) -> None:
    async with io():
        for listener in await beamlike.listen_tcp(0, "127.0.0.1"):
            await listener.aclose()


# --- between nodes ----------------------------------------------------------------------------------------------------------

for name in ("spawn_link_at", "spawn_monitor_at"):
    attempt(f"nodes.{name}", "spawn", f"{HERE}:target")(elsewhere(name))
    attempt(f"nodes.{name}", "node", lambda world: another())(elsewhere(name))
attempt("nodes.kill_node", "node", NOWHERE)(lambda world: nodes.kill_node(NOWHERE))
attempt("nodes.chaos.kill", "node", NOWHERE)(lambda world: chaos.kill(NOWHERE))
attempt("nodes.chaos.stop", "node", NOWHERE)(lambda world: chaos.stop(NOWHERE))
attempt("nodes.chaos.go_on", "node", NOWHERE)(lambda world: chaos.go_on(NOWHERE))
attempt("nodes.chaos.slowing_down", "node", NOWHERE)(lambda world: chaos.slowing_down(NOWHERE, 0.5))
attempt("nodes.chaos.stopping", "node", NOWHERE)(lambda world: chaos.stopping(NOWHERE, 0.5))
for name in ("dropping", "corrupting"):
    attempt(f"nodes.chaos.{name}", "node", NOWHERE)(tampering(name))
attempt("nodes.chaos.delaying", "node", NOWHERE)(lambda world: chaos.delaying(world.node, NOWHERE, rate=0.5, seconds=1.0))
attempt("nodes.chaos.tearing", "node", NOWHERE)(lambda world: chaos.tearing(world.node, NOWHERE, at=8))
attempt("nodes.chaos.kill_forge", "system", "kill_forge", is_harmless=False)(lambda world: chaos.kill_forge())
attempt("nodes.Connection", "system", "attach")(lambda world: nodes.Connection(os.getpid()))  # who is no owner of a system


@attempt("nodes.register_global", "register", "new")
async def _(world: World) -> None:
    await nodes.register_global("new", world.victim)
    await nodes.unregister_global("new")


attempt("nodes.unregister_global", "register", "nobody")(lambda world: nodes.unregister_global("nobody"))
attempt("nodes.send_global", "send", "the_victim")(lambda world: nodes.send_global("the_victim", 1))
attempt("nodes.call_global", "send", "the_server")(lambda world: nodes.call_global("the_server", 1, 0.01))
attempt("nodes.join", "register", "group")(lambda world: nodes.join("group"))
attempt("nodes.leave", "register", "group")(lambda world: nodes.leave("group"))
attempt("nodes.start_pair", "spawn", f"{HERE}:Echo")(lambda world: started(nodes.start_pair(Echo, name="new")))
attempt("nodes.start_pair", "register", "new")(lambda world: started(nodes.start_pair(Echo, name="new")))
attempt("nodes.call_pair", "send", "pair")(lambda world: nodes.call_pair("pair", 1))
attempt("nodes.cast_pair", "send", "pair")(lambda world: nodes.cast_pair("pair", 1))
attempt("nodes.stop_pair", "exit", "nobody")(lambda world: nodes.stop_pair("nobody"))


async def started(start: Awaitable[Any]) -> None:
    """A pair, that ends again."""
    await nodes.stop_pair(await start)


@attempt("nodes.DistributedSupervisor.start", "register", "new")
async def _(world: World) -> None:
    await nodes.DistributedSupervisor.start("new")
    await nodes.DistributedSupervisor.stop("new")


attempt("nodes.DistributedSupervisor.stop", "register", "nobody")(lambda world: nodes.DistributedSupervisor.stop("nobody"))
attempt("nodes.DistributedSupervisor.start_child", "send", "nobody")(
    lambda world: nodes.DistributedSupervisor.start_child("nobody", ChildSpec.of(Echo, id="new"))
)
attempt("nodes.DistributedSupervisor.terminate_child", "send", "nobody")(
    lambda world: nodes.DistributedSupervisor.terminate_child("nobody", "kid")
)
attempt("nodes.DistributedSupervisor.which_children", "send", "nobody")(lambda world: nodes.DistributedSupervisor.which_children("nobody"))
attempt("nodes.DistributedSupervisor.clear_hold", "send", "nobody")(lambda world: nodes.DistributedSupervisor.clear_hold("nobody"))


@attempt("nodes.start_partitioned", "register", "new")
async def _(world: World) -> None:
    await nodes.start_partitioned(Echo, name="new")
    await nodes.stop_partitioned("new")


attempt("nodes.stop_partitioned", "register", "nobody")(lambda world: nodes.stop_partitioned("nobody"))
attempt("nodes.call_partition", "send", "partitioned")(lambda world: nodes.call_partition("partitioned", "key", 1))


def another() -> str:
    return next(name for name in nodes.list_nodes() if name != self_pid().node)


BY_NAME = {each.name: each for each in ATTEMPTS}

# --- who attempts -----------------------------------------------------------------------------------------------------------


async def outcome_of(name: str, world: World) -> str:
    """`refused`; `passed`, whatever else came of it; or what is wrong with the refusal."""
    each = BY_NAME[name]
    try:
        result = each.do(world)
        if hasattr(result, "__await__"):
            await result
    except caps.CapabilityError as error:
        return "refused" if error.kind == each.kind else f"refused by {error}"
    except AssertionError as error:
        return f"failed: {error}"
    except RuntimeError as error:
        return "not in threads" if "is called in a thread" in str(error) else "passed"
    except Exception:  # noqa: BLE001 - it went through the check, and then something else was wrong with it
        return "passed"
    return "passed"


async def subject(mode: str) -> None:
    """Attempts what it is told, in a mode."""
    process_flag("trap_exit", True)
    while True:
        match await receive():
            case ("attempt", Pid() as boss, str(name)):
                send(boss, ("outcome", name, await in_mode(mode, name)))
            case Call(caller, ("attempt", str(name))):
                reply(caller, await in_mode(mode, name))


async def in_mode(mode: str, name: str) -> str:
    world = the_world()
    if mode == "scheduler":
        return await outcome_of(name, world)
    if mode == "thread":
        return await blocking(in_thread, name, world)  # type: ignore[no-any-return]
    outcomes: list[str] = []

    async def look() -> None:
        await trio.lowlevel.checkpoint()
        outcomes.append(await outcome_of(name, world))

    async with io():
        if mode == "trio":
            await look()
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
    return outcomes[0]


IN_THREADS = {
    *("send send", "cast send", "process_info process_info", "process_info_at process_info", "dead_letters system", "open_file file"),
    *("nodes.kill_node node", "nodes.Connection system", "nodes.unregister_global register", "nodes.send_global send"),
    *(f"nodes.chaos.{name} node" for name in ("kill", "stop", "go_on", "slowing_down", "stopping")),
    *(f"nodes.chaos.{name} node" for name in ("dropping", "corrupting", "delaying", "tearing")),
    *(f"nodes.DistributedSupervisor.{name} send" for name in ("which_children", "clear_hold")),
    "nodes.stop_partitioned register",
}
"""Attempts that pass in `blocking` threads, to the call or to an error in what it is about. All others raise there that they are not for
threads, whoever makes them."""


def in_thread(name: str, world: World) -> str:
    coro = outcome_of(name, world)
    try:
        coro.send(None)
    except StopIteration as stop:
        return str(stop.value)
    finally:
        coro.close()
    return "waits, in a thread"


_world: World | None = None


def the_world() -> World:
    assert _world is not None
    return _world


def set_world(world: World | None) -> None:
    global _world
    _world = world


class Guarded(GenServer, guarded=True):
    """Attempts what it is asked, and so with the limits of who asks."""

    async def init(self) -> None:
        process_flag("trap_exit", True)

    async def handle_call(self, request: Any, caller: Any) -> Any:
        if request == "own":
            return tuple(layer.terms for layer in caller_layers())
        return await outcome_of(request, the_world())

    async def handle_info(self, message: Any) -> None:
        pass


async def client(mode: str) -> None:
    """Has a strong, guarded server do it."""
    process_flag("trap_exit", True)
    while True:
        match await receive():
            case ("attempt", Pid() as boss, str(name)):
                send(boss, ("outcome", name, await call("guarded", name)))


# --- what the tests do --------------------------------------------------------------------------------------------------------

IRRELEVANT = ("port_io", 0x60, 0x65)

Situation = Callable[[tuple[Any, ...]], Awaitable[Pid]]


async def direct(term: tuple[Any, ...], mode: str = "scheduler") -> Pid:
    return spawn(subject, mode, exclude=[term])


async def inherited(term: tuple[Any, ...]) -> Pid:
    spawn(_parent, self_pid(), exclude=[term])
    return await receive(Pid, PATIENCE)  # type: ignore[no-any-return]


async def _parent(boss: Pid) -> None:
    send(boss, spawn(subject, "scheduler", exclude=[IRRELEVANT]))


async def restarted(term: tuple[Any, ...]) -> Pid:
    """By a supervisor, after its child was killed."""
    supervisor = await Supervisor.start_link([ChildSpec.of(subject, "scheduler", id="subject", exclude=[term])])
    first = (await Supervisor.which_children(supervisor))[0].pid
    assert first is not None
    exit(first, "kill")
    while True:
        pid = (await Supervisor.which_children(supervisor))[0].pid
        if pid not in (None, first):
            assert pid is not None
            return pid
        await sleep(0)


async def through_server(term: tuple[Any, ...]) -> Pid:
    if "guarded" not in registered():
        await Guarded.start(name="guarded")
    return spawn(client, "scheduler", exclude=[term])


async def in_trio(term: tuple[Any, ...]) -> Pid:
    return await direct(term, "trio")


async def in_child_task(term: tuple[Any, ...]) -> Pid:
    return await direct(term, "task")


async def in_blocking_thread(term: tuple[Any, ...]) -> Pid:
    return await direct(term, "thread")


SITUATIONS: dict[str, Situation] = {
    each.__name__: each for each in (direct, inherited, restarted, through_server, in_trio, in_child_task, in_blocking_thread)
}


async def try_all(attempts: list[Attempt], situation: Situation) -> dict[str, str]:
    """Whatever is wrong. Each attempt is refused, and changes nothing; and passes where nothing speaks against it.

    In a thread, what passes there is refused as anywhere; what does not is not tried by who is refused all threads.
    """
    wrong: dict[str, str] = {}
    for each in attempts:
        no_thread = situation is in_blocking_thread and each.name not in IN_THREADS
        for is_refused in (True, False) if each.is_harmless else (True,):
            if no_thread and is_refused and each.kind == "blocking":
                continue
            world = World()
            await world.open()
            set_world(world)
            subject = await situation(each.term(world) if is_refused else IRRELEVANT)
            before = world.everything()
            send(subject, ("attempt", self_pid(), each.name))
            _, _, outcome = await receive(("outcome", each.name), PATIENCE)
            expected = (
                {"refused" if is_refused else "passed"}
                if not no_thread
                else {"not in threads", "refused"}
                if is_refused
                else {"not in threads"}
            )
            if outcome not in expected:
                wrong[each.name] = f"{outcome} where it is to be {' or '.join(expected)}"
            elif is_refused and world.everything() != before:
                wrong[each.name] = f"refused, but {before} became {world.everything()}"
            await end(subject)
            await world.close()
            await tidy()
    return wrong


async def tidy() -> None:
    """End what an attempt that was permitted has left."""
    left = beamlike.whereis("new")
    if left is not None:
        await end(left)


async def end(pid: Pid) -> None:
    """Kill it, and wait for that."""
    ref = monitor(pid)
    exit(pid, "kill")
    await receive(lambda message: getattr(message, "ref", None) == ref, PATIENCE)
