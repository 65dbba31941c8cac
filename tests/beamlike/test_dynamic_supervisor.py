"""DynamicSupervisor: children that come and go (S1 dynamic, max_children)."""

from __future__ import annotations

from typing import Any

import pytest

from beamlike import (
    IGNORE,
    Backoff,
    ChildError,
    ChildSpec,
    ChildStartError,
    Down,
    DynamicSupervisor,
    Exit,
    Pid,
    exit,
    monitor,
    process_flag,
    processes,
    receive,
    run,
    self_pid,
    send,
    sleep,
    spawn_link,
)
from beamlike.hot import scheduler


async def worker(probe: Pid | None = None) -> None:
    """Ends by the first message that is no shutdown, and takes a second over that."""
    process_flag("trap_exit", True)
    if probe is not None:
        send(probe, ("started", self_pid()))
    match await receive():
        case Exit():
            await sleep(1)
        case reason:
            exit(self_pid(), reason)
            await receive(Exit)
            process_flag("trap_exit", False)
            exit(self_pid(), reason)


async def stubborn() -> None:
    process_flag("trap_exit", True)
    while True:
        await receive()


async def decline() -> Any:
    return IGNORE


async def fail() -> Any:
    raise ValueError("not today")


async def end(pid: Pid, reason: Any) -> None:
    ref = monitor(pid)
    send(pid, reason)
    await receive(lambda message: type(message) is Down and message.ref == ref)


def trapping(main: Any) -> Any:
    async def body() -> Any:
        process_flag("trap_exit", True)
        return await main()

    return run(body, seed=5)


def test_children_are_started_on_demand_and_told_of() -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link()
        assert await DynamicSupervisor.which_children(top) == []
        pids = [await DynamicSupervisor.start_child(top, worker) for _ in range(3)]
        infos = await DynamicSupervisor.which_children(top)
        assert [(info.id, info.pid, info.status) for info in infos] == [("worker", pid, "running") for pid in pids]
        assert await DynamicSupervisor.count_children(top) == {"specs": 3, "active": 3, "supervisors": 0, "workers": 3}

    trapping(main)


def test_max_children_refuses_one_more_until_one_is_gone() -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link(max_children=2)
        first = await DynamicSupervisor.start_child(top, ChildSpec.of(worker, restart="temporary"))
        await DynamicSupervisor.start_child(top, worker)
        with pytest.raises(ChildError, match="max_children is 2") as raised:
            await DynamicSupervisor.start_child(top, worker)
        assert raised.value.reason == "max_children"
        assert type(first) is Pid
        await end(first, "boom")
        assert type(await DynamicSupervisor.start_child(top, worker)) is Pid

    trapping(main)


@pytest.mark.parametrize(
    ("restart", "reason", "is_restarted"),
    [
        ("permanent", "boom", True),
        ("permanent", "shutdown", True),
        ("transient", "boom", True),
        ("transient", "shutdown", False),
        ("temporary", "boom", False),
    ],
)
def test_a_child_is_restarted_alone_or_forgotten(restart: Any, reason: str, is_restarted: bool) -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link()
        other = await DynamicSupervisor.start_child(top, worker)
        pid = await DynamicSupervisor.start_child(top, ChildSpec.of(worker, restart=restart))
        await end(pid, reason)
        left = [info.pid for info in await DynamicSupervisor.which_children(top)]
        assert left[0] == other
        assert pid not in left
        assert len(left) == (2 if is_restarted else 1)

    trapping(main)


def test_the_window_counts_the_restarts_of_all_children_together() -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link(intensity=2)
        for _ in range(3):
            pid = await DynamicSupervisor.start_child(top, worker)
            await end(pid, "boom")
        assert await receive(Exit) == Exit(top, "shutdown")
        assert processes() == [self_pid()]

    trapping(main)


def test_a_child_that_declines_or_fails_is_forgotten() -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link(max_children=1)
        assert await DynamicSupervisor.start_child(top, ChildSpec("d", decline)) is IGNORE
        with pytest.raises(ChildStartError, match="ValueError: not today"):
            await DynamicSupervisor.start_child(top, ChildSpec("f", fail))
        assert (await DynamicSupervisor.count_children(top))["specs"] == 0

    trapping(main)


def test_a_child_is_terminated_by_its_pid() -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link()
        pid = await DynamicSupervisor.start_child(top, worker)
        await DynamicSupervisor.terminate_child(top, pid)
        assert pid not in processes()
        for stranger in (pid, self_pid(), "worker"):
            with pytest.raises(ChildError) as raised:
                await DynamicSupervisor.terminate_child(top, stranger)  # type: ignore[arg-type]
            assert raised.value.reason == "not_found"
        assert await DynamicSupervisor.which_children(top) == []

    trapping(main)


def test_children_are_stopped_all_at_the_same_time_each_within_its_own_time() -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link()
        for _ in range(100):
            await DynamicSupervisor.start_child(top, worker)
        await DynamicSupervisor.start_child(top, ChildSpec.of(stubborn, shutdown="brutal_kill"))
        await DynamicSupervisor.start_child(top, ChildSpec.of(stubborn, shutdown=2.0))
        await sleep(1)  # so that all trap exits
        begin = scheduler.now()
        exit(top, "shutdown")
        assert await receive(Exit) == Exit(top, "shutdown")
        assert scheduler.now() - begin == pytest.approx(2.0)
        assert processes() == [self_pid()]

    trapping(main)


def test_a_child_that_ended_just_before_is_no_shutdown_error(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link()
        pid = await DynamicSupervisor.start_child(top, ChildSpec.of(worker, restart="transient"))
        await end(pid, "normal")
        exit(top, "shutdown")
        assert await receive(Exit) == Exit(top, "shutdown")

    trapping(main)
    assert [record for record in caplog.records if record.name == "beamlike.supervisor"] == []


def test_s10_back_off_and_hold_of_a_dynamic_child() -> None:
    async def main() -> None:
        top = await DynamicSupervisor.start_link(intensity=1, hold=True, backoff=Backoff(first=1.0, jitter=0.0))
        pid = await DynamicSupervisor.start_child(top, worker)
        await end(pid, "boom")
        assert [info.status for info in await DynamicSupervisor.which_children(top)] == ["restarting"]
        await sleep(1.5)
        (info,) = await DynamicSupervisor.which_children(top)
        assert info.pid is not None
        await end(info.pid, "boom")
        assert [info.status for info in await DynamicSupervisor.which_children(top)] == ["held"]
        await DynamicSupervisor.clear_hold(top)
        assert [info.status for info in await DynamicSupervisor.which_children(top)] == ["running"]

    trapping(main)


def test_it_ends_with_its_parent() -> None:
    async def main() -> None:
        async def parent(probe: Pid) -> None:
            top = await DynamicSupervisor.start_link()
            await DynamicSupervisor.start_child(top, ChildSpec.of(worker, probe))
            await receive()

        above = spawn_link(parent, self_pid())
        _, pid = await receive(("started", Pid))
        ref = monitor(pid)
        send(above, "end")
        assert await receive(Down) == Down(ref, pid, "normal")  # it was told to, and returned

    trapping(main)


@pytest.mark.parametrize("most", [-1, 1.5, "many", True])
def test_a_wrong_max_children_is_an_error_of_the_caller(most: Any) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="max_children"):
            await DynamicSupervisor.start_link(max_children=most)

    trapping(main)
