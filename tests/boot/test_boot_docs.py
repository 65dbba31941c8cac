"""What docs/boot.md says: its tables are held against the code, and its program is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import needs_unicorn
from test_guest_code import SOURCES, names

from boot import errors
from boot.engines import firmware
from boot.guest.layout import Kind, Reason
from boot.image import LOAD_ADDRESS

TEXT = (Path(__file__).parents[2] / "docs" / "boot.md").read_text()
PATIENCE = 60.0  # seconds after which the program hangs
NOT_IN_LAYOUT = {"MBR": firmware.MBR, "LOAD_ADDRESS": LOAD_ADDRESS, "LAPIC": firmware.LAPIC}
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
    assert places == {name: value for name, value in expected.items() if not name.startswith("MB_") or name in places}


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
