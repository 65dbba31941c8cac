"""`beamlike image` and `beamlike boot`, as a shell runs them: real images, real machines, real nodes."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from attempts import engines, needs_unicorn
from boot_killers import descendants, is_alive

from boot.bundle.archive import FORMAT, INDEX
from boot.image import build_image

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "boot"]
EXAMPLE = ROOT / "examples" / "boot" / "PLAN.toml"
LIMIT = 60  # seconds, for a command that hangs

Beamlike = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = """
import os
from beamlike import GenServer, call, self_pid, register, receive
from boot.bundle import halt
from nodes import list_nodes


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: two nodes write


class Server(GenServer):
    async def handle_call(self, request, caller):
        match request:
            case "where":
                return self_pid().node
            case ("halt", status):
                halt(status)


async def say(text):
    tell(text)


async def end(status):
    halt(status)


async def ask(text):
    for node in list_nodes():
        tell(text, await call(("server", node), "where"))


async def fail():
    raise RuntimeError("on purpose")
"""
TWO = """
name = "two"
modules = ["program.py"]

[[node]]
name = "a"
[[node]]
name = "b"

[[child]]
start = "program:Server"
options = { name = "server" }
[[child]]
start = "program:Server"
options = { name = "server" }
node = "b"
"""


SLOW = (
    PROGRAM
    + """

from beamlike import process_flag, sleep


class Slow(GenServer):
    async def init(self):
        process_flag("trap_exit", True)

    async def terminate(self, reason):
        tell("it hangs")
        await sleep(3600)
