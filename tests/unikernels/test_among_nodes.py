"""Unikernels of two nodes: in process groups, called, monitored and sent much across nodes, and gone with their node, as cells are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from hosted import image, needs_gcc

pytestmark = needs_gcc

ROOT = Path(__file__).parents[2]
PROGRAM = """
    import os, sys, time
    from beamlike import *
    from beamlike import exit
    from nodes import *

    def descendants(pid):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        return children + [each for child in children for each in descendants(child)]

    async def host(boss, path):
        from cells import spawn_cell
        from unikernels import start_unikernel
        pids = [await start_unikernel(path), await start_unikernel(path)]
        send(pids[0], ("new", self_pid()))
        pids.append((await receive(lambda message: type(message) is tuple and message[0] == "new"))[1])
        for pid in pids:
            await join("programs", pid)
        pids.append(await spawn_cell("async def wait(): await receive()", "wait"))
        send(boss, (descendants(os.getpid()), *pids[:3]))
        await receive(lambda message: False)

    async def until(count):
        begun = time.monotonic()
        while len(members("programs")) != count:
            assert time.monotonic() < begun + 20, members("programs")
            await sleep(0.01)

    async def down_of(ref):
        return (await receive(lambda message: type(message) is Down and message.ref == ref, timeout=20)).reason

    async def main():
        here, there = list_nodes()
        for node in (here, there):
            await spawn_at(node, host, self_pid(), sys.argv[1])
        found = {pids[0].node: (programs, pids) for programs, *pids in [await receive() for _ in range(2)]}
        await until(6)
        assert {pid for _, pids in found.values() for pid in pids} == {*members("programs")}
        far, other, second = found[there][1]
        near = found[here][1][0]
        for pid in members("programs"):
            assert await call(pid, "how many") in ("how many", 0)
        assert await call(far, b"x" * 3_000_000) == b"x" * 3_000_000
        for number in range(2000):
            send(far, ("echo", self_pid(), number))
        got = [(await receive(lambda message: type(message) is tuple and message[0] == "echo", timeout=20))[2] for _ in range(2000)]
        assert got == [*range(2000)], got[:5]
        send(near, ("monitor", self_pid(), far))  # one program in C watches another, on the other node
        assert await call(near, 1) == 1
        refs = [monitor(far), monitor(second)]
        exit(far, "kill")
        assert [await down_of(ref) for ref in refs] == ["killed", "killed"]
        assert (await receive(lambda message: type(message) is tuple and message[0] == "down", timeout=20))[2] == "killed"
        await until(4)
        ref = monitor(other)
        kill_node(there)
        assert await down_of(ref) == "noconnection"
        print("lost", flush=True)
        await until(3)
        assert {*members("programs")} == {*found[here][1]}
        assert await call(near, 7) == 7
        begun = time.monotonic()
        while left := [program for program in found[there][0] if os.path.exists(f"/proc/{program}")]:  # or nobody has reaped it
            assert time.monotonic() < begun + 20, left
            await sleep(0.01)
        print("over", len(found[there][0]) > 3, flush=True)

    if __name__ == "__main__":
        run(main, nodes=2)
"""


def test_in_groups_and_calls_across_nodes_and_gone_with_their_node(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, "program.py", str(image("pids"))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BEAMLIKE_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "lost\nover True\n", done.stdout + done.stderr
