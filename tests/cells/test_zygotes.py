"""What the node and a zygote say to each other when there is no room for it: in the socket, among the descriptors."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from descriptors import no_descriptors
from hosting import Host, answer, cell

from beamlike import Down, monitor, receive, self_pid, send, sleep, spawn
from cells import CellUnavailable, Limits, spares, spawn_cell
from cells.zygotes import Zygote, zygote

# mypy: allow-untyped-defs, disable-error-code="name-defined"

_sizes = count(Limits().memory + 1)


def unlike_any() -> dict[str, Any]:
    """Options of a cell for which no spare one is there."""
    return {"limits": Limits(memory=next(_sizes))}


async def echo(parent):
    send(parent, "ready")
    while True:
        send(parent, await receive())


def stop(zygote: Zygote) -> None:
    """Stop it and its cells."""
    os.killpg(zygote._process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, zygote._process.pid, os.WSTOPPED)  # until then it may go on


@contextmanager
def stopped(zygote: Zygote) -> Iterator[None]:
    """It reads nothing, as one that is busy; its cells do nothing, either."""
    stop(zygote)
    try:
        yield
    finally:
        os.killpg(zygote._process.pid, signal.SIGCONT)


def group(zygote: Zygote) -> set[str]:
    """It and its cells, the pids of those that run."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                state, _, group, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(group) == zygote._process.pid and state != "Z":
                    found.add(entry.name)
    return found


def test_more_cells_may_be_asked_for_than_there_is_room_for(host: Host) -> None:
    async def ask(parent: Any) -> None:
        await spawn_cell("", **unlike_any())
        send(parent, "started")

    async def check() -> None:
        await spawn_cell("", **unlike_any())
        asked = zygote("process", strict=False)
        with socket.socket(fileno=os.dup(asked.channel.fileno())) as same, stopped(asked):
            same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that the kernel allows
            for _ in range(12):
                spawn(ask, self_pid())
            while asked.channel.waiting < 12:
                await sleep(0.001)
        assert [await answer() for _ in range(12)] == ["started"] * 12
        while asked.channel.wants_write:  # by spare cells
            await sleep(0.001)

    host.run(check)


def test_a_zygote_may_end_with_packets_waiting_for_it(host: Host) -> None:
    async def ask(parent: Any) -> None:
        with pytest.raises(CellUnavailable, match="the zygote of the cells has died"):
            await spawn_cell("", **unlike_any())
        send(parent, "refused")

    async def check() -> None:
        await spawn_cell("", **unlike_any())
        asked = zygote("process", strict=False)
        with socket.socket(fileno=os.dup(asked.channel.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            stop(asked)
            last = max(asked._cells)
            for _ in range(12):
                spawn(ask, self_pid())
            while sum(number > last for number in asked._cells) < 24:  # and a spare one for each
                await sleep(0.001)
            assert asked.channel.waiting >= 12
        asked.close()
        assert [await answer() for _ in range(12)] == ["refused"] * 12
        await spawn_cell("", **unlike_any())

    host.run(check)


def test_a_cell_that_could_not_be_asked_for_is_forgotten(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        pid = await cell(echo)
        assert await answer() == "ready"
        asked = zygote("process", strict=False)
        before = list(asked._cells)
        with monkeypatch.context() as patch:
            patch.setattr(asked.channel, "send", no_descriptor)
            with pytest.raises(CellUnavailable, match="no descriptor"):
                await spawn_cell("", **unlike_any())
        assert list(asked._cells) == before
        send(pid, "still here")
        assert await answer() == "still here"

    def no_descriptor(*args: Any, **options: Any) -> None:
        raise OSError("no descriptor")

    host.run(check)


def test_a_cell_whose_pidfd_is_lost_is_ended_and_no_other(host: Host) -> None:
    async def ask(parent: Any) -> None:
        try:
            pid = await spawn_cell("import time\ntime.sleep(100)", **unlike_any())
        except CellUnavailable as error:
            why = str(error)
        else:  # it was ready before the node was told that it is there
            monitor(pid)
            why = repr((await receive(Down)).reason)
        send(parent, "refused" if "the node may open no more files (ulimit -n)" in why else why)

    async def check() -> None:
        zygote("process", strict=False).close()  # for one without cells that are just ending, whose descriptors are closed then
        pid = await cell(echo)
        assert await answer() == "ready"
        asked = zygote("process", strict=False)
        while any(spare.pidfd < 0 for spare in spares._spares.values()):
            await sleep(0.001)
        with no_descriptors(), pytest.raises(CellUnavailable, match=r"no further cell on this node: .*Too many open files"):
            await spawn_cell("", **unlike_any())
        before, cells, last = len(group(asked)), len(asked._cells), max(asked._cells)
        with stopped(asked):
            spawn(ask, self_pid())
            while sum(number > last for number in asked._cells) < 2:  # it and a spare one
                await sleep(0.001)
            with no_descriptors():
                os.killpg(asked._process.pid, signal.SIGCONT)
                assert await answer() == "refused"
        while len(group(asked)) - before != len(asked._cells) - cells:
            await sleep(0.001)
        send(pid, "still here")
        assert await answer() == "still here"
        await cell(echo)
        assert await answer() == "ready"

    host.run(check)
