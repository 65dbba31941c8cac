"""The checks of test_remote_spawn.py: processes that are started on other nodes."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from messages_checks import at, nothing_comes, os_pid_of
from puppets import PATIENCE, make, node

from beamlike import (
    BadNameError,
    Down,
    Exit,
    Limits,
    Mailbox,
    Pid,
    exit,
    io,
    monitor,
    process_flag,
    process_info_at,
    receive,
    self_pid,
    send,
    spawn,
    spawn_at,
    spawn_monitor,
)
from nodes import SpawnError
from nodes.here import joined
from nodes.placement import spawn_link_at, spawn_monitor_at

KEYBOARD = ("port_io", 0x60, 0x65)


async def stays(boss: Pid, value: Any = None) -> None:
    send(boss, ("here", self_pid(), value))
    await receive(lambda message: False)


async def in_io(boss: Pid) -> None:
    import trio

    await trio.lowlevel.checkpoint()
    send(boss, ("here", self_pid(), "trio"))


def not_async(*args: Any) -> None:
    """No async function."""


def raises(*args: Any) -> Coroutine[Any, Any, None]:
    raise LookupError("when it is called")


def leaves_python(*args: Any) -> Coroutine[Any, Any, None]:
    raise SystemExit(7)


class NoTextError(Exception):
    def __str__(self) -> str:
        raise LookupError


def raises_what_has_no_text(*args: Any) -> Coroutine[Any, Any, None]:
    raise NoTextError


async def error_of(make: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[type, str]:
    try:
        await make()
    except Exception as error:  # noqa: BLE001 - whatever it is, is looked at
        return type(error), str(error)
    raise AssertionError("nothing was raised")


async def here() -> Any:
    return (await receive(lambda message: type(message) is tuple and message[0] == "here", PATIENCE))[2]


async def check_every_option_has_its_effect_there(number: int) -> None:
    where = node(number)
    pid = await spawn_at(where, stays, self_pid(), name="named")
    assert await here() is None
    info = await process_info_at(pid)
    assert info is not None
    assert (info.registered_name, info.pid.node) == ("named", where)
    send(("named", where), "x")
    exit(pid, "kill")
    await spawn_at(where, in_io, self_pid(), io=True)
    assert await here() == "trio"
    pid = await spawn_at(where, stays, self_pid(), mailbox=Mailbox(1, "exit"))
    ref = monitor(pid)
    await here()
    for _ in range(2):
        send(pid, "x")
    assert await receive(timeout=PATIENCE) == Down(ref, pid, ("mailbox", "full"))
    pid = await spawn_at(where, stays, self_pid(), limits=Limits(messages=1))
    ref = monitor(pid)
    await here()
    for _ in range(2):
        send(pid, "x")
    assert await receive(timeout=PATIENCE) == Down(ref, pid, ("limit", "messages"))
    for args in ((1, [2]), {"k": (self_pid(),)}):
        pid = await spawn_at(where, stays, self_pid(), args)
        assert await here() == args
        exit(pid, "kill")


async def check_errors_come_back_as_the_exception_that_spawn_raises(number: int) -> None:
    where, me = node(number), self_pid()
    taken = await spawn_at(where, stays, me, name="taken")
    await here()
    kind, text = await error_of(lambda: spawn_at(where, stays, me, name="taken"))
    assert kind is BadNameError, (kind, text)
    assert "taken" in text, text
    kind, text = await error_of(lambda: spawn_at(where, not_async))  # type: ignore[arg-type]
    assert kind is TypeError, (kind, text)
    kind, text = await error_of(lambda: spawn_at(where, stays))
    assert kind is TypeError, (kind, text)
    assert "boss" in text, text
    kind, text = await error_of(lambda: spawn_at(where, stays, me, exclude=[("no such capability",)]))
    assert kind in (TypeError, ValueError), (kind, text)
    kind, text = await error_of(lambda: spawn_at(where, stays, me, exclude=7))
    assert kind is TypeError, (kind, text)
    kind, text = await error_of(lambda: spawn_at(where, stays, me, nonsense=7))
    assert kind is TypeError, (kind, text)
    assert "nonsense" in text, text
    kind, text = await error_of(lambda: spawn_at(where, stays, me, io="yes"))
    assert kind is TypeError, (kind, text)
    kind, text = await error_of(lambda: spawn_at("nowhere@at.all", stays, me))
    assert kind is SpawnError, (kind, text)
    assert "nowhere@at.all" in text and (where in text or number == 1), text
    if number != 1:
        kind, text = await error_of(lambda: spawn_at(where, lambda: stays(me)))
        assert kind is TypeError, (kind, text)
        assert "lambda" in text, text
        kind, text = await error_of(lambda: spawn_at(where, raises))
        assert kind is SpawnError, (kind, text)
        assert "LookupError: when it is called" in text, text
        kind, text = await error_of(lambda: spawn_at(where, leaves_python))
        assert kind is SpawnError, (kind, text)
        assert "SystemExit: 7" in text, text
        kind, text = await error_of(lambda: spawn_at(where, raises_what_has_no_text))
        assert kind is SpawnError, (kind, text)
        assert "whose str() raised" in text, text
        for fault in ("no_such_module_at_all:f", "spawn_checks:no_such_function"):
            kind, text = await error_of(partial(spawn_at, where, named(fault)))
            assert kind.__name__ == "WireError", (kind, text)
            assert fault.partition(":")[0] in text, text
    assert await process_info_at(taken) is not None
    await nothing_comes()
    exit(taken, "kill")


def named(name: str) -> Any:
    """A function that has this name here, and is not there."""
    import sys
    from types import ModuleType

    module, _, function = name.partition(":")

    async def f() -> None: ...

    f.__module__, f.__qualname__ = module, function
    setattr(sys.modules.setdefault(module, ModuleType(module)), function, f)
    return f


async def layered(boss: Pid, numbers: list[int]) -> None:
    """Starts the next one of a chain over nodes; tells its own exclusions and limits."""
    info = await process_info_at(self_pid())
    assert info is not None
    send(boss, ("layers", info.exclusions, info.ancestors))
    if numbers:
        await spawn_at(node(numbers[0]), layered, boss, numbers[1:], exclude=[("port_io", len(numbers), len(numbers) + 1)])


async def check_layers_and_ancestors_arrive_over_every_hop(*numbers: int) -> None:
    first = await spawn_at(node(numbers[0]), layered, self_pid(), list(numbers[1:]), exclude=[KEYBOARD])
    told = [await receive(lambda message: type(message) is tuple and message[0] == "layers", PATIENCE) for _ in numbers]
    assert told[0][2][0] == self_pid()
    assert told[1][2][:2] == (first, self_pid())
    counts = [len(exclusions) for _, exclusions, _ in told]
    assert counts == list(range(1, len(numbers) + 1)), told
    assert "port_io" in repr(told[0][1])
    for (_, fewer, _), (_, more, _) in itertools.pairwise(told):
        assert more[: len(fewer)] == fewer


async def limited(boss: Pid, number: int) -> None:
    pid = await spawn_at(node(number), stays, boss, limits=Limits(messages=100))
    ref = monitor(pid)
    for _ in range(5):
        send(pid, "x")
    send(boss, ("ended", (await receive(lambda message: isinstance(message, Down) and message.ref == ref, PATIENCE)).reason))


async def check_limits_are_inherited_and_only_tightened(number: int) -> None:
    spawn(limited, self_pid(), number, limits=Limits(messages=3))
    assert await receive(lambda message: type(message) is tuple and message[0] == "ended", PATIENCE) == ("ended", ("limit", "messages"))


async def check_ancestors_and_initial_call_are_known(number: int) -> None:
    info = await process_info_at(await spawn_at(node(number), stays, self_pid()))
    assert info is not None
    assert info.ancestors[0] == self_pid()
    assert info.initial_call == "spawn_checks:stays"


async def check_link_and_monitor_are_there_from_the_start(number: int) -> None:
    process_flag("trap_exit", True)
    for _ in range(100):
        pid = await spawn_link_at(node(number), ends)
        assert await receive(timeout=PATIENCE) == Exit(pid, "normal")
        pid, ref = await spawn_monitor_at(node(number), ends)
        assert await receive(timeout=PATIENCE) == Down(ref, pid, "normal")
    await nothing_comes()


async def ends() -> None: ...


async def linker(boss: Pid, number: int) -> None:
    send(boss, ("asking", self_pid()))
    await spawn_link_at(node(number), stays, boss)


async def check_child_of_a_spawner_that_dies_before_the_answer_dies_with_it() -> None:
    """n2 is stopped while it is asked; the asker dies; n2 goes on."""
    for reason in ("kill", ("shutdown", "asker")):
        os_pid = await at(2, os_pid_of)
        os.kill(os_pid, signal.SIGSTOP)
        try:
            asker, ref = spawn_monitor(linker, self_pid(), 2)
            await receive(lambda message, asker=asker: message == ("asking", asker), PATIENCE)
            exit(asker, reason)
            await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref, PATIENCE)
        finally:
            os.kill(os_pid, signal.SIGCONT)
        try:
            _, child, _ = await receive(lambda message: type(message) is tuple and message[0] == "here", 0.2)
        except TimeoutError:  # it died before it ran
            continue
        ref = monitor(child)
        down = await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref, PATIENCE)
        assert down.reason == "noproc", down


async def cancelled(boss: Pid, number: int) -> None:
    import trio

    async with io():
        with trio.move_on_after(0.05) as scope:
            await spawn_at(node(number), stays, boss)
        send(boss, ("cancelled", scope.cancelled_caught))
        await receive(lambda message: False)


async def check_child_of_a_spawn_that_was_cancelled_is_ended() -> None:
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        spawn(cancelled, self_pid(), 2)
        assert await receive(lambda message: type(message) is tuple and message[0] == "cancelled", PATIENCE) == ("cancelled", True)
    finally:
        os.kill(os_pid, signal.SIGCONT)
    _, child, _ = await receive(lambda message: type(message) is tuple and message[0] == "here", PATIENCE)
    ref = monitor(child)
    down = await receive(lambda message: isinstance(message, Down) and message.ref == ref, PATIENCE)
    assert down.reason in ("killed", "noproc"), down


async def asker(boss: Pid, number: int) -> None:
    try:
        await spawn_at(node(number), stays, boss)
    except SpawnError as error:
        send(boss, ("asker", error.reason))


async def check_spawn_fails_when_the_connection_is_lost_before_the_answer() -> None:
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        spawn(cut, 2)
        kind, text = await error_of(lambda: spawn_at(node(2), stays, self_pid()))
    finally:
        os.kill(os_pid, signal.SIGCONT)
    assert (kind, text) == (SpawnError, f"spawn_at: the connection to {node(2)} was lost")


async def cut(number: int) -> None:
    life = joined().membership.life_of(node(number))
    assert life is not None
    joined().mailboxes.cut(life)


async def check_spawn_fails_when_the_node_dies_before_the_answer() -> None:
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    askers = [spawn(asker, self_pid(), 2) for _ in range(20)]
    peer = joined().router.node(node(2))
    assert peer is not None
    while len(peer.watching) < len(askers):
        await make(3)
    os.kill(os_pid, signal.SIGKILL)
    for _ in askers:
        assert await receive(lambda message: type(message) is tuple, PATIENCE) == ("asker", "noconnection")


async def check_asker_of_process_info_and_spawn_may_be_killed_meanwhile() -> None:
    """Nothing of the wait is left, and the node goes on."""
    other = await make(2)
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        pids = [spawn(asks_info, other.pid) for _ in range(10)] + [spawn(asker, self_pid(), 2) for _ in range(10)]
        peer = joined().router.node(node(2))
        assert peer is not None
        while len([who for who in peer.watching.values() if who in pids]) < len(pids):
            await make(3)
        for pid in pids:
            exit(pid, "kill")
        await make(3)  # they have been unwound by then
        assert not [who for who in peer.watching.values() if who in pids]
    finally:
        os.kill(os_pid, signal.SIGCONT)
    assert await other.seen() == ()


async def asks_info(pid: Pid) -> None:
    await process_info_at(pid)
