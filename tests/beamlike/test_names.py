"""Local names."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest

from beamlike import (
    BadNameError,
    Down,
    Table,
    call,
    exit,
    monitor,
    process_info,
    processes,
    receive,
    register,
    registered,
    run,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    spawn_monitor,
    unregister,
    whereis,
)


async def sleeper() -> None:
    await sleep(float("inf"))


def test_name_leads_to_its_holder() -> None:
    async def main() -> None:
        pid = spawn(sleeper)
        register("one", pid)
        register("me")
        assert (whereis("one"), whereis("me"), whereis("nobody")) == (pid, self_pid(), None)
        assert registered() == ["me", "one"]
        info = process_info(pid)
        assert info is not None
        assert info.registered_name == "one"

    run(main, seed=1)


def test_name_is_taken_once() -> None:
    async def main() -> None:
        register("name")
        with pytest.raises(BadNameError, match=f"'name' is taken by {self_pid()}"):
            register("name", spawn(sleeper))
        before = processes()
        with pytest.raises(BadNameError, match="'name' is taken"):
            spawn(sleeper, name="name")
        assert processes() == before, "a spawn that failed leaves nothing behind"

    run(main, seed=1)


def test_process_has_one_name() -> None:
    async def main() -> None:
        register("first")
        with pytest.raises(BadNameError, match="'first'"):
            register("second")
        assert registered() == ["first"]
        unregister("first")
        register("second")
        assert registered() == ["second"]

    run(main, seed=1)


def test_spawn_with_a_name_has_it_before_anybody_can_look() -> None:
    async def child() -> None:
        send(whereis_main(), whereis("child"))

    def whereis_main() -> Any:
        return whereis("main")

    async def main() -> None:
        register("main")
        pid = spawn(child, name="child")
        assert whereis("child") == pid
        assert await receive(timeout=1) == pid

    run(main, seed=1)


@pytest.mark.parametrize("how", ["returns", "raises", "is killed"])
def test_name_is_free_after_the_holder_ended(how: str) -> None:
    async def body() -> None:
        await receive()
        if how == "raises":
            raise ValueError

    async def main() -> None:
        pid, _ = spawn_monitor(body, name="name")
        if how == "is killed":
            exit(pid, "kill")
        else:
            send(pid, "end")
        await receive(Down)
        assert whereis("name") is None
        assert registered() == []
        register("name")

    run(main, seed=1)


def test_unregister_of_a_name_that_nobody_has_is_a_bad_name_error() -> None:
    async def main() -> None:
        with pytest.raises(BadNameError, match="'nobody'"):
            unregister("nobody")

    run(main, seed=1)


def test_dead_process_gets_no_name() -> None:
    async def nothing() -> None:
        pass

    async def main() -> None:
        pid, _ = spawn_monitor(nothing)
        await receive(Down)
        with pytest.raises(BadNameError, match=str(pid)):
            register("name", pid)

    run(main, seed=1)


def test_process_of_another_life_of_the_node_gets_no_name() -> None:
    async def give_pid() -> Any:
        return self_pid()

    old = run(give_pid, seed=1)

    async def main() -> None:
        with pytest.raises(BadNameError, match="not alive on this node"):
            register("name", old)

    run(main, seed=1)


@pytest.mark.parametrize("function", [register, unregister, whereis])
@pytest.mark.parametrize("name", [None, 5, b"name", ("name", "node")])
def test_what_is_no_name_is_a_type_error(function: Any, name: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="a name is a non-empty str"):
            function(name)

    run(main, seed=1)


class Role(StrEnum):
    CLERK = "clerk"


USES: list[Callable[[Any], Any]] = [
    register,
    unregister,
    whereis,
    monitor,
    Table,
    lambda name: send(name, 1),
    lambda name: send((name, "node@machine"), 1),
    lambda name: send_after(1, name, 1),
    lambda name: call(name, 1),
    lambda name: spawn(sleeper, name=name),
]


@pytest.mark.parametrize("use", USES)
def test_a_name_of_a_subclass_of_str_is_a_type_error_before_anything_is_done(use: Any) -> None:
    """To a dict an enum may be another key than the str it equals."""

    async def main() -> None:
        register("clerk")
        with pytest.raises(TypeError, match=r"Role\.CLERK"):
            use(Role.CLERK)
        assert (registered(), processes()) == (["clerk"], [self_pid()])

    run(main, seed=1)


@pytest.mark.parametrize("function", [register, unregister, whereis])
def test_empty_name_is_a_value_error(function: Any) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="not ''"):
            function("")

    run(main, seed=1)


@pytest.mark.parametrize("pid", [5, "pid"])
def test_only_a_pid_is_registered(pid: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=repr(pid)):
            register("name", pid)

    run(main, seed=1)


def test_names_of_one_run_are_forgotten_in_the_next() -> None:
    async def main() -> None:
        assert registered() == []
        register("name")

    run(main, seed=1)
    run(main, seed=1)
