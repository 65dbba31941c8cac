"""Crashes a program in C in every way it knows, and shows what its caller is told, and how soon its supervisor has it back.

python examples/unikernels/crash.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from beamlike import CallError, ChildSpec, Supervisor, call, run, sleep, whereis
from unikernels import Built, Unikernel, build

WAYS: tuple[tuple[Any, ...], ...] = (
    ("null",),
    ("wild", 0xDEAD0000),
    ("illegal",),
    ("divide", 1, 0),
    ("deep",),
    ("exit", 3),
    ("stop", 42),
    ("hang",),
)


async def main(image: Built) -> None:
    """Each way once."""
    spec = ChildSpec.of(Unikernel, image, name="divider", heartbeat=0.2)
    await Supervisor.start_link([spec], intensity=len(WAYS), period=10)
    for way in WAYS:
        before = whereis("divider")
        try:
            await call("divider", way)
        except CallError as error:
            print(f"{way!s:<22} {error.reason}")
        begun = time.monotonic()
        while whereis("divider") in (None, before):
            await sleep(0.0001)
        assert await call("divider", ("divide", 84, 2)) == 42
        print(f"{'':<22} back, and right, {1000 * (time.monotonic() - begun):.1f} ms later")


if __name__ == "__main__":
    run(main, build(Path(__file__).with_suffix(".c")))
