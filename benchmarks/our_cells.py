"""The cases of cells. `BEAMLIKE_PURE=1` runs the uncompiled core, on both sides of their walls."""

import inspect
import os
import statistics
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from beamlike import ChildSpec, Down, Pid, Supervisor, exit, monitor, process_info, receive, self_pid, send, sleep, spawn, unlink
from beamlike.hot import is_compiled
from benchmarks import bench
from benchmarks.bench import Bench, emit, proportional_bytes
from benchmarks.our_nodes import children
from benchmarks.ours import as_main, pong
from cells import Cell, CellEnded, Limits, spawn_cell

DATA = b"x" * 64
WARM_UP = 5  # starts that do not count: the first makes the zygote
PAUSE = 0.05  # seconds between two starts, in which the next spare cell is made
SOON = 0.01  # seconds that a cell has looped when it is killed
PHASES = {"flood": (0.0, 0.25), "flood_paced": (0.0005, 1.0)}  # seconds between two round trips, and of a phase with a flood or without
UNHINDERED = Limits(messages_per_s=10_000_000)  # by default 100,000 messages a second are taken from a cell: one in 10 µs
AWHILE = 5.0  # seconds after which what has not come back has been lost

Program = Callable[..., Coroutine[Any, Any, None]]


async def echo(parent: Pid) -> None:
    """What cells run, and a process that they are compared with."""
    send(parent, ("up", self_pid()))
    while True:
        message = await receive()
        if type(message) is tuple:
            to, data = message
            send(to, data)
        else:
            send(parent, message)
            while message == "loop":
                pass


async def flood(parent: Pid, sink: Pid) -> None:
    send(parent, ("up", self_pid()))
    while True:
        send(sink, (1, 2, 3))


def source(program: Program) -> str:
    return f"from beamlike import Pid, receive, self_pid, send\n{inspect.getsource(program)}"


SOURCES = {program: source(program) for program in (echo, flood)}


async def started(program: Program = echo, *args: Any, **options: Any) -> Pid:
    """A cell that has sent its first message."""
    pid = await spawn_cell(SOURCES[program], program.__name__, self_pid(), *args, **options)
    await receive(("up", Pid))
    return pid


async def end(pid: Pid) -> None:
    """Kill it, and wait for its Down."""
    ref = monitor(pid)
    exit(pid, "kill")
    await receive(lambda message: type(message) is Down and message.ref == ref)


async def until(is_so: Callable[[], bool]) -> bool:
    """Look until it is, for AWHILE; whether it is at last."""
    latest = time.monotonic() + AWHILE
    while not is_so():
        if time.monotonic() > latest:
            return False
        await sleep(SOON)
    return True


def cells() -> set[int]:
    """The OS processes of the cells of this node, a spare one included."""
    found = set()
    for fd in os.listdir("/proc/self/fdinfo"):
        with suppress(FileNotFoundError):  # the descriptor of the list itself
            lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
            found |= {int(line.split()[1]) for line in lines if line.startswith("Pid:")}  # a pidfd; -1: it has ended
    return found - {-1}


