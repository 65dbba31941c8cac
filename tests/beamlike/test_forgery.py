"""What a process with exclusions cannot gain by making by hand what the runtime makes: names, messages of signals, handles of tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from beamlike import (
    ChildSpec,
    ChildStartError,
    Down,
    Exit,
    GenServer,
    Pid,
    Supervisor,
    Task,
    call,
    make_ref,
    process_flag,
    receive,
    register,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    tighten,
    unregister,
    whereis,
)
from caps import CapabilityError


async def collector() -> None:
    got: list[Any] = []
    while True:
        match await receive():
            case ("got?", Pid() as boss):
                send(boss, got[:])
            case message:
                got.append(message)


async def got(pid: Pid) -> Any:
    send(pid, ("got?", self_pid()))
    return await receive(list, timeout=5)


async def _try(boss: Pid, attempt: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
    try:
        outcome: Any = await attempt(*args)
    except (CapabilityError, RuntimeError) as error:
        outcome = type(error).__name__
    send(boss, ("outcome", outcome))


async def tried(attempt: Callable[..., Awaitable[Any]], *args: Any, exclude: Any) -> Any:
    """What came of it when a process with these exclusions did it."""
    spawn(_try, self_pid(), attempt, args, exclude=exclude)
    return (await receive(("outcome",), timeout=5))[1]


async def kill_by_a_task(victim: Pid) -> None:
    own = Task.async_(sleep, 10)
    await Task.shutdown(Task(victim, self_pid(), own.ref))


def test_a_task_made_by_hand_ends_nobody() -> None:
    async def main() -> None:
        victim = spawn(collector)
        assert await tried(kill_by_a_task, victim, exclude=[("exit", victim)]) == "RuntimeError"
        assert await tried(kill_by_a_task, victim, exclude=()) == "RuntimeError"
        assert await got(victim) == []

    run(main)


async def adopt(victim: Pid) -> Any:
    async def start() -> Pid:
        return victim

    process_flag("trap_exit", True)
    try:
        await Supervisor.start_link([ChildSpec("adopted", start)])
    except ChildStartError as error:
        return error.reason[0][0]
    return "adopted"


def test_a_supervisor_takes_as_a_child_nobody_whom_it_may_not_end() -> None:
    async def main() -> None:
        victim = spawn(collector)
        assert await tried(adopt, victim, exclude=[("exit", victim)]) == "caps.errors.CapabilityError"
        assert await got(victim) == []
        assert await tried(adopt, victim, exclude=[("exit", "another")]) == "adopted"

    run(main)


class Strong(GenServer):
    async def init(self) -> None:
        pass

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return request


async def forge(victim: Pid, message: Any) -> str:
    send(victim, message)
    return "sent"


def test_a_message_of_a_signal_takes_the_permission_to_send_the_signal() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        server = await Strong.start_link()
        for message in (Exit(self_pid(), "forged"), Down(make_ref(), server, "forged")):
            assert await tried(forge, server, message, exclude=[("exit", server)]) == "CapabilityError"
            assert await call(server, 1) == 1
        assert await tried(forge, server, Exit(self_pid(), "forged"), exclude=[("exit", "another")]) == "sent"
        assert await receive(Exit, timeout=5) == Exit(server, "forged")

    run(main)


async def rename(victim: Pid) -> str:
    unregister("secret")
    send(victim, "found")
    return "sent"


async def name(victim: Pid) -> str:
    register("ok", victim)
    send(victim, "named")
    return "sent"


NAMES = {
    "the name that is excluded is freed": (rename, [("send", "secret")]),
    "the only name is given": (name, [("only", ("send", "ok"), ("send", "boss"))]),
    "the name that may not be ended is freed": (rename, [("exit", "secret")]),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_of_another_is_changed_by_who_may_do_all_that_names_decide(case: str) -> None:
    attempt, exclude = NAMES[case]

    async def main() -> None:
        register("boss")
        victim, unnamed = spawn(collector, name="secret"), spawn(collector)
        target = victim if attempt is rename else unnamed
        before = [("send", "nobody")]
        assert await tried(attempt, target, exclude=exclude) == "CapabilityError"
        assert (await got(target), whereis("secret"), whereis("ok")) == ([], victim, None)
        assert await tried(attempt, target, exclude=before) == "sent"

    run(main)


async def call_late(server: Pid) -> Any:
    wait = call(server, "late")
    await tighten(self_pid(), [("send", server)])
    return await wait


def test_a_call_that_was_made_before_a_tightening_is_refused_when_it_is_awaited() -> None:
    async def main() -> None:
        server = await Strong.start()
        assert await tried(call_late, server, exclude=()) == "CapabilityError"
        assert await tried(call_late, server, exclude=[("send", "another")]) == "CapabilityError"

    run(main)