"""
)
ENDLESS = '\n[[child]]\nstart = "program:Slow"\nshutdown = "infinity"\n'


class Boot:
    """A `beamlike boot` that runs."""

    def __init__(self, *arguments: object, **variables: str) -> None:
        self.program = subprocess.Popen(
            [*COMMAND, "boot", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told: list[str] = []

    def wait_for(self, text: str) -> str:
        """The line on stderr that has this."""
        assert self.program.stderr is not None
        for line in self.program.stderr:
            self.told.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}: {''.join(self.told)}")

    def end(self) -> tuple[int, str, str]:
        """When it has ended: status, stdout, stderr."""
        out, err = self.program.communicate(timeout=LIMIT)
        return self.program.returncode, out, "".join(self.told) + err


@contextmanager
def booting(*arguments: object, **variables: str) -> Iterator[Boot]:
    boot = Boot(*arguments, **variables)
    try:
        yield boot
    finally:
        boot.program.kill()
        boot.program.communicate()


def boot_to_end(*arguments: object, **variables: str) -> tuple[int, str, str]:
    with booting(*arguments, **variables) as boot:
        return boot.end()


@pytest.fixture
def image(tmp_path: Path, beamlike: Beamlike) -> Callable[..., Path]:
    """Builds an image of a plan, with `program.py` beside it."""

    def build(plan: str, program: str = PROGRAM) -> Path:
        (tmp_path / "program.py").write_text(program)
        (tmp_path / "plan.toml").write_text(dedent(plan))
        result = beamlike("image", "build", tmp_path / "plan.toml")
        assert result.returncode == 0, result.stderr
        return tmp_path / "plan.img"

    return build


def goal(name: str, start: str, *args: Any, **more: Any) -> str:
    fields = {"name": name, "start": f"program:{start}", "args": list(args), **more}
    return "\n[[goal]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in fields.items()) + "\n"


# --- build and inspect ------------------------------------------------------------------------------------------------------


def test_build_and_inspect_tell_what_is_in_an_image(tmp_path: Path, beamlike: Beamlike) -> None:
    path = tmp_path / "hydra.img"
    built = beamlike("image", "build", EXAMPLE, "-o", path)
    assert (built.returncode, built.stderr) == (0, "")
    assert built.stdout.splitlines()[1] == "hydra: 1 file, 2 nodes, 2 children, 0 unikernels, 1 goal"
    shown = beamlike("image", "inspect", path)
    assert shown.returncode == 0
    for line in (
        f"{path}: 1,048,576 bytes, all of it good",
        "          excluded  net all",
        "node      n2, core 1",
        "          excluded  file all",
        "            Counter  counter:Counter(100), permanent",
        "goal      greet  counter:greet(); requires tree",
    ):
        assert line in shown.stdout.splitlines()
    told = json.loads(beamlike("image", "inspect", path, "--json").stdout)
    assert told["plan"]["nodes"][1]["name"] == "n2"
    assert "counter.py" in told["files"]


def test_build_tells_all_that_is_wrong_and_writes_nothing(tmp_path: Path, beamlike: Beamlike) -> None:
    (tmp_path / "plan.toml").write_text('name = 3\nmodules = ["none.py"]\n')
    result = beamlike("image", "build", tmp_path / "plan.toml")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 2
    assert os.listdir(tmp_path) == ["plan.toml"]


def test_build_writes_over_nothing_but_an_image(image: Callable[..., Path], tmp_path: Path, beamlike: Beamlike) -> None:
    image(TWO)
    before = (tmp_path / "plan.toml").read_bytes()
    result = beamlike("image", "build", tmp_path / "plan.toml", "-o", tmp_path / "plan.toml")
    assert result.returncode == 1
    assert "is there, and is no image" in result.stderr
    assert (tmp_path / "plan.toml").read_bytes() == before
    assert "is there, and is no image" in beamlike("image", "build", tmp_path / "plan.toml", "-o", tmp_path / "program.py").stderr
    assert "there is no folder" in beamlike("image", "build", tmp_path / "plan.toml", "-o", tmp_path / "none" / "plan.img").stderr
    assert beamlike("image", "build", tmp_path / "plan.toml").returncode == 0


def test_build_leaves_what_is_no_regular_file_as_it_is(image: Callable[..., Path], tmp_path: Path, beamlike: Beamlike) -> None:
    image(TWO)
    os.mkfifo(tmp_path / "pipe")
    result = beamlike("image", "build", tmp_path / "plan.toml", "-o", tmp_path / "pipe")
    assert result.returncode == 1
    assert "pipe is no regular file: choose another --output" in result.stderr
    assert (tmp_path / "pipe").is_fifo()


def test_inspect_shows_names_with_brackets(image: Callable[..., Path], tmp_path: Path, beamlike: Beamlike) -> None:
    (tmp_path / "shop").mkdir()
    for name in ("[a].txt", "[", "]"):
        (tmp_path / "shop" / name).write_text("")
    path = image(TWO.replace('"program.py"', '"program.py", "shop"')).rename(tmp_path / "[b].img")
    shown = beamlike("image", "inspect", path)
    assert shown.returncode == 0, shown.stderr
    assert f"{path}: 1,048,576 bytes, all of it good" in shown.stdout
    assert "file      shop/[a].txt, 0 bytes" in shown.stdout


def test_inspect_names_the_damage(image: Callable[..., Path], beamlike: Beamlike) -> None:
    path = image(TWO)
    data = bytearray(path.read_bytes())
    data[64 * 512 + 20] ^= 1
    path.write_bytes(data)
    result = beamlike("image", "inspect", path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "chunk 0 gives the checksum" in result.stderr


# --- boot -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", engines())
def test_an_image_comes_up_on_each_engine(name: str, tmp_path: Path, beamlike: Beamlike) -> None:
    path = tmp_path / "hydra.img"
    assert beamlike("image", "build", EXAMPLE, "-o", path).returncode == 0
    with booting(path, "--engine", "unicorn" if name == "processes" else name) as boot:
        boot.wait_for("the system is up after")
        halted = beamlike("halt", 5, "--system", boot.program.pid)
        assert (halted.returncode, halted.stderr) == (0, "")
        status, out, err = boot.end()
    assert status == 5
    lines = [re.sub(r"/proc/self/fd/\d+", "MEMORY", line) for line in out.splitlines()]
    assert lines == [
        "the counter on n1@hydra says 1; its code is in MEMORY/counter.py",
        "the counter on n2@hydra says 101; its code is in MEMORY/counter.py",
    ]
    assert "BOOT OK" in err


@needs_unicorn
def test_each_node_has_a_sealed_copy_of_its_own_of_what_was_booted(image: Callable[..., Path]) -> None:
    program = (
        PROGRAM
        + """

