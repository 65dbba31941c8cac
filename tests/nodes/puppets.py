"""Processes that do what they are told, for checks whose processes are on nodes of the test's choice."""

from __future__ import annotations

from typing import Any

import beamlike
import nodes
from beamlike import Down, Pid, Ref, Stop, make_ref, monitor, process_info_at, receive, self_pid, send, spawn, spawn_at
from nodes import NodeDown, NodeUp, SpawnError, kill_node, monitor_node

PATIENCE = 10.0  # seconds


def node(number: int) -> str:
    """The name of the node of this number."""
    return f"n{number}@{self_pid().node.partition('@')[2]}"


async def puppet() -> None:
    """Keeps every other message, and shows them when asked."""
    seen: list[Any] = []
    while True:
        match await receive():
            case ("do", Pid() as who, Ref() as ref, str(name), tuple(args)):
                try:
                    value = getattr(beamlike, name)(*args)
                    answer: Any = ("ok", await value if hasattr(value, "__await__") else value)
                except Exception as error:  # noqa: BLE001 - told to who asked
                    answer = ("error", type(error).__name__, str(error))
                send(who, (ref, answer))
            case ("send back", Pid() as who, message):
                send(who, message)
            case ("pass on", Pid() as to, message):
                send(to, message)
            case ("seen", Pid() as who, Ref() as ref):
                send(who, (ref, tuple(seen)))
                seen.clear()
            case ("end", reason):
                raise Stop(reason)
            case ("raise", text):
                raise LookupError(text)
            case message:
                seen.append(message)


class Puppet:
    """One, monitored by the process that made it."""

    def __init__(self, pid: Pid, ref: Ref) -> None:
        self.pid = pid
        self.ref = ref

    async def do(self, name: str, *args: Any) -> Any:
        """Have it call a function of beamlike, and return what that returned. Asserts that it did not raise."""
        ref = make_ref()
        send(self.pid, ("do", self_pid(), ref, name, args))
        _, answer = await receive(lambda message: type(message) is tuple and message[0] == ref, PATIENCE)
        assert answer[0] == "ok", answer
        return answer[1]

    def tell(self, name: str, *args: Any) -> None:
        """The same without waiting."""
        send(self.pid, ("do", self_pid(), make_ref(), name, args))

    async def seen(self) -> tuple[Any, ...]:
        """The messages it has got since it was last asked."""
        ref = make_ref()
        send(self.pid, ("seen", self_pid(), ref))
        return (await receive(lambda message: type(message) is tuple and message[0] == ref, PATIENCE))[1]  # type: ignore[no-any-return]

    async def ended(self) -> Any:
        """Wait for its end: the reason."""
        return (await receive(lambda message: type(message) is Down and message.ref == self.ref, PATIENCE)).reason

    async def end(self, reason: Any) -> None:
        """Have it end and wait until the caller knows."""
        send(self.pid, ("end", reason))
        assert await self.ended() == reason

    async def links(self) -> set[Pid]:
        """Whom it is linked with."""
        info = await process_info_at(self.pid)
        assert info is not None
        return set(info.links)


async def make(number: int, **options: Any) -> Puppet:
    """A puppet on the node of this number."""
    pid = spawn(puppet, **options) if node(number) == self_pid().node else await spawn_at(node(number), puppet, **options)
    return Puppet(pid, monitor(pid))


async def make_again(number: int) -> Puppet:
    """One on a node that was killed, when it is back."""
    monitor_node(node(number))
    while True:
        try:
            puppet = await make(number)
        except SpawnError:
            await receive(lambda message: message == NodeUp(node(number)), PATIENCE)
            continue
        nodes.demonitor_node(node(number))
        while await receive_now(lambda message: isinstance(message, NodeUp | NodeDown)):
            pass
        return puppet


async def receive_now(matches: Any) -> bool:
    """Take such a message if there is one."""
    try:
        await receive(matches, 0)
    except TimeoutError:
        return False
    return True


async def pass_by(one: Puppet, other: Puppet) -> None:
    """Return when all that `one` has sent to `other` has taken effect."""
    ref = make_ref()
    send(one.pid, ("pass on", other.pid, ("send back", self_pid(), ref)))
    await receive(lambda message: message == ref, PATIENCE)


async def kill(number: int) -> None:
    """SIGKILL a node, and wait until this node knows."""
    name = node(number)
    monitor_node(name)
    kill_node(name)
    await receive(lambda message: type(message) is NodeDown and message.name == name, PATIENCE)
    nodes.demonitor_node(name)
    while await receive_now(lambda message: isinstance(message, NodeUp | NodeDown)):
        pass
