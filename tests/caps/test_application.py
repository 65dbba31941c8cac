"""C7: applications define capabilities with their own matching, and these travel like the built-in ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import caps
from caps.application import Matcher
from caps.kinds import kinds

HERE = Path(__file__).parent
TABLE = "shop_capabilities:table"
SUBTREE = "shop_capabilities:subtree"


@pytest.fixture(autouse=True)
def kinds_as_before() -> Iterator[None]:
    before = dict(kinds)
    yield
    kinds.clear()
    kinds.update(before)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application's module can be imported, but nobody has."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.delitem(sys.modules, "shop_capabilities", raising=False)


def python(program: str) -> str:
    """What a fresh interpreter prints that can import caps and the shop's module."""
    root = str(Path(caps.__file__).parents[1])
    program = f"import sys; sys.path[:0] = [{root!r}, {str(HERE)!r}]\n{program}"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.usefixtures("shop")
def test_c7_a_term_finds_the_definition_by_its_name() -> None:
    layers = caps.extend((), [(TABLE, "salaries")])
    assert not caps.permits(layers, TABLE, "salaries")
    assert caps.permits(layers, TABLE, "prices")
    assert layers[0].terms == ((TABLE, "salaries"),)
    assert caps.layer(layers[0].terms) is layers[0]


@pytest.mark.usefixtures("shop")
def test_c7_its_error_names_access_and_exclusion() -> None:
    with pytest.raises(caps.CapabilityError) as caught:
        caps.require(caps.extend((), [(TABLE, "salaries")]), TABLE, "salaries")
    assert (caught.value.kind, caught.value.what, caught.value.exclusion) == (TABLE, ("salaries",), (TABLE, "salaries"))


@pytest.mark.usefixtures("shop")
def test_c7_its_only_entries_permit_what_the_matcher_matches() -> None:
    layers = caps.extend((), [("only", (TABLE, "prices"), (TABLE, "stock"))])
    assert caps.permits(layers, TABLE, "prices")
    assert caps.permits(layers, TABLE, "stock")
    assert not caps.permits(layers, TABLE, "salaries")


@pytest.mark.usefixtures("shop")
def test_accesses_with_extent_are_contained_by_a_matcher_of_their_own() -> None:
    excluded, only = caps.extend((), [(SUBTREE, 10, 20)]), caps.extend((), [("only", (SUBTREE, 10, 20))])
    assert not caps.permits(excluded, SUBTREE, 5, 15)
    assert not caps.permits(only, SUBTREE, 5, 15)
    assert caps.permits(only, SUBTREE, 12, 15)
    assert caps.permits(excluded, SUBTREE, 20, 30)


@pytest.mark.usefixtures("shop")
def test_all_covers_the_kind_without_asking_the_matcher() -> None:
    assert not caps.permits(caps.extend((), [(SUBTREE, "all")]), SUBTREE, "not", "numbers")
    assert caps.permits(caps.extend((), [("only", (SUBTREE, "all"))]), SUBTREE, "not", "numbers")


@pytest.mark.usefixtures("shop")
def test_c7_a_layer_is_rebuilt_in_an_interpreter_that_never_heard_of_the_definition() -> None:
    terms = caps.layer([(TABLE, "salaries"), ("only", (SUBTREE, 1, 5)), ("port_io", 1, 2)]).terms
    program = f"""
import caps
assert "shop_capabilities" not in sys.modules
layer = caps.layer({terms!r})
assert layer.terms == {terms!r}
print(caps.permits((layer,), {TABLE!r}, "salaries"), caps.permits((layer,), {TABLE!r}, "prices"), caps.permits((layer,), {SUBTREE!r}, 0, 3))
"""
    assert python(program).split() == ["False", "True", "False"]


@pytest.mark.usefixtures("shop")
def test_c7_check_finds_the_definition_too(request: pytest.FixtureRequest) -> None:
    caps.check(TABLE, "salaries")
    request.addfinalizer(lambda: caps.set_current_layers(lambda: ()))
    caps.set_current_layers(lambda: caps.extend((), [(TABLE, "salaries")]))
    with pytest.raises(caps.CapabilityError):
        caps.check(TABLE, "salaries")


@pytest.mark.usefixtures("shop")
def test_a_term_runs_no_function_that_is_not_defined_as_a_matcher() -> None:
    with pytest.raises(ValueError, match="was imported and does not define"):
        caps.layer([("shop_capabilities:undefined", "x")])
    with pytest.raises(ValueError, match="was imported and does not define"):
        caps.layer([("os:system", "true")])


