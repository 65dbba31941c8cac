"""Which file a module of the hot path is loaded from."""

import json
import os
import subprocess
import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

import beamlike.hot

HOT = Path(beamlike.hot.__file__).parent
COMPILED = sorted(path.stem for path in HOT.glob("*.pxd") if path.with_suffix(".py").exists())


def run(code: str, pure: str | None, cwd: Path) -> str:
    """What `code` prints in a fresh interpreter that has `cwd` first on its path and BEAMLIKE_PURE set to `pure`."""
    environment = {name: value for name, value in os.environ.items() if name != "BEAMLIKE_PURE"}
    if pure is not None:
        environment["BEAMLIKE_PURE"] = pure
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def is_built(name: str) -> bool:
    return any((HOT / (name + suffix)).exists() for suffix in EXTENSION_SUFFIXES)


@pytest.fixture
def broken_extension(tmp_path: Path) -> Path:
    """A copy of the package with one module, `ids`, whose extension module cannot be loaded: so one sees who tries."""
    hot = tmp_path / "beamlike" / "hot"
    hot.mkdir(parents=True)
    (hot.parent / "__init__.py").touch()
    (hot / "__init__.py").write_text((HOT / "__init__.py").read_text())
    (hot / "ids.py").touch()
    (hot / ("ids" + EXTENSION_SUFFIXES[0])).write_text("not an ELF file")
    return tmp_path


@pytest.mark.parametrize("pure", ["1", "yes"])
def test_pure_never_touches_the_extension_module_beside_the_source(broken_extension: Path, pure: str) -> None:
    code = "import beamlike.hot.ids as ids, beamlike.hot as hot; print(ids.__file__, hot.is_compiled())"
    assert run(code, pure, broken_extension) == f"{broken_extension}/beamlike/hot/ids.py False"


@pytest.mark.parametrize("pure", [None, "", "0"])
def test_the_extension_module_is_taken_unless_pure_is_asked_for(broken_extension: Path, pure: str | None) -> None:
    assert run("import beamlike.hot.ids", pure, broken_extension).startswith("ImportError: ")


def test_pure_survives_the_invalidation_of_the_import_caches(broken_extension: Path) -> None:
    code = "import importlib, beamlike.hot; importlib.invalidate_caches(); from beamlike.hot import ids; print(ids.__file__)"
    assert run(code, "1", broken_extension) == f"{broken_extension}/beamlike/hot/ids.py"


@cache
def loaded(pure: str | None) -> dict[str, Any]:
    """Where each compiled module is loaded from, by one interpreter that has no Cython; and what `is_compiled()` says there."""
    code = f"""
import sys, json, importlib
sys.modules["cython"] = sys.modules["Cython"] = None
found = {{name: importlib.import_module(f"beamlike.hot.{{name}}").__file__ for name in {COMPILED}}}
print(json.dumps(found | {{"is_compiled": sys.modules["beamlike.hot"].is_compiled()}}))"""
    return dict(json.loads(run(code, pure, HOT.parent.parent)))


@pytest.mark.parametrize("name", COMPILED)
def test_every_compiled_module_also_loads_from_its_source_and_without_cython(name: str) -> None:
    assert loaded("1")[name] == str(HOT / f"{name}.py")


@pytest.mark.parametrize("name", COMPILED)
def test_every_compiled_module_loads_as_an_extension_by_default(name: str) -> None:
    if not is_built(name):
        pytest.skip("the hot path is not built for this Python here; `make test` builds it")
    assert loaded(None)[name].endswith(tuple(EXTENSION_SUFFIXES))


@pytest.mark.parametrize("pure", [None, "1"])
def test_is_compiled_tells_what_was_loaded(pure: str | None) -> None:
    assert loaded(pure)["is_compiled"] is (is_built("ids") and pure is None)
