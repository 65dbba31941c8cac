"""Pykka: an actor is a thread with a queue."""

import threading
from importlib.metadata import version
from typing import Any

from pykka import ActorRef, ThreadingActor

from benchmarks import bench
from benchmarks.bench import Bench

SENDERS = 100


class Echo(ThreadingActor):
    """Answers an `ask` with its message."""

    def on_receive(self, message: Any) -> Any:
        return message


class Player(ThreadingActor):
    """Sends what it receives back to its sender until the count that comes with it is used up."""

    def __init__(self, done: threading.Event) -> None:
        super().__init__()
        self.done = done

    def on_receive(self, message: Any) -> None:
        sender, left = message
        if left:
            sender.tell((self.actor_ref, left - 1))
        else:
            self.done.set()


class Sink(ThreadingActor):
    """Counts messages."""

    def __init__(self, messages: int, done: threading.Event) -> None:
        super().__init__()
        self.left = messages
        self.done = done

    def on_receive(self, message: Any) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


class Flooder(ThreadingActor):
    """Sends so many messages to the sink."""

    def on_receive(self, message: tuple[ActorRef[Sink], int]) -> None:
        sink, count = message
        for x in range(count):
            sink.tell((self.actor_ref, x))


class Nothing(ThreadingActor):
    """Stops as soon as it has started."""

    def on_start(self) -> None:
        self.stop()


def ping_pong(bench: Bench) -> None:
    done = threading.Event()
    ping, pong = Player.start(done), Player.start(done)
    for count in bench:
        with bench:
            ping.tell((pong, 2 * count))
            done.wait()
            done.clear()
    bench.report(operations=2)
    ping.stop()
    pong.stop()


def call(bench: Bench) -> None:
    server = Echo.start()
    for count in bench:
        with bench:
            for request in range(count):
                server.ask(request)
    bench.report()
    server.stop()


def spawn_exit(bench: Bench) -> None:
    for count in bench:
        with bench:
            for _ in range(count):
                actors = [Nothing.start() for _ in range(bench.size)]
                for actor in actors:
                    actor.actor_stopped.wait()
    bench.report(operations=bench.size)


def fan_in(bench: Bench) -> None:
    done = threading.Event()
    flooders = [Flooder.start() for _ in range(SENDERS)]
    for count in bench:
        with bench:
            for _ in range(count):
                sink = Sink.start(SENDERS * bench.size, done)
                for flooder in flooders:
                    flooder.tell((sink, bench.size))
                done.wait()
                done.clear()
                sink.stop()
    bench.report(operations=SENDERS * bench.size)
    for flooder in flooders:
        flooder.stop()


if __name__ == "__main__":
    bench.main(f"Pykka {version('pykka')}", {"ping_pong": ping_pong, "call": call, "spawn_exit": spawn_exit, "fan_in": fan_in})
