"""C5: what is checked is what is opened, connected to or listened at, by whatever name it goes."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import caps
from beamlike import Down, blocking, io, listen_tcp, open_file, open_tcp, receive, run, self_pid, send, spawn, spawn_monitor


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


def limited(terms: list[Any], body: Callable[[], Any]) -> Any:
    """What `await body()` gives, or the error that it raises, in trio mode of a process with these exclusions."""
    outcome: list[Any] = []

    async def process() -> None:
        async with io():
            try:
                outcome.append(await body())
            except (OSError, TypeError, ValueError) as error:
                outcome.append(error)

    async def main() -> None:
        _, ref = spawn_monitor(process, exclude=terms)
        await receive(lambda message: type(message) is Down and message.ref == ref, timeout=10)

    run(main)
    return outcome[0]


# --- files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`secret/a`, and links to all of it."""
    root = tmp_path.resolve()
    (root / "secret").mkdir()
    (root / "secret" / "a").write_text("text")
    (root / "other").write_text("text")
    (root / "folder").symlink_to("secret")
    (root / "file").symlink_to(root / "secret" / "a")
    (root / "again").symlink_to("folder")
    (root / "to_new").symlink_to("secret/new")
    return root


def opened(*terms: Any, path: str | Path, mode: str = "r") -> Any:
    """`opened`, or the error."""

    async def body() -> str:
        open_file(path, mode).close()
        return "opened"

    return limited(list(terms), body)


LINKS = {
    "a link to the file": ("file", "secret/a"),
    "a link to its folder": ("folder", "secret/a"),
    "what is below a link": ("folder/a", "secret/a"),
    "a link to a link": ("again", "secret/a"),
    "by the link itself": ("folder", "folder/a"),
    "by another link": ("file", "again/a"),
}


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("mode", ["r", "w", "r+"])
def test_an_exclusion_of_a_link_refuses_what_it_leads_to(root: Path, name: str, mode: str) -> None:
    link, path = LINKS[name]
    term = ("file", str(root / link), "rw")
    error = opened(term, path=root / path, mode=mode)
    assert isinstance(error, caps.CapabilityError)
    assert error.exclusion == term
    assert str(root / "secret") in str(error)
    assert (root / "secret" / "a").read_text() == "text"


def test_an_exclusion_of_a_link_refuses_no_more_than_what_it_leads_to(root: Path) -> None:
    assert opened(("file", str(root / "folder"), "rw"), path=root / "other") == "opened"
    assert opened(("file", str(root / "file"), "w"), path=root / "secret" / "a") == "opened"
    assert opened(("file", str(root / "file"), "r"), path=root / "secret" / "a", mode="w") == "opened"


def test_an_exclusion_of_a_link_to_what_is_not_there_refuses_to_make_it(root: Path) -> None:
    error = opened(("file", str(root / "to_new"), "w"), path=root / "secret" / "new", mode="w")
    assert isinstance(error, caps.CapabilityError)
    assert not (root / "secret" / "new").exists()


def test_an_exclusion_of_a_link_counts_for_where_it_leads_to_now(root: Path) -> None:
    outcomes = []

    async def body() -> None:
        for target in ("other", "secret"):
            (root / "folder").unlink()
            (root / "folder").symlink_to(target)
            try:
                open_file(root / "other").close()
                outcomes.append("opened")
            except caps.CapabilityError:
                outcomes.append("refused")

    assert limited([("file", str(root / "folder"), "r")], body) is None
    assert outcomes == ["refused", "opened"]


def test_a_link_in_any_layer_counts_and_in_threads(root: Path) -> None:
    async def process(boss: Any) -> None:
        spawn(child, boss, exclude=[("port_io", 1, 2)])

    async def child(boss: Any) -> None:
        try:
            await blocking(open_file, root / "secret" / "a")
        except caps.CapabilityError as error:
            send(boss, str(error))

    async def main() -> None:
        spawn(process, self_pid(), exclude=[("file", str(root / "folder"), "r")])
        error = await receive(str, timeout=10)
        assert f"is refused by the exclusion ('file', '{root}/folder', 'r') in layer 1, which leads to '{root}/secret'" in error

    run(main)


@pytest.mark.parametrize("path", ["/proc/self/status", f"/proc/{os.getpid()}/status", "/proc/thread-self/status"])
def test_an_exclusion_of_proc_self_refuses_what_is_the_process_own(path: str) -> None:
    assert opened(path=path) == "opened"
    assert isinstance(opened(("file", "/proc/self", "r"), path=path), caps.CapabilityError)
    assert opened(("file", "/proc/self", "r"), path="/proc/version") == "opened"


def test_an_only_entry_of_a_link_permits_nothing_for_who_may_change_the_link_would_say_what(root: Path) -> None:
    for path in ("folder/a", "secret/a"):
        error = opened(("only", ("file", str(root / "folder"), "r")), path=root / path)
        assert isinstance(error, caps.CapabilityError)
    assert opened(("only", ("file", str(root / "secret"), "r")), path=root / "folder" / "a") == "opened"


