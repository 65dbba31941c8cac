"""Unikernels on the bare machine as processes: the same as on Linux, and supervised like those. The machine itself: test_bare.py."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from typing import Any

import pytest
from hosted import image, needs_gcc
from hosting import Host, answer

from beamlike import Down, Pid, call, exit, monitor, receive, self_pid, send, sleep, spawn, whereis
from unikernels import ImageError, start_unikernel

pytestmark = [needs_gcc, pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no QEMU to play the bare machine")]


def down_of(ref: Any) -> Any:
    return receive(lambda message: type(message) is Down and message.ref == ref, timeout=30)


def machines() -> list[str]:
    shown = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm"], capture_output=True, text=True, check=False)
    return [line for line in shown.stdout.splitlines() if "qemu" in line]


def test_messages_calls_and_pids(host: Host) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("pids", "bare"), name="on a machine")
        for value in (None, -(2**40), "ä", (1, {"a": b"x" * 50_000}), self_pid()):
            assert await call("on a machine", value, timeout=20) == value
            send(pid, ("echo", self_pid(), value))
            assert await answer(20) == ("echo", pid, value)
        send(pid, ("new", self_pid()))
        _, other = await answer(20)
        send(other, "count")
        assert await call(other, "how many", timeout=20) == 1
        await sleep(0.3)  # it sleeps meanwhile
        for number in range(50):
            spawn(_caller, self_pid(), pid, number)
        assert sorted([await answer(20) for _ in range(50)]) == list(range(50))
        ref = monitor(pid)
        exit(pid, "kill")
        assert (await down_of(ref)).reason == "killed"
        while machines():
            await sleep(0.01)

    host.run(check)


async def _caller(boss: Pid, pid: Pid, number: int) -> None:
    send(boss, await call(pid, number, timeout=20))


ENDS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "return": ((), "normal"),
    "exit": (("exit", 3), ("exit", 3)),
    "a reason": (("stop", 7), ("had enough", 7)),
    "a wild pointer": (("write", 0x1230), ("exception", "page fault", "address 0x1230")),
    "an illegal instruction": (("illegal",), ("exception", "invalid opcode")),
    "a division by zero": (("divide", 0), ("exception", "divide error")),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_reason_says_how_it_ended(host: Host, name: str, caplog: pytest.LogCaptureFixture) -> None:
    args, reason = ENDS[name]

    async def check() -> None:
        ref = monitor(await start_unikernel(image("ends", "bare"), *args))
        ended = (await down_of(ref)).reason
        assert ended == reason or ended[: len(reason)] == reason

    with caplog.at_level(logging.INFO, "beamlike.unikernels"):
        host.run(check)
    if reason[0] == "exception":
        assert "crashed: exception" in caplog.text


def test_a_heartbeat_and_a_supervisor(host: Host) -> None:
    async def check() -> None:
        ref = monitor(await start_unikernel(image("ends", "bare"), "loop", heartbeat=0.3))
        assert (await down_of(ref)).reason == ("hung", 0.3)
        first = await start_unikernel(image("hasher", "bare"), name="restarted", restart="permanent")
        exit(first, "kill")
        while (second := whereis("restarted")) in (None, first):
            await sleep(0.01)
        assert await call("restarted", ("djb2", 1, "hello"), timeout=20) == 261238937
        assert second is not None

    host.run(check)


def test_without_qemu_it_is_said_what_is_missing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image("hasher", "bare")

    async def check() -> None:
        with pytest.raises(ImageError, match="apt-get install qemu-system-x86"):
            await start_unikernel(path)

    monkeypatch.setenv("PATH", "/nowhere")
    host.run(check)
