"""multiprocessing: a child of its fork server and a pipe to it, which is what a cell is without walls. The child runs no actors."""

import multiprocessing
import platform
import statistics
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from benchmarks import bench
from benchmarks.bench import Bench, emit, proportional_bytes

DATA = b"x" * 64
SOON = 0.01  # seconds that a child has looped when it is killed

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["benchmarks.bench", "platform", "statistics"])  # what a child imports, as in a zygote


def echo(pipe: Connection) -> None:
    pipe.send("up")
    while True:
        message = pipe.recv()
        pipe.send(message)
        while message == "loop":
            pass


def started() -> tuple[ForkServerProcess, Connection]:
    """A child that has sent its first message."""
    ours, theirs = context.Pipe()
    child = context.Process(target=echo, args=(theirs,), daemon=True)
    child.start()
    theirs.close()
    ours.recv()
    return child, ours


def end(child: ForkServerProcess, pipe: Connection) -> None:
    child.kill()
    child.join()
    child.close()
    pipe.close()


def start(bench: Bench) -> None:
    seconds = []
    for _ in range(1 + bench.size):
        begun = time.perf_counter()
        child, pipe = started()
        seconds.append(time.perf_counter() - begun)
        end(child, pipe)
    emit("start_first", "seconds", seconds[:1])
    emit("start", "seconds", [statistics.median(seconds[1:])])


def messages(bench: Bench) -> None:
    child, pipe = started()
    for count in bench:
        with bench:
            for _ in range(count):
                pipe.send(DATA)
                pipe.recv()
    bench.report()
    end(child, pipe)


def many(bench: Bench) -> None:
    end(*started())
    with bench:
        children = [started() for _ in range(bench.size)]
    emit("many_up", "seconds", [bench.lasted])
    with bench:
        for _, pipe in children:
            pipe.send(DATA)
        for _, pipe in children:
            pipe.recv()
    emit("many_around", "seconds", [bench.lasted])
    with suppress(PermissionError):
        emit("many_memory", "bytes", [sum(proportional_bytes(child.pid or 0) for child, _ in children) / bench.size])
    for child, pipe in children:
        end(child, pipe)


def kill(bench: Bench) -> None:
    seconds = []
    for _ in range(bench.size):
        child, pipe = started()
        pipe.send("loop")
        pipe.recv()
        time.sleep(SOON)
        begun = time.perf_counter()
        child.kill()
        child.join()
        seconds.append(time.perf_counter() - begun)
        end(child, pipe)
    emit("kill", "seconds", [statistics.median(seconds)])


if __name__ == "__main__":
    bench.main(f"Python {platform.python_version()}", {"start": start, "echo": messages, "many": many, "kill": kill})
