"""Bytes that a stranger wrote, read as values in C: by libFuzzer, with the sanitizers of clang."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hosted import HERE

from beamlike import pack
from unikernels.toolkit import LIBRARY

SECONDS = int(os.environ.get("BEAMLIKE_FUZZ_SECONDS", "60"))
CLANG = next((found for name in ("clang", "clang-14", "clang-16", "clang-19") if (found := shutil.which(name))), None)
SEEDS = (None, True, 1, -1, 2**40, 1.5, "text", b"bytes" * 20, (1, (2, "x")), {"a": [1, {2: None}]}, tuple(range(40)))


@pytest.mark.skipif(CLANG is None, reason="libFuzzer comes with clang: apt-get install clang")
@pytest.mark.skipif(os.environ.get("BEAMLIKE_PURE") == "1", reason="it is C: once is enough")
def test_no_bytes_are_read_outside_of_a_value(tmp_path: Path) -> None:
    fuzzer, seeds = tmp_path / "fuzzer", tmp_path / "seeds"
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", f"-I{LIBRARY}"]
    built = subprocess.run(
        [str(CLANG), *flags, str(HERE / "fuzz_values.c"), str(LIBRARY / "msgpack.c"), "-o", str(fuzzer)], capture_output=True, text=True
    )
    if "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("this clang has no libFuzzer: apt-get install libclang-rt-dev")
    assert built.returncode == 0, built.stderr
    seeds.mkdir()
    for number, value in enumerate(SEEDS):
        (seeds / str(number)).write_bytes(pack(value))
    limits = [
        "-timeout=5",
        "-malloc_limit_mb=64",
        "-rss_limit_mb=0",
    ]  # of a child the most that was resident begins with what its parent has
    ran = subprocess.run(
        [str(fuzzer), f"-max_total_time={SECONDS}", "-max_len=4096", *limits, f"-artifact_prefix={tmp_path}/", str(seeds)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
