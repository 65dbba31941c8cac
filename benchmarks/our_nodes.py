"""The cases between nodes with beamlike: real OS processes, really killed. `BEAMLIKE_PURE=1` runs the uncompiled core."""

import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nodes
from beamlike import (
    BadNameError,
    Caller,
    CallError,
    ChildSpec,
    GenServer,
    Pid,
    call,
    exit,
    process_flag,
    receive,
    self_pid,
    send,
    sleep,
    spawn_at,
    spawn_link,
)
from beamlike.hot import is_compiled
from benchmarks import bench
from benchmarks.bench import Bench, emit, proportional_bytes
from nodes import DistributedSupervisor, NodeDown, NodeUp, Pair, list_nodes, monitor_node, spawn_link_at
from nodes.membership import LOST, REASON_PATIENCE

SMALL, LARGE = 64, 1 << 20  # bytes
IDLE = 3.0  # seconds of looking at a node that has nothing to do
HANG_TIMEOUT = 1.0
TICK = 0.001
AWHILE = 0.3  # seconds between two kills, in which what was lost is whole again


# --- speed, between two nodes ---


async def pong() -> None:
    while True:
        sender, x = await receive()
        send(sender, x)


async def hop(bench: Bench) -> None:
    me, peer, data = self_pid(), await spawn_at(list_nodes()[1], pong), b"x" * SMALL
    for count in bench:
        with bench:
            for _ in range(count):
                send(peer, (me, data))
                await receive()
    bench.report(operations=2)


async def sink(messages: int, to: Pid) -> None:
    for _ in range(messages):
        await receive()
    send(to, "done")


async def flood(bench: Bench, size: int) -> None:
    me, node, data = self_pid(), list_nodes()[1], b"x" * size
    for count in bench:
        with bench:
            to = await spawn_at(node, sink, count, me)
            for _ in range(count):
                send(to, data)
            await receive()
    bench.report()


async def one_way(bench: Bench) -> None:
    await flood(bench, SMALL)


async def one_way_large(bench: Bench) -> None:
    await flood(bench, LARGE)


class Echo(GenServer):
    """Answers a call with its request; `never` it does not answer; `where` it says the node."""

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        if request == "never":
            await receive(lambda message: False)
        return self_pid().node if request == "where" else request


async def keep_echo(to: Pid) -> None:
    send(to, await Echo.start_link())
    await receive(lambda message: False)


async def calls(bench: Bench) -> None:
    await spawn_at(list_nodes()[1], keep_echo, self_pid())
    server = await receive(Pid)
    for count in bench:
        with bench:
            for request in range(count):
                await call(server, request)
    bench.report()


async def idle(bench: Bench) -> None:
    """This node and the other have nothing to do but what the runtime does; the share of a core of the busier."""
    pids = [state.pid for state in nodes.topology()]
    before = [cpu_seconds(pid) for pid in pids]
    await sleep(IDLE)
    emit("idle_node", "ratio", [max(cpu_seconds(pid) - start for pid, start in zip(pids, before, strict=True)) / IDLE])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()  # nanoseconds on a core, and others
    return int(fields[0]) / 1e9


# --- starting ---


async def now() -> float:
    return time.monotonic()


async def around(bench: Bench, before: float) -> float:
    """A message through all nodes, there and back; returns the time when it is over."""
    emit("many_up", "seconds", [time.monotonic() - before])
    me = self_pid()
    following = me
    for name in reversed(list_nodes()[1:]):
        following = await spawn_at(name, pass_on, following)
    start = time.monotonic()
    send(following, "through all")
    await receive()
    emit("many_around", "seconds", [time.monotonic() - start])
    owner = os.getppid()
    pids = [owner, *children(owner)]
    emit("many_memory", "bytes", [float(sum(proportional_bytes(pid) for pid in pids))])
    return time.monotonic()


async def pass_on(following: Pid) -> None:
    send(following, await receive())


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start(bench: Bench) -> None:
    lasted = []
    for _ in range(bench.runs):
        before = time.monotonic()
        lasted.append(nodes.run(now, nodes=bench.size) - before)
    emit("start", "seconds", lasted)


def many(bench: Bench) -> None:
    over = nodes.run(measure, around, time.monotonic(), nodes=bench.size)
    emit("many_end", "seconds", [time.monotonic() - over])


# --- death ---


class Counter(GenServer):
    """A process pair that counts."""

    async def init(self) -> None:
        self.state = 0

    async def handle_call(self, request: str, caller: Caller) -> int:
        self.state += 1
        return int(self.state)


async def lead(name: str, to: Pid) -> None:
    """A pair whose primary is here."""
    send(to, await nodes.start_pair(Counter, name=name))


async def watch(victim: str, to: Pid) -> None:
    """On each other node: when does it know, and which reason?"""
    while victim not in list_nodes():  # who has killed it before knows sooner that it is back; to watch it now would tell of its absence
        await sleep(TICK)
    monitor_node(victim)
    send(to, "watching")
    while True:
        down = await receive(NodeDown)
        send(to, (time.monotonic(), down.reason))


async def fail(server: Pid, to: Pid) -> None:
    try:
        await call(server, "never", None)
    except CallError as error:
        send(to, ("call", time.monotonic(), error.reason))


async def answers(ask: Callable[[], Awaitable[Any]], to: Pid, what: str) -> None:
    """Ask until there is an answer."""
    while True:
        with suppress(CallError, BadNameError, nodes.SpawnError, TimeoutError):
            await ask()
            send(to, (what, time.monotonic()))
            return
        await sleep(TICK)


