"""Components as the program of wasm cells, and compiled before: small ones, in the text format."""

from __future__ import annotations

from typing import Any

import pytest
from hosting import Host, answer

from beamlike import CallError, Down, Pid, call, exit, monitor, receive, self_pid, send, spawn
from cells import CellEnded, CellOutput, Compiled, Limits, compile_component, spawn_cell

wasmtime = pytest.importorskip("wasmtime", reason="wasm cells need wasmtime: pip install 'beamlike[wasm]'")

IMPORTS = """
    (import "send" (func $send (param "to" s64) (param "message" (list u8)) (result s32)))
    (import "reply" (func $reply (param "number" u64) (param "answer" (list u8)) (result s32)))
    (import "log" (func $log (param "text" string)))
    (import "exit" (func $exit (param "status" s32)))
"""
EXPORTS = """
    (func (export "load") (param "source" string)
        (canon lift (core func $main "load") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (func (export "on-message") (param "kind" u32) (param "number" u64) (param "payload" (list u8))
        (canon lift (core func $main "on-message") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
"""


def component(
    on_message: str = "", *, load: str = "", start: str = "", memory: int = 3, imports: str = IMPORTS, exports: str = EXPORTS
) -> bytes:
    """One whose functions have these bodies. It allocates nothing: what it is given is always at 1024, and at 16 is "hi"."""
    return bytes(
        wasmtime.wat2wasm(f"""
        (component
            {imports}
            (core module $libc
                (memory (export "memory") {memory})
                (data (i32.const 16) "\\a2hi")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $libc (instantiate $libc))
            (core func $send (canon lower (func $send) (memory (core memory $libc "memory"))))
            (core func $reply (canon lower (func $reply) (memory (core memory $libc "memory"))))
            (core func $log (canon lower (func $log) (memory (core memory $libc "memory"))))
            (core func $exit (canon lower (func $exit)))
            (core module $main
                (import "libc" "memory" (memory 1))
                (import "host" "send" (func $send (param i64 i32 i32) (result i32)))
                (import "host" "reply" (func $reply (param i64 i32 i32) (result i32)))
                (import "host" "log" (func $log (param i32 i32)))
                (import "host" "exit" (func $exit (param i32)))
                (func (export "load") (param $text i32) (param $length i32) {load})
                (func $start {start})
                (start $start)
                (func (export "on-message") (param $kind i32) (param $number i64) (param $at i32) (param $length i32) {on_message}))
            (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance
                (export "send" (func $send)) (export "reply" (func $reply)) (export "log" (func $log)) (export "exit" (func $exit))))))
            {exports})
        """)
    )


async def start(source: bytes | Compiled, *args: Any, **options: Any) -> Pid:
    return await spawn_cell(source, None, "source", *args, kind="wasm", **options)


async def end_of(source: bytes | Compiled, *args: Any, **options: Any) -> Any:
    """Why such a cell ends."""
    monitor(await start(source, *args, **options))
    return (await receive(Down, timeout=20)).reason


ECHO = component(
    """
    (if (i32.eq (local.get $kind) (i32.const 3))
        (then (drop (call $reply (local.get $number) (local.get $at) (local.get $length))))
        (else (drop (call $send (i64.const 1) (local.get $at) (local.get $length)))))
    """,
    load="(call $log (local.get $text) (local.get $length))",
)
"""Logs its source, answers a call by what it asks, and sends each message to the first pid that it is given."""


def test_it_is_given_its_source_then_its_arguments_then_messages_and_calls(host: Host) -> None:
    async def check() -> None:
        pid = await start(ECHO, self_pid(), "ä", output=self_pid())
        assert await answer() == CellOutput(pid, "stderr", b"source")
        assert await answer() == (self_pid(), "ä")
        for value in ("hi", [1, {2}, None], b"x" * 20_000, pid):
            send(pid, value)
            assert await answer() == value
            assert await call(pid, value) == value

    host.run(check)