from boot.bundle.sealed import is_sealed


async def look():
    descriptor = int(__file__.split("/")[4])
    sealed = [int(each) for each in os.listdir("/proc/self/fd") if is_sealed(int(each))]
    tell(is_sealed(descriptor), os.fstat(descriptor).st_ino, sealed == [descriptor])
"""
    )
    path = image(TWO + goal("look", "look", each_node=True) + goal("end", "end", 0, requires=["look"]), program)
    status, out, _ = boot_to_end(path)
    assert status == 0
    (first_sealed, first, first_alone), (other_sealed, other, other_alone) = (line.split() for line in out.splitlines())
    assert (first_sealed, first_alone, other_sealed, other_alone) == ("True",) * 4
    assert first != other


@needs_unicorn
def test_the_program_says_when_it_ends_and_how(image: Callable[..., Path]) -> None:
    status, out, err = boot_to_end(image(TWO + goal("ask", "ask", "on", requires=["tree"]) + goal("end", "end", 7, requires=["ask"])))
    assert (status, out.splitlines()) == (7, ["on a@two", "on b@two"])
    assert "halting with status 7" in err


@needs_unicorn
def test_who_may_not_halt_the_system_does_not(image: Callable[..., Path]) -> None:
    plan = TWO + goal("end", "end", 7, exclude=[["system", "halt"]], attempts=1) + goal("later", "end", 3, wants=["end"])
    status, _, err = boot_to_end(image(plan))
    assert status == 3
    assert "goal end is maintenance: " in err
    assert "is refused by the exclusion ('system', 'halt')" in err


@needs_unicorn
def test_who_may_not_halt_the_system_cannot_do_so_by_a_message_of_its_own_either(image: Callable[..., Path]) -> None:
    program = (
        PROGRAM
        + """

async def forge():
    from beamlike import Cast, call, cast, send
    from nodes import whereis_global

    main = whereis_global("beamlike.system")
    send(main, ("halt", 7))
    send(main, Cast(("halt", 7)))
    cast(main, ("halt", 7))
    try:
        await call(main, ("halt", 7), 0.2)
    except Exception as error:
        tell(type(error).__name__)
"""
    )
    plan = TWO + goal("forge", "forge", exclude=[["system", "halt"]]) + goal("end", "end", 3, requires=["forge"])
    assert boot_to_end(image(plan, program))[:2] == (3, "CallTimeoutError\n")


@needs_unicorn
def test_exclusions_of_the_system_of_a_node_and_of_a_child_add_up(image: Callable[..., Path]) -> None:
    program = (
        PROGRAM
        + """

from beamlike import process_info


class Told(Server):
    async def init(self):
        tell(self_pid().node, sorted(kind for layer in process_info(self_pid()).exclusions for kind, *_ in layer))


async def limits():
    tell("goal", self_pid().node, sorted(kind for layer in process_info(self_pid()).exclusions for kind, *_ in layer))
