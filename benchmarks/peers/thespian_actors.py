"""Thespian in its simpleSystemBase: all actors in one thread of one OS process, the fastest of its system bases."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from thespian.actors import Actor, ActorExitRequest, ActorSystem

from benchmarks import bench
from benchmarks.bench import Bench

SENDERS = 100


class Echo(Actor):
    """Answers with the message."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, int):
            self.send(sender, message)


class Player(Actor):
    """Started with ("serve", other player, count, whom to tell at the end); then sends what it receives back."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        match message:
            case ("serve", other, count):
                self.send(other, (sender, count))
            case (end, 0):
                self.send(end, "done")
            case (end, left):
                self.send(sender, (end, left - 1))


class Sink(Actor):
    """Told ("expect", messages), answers "done" to whom told it when so many have come."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        match message:
            case ("expect", messages, flooders, each):
                self.left = messages
                self.waiting = sender
                for flooder in flooders:
                    self.send(flooder, each)
            case (_, _):
                self.left -= 1
                if not self.left:
                    self.send(self.waiting, "done")


class Flooder(Actor):
    """Sends so many messages to whom asks."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, int):
            for x in range(message):
                self.send(sender, (self.myAddress, x))


def ping_pong(bench: Bench, system: ActorSystem) -> None:
    ping, pong = system.createActor(Player), system.createActor(Player)
    for count in bench:
        with bench:
            system.ask(ping, ("serve", pong, 2 * count))
    bench.report(operations=2)


def call(bench: Bench, system: ActorSystem) -> None:
    server = system.createActor(Echo)
    for count in bench:
        with bench:
            for request in range(count):
                system.ask(server, request)
    bench.report()


def spawn_exit(bench: Bench, system: ActorSystem) -> None:
    for count in bench:
        with bench:
            for _ in range(count):
                actors = [system.createActor(Echo) for _ in range(bench.size)]
                for actor in actors:
                    system.tell(actor, ActorExitRequest())
    bench.report(operations=bench.size)


def fan_in(bench: Bench, system: ActorSystem) -> None:
    sink = system.createActor(Sink)
    flooders = [system.createActor(Flooder) for _ in range(SENDERS)]
    for count in bench:
        with bench:
            for _ in range(count):
                system.ask(sink, ("expect", SENDERS * bench.size, flooders, bench.size))
    bench.report(operations=SENDERS * bench.size)


def in_system(case: Callable[[Bench, ActorSystem], None]) -> Callable[[Bench], None]:
    return lambda bench: case(bench, ActorSystem("simpleSystemBase"))


if __name__ == "__main__":
    cases = {"ping_pong": ping_pong, "call": call, "spawn_exit": spawn_exit, "fan_in": fan_in}
    bench.main(
        f"Thespian {version('thespian')} (simpleSystemBase)",
        {name: in_system(case) for name, case in cases.items()},
    )