UNREACHABLE = ("trap", "wasm `unreachable` instruction executed")
ENDS: dict[str, tuple[bytes, Any]] = {
    "exit with 0": (component("(call $exit (i32.const 0))"), "normal"),
    "exit": (component("(call $exit (i32.const 7))"), ("exit", 7)),
    "exit while it loads": (component(load="(call $exit (i32.const 8))"), ("exit", 8)),
    "exit while it starts": (component(start="(call $exit (i32.const 9))"), ("exit", 9)),
    "a trap": (component("unreachable"), UNREACHABLE),
    "a trap while it loads": (component(load="unreachable"), UNREACHABLE),
    "a trap while it starts": (component(start="unreachable"), UNREACHABLE),
    "out of its memory": (component("(drop (i32.load (i32.const 1000000)))"), ("trap", "out of bounds memory access")),
    "deep recursion": (component("(call $start)", start="(call $start)"), ("trap", "call stack exhausted")),
    "a message that is nowhere": (
        component("(drop (call $send (i64.const 1) (i32.const -1) (i32.const 10)))"),
        ("trap", "list pointer/length out of bounds of memory"),
    ),
    "text that is none": (
        component("(i32.store8 (i32.const 0) (i32.const 255)) (call $log (i32.const 0) (i32.const 1))"),
        ("trap", "invalid utf-8 sequence of 1 bytes from index 0"),
    ),
    "a handle that it was not given": (component("(drop (call $send (i64.const 5) (i32.const 16) (i32.const 3)))"), "mailbox"),
    "a handle below 0": (component("(drop (call $send (i64.const -5) (i32.const 16) (i32.const 3)))"), "mailbox"),
    "a message that is too long": (
        component("(call $exit (call $send (i64.const 1) (i32.const 0) (i32.const 65537)))"),
        ("exit", -3),
    ),
    "an answer that is too long": (
        component("(call $exit (call $reply (i64.const 1) (i32.const 0) (i32.const 65537)))"),
        ("exit", -3),
    ),
    "a message to itself": (
        component(
            """
            (if (i32.eq (local.get $length) (i32.const 3)) (then (call $exit (i32.const 4))))
            (drop (call $send (i64.const -1) (i32.const 16) (i32.const 3)))
            """
        ),
        ("exit", 4),
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_with(host: Host, name: str) -> None:
    async def check() -> None:
        source, expected = ENDS[name]
        assert await end_of(source, self_pid()) == (("capability_violation", "mailbox") if expected == "mailbox" else expected)

    host.run(check)


@pytest.mark.parametrize("limits", [Limits(fuel=1_000_000), Limits(cpu=0.3)], ids=["fuel", "cpu"])
def test_a_loop_ends_at_its_limit(host: Host, limits: Limits) -> None:
    async def check() -> None:
        assert await end_of(component("(loop (br 0))"), limits=limits) == ("limit", "cpu")

    host.run(check)


GROW = component("(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (call $exit (memory.size))")


def test_its_memory_grows_up_to_its_limit_and_no_further(host: Host) -> None:
    async def check() -> None:
        assert await end_of(GROW, limits=Limits(memory=1000 * 65536)) == ("exit", 1000)
        assert await end_of(component(memory=1001), limits=Limits(memory=1000 * 65536)) == ("limit", "memory")

    host.run(check)


@pytest.mark.parametrize("name", ["fork", "wasi:cli/environment@0.2.0"])
def test_a_component_that_imports_anything_else_is_not_run(host: Host, name: str) -> None:
    async def check() -> None:
        what = "(instance)" if ":" in name else "(func)"
        source = component(imports=f'{IMPORTS} (import "{name}" {what})')
        assert await end_of(source) == ("capability_violation", "import", name)

    host.run(check)


WRONG: dict[str, tuple[bytes, str]] = {
    "an import of another type": (
        component(imports=IMPORTS.replace('"number" u64', '"number" s64')),
        "reply, which it imports, is func(u64, list<u8>) -> s32, and here it is func(s64, list<u8>) -> s32",
    ),
    "an import that is no function": (
        bytes(wasmtime.wat2wasm('(component (import "exit" (instance)))')),
        "exit, which it imports, is func(s32), and here it is a ComponentInstanceType",
    ),
    "no exports": (component(exports=""), "load, which it exports, is func(string), and here it is not there"),
    "an export of another type": (
        component(exports=EXPORTS.replace('"kind" u32', '"kind" s32')),
        "on-message, which it exports, is func(u32, u64, list<u8>), and here it is func(s32, u64, list<u8>)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_run_is_refused_with_a_reason(host: Host, name: str) -> None:
    async def check() -> None:
        source, text = WRONG[name]
        assert await end_of(source) == ("invalid", text)

    host.run(check)


def test_its_first_argument_is_the_source_that_it_loads(host: Host) -> None:
    async def check() -> None:
        monitor(await spawn_cell(ECHO, None, 5, kind="wasm"))
        expected = "a component is given the source that it loads as its first argument, not 5"
        assert (await receive(Down, timeout=20)).reason == ("invalid", expected)

    host.run(check)


# --- compiled before ---


@pytest.mark.parametrize("metered", [False, True])
def test_it_is_compiled_once_and_run_many_times(host: Host, metered: bool) -> None:
    async def check() -> None:
        compiled = await compile_component(ECHO, metered=metered)
        limits = Limits(fuel=10_000 if metered else None)
        for pid in [await start(compiled, self_pid(), limits=limits) for _ in range(5)]:
            assert await answer() == (self_pid(),)
            assert await call(pid, "hi") == "hi"
        with pytest.raises(ValueError, match="metered"):
            await start(compiled, limits=Limits(fuel=None if metered else 10_000))

    host.run(check)


def test_what_cannot_be_compiled_is_refused_with_a_reason(host: Host) -> None:
    async def check() -> None:
        with pytest.raises(CallError) as refused:
            await compile_component(ECHO[:100])
        assert refused.value.reason[0] == "invalid"
        with pytest.raises(CallError) as refused:
            await compile_component(ECHO + b"\0\x80\x80\x80\x20\0" + bytes(2**26 - 1), limits=Limits(memory=1))
        assert refused.value.reason == ("limit", "memory")
        with pytest.raises(TypeError, match="a component is bytes"):
            await compile_component("(component)")  # type: ignore[arg-type]

    host.run(check)


def test_its_compiler_ends_with_the_call(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async def never_answered(compiler: Pid, *args: Any, **options: Any) -> Any:
            send(parent, compiler)
            await receive(timeout=0 if is_late else None)

        parent = self_pid()
        monkeypatch.setattr("cells.cell.call", never_answered)
        for is_late in (True, False):
            caller = spawn(compile_component, ECHO)
            monitor(await answer())
            if not is_late:
                exit(caller, "kill")
            assert (await receive(Down, timeout=20)).reason in ("killed", "noproc")

    host.run(check)


def test_machine_code_is_run_only_as_what_it_is(host: Host) -> None:
    async def check() -> None:
        compiled = await compile_component(ECHO)
        for source in (compiled.code, Compiled(ECHO, False), Compiled(compiled.code[:1000], False), Compiled(b"", False)):
            assert (await end_of(source))[0] == "invalid"
        with pytest.raises(TypeError, match="the source of a cell of the kind process"):
            await spawn_cell(compiled, "main")
        await start(compiled, self_pid(), output=self_pid(), limits=Limits(output_bytes=3))
        assert [type(await answer()) for _ in range(2)] == [CellOutput, CellEnded]

    host.run(check)
