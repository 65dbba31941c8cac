"""What runs in a node from its fork to its body: it ties its life to the owner's, and makes its interpreter fit for the user's program.

A node remains in the forge's process group until the owner knows it, which the first packet says: so when the forge dies, whoever
nobody knows of dies with its group. It never outlives the owner, also when it is stopped: PR_SET_PDEATHSIG, once the owner is its
parent. Before that the control channel says that the owner is gone.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, NoReturn

from nodes import kernel
from nodes.control import LONGEST, Channel

PAGE = 4096  # bytes of a node's page
_PARENT_PERIOD = 0.0001  # seconds between two looks at the parent: the intermediate exits within a millisecond
_HERE = os.path.dirname(__file__)


@dataclass(frozen=True)
class Member:
    """What a body gets: who this node is, and its channel to the owner."""

    name: str
    incarnation: int
    core: int
    settings: dict[str, Any]
    channel: Channel
    owner_pid: int
    given: tuple[int, ...]


def begin(request: tuple[str, int, int, dict[str, Any]], fds: list[int], owner: int, intermediate: int) -> NoReturn:
    """Be a node: what the forge's fork runs. `fds` is the node's end of its control channel, and what it is given."""
    status = 1
    try:
        _tie_to(owner, intermediate)
        control, *given = fds
        _wait_until_known(control)
        os.setpgid(0, 0)
        _reset_signals()
        _close_all_but(fds)
        channel = Channel(socket.socket(fileno=control))
        name, incarnation, core, settings = request
        with suppress(OSError):  # the core is not there, or not allowed: `homing` finds another
            os.sched_setaffinity(0, {core})
        member = Member(name, incarnation, core, settings, channel, owner, tuple(given))
        status = _run_body(member)
    except BaseException:  # noqa: BLE001 - the forge's frames, below, are not to see it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # nobody reads it, or the program closed it
                stream.flush()
        os._exit(status)


def _tie_to(owner: int, intermediate: int) -> None:
    while (parent := os.getppid()) == intermediate:
        time.sleep(_PARENT_PERIOD)
    if parent == owner:
        kernel.set_death_signal(signal.SIGKILL)
        parent = os.getppid()  # it may have died before that
    if parent != owner:
        os._exit(1)


def _wait_until_known(control: int) -> None:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.poll()
    end = socket.socket(fileno=control)
    is_there = bool(end.recv(1, socket.MSG_PEEK))
    end.detach()
    if not is_there:
        os._exit(1)


def _reset_signals() -> None:
    """As in a new program; but Ctrl-C is the owner's matter."""
    for signum in signal.valid_signals():
        if callable(signal.getsignal(signum)):
            signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _close_all_but(kept: list[int]) -> None:
    begin = 3
    for each in sorted(kept):
        os.closerange(begin, each)
        begin = each + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))


def _run_body(member: Member) -> int:
    """The exit status."""
    try:
        _load(member.settings)(member)
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            return end.code or 0
        _tell_error(member.channel, end)
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the end of this node, and the owner says so
        _tell_error(member.channel, error)
        return 1
    return 0


def _load(settings: dict[str, Any]) -> Callable[[Member], None]:
    try:
        path = list(settings.get("path", ()))
        sys.path[:] = path + [entry for entry in sys.path if entry not in path]
        for module in settings.get("modules", ()):
            import_module(module)
        return named(settings["body"])  # type: ignore[no-any-return]
    except SystemExit as end:  # a program that ends where it is imported
        raise ImportError(f"it called sys.exit({end.code!r}) while it was imported").with_traceback(end.__traceback__) from None


def named(name: str) -> Any:
    """What `module:qualname` stands for. Raises: ImportError, AttributeError, and what the module raises."""
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for step in path.split("."):
        found = getattr(found, step)
    return found


def _tell_error(channel: Channel, error: BaseException) -> None:
    text = "".join(traceback.format_exception(type(error), error, _from_user(error.__traceback__))).strip()
    text = text.encode(errors="backslashreplace").decode()  # a file's name may be no text
    channel.send("error", text[-LONGEST // 8 :])  # a character is four bytes at most
    send_all(channel)


def _from_user(frames: TracebackType | None) -> TracebackType | None:
    """Without the frames before the user's first one: ours, and those of the import system."""
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if os.path.dirname(file) != _HERE and not file.startswith("<frozen importlib") and file != import_module.__code__.co_filename:
            break
        frames = frames.tb_next
    return frames


def send_all(channel: Channel) -> None:
    """Wait until nothing waits any more."""
    poll = select.poll()
    poll.register(channel, select.POLLOUT)
    while channel.wants_write:
        poll.poll()
        channel.flush()
