"""Which core a node is on, and where it goes when that goes away."""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import homing_programs
import pytest

import nodes
from beamlike.hot.ids import NodeId
from nodes.homing import NOWHERE, Home, core_of, emptiest
from nodes.membership import Member, Membership

CORES = sorted(os.sched_getaffinity(0))[:2]
needs_two = pytest.mark.skipif(len(CORES) < 2, reason="two cores are needed")


@pytest.mark.parametrize(
    ("cores", "taken", "bad", "core"),
    [
        ([1, 0], [], [], 0),
        ([0, 1, 2], [0, 1, 0], [], 2),
        ([0, 1], [0, 1, 0], [], 1),
        ([0, 1], [0, -1, 7], [1], 0),
        ([1], [1, 1], [1], 1),
    ],
)
def test_emptiest(cores: list[int], taken: list[int], bad: list[int], core: int) -> None:
    assert emptiest(cores, taken, bad) == core


class Machine:
    """Cores that can be taken away from a thread that has an affinity."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *cores: int) -> None:
        self.cores = set(cores)
        self.affinity = set(cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: self.affinity & self.cores or self.cores)
        monkeypatch.setattr(os, "sched_setaffinity", self.pin)
        self.pages: list[mmap.mmap] = []
        self.moved: list[int] = []

    def pin(self, pid: int, cores: set[int]) -> None:
        if not cores & self.cores:
            raise OSError(22, "Invalid argument")
        self.affinity = cores

    def home(self, core: int, *others: int) -> Home:
        """The home of a node, where others are on these cores."""
        nobody: Any = None
        membership = Membership(NodeId("me", 1), ("me",), nobody, nobody, nobody)
        for number, other in enumerate(others, 2):
            page = mmap.mmap(-1, 4096)
            Home(other, page, membership, nobody)._tell(other)
            membership.members[str(number)] = Member(NodeId(str(number), number), 0, 0.0, 0, -1, page)
        return Home(core, mmap.mmap(-1, 4096), membership, self.moved.append)


def test_node_that_is_where_it_belongs_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0, 1, 2)
    machine.pin(0, {1})
    home = machine.home(1)
    assert core_of(home.page) == 1
    home.look()
    assert (core_of(home.page), machine.affinity, machine.moved) == (1, {1}, [])


def test_node_that_was_moved_goes_back_if_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0, 1, 2)
    home = machine.home(1)
    assert core_of(home.page) == NOWHERE
    home.look()
    assert (core_of(home.page), machine.affinity, machine.moved) == (1, {1}, [])


def test_node_whose_core_went_away_goes_to_the_emptiest_and_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(monkeypatch, 0, 1, 2, 3)
    machine.pin(0, {1})
    home = machine.home(1, 0, 0, 2, 3, 3)
    machine.cores = {0, 2, 3}
    for _ in range(2):
        home.look()
        assert (core_of(home.page), machine.affinity, machine.moved) == (2, {2}, [2])
    machine.cores = {0, 1, 2, 3}
    home.look()
    assert (core_of(home.page), machine.moved) == (2, [2])
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records] == [
        ("beamlike.nodes", logging.WARNING, "me runs on core 2 now: core 1 is refused (Invalid argument)")
    ]


def test_node_that_finds_no_core_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0, 1)
    home = machine.home(5)
    machine.cores = set()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1})
    home.look()
    assert (core_of(home.page), machine.moved) == (NOWHERE, [])
    machine.cores = {1}
    home.look()
    assert (core_of(home.page), machine.moved) == (1, [1])


# --- real nodes ---


def test_node_whose_core_is_not_there_at_the_start_runs_on_another_and_its_next_life_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {CORES[0], 4095})  # what `run` sees, not the nodes
    here, there, later = nodes.run(homing_programs.one_core_that_there_is_not, 4095, nodes=2)
    monkeypatch.undo()
    assert here == CORES[0]
    assert there == later == next((core for core in sorted(os.sched_getaffinity(0)) if core != here), here)


@needs_two
def test_main_whose_core_is_bad_starts_again_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(CORES))
    cores, restarts = nodes.run(homing_programs.main_on_a_bad_core, nodes=2, on_main_lost="restart", fault_limit=(1, 60))
    assert (cores, restarts) == ([CORES[1], CORES[1]], [1, 0])


@pytest.fixture
def cpuset() -> Iterator[Path]:
    """A cpuset of its own (cgroup v1) with two cores."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = [Path(mount) for _, mount, kind, options, *_ in mounts if kind == "cgroup" and "cpuset" in options.split(",")]
    if not found:
        pytest.skip("no cgroup v1 hierarchy with cpusets is mounted")
    folder = found[0] / f"beamlike-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cpuset can be made here: {error}")
    (folder / "cpuset.mems").write_text((found[0] / "cpuset.mems").read_text())
    (folder / "cpuset.cpus").write_text(",".join(map(str, CORES)))
    yield folder
    folder.rmdir()


@needs_two
def test_nodes_whose_cores_leave_the_cpuset_go_where_they_may(cpuset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(CORES))
    one, other = CORES
    assert nodes.run(homing_programs.cores_that_go_away, str(cpuset), CORES, nodes=2) == [
        {"allowed": [one], "second": [one]},
        {"allowed": [other], "second": [other]},
        {"allowed": [one, other], "second": [other]},
    ]
