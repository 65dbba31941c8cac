"""The command `console`, as a shell runs it."""

from __future__ import annotations

import os
import pty
import shlex
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from machines import needs_qemu

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "boot", "console"]
LIMIT = 60.0  # seconds, for a command that hangs
PROGRAM = "number = 20\nnumber + 1\n1/0\n"


@pytest.mark.parametrize("machine", ["--portbus", pytest.param("--qemu", marks=needs_qemu)])
def test_what_is_piped_in_is_typed_at_the_serial_port(machine: str) -> None:
    ended = subprocess.run([*COMMAND, machine], cwd=ROOT, input=PROGRAM, capture_output=True, text=True, timeout=LIMIT)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert "serial>>> number + 1\n21\nserial>>> 1/0\n" in ended.stdout
    assert "ZeroDivisionError: division by zero\nserial>>> " in ended.stdout


@pytest.mark.parametrize("machine", ["--portbus", pytest.param("--qemu", marks=needs_qemu)])
def test_what_is_piped_in_is_typed_on_the_keyboard_and_the_screen_is_shown(machine: str) -> None:
    command = [*COMMAND, machine, "--vga", "--layout", "de"]
    ended = subprocess.run(command, cwd=ROOT, input="'ö' + 'ß'\n", capture_output=True, text=True, timeout=LIMIT)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert "vga>>> 'ö' + 'ß'" in ended.stdout
    assert "'öß'\x1b[K" in ended.stdout


def test_on_a_terminal_ctrl_right_bracket_ends_it_and_the_terminal_is_as_before() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(COMMAND, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as program:
        shown = b""
        while b"serial>>> " not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b"await sleep(100)\r\x03\x1d")
        assert program.wait(LIMIT) == 130
    os.close(theirs)
    os.close(ours)


def test_who_connects_to_the_socket_has_the_console(tmp_path: Path) -> None:
    path = tmp_path / "console"
    with subprocess.Popen([*COMMAND, "--socket", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert str(path) in program.stdout.readline()
        assert path.stat().st_mode & 0o777 == 0o600
        for typed, answer in ((b"kept = 6\r", b"kept = 6\r\nserial>>> "), (b"kept * 7\r", b"42\r\n")):
            with socket.socket(socket.AF_UNIX) as user:  # one after the other
                user.settimeout(LIMIT)
                user.connect(str(path))
                user.sendall(typed)
                shown = b""
                while answer not in shown:
                    shown += user.recv(4096)
        with socket.socket(socket.AF_UNIX) as user:
            user.connect(str(path))
            user.sendall(b"\x04")
            assert program.wait(LIMIT) == 0
    assert not path.exists()


def test_who_leaves_while_something_is_printed_does_not_end_the_console(tmp_path: Path) -> None:
    path = tmp_path / "console"
    with subprocess.Popen([*COMMAND, "--socket", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert str(path) in program.stdout.readline()
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as user:
                user.settimeout(LIMIT)
                user.connect(str(path))
                user.sendall(b"for n in range(300): print('line', n)\r\r")
                while b"line 9" not in user.recv(4096):
                    pass
        with socket.socket(socket.AF_UNIX) as user:
            user.settimeout(LIMIT)
            user.connect(str(path))
            user.sendall(b"\x15print('s' + 'till')\r")
            shown = b""
            while b"still" not in shown:
                shown += user.recv(4096)
            user.sendall(b"\x04")
            assert program.wait(LIMIT) == 0


def test_a_socket_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.touch()
    ended = subprocess.run([*COMMAND, "--socket", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", f"beamlike: {path}: Address already in use\n", 1)
    assert path.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--portbus", "--qemu"], "--portbus and --qemu exclude each other"),
        (["--vga", "--serial"], "--serial and --vga exclude each other"),
        (["--layout", "de"], "--layout is that of the keyboard, which comes with --vga"),
        (["--vga", "--layout", "fr"], "'fr' is not one of 'us', 'de'"),
    ],
)
def test_options_that_contradict_each_other(options: list[str], says: str) -> None:
    ended = subprocess.run([*COMMAND, *options], cwd=ROOT, input="", capture_output=True, text=True, timeout=LIMIT)
    assert (ended.stdout, ended.returncode) == ("", 2)
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("shell", "status", "says"),
    [
        ("exec {} >&-", 1, "standard input or output is closed"),
        ("exec {} <&-", 1, "standard input or output is closed"),
        ("exec {} > /dev/full", 1, "the console's output: No space left on device"),
        ("exec {} --vga > /dev/full", 1, "the console's output: No space left on device"),
    ],
)
def test_streams_that_cannot_be_used(shell: str, status: int, says: str) -> None:
    command = shell.format(shlex.join(COMMAND))
    ended = subprocess.run(["sh", "-c", command], cwd=ROOT, input="1+1\n", stderr=subprocess.PIPE, text=True, timeout=LIMIT)
    assert (ended.stderr, ended.returncode) == (f"beamlike: {says}{ended.stderr.partition(says)[2]}", status)
    assert ended.stderr.count("\n") == 1


def test_a_console_whose_device_is_taken_ends_and_says_so() -> None:
    program = "from drivers import revoke_device\nawait revoke_device('devices', 'com1', 0.1)\nawait sleep(10)\n"
    ended = subprocess.run(COMMAND, cwd=ROOT, input=program, capture_output=True, text=True, timeout=LIMIT)
    assert (ended.stderr, ended.returncode) == ("beamlike: the console has lost com1: it was not given back in time\n", 1)


@pytest.mark.parametrize(("typed", "leave"), [(b"input()\r", b"\x04"), (b"import time; time.sleep(100)\r", b"\x1d")])
def test_a_terminal_is_left_though_what_is_evaluated_blocks_the_node(typed: bytes, leave: bytes) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(COMMAND, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as program:
        shown = b""
        while b"serial>>> " not in shown:
            shown += os.read(ours, 4096)
        before = termios.tcgetattr(theirs)
        os.write(ours, typed)
        time.sleep(0.5)
        os.write(ours, leave)
        assert program.wait(LIMIT) in (0, 130)
    assert termios.tcgetattr(theirs)[3] & termios.ECHO
    assert not before[3] & termios.ECHO
    os.close(theirs)
    os.close(ours)
