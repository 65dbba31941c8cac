"""Spawning, flags, and what every public function says of wrong arguments."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from beamlike import (
    Down,
    Limits,
    Mailbox,
    Pid,
    blocking,
    call,
    cancel_timer,
    cast,
    demonitor,
    exit,
    io,
    link,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    register,
    reply,
    run,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    spawn_at,
    spawn_link,
    spawn_monitor,
    unlink,
    whereis,
)
from beamlike.hot.scheduler import make_ref

setting: ContextVar[str] = ContextVar("setting", default="none")


async def sleeper() -> None:
    await sleep(math.inf)


async def answer(to: Pid, *what: Any) -> None:
    send(to, what)


SPAWNS: list[Callable[..., Any]] = [spawn, spawn_link, spawn_monitor]


@pytest.mark.parametrize("start", SPAWNS)
def test_spawn_runs_the_function_with_its_arguments_and_returns_at_once(start: Any) -> None:
    async def main() -> Any:
        start(answer, self_pid(), 1, "two", [3])
        with pytest.raises(TimeoutError):
            await receive(timeout=0)
        return await receive(tuple, timeout=1)

    assert run(main, seed=1) == (1, "two", [3])


def test_pids_are_equal_to_their_copies_and_never_used_twice() -> None:
    async def main() -> None:
        pids = [spawn(sleeper) for _ in range(100)]
        assert len({*pids, self_pid()}) == 101
        send(self_pid(), pids[0])
        assert await receive(timeout=0) == pids[0]
        assert pids[0].node == self_pid().node

    run(main, seed=1)


@pytest.mark.parametrize("start", SPAWNS)
@pytest.mark.parametrize("mode", [False, True])
def test_every_spawn_takes_every_option(start: Any, mode: bool) -> None:
    async def main() -> None:
        start(sleeper, name="child", limits=Limits(messages=3), mailbox=Mailbox(2), io=mode, exclude=[("port_io", "all")])
        await sleep(0.1)
        pid = whereis("child")
        assert pid is not None
        info = process_info(pid)
        assert info is not None
        assert info.registered_name == "child"
        assert len(info.exclusions) == 1
        assert info.status == ("in_trio" if mode else "waiting")
        for number in range(3):
            send(pid, number)
        info = process_info(pid)
        assert info is not None
        assert info.mailbox_length == 2

    run(main, seed=1)


def test_child_has_its_parents_exclusions_and_its_own() -> None:
    async def parent(boss: Pid) -> None:
        send(boss, (self_pid(), spawn(sleeper, exclude=[("spawn", "all")])))
        await sleeper()

    async def main() -> None:
        spawn(parent, self_pid(), exclude=[("port_io", 0x60, 0x65)])
        old, new = await receive(timeout=1)
        above, below = process_info(old), process_info(new)
        assert above is not None
        assert below is not None
        assert len(above.exclusions) == 1
        assert below.exclusions[:1] == above.exclusions
        assert len(below.exclusions) == 2

    run(main, seed=1)


@pytest.mark.parametrize("mode", [False, True])
def test_child_has_a_copy_of_its_parents_contextvars(mode: bool) -> None:
    async def child(boss: Pid) -> None:
        before = setting.get()
        setting.set("child's")
        await sleep(1)
        send(boss, (before, setting.get()))

    async def main() -> None:
        setting.set("main's")
        spawn(child, self_pid(), io=mode)
        setting.set("changed")
        assert await receive(timeout=2) == ("main's", "child's")
        assert setting.get() == "changed"

    run(main, seed=1)


def test_argument_that_cannot_be_sent_is_handed_over_as_it_is() -> None:
    got: list[Any] = []

    async def child(thing: Any) -> None:
        got.append(thing)

    async def main() -> Any:
        thing = iter([1])
        spawn_monitor(child, thing)
        await receive(Down, timeout=1)
        return got[0] is thing

    assert run(main, seed=1) is True


def test_processes_are_listed_oldest_first() -> None:
    async def main() -> None:
        pids = [spawn(sleeper) for _ in range(5)]
        assert processes() == [self_pid(), *pids]
        exit(pids[2], "kill")
        assert processes() == [self_pid(), *pids[:2], *pids[3:]]

    run(main, seed=1)


def test_spawn_at_of_a_node_that_is_not_there_is_a_value_error() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="'elsewhere@machine'"):
            await spawn_at("elsewhere@machine", sleeper)

    run(main, seed=1)


@pytest.mark.parametrize("node", ["any", "least_loaded", "this one"])
def test_spawn_at_of_a_node_that_is_alone_is_a_spawn(node: str) -> None:
    async def main() -> None:
        where = self_pid().node if node == "this one" else node
        child = await spawn_at(where, sleeper, name="child")
        assert whereis("child") == child
        assert process_info(child).ancestors == (self_pid(),)  # type: ignore[union-attr]

    run(main, seed=1)


def test_spawn_at_refuses_an_option_that_there_is_not() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="spawn_at has no option 'linked'"):
            await spawn_at("any", sleeper, linked=True)

    run(main, seed=1)


# --- what cannot be spawned -----------------------------------------------------------------------------------------------


def plain() -> int:
    return 1


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("start", SPAWNS)
@pytest.mark.parametrize(
    ("fn", "names"),
    [
        (5, "async function.*5"),
        (None, "async function.*None"),
        ("sleeper", "async function.*'sleeper'"),
        (plain, "async function.*plain.*int"),
        (generator, "async function.*generator"),
        (async_generator, "async function.*async_generator"),
    ],
)
def test_what_is_no_async_function_is_not_spawned(start: Any, fn: Any, names: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=names):
            start(fn)
        assert processes() == [self_pid()]

    run(main, seed=1)


@pytest.mark.parametrize("start", SPAWNS)
def test_coroutine_that_is_there_already_is_not_spawned(start: Any) -> None:
    async def main() -> None:
        coro = sleeper()
        with pytest.raises(TypeError, match=r"async function.*sleeper"):
            start(coro)
        coro.close()

    run(main, seed=1)


@pytest.mark.parametrize("start", SPAWNS)
@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({"name": 5}, TypeError, "5"),
        ({"name": ""}, ValueError, "''"),
        ({"limits": 5}, TypeError, "limits.*5"),
        ({"mailbox": 5}, TypeError, "mailbox.*5"),
        ({"exclude": [5]}, (TypeError, ValueError), "5"),
        ({"exclude": 5}, (TypeError, ValueError), "5"),
        ({"exclude": [("no_such_kind", 1)]}, (TypeError, ValueError), "no_such_kind"),
        ({"io": 5}, TypeError, "io is True or False, not 5"),
        ({"nme": "typo"}, TypeError, "nme"),
    ],
)
def test_wrong_option_of_spawn_is_refused_and_nothing_is_spawned(start: Any, options: Any, error: Any, names: str) -> None:
    async def main() -> None:
        with pytest.raises(error, match=names):
            start(sleeper, **options)
        assert processes() == [self_pid()]
        assert process_info(self_pid()).links == ()  # type: ignore[union-attr]

    run(main, seed=1)


@pytest.mark.parametrize("start", SPAWNS)
def test_option_that_there_is_not_is_told_in_the_name_of_what_was_called(start: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=rf"^{start.__name__}\b.* 'nme'"):
            start(sleeper, nme="typo")

    run(main, seed=1)


def test_wrong_number_of_arguments_is_told_to_the_spawner() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"sleeper\(\) takes 0 positional arguments"):
            spawn(sleeper, 1)
        assert processes() == [self_pid()]

    run(main, seed=1)


# --- flags ----------------------------------------------------------------------------------------------------------------


def test_process_flag_returns_the_old_value() -> None:
    async def main() -> None:
        assert process_flag("trap_exit", True) is False
        assert process_flag("trap_exit", False) is True
        assert process_flag("label", ("worker", 1)) is None
        assert process_flag("label", None) == ("worker", 1)

    run(main, seed=1)


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (("trap_exits", True), ValueError, "'trap_exits'"),
        ((5, True), ValueError, "5"),
        (("trap_exit", 1), TypeError, "1"),
        (("trap_exit", None), TypeError, "None"),
    ],
)
def test_wrong_flag_is_refused(arguments: Any, error: Any, names: str) -> None:
    async def main() -> None:
        with pytest.raises(error, match=names):
            process_flag(*arguments)

    run(main, seed=1)


def test_m7_label_is_a_value_of_its_own() -> None:
    async def main() -> None:
        label = ["worker", 1]
        process_flag("label", label)
        label.append("changed")
        assert process_info(self_pid()).label == ["worker", 1]  # type: ignore[union-attr]

    run(main, seed=1)


def test_label_that_cannot_be_sent_is_refused_and_the_old_one_stays() -> None:
    async def main() -> None:
        process_flag("label", "worker")
        with pytest.raises(TypeError, match="generator"):
            process_flag("label", (number for number in (1, 2)))
        assert process_info(self_pid()).label == "worker"  # type: ignore[union-attr]

    run(main, seed=1)


# --- wrong arguments of everything else -----------------------------------------------------------------------------------

WRONG: list[tuple[str, Callable[[], Any], Any, str]] = [
    ("send to a number", lambda: send(5, 1), TypeError, "5"),
    ("send to None", lambda: send(None, 1), TypeError, "None"),
    ("send to a wrong pair", lambda: send(("name", 5), 1), TypeError, "5"),
    ("send to a triple", lambda: send(("a", "b", "c"), 1), TypeError, "'c'"),
    ("cast to a number", lambda: cast(5, 1), TypeError, "5"),
    ("cast to a name that nobody has", lambda: cast("nobody", 1), LookupError, "^nobody has the name 'nobody'"),
    ("call of a number", lambda: call(5, 1), TypeError, "5"),
    ("call with a wrong timeout", lambda: call(self_pid(), 1, timeout="1"), TypeError, "'1'"),  # type: ignore[call-overload]
    ("call with a negative timeout", lambda: call(self_pid(), 1, timeout=-1), ValueError, "-1"),
    ("reply to a pid", lambda: reply(self_pid(), 1), TypeError, "main@"),  # type: ignore[arg-type]
    ("link of a name", lambda: link("name"), TypeError, "'name'"),  # type: ignore[arg-type]
    ("unlink of a name", lambda: unlink("name"), TypeError, "'name'"),  # type: ignore[arg-type]
    ("monitor of a number", lambda: monitor(5), TypeError, "5"),
    ("monitor of a wrong pair", lambda: monitor((5, "node")), TypeError, "5"),
    ("monitor of an empty name", lambda: monitor(""), ValueError, "''"),
    ("demonitor of a pid", lambda: demonitor(self_pid()), TypeError, "main@"),  # type: ignore[arg-type]
    ("demonitor with a wrong flush", lambda: demonitor(monitor(self_pid()), "x"), TypeError, "'x'"),  # type: ignore[arg-type]
    ("exit of a name", lambda: exit("name", "kill"), TypeError, "'name'"),  # type: ignore[arg-type]
    ("process_info of a name", lambda: process_info("name"), TypeError, "'name'"),  # type: ignore[arg-type]
    ("receive with a wrong match", lambda: receive(5), TypeError, "5"),
    ("receive with a list", lambda: receive(["add", int]), TypeError, "add"),
    ("receive with a wrong timeout", lambda: receive(timeout="1"), TypeError, "'1'"),  # type: ignore[arg-type]
    ("receive with a bool as timeout", lambda: receive(timeout=True), TypeError, "True"),
    ("receive with a negative timeout", lambda: receive(timeout=-1), ValueError, "-1"),
    ("receive with no number as timeout", lambda: receive(timeout=math.nan), ValueError, "nan"),
    ("blocking of a number", lambda: blocking(5), TypeError, "5"),  # type: ignore[arg-type]
    ("register of a dead name", lambda: register("name", "pid"), TypeError, "'pid'"),  # type: ignore[arg-type]
    ("cancel_timer of a number", lambda: cancel_timer(5), TypeError, "5"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("mode", ["scheduler", "trio"])
@pytest.mark.parametrize(("wrong", "error", "names"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_argument_raises_in_the_caller_and_is_named(wrong: Callable[[], Any], error: Any, names: str, mode: str) -> None:
    async def body() -> None:
        async def do_it() -> None:
            awaitable = wrong()
            if hasattr(awaitable, "__await__"):
                await awaitable

        with pytest.raises(error, match=names):
            await do_it()
        send(self_pid(), "still works")
        assert await receive(timeout=0) == "still works"

    async def main() -> None:
        if mode == "trio":
            async with io():
                await body()
        else:
            await body()

    run(main, seed=1)


OUTSIDE: list[tuple[str, Callable[[Pid], Any]]] = [
    ("self_pid", lambda pid: self_pid()),
    ("spawn", lambda pid: spawn(sleeper)),
    ("spawn_link", lambda pid: spawn_link(sleeper)),
    ("spawn_monitor", lambda pid: spawn_monitor(sleeper)),
    ("send", lambda pid: send(pid, 1)),
    ("receive", lambda pid: receive()),
    ("receive with a match", lambda pid: receive(int, timeout=1)),
    ("call", lambda pid: call(pid, 1)),
    ("cast", lambda pid: cast(pid, 1)),
    ("link", lambda pid: link(pid)),
    ("unlink", lambda pid: unlink(pid)),
    ("monitor", lambda pid: monitor(pid)),
    ("exit", lambda pid: exit(pid, "kill")),
    ("register", lambda pid: register("name")),
    ("send_after", lambda pid: send_after(1, pid, 1)),
    ("process_flag", lambda pid: process_flag("trap_exit", True)),
    ("make_ref", lambda pid: make_ref()),
]


@pytest.mark.parametrize("function", [case[1] for case in OUTSIDE], ids=[case[0] for case in OUTSIDE])
def test_outside_a_node_everything_is_a_runtime_error_that_says_so(function: Callable[[Pid], Any]) -> None:
    async def give_pid() -> Pid:
        return self_pid()

    pid = run(give_pid, seed=1)
    with pytest.raises(RuntimeError, match="no node runs"):
        function(pid)


@pytest.mark.parametrize("function", [sleep, io().__aenter__, blocking])
def test_outside_a_node_what_waits_is_a_runtime_error_when_awaited(function: Any) -> None:
    coro = function(*{"sleep": (1,), "blocking": (plain,)}.get(getattr(function, "__name__", ""), ()))
    with pytest.raises(RuntimeError, match="no node runs"):
        coro.send(None)


THREADLESS: list[tuple[str, Callable[[Pid], Any]]] = [case for case in OUTSIDE if case[0] not in ("self_pid", "send", "cast", "make_ref")]


@pytest.mark.parametrize("function", [case[1] for case in THREADLESS], ids=[case[0] for case in THREADLESS])
def test_in_a_thread_all_but_send_and_self_pid_is_a_runtime_error(function: Callable[[Pid], Any]) -> None:
    """What changes the node's state would race with it."""

    async def main() -> None:
        def work() -> None:
            with pytest.raises(RuntimeError, match="thread"):
                function(self_pid())

        await blocking(work)

    run(main)


def test_asyncio_awaitable_is_an_error_in_that_process_only() -> None:
    async def lost(boss: Pid) -> None:
        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()
        except RuntimeError as error:
            send(boss, str(error))
            raise
        finally:
            loop.close()

    async def main() -> None:
        _, _ref = spawn_monitor(lost, self_pid())
        assert "asyncio" in await receive(str, timeout=1)
        assert (await receive(Down, timeout=1)).reason[0][0] == "RuntimeError"
        spawn(answer, self_pid(), "the node is well")
        assert await receive(timeout=1) == ("the node is well",)

    run(main, seed=1)
