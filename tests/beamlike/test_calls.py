"""What a call that goes wrong leaves behind, and where calls and replies may be made."""

from __future__ import annotations

import gc
from contextlib import nullcontext
from typing import Any

import pytest
import trio

from beamlike import (
    Call,
    CallError,
    CallTimeoutError,
    Limits,
    blocking,
    call,
    cancel_timer,
    exit,
    io,
    make_ref,
    process_info,
    receive,
    register,
    reply,
    run,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    unregister,
)
from beamlike.hot import scheduler
from beamlike.hot.mailboxes import mailbox_length


async def silent() -> None:
    await receive(lambda message: False)


def nothing_is_left(server: Any) -> None:
    me = scheduler.current_process()
    assert me.calls is None
    assert me.calling is None
    assert process_info(server).monitored_by == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("in_trio", [False, True])
def test_g1_call_of_a_name_on_a_node_that_is_not_there_fails_at_once(in_trio: bool) -> None:
    async def main() -> Any:
        async with io() if in_trio else nullcontext():
            with pytest.raises(CallError) as error:
                await call(("server", "elsewhere@machine"), "request")
        assert scheduler.current_process().calls is None
        return error.value.reason

    assert run(main, seed=1) == "noconnection"


def test_a_call_is_awaited_once() -> None:
    async def main() -> None:
        server = spawn(silent)
        waiting = call(server, "request", timeout=1)
        with pytest.raises(CallTimeoutError):
            await waiting
        with pytest.raises(RuntimeError, match="awaited before"):
            await waiting
        nothing_is_left(server)

    run(main, seed=1)


def test_a_call_is_awaited_in_the_mode_where_it_is_made() -> None:
    async def main() -> None:
        server = spawn(silent)
        waiting = call(server, "request", timeout=1)
        async with io():
            with pytest.raises(RuntimeError, match="in the other mode"):
                await waiting
        nothing_is_left(server)

    run(main, seed=1)


def test_a_call_is_awaited_by_the_process_that_made_it() -> None:
    async def other() -> None:
        with pytest.raises(RuntimeError, match="by another process"):
            await made[0]
        send(main_pid[0], "refused")

    made: list[Any] = []
    main_pid: list[Any] = []

    async def main() -> None:
        main_pid.append(self_pid())
        server = spawn(silent)
        made.append(call(server, "request", timeout=1))
        spawn(other)
        assert await receive() == "refused"
        nothing_is_left(server)

    run(main, seed=1)


def test_a_dead_process_begins_no_call() -> None:
    async def victim(server: Any) -> None:
        waiting = call(server, "request", timeout=None)
        try:
            await sleep(1000)
        finally:
            await waiting

    async def main() -> None:
        server = spawn(silent)
        pid = spawn(victim, server)
        await sleep(1)
        exit(pid, "kill")
        await sleep(1)
        assert process_info(server).mailbox_length == 0  # type: ignore[union-attr]
        nothing_is_left(server)

    run(main, seed=1)


def test_g7_who_waits_inside_io_may_be_called_by_who_waits_for_it() -> None:
    """Another task of it may answer meanwhile."""

    async def asked(other: Any) -> None:
        first = await receive(Call)
        async with io(), trio.open_nursery() as nursery:
            nursery.start_soon(answer_later, first.caller)
            assert await call(other, "back", timeout=100) == "to the task"

    async def answer_later(caller: Any) -> None:
        await sleep(1)
        reply(caller, "by a task")

    async def main() -> None:
        server = spawn(asked, self_pid())
        assert await call(server, "there", timeout=100) == "by a task"
        reply((await receive(Call)).caller, "to the task")

    run(main, seed=1)


def test_main_that_is_told_that_all_wait_waits_no_longer() -> None:
    async def calls_back(main_pid: Any) -> None:
        await receive(("now",))
        assert await call(main_pid, "are you there?", timeout=None) == "yes"
        send(main_pid, "answered")

    async def main() -> None:
        server = spawn(calls_back, self_pid())
        with pytest.raises(RuntimeError, match="every process waits"):
            await call(server, "request", timeout=None)
        nothing_is_left(server)
        send(server, ("now",))
        reply((await receive(Call)).caller, "yes")
        assert await receive() == "answered"

    run(main, seed=1)


def test_a_request_of_the_deepest_kind_passes_a_limit_of_bytes() -> None:
    request: Any = 1
    for _ in range(200):
        request = [request]

    async def server() -> None:
        asked = await receive(Call)
        reply(asked.caller, "seen")

    async def main() -> Any:
        return await call(spawn(server, limits=Limits(bytes=10**6)), request)

    assert run(main, seed=1) == "seen"


def test_what_belongs_to_the_node_s_thread_is_refused_in_another() -> None:
    async def main() -> None:
        timer = send_after(1000, self_pid(), "late")
        register("name", self_pid())
        server = spawn(asked_and_silent, self_pid())
        spawn(caller_of, server)
        caller = await receive()
        for what, fn, args in (
            ("reply", reply, (caller, "answer")),
            ("cancel_timer", cancel_timer, (timer,)),
            ("make_ref", make_ref, ()),
            ("unregister", unregister, ("name",)),
        ):
            with pytest.raises(RuntimeError, match=rf"{what}\(\) is called in a thread"):
                await blocking(fn, *args)

    run(main)


async def asked_and_silent(tell: Any) -> None:
    asked = await receive(Call)
    send(tell, asked.caller)
    await receive(lambda message: False)


async def caller_of(server: Any) -> None:
    await call(server, "request", timeout=None)


def test_m1_no_message_is_lost_to_a_finalizer_that_sends() -> None:
    """Making room for a second message may collect garbage, whose finalizers send to the same process."""
    sent = 0

    class Sender:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            nonlocal sent
            if target:
                send(target[0], "by a finalizer")
                sent += 1

    target: list[Any] = []

    async def main() -> int:
        nonlocal sent
        target.append(self_pid())
        old = gc.get_threshold()
        gc.set_threshold(1)  # every allocation collects
        try:
            for _ in range(200):
                Sender()
                send(self_pid(), "one")
                send(self_pid(), "two")
                sent += 2
                received = 0
                while mailbox_length(scheduler.current_process()):
                    await receive()
                    received += 1
                sent -= received
        finally:
            gc.set_threshold(*old)
            target.clear()
        while mailbox_length(scheduler.current_process()):
            await receive()
            sent -= 1
        return sent

    assert run(main, seed=1) == 0
