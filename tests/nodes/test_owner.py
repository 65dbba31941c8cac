"""The owner, its forge, and what nodes are told: real OS processes, really killed.

The nodes are puppets (owner_bodies.py): they tell the test what they hear, and say what the test wants.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from nodes import forge as forge_module
from nodes import kernel
from nodes.control import Channel, close_all
from nodes.errors import NodeLost, StartError
from nodes.member import send_all
from nodes.owner import Owner
from nodes.poll_loop import PollLoop

HERE = str(Path(__file__).parent)
ROOT = str(Path(__file__).parents[2])
PATIENCE = 20.0  # seconds after which something hangs
KILLED = ("signal", "SIGKILL")


def descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # of the listing itself
    return found


def children() -> set[int]:
    """Of this OS process, those that have ended and were not reaped included."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            _state, ppid, *_ = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            if int(ppid) == os.getpid():
                found.add(int(pid))
    return found


def wait_gone(*pidfds: int, within: float = PATIENCE) -> None:
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], within)[0], "it is still there"


def wait_reaped(pid: int) -> None:
    """Nobody tells of that."""
    end = time.monotonic() + PATIENCE
    while pid in children():
        assert time.monotonic() < end, "it is a zombie still"
        time.sleep(0.01)


class Puppet:
    """The test's hold on one life of a node."""

    def __init__(self, stage: Stage, channel: Channel, name: str, incarnation: int, facts: dict[str, Any]) -> None:
        self.stage = stage
        self.channel = channel
        self.name = name
        self.incarnation = incarnation
        self.facts = facts
        self.pid = facts["pid"]
        self.restarts = -1  # not heard yet

    def do(self, *order: Any, fds: list[int] | None = None) -> None:
        self.channel.send(*order, fds=fds or [])
        send_all(self.channel)

    def say(self, *packet: Any, fds: list[int] | None = None) -> None:
        """To the owner."""
        self.do("say", *packet, fds=fds)

    def next(self) -> tuple[tuple[Any, ...], list[int]]:
        assert select.select([self.channel], [], [], PATIENCE)[0], f"{self.name} hears nothing"
        packet = self.channel.receive()
        assert packet is not None
        return packet

    def hears(self, *expected: Any) -> None:
        """The next packet that it gets from the owner, without descriptors, is this one."""
        items, fds = self.next()
        close_all(fds)
        assert items == ("heard", *expected)

    def hears_up(self, other: Puppet) -> tuple[int, int]:
        """The pidfd and the page, which the test's teardown closes."""
        items, fds = self.next()
        self.stage.fds += fds
        *what, started, restarts = items
        assert what == ["heard", "up", other.name, other.incarnation, other.pid]
        assert 0 <= time.time() - started < PATIENCE
        other.restarts = restarts
        pidfd, page = fds
        return pidfd, page

    def sync(self) -> None:
        """What it said before this, the owner has acted upon."""
        self.say("relay", self.name, self.incarnation, "sync")
        self.hears("relay", self.name, self.incarnation, "sync")

    def pidfd(self) -> int:
        return self.stage.pidfd(self.pid)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)


class Stage:
    """Where puppets come to, in the order of their births."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.fds: list[int] = []
        self.channels: list[Channel] = []
        self.puppets: list[Puppet] = []  # that nobody asked for yet
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(address)
        self.socket.listen(100)
        self.socket.settimeout(PATIENCE)

    def born(self, name: str, is_ready: bool = True) -> Puppet:
        """The next life of a node, which has heard of itself, and then is ready."""
        while True:
            for puppet in self.puppets:
                if puppet.name == name:
                    self.puppets.remove(puppet)
                    puppet.hears_up(puppet)
                    if is_ready:
                        puppet.say("ready")
                    return puppet
            channel = Channel(self.socket.accept()[0])
            self.channels.append(channel)
            select.select([channel], [], [], PATIENCE)
            packet = channel.receive()
            assert packet is not None
            (_, born, incarnation, facts), _ = packet
            self.puppets.append(Puppet(self, channel, born, incarnation, facts))

    def pidfd(self, pid: int) -> int:
        self.fds.append(os.pidfd_open(pid))
        return self.fds[-1]

    def close(self) -> None:
        """Also a second time."""
        self.socket.close()
        for channel in self.channels:
            channel.close()
        fds, self.fds = self.fds, []
        close_all(fds)


class System:
    """An owner that runs in a thread of its own."""

    def __init__(self, names: str, settings: dict[str, Any], cores: list[int] | None = None, **options: Any) -> None:
        self.owner = Owner(names.split(), cores or [0] * len(names.split()), settings, main=names.split()[0], **options)
        self.outcome: Any = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self.owner.run()
        except BaseException as error:  # noqa: BLE001 - it is the test's
            self.outcome = error

    def end(self) -> Any:
        """What `run` returned or raised."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the owner does not end"
        return self.outcome

    def forge(self) -> int:
        assert self.owner._forge is not None
        return self.owner._forge.pid


