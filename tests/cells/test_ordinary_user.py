"""All of it as an ordinary user: the tests that start cells, run once more by who is not root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = 65533  # neither root nor the nobody that a cell of root's becomes
FILES = (
    *(f"tests/cells/test_{name}.py" for name in ("cell", "gateway", "served", "lockdown", "probe", "fuzz", "wasm")),
    "tests/boot/test_cell_command.py",
    "tests/examples/test_judge.py",
)
PATIENCE = 600.0  # seconds

# In a mount namespace of its own: a folder of root's on the way to the interpreter gets a stand-in that anybody may enter.
ENTER = """
import os, subprocess, sys
from pathlib import Path

def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)

wanted, aside, user, *command = sys.argv[1:]
mount("--make-rprivate", "/")
for path in map(Path, wanted.split(":")):
    closed = next((each for each in reversed(path.parents) if not each.stat().st_mode & 1), None)
    if closed is not None:
        mount("--bind", str(path), aside)
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(closed))
        path.mkdir(parents=True)
        mount("--move", aside, str(path))
os.setgroups([])
os.setresgid(*[int(user)] * 3)
os.setresuid(*[int(user)] * 3)
os.execv(command[0], command)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of the user's; pytest's own are below one that every run of it closes to others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, USER, USER)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever runs these tests is an ordinary user already")
def test_an_ordinary_user_has_cells_as_root_has(tmp_path: Path, home: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    wanted = ":".join(dict.fromkeys((sys.base_prefix, sys.prefix, str(ROOT))))
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={home / 'pytest'}"]
    enter = ["unshare", "--mount", sys.executable, "-c", ENTER, wanted, str(aside), str(USER)]
    ended = subprocess.run(
        [*enter, sys.executable, "-m", "pytest", *options, *FILES],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "BEAMLIKE_FUZZ_SECONDS": "5"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    print(ended.stdout[-200:])
    assert "passed" in ended.stdout
