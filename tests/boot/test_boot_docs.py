"""What docs/boot.md and docs/images.md say: tables are held against the code, the program is run, and the plan read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import needs_unicorn
from test_guest_code import SOURCES, names

from boot import errors
from boot.bundle.fields import REQUIRED, PlanError
from boot.bundle.reading import CHILD_FIELDS, GOAL_FIELDS, NODE_FIELDS, SYSTEM_FIELDS, UNIKERNEL_FIELDS, read_plan
from boot.engines import firmware
from boot.guest.layout import Kind, Reason

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "boot.md").read_text()
USERS = (ROOT / "docs" / "images.md").read_text()
PATIENCE = 60.0  # seconds after which the program hangs
NOT_IN_LAYOUT = {"MBR": firmware.MBR, "LAPIC": firmware.LAPIC}
NO_FIELDS = ("_SIZE", "_VERSION_NOW")


def rows(*header: str) -> list[list[str]]:
    """Of all tables that begin with these columns, without the marks of code."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE):
        head, _, *lines = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        found += lines if head[: len(header)] == list(header) else []
    return found


def named(*prefixes: str) -> dict[str, int]:
    """Those of layout.inc that begin so."""
    return {name: value for name, value in names().items() if name.startswith(prefixes) and not name.endswith(NO_FIELDS)}


@pytest.mark.parametrize(
    ("header", "prefixes"),
    [
        (("offset", "manifest"), ("M_",)),
        (("address", "name"), ("MB_",)),
        (("offset", "name"), ("S_", "I_", "T_")),
        (("value", "kind"), ()),
    ],
    ids=["manifest", "mailbox", "slots, hand-off block and records", "kinds"],
)
def test_a_table_of_fields_or_codes_is_whole_and_right(header: tuple[str, str], prefixes: tuple[str, ...]) -> None:
    expected = named(*prefixes) if prefixes else {kind.name: kind.value for kind in Kind}
    assert [(name, int(value, 0)) for value, name, *_ in rows(*header)] == list(expected.items())


def test_the_table_of_the_medium_is_whole_and_right() -> None:
    sectors = {name: int(lba) for lba, name, *_ in rows("LBA", "name") if name}
    assert sectors == {name: value for name, value in names().items() if re.fullmatch(r"[A-Z0-9]{2,}_LBA", name)}


def test_the_memory_map_is_whole_right_and_without_overlaps() -> None:
    places, free = {}, 0
    for first, last, name, *_ in rows("first", "last", "name"):
        begin = free if first == "downwards" else int(first, 0)
        end = int(last, 0) + 1 if last else begin
        assert free <= begin <= end, name
        free = end
        places[name] = end if first == "downwards" else begin
    addresses = re.findall(r"^(\w+)\s+equ (0x[0-9A-F]{3,})", (SOURCES / "layout.inc").read_text(), re.MULTILINE)
    expected = {name: int(value, 0) for name, value in addresses} | NOT_IN_LAYOUT
    sizes = {"PAYLOAD_MOST"}
    assert places == {
        name: value for name, value in expected.items() if name not in sizes and (name in places or not name.startswith("MB_"))
    }


def test_each_status_and_each_error_has_its_row() -> None:
    cells = [" ".join(row[1:]) for row in rows("what", "status")]
    statuses = {int(status, 0) for cell in cells for status in re.findall(r"0x\w+", cell)}
    assert statuses == {reason.value for reason in Reason}
    raised = {error for cell in cells for error in re.findall(r"\b[A-Z]\w*Error\b", cell)} - {"TimeoutError"}
    classes = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.BootError)}
    assert raised == classes - {"BootError", "ImageError"}


@pytest.mark.parametrize("name", ["STAGE2_CRC", "TRACE_MOST", "PATIENCE", "LONGEST_LOOK", "TICKS_PER_SECOND"])
def test_a_number_in_the_text_is_that_of_the_code(name: str) -> None:
    assert re.search(rf"\b{names()[name]}\b", TEXT)


@needs_unicorn
def test_the_program_prints_what_the_page_says(tmp_path: Path) -> None:
    shown = re.findall(r"^```python\n(.*?)^```\n\n^```text\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(shown) == TEXT.count("```python\n") == 1
    program, output = shown[0]
    file = tmp_path / "booting.py"
    file.write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, file], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, output), done.stderr


def test_each_key_of_a_plan_is_on_the_page_for_users() -> None:
    cells = {row.strip("`[]"): text for row, text in re.findall(r"^\| (.+?) \| (.+?) \|$", USERS, re.MULTILINE)}
    tables = {"the plan": SYSTEM_FIELDS, "node": NODE_FIELDS, "child": CHILD_FIELDS, "unikernel": UNIKERNEL_FIELDS, "goal": GOAL_FIELDS}
    for name, fields in tables.items():
        told = set(re.findall(r"`([a-z_]+)`", cells[name])) - {"start_unikernel"}
        assert told == {key for key in fields if key not in tables or name != "the plan"}
        needed = set(re.findall(r"\*\*`(\w+)`\*\*", cells[name]))
        assert needed == {key for key, field in fields.items() if field.default is REQUIRED}


def test_the_plan_on_the_page_can_be_built(tmp_path: Path) -> None:
    (plan,) = re.findall(r"^```toml\n(.*?)^```$", USERS, re.DOTALL | re.MULTILINE)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "filling.py").write_text("async def fill(): ...\n")
    (tmp_path / "counter.py").write_text((ROOT / "examples" / "boot" / "counter.py").read_text())
    (tmp_path / "PLAN.toml").write_text(plan)
    with pytest.raises(PlanError) as caught:  # but for what a compiler makes
        read_plan(tmp_path / "PLAN.toml")
    assert [each.partition(": ")[0] for each in caught.value.problems] == ["unikernel 'hasher'"]


def test_the_page_for_users_tells_of_each_option(beamlike: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    for option in re.findall(r"--[a-z][a-z-]+", beamlike("boot", "--help").stdout):
        assert option in (*re.findall(r"--[a-z][a-z-]+", USERS), "--help"), option
