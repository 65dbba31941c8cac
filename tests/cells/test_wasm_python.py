"""Python source in wasm cells, through CPython as a component, which is built and compiled once for all of these tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hosting import Host, answer

from beamlike import ChildSpec, Pid, Supervisor, call, exit, self_pid, send, spawn, unlink
from cells import Cell, CellEnded, CellOutput, Compiled, Limits, compile_component, spawn_cell

pytest.importorskip("wasmtime", reason="wasm cells need wasmtime: pip install 'beamlike[wasm]'")
if find_spec("componentize_py") is None:
    pytest.skip("Python becomes wasm by componentize-py: pip install 'beamlike[wasm-python]'", allow_module_level=True)

DOCUMENT = Path(__file__).parents[2] / "docs" / "wasm-cells.md"
EXAMPLE = Path(__file__).parents[2] / "examples" / "wasm" / "python"
PATIENT = 300.0  # seconds for the compiler
UNREACHABLE = ("trap", "wasm `unreachable` instruction executed")


@pytest.fixture(scope="module")
def python(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """CPython for wasm cells."""
    built = tmp_path_factory.mktemp("wasm") / "python.wasm"
    subprocess.run([EXAMPLE / "build.sh", built], check=True, env={**os.environ, "PYTHON": sys.executable})
    return host.run(compile_component, built.read_bytes(), timeout=PATIENT)  # type: ignore[no-any-return]


async def start(python: Compiled, source: str, *args: Any, **options: Any) -> Pid:
    return await spawn_cell(python, None, dedent(source), *args, kind="wasm", output=self_pid(), **options)


async def end_of(python: Compiled, source: str, *args: Any, **options: Any) -> tuple[str, Any]:
    """What such a cell writes, and why it ends."""
    await start(python, source, *args, **options)
    written = ""
    while type(message := await answer()) is CellOutput:
        written += message.data.decode()
    assert type(message) is CellEnded
    return written, message.reason


def test_the_document_is_true(host: Host, python: Compiled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    document = DOCUMENT.read_text()
    assert (EXAMPLE / "counter.py").read_text().partition("\n\n")[2] in document
    program, output = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", document, re.DOTALL | re.MULTILINE)[-1]
    names: dict[str, Any] = {"__name__": "document"}
    exec(program.rpartition("```python\n")[2], names)
    monkeypatch.chdir(EXAMPLE.parents[2])
    host.run(names["count"], python)
    assert capsys.readouterr().out == output

    async def check() -> None:
        pid = await start(python, EVALUATOR)
        (modules,) = re.findall(r"^These can be imported, and what they import: (.*?)\. Others", document, re.DOTALL | re.MULTILINE)
        assert await call(pid, f"import {' '.join(modules.split())}") == "done"

    host.run(check)


def test_the_example_counts(host: Host, python: Compiled) -> None:
    async def check() -> None:
        counter = await start(python, (EXAMPLE / "counter.py").read_text(), 90, self_pid())
        assert [await call(counter, 5), await call(counter, 6)] == [95, 101]
        assert await answer() == ("passed", 100)

    host.run(check)


SERVER = """
    waiting = []

    def init(boss, *rest):
        global first
        first = boss
        send(boss, rest)

    def handle_call(request, caller):
        match request:
            case "wait":
                waiting.append(caller)
                send(first, "waits")
                return NOREPLY
            case "go on":
                for each in waiting:
                    reply(each, "went on")
            case "self":
                return SELF
            case ("type", value):
                return type(value).__name__
        return request

    def handle_info(message):
        if message == "crash":
            raise ValueError(message)
        send(first, message)
