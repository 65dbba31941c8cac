"""Files and connections of a cell: served by the trusted side where whoever started it opened them, and its exclusions permit it."""

from __future__ import annotations

import os
import resource
import socket
import threading
import weakref
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
import trio
from hosting import Host, answer, cell

from beamlike import io, sleep
from cells import Limits
from cells.served import LEFT, OPERATIONS, Served

FILE = """
async def main(parent, {parameters}):
    try:
        send(parent, ("done", {body}))
    except Exception as error:
        send(parent, (type(error).__name__, str(error)))
"""


def run(host: Host, body: str, *args: Any, **options: Any) -> Any:
    """What an expression says in a cell, of its arguments a, b, c."""

    async def check() -> Any:
        parameters = ", ".join("abc"[: len(args)])
        await cell(FILE.format(parameters=parameters, body=body), *args, **options)
        return await answer()

    return host.run(check)


def readable(*paths: Path, mode: str = "r") -> dict[str, Any]:
    return {"opens": ["file"], "exclude": [("only", *(("file", str(path), mode) for path in paths))]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def test_a_file_of_an_open_folder_is_read(host: Host, folder: Path) -> None:
    assert run(host, "open(a).read()", str(folder / "a.txt"), **readable(folder)) == ("done", "one\ntwo\n")
    assert run(host, "list(open(a))", str(folder / "a.txt"), **readable(folder)) == ("done", ["one\n", "two\n"])
    assert run(host, "open(a, 'rb').read(3)", str(folder / "a.txt"), **readable(folder)) == ("done", b"one")


def test_a_long_file_is_read_in_parts(host: Host, folder: Path) -> None:
    (folder / "long").write_bytes(bytes(range(256)) * 4000)
    body = "(lambda data: (len(data), data[:256] == bytes(range(256))))(open(a, 'rb').read())"
    assert run(host, body, str(folder / "long"), **readable(folder)) == ("done", (1_024_000, True))


def test_a_file_is_written(host: Host, folder: Path) -> None:
    body = "open(a, 'w').write('x' * 50_000) and open(a, 'a').write('end') and None"
    assert run(host, body, str(folder / "new"), **readable(folder, mode="rw")) == ("done", None)
    assert (folder / "new").read_text() == "x" * 50_000 + "end"


def test_a_file_is_changed_in_place(host: Host, folder: Path) -> None:
    body = "(lambda f: (f.seek(4), f.write(b'TWO'), f.seek(0), f.read()))(open(a, 'r+b'))"
    assert run(host, body, str(folder / "a.txt"), **readable(folder, mode="rw")) == ("done", (4, 3, 0, b"one\nTWO\n"))


REFUSED = {
    "nothing is open": ({}, "{folder}/a.txt", "r"),
    "another folder": ({"folder": "r"}, "{folder}/../secret.txt", "r"),
    "a link out of it": ({"folder": "r"}, "{folder}/link", "r"),
    "a link to a folder out of it": ({"folder": "r"}, "{folder}/up/secret.txt", "r"),
    "to write where it may read": ({"folder": "r"}, "{folder}/a.txt", "w"),
    "to make a file where it may read": ({"folder": "r"}, "{folder}/b.txt", "x"),
    "to change where it may read": ({"folder": "r"}, "{folder}/a.txt", "r+"),
    "to read where it may write": ({"folder": "w"}, "{folder}/a.txt", "r"),
    "to write through a link": ({"folder": "rw"}, "{folder}/link", "w"),
    "to make what a link points to": ({"folder": "rw"}, "{folder}/dangling", "w"),
    "a fifo": ({"folder": "rw"}, "{folder}/fifo", "r"),
    "to write to a fifo": ({"folder": "rw"}, "{folder}/fifo", "w"),
    "a folder": ({"folder": "rw"}, "{folder}", "r"),
    "a device": ({"root": "rw"}, "/dev/zero", "r"),
    "our own memory": ({"folder": "rw"}, "/proc/self/mem", "r"),
    "a path with a NUL": ({"folder": "r"}, "{folder}/a.txt\0", "r"),
    "a path that is not absolute": ({"folder": "r"}, "a.txt", "r"),
    "a file that is not there": ({"folder": "r"}, "{folder}/none", "r"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_permitted_is_refused(host: Host, folder: Path, name: str) -> None:
    opened, path, mode = REFUSED[name]
    (folder / "link").symlink_to(folder.parent / "secret.txt")
    (folder / "dangling").symlink_to(folder.parent / "made")
    (folder / "up").symlink_to(folder.parent)
    os.mkfifo(folder / "fifo")
    permitted = [("file", "/" if where == "root" else str(folder), letters) for where, letters in opened.items()]
    options = {"opens": ["file"], "exclude": [("only", *permitted)]} if permitted else {}
    kind, text = run(host, "open(a, b)", path.format(folder=folder), mode, **options)
    assert kind in ("PermissionError", "FileNotFoundError", "OSError"), text
    assert (folder.parent / "secret.txt").read_text() == "secret"
    assert (folder / "a.txt").read_text() == "one\ntwo\n"
    assert not (folder.parent / "made").exists()
    assert not (folder / "b.txt").exists()


def test_an_exclusion_closes_a_part_of_what_is_open(host: Host, folder: Path) -> None:
    (folder / "private").mkdir()
    (folder / "private" / "b.txt").write_text("mine")
    options = {"opens": ["file"], "exclude": [("only", ("file", str(folder), "r")), ("file", str(folder / "private"), "rw")]}
    assert run(host, "open(a).read()", str(folder / "a.txt"), **options)[0] == "done"
    assert run(host, "open(a).read()", str(folder / "private" / "b.txt"), **options)[0] == "PermissionError"


def test_the_number_of_open_files_is_limited(host: Host, folder: Path) -> None:
    kind, text = run(host, "[open(a) for _ in range(100)]", str(folder / "a.txt"), **readable(folder))
    assert (kind, "at most 64" in text) == ("OSError", True)


def test_the_last_descriptors_are_the_nodes_own(host: Host, folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    path = str(folder / "a.txt")
    assert run(host, "open(a).read()", path, **readable(folder)) == ("done", "one\ntwo\n")  # so the node has a zygote
    with open(path) as lowest:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + LEFT + 30, hard))
            kind, text = run(host, "len([open(a) for _ in range(60)])", path, **readable(folder))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (kind, "may open few files more" in text) == ("OSError", True)


DOOR = "__import__('cells.inside.files').inside.files._door.request"


@pytest.mark.parametrize("request_", ["'read', 1, -1", "'read', 1, 2**40", "'read', 1, 2**200"])
def test_a_read_is_of_no_more_than_a_part(host: Host, folder: Path, request_: str) -> None:
    (folder / "long").write_bytes(bytes(1_000_000))
    outcome = run(host, f"(open(a), len({DOOR}({request_})))[1]", str(folder / "long"), **readable(folder))
    assert outcome == ("done", 0 if "-1" in request_ else 16 * 1024)


@pytest.mark.parametrize(
    "request_", ["'seek', 1, 2**200, 0", "'seek', 1, 0, 9", "'seek', 1", "'write', 1, 'x'", "'truncate', 1, -1", "'fly', 1"]
)
def test_an_operation_that_cannot_be_is_answered_with_an_error(host: Host, folder: Path, request_: str) -> None:
    kind, _ = run(host, f"(open(a, 'r+'), {DOOR}({request_}))", str(folder / "a.txt"), **readable(folder, mode="rw"))
    assert kind == "OSError"


WRITES = {
    "much": "open(a, 'wb').write(bytes(200_000))",
    "in parts": "[open(a, 'ab', 0).write(bytes(10_000)) for _ in range(20)]",
    "the same place": "(lambda f: [(f.seek(0), f.write(bytes(10_000))) for _ in range(20)])(open(a, 'wb', 0))",
    "far away": "(lambda f: (f.seek(1 << 40), f.write(b'x')))(open(a, 'wb', 0))",
    "a length": "open(a, 'wb', 0).truncate(1 << 62)",
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_to_files_is_limited(host: Host, folder: Path, name: str) -> None:
    kind, text = run(host, WRITES[name], str(folder / "new"), limits=Limits(file_bytes=100_000), **readable(folder, mode="rw"))
    assert (kind, "its Limits.file_bytes" in text) == ("OSError", True)
    assert (folder / "new").stat().st_size <= 100_000


def test_a_file_is_written_where_that_was_checked(tmp_path: Path) -> None:
    served = Served(frozenset({"file"}), 1000)
    seek = partial(OPERATIONS["seek"], served)

    class Sought(FileIO):
        """Somebody seeks just before it is written to."""

        def write(self, data: Any, /) -> int:
            self.thread = threading.Thread(target=seek, args=(self, 1 << 30, os.SEEK_SET))
            self.thread.start()
            self.thread.join(0.05)  # which waits for us
            return super().write(data)

    with Sought(tmp_path / "file", "w") as file:
        OPERATIONS["write"](served, file, b"x")
        file.thread.join()
        assert (os.fstat(file.fileno()).st_size, file.tell()) == (1, 1 << 30)


def test_of_a_closed_file_nothing_is_kept(host: Host, folder: Path) -> None:
    async def check() -> None:
        served = Served(frozenset({"file"}), 0)
        async with io():
            (_, number) = await served.answer(("open", str(folder / "a.txt"), "r"))
            file = weakref.ref(served.open[number])
            assert await served.answer(("read", number, 3)) == ("ok", b"one")
            assert await served.answer(("close", number)) == ("ok", None)
        for _ in range(1000):  # while a thread lets go of it
            if file() is None:
                break
            await sleep(0.001)
        assert file() is None

    host.run(check)


def test_files_are_closed_with_the_cell(host: Host, folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert run(host, "len([open(a) for _ in range(50)])", str(folder / "a.txt"), **readable(folder)) == ("done", 50)
    for _ in range(1000):
        if len(os.listdir("/proc/self/fd")) <= before + 5:
            break
        threading.Event().wait(0.005)
    assert len(os.listdir("/proc/self/fd")) <= before + 5


@pytest.fixture
def server() -> Any:
    """An echo on loopback: its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                end, _ = listener.accept()
            except OSError:
                return
            with end:
                while data := end.recv(4096):
                    end.sendall(data.upper())

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


CONNECT = "(lambda f: (f.write(b'hello\\n'), f.flush(), f.readline()))(__import__('cells.inside.files', fromlist=['x']).connect(a, b))"


def test_a_connection_that_is_permitted(host: Host, server: int) -> None:
    options = {"opens": ["net"], "exclude": [("only", ("net", "127.0.0.1", server))]}
    assert run(host, CONNECT, "127.0.0.1", server, **options) == ("done", (6, None, b"HELLO\n"))


def test_a_name_is_checked_and_its_address(host: Host, server: int) -> None:
    by_name = {"opens": ["net"], "exclude": [("only", ("net", "localhost", server))]}
    assert run(host, CONNECT, "localhost", server, **by_name)[0] == "done"
    excluded = {"opens": ["net"], "exclude": [("net", "127.0.0.1", None), ("net", "::1", None)]}
    assert run(host, CONNECT, "localhost", server, **excluded)[0] == "PermissionError"


def test_a_name_that_is_not_permitted_is_not_even_looked_up(host: Host, server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers for it would be told it: so data would leave."""
    names: list[Any] = []
    look_up = trio.socket.getaddrinfo

    async def counting(host: Any, *rest: Any, **options: Any) -> Any:
        names.append(host)
        return await look_up(host, *rest, **options)

    monkeypatch.setattr(trio.socket, "getaddrinfo", counting)
    options = {"opens": ["net"], "exclude": [("only", ("net", "127.0.0.1", server))]}
    assert run(host, CONNECT, "a-secret.localhost", server, **options)[0] == "PermissionError"
    assert run(host, CONNECT, "127.0.0.1", server, **options)[0] == "done"
    assert names == ["127.0.0.1"]


@pytest.mark.parametrize("options", [{}, {"opens": ["net"], "exclude": [("only", ("net", "127.0.0.1", 1))]}, {"opens": ["file"]}])
def test_a_connection_that_is_not_permitted(host: Host, server: int, options: dict[str, Any]) -> None:
    assert run(host, CONNECT, "127.0.0.1", server, **options)[0] == "PermissionError"


@pytest.mark.parametrize("opens", ["file", ["everything"], [1]])
def test_opens_is_checked(host: Host, opens: Any) -> None:
    with pytest.raises(ValueError, match="some of the kinds device, exit, file, net, port_io, raw_memory"):
        run(host, "1", opens=opens)