"""
    )
    plan = """
    modules = ["program.py"]
    exclude = [["net", "all"]]
    [[node]]
    name = "a"
    [[node]]
    name = "b"
    exclude = [["blocking", "all"]]
    [[child]]
    start = "program:Told"
    [[child]]
    start = "program:Told"
    node = "b"
    exclude = [["device", "all"]]
    """
    plan = dedent(plan) + goal("limits", "limits", each_node=True, requires=["tree"]) + goal("end", "end", 0, requires=["limits"])
    status, out, _ = boot_to_end(image(plan, program))
    assert status == 0
    assert sorted(out.splitlines()) == [
        "a@beamlike ['net']",
        "b@beamlike ['blocking', 'device', 'net']",
        "goal a@beamlike ['net']",
        "goal b@beamlike ['blocking', 'net']",
    ]


@needs_unicorn
def test_a_goal_that_fails_is_told_and_the_rest_comes_up(image: Callable[..., Path]) -> None:
    with booting(image(TWO + goal("bad", "fail", attempts=1)), "--log-level", "critical") as boot:
        line = boot.wait_for("the system is up after")
        assert line.rstrip().endswith("without bad")
        assert any("goal bad is maintenance: RuntimeError: on purpose" in line for line in boot.told)


@needs_unicorn
def test_a_system_in_which_nothing_is_sent_is_up_as_well(image: Callable[..., Path]) -> None:
    with booting(image('exclude = [["send", "all"]]\n' + TWO)) as boot:
        assert "how its goals are may not be asked" in boot.wait_for("the system is up after")


@needs_unicorn
def test_what_cannot_be_imported_is_told(image: Callable[..., Path]) -> None:
    with booting(image(TWO, "import there_is_no_such_module\n" + PROGRAM), "--log-level", "critical") as boot:
        boot.wait_for("the system is up after")
        assert "No module named 'there_is_no_such_module'" in "".join(boot.told)


@needs_unicorn
def test_a_node_that_is_killed_comes_back_from_the_booted_memory(image: Callable[..., Path], beamlike: Beamlike) -> None:
    with booting(image(TWO)) as boot:
        boot.wait_for("the system is up after")
        for node in ("b", "a"):
            assert beamlike("kill-node", node, "--system", boot.program.pid).returncode == 0
            boot.wait_for("goal tree is online" if node == "b" else "the system is up after")
            for name in ("a", "b"):
                asked = subprocess.run(
                    [*COMMAND, "shell", "--system", str(boot.program.pid), "--node", name],
                    input='await call("server", "where")\n',
                    capture_output=True,
                    text=True,
                    cwd=ROOT,
                )
                assert (asked.stdout, asked.stderr) == (f"'{name}@two'\n", "")


@needs_unicorn
def test_a_first_step_is_done_at_the_first_boot_only(image: Callable[..., Path], tmp_path: Path) -> None:
    path = image(TWO + goal("first", "say", "first boot", only_first_boot=True) + goal("end", "end", 0, requires=["first"]))
    assert boot_to_end(path)[:2] == (0, "first boot\n")
    assert (tmp_path / "plan.img.store" / "first.done").exists()
    assert boot_to_end(path)[:2] == (0, "")
    assert boot_to_end(path, "--store", tmp_path / "other")[:2] == (0, "first boot\n")


@needs_unicorn
def test_a_store_that_cannot_be_used_is_told_before_nodes_start(image: Callable[..., Path], tmp_path: Path) -> None:
    path = image(TWO + goal("first", "say", "first boot", only_first_boot=True))
    status, _, err = boot_to_end(path, "--store", tmp_path / "program.py" / "store")
    assert status == 1
    assert "cannot be used: Not a directory: choose another by --store" in err
    assert "starting" not in err
    assert "Traceback" not in err


@needs_unicorn
def test_a_core_that_is_not_there_is_another_one(image: Callable[..., Path]) -> None:
    plan = (
        TWO.replace('name = "b"', 'name = "b"\ncore = 4000')
        + goal("ask", "ask", "on", requires=["tree"])
        + goal("end", "end", 0, requires=["ask"])
    )
    assert boot_to_end(image(plan))[:2] == (0, "on a@two\non b@two\n")


@needs_unicorn
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_unikernel_comes_up_from_the_booted_memory(image: Callable[..., Path], tmp_path: Path, beamlike: Beamlike) -> None:
    assert beamlike("build-unikernel", ROOT / "examples/unikernels/hasher.c", "-o", tmp_path / "hasher.elf").returncode == 0
    program = (
        PROGRAM
        + """

