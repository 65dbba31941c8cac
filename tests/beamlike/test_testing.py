"""What users test with: the recorder, the assistant, settle, seeds, and the pytest plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import trio

from beamlike import (
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
    io,
    link,
    node,
    process_info,
    receive,
    run,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    spawn_monitor,
    whereis,
)
from beamlike.hot.scheduler import now
from beamlike.testing import Recorder, assistant, seeds, settle

# --- recorder -------------------------------------------------------------------------------------------------------------


@seeds(5)
async def test_a_recorder_records_all_it_receives_in_order() -> None:
    recorder = Recorder("log")
    assert whereis("log") == recorder.pid
    for message in (1, [2], None):
        send("log", message)
    await settle()
    assert recorder.messages == [1, [2], None]


@seeds(5)
async def test_wait_for_gives_the_first_message_that_matches_recorded_or_to_come() -> None:
    recorder = Recorder()
    send(recorder.pid, ("a", 1))
    send(recorder.pid, ("b", 2))
    send(recorder.pid, ("b", 3))
    assert await recorder.wait_for(("b", int)) == ("b", 2)
    assert await recorder.wait_for() == ("a", 1)
    send_after(0.5, recorder.pid, "late")
    start = now()
    assert await recorder.wait_for(str) == "late"
    assert now() - start == pytest.approx(0.5)
    assert recorder.messages == [("a", 1), ("b", 2), ("b", 3), "late"]


@seeds(5)
async def test_several_wait_for_one_message() -> None:
    recorder = Recorder()

    async def waiter(to: Pid) -> None:
        send(to, await recorder.wait_for(lambda message: message == "x"))

    for _ in range(3):
        spawn(waiter, self_pid())
    await settle()
    send(recorder.pid, "x")
    assert [await receive(timeout=1) for _ in range(3)] == ["x"] * 3


@seeds(3)
async def test_wait_for_times_out_and_shows_what_was_recorded() -> None:
    recorder = Recorder()
    send(recorder.pid, ("other", 1))
    start = now()
    with pytest.raises(TimeoutError, match=r"no message that matches \('wanted',\) was recorded in 2 s.*\n  \('other', 1\)"):
        await recorder.wait_for(("wanted",), timeout=2)
    assert now() - start == pytest.approx(2)
    send(recorder.pid, ("wanted", 1))
    assert await recorder.wait_for(("wanted",)) == ("wanted", 1)


@seeds(3)
async def test_a_recorder_records_exits_and_calls() -> None:
    recorder = Recorder()

    async def linked() -> None:
        link(recorder.pid)

    child = spawn(linked)
    assert await recorder.wait_for(Exit) == Exit(child, "normal")
    with pytest.raises(CallTimeoutError):
        await call(recorder.pid, "question", timeout=1)
    assert (await recorder.wait_for(Call)).request == "question"


@seeds(3)
async def test_waiting_for_a_dead_recorder_fails_at_once() -> None:
    recorder = Recorder()
    exit(recorder.pid, "kill")
    with pytest.raises(CallError, match="no such process"):
        await recorder.wait_for()


def test_a_recorder_is_waited_for_in_trio_mode_too() -> None:
    async def main() -> None:
        recorder = Recorder()
        send_after(0.001, recorder.pid, "x")
        async with io():
            assert await recorder.wait_for(str, timeout=5) == "x"

    run(main, seed=1)


# --- assistant ------------------------------------------------------------------------------------------------------------


async def end_of(*orders: Any) -> Any:
    """What an assistant that gets these orders ends with."""
    pid, ref = spawn_monitor(assistant)
    for order in orders:
        send(pid, order)
    down = await receive(Down, timeout=5)
    assert down.ref == ref
    return down.reason


@seeds(3)
async def test_an_assistant_that_is_well_answers() -> None:
    assert await call(spawn(assistant), ["ping"]) == ["ping"]


@seeds(3)
async def test_an_assistant_crashes_as_told() -> None:
    (kind, text), _ = await end_of(("crash", "broken"))
    assert kind == "beamlike.testing.assistant.AssistantError"
    assert text == "broken"


@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", 1), "kill", ["any"]])
def test_an_assistant_exits_as_told(reason: Any) -> None:
    async def main() -> None:
        assert await end_of(("exit", reason)) == reason

    run(main, seed=0)


@seeds(3)
async def test_an_order_that_is_none_ends_an_assistant_and_names_it() -> None:
    (kind, text), _ = await end_of(("dance",))
    assert kind == "ValueError"
    assert "('dance',)" in text


@seeds(3)
async def test_an_assistant_that_ignores_exits_is_ended_by_kill_only() -> None:
    pid, _ = spawn_monitor(assistant)
    send(pid, ("ignore_exits",))
    await settle()
    exit(pid, "shutdown")
    assert await call(pid, "alive?") == "alive?"
    exit(pid, "kill")
    assert (await receive(Down, timeout=1)).reason == "killed"


def test_an_assistant_that_swallows_everything_is_ended_and_never_run_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pid, _ = spawn_monitor(assistant)
        send(pid, ("swallow",))
        await settle()
        exit(pid, "shutdown")
        assert (await receive(Down, timeout=1)).reason == "shutdown"

    run(main, seed=0)
    assert "refused to end" in caplog.text


@seeds(3)
async def test_an_assistant_waits_in_a_call_for_ever() -> None:
    server = spawn(assistant)
    caller = spawn(assistant)
    send(server, ("hang",))
    await settle()
    send(caller, ("call", server))
    await sleep(1e6)
    info = process_info(caller)
    assert info is not None
    assert info.status == "waiting"
    exit(server, "kill")
    await settle()
    assert process_info(caller) is None


@seeds(3)
async def test_an_assistant_hangs_and_its_mailbox_fills() -> None:
    hanging, filling = spawn(assistant), spawn(assistant)
    send(hanging, ("hang",))
    send(filling, ("fill", 50))
    for index in range(3):
        send(hanging, index)
    await settle()
    for pid, length in ((hanging, 3), (filling, 50)):
        info = process_info(pid)
        assert info is not None
        assert (info.status, info.mailbox_length) == ("receiving", length)
    with pytest.raises(CallTimeoutError):
        await call(hanging, "alive?", timeout=1)


def test_an_assistant_that_computes_is_preempted_and_can_be_killed() -> None:
    async def main() -> None:
        pid, _ = spawn_monitor(assistant)
        send(pid, ("compute",))
        for _ in range(3):
            await sleep(0.001)
        exit(pid, "kill")
        assert (await receive(Down, timeout=5)).reason == "killed"

    run(main)


def test_an_assistant_blocks_its_node() -> None:
    async def main() -> None:
        pid = spawn(assistant)
        start = now()
        send(pid, ("block", 0.03))
        await call(pid, "after")
        assert now() - start >= 0.03

    run(main)


@seeds(5)
async def test_an_assistant_is_a_child_that_a_supervisor_restarts() -> None:
    await Supervisor.start_link([ChildSpec.of(assistant, name="worker")])
    before = whereis("worker")
    send("worker", ("crash", "again"))
    await settle()
    after = whereis("worker")
    assert after is not None
    assert after != before


# --- settle ---------------------------------------------------------------------------------------------------------------


async def relay(hops: int, to: Pid) -> None:
    if hops:
        spawn(relay, hops - 1, to, io=hops % 3 == 0)
    else:
        send(to, "arrived")


def test_settle_waits_until_nobody_can_run_in_any_mode() -> None:
    async def main() -> None:
        spawn(relay, 20, self_pid())
        await settle()
        assert await receive(timeout=0) == "arrived"
        async with io():
            spawn(relay, 20, self_pid())
            await settle()
            assert await receive(timeout=0) == "arrived"

    for seed in range(10):
        run(main, seed=seed)
    run(main)


@seeds(5)
async def test_settle_does_not_let_time_pass() -> None:
    send_after(0, self_pid(), "now")
    send_after(1e-9, self_pid(), "soon")
    start = now()
    await settle()
    assert now() == start
    assert await receive(timeout=0) == "now"
    with pytest.raises(TimeoutError):
        await receive(timeout=0)
    assert await receive() == "soon"


def test_settle_works_in_a_task_that_is_no_process() -> None:
    async def outside(pid: Pid) -> None:
        send(pid, "x")
        await settle()

    async def main() -> None:
        async with trio.open_nursery() as nursery, node():  # entered outside of the node: the tasks of the nursery are nobody's
            recorder = Recorder()
            await settle()
            nursery.start_soon(outside, recorder.pid)
            assert await recorder.wait_for() == "x"

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# --- seeds ----------------------------------------------------------------------------------------------------------------


def orders_seen(number: int) -> list[Any]:
    """What four processes that run at once do in which order, for each seed."""
    seen: list[Any] = []

    @seeds(number)
    async def body() -> None:
        order: list[int] = []

        async def child(index: int) -> None:
            for _ in range(3):
                await sleep(0)
                order.append(index)

        for index in range(4):
            spawn(child, index)
        await settle()
        seen.append(tuple(order))

    call_body: Any = body
    for seed in range(number):
        call_body(_beamlike_seed=seed)
    return seen


def test_seeds_differ_and_each_is_the_same_again() -> None:
    first = orders_seen(10)
    assert orders_seen(10) == first
    assert len(set(first)) > 5


def test_seeds_are_asked_for_by_a_number_and_on_async_tests() -> None:
    for wrong in (0, -1, None, [1]):
        with pytest.raises(ValueError, match=f"seeds expects how many there are, an int > 0, not {re.escape(repr(wrong))}"):
            seeds(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="async test function, not <built-in function print>"):
        seeds(1)(print)  # type: ignore[arg-type]


def test_a_seeded_test_that_would_wait_for_ever_says_who_waits() -> None:
    @seeds(1)
    async def body() -> None:
        await receive()

    call_body: Any = body
    with pytest.raises(RuntimeError, match=r"every process waits(.|\n)*started as .*body: receiving in .*body"):
        call_body(_beamlike_seed=0)


@seeds(2)
@pytest.mark.parametrize("number", [1, 2])
async def test_seeds_go_with_fixtures_and_other_parameters(number: int, tmp_path: Path) -> None:
    assert isinstance(tmp_path, Path)
    start = now()
    await sleep(number * 1e6)
    assert now() - start == pytest.approx(number * 1e6)


# --- in pytest ------------------------------------------------------------------------------------------------------------

CONFTEST = 'pytest_plugins = ["beamlike.testing.fixtures"]\n'
HEADER = "import pytest, trio\nfrom beamlike import *\nfrom beamlike.hot.scheduler import now\nfrom beamlike.testing import *\n"


def outcomes(folder: Path, source: str, conftest: str = CONFTEST) -> tuple[dict[str, str], str]:
    """Real pytest on a user's test file: test -> PASSED, FAILED or ERROR; and all it wrote."""
    folder.joinpath("pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    folder.joinpath("conftest.py").write_text(conftest)
    folder.joinpath("test_user.py").write_text(HEADER + dedent(source))
    paths = [path for path in sys.path if path] + [os.getcwd()]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.findall(r"^(PASSED|FAILED|ERROR) test_user.py::(\S+)", ran.stdout, re.MULTILINE)
    return {name: outcome for outcome, name in found}, ran.stdout + ran.stderr


def test_the_plugin_gives_each_test_a_node_of_which_its_body_is_a_process(tmp_path: Path) -> None:
    found, output = outcomes(
        tmp_path,
        """
        async def echo():
            while True:
                sender, text = await receive()
                send(sender, text)

        async def test_body_is_a_process(node):
            assert self_pid() == node
            send(spawn(echo, name="echo"), (self_pid(), "hello"))
            assert await receive(timeout=5) == "hello"

        async def test_the_name_is_free_again(node):
            assert whereis("echo") is None
            assert processes() == [node]

        async def test_child_tasks_are_of_the_process(node, nursery):
            async def child():
                send(node, self_pid())
            nursery.start_soon(child)
            assert await receive(timeout=5) == node

        async def test_recorder(recorder, node):
            send_after(0.001, recorder.pid, ["x"])
            assert await recorder.wait_for(list, timeout=5) == ["x"]
            assert recorder.messages == [["x"]]

        async def test_supervised_assistant(node, recorder):
            supervisor = await Supervisor.start_link([ChildSpec.of(assistant, name="worker")])
            before = whereis("worker")
            send("worker", ("crash", "told to"))
            await settle()
            assert whereis("worker") not in (None, before)

        async def test_time_is_virtual_with_autojump_clock(node, autojump_clock):
            start = trio.current_time()
            send_after(1e6, node, "late")
            assert await receive() == "late"
            await sleep(1e6)
            assert trio.current_time() - start == pytest.approx(2e6)
            assert now() == trio.current_time()

        async def test_time_is_virtual_with_mock_clock(mock_clock, node, recorder):
            send_after(10, recorder.pid, "late")
            mock_clock.jump(9.5)
            await settle()
            assert recorder.messages == []
            mock_clock.jump(1)
            await settle()
            assert recorder.messages == ["late"]

        @seeds(3)
        async def test_seeded():
            await sleep(1e6)

        async def test_without_node():
            with pytest.raises(RuntimeError, match="no node runs"):
                send("x", 1)
        """,
    )
    assert set(found.values()) == {"PASSED"}, output
    assert len(found) == 11, output
    assert "test_seeded[seed-2]" in found


def test_what_fails_is_reported_and_the_next_test_has_a_node_again(tmp_path: Path) -> None:
    found, output = outcomes(
        tmp_path,
        """
        async def test_assertion(node):
            spawn(assistant)
            assert self_pid() == "nobody"

        async def test_exit_signal(node):
            exit(node, "boom")
            await receive()

        async def test_linked_child_crashes(node):
            spawn_link(assistant, name="child")
            send("child", ("crash", "as told"))
            await trio.sleep(60)

        async def test_wait_for(recorder, autojump_clock):
            await recorder.wait_for(("wanted",), timeout=100)

        @seeds(2)
        async def test_seeded():
            assert 1 == 2

        async def test_after_all_that(node):
            assert processes() == [node]
        """,
    )
    assert found == {
        "test_assertion": "FAILED",
        "test_exit_signal": "FAILED",
        "test_linked_child_crashes": "FAILED",
        "test_wait_for": "FAILED",
        "test_seeded[seed-0]": "FAILED",
        "test_seeded[seed-1]": "FAILED",
        "test_after_all_that": "PASSED",
    }, output
    assert "the process of this block was ended: boom" in output
    assert "the process of this block was ended: beamlike.testing.assistant.AssistantError: as told" in output
    assert "no message that matches ('wanted',) was recorded in 100 s" in output
    assert "TrioInternalError" not in output


def test_who_does_not_ask_for_the_plugin_has_no_such_fixtures(tmp_path: Path) -> None:
    found, output = outcomes(tmp_path, "async def test_x(node): pass\ndef test_plain(): pass\n", conftest="")
    assert found == {"test_x": "ERROR", "test_plain": "PASSED"}
    assert "fixture 'node' not found" in output


def test_importing_it_needs_no_pytest(program: Any) -> None:
    ran = program("""
        sys.modules["pytest"] = sys.modules["pytest_trio"] = None
        from beamlike.testing import Recorder, assistant, settle
        async def main():
            recorder = Recorder()
            send(recorder.pid, "x")
            await settle()
            return list(recorder.messages)
        print(run(main))
    """)
    assert (ran.stdout, ran.stderr) == ("['x']\n", "")
