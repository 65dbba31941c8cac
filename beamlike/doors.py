"""Files and connections for processes with exclusions: Python's and trio's own, behind a check of what is really opened (C5).

In one interpreter they are doors and no walls: Python's `open` and `socket` know nothing of exclusions, and hostile code needs a cell.
"""

from __future__ import annotations

import os
import socket
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import IO, Any, Final

import trio

import caps
from beamlike.hot import scheduler

ACCESS: Final = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "rw"}
LOOPBACK: Final = ("127.0.0.1", "::1")


def open_file(path: str | os.PathLike[str], mode: str = "r", **options: Any) -> IO[Any]:
    """Python's `open`, for a process with exclusions: `("file", path, "r" | "w" | "rw")`.

    What is checked is the path without symbolic links of what is opened, whatever happens to the links meanwhile. A file that has several
    names (hard links) is checked by the one that was given. For use in `blocking`, or with `trio.wrap_file` in trio mode; a disk may be
    slow.

    An exclusion whose path has symbolic links in it counts for where these lead to now, as well. An only entry does not: it permits what it
    says, and whoever could change a link would change what is permitted.

    Args:
        options: as of `open`: `encoding`, `buffering`, `newline`, `errors`.

    Raises: CapabilityError, and nothing is opened or made; OSError, ValueError: as `open`, and OSError for a new file where there is a
        symbolic link that leads nowhere; TypeError if `path` is none.
    """
    if isinstance(path, int):
        raise TypeError(f"open_file expects a path, not the descriptor {path!r}")
    if "opener" in options:
        raise TypeError("open_file has an opener of its own")
    return open(os.fsdecode(path), mode, opener=_open_checked, **options)


def _open_checked(path: str, flags: int) -> int:
    access = ACCESS[flags & os.O_ACCMODE]
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
        return _create(path, flags, access)
    try:
        _check_file(_path_of(found), access)
        if flags & os.O_EXCL:
            raise FileExistsError(f"there is a file {path!r} already")
        return os.open(f"/proc/self/fd/{found}", flags & ~os.O_CREAT)
    finally:
        os.close(found)


def _create(path: str, flags: int, access: str) -> int:
    """Make a file in the very folder that is checked."""
    folder, name = os.path.split(path)
    found = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_file(os.path.join(_path_of(found), name), access)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=found)
    finally:
        os.close(found)


def _check_file(path: str, access: str) -> None:
    """CapabilityError unless the running process may open this path, in which there are no links."""
    caps.check("file", path, access)
    for position, layer in enumerate(scheduler.current_layers(), 1):
        for term in layer.terms:
            if term[0] != "file":
                continue
            _, excluded, mode = term  # not ("file", "all"): that refuses above
            target = os.path.realpath(excluded)  # each time anew: links change, and the layers go to other OS processes and machines
            if target != excluded and not caps.permits((caps.layer([("file", target, mode)]),), "file", path, access):
                raise caps.CapabilityError(
                    "file",
                    (path, access),
                    term,
                    f"('file', {path!r}, {access!r}) is refused by the exclusion {term!r} in layer {position}, which leads to {target!r}",
                )


def _path_of(descriptor: int) -> str:
    """Where it is, by the kernel's account. FileNotFoundError for what has no path any more: the kernel would make one up."""
    path = Path(f"/proc/self/fd/{descriptor}")
    if os.fstat(descriptor).st_nlink == 0:
        raise FileNotFoundError(f"{path.readlink()} was removed")
    return str(path.readlink())


async def open_tcp(host: str, port: int) -> trio.SocketStream:
    """Connect to a TCP port, for a process with exclusions: `("net", host, port)`. In trio mode.

    The host is looked up first; then the name and each of its addresses are checked, and one of these addresses is connected to, the
    first that answers. So an exclusion of an address holds whatever names it has, and an only entry for a name permits its addresses.
    The unspecified address, "0.0.0.0" or "::", connects to this machine: that is an access to 127.0.0.1 and to ::1.

    Raises: CapabilityError, and nothing is connected to; TypeError if `host` is no str or `port` no int, ValueError unless
        0 <= port < 65536; OSError: as `trio.open_tcp_stream`.
    """
    _check_host(host, "open_tcp: host is a str")
    _check_port(port, "open_tcp")
    addresses = await _addresses(host, port)
    for address in addresses:
        for reached in LOOPBACK if _is_unspecified(address) else (address,):
            caps.check("net", host, port, address, reached)
    failure: OSError | None = None
    for address in addresses:
        try:
            return await trio.open_tcp_stream(address, port)
        except OSError as error:
            failure = error
    assert failure is not None  # getaddrinfo names at least one address, or raises
    raise failure


async def listen_tcp(port: int, host: str | None = None) -> list[trio.SocketListener]:
    """Listen at a TCP port, for a process with exclusions: `("net", host, port)`. In trio mode; as `trio.open_tcp_listeners`.

    `host=None`, all addresses, is an access to each, and so is the unspecified one, "0.0.0.0" or "::"; port 0, any that is free, is one to
    each port.

    Raises: CapabilityError, and nobody listens; TypeError if `host` is neither str nor None or `port` no int, ValueError unless
        0 <= port < 65536; OSError.
    """
    if host is not None:
        _check_host(host, "listen_tcp: host is a str or None")
    _check_port(port, "listen_tcp")
    asked = port or None
    if host is None:
        caps.check("net", None, asked)
        return await trio.open_tcp_listeners(port)
    addresses = await _addresses(host, port)
    for address in addresses:
        if _is_unspecified(address):
            caps.check("net", None, asked)
        else:
            caps.check("net", host, asked, address)
    listeners: list[trio.SocketListener] = []
    for address in addresses:
        listeners += await trio.open_tcp_listeners(port, host=address)
    return listeners


async def _addresses(host: str, port: int) -> list[str]:
    """What a host's name stands for, in the order to try. Raises OSError if nobody knows it."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _is_unspecified(address: str) -> bool:
    """Does it stand for all addresses to listen at, and for this machine to connect to? Also as an IPv4 address mapped into IPv6."""
    parsed = ip_address(address)
    return ((isinstance(parsed, IPv6Address) and parsed.ipv4_mapped) or parsed).is_unspecified


def _check_host(host: object, expected: str) -> None:
    if not isinstance(host, str):
        raise TypeError(f"{expected}, not {host!r}")


def _check_port(port: object, what: str) -> None:
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"{what}: port is an int, not {port!r}")
    if not 0 <= port < 65536:
        raise ValueError(f"{what}: port is an int with 0 <= port < 65536, not {port}")
