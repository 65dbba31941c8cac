"""Devices whose owners are on another node, and ports that a cell asks a server for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from test_ata import medium

__all__ = ["medium"]

PROGRAM = Path(__file__).parent / "far_clients.py"


def run_program(*arguments: object) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROGRAM.parents[2]), str(PROGRAM.parent)])}
    ended = subprocess.run([sys.executable, PROGRAM, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=100)
    assert ended.stdout.endswith("done\n"), ended.stdout + ended.stderr


def test_an_owner_on_another_node(medium: Path) -> None:
    """It reads and writes by the device's server, is told of crashes, gets data, and all is free when its node is killed."""
    run_program("nodes", medium)


def test_a_cell_is_refused_what_its_exclusions_refuse_by_a_server(medium: Path) -> None:
    run_program("cell")
