"""`beamlike init`: it looks at the goals of a running system, and starts and stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds after which something hangs
PROGRAM = """
    from beamlike import GenServer, process_flag, receive, self_pid, send
    from boot.goals import Goal
    from boot.init import Init
    from nodes import run

    class Service(GenServer):
        async def init(self):
            process_flag("trap_exit", True)

    async def serve():
        return await Service.start_link()

    async def fail():
        raise ValueError("no licence")

    async def tell(main):
        send(main, ("up",))

    async def main():
        await Init.start_link([
            Goal("db", serve), Goal("web", serve, requires=("db",)), Goal("agent", serve, each_node=True),
            Goal("licence", fail, attempts=1), Goal("up", tell, (self_pid(),), wants=("web", "agent", "licence")),
        ])
        await receive(("up",))
        print("ready", flush=True)
        await receive(lambda message: False)

    if __name__ == "__main__":
        run(main, nodes=2)
"""


class Running:
    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "BEAMLIKE_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": str(ROOT)}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "boot", "init", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)

    def goals(self) -> dict[str, Any]:
        return {row["name"]: row for row in json.loads(self("status", "--json").stdout)["goals"]}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Runs `beamlike init` for a system of two nodes."""
    folder = tmp_path_factory.mktemp("init")
    (folder / "program.py").write_text(dedent(PROGRAM))
    running = Running(folder)
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=folder, env=running.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as system:
        try:
            assert system.stdout is not None
            assert system.stdout.readline() == "ready\n"
            yield running
        finally:
            system.send_signal(signal.SIGTERM)
            try:
                system.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                system.kill()


def test_status_is_a_table_and_fails_if_a_goal_is_in_maintenance(command: Running) -> None:
    done = command("status")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["GOAL", "STATE", "SINCE", "FAILURES", "NODES", "WHY"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["db", "online"], ["web", "online"], ["agent", "online"], ["licence", "maintenance"], ["up", "degraded"],
    ]  # fmt: skip
    assert "ValueError: no licence" in lines[4]
    assert "\x1b" not in done.stdout
    assert command("status", "db").returncode == 0


def test_status_as_json_has_pids_by_node(command: Running) -> None:
    goals = command.goals()
    assert len(goals["agent"]["pids"]) == 2
    assert all(pid.startswith(f"<{node}.") for node, pid in goals["agent"]["pids"].items())
    assert (goals["licence"]["attempts"], goals["up"]["waits_for"]) == (1, ["licence"])


def test_stop_says_who_else_was_stopped_and_start_brings_them_back(command: Running) -> None:
    done = command("stop", "db")
    assert (done.returncode, done.stdout) == (0, "db: stopped; with it web\n")
    assert [command.goals()[name]["state"] for name in ("db", "web")] == ["offline", "offline"]
    assert command("start", "db").stdout == "db: started\n"
    assert json.loads(command("restart", "agent", "--json").stdout) == {"goal": "agent", "done": "restarted", "others": []}
    assert command("clear", "licence").stdout == "cleared, and tried again: licence\n"
    assert command("start", "--all").stdout == "all goals: started\n"


def test_what_cannot_be_done_is_one_line_and_status_1_and_misuse_is_2(command: Running) -> None:
    there = "there are db, web, agent, licence, up"
    for arguments in (("stop", "x"), ("status", "x")):
        done = command(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"beamlike: there is no goal 'x': {there}\n")
    assert command("stop").returncode == command("stop", "db", "--all").returncode == command("halt").returncode == 2


def test_names_of_goals_are_completed(command: Running) -> None:
    variables = {"_BEAMLIKE_COMPLETE": "bash_complete", "COMP_WORDS": "beamlike init stop a", "COMP_CWORD": "3"}
    source = "import sys; sys.argv[0] = 'beamlike'; from boot.cli import main; main(prog_name='beamlike')"
    done = subprocess.run(
        [sys.executable, "-c", source], env={**command.environment, **variables}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "agent" in done.stdout


def test_without_a_system_it_fails(tmp_path: Path) -> None:
    done = Running(tmp_path)("status")
    assert done.returncode == 1
    assert done.stderr.startswith("beamlike: no system of nodes runs here")