# --- connections ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def connected(*terms: Any, host: str, port: Any) -> Any:
    """`connected`, or the error."""

    async def body() -> str:
        await (await open_tcp(host, port)).aclose()
        return "connected"

    return limited(list(terms), body)


def listened(*terms: Any, host: Any, port: Any = 0) -> Any:
    """How many listeners there were, or the error."""

    async def body() -> int:
        listeners = await listen_tcp(port, host)
        for each in listeners:
            await each.aclose()
        return len(listeners)

    return limited(list(terms), body)


UNSPECIFIED = ["0.0.0.0", "0", "0x0.0", "::", "::ffff:0:0", "::ffff:0.0.0.0"]


@pytest.mark.parametrize("host", UNSPECIFIED)
@pytest.mark.parametrize("excluded", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_unspecified_address_connects_to_this_machine_and_is_refused_with_it(listener: socket.socket, host: str, excluded: str) -> None:
    for port in (None, port_of(listener)):
        assert isinstance(connected(("net", excluded, port), host=host, port=port_of(listener)), caps.CapabilityError)
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::ffff:0:0"])
def test_the_unspecified_address_is_still_one_of_its_own(listener: socket.socket, host: str) -> None:
    port = port_of(listener)
    assert isinstance(connected(("net", "0.0.0.0", None), host=host, port=port), caps.CapabilityError)
    assert connected(("net", "10.0.0.1", None), ("net", "127.0.0.1", port - 1), host=host, port=port) == "connected"
    assert connected(("only", ("net", "0.0.0.0", port)), host=host, port=port) == "connected"


def test_an_only_entry_of_one_loopback_address_does_not_permit_the_unspecified_one(listener: socket.socket) -> None:
    for only in ("127.0.0.1", "::1"):
        assert isinstance(connected(("only", ("net", only, None)), host="0.0.0.0", port=port_of(listener)), caps.CapabilityError)


def test_an_address_mapped_into_ipv6_is_the_ipv4_address(listener: socket.socket) -> None:
    port = port_of(listener)
    for host, excluded in (("::ffff:127.0.0.1", "127.0.0.1"), ("127.0.0.1", "::ffff:7f00:1"), ("::ffff:127.0.0.1%1", "127.0.0.1")):
        assert isinstance(connected(("net", excluded, None), host=host, port=port), caps.CapabilityError)
    assert connected(("only", ("net", "127.0.0.1", port)), host="::ffff:127.0.0.1", port=port) == "connected"


@pytest.mark.parametrize("host", UNSPECIFIED)
def test_to_listen_at_the_unspecified_address_is_an_access_to_each(host: str) -> None:
    for term in (
        ("net", "127.0.0.1", None),
        ("net", "10.0.0.1", 80),
        ("net", "some.name", None),
        ("net", None, 80),
        ("only", ("net", "127.0.0.1", None)),
        ("only", ("net", "0.0.0.0", None), ("net", "::", None)),
    ):
        assert isinstance(listened(term, host=host), caps.CapabilityError), term


def test_who_may_listen_everywhere_may_listen_at_the_unspecified_address() -> None:
    assert listened(("only", ("net", None, None)), host="0.0.0.0") == 1
    assert listened(("port_io", 0x60, 0x65), host="0.0.0.0") == 1
    assert listened(("only", ("net", "127.0.0.1", None)), host="127.0.0.1") == 1


NO_PORTS = [
    (70000, ValueError, "port is an int with 0 <= port < 65536, not 70000"),
    (-1, ValueError, "port is an int with 0 <= port < 65536, not -1"),
    (True, TypeError, "port is an int, not True"),
    ("80", TypeError, "port is an int, not '80'"),
    (None, TypeError, "port is an int, not None"),
    (80.0, TypeError, "port is an int, not 80.0"),
]


@pytest.mark.parametrize(("port", "kind", "message"), NO_PORTS)
@pytest.mark.parametrize("terms", [[], [("net", "10.0.0.1", 80)]], ids=["unlimited", "limited"])
def test_what_is_no_port_is_named_whoever_asks(port: Any, kind: type[Exception], message: str, terms: list[Any]) -> None:
    for function, outcome in (
        ("open_tcp", connected(*terms, host="127.0.0.1", port=port)),
        ("listen_tcp", listened(*terms, host="127.0.0.1", port=port)),
        ("listen_tcp", listened(*terms, host=None, port=port)),
    ):
        assert type(outcome) is kind
        assert str(outcome) == f"{function}: {message}"


def test_what_is_no_host_is_named() -> None:
    assert str(connected(host=None, port=80)) == "open_tcp: host is a str, not None"  # type: ignore[arg-type]
    assert str(listened(host=5)) == "listen_tcp: host is a str or None, not 5"
