"""The programs of the READMEs print what it says they print, and what the documents point to is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "drivers" / "README.md", ROOT / "docs" / "init.md"]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md", READMES[1]])
SHOWN = re.compile(r"^```python\n(?P<program>.*?)^```\n\s*^```text\n(?P<output>.*?)^```$", re.DOTALL | re.MULTILINE)
PATIENCE = 30.0  # seconds after which a program hangs

README = "\n".join(path.read_text() for path in READMES)
PROGRAMS = [(shown["program"], shown["output"]) for shown in SHOWN.finditer(README)]


def name_of(document: Path) -> str:
    """Its path in the repository."""
    return str(document.relative_to(ROOT))


def test_every_python_block_is_a_program_with_its_output() -> None:
    assert len(PROGRAMS) == README.count("```python\n") > 0


@pytest.mark.parametrize(("program", "output"), PROGRAMS, ids=range(1, len(PROGRAMS) + 1))
def test_program_prints_what_the_readme_says(program: str, output: str, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, file], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, output), done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_of_a_document_lead_somewhere(document: Path) -> None:
    links = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()) if "://" not in target]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.is_relative_to(ROOT / "docs")], ids=name_of)
def test_paths_and_tests_that_a_document_names_are_there(document: Path) -> None:
    named = re.findall(r"`((?:beamlike|boot|caps|tests|examples|benchmarks|docs)/[\w./-]*)(?:::(\w+))?`", document.read_text())
    missing = [
        (path, test) for path, test in named if not (ROOT / path).exists() or (test and f"def {test}(" not in (ROOT / path).read_text())
    ]
    assert missing == []
