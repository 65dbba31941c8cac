"""What Linux offers about OS processes."""

from __future__ import annotations

import os
import select
import signal

import pytest

from nodes import kernel


def test_subreaper_is_told_and_can_be_changed() -> None:
    was = kernel.is_subreaper()
    kernel.set_subreaper(not was)
    assert kernel.is_subreaper() is not was
    kernel.set_subreaper(was)
    assert kernel.is_subreaper() is was


def test_refused_prctl_is_named() -> None:
    with pytest.raises(OSError, match=r"prctl\(PR_SET_PDEATHSIG\) was refused: Invalid argument"):
        kernel.set_death_signal(1000)


def test_child_gets_the_death_signal_of_its_parent() -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            kernel.set_death_signal(signal.SIGKILL)
            os.write(writer, b"%d" % os.getpid())
        signal.pause()
    child = os.pidfd_open(int(os.read(reader, 10)))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert select.select([child], [], [], 10)[0] == [child]
    for fd in (reader, writer, child):
        os.close(fd)


@pytest.mark.parametrize(("end", "status"), [(lambda: os._exit(3), 3 << 8), (lambda: os.kill(os.getpid(), signal.SIGKILL), signal.SIGKILL)])
def test_pidfd_remembers_the_wait_status_of_what_is_reaped(end: object, status: int) -> None:
    child = os.fork()
    if child == 0:
        end()  # type: ignore[operator]
    pidfd = os.pidfd_open(child)
    select.select([pidfd], [], [])
    assert kernel.wait_status(pidfd) is None  # not reaped
    os.waitpid(child, 0)
    if kernel.wait_status(pidfd) is None:
        pytest.skip("this kernel does not tell: before Linux 6.15")
    assert kernel.wait_status(pidfd) == status
    os.close(pidfd)


def test_reap_gives_the_wait_status_once() -> None:
    child = os.fork()
    if child == 0:
        os._exit(3)
    pidfd = os.pidfd_open(child)
    assert kernel.reap(pidfd) == 3 << 8
    assert kernel.reap(pidfd) == kernel.wait_status(pidfd)
    kernel.kill(pidfd)  # nobody is there
    os.close(pidfd)


def test_reap_waits_for_a_grandchild_to_become_a_child() -> None:
    was = kernel.is_subreaper()
    kernel.set_subreaper(True)
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        child = os.fork()
        if child == 0:
            signal.pause()
        os.write(tell, b"%d" % child)
        signal.pause()
    pidfd = os.pidfd_open(int(os.read(told, 10)))
    kernel.kill(pidfd)
    select.select([pidfd], [], [])
    os.kill(parent, signal.SIGKILL)
    assert kernel.reap(pidfd) == signal.SIGKILL
    os.waitpid(parent, 0)
    kernel.set_subreaper(was)
    for fd in (told, tell, pidfd):
        os.close(fd)


def test_children_of_a_group_are_reaped() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
    os.setpgid(child, child)
    assert kernel.has_children(child)
    pidfd = os.pidfd_open(child)
    kernel.kill(pidfd)
    select.select([pidfd], [], [])
    assert not kernel.has_children(child)
    os.close(pidfd)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)


def test_real_time_signals_have_names() -> None:
    assert kernel.signal_name(signal.SIGKILL) == "SIGKILL"
    assert kernel.signal_name(signal.SIGRTMIN + 3) == "SIGRTMIN+3"


def test_page_is_zeros_of_one_size_for_ever() -> None:
    page = kernel.new_page(4096)
    assert os.pread(page, 5000, 0) == bytes(4096)
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(page, size)
    os.close(page)


def test_wait_status_of_what_is_no_pidfd_is_not_known() -> None:
    with open("/dev/null") as file:
        assert kernel.wait_status(file.fileno()) is None
