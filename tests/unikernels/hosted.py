"""Programs for the tests of unikernels. Checks run in processes of one node: the fixture `host`."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from unikernels import build

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples" / "unikernels"
FOLDER = TemporaryDirectory(prefix="beamlike-unikernels-")  # removed at exit

CLANG = next((found for name in ("clang", "clang-14", "clang-16", "clang-19") if (found := shutil.which(name))), None)
# A linker that clang does not find is named without a folder.
LINKER = "" if CLANG is None else subprocess.run([CLANG, "--print-prog-name=wasm-ld"], capture_output=True, text=True).stdout.strip()
needs_clang = pytest.mark.skipif("/" not in LINKER, reason="C becomes wasm by clang and lld: apt-get install clang lld")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to build a unikernel with")


@cache
def image(name: str, target: str = "linux") -> Path:
    """A program of the tests' or of the examples, built once."""
    source = next(path for folder in (HERE / "programs", EXAMPLES) if (path := folder / f"{name}.c").exists())
    return build(source, target, Path(FOLDER.name, f"{name}.{target}")).path  # type: ignore[arg-type]
