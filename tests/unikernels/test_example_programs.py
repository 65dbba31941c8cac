"""The examples of unikernels do what they say."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import zlib
from pathlib import Path

from hosted import EXAMPLES, image, needs_gcc
from hosting import Host

from beamlike import call, exit, send
from unikernels import start_unikernel

pytestmark = needs_gcc


def test_the_mandelbrot_set_is_the_same_by_both(tmp_path: Path) -> None:
    png = tmp_path / "set.png"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "mandelbrot.py"), "--width", "64", "--png", str(png)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "64 × 48 points" in done.stdout
    lines = re.findall(r"^\d?(?:one)? (?:Python process|unikernel).*\d s +\d+\.\d times as fast$", done.stdout, re.MULTILINE)
    assert len(lines) == 4, done.stdout
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    begin = data.index(b"IDAT") + 4
    assert len(zlib.decompress(data[begin : data.index(b"IEND") - 8])) == 48 * 65


def test_each_crash_is_told_and_its_supervisor_has_it_back() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / "crash.py")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = re.sub(r"0x[0-9a-f]{6,}", "0x…", re.sub(r"[\d.]+ ms later", "later", done.stdout))
    reasons = [line[23:] for line in told.splitlines() if not line.startswith(" ")]
    assert reasons == [
        "('signal', 'SIGSEGV', 'address 0x0', 'at 0x…')",
        "('signal', 'SIGSEGV', 'address 0x…', 'at 0x…')",
        "('signal', 'SIGILL', 'address 0x…', 'at 0x…')",
        "('signal', 'SIGFPE', 'address 0x…', 'at 0x…')",
        "('signal', 'SIGSEGV', 'address 0x…', 'at 0x…')",
        "('exit', 3)",
        "('stopped', 42)",
        "('hung', 0.2)",
    ]
    assert told.count("back, and right, later") == len(reasons)


def test_a_hash_table(host: Host) -> None:
    async def check() -> None:
        kv = await start_unikernel(image("kv"))
        known: dict[str, object] = {}
        draw = random.Random(1)
        for number in range(5000):
            key = str(draw.randrange(500))
            match draw.choice(("put", "get", "delete", "send")):
                case "put":
                    value = (number, "x" * draw.randrange(20_000))
                    assert await call(kv, ("put", key, value)) == known.get(key)
                    known[key] = value
                case "send":
                    send(kv, ("put", key, number))
                    known[key] = number
                case "get":
                    assert await call(kv, ("get", key)) == known.get(key)
                case "delete":
                    assert await call(kv, ("delete", key)) == known.pop(key, None)
        assert await call(kv, ("size",)) == len(known)
        for nonsense in (None, 7, (), ("put",), ("fly", 1), ("get", 7), ("put", "a", 1, 2)):
            assert await call(kv, nonsense) in (None, known.get("a"))
        big = [await call(kv, ("put", f"big {number}", b"y" * 60_000)) for number in range(200)]
        assert big[0] is None
        assert big[-1] == "full"
        full = [key for key in known if await call(kv, ("put", key, b"y" * 60_000)) == "full"]
        assert len(full) > 100
        for key in full:  # what was there stays
            assert await call(kv, ("get", key)) == known[key]
        exit(kv, "kill")

    host.run(check)
