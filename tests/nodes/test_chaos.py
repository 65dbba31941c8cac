"""The fault harness, as far as it needs no nodes: schedules, what is written damaged, and the example of docs/chaos.md.

What the faults do to real nodes is in chaos_checks.py, run by test_services.py.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import chaos
from nodes.chaos_nodes import _children_of
from nodes.rings import BrokenRingError, Written, attach, create

ROOT = Path(__file__).parents[2]
NAMES = ("n1@h", "n2@h", "n3@h")
PATIENCE = 60.0  # seconds after which the example hangs


def steps(seed: int, count: int = 50, faults: Any = chaos.FAULTS) -> list[chaos.Step]:
    return list(islice(chaos.Schedule(seed, NAMES, every=0.1, faults=faults), count))


def test_children_are_found_whichever_thread_started_them() -> None:
    found: list[bool] = []

    def start() -> None:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
            found.append(child.pid in _children_of(os.getpid()))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert found == [True]


# --- schedules ----------------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_steps_and_another_gives_others() -> None:
    assert steps(7) == steps(7) != steps(8)
    schedule = chaos.Schedule(7, NAMES, every=0.1)
    assert list(islice(schedule, 20)) == list(islice(schedule, 20)), "each time it is iterated over"


def test_the_steps_of_a_seed_are_these_in_every_run() -> None:
    assert [(step.at, step.fault, step.victim, step.details) for step in steps(1, 4)] == [
        (0.027, "kill_forge", "forge", {}),
        (0.078, "tear", "n2@h", {"seconds": 0.095, "target": "n3@h", "at": 53}),
        (0.097, "kill", "n2@h", {}),
        (0.184, "kill", "n3@h", {}),
    ]


@given(st.integers())
def test_steps_come_in_order_and_are_about_the_names_that_were_given(seed: int) -> None:
    drawn = steps(seed)
    assert [step.at for step in drawn] == sorted(step.at for step in drawn)
    for step in drawn:
        assert step.victim == "forge" if step.fault == "kill_forge" else step.victim in NAMES
        assert set(step.details) == set(chaos.FAULTS[step.fault][1])
        assert step.details.get("target", "") in {"", *NAMES} - {step.victim}
        assert 0 <= step.details.get("seconds", 0) <= 0.2
        assert 0 < step.details.get("share", 0.5) < 1
        assert step.outcome == ""


def test_every_fault_comes() -> None:
    assert {step.fault for step in steps(3, 200)} == set(chaos.FAULTS)
    assert {step.fault for step in steps(3, 50, ("kill", "stop"))} == {"kill", "stop"}


@given(st.integers())
def test_steps_are_the_same_after_they_were_text(seed: int) -> None:
    done = [dataclasses.replace(step, outcome="done") for step in steps(seed, 10)]
    assert chaos.from_json(chaos.to_json(done)) == done
    assert chaos.to_json(done).count("\n") == 11, "one line a step"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "a list of steps, not dict"),
        ("[3]", "3 is no step"),
        ('[{"at": 1}]', "is no step"),
        ('[{"at": 1, "fault": "melt", "victim": "a@h", "details": {}}]', "kill, kill_forge, stop"),
        ('[{"at": "1", "fault": "kill", "victim": "a@h", "details": {}}]', "at is a number"),
        ('[{"at": 1, "fault": "kill", "victim": 3, "details": {}}]', "victim of a step is a str"),
        ('[{"at": 1, "fault": "stop", "victim": "a@h", "details": {"share": 1}}]', "the details of 'stop' are seconds, not share"),
        ('[{"at": 1, "fault": "stop", "victim": "forge", "details": {"seconds": 1}}]', "and of no other fault, is 'forge'"),
        ("[", "Expecting value"),
    ],
)
def test_text_that_is_no_list_of_steps_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chaos.from_json(text)


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"seed": "7"}, TypeError, "seed is an int, not '7'"),
        ({"victims": "n1@h"}, TypeError, r"\['n1@h'\]"),
        ({"victims": []}, ValueError, "no victims"),
        ({"victims": [1]}, TypeError, "victims are str, not 1"),
        ({"faults": ("melt",)}, ValueError, "kill, kill_forge, stop.*not 'melt'"),
        ({"faults": ("drop",), "victims": ["n1@h"]}, ValueError, "needs two victims"),
        ({"every": 0}, ValueError, "every is a number of seconds more than 0, not 0"),
        ({"every": "1"}, TypeError, "every is a number"),
        ({"lasting": float("inf")}, ValueError, "lasting"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(wrong: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        chaos.Schedule(**{"seed": 7, "victims": NAMES, "every": 0.1, **wrong})


# --- damaged records ----------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 30), st.integers(0, 2**32 - 1), st.binary(max_size=200))
def test_every_bit_of_a_record_that_is_changed_is_found(before: int, bit: int, data: bytes) -> None:
    """Also where it is behind a padding, at the end of the ring."""
    memfd, writer = create(4096)
    reader = attach(memfd)
    os.close(memfd)
    for number in range(before):
        writer.write(1, number, 0, 0, b"x" * 150)
        assert reader.read() == (1, 0, number, 0, 0, b"x" * 150)
    assert writer.write_damaged(2, 3, 4, 5, data, bit=bit)
    with pytest.raises(BrokenRingError):
        reader.read()
    writer.close()
    reader.close()


@given(st.integers(0, 30), st.integers(0, 260), st.binary(max_size=200))
def test_of_a_torn_record_nothing_is_read(before: int, at: int, data: bytes) -> None:
    memfd, writer = create(4096)
    reader = attach(memfd)
    os.close(memfd)
    for number in range(before):
        writer.write(1, number, 0, 0, b"x" * 150)
        assert reader.read() is not None
    assert writer.write_damaged(2, 3, 4, 5, data, torn_at=at)
    assert reader.read() is None
    writer.write(2, 3, 4, 5, data)  # had it not died there
    assert reader.read() == (2, 0, 3, 4, 5, data)
    writer.close()
    reader.close()


def test_a_damaged_record_needs_room_like_any() -> None:
    memfd, writer = create(4096)
    reader = attach(memfd)
    os.close(memfd)
    while writer.write(1, 0, 0, 0, b"x" * 150) is not Written.FULL:
        pass
    assert not writer.write_damaged(2, 0, 0, 0, b"", bit=0)
    while reader.read() is not None:
        pass
    assert writer.write_damaged(2, 0, 0, 0, b"", bit=0)
    writer.close()
    reader.close()


# --- the documentation --------------------------------------------------------------------------------------------------------------


def test_the_example_of_the_documentation_passes(tmp_path: Path) -> None:
    example = re.search(r"^```python\n(# test_\w+\.py\n.*?)^```$", (ROOT / "docs" / "chaos.md").read_text(), re.DOTALL | re.MULTILINE)
    assert example is not None
    file = tmp_path / example[1].partition("\n")[0][2:]
    file.write_text(example[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), str(file)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
