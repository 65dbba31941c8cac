"""The command `cell`: real cells, and all that can be wrong with what is asked for."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent
from time import sleep
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from boot.cell import verdict
from boot.cli import main
from cells import Limits

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "boot", "cell", "run"]
LIMIT = 60  # seconds, for a command that hangs

Ended = subprocess.CompletedProcess[str]
Beamlike = Callable[..., Ended]


def script(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(dedent(text))
    return path


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], cwd=ROOT, text=True, **streams)


def descendants(pid: int) -> list[int]:
    """All OS processes below one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


# --- run: how it ends -----------------------------------------------------------------------------------------------------


def test_a_script_gets_its_arguments_and_all_of_stdin_and_json_is_the_last_line(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys; print(sys.argv[1:], sys.stdin.read(), end='')")
    with started(path, "one", "--json", "--memory=64M", "--", "--two", stdin=subprocess.PIPE) as program:
        out, err = program.communicate("piped", timeout=LIMIT)
    first, last = out.splitlines()
    ended = json.loads(last)
    assert (first, err, program.returncode) == ("['one', '--two'] piped", "", 0)
    assert (ended.pop("reason"), ended.pop("status")) == ("normal", 0)
    assert 0 < ended.pop("cpu") < LIMIT
    assert 1 << 20 < ended.pop("memory") < 1 << 30
    assert not ended


@pytest.mark.parametrize(
    ("text", "options", "status", "out", "err"),
    [
        ("print('out'); 1 / 0", [], 1, "out\n", r"Traceback .*ZeroDivisionError: division by zero\n"),
        ("while True: pass", ["--cpu", "200ms"], 124, "", r"beamlike: .*script.py was .* 0.2 s .*\n"),
        ("while True: pass", ["--cpu", "1ms"], 124, "", r"beamlike: .*script.py was .* 0.001 s .*\n"),
        ("bytearray(1 << 30)", ["--memory", "16M"], 137, "", r"Traceback .*MemoryError\nbeamlike: .* 16777216 bytes of memory .*\n"),
        ("while True: print('x' * 9)", ["--output", "25"], 153, "xxxxxxxxx\n" * 2 + "xxxxx", r"beamlike: .* 25 bytes .*\n"),
        ("import os; os.execv('/bin/true', ['true'])", [], 159, "", r"beamlike: .* system call execve, .*\n"),
        ("import sys; print('bad', file=sys.stderr); sys.exit(7)", [], 7, "", r"bad\n"),
    ],
)
def test_the_exit_status_says_how_it_ended_and_a_line_on_stderr_why(
    tmp_path: Path, text: str, options: list[str], status: int, out: str, err: str, beamlike: Beamlike
) -> None:
    result = beamlike("cell", "run", script(tmp_path, text), *options)
    assert (result.returncode, result.stdout) == (status, out)
    assert re.fullmatch(err, result.stderr, re.DOTALL), result.stderr


@pytest.mark.parametrize(
    ("reason", "status", "text"),
    [
        ("normal", 0, ""),
        ("shutdown", 0, ""),
        (("shutdown", 5), 0, ""),
        (("exit", 3), 3, ""),
        (("exit", 256 + 3), 3, ""),
        (("limit", "cpu"), 124, "was ended: it has used its 2 s of CPU time (--cpu)"),
        (("limit", "memory"), 137, "was ended: it needs more than its 100 bytes of memory (--memory)"),
        (("limit", "output"), 153, "was ended: it has written more than its 10 bytes (--output)"),
        (("capability_violation", "os", "mount"), 159, "was ended: it made the system call mount, which no cell may make"),
        (("capability_violation", "os"), 159, "was ended: it made a system call that no cell may make"),
        (("capability_violation", "mailbox"), 159, "was ended: it wrote into its mailbox what no cell's runtime writes"),
        (("signal", "SIGSEGV"), 139, "was ended by SIGSEGV"),
        (("signal", "SIGNONE"), 1, "ended with the reason ('signal', 'SIGNONE')"),
        ("killed", 137, "was killed"),
        (("cell_lost", "its zygote has died"), 125, "is lost: its zygote has died"),
        ((("ValueError", "bad"), (("f", 1, "g"),)), 1, ""),
        ("\x1b[2J", 1, "ended with the reason '\\x1b[2J'"),
    ],
)
def test_every_reason_has_a_status_and_a_text(reason: Any, status: int, text: str) -> None:
    assert verdict(reason, Limits(memory=100, cpu=2, output_bytes=10)) == (status, text)


def test_a_script_may_claim_a_limit_that_it_has_not() -> None:
    assert verdict(("limit", "cpu"), Limits()) == (1, "ended with the reason ('limit', 'cpu')")


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_it_writes_is_shown_as_it_comes_and_ctrl_c_kills_the_cell(tmp_path: Path, signum: int, status: int) -> None:
    with started(script(tmp_path, "print('it runs')\nwhile True: pass")) as program, ExitStack() as undo:
        assert program.stdout is not None
        assert program.stdout.readline() == "it runs\n"
        below = [os.pidfd_open(pid) for pid in descendants(program.pid)]
        for fd in below:
            undo.callback(os.close, fd)
        assert len(below) >= 2  # the zygote and the cell
        program.send_signal(signum)
        out, err = program.communicate(timeout=LIMIT)
        assert (program.returncode, out, err) == (status, "", "")
        for fd in below:
            assert select.select([fd], [], [], LIMIT)[0], "it lives"


def test_a_cell_to_which_nobody_listens_is_ended(tmp_path: Path) -> None:
    with started(script(tmp_path, "while True: print('x' * 999)"), "--output", "1G") as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr is not None
        assert program.stderr.read() == ""
        assert program.wait(LIMIT) == 141


MUCH = 200_000  # bytes: more than there is room for in a pipe


@contextmanager
def full_pipe(folder: Path, *, blocking: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program that writes MUCH into a pipe in which there is no more room; the other end."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, blocking)
    with open(ours), started(script(folder, f"print('x' * {MUCH - 1})"), stdout=theirs) as program:
        most = fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 1 << 16)
        os.close(theirs)
        written = array("i", [0])
        while written[0] <= most - select.PIPE_BUF and program.poll() is None:
            fcntl.ioctl(ours, termios.FIONREAD, written)
            sleep(0.01)
        yield program, ours


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_does_not_wait_for_who_reads_its_output(tmp_path: Path, signum: int, status: int) -> None:
    with full_pipe(tmp_path, blocking=True) as (program, _):
        program.send_signal(signum)
        try:
            assert program.wait(LIMIT) == status
        finally:
            program.kill()


def test_its_output_waits_for_room_also_if_stdout_does_not_block(tmp_path: Path) -> None:
    with full_pipe(tmp_path, blocking=False) as (program, end):
        out = b""
        while part := os.read(end, MUCH):
            out += part
        assert (len(out), program.wait(LIMIT)) == (MUCH, 0)


@pytest.mark.parametrize(("text", "options"), [("print('out')", []), ("", ["--json"])])
def test_an_output_that_is_full_is_an_error(tmp_path: Path, text: str, options: list[str]) -> None:
    with open("/dev/full", "w") as full, started(script(tmp_path, text), *options, stdout=full) as program:
        _, err = program.communicate(timeout=LIMIT)
    assert (program.returncode, err) == (1, "beamlike: cannot write to stdout: No space left on device\n")


def test_a_terminal_is_not_read(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with started(script(tmp_path, "import sys; print(sys.stdin.read() == '')"), stdin=theirs) as program:
        out, err = program.communicate(timeout=LIMIT)
    os.close(ours)
    os.close(theirs)
    assert (out, err, program.returncode) == ("True\n", "", 0)


def test_the_script_may_come_on_stdin() -> None:
    with started("-", stdin=subprocess.PIPE) as program:
        out, err = program.communicate("print(input() if 0 else 'piped')", timeout=LIMIT)
    assert (out, err, program.returncode) == ("piped\n", "", 0)


def test_files_are_open_that_are_named_and_no_others(tmp_path: Path, beamlike: Beamlike) -> None:
    kept, secret, new = tmp_path / "kept", tmp_path / "kept" / "secret", tmp_path / "new"
    kept.mkdir()
    secret.write_text("secret")
    (kept / "open").write_text("open")
    (tmp_path / "link").symlink_to(kept)
    path = script(
        tmp_path,
        f"""
        from contextlib import suppress
        print(open({str(kept / "open")!r}).read())
        with open({str(new)!r}, "w") as file:
            file.write("written")
        for path, mode in [({str(secret)!r}, "r"), ({str(new)!r}, "r"), ({str(kept / "open")!r}, "w"), ("/etc/passwd", "r")]:
            with suppress(PermissionError):
                print(open(path, mode))
        """,
    )
    exclusion = repr(("file", str(secret), "r"))
    result = beamlike("cell", "run", path, "--read", tmp_path / "link", "--write", new, "--exclude", exclusion)
    assert (result.stdout, result.stderr, result.returncode) == ("open\n", "", 0)
    assert new.read_text() == "written"


def test_without_a_wall_nothing_is_run(tmp_path: Path, interpreters: Any) -> None:
    source = """
    import boot.cell, boot.cli, cells, sys
    async def spawn_cell(*arguments, **options):
        assert options["strict"]
        raise cells.CellUnavailable("no cell on this machine, for it lacks a wall: mdwe: the kernel has no MDWE")
    boot.cell.spawn_cell = spawn_cell
    sys.argv[0] = "beamlike"
    sys.exit(boot.cli.main())
    """
    result = interpreters.run(dedent(source), "cell", "run", script(tmp_path, "print('it runs')"), "--strict")
    assert (result.stdout, result.returncode) == ("", 125)
    assert result.stderr == "beamlike: no cell on this machine, for it lacks a wall: mdwe: the kernel has no MDWE\n"


# --- run: what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--memory", "64X"], "Invalid value for '--memory': '64X' is no size"),
        (["--memory", "lots"], "'lots' is no size"),
        (["--memory", ""], "'' is no size"),
        (["--memory", "-1"], "'-1' is no size"),
        (["--memory", "0.5"], "'0.5' is no size that can be had"),
        (["--memory", "65T"], "'65T' is no size that can be had: write 1 to 64T"),
        (["--output", "0"], "Invalid value for '--output': '0' is no size that can be had"),
        (["--cpu", "2h"], "Invalid value for '--cpu': '2h' is no duration"),
        (["--cpu", "1e3"], "'1e3' is no duration"),
        (["--cpu", "0.9ms"], "'0.9ms' is no time that a program can have: write 1ms or more"),
        (["--cpu", "0s"], "'0s' is no time that a program can have"),
        (["--cpu", "1000000000"], "'1000000000' is no time that a program can have"),
        (["--exclude", "send"], "Invalid value for '--exclude': 'send' is no Python tuple: write one such as ('send', 'all')"),
        (["--exclude", "'send'"], "is no Python tuple"),
        (["--exclude", "(" * 999], "is no Python tuple"),
        (["--exclude", "('file', 'etc', 'r')"], "the path 'etc' is not absolute"),
        (["--exclude", "('fire', 'all')"], "unknown kind of capability 'fire'"),
        (["--exclude", "('only',)"], "permits nothing of no kind"),
        (["--net", "example.org"], "Invalid value for '--net': 'example.org' is no HOST:PORT"),
        (["--net", ":80"], "':80' is no HOST:PORT"),
        (["--net", "example.org:http"], "'example.org:http' is no HOST:PORT"),
        (["--net", "example.org:0"], "'example.org:0' is no HOST:PORT"),
        (["--net", "::1:80"], "write an IPv6 address in brackets"),
        (["--read", "/nowhere"], "Invalid value for '--read': Path '/nowhere' does not exist"),
        (["--write", "/nowhere/file"], "Invalid value for '--write': there is no folder /nowhere"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_an_option_that_says_nothing_sensible_is_refused(tmp_path: Path, options: list[str], text: str, beamlike: Beamlike) -> None:
    result = beamlike("cell", "run", script(tmp_path, "print('it runs')"), *options)
    assert (result.stdout, result.returncode) == ("", 2)
    assert text in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "No such file or directory"), (b"\xff\xfe", "is no text"), (b"# coding: nonsense\n", "unknown encoding")],
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, content: bytes | None, text: str, beamlike: Beamlike) -> None:
    path = tmp_path / "script.py"
    if content is not None:
        path.write_bytes(content)
    result = beamlike("cell", "run", path)
    assert (result.stdout, result.returncode) == ("", 2)
    assert text in result.stderr


