"""The benchmark command works. What it measures is for people to read: nothing is asserted about speed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suites import SUITES

ROOT = Path(__file__).parents[2]


def measured(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--json", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_ping_pong_is_measured_uncompiled_and_in_erlang() -> None:
    if shutil.which("erl") is None:
        pytest.skip("erl is not installed: apt-get install erlang-base")
    sides = {value["side"]: value["median"] for value in measured("--only", "ping_pong")["values"]}
    assert sides["pure"] > 0
    assert sides["erlang"] > 0


def test_every_target_has_a_title_of_its_own() -> None:
    for suite in SUITES.values():
        assert len({target.title for target in suite.targets}) == len(suite.targets)


def test_a_hop_between_nodes_is_measured_in_erlang_and_here() -> None:
    if shutil.which("erl") is None:
        pytest.skip("erl is not installed: apt-get install erlang-base")
    sides = {
        value["side"]: value["median"] for value in measured("nodes", "--only", "hop", "--only", "compiled", "--only", "erlang")["values"]
    }
    assert set(sides) <= {"compiled", "erlang"}
    assert sides["erlang"] > 0


def test_what_a_killed_node_costs_is_measured() -> None:
    rows = {
        value["row"]: value["median"] for value in measured("nodes", "--only", "kill", "--only", "compiled", "--only", "pure")["values"]
    }
    if rows:  # there is a compiled build
        assert {"kill_told", "kill_back", "kill_call", "kill_service", "kill_pair"} <= set(rows)


def test_what_cells_cost_is_measured() -> None:
    values = measured("cells", "--only", "echo", "--only", "kill", "--only", "rounds")["values"]
    rows = {value["row"]: value["median"] for value in values}
    assert {"echo", "echo_pid", "echo_process", "kill", "kill_worst", "kill_back", "kill_back_worst"} <= set(rows)
    assert rows.get("rounds_left", 0) == 0
    assert {"pure", "child"} <= {value["side"] for value in values if value["row"] == "echo"}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to build a unikernel with")
def test_what_unikernels_cost_is_measured() -> None:
    values = measured("unikernels", "--only", "echo", "--only", "crash", "--only", "djb2")["values"]
    rows = {value["row"]: value["median"] for value in values if value["side"] != "pure"}
    if "crash" in rows:  # there is a compiled build
        assert {"echo", "echo_call", "echo_pipelined", "echo_calls", "djb2", "djb2_python", "crash_worst"} <= set(rows)
        assert rows["crash_left"] == 0
    assert "c" in {value["side"] for value in values if value["row"] == "djb2"}


def test_what_drivers_cost_is_measured() -> None:
    values = measured("drivers", "--only", "inb", "--only", "ata", "--only", "irq", "--only", "killed")["values"]
    rows = {value["row"]: value["median"] for value in values if value["side"] != "pure"}
    if "ata" in rows:  # there is a compiled build
        assert {"inb", "inb_limited", "inb_call", "ata", "ata_grant", "irq", "killed", "killed_worst"} <= set(rows)


def test_what_boots_in_lockstep_is_measured() -> None:
    pytest.importorskip("unicorn", reason="Unicorn is not installed: pip install 'beamlike[boot]'")
    rows = {value["row"]: value["median"] for value in measured("boot", "--only", "same")["values"]}
    assert rows in ({"same": 0, "same_death": 0}, {})  # there is a compiled build, or none
