"""The code that boots, and what Python knows of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path
from struct import Struct

import pytest

from boot.guest import code, layout
from boot.guest.layout import SECTOR, Kind, Reason

SOURCES = code.FOLDER


def names() -> dict[str, int]:
    """Those of layout.inc."""
    lines = re.findall(r"^(\w+)\s+equ\s+(\w+)", (SOURCES / "layout.inc").read_text(), re.MULTILINE)
    return {name: int(value, 0) for name, value in lines}


@pytest.mark.skipif(shutil.which("nasm") is None, reason="NASM is not installed: apt-get install nasm")
@pytest.mark.parametrize("name", ["mbr", "stage2"])
def test_assembled_again_it_is_the_same_byte_for_byte(name: str, tmp_path: Path) -> None:
    command = ["nasm", "-w+all", "-w+error", "-f", "bin", "-I", f"{SOURCES}/", "-o", str(tmp_path / name), str(SOURCES / f"{name}.asm")]
    subprocess.run(command, check=True)
    assert (tmp_path / name).read_bytes() == (SOURCES / f"{name}.bin").read_bytes()


def test_python_knows_the_same_offsets_as_the_code() -> None:
    ours = {name: value for name, value in vars(layout).items() if name.isupper() and isinstance(value, int) and name != "SECTOR"}
    theirs = names()
    assert len(ours) > 50
    assert ours == {name: theirs.get(name) for name in ours}


@pytest.mark.parametrize(("kind", "prefix", "ours_alone"), [(Reason, "R_", set()), (Kind, "K_", {Kind.KILLED})])
def test_python_knows_the_same_codes(kind: type[IntEnum], prefix: str, ours_alone: set[IntEnum]) -> None:
    theirs = {name.removeprefix(prefix): value for name, value in names().items() if name.startswith(prefix)}
    assert theirs == {each.name: each.value for each in kind if each not in ours_alone}


@pytest.mark.parametrize(
    ("struct", "prefix"),
    [(layout.MANIFEST, "M_"), (layout.HANDOFF, "I_"), (layout.RECORD, "T_")],
)
def test_fields_are_where_the_code_has_them(struct: Struct, prefix: str) -> None:
    """Each field of the struct begins at an offset that layout.inc names, in this order."""
    offsets = sorted(
        value for name, value in names().items() if name.startswith(prefix) and name not in (f"{prefix}SIZE", f"{prefix}VERSION_NOW")
    )
    parts = re.findall(r"\d*[a-zA-Z]", struct.format)
    at, begins = 0, []
    for part in parts:
        count, letter = int(part[:-1] or 1), part[-1]
        size = Struct("<" + letter).size
        begins += [at] if letter == "s" else [] if letter == "x" else [at + size * each for each in range(count)]
        at += size * count
    assert begins == offsets
    assert at == struct.size


def test_the_largest_payload_has_as_many_chunks_as_the_table_has_room_for() -> None:
    assert layout.PAYLOAD_MOST == layout.TABLE_SECTORS * SECTOR // 4 * layout.CHUNK_SECTORS * SECTOR


def test_the_first_sector_is_bootable_and_stage_2_fits() -> None:
    assert (len(code.mbr()), code.mbr()[-2:]) == (SECTOR, b"\x55\xaa")
    assert len(code.stage2()) == layout.STAGE2_SECTORS * SECTOR
    assert code.stage2()[layout.H_MAGIC : layout.H_MAGIC + 4] == layout.STAGE2_MAGIC
    assert not any(code.stage2()[layout.STAGE2_CRC :])