def test_c7_a_node_without_the_module_refuses_the_layer() -> None:
    with pytest.raises(ValueError, match="'no_such_shop:table': its module cannot be imported") as caught:
        caps.layer([("no_such_shop:table", "salaries")])
    assert "('no_such_shop:table', 'salaries') is not an exclusion" in str(caught.value)


@pytest.mark.parametrize("raises", ["raise RuntimeError('no config')", "raise SystemExit('no config')", "1 +"])
def test_c7_a_module_that_cannot_be_run_is_as_one_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: str) -> None:
    (tmp_path / "ruined_shop.py").write_text(raises)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'ruined_shop:table': its module cannot be imported"):
        caps.layer([("ruined_shop:table", "salaries")])


@pytest.mark.parametrize("arguments", [["corner_shop.py"], ["-m", "corner_shop"]])
def test_a_scripts_matchers_carry_the_name_of_the_script(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "corner_shop.py").write_text(
        "import caps\n"
        "def table(term, what):\n"
        "    return term == what\n"
        "print(caps.define(table))\n"
        "import corner_shop\n"  # once more, by its name: the same definition again, and no error
    )
    environment = {"PYTHONPATH": str(Path(caps.__file__).parents[1])}
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["corner_shop:table"] * 2


def matcher(term: tuple[Any, ...], what: tuple[Any, ...]) -> bool:
    return term == what


def another(term: tuple[Any, ...], what: tuple[Any, ...]) -> bool:
    return bool(term[0] == what[0])


def forgetful(term: tuple[Any, ...], what: tuple[Any, ...]) -> bool:
    return None  # type: ignore[return-value]


def failing(term: tuple[Any, ...], what: tuple[Any, ...]) -> bool:
    raise LookupError("no such table")


@pytest.mark.parametrize("operands", [(), (True,), (1.5,), ([],), ({},), ("a", (1, False))])
def test_its_terms_are_plain_values(operands: tuple[Any, ...]) -> None:
    kind = caps.define(matcher)
    with pytest.raises((TypeError, ValueError)) as caught:
        caps.layer([(kind, *operands)])
    assert repr((kind, *operands)) in str(caught.value)
    assert f"expected ({kind!r}, one operand or more" in str(caught.value)


def test_defining_the_same_again_gives_the_same_kind() -> None:
    kind = caps.define(matcher)
    layer = caps.layer([(kind, "a")])
    assert caps.define(matcher) == kind
    assert caps.layer([(kind, "a")]) is layer


def test_defining_a_kind_twice_differently_is_an_error_and_the_first_definition_stays() -> None:
    kind = caps.define(matcher)
    impostor: Matcher = FunctionType(another.__code__, globals())
    impostor.__qualname__ = "matcher"
    with pytest.raises(ValueError, match="already defined, with a different matcher"):
        caps.define(impostor)
    with pytest.raises(ValueError, match="already defined, with a different matcher"):
        caps.define(matcher, contains=another)
    assert caps.permits(caps.extend((), [(kind, 1, 2)]), kind, 1, 3)


def test_no_definition_takes_the_name_of_a_built_in_kind() -> None:
    namesake = FunctionType(another.__code__, globals())
    namesake.__qualname__ = "port_io"
    assert caps.define(namesake) == f"{__name__}:port_io"
    assert not caps.permits(caps.extend((), [("port_io", 1, 2)]), "port_io", 1, 1)


def test_a_matcher_that_cannot_be_found_by_name_is_an_error() -> None:
    def inside(term: tuple[Any, ...], what: tuple[Any, ...]) -> bool:
        return True

    with pytest.raises(ValueError, match="cannot be found by name"):
        caps.define(inside)
    unnamed: Matcher = lambda term, what: True  # noqa: E731
    with pytest.raises(ValueError, match="cannot be found by name"):
        caps.define(unnamed)


@pytest.mark.parametrize("matches", ["shop:table", None, partial(matcher)])
def test_a_matcher_that_is_no_function_is_a_type_error(matches: Any) -> None:
    with pytest.raises(TypeError, match=r"expects functions \(term, what\)"):
        caps.define(matches)
    with pytest.raises(TypeError, match=r"expects functions \(term, what\)"):
        caps.define(matcher, contains="shop:table")  # type: ignore[arg-type]


def test_a_matcher_that_gives_no_answer_permits_nothing() -> None:
    kind = caps.define(forgetful)
    with pytest.raises(TypeError, match="forgetful returned None, not True or False"):
        caps.permits(caps.extend((), [(kind, "a")]), kind, "b")


def test_a_matcher_that_fails_permits_nothing() -> None:
    kind = caps.define(failing)
    with pytest.raises(LookupError, match="no such table"):
        caps.permits(caps.extend((), [(kind, "a")]), kind, "b")
