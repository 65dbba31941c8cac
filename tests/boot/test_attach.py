"""The commands that look into a running system: they run as a shell runs them, and one system of real nodes serves most of the tests."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

import pytest

from boot.shell import run_shell
from nodes import AttachError, Connection, frames, list_systems

ROOT = Path(__file__).parents[2]
BEAMLIKE = [sys.executable, "-m", "boot"]
PATIENCE = 30.0  # seconds after which something hangs
LIMIT = 10.0  # seconds for what nobody tells the end of
PROGRAM = """
    import caps
    from beamlike import ChildSpec, DynamicSupervisor, Supervisor, process_flag, receive, self_pid, send, spawn
    from nodes import run

    async def worker():
        await receive(lambda message: False)

    async def crowded():
        process_flag("label", "many\\nmessages \\x1b[31m")
        for number in range(7):
            send(self_pid(), number)
        await worker()

    MAY = [*caps.all_but("send", "file", "net"), ("only", ("file", "/srv", "r")), ("send", "bank")]

    async def main():
        pool = ChildSpec.of(DynamicSupervisor, name="pool")
        await Supervisor.start_link([pool, ChildSpec.of(worker, id="one", name="first", exclude=MAY), ChildSpec.of(crowded)], name="top")
        for _ in range(3):
            await DynamicSupervisor.start_child("pool", worker)
        print("ready", flush=True)
        await worker()

    if __name__ == "__main__":
        run(main, nodes=2, on_main_lost="restart")
"""

Ended = subprocess.CompletedProcess[str]
Command = Callable[..., Ended]


@contextmanager
def running(folder: Path, runtime_dir: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A system whose main is ready."""
    program = folder / "program.py"
    program.write_text(dedent(PROGRAM))
    environment = {**os.environ, "BEAMLIKE_RUNTIME_DIR": str(runtime_dir), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*command, str(program)], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as system:
        try:
            until((runtime_dir / f"{system.pid}.sock").exists, "it does not listen")
            with socket.socket(socket.AF_UNIX) as early:  # before any node is ready
                early.connect(str(runtime_dir / f"{system.pid}.sock"))
                early.sendall(frames.packed(("nodes",)))
                assert system.stdout is not None
                assert system.stdout.readline() == "ready\n"
                early.settimeout(PATIENCE)
                assert early.recv(frames.HEADER.size) != b"", "who came early is not answered"
            yield system
        finally:
            system.send_signal(signal.SIGTERM)
            try:
                system.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                system.kill()


