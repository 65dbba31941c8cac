"""What `nodes.run` refuses before it starts anything."""

from __future__ import annotations

from typing import Any

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
