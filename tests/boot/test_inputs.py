"""What is typed at a prompt, line by line."""

from __future__ import annotations

import pytest

from boot.inputs import Inputs, NotPythonError


def test_lines_are_awaited_until_they_are_a_statement() -> None:
    inputs = Inputs("n")
    assert inputs.prompt == "n>>> "
    assert inputs.add("if True:") is None
    assert inputs.prompt == " ... "
    assert inputs.add("    pass") is None
    assert inputs.add("") == "if True:\n    pass\n"
    assert inputs.prompt == "n>>> "
    assert inputs.add("await sleep(0)") == "await sleep(0)"


def add(inputs: Inputs, lines: list[str]) -> None:
    for each in lines:
        inputs.add(each)


@pytest.mark.parametrize("lines", [["1 +"], ["nonsense here"], ["'\0'"], ["-" * 900 + "\\"] * 12 + ["1"], ["(" * 250 + "1" + ")" * 250]])
def test_what_is_no_python_or_too_much_of_it_is_told_and_forgotten(lines: list[str]) -> None:
    inputs = Inputs("n")
    with pytest.raises(NotPythonError, match=r"Error"):
        add(inputs, lines)
    assert inputs.prompt == "n>>> "
    assert inputs.add("1") == "1"
