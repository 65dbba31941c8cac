"""Who is measured, and how one side runs one case: in an OS process of its own that prints JSON lines (see bench.py)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import Case

ROOT = Path(__file__).parent.parent
ERLANG_SOURCES = sorted((Path(__file__).parent / "peers").glob("*.erl"))
TIMEOUT = 300.0  # seconds for one case on one side, after which it counts as hung
RUNS = 5


class NotInstalledError(Exception):
    """The side cannot run here; the message says what to install."""


class SideFailedError(Exception):
    """The side's OS process did not end well; the message is the last line it wrote to stderr."""


@dataclass(frozen=True)
class Measured:
    """One value that a side printed, from one OS process: its runs, in `unit` ("seconds", "bytes" or "ratio")."""

    row: str
    unit: str
    runs: list[float]


@dataclass(frozen=True)
class Side:
    """One column of the table.

    Args:
        workloads: what the side can do.
        limits: workloads whose size is cut for this side, which would need minutes or all the memory else.
        missing: what to install when the side's modules are not found.
    """

    name: str
    title: str
    command: tuple[str, ...]
    workloads: frozenset[str]
    limits: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: str = "not installed: pip install 'beamlike[bench]'"

    def about(self) -> str:
        """What this side runs on, with its version. Raises NotInstalledError, SideFailedError."""
        try:
            about: str = self._run("about")[0]["about"]
        except FileNotFoundError as error:
            raise NotInstalledError(self.missing) from error
        except SideFailedError as failure:
            if "ModuleNotFoundError" in str(failure):
                raise NotInstalledError(self.missing) from failure
            raise
        if self.name == "compiled" and about.startswith("uncompiled core"):
            raise NotInstalledError("not compiled: run pip install again where there is a C compiler")
        return about

    def measure(self, case: Case, quick: bool) -> list[Measured]:
        """Run a case once. Raises SideFailedError."""
        size = case.quick_size if quick and case.quick_size is not None else case.size
        size = min(size, self.limits.get(case.workload, size))
        return [
            Measured(case.name + line["case"].removeprefix(case.workload), line["unit"], line["runs"])
            for line in self._run(case.workload, str(size), str(RUNS), "0.05" if quick else "0.2")
        ]

    def _run(self, *arguments: str) -> list[dict[str, Any]]:
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired as expired:
            raise SideFailedError(f"not done after {TIMEOUT:.0f} s") from expired
        if done.returncode:
            raise SideFailedError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
        return [json.loads(line) for line in done.stdout.splitlines()]


def compile_erlang(folder: str) -> None:
    """Compile the Erlang sides into a folder; without erlc nothing happens, and the side will say that it is missing."""
    if shutil.which("erlc"):
        subprocess.run(["erlc", "-o", folder, *map(str, ERLANG_SOURCES)], check=True)


def sides_of_one_node(erlang_folder: str) -> tuple[Side, ...]:
    """The columns, in order. Erlang gets one scheduler, since every side has one core, and room for a million processes."""
    peer = frozenset({"ping_pong", "call", "spawn_exit", "fan_in"})
    full = peer | {"chain", "queued_call", "idle", "gap"}
    python = (sys.executable, "-m")
    ours = (*python, "benchmarks.ours")
    erlang = ("erl", "+S", "1:1", "+P", "2000000", "-noshell", "-pa", erlang_folder, "-run", "erlang_processes", "main")
    slow = {"fan_in": 100}
    return (
        Side("compiled", "beamlike", ours, full | {"compute", "check", "send"}, environment={"BEAMLIKE_PURE": "0"}),
        Side("pure", "beamlike uncompiled", ours, full | {"compute", "check", "send"}, environment={"BEAMLIKE_PURE": "1"}),
        Side("erlang", "Erlang", erlang, full, missing="not installed: apt install erlang-base"),
        Side("trio", "trio channels", (*python, "benchmarks.peers.trio_channels"), peer | {"idle"}, {**slow, "idle": 20_000}),
        Side("pykka", "Pykka", (*python, "benchmarks.peers.pykka_actors"), peer, slow),
        Side("xoscar", "xoscar", (*python, "benchmarks.peers.xoscar_actors"), peer, slow),
        Side("thespian", "Thespian", (*python, "benchmarks.peers.thespian_actors"), peer, slow),
    )


