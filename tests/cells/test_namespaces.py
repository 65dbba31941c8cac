from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket

import pytest
from walled import NOBODY, become, sandboxed

from cells import lockdown, namespaces
from cells.attempt import attempt
from cells.syscalls import number_of

USERS = [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()]


def enter(uid: int) -> list[str]:
    become(uid)
    if not (entered := namespaces.enter()):
        pytest.skip("this machine refuses namespaces")
    return entered


@pytest.mark.parametrize("uid", USERS)
def test_inside_there_are_no_files_no_network_and_nobody_else(uid: int) -> None:
    outside = os.getpid()

    def body() -> str:
        entered = enter(uid)
        assert os.getpid() == 1
        assert os.listdir("/") == []
        with pytest.raises(OSError, match=r"Read-only|denied|No space"):
            os.mkdir("/directory")
        with pytest.raises(ProcessLookupError):
            os.kill(outside, 0)
        with socket.socket() as client, pytest.raises(OSError, match="unreachable"):
            client.connect(("127.0.0.1", 80))
        return " ".join(entered)

    assert attempt(body).said == ("user " if uid else "") + "mnt uts ipc pid net"


@pytest.mark.parametrize("uid", USERS)
def test_a_fork_locks_itself_there(uid: int) -> None:
    def body() -> str:
        enter(uid)
        lock = lockdown.prepare(executable=False)

        def cell() -> str:
            lock.apply(1 << 20, 1, None)
            return str(os.geteuid())

        return str(attempt(cell))

    assert attempt(body).said == f"Outcome(status=0, said='{NOBODY}', raised=None)"


def test_who_waits_outside_learns_how_it_ended_inside() -> None:
    def ends() -> str:
        enter(os.geteuid())
        os._exit(7)

    def crashes() -> str:
        enter(os.geteuid())
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        ctypes.string_at(8)
        return "it lives"

    assert attempt(ends).status == 7
    assert attempt(crashes).status == -signal.SIGSEGV


def test_what_is_inside_dies_with_who_entered() -> None:
    gone, alive = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(gone)
        enter(os.geteuid())
        os.write(alive, b"!")
        signal.pause()
        os._exit(0)
    os.close(alive)
    assert os.read(gone, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    poll = select.poll()
    poll.register(gone, select.POLLHUP)
    assert poll.poll(10_000)
    os.close(gone)


def test_where_they_are_refused_nothing_is_entered() -> None:
    number = number_of("mount")
    assert number is not None

    def body() -> str:
        pid = os.getpid()
        return str((namespaces.enter(), os.getpid() == pid, "etc" in os.listdir("/")))

    assert sandboxed({number: errno.EPERM}, body).said == "([], True, True)"
