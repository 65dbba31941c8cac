"""Building: what is linked, what is collected, sizes, and what the compiler says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosted import EXAMPLES, needs_clang, needs_gcc

from unikernels import BuildError, build
from unikernels.images import target_of

pytestmark = needs_gcc
TARGETS = ["linux", "bare", pytest.param("wasm", marks=needs_clang)]
KILOBYTE = 1024


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_what_its_program_uses(tmp_path: Path, target: Any) -> None:
    built = build(EXAMPLES / "hasher.c", target, tmp_path / "hasher")
    assert target_of(built.path.read_bytes()) == target
    assert built.sizes["profile"] == built.path.stat().st_size
    assert built.sizes["base"] < built.sizes["profile"] < built.sizes["all"]
    assert {"uk_skip", "uk_write_map", "uk_monitor"} <= {*built.collected}
    assert b"uk_read_tuple" not in built.path.read_bytes()
    assert b"uk_read_tuple" in build(EXAMPLES / "hasher.c", target, tmp_path / "named", symbols=True).path.read_bytes()
    if target != "wasm":
        linked = {each.name for each in built.linked}
        assert {"uk_main", "uk_receive", "bl_read"} <= linked
        assert not {each for each in linked if each.startswith(("uk_", "bl_"))} & {*built.collected}


def test_sizes(tmp_path: Path) -> None:
    assert build(EXAMPLES / "hasher.c", "linux", tmp_path / "hasher.elf").sizes["profile"] <= 8 * KILOBYTE
    assert build(EXAMPLES / "hasher.c", "bare", tmp_path / "hasher.bare").sizes["profile"] <= 16 * KILOBYTE


def test_the_name_of_an_image_is_that_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "it.c").write_text('#include "uk.h"\nvoid uk_main(void) {}\n')
    assert build(tmp_path / "it.c").path == tmp_path / "it.elf"
    assert build([tmp_path / "it.c"], "bare").path == tmp_path / "it.bare"


def test_a_program_of_several_files_with_flags(tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text('#include "uk.h"\nint other(void);\nvoid uk_main(void) { uk_exit(other()); }\n')
    (tmp_path / "two.c").write_text("int other(void) { return NUMBER; }\n")
    built = build([tmp_path / "one.c", tmp_path / "two.c"], flags=["-DNUMBER=7"])
    assert "other" in {each.name for each in built.linked}


PROGRAM = '#include "uk.h"\n'
FAULTS: dict[str, tuple[str, str]] = {
    "syntax": (PROGRAM + "void uk_main(void) { int x = ; }\n", r"it\.c:2:30: error: expected expression"),
    "undeclared": (PROGRAM + "void uk_main(void) { printf(1); }\n", "implicit declaration of function"),
    "undefined": (PROGRAM + "void foo(void);\nvoid uk_main(void) { foo(); }\n", "undefined: foo. A unikernel has no C library"),
    "no uk_main": (PROGRAM + "int main(void) { return 0; }\n", "undefined: uk_main. A unikernel begins there"),
    "not UTF-8": (PROGRAM + "void uk_main(void) { int \udcff; }\n", r"it\.c:2:2\d: error"),
    "no such header": ("#include <stdio.h>\n#include <nothing.h>\n", "nothing.h"),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_built_is_said_in_the_compilers_words_and_overwrites_nothing(tmp_path: Path, name: str, target: Any) -> None:
    text, message = FAULTS[name]
    (tmp_path / "it.c").write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "out").write_text("as it was")
    with pytest.raises(BuildError) as caught:
        build(tmp_path / "it.c", target, tmp_path / "out")
    if target != "wasm" or name in ("undefined", "no uk_main"):  # clang has other words
        assert re.search(message, str(caught.value)), str(caught.value)
    assert "removing unused" not in str(caught.value)
    assert (tmp_path / "out").read_text() == "as it was"


def test_wrong_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: tuple[tuple[Any, Any, str], ...] = (
        ((tmp_path / "missing.c",), {}, "there is no file"),
        ((EXAMPLES / "hasher.c", "windows"), {}, "target is one of linux, bare, wasm"),
        (([],), {}, "there are no sources"),
        ((EXAMPLES / "hasher.c", "bare"), {"profile": ["usb"]}, "there is no driver group 'usb', but console"),
        ((EXAMPLES / "hasher.c",), {"profile": ["rtc"]}, "a profile is for the target bare"),
        ((EXAMPLES / "hasher.c",), {"flags": "-g"}, "flags is a list of str, not '-g'"),
        ((5,), {}, "sources is a list of str, not 5"),
        ((EXAMPLES / "mandelbrot.py",), {}, "no source in C"),
        ((tmp_path / "it.c",), {"output": tmp_path / "it.c"}, "is one of the sources"),
    )
    (tmp_path / "it.c").write_text("it is kept")
    for arguments, options, text in wrong:
        with pytest.raises((ValueError, TypeError, FileNotFoundError), match=text):
            build(*arguments, **options)
    assert (tmp_path / "it.c").read_text() == "it is kept"
    with pytest.raises(BuildError) as caught:
        build(EXAMPLES / "echo.c", output=tmp_path / "x", flags=["--bogus"])
    assert len(str(caught.value).splitlines()) == 1
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="there is no gcc on the path: apt-get install gcc"):
        build(EXAMPLES / "hasher.c", output=tmp_path / "x")


def test_drivers_outside_of_the_profile_are_undefined(tmp_path: Path) -> None:
    (tmp_path / "clock.c").write_text(
        '#include "uk.h"\n#include "uk_drivers.h"\nvoid uk_main(void) { uk_date now; uk_exit(uk_rtc_read(&now)); }\n'
    )
    built = build(tmp_path / "clock.c", "bare", profile=["rtc", "console"])
    assert "uk_rtc_read" in {each.name for each in built.linked}
    with pytest.raises(BuildError, match=r"undefined: uk_rtc_read\. It is of the driver group rtc, which the profile does not have"):
        build(tmp_path / "clock.c", "bare", profile=["console"])
    for target in ("linux", "wasm"):
        with pytest.raises(BuildError, match="bare machine alone: --target bare"):
            build(tmp_path / "clock.c", target)


def test_the_command(beamlike: Callable[..., Any], tmp_path: Path) -> None:
    shown = beamlike("build-unikernel", str(EXAMPLES / "hasher.c"), "-o", str(tmp_path / "h.elf"))
    assert shown.returncode == 0, shown.stderr
    for word in ("bytes for linux", "linked", "uk_main", "collected", "uk_skip", "base", "profile", "all"):
        assert word in shown.stdout
    shown = beamlike("build-unikernel", str(EXAMPLES / "hasher.c"), "-o", str(tmp_path / "h.elf"), "--json")
    assert json.loads(shown.stdout)["sizes"]["profile"] == (tmp_path / "h.elf").stat().st_size
    (tmp_path / "bad.c").write_text(FAULTS["syntax"][0])
    failed = beamlike("build-unikernel", str(tmp_path / "bad.c"))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "error: expected expression" in failed.stderr
    assert "Traceback" not in failed.stderr