def test_more_on_stdin_than_the_cell_may_have_is_refused(tmp_path: Path) -> None:
    with started(script(tmp_path, ""), "--memory", "1K", stdin=subprocess.PIPE) as program:
        _, err = program.communicate("x" * 1025, timeout=LIMIT)
    assert program.returncode == 2
    assert "stdin has more than the 1024 bytes of --memory" in err


# --- probe ----------------------------------------------------------------------------------------------------------------


def test_probe_lists_the_walls(beamlike: Beamlike) -> None:
    result = beamlike("cell", "probe")
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["WALL", "REQUIRED", "PRESENT", "DETAIL"]
    assert [row.split()[:3] for row in rows if row.startswith("seccomp")] == [["seccomp", "yes", "yes"]]
    assert (result.stderr, result.returncode) == ("", 0)
    answer = json.loads(beamlike("cell", "probe", "--json").stdout)
    assert answer["available"] is True
    assert [wall["name"] for wall in answer["walls"]] == [row[: header.index("REQUIRED")].strip() for row in rows]
    assert all(wall["present"] for wall in answer["walls"] if wall["required"])


PROBE = """
import boot.cell, boot.cli, sys
from cells import Found
boot.cell.probe_walls = lambda: [
    Found("seccomp", True, {seccomp}, "refused; use another kernel"), Found("mdwe", False, False, "too old; use Linux 6.3")
]
sys.argv[0] = "beamlike"
sys.exit(boot.cli.main())
"""


