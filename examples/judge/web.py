"""The judge's face: HTTP/1.1, one request a connection, each connection a process. h11 knows the protocol; the bytes are ours."""

import json
import math
from pathlib import Path
from typing import Any

import h11
import trio
from bench import BUSY, FAILED, Submission
from problems import PROBLEMS, Problem
from verdicts import overall

from beamlike import Caller, CallError, Down, GenServer, call, io, listen_tcp, receive, spawn_link, spawn_monitor

MOST_CONNECTIONS = 64  # at once; who comes then waits to be accepted
MOST_HEADER = 16 * 1024  # bytes
MOST_BODY = 128 * 1024  # bytes
MOST_SOURCE = 64 * 1024  # bytes
PATIENCE = 10.0  # seconds for a request to arrive, and for its answer to be taken
PAGE = (Path(__file__).parent / "page.html").read_bytes()
HEADERS = [
    ("Connection", "close"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"),
]
JSON, HTML = "application/json", "text/html; charset=utf-8"

# What a connection may do: ask the queue. Its socket is open already.
OF_CONNECTION = [("only", ("send", "queue")), ("file", "all"), ("net", "all"), ("spawn", "all"), ("blocking", "all"), ("ffi", "all")]


class RefusedError(Exception):
    """What is answered to a request that cannot be fulfilled."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Door(GenServer):
    """Listens, and starts a process for every connection. `await call(door, "port")` tells at which port."""

    async def init(self, port: int) -> None:
        async with io():
            listeners = await listen_tcp(port, "127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        spawn_link(accept, listeners[0], io=True)

    async def handle_call(self, request: Any, caller: Caller) -> int:
        return int(self.port)


async def accept(listener: trio.SocketListener) -> None:
    """Give every connection a process of its own, while there are not too many."""
    free = MOST_CONNECTIONS
    async with listener:
        while True:
            if not free:
                await receive(Down)
                free += 1
            stream = await listener.accept()
            spawn_monitor(connection, stream, io=True, exclude=OF_CONNECTION)
            free -= 1


async def connection(stream: trio.SocketStream) -> None:
    """Take one request, and answer it."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER)
    request: h11.Request | None = None
    async with stream:
        try:
            try:
                with trio.fail_after(PATIENCE):
                    request, body = await next_request(http, stream)
                status, kind, content = await answer(request, body)
            except trio.TooSlowError:
                status, kind, content = as_error(408, "the request took too long")
            except h11.RemoteProtocolError as error:
                status, kind, content = as_error(error.error_status_hint, str(error))
            except RefusedError as refused:
                status, kind, content = as_error(refused.status, str(refused))
            if request is not None and request.method == b"HEAD":
                content = b""
            with trio.move_on_after(PATIENCE):
                await put(http, stream, status, kind, content)
        except trio.BrokenResourceError:
            return  # whoever asked has gone


async def next_request(http: h11.Connection, stream: trio.SocketStream) -> tuple[h11.Request, bytes]:
    """The request and its body. Raises: RefusedError, h11.RemoteProtocolError, trio.BrokenResourceError."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    await stream.send_all(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                http.receive_data(await stream.receive_some())
            case h11.Request() as head:
                request = head
            case h11.Data(data=data):
                body += data
                if len(body) > MOST_BODY:
                    raise RefusedError(413, f"the request has more than {MOST_BODY} bytes")
            case h11.EndOfMessage():
                assert request is not None  # h11 sees to that
                return request, bytes(body)
            case h11.ConnectionClosed():
                raise trio.BrokenResourceError


async def put(http: h11.Connection, stream: trio.SocketStream, status: int, kind: str, content: bytes) -> None:
    """Send the answer, and wait until whoever asked has closed: an answer is lost if what they still send finds nobody."""
    headers = [*HEADERS, ("Content-Type", kind), ("Content-Length", str(len(content)))]
    if status == 503:
        headers.append(("Retry-After", str(math.ceil(PATIENCE))))
    events = [h11.Response(status_code=status, headers=headers), h11.Data(data=content), h11.EndOfMessage()]
    await stream.send_all(b"".join(http.send(event) or b"" for event in events))
    await stream.send_eof()
    while await stream.receive_some():
        pass


async def answer(request: h11.Request, body: bytes) -> tuple[int, str, bytes]:
    """The status of an answer, what it is, and its bytes."""
    match request.method, request.target.partition(b"?")[0]:
        case b"GET", b"/":
            return 200, HTML, PAGE
        case b"GET", b"/problems":
            return as_json(200, [as_shown(problem) for problem in PROBLEMS.values()])
        case b"POST", b"/judge":
            return as_json(200, await judged(submission(request, body)))
        case _, b"/" | b"/problems" | b"/judge":
            raise RefusedError(405, "GET / and /problems, POST /judge")
    raise RefusedError(404, "there are /, /problems and /judge")


def submission(request: h11.Request, body: bytes) -> Submission:
    """What was handed in. Raises: RefusedError."""
    # A page of another site cannot send JSON here without asking first, and is not answered.
    if dict(request.headers).get(b"content-type", b"").partition(b";")[0].strip().lower() != JSON.encode():
        raise RefusedError(415, f"expected {JSON}")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"this is no JSON: {error}") from None
    match asked:
        case {"problem": str(name), "source": str(source)}:
            pass
        case _:
            raise RefusedError(400, 'expected {"problem": "…", "source": "…"}')
    if name not in PROBLEMS:
        raise RefusedError(404, f"there is no problem {name!r}, but {', '.join(PROBLEMS)}")
    try:
        length = len(source.encode())
    except UnicodeEncodeError as error:
        raise RefusedError(400, f"the source is no text: {error}") from None
    if length > MOST_SOURCE:
        raise RefusedError(413, f"the source has {length} bytes: at most {MOST_SOURCE}")
    return Submission(PROBLEMS[name], source)


async def judged(handed_in: Submission) -> dict[str, Any]:
    """The verdict, as it is told. Raises: RefusedError."""
    try:
        results = await call("queue", handed_in, timeout=None)
    except CallError:
        results = FAILED
    if results == BUSY:
        raise RefusedError(503, "too many solutions wait already: try again later")
    if results == FAILED:
        raise RefusedError(500, "the judge failed, and not the solution: try again")
    total = overall(results)
    cases = [{"verdict": each.verdict, "time": each.time, "memory": each.memory, "detail": each.detail} for each in results]
    return {"verdict": total.verdict, "time": total.time, "memory": total.memory, "cases": cases}


def as_shown(problem: Problem) -> dict[str, Any]:
    """What is told of a problem: of its cases the sample alone."""
    sample = problem.cases[0]
    return {
        "name": problem.name,
        "title": problem.title,
        "statement": problem.statement,
        "sample": {"input": sample.input, "output": sample.expected},
        "cases": len(problem.cases),
        "time": problem.limits.cpu,
        "memory": problem.limits.memory,
    }


def as_json(status: int, value: Any) -> tuple[int, str, bytes]:
    return status, JSON, json.dumps(value).encode()


def as_error(status: int, text: str) -> tuple[int, str, bytes]:
    return as_json(status, {"error": text})
