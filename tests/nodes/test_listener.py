"""The owner's listening socket, and the folder that it is in."""

from __future__ import annotations

import os
import resource
import select
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nodes import runtime_dir
from nodes.errors import StartError
from nodes.listener import MOST_WAITING, Listener

PATIENCE = 20.0  # seconds after which something hangs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder, which is not there yet."""
    monkeypatch.setenv("BEAMLIKE_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def test_folder_is_chosen_by_its_variable_then_by_that_of_the_desktop_then_by_the_user(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime_dir.path() == str(folder)
    monkeypatch.delenv("BEAMLIKE_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_dir.path() == str(tmp_path / "beamlike")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    monkeypatch.setattr("tempfile.tempdir", "/temporary")
    assert runtime_dir.path() == f"/temporary/beamlike-{os.getuid()}"


def test_listener_makes_the_folder_for_its_user_alone_and_removes_its_file(folder: Path) -> None:
    before = os.umask(0)
    try:
        listener = Listener()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder) == [f"{os.getpid()}.sock"]
    assert runtime_dir.list_systems() == [os.getpid()]
    listener.close()
    listener.close()
    assert os.listdir(folder) == []


def test_listener_accepts_who_connects_and_nobody_twice(folder: Path) -> None:
    listener = Listener()
    guest = runtime_dir.connect(os.getpid())
    accepted = listener.accept()
    assert accepted is not None
    accepted.send(b"hello")
    assert guest.recv(10) == b"hello"
    assert listener.accept() is None
    for each in (guest, accepted, listener):
        each.close()


def test_listener_does_not_accept_another_user(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else, and make a folder that one can enter")
    listener = Listener()
    folder.chmod(0o711)
    os.chmod(listener.path, 0o666)
    connecting = f"end = socket.socket(socket.AF_UNIX); end.connect('{os.getpid()}.sock'); print(end.recv(1))"
    program = f"import os, socket; os.chdir({str(folder)!r}); os.setuid(12345); {connecting}"
    with subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, text=True) as guest:
        assert select.select([listener], [], [], PATIENCE)[0]
        accepted = listener.accept()
        out, _ = guest.communicate()
    listener.close()
    assert accepted is None
    assert out == "b''\n"


def test_who_connects_when_no_descriptor_is_left_is_refused_and_does_not_wait(folder: Path) -> None:
    listener = Listener()
    refused, accepted = (runtime_dir.connect(os.getpid()) for _ in range(2))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))  # all below it are taken
    try:
        assert listener.accept() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    refused.settimeout(PATIENCE)
    assert refused.recv(1) == b""
    end = listener.accept()
    assert end is not None
    listener.close()
    for each in (refused, accepted, end):
        each.close()


def test_who_connects_where_nobody_accepts_is_told_so_in_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_dir, "PATIENCE", 1)
    listener = Listener()
    waiting = [runtime_dir.connect(os.getpid()) for _ in range(MOST_WAITING + 1)]
    with pytest.raises(TimeoutError, match=f"the system {os.getpid()} has accepted nobody for 1 s"):
        runtime_dir.connect(os.getpid())
    assert runtime_dir.list_systems() == [os.getpid()]
    listener.close()
    for each in waiting:
        each.close()


def test_socket_that_a_dead_owner_of_the_same_pid_left_is_replaced(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for name in (f"{os.getpid()}.sock", str(os.getpid())):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / name))
    listener = Listener()
    assert runtime_dir.list_systems() == [os.getpid()]
    listener.close()
    assert os.listdir(folder) == []


def test_what_is_no_socket_of_a_system_is_left_alone(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for name in ("notes.txt", "other.sock", "12.sock.old"):
        (folder / name).touch()
    assert runtime_dir.list_systems() == []
    assert len(os.listdir(folder)) == 3


@pytest.mark.parametrize("path", ["/proc/nothing/here", "/tmp/" + "long" * 50])
def test_folder_that_cannot_be_is_an_error_that_says_what_to_do(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLIKE_RUNTIME_DIR", path)
    with pytest.raises(StartError, match="Set BEAMLIKE_RUNTIME_DIR to a folder"):
        Listener()
    if os.path.isdir(path):
        os.rmdir(path)
