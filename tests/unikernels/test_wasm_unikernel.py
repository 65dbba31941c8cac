"""Unikernels in cells of WebAssembly: the same source does the same there. The cells themselves: tests/cells/test_wasm.py."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hosted import image, needs_clang, needs_gcc
from hosting import Host, answer

from beamlike import Down, Pid, call, exit, monitor, process_info, processes, receive, reply, self_pid, send, sleep, spawn
from cells import CellEnded, CellOutput, spawn_cell
from unikernels import start_unikernel

pytest.importorskip("wasmtime", reason="wasm cells need wasmtime: pip install 'beamlike[wasm]'")
pytestmark = needs_clang


async def watched(name: str, *args: Any) -> Pid:
    """One of which the caller is told what it writes, and how it ends."""
    return await spawn_cell(image(name, "wasm").read_bytes(), "main", *args, kind="wasm", output=self_pid())


def test_values_come_back_as_they_went(host: Host) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("pids", "wasm"))
        for value in (None, 1.5, -(2**63), 2**64 - 1, "ä", b"x" * 60_000, {"a": [1, {2}]}, pid, self_pid()):
            assert await call(pid, value) == value
            send(pid, ("echo", self_pid(), value))
            assert await answer() == ("echo", pid, value)
        exit(pid, "kill")

    host.run(check)


def test_numbers_and_what_is_logged(host: Host) -> None:
    async def check() -> None:
        pid = await watched("hasher")
        for repetitions in (0, 1, 31, 128, 300):
            send(pid, (self_pid(), repetitions, "a"))
            assert await answer() == (pid, djb2(b"a" * repetitions))
        assert await call(pid, ("djb2", 1, bytes(range(256)) * 100)) == djb2(bytes(range(256)) * 100)
        send(pid, (1, 2, 3))
        assert await answer() == CellOutput(pid, "stderr", b"hasher: a message is (pid, repetitions, text)")
        exit(pid, "kill")

    host.run(check)


def test_what_it_logs_goes_to_the_same_logger(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("hasher", "wasm"), name="hash")
        ref = monitor(pid)
        send(pid, (1, 2, 3))
        assert await call(pid, ("djb2", 1, "")) == 5381
        exit(pid, "kill")
        await receive(lambda message: type(message) is Down and message.ref == ref)
        while any(info.label == "log of the unikernel hash" for pid in processes() if (info := process_info(pid))):
            await sleep(0.01)

    with caplog.at_level(logging.INFO, "beamlike.unikernels"):
        host.run(check)
    assert "hash: hasher: a message is (pid, repetitions, text)" in caplog.text


def test_longer_arguments_than_it_has_room_for_are_refused_and_leave_nothing(host: Host) -> None:
    async def check() -> None:
        with pytest.raises(ValueError, match="arguments have more than 65536 bytes"):
            await start_unikernel(image("hasher", "wasm"), "x" * 65_536)
        before = len(processes())
        with pytest.raises(ValueError, match="a name is"):
            await start_unikernel(image("hasher", "wasm"), name="")
        await sleep(0)
        assert len(processes()) == before

    host.run(check)


def djb2(data: bytes) -> int:
    value = 5381
    for byte in data:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


async def _server() -> None:
    while True:
        match await receive():
            case asked if asked.request == "reply":
                reply(asked.caller, 77)
            case asked if asked.request == "crash":
                return


@pytest.mark.parametrize("target", [pytest.param("linux", marks=needs_gcc), "wasm"])
def test_the_functions_give_the_same_everywhere(host: Host, target: str) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("asker", target), self_pid(), spawn(_server), memory=1 << 25)
        ref = monitor(pid)
        send(pid, "meanwhile")
        assert [await answer() for _ in range(3)] == [(5, 77, pid), (-1, 0, pid), (13, 0, pid)]
        assert [await answer() for _ in range(3)] == [(1, 10, pid), (-1, 0, pid), (-1, 0, pid)]
        assert [await answer() for _ in range(4)] == [(-4, 0, pid), (-4, 0, pid), (-3, 0, pid), (-3, 0, pid)]
        assert [await answer() for _ in range(2)] == [(0, 1, pid), Down(ref, pid, ("exit", 3))]

    host.run(check)


ENDS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "return": ((), "normal"),
    "exit": (("exit", 3), ("exit", 3)),
    "exit with 0": (("exit", 0), "normal"),
    "a reason, which is a status here": (("stop", 7), ("exit", 1)),
    "an illegal instruction": (("illegal",), ("trap", "wasm `unreachable` instruction executed")),
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_with(host: Host, name: str) -> None:
    async def check() -> None:
        args, reason = ENDS[name]
        await watched("ends", *args)
        assert (await receive(CellEnded, timeout=10)).reason == reason

    host.run(check)


def test_arguments_that_are_too_long_end_it(host: Host) -> None:
    async def check() -> None:
        pid = await watched("ends", "x" * 65_536)
        assert await answer() == CellOutput(pid, "stderr", b"the arguments have more than 65536 bytes\n")
        assert (await receive(CellEnded, timeout=10)).reason == ("exit", 1)

    host.run(check)