async def kill_once(victim: str, number: int, waited: dict[str, list[float]]) -> None:
    """SIGKILL a node with a watcher on each other one, a call in flight to it, a distributed child and the primary of a pair."""
    me, name = self_pid(), f"bench {number}"
    watchers = [await spawn_link_at(other, watch, victim, me) for other in list_nodes() if other != victim]
    for _ in watchers:
        await receive("watching".__eq__)
    await spawn_at(victim, keep_echo, me)
    caller = spawn_link(fail, await receive(Pid), me)
    specs = [ChildSpec.of(Echo, id=place) for place in range(len(list_nodes()))]
    await DistributedSupervisor.start(name, specs)
    child = next(id_ for id_ in range(len(specs)) if where(name, id_) == victim)
    await spawn_at(victim, lead, name, me)
    pair = await receive(Pair)
    before = await nodes.call_pair(pair, "count")

    async def ask_service() -> None:
        pid = DistributedSupervisor.whereis_child(name, child)
        if pid is None or pid.node == victim:
            raise TimeoutError
        await call(pid, 1)

    async def ask_pair() -> None:
        if await nodes.call_pair(pair, "count") != before + 1:
            raise AssertionError("the pair has lost a change, or made it twice")

    async def ask_node() -> None:
        await spawn_link_at(victim, now)

    pid = next(state.pid for state in nodes.topology() if state.name == victim)
    start = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    for ask, what in ((ask_service, "service"), (ask_pair, "pair"), (ask_node, "back")):
        spawn_link(answers, ask, me, what)
    told: list[float] = []
    others = {"call", "service", "pair", "back"}
    while len(told) < len(watchers) or others:
        match await receive(tuple):
            case (float(when), reason):
                lasted = when - start
                is_untold = reason == LOST and lasted >= REASON_PATIENCE  # the owner had no turn for so long: `told` shows it
                if reason != ("signal", "SIGKILL") and not is_untold:
                    raise AssertionError(f"the reason is {reason}, told after {lasted:.3f} s")
                told.append(lasted)
            case ("call", when, reason) if reason != "noconnection":
                raise AssertionError(f"the call failed with {reason}")
            case (what, when, *_):
                others.discard(what)
                waited[what].append(when - start)
    waited["told"].append(max(told))
    for process in (*watchers, caller):
        exit(process, "shutdown")
    await DistributedSupervisor.stop(name)
    await nodes.stop_pair(pair)


def where(supervisor: str, child: int) -> str | None:
    pid = DistributedSupervisor.whereis_child(supervisor, child)
    return None if pid is None else pid.node


async def kill(bench: Bench) -> None:
    process_flag("trap_exit", True)
    victims = list_nodes()[1:]
    waited: dict[str, list[float]] = {what: [] for what in ("told", "back", "call", "service", "pair")}
    for number in range(bench.size):
        while len(list_nodes()) <= len(victims):
            await sleep(TICK)
        await kill_once(victims[number % len(victims)], number, waited)
        await sleep(AWHILE)
    for what, seconds in waited.items():
        emit(f"kill_{what}", "seconds", [statistics.median(seconds)])
        emit(f"kill_{what}_worst", "seconds", [max(seconds)])


async def tick(to: Pid) -> None:
    """How long is the longest pause of a process that does a little all the time?"""
    worst, last = 0.0, time.monotonic()
    while True:
        await sleep(TICK)
        now = time.monotonic()
        if now - last > worst:
            worst = now - last
            send(to, ("gap", worst))
        last = now


async def stop(bench: Bench) -> None:
    """SIGSTOP a node; the others call each other meanwhile."""
    me, names = self_pid(), list_nodes()
    late = []
    for _ in range(bench.size):
        monitor_node(names[1])
        for name in (names[0], names[2]):
            await spawn_link_at(name, tick, me)
        pid = next(state.pid for state in nodes.topology() if state.name == names[1])
        start = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        down = await receive(NodeDown)
        late.append(time.monotonic() - start - HANG_TIMEOUT)
        if down.reason[0] != "hung":
            raise AssertionError(f"the reason is {down.reason}")
        await receive(NodeUp)
    gaps = []
    with suppress(TimeoutError):
        while True:
            gaps.append((await receive(tuple, 0))[1])
    emit("stop_late", "seconds", [max(late)])
    emit("stop_gap", "seconds", [max(gaps)])


async def measure(case: Callable[..., Awaitable[None]], *args: Any) -> Any:
    """In main's node, which has the owner's arguments."""
    return await case(bench.of_command_line(), *args)


def on_nodes(case: Callable[[Bench], Awaitable[None]], count: int, **options: Any) -> Callable[[Bench], None]:
    return lambda _: nodes.run(measure, case, nodes=count, **options)


if __name__ == "__main__":
    bench.main(
        "compiled core" if is_compiled() else "uncompiled core",
        {
            "hop": on_nodes(hop, 2),
            "one_way": on_nodes(one_way, 2),
            "one_way_large": on_nodes(one_way_large, 2),
            "call": on_nodes(calls, 2),
            "idle_node": on_nodes(idle, 2),
            "start": start,
            "many": many,
            "kill": on_nodes(kill, 4),
            "stop": on_nodes(stop, 3, hang_timeout=HANG_TIMEOUT),
        },
    )