"""
DEEP: Any = []
for _ in range(190):
    DEEP = [DEEP]
VALUES: list[Any] = [
    *(None, True, 0, -1, 2**63, 2**64 - 1, 2**70, -(2**70), 1.5, "ä\ud800", b"\0\xff", (), (1,), [], [1, [2]], {1, 2}, frozenset({3})),
    *({"a": 1}, {(1, 2): [3]}, {1: {2: b""}}, DEEP, bytearray(b"x"), 1 + 2j, b"x" * 20_000),
    *(Decimal("1.50"), date(2024, 2, 29)),  # which it can pass on and nothing else
]


def test_values_are_pythons_own_on_both_sides(host: Host, python: Compiled) -> None:
    async def check() -> None:
        pid = await start(python, SERVER, self_pid(), 1, [2])
        assert await answer() == (1, [2])
        for value in (*VALUES, self_pid(), [pid, {"pid": pid}]):
            send(pid, value)
            for arrived in (await answer(), await call(pid, value)):
                assert (type(arrived), arrived) == (type(value), value)
        assert await call(pid, "self") == pid
        kinds = [await call(pid, ("type", value)) for value in (2**70, [1], {1}, {(1,): 2}, bytearray(), 1j, pid, Decimal(1))]
        assert kinds == ["int", "list", "set", "dict", "bytearray", "complex", "Pid", "ExtType"]

    host.run(check)


async def _ask(pid: Pid, boss: Pid) -> None:
    send(boss, await call(pid, "wait"))


def test_a_call_can_be_answered_later(host: Host, python: Compiled) -> None:
    async def check() -> None:
        pid = await start(python, SERVER, self_pid())
        spawn(_ask, pid, self_pid())
        assert [await answer() for _ in range(2)] == [(), "waits"]
        assert await call(pid, "go on") == "go on"
        assert await answer() == "went on"

    host.run(check)


# --- what it cannot do ---

EVALUATOR = """
    import io, os, sys

    def handle_call(request, caller):
        try:
            exec(request, {"send": send, "Pid": Pid})
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "done"
"""
REFUSED = {
    "open('/etc/passwd')": "PermissionError: open is not there in a wasm cell",
    "import io; io.FileIO('/etc/passwd')": "PermissionError: open is not there in a wasm cell",
    "import os; os.open('/etc/passwd', 0)": "PermissionError: open is not there in a wasm cell",
    "import os; os.listdir('/')": "PermissionError: os.listdir is not there in a wasm cell",
    "import time; time.sleep(1)": "PermissionError: time.sleep is not there in a wasm cell",
    "import socket": "ModuleNotFoundError: No module named 'socket'",
    "import ctypes": "ModuleNotFoundError: No module named 'ctypes'",
    "import subprocess": "ModuleNotFoundError: No module named 'subprocess'",
    "import os; os.fork()": "AttributeError: module 'os' has no attribute 'fork'",
    "import _thread; _thread.start_new_thread(print, ())": "RuntimeError: can't start new thread",
    "bytes(1 << 30)": "MemoryError: ",
    "[None] * (1 << 28)": "MemoryError: ",
    "x = 'x' * 1000\nwhile True: x += x": "MemoryError: ",
    "f = lambda: f()\nf()": "RecursionError: maximum recursion depth exceeded",
    "f(": "SyntaxError: '(' was never closed (<string>, line 1)",
    "send(1, 2)": "TypeError: send: a Pid, not 1",
    "send(Pid('outside', 1, 1), object)": "TypeError: <class 'object'> cannot be sent",
    "send(Pid('outside', 1, 1), 'x' * 70_000)": "ValueError: it is longer than a message of this cell may be",
    "import json, dataclasses, re, decimal; assert json.loads('[1]') == [1]": "done",
    "import random; random.random()": "done",
}


def test_what_is_not_there_is_an_exception(host: Host, python: Compiled) -> None:
    async def check() -> None:
        pid = await start(python, EVALUATOR)
        assert {source: await call(pid, source) for source in REFUSED} == REFUSED

    host.run(check)


TRAPS = ["import os; os.stat('/')", "import os; os.urandom(4)", "import time; time.time()"]


@pytest.mark.parametrize("source", TRAPS)
def test_what_asks_the_system_is_a_trap(host: Host, python: Compiled, source: str) -> None:
    async def check() -> None:
        assert await end_of(python, source) == ("", UNREACHABLE)

    host.run(check)


# --- how it ends ---

ENDS: dict[str, tuple[str, Any]] = {
    "exit()": ("", "normal"),
    "print('a', 'b'); exit(3)": ("a b\n", ("exit", 3)),
    "import sys; print('x', file=sys.stderr); sys.exit(4)": ("x\n", ("exit", 4)),
    "import sys; sys.exit('no')": ("no\n", ("exit", 1)),
    "def f():\n    1 / 0\n\nf()": (
        """Traceback (most recent call last):
  File "<program>", line 4, in <module>
    f()
    ~^^
  File "<program>", line 2, in f
    1 / 0
    ~~^~~
ZeroDivisionError: division by zero
""",
        ("exit", 1),
    ),
    "def init(): raise LookupError('none')": (
        """Traceback (most recent call last):
  File "<program>", line 1, in init
    def init(): raise LookupError('none')
                ^^^^^^^^^^^^^^^^^^^^^^^^^
LookupError: none
""",
        ("exit", 1),
    ),
    "def f(": (
        """  File "<program>", line 1
    def f(
         ^
SyntaxError: '(' was never closed
""",
        ("exit", 1),
    ),
    "kept = []\nwhile True: kept.append(bytes(1 << 20))": (
        """Traceback (most recent call last):
  File "<program>", line 2, in <module>
    while True: kept.append(bytes(1 << 20))
                            ~~~~~^^^^^^^^^
MemoryError
""",
        ("exit", 1),
    ),
    "send(Pid('outside', 1, 7), 'hi')": ("", ("capability_violation", "mailbox")),
}


@pytest.mark.parametrize("source", ENDS)
def test_it_ends_with(host: Host, python: Compiled, source: str) -> None:
    async def check() -> None:
        assert await end_of(python, source) == ENDS[source]

    host.run(check)


def test_a_loop_ends_at_its_limit(host: Host, python: Compiled) -> None:
    async def check() -> None:
        assert await end_of(python, "while True: pass", limits=Limits(cpu=1.0)) == ("", ("limit", "cpu"))

    host.run(check)


def test_its_supervisor_starts_it_again(host: Host, python: Compiled) -> None:
    async def check() -> None:
        child = ChildSpec.of(Cell, python, None, dedent(SERVER), self_pid(), id="guest", kind="wasm", name="guest")
        supervisor = await Supervisor.start_link([child], intensity=100)
        for _ in range(3):
            assert await answer() == ()
            send("guest", "crash")
        unlink(supervisor)
        exit(supervisor, "shutdown")

    host.run(check)
