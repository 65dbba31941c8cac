"""The command line, as a shell runs it: real OS processes, synchronised by what they print.

Commands that only have to end are forks of an interpreter that has imported them already, by the fixture `beamlike`.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "boot"]
LIMIT = 60  # seconds, for a command that hangs


Beamlike = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*COMMAND, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def on_terminal(*arguments: object, **variables: str) -> tuple[str, int]:
    """What a command shows on a terminal, and its status."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "100", **variables}
    shown = b""
    with subprocess.Popen([*COMMAND, *map(str, arguments)], cwd=ROOT, env=environment, stdout=theirs, stderr=theirs) as program:
        os.close(theirs)
        with suppress(OSError):  # EIO: the last one who had the terminal has closed it
            while data := os.read(ours, 65536):
                shown += data
        os.close(ours)
    return shown.decode(), program.returncode


def next_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line, "it ended"
    return line.rstrip("\n")


def script(folder: Path, text: str, name: str = "program.py") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    return path


# --- run: how it ends -----------------------------------------------------------------------------------------------------


def test_run_starts_main_with_the_arguments_in_argv_and_imports_from_the_folder_of_the_file(tmp_path: Path, beamlike: Beamlike) -> None:
    script(tmp_path, "WORD = 'imported'", name="neighbour.py")
    path = script(
        tmp_path,
        """
        import sys
        from neighbour import WORD

        async def main():
            print(WORD, __name__, sys.argv[1:])
        """,
    )
    result = beamlike("run", path, "one", "--two")
    assert (result.stdout, result.stderr, result.returncode) == ("imported program ['one', '--two']\n", "", 0)


def test_run_starts_another_function_that_is_named(tmp_path: Path, beamlike: Beamlike) -> None:
    path = script(tmp_path, "async def other(): print('other')")
    result = beamlike("run", f"{path}:other")
    assert (result.stdout, result.stderr, result.returncode) == ("other\n", "", 0)


@pytest.mark.parametrize(
    ("ending", "status"),
    [("return None", 0), ("return 'text'", 0), ("return 3", 3), ("sys.exit(4)", 4), ("return 255", 255)],
)
def test_the_exit_status_is_what_main_returns_if_that_is_an_int(tmp_path: Path, ending: str, status: int, beamlike: Beamlike) -> None:
    result = beamlike("run", script(tmp_path, f"import sys\nasync def main(): {ending}"))
    assert (result.returncode, result.stderr) == (status, "")


def test_an_int_that_is_no_exit_status_is_a_failure(tmp_path: Path, beamlike: Beamlike) -> None:
    result = beamlike("run", script(tmp_path, "async def main(): return 256"))
    assert result.returncode == 1
    assert "returned 256: an exit status is 0 to 255" in result.stderr


def test_a_main_that_raises_is_reported_from_its_own_file_on_and_the_status_is_1(tmp_path: Path, beamlike: Beamlike) -> None:
    path = script(tmp_path, "async def main(): raise ValueError('bad luck')")
    result = beamlike("run", path)
    assert result.returncode == 1
    assert f"{path} failed" in result.stderr
    assert "ValueError: bad luck" in result.stderr
    assert re.findall(r'File "(.*)", line', result.stderr) == [str(path)]


def test_a_main_that_is_ended_by_a_signal_is_reported_with_the_reason(tmp_path: Path, beamlike: Beamlike) -> None:
    result = beamlike("run", script(tmp_path, "from beamlike import *\nasync def main(): exit(self_pid(), 'enough')"))
    assert result.returncode == 1
    assert "enough" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_crash_of_a_process_is_reported_on_stderr_and_main_goes_on(tmp_path: Path, beamlike: Beamlike) -> None:
    path = script(
        tmp_path,
        """
        from beamlike import receive, spawn_monitor

        async def unlucky():
            raise ValueError("bad luck")

        async def main():
            spawn_monitor(unlucky)
            print((await receive()).reason[0])
        """,
    )
    result = beamlike("run", path)
    assert (result.returncode, result.stdout) == (0, "('ValueError', 'bad luck')\n")
    assert "crashed, started as program:unlucky" in result.stderr
    assert "\x1b" not in result.stderr  # no colours: it is no terminal


