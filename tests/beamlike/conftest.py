"""What the tests of the core share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from textwrap import dedent

import pytest

PATIENCE = 30.0  # seconds after which a program hangs

Program = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def program() -> Program:
    """Runs a program in an interpreter of its own, for what could hang or end this one. It fails the test when it hangs."""

    def run(source: str) -> subprocess.CompletedProcess[str]:
        code = "from beamlike import *\nimport signal, sys, threading, time, trio\n" + dedent(source)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-X", "faulthandler", "-c", code]
        try:
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired as hung:
            pytest.fail(f"the program hangs; so far it wrote {hung.stdout!r} {hung.stderr!r}")

    return run
