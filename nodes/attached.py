"""A process for each program that is attached to the system: it answers what comes over the connection that the owner passed on.

It ends with its connection. What is asked of all nodes it asks each node's `overview`. A shell on another node is that node's own matter:
the connection is passed on to it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import trio

from beamlike import BadNameError, CallError, Pid, call, process_flag, receive, self_pid, send
from beamlike.seam import start
from nodes import frames, overview
from nodes.here import joined
from nodes.placement import demonitor_node, kill_node, list_nodes, monitor_node
from nodes.shell import Shell
from nodes.topology import topology

ATTACH = "attach"
PATIENCE = 8.0  # seconds for the answer of a node, beyond what the question itself takes
MOST_ROWS = 10_000
LONGEST_PERIOD = 60.0  # seconds

Request = tuple[Any, ...]


class RequestError(ValueError):
    """What was asked for cannot be answered; the text says why."""


def attach(fd: int, request: Request | None = None) -> None:
    """Start the process for a connection. The descriptor is its own from now on. `request`: what has been read of it already."""
    start(_serve, (socket.socket(fileno=fd), request), parent=None, io=True)


async def _serve(end: socket.socket, request: Request | None) -> None:
    process_flag("label", "attached")
    end.setblocking(False)
    async with trio.SocketStream(trio.socket.from_stdlib_socket(end)) as stream:
        try:
            await Attached(stream).run(request)
        except* (trio.BrokenResourceError, frames.FrameError):
            pass  # it has gone, or is none of ours: nobody is there to be told


class Attached:
    """See the module."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def run(self, request: Request | None) -> None:
        """Until the other end is closed, whatever is being done for it."""
        if request is None and (request := await self._read()) is None:
            return
        if request[0] == "shell" and not await self._is_ours(request):
            return
        put, requests = trio.open_memory_channel[Request](16)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_all, put, nursery.cancel_scope)
            if request[0] == "shell":
                await self.write(("ok", joined().node.id.name))
                nursery.start_soon(_forward, requests, self_pid())
                await Shell(self.write).run()
            else:
                await self.write(await self._answer(request))
                async for request in requests:
                    await self.write(await self._answer(request))
            nursery.cancel_scope.cancel()

    async def write(self, answer: Request) -> None:
        """Send a frame."""
        try:
            frame = frames.packed(answer)
        except ValueError as error:
            frame = frames.packed(("error", f"the answer is too long, ask for less: {error}"))
        await self.stream.send_all(frame)

    # --- what comes ---

    async def _read_all(self, put: trio.MemorySendChannel[Request], scope: trio.CancelScope) -> None:
        while (request := await self._read()) is not None:
            await put.send(request)
        scope.cancel()

    async def _read(self) -> Request | None:
        """The next request; None if the other end is closed."""
        header = await self._take(frames.HEADER.size)
        body = header and await self._take(frames.length(header))
        if not body:
            return None
        match frames.unpacked(body):
            case (str(), *_) as request:
                return request  # type: ignore[no-any-return]
        raise frames.FrameError("a request is an array that starts with its kind")

    async def _take(self, count: int) -> bytes:
        """So many bytes; none if it is closed before."""
        taken = bytearray()
        while len(taken) < count:
            part = await self.stream.receive_some(count - len(taken))
            if not part:
                return b""
            taken += part
        return bytes(taken)

    async def _is_ours(self, request: Request) -> bool:
        """Whether a shell is to be on this node. The connection is passed on to that which is asked for."""
        life = joined()
        name = request[1] if len(request) > 1 else None
        if name is None or name == life.node.id.name:
            return True
        member = life.membership.members.get(name) if type(name) is str else None
        if member is None:
            await self.write(("error", f"there is no node {name!r}: there are {', '.join(list_nodes())}"))
        else:
            life.channel.send("relay", name, member.id.incarnation, ATTACH, *request, fds=[self.stream.socket.fileno()])
        return False

    # --- what is answered ---

    async def _answer(self, request: Request) -> Request:
        try:
            return ("ok", await self._value(request))
        except RequestError as error:
            return ("error", str(error))

    async def _value(self, request: Request) -> Any:
        match request:
            case ("processes", None | str() as node, str(sort), int(limit)) if sort in overview.SORTS and 0 <= limit <= MOST_ROWS:
                seconds = overview.DESCRIBING if sort == "memory" else 0.0
                return await self._ask(self._chosen(node), seconds, "processes", sort, limit)
            case ("busiest", float(seconds), int(limit)) if 0 <= seconds <= LONGEST_PERIOD and 0 <= limit <= MOST_ROWS:
                return await self._ask(list_nodes(), seconds, "busiest", seconds, limit)
            case ("tree", int(limit)) if 0 <= limit <= MOST_ROWS:
                return await self._ask(list_nodes(), overview.PATIENCE, "tree", limit)
            case ("nodes",):
                return [asdict(state) for state in topology()]
            case ("kill", str(name), int(incarnation)):
                return await self._kill(name, incarnation)
            case ("unikernels",):
                return await self._ask(list_nodes(), 0.0, "unikernels")
            case ("kill unikernel", str(node), str(pid)):
                (answer,) = (await self._ask(self._chosen(node), 0.0, "kill", pid)).values()
                return answer
            case ("ask", str(name), tuple(question), None | str() as node):
                return await self._ask_named(self._chosen(node), name, question)
        raise RequestError(f"this system does not know what is asked for: {request!r:.100}")

    def _chosen(self, node: str | None) -> list[str]:
        names = list_nodes()
        if node is None:
            return names
        if node not in names:
            raise RequestError(f"there is no node {node!r}: there are {', '.join(names)}")
        return [node]

    async def _ask(self, names: list[str], seconds: float, *question: Any) -> dict[str, Any]:
        """By node, what each `overview` says to the question; None of those that do not answer in time."""
        answers: dict[str, Any] = dict.fromkeys(names)

        async def ask(name: str) -> None:
            with suppress(CallError):
                answers[name] = await call((overview.SERVICE, name), question, timeout=PATIENCE + seconds)

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(ask, name)
        return answers

    async def _ask_named(self, nodes: list[str], name: str, question: Request) -> dict[str, Any]:
        """The answers, for as long as they take, of all there who have this name; what cannot be told is left to who answers."""
        answers: dict[str, Any] = {}

        async def ask(node: str) -> None:
            with suppress(CallError, BadNameError):  # nobody has it there
                answers[node] = await call((name, node), question, timeout=None)

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(ask, node)
        return answers

    async def _kill(self, name: str, incarnation: int) -> int:
        """Kill this life, if it is not over, and wait for the next; its incarnation."""
        names = [state.name for state in topology()]
        if name not in names:
            raise RequestError(f"there is no node {name!r}: there are {', '.join(names)}")
        monitor_node(name)
        try:
            if _incarnation_of(name) == incarnation:
                kill_node(name)
            while (now := _incarnation_of(name)) <= incarnation:
                if name in joined().membership.retired:
                    raise RequestError(f"the node {name} was retired, and is not started again")
                await receive()  # NodeDown, NodeUp
            return now
        finally:
            demonitor_node(name)


async def _forward(requests: trio.MemoryReceiveChannel[Request], shell: Pid) -> None:
    async for request in requests:
        send(shell, ("request", request))


def _incarnation_of(name: str) -> int:
    """Of the life that is up; 0 if there is none."""
    up = joined().membership.life_of(name)
    return 0 if up is None else up.incarnation
