"""P2: what `process_info` tells, of processes in every state."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from beamlike import (
    Call,
    Down,
    Pid,
    blocking,
    call,
    exit,
    io,
    link,
    monitor,
    process_flag,
    process_info,
    receive,
    record,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
)
from beamlike.hot.values import MAX_DEPTH
from beamlike.processes import ProcessInfo, process_info_at


def info_of(pid: Pid) -> ProcessInfo:
    info = process_info(pid)
    assert info is not None
    return info


async def sleeper() -> None:
    await sleep(float("inf"))


async def receiver() -> None:
    await receive()


async def selective() -> None:
    await receive(bytes)


async def waiter_in_trio() -> None:
    import trio

    await trio.sleep_forever()


def spin() -> None:
    while True:
        pass


async def computer(boss: Pid) -> None:
    send(boss, "computing")
    spin()


def test_p2_all_fields() -> None:
    async def grandchild() -> None:
        process_flag("trap_exit", True)
        process_flag("label", ("worker", 7))
        await receive(bytes)

    async def child(boss: Pid) -> None:
        pid = spawn_link(grandchild, name="the grandchild", exclude=[("port_io", "all")])
        send(boss, pid)
        await sleeper()

    async def main() -> None:
        parent = spawn(child, self_pid())
        pid = await receive(Pid)
        await sleep(1)
        ref = monitor(pid)
        del ref
        for number in range(3):
            send(pid, number)
        await sleep(1)
        info = info_of(pid)
        assert type(info.exclusions) is tuple
        assert len(info.exclusions) == 1
        assert info.memory > 0
        assert info.reductions >= 1
        assert info.current_function is not None
        assert info.current_function.endswith("grandchild")
        assert type(info.current_line) is int
        expected = {
            "pid": pid,
            "status": "receiving",
            "mailbox_length": 3,
            "links": (parent,),
            "monitors": (),
            "monitored_by": (self_pid(),),
            "registered_name": "the grandchild",
            "label": ("worker", 7),
            "ancestors": (parent, self_pid()),
            "callers": (),
            "trap_exit": True,
        }
        assert {name: getattr(info, name) for name in expected} == expected
        assert info.initial_call.endswith(":test_p2_all_fields.<locals>.grandchild")

    run(main, seed=1)


def test_p2_answer_is_a_value_that_can_be_sent() -> None:
    async def main() -> None:
        info = info_of(spawn(sleeper))
        send(self_pid(), info)
        assert await receive(timeout=0) == info

    run(main, seed=1)


@pytest.mark.parametrize(
    ("body", "options", "status", "function"),
    [
        (receiver, {}, "receiving", "receiver"),
        (selective, {}, "receiving", "selective"),
        (sleeper, {}, "waiting", "sleeper"),
        (waiter_in_trio, {"io": True}, "in_trio", "waiter_in_trio"),
        (receiver, {"io": True}, "receiving", "receiver"),
    ],
    ids=["receive", "selective receive", "sleep", "trio", "receive in trio mode"],
)
def test_p2_status_and_function_of_one_that_waits(body: Any, options: Any, status: str, function: str) -> None:
    async def main() -> None:
        pid = spawn(body, **options)
        await sleep(1)
        info = info_of(pid)
        assert (info.status, info.current_function) == (status, function)
        assert info.current_line == body.__code__.co_firstlineno + (3 if body is waiter_in_trio else 1)

    run(main, seed=1)


def test_p2_one_that_was_just_spawned_is_runnable() -> None:
    async def main() -> None:
        info = info_of(spawn(sleeper))
        assert (info.status, info.mailbox_length, info.reductions) == ("runnable", 0, 0)

    run(main, seed=1)


def test_p2_one_that_calls_is_waiting_and_watches_its_server() -> None:
    async def caller(server: Pid) -> None:
        await call(server, 1, timeout=None)

    async def main() -> None:
        server = spawn(sleeper)
        pid = spawn(caller, server)
        await sleep(1)
        info = info_of(pid)
        assert (info.status, info.current_function) == (
            "waiting",
            f"{test_p2_one_that_calls_is_waiting_and_watches_its_server.__name__}.<locals>.caller",
        )
        assert info_of(server).monitored_by == (pid,)
        assert info_of(server).mailbox_length == 1

    run(main, seed=1)


def test_p2_one_that_asks_about_itself_is_running_at_the_line_that_asks() -> None:
    def ask() -> ProcessInfo:
        return info_of(self_pid())

    async def main() -> None:
        info = ask()
        assert info.status == "running"
        assert info.current_function is not None
        assert info.current_function.rpartition(".")[2] in ("ask", "info_of")

    run(main, seed=1)


def test_p2_initial_call_of_main_is_main() -> None:
    async def main() -> None:
        assert info_of(self_pid()).initial_call.endswith(":test_p2_initial_call_of_main_is_main.<locals>.main")

    run(main, seed=1)


def test_p2_works_on_one_that_computes() -> None:
    async def main() -> None:
        pid = spawn(computer, self_pid())
        assert await receive(timeout=10) == "computing"
        send(pid, "unread")
        while (info := info_of(pid)).status != "preempted":
            await sleep(0)
        assert info.mailbox_length == 1
        assert info.reductions >= 4000
        assert info.current_function == "spin"
        assert info.current_line in (spin.__code__.co_firstlineno + 1, spin.__code__.co_firstlineno + 2)
        assert info.initial_call.endswith(":computer")

    run(main)


def test_p2_works_on_one_that_computes_in_trio_mode() -> None:
    async def main() -> None:
        pid = spawn(computer, self_pid(), io=True)
        assert await receive(timeout=10) == "computing"
        await sleep(0.02)
        info = info_of(pid)
        assert info.status in ("in_trio", "preempted")
        assert info.current_function == "spin"

    run(main)


def test_p2_works_on_one_that_waits_for_a_thread() -> None:
    go = threading.Event()

    async def body() -> None:
        await blocking(go.wait, 20)

    async def main() -> None:
        pid = spawn(body)
        await sleep(0)
        info = info_of(pid)
        assert info.status == "waiting"
        assert info.current_function is not None
        assert info.current_function.endswith("body")
        go.set()

    run(main)


def test_p2_works_on_oneself_in_trio_mode() -> None:
    async def main() -> None:
        async with io():
            info = info_of(self_pid())
            assert info.status in ("in_trio", "running")
            assert info.current_function is not None

    run(main, seed=1)


def test_p2_of_a_dead_process_is_none() -> None:
    async def nothing() -> None:
        pass

    async def main() -> None:
        pid, _ = spawn_monitor(nothing)
        await receive(Down)
        assert process_info(pid) is None
        assert await process_info_at(pid) is None

    run(main, seed=1)


def test_p2_of_another_life_of_the_node_is_refused_and_says_what_to_do() -> None:
    async def give_pid() -> Pid:
        return self_pid()

    old = run(give_pid, seed=1)

    async def main() -> None:
        with pytest.raises(ValueError, match="process_info_at"):
            process_info(old)
        assert await process_info_at(old) is None

    run(main, seed=1)


def test_p2_memory_grows_with_the_mailbox() -> None:
    async def main() -> None:
        pid = spawn(sleeper)
        before = info_of(pid).memory
        send(pid, b"x" * 100_000)
        assert info_of(pid).memory - before >= 100_000

    run(main, seed=1)


def test_p2_message_as_deep_as_may_be_is_measured_inside_the_exit_that_brings_it() -> None:
    async def trapping() -> None:
        process_flag("trap_exit", True)
        await receive(bytes)

    async def main() -> None:
        pid = spawn(trapping)
        await sleep(0)
        deep: Any = ()
        for _ in range(MAX_DEPTH - 1):
            deep = (deep,)
        before = info_of(pid).memory
        exit(pid, deep)
        assert info_of(pid).memory > before

    run(main, seed=1)


def test_p2_links_and_monitors_of_the_dead_are_gone() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        pid = spawn_link(sleeper)
        other = spawn(sleeper)
        link(other)
        monitor(pid)
        monitor(other)
        assert set(info_of(self_pid()).links) == {pid, other}
        assert info_of(self_pid()).monitors == (pid, other)
        exit(pid, "boom")
        assert info_of(self_pid()).links == (other,)
        assert info_of(self_pid()).monitors == (other,)

    run(main, seed=1)


def test_p2_ancestors_are_the_parent_first_and_at_most_eight() -> None:
    async def descend(boss: Pid, generations: int) -> None:
        if generations:
            spawn(descend, boss, generations - 1)
        send(boss, (generations, self_pid()))
        await sleeper()

    async def main() -> None:
        spawn(descend, self_pid(), 11)
        family = dict([await receive(timeout=1) for _ in range(12)])
        oldest_first = [self_pid(), *[family[generation] for generation in range(11, -1, -1)]]
        assert info_of(family[0]).ancestors == tuple(reversed(oldest_first[:-1]))[:8]

    run(main, seed=1)


@record
class Job:
    number: int


def test_p2_asking_changes_nothing() -> None:
    async def server(boss: Pid) -> None:
        request = await receive(Call)
        send(boss, request.request)
        send(boss, await receive(timeout=1))

    async def main() -> None:
        pid = spawn(server, self_pid())
        await sleep(1)
        for _ in range(100):
            process_info(pid)
        send(pid, Job(1))
        spawn(asker, pid)
        assert await receive(timeout=1) == 5
        assert await receive(timeout=1) == Job(1)

    async def asker(pid: Pid) -> None:
        await call(pid, 5)

    run(main, seed=1)