@pytest.mark.parametrize("start", ["await Server.start()", "spawn(worker)", "spawn(worker, io=True)"])
def test_the_traceback_of_a_crash_begins_in_the_program(tmp_path: Path, beamlike: Beamlike, start: str) -> None:
    path = script(
        tmp_path,
        f"""
        from beamlike import GenServer, monitor, receive, send, spawn

        class Server(GenServer):
            async def handle_info(self, message):
                raise ValueError("bad luck")

        async def worker():
            await receive()
            raise ValueError("bad luck")

        async def main():
            pid = {start}
            monitor(pid)
            send(pid, "go")
            await receive()
        """,
    )
    assert set(re.findall(r'File "(.*)", line', beamlike("run", path).stderr)) == {str(path)}


def test_a_program_that_returns_a_supervisor_runs_until_that_ends_and_has_failed_if_it_gave_up(tmp_path: Path, beamlike: Beamlike) -> None:
    path = script(
        tmp_path,
        """
        from beamlike import ChildSpec, Supervisor

        async def unlucky():
            print("tried")
            raise ValueError("bad luck")

        async def main():
            return await Supervisor.start_link([ChildSpec.of(unlucky)], intensity=2)
        """,
    )
    result = beamlike("run", path)
    assert result.stdout == "tried\n" * 3
    assert result.returncode == 1
    assert result.stderr.endswith("ended: shutdown\n")  # it gave up


# --- run: nothing to run --------------------------------------------------------------------------------------------------


Refusal = Callable[[object], str]


@pytest.fixture
def refusal(beamlike: Beamlike) -> Refusal:
    """What is told of a target that `beamlike run` refuses."""

    def run(target: object) -> str:
        result = beamlike("run", target)
        assert (result.returncode, result.stdout) == (2, "")
        assert "Traceback" not in result.stderr
        return result.stderr

    return run


def test_a_missing_file_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert str(tmp_path / "absent.py") in refusal(tmp_path / "absent.py")


def test_a_syntax_error_is_shown_with_its_line(tmp_path: Path, refusal: Refusal) -> None:
    path = script(tmp_path, "async def main():\n    x = = 1\n")
    text = refusal(path)
    assert f'File "{path}", line 2' in text
    assert "x = = 1" in text
    assert "SyntaxError" in text


def test_a_file_without_main_is_refused_and_what_is_there_is_named(tmp_path: Path, refusal: Refusal) -> None:
    text = refusal(script(tmp_path, "async def start(): pass\nasync def stop(): pass\ndef helper(): pass"))
    assert "'main'" in text
    assert "start, stop" in text
    assert "helper" not in text


def test_a_main_that_is_not_async_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "async def main" in refusal(script(tmp_path, "def main(): pass"))


def test_a_function_that_is_not_there_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "'other'" in refusal(f"{script(tmp_path, 'async def main(): pass')}:other")


def test_a_main_with_parameters_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    text = refusal(script(tmp_path, "async def main(x): pass"))
    assert "cannot be called without arguments (missing a required argument: 'x'): they are in sys.argv" in text


def test_a_main_with_a_yield_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "it has a `yield` in it" in refusal(script(tmp_path, "async def main():\n    yield 1"))


def test_a_file_with_null_bytes_is_no_python(tmp_path: Path, refusal: Refusal) -> None:
    text = refusal(script(tmp_path, "\0"))
    assert text.startswith("beamlike: this is not Python:\nSyntaxError: ")
    assert str(tmp_path / "program.py") in text


OWN_NODES = {
    "run": "run(main)",
    "node": "import trio\nasync def other():\n    async with node(): pass\ntrio.run(other)",
    "run_in_asyncio": "import asyncio\nasync def other(): await asyncio.create_task(run_in_asyncio(main))\nasyncio.run(other())",
}


@pytest.mark.parametrize("name", OWN_NODES)
def test_a_file_that_opens_a_node_of_its_own_is_refused(tmp_path: Path, refusal: Refusal, name: str) -> None:
    path = script(tmp_path, f"from beamlike import *\nasync def main(): print('run')\n{OWN_NODES[name]}")
    guard = 'move the call below `if __name__ == "__main__":`'
    assert refusal(path) == f"beamlike: {path} calls {name}(), but `beamlike run` opens the node: {guard}\n"