@pytest.fixture(scope="module")
def runtime_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the shared system listens, which runs main on n1 again when that is killed."""
    folder = tmp_path_factory.mktemp("shared")
    with running(folder, folder / "run", sys.executable) as system:
        yield folder / "run"
        assert os.listdir(folder / "run") == [f"{system.pid}.sock"]
        system.kill()
        until(lambda: os.listdir(folder / "run") == [], "the socket of an owner that was killed is left", 1.0)


@pytest.fixture
def command(interpreters: Any, runtime_dir: Path) -> Command:
    """Runs `beamlike` with these arguments, for the shared system unless `at` is another runtime folder."""

    def run(*arguments: object, at: Path = runtime_dir, stdin: str = "", **variables: str) -> Ended:
        source = f"""
            import io, os, sys
            sys.argv[0], sys.stdin = "beamlike", io.StringIO({stdin!r})
            os.environ |= {{"BEAMLIKE_RUNTIME_DIR": {str(at)!r}, **{variables!r}}}
            from boot.cli import main
            sys.exit(main())
        """
        return interpreters.run(dedent(source), *arguments)  # type: ignore[no-any-return]

    return run


@pytest.fixture
def told(command: Command) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def run(*arguments: object) -> Any:
        ended = command(*arguments, "--json")
        assert (ended.stderr, ended.returncode) == ("", 0)
        return json.loads(ended.stdout)

    return run


@pytest.fixture
def refused(command: Command) -> Callable[..., str]:
    """What a command says that fails, in one go and without a traceback."""

    def run(*arguments: object, **options: Any) -> str:
        ended = command(*arguments, **options)
        assert (ended.stdout, ended.returncode) == ("", 1)
        assert ended.stderr.startswith("beamlike: ")
        assert "Traceback" not in ended.stderr
        return ended.stderr.removeprefix("beamlike: ").strip()

    return run


def until(is_so: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
    """Nobody tells when."""
    end = time.monotonic() + limit
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def names(environment: None) -> list[str]:
    """Of the two nodes, which are up."""
    connection = Connection(list_systems()[0])
    try:
        until(lambda: all(state["state"] == "up" for state in connection.ask("nodes")), "a node is down")
        return [state["name"] for state in connection.ask("nodes")]
    finally:
        connection.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, runtime_dir: Path) -> None:
    monkeypatch.setenv("BEAMLIKE_RUNTIME_DIR", str(runtime_dir))


class Terminal:
    """A command on a terminal."""

    def __init__(self, *arguments: object, **variables: str) -> None:
        self.ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40", **variables}
        environment.pop("NO_COLOR", None)
        self.shown = ""
        self.process = subprocess.Popen(
            [*BEAMLIKE, *map(str, arguments)],
            cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its controlling terminal, whose Ctrl-C is a signal
        )  # fmt: skip
        os.close(theirs)

    def expect(self, text: str) -> str:
        """Wait until it shows this; what was shown before."""
        end = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert select.select([self.ours], [], [], max(0.0, end - time.monotonic()))[0], f"{text!r} does not come: {self.shown!r}"
            data = b""
            with suppress(OSError):  # EIO: it has ended
                data = os.read(self.ours, 65536)
            assert data, f"it ended without {text!r}: {self.shown!r}"
            self.shown += data.decode(errors="replace")
        before, _, self.shown = self.shown.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C at a prompt. Python's readline misses one that comes while it is not in its wait, which nobody can see from here."""
        for _ in range(20):
            self.type("\x03")
            if select.select([self.ours], [], [], 1.0)[0]:
                self.expect("KeyboardInterrupt")
                return
        pytest.fail("it is not interrupted")

    def end(self) -> int:
        """Its exit status."""
        try:
            while True:
                if not select.select([self.ours], [], [], PATIENCE)[0]:
                    pytest.fail(f"it does not end: {self.shown!r}")
                try:
                    data = os.read(self.ours, 65536)
                except OSError:
                    break
                if not data:
                    break
                self.shown += data.decode(errors="replace")
            return self.process.wait(PATIENCE)
        finally:
            self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with suppress(OSError):
            os.close(self.ours)


# --- ps -------------------------------------------------------------------------------------------------------------------


def test_ps_lists_the_processes_of_all_nodes(told: Callable[..., Any], names: list[str]) -> None:
    answer = told("ps")
    assert (answer["more"], answer["silent"]) == (0, [])
    assert {row["node"] for row in answer["processes"]} == set(names)
    (first,) = (row for row in answer["processes"] if row["name"] == "first")
    assert first["function"] == "program:worker"
    assert first["current"].startswith("worker:")
    assert (first["status"], first["mailbox"], first["label"]) == ("receiving", 0, None)
    assert first["pid"].startswith(f"<{names[0]}.")
    assert len(first["links"]) == 1
    assert first["reductions"] > 0
    assert first["memory"] > 100


def test_ps_lists_one_node_by_its_full_or_short_name(told: Callable[..., Any], names: list[str]) -> None:
    for name in (names[1], names[1].partition("@")[0]):
        assert {row["node"] for row in told("ps", "--node", name)["processes"]} == {names[1]}


def test_ps_sorts_and_says_how_many_more_there_are(told: Callable[..., Any], names: list[str]) -> None:
    answer = told("ps", "--sort", "mailbox", "--limit", 1)
    (row,) = answer["processes"]
    assert row["mailbox"] == 7
    assert answer["more"] > 10
    reductions = [row["reductions"] for row in told("ps", "--sort", "reductions")["processes"]]
    assert reductions == sorted(reductions, reverse=True)


def test_ps_is_a_table_without_escapes_where_there_is_no_terminal(command: Command, names: list[str]) -> None:
    ended = command("ps", "--limit", "5")
    lines = ended.stdout.splitlines()
    assert lines[0].split() == ["PID", "NAME", "FUNCTION", "STATUS", "MAILBOX", "LINKS", "REDUCTIONS", "MEMORY"]
    assert lines[1].startswith(f"<{names[0]}")
    assert re.fullmatch(r"… and \d+ more", lines[6])
    assert "\x1b" not in command("ps").stdout  # in the label of one of them there is
    assert r"[many\nmessages \x1b[31m]" in command("ps").stdout