@pytest.mark.parametrize(
    ("seccomp", "options", "status", "err"),
    [
        (True, [], 0, ""),
        (False, [], 1, "beamlike: no cell on this machine, for it lacks a wall: seccomp: refused; use another kernel\n"),
        (True, ["--strict"], 1, "beamlike: no cell on this machine, for it lacks a wall: mdwe: too old; use Linux 6.3\n"),
    ],
)
def test_probe_names_the_required_wall_that_is_missing(interpreters: Any, seccomp: bool, options: list[str], status: int, err: str) -> None:
    result = interpreters.run(PROBE.format(seccomp=seccomp), "cell", "probe", *options)
    assert (result.returncode, result.stderr) == (status, err)
    as_json = interpreters.run(PROBE.format(seccomp=seccomp), "cell", "probe", "--json", *options)
    assert (as_json.returncode, as_json.stderr) == (status, "")
    answer = json.loads(as_json.stdout)
    assert answer["available"] is (status == 0)
    assert answer["walls"][1] == {"name": "mdwe", "required": bool(options), "present": False, "detail": "too old; use Linux 6.3"}


# --- help and completion --------------------------------------------------------------------------------------------------


def test_help_names_the_commands_and_the_exit_statuses(beamlike: Beamlike) -> None:
    assert re.findall(r"^  (\w+) ", beamlike("cell", "--help").stdout.partition("Commands:")[2], re.MULTILINE) == ["probe", "run"]
    shown = beamlike("cell", "run", "--help").stdout
    assert all(re.search(rf"^ +{status}\b", shown, re.MULTILINE) for status in (0, 1, 2, 124, 125, 130, 137, 153, 159))


@pytest.mark.parametrize(
    ("before", "word", "words"), [([], "ce", ["cell"]), (["cell"], "", ["probe", "run"]), (["cell", "run"], "--me", ["--memory"])]
)
def test_the_tab_key_completes(before: list[str], word: str, words: list[str]) -> None:
    found = ShellComplete(main, {}, "beamlike", "_BEAMLIKE_COMPLETE").get_completions(before, word)
    assert [each.value for each in found] == words
