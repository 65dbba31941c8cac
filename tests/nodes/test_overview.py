"""What a node tells of its processes, asked as a node among others is: by a call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import caps
from beamlike import (
    ChildSpec,
    DynamicSupervisor,
    Pid,
    Supervisor,
    call,
    exit,
    process_flag,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    system,
)
from nodes import overview


def on_node(main: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """What main returns, which runs on a node with an overview."""

    async def begin() -> Any:
        spawn(overview.tell_of_processes, name=overview.SERVICE)
        return await main()

    return run(begin, **options)


async def ask(*question: Any) -> Any:
    return await call(overview.SERVICE, question)


async def idle() -> None:
    await receive(lambda message: False)


async def busy(turns: int) -> None:
    for _ in range(turns):
        await sleep(0)
    await idle()


async def crowded(messages: int) -> None:
    for number in range(messages):
        send(self_pid(), number)
    await idle()


def test_a_row_is_of_plain_values() -> None:
    async def main() -> Any:
        spawn_link(crowded, 2, name="crowded", exclude=caps.all_but("send", "net"))
        process_flag("label", ("any", 1))
        await sleep(1)
        return await ask("processes", "pid", 100), self_pid()

    answer, pid = on_node(main, seed=1)
    (me,) = (row for row in answer["rows"] if row["pid"] == str(pid))
    (other,) = (row for row in answer["rows"] if row["name"] == "crowded")
    assert me["label"] == "('any', 1)"
    assert me["links"] == [other["pid"]]
    del other["memory"], other["reductions"]
    assert other == {
        "pid": other["pid"],
        "node": pid.node,
        "name": "crowded",
        "label": None,
        "function": f"{__name__}:crowded",
        "current": f"idle:{idle.__code__.co_firstlineno + 1}",
        "status": "receiving",
        "has": ["send", "net"],
        "except": [],
        "mailbox": 2,
        "links": [str(pid)],
    }


@pytest.mark.parametrize("sort", ["mailbox", "memory", "reductions"])
def test_sorted_the_most_come_first_and_of_equal_ones_the_oldest(sort: str) -> None:
    async def main() -> Any:
        pids = [spawn(crowded if sort != "reductions" else busy, count) for count in (30, 500, 500, 200)]
        await sleep(1)
        return await ask("processes", sort, 3), pids

    answer, pids = on_node(main, seed=1)
    assert [row["pid"] for row in answer["rows"]] == [str(pids[index]) for index in (1, 2, 3)]
    assert answer["total"] == 7  # with main, the overview, and who answers


def test_by_pid_the_oldest_come_first_and_of_none_the_number_is_told() -> None:
    async def main() -> Any:
        return await ask("processes", "pid", 2), await ask("processes", "pid", 0), self_pid()

    two, none, pid = on_node(main, seed=1)
    assert two["rows"][0]["pid"] == str(pid)
    assert len(two["rows"]) == 2
    assert none == {"rows": [], "total": 3}


def test_busiest_are_those_that_ran_most_meanwhile_not_before() -> None:
    async def main() -> Any:
        spawn(busy, 5000, name="before")
        await sleep(1)

        async def runs() -> None:
            await sleep(5)
            await busy(100)

        spawn(runs, name="meanwhile")
        answer = await call(overview.SERVICE, ("busiest", 10.0, 1), timeout=20)
        return answer["rows"][0]["name"], answer["rows"][0]["recent"]

    name, recent = on_node(main, seed=1)
    assert name == "meanwhile"
    assert 100 <= recent <= 110


def test_others_have_their_turns_while_many_processes_are_looked_at() -> None:
    turns = 0

    async def main() -> int:
        async def ticks() -> None:
            nonlocal turns
            while True:
                turns += 1
                await sleep(0)

        for _ in range(2000):
            spawn(idle)
        await sleep(0.01)
        ticker = spawn(ticks)
        await ask("processes", "memory", 1000)
        exit(ticker, "kill")
        return turns

    assert on_node(main, preempt=False) >= 3000 // overview.BATCH


def test_tree_tells_of_children_and_of_a_supervisor_that_does_not_answer() -> None:
    async def main() -> Any:
        silent = await Supervisor.start_link([idle], name="silent")
        top = await Supervisor.start_link(
            [ChildSpec.of(DynamicSupervisor, name="pool"), ChildSpec.of(linked, id=("any", 1))], name="top", strategy="rest_for_one"
        )
        for _ in range(3):
            await DynamicSupervisor.start_child("pool", idle)
        await system.suspend(silent)
        answer = await ask("tree", 2)
        await system.resume(silent)
        return answer, top

    async def linked() -> None:
        process_flag("label", str(spawn_link(idle)))
        await idle()

    answer, top = on_node(main, seed=1)
    rows: dict[str, Any] = {row["name"]: row for row in answer["supervisors"]}
    assert rows["silent"]["children"] is None
    pool, child = rows["top"]["children"]
    assert (pool["id"], pool["pid"], pool["type"]) == ("DynamicSupervisor", rows["pool"]["pid"], "supervisor")
    assert (child["id"], child["status"], child["restart"]) == ("('any', 1)", "running", "permanent")
    assert child["links"] == [child["label"]]
    assert rows["top"]["more"] == 0
    assert len(rows["pool"]["children"]) == 2
    assert rows["pool"]["more"] == 1
    assert rows["top"]["pid"] == str(top)


def test_tree_goes_on_when_a_supervisor_ends_meanwhile() -> None:
    async def main() -> Any:
        ending: Pid = await Supervisor.start_link([], name="ending")
        await system.suspend(ending)

        async def end() -> None:
            await sleep(overview.PATIENCE / 2)
            exit(ending, "kill")

        process_flag("trap_exit", True)
        spawn(end)
        return await ask("tree", 10)

    assert on_node(main, seed=1)["supervisors"] == []