async def hash_it():
    tell(await call("hasher", ("djb2", 1, "hello")))
"""
    )
    unikernel = '\n[[unikernel]]\nname = "hasher"\nimage = "hasher.elf"\n'
    plan = TWO + unikernel + goal("hash", "hash_it", requires=["tree"]) + goal("end", "end", 0, requires=["hash"])
    path = image(plan, program)
    (tmp_path / "hasher.elf").unlink()
    assert boot_to_end(path)[:2] == (0, "261238937\n")
    assert "hasher  unikernel of " in beamlike("image", "inspect", path).stdout


# --- what goes wrong --------------------------------------------------------------------------------------------------------


@needs_unicorn
def test_a_killed_slave_is_replaced_or_missed(image: Callable[..., Path]) -> None:
    path = image(TWO + goal("end", "end", 0, requires=["tree"]))
    status, _, err = boot_to_end(path, "--cores", 3, "--kill-slave-at", 2, "--trace")
    assert status == 0
    assert "1 × fail-over" in err
    assert "its OS process is killed" in err
    assert "core 1 is silent: stopped" in err
    status, _, err = boot_to_end(path, "--kill-slave-at", 99)
    assert status == 0
    assert "nobody was killed: core 1 came to no read 99" in err
    status, _, err = boot_to_end(path, "--kill-slave-at", 2)
    assert status == 1
    assert "no core is left that could read; dead are 1: with --cores 3 there is one more that reads" in err


@needs_unicorn
def test_what_is_booted_and_is_no_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.img"
    path.write_bytes(build_image(b"a payload of something else"))
    status, _, err = boot_to_end(path)
    assert status == 1
    assert "BOOT OK" in err
    assert "the payload is no bundle, as `beamlike image build` makes it" in err


@needs_unicorn
def test_a_bundle_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    from test_bundle import repacked

    path = tmp_path / "newer.img"
    path.write_bytes(build_image(repacked(b"", {"format": FORMAT + 1, "made_by": ["9.9", "3.20"]})))
    status, _, err = boot_to_end(path)
    assert status == 1
    assert f"the bundle has the format {FORMAT + 1}, made by beamlike 9.9" in err
    assert INDEX not in err


@needs_unicorn
def test_a_damaged_image_is_refused_with_the_place(image: Callable[..., Path]) -> None:
    path = image(TWO)
    data = bytearray(path.read_bytes())
    data[64 * 512 + 20] ^= 1
    path.write_bytes(data)
    status, out, err = boot_to_end(path, "--json")
    assert (status, out) == (1, "")
    told = json.loads(err.splitlines()[-1])
    assert (told["kind"], told["error"], told["lba"]) == ("failed", "PayloadCorruptError", 64)
    assert told["serial"]


@pytest.mark.parametrize(("engine", "hint"), [("qemu", "apt-get install qemu-system-x86"), ("unicorn", "pip install 'beamlike[boot]'")])
def test_an_engine_that_is_missing_is_told_with_what_to_do(image: Callable[..., Path], tmp_path: Path, engine: str, hint: str) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['unicorn'] = None\n")
    path = image(TWO)
    status, _, err = boot_to_end(path, "--engine", engine, PATH="/nowhere", PYTHONPATH=str(tmp_path))
    assert status == 1
    assert hint in err


def test_options_that_do_not_go_together_are_refused(image: Callable[..., Path], beamlike: Beamlike) -> None:
    path = image(TWO)
    for arguments, text in (
        (("--device", "ide"), "--device is of --engine qemu"),
        (("--engine", "qemu", "--kill-slave-at", "1"), "--kill-slave-at is of the engines with Unicorn"),
        (("--cores", "0"), "0 is not in the range 1<=x<=32"),
    ):
        result = beamlike("boot", path, *arguments)
        assert result.returncode == 2
        assert text in result.stderr
    result = beamlike("boot", path.with_name("none.img"))
    assert "does not exist" in result.stderr


@needs_unicorn
def test_json_has_a_line_for_each_thing_that_happens(image: Callable[..., Path]) -> None:
    status, out, err = boot_to_end(image(TWO + goal("end", "end", 0, requires=["tree"])), "--json", "--trace")
    assert (status, out) == (0, "")
    lines = [json.loads(line) for line in err.splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "begin"
    assert {"event", "loaded", "nodes", "goal", "halt"} <= set(kinds)
    moved = [line["event"] for line in lines if line["kind"] == "event" and line["event"]["kind"] == "moved"]
    assert [event["more"] for event in moved] == [0]


# --- how it ends ------------------------------------------------------------------------------------------------------------


@needs_unicorn
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_system_in_order(image: Callable[..., Path], signum: signal.Signals, status: int) -> None:
    with booting(image(TWO)) as boot:
        boot.wait_for("the system is up after")
        boot.program.send_signal(signum)
        ended, _, err = boot.end()
    assert ended == status
    assert "goal tree is offline: Init ends" in err
    assert "Traceback" not in err


@needs_unicorn
def test_of_two_statuses_to_halt_with_the_first_one_counts(image: Callable[..., Path]) -> None:
    program = PROGRAM + "\n\nasync def end_twice():\n    halt(3)\n    halt(4)\n"
    status, _, err = boot_to_end(image(TWO + goal("end", "end_twice", requires=["tree"]), program))
    assert status == 3
    assert err.count("halting with status") == 1


@needs_unicorn
def test_a_system_that_loses_the_node_of_main_while_it_halts_does_not_come_up_again(
    image: Callable[..., Path], tmp_path: Path, beamlike: Beamlike
) -> None:
    once = str(tmp_path / "once")
    program = SLOW.replace("sleep(3600)", f"sleep(0 if os.path.exists({once!r}) else open({once!r}, 'w') and 3600)")
    with booting(image(TWO + ENDLESS, program)) as boot:
        boot.wait_for("the system is up after")
        halting = subprocess.Popen([*COMMAND, "halt", "7", "--system", str(boot.program.pid)], cwd=ROOT)
        assert boot.program.stdout is not None
        boot.wait_for("halting with status 7")
        assert boot.program.stdout.readline() == "it hangs\n"
        beamlike("kill-node", "a", "--system", boot.program.pid)
        status, _, _ = boot.end()
        assert (status, halting.wait(LIMIT)) == (7, 0)


@needs_unicorn
def test_nothing_is_left_when_the_owner_is_killed(image: Callable[..., Path]) -> None:
    with booting(image(TWO)) as boot:
        boot.wait_for("the system is up after")
        children = descendants(boot.program.pid)
        assert len(children) >= 3
        boot.program.kill()
        boot.program.wait()
    end = time.monotonic() + LIMIT
    while any(map(is_alive, children)) and time.monotonic() < end:
        time.sleep(0.01)  # whose child they are not, nothing tells of their end
    assert not any(map(is_alive, children))


class Terminal:
    """A `beamlike boot` with a terminal."""

    def __init__(self, path: Path, history: Path) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(
                sys.executable,
                [*COMMAND, "boot", str(path)],
                {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "XDG_STATE_HOME": str(history)},
            )
        self.shown = b""
        self.all_shown = b""
        self.status: int | None = None

    def read_until(self, text: bytes) -> None:
        """Until it shows this."""
        end = time.monotonic() + LIMIT
        while text not in self.shown:
            ready, _, _ = select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"nothing more comes after {self.shown!r}"
            part = os.read(self.descriptor, 4096)
            self.shown += part
            self.all_shown += part
        self.shown = self.shown.partition(text)[2]

    def type(self, text: bytes) -> None:
        """As a user does."""
        os.write(self.descriptor, text)

    def end(self) -> int:
        """Its status, when it has ended."""
        with pytest.raises(OSError, match="Input/output error"):
            self.read_until(b"there is no such text")
        assert self.has_ended(0)
        assert self.status is not None
        return self.status

    def has_ended(self, options: int = os.WNOHANG) -> bool:
        """Whether it has, by now."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, options)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None