def percentile(seconds: list[float], share: int) -> float:
    """So many of a hundred take at most that."""
    return sorted(seconds)[len(seconds) * share // 100]


# --- start ---


async def start_seconds(count: int, pause: float) -> list[float]:
    """The one before is killed, and its OS process ends while the next one starts."""
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        pid = await started()
        seconds.append(time.perf_counter() - begun)
        await end(pid)
        if pause:
            await sleep(pause)
    return seconds


async def start(bench: Bench) -> None:
    first, *_ = await start_seconds(WARM_UP, PAUSE)
    emit("start_first", "seconds", [first])
    for row, pause in (("start", 0.0), ("start_calm", PAUSE)):
        seconds = await start_seconds(bench.size, pause)
        emit(row, "seconds", [statistics.median(seconds)])
        emit(f"{row}_p90", "seconds", [percentile(seconds, 90)])
        emit(f"{row}_worst", "seconds", [max(seconds)])


# --- many ---


async def many(bench: Bench) -> None:
    await end(await started())
    await sleep(PAUSE)
    with bench:
        pids = [await started() for _ in range(bench.size)]
    emit("many_up", "seconds", [bench.lasted])
    with bench:
        for pid in pids:
            send(pid, DATA)
        for _ in pids:
            await receive(DATA.__eq__)
    emit("many_around", "seconds", [bench.lasted])
    await sleep(PAUSE)
    with suppress(PermissionError):  # cells are not dumpable: only root may look, and for others the row is left out
        emit("many_memory", "bytes", [sum(proportional_bytes(pid) for pid in cells()) / bench.size])  # the spare one's included
    for pid in pids:
        await end(pid)
    await until(lambda: len(cells()) <= 1)
    with bench:
        for _ in range(bench.size):
            spawn(hold, self_pid())
        for _ in range(bench.size):
            await receive("up".__eq__)
    emit("many_at_once", "seconds", [bench.lasted])


async def hold(to: Pid) -> None:
    await started()
    send(to, "up")
    await receive()


# --- messages ---


async def messages(bench: Bench) -> None:
    cell, process, me = await started(limits=UNHINDERED), spawn(echo, self_pid()), self_pid()
    await receive(("up", Pid))
    message: object
    for suffix, to, message in (("", cell, DATA), ("_pid", cell, (me, DATA)), ("_process", process, DATA)):
        for count in bench:
            with bench:
                for _ in range(count):
                    send(to, message)
                    await receive()
        bench.report(suffix=suffix)


# --- death ---


async def kill(bench: Bench) -> None:
    await end(await started())
    killed = [await killed_seconds() for _ in range(bench.size)]
    emit("kill", "seconds", [statistics.median(killed)])
    emit("kill_worst", "seconds", [max(killed)])
    back = await back_seconds(bench.size)
    emit("kill_back", "seconds", [statistics.median(back)])
    emit("kill_back_worst", "seconds", [max(back)])


async def loop(pid: Pid) -> None:
    """The cell loops from now on."""
    send(pid, "loop")
    await receive("loop".__eq__)
    await sleep(SOON)


async def killed_seconds() -> float:
    """Until its Down is there and its OS process is gone."""
    pid = await started(output=self_pid())
    info = process_info(pid)
    assert info is not None
    os_process = info.label.rpartition(" ")[2]  # as `beamlike ps` shows it
    await until(lambda: len(cells()) == 2)  # there is a spare one again
    await loop(pid)
    ref = monitor(pid)
    begun = time.perf_counter()
    exit(pid, "kill")
    awaited = {ref, pid}
    while awaited:
        match await receive():
            case Down(ref=of):
                awaited.discard(of)
            case CellEnded(cell=of):
                awaited.discard(of)
    seconds = time.perf_counter() - begun
    if os.path.exists(f"/proc/{os_process}"):  # noqa: ASYNC240 - nothing to wait for
        raise AssertionError("the OS process of a cell that has ended is there")
    return seconds


async def back_seconds(count: int) -> list[float]:
    """Until the one that its supervisor has started in its place answers."""
    seconds = []
    spec = ChildSpec.of(Cell, SOURCES[echo], echo.__name__, self_pid(), id="guest")
    supervisor = await Supervisor.start_link([spec], intensity=count + 1)
    _, pid = await receive(("up", Pid))
    for _ in range(count):
        await loop(pid)
        begun = time.perf_counter()
        exit(pid, "kill")
        _, pid = await receive(("up", Pid))
        send(pid, DATA)
        await receive(DATA.__eq__)
        seconds.append(time.perf_counter() - begun)
    unlink(supervisor)
    exit(supervisor, "shutdown")
    return seconds


# --- beside one that floods ---


async def discard() -> None:
    """Counts what comes; who sends its pid is told how much that was since the last time."""
    counted = 0
    while True:
        message = await receive()
        counted += 1
        if type(message) is Pid:
            send(message, counted - 1)
            counted = 0


async def count(sink: Pid) -> int:
    send(sink, self_pid())
    counted: int = await receive(int)
    return counted


async def round_trips(peer: Pid, pause: float, lasting: float) -> list[float]:
    """Seconds of each."""
    me, seconds, clock = self_pid(), [], time.perf_counter
    over = clock() + lasting
    while True:
        if pause:
            await sleep(pause)
        begun = clock()
        send(peer, (me, DATA))
        await receive()
        now = clock()
        seconds.append(now - begun)
        if now > over:
            return seconds


async def beside_flood(bench: Bench) -> None:
    """Without and with one in turn, so that a drift of the machine hits both alike."""
    sink, peer = spawn(discard), spawn(pong)
    await end(await started())
    for row, (pause, lasting) in PHASES.items():
        await round_trips(peer, pause, lasting)
        alone, beside, each = [], [], []
        for _ in range(bench.size):
            await sleep(PAUSE)
            alone.append(await round_trips(peer, pause, lasting))
            pid = await started(flood, sink)
            await sleep(PAUSE)
            await count(sink)
            begun = time.perf_counter()
            beside.append(await round_trips(peer, pause, lasting))
            each.append((time.perf_counter() - begun) / await count(sink))
            await end(pid)
        pairs = [(percentile(one, 99), percentile(other, 99)) for one, other in zip(beside, alone, strict=True)]
        emit(row, "ratio", [statistics.median(one / other for one, other in pairs)])
        emit(f"{row}_p99", "seconds", [statistics.median(one for one, _ in pairs)])
        emit(f"{row}_alone", "seconds", [statistics.median(other for _, other in pairs)])
        emit(f"{row}_each", "seconds", [statistics.median(each)])


# --- what is left ---


def belongings() -> dict[str, int]:
    """What this node has of the system, with its zygote."""
    zygotes = descendants(os.getpid())
    for pid in cells():
        zygotes.discard(pid)
    counted = {"OS processes": len(descendants(os.getpid())), "mappings": Path("/proc/self/maps").read_text().count("/memfd:")}
    for pid in (os.getpid(), *zygotes):
        with suppress(FileNotFoundError):
            counted[f"descriptors of {pid}"] = len(os.listdir(f"/proc/{pid}/fd"))
    return counted


def descendants(pid: int) -> set[int]:
    """Its children and theirs; who has ended is one until it is reaped."""
    found = set()
    with suppress(FileNotFoundError):
        for child in children(pid):
            found |= {child, *descendants(child)}
    return found


async def rounds(bench: Bench) -> None:
    await start_seconds(WARM_UP, PAUSE)
    await until(lambda: len(cells()) == 1)
    before = belongings()
    with bench:
        for _ in range(bench.size):
            await end(await started())
    emit("rounds", "seconds", [bench.lasted / bench.size])

    def left() -> int:
        return sum(max(count - before.get(what, 0), 0) for what, count in belongings().items())

    await until(lambda: left() == 0)
    emit("rounds_left", "ratio", [left()])


if __name__ == "__main__":
    bench.main(
        ("compiled core" if is_compiled() else "uncompiled core") + ("" if os.geteuid() == 0 else "; only root can see a cell's memory"),
        {
            name: as_main(case)
            for name, case in {
                "start": start,
                "echo": messages,
                "many": many,
                "kill": kill,
                "flood": beside_flood,
                "rounds": rounds,
            }.items()
        },
    )
