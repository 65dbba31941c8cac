"""The cases with beamlike. `BEAMLIKE_PURE=1` in the environment runs the uncompiled core."""

import gc
import statistics
import time
from collections.abc import Awaitable, Callable

from beamlike import GenServer, Pid, call, exit, receive, run, self_pid, send, sleep, spawn
from beamlike.hot import is_compiled
from benchmarks import bench
from benchmarks.bench import Bench, emit, resident_bytes
from caps import check

SENDERS = 100
PAIRS_A_RUN = 8  # of `compute`


async def pong() -> None:
    me = self_pid()
    while True:
        sender, x = await receive()
        send(sender, (me, x))


async def ping_pong(bench: Bench) -> None:
    me = self_pid()
    peer = spawn(pong)
    for count in bench:
        with bench:
            for x in range(count):
                send(peer, (me, x))
                await receive()
    bench.report(operations=2)


class Echo(GenServer):
    """Answers a call with its request."""

    async def handle_call(self, request: int, caller: object) -> int:
        return request


async def calls(bench: Bench) -> None:
    server = await Echo.start_link()
    for count in bench:
        with bench:
            for request in range(count):
                await call(server, request)
    bench.report()


async def queued_call(bench: Bench) -> None:
    me = self_pid()
    for x in range(bench.size):
        send(me, ("noise", x))
    await calls(bench)


Loop = Callable[[int, Pid], float]
"""Does something so often, to a process, and says how long it took."""

COUNT = 1 << 17  # of checks, or sends, a run


async def limited(loop: Loop, layers: int, to: Pid, boss: Pid) -> None:
    """Spawned again with a layer more until there are as many, the loop."""
    if layers:
        spawn(limited, loop, layers - 1, to, boss, exclude=[("send", f"nobody{layers}"), ("port_io", layers, layers + 1)])
    else:
        send(boss, ("lasted", loop(COUNT, to)))


def checks(count: int, to: Pid) -> float:
    start = time.perf_counter()
    for _ in range(count):
        check("port_io", 0x70, 1)
    return time.perf_counter() - start


def sends(count: int, to: Pid) -> float:
    start = time.perf_counter()
    for x in range(count):
        send(to, x)
    return time.perf_counter() - start


async def one_by_layers(bench: Bench, loop: Loop, rows: dict[str, int]) -> None:
    """A row for each number of layers, in turn. What is sent to has ended: measured is the way there."""
    dead = spawn(nothing)
    runs: dict[str, list[float]] = {row: [] for row in rows}
    for _ in range(bench.runs):
        for row, layers in rows.items():
            spawn(limited, loop, layers, dead, self_pid())
            runs[row].append((await receive(("lasted", float)))[1] / COUNT)
    for row, values in runs.items():
        emit(row, "seconds", values)


async def checking(bench: Bench) -> None:
    await one_by_layers(bench, checks, {"check": 1, "check_three": 3, "check_none": 0})


async def sending(bench: Bench) -> None:
    await one_by_layers(bench, sends, {"send": 0, "send_excluded": 1, "send_three": 3})


async def nothing() -> None:
    pass


async def say_done(to: Pid) -> None:
    send(to, "done")


async def spawn_exit(bench: Bench) -> None:
    """The run queue is first in, first out: when the last one spawned has run, all have."""
    me = self_pid()
    for count in bench:
        with bench:
            for _ in range(count):
                for _ in range(bench.size - 1):
                    spawn(nothing)
                spawn(say_done, me)
                await receive()
    bench.report(operations=bench.size)


async def sink(messages: int, to: Pid) -> None:
    for _ in range(messages):
        await receive()
    send(to, "done")


async def flood(to: Pid, count: int) -> None:
    me = self_pid()
    for x in range(count):
        send(to, (me, x))


async def fan_in(bench: Bench) -> None:
    me = self_pid()
    for count in bench:
        with bench:
            for _ in range(count):
                to = spawn(sink, SENDERS * bench.size, me)
                for _ in range(SENDERS):
                    spawn(flood, to, bench.size)
                await receive()
    bench.report(operations=SENDERS * bench.size)


async def forward(to: Pid) -> None:
    while True:
        send(to, await receive())


async def chain(bench: Bench) -> None:
    me = self_pid()
    first = me
    for _ in range(bench.size):
        first = spawn(forward, first)
    for count in bench:
        with bench:
            for x in range(count):
                send(first, (me, x))
                await receive()
    bench.report(operations=bench.size + 1)


async def wait_for_ever() -> None:
    await receive()


class Pauses:
    """The garbage collector's pauses while this is entered, in seconds."""

    def __enter__(self) -> "Pauses":
        self.longest = 0.0
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *failure: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: object) -> None:
        if phase == "start":
            self._started = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._started)


async def idle(bench: Bench) -> None:
    me = self_pid()
    before = resident_bytes()
    with bench, Pauses() as pauses:
        for _ in range(bench.size):
            spawn(wait_for_ever)
        spawn(say_done, me)
        await receive()
    total = resident_bytes()
    emit("idle", "bytes", [(total - before) / bench.size])
    emit("idle_rss", "bytes", [total])
    emit("idle_spawn", "seconds", [bench.lasted])
    emit("idle_gc", "seconds", [pauses.longest])


async def burn() -> None:
    x = 0
    while True:
        x = (x * 3 + 1) % 1000003


async def gap(bench: Bench) -> None:
    """The size is how many seconds to watch."""
    burners = [spawn(burn), spawn(burn)]
    worst = 0.0
    last = time.perf_counter()
    end = last + bench.size
    while last < end:
        await sleep(0)
        now = time.perf_counter()
        worst = max(worst, now - last)
        last = now
    for burner in burners:
        exit(burner, "kill")
    emit("gap", "seconds", [worst])


async def work(count: int, to: Pid) -> None:
    x = 0
    for _ in range(count):
        x = (x * 3 + 1) % 1000003
    send(to, "done")


async def two_computations(count: int) -> float:
    """Seconds of CPU time, which other programs hardly touch: what is looked for is a few per cent."""
    me = self_pid()
    start = time.process_time()
    for _ in range(2):
        spawn(work, count, me)
    for _ in range(2):
        await receive()
    return time.process_time() - start


def compute(bench: Bench) -> None:
    """Pre-emption on and off in turn, in one OS process; there are two that compute, so that there is somebody to switch to."""
    lasted: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(PAIRS_A_RUN * bench.runs):
        for preempt in (True, False) if turn % 2 else (False, True):

            async def main() -> float:
                return await two_computations(bench.size)

            lasted[preempt].append(run(main, preempt=preempt))
    emit("compute", "seconds", lasted[True])
    emit("compute_off", "seconds", lasted[False])
    emit("compute_cost", "ratio", [statistics.median(on / off for on, off in zip(lasted[True], lasted[False], strict=True))])


def as_main(case: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], None]:
    def start(bench: Bench) -> None:
        async def main() -> None:
            await case(bench)

        run(main)

    return start


if __name__ == "__main__":
    in_a_process = {
        "ping_pong": ping_pong,
        "call": calls,
        "spawn_exit": spawn_exit,
        "fan_in": fan_in,
        "chain": chain,
        "queued_call": queued_call,
        "idle": idle,
        "gap": gap,
        "check": checking,
        "send": sending,
    }
    bench.main(
        "compiled core" if is_compiled() else "uncompiled core",
        {"compute": compute, **{name: as_main(case) for name, case in in_a_process.items()}},
    )
