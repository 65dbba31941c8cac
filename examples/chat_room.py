"""A chat room on TCP: one process for every connection, and a room that knows who is in it.

It shows trio inside processes (`io=True`: sockets, nurseries), a supervisor, and monitors: whatever ends a connection, the room hears of it
and tells the others. Nobody else is hurt.

    beamlike run examples/chat_room.py 4000      # port 0 takes a free one
    nc localhost 4000                            # in other terminals; the first line is your name
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

import trio

from beamlike import (
    Caller,
    ChildSpec,
    Down,
    GenServer,
    Mailbox,
    Pid,
    Supervisor,
    call,
    cast,
    io,
    monitor,
    receive,
    self_pid,
    send,
    spawn,
    spawn_link,
)

LONGEST_LINE = 1000  # bytes
MOST_UNREAD = 1000  # lines that may wait for a member; who reads slower than that is put out


class Room(GenServer):
    """Who is in the room. Members are told what happens by messages ("line", text)."""

    async def init(self) -> None:
        self.members: dict[Pid, str] = {}

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ("join", str() as name) if name in self.members.values():
                return f"the name {name} is taken"
            case ("join", str() as name):
                self.tell_all(f"* {name} has joined")
                monitor(caller.pid)
                self.members[caller.pid] = name
                return "welcome"
            case "members":
                return dict(self.members)
        raise ValueError(f"Room takes ('join', name) and 'members', not {request!r}")

    async def handle_cast(self, request: Any) -> None:
        match request:
            case ("say", Pid() as member, str() as text) if member in self.members:
                self.tell_all(f"{self.members[member]}: {text}")

    async def handle_info(self, message: Any) -> None:
        match message:
            case Down(_, member, _):
                self.tell_all(f"* {self.members.pop(member)} has left")

    def tell_all(self, text: str) -> None:
        """Send a line to every member."""
        for member in self.members:
            send(member, ("line", text))


class Door(GenServer):
    """Listens on the port and starts a process for every connection. `await call(door, "port")` tells which port."""

    async def init(self, port: int) -> None:
        async with io():
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        spawn_link(accept, listeners[0], io=True)

    async def handle_call(self, request: Any, caller: Caller) -> int:
        return int(self.port)


async def accept(listener: trio.SocketListener) -> None:
    """Give every connection a process of its own. It is linked to nobody: the room monitors it."""
    async with listener:
        while True:
            stream = await listener.accept()
            spawn(connection, stream, io=True, mailbox=Mailbox(MOST_UNREAD, full="exit"))


async def connection(stream: trio.SocketStream) -> None:
    """A member: what it types goes to the room, what the room says goes to it."""
    async with stream:
        try:
            lines = read_lines(stream)
            if await joined(stream, lines):
                await converse(stream, lines)
        except* trio.BrokenResourceError:
            print("a member's line was cut", file=sys.stderr)


async def joined(stream: trio.SocketStream, lines: AsyncIterator[str]) -> bool:
    """Ask for a name until the room takes it. False if the member leaves before."""
    await stream.send_all(b"your name?\n")
    async for name in lines:
        answer = await call("room", ("join", name))
        await stream.send_all(f"* {answer}\n".encode())
        if answer == "welcome":
            return True
    return False


async def converse(stream: trio.SocketStream, lines: AsyncIterator[str]) -> None:
    """Until the member leaves, or the room is no more."""
    monitor("room")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_lines, lines, nursery.cancel_scope)
        while True:
            match await receive():
                case ("line", text):
                    await stream.send_all(f"{text}\n".encode())
                case Down():
                    nursery.cancel_scope.cancel()
                    return


async def say_lines(lines: AsyncIterator[str], until_closed: trio.CancelScope) -> None:
    """Pass on what the member types, until it closes its end."""
    async for text in lines:
        cast("room", ("say", self_pid(), text))
    until_closed.cancel()


async def read_lines(stream: trio.SocketStream) -> AsyncIterator[str]:
    """The lines that come in, without the ends; an endless line ends them."""
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").strip()
        if len(rest) > LONGEST_LINE:
            return


async def open_room(port: int) -> int:
    """Start the room and its door under a supervisor. Returns the port."""
    children = [ChildSpec.of(Room, name="room"), ChildSpec.of(Door, port, name="door")]
    await Supervisor.start_link(children, strategy="rest_for_one")
    return int(await call("door", "port"))


async def main() -> None:
    """Open it and wait for Ctrl-C."""
    port = await open_room(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
    print(f"the room is open: nc localhost {port}", flush=True)
    await receive()
