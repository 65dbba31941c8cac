"""The zygotes of this node, one for each kind of cell, and how each of their cells ended.

A zygote is started for the first cell, and again if it has died; all its cells die with it.

Each cell costs the node descriptors, so with its first zygote the node raises its own soft limit to the hard one, as is usual for who does
not call select(2). Programs that it starts inherit that. When there are none left all the same, that costs the cell that is being made.
"""

from __future__ import annotations

import logging
import os
import resource
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import trio

from beamlike.seam import log
from cells.errors import CellUnavailable
from cells.inside.zygote import command
from cells.maker import Ended, Ways, tell_safely, two_bells
from nodes.seam import Channel, ChannelClosed, LostDescriptorsError, PacketError, leads_group, socket_pair

logger = logging.getLogger("beamlike.cells")


class Zygote:
    """One zygote, from this side. Not for more than one trio loop.

    Raises: OSError if it cannot be executed.
    """

    def __init__(self, modules: list[str], *, executable: bool, strict: bool) -> None:
        _raise_limit()
        ours, theirs = socket_pair()
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            self._process = subprocess.Popen(
                command(theirs.fileno(), modules, executable=executable, strict=strict),
                stdin=subprocess.DEVNULL,
                env={name: os.environ[name] for name in ("BEAMLIKE_PURE",) if name in os.environ},
                pass_fds=[theirs.fileno()],
                cwd="/",
                start_new_session=not leads_group(),
            )
        self.channel = Channel(ours)
        self.error: str | None = None  # why it serves nobody
        self.namespaces: tuple[str, ...] = ()
        self._numbers = count(1)
        self._cells: dict[int, tuple[Callable[[int], None], Callable[[Ended], None]]] = {}
        trio.lowlevel.spawn_system_task(self._listen)

    def ways(self) -> Ways:
        """See `Maker`."""
        return two_bells()

    def reason_of(self, ended: Ended) -> Any:
        """See `Maker`: its status says all."""
        return None

    def fork(self, limits: dict[str, Any], fds: list[int], forked: Callable[[int], None], ended: Callable[[Ended], None]) -> None:
        """See `Maker`."""
        if self.error is not None:
            raise CellUnavailable(self.error)
        number = next(self._numbers)
        self._send("fork", number, limits, fds=fds)
        self._cells[number] = forked, ended

    def _send(self, kind: str, *items: Any, fds: Sequence[int] = ()) -> None:
        is_flushed = self.channel.wants_write
        self.channel.send(kind, *items, fds=fds)
        if self.channel.wants_write and not is_flushed:
            trio.lowlevel.spawn_system_task(self._flush)

    async def _flush(self) -> None:
        """A system task while packets wait: the zygote takes them when it has the time."""
        try:
            while self.channel.wants_write:
                await trio.lowlevel.wait_writable(self.channel)
                self.channel.flush()
        except trio.ClosedResourceError:
            return  # nothing waits any more
        except OSError as error:  # what waits cannot be sent, and nothing after it
            log(logger, logging.ERROR, "the cells of this node are ended: %s", error)
            self.close()

    async def _listen(self) -> None:
        """A system task: what the zygote says, until it dies."""
        try:
            while not self.channel.is_closed:
                try:
                    packet = self.channel.receive()
                except ChannelClosed:
                    break
                except LostDescriptorsError as lost:
                    packet = lost.items, []
                except PacketError as error:  # whose it was is not known: of all its cells nobody would know how they end
                    log(logger, logging.ERROR, "the cells of this node are ended: %s", error)
                    break
                if packet is None:
                    with suppress(trio.ClosedResourceError):
                        await trio.lowlevel.wait_readable(self.channel)
                    continue
                match packet:
                    case (("ready", namespaces), []):
                        self.namespaces = namespaces
                    case (("unavailable", str(text), str(_)), []):
                        self.error = text
                    case (("forked", int(number)), [pidfd]):
                        tell_safely(self._cells[number][0], pidfd)
                    case (("forked", int(number)), []):  # its pidfd was lost, so nobody but the zygote can end it
                        self._send("kill", number)
                        tell_safely(self._cells.pop(number)[1], Ended(None, why="the node may open no more files (ulimit -n)"))
                    case (("failed", int(number), str(text)), []):
                        tell_safely(self._cells.pop(number)[1], Ended(None, why=text))
                    case (("ended", int(number), int(status), float(cpu), int(memory)), []) if number in self._cells:
                        tell_safely(self._cells.pop(number)[1], Ended(status, cpu, memory))
        finally:
            self.close()

    def close(self) -> None:
        """End it, and with it all its cells."""
        if self.channel.is_closed:
            return
        self.error = self.error or "the zygote of the cells has died"
        trio.lowlevel.notify_closing(self.channel)
        self.channel.close()
        self._process.kill()
        self._process.wait()
        cells, self._cells = self._cells, {}
        for _, ended in cells.values():
            tell_safely(ended, Ended(None, why="its zygote has died"))


def _raise_limit() -> None:
    """Of the descriptors that this OS process may have open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


MODULES: dict[str, list[str]] = {"process": [], "wasm": ["cells.inside.wasm"]}  # that a kind of cell needs besides

_zygotes: dict[tuple[str, bool], Zygote] = {}


def zygote(kind: str, *, strict: bool) -> Zygote:
    """The zygote of a kind of cell; `strict` requires all walls."""
    known = _zygotes.get((kind, strict))
    if known is None or known.channel.is_closed:
        known = _zygotes[kind, strict] = Zygote(MODULES[kind], executable=kind == "wasm", strict=strict)
    return known