def test_a_file_that_opens_a_node_as_a_script_only_is_run_once(tmp_path: Path, beamlike: Beamlike) -> None:
    path = script(tmp_path, "from beamlike import *\nasync def main(): print('run')\nif __name__ == '__main__':\n    run(main)")
    assert beamlike("run", path).stdout == "run\n"


@pytest.mark.parametrize("name", ["test.py", "random.py", "my-app.py", "script"])
def test_a_file_of_any_name_is_run(tmp_path: Path, beamlike: Beamlike, name: str) -> None:
    result = beamlike("run", script(tmp_path, "import random\nasync def main(): print(random.random() < 1)", name))
    assert (result.stdout, result.stderr, result.returncode) == ("True\n", "", 0)


def test_a_neighbour_called_as_one_of_our_packages_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    script(tmp_path, "", name="nodes.py")
    text = refusal(script(tmp_path, "async def main(): pass"))
    assert str(tmp_path / "nodes.py") in text
    assert "rename it" in text


def test_a_file_that_raises_while_it_is_loaded_is_a_failure_and_not_a_refusal(tmp_path: Path, beamlike: Beamlike) -> None:
    path = script(tmp_path, "1 / 0")
    result = beamlike("run", path)
    assert result.returncode == 1
    assert re.findall(r'File "(.*)", line', result.stderr) == [str(path)]
    assert "ZeroDivisionError" in result.stderr


# --- run: Ctrl-C ----------------------------------------------------------------------------------------------------------

TREE = """
from beamlike import ChildSpec, GenServer, Supervisor, process_flag, receive, sleep

class Child(GenServer):
    async def init(self, name):
        self.name = name
        process_flag("trap_exit", True)

    async def terminate(self, reason):
        print(f"{self.name} stops: {reason}", flush=True)
        await sleep(NAP)
        print(f"{self.name} has stopped", flush=True)

async def main():
    await Supervisor.start_link([ChildSpec.of(Child, name, id=name, shutdown="infinity") for name in ("first", "second")])
    try:
        print("ready", flush=True)
        await receive()
    finally:
        print("main is through", flush=True)
"""


def test_ctrl_c_stops_main_and_the_tree_in_order_and_the_status_is_130(tmp_path: Path) -> None:
    with started("run", script(tmp_path, f"NAP = 0.01\n{TREE}")) as program:
        assert next_line(program) == "ready"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=LIMIT)
    lines = out.splitlines()
    assert (program.returncode, err) == (130, "")
    assert lines.count("main is through") == 1
    lines.remove("main is through")
    assert lines == ["second stops: shutdown", "second has stopped", "first stops: shutdown", "first has stopped"]


def test_sigterm_stops_main_and_the_tree_in_order_and_the_status_is_143(tmp_path: Path) -> None:
    with started("run", script(tmp_path, f"NAP = 0.01\n{TREE}")) as program:
        assert next_line(program) == "ready"
        program.terminate()
        out, err = program.communicate(timeout=LIMIT)
    lines = out.splitlines()
    lines.remove("main is through")
    assert (program.returncode, err) == (143, "")
    assert lines == ["second stops: shutdown", "second has stopped", "first stops: shutdown", "first has stopped"]


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with started("run", script(tmp_path, f"NAP = 1_000_000\n{TREE}")) as program:
        assert next_line(program) == "ready"
        program.send_signal(signal.SIGINT)
        while next_line(program) != "second stops: shutdown":
            pass
        program.send_signal(signal.SIGINT)
        out, _ = program.communicate(timeout=LIMIT)
    assert program.returncode == 130
    assert "has stopped" not in out


def test_ctrl_c_while_the_file_is_loaded_ends_it(tmp_path: Path) -> None:
    with started("run", script(tmp_path, "import signal\nprint('loading', flush=True)\nsignal.pause()")) as program:
        assert next_line(program) == "loading"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=LIMIT)
    assert (out, err, program.returncode) == ("", "", 130)


# --- run: the log ---------------------------------------------------------------------------------------------------------

