"""The zygote: an OS process that has imported all that a cell needs, and forks cells in milliseconds.

Theory of operation. It is a fresh interpreter, never forked from a node, whose heap its children would have; with an empty environment, one
thread and nothing of the user's. It enters namespaces of its own once, sees its canary fail at every attack, makes what all cells begin
with, freezes its heap out of the garbage collector's sight, and serves. A child maps its ring, locks itself, and only then gets its
program. The zygote reaps its children and says how each ended; all of them die with it, and it ends when the node closes its end of the
channel.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from cells import canary, namespaces, walls
from cells._walls import ffi, lib
from cells.errors import CellUnavailable
from cells.inside import warm
from cells.inside.life import Life, begin
from cells.kinds import LOCK_FAILED
from cells.lockdown import Lock, prepare
from nodes.seam import Channel, ChannelClosed, close_all, send_all

# What programs may import: nothing can be read from files in a cell.
PRELOADED = [
    "abc",
    "array",
    "base64",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "collections.abc",
    "colorsys",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "enum",
    "fractions",
    "functools",
    "graphlib",
    "hashlib",
    "heapq",
    "html",
    "io",
    "itertools",
    "json",
    "keyword",
    "math",
    "numbers",
    "operator",
    "pprint",
    "queue",
    "random",
    "re",
    "secrets",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "time",
    "timeit",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "uuid",
    "zlib",
    "zoneinfo",
]


def main(control: int, modules: list[str], *, executable: bool, strict: bool) -> NoReturn:
    """Be the zygote, until the node closes its end."""
    os.set_inheritable(control, False)
    channel = Channel(socket.socket(fileno=control))
    try:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        with suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the node that started it may be pinned
        for name in (*PRELOADED, *modules):
            import_module(name)
        warm.up()
        walls.require(strict)
        nothing = os.open(os.devnull, os.O_RDWR)
        entered = namespaces.enter()
        if strict and not entered:
            raise CellUnavailable("no cell here with strict: namespaces: the kernel refused them to the zygote")
        lock = prepare(executable)
        canary.check(lock)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the node raises it
        channel.send("unavailable", str(error) or repr(error), "".join(traceback.format_exception(error))[-4096:])
        send_all(channel)
        os._exit(1)
    channel.send("ready", entered)
    Zygote(channel, lock, nothing).serve()


class Zygote:
    """See the module."""

    def __init__(self, channel: Channel, lock: Lock, nothing: int) -> None:
        self.channel = channel
        self.nothing = nothing
        self.lock = lock
        self.life: Life | None = None  # what a cell begins with, if its program is Python
        self.is_begun = False
        self.children: dict[int, tuple[int, int]] = {}  # pidfd -> number, pid
        self.poll = select.poll()
        self.poll.register(channel, select.POLLIN)
        self.alive, self.ours = os.pipe()  # a child sees by the reading end whether we live

    def serve(self) -> NoReturn:
        """For ever."""
        while True:
            for fd, _ in self.poll.poll():
                if fd in self.children:
                    self._reap(fd)
                    continue
                try:
                    packet = self.channel.receive()
                except ChannelClosed:
                    os._exit(0)
                match packet:
                    case (("fork", number, limits), fds):
                        self._fork(number, limits, fds)
                    case (("kill", number), _):
                        self._kill(number)
            send_all(self.channel)

    def _begin(self, polls: bool) -> None:
        """The first cell is asked for, which all others are like."""
        if not self.lock.executable:
            self.life = Life(polls=polls)
        gc.collect()
        gc.freeze()
        self.is_begun = True

    def _fork(self, number: int, limits: dict[str, Any], fds: list[int]) -> None:
        if not self.is_begun:
            self._begin(limits["polls"])
        pid = lib.fork()  # C's: Python's own would make anew what a single thread can go on using, and touch 200 pages more
        if pid < 0:
            self.channel.send("failed", number, f"fork: {os.strerror(ffi.errno)}")
            close_all(fds)
            return
        if pid == 0:
            try:
                begin(fds, self.nothing, self.lock, limits, self.alive, self.life)
            finally:
                os._exit(LOCK_FAILED)
        pidfd = os.pidfd_open(pid)  # nobody but us can have reaped it
        close_all(fds)
        self.children[pidfd] = number, pid
        self.poll.register(pidfd, select.POLLIN)
        self.channel.send("forked", number, fds=[pidfd])

    def _kill(self, number: int) -> None:
        """The node has no pidfd of this cell. It may have ended."""
        for pidfd, (each, _) in self.children.items():
            if each == number:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _reap(self, pidfd: int) -> None:
        number, pid = self.children.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(pid, 0)
        self.channel.send("ended", number, os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def command(control: int, modules: list[str], *, executable: bool, strict: bool) -> list[str]:
    """The command line of a zygote."""
    files = [str(import_module(name).__file__) for name in NEEDED]
    path = sorted({os.path.dirname(os.path.dirname(os.path.abspath(file))) for file in files})
    arguments = f"{control}, {modules!r}, executable={executable}, strict={strict}"
    program = f"import sys; sys.path.extend({path!r}); from cells.inside.zygote import main; main({arguments})"
    return [sys.executable, "-I", "-S", "-B", "-c", program]


NEEDED = ("cells", "trio", "msgpack", "greenlet", "cffi", "outcome", "sortedcontainers", "sniffio", "attrs", "idna")
