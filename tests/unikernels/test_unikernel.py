"""Unikernels as processes: messages, calls, pids in both directions, how they end."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hosted import image, needs_gcc
from hosting import Host, answer

import caps
from beamlike import (
    BadNameError,
    Call,
    CallError,
    CallTimeoutError,
    ChildSpec,
    Down,
    Exit,
    Pid,
    Supervisor,
    call,
    exit,
    monitor,
    process_flag,
    process_info,
    receive,
    reply,
    self_pid,
    send,
    sleep,
    spawn,
    unlink,
    whereis,
)
from unikernels import ImageError, Unikernel, cores, start_unikernel
from unikernels.memory import Memory

pytestmark = needs_gcc

VALUES = (
    None,
    True,
    False,
    0,
    -1,
    127,
    128,
    -33,
    2**31,
    2**63 - 1,
    -(2**63),
    1.5,
    "",
    "ä" * 20,
    "x" * 70_000,
    b"",
    b"\xc7\x10\x13",
    b"y" * 300,
)
NESTED = (1, (2, ("three", {"four": (5,)})), [6, [7]], {8: 9, "a": {"b": None}}, tuple(range(100)), {n: n for n in range(40)})


async def pids(*args: Any, **options: Any) -> Pid:
    return await start_unikernel(image("pids"), *args, **options)


def down_of(ref: Any, timeout: float = 20) -> Any:
    return receive(lambda message: type(message) is Down and message.ref == ref, timeout=timeout)


def test_a_hash(host: Host) -> None:
    async def check() -> None:
        hasher = await start_unikernel(image("hasher"), name="hash")
        for text in ("", "hello", "ä", b"\0\xff", b"z" * 50_000):
            assert await call("hash", ("djb2", 2, text)) == djb2(text, 2)
            data = text.encode() if isinstance(text, str) else text
            assert await call(hasher, ("sha256", data)) == hashlib.sha256(data).digest()
        for length in (55, 56, 63, 64, 65, 119, 120):
            assert await call(hasher, ("sha256", b"a" * length)) == hashlib.sha256(b"a" * length).digest()
        assert await call(hasher, "nonsense") is None
        send(hasher, (self_pid(), 3, "abc"))
        assert await answer() == (hasher, djb2("abc", 3))
        exit(hasher, "kill")

    host.run(check)


def djb2(text: str | bytes, repetitions: int) -> int:
    hash_ = 5381
    for _ in range(repetitions):
        for byte in text.encode() if isinstance(text, str) else text:
            hash_ = (hash_ * 33 + byte) % 2**32
    return hash_


def test_values_come_back_as_they_went(host: Host) -> None:
    async def check() -> None:
        pid = await pids()
        for value in (*VALUES, *NESTED, self_pid(), (self_pid(), pid)):
            assert await call(pid, value) == value
            send(pid, ("echo", self_pid(), value))
            assert await answer() == ("echo", pid, value)
        exit(pid, "kill")

    host.run(check)


def test_large_messages_and_what_is_too_large(host: Host) -> None:
    async def check() -> None:
        pid = await pids()
        data = os.urandom(3_000_000)
        assert await call(pid, data, timeout=30) == data
        with pytest.raises(CallError, match="there is room for 4194304") as caught:
            await call(pid, b"x" * (5 << 20))
        assert caught.value.reason[0] == "refused"
        send(pid, b"x" * (5 << 20))  # dropped, and counted as a dead letter
        assert await call(pid, "it lives") == "it lives"
        hasher = await start_unikernel(image("hasher"))
        with pytest.raises(CallError, match="there is room for 65536"):
            await call(hasher, ("sha256", b"x" * 70_000))
        for each in (pid, hasher):
            exit(each, "kill")

    host.run(check)


def test_what_a_program_sends_may_be_longer_than_its_inbox_and_its_arguments_may_not(host: Host) -> None:
    async def check() -> None:
        kv = await start_unikernel(image("kv"))
        value = "x" * 65_000
        assert await call(kv, ("put", "key", value)) is None
        assert await call(kv, ("get", "key")) == value
        with pytest.raises(ValueError, match="the arguments have more than 65536 bytes"):
            await start_unikernel(image("hasher"), b"x" * 100_000)
        exit(kv, "kill")

    host.run(check)


def test_back_pressure_in_both_directions(host: Host) -> None:
    """More is sent than the rings hold, before any answer is looked at."""

    async def check() -> None:
        pid = await pids()
        data = b"x" * 10_000
        for number in range(300):
            send(pid, ("echo", self_pid(), (number, data)))
        for number in range(300):
            assert await answer(30) == ("echo", pid, (number, data))
        exit(pid, "kill")

    host.run(check)


def test_many_pids_of_one_program(host: Host) -> None:
    async def check() -> None:
        pid = await pids()
        many = []
        for _ in range(5):
            send(pid, ("new", self_pid()))
            _, each = await answer()
            many.append(each)
        assert len({pid, *many}) == 6
        for number, each in enumerate(many):
            for _ in range(number):
                send(each, "count")
        assert [await call(each, "how many") for each in many] == [0, 1, 2, 3, 4]
        ref = monitor(many[0])
        send(pid, ("end", self_pid(), many[0]))
        assert (await down_of(ref)).reason == "over"
        ref = monitor(many[1])
        exit(many[1], "kill")
        assert (await down_of(ref)).reason == "killed"
        while True:
            send(pid, ("killed", self_pid(), 1))
            if (await answer())[2] == -1:
                break
        refs = [monitor(many[2]), monitor(many[3])]
        exit(pid, "kill")
        assert [(await down_of(ref)).reason for ref in refs] == ["killed", "killed"]

    host.run(check)


def test_it_may_be_handed_any_number_of_pids_one_after_the_other(host: Host) -> None:
    async def asks(boss: Pid, hasher: Pid) -> None:
        send(hasher, (self_pid(), 1, "a"))
        send(boss, await receive(timeout=20))

    async def check() -> None:
        hasher = await start_unikernel(image("hasher"))
        for _ in range(700):
            for _ in range(100):
                spawn(asks, self_pid(), hasher)
            assert [await answer() for _ in range(100)] == [(hasher, djb2("a", 1))] * 100
        exit(hasher, "kill")

    host.run(check)


def test_it_calls_and_monitors(host: Host) -> None:
    async def check() -> None:
        pid = await pids()
        echo = spawn(_forwarding_echo, self_pid())
        send(pid, ("call", echo, (1, "two"), 5000))
        assert await answer() == ("call", (1, "two"))
        assert await answer() == ("answer", pid, (1, "two"))
        send(pid, ("monitor", self_pid(), echo))
        await call(pid, "it has")
        exit(echo, "enough")
        assert await answer() == ("down", pid, "enough")
        send(pid, ("call", echo, 1, 5000))  # a dead one; whoever is called is told the outcome, so nobody is
        assert await call(pid, "it lives") == "it lives"
        silent = spawn(_forwarding_silence, self_pid())
        send(pid, ("call", silent, 1, 50))
        await answer()
        assert await answer() == ("late", pid)
        exit(pid, "kill")

    host.run(check)


async def _forwarding_echo(boss: Pid) -> None:
    while True:
        match await receive():
            case Call(caller, request):
                send(boss, ("call", request))
                reply(caller, request)
            case message:
                send(boss, message)


async def _forwarding_silence(boss: Pid) -> None:
    while True:
        match await receive():
            case Call(_, request):
                send(boss, ("call", request))
            case message:
                send(boss, message)


async def said(outcome: str, count: int) -> list[Any]:
    """The echoes; the outcome of the call comes by another way, so it comes anywhere among them."""
    messages = [await answer(30) for _ in range(count + 1)]
    assert [message[0] for message in messages].count(outcome) == 1
    return [message for message in messages if message[0] == "echo"]


def test_messages_that_come_during_a_call_wait_in_order_and_too_many_end_it(host: Host) -> None:
    async def check() -> None:
        pid = await pids()
        silent = spawn(_forwarding_silence, self_pid())
        send(pid, ("call", silent, "x", 300))
        await answer()
        for number in range(20):
            send(pid, ("echo", self_pid(), number))
        assert await said("late", 20) == [("echo", pid, number) for number in range(20)]
        send(pid, ("call", silent, "x", 20_000))
        await answer()
        data = b"x" * 1000
        for number in range(100):
            send(pid, ("echo", self_pid(), (number, data)))
        assert await said("full", 100) == [("echo", pid, (number, data)) for number in range(100)]
        exit(pid, "kill")

    host.run(check)


ENDS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "return": ((), "normal"),
    "exit": (("exit", 3), ("exit", 3)),
    "exit with 0": (("exit", 0), "normal"),
    "a reason": (("stop", 7), ("had enough", 7)),
    "a wild pointer": (("write", 0x1230), ("signal", "SIGSEGV", "address 0x1230")),
    "an illegal instruction": (("illegal",), ("signal", "SIGILL")),
    "a division by zero": (("divide", 0), ("signal", "SIGFPE")),
    "the end of the stack": (("stack",), ("signal", "SIGSEGV")),
    "fork": (("system call", 57), ("capability_violation", "os", "system call 57")),
    "execve": (("system call", 59), ("capability_violation", "os", "execve")),
    "execveat of nothing": (("system call", 322), ("capability_violation", "os", "execveat")),
    "execveat of a path": (("execveat", 0), ("capability_violation", "os", "execveat")),
    "open": (("system call", 2), ("capability_violation", "os", "system call 2")),
    "socket": (("system call", 41), ("capability_violation", "os", "system call 41")),
    "ptrace": (("system call", 101), ("capability_violation", "os", "ptrace")),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_reason_says_how_it_ended(host: Host, name: str) -> None:
    args, reason = ENDS[name]

    async def check() -> None:
        process_flag("trap_exit", True)
        pid = await Unikernel.start_link(image("ends"), *args)
        ended = await receive(Exit, timeout=20)
        assert ended.sender == pid
        if type(reason) is tuple:
            assert ended.reason[: len(reason)] == reason, ended.reason
        else:
            assert ended.reason == reason
        if ended.reason[0] == "signal":
            assert ended.reason[2].startswith("address 0x")
            assert ended.reason[3].startswith("at 0x")

    host.run(check)


def test_one_that_returns_at_once_has_been_started_all_the_same(host: Host) -> None:
    async def check() -> None:
        for _ in range(30):
            assert (await down_of(monitor(await start_unikernel(image("nothing"))))).reason in ("normal", "noproc")

    host.run(check)


def test_a_heartbeat_ends_who_hangs_and_not_who_computes_or_waits(host: Host) -> None:
    async def check() -> None:
        begun = time.monotonic()
        refs = [monitor(await start_unikernel(image("ends"), *args, heartbeat=0.2)) for args in (("loop",), ("beat", 600), ("wait", 600))]
        assert (await down_of(refs[0])).reason == ("hung", 0.2)
        assert time.monotonic() - begun >= 0.2
        assert [(await down_of(ref)).reason for ref in refs[1:]] == ["normal", "normal"]
        ref = monitor(await start_unikernel(image("ends"), "loop", cpu=0.1))
        assert (await down_of(ref)).reason == ("limit", "cpu")

    host.run(check)


def test_a_heartbeat_ends_who_never_takes_what_came_and_who_is_stopped(host: Host) -> None:
    async def check() -> None:
        ref = monitor(await start_unikernel(image("deaf"), heartbeat=0.2))
        assert (await down_of(ref)).reason == ("hung", 0.2)
        pid = await start_unikernel(image("pids"), heartbeat=0.2)
        ref = monitor(pid)
        assert await call(pid, 1) == 1
        await sleep(0.5)
        assert await call(pid, 2) == 2  # idle is not hung
        info = process_info(pid)
        assert info is not None
        os.kill(int(info.label.split()[-1]), signal.SIGSTOP)
        await sleep(0.5)
        assert process_info(pid) is not None  # nor is who has nothing to do
        with pytest.raises(CallError) as caught:
            await call(pid, 3, timeout=20)
        assert caught.value.reason == ("hung", 0.2)
        assert (await down_of(ref)).reason == ("hung", 0.2)

    host.run(check)


def test_who_never_answers_is_waited_for_as_long_as_the_caller_wants(host: Host) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("ends"), "loop")
        with pytest.raises(CallTimeoutError):
            await call(pid, "anything", timeout=0.05)
        exit(pid, "kill")

    host.run(check)


def test_one_that_scribbles_over_its_ring_is_ended_and_hurts_nobody(host: Host) -> None:
    async def check() -> None:
        other = await pids()
        for seed in range(10):
            pid = await start_unikernel(image("ends"), "scribble", seed)
            ref = monitor(pid)
            for number in range(20):
                send(pid, number)
            with suppress(TimeoutError) if seed else nullcontext():  # one that has hit nothing that counts goes on
                ended = await down_of(ref, timeout=0.2 if seed else 20)
                assert ended.reason in (("capability_violation", "mailbox"), ("exit", 96)), ended
            exit(pid, "kill")
            assert await call(other, seed) == seed
        exit(other, "kill")

    host.run(check)


def test_nothing_comes_of_one_after_it_was_told_to_be_over(host: Host) -> None:
    async def check() -> None:
        for _ in range(5):
            pid = await start_unikernel(image("flood"), self_pid())
            ref = monitor(pid)
            assert [await answer() for _ in range(500)] == list(range(500))
            exit(pid, "kill")
            await down_of(ref)
            while True:  # what came before that
                try:
                    await receive(int, timeout=0)
                except TimeoutError:
                    break
            with pytest.raises(TimeoutError):
                await answer(0.1)

    host.run(check)


def test_nothing_counts_that_comes_after_a_violation(host: Host) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("flood"), self_pid(), "forge")
        ref = monitor(pid)
        assert [await answer(), await answer()] == [0, Down(ref, pid, ("capability_violation", "mailbox"))]

    host.run(check)


def test_a_call_in_flight_fails_with_the_reason(host: Host) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("ends"), "when called")
        with pytest.raises(CallError) as caught:
            await call(pid, "now", timeout=10)
        assert caught.value.reason[:3] == ("signal", "SIGSEGV", "address 0x10")

    host.run(check)


def test_an_answer_that_is_no_value_is_refused_at_once_and_what_it_says_and_its_crash_are_logged(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("ends"), "answers nonsense")
        ref = monitor(pid)
        for _ in range(4):
            with pytest.raises(CallError, match="the answer of the unikernel ends is no value: "):
                await call(pid, 1, timeout=20)
        assert await call(pid, 1) == 7
        assert (await down_of(ref)).reason[:3] == ("signal", "SIGSEGV", "address 0x10")

    with caplog.at_level(logging.INFO, "beamlike.unikernels"):
        host.run(check)
    lines = [record.getMessage() for record in caplog.records if record.name == "beamlike.unikernels"]
    assert lines[:2] == [r"ends: one\x1b[31m", "ends: two"]
    assert lines[2].startswith("the unikernel ends ended: ('signal', 'SIGSEGV'")


def test_one_that_is_through_at_once_is_not_said_to_be_started_again(host: Host) -> None:
    async def check() -> None:
        for _ in range(30):
            reason = ""
            try:
                await start_unikernel(image("nothing"), restart="transient")
            except RuntimeError as error:
                reason = str(error)
            assert not reason or reason.endswith("has ended already, and is not started again")

    host.run(check)


def test_any_name_will_do(host: Host) -> None:
    async def check() -> None:
        for name in ("x" * 300, "ä€" * 100, "a\0b\n"):
            pid = await start_unikernel(image("pids"), name=name)
            assert await call(name, 1) == 1
            exit(pid, "kill")

    host.run(check)


def test_exclusions_of_who_starts_it_decide_where_it_sends(host: Host) -> None:
    async def check() -> None:
        sink = spawn(_forwarding_echo, self_pid(), name="the sink")
        for term in (("send", "the sink"), ("send", sink)):
            pid = await pids(exclude=[term])
            send(pid, ("echo", sink, 1))
            send(pid, ("echo", self_pid(), 2))
            assert await answer() == ("echo", pid, 2)
            exit(pid, "kill")
        exit(sink, "kill")

    host.run(check)


async def limited_starter(boss: Pid) -> None:
    try:
        await start_unikernel(image("pids"))
    except caps.CapabilityError as error:
        send(boss, error.kind)


@pytest.mark.parametrize("term", [("file", "all"), ("spawn", "unikernel:pids")])
def test_who_may_not_read_the_image_or_start_it_does_not(host: Host, term: Any) -> None:
    async def check() -> None:
        image("pids")
        spawn(limited_starter, self_pid(), exclude=[term])
        assert await answer() == term[0]

    host.run(check)


def test_a_supervisor_restarts_it(host: Host) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("hasher"), name="again", restart="permanent")
        for _ in range(3):
            exit(pid, "kill")
            while (now := whereis("again")) in (None, pid):
                await sleep(0.001)
            assert now is not None
            assert await call(now, ("djb2", 1, "x")) == djb2("x", 1)
            pid = now
        spec = ChildSpec.of(Unikernel, image("hasher"), name="in a tree")
        supervisor = await Supervisor.start_link([spec])
        assert await call("in a tree", ("djb2", 1, "x")) == djb2("x", 1)
        unlink(supervisor)
        exit(supervisor, "shutdown")

    host.run(check)


def test_it_is_in_ps_by_the_pid_of_its_os_process(host: Host) -> None:
    async def check() -> None:
        pid = await pids()
        info = process_info(pid)
        assert info is not None
        assert info.label.startswith("unikernel pids, OS process ")
        ref = monitor(pid)
        os_pid = int(info.label.rpartition(" ")[2])
        assert os_pid > 1
        os.kill(os_pid, signal.SIGKILL)
        assert (await down_of(ref)).reason == "killed"

    host.run(check)


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty"),
    "a text": (b"#!/bin/sh\n", "it begins with"),
    "half a header": (b"\x7fELF\x02\x01\x01", "it is cut off: an ELF header has 64 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_refused(host: Host, tmp_path: Path, name: str) -> None:
    data, text = BAD[name]
    (path := tmp_path / "bad.elf").write_bytes(data)

    async def check() -> None:
        with pytest.raises(ImageError, match=text) as caught:
            await start_unikernel(path)
        assert str(path) in str(caught.value)

    host.run(check)


def test_images_of_others_are_refused(host: Host, tmp_path: Path) -> None:
    good, dynamic = image("hasher").read_bytes(), Path(sys.executable).resolve().read_bytes()

    async def refused(data: bytes, text: str) -> None:
        (path := tmp_path / "other.elf").write_bytes(data)
        with pytest.raises(ImageError, match=text):
            await start_unikernel(path)

    async def check() -> None:
        await refused(good[:3000], "it is cut off")
        await refused(good[:100], "it is cut off")
        await refused(good[:18] + b"\xb7" + good[19:], "an image for aarch64, expected x86-64")
        await refused(good[:4] + b"\x01" + good[5:], "32 bits")
        await refused(dynamic, "a dynamic program or a library")
        with pytest.raises(FileNotFoundError):
            await start_unikernel(tmp_path / "missing.elf")
        os.mkfifo(tmp_path / "pipe.elf")
        with pytest.raises(ImageError, match=r"pipe\.elf: it is no regular file"):
            await start_unikernel(tmp_path / "pipe.elf")
        (tmp_path / "large.elf").touch()
        os.truncate(tmp_path / "large.elf", 1 << 30)
        with pytest.raises(ImageError, match="an image at most 67108864"):
            await start_unikernel(tmp_path / "large.elf")

    host.run(check)


def test_a_static_program_that_is_not_of_the_library_ends_before_it_does_anything(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "alien.c"
    source.write_text('#include <stdio.h>\nint main(void) { FILE *f = fopen("/etc/passwd", "r"); puts(f ? "open" : "shut"); return 3; }\n')
    subprocess.run(["gcc", "-static", str(source), "-o", str(tmp_path / "alien.elf")], check=True)

    async def check() -> None:
        with pytest.raises(RuntimeError, match="was it built by"):
            await start_unikernel(tmp_path / "alien.elf")

    host.run(check)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"core": 99}, "core is 99"),
        ({"core": "1"}, "core is '1'"),
        ({"heartbeat": 0}, "heartbeat is a positive number"),
        ({"restart": "always"}, "restart is"),
        ({"memory": 0}, "memory is 0"),
        ({"memory": 16384}, "memory=16384 is too little"),
        ({"nope": 1}, "there is no option nope, but core, name"),
        ({"memory": 1 << 70}, "memory is 1180591620717411303424: at most"),
        ({"exclude": [("fly",)]}, "unknown kind"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_options_are_refused(host: Host, options: dict[str, Any], text: str) -> None:
    async def check() -> None:
        with pytest.raises((ValueError, TypeError, RuntimeError), match=text):
            await start_unikernel(image("hasher"), **options)

    host.run(check)


def test_starts_and_kills_leave_nothing(host: Host) -> None:
    async def check() -> None:
        async def round_() -> None:
            pid = await start_unikernel(image("hasher"))
            ref = monitor(pid)
            exit(pid, "kill")
            await down_of(ref)

        await round_()
        await sleep(0.2)  # what other checks have left ends
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            await round_()
        await sleep(0.2)
        assert len(os.listdir("/proc/self/fd")) <= before
        assert not [line for line in _children() if "hasher" in line]

    host.run(check)


async def _calls(boss: Pid, name: str) -> None:
    """Calls until one fails; tells with what reason."""
    while True:
        try:
            await call(name, "now", timeout=20)
        except CallError as error:
            send(boss, error.reason)
            return
        except BadNameError:
            await sleep(0.001)


@pytest.mark.parametrize(
    ("program", "args", "reason"), [("pids", (), "killed"), ("ends", ("when called",), ("signal", "SIGSEGV", "address 0x10"))]
)
def test_killed_or_crashed_with_calls_in_flight_many_times(host: Host, program: str, args: Any, reason: Any) -> None:
    async def check() -> None:
        supervisor = await Supervisor.start_link([ChildSpec.of(Unikernel, image(program), *args, name="often")], intensity=1000, period=1.0)
        unlink(supervisor)
        await sleep(0.2)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            for _ in range(5):
                spawn(_calls, self_pid(), "often")
            told = 0
            while told < 5:  # who calls only now calls the next one
                if reason == "killed":
                    await sleep(0.001)
                    while (pid := whereis("often")) is None:
                        await sleep(0.001)
                    exit(pid, "kill")
                with suppress(TimeoutError):
                    while told < 5:
                        ended = await receive(timeout=0.2 if reason == "killed" else 20)
                        assert ended == "noproc" or ended[: len(reason)] == reason, ended
                        told += 1
        while whereis("often") is None:
            await sleep(0.001)
        await sleep(0.2)
        assert len(os.listdir("/proc/self/fd")) <= before
        exit(supervisor, "shutdown")
        while whereis("often") is not None:
            await sleep(0.001)

    host.run(check)


def _children() -> list[str]:
    shown = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm,stat"], capture_output=True, text=True, check=False)
    return shown.stdout.splitlines()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_this_node_leaves_the_core_of_a_unikernel_and_takes_it_back(host: Host) -> None:
    async def check() -> None:
        all_cores = os.sched_getaffinity(0)
        core = max(all_cores)
        one, other = [await start_unikernel(image("pids"), core=core) for _ in range(2)]
        assert os.sched_getaffinity(0) == all_cores - {core}
        for pid in (one, other):
            ref = monitor(pid)
            exit(pid, "kill")
            await down_of(ref)
            await sleep(0.1)
        assert os.sched_getaffinity(0) == all_cores
        with pytest.raises(RuntimeError):
            await start_unikernel(image("pids"), core=core, memory=1)
        await sleep(0.1)
        assert os.sched_getaffinity(0) == all_cores

    host.run(check)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_only_who_is_alone_on_its_core_looks_before_it_sleeps(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        polls: dict[Memory, bool] = {}
        poll = Memory.poll

        def noted(memory: Memory, now: bool) -> None:
            polls[memory] = now
            poll(memory, now)

        monkeypatch.setattr(Memory, "poll", noted)
        core = max(os.sched_getaffinity(0))
        first, second = [await start_unikernel(image("pids"), core=core) for _ in range(2)]
        await start_unikernel(image("pids"))
        assert list(polls.values()) == [False, False]
        exit(first, "kill")
        while list(polls.values()) != [False, True]:
            await sleep(0.001)
        exit(second, "kill")
        await start_unikernel(image("pids"), core=core)  # perhaps before the OS process has gone
        while list(polls.values())[2:] != [True]:
            await sleep(0.001)
        monkeypatch.setattr(cores, "joined_or_none", lambda: True)
        monkeypatch.setattr(cores, "topology", lambda: [SimpleNamespace(state="up", core=core)])
        exit(await start_unikernel(image("pids"), core=core), "kill")
        assert list(polls.values())[3:] == [False]

    host.run(check)


def test_where_sigchld_is_ignored_the_end_of_one_is_told_as_well() -> None:
    program = f"""
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from beamlike import exit, monitor, receive, run
from unikernels import start_unikernel
async def main():
    pid = await start_unikernel({str(image("hasher"))!r})
    ref = monitor(pid)
    exit(pid, "kill")
    return (await receive(timeout=10)).reason
print(run(main))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "killed\n", done.stderr


def test_an_image_may_be_given_as_its_bytes(host: Host) -> None:
    data = image("hasher").read_bytes()

    async def check() -> None:
        pid = await start_unikernel(data, name="of bytes")
        assert whereis("of bytes") == pid
        assert await call(pid, ("djb2", 1, "hello")) == djb2("hello", 1)
        exit(pid, "kill")
        with pytest.raises(ImageError, match=r"^it is cut off"):
            await start_unikernel(data[:1000])

    host.run(check)