def state() -> tuple[dict[str, str], set[int], list[Any], bool]:
    return descriptors(), children(), [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)], kernel.is_subreaper()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """At the end of the test this OS process has the descriptors, the children and the signal handlers that it had before."""
    before = state()
    stage = Stage(f"{tmp_path}/stage")
    yield stage
    stage.close()
    assert state() == before


@pytest.fixture
def system(stage: Stage) -> Iterator[Callable[..., System]]:
    """Starts a system, by default of puppets. What the test leaves of it ends by losing its puppets."""
    systems: list[System] = []

    def start(names: str, **options: Any) -> System:
        settings = {"body": "owner_bodies:puppet", "path": [HERE], "stage": stage.address, **options.pop("settings", {})}
        systems.append(System(names, settings, **options))
        return systems[-1]

    yield start
    stage.close()
    for system in systems:
        system.end()


def three(system: Callable[..., System], stage: Stage, **options: Any) -> tuple[System, Puppet, Puppet, Puppet]:
    """A system of the nodes a, b, c that know each other, announced in this order; main is on a."""
    running = system("a b c", **options)
    a, b, c = stage.born("a"), stage.born("b", is_ready=False), stage.born("c", is_ready=False)
    a.sync()
    b.say("ready")
    a.hears_up(b)
    b.hears_up(a)
    c.say("ready")
    a.hears_up(c)
    b.hears_up(c)
    c.hears_up(a)
    c.hears_up(b)
    return running, a, b, c


