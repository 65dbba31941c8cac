"""Pools: balanced, and going on when members end."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hosted import image, needs_gcc
from hosting import Host, answer

from beamlike import (
    CallError,
    CallTimeoutError,
    ChildSpec,
    Down,
    Pid,
    Supervisor,
    call,
    cast,
    exit,
    monitor,
    process_info,
    processes,
    receive,
    self_pid,
    send,
    sleep,
    spawn,
    unlink,
)
from unikernels import Unikernel, UnikernelPool
from unikernels.pool import _pools

pytestmark = needs_gcc


def members(pool: Pid) -> list[Pid]:
    return list(_pools[pool].unanswered)


async def asker(boss: Pid, pool: Any, request: Any) -> None:
    try:
        send(boss, await call(pool, request, timeout=20))
    except CallError as error:
        send(boss, error.reason)


def test_calls_go_to_all_members_and_on_when_members_end(host: Host) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("pids"), cores=[None, None], name="pool")
        assert len(members(pool)) == 2
        for number in range(200):
            spawn(asker, self_pid(), "pool", number)
        assert sorted([await answer() for _ in range(200)]) == list(range(200))
        for _ in range(10):
            first = members(pool)[0]
            for number in range(50):
                spawn(asker, self_pid(), "pool", number)
            await sleep(0)
            exit(first, "kill")
            assert sorted([await answer() for _ in range(50)]) == list(range(50))
        while len(members(pool)) < 2:
            await sleep(0.001)
        gone = members(pool)
        exit(pool, "kill")
        while any(pid.process is not None for pid in gone):
            await sleep(0.001)

    host.run(check)


def test_messages_go_to_each_in_turn(host: Host) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("pids"), cores=[None, None, None])
        for _ in range(2):
            send(pool, ("echo", self_pid(), 1))
            cast(pool, ("echo", self_pid(), 1))
            send(pool, ("echo", self_pid(), 1))
        assert {(await answer())[1] for _ in range(6)} == {*members(pool)}
        exit(pool, "kill")

    host.run(check)


@pytest.mark.parametrize("retries", [0, 1])
def test_what_ends_every_member_that_is_asked_fails_with_the_reason(host: Host, retries: int) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("ends"), "when called", cores=[None, None], retries=retries)
        with pytest.raises(CallError) as caught:
            await call(pool, "now", timeout=20)
        kind, text = caught.value.reason
        assert (kind, "SIGSEGV" in text, "address 0x10" in text) == ("refused", True, True), text
        with pytest.raises(CallError):
            await call(pool, "again", timeout=20)
        exit(pool, "kill")

    host.run(check)


def test_a_pool_in_a_tree(host: Host) -> None:
    async def check() -> None:
        supervisor = await Supervisor.start_link([ChildSpec.of(UnikernelPool, image("pids"), cores=[None], name="in a tree")])
        assert await call("in a tree", 1) == 1
        unlink(supervisor)
        exit(supervisor, "shutdown")

    host.run(check)


def test_members_that_end_again_and_again_end_the_pool(host: Host) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("ends"), "exit", 3, cores=[None, None], intensity=2)
        ref = monitor(pool)
        down = await receive(lambda message: type(message) is Down and message.ref == ref, timeout=20)
        assert down.reason == ("members_ended", ("exit", 3))
        assert not [pid for pid in processes() if (info := process_info(pid)) and str(info.label).startswith("unikernel")]

    host.run(check)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cores": []}, r"cores is \[\], expected a core for each member"),
        ({"cores": 3}, "cores is 3"),
        ({"core": 1}, "expected a core for each member"),
        ({"cores": [None], "retries": -1}, "retries is"),
        ({"cores": [None], "intensity": None}, "intensity is"),
        ({"cores": [None], "period": 0}, "period is"),
        ({"cores": [99]}, "core is 99"),
    ],
)
def test_wrong_options(host: Host, options: dict[str, Any], text: str) -> None:
    async def check() -> None:
        with pytest.raises(ValueError, match=text):
            await UnikernelPool.start(image("pids"), **options)

    host.run(check)


async def limited_asker(boss: Pid, pool: Pid, member: Pid) -> None:
    try:
        send(boss, await call(pool, 1, timeout=20))
    except CallError as error:
        send(boss, error.reason)


def test_c8_a_pool_asks_under_the_exclusions_of_who_asks_it(host: Host) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("pids"), cores=[None])
        (member,) = members(pool)
        spawn(limited_asker, self_pid(), pool, member, exclude=[("send", member)])
        kind, text = await answer()
        assert (kind, "('send'" in text) == ("refused", True)
        assert await call(pool, 1) == 1
        exit(pool, "kill")

    host.run(check)


def asking() -> int:
    """How many processes ask a member."""
    infos = [info for pid in processes() if (info := process_info(pid)) is not None]
    return sum(info.initial_call == "unikernels.pool:_ask" for info in infos)


def test_calls_that_nobody_waits_for_are_let_go(host: Host) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("ends"), "loop", cores=[None])
        for _ in range(20):
            spawn(impatient, pool)
        while asking() < 20:
            await sleep(0.001)
        while asking():
            await sleep(0.01)
        exit(pool, "kill")

    host.run(check)


async def impatient(pool: Pid) -> None:
    with suppress(CallTimeoutError):
        await call(pool, 1, timeout=0.3)


def test_calls_are_answered_while_a_member_takes_long_to_start(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: Any, **options: Any) -> Pid:
        return await receive(lambda message: False)  # type: ignore[no-any-return]

    async def check() -> None:
        pool = await UnikernelPool.start(image("pids"), cores=[None, None])
        monkeypatch.setattr(Unikernel, "start_link", staticmethod(never))
        exit(members(pool)[0], "kill")
        while len(members(pool)) > 1:
            await sleep(0.001)
        assert [await call(pool, number, timeout=20) for number in range(10)] == list(range(10))
        exit(pool, "kill")

    host.run(check)


def unikernels_and_keepers() -> list[str]:
    labels = [str(info.label) for pid in processes() if (info := process_info(pid))]
    return [label for label in labels if label.startswith(("unikernel", "keeper"))]


def test_nothing_is_left_of_a_pool_when_it_is_over_also_of_what_is_being_started(host: Host, tmp_path: Path) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("pids"), cores=[None, None])
        ref = monitor(pool)
        exit(pool, "kill")
        assert await answer() == Down(ref, pool, "killed")
        assert unikernels_and_keepers() == []
        path = tmp_path / "it.elf"
        shutil.copy(image("pids"), path)
        pool = await UnikernelPool.start(path, cores=[None])
        ref = monitor(pool)
        path.unlink()
        shutil.copy(built_to_hang(tmp_path), path)
        exit(members(pool)[0], "kill")
        while members(pool):
            await sleep(0.001)
        await sleep(0.05)
        exit(pool, "kill")
        assert await answer() == Down(ref, pool, "killed")
        await sleep(0)
        assert unikernels_and_keepers() == []
        with pytest.raises(TimeoutError):
            await UnikernelPool.start(path, cores=[None], timeout=0.1)
        await sleep(0)
        assert unikernels_and_keepers() == []

    host.run(check)


def built_to_hang(folder: Path) -> Path:
    """A program that never says that it is ready: of no library."""
    source = folder / "hangs.c"
    source.write_text("void _start(void) { for (;;) {} }\n")
    subprocess.run(["gcc", "-static", "-nostdlib", str(source), "-o", str(folder / "hangs.elf")], check=True)
    return folder / "hangs.elf"


def test_while_one_is_started_again_the_others_answer(host: Host) -> None:
    async def check() -> None:
        pool = await UnikernelPool.start(image("pids"), cores=[None, None, None])
        for _ in range(10):
            for number in range(30):
                spawn(asker, self_pid(), pool, number)
            await sleep(0)
            for each in members(pool)[:2]:
                exit(each, "kill")
            got = [await answer(20) for _ in range(30)]
            wrong = [each for each in got if type(each) is not int and "killed" not in str(each)]
            assert not wrong, wrong
            while len(members(pool)) < 3:
                await sleep(0.001)
        exit(pool, "kill")

    host.run(check)
