"""Plans, and the bundles and images that are made of them."""

import io
import json
import os
import zipfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from boot.bundle import mounted
from boot.bundle.archive import FORMAT, INDEX, pack_bundle, read_bundle
from boot.bundle.fields import PlanError
from boot.bundle.reading import read_plan
from boot.bundle.sealed import is_sealed, sealed
from boot.errors import BundleError, BundleVersionError
from boot.guest.layout import PAYLOAD_MOST
from boot.image import CHUNK, build_image, read_image

PROGRAM = """
    class Counter:
        async def start_link(cls): ...

    async def step(): ...
"""
PLAN = """
    name = "hydra"
    modules = ["program.py", "shop"]
    exclude = [["net", "all"]]

    [[node]]
    name = "a"
    core = 0

    [[node]]
    name = "b"
    exclude = [["file", "/etc", "w"]]

    [[child]]
    start = "program:Counter"
    args = [1, "two", [3.5, true]]
    options = { name = "counter" }
    restart = "transient"

    [[child]]
    id = "seller"
    start = "shop.selling:Seller"
    node = "b"
    shutdown = "brutal_kill"

    [[goal]]
    name = "fill"
    start = "program:step"
    requires = ["tree"]
    only_first_boot = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(dedent(PROGRAM))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "selling.py").write_text("from program import Counter as Seller\n")
    (tmp_path / "shop" / "prices.txt").write_text("1 2 3")
    (tmp_path / "shop" / "__pycache__").mkdir()
    (tmp_path / "shop" / "__pycache__" / "selling.pyc").write_text("")
    (tmp_path / "shop" / ".hidden").write_text("")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "PLAN.toml"
    path.write_text(dedent(text))
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        read_plan(written(folder, text))
    return [each.replace(f"{folder}/", "") for each in caught.value.problems]


def test_a_plan_is_read_with_all_that_it_says(folder: Path) -> None:
    plan, files = read_plan(written(folder, PLAN))
    assert plan.full_names() == ["a@hydra", "b@hydra"]
    assert [node.core for node in plan.nodes] == [0, None]
    assert plan.node("b@hydra").exclude == (("file", "/etc", "w"),)
    assert plan.exclude == (("net", "all"),)
    counter, seller = plan.children
    assert (counter.id, counter.args, counter.options, counter.restart) == (
        "Counter",
        (1, "two", (3.5, True)),
        {"name": "counter"},
        "transient",
    )
    assert (plan.runs_on(counter), plan.runs_on(seller), seller.shutdown) == ("a", "b", "brutal_kill")
    (fill,) = plan.goals
    assert (fill.requires, fill.only_first_boot, fill.attempts) == (("tree",), True, 3)
    assert sorted(files) == ["program.py", "shop/prices.txt", "shop/selling.py"]


def test_a_bundle_gives_back_the_plan_and_the_files(folder: Path) -> None:
    plan, files = read_plan(written(folder, PLAN))
    bundle = read_bundle(pack_bundle(plan, files))
    assert bundle.plan == plan
    assert bundle.files == sorted(files)
    assert {name: bundle.read(name) for name in files} == files
    with pytest.raises(BundleError, match=r"no file other\.py: there are"):
        bundle.read("other.py")


def test_a_package_may_be_called_as_what_else_is_in_a_bundle(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "images" / "adder").write_text("a file of the package")
    (folder / "adder.wasm").write_bytes(b"\0asm\1\0\0\0")
    text = dedent(PLAN).replace('"shop"]', '"shop", "images"]') + '\n[[unikernel]]\nname = "adder"\nimage = "adder.wasm"\n'
    plan, files = read_plan(written(folder, text))
    bundle = read_bundle(pack_bundle(plan, files))
    assert "images/adder" in bundle.files
    assert bundle.read("images/adder") == b"a file of the package"
    assert bundle.read(plan.unikernels[0].image) == b"\0asm\1\0\0\0"


def test_the_same_plan_gives_the_same_image(folder: Path) -> None:
    path = written(folder, PLAN)
    first = build_image(pack_bundle(*read_plan(path)))
    for each in folder.rglob("*"):
        os.utime(each, (1, 1))
    assert build_image(pack_bundle(*read_plan(path))) == first


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('name = "hydra"', "name = 3", "PLAN.toml: name is 3, expected letters, digits and _.-, a letter or digit first, at most 60"),
        ('name = "hydra"', 'nam = "hydra"', "PLAN.toml has no key 'nam': is it 'name'?"),
        ('"program.py", "shop"', '"program.py", "shop", "none.py"', "modules: none.py cannot be read: No such file or directory"),
        (
            '"program.py", "shop"',
            '"program.py", "shop", "PLAN.toml"',
            "modules: PLAN.toml is no Python file; what else a program reads is in",
        ),
        ('[["net", "all"]]', '[["nett", "all"]]', "PLAN.toml: exclude is [['nett', 'all']], "),
        (
            '[["net", "all"]]',
            '[["spawn", "all"]]',
            "PLAN.toml: exclude refuses the system itself ('spawn', 'boot.keeping:guard')",
        ),
        ('[["net", "all"]]', '[["register", "all"]]', "PLAN.toml: exclude refuses the system itself ('register', 'tree')"),
        ('[["net", "all"]]', '"net"', "PLAN.toml: exclude is 'net', expected exclusions, as"),
        ("core = 0", "core = -1", "node 1 (a): core is -1, expected the number of a core"),
        ("core = 0", "core = 2147483648", "node 1 (a): core is 2147483648, expected the number of a core"),
        ('name = "b"', 'name = "a"', "2 nodes are called 'a'"),
        ('name = "b"', "", "node 2 lacks 'name': letters, digits"),
        ('[[node]]\n    name = "b"', '[node]\n    name = "b"', " is no TOML: "),
        ('"program:Counter"', '"program.Counter"', "child 'program.Counter': start is 'program.Counter', expected 'module:name'"),
        ('"program:Counter"', '"program:Countr"', "child 'Countr': there is no 'Countr' in the module program: there are Counter, step"),
        (
            '"program:Counter"',
            '"prog:Counter"',
            "child 'Counter': there is no module 'prog' in the bundle: there are program, shop.selling",
        ),
        ("args = [1,", "args = [1979-05-27,", "child 1: args is "),
        (
            '{ name = "counter" }',
            '{ id = "counter" }',
            "child 1: options is {'id': 'counter'}, expected no 'id' in it: that is a key beside it",
        ),
        ('"transient"', '"always"', "child 1: restart is 'always', expected one of permanent, transient, temporary"),
        ('id = "seller"', 'id = "Counter"\n    exclude = 3', "child 2 (Counter): exclude is 3, expected exclusions"),
        ('node = "b"', 'node = "c"', "'seller' is to be on the node 'c': there are a, b"),
        ('"brutal_kill"', '"slowly"', "child 2 (seller): shutdown is 'slowly', expected seconds, or one of brutal_kill, infinity"),
        ('requires = ["tree"]', 'requires = ["three"]', "there is no goal 'three', which fill requires"),
        (
            'requires = ["tree"]',
            'requires = ["tree"]\n    each_node = true',
            "goal 'fill': only_first_boot is True, expected False with each_node",
        ),
        ('name = "fill"', 'name = "tree"', "a goal is called 'tree', as one that each system has: rename it"),
        ('"program:step"', '"program:stop"', "goal 'fill': there is no 'stop' in the module program"),
    ],
)
def test_what_is_wrong_with_a_plan_is_told_with_its_place(folder: Path, before: str, after: str, problem: str) -> None:
    assert before in PLAN
    assert any(problem in each for each in problems(folder, PLAN.replace(before, after))), problems(folder, PLAN.replace(before, after))


def test_all_that_is_wrong_is_told_at_once(folder: Path) -> None:
    text = PLAN.replace('"transient"', '"always"').replace("core = 0", "core = 0.5").replace('name = "hydra"', "name = 3")
    assert len(problems(folder, text)) == 3


@pytest.mark.parametrize("kind", ["node", "child", "unikernel", "goal"])
def test_a_table_in_the_place_of_several_is_refused(folder: Path, kind: str) -> None:
    assert problems(folder, f'[{kind}]\nname = "a"') == [f"PLAN.toml: {kind} is {{'name': 'a'}}, expected tables: write [[{kind}]]"]


def test_a_plan_that_starts_nothing_is_refused(folder: Path) -> None:
    assert problems(folder, 'name = "empty"') == ["PLAN.toml starts nothing: it has no [[child]], [[unikernel]] or [[goal]]"]


@pytest.mark.parametrize(
    ("name", "source", "problem"),
    [
        ("json.py", "", "modules: json.py would hide Python's own 'json'; rename it"),
        ("nodes.py", "", "modules: nodes.py would hide beamlike's own 'nodes'; rename it"),
        ("my-app.py", "", "modules: my-app.py cannot be imported: 'my-app' is no name in Python; rename it"),
        ("bad.py", "def f(:\n", "modules: bad.py:1 is no Python: "),
        ("null.py", "a\0b", "modules: null.py"),
        ("fast.so", "", "modules: fast.so is "),
    ],
)
def test_modules_that_cannot_be_are_named(folder: Path, name: str, source: str, problem: str) -> None:
    (folder / name).write_text(source)
    text = PLAN.replace('"program.py",', f'"program.py", "{name}",')
    assert any(each.startswith(problem) for each in problems(folder, text)), problems(folder, text)


def test_a_compiled_module_in_a_folder_and_an_empty_folder_are_refused(folder: Path) -> None:
    (folder / "shop" / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    (folder / "empty").mkdir()
    found = problems(folder, PLAN.replace('"shop"]', '"shop", "empty"]'))
    assert [each.partition(" is ")[2] for each in found] == [
        "an empty folder",
        "compiled, and is not loaded from memory: install it on the machine instead",
    ]


def test_names_that_come_by_a_star_are_trusted_to_be_there(folder: Path) -> None:
    (folder / "program.py").write_text("from shop.selling import *\n")
    plan, _ = read_plan(written(folder, PLAN))
    assert plan.children[0].start == "program:Counter"


@pytest.mark.parametrize("image", [None, b"", b"\x7fELF nonsense"])
def test_an_image_of_a_unikernel_that_is_none_is_refused(folder: Path, image: bytes | None) -> None:
    if image is not None:
        (folder / "hasher.elf").write_bytes(image)
    (problem,) = problems(folder, PLAN + '\n    [[unikernel]]\n    name = "hasher"\n    image = "hasher.elf"\n')
    assert problem.startswith("unikernel 'hasher': ")
    assert "hasher.elf" in problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('name = ""', "unikernel 1 (): name is '', expected letters, digits and _.:@-"),
        ('name = "a\\u0000b"', "expected letters, digits and _.:@-"),
        ('name = "init"', "'init' has the name 'init', as a process that each system has: rename it"),
        ('name = "a"\ncore = 1', "unikernel 'a': adder.wasm is for WebAssembly: it has no core of its own, and no heartbeat"),
        ('name = "a"\nheartbeat = 1.5', "unikernel 'a': adder.wasm is for WebAssembly: it has no core of its own, and no heartbeat"),
        ('name = "a"\nmemory = 2199023255552', "unikernel 1 (a): memory is 2199023255552, expected bytes, at most 1099511627776"),
    ],
)
def test_a_unikernel_that_could_not_be_started_is_refused(folder: Path, line: str, problem: str) -> None:
    (folder / "adder.wasm").write_bytes(b"\0asm\1\0\0\0")
    (found,) = problems(folder, dedent(PLAN) + f'\n[[unikernel]]\nimage = "adder.wasm"\n{line}\n')
    assert problem in found


def test_a_child_that_has_a_name_of_the_systems_own_is_refused(folder: Path) -> None:
    (problem,) = problems(folder, PLAN.replace('name = "counter"', 'name = "tree"'))
    assert problem == "'Counter' has the name 'tree', as a process that each system has: rename it"


# --- bundles ----------------------------------------------------------------------------------------------------------------


def repacked(data: bytes, index: Any) -> bytes:
    """A bundle with another index; None: without one."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("program.py", "")
        if index is not None:
            archive.writestr(INDEX, index if isinstance(index, bytes) else json.dumps(index))
    return target.getvalue()