def test_result_is_returned_after_all_were_told_to_stop(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    a.say("result", b"\x00packed")
    for puppet in (a, b, c):
        puppet.hears("stop")
    assert running.end() == b"\x00packed"


def test_what_a_node_said_last_is_heard_although_it_has_not_read_its_packets(system: Callable[..., System], stage: Stage) -> None:
    running = system("a")
    a = stage.born("a")
    a.sync()
    a.kill(signal.SIGSTOP)
    a.do("result and exit", 3)
    os.waitid(os.P_PID, a.pid, os.WSTOPPED | os.WNOWAIT)
    a.kill(signal.SIGCONT)
    assert running.end() == b"the last word"


def test_system_runs_twice_in_a_row_in_one_interpreter_but_an_owner_once(system: Callable[..., System], stage: Stage) -> None:
    for _ in range(2):
        running = system("a")
        stage.born("a").say("result", b"done")
        assert running.end() == b"done"
    with pytest.raises(RuntimeError, match="this Owner has run"):
        running.owner.run()


@pytest.mark.parametrize("length", [60_000, 1_000_000])
def test_result_of_any_length_is_returned(system: Callable[..., System], stage: Stage, length: int) -> None:
    running = system("a", settings={"much": b"x" * length})
    stage.born("a").say("result", b"y" * length)
    assert running.end() == b"y" * length


def test_second_system_at_the_same_time_is_refused(system: Callable[..., System], stage: Stage) -> None:
    running = system("a")
    a = stage.born("a")
    with pytest.raises(RuntimeError, match="runs already in this OS process"):
        Owner(["a"], [0], {}, main="a").run()
    a.say("result", b"done")
    assert running.end() == b"done"


def test_node_is_a_child_of_the_owner_in_a_group_of_its_own_with_nothing_inherited(system: Callable[..., System], stage: Stage) -> None:
    running = system("a b")
    a, b = stage.born("a"), stage.born("b")
    for puppet in (a, b):
        facts = puppet.facts
        assert facts["ppid"] == facts["owner_pid"] == os.getpid()
        assert facts["pgid"] == puppet.pid
        assert facts["cores"] == (0,)
        assert facts["stdin"] == "/dev/null"
        assert facts["sigint"]
        assert facts["sigterm"]
        assert len(facts["fds"]) == 5  # 0 to 2, control, and the puppet's link
    assert a.facts["random"] != b.facts["random"]
    assert sorted([a.incarnation, b.incarnation]) == [1, 2]
    a.say("result", b"")
    assert running.end() == b""


def test_node_that_cannot_be_pinned_runs_where_the_owner_may(system: Callable[..., System], stage: Stage) -> None:
    running = system("a", cores=[4095])
    a = stage.born("a")
    assert a.facts["cores"] == tuple(sorted(os.sched_getaffinity(0)))
    a.say("result", b"")
    running.end()


def test_page_is_shared_and_sealed(system: Callable[..., System], stage: Stage) -> None:
    running = system("a b")
    a, b = stage.born("a"), stage.born("b")
    _, page = a.hears_up(b)
    b.hears_up(a)
    b.do("beat", 77)
    assert b.next()[0] == ("beaten",)
    assert os.pread(page, 1, 0) == bytes([77])
    assert os.fstat(page).st_size == 4096
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(page, size)
    a.say("result", b"")
    running.end()


def test_announced_pidfd_is_that_of_the_node(system: Callable[..., System], stage: Stage) -> None:
    running = system("a b")
    a, b = stage.born("a"), stage.born("b")
    pidfd, _ = a.hears_up(b)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    a.hears("down", "b", b.incarnation, KILLED)
    wait_gone(pidfd)
    a.say("result", b"")
    running.end()


ENDS: list[tuple[Callable[[Puppet], None], Any]] = [
    (lambda puppet: puppet.kill(), KILLED),
    (lambda puppet: puppet.kill(signal.SIGSEGV), ("signal", "SIGSEGV")),
    (lambda puppet: puppet.kill(signal.SIGTERM), ("signal", "SIGTERM")),
    (lambda puppet: puppet.kill(signal.SIGRTMIN + 3), ("signal", "SIGRTMIN+3")),
    (lambda puppet: puppet.do("exit", 3), ("status", 3)),
    (lambda puppet: puppet.do("exit", 0), ("status", 0)),
]


@pytest.mark.parametrize(("end", "reason"), ENDS, ids=[str(reason) for _, reason in ENDS])
def test_down_says_how_a_node_has_ended_to_every_other(
    system: Callable[..., System], stage: Stage, end: Callable[[Puppet], None], reason: Any
) -> None:
    running, a, b, c = three(system, stage)
    end(b)
    for puppet in (a, c):
        puppet.hears("down", "b", b.incarnation, reason)
    assert b.pid not in children()
    a.say("result", b"")
    running.end()


def test_body_that_raises_later_is_down_with_the_error(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage)
    b.do("raise", "oh no")
    (_, kind, name, incarnation, (what, text)), _ = a.next()
    assert (kind, name, incarnation, what) == ("down", "b", b.incarnation, "error")
    assert re.fullmatch(r'Traceback .*\n  File ".*owner_bodies.py", .*\nRuntimeError: oh no', text, re.DOTALL)
    a.say("result", b"")
    running.end()


def test_killing_is_asked_for_with_a_reason_that_down_carries(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    a.say("kill", "b", b.incarnation + 100, "another life")
    a.say("kill", "b", b.incarnation, ("hung", "f"))
    for puppet in (a, c):
        puppet.hears("down", "b", b.incarnation, ("hung", "f"))
    a.say("result", b"")
    running.end()


def test_what_a_node_leaves_in_its_process_group_ends_with_it(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage)
    b.do("spawn")
    (kind, pid), _ = b.next()
    assert kind == "spawned"
    pidfd = stage.pidfd(pid)
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    wait_gone(pidfd)
    a.say("result", b"")
    running.end()


def test_orphan_that_ends_while_its_node_lives_is_reaped(system: Callable[..., System], stage: Stage) -> None:
    running, a, *_ = three(system, stage)
    a.do("orphan", sys.executable, "-S", "-c", "import signal; signal.pause()")
    (kind, pid), _ = a.next()
    assert kind == "orphaned"
    pidfd = stage.pidfd(pid)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pidfd)
    wait_reaped(pid)
    a.sync()
    a.say("result", b"")
    running.end()


def test_start_gives_a_name_a_new_incarnation_once(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    a.say("start", "b")  # it is alive
    b.kill()
    for puppet in (a, c):
        puppet.hears("down", "b", b.incarnation, KILLED)
    a.say("start", "b")
    c.say("start", "b")
    a.say("start", "b")
    successor = stage.born("b")
    assert successor.incarnation == 4
    successor.hears_up(a)
    successor.hears_up(c)
    a.hears_up(successor)
    a.say("start", "b")
    a.sync()
    assert running.owner._incarnation == 4
    a.say("result", b"")
    running.end()


def test_node_that_ends_before_it_is_ready_is_down_but_was_never_up(system: Callable[..., System], stage: Stage) -> None:
    running = system("a b")
    a, b = stage.born("a"), stage.born("b", is_ready=False)
    a.sync()
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    a.say("result", b"")
    running.end()


def hears_fault(puppet: Puppet, writer: Puppet, reader: Puppet) -> float:
    """When it was, on the machine's monotonic clock."""
    (_, kind, when, *ends), _ = puppet.next()
    assert (kind, *ends) == ("fault", writer.name, writer.incarnation, reader.name, reader.incarnation)
    assert 0.0 <= time.monotonic() - when < PATIENCE
    return when  # type: ignore[no-any-return]


def test_fault_is_told_to_all_and_to_who_comes_later(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    b.say("fault", "c", c.incarnation)
    times = {hears_fault(puppet, c, b) for puppet in (a, b, c)}
    c.kill()
    for puppet in (a, b):
        puppet.hears("down", "c", c.incarnation, KILLED)
    a.say("fault", "c", c.incarnation)  # that it is over is no excuse
    times |= {hears_fault(puppet, c, a) for puppet in (a, b)}
    assert len(times) == 2
    a.say("start", "c")
    successor = stage.born("c")
    for puppet in (a, b):
        puppet.hears_up(successor)
        successor.hears_up(puppet)
    assert [hears_fault(successor, c, b), hears_fault(successor, c, a)] == sorted(times)
    successor.sync()
    a.say("result", b"")
    running.end()


def test_who_is_retired_is_killed_and_never_started_again(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    b.say("fault", "c", c.incarnation)
    for puppet in (a, b, c):
        hears_fault(puppet, c, b)
    for _ in range(2):
        a.say("retire", "c", "too bad")
    for puppet in (a, b):
        puppet.hears("retired", "c", 0, "too bad")
        puppet.hears("down", "c", c.incarnation, ("retired", "too bad"))
    a.say("start", "c")
    a.sync()
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    a.say("start", "b")
    successor = stage.born("b")
    a.hears_up(successor)
    successor.hears_up(a)
    successor.hears("retired", "c", 0, "too bad")  # and nothing of the faults that it explains
    successor.sync()
    assert stage.puppets == []
    assert successor.incarnation == 4
    a.say("result", b"")
    running.end()


def test_who_is_retired_is_not_begun_again_with_all(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage, on_main_lost="restart")
    a.say("retire", "c", "too bad")
    for puppet in (a, b):
        puppet.hears("retired", "c", 0, "too bad")
        puppet.hears("down", "c", c.incarnation, ("retired", "too bad"))
    for puppet in (b, a):
        puppet.kill(signal.SIGSTOP)
    for puppet in (b, a):
        puppet.kill()
    successors = [stage.born(name, is_ready=False) for name in ("a", "b")]
    assert sorted(each.incarnation for each in successors) == [4, 5]
    successors[0].say("ready")
    successors[0].hears("retired", "c", 0, "too bad")
    successors[0].sync()
    assert stage.puppets == []
    successors[0].say("result", b"")
    running.end()


def test_who_is_retired_before_it_is_ready_is_killed(system: Callable[..., System], stage: Stage) -> None:
    running = system("a b")
    a, b = stage.born("a"), stage.born("b", is_ready=False)
    a.say("retire", "b", "too bad")
    a.hears("retired", "b", 0, "too bad")
    a.hears("down", "b", b.incarnation, ("retired", "too bad"))
    a.say("result", b"")
    running.end()


def test_who_is_retired_before_it_is_known_is_killed_when_it_is(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    c.kill()
    for puppet in (a, b):
        puppet.hears("down", "c", c.incarnation, KILLED)
    os.kill(running.forge(), signal.SIGSTOP)
    a.say("start", "c")
    a.say("retire", "c", "too bad")
    for puppet in (a, b):
        puppet.hears("retired", "c", 0, "too bad")
    os.kill(running.forge(), signal.SIGCONT)
    for puppet in (a, b):
        puppet.hears("down", "c", 4, ("retired", "too bad"))
    a.say("result", b"")
    running.end()


def test_who_is_retired_when_the_forge_dies_is_not_begun_again(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    for puppet in (b, c):
        puppet.kill()
        a.hears("down", puppet.name, puppet.incarnation, KILLED)
        if puppet is b:
            c.hears("down", "b", b.incarnation, KILLED)
    forge = running.forge()
    os.kill(forge, signal.SIGSTOP)
    a.say("start", "c")
    a.say("retire", "c", "too bad")
    a.hears("retired", "c", 0, "too bad")
    os.kill(forge, signal.SIGKILL)
    while running.owner._forge is None or running.owner._forge.pid == forge:
        a.sync()
    a.say("start", "b")
    assert stage.born("b").incarnation == 5  # 4 was that of c which the forge did not begin
    a.say("result", b"")
    running.end()


def test_rehomed_life_is_killed_and_the_next_one_begins_on_the_other_core(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage, on_main_lost="restart")
    b.say("fault", "a", a.incarnation)
    for puppet in (a, b, c):
        hears_fault(puppet, a, b)
    b.say("rehome", "a", a.incarnation + 1, 4095, "of no life that there is")
    b.say("rehome", "a", a.incarnation, 4095, "too bad")
    for puppet in (b, c):
        puppet.hears("moved", "a")
        puppet.hears("down", "a", a.incarnation, ("rehomed", "too bad"))
    b.say("start", "a")
    successor = stage.born("a")
    assert successor.facts["core"] == 4095
    for puppet in (b, c):
        successor.hears_up(puppet)
    successor.sync()  # and heard of no fault
    successor.say("result", b"")
    running.end()


def test_next_life_begins_where_the_last_one_moved_to(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    c.say("moved", 4095)
    for puppet in (a, b, c):
        puppet.hears("moved", "c")
    c.kill()
    for puppet in (a, b):
        puppet.hears("down", "c", c.incarnation, KILLED)
    a.say("start", "c")
    assert stage.born("c").facts["core"] == 4095
    a.say("result", b"")
    running.end()


def test_relay_arrives_with_its_descriptors(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage)
    reader, writer = os.pipe()
    stage.fds.append(reader)
    a.say("relay", "b", b.incarnation, "mailbox", 1, (b"two", None), fds=[writer, reader])
    os.close(writer)
    items, fds = b.next()
    stage.fds += fds
    assert items == ("heard", "relay", "a", a.incarnation, "mailbox", 1, (b"two", None))
    os.write(fds[0], b"through")
    assert os.read(reader, 10) == b"through"
    a.say("result", b"")
    running.end()


def test_relay_to_a_life_that_is_gone_is_dropped(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    c.hears("down", "b", b.incarnation, KILLED)
    a.say("start", "b")
    successor = stage.born("b")
    successor.hears_up(a)
    successor.hears_up(c)
    a.hears_up(successor)
    with open("/dev/null") as file:
        a.say("relay", "b", b.incarnation, "to the dead", fds=[file.fileno()])
        a.say("relay", "nobody", 1, "to nobody", fds=[file.fileno()])
    a.say("relay", "b", successor.incarnation, "to the living")
    successor.hears("relay", "a", a.incarnation, "to the living")
    a.say("result", b"")
    running.end()


def test_stopped_node_holds_up_nobody_and_gets_everything_when_it_goes_on(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    b.kill(signal.SIGSTOP)
    os.waitid(os.P_PID, b.pid, os.WSTOPPED | os.WNOWAIT)
    a.do("flood", 20, "relay", "b", b.incarnation, b"x" * 30000)  # its socket holds some 7
    a.sync()
    assert running.owner._lives["b"].channel.wants_write
    c.sync()
    b.kill(signal.SIGCONT)
    for _ in range(20):
        b.hears("relay", "a", a.incarnation, b"x" * 30000)
    b.sync()
    assert not running.owner._lives["b"].channel.wants_write
    a.say("result", b"")
    running.end()


def test_node_that_takes_nothing_for_too_long_is_killed(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage)
    b.kill(signal.SIGSTOP)
    os.waitid(os.P_PID, b.pid, os.WSTOPPED | os.WNOWAIT)
    a.do("flood", 300, "relay", "b", b.incarnation, b"x" * 30000)
    a.hears("down", "b", b.incarnation, ("deaf",))
    a.say("result", b"")
    running.end()


@pytest.mark.parametrize(
    "nonsense",
    [
        ("garbage",),
        ("say", "ready"),
        ("say", "start", "nobody"),
        ("say", "kill", "a"),
        ("say", "result", b""),
        ("say", "retire", "a", "main"),
        ("say", "fault", "x", 1),
    ],
)
def test_node_that_talks_nonsense_is_killed(system: Callable[..., System], stage: Stage, nonsense: tuple[Any, ...]) -> None:
    running, a, b, _ = three(system, stage)
    b.do(*nonsense)
    (_, *down, (what, text)), _ = a.next()
    assert (*down, what) == ("down", "b", b.incarnation, "error")
    assert text.startswith("the owner was sent nonsense: ")
    a.say("result", b"")
    running.end()


def test_node_that_ignores_stop_is_killed_after_the_grace(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage, grace=0.1)
    b.do("be stubborn")
    b.sync()
    pidfd = b.pidfd()
    a.say("result", b"done")
    b.hears("stop")
    assert running.end() == b"done"
    wait_gone(pidfd, within=0)


def test_node_that_is_never_ready_fails_the_start(system: Callable[..., System], stage: Stage) -> None:
    failure = system("a", start_timeout=0.2).end()
    assert isinstance(failure, StartError)
    assert str(failure) == "the node a could not start: it was not ready within 0.2 s"


def test_later_node_that_is_never_ready_is_killed_and_can_be_started_again(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage)
    running.owner._start_timeout = 0.2
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    a.say("start", "b")
    a.hears("down", "b", 4, ("error", "it was not ready within 0.2 s"))
    running.owner._start_timeout = PATIENCE
    a.say("start", "b")
    a.sync()
    assert running.owner._lives["b"].incarnation == 5
    a.say("result", b"")
    running.end()


def test_node_that_is_not_ready_is_not_waited_for(system: Callable[..., System], stage: Stage) -> None:
    running = system("a b", grace=PATIENCE * 2)
    a, b = stage.born("a"), stage.born("b", is_ready=False)
    b.do("be stubborn")
    a.say("result", b"done")
    assert running.end() == b"done"


# --- the forge ---


def test_forge_that_is_killed_is_replaced(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    before = running.forge()
    pidfd = stage.pidfd(before)
    os.kill(before, signal.SIGKILL)
    wait_gone(pidfd)  # else the owner may ask the dying one, and then again
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    a.say("start", "b")
    assert stage.born("b").incarnation == 4
    assert running.forge() != before
    assert before not in children()
    c.say("relay", "a", a.incarnation, "all is well")
    a.say("result", b"")
    running.end()


def test_forge_that_is_killed_in_the_middle_of_a_request_is_asked_again(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage)
    forge = running.forge()
    os.kill(forge, signal.SIGSTOP)
    os.waitid(os.P_PID, forge, os.WSTOPPED | os.WNOWAIT)
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    a.say("start", "b")
    a.sync()
    assert running.owner._incarnation == 4
    os.kill(forge, signal.SIGKILL)
    assert stage.born("b").incarnation == 5
    a.say("result", b"")
    running.end()


def test_node_that_is_not_ready_when_the_forge_dies_is_begun_again(system: Callable[..., System], stage: Stage) -> None:
    running = system("a b")
    a, b = stage.born("a"), stage.born("b", is_ready=False)
    a.sync()
    pidfd = b.pidfd()
    os.kill(running.forge(), signal.SIGKILL)
    wait_gone(pidfd)
    successor = stage.born("b")
    assert successor.incarnation == 3
    a.hears_up(successor)  # and no down before
    a.say("result", b"")
    running.end()


def test_forge_that_cannot_start_fails_the_start_with_its_error(system: Callable[..., System], monkeypatch: pytest.MonkeyPatch) -> None:
    running = system("a", settings={"body": "nodes.nothing:live"})
    error = running.end()
    assert isinstance(error, StartError)
    assert "the forge could not start: Traceback" in str(error)
    assert str(error).endswith("ModuleNotFoundError: No module named 'nodes.nothing'\n")


def test_package_of_ours_from_elsewhere_is_named(system: Callable[..., System], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "caps").mkdir()
    (tmp_path / "caps" / "__init__.py").touch()
    monkeypatch.setattr(
        forge_module, "_PROGRAM", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import caps; {forge_module._PROGRAM}"
    )
    error = system("a").end()
    assert isinstance(error, StartError)
    assert f"our packages come from one place, {ROOT}, but caps is {tmp_path}/caps/__init__.py" in str(error)


# Before the forge's own program: its forks fail while `fails()` says so.
FAILING_FORKS = """
import errno, os
forge, fork, calls = os.getpid(), os.fork, -1  # the first is not for a node: the sweeper's
def failing_fork():
    global calls
    calls += 1
    if {fails}:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = failing_fork
"""
FAILS = pytest.mark.parametrize("fails", ["calls == {n} and os.getpid() == forge", "calls == {n} + 1 and os.getpid() != forge"])


def test_sweeper_that_cannot_be_forked_is_a_start_error(system: Callable[..., System], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forge_module, "_PROGRAM", FAILING_FORKS.format(fails="calls == 0") + forge_module._PROGRAM)
    error = system("a").end()
    assert isinstance(error, StartError)
    assert str(error).startswith("the forge could not start: Traceback")
    assert str(error).endswith("Resource temporarily unavailable\n")


@FAILS
def test_first_fork_that_fails_is_a_start_error(system: Callable[..., System], monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    monkeypatch.setattr(forge_module, "_PROGRAM", FAILING_FORKS.format(fails=fails.format(n=1)) + forge_module._PROGRAM)
    error = system("a").end()
    assert isinstance(error, StartError)
    assert str(error) == "the node a could not start: fork: Resource temporarily unavailable"


@FAILS
def test_later_fork_that_fails_is_told_as_an_end_and_can_be_tried_again(
    system: Callable[..., System], stage: Stage, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    monkeypatch.setattr(forge_module, "_PROGRAM", FAILING_FORKS.format(fails=fails.format(n=4)) + forge_module._PROGRAM)
    running, a, b, _ = three(system, stage)
    b.kill()
    a.hears("down", "b", b.incarnation, KILLED)
    a.say("start", "b")
    a.hears("down", "b", 4, ("error", "fork: Resource temporarily unavailable"))
    a.say("start", "b")
    assert stage.born("b").incarnation == 5
    a.say("result", b"")
    running.end()


# --- starts that fail ---


def test_import_error_in_the_users_module_is_a_start_error_with_its_text(system: Callable[..., System], tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("def f():\n    raise KeyError('the key')\nf()\n")
    running = system("a b", settings={"path": [HERE, str(tmp_path)], "modules": ["theirs"]})
    error = running.end()
    assert isinstance(error, StartError)
    assert re.fullmatch(
        r"the node [ab] could not start: Traceback \(most recent call last\):\n"
        rf'  File "{tmp_path}/theirs.py", line 3, in <module>\n    f\(\)\n.*'
        rf'  File "{tmp_path}/theirs.py", line 2, in f\n.*'
        "KeyError: 'the key'",
        str(error),
        re.DOTALL,
    )
    assert "importlib" not in str(error)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"modules": ["nowhere"]}, "ModuleNotFoundError: No module named 'nowhere'"),
        ({"body": "owner_bodies:nothing"}, "AttributeError: module 'owner_bodies' has no attribute 'nothing'"),
        ({"modules": ["antigravity_of_ours"]}, "ImportError: it called sys.exit(5) while it was imported"),
    ],
)
def test_node_that_cannot_load_its_body_is_a_start_error(
    system: Callable[..., System], tmp_path: Path, settings: dict[str, Any], text: str
) -> None:
    (tmp_path / "antigravity_of_ours.py").write_text("raise SystemExit(5)")
    error = system("a", settings={"path": [HERE, str(tmp_path)], **settings}).end()
    assert isinstance(error, StartError)
    assert str(error).startswith("the node a could not start: ")
    assert str(error).endswith(text)


def test_too_few_descriptors_are_a_start_error_that_says_how_many(system: Callable[..., System]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 70, hard))
    try:
        error = system("a b c d e f g h").end()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(error, StartError)
    assert re.fullmatch(
        rf"8 nodes need (\d+) file descriptors here, and {open_now + 70} are allowed: `ulimit -n \1`, or fewer nodes", str(error)
    )


@pytest.mark.parametrize(("module", "function"), [("os", "memfd_create"), ("os", "pidfd_open")])
def test_what_the_kernel_refuses_is_named(
    system: Callable[..., System], monkeypatch: pytest.MonkeyPatch, module: str, function: str
) -> None:
    def refuse(*args: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(f"{module}.{function}", refuse)
    error = system("a").end()
    assert isinstance(error, StartError)
    assert f"nodes need {function}" in str(error)
    assert "Operation not permitted" in str(error)


@pytest.mark.parametrize(
    ("names", "cores", "main", "text"),
    [
        ([], [], "a", "at least one node"),
        (["a", "a"], [0, 1], "a", "different names, not a, a"),
        (["a", "b"], [0], "a", "2 names, but 1 cores"),
        (["a"], [0], "b", "one of the nodes, a, not on 'b'"),
        ([""], [0], "", "1 to 255 bytes, not ''"),
        (["a" * 256], [0], "a", "1 to 255 bytes"),
    ],
)
def test_misuse_is_refused(names: list[str], cores: list[int], main: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Owner(names, cores, {}, main=main)


# --- main is lost ---


def test_loss_of_the_node_of_main_ends_the_system(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, c = three(system, stage)
    a.kill()
    for puppet in (b, c):
        puppet.hears("down", "a", a.incarnation, KILLED)
        puppet.hears("stop")
    error = running.end()
    assert isinstance(error, NodeLost)
    assert (error.name, error.reason) == ("a", KILLED)
    assert str(error) == "the node of main, a, was lost before main had ended: ended by SIGKILL"


def test_lost_main_can_be_started_again_by_another_node(system: Callable[..., System], stage: Stage) -> None:
    running, a, b, _ = three(system, stage, on_main_lost="restart")
    a.kill()
    b.hears("down", "a", a.incarnation, KILLED)
    b.say("start", "a")
    successor = stage.born("a")
    assert successor.incarnation == 4
    assert (a.restarts, successor.restarts) == (0, 1)
    successor.say("result", b"at last")
    assert running.end() == b"at last"


def test_all_are_begun_again_when_none_is_left_to_ask_for_it(system: Callable[..., System], stage: Stage) -> None:
    running = system("a", on_main_lost="restart")
    a = stage.born("a")
    a.sync()
    a.kill()
    successor = stage.born("a")
    assert successor.incarnation == 2
    successor.say("result", b"")
    running.end()


def test_what_ended_before_it_was_ready_is_begun_again_later(
    system: Callable[..., System], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.owner.RETRY", 0.07)
    delays: list[float] = []
    after = PollLoop.after

    def note(self: PollLoop, delay: float, act: Callable[[], None]) -> None:
        if getattr(act, "__name__", "") == "_start_all":
            delays.append(delay)
        after(self, delay, act)

    monkeypatch.setattr(PollLoop, "after", note)
    running = system("a", on_main_lost="restart")
    stage.born("a", is_ready=False).kill()
    successor = stage.born("a")
    assert delays == [0.07]
    successor.say("result", b"")
    running.end()


def test_forge_that_is_killed_before_it_is_ready_is_replaced_later(
    system: Callable[..., System], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.owner.RETRY", 0.07)
    started = threading.Event()
    loop = Owner._loop

    def note(self: Owner) -> None:
        started.set()
        loop(self)

    monkeypatch.setattr(Owner, "_loop", note)
    running = system("a")
    started.wait(PATIENCE)
    os.kill(running.forge(), signal.SIGKILL)
    a = stage.born("a")
    assert a.incarnation == 2
    a.say("result", b"")
    running.end()


# --- interrupts, and the death of the owner: the owner has an OS process of its own ---


class Program:
    """An owner in the main thread of a program of its own, whose nodes are puppets."""

    def __init__(self, stage: Stage, names: str, before: str = "", options: str = "", after: str = "") -> None:
        source = f"""
            import os, signal, sys, threading
            sys.path.insert(0, {ROOT!r})
            from nodes.owner import Owner
            {before}
            def state():
                return sorted(os.listdir("/proc/self/fd")), open(f"/proc/self/task/{{os.getpid()}}/children").read()
            before = state()
            names = {names.split()!r}
            settings = {{"body": "owner_bodies:puppet", "path": [{HERE!r}], "stage": {stage.address!r}}}
            try:
                print("result", Owner(names, [0] * len(names), settings, main=names[0]{options}).run())
            except BaseException as error:
                print(repr(error))
            assert state() == before, (state(), before)
            print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
            {after}
        """
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", dedent(source)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def interrupt(self, signum: int = signal.SIGINT) -> None:
        self.process.send_signal(signum)

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def end(self) -> list[str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        assert not err
        return out.splitlines()


@pytest.fixture
def program(stage: Stage) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(names: str, **options: str) -> Program:
        programs.append(Program(stage, names, **options))
        return programs[-1]

    yield start
    for each in programs:
        each.process.kill()
        each.process.communicate()


def test_first_interrupt_tells_main_to_end_and_the_second_one_at_once(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a b")
    a, b = stage.born("a"), stage.born("b")
    a.hears_up(b)
    running.interrupt()
    a.hears("interrupt", False)
    running.interrupt()
    a.hears("interrupt", True)
    a.say("result", b"")
    b.hears_up(a)
    b.hears("stop")
    assert running.end() == ["KeyboardInterrupt()", "True True"]


def test_third_interrupt_kills_all(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a b")
    a, b = stage.born("a"), stage.born("b")
    a.hears_up(b)
    for at_once in (False, True):
        running.interrupt()
        a.hears("interrupt", at_once)
    running.interrupt()
    assert running.end() == ["KeyboardInterrupt()", "True True"]


def test_terminate_is_an_interrupt_with_an_exit_status(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a")
    a = stage.born("a")
    a.sync()
    running.interrupt(signal.SIGTERM)
    a.hears("interrupt", False)
    a.say("result", b"")
    assert running.end() == ["SystemExit(143)", "True True"]


def test_interrupt_before_main_is_ready_ends_the_system(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a")
    stage.born("a", is_ready=False)
    running.interrupt()
    assert running.end() == ["KeyboardInterrupt()", "True True"]


def test_second_interrupt_does_not_wait_for_nodes_that_are_stopping(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a", options=", grace=1000.0")
    a = stage.born("a")
    a.do("be stubborn")
    a.say("result", b"")
    a.hears("stop")
    running.interrupt()
    running.interrupt(signal.SIGTERM)
    ended = running.end()
    assert ended[0] in ("KeyboardInterrupt()", "SystemExit(143)")


def test_interrupt_that_another_thread_gets_wakes_the_owner(program: Callable[..., Program], stage: Stage) -> None:
    threads = (
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])"
    )
    running = program("a", before=threads)
    a = stage.born("a")
    a.sync()
    running.interrupt()
    a.hears("interrupt", False)
    a.say("result", b"")
    assert running.end() == ["KeyboardInterrupt()", "True True"]


def test_wakeup_descriptor_of_the_programs_own_gets_the_signals_that_came_meanwhile(program: Callable[..., Program], stage: Stage) -> None:
    before = "r, w = os.pipe2(os.O_NONBLOCK); signal.set_wakeup_fd(w); signal.signal(signal.SIGUSR1, lambda *_: print('mine', flush=True))"
    running = program("a", before=before, after="assert signal.set_wakeup_fd(-1) == w; print(list(os.read(r, 10)))")
    a = stage.born("a")
    a.sync()
    running.interrupt(signal.SIGUSR1)
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == "mine\n"
    running.interrupt()
    a.hears("interrupt", False)
    a.say("result", b"")
    assert running.end() == ["KeyboardInterrupt()", "True True", f"[{signal.SIGUSR1:d}]"]


def test_handler_of_the_programs_own_is_kept(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a", before="signal.signal(signal.SIGINT, lambda *_: print('mine', flush=True))")
    a = stage.born("a")
    a.sync()
    running.interrupt()
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == "mine\n"
    a.say("result", b"")
    assert running.end() == ["result b''", "False True"]


def test_reasons_are_known_also_where_the_program_ignores_its_children(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a b", before="signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    a, b = stage.born("a"), stage.born("b")
    a.hears_up(b)
    b.do("exit", 3)
    (_, *down), _ = a.next()
    assert down in (["down", "b", b.incarnation, ("status", 3)], ["down", "b", b.incarnation, ("lost",)])  # before Linux 6.15 nobody knows
    a.say("result", b"")
    assert running.end() == ["result b''", "True True"]


def test_children_of_the_program_are_left_alone(program: Callable[..., Program], stage: Stage) -> None:
    running = program(
        "a", before="import subprocess; mine = subprocess.Popen(['true']); also = subprocess.Popen(['cat'], stdin=subprocess.PIPE)"
    )
    a = stage.born("a")
    assert len(running.children()) == 4  # with the forge, and one that has ended and is not reaped
    a.say("result", b"")
    assert running.end() == ["result b''", "True True"]


def test_nothing_is_left_when_the_owner_is_killed(program: Callable[..., Program], stage: Stage) -> None:
    running = program("a b c")
    a, b, c = (stage.born(name) for name in "abc")
    everybody = [stage.pidfd(pid) for pid in running.children()]
    assert len(everybody) == 4  # and the forge
    assert {a.pid, b.pid, c.pid} < set(running.children())
    b.kill(signal.SIGSTOP)
    running.process.kill()
    wait_gone(*everybody, within=1.0)