def test_ps_tells_what_each_process_may_do(told: Callable[..., Any], command: Command, names: list[str]) -> None:
    rows = {row["name"] or row["function"]: row for row in told("ps", "--caps")["processes"] if row["node"] == names[0]}
    assert (rows["first"]["has"], rows["first"]["except"]) == (
        ["send", "file", "net"],
        ["('send', 'bank')", "('only', ('file', '/srv', 'r'))"],
    )
    assert (len(rows["program:main"]["has"]), rows["program:main"]["except"]) == (14, [])
    services = {
        "nodes.load:tell_load": [],
        "beamlike.global_names": ["send"],
        "beamlike.groups": ["send"],
        "$pairs": ["send"],
        "beamlike.overview": ["spawn", "send"],
    }
    assert {name: rows[name]["has"] for name in services} == services
    table = command("ps", "--caps", "--node", names[0]).stdout
    assert table.splitlines()[0].split() == ["PID", "NAME", "FUNCTION", "HAS", "EXCEPT"]
    assert re.search(r"first +program:worker +send, file, net +\('send', 'bank'\), \('only', \('file', '/srv', 'r'\)\)", table)
    assert re.search(r"load\] +tell_load +nothing", table)
    assert re.search(r"program:main +everything", table)


@pytest.mark.parametrize("arguments", [("ps", "--node", "n7"), ("kill-node", "n7"), ("shell", "--node", "n7")])
def test_an_unknown_node_is_refused_with_the_names_of_those_there_are(
    refused: Callable[..., str], names: list[str], arguments: tuple[str, ...]
) -> None:
    assert refused(*arguments) == f"there is no node 'n7': there are {', '.join(names)}"


# --- tree, nodes ----------------------------------------------------------------------------------------------------------


def test_tree_shows_supervisors_and_children_by_their_ids(told: Callable[..., Any], command: Command, names: list[str]) -> None:
    answer = told("tree")
    assert set(answer) == set(names)
    by_name = {row["name"]: row for row in answer[names[0]]["supervisors"]}
    assert [child["id"] for child in by_name["top"]["children"]] == ["DynamicSupervisor", "one", "crowded"]
    assert [child["status"] for child in by_name["pool"]["children"]] == ["running"] * 3
    assert "beamlike.nodes" in by_name
    text = command("tree").stdout
    assert re.search(r"├── top  <.*\n│   ├── DynamicSupervisor  <.*  pool.*\n│   │   ├── ", text)
    assert re.search(r"one  <.*>  first  program:worker", text)
    assert text.count("pool") == 1  # below its own supervisor, and nowhere else


def test_tree_says_how_many_children_it_leaves_out(command: Command, names: list[str]) -> None:
    assert "… and 2 more\n" in command("tree", "--limit", 1).stdout


def test_nodes_tells_of_cores_lives_and_load(told: Callable[..., Any], command: Command, names: list[str]) -> None:
    first, second = told("nodes")["nodes"]
    assert (first["name"], second["name"]) == tuple(names)
    assert (first["is_main"], second["is_main"]) == (True, False)
    assert first["is_conductor"] != second["is_conductor"]
    assert os.path.exists(f"/proc/{first['pid']}")
    assert first["load"]["processes"] > second["load"]["processes"] > 5
    assert command("nodes").stdout.splitlines()[0].split()[:4] == ["NODE", "STATE", "ROLE", "INCARNATION"]


# --- kill-node ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_a_node_is_killed_and_comes_back_also_the_one_that_answers(
    told: Callable[..., Any], command: Command, names: list[str], number: int
) -> None:
    before = told("nodes")["nodes"][number - 1]
    ended = command("kill-node", f"n{number}")
    after = told("nodes")["nodes"][number - 1]
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(rf"{names[number - 1]} was killed, and is back after .* s, as incarnation (\d+)\n", ended.stdout)
    assert after["incarnation"] > before["incarnation"]
    assert after["pid"] != before["pid"]


def test_names_of_nodes_are_completed(command: Command, names: list[str]) -> None:
    shell = {"_BEAMLIKE_COMPLETE": "bash_complete", "COMP_WORDS": "beamlike kill-node n", "COMP_CWORD": "2"}
    assert command(**shell).stdout.split() == [f"plain,{name}" for name in names]