NOISE = """
import logging, warnings
from beamlike import receive, spawn_monitor

async def unlucky(what):
    await receive()

async def main():
    pid, _ = spawn_monitor(crash, {(1, 2): b"bytes"})
    await receive()
    logging.getLogger("mine").info("told")
    warnings.warn("beware")
    raise ValueError("last words")

async def crash(what):
    raise ValueError("bad luck", what)
"""


def test_json_makes_every_line_of_the_log_an_object(tmp_path: Path, beamlike: Beamlike) -> None:
    result = beamlike("run", "--json", "--log-level", "info", script(tmp_path, NOISE))
    records = [json.loads(line) for line in result.stderr.splitlines()]
    told = {record["logger"]: record for record in records}
    assert told["mine"]["message"] == "told"
    assert told["mine"]["level"] == "info"
    assert "beware" in told["py.warnings"]["message"]
    assert told["beamlike.crash"]["report"]["initial_call"] == "program:crash"
    assert told["beamlike.crash"]["report"]["reason"][0][0] == "ValueError"
    assert "last words" in told["beamlike.main"]["traceback"]
    assert result.returncode == 1


FAULTS = {
    "async def main(:": "SyntaxError",
    "async def start(): pass": "its async functions are: start",
    "run(print)": "calls run()",
    "sys.exit('last words')": "last words",
    "async def main(): sys.exit('last words')": "last words",
    "async def main(): raise GeneratorExit('last words')": "uncaught exception",
    "async def main(): raise Stop('last words')": "main ended: last words",
    "async def fail(): raise Stop('bad')\nasync def main(): return await Supervisor.start_link([fail])": "the application's top process",
    "async def main(): exec('0 is 0')": "SyntaxWarning",
    "thread = threading.Thread(target=lambda: 1 / 0, name='a thread')\nasync def main():\n    thread.start()\n    thread.join()": (
        "thread a thread failed"
    ),
    "class Bad:\n    def __del__(self): 1 / 0\nasync def main(): Bad()": "Exception ignored in: <function Bad.__del__",
    "async def main(): logging.error('%d', 'text')": "this cannot be logged: %d",
    "class Bad(logging.Handler):\n    def emit(self, record): 1 / 0\nasync def fail(): raise ValueError\nasync def main():\n"
    "    logging.getLogger('beamlike.crash').addHandler(Bad())\n    spawn_monitor(fail)\n    await receive()": "uncaught exception",
}


@pytest.mark.parametrize("source", FAULTS, ids=range(len(FAULTS)))
def test_json_is_all_that_there_is_on_stderr(tmp_path: Path, beamlike: Beamlike, source: str) -> None:
    path = script(tmp_path, "import logging, sys, threading\nfrom beamlike import *\n" + source)
    records = [json.loads(line) for line in beamlike("run", "--json", path).stderr.splitlines()]
    assert [record for record in records if FAULTS[source] in record["message"]] != []


def test_json_tells_of_a_file_that_is_missing(tmp_path: Path, beamlike: Beamlike) -> None:
    result = beamlike("run", "--json", tmp_path / "absent.py")
    assert result.returncode == 2
    assert json.loads(result.stderr)["message"] == f"there is no file {tmp_path / 'absent.py'}"


def test_on_a_terminal_reports_have_colours(tmp_path: Path) -> None:
    shown, status = on_terminal("run", script(tmp_path, NOISE))
    assert status == 1
    assert re.search(r"\x1b\[1;31m.* ERROR process .* crashed", shown)


def test_with_no_color_there_are_no_escapes_on_a_terminal(tmp_path: Path) -> None:
    shown, _ = on_terminal("run", script(tmp_path, NOISE), NO_COLOR="1")
    assert "crashed" in shown
    assert "\x1b" not in shown
    shown, _ = on_terminal("demo", "--minutes", 0.01, NO_COLOR="1")
    assert "0 acknowledged writes lost" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "ending",
    ["raise ValueError('last words')", "raise Stop('last words')", "sys.exit('last words')", "return spawn_link(fail)"],
)
def test_why_main_failed_is_shown_at_every_log_level(tmp_path: Path, beamlike: Beamlike, ending: str) -> None:
    path = script(tmp_path, f"import sys\nfrom beamlike import *\nasync def main(): {ending}\nasync def fail(): raise Stop('last words')")
    result = beamlike("run", "--log-level", "critical", path)
    assert result.returncode == 1
    assert "last words" in result.stderr


