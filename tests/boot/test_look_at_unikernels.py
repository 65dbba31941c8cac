"""The commands that look into a running system show unikernels among its nodes, and kill them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from unikernels import build

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds unikernels")

ROOT = Path(__file__).parents[2]
BEAMLIKE = [sys.executable, "-c", "import sys; sys.argv[0] = 'beamlike'; from boot.cli import main; sys.exit(main())"]
PATIENCE = 60.0  # seconds after which something hangs
PROGRAM = """
    import sys
    from beamlike import receive, spawn_at
    from nodes import list_nodes
    from unikernels import start_unikernel

    async def elsewhere(path):
        await start_unikernel(path, name="far")
        await receive(lambda message: False)

    async def main():
        image = sys.argv[1]
        await start_unikernel(image, core=0, name="hash", restart="permanent")
        await start_unikernel(image, name="once")
        await start_unikernel(image)
        await start_unikernel(image)
        await spawn_at(list_nodes()[1], elsewhere, image)
        print("ready", flush=True)
        await receive(lambda message: False)
"""
Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of commands that find a system of two nodes with unikernels."""
    folder = tmp_path_factory.mktemp("unikernels")
    (folder / "program.py").write_text(dedent(PROGRAM))
    environment = {**os.environ, "BEAMLIKE_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": str(ROOT)}
    build(ROOT / "examples" / "unikernels" / "hasher.c", output=folder / "hasher.elf")
    begin = ["run", "--nodes", "2", "program.py", str(folder / "hasher.elf")]
    with subprocess.Popen([*BEAMLIKE, *begin], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as system:
        try:
            assert system.stdout is not None
            assert system.stdout.readline() == "ready\n"
            yield environment
        finally:
            system.send_signal(signal.SIGTERM)
            system.wait(PATIENCE)


@pytest.fixture
def command(environment: dict[str, str]) -> Callable[..., Ended]:
    """Runs `beamlike` with these arguments."""

    def run(*arguments: str, **variables: str) -> Ended:
        return subprocess.run(
            [*BEAMLIKE, *arguments], env={**environment, **variables}, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    return run


@pytest.fixture
def told(command: Callable[..., Ended]) -> Callable[[], list[dict[str, Any]]]:
    """What is told of the unikernels."""

    def run() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(command("nodes", "--json").stdout)["unikernels"]
        return found

    return run


def named(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (row,) = (row for row in rows if row["name"] == name)
    return row


def test_nodes_shows_where_each_is_and_what_it_has_used(command: Callable[..., Ended], told: Callable[[], list[dict[str, Any]]]) -> None:
    rows = told()
    assert sorted(row["name"] for row in rows) == ["far", "hash", "hasher", "hasher", "once"]
    hash_, far = named(rows, "hash"), named(rows, "far")
    assert (hash_["core"], far["core"]) == (0, None)
    assert hash_["node"] != far["node"]
    assert Path(f"/proc/{far['os_pid']}/cmdline").read_text() == "far\0"
    assert far["cpu"] < 1
    lines = command("nodes").stdout.splitlines()
    assert lines[4].split() == ["UNIKERNEL", "PID", "OF", "NODE", "CORE", "OS", "PID", "UP", "CPU", "S"]
    assert len(lines) == 5 + 5


def test_ps_and_top_show_them(command: Callable[..., Ended], environment: dict[str, str]) -> None:
    table = command("ps").stdout
    assert re.search(r"hash +unikernel:hash +receiving", table)
    assert re.search(r"\[unikernel hasher, OS process \d+\]", table)
    with subprocess.Popen([*BEAMLIKE, "top", "--every", "0.1", "--json"], stdout=subprocess.PIPE, text=True, env=environment) as top:
        assert top.stdout is not None
        assert len(json.loads(top.stdout.readline())["unikernels"]) >= 4
        top.send_signal(signal.SIGINT)


def test_kill_node_kills_one_and_says_whether_it_is_back(command: Callable[..., Ended], told: Callable[[], list[dict[str, Any]]]) -> None:
    before = told()
    ended = command("kill-node", "hash")
    assert re.fullmatch(r"hash was killed, and is back after 0\.\d\d s, as <.*>\n", ended.stdout), ended
    hash_ = named(told(), "hash")
    assert hash_["pid"] != named(before, "hash")["pid"]
    assert not os.path.exists(f"/proc/{named(before, 'hash')['os_pid']}")
    assert command("kill-node", "once").stdout == "once was killed; nobody has started it again for 2 s\n"
    assert command("kill-node", named(before, "far")["pid"].strip("<>")).returncode == 0  # on the other node, by its pid
    assert sorted(row["name"] for row in told()) == ["hash", "hasher", "hasher"]


def test_of_two_with_one_name_the_pid_is_asked_for(command: Callable[..., Ended], told: Callable[[], list[dict[str, Any]]]) -> None:
    ended = command("kill-node", "hasher")
    pids = ", ".join(row["pid"].strip("<>") for row in told() if row["name"] == "hasher")
    assert (ended.returncode, ended.stderr) == (1, f"beamlike: 2 unikernels are called hasher: name one by its pid, {pids}\n")


def test_an_unknown_name_is_refused_with_all_that_there_are(command: Callable[..., Ended]) -> None:
    told = command("kill-node", "hsh").stderr
    assert re.match(r"beamlike: there is no node 'hsh': there are n1@\S+, n2@\S+, ", told)
    assert sorted(told.rstrip().split(", ")[2:]) == ["hash", "hasher", "hasher"]


def test_their_names_are_completed(command: Callable[..., Ended]) -> None:
    shell = {"_BEAMLIKE_COMPLETE": "bash_complete", "COMP_WORDS": "beamlike kill-node hash", "COMP_CWORD": "2"}
    assert command(**shell).stdout.split() == ["plain,hash", "plain,hasher"]
