"""`beamlike init`: it looks at the goals of a running system, and starts and stops them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from click.testing import CliRunner

from boot import attach
from boot.init_command import init
from nodes import ConnectionLost

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds after which something hangs
PROGRAM = """
    from beamlike import GenServer, exit, process_flag, receive, self_pid, send, spawn_at, whereis
    from boot.goals import Goal
    from boot.init import Init
    from nodes import list_nodes, run

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
SEVERAL = PROGRAM.replace(
    """        await receive(("up",))
""",
    """        await receive(("up",))
        other = next(name for name in list_nodes() if name != self_pid().node)
        await spawn_at(other, second, self_pid())
        await receive(("up",))
""",
).replace(
    """    async def main():
""",
    """    class Killer(Service):
        async def terminate(self, reason):
            exit(whereis("init"), "kill")

    async def serve_killer():
        return await Killer.start_link()

    async def second(main):
        process_flag("trap_exit", True)
        await Init.start_link([
            Goal("db", serve), Goal("mail", serve), Goal("up", tell, (main,), requires=("db", "mail")), Goal("killer", serve_killer),
        ])
        await receive(lambda message: False)

    async def main():
""",
)


class Running:
    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "BEAMLIKE_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": str(ROOT)}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "boot", "init", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)

    def goals(self) -> dict[str, Any]:
        return {row["name"]: row for row in json.loads(self("status", "--json").stdout)["goals"]}


@contextmanager
def running(folder: Path, program: str) -> Iterator[Running]:
    """Runs `beamlike init` for a system of two nodes."""
    (folder / "program.py").write_text(dedent(program))
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


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("init"), PROGRAM) as command:
        yield command


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


def test_of_several_nodes_with_an_init_one_is_to_be_named_and_nothing_is_done_before(tmp_path: Path) -> None:
    with running(tmp_path, SEVERAL) as command:
        done = command("stop", "db")
        assert (done.returncode, done.stdout) == (1, "")
        names = done.stderr.removeprefix("beamlike: several nodes have an init: say which by --node: ").strip().split(", ")
        assert len(names) == 2
        goals = [json.loads(command("status", "--json", "--node", name).stdout)["goals"] for name in names]
        assert [row["state"] for rows in goals for row in rows if row["name"] == "db"] == ["online", "online"]
        second = next(name for name, rows in zip(names, goals, strict=True) if rows[1]["name"] == "mail")
        assert command("stop", "db", "--node", second.partition("@")[0]).stdout == "db: stopped; with it up\n"
        states = [json.loads(command("status", "db", "--json", "--node", name).stdout)["goals"][0]["state"] for name in names]
        assert states == ["offline" if name == second else "online" for name in names]
        assert command("stop", "db", "--node", "n9").stderr.startswith("beamlike: there is no node 'n9': there are ")
        done = command("stop", "killer", "--node", second)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"beamlike: init on {second} has ended before it answered\n")


def test_a_node_without_an_init_is_told(command: Running) -> None:
    where = next(iter(command.goals()["db"]["pids"]))
    other = next(node for node in command.goals()["agent"]["pids"] if node != where)
    done = command("stop", "db", "--node", other)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"beamlike: no process of {other} is called init: a program starts it by Init.start_link(goals)\n"


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_states_have_colours_on_a_terminal_unless_no_color_is_set(variables: dict[str, str], command: Running) -> None:
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in command.environment.items() if key != "NO_COLOR"} | {"TERM": "xterm", **variables}
    with subprocess.Popen([sys.executable, "-m", "boot", "init", "status"], env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: it has ended
            while data := os.read(ours, 65536):
                shown += data
    os.close(ours)
    assert b"online" in shown
    assert (b"\x1b[32monline" in shown, b"\x1b" in shown) == ((False, False) if variables else (True, True))


def test_names_of_goals_are_completed(command: Running) -> None:
    variables = {"_BEAMLIKE_COMPLETE": "bash_complete", "COMP_WORDS": "beamlike init stop a", "COMP_CWORD": "3"}
    source = "import sys; sys.argv[0] = 'beamlike'; from boot.cli import main; main(prog_name='beamlike')"
    done = subprocess.run(
        [sys.executable, "-c", source], env={**command.environment, **variables}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "agent" in done.stdout


class Mortal:
    """A connection to a system whose node dies when it has done this for the first time, and has not answered."""

    def __init__(self, asked: list[str], verb: str) -> None:
        self.asked = asked
        self.verb = verb

    def ask(self, kind: str, name: str, question: tuple[str, ...], node: str | None, within: float | None) -> Any:
        self.asked.append(question[1])
        if question[1] == self.verb and self.asked.count(self.verb) == 1:
            raise ConnectionLost("it was closed")
        return {"n2": ("ok", [])}

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "clear"])
def test_what_acts_is_not_asked_for_again_when_the_node_dies_that_may_have_done_it(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    asked: list[str] = []
    monkeypatch.setattr(attach, "Connection", lambda owner: Mortal(asked, verb))
    done = CliRunner().invoke(init, [verb, "--system", "1", "web"])
    assert (asked, done.exit_code) == (["plain status", verb], 1)
    assert "the node that was asked died before it answered, so this may have been done, or not" in done.output


def test_status_is_asked_for_again_when_the_node_dies_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(attach, "Connection", lambda owner: Mortal(asked, "plain status"))
    done = CliRunner().invoke(init, ["status", "--system", "1", "--json"])
    assert (asked, done.exit_code, json.loads(done.output)) == (["plain status"] * 2, 0, {"goals": []})


def test_without_a_system_it_fails(tmp_path: Path) -> None:
    done = Running(tmp_path)("status")
    assert done.returncode == 1
    assert done.stderr.startswith("beamlike: no system of nodes runs here")