def test_the_log_level_decides_what_is_shown(tmp_path: Path, beamlike: Beamlike) -> None:
    path = script(tmp_path, NOISE)
    assert "told" not in beamlike("run", path).stderr
    assert "told" in beamlike("run", "--log-level", "info", path).stderr
    assert "bad luck" not in beamlike("run", "--log-level", "critical", path).stderr


# --- the other commands ---------------------------------------------------------------------------------------------------


def test_the_demo_shows_a_table_on_a_terminal() -> None:
    shown, status = on_terminal("demo", "--minutes", 0.02)
    assert status == 0
    assert "┃" in shown
    assert "calls in flight" in shown
    assert "0 acknowledged writes lost" in shown


def test_ctrl_c_stops_the_demo_with_the_verdict_so_far() -> None:
    with started("demo", "--minutes", 5) as program:
        while not re.match(r" *\d+ s: [\d,]+ writes acknowledged, .* kills, ", next_line(program)):
            pass
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=LIMIT)
    assert (program.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("read back: 0 acknowledged writes lost")


def test_version_is_told_in_both_ways(beamlike: Beamlike) -> None:
    assert beamlike("version").stdout == beamlike("--version").stdout
    assert beamlike("version").stdout.startswith("beamlike ")


def test_help_names_the_commands_and_only_those_that_there_are(beamlike: Beamlike) -> None:
    commands = re.findall(r"^  ([\w-]+) ", beamlike("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert commands == [
        "boot",
        "build-unikernel",
        "cell",
        "completion",
        "console",
        "demo",
        "halt",
        "image",
        "init",
        "kill-node",
        "nodes",
        "ps",
        "run",
        "shell",
        "top",
        "tree",
        "version",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str, beamlike: Beamlike) -> None:
    result = beamlike("completion", shell)
    assert result.returncode == 0
    assert f"_BEAMLIKE_COMPLETE={shell}_complete" in result.stdout


# --- many nodes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nodes", "0"], "0 is not in the range x>=1"),
        (["--nodes=x"], "'x' is not a valid integer"),
        (["--nodes"], "requires an argument"),
    ],
)
def test_wrong_number_of_nodes_behind_the_file_is_refused(beamlike: Beamlike, tmp_path: Path, arguments: list[str], text: str) -> None:
    result = beamlike("run", script(tmp_path, "async def main(): pass"), *arguments)
    assert result.returncode == 2
    assert "--nodes" in result.stderr
    assert text in result.stderr


def test_nodes_may_be_asked_for_behind_the_file(beamlike: Beamlike, tmp_path: Path) -> None:
    source = "import sys, nodes\nasync def main(): print(len(nodes.list_nodes()), sys.argv[1:])\n"
    result = beamlike("run", script(tmp_path, source), "--nodes", "2", "--nodes", "mine")
    assert (result.stdout, result.stderr) == ("2 ['--nodes', 'mine']\n", "")


UNGUARDED = "import nodes\nasync def main(): pass\nnodes.run(main, nodes=2)\n"


def test_script_without_a_guard_starts_no_nodes_in_nodes(tmp_path: Path) -> None:
    path = tmp_path / "unguarded.py"
    path.write_text(UNGUARDED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'put it below `if __name__ == "__main__":`' in done.stderr


def test_main_that_is_in_no_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", UNGUARDED], env=environment, capture_output=True, text=True, timeout=60)
    assert "TypeError: main is imported by each node, so it is in a file, not in python -c or a prompt" in done.stderr


def test_ctrl_c_while_a_command_is_imported_is_no_failure(
    program: Callable[[str], "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt")
    result = program(
        f"""
        from boot import cli

        sys.path.insert(0, {str(tmp_path)!r})
        cli.ELSEWHERE["ps"] = "slow:ps"
        sys.argv[1:] = ["ps"]
        cli.main()
        """
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
