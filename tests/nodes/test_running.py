"""What `nodes.run` refuses before it starts anything."""

from __future__ import annotations

import platform
import tempfile
from typing import Any

import naming_programs
import pytest

import nodes


async def main() -> None:
    """Is never run."""


@pytest.mark.parametrize("name", ["hang_timeout", "start_timeout"])
@pytest.mark.parametrize(
    ("value", "error"), [("5", TypeError), (True, TypeError), (0, ValueError), (-1.0, ValueError), (float("nan"), ValueError)]
)
def test_what_is_no_time_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=f"{name} is .* seconds, not {value!r}"):
        nodes.run(main, **options)


def test_preempt_that_is_no_bool_is_a_type_error() -> None:
    preempt: Any = 1
    with pytest.raises(TypeError, match="preempt is True or False, not 1"):
        nodes.run(main, preempt=preempt)


@pytest.mark.parametrize("setup", ["module:function", ("module:function",), (len, ()), ("module:function", [])])
def test_setup_that_is_no_name_with_arguments_is_a_type_error(setup: Any) -> None:
    with pytest.raises(TypeError, match="setup is a function with its arguments, as"):
        nodes.run(main, setup=setup)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ("two", TypeError, "nodes is how many there are to be, an int, or their names and cores, not 'two'"),
        (0, ValueError, "nodes is at least 1, not 0"),
        ({}, ValueError, "nodes is at least one name with its core, not none"),
        ({"a": -1}, ValueError, "nodes has the number of a core for each name, 0 to 65535, not -1"),
        ({"a": None}, ValueError, "nodes has the number of a core for each name, 0 to 65535, not None"),
        ({"a": 1 << 31}, ValueError, "nodes has the number of a core for each name, 0 to 65535, not 2147483648"),
        ({"a": 1 << 99}, ValueError, "nodes has the number of a core for each name, 0 to 65535, not "),
        ({"a": 0, f"a@{platform.node() or 'localhost'}": 1}, ValueError, "nodes have different names, not a, a@"),
    ],
)
def test_nodes_that_cannot_be_are_refused(wanted: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nodes.run(main, nodes=wanted)


@pytest.mark.parametrize(("given", "error"), [(("0",), TypeError), ((True,), TypeError), (range(9), ValueError)])
def test_descriptors_that_cannot_be_given_are_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="descriptors are "):
        nodes.run(main, descriptors=given)


def test_nodes_have_the_names_and_the_descriptors_that_they_are_given() -> None:
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
        one.write(b"one")
        other.write(b"other")
        one.flush()
        other.flush()
        found = nodes.run(naming_programs.look, nodes={"first": 0, "second@here": 1}, descriptors=(one.fileno(), other.fileno()))
    names, lives = found
    assert [name.partition("@")[0] for name in names] == ["first", "second"]
    assert names[1] == "second@here"
    assert lives == [(name, (b"one", b"other")) for name in (*names, names[1])]