@pytest.fixture
def data(folder: Path) -> bytes:
    return pack_bundle(*read_plan(written(folder, PLAN)))


def test_a_bundle_of_a_newer_version_is_refused_and_says_whose_it_is(data: bytes) -> None:
    newer = repacked(data, {"format": FORMAT + 1, "made_by": ["9.9", "3.20.0"], "roster": []})
    with pytest.raises(
        BundleVersionError, match=rf"has the format {FORMAT + 1}, made by beamlike 9\.9; this is beamlike .*, which reads up to"
    ):
        read_bundle(newer)


NO_PLANS: list[Any] = [{}, [], {"nodes": 3}, {"nodes": [{}]}]
NO_INDEXES: list[Any] = [None, b"", b"[" * 100_000, b"\xff", [], {}, {"format": True}, {"format": 0, "made_by": ["1", "2"], "plan": {}}]


@pytest.mark.parametrize(
    "index",
    NO_INDEXES + [{"format": FORMAT, "made_by": ["1", "2"], "plan": plan} for plan in NO_PLANS],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_bundle_is_refused(data: bytes, index: Any) -> None:
    with pytest.raises(BundleError):
        read_bundle(repacked(data, index))


@pytest.mark.parametrize("payload", [b"x", b"PK\3\4", bytes(4096)])
def test_a_payload_that_is_no_archive_is_refused(payload: bytes) -> None:
    with pytest.raises(BundleError, match=r"is no bundle, as `beamlike image build` makes it"):
        read_bundle(payload)


def test_a_bundle_that_is_cut_off_is_refused(data: bytes) -> None:
    for size in range(0, len(data), 97):
        with pytest.raises(BundleError):
            read_bundle(data[:size])


def test_an_image_has_room_for_the_largest_bundle_and_names_what_is_larger() -> None:
    assert read_image(build_image(bytes(3 * CHUNK + 1))).payload == bytes(3 * CHUNK + 1)
    with pytest.raises(ValueError, match=rf"the payload has {PAYLOAD_MOST + 1} bytes, expected 1 to {PAYLOAD_MOST}"):
        build_image(bytes(PAYLOAD_MOST + 1))


# --- sealed memory ----------------------------------------------------------------------------------------------------------


def test_sealed_memory_can_be_read_and_never_changed() -> None:
    descriptor = sealed(b"booted", "test")
    try:
        assert is_sealed(descriptor)
        assert os.pread(descriptor, 100, 0) == b"booted"
        for change in (lambda: os.pwrite(descriptor, b"x", 0), lambda: os.ftruncate(descriptor, 1), lambda: os.ftruncate(descriptor, 100)):
            with pytest.raises(PermissionError):
                change()
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 0)
        os.close(again)
    finally:
        os.close(descriptor)


def test_a_file_is_not_sealed_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    assert not is_sealed(descriptor)
    os.close(descriptor)


def test_a_plan_and_an_image_that_are_no_regular_files_are_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(PlanError, match="pipe is no regular file"):
        read_plan(folder / "pipe")
    (problem,) = problems(folder, PLAN + '\n    [[unikernel]]\n    name = "hasher"\n    image = "pipe"\n')
    assert problem == "unikernel 'hasher': the image pipe is no regular file"


@pytest.mark.parametrize("text", ["short", "x" * 100_000, "\N{GRINNING FACE}" * 100_000])
def test_a_report_is_one_line_that_no_other_can_tear(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    monkeypatch.setattr(mounted, "_report", writing)
    for _ in range(100):  # more than there is room for
        mounted.report("up", text)
    os.close(writing)
    with open(reading) as lines:
        told = [json.loads(line)["text"] for line in lines]
    assert told
    assert all(each == text or (text.startswith(each[:-1]) and each.endswith("…")) for each in told)
