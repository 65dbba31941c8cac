"""The cases of unikernels. `BEAMLIKE_PURE=1` runs the uncompiled core."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from beamlike import CallError, ChildSpec, Pid, Supervisor, call, exit, monitor, receive, self_pid, send, sleep, spawn, unlink, whereis
from beamlike.hot import is_compiled
from benchmarks import bench
from benchmarks.bench import Bench, emit
from benchmarks.our_nodes import children
from benchmarks.ours import as_main
from unikernels import Unikernel, build, start_unikernel

DATA = b"x" * 64
ON_THE_WAY = 64
PYTHON_BYTES = 1_000_000  # of the loop in Python, which would take minutes for a GB
PROGRAMS = Path(__file__).parents[1] / "examples" / "unikernels"
CORE = max(os.sched_getaffinity(0))  # the node is where the kernel puts it, which is the other one
GIGABYTE = 1_000_000_000

folder = tempfile.TemporaryDirectory(prefix="beamlike-bench-")


def image(name: str, target: str = "linux") -> Path:
    path = Path(folder.name, f"{name}.{target}")
    return path if path.exists() else build(PROGRAMS / f"{name}.c", target, path).path  # type: ignore[arg-type]


async def end(pid: Pid) -> None:
    ref = monitor(pid)
    exit(pid, "kill")
    await receive(lambda message: getattr(message, "ref", None) == ref)


async def start(bench: Bench) -> None:
    async def seconds(target: str, count: int) -> list[float]:
        path, taken = image("echo", target), []
        for number in range(count + 1):
            begun = time.perf_counter()
            pid = await start_unikernel(path)
            await call(pid, number)
            taken.append(time.perf_counter() - begun)
            await end(pid)
        return taken[1:]

    taken = await seconds("linux", bench.size)
    emit("start", "seconds", [statistics.median(taken)])
    emit("start_p90", "seconds", [sorted(taken)[len(taken) * 9 // 10]])
    if shutil.which("qemu-system-x86_64"):
        emit("start_bare", "seconds", [statistics.median(await seconds("bare", max(bench.size // 10, 3)))])


async def messages(bench: Bench) -> None:
    pid = await start_unikernel(image("echo"), self_pid(), core=CORE)

    async def one(count: int) -> None:
        for _ in range(count):
            send(pid, DATA)
            await receive()

    async def called(count: int) -> None:
        for _ in range(count):
            await call(pid, DATA)

    async def pipelined(count: int) -> None:
        for _ in range(min(count, ON_THE_WAY)):
            send(pid, DATA)
        for _ in range(count - ON_THE_WAY):
            await receive()
            send(pid, DATA)
        for _ in range(min(count, ON_THE_WAY)):
            await receive()

    async def calls(count: int) -> None:
        share = -(-count // ON_THE_WAY)
        for _ in range(ON_THE_WAY):
            spawn(caller, self_pid(), pid, share)
        for _ in range(ON_THE_WAY):
            await receive("done".__eq__)

    ways: dict[str, Callable[[int], Awaitable[None]]] = {"": one, "_call": called, "_pipelined": pipelined, "_calls": calls}
    for suffix, way in ways.items():
        for count in bench:
            with bench:
                await way(count)
        bench.report(suffix=suffix)
    await end(pid)


async def caller(boss: Pid, pid: Pid, count: int) -> None:
    for _ in range(count):
        await call(pid, DATA)
    send(boss, "done")


async def djb2(bench: Bench) -> None:
    pid = await start_unikernel(image("hasher"), core=CORE)
    text = b"x" * 10_000
    begun = time.perf_counter()
    await call(pid, ("djb2", GIGABYTE // len(text), text), timeout=None)
    emit("djb2", "seconds", [(time.perf_counter() - begun) / GIGABYTE])
    await end(pid)
    hash_, data = 5381, b"x" * PYTHON_BYTES
    begun = time.perf_counter()
    for byte in data:
        hash_ = (hash_ * 33 + byte) & 0xFFFFFFFF
    emit("djb2_python", "seconds", [(time.perf_counter() - begun) / PYTHON_BYTES])


async def load() -> None:
    """Calls the one that is there by its name, for ever."""
    while True:
        try:
            await call("crashing", ("divide", 84, 2), timeout=5)
        except (CallError, LookupError):
            await sleep(0.001)


async def until_back(before: Pid) -> None:
    while whereis("crashing") in (None, before):
        await sleep(0)
    while True:
        with suppress(CallError, LookupError):  # what ended it may have been on its way to this one as well
            assert await call("crashing", ("divide", 84, 2), timeout=5) == 42
            return


async def crash(bench: Bench) -> None:
    """From the call that makes it read address 0 to the answer of the one that its supervisor has started."""
    spec = ChildSpec.of(Unikernel, image("crash"), name="crashing", core=CORE)
    supervisor = await Supervisor.start_link([spec], intensity=2 * bench.size + 1, period=1.0)
    for _ in range(4):
        spawn(load)
    await sleep(0.1)
    before = len(os.listdir("/proc/self/fd")), len(list(children(os.getpid())))
    taken = []
    for number in range(bench.size):
        pid = whereis("crashing")
        assert pid is not None
        begun = time.perf_counter()
        if number % 2:
            exit(pid, "kill")
        else:
            with suppress(CallError):
                await call(pid, ("null",), timeout=5)
        await until_back(pid)
        taken.append(time.perf_counter() - begun)
    await sleep(0.2)
    after = len(os.listdir("/proc/self/fd")), len(list(children(os.getpid())))
    emit("crash", "seconds", [statistics.median(taken)])
    emit("crash_worst", "seconds", [max(taken)])
    emit("crash_left", "ratio", [float(sum(max(now - then, 0) for now, then in zip(after, before, strict=True)))])
    unlink(supervisor)
    exit(supervisor, "shutdown")


if __name__ == "__main__":
    bench.main(
        "compiled core" if is_compiled() else "uncompiled core",
        {name: as_main(case) for name, case in {"start": start, "echo": messages, "djb2": djb2, "crash": crash}.items()},
    )
