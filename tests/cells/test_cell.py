"""Cells as processes: the face inside, pids in both directions, how they end."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hosting import Host, answer, cell

import caps
from beamlike import (
    CallError,
    ChildSpec,
    Down,
    Exit,
    GenServer,
    Pid,
    Supervisor,
    call,
    exit,
    link,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    self_pid,
    send,
    sleep,
    spawn,
    unlink,
)
from cells import Cell, CellEnded, CellOutput, Limits, spawn_cell

# Programs of cells are functions here whose source is shipped: strangers' code, without types, which has its names from the face there.
# ruff: noqa: F821
# mypy: allow-untyped-defs, disable-error-code="name-defined, override"


async def echo(parent, *values):
    send(parent, ("args", values))
    while (message := await receive()) != "stop":
        send(parent, message)


VALUES = (
    None,
    True,
    1,
    -(2**63),
    2**70,
    1.5,
    "ä\ud800",
    b"\xc7\x13",
    (1, (2,)),
    [1, [2]],
    {"a": [1]},
    {(1, 2): 3},
    {1, 2},
    frozenset({3}),
    bytearray(b"x"),
    1j,
)


def test_values_pass_in_both_directions(host: Host) -> None:
    async def check() -> None:
        pid = await cell(echo, *VALUES)
        assert await answer() == ("args", VALUES)
        for value in VALUES:
            send(pid, value)
            assert (await answer(), type(value)) == (value, type(value))

    host.run(check)


def test_a_pid_comes_back_as_itself(host: Host) -> None:
    async def check() -> None:
        pid = await cell(echo, 1)
        await answer()
        for pids in (self_pid(), [self_pid()], {"me": self_pid()}, (pid, self_pid()), {pid}):
            send(pid, pids)
            assert await answer() == pids

    host.run(check)


async def doubler(parent):
    class Doubler(GenServer):
        async def init(self):
            return None

        async def handle_call(self, request, caller, state):
            return request * 2, state

    send(parent, await Doubler.start_link())
    await receive()


async def replier(parent):
    while True:
        asked = await receive()
        reply(asked.caller, asked.request + 1)


def test_it_answers_calls(host: Host) -> None:
    async def check() -> None:
        pid = await cell(replier)
        assert [await call(pid, n) for n in range(5)] == [1, 2, 3, 4, 5]

    host.run(check)


async def asker(parent, server):
    send(parent, await call(server, 20))
    try:
        await call(server, "crash")
    except CallError as error:
        send(parent, error.reason)
    try:
        await call(server, "never", timeout=0.05)
    except CallTimeoutError:
        send(parent, "timeout")


class Server(GenServer):
    async def init(self) -> None:
        self.asked = 0

    async def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case int():
                return request + 1
            case "never":
                await sleep(30)
        raise ValueError("crash")


def test_it_calls_whom_it_was_handed(host: Host) -> None:
    async def check() -> None:
        server = await Server.start()
        await cell(asker, server)
        assert await answer() == 21
        (kind, _), _ = await answer()
        assert kind == "ValueError"

    host.run(check)


async def family(parent):
    async def child(n):
        send(parent, (n, self_pid()))
        while True:
            message = await receive()
            if message == "end":
                return
            send(parent, (n, message))

    for n in range(3):
        spawn(child, n)
    await receive()


def test_each_of_its_processes_is_a_pid(host: Host) -> None:
    async def check() -> None:
        main = await cell(family)
        children = dict([await answer() for _ in range(3)])
        assert len({main, *children.values()}) == 4
        for n, pid in children.items():
            send(pid, "hello")
            assert await answer() == (n, "hello")
        ref = monitor(children[1])
        send(children[1], "end")
        assert await answer() == Down(ref, children[1], "normal")
        others = [monitor(children[n]) for n in (0, 2)]
        exit(main, "kill")
        assert {(await answer()).ref for _ in others} == set(others)

    host.run(check)


async def mother(parent):
    async def child():
        send(parent, self_pid())
        await receive()

    process_flag("trap_exit", True)
    for _ in range(2):
        spawn_link(child)
    while True:
        message = await receive()
        send(parent, (message.sender, message.reason))


def test_a_process_of_it_is_ended_from_outside_and_its_links_inside_are_told(host: Host) -> None:
    async def check() -> None:
        await cell(mother)
        first, second = await answer(), await answer()
        ref = monitor(first)
        exit(first, "kill")
        down, told = sorted([await answer(), await answer()], key=lambda message: type(message).__name__)
        assert (down, told) == (Down(ref, first, "killed"), (first, "killed"))
        send(second, "end")
        assert await answer() == (second, "normal")

    host.run(check)


async def fertile(parent):
    async def child():
        send(parent, self_pid())

    for _ in range(3000):
        spawn(child)
        await receive()
    send(parent, "done")
    await receive()


def test_it_may_hand_out_any_number_of_pids_one_after_the_other(host: Host) -> None:
    async def check() -> None:
        pid = await cell(fertile)
        count = 0
        while (message := await answer()) != "done":
            assert type(message) is Pid
            send(pid, "next")
            count += 1
        assert count == 3000

    host.run(check)


async def limiter(parent, server):
    async def child():
        try:
            send(parent, await call(server, 1))
        except PermissionError:
            send(parent, "refused")

    spawn(child, exclude=[("port_io", 0, 1)])
    spawn(child, exclude=[("send", server)])
    send(parent, ("tightened", await tighten(self_pid(), [("register", "all")])))
    await receive()


def test_it_may_limit_its_own_processes(host: Host) -> None:
    async def check() -> None:
        server = await Server.start()
        await cell(limiter, server)
        answers = [await answer() for _ in range(3)]
        assert sorted(answers, key=str) == [("tightened", 3), 2, "refused"]

    host.run(check)


async def modest(parent, server):
    async def child():
        await receive()

    send(parent, [await call(server, 1), spawn(child)])
    monitor(server)
    try:
        open("/etc/hostname")  # noqa: ASYNC230, SIM115 - as programs do
    except PermissionError:
        send(parent, "refused")
    await receive()


def test_it_may_have_nothing_but_to_send(host: Host) -> None:
    async def check() -> None:
        server = await Server.start()
        pid = await cell(modest, server, exclude=caps.all_but("send"))
        two, child = await answer()
        assert (two, type(child), await answer()) == (2, Pid, "refused")
        info = process_info(pid)
        assert info is not None
        assert info.label.startswith("cell, OS process ")
        os.kill(int(info.label.rpartition(" ")[2]), 0)

    host.run(check)


async def curious(parent, target):
    for _ in range(200):
        monitor(target)
    send(parent, "watching")


def test_what_it_asked_for_ends_with_it(host: Host) -> None:
    async def check() -> None:
        target = await cell(echo)
        await answer()
        before = len(processes())
        ref = monitor(await cell(curious, target))
        assert await answer() == "watching"
        assert (await answer()).ref == ref
        for _ in range(1000):
            if len(processes()) <= before:
                break
            await sleep(0.005)
        assert len(processes()) <= before

    host.run(check)


async def watcher(parent, target):
    ref = monitor(target)
    send(parent, "watching")
    down = await receive(Down)
    send(parent, (down.reason, down.object == target, down.ref == ref))


def test_it_monitors_whom_it_was_handed(host: Host) -> None:
    async def check() -> None:
        target = await cell(echo)
        await answer()
        await cell(watcher, target)
        assert await answer() == "watching"
        send(target, "stop")
        assert await answer() == ("normal", True, True)

    host.run(check)


async def linker(parent, target):
    process_flag("trap_exit", True)
    link(target)
    send(parent, (await receive()).reason)
    exit(target, "kill")
    send(parent, "tried")
    await receive()


def test_it_cannot_link_to_or_end_whom_it_was_handed(host: Host) -> None:
    async def check() -> None:
        target = await cell(echo)
        await answer()
        await cell(linker, target)
        assert await answer() == "noconnection"
        assert await answer() == "tried"
        send(target, "alive")
        assert await answer() == "alive"

    host.run(check)


async def killer(parent, target):
    exit(target, "enough")


def test_exit_can_be_opened(host: Host) -> None:
    async def check() -> None:
        target = await cell(echo)
        await answer()
        ref = monitor(target)
        await cell(killer, target, opens=["exit"], exclude=[("only", ("exit", target))])
        assert await answer() == Down(ref, target, "enough")

    host.run(check)


async def teller(parent, other):
    send(other, "psst")
    send(parent, "told")


def test_c3_a_send_that_is_excluded_goes_nowhere(host: Host) -> None:
    async def check() -> None:
        other = await cell(echo)
        await answer()
        await cell(teller, other, exclude=[("send", other)])
        assert await answer() == "told"
        with pytest.raises(TimeoutError):
            await receive(timeout=0.1)
        await cell(teller, other)
        assert {await answer(), await answer()} == {"told", "psst"}

    host.run(check)


async def teller_by_name(parent, other):
    send(other, "psst")
    try:
        send(parent, await call(other, "psst", timeout=1))
    except CallError as error:
        send(parent, error.reason)


def test_c3_what_leaves_a_cell_is_checked_by_name_and_node(host: Host) -> None:
    async def check() -> None:
        bank = spawn(_forward, self_pid(), name="the bank")
        for term in (("send", "the bank"), ("only", ("send", self_pid())), ("send", self_pid().node)):
            await cell(teller_by_name, bank, exclude=[term])
            if term[1] == self_pid().node:  # then it reaches nobody
                with pytest.raises(TimeoutError):
                    await receive(timeout=0.3)
            else:
                assert "is refused" in await answer()
        await cell(teller_by_name, bank, exclude=[("only", ("send", "the bank"), ("send", self_pid()))])
        assert await answer() == ("forwarded", "psst")
        assert (await answer())[1].request == "psst"
        exit(bank, "kill")

    host.run(check)


async def _forward(boss: Pid) -> None:
    while True:
        send(boss, ("forwarded", await receive()))


class Files(GenServer, guarded=True):
    async def init(self) -> None:
        pass

    async def handle_call(self, request: Any, caller: Any) -> Any:
        caps.check("file", request, "r")
        return "the file"


async def reader(parent, server):
    try:
        send(parent, await call(server, "/etc/passwd"))
    except CallError as error:
        send(parent, error.reason)


def test_c8_a_guarded_server_does_for_a_cell_what_is_open_to_it(host: Host) -> None:
    async def check() -> None:
        server = await Files.start()
        await cell(reader, server)
        kind, text = await answer()
        assert (kind, "('file', 'all')" in text) == ("refused", True)
        await cell(reader, server, opens=["file"], exclude=[("only", ("file", "/srv", "r"), ("send", server), ("send", self_pid()))])
        assert (await answer())[0] == "refused"
        await cell(reader, server, opens=["file"])
        assert await answer() == "the file"
        exit(server, "kill")

    host.run(check)


ENDS = {
    "return": ("return", "normal"),
    "stop": ("raise Stop('shutdown')", "shutdown"),
    "exit": ("import os; os._exit(3)", ("exit", 3)),
    "execve": ("import os; os.execv('/bin/true', ['true'])", ("capability_violation", "os", "execve")),
    "memory": ("x = bytearray(1 << 30)", ("limit", "memory")),
    "many small": ("x = [bytearray(10000) for _ in range(1_000_000)]", ("limit", "memory")),
    "loop": ("while True: pass", ("limit", "cpu")),
    "loop that swallows": ("while True:\n  try:\n   while True: pass\n  except BaseException: pass", ("limit", "cpu")),
    "wild pointer": ("from _cffi_backend import FFI\nf = FFI()\nf.string(f.cast('char *', 1))", ("signal", "SIGSEGV")),
    "output": ("while True: print('x' * 1000)", ("limit", "output")),
    "a signal that has no name": ("import signal; signal.raise_signal(35)", ("signal", "SIG35")),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_reason_says_how_it_ended(host: Host, name: str) -> None:
    program, reason = ENDS[name]

    async def check() -> None:
        source = "async def main(parent):\n" + "\n".join(f" {line}" for line in program.splitlines())
        cpu = 0.2 if reason == ("limit", "cpu") else 10.0
        pid = await cell(source, limits=Limits(cpu=cpu, output_bytes=10_000))
        ref = monitor(pid)
        assert await answer() == Down(ref, pid, reason)

    host.run(check)


def test_the_shortest_time_is_its_programs_own(host: Host) -> None:
    async def check() -> None:
        for _ in range(2):  # there is no cell of this sort, then a spare one
            monitor(await cell("async def main(parent):\n  while True: pass", limits=Limits(memory=2**26 + 1, cpu=0.001)))
            assert (await answer()).reason == ("limit", "cpu")

    host.run(check)


@pytest.mark.parametrize("cpu", [0, -1, 0.0009, 1e9, float("nan")])
def test_a_time_that_can_be_no_limit_is_refused(cpu: float) -> None:
    with pytest.raises(ValueError, match=f"cpu is {cpu}: expected 0.001 seconds or more, and less than 1e9, or None"):
        Limits(cpu=cpu)


@pytest.mark.parametrize(
    "program", ["raise Stop(10**6000)", "raise Stop([10**6000])", "raise ValueError('x' * 200_000)", "raise Stop(object())"]
)
def test_a_reason_can_always_be_shown(host: Host, program: str) -> None:
    async def check() -> None:
        monitor(await cell(f"async def main(parent):\n  {program}"))
        assert 10 < len(repr((await answer()).reason)) < 20_000

    host.run(check)


def test_an_exception_has_its_stack(host: Host) -> None:
    async def check() -> None:
        pid = await cell("async def main(parent):\n  f()\ndef f():\n  raise ValueError('no')")
        ref = monitor(pid)
        down = await answer()
        assert (down.ref, down.reason) == (ref, (("ValueError", "no"), (("<cell program>", 3, "main"), ("<cell program>", 5, "f"))))

    host.run(check)


SOURCES = {
    "it is no Python": ("async def main(parent", "SyntaxError"),
    "there is no such function": ("x = 1", "AttributeError"),
    "what it imports is not there": ("import numpy", "ModuleNotFoundError"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_program_that_cannot_run(host: Host, name: str) -> None:
    source, error = SOURCES[name]

    async def check() -> None:
        ref = monitor(await cell(source))
        down = await answer()
        assert down.ref == ref
        assert down.reason[0][0] == error

    host.run(check)


def test_a_script_and_its_output(host: Host) -> None:
    async def check() -> None:
        source = "import sys\nname = input()\nprint('hello', name)\nprint('oops', file=sys.stderr)"
        pid = await spawn_cell(source, stdin=b"world\n", output=self_pid())
        written = {"stdout": b"", "stderr": b""}
        while type(message := await answer()) is CellOutput:
            written[message.stream] += message.data
        assert written == {"stdout": b"hello world\n", "stderr": b"oops\n"}
        assert type(message) is CellEnded
        assert (message.cell, message.reason) == (pid, "normal")
        assert 0 < message.cpu < 5
        assert 1 << 20 < message.memory < 1 << 28

    host.run(check)


def test_a_script_whose_main_is_async(host: Host) -> None:
    async def check() -> None:
        await spawn_cell("async def main():\n  print('ran')", output=self_pid())
        assert (await answer()).data == b"ran\n"
        assert (await answer()).reason == "normal"

    host.run(check)


def test_modules_are_shipped(host: Host) -> None:
    async def check() -> None:
        await cell("import tools\nasync def main(parent):\n  send(parent, tools.twice(4))", modules={"tools": "def twice(x): return 2 * x"})
        assert await answer() == 8

    host.run(check)


def test_a_long_program_and_long_arguments(host: Host) -> None:
    async def check() -> None:
        filling = "# " + "x" * 100 + "\n"
        await cell(filling * 5000 + "async def main(parent, data):\n  send(parent, len(data))", b"x" * 2_000_000)
        assert await answer() == 2_000_000

    host.run(check)


def test_a_message_that_is_too_long(host: Host) -> None:
    async def check() -> None:
        program = """
        async def main(parent):
            try: send(parent, b"x" * 2000)
            except ValueError as error: send(parent, str(error))
            send(parent, await receive())
        """
        pid = await cell(program, limits=Limits(message_bytes=1000))
        assert "2003 bytes" in await answer()
        send(pid, b"x" * 2000)  # it goes nowhere
        send(pid, "short")
        assert await answer() == "short"

    host.run(check)


def test_links_work_as_with_any_process(host: Host) -> None:
    async def check() -> None:
        process_flag("trap_exit", True)
        pid = await cell(echo)
        await answer()
        link(pid)
        send(pid, "stop")
        assert await answer() == Exit(pid, "normal")

    host.run(check)


def test_a_supervisor_restarts_it(host: Host) -> None:
    async def check() -> None:
        source = "from beamlike import *\nasync def main(parent):\n  send(parent, self_pid())\n  while True: pass"
        child = ChildSpec.of(Cell, source, "main", self_pid(), id="guest", limits=Limits(cpu=0.1))
        supervisor = await Supervisor.start_link([child], intensity=100)
        pids = {await answer() for _ in range(3)}
        assert len(pids) == 3
        unlink(supervisor)
        exit(supervisor, "shutdown")

    host.run(check)


def test_when_its_pid_is_killed_the_os_process_is(host: Host) -> None:
    async def check() -> None:
        pid = await cell("async def main(parent):\n  send(parent, 1)\n  while True: pass", output=self_pid())
        await answer()
        exit(pid, "kill")
        assert (await answer()).reason == "killed"  # of CellEnded, which is sent when the OS process has ended

    host.run(check)


def test_when_the_zygote_dies_its_cells_do_and_the_next_is_there(host: Host) -> None:
    async def check() -> None:
        from cells.zygotes import zygote

        pids = [await cell(echo) for _ in range(3)]
        for pid in pids:
            await answer()
            monitor(pid)
        os.kill(zygote("process", strict=False)._process.pid, signal.SIGKILL)
        assert [(await answer()).reason for _ in pids] == [("cell_lost", "its zygote has died")] * 3
        await cell(echo)
        assert await answer() == ("args", ())

    host.run(check)


BAD = {
    "source": ((1,), {}, "source is"),
    "fn": (("x", 1), {}, "fn is"),
    "limits": (("x",), {"limits": 1}, "limits is"),
    "kind": (("x",), {"kind": "vm"}, "kind is"),
    "output": (("x",), {"output": "me"}, "output is"),
    "exclude": (("x",), {"exclude": [("fly",)]}, "unknown kind"),
    "an argument": (("x", "main", object()), {}, "cannot send"),
    "a function": ((spawn_cell, "main"), {}, "cannot go into a cell"),
    "strict": (("x",), {"strict": "yes"}, "strict is"),
    "stdin": (("x",), {"stdin": "text"}, "stdin is"),
    "modules": (("x",), {"modules": {5: "x"}}, "modules are"),
    "opens": (("x",), {"opens": [("file", "/etc", "r")]}, "for exclude to say"),
    "opens that are none": (("x",), {"opens": None}, "opens is"),
    "stdin of wasm": ((b"x",), {"kind": "wasm", "stdin": b"x"}, "a cell of the kind wasm has no stdin"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(host: Host, name: str) -> None:
    args, options, text = BAD[name]

    async def check() -> None:
        with pytest.raises((TypeError, ValueError), match=text):
            await spawn_cell(*args, **options)  # type: ignore[arg-type]  # they are wrong

    host.run(check)


def test_a_thousand_rounds_leave_nothing(host: Host) -> None:
    """Descriptors, OS processes (one that nobody reaped counts), mappings of shared memory."""

    async def check() -> None:
        async def start_and_kill() -> None:
            pid = await cell(echo)
            await answer()
            ref = monitor(pid)
            exit(pid, "kill")
            assert (await answer()).ref == ref

        def belongings() -> tuple[int, int, int]:
            return len(os.listdir("/proc/self/fd")), descendants(os.getpid()), Path("/proc/self/maps").read_text().count("/memfd:")

        await start_and_kill()
        await sleep(0.1)
        before = belongings()
        for _ in range(1000):
            await start_and_kill()
        for _ in range(500):
            if belongings() == before:
                break
            await sleep(0.02)
        assert belongings() == before

    host.run(check, timeout=300)


def descendants(pid: int) -> int:
    """How many OS processes it has started, and they."""
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended while this looked
        listed = [each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/children")]
        return sum(1 + descendants(int(child)) for children in listed for child in children)
    return 0


def test_one_that_ends_with_its_node_is_no_error(program: Any) -> None:
    ended = program("""
        import os
        from cells import spawn_cell, zygotes

        async def main():
            await spawn_cell("from beamlike import receive\\nasync def main(): await receive()", "main", output=self_pid())
            for each in zygotes._zygotes.values():  # it tells of nothing any more
                os.kill(each._process.pid, signal.SIGSTOP)

        run(main)
    """)
    assert (ended.stdout, ended.stderr) == ("", "")