# --- top ------------------------------------------------------------------------------------------------------------------


def test_top_goes_on_when_the_node_that_answers_is_killed(command: Command, names: list[str]) -> None:
    with subprocess.Popen([*BEAMLIKE, "top", "--every", "0.1", "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        before = json.loads(program.stdout.readline())
        assert {row["node"] for row in before["processes"]} == set(names)
        assert command("kill-node", "n1").returncode == 0
        old = before["nodes"][0]["incarnation"]
        end = time.monotonic() + PATIENCE
        while json.loads(program.stdout.readline())["nodes"][0]["incarnation"] <= old:
            assert time.monotonic() < end, "it does not see the new life"
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=PATIENCE)
    assert program.returncode == 0


def test_top_is_live_on_a_terminal_until_the_key_q(names: list[str]) -> None:
    terminal = Terminal("top", "--every", "0.2")
    try:
        terminal.expect("PER S")
        terminal.expect("PER S")
        assert terminal.process.poll() is None
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.shown.endswith("\x1b[?25h\x1b[?1049l")  # the cursor is there again, and what was shown before
        assert "Traceback" not in terminal.shown
    finally:
        terminal.close()


# --- shell ----------------------------------------------------------------------------------------------------------------


def test_what_is_piped_into_the_shell_is_evaluated_in_a_process_of_the_node(command: Command, names: list[str]) -> None:
    program = """
        self_pid().node
        async def twice(number):
            await sleep(0)
            print("twice", number)
            return 2 * number

        await twice(21)
        _ + 1
        for number in range(2):
            number

        spawn_monitor(twice, 5)[0] == self_pid()
        message = await receive(timeout=5)
        message.reason
        {process_info(pid).label for pid in processes()} >= {"shell", "attached"}
    """
    for name in names:
        ended = command("shell", "--node", name, stdin=dedent(program))
        assert (ended.stderr, ended.returncode) == ("", 0)
        shown = [repr(name), "twice 21", "42", "43", "False", "twice 5", "'normal'", "True"]
        assert ended.stdout.splitlines() == shown


def test_a_traceback_in_the_shell_has_the_users_frames_only_and_the_status_is_1(command: Command, names: list[str]) -> None:
    ended = command(
        "shell", stdin="def fail():\n    raise CallError('bad luck', 1)\nasync def asks():\n    fail()\nawait asks()\n'unreached'"
    )
    assert ended.returncode == 1
    assert re.findall(r'File "(.*)", line (\d)', ended.stdout) == [("<input 1>", "5"), ("<input 1>", "4"), ("<input 1>", "2")]
    assert "    raise CallError('bad luck', 1)\n" in ended.stdout
    assert ended.stdout.endswith("CallError: bad luck\n")
    nothing = command("shell", stdin="await call('nobody', 1)")
    assert re.findall(r'File "(.*)", line', nothing.stdout) == ["<input 1>"]


def test_code_that_is_no_python_is_shown_and_the_status_is_1(command: Command, names: list[str]) -> None:
    ended = command("shell", stdin="1 +")
    assert ended.returncode == 1
    assert ended.stdout.endswith("SyntaxError: invalid syntax\n")


def test_what_is_printed_faster_than_it_is_read_is_lost_and_its_length_is_told(names: list[str]) -> None:
    connection = Connection(list_systems()[0])
    connection.ask("shell", names[1])
    connection.send("run", "for _ in range(9): print('x' * 1_000_000)")
    shown = ""
    while (answer := connection.receive()) != ("done", "ok"):
        kind, text = answer
        assert kind == "output"
        shown += text
    (lost,) = re.findall(r"\n\[(\d+) characters are not shown: they came faster than they were read]\n$", shown)
    assert shown.count("x") + shown.count("\n", 0, -100) + int(lost) == 9_000_009
    assert shown.count("x") < 5_000_000
    connection.close()


def test_a_shells_output_is_a_text_file_but_no_terminal(command: Command, names: list[str]) -> None:
    program = "import sys\nsys.stdout.fileno(), sys.stdout.encoding, sys.stdout.writable(), sys.stdout.closed, sys.stdout.isatty()\n"
    ended = command("shell", stdin=program + "sys.stdout.writelines(['1', '2'])")
    assert (ended.stdout, ended.returncode) == ("(1, 'utf-8', True, False, False)\n12", 0)


def test_help_is_plain_text_in_one_go(command: Command, names: list[str]) -> None:
    ended = command("shell", stdin="help(spawn)\nhelp('assert')\nhelp('nothing.of.the.kind')\nhelp()")
    assert ended.returncode == 0
    assert "Traceback" not in ended.stdout
    assert ended.stdout.startswith("Help on ")
    for text in ("spawn(", 'The "assert" statement', "No Python documentation found for 'nothing.of.the.kind'", "help(object) tells about"):
        assert text in ended.stdout


def test_a_node_that_is_stopped_gives_no_shell() -> None:
    class Silent:
        def ask(self, *request: Any) -> Any:
            raise TimeoutError

    with pytest.raises(AttachError, match=r"^the node n2 does not answer, so there is no shell$"):
        run_shell(cast(Connection, Silent()), "n2")


def test_a_shell_whose_node_dies_says_so_and_the_status_is_1(command: Command, names: list[str]) -> None:
    ended = command("shell", "--node", "n2", stdin="kill_node(self_pid().node)\nawait receive()")
    assert (ended.returncode, ended.stderr) == (1, f"beamlike: the node {names[1]}, where this shell ran, is lost\n")


def test_shell_on_a_terminal(tmp_path: Path, told: Callable[..., Any], names: list[str]) -> None:
    terminal = Terminal("shell", "--node", "n2", XDG_STATE_HOME=str(tmp_path))
    try:
        terminal.expect("n2>>> ")
        terminal.type("kept = 17\r")
        terminal.expect("n2>>> ")
        terminal.type("async def add(number):\r    return kept + number\r\r")
        terminal.expect("n2>>> ")
        terminal.type("await add(3)\r")
        terminal.expect("20")
        terminal.expect("n2>>> ")
        terminal.type("process_in\t")  # nodes know what there is
        terminal.expect("fo")
        terminal.interrupt()
        terminal.expect("n2>>> ")
        terminal.type("1 +\r")
        terminal.expect("SyntaxError")
        terminal.expect("n2>>> ")
        terminal.type("print('loo' + 'ping')\rwhile True: pass\r\r")
        terminal.expect("looping")
        terminal.expect("... ")
        until(lambda: "running" in states_of_shells(told) or "preempted" in states_of_shells(told), "it does not loop")
        assert told("nodes")["nodes"][1]["state"] == "up"
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt")
        terminal.expect("n2>>> ")
        terminal.type("kept\r")
        terminal.expect("17")
        terminal.expect("n2>>> ")
        terminal.type("spawn_link(add, None)\r")
        terminal.expect("n2>>> ")
        terminal.type("kept\r")
        terminal.expect("the process of this shell has ended: TypeError")
        terminal.expect("17")
        terminal.expect("n2>>> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    finally:
        terminal.close()
    history = (tmp_path / "beamlike" / "history").read_text().splitlines()
    assert history[:2] == ["kept = 17", "async def add(number):"]
    assert "kept" in history
    until(lambda: not states_of_shells(told), "a process of the shell is left")


def states_of_shells(told: Callable[..., Any]) -> list[str]:
    return [row["status"] for row in told("ps")["processes"] if row["label"] == "shell"]


def test_a_shell_that_is_killed_leaves_no_process_and_no_descriptor(told: Callable[..., Any], names: list[str]) -> None:
    pid = told("nodes")["nodes"][1]["pid"]
    count = len(os.listdir(f"/proc/{pid}/fd"))
    (system,) = list_systems()
    connection = Connection(system)
    assert connection.ask("shell", names[1]) == names[1]
    assert len(os.listdir(f"/proc/{pid}/fd")) == count + 1
    connection.send("run", "while True: pass")
    until(lambda: states_of_shells(told) != [], "there is no shell")
    connection.close()
    until(lambda: not states_of_shells(told), "a process of the shell is left")
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == count, "a descriptor is left")


# --- the socket -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonsense", [b"\xff" * 8, b"\x01\x00\x00\x00\xc1", b"\x02\x00\x00\x00\x91\x01", b"\x05\x00"])
def test_nonsense_costs_its_connection_and_nothing_else(told: Callable[..., Any], names: list[str], nonsense: bytes) -> None:
    (system,) = list_systems()
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(PATIENCE)
        end.connect(f"{os.environ['BEAMLIKE_RUNTIME_DIR']}/{system}.sock")
        end.sendall(nonsense)
        end.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert end.recv(100) == b""
    assert [state["state"] for state in told("nodes")["nodes"]] == ["up", "up"]


def test_a_map_with_a_map_as_its_key_is_no_frame() -> None:
    with pytest.raises(frames.FrameError):
        frames.unpacked(b"\x81\x80\x01")


def test_a_request_that_there_is_not_is_answered(names: list[str]) -> None:
    connection = Connection(list_systems()[0])
    with pytest.raises(AttachError, match="does not know what is asked for"):
        connection.ask("processes", None, "colour", 3)
    assert len(connection.ask("nodes")) == 2
    connection.close()


def test_where_no_system_runs_that_is_said_and_no_folder_is_made(refused: Callable[..., str], tmp_path: Path) -> None:
    for name in ("ps", "top", "tree", "nodes", "shell"):
        assert refused(name, at=tmp_path / "run").startswith("no system of nodes runs here. `beamlike run --nodes N FILE` starts one")
    assert refused("nodes", "--system", 1, at=tmp_path / "run") == "no system with owner 1 runs here"
    assert os.listdir(tmp_path) == []


def test_a_stale_socket_is_removed_by_who_looks(refused: Callable[..., str], tmp_path: Path) -> None:
    os.mkdir(tmp_path / "run", 0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "run" / "77.sock"))
    assert refused("nodes", at=tmp_path / "run").startswith("no system of nodes runs here")
    assert os.listdir(tmp_path / "run") == []


