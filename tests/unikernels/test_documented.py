"""What docs/unikernels.md shows and says of values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hosted import image, needs_gcc
from hosting import Host, answer

from beamlike import Pid, call, exit, make_ref, monitor, self_pid, send, spawn
from unikernels import build, start_unikernel

pytestmark = needs_gcc

TEXT = (Path(__file__).parents[2] / "docs" / "unikernels.md").read_text()
PROGRAMS = re.findall(r"^```c\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
NOTHING, NIL, BOOL, INT, FLOAT, STR, BYTES, TUPLE, MAP, PID, OTHER = range(11)  # uk_type
KINDS: tuple[tuple[Any, tuple[int, int, int]], ...] = (
    (None, (NIL, 0, 0)),
    (True, (BOOL, 0, 0)),
    (1.5, (FLOAT, 0, 0)),
    (-(2**63), (INT, 0, 0)),
    (2**64 - 1, (INT, 0, 0)),
    (2**64, (OTHER, 0, 0)),
    (-(2**63) - 1, (OTHER, 0, 0)),
    ("a", (STR, 0, 0)),
    (b"a", (BYTES, 0, 0)),
    ((1, 2), (TUPLE, 2, INT)),
    ({"a": 1, 2: 3}, (MAP, 0, 0)),
    ([1, 2], (TUPLE, 3, OTHER)),
    ({1}, (TUPLE, 2, OTHER)),
    (frozenset([1]), (TUPLE, 2, OTHER)),
    ({(1, 2): 3}, (TUPLE, 3, OTHER)),
    (bytearray(b"a"), (OTHER, 0, 0)),
    (1j, (OTHER, 0, 0)),
)


async def client(boss: Pid, server: Pid) -> None:
    send(server, self_pid())
    send(boss, await call(await answer(), "a number, please", timeout=20))


def built(number: int, folder: Path) -> Path:
    source = folder / f"program{number}.c"
    source.write_text(PROGRAMS[number])
    return build(source).path


def test_the_programs(host: Host, tmp_path: Path) -> None:
    assert len(PROGRAMS) == 2

    async def check() -> None:
        doubles = await start_unikernel(built(0, tmp_path))
        assert await call(doubles, 21) == 42
        assert await call(doubles, "x") is None
        desk = await start_unikernel(built(1, tmp_path))
        monitor(desk)
        for _ in range(3):
            spawn(client, self_pid(), desk)
        with pytest.raises(TimeoutError):
            await answer(0.2)
        send(desk, [1, {2}])
        assert [await answer() for _ in range(3)] == [[1, {2}]] * 3
        exit(doubles, "kill")
        exit(desk, "kill")

    host.run(check)


def test_the_table_of_values(host: Host) -> None:
    async def check() -> None:
        pid = await start_unikernel(image("kinds"))
        for value, expected in (*KINDS, (self_pid(), (PID, 0, 0)), (make_ref(), (OTHER, 0, 0))):
            assert await call(pid, value) == expected, value
        exit(pid, "kill")

    host.run(check)
