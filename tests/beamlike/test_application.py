"""Applications: files are loaded under their names, run to their end, and give an exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from beamlike import receive, run, self_pid, send
from beamlike.behaviours.application import Application, LoadError, load, run_application


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for programs. What was loaded from it is forgotten."""
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


def program(folder: Path, source: str, name: str = "a_program") -> Path:
    path = folder / f"{name}.py"
    path.write_text("from beamlike import *\nimport sys\n" + source)
    return path


deterministic = partial(run, seed=1)


def status_of(folder: Path, body: str) -> int:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return run_application(load(program(folder, f"async def main():\n{lines}\n")), deterministic)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("pass", 0),
        ("return 0", 0),
        ("return 7", 7),
        ("return True", 0),
        ("return ('some', 'value')", 0),
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("raise Stop()", 0),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_what_main_gives_is_the_status(folder: Path, body: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(folder, body) == status
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no way')", "ValueError: no way"),
        ("raise Stop('no way')", "main ended: no way"),
        ("exit(self_pid(), 'no way')", "main ended: no way"),
    ],
)
def test_a_main_that_fails_is_told_of_and_has_status_1(folder: Path, body: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(folder, body) == 1
    assert told in capsys.readouterr().err


def test_what_sys_exit_is_told_goes_to_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert status_of(folder, "sys.exit('no way')") == 1
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("CRITICAL", "no way")]


TREE = """
async def worker():
    await sleep(1)
    raise Stop("boom")

async def tree():
    return await Supervisor.start_link([worker])
"""


def test_a_tree_runs_until_its_supervisor_ends_and_one_that_gave_up_has_status_1(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run_application(load(program(folder, TREE), "tree"), deterministic) == 1
    assert caplog.messages[-1].endswith("ended: shutdown")


@pytest.mark.parametrize(("reason", "status"), [("normal", 0), ("shutdown", 1), ("boom", 1)])
def test_the_reason_of_the_top_process_decides_and_is_logged(
    folder: Path, reason: str, status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"async def top():\n    await sleep(1)\n    raise Stop({reason!r})\nasync def main():\n    return spawn_link(top)\n"
    assert run_application(load(program(folder, source)), deterministic) == status
    logged = [(record.name, record.levelname, record.getMessage().partition(" ended: ")[2]) for record in caplog.records]
    assert (("beamlike.application", "CRITICAL", reason) in logged) is (status == 1)
    assert capsys.readouterr().err == ""  # `beamlike run --json` writes log records there, and nothing else


def test_a_file_is_loaded_once_under_its_name_with_its_folder_on_the_path(folder: Path) -> None:
    program(folder, "async def help():\n    return 5\n", "a_helper")
    path = program(folder, "from a_helper import help\nclass State: pass\nasync def main():\n    return await help()\n")
    found = load(path)
    assert found == Application(str(path), "main")
    module = sys.modules["a_program"]
    assert load(str(path)) == found
    assert sys.modules["a_program"] is module
    assert sys.path[0] == str(folder)
    assert run_application(found, deterministic) == 5


def test_records_and_functions_of_a_program_can_be_sent(folder: Path) -> None:
    source = """
@record
class Order:
    number: int
async def worker():
    pass
async def main():
    send(self_pid(), (Order(3), worker))
    order, fn = await receive()
    return order.number if fn is worker else 99
"""
    assert run_application(load(program(folder, source)), deterministic) == 3


def test_a_program_runs_again(folder: Path) -> None:
    found = load(program(folder, "async def main():\n    return 2\n"))
    assert [run_application(found, deterministic) for _ in range(2)] == [2, 2]
    assert run_application(found) == 2


@pytest.mark.parametrize(
    ("source", "function", "told"),
    [
        ("async def serve(): pass\nasync def other(): pass\n", "main", "has no function 'main'; its async functions are: other, serve"),
        ("x = 1\n", "main", "has no function 'main': write `async def main"),
        ("def main(): pass\n", "main", "'main' in .* is <function main .*: write `async def main"),
        ("main = 7\n", "main", "'main' in .* is 7"),
        ("async def main(x): pass\n", "main", "'main' in .* cannot be called without arguments .*'x'.*: they are in sys.argv"),
        ("async def main():\n    yield 1\n", "main", "'main' in .* has a `yield` in it"),
    ],
)
def test_what_cannot_be_run_is_a_load_error_that_says_what_is_there(folder: Path, source: str, function: str, told: str) -> None:
    path = folder / "a_program.py"
    path.write_text(source)
    with pytest.raises(LoadError, match=told):
        load(path, function)


def test_a_file_that_is_not_there_is_a_load_error(folder: Path) -> None:
    with pytest.raises(LoadError, match=f"there is no file {folder}/nowhere.py"):
        load(folder / "nowhere.py")
    with pytest.raises(LoadError, match=f"there is no file {folder}$"):
        load(folder)


def test_a_file_is_called_as_it_was_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(folder, "x = 1\n")
    monkeypatch.chdir(folder)
    with pytest.raises(LoadError, match=r"^a_program\.py has no function"):
        load("a_program.py")


@pytest.mark.parametrize("source", [b"async def main(:\n", b"\0", b"\xff"], ids=["syntax", "null", "encoding"])
def test_a_file_that_is_no_python_is_a_syntax_error(folder: Path, source: bytes) -> None:
    path = folder / "a_program.py"
    path.write_bytes(source)
    with pytest.raises(SyntaxError) as caught:
        load(path)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize(
    ("file", "name"),
    [("my-app.py", "my_app"), ("a_script", "a_script"), ("1.2.py", "1_2"), ("random.py", "random_"), ("test.py", "test_")],
)
def test_any_file_name_is_loaded_under_a_name_that_no_other_module_has(folder: Path, file: str, name: str) -> None:
    path = folder / file
    path.write_text("import random\nasync def main(): return 8 if random.random() < 1 else 9\n")
    found = load(path)
    assert sys.modules[name].__file__ == str(path)
    module = sys.modules[name]
    assert load(path) == found
    assert sys.modules[name] is module
    assert run_application(found, deterministic) == 8


@pytest.mark.parametrize("name", ["beamlike", "pytest", "caps"])
def test_a_file_with_the_name_of_another_module_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(LoadError, match=f"that is the name of the module at .*{name}"):
        load(program(folder, "async def main(): pass\n", name))


def test_a_file_that_would_be_called_as_its_neighbour_is_refused(folder: Path) -> None:
    program(folder, "", "my_app")
    with pytest.raises(LoadError, match=r"cannot be loaded as 'my_app': that is the name of the module at .*my_app\.py"):
        load(program(folder, "async def main(): pass\n", "my-app"))


def test_what_the_file_raises_is_raised_and_it_is_not_kept(folder: Path) -> None:
    path = program(folder, "1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load(path)
    assert "a_program" not in sys.modules


def test_an_application_can_be_sent() -> None:
    async def main() -> object:
        send(self_pid(), Application("/x.py", "main"))
        return await receive()

    assert deterministic(main) == Application("/x.py", "main")