def sides_of_nodes(erlang_folder: str) -> tuple[Side, ...]:
    """The columns, in order. Erlang as it comes, and with schedulers that do not sleep, which is its best for a ping-pong."""
    fast = frozenset({"hop", "one_way", "one_way_large", "call"})
    all_cases = fast | {"idle_node", "start", "kill", "stop", "many"}
    python = (sys.executable, "-m")
    erlang = (*python, "benchmarks.peers.erlang_nodes", erlang_folder)
    missing = "not installed: apt install erlang-base"
    return (
        Side("compiled", "beamlike", (*python, "benchmarks.our_nodes"), all_cases, environment={"BEAMLIKE_PURE": "0"}),
        Side("pure", "beamlike uncompiled", (*python, "benchmarks.our_nodes"), fast, environment={"BEAMLIKE_PURE": "1"}),
        Side("erlang", "Erlang", (*erlang, ""), fast, missing=missing),
        Side("erlang_awake", "Erlang, awake", (*erlang, "+sbwt very_long"), fast, missing=missing),
        Side("ray", "Ray", (*python, "benchmarks.peers.ray_nodes"), frozenset({"call"})),
        Side("xoscar", "xoscar", (*python, "benchmarks.peers.xoscar_nodes"), frozenset({"call"})),
    )


def sides_of_cells(erlang_folder: str) -> tuple[Side, ...]:
    """The columns, in order. Nobody else has cells; for scale a child of Python's own, without walls."""
    python = (sys.executable, "-m")
    all_cases = frozenset({"start", "many", "echo", "kill", "flood", "rounds"})
    ours = (*python, "benchmarks.our_cells")
    return (
        Side("compiled", "beamlike", ours, all_cases, environment={"BEAMLIKE_PURE": "0"}),
        Side("pure", "beamlike uncompiled", ours, all_cases - {"rounds"}, environment={"BEAMLIKE_PURE": "1"}),
        Side("child", "multiprocessing", (*python, "benchmarks.peers.child_processes"), frozenset({"start", "many", "echo", "kill"})),
    )


def sides_of_unikernels(erlang_folder: str) -> tuple[Side, ...]:
    """The columns, in order. For scale the loop of one of them in C alone."""
    python = (sys.executable, "-m")
    ours = (*python, "benchmarks.our_unikernels")
    return (
        Side("compiled", "beamlike", ours, frozenset({"start", "echo", "djb2", "crash"}), environment={"BEAMLIKE_PURE": "0"}),
        Side("pure", "beamlike uncompiled", ours, frozenset({"echo"}), environment={"BEAMLIKE_PURE": "1"}),
        Side("c", "C alone", (*python, "benchmarks.peers.c_loop"), frozenset({"djb2"})),
    )


def sides_of_drivers(erlang_folder: str) -> tuple[Side, ...]:
    """The columns, in order."""
    ours = (sys.executable, "-m", "benchmarks.our_drivers")
    return (
        Side("compiled", "beamlike", ours, frozenset({"inb", "ata", "irq", "ticks", "killed"}), environment={"BEAMLIKE_PURE": "0"}),
        Side("pure", "beamlike uncompiled", ours, frozenset({"inb", "irq"}), environment={"BEAMLIKE_PURE": "1"}),
    )


def sides_of_boot(erlang_folder: str) -> tuple[Side, ...]:
    """The one column: what boots, and reads its events, is not in the core."""
    workloads = frozenset({"image", "first_message", "slave_killed", "flaky", "same"})
    missing = "not installed: pip install 'beamlike[boot]'"
    return (Side("compiled", "beamlike", (sys.executable, "-m", "benchmarks.our_boot"), workloads, missing=missing),)
