"""Wasm cells: what a module can call, and modules that are hostile, broken or greedy. Programs in C:
tests/unikernels/test_wasm_unikernel.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hosted import image, needs_clang
from hosting import Host, answer

from beamlike import ChildSpec, Down, Pid, Supervisor, call, exit, monitor, receive, self_pid, send, unlink
from cells import Cell, CellOutput, Limits, spawn_cell

wasmtime = pytest.importorskip("wasmtime", reason="wasm cells need wasmtime: pip install 'beamlike[wasm]'")
from cells.inside.imports import FUNCTIONS  # noqa: E402 - it is wasmtime's

DOCUMENT = Path(__file__).parents[2] / "docs" / "wasm-cells.md"
PAGE = 65536


def wat(*fields: str, memory: str = '(memory (export "memory") 1)') -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {' '.join(fields)} {memory})"))


def leb128(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + leb128(value >> 7) if value > 0x7F else bytes([value])


def main(body: str, result: str = "") -> str:
    return f'(func (export "main") {result} {body})'


LOG = '(import "beamlike" "log" (func $log (param i32 i32)))'
NOW = '(import "beamlike" "now" (func $now (result i64)))'
SELF = '(import "beamlike" "self" (func $self (result i64)))'
SEND = '(import "beamlike" "send" (func $send (param i64 i32 i32) (result i32)))'
RECEIVE = '(import "beamlike" "receive" (func $receive (param i32 i32 i32 i32) (result i32)))'
RECEIVES = "(drop (call $receive (i32.const 0) (i32.const 24) (i32.const 100) (i32.const -1)))"
SENDS = "(drop (call $send (i64.const 1) (i32.const 200) (i32.const 3)))"  # to the first that it was handed
HI = '(data (i32.const 200) "\\a2hi")'
HELLO = wat(RECEIVE, SEND, HI, main(f"{RECEIVES} {SENDS} {RECEIVES} unreachable"))
"""Sends "hi" to its argument, and traps at the first message."""
LOOP = wat(RECEIVE, SEND, HI, main(f"{RECEIVES} {SENDS} (loop (br 0))"))
GROW = wat(main("(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (memory.size)", "(result i32)"))
UNREACHABLE = ("trap", "wasm `unreachable` instruction executed")


async def wasm(source: bytes, *args: Any, **options: Any) -> Pid:
    return await spawn_cell(source, "main", *args, kind="wasm", **options)


async def end_of(source: bytes, *args: Any, **options: Any) -> Any:
    """Why such a cell ends."""
    monitor(await wasm(source, *args, **options))
    return (await receive(Down, timeout=20)).reason


# --- messages ---

TELL = """(func $tell (param i32)
    (i32.store8 (i32.const 300) (local.get 0)) (drop (call $send (i64.const 1) (i32.const 300) (i32.const 1))))"""
RESULTS = """
    (call $tell (call $receive (i32.const 0) (i32.const 24) (i32.const 1) (i32.const -1))) (call $tell (i32.load (i32.const 4)))
    (call $tell (call $receive (i32.const 0) (i32.const 24) (i32.const 100) (i32.const 0))) (call $tell (i32.load (i32.const 0)))
    (call $tell (call $receive (i32.const 0) (i32.const 24) (i32.const 100) (i32.const 1)))
    (call $tell (call $send (call $self) (i32.const 200) (i32.const 3)))
    (call $tell (call $receive (i32.const 0) (i32.const 24) (i32.const 100) (i32.const 0)))
    (call $tell (call $send (i64.const 1) (i32.const 0) (i32.const 501)))
    (call $tell (i64.gt_s (call $now) (i64.const 0)))"""
"""What the functions give: receive what there is no room for, and then is; nothing; from itself; send what is too long; the time."""


def test_a_module_gets_messages_and_sends_some(host: Host) -> None:
    async def check() -> None:
        module = wat(RECEIVE, SEND, SELF, NOW, HI, TELL, main(f"{RECEIVES} {RESULTS}"))
        ref = monitor(pid := await wasm(module, self_pid(), limits=Limits(message_bytes=500)))
        send(pid, "hello")
        assert [await answer() for _ in range(9)] == [-2, 6, 6, 1, -1, 0, 3, -3, 1]
        assert await answer() == Down(ref, pid, "normal")

    host.run(check)


def test_the_document_is_true_of_what_a_module_calls(host: Host) -> None:
    document = DOCUMENT.read_text()
    for name, (_, parameters, result) in FUNCTIONS.items():
        kinds = [{"i": "i32", "l": "i64"}[letter] for letter in parameters] + ["→ " + {"i": "i32", "l": "i64"}[letter] for letter in result]
        assert re.search(rf"^\| `{name}\(.*\)` \| {' '.join(kinds)} \|", document, re.MULTILINE), name
    shown = re.search(r"^```wat\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    assert shown is not None
    module = bytes(wasmtime.wat2wasm(shown[1]))

    async def check() -> None:
        pid = await wasm(module)
        send(pid, "no call")
        for request in (None, "hello", pid, self_pid(), b"x" * 65_000):
            assert await call(pid, request) == request

    host.run(check)


@needs_clang
def test_the_document_is_true_of_programs_in_c(tmp_path: Path) -> None:
    shown = re.search(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert shown is not None
    folder = tmp_path / "examples" / "unikernels"
    folder.mkdir(parents=True)
    (folder / "hasher.wasm").write_bytes(image("hasher", "wasm").read_bytes())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", shown[1]], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, shown[2]), done.stderr


# --- how it ends ---

ENDS = {
    "normal": (wat(main("")), "normal"),
    "a status of 0": (wat(main("(i32.const 0)", "(result i32)")), "normal"),
    "a status": (wat(main("(i32.const 7)", "(result i32)")), ("exit", 7)),
    "unreachable": (wat(main("unreachable")), UNREACHABLE),
    "its start function": (wat("(func $s unreachable) (start $s)", main("")), UNREACHABLE),
    "out of its memory": (wat(main("(drop (i32.load (i32.const 65536)))")), ("trap", "out of bounds memory access")),
    "division by zero": (wat(main("(drop (i32.div_s (i32.const 1) (i32.const 0)))")), ("trap", "integer divide by zero")),
    "deep recursion": (wat('(func $f (export "main") (call $f))'), ("trap", "call stack exhausted")),
    "an address of nobody": (wat(LOG, main("(call $log (i32.const 65530) (i32.const 7))")), ("trap", "out of bounds memory access")),
    "a negative address": (wat(LOG, main("(call $log (i32.const -1) (i32.const 1))")), ("trap", "out of bounds memory access")),
    "a negative length": (wat(LOG, main("(call $log (i32.const 0) (i32.const -1))")), ("trap", "out of bounds memory access")),
    "a call before there is a memory": (
        wat(LOG, "(func $s (call $log (i32.const 0) (i32.const 1))) (start $s)", main("")),
        ("trap", "out of bounds memory access"),
    ),
    "a header of nobody": (
        wat(RECEIVE, main("(drop (call $receive (i32.const 65520) (i32.const 0) (i32.const 9) (i32.const -1)))")),
        ("trap", "out of bounds memory access"),
    ),
    "a handle that it was not given": (wat(SEND, HI, main(f"{SENDS} (loop (br 0))")), ("capability_violation", "mailbox")),
    "too much output": (wat(LOG, main("(loop (call $log (i32.const 0) (i32.const 60000)) (br 0))")), ("limit", "output")),
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_with(host: Host, name: str) -> None:
    async def check() -> None:
        module, expected = ENDS[name]
        assert await end_of(module) == expected

    host.run(check)


IMPORTS = {
    "env::fork": '(import "env" "fork" (func))',
    "wasi_snapshot_preview1::fd_write": '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))',
    "beamlike::open": '(import "beamlike" "open" (func))',
    "beamlike::memory": '(import "beamlike" "memory" (memory 1))',
}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_module_that_imports_anything_else_is_not_run(host: Host, name: str) -> None:
    async def check() -> None:
        module = wat(IMPORTS[name], main("unreachable"), memory="")
        assert await end_of(module) == ("capability_violation", "import", name)

    host.run(check)


def test_the_name_in_a_reason_is_not_longer_than_a_reason_may_be(host: Host) -> None:
    async def check() -> None:
        module = wat(f'(import "{"x" * 90_000}" "y" (func))', main(""))
        assert await end_of(module) == ("capability_violation", "import", "x" * 1000)

    host.run(check)


WRONG = {
    "nothing": b"",
    "no module": b"junk" * 100,
    "the beginning of one": HELLO[: len(HELLO) // 2],
    "a damaged one": HELLO[:20] + b"\xff" + HELLO[21:],
    "a component of nothing": b"\0asm\x0d\0\x01\0",
    "compiled code": bytes(wasmtime.Module(wasmtime.Engine(), HELLO).serialize()),
    "an import of another type": wat('(import "beamlike" "log" (func (param i64)))', main("")),
    "no function": wat(),
    "a function with parameters": wat('(func (export "main") (param i32))'),
    "something else of this name": wat('(global (export "main") i32 (i32.const 0))'),
    "no memory": wat(main(""), memory=""),
    "two tables of a million": wat("(table 1000000 funcref)", main("")),
    "exceptions": wat("(tag $t)", main("(throw $t)")),
    "threads": wat(main(""), memory='(memory (export "memory") 1 2 shared)'),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_run_is_refused_with_a_reason(host: Host, name: str) -> None:
    async def check() -> None:
        kind, text = await end_of(WRONG[name])
        assert (kind, bool(text)) == ("invalid", True)

    host.run(check)


# --- limits ---


@pytest.mark.parametrize("limits", [Limits(fuel=1_000_000), Limits(cpu=0.2)], ids=["fuel", "cpu"])
def test_a_loop_ends_at_its_limit(host: Host, limits: Limits) -> None:
    async def check() -> None:
        assert await end_of(LOOP, self_pid(), limits=limits) == ("limit", "cpu")

    host.run(check)


def test_fuel_ends_it_after_the_same_instruction_each_time(host: Host) -> None:
    async def check() -> None:
        counted = [await count_until(fuel) for fuel in (10_000, 10_000, 20_000)]
        assert 0 < counted[0] == counted[1] < counted[2] < 3 * counted[0]

    async def count_until(fuel: int) -> int:
        module = wat(LOG, main("(loop (call $log (i32.const 0) (i32.const 1)) (br 0))"))
        await wasm(module, output=self_pid(), limits=Limits(fuel=fuel))
        written = 0
        while type(message := await answer()) is CellOutput:
            written += len(message.data)
        assert message.reason == ("limit", "cpu")
        return written

    host.run(check)


@pytest.mark.parametrize("pages", [1, 100, 2000])
def test_its_memory_grows_up_to_its_limit_and_no_further(host: Host, pages: int) -> None:
    async def check() -> None:
        assert await end_of(GROW, limits=Limits(memory=pages * PAGE + PAGE // 2)) == ("exit", pages)

    host.run(check)


MEMORIES = {
    "one": '(memory (export "memory") 101)',
    "one that nobody sees": '(memory 101) (memory (export "memory") 1)',
    "two of which each has the limit": '(memory 1) (memory (export "memory") 1)',
}


@pytest.mark.parametrize("name", MEMORIES)
def test_a_module_that_begins_with_more_memory_is_not_run(host: Host, name: str) -> None:
    async def check() -> None:
        module = wat(main("unreachable"), memory=MEMORIES[name])
        assert await end_of(module, limits=Limits(memory=2**30 if name.startswith("two") else 100 * PAGE)) == ("limit", "memory")

    host.run(check)


BOMB = main(
    "(local " + "i32 " * 1000 + ")" + "".join(f"(if (local.get 0) (then (local.set {n % 1000} (i32.const 3)))) " for n in range(10_000))
)
"""100 KB that take a compiler 100 MiB."""
HUGE = b"\0" + leb128(5 + 40 * 2**20) + b"\x04none" + bytes(40 * 2**20)
"""A section that means nothing, of 40 MiB."""


@pytest.mark.parametrize("module", [wat(BOMB), wat(main("")) + HUGE], ids=["bomb", "huge"])
def test_a_module_that_takes_more_memory_than_its_limit_is_not_run(host: Host, module: bytes) -> None:
    async def check() -> None:
        assert await end_of(module, limits=Limits(memory=PAGE)) == ("limit", "memory")
        assert await end_of(module, limits=Limits(memory=2**30)) == "normal"

    host.run(check)


# --- as any process ---


def test_its_supervisor_starts_it_again(host: Host) -> None:
    async def check() -> None:
        child = ChildSpec.of(Cell, HELLO, "main", self_pid(), id="guest", kind="wasm", name="guest")
        supervisor = await Supervisor.start_link([child], intensity=100)
        for _ in range(3):
            assert await answer() == "hi"
            send("guest", "trap")
        assert await answer() == "hi"
        unlink(supervisor)
        exit(supervisor, "shutdown")

    host.run(check)


def test_when_it_is_killed_its_os_process_is(host: Host) -> None:
    async def check() -> None:
        pid = await wasm(LOOP, self_pid(), output=self_pid())
        assert await answer() == "hi"
        exit(pid, "kill")
        assert (await answer()).reason == "killed"  # of CellEnded, which is sent when the OS process has ended

    host.run(check)


def test_fifty_are_alive_at_once(host: Host) -> None:
    async def check() -> None:
        pids = [await wasm(HELLO, self_pid()) for _ in range(50)]
        assert [await answer() for _ in pids] == ["hi"] * 50
        refs = {monitor(pid) for pid in pids}
        for pid in pids:
            send(pid, "trap")
        for _ in pids:
            down = await answer()
            refs.remove(down.ref)
            assert down.reason == UNREACHABLE

    host.run(check)


def test_bytes_are_for_wasm_and_nothing_else_is(host: Host) -> None:
    async def check() -> None:
        for source, kind in ((HELLO, "process"), ("async def main(): ...", "wasm")):
            with pytest.raises(TypeError, match="the source of a cell of the kind"):
                await spawn_cell(source, "main", kind=kind)
        with pytest.raises(ValueError, match="fuel is 0"):
            await wasm(HELLO, limits=Limits(fuel=0))

    host.run(check)