@contextmanager
def on_terminal(path: Path, history: Path) -> Iterator[Terminal]:
    terminal = Terminal(path, history)
    try:
        yield terminal
    finally:
        os.close(terminal.descriptor)
        if terminal.status is None:
            os.kill(terminal.pid, signal.SIGKILL)
            os.waitpid(terminal.pid, 0)


@needs_unicorn
@pytest.mark.parametrize(("typed", "status"), [(b"\x04", 0), (b"from boot.bundle import halt\nhalt(3)\n", 3)])
def test_the_console_is_a_prompt_in_the_system(image: Callable[..., Path], tmp_path: Path, typed: bytes, status: int) -> None:
    with on_terminal(image(TWO), tmp_path) as terminal:
        terminal.read_until(b"a>>> ")
        terminal.type(b"await call(('server', 'b@two'), 'where')\n")
        terminal.read_until(b"'b@two'\r\n")
        terminal.read_until(b"a>>> ")
        terminal.type(typed)
        assert terminal.end() == status
        assert b"Traceback" not in terminal.all_shown


@needs_unicorn
def test_a_console_that_is_lost_with_its_node_is_followed_by_another(
    image: Callable[..., Path], tmp_path: Path, beamlike: Beamlike
) -> None:
    with on_terminal(image(TWO), tmp_path) as terminal:
        terminal.read_until(b"a>>> ")
        assert beamlike("kill-node", "a", "--system", terminal.pid).returncode == 0
        terminal.read_until(b"the system is up after")
        terminal.type(b"1 + 1\n")
        terminal.read_until(b"where this shell ran, is lost")
        terminal.read_until(b"a>>> ")
        terminal.type(b"2 + 3\n")
        terminal.read_until(b"\n5\r\n")
        terminal.read_until(b"a>>> ")  # before that, Ctrl-D is one for the terminal
        terminal.type(b"\x04")
        assert terminal.end() == 0