def of_somebody_else(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.mkdir(folder, 0o700)
    os.chown(folder, 12345, 12345)


def a_link(folder: Path) -> None:
    os.mkdir(folder.with_name("elsewhere"), 0o700)
    folder.symlink_to(folder.with_name("elsewhere"))


def open_to_others(folder: Path) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o755)


BAD_FOLDERS = [
    (of_somebody_else, "belongs to the user 12345, not to 0"),
    (a_link, "is a symbolic link"),
    (open_to_others, r"is open to others \(mode 0755\)"),
    (lambda folder: folder.touch(), "is no folder"),
]


@pytest.mark.parametrize(("make", "text"), BAD_FOLDERS, ids=["owner", "link", "mode", "file"])
def test_a_folder_that_is_not_the_users_alone_is_refused(
    command: Command, refused: Callable[..., str], tmp_path: Path, make: Callable[[Path], None], text: str
) -> None:
    folder = tmp_path / "run"
    make(folder)
    assert re.match(f"{folder} {text}", refused("nodes", at=folder))
    program = tmp_path / "program.py"
    program.write_text("async def main(): print('it runs')")
    ended = command("run", "--nodes", 2, program, at=folder)
    assert (ended.stdout, ended.returncode) == ("", 1)
    assert re.search(text, ended.stderr)
    assert "Set BEAMLIKE_RUNTIME_DIR" in ended.stderr
    assert not folder.is_dir() or os.listdir(folder) == []


def test_of_two_systems_one_is_to_be_chosen_and_one_that_ends_leaves_no_socket(
    refused: Callable[..., str], command: Command, tmp_path: Path, names: list[str], runtime_dir: Path
) -> None:
    (first,) = list_systems()
    with running(tmp_path, runtime_dir, *BEAMLIKE, "run", "--nodes", "1") as system:
        text = refused("nodes")
        assert text.startswith("2 systems run here: say which\n")
        for owner in (first, system.pid):
            assert re.search(rf"--system {owner}   .*program\.py", text)
        assert len(json.loads(command("nodes", "--json", "--system", system.pid).stdout)["nodes"]) == 1
        ended = command("kill-node", "--system", system.pid, "n1")
        assert ended.returncode == 1
        assert re.search(rf"was to be killed, and is not back: the system {system.pid} has ended", ended.stderr)
    assert os.listdir(runtime_dir) == [f"{first}.sock"]


@pytest.mark.parametrize("name", ["ps", "top", "tree", "nodes", "kill-node", "shell"])
def test_each_command_tells_what_it_does(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.returncode == 0
    assert "--system PID" in ended.stdout