@needs_unicorn
@pytest.mark.parametrize(("typed", "status"), [("await call('server', 'where')", 0), ("1 / 0", 1)])
def test_what_a_console_is_piped_ends_a_system_with_its_status(image: Callable[..., Path], typed: str, status: int) -> None:
    result = subprocess.run(
        [*COMMAND, "boot", image(TWO), "--console"], input=typed, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT, check=False
    )
    assert result.returncode == status
    assert ("'a@two'" if status == 0 else "ZeroDivisionError") in result.stdout


@needs_unicorn
def test_ctrl_c_ends_a_system_that_hangs_after_its_console_was_left(image: Callable[..., Path], tmp_path: Path) -> None:
    with on_terminal(image(TWO + ENDLESS, SLOW), tmp_path) as terminal:
        terminal.read_until(b"a>>> ")
        terminal.type(b"\x04")
        terminal.read_until(b"it hangs")
        end = time.monotonic() + LIMIT
        while not terminal.has_ended() and time.monotonic() < end:
            terminal.type(b"\x03")  # two that come at once are one
            time.sleep(0.05)  # and nothing tells when one was taken
        assert terminal.status == 130


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, beamlike: Beamlike) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        for command in (("boot", path), ("image", "inspect", path)):
            result = beamlike(*command)
            assert result.returncode == 1
            assert "regular file" in result.stderr
        assert beamlike("image", "build", path).returncode == 1


@needs_unicorn
def test_trees_of_all_nodes_are_shown(image: Callable[..., Path], beamlike: Beamlike) -> None:
    with booting(image(TWO)) as boot:
        boot.wait_for("the system is up after")
        shown = beamlike("tree", "--system", boot.program.pid).stdout
    assert len(re.findall(r"Server  <a@two\.", shown)) == 1
    assert len(re.findall(r"Server  <b@two\.", shown)) == 1
